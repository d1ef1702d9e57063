/* http/http_impl.h - what http.c and request.c share. [loop] */
#ifndef SERVER_HTTP_HTTP_IMPL_H
#define SERVER_HTTP_HTTP_IMPL_H

#include <microhttpd.h>

#include "base/tls.h"
#include "core.h"
#include "http/guard.h"
#include "http/http.h"
#include "http/peer.h"
#include "http/routes.h"
#include "tokens.h"

struct http {
    uv_loop_t *loop;
    struct core *core;
    struct tokens *tokens; /* NULL: all are let in */
    struct tls *tls;       /* a reference; NULL: HTTP */
    struct tls *first_tls; /* the same; MHD was given its texts */
    struct MHD_Daemon *daemon;
    int listen_fd;        /* owned until MHD has it */
    uv_poll_t epoll;      /* MHD's epoll descriptor has events */
    uv_prepare_t prepare; /* once a turn of the loop: what was resumed in it goes on */
    uv_timer_t kick;      /* MHD has more to do, at once or soon, or HTTP_STOP_MS are over */
    struct peers peers;
    struct hosts hosts;
    char address[ENDPOINT_TEXT_SIZE];
    bool run_wanted; /* a connection was resumed */
    bool stopping;
    unsigned working;    /* requests on a thread of the pool */
    unsigned waiting;    /* requests that wait for what becomes of a run */
    unsigned streams;    /* requests that are told events as they come */
    uint64_t held_bytes; /* bodies and answers in memory */
    uint64_t requests, refused;
    unsigned handles; /* open ones */
    int64_t stop_until_ms;
    void (*on_stopped)(void *arg);
    void *arg;
};

/* Health, readiness or metrics. */
void answer_here(const struct http *h, const struct call *call, struct answer *ret);

/* One request from its first line to the last byte of its answer. */
struct request;
/* NULL when out of memory. target: as it came, undecoded. */
struct request *request_create(struct http *h, struct peer *peer, const char *target);
/* MHD's handler for it. */
enum MHD_Result request_step(struct request *r, struct MHD_Connection *connection,
                             const char *method, const char *version, const char *data,
                             size_t *size);
/* MHD is done with it: answered, or the connection ended. */
void request_destroy(struct request *r);
/* The core has not answered in time. */
void request_expired(struct request *r);
/* The client hung up while it waited. */
void request_gone(struct request *r);
/* The listener stops: what waits for the core is answered with 503. */
void request_stop(struct request *r);
/* {"error": ...} as a whole HTTP answer, for when MHD cannot be asked any more. */
size_t request_raw_answer(unsigned status, const char *reason, const aiki_error *err, char *ret,
                          size_t capacity_bytes);

#endif

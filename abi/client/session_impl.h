/* session_impl.h - what the sources of a session share. [the session's thread unless stated] */
#ifndef CLIENT_SESSION_IMPL_H
#define CLIENT_SESSION_IMPL_H

#include "session.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/conn.h"

enum {
    HASH_SIZE = 4096, /* 16 requests a chain at the limit */
    HELLO_CORRELATION = 1
};

enum state { IDLE, CONNECT, HELLO, UP, BACKOFF, CLOSING };

struct session {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct conn *conn;   /* NULL unless CONNECT, HELLO or UP */
    uv_timer_t pace;     /* limit of an attempt in CONNECT and HELLO, pause in BACKOFF */
    uv_timer_t due;      /* when the list must be looked at */
    int64_t due_mono_ms; /* what `due` is armed for; INT64_MAX = nothing */
    struct mailbox mailbox;
    struct mail stop; /* posted by destroy */
    pthread_t thread;

    enum state state;
    bool denied;                      /* the last attempt, for good */
    unsigned attempt;                 /* connection attempts since it was last up */
    int64_t down_since_mono_ms;       /* 0 while UP */
    char why[AIKI_MESSAGE_SIZE];      /* the last connection did not work because */
    char why_busy[AIKI_MESSAGE_SIZE]; /* the server last answered UNAVAILABLE because */

    struct request *first, **last;
    struct request *hash[HASH_SIZE]; /* by correlation */
    uint32_t correlation_last;

    char *address, *name, *token, *token_file, *space; /* owned; token "": of token_file */
    struct tls *tls; /* owned; NULL: the address is without TLS */
    int64_t request_timeout_ms;
    atomic_uint count;
    atomic_ullong bytes;
};

/* ---- session_requests.c: what waits for an answer, and until when ------------------------- */

uint64_t request_bytes(const struct request *r);
/* In front of what came before. */
void session_link(struct session *s, struct request *r);
struct request *session_find(struct session *s, uint32_t correlation);
/* It no longer counts towards the limits. [any] */
void session_uncount(struct session *s, const struct request *r);
/* The last word about r, which is gone then. */
void session_finish(struct session *s, struct request *r, aiki_status st, struct answer *a,
                    const aiki_error *err);
void session_fail(struct session *s, struct request *r, aiki_status st, const char *message);
void session_fail_all(struct session *s, const aiki_error *err);
void session_send(struct session *s, struct request *r);
int64_t request_due_mono_ms(const struct session *s, const struct request *r);
/* The list is looked at then, at the latest. */
void session_arm_due(struct session *s, int64_t due_mono_ms);

/* ---- session_answers.c -------------------------------------------------------------------- */

void session_answer(struct session *s, struct request *r, const struct frame *f);

/* ---- session_options.c -------------------------------------------------------------------- */

/* [the thread that creates it] What was set is freed with the session. */
aiki_status session_copy_options(struct session *s, const char *url, const aiki_client_options *o,
                                 aiki_error *err);

#endif

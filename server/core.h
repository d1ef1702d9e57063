/* core.h - the server behind its listeners: store thread, reader thread, publisher, RPC. [loop]
 *
 *   RPC connections --------\                      /--> store thread --outcome--+
 *   HTTP --core_request-----+--gather--> batches --+--> reader thread --outcome-+
 *      ^----- answers ------------------------------------------------- core <--+--> publisher
 *
 * RPC connections and the HTTP listener hand requests in as message payloads (wire/message.h)
 * and get answers as message payloads. Everything between (store thread, commit) is core's.
 */
#ifndef SERVER_CORE_H
#define SERVER_CORE_H

#include <aiki/status.h>
#include <uv.h>

#include "wire/message.h"

struct core;
struct tls;
struct tokens;

struct core_options {
    const char *listen; /* for RPC; see conn_listen */
    const char *store;  /* url; see store.h */
    const char *redis;  /* url; see link.h */
    const char *space;  /* namespace; borrowed */
    struct tokens *tokens; /* borrowed until core_stop; NULL: all are let in */
    struct tls *tls;       /* the same; NULL: TCP connections without TLS */
    uint64_t lease_ms;
    unsigned quarantine_crashes; /* charged crashes until a task is quarantined; 0 = never */
    int64_t quarantine_window_ms;
    int64_t crash_hold_ms; /* see struct quarantine */
};
/* Opens the store, reads what a restart needs, starts the threads and listens. After a failure
 * the loop has to run out, as what was begun is taken down on it. */
aiki_status core_start(struct core **ret, uv_loop_t *loop, const struct core_options *options,
                       aiki_error *err);
/* Address for RPC; borrowed until core_stop. */
const char *core_address(const struct core *c);
/* For RPC connections from now on; borrowed as the one of the options, which may go then. */
void core_set_tls(struct core *c, struct tls *tls);
/* After tokens_reload: cuts RPC connections whose token is gone. */
void core_check_tokens(struct core *c);
/* Cuts all connections, ends the threads and closes the store. c is gone when on_stopped is
 * called; nothing may use it after this call. */
void core_stop(struct core *c, void (*on_stopped)(void *arg), void *arg);

/* One answer, on the loop. START with want_result is answered twice: STARTED, later RESULT.
 * payload is borrowed until the callback returns. */
typedef void (*core_reply_fn)(void *arg, uint32_t type, aiki_view payload);

/* START, WAIT, SIGNAL and QUERY on behalf of a client. payload is copied. Returns a token for
 * core_forget, never 0. fn is never called from inside core_request. */
uint64_t core_request(struct core *c, uint32_t type, aiki_view payload, core_reply_fn fn,
                      void *arg);
/* The caller is gone: fn is not called for this token any more. */
void core_forget(struct core *c, uint64_t token);

/* For /readyz: store open, publisher up or not. */
bool core_is_ready(const struct core *c, const char **ret_why_not);
/* Prometheus text of all counters, appended to w. */
void core_metrics(struct core *c, aiki_writer *w);

#endif

/* core.h - one door for requests to the server, whatever they came in on. [loop]
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

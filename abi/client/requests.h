/* requests.h - what callers ask, checked and encoded. [any]
 *
 * On AIKI_OK *ret is the caller's, who submits or destroys it. On anything else err says which
 * argument is wrong, and nothing was made.
 */
#ifndef CLIENT_REQUESTS_H
#define CLIENT_REQUESTS_H

#include "session.h"

aiki_status request_start(struct session *s, const aiki_start *start, bool want_result,
                          request_fn fn, void *arg, struct request **ret, aiki_error *err);
aiki_status request_wait(struct session *s, const char *run_id, int64_t timeout_ms, request_fn fn,
                         void *arg, struct request **ret, aiki_error *err);
aiki_status request_signal(struct session *s, const char *run_id, const char *name,
                           aiki_view payload, const char *ref, request_fn fn, void *arg,
                           struct request **ret, aiki_error *err);
aiki_status request_control(struct session *s, const char *run_id, const aiki_control *control,
                            request_fn fn, void *arg, struct request **ret, aiki_error *err);
aiki_status request_query(struct session *s, const char *what, aiki_view args, request_fn fn,
                          void *arg, struct request **ret, aiki_error *err);

/* A struct from a caller that may be older: its tail reads as zero. */
void copy_in(void *to, size_t size, const void *from, uint32_t from_size);

#endif

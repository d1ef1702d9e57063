/* base/link.h - a hiredis connection on the loop that notices when it dies. [loop]
 *
 * Our own adapter: hiredis' libuv adapter hides refused and reset connections. Reconnects by
 * itself with jittered backoff (50 ms to 2 s). Commands pending when the connection ends get a
 * NULL reply; while it is down link_context answers NULL. Up means: connected, signed in, and
 * PING answered (so not loading). Commands of one turn of the loop leave with one write; do not
 * send from a uv_prepare callback.
 *
 *   link_create --> CONNECTING --ready--> UP --lost--> BACKOFF --> CONNECTING ...
 */
#ifndef BASE_LINK_H
#define BASE_LINK_H

#include <hiredis/async.h>
#include <uv.h>

struct link;
struct link_callbacks {
    void (*on_up)(struct link *l, void *arg); /* after AUTH and SELECT */
    /* Pending commands have failed. Once an outage, also when the first attempt of all fails. */
    void (*on_down)(struct link *l, const char *why, void *arg);
    void (*on_closed)(struct link *l, void *arg); /* after link_close; l is gone */
};
/* url: link_url.h; redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or unix:PATH. NULL with a log line on
 * a bad url. Callbacks may call everything here. */
struct link *link_create(uv_loop_t *loop, const char *url, const struct link_callbacks *cb, void *arg);
/* The live context for redisAsyncCommandArgv and friends, or NULL while down. */
redisAsyncContext *link_context(struct link *l);
/* Cut the connection and connect anew (a reader that outlived its deadline). */
void link_reset(struct link *l, const char *why);
void link_close(struct link *l);

#endif

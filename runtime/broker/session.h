/* broker/session.h - the link to the server and the lease that comes with it. [loop]
 *
 * Everything this runtime owns hangs on its session. It ends when the connection is lost, when
 * the server says FENCED, or when no heartbeat that was sent within the last lease has been
 * answered: the holder stops itself before the server gives its runs to somebody else. Then a
 * new session is made, under a new id.
 * Limits: SESSION_REQUESTS_MAX unanswered requests; SESSION_BACKOFF_MS_MAX between attempts.
 */
#ifndef BROKER_SESSION_H
#define BROKER_SESSION_H

#include <aiki/status.h>
#include <uv.h>

#include "base/conn.h"
#include "wire/id.h"

enum {
    SESSION_REQUESTS_MAX = 1 << 20,
    SESSION_BACKOFF_MS_MIN = 50,
    SESSION_BACKOFF_MS_MAX = 2000,
    SESSION_GREETING_MS = 5000
};

struct session;

/* Embedded in whoever waits for an answer. Called exactly once for each session_expect; answer
 * is NULL when the session ended first. */
struct request {
    void (*on_answer)(struct request *r, const struct frame *answer);
};

struct session_callbacks {
    void (*on_up)(void *arg);
    void (*on_push)(const struct frame *f, void *arg); /* NOTIFY and other frames nobody awaits */
    /* Ownership of everything is over. session_last_words may still carry what gives runs back. */
    void (*on_ending)(void *arg);
    uint64_t (*busy)(void *arg); /* runs held, for the heartbeat */
    /* The server does not let us in; it is asked again all the same. err: for the length of the call. May be NULL. */
    void (*on_denied)(const aiki_error *err, void *arg);
    void (*on_closed)(void *arg);
};

/* Borrowed for the session's life. token, if not empty, wins over token_file, which is read again
 * for each greeting. */
struct session_options {
    const char *server, *name, *token, *token_file, *space;
    uint64_t slots;
};

aiki_status session_create(struct session **ret, uv_loop_t *loop, struct conn_loop *conns,
                           const struct session_options *options,
                           const struct session_callbacks *cb, void *arg, aiki_error *err);
void session_start(struct session *s);
/* The connection to write requests to, or NULL while there is no session whose lease holds. May
 * end the session on the spot when it finds the lease over (a process that was stopped wakes up
 * with old frames in hand). */
struct conn *session_conn(struct session *s);
/* The same without looking at the lease; for use inside on_ending only. */
struct conn *session_last_words(struct session *s);
/* A correlation number whose answer goes to r; 0 when SESSION_REQUESTS_MAX are unanswered. */
uint32_t session_expect(struct session *s, struct request *r);
/* The asker goes away: its on_answer is not called any more. */
void session_forget(struct session *s, uint32_t correlation);
const struct aiki_id *session_id(const struct session *s);
/* Said at once, and in every greeting from now on. */
void session_set_slots(struct session *s, uint64_t slots);
/* Ask now whether the lease still stands: a write was refused. */
void session_suspect(struct session *s);
/* Give it up and make a new one. */
void session_renew(struct session *s, const char *why);
/* What is written leaves first. on_ending is called if it was up. */
void session_close(struct session *s);

#endif

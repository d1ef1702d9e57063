/* intake/crew.h - blocking work on threads of its own, where some of it may wait for seconds. [loop]
 *
 *   crew_run --> waits for its turn --> fn, on a thread [any] --> on_done, on the loop
 *
 * The pool of libuv has four threads for everything: four plugins that hang while they are probed would hold up
 * all others. Here what has been under way for CREW_QUICK_MS counts as slow, and does not keep others from their
 * turn. Limits: CREW_QUICK_MAX at a time that are not slow, CREW_MAX in all; more wait in order.
 */
#ifndef INTAKE_CREW_H
#define INTAKE_CREW_H

#include <uv.h>

#include "base/mailbox.h"

enum { CREW_QUICK_MS = 100, CREW_QUICK_MAX = 8, CREW_MAX = 64 };

struct crew_job; /* embedded in what the job is about */
typedef void (*crew_fn)(struct crew_job *job);

struct crew_job {
    struct mail mail;
    crew_fn fn, on_done;
    struct mailbox *done; /* borrowed: the crew's */
    int64_t since_mono_ms; /* 0: it waits */
    struct crew_job *next; /* among those that wait, or those under way */
};

struct crew {
    uv_loop_t *loop;
    struct mailbox done;
    uv_timer_t timer; /* runs while somebody waits */
    struct crew_job *waiting, **last, *under_way;
    unsigned count; /* under way */
    void (*on_closed)(void *arg);
    void *arg;
};

/* Negative: an error of libuv, and there is nothing to close. */
int crew_init(struct crew *c, uv_loop_t *loop);
/* on_done follows, in any case. job: the caller's until then. */
void crew_run(struct crew *c, struct crew_job *job, crew_fn fn, crew_fn on_done);
/* Nothing waits or is under way. */
void crew_close(struct crew *c, void (*on_closed)(void *arg), void *arg);

#endif

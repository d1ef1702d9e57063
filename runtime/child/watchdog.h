/* watchdog.h - notices workflow code that does not come back to the loop.
 *
 *   loop thread:  enter(run) --fiber, inline task--> leave
 *   its own:      looks WATCHDOG_LOOKS times a limit while something was entered lately; sleeps otherwise
 *
 * Code that is in for its limit fails its run (WORKFLOW_STUCK) in the name of the loop thread,
 * which cannot, and ends the process; the broker gives its other runs back and starts another one.
 */
#ifndef CHILD_WATCHDOG_H
#define CHILD_WATCHDOG_H

#include "child/run.h"

enum {
    WATCHDOG_LIMIT_MS = 10000,
    WATCHDOG_LOOKS = 10,
    WATCHDOG_BYTES_MAX = 64 * 1024, /* of what the run has not sent yet; more is left out */
    WATCHDOG_STACK_BYTES = 256 * 1024,
    WATCHDOG_WRITE_MS_MAX = 1000
};

struct watchdog;

/* limit_ms: WATCHDOG_LIMIT_MS; tests have less time. NULL: no memory or no thread. It lives as long as the
 * process. */
struct watchdog *watchdog_start(int64_t limit_ms);
/* Code of the run gets the loop thread; what is the task, or NULL for the workflow. [loop] */
void watchdog_enter(struct watchdog *w, struct run *r, const char *task);
void watchdog_leave(struct watchdog *w);

#endif

/* replay/retry.h - how often, when and for how long a task call is attempted; pure. [any] */
#ifndef REPLAY_RETRY_H
#define REPLAY_RETRY_H

#include "wire/event.h"
#include "wire/retry.h"

enum {
    RETRY_ATTEMPTS_DEFAULT = 10,
    RETRY_FACTOR_PERCENT_DEFAULT = 200,
    RETRY_DELAY_MS_DEFAULT = 200,
    RETRY_DELAY_MS_MAX_DEFAULT = 60000,
    CRASHES_DEFAULT = 3 /* of one step, and of the workflow's own code */
};

/* What the call site and the definition of its task say together. */
struct task_policy {
    struct retry retry; /* every default filled in */
    /* 0 = none; see aiki_task_def */
    int64_t start_to_close_ms, schedule_to_start_ms, schedule_to_close_ms, heartbeat_ms;
    uint32_t crashes_max; /* 0 = CRASHES_DEFAULT */
    bool at_most_once;
};

/* Numbers that are zero take their defaults; those a kind gives no meaning to are set to what has no
 * effect. */
void retry_fill(struct retry *r);
/* How long to wait after the n-th failed attempt, n from 1. draw: the number jitter takes from. */
int64_t retry_delay_ms(const struct retry *r, uint64_t failed_attempts, uint64_t draw);
/* A number as good as random, and the same whenever it is asked for. */
uint64_t retry_draw(const struct aiki_id *run, const struct address *a, uint64_t nth,
                    uint64_t failed_attempts);
/* Whether the policy lists the code of that error (a map) as final. */
bool retry_is_final(const struct retry *r, aiki_view error);

#endif

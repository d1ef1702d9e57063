/* timeline.c - writes down by itself when its attempts begin and end, to be compared with the history.
 *
 *   timeline {"path": FILE}
 *
 * Three branches at once, of 30, 60 and 90 ms, each of which fails at its first attempt and is repeated 40 ms
 * later. An attempt appends "BRANCH ATTEMPT BEGAN ENDED" to FILE, times in us since 1970.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include <aiki/record.h>

#include "trace.h"

enum { BRANCHES = 3, STEP_MS = 30 };

#define BRANCH(F, R)                \
    F(R, str, path, AIKI_REQUIRED)  \
    F(R, i64, number, AIKI_OPTIONAL)
AIKI_RECORD(branch, BRANCH);

static int64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t); /* this clock is always there */
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static aiki_status take(aiki_call *call, const struct branch *in, struct aiki_nothing *out)
{
    const struct timespec nap = {0, (in->number + 1) * STEP_MS * 1000000};
    int64_t began_us = now_us();
    char line[80];
    (void)out;

    (void)nanosleep(&nap, NULL); /* an early end is stamped like any other */
    int size = snprintf(line, sizeof(line), "%d %u %" PRId64 " %" PRId64 "\n", (int)in->number,
                        aiki_attempt(call), began_us, now_us());
    if (!trace_append(in->path, line, (size_t)size))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    return aiki_attempt(call) == 1 ? aiki_fail(call, "NOT_YET", "the first one fails") : AIKI_OK;
}
AIKI_TASK_TYPED_WITH(take, "take", branch, aiki_nothing, AIKI_FIXED_DELAY(2, 40));

static aiki_status timeline(aiki_run *run, const struct branch *in, struct aiki_nothing *out,
                            aiki_error *err)
{
    aiki_future futures[BRANCHES];
    (void)out;

    for (int64_t i = 0; i < BRANCHES; i++) {
        const struct branch branch = {in->path, i};
        AIKI_TRY(take_start(run, &branch, NULL, &futures[i], err));
    }
    return aiki_await_all(run, futures, BRANCHES, err);
}
AIKI_WORKFLOW_TYPED(timeline, "timeline", "1.0.0", branch, aiki_nothing);

AIKI_PLUGIN("timeline", "1.0.0", AIKI_WORKFLOWS(timeline_workflow), AIKI_TASKS(take_task));

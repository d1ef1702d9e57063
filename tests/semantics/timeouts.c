/* timeouts.c - how long an attempt, the wait for one, and a whole call may take.
 *
 *   timeouts {"ms": N, "bad": A, "start_to_close_ms": N, "schedule_to_start_ms": N,
 *             "schedule_to_close_ms": N}
 *   timeouts-by-default {...}    the same; its definition says that tasks may take 200 ms
 *
 * One task, of at most 3 attempts. Attempts up to `bad` take `ms` and look whether they are still
 * wanted, later ones answer at once. The output is the number of the attempt that did it.
 */
#include <time.h>

#include <aiki/record.h>

enum { NAP_MS = 5 };

#define TIMEOUTS(F, R)                                      \
    F(R, i64, ms, AIKI_REQUIRED, AIKI_RANGE(0, 3600000))    \
    F(R, i64, bad, AIKI_OPTIONAL, AIKI_DEFAULT(1000))       \
    F(R, i64, start_to_close_ms, AIKI_OPTIONAL)             \
    F(R, i64, schedule_to_start_ms, AIKI_OPTIONAL)          \
    F(R, i64, schedule_to_close_ms, AIKI_OPTIONAL)
AIKI_RECORD(timeouts_input, TIMEOUTS);
#define ATTEMPT(F, R) F(R, i64, attempt, AIKI_REQUIRED)
AIKI_RECORD(attempt, ATTEMPT);

static aiki_status take(aiki_call *call, const struct timeouts_input *in, struct attempt *out)
{
    const struct timespec nap = {0, NAP_MS * 1000000};
    out->attempt = aiki_attempt(call);
    for (int64_t ms = 0; out->attempt <= in->bad && ms < in->ms; ms += NAP_MS) {
        if (aiki_cancelled(call))
            return aiki_fail(call, "STOPPED", "nobody wants the result any more");
        (void)nanosleep(&nap, NULL); /* an early end only looks sooner */
    }
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(take, "take", timeouts_input, attempt, AIKI_FIXED_DELAY(3, 20));

/* 0 leaves a timeout to the definitions. */
static aiki_status timeouts(aiki_run *run, const struct timeouts_input *in, struct attempt *out,
                            aiki_error *err)
{
    const aiki_task_options options = {.struct_size = (uint32_t)sizeof(options),
                                       .start_to_close_ms = in->start_to_close_ms,
                                       .schedule_to_start_ms = in->schedule_to_start_ms,
                                       .schedule_to_close_ms = in->schedule_to_close_ms};
    aiki_future future;

    AIKI_TRY(take_start(run, in, &options, &future, err));
    AIKI_TRY(aiki_await(run, future, NULL, err));
    return take_result(run, future, out, err);
}
AIKI_WORKFLOW_TYPED(timeouts, "timeouts", "1.0.0", timeouts_input, attempt);

static aiki_status by_default(aiki_run *run, const struct timeouts_input *in, struct attempt *out,
                              aiki_error *err)
{
    return timeouts(run, in, out, err);
}
AIKI_WORKFLOW_TYPED_WITH(by_default, "timeouts-by-default", "1.0.0", timeouts_input, attempt,
                         AIKI_TASK_TIMEOUT_MS(200));

AIKI_PLUGIN("timeouts", "1.0.0", AIKI_WORKFLOWS(timeouts_workflow, by_default_workflow),
            AIKI_TASKS(take_task));

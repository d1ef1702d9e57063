/* own-retries.c - each task is repeated on its own.
 *
 *   own-retries {"path": FILE}
 *
 * Three tasks, each of which appends its letter to FILE when it is executed. B fails twice.
 */
#include <aiki/record.h>

#include "trace.h"

#define MARK(F, R)                                     \
    F(R, str, path, AIKI_REQUIRED)                     \
    F(R, str, letter, AIKI_REQUIRED, AIKI_LENGTH(1, 1)) \
    F(R, i64, failures, AIKI_REQUIRED)
AIKI_RECORD(mark, MARK);
#define MARKED(F, R) F(R, i64, attempt, AIKI_REQUIRED)
AIKI_RECORD(marked, MARKED);

static aiki_status mark(aiki_call *call, const struct mark *in, struct marked *out)
{
    if (!trace_append(in->path, in->letter, 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    if (aiki_attempt(call) <= in->failures)
        return aiki_fail(call, "NOT_YET", "attempt %u fails", aiki_attempt(call));
    out->attempt = aiki_attempt(call);
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(mark, "mark", mark, marked, AIKI_FIXED_DELAY(5, 20));

#define OWN_RETRIES(F, R) F(R, str, path, AIKI_REQUIRED)
AIKI_RECORD(own_retries_input, OWN_RETRIES);
#define ATTEMPTS(F, R)         \
    F(R, i64, a, AIKI_REQUIRED) \
    F(R, i64, b, AIKI_REQUIRED) \
    F(R, i64, c, AIKI_REQUIRED)
AIKI_RECORD(attempts, ATTEMPTS);

static aiki_status own_retries(aiki_run *run, const struct own_retries_input *in,
                               struct attempts *out, aiki_error *err)
{
    const struct mark a = {in->path, "A", 0}, b = {in->path, "B", 2}, c = {in->path, "C", 0};
    struct marked a_done, b_done, c_done;

    AIKI_TRY(mark_call(run, &a, &a_done, err));
    AIKI_TRY(mark_call(run, &b, &b_done, err));
    AIKI_TRY(mark_call(run, &c, &c_done, err));
    *out = (struct attempts){a_done.attempt, b_done.attempt, c_done.attempt};
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(own_retries, "own-retries", "1.0.0", own_retries_input, attempts);

AIKI_PLUGIN("own-retries", "1.0.0", AIKI_WORKFLOWS(own_retries_workflow), AIKI_TASKS(mark_task));

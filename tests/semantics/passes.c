/* passes.c - a workflow that is executed again as a whole, by its own policy or because somebody says so.
 *
 *   passes {"path": FILE, "fails": N}
 *
 * Task "prepare" appends "p" to FILE and succeeds. Task "finish" appends "f" and fails for good while
 * FILE has no more than N of them. The workflow is executed up to three times, 500 ms apart; that of
 * passes-patiently an hour. passes-asleep begins to sleep for an hour before, and waits for the end of that behind.
 */
#include <aiki/record.h>

#include "trace.h"

#define PASSES(F, R)                \
    F(R, str, path, AIKI_REQUIRED)  \
    F(R, i64, fails, AIKI_REQUIRED)
AIKI_RECORD(passes_input, PASSES);

static aiki_status prepare(aiki_call *call, const struct passes_input *in, struct aiki_nothing *out)
{
    (void)out;
    if (!trace_append(in->path, "p", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    return AIKI_OK;
}
AIKI_TASK_TYPED(prepare, "prepare", passes_input, aiki_nothing);

static aiki_status finish(aiki_call *call, const struct passes_input *in, struct aiki_nothing *out)
{
    (void)out;
    if (!trace_append(in->path, "f", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    if (trace_count(in->path, 'f') <= in->fails)
        return aiki_fail(call, "NOT_YET", "pass %d fails", (int)trace_count(in->path, 'f'));
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(finish, "finish", passes_input, aiki_nothing, AIKI_NO_RETRY);

static aiki_status passes(aiki_run *run, const struct passes_input *in, struct aiki_nothing *out,
                          aiki_error *err)
{
    (void)out;
    AIKI_TRY(prepare_call(run, in, NULL, err));
    return finish_call(run, in, NULL, err);
}
AIKI_WORKFLOW_TYPED_WITH(passes, "passes", "1.0.0", passes_input, aiki_nothing,
                         AIKI_FIXED_DELAY(3, 500));

static aiki_status patiently(aiki_run *run, const struct passes_input *in, struct aiki_nothing *out,
                             aiki_error *err)
{
    return passes(run, in, out, err);
}
AIKI_WORKFLOW_TYPED_WITH(patiently, "passes-patiently", "1.0.0", passes_input, aiki_nothing,
                         AIKI_FIXED_DELAY(3, 3600000));

static aiki_status asleep(aiki_run *run, const struct passes_input *in, struct aiki_nothing *out,
                          aiki_error *err)
{
    aiki_future nap;
    AIKI_TRY(aiki_sleep_start(run, "nap", 3600000, &nap, err));
    AIKI_TRY(passes(run, in, out, err));
    return aiki_await(run, nap, NULL, err);
}
AIKI_WORKFLOW_TYPED_WITH(asleep, "passes-asleep", "1.0.0", passes_input, aiki_nothing,
                         AIKI_FIXED_DELAY(3, 500));

AIKI_PLUGIN("passes", "1.0.0", AIKI_WORKFLOWS(passes_workflow, patiently_workflow, asleep_workflow),
            AIKI_TASKS(prepare_task, finish_task));

/* cancellation.c - a run that is asked to end cleans up first.
 *
 *   cancellation {"path": FILE}
 *
 * Reserves (appends "R" to FILE) and sleeps for an hour. Asked to end, it releases what it reserved
 * (appends "-") in a protected scope, with a sleep in between, and ends as cancelled.
 */
#include <aiki/record.h>

#include "trace.h"

#define CANCELLATION(F, R) F(R, str, path, AIKI_REQUIRED)
AIKI_RECORD(cancellation_input, CANCELLATION);
#define MARK(F, R)                     \
    F(R, str, path, AIKI_REQUIRED)     \
    F(R, str, letter, AIKI_REQUIRED, AIKI_LENGTH(1, 1))
AIKI_RECORD(mark, MARK);

static aiki_status mark(aiki_call *call, const struct mark *in, struct aiki_nothing *out)
{
    (void)out;
    if (!trace_append(in->path, in->letter, 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    return AIKI_OK;
}
AIKI_TASK_TYPED(mark, "mark", mark, aiki_nothing);

static aiki_status cancellation(aiki_run *run, const struct cancellation_input *in,
                                struct aiki_nothing *out, aiki_error *err)
{
    const struct mark reserve = {in->path, "R"}, release = {in->path, "-"};
    aiki_status st;
    (void)out;

    AIKI_TRY(mark_call(run, &reserve, NULL, err));
    st = aiki_sleep(run, "hour", AIKI_HOURS_MS(1), err);
    if (st == AIKI_CANCELLED) {
        aiki_protected(run)
        {
            AIKI_TRY(aiki_sleep(run, "settle", 20, err));
            AIKI_TRY(mark_call(run, &release, NULL, err));
        }
    }
    return st;
}
AIKI_WORKFLOW_TYPED(cancellation, "cancellation", "1.0.0", cancellation_input, aiki_nothing);

AIKI_PLUGIN("cancellation", "1.0.0", AIKI_WORKFLOWS(cancellation_workflow), AIKI_TASKS(mark_task));

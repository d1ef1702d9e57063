/* turns.c - leaves a mark when it begins and one when it ends, to see how many run at once.
 *
 *   turns {"path": FILE, "gate": G}   appends "+" to FILE, waits until G is there, appends "-"
 */
#include <aiki/record.h>

#include "trace.h"

#define TURN(F, R)                    \
    F(R, str, path, AIKI_REQUIRED)    \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(turn, TURN);

static aiki_status take_turn(aiki_call *call, const struct turn *in, struct aiki_nothing *out)
{
    (void)out;
    if (!trace_append(in->path, "+", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    trace_await(call, in->gate);
    return trace_append(in->path, "-", 1) ? AIKI_OK : AIKI_UNAVAILABLE;
}
AIKI_TASK_TYPED(take_turn, "take-turn", turn, aiki_nothing);

static aiki_status turns(aiki_run *run, const struct turn *in, struct aiki_nothing *out,
                         aiki_error *err)
{
    return take_turn_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(turns, "turns", "1.0.0", turn, aiki_nothing);

AIKI_PLUGIN("turns", "1.0.0", AIKI_WORKFLOWS(turns_workflow), AIKI_TASKS(take_turn_task));

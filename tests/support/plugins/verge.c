/* verge.c - one task behind a sleep; with -DBAD it takes its process down. A call may do that so often that no run
 * uses up its own budget before other runs have come to the task at all: what ends it is the quarantine. With
 * -DBUDGET it has a budget as others have. */
#include <stdlib.h>

#include <aiki/record.h>

#define VERGE_INPUT(F, R) F(R, i64, ms, AIKI_REQUIRED, AIKI_RANGE(0, 3600000))
AIKI_RECORD(verge_input, VERGE_INPUT);
#define VERGE_OUTPUT(F, R) F(R, bool, ok, AIKI_REQUIRED)
AIKI_RECORD(verge_output, VERGE_OUTPUT);

#ifndef BUDGET
#define BUDGET 1000
#endif

static aiki_status edge(aiki_call *call, const struct verge_input *in, struct verge_output *out)
{
    (void)call;
    (void)in;
#ifdef BAD
    abort();
#endif
    out->ok = true;
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(edge, "edge", verge_input, verge_output, AIKI_CRASHES(BUDGET));

static aiki_status verge(aiki_run *run, const struct verge_input *in, struct verge_output *out,
                         aiki_error *err)
{
    if (in->ms > 0)
        AIKI_TRY(aiki_sleep(run, "rest", in->ms, err));
    return edge_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(verge, "verge", "1.0.0", verge_input, verge_output);

AIKI_PLUGIN("verge", "1.0.0", AIKI_WORKFLOWS(verge_workflow), AIKI_TASKS(edge_task));

/* sleeping.c - waits for time.
 *
 *   sleeping {"ms": N}     one sleep
 */
#include <aiki/record.h>

#define NAP(F, R) F(R, i64, ms, AIKI_REQUIRED)
AIKI_RECORD(nap, NAP);

static aiki_status sleeping(aiki_run *run, const struct nap *in, struct nap *out, aiki_error *err)
{
    AIKI_TRY(aiki_sleep(run, "nap", in->ms, err));
    *out = *in;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(sleeping, "sleeping", "1.0.0", nap, nap);

AIKI_PLUGIN("sleeping", "1.0.0", AIKI_WORKFLOWS(sleeping_workflow), AIKI_NO_TASKS);

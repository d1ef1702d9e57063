/* lot.c - one of many: tests write it a thousand times, each time with another number for 0000.
 *
 *   lot-0000 {"n": 1, "sleep_ms": 600000}    adds one, and has that on record while it sleeps
 */
#include <aiki/record.h>

#define LOT_INPUT(F, R)            \
    F(R, i64, n, AIKI_REQUIRED)    \
    F(R, i64, sleep_ms, AIKI_OPTIONAL, AIKI_DEFAULT(0))
AIKI_RECORD(lot_input, LOT_INPUT);
#define LOT_OUTPUT(F, R) F(R, i64, n, AIKI_REQUIRED)
AIKI_RECORD(lot_output, LOT_OUTPUT);

static aiki_status work(aiki_call *call, const struct lot_input *in, struct lot_output *out)
{
    (void)call;
    out->n = in->n + 1;
    return AIKI_OK;
}
AIKI_TASK_TYPED(work, "work", lot_input, lot_output);

static aiki_status lot(aiki_run *run, const struct lot_input *in, struct lot_output *out, aiki_error *err)
{
    AIKI_TRY(work_call(run, in, out, err));
    return in->sleep_ms > 0 ? aiki_sleep(run, "nap", in->sleep_ms, err) : AIKI_OK;
}
AIKI_WORKFLOW_TYPED(lot, "lot-0000", "1.0.0", lot_input, lot_output);

AIKI_PLUGIN("lot-0000", "1.0.0", AIKI_WORKFLOWS(lot_workflow), AIKI_TASKS(work_task));

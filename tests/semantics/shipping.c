/* shipping.c - the plugin that shipping.h speaks of. Parcels to "nowhere" are refused. */
#include "shipping.h"

#include <string.h>

static aiki_status weigh(aiki_run *run, const struct parcel *in, struct receipt *out, aiki_error *err)
{
    (void)err;
    if (strcmp(in->to, "nowhere") == 0)
        return aiki_run_fail(run, "NO_ADDRESS", "nobody lives in %s", in->to);
    out->tracking = aiki_format(run, "%s/%d", in->to, (int)in->grams);
    out->cents = 300 + in->grams / 10;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(weigh, "ship", "1.0.0", parcel, receipt);

AIKI_PLUGIN("shipping", "1.0.0", AIKI_WORKFLOWS(weigh_workflow), AIKI_NO_TASKS);

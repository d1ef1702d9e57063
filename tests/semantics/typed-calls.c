/* typed-calls.c - calls a workflow of another plugin like a function, with that plugin's header.
 *
 *   typed-calls {"to": NAME, "grams": [N...]}
 *
 * Ships a parcel of each weight, all at once, and answers what that costs together.
 */
#include "shipping.h"

enum { PARCELS_MAX = 16 };

#define ORDER(F, R)                                                        \
    F(R, str, to, AIKI_REQUIRED)                                           \
    F(R, list(i64), grams, AIKI_REQUIRED, AIKI_LENGTH(1, PARCELS_MAX))
AIKI_RECORD(order, ORDER);
#define BILL(F, R) F(R, i64, cents, AIKI_REQUIRED)
AIKI_RECORD(bill, BILL);

static aiki_status typed_calls(aiki_run *run, const struct order *in, struct bill *out,
                               aiki_error *err)
{
    aiki_future futures[PARCELS_MAX];

    for (uint64_t i = 0; i < in->grams_count; i++) {
        const struct parcel parcel = {.to = in->to, .grams = in->grams[i]};
        AIKI_TRY(ship_child_start(run, &parcel, NULL, &futures[i], err));
    }
    AIKI_TRY(aiki_await_settled(run, futures, (uint32_t)in->grams_count, err));
    for (uint64_t i = 0; i < in->grams_count; i++) {
        struct receipt receipt;
        AIKI_TRY(ship_child_result(run, futures[i], &receipt, err));
        out->cents += receipt.cents;
    }
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(typed_calls, "typed-calls", "1.0.0", order, bill);

AIKI_PLUGIN("typed-calls", "1.0.0", AIKI_WORKFLOWS(typed_calls_workflow), AIKI_NO_TASKS);

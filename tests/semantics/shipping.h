/* shipping.h - what plugin `shipping` offers others, and all that `typed-calls` knows of it.
 *
 * A plugin that wants to be called gives out such a header: its records, and one line for each workflow.
 * AIKI_CHILD_DECLARE makes ship_child, ship_child_start and ship_child_result of that line, so that a
 * misspelt name or the wrong record does not compile.
 */
#ifndef SHIPPING_H
#define SHIPPING_H

#include <aiki/record.h>

#define PARCEL(F, R)                                      \
    F(R, str, to, AIKI_REQUIRED, AIKI_LENGTH(1, 100))     \
    F(R, i64, grams, AIKI_REQUIRED, AIKI_RANGE(1, 30000))
AIKI_RECORD(parcel, PARCEL);
#define RECEIPT(F, R)                    \
    F(R, str, tracking, AIKI_REQUIRED)   \
    F(R, i64, cents, AIKI_REQUIRED)
AIKI_RECORD(receipt, RECEIPT);

AIKI_CHILD_DECLARE(ship, "ship", "1.0.0", parcel, receipt);

#endif

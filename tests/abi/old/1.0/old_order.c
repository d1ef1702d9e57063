/* order-processing.c - from a customer's order to a confirmation, whatever breaks in between.
 *
 *   process-order: validate-order -> charge-payment -> reserve-inventory -> send-confirmation
 *
 *   aiki workflows trigger process-order --wait --input '{"order_id":"o-1","customer":"Ada",
 *     "email":"ada@example.com","items":[{"sku":"tea","quantity":2,"price_cents":450}]}'
 *
 * The bank of this example is out of order now and then; the payment is retried with the same
 * idempotency key, so a customer is never charged twice. A declined card ends the order
 * without a reservation. Outside systems are played by a few lines each.
 */
#include <string.h>

#include <aiki/record.h>

enum { CARD_LIMIT_CENTS = 1000000 };

#define ORDER_ITEM(F, R)                                     \
    F(R, str, sku, AIKI_REQUIRED, AIKI_LENGTH(1, 64))        \
    F(R, i64, quantity, AIKI_REQUIRED, AIKI_RANGE(1, 10000)) \
    F(R, i64, price_cents, AIKI_REQUIRED, AIKI_RANGE(0, 100000000))
AIKI_RECORD(order_item, ORDER_ITEM);

#define ORDER(F, R)                                                          \
    F(R, str, order_id, AIKI_REQUIRED, AIKI_LENGTH(1, 64))                   \
    F(R, str, customer, AIKI_REQUIRED, AIKI_LENGTH(1, 200), AIKI_PII)        \
    F(R, str, email, AIKI_REQUIRED, AIKI_LENGTH(3, 254), AIKI_PII)           \
    F(R, list(record(order_item)), items, AIKI_REQUIRED, AIKI_LENGTH(1, 500)) \
    /* How often the bank is out of order. */                                \
    F(R, i64, bank_trouble_percent, AIKI_OPTIONAL, AIKI_RANGE(0, 100), AIKI_DEFAULT(40))
AIKI_RECORD(order, ORDER);

#define ORDER_TOTAL(F, R) F(R, i64, total_cents, AIKI_REQUIRED, AIKI_MIN(1))
AIKI_RECORD(order_total, ORDER_TOTAL);

#define CHARGE(F, R)                              \
    F(R, str, order_id, AIKI_REQUIRED)            \
    F(R, i64, amount_cents, AIKI_REQUIRED)        \
    F(R, i64, bank_trouble_percent, AIKI_REQUIRED)
AIKI_RECORD(charge, CHARGE);

#define RECEIPT(F, R) F(R, str, payment_reference, AIKI_REQUIRED)
AIKI_RECORD(receipt, RECEIPT);

/* A task gets what it needs and no more: its input is recorded, and is what identifies it. */
#define STOCK_REQUEST(F, R)            \
    F(R, str, order_id, AIKI_REQUIRED) \
    F(R, list(record(order_item)), items, AIKI_REQUIRED)
AIKI_RECORD(stock_request, STOCK_REQUEST);

#define RESERVATION(F, R) F(R, str, reservation_id, AIKI_REQUIRED)
AIKI_RECORD(reservation, RESERVATION);

#define CONFIRMATION(F, R)                       \
    F(R, str, order_id, AIKI_REQUIRED)           \
    F(R, str, email, AIKI_REQUIRED, AIKI_PII)    \
    F(R, i64, total_cents, AIKI_REQUIRED)        \
    F(R, str, payment_reference, AIKI_REQUIRED)  \
    F(R, str, reservation_id, AIKI_REQUIRED)
AIKI_RECORD(confirmation, CONFIRMATION);

#define ORDER_RESULT(F, R)                                                 \
    F(R, str, order_id, AIKI_REQUIRED)                                     \
    F(R, str, status, AIKI_REQUIRED, AIKI_ONE_OF("confirmed|declined"))    \
    F(R, i64, total_cents, AIKI_REQUIRED)                                  \
    F(R, str, payment_reference, AIKI_OPTIONAL)                            \
    F(R, str, reservation_id, AIKI_OPTIONAL)
AIKI_RECORD(order_result, ORDER_RESULT);

/* ---- tasks ------------------------------------------------------------------------------- */

/* FNV-1a: the same key and attempt meet the same fate on every machine. */
static uint32_t hash_text(const char *text, uint32_t seed)
{
    uint32_t hash = 2166136261u ^ seed;
    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash ^ (hash >> 15);
}

static aiki_status validate_order(aiki_call *call, const struct order *in, struct order_total *out)
{
    for (uint64_t i = 0; i < in->items_count; i++)
        out->total_cents += in->items[i].quantity * in->items[i].price_cents;
    if (strchr(in->email, '@') == NULL)
        return aiki_fail_final(call, "BAD_EMAIL", "order %s: the address has no @", in->order_id);
    if (out->total_cents == 0)
        return aiki_fail_final(call, "NOTHING_TO_PAY", "order %s costs nothing", in->order_id);
    return AIKI_OK;
}
AIKI_TASK_TYPED(validate_order, "validate-order", order, order_total);

static aiki_status charge_payment(aiki_call *call, const struct charge *in, struct receipt *out)
{
    const char *key = aiki_idempotency_key(call);
    uint32_t attempt = aiki_attempt(call);

    if (in->amount_cents > CARD_LIMIT_CENTS)
        return aiki_fail_final(call, "CARD_DECLINED", "order %s: over the card's limit",
                               in->order_id);
    /* The bank's trouble never lasts longer than three attempts. */
    if (attempt <= 3 && hash_text(key, attempt) % 100 < in->bank_trouble_percent)
        return aiki_fail(call, "BANK_UNAVAILABLE", "order %s: the bank did not answer attempt %u",
                         in->order_id, attempt);

    /* A real provider gets the key with the request and answers a repeat with the first result. */
    out->payment_reference = aiki_call_format(call, "pay-%s", key);
    aiki_call_log(call, AIKI_LOG_INFO, "charged %lld cents for order %s",
                  (long long)in->amount_cents, in->order_id);
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(charge_payment, "charge-payment", charge, receipt,
                     AIKI_BACKOFF(8, 100, 5000), AIKI_SUMMARY("Charge the customer's card"));

static aiki_status reserve_inventory(aiki_call *call, const struct stock_request *in,
                                     struct reservation *out)
{
    out->reservation_id = aiki_call_format(call, "res-%s-%08x", in->order_id,
                                           (unsigned)hash_text(aiki_idempotency_key(call), 0));
    return AIKI_OK;
}
AIKI_TASK_TYPED(reserve_inventory, "reserve-inventory", stock_request, reservation);

static aiki_status send_confirmation(aiki_call *call, const struct confirmation *in,
                                     struct aiki_nothing *out)
{
    (void)out;
    aiki_call_log(call, AIKI_LOG_INFO, "order %s confirmed: %lld cents, payment %s",
                  in->order_id, (long long)in->total_cents, in->payment_reference);
    return AIKI_OK;
}
AIKI_TASK_TYPED(send_confirmation, "send-confirmation", confirmation, aiki_nothing);

/* ---- workflow ---------------------------------------------------------------------------- */

/* A declined card is an answer, not a failure of the run. */
static aiki_status pay(aiki_run *run, const struct order *in, struct order_result *out,
                       aiki_error *err)
{
    const struct charge charge = {.order_id = in->order_id,
                                  .amount_cents = out->total_cents,
                                  .bank_trouble_percent = in->bank_trouble_percent};
    struct receipt receipt;
    aiki_error why = AIKI_ERROR_INIT;
    aiki_status st = charge_payment_call(run, &charge, &receipt, &why);

    if (st == AIKI_OK) {
        out->status = "confirmed";
        out->payment_reference = receipt.payment_reference;
    } else if (strcmp(why.code, "CARD_DECLINED") == 0) {
        out->status = "declined";
        st = AIKI_OK;
    } else if (err != NULL) {
        *err = why;
    }
    return st;
}

static aiki_status process_order(aiki_run *run, const struct order *in, struct order_result *out,
                                 aiki_error *err)
{
    const struct stock_request request = {
        .order_id = in->order_id, .items = in->items, .items_count = in->items_count};
    struct order_total total;
    struct reservation reservation;

    out->order_id = in->order_id;
    AIKI_TRY(validate_order_call(run, in, &total, err));
    out->total_cents = total.total_cents;

    AIKI_TRY(pay(run, in, out, err));
    if (strcmp(out->status, "declined") == 0)
        return AIKI_OK;

    AIKI_TRY(reserve_inventory_call(run, &request, &reservation, err));
    out->reservation_id = reservation.reservation_id;

    const struct confirmation confirmation = {.order_id = in->order_id,
                                              .email = in->email,
                                              .total_cents = out->total_cents,
                                              .payment_reference = out->payment_reference,
                                              .reservation_id = out->reservation_id};
    return send_confirmation_call(run, &confirmation, NULL, err);
}
AIKI_WORKFLOW_TYPED_WITH(process_order, "process-order", "1.0.0", order, order_result,
                         AIKI_SUMMARY("Validate, charge, reserve, confirm"));

AIKI_PLUGIN("order-processing", "1.0.0", AIKI_WORKFLOWS(process_order_workflow),
            AIKI_TASKS(validate_order_task, charge_payment_task, reserve_inventory_task,
                       send_confirmation_task));

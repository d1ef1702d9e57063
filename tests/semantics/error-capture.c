/* error-capture.c - what workflow code sees of a failed task, and that it sees it again.
 *
 *   error-capture {}
 *
 * The task fails for good with a cause chain, details, and the half of its work that was done. The
 * workflow keeps what it saw, waits for the signal "again", and answers both what it saw then and
 * what it sees now, and what the task kept: {"then": SEEN, "now": SEEN, "kept": OUTPUT}.
 *
 *   error-half {}    a typed task does half of its work; answers what it kept of it
 */
#include <aiki/record.h>

static aiki_status transfer(aiki_call *call, aiki_view input)
{
    aiki_writer details = aiki_call_writer(call), half = aiki_call_writer(call);
    aiki_error disk = AIKI_ERROR_INIT, ledger = AIKI_ERROR_INIT, top = AIKI_ERROR_INIT;
    (void)input;

    aiki_mp_map(&details, 1);
    aiki_mp_str(&details, "balance");
    aiki_mp_int(&details, -5);
    aiki_mp_str(&half, "debited, not credited");
    (void)aiki_call_output(call, &half); /* fits: a few bytes */

    (void)aiki_error_set(&disk, AIKI_UNAVAILABLE, "DISK_FULL", "no space left"); /* only filled */
    (void)aiki_error_set(&ledger, AIKI_FAILED, "LEDGER_CLOSED", "the ledger did not open");
    (void)aiki_error_set(&top, AIKI_FAILED, "NO_TRANSFER", "the transfer was not booked");
    ledger.cause = &disk;
    top.cause = &ledger;
    top.details = aiki_writer_view(&details);
    top.flags = AIKI_ERROR_FINAL | AIKI_ERROR_KEEP_OUTPUT;
    return call->api->fail(call, &top);
}

/* [status, category, code, message, details, codes of the causes...] */
static aiki_status write_seen(void *arg, aiki_writer *w)
{
    const aiki_error *error = (const aiki_error *)arg;
    uint64_t causes = 0;

    for (const aiki_error *c = error->cause; c != NULL; c = c->cause)
        causes++;
    aiki_mp_array(w, 5 + causes);
    aiki_mp_str(w, aiki_status_name(error->status));
    aiki_mp_int(w, error->category);
    aiki_mp_str(w, error->code);
    aiki_mp_str(w, error->message);
    aiki_mp_raw(w, error->details.data, error->details.size_bytes);
    for (const aiki_error *c = error->cause; c != NULL; c = c->cause)
        aiki_mp_str(w, c->code);
    return w->status;
}

static aiki_status error_capture(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_error seen = AIKI_ERROR_INIT;
    aiki_writer w = aiki_run_writer(run);
    aiki_view then, kept;
    aiki_future future;

    AIKI_TRY(aiki_task_start(run, "transfer", input, &future, err));
    if (aiki_await(run, future, NULL, &seen) != AIKI_FAILED)
        return aiki_run_fail(run, "NO_FAILURE", "the task was expected to fail");
    AIKI_TRY(aiki_kept_output(run, future, &kept, err));
    AIKI_TRY(aiki_record_once(run, "seen", write_seen, &seen, &then, err));
    AIKI_TRY(aiki_wait_signal(run, "again", AIKI_FOREVER_MS, NULL, err));

    aiki_mp_map(&w, 3);
    aiki_mp_str(&w, "kept");
    aiki_mp_raw(&w, kept.data, kept.size_bytes);
    aiki_mp_str(&w, "then");
    aiki_mp_raw(&w, then.data, then.size_bytes);
    aiki_mp_str(&w, "now");
    AIKI_TRY(write_seen(&seen, &w));
    return aiki_output(run, &w, err);
}

/* Passes the error on: a workflow that does not handle a failure fails with it. */
static aiki_status error_passed_on(aiki_run *run, aiki_view input, aiki_error *err)
{
    return aiki_task(run, "transfer", input, NULL, err);
}

/* ---- typed ------------------------------------------------------------------------------- */

#define BOOKING(F, R)                                            \
    F(R, str, debit, AIKI_REQUIRED)                              \
    F(R, str, credit, AIKI_REQUIRED)                             \
    F(R, i64, fee, AIKI_REQUIRED, AIKI_RANGE(1, 100))
AIKI_RECORD(booking, BOOKING);

/* Fails twice; the second failure is the last one. */
static aiki_status book(aiki_call *call, const struct aiki_nothing *in, struct booking *out)
{
    (void)in;
    out->debit = aiki_attempt(call) == 1 ? "debit-1" : "debit-2";
    AIKI_TRY(aiki_keep(call, booking, out));
    return aiki_fail_keep(call, "NO_CREDIT", "the account is closed");
}
AIKI_TASK_TYPED_WITH(book, "book", aiki_nothing, booking, AIKI_FIXED_DELAY(2, 10));

static aiki_status error_half(aiki_run *run, const struct aiki_nothing *in, struct booking *out,
                              aiki_error *err)
{
    aiki_future future;

    AIKI_TRY(book_start(run, in, NULL, &future, err));
    if (aiki_await(run, future, NULL, err) != AIKI_FAILED)
        return aiki_run_fail(run, "NO_FAILURE", "the task was expected to fail");
    AIKI_TRY(book_kept(run, future, out, err));
    if (out->credit != NULL || out->fee != 0)
        return aiki_run_fail(run, "TOO_MUCH", "what was not kept is there");
    out->credit = "none";
    out->fee = 1;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(error_half, "error-half", "1.0.0", aiki_nothing, booking);

AIKI_PLUGIN("error-capture", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("error-capture", "1.0.0", error_capture),
                           AIKI_WORKFLOW("error-passed-on", "1.0.0", error_passed_on),
                           error_half_workflow),
            AIKI_TASKS(AIKI_TASK("transfer", transfer), book_task));

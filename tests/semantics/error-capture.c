/* error-capture.c - what workflow code sees of a failed task, and that it sees it again.
 *
 *   error-capture {}
 *
 * The task fails for good with a cause chain, details, and the half of its work that was done. The
 * workflow keeps what it saw, waits for the signal "again", and answers both what it saw then and
 * what it sees now: {"then": SEEN, "now": SEEN}.
 */
#include <aiki/plugin.h>

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
    aiki_view then;

    if (aiki_task(run, "transfer", input, NULL, &seen) != AIKI_FAILED)
        return aiki_run_fail(run, "NO_FAILURE", "the task was expected to fail");
    AIKI_TRY(aiki_record_once(run, "seen", write_seen, &seen, &then, err));
    AIKI_TRY(aiki_wait_signal(run, "again", AIKI_FOREVER_MS, NULL, err));

    aiki_mp_map(&w, 2);
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

AIKI_PLUGIN("error-capture", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("error-capture", "1.0.0", error_capture),
                           AIKI_WORKFLOW("error-passed-on", "1.0.0", error_passed_on)),
            AIKI_TASKS(AIKI_TASK("transfer", transfer)));

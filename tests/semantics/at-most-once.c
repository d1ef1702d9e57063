/* at-most-once.c - work that must not be done twice, and whose outcome may therefore be unknown.
 *
 *   at-most-once {"path": FILE, "gate": G, "refusals": N}
 *
 * The task "pay" is made at most once: it appends "p" to FILE, waits until the file G is there and appends "d";
 * its first N attempts are refused before that. When its outcome is unknown, the workflow finds out with an ordinary
 * task what happened, here by reading FILE, and answers "paid", "not paid" or "half paid".
 */
#include <string.h>

#include <aiki/record.h>

#include "trace.h"

#define PAYMENT(F, R)                                      \
    F(R, str, path, AIKI_REQUIRED)                         \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))  \
    F(R, i64, refusals, AIKI_OPTIONAL)
AIKI_RECORD(payment, PAYMENT);
#define FINDING(F, R) F(R, str, what, AIKI_REQUIRED)
AIKI_RECORD(finding, FINDING);

static aiki_status pay(aiki_call *call, const struct payment *in, struct finding *out)
{
    if (aiki_attempt(call) <= in->refusals)
        return aiki_fail(call, "REFUSED", "attempt %u is refused", aiki_attempt(call));
    if (!trace_append(in->path, "p", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    trace_await(call, in->gate);
    if (!trace_open(in->gate))
        return aiki_fail_final(call, "STOPPED", "nobody wants the payment any more");
    (void)trace_append(in->path, "d", 1); /* a missing mark fails the test */
    out->what = "paid";
    return AIKI_OK;
}
AIKI_TASK_TYPED_WITH(pay, "pay", payment, finding, AIKI_FIXED_DELAY(5, 20), AIKI_AT_MOST_ONCE);

static aiki_status find_out(aiki_call *call, const struct payment *in, struct finding *out)
{
    static const char *const whats[] = {"not paid", "half paid", "paid"};
    int64_t marks = trace_size(in->path);

    if (marks > 2)
        return aiki_fail_final(call, "PAID_TWICE", "%s has %d marks", in->path, (int)marks);
    out->what = whats[marks];
    return AIKI_OK;
}
AIKI_TASK_TYPED(find_out, "find-out", payment, finding);

static aiki_status at_most_once(aiki_run *run, const struct payment *in, struct finding *out,
                                aiki_error *err)
{
    aiki_status st = pay_call(run, in, out, err);

    if (st == AIKI_FAILED && err != NULL && strcmp(err->code, "OUTCOME_UNKNOWN") == 0)
        st = find_out_call(run, in, out, err);
    return st;
}
AIKI_WORKFLOW_TYPED(at_most_once, "at-most-once", "1.0.0", payment, finding);

AIKI_PLUGIN("at-most-once", "1.0.0", AIKI_WORKFLOWS(at_most_once_workflow),
            AIKI_TASKS(pay_task, find_out_task));

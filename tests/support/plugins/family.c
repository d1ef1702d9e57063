/* family.c - runs that are asked to end, run others, wait for groups, or fail until they may not.
 *
 * All take {"path": FILE, "ms": N, "n": N, "mode": TEXT, "gate": FILE}; tasks leave one-byte marks in FILE, and
 * end when the gate is there: those of `leaf` before their mark, others behind it.
 *
 *   cleanup   sleeps ms; asked to end it undoes in a protected scope: u, a short sleep, v. mode
 *             "complete" then returns OK, "fail" fails
 *   busy      one task of ms that looks whether it is wanted: + and then d (done) or c (cancelled)
 *   leaf      mark l, sleep ms, mark m, answers 2 n; fails when n is 13
 *   parent    n leaves at once, answers the sum of what those that ended well gave; mode: close policy
 *             "cancel", "terminate", "abandon"
 *   detach    a leaf on its own; answers its id
 *   elsewhere a child of the workflow that mode names; answers OK or the code of its error. n over 1:
 *             it is to be taken up within n ms
 *   group     branches of ms, the last one fails once the others have begun: mode "fail_fast", "settled", "quorum"
 *   race      two tasks of ms, of which one is waited for; answers how many results are there by then
 *   until     sleeps until ms from now, by the clock
 *   decide    takes the signal "decision", an answer, and sleeps ms; answers it, and in text the code of
 *             what it refused before
 *   once      task "share" of ms with mode as its key, executed once for all runs of the namespace;
 *             answers n, or the code of its error
 *   circle    sleeps ms and waits for the one whose key is mode, a shared "circle" that asks for this one's
 *             key, the n-th letter
 *   gate      mark a; fails for good unless FILE.open exists, then mark u; mark b
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <aiki/record.h>

#include "trace.h"

#define ORDER(F, R)                                                            \
    F(R, str, path, AIKI_REQUIRED)                                             \
    F(R, i64, ms, AIKI_OPTIONAL, AIKI_RANGE(0, 3600000), AIKI_DEFAULT(0))      \
    F(R, i64, n, AIKI_OPTIONAL, AIKI_RANGE(0, 10000), AIKI_DEFAULT(1))         \
    F(R, str, mode, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))                       \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(order, ORDER);
#ifndef ANSWER_MAX /* of another build, which takes less than this one gave */
#define ANSWER_MAX 1000000
#endif
#define ANSWER(F, R)                                        \
    F(R, i64, n, AIKI_OPTIONAL, AIKI_RANGE(0, ANSWER_MAX))  \
    F(R, str, text, AIKI_OPTIONAL)
AIKI_RECORD(answer, ANSWER);

/* ---- tasks ------------------------------------------------------------------------------- */

/* Leaves order.mode as its mark. */
static aiki_status mark(aiki_call *call, const struct order *in, struct answer *out)
{
    out->n = in->n;
    trace_await(call, in->gate);
    return trace_append(in->path, in->mode, 1) ? AIKI_OK
                                               : aiki_fail(call, "NO_TRACE", "%s", in->path);
}
AIKI_TASK_TYPED(mark, "mark", order, answer);

static aiki_status work(aiki_call *call, const struct order *in, struct answer *out)
{
    const struct timespec step = {0, 5 * 1000 * 1000};

    if (strcmp(in->mode, "fail") == 0) {
        while (trace_count(in->path, '+') < in->n && !aiki_cancelled(call))
            (void)nanosleep(&step, NULL);
        return aiki_fail_final(call, "BRANCH", "branch %d fails", (int)in->n);
    }
    (void)trace_append(in->path, "+", 1); /* a missing mark fails the test */
    for (int64_t ms = 0; ms < in->ms || !trace_open(in->gate); ms += 5) {
        if (aiki_cancelled(call)) {
            (void)trace_append(in->path, "c", 1);
            return aiki_fail(call, "UNWANTED", "nobody waits for it");
        }
        (void)nanosleep(&step, NULL); /* an early end only asks sooner */
    }
    (void)trace_append(in->path, "d", 1);
    out->n = in->n;
    return AIKI_OK;
}
AIKI_TASK_TYPED(work, "work", order, answer);

static aiki_status pass_gate(aiki_call *call, const struct order *in, struct answer *out)
{
    char path[512];

    (void)out;
    (void)snprintf(path, sizeof(path), "%s.open", in->path);
    return access(path, F_OK) == 0 ? AIKI_OK : aiki_fail_final(call, "SHUT", "%s is shut", path);
}
AIKI_TASK_TYPED(pass_gate, "pass", order, answer);

static aiki_status leave_mark(aiki_run *run, const struct order *in, const char *what,
                              aiki_error *err)
{
    struct order o = *in;
    o.mode = what;
    return mark_call(run, &o, NULL, err);
}

/* ---- asked to end ------------------------------------------------------------------------ */

static aiki_status undo(aiki_run *run, const struct order *in, aiki_error *err)
{
    aiki_protected(run) {
        AIKI_TRY(leave_mark(run, in, "u", err));
        AIKI_TRY(aiki_sleep(run, "breath", 100, err));
        AIKI_TRY(leave_mark(run, in, "v", err));
    }
    return AIKI_OK;
}

static aiki_status cleanup(aiki_run *run, const struct order *in, struct answer *out,
                           aiki_error *err)
{
    AIKI_TRY(leave_mark(run, in, "a", err));
    aiki_status st = aiki_sleep(run, "nap", in->ms, err);
    if (st != AIKI_CANCELLED)
        return st;
    if (leave_mark(run, in, "x", NULL) != AIKI_CANCELLED)
        return AIKI_INTERNAL; /* outside of a protected scope nothing starts any more */
    AIKI_TRY(undo(run, in, err));
    out->n = aiki_run_cancelled(run);
    if (strcmp(in->mode, "complete") == 0)
        return AIKI_OK;
    if (strcmp(in->mode, "fail") == 0)
        return aiki_run_fail(run, "CLEANUP", "not everything was undone");
    return AIKI_CANCELLED;
}
AIKI_WORKFLOW_TYPED(cleanup, "cleanup", "1.0.0", order, answer);

static aiki_status busy(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    return work_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(busy, "busy", "1.0.0", order, answer);

/* ---- children ---------------------------------------------------------------------------- */

static aiki_status leaf(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    AIKI_TRY(leave_mark(run, in, "l", err));
    AIKI_TRY(aiki_sleep(run, "grow", in->ms, err));
    AIKI_TRY(leave_mark(run, in, "m", err));
    if (in->n == 13)
        return aiki_run_fail(run, "UNLUCKY", "leaf %d", (int)in->n);
    out->n = 2 * in->n;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(leaf, "leaf", "1.0.0", order, answer);

static aiki_child_options options_of(const struct order *in)
{
    aiki_child_options o = {.struct_size = sizeof(o)};
    o.close_policy = strcmp(in->mode, "abandon") == 0     ? AIKI_CLOSE_ABANDON
                     : strcmp(in->mode, "terminate") == 0 ? AIKI_CLOSE_TERMINATE
                                                          : AIKI_CLOSE_CANCEL;
    return o;
}

static aiki_status parent(aiki_run *run, const struct order *in, struct answer *out,
                          aiki_error *err)
{
    aiki_future *futures = aiki_alloc(run, ((uint64_t)in->n + 1) * sizeof(*futures));
    const aiki_child_options options = options_of(in);
    uint32_t count = (uint32_t)in->n;

    if (futures == NULL)
        return AIKI_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        struct order o = {.path = in->path, .ms = in->ms, .n = i, .mode = "", .gate = in->gate};
        AIKI_TRY(leaf_child_start(run, &o, &options, &futures[i], err));
    }
    AIKI_TRY(aiki_await_settled(run, futures, count, err));
    for (uint32_t i = 0; i < count; i++) {
        struct answer a;
        if (leaf_child_result(run, futures[i], &a, err) == AIKI_OK)
            out->n += a.n;
        else
            out->text = aiki_format(run, "%s", err->code);
    }
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(parent, "parent", "1.0.0", order, answer);

static aiki_status detach(aiki_run *run, const struct order *in, struct answer *out,
                          aiki_error *err)
{
    char *id = aiki_alloc(run, AIKI_CHILD_ID_SIZE);
    aiki_writer w = aiki_run_writer(run);

    if (id == NULL)
        return AIKI_NOMEM;
    AIKI_TRY(order_encode(in, &w, err));
    AIKI_TRY(aiki_child_detach(run, "leaf", "", aiki_writer_view(&w), NULL, id, err));
    out->text = id;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(detach, "detach", "1.0.0", order, answer);

/* Whatever workflow the mode names; nothing of it is known here but that it takes {"ms": N}. */
static aiki_status elsewhere(aiki_run *run, const struct order *in, struct answer *out,
                             aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);

    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "ms");
    aiki_mp_int(&w, in->ms);
    const aiki_child_options options = {.struct_size = sizeof(options),
                                        .schedule_to_start_ms = in->n > 1 ? in->n : 0};
    aiki_future child;
    AIKI_TRY(aiki_child_start(run, in->mode, "", aiki_writer_view(&w), &options, &child, err));
    aiki_status st = aiki_await(run, child, NULL, err);
    out->text = st == AIKI_OK ? "OK" : aiki_format(run, "%s", err->code);
    return st == AIKI_CANCELLED ? st : AIKI_OK;
}
AIKI_WORKFLOW_TYPED(elsewhere, "elsewhere", "1.0.0", order, answer);

/* ---- groups and times -------------------------------------------------------------------- */

static aiki_status group(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    enum { BRANCHES = 5 };
    aiki_future futures[BRANCHES];
    aiki_status st;

    for (uint32_t i = 0; i < BRANCHES; i++) {
        struct order o = *in;
        o.n = i;
        o.ms = i < 3 ? 50 : in->ms;
        o.mode = i == 4 ? "fail" : "";
        AIKI_TRY(work_start(run, &o, NULL, &futures[i], err));
    }
    if (strcmp(in->mode, "fail_fast") == 0)
        st = aiki_await_all_or_cancel(run, futures, BRANCHES, err);
    else if (strcmp(in->mode, "quorum") == 0)
        st = aiki_await_quorum(run, futures, BRANCHES, 3, err);
    else
        st = aiki_await_all(run, futures, BRANCHES, err);
    uint32_t ok, failed;
    aiki_count_results(run, futures, BRANCHES, &ok, &failed);
    out->n = 10 * ok + failed;
    out->text = st == AIKI_OK ? "" : aiki_format(run, "%s", err->code);
    return aiki_cancel_all(run, futures, BRANCHES, err);
}
AIKI_WORKFLOW_TYPED(group, "group", "1.0.0", order, answer);

static aiki_status race(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    aiki_future futures[2];
    uint32_t first;

    for (uint32_t i = 0; i < 2; i++) {
        struct order o = *in;
        o.n = i;
        AIKI_TRY(work_start(run, &o, NULL, &futures[i], err));
    }
    AIKI_TRY(aiki_await_any(run, futures, 2, &first, err));
    for (uint32_t i = 0; i < 2; i++)
        out->n += aiki_result(run, futures[i], NULL, NULL) == AIKI_OK;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(race, "race", "1.0.0", order, answer);

static aiki_status until(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    int64_t began_at_ms, ended_at_ms;

    AIKI_TRY(aiki_now(run, &began_at_ms, err));
    AIKI_TRY(aiki_sleep_until(run, "alarm", began_at_ms + in->ms, err));
    AIKI_TRY(aiki_now(run, &ended_at_ms, err));
    out->n = ended_at_ms - began_at_ms;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(until, "until", "1.0.0", order, answer);

AIKI_SIGNAL_DECLARE(decision, "decision", answer);

static aiki_status decide(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    struct answer a;
    aiki_status st;

    while ((st = decision_wait(run, AIKI_FOREVER_MS, &a, err)) == AIKI_FAILED)
        out->text = aiki_format(run, "%s", err->code);
    if (st != AIKI_OK)
        return st;
    out->n = a.n;
    return aiki_sleep(run, "ponder", in->ms, err);
}
AIKI_WORKFLOW_TYPED(decide, "decide", "1.0.0", order, answer);

#define SHARED_WORK(F, R)       \
    F(R, str, path, AIKI_REQUIRED) \
    F(R, i64, ms, AIKI_REQUIRED)   \
    F(R, i64, n, AIKI_REQUIRED)    \
    F(R, str, gate, AIKI_REQUIRED)
AIKI_RECORD(shared_work, SHARED_WORK);

/* Marks + when it begins and d when it is done; fails for good while FILE.shut exists. */
static aiki_status share(aiki_call *call, const struct shared_work *in, struct answer *out)
{
    const struct timespec pause = {in->ms / 1000, in->ms % 1000 * 1000000};
    char path[512];

    (void)trace_append(in->path, "+", 1); /* a missing mark fails the test */
    (void)nanosleep(&pause, NULL);        /* an early end is an end */
    trace_await(call, in->gate);
    (void)snprintf(path, sizeof(path), "%s.shut", in->path);
    if (access(path, F_OK) == 0)
        return aiki_fail_final(call, "SHUT", "%s is shut", in->path);
    (void)trace_append(in->path, "d", 1);
    out->n = in->n;
    return AIKI_OK;
}
AIKI_TASK_TYPED(share, "share", shared_work, answer);
AIKI_TASK_SHARED(share, "share", "1.0.0", shared_work, answer);

static aiki_status once(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    const struct shared_work work = {in->path, in->ms, in->n, in->gate};

    aiki_status st = share_shared(run, AIKI_SCOPE_NAMESPACE, in->mode, &work, out, err);
    if (st == AIKI_FAILED)
        out->text = aiki_format(run, "%s", err->code);
    return st == AIKI_FAILED ? AIKI_OK : st;
}
AIKI_WORKFLOW_TYPED(once, "once", "1.0.0", order, answer);

AIKI_CHILD_DECLARE(ring, "circle", "1.0.0", order, answer);

static aiki_status circle(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    aiki_child_options options = {.struct_size = sizeof(options), .shared = 1, .key = in->mode};
    struct order other = *in;
    aiki_future future;

    AIKI_TRY(aiki_sleep(run, "ponder", in->ms, err));
    other.mode = aiki_format(run, "%c", (int)('a' + in->n));
    other.n = in->mode[0] - 'a';
    out->n = in->n;
    AIKI_TRY(ring_child_start(run, &other, &options, &future, err));
    return aiki_await(run, future, NULL, err);
}
AIKI_WORKFLOW_TYPED(circle, "circle", "1.0.0", order, answer);

static aiki_status gate(aiki_run *run, const struct order *in, struct answer *out, aiki_error *err)
{
    AIKI_TRY(leave_mark(run, in, "a", err));
    aiki_status st = pass_gate_call(run, in, NULL, err);
    if (st != AIKI_OK) {
        AIKI_TRY(leave_mark(run, in, "u", NULL));
        return st;
    }
    out->n = 1;
    return leave_mark(run, in, "b", err);
}
AIKI_WORKFLOW_TYPED(gate, "gate", "1.0.0", order, answer);

AIKI_PLUGIN("family", "1.0.0",
            AIKI_WORKFLOWS(cleanup_workflow, busy_workflow, leaf_workflow, parent_workflow,
                           detach_workflow, elsewhere_workflow, group_workflow, until_workflow,
                           gate_workflow, race_workflow, decide_workflow,
                           once_workflow, circle_workflow, share_alone_workflow),
            AIKI_TASKS(mark_task, work_task, pass_gate_task, share_task));

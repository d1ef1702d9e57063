/* tasks.c - what must hold of attempts, by their executions in the simulated runtimes.
 *
 *   an outcome is of an attempt that ran under the epoch that recorded it, and is what that attempt left
 *   attempts count 1, 2, 3...; no more and no fewer than the policy says
 *   a timeout is recorded only when that long has passed, and of a task that has it
 *   what is executed at most once ends OUTCOME_UNKNOWN when nobody knows what became of it
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sim.h"
#include "wire/error.h"

static __attribute__((noreturn)) void wrong(const struct sim_run *r, const struct event *e, const char *what)
{
    violation("run %u event %llu: attempt %llu of %.*s: %s", fact_run_number(r), (unsigned long long)e->seq,
              (unsigned long long)e->as.step.attempt, (int)e->as.step.name.size_bytes,
              (const char *)e->as.step.name.data, what);
}

static bool is_of(const struct execution *x, const struct sim_run *r, const struct fact_step *s)
{
    return x->run == fact_run_number(r) && x->nth == s->nth &&
           memcmp(&x->address, &s->address, sizeof(s->address)) == 0;
}

/* The execution that an outcome names ran this attempt, under the epoch that recorded it. */
static const struct execution *executed(const struct sim_run *r, const struct event *e,
                                        const struct fact_step *s, uint64_t execution)
{
    if (execution >= sim.execution_count)
        wrong(r, e, "an outcome of no execution");
    const struct execution *x = &sim.executions[execution];
    if (!is_of(x, r, s) || x->attempt != e->as.step.attempt || x->pass != r->passes)
        wrong(r, e, "the outcome of another step or attempt");
    if (x->epoch != e->epoch)
        violation("run %u event %llu: epoch %llx records what was executed under epoch %llx",
                  fact_run_number(r), (unsigned long long)e->seq, (unsigned long long)e->epoch,
                  (unsigned long long)x->epoch);
    return x;
}

static struct outcome_of outcome(const struct sim_run *r, const struct event *e, const struct fact_step *s)
{
    const struct attempt_of a = {.run = fact_run_number(r),
                                 .name = s->name,
                                 .pass = r->passes,
                                 .input = s->input,
                                 .nth = s->nth,
                                 .attempt = e->as.step.attempt};
    return attempt_outcome(&a);
}

static const struct task_limits *limits_of(const struct sim_run *r, const struct fact_step *s)
{
    return &sim.programs[r->build][r->workflow].tasks[s->name];
}

static void widen(const struct program *p, const struct fact_step *s, uint32_t *min, uint32_t *max)
{
    const struct op *op;
    for (uint32_t n = 0; (op = program_op(p, n)) != NULL; n++) {
        if (op->kind != OP_TASK || op->name != s->name)
            continue;
        *min = op->attempts_max < *min ? op->attempts_max : *min;
        *max = op->attempts_max > *max ? op->attempts_max : *max;
    }
}

/* Over all calls of that task in its program: programs may call one address under several policies, the
 * journal does not say which call this was. */
static void attempts_of(const struct sim_run *r, const struct fact_step *s, uint32_t *ret_min,
                        uint32_t *ret_max)
{
    const struct start_retry *start = &r->retry;
    if (start->given) {
        *ret_min = *ret_max = start->kind == AIKI_RETRY_NEVER ? 1 : start->attempts_max;
        return;
    }
    *ret_min = UINT32_MAX;
    *ret_max = 0;
    for (uint32_t build = 0; build < BUILDS; build++)
        if (build == r->build || HAS(OTHER_BUILD))
            widen(&sim.programs[build][r->workflow], s, ret_min, ret_max);
}

/* ---- timeouts -------------------------------------------------------------------------------- */

/* The latest execution of that attempt in the epoch at hand. */
static const struct execution *latest(const struct sim_run *r, const struct event *e,
                                      const struct fact_step *s)
{
    for (size_t n = sim.execution_count; n-- > 0;) {
        const struct execution *x = &sim.executions[n];
        if (is_of(x, r, s) && x->attempt == e->as.step.attempt && x->pass == r->passes &&
            x->epoch == e->epoch)
            return x;
    }
    return NULL;
}

static void check_lasted(const struct sim_run *r, const struct event *e, int64_t since_ms, int64_t limit_ms)
{
    if (limit_ms == 0)
        wrong(r, e, "it has no such timeout");
    if (since_ms == 0 || sim.now_ms + SKEW_MS < since_ms + limit_ms)
        wrong(r, e, "its timeout had not passed");
}

/* True: no further attempt may follow. */
static bool check_timeout(const struct sim_run *r, const struct event *e, const struct fact_step *s,
                          const char *code)
{
    const struct task_limits *t = limits_of(r, s);
    const struct execution *x = latest(r, e, s);
    if (strcmp(code, "TIMEOUT_SCHEDULE_TO_CLOSE") == 0) {
        if (t->schedule_to_close_ms == 0)
            wrong(r, e, "it has no such timeout");
        return true;
    }
    if (x == NULL)
        wrong(r, e, "a timeout of no execution");
    if (strcmp(code, "TIMEOUT_SCHEDULE_TO_START") == 0) {
        if (t->schedule_to_start_ms == 0 || e->as.step.attempt != 1 || x->began_ms != 0)
            wrong(r, e, "it has no such timeout, or began");
        return true;
    }
    int64_t alive_ms = x->beat_ms > x->began_ms ? x->beat_ms : x->began_ms;
    if (strcmp(code, "TIMEOUT_START_TO_CLOSE") == 0)
        check_lasted(r, e, x->began_ms, t->start_to_close_ms);
    else if (strcmp(code, "TIMEOUT_HEARTBEAT") == 0)
        check_lasted(r, e, alive_ms, t->heartbeat_ms);
    else
        wrong(r, e, "an unknown code");
    return t->once;
}

static void check_unknown(const struct sim_run *r, const struct event *e, const struct fact_step *s)
{
    if (!limits_of(r, s)->once)
        wrong(r, e, "its outcome is unknown though it may be executed again");
    if (s->begun_attempt != e->as.step.attempt || s->begun_epoch >= e->epoch)
        wrong(r, e, "its outcome is unknown and no earlier owner began it");
    for (size_t n = sim.execution_count; n-- > 0;)
        if (is_of(&sim.executions[n], r, s) && sim.executions[n].epoch == s->begun_epoch)
            return;
    if (s->begun_epoch == r->left_epoch)
        wrong(r, e, "its outcome is unknown, and its owner left without beginning it");
}

/* ---- crashes --------------------------------------------------------------------------------- */

void fact_crashed(struct sim_run *r, const struct event *e)
{
    r->crashed_seq = e->seq;
    if (!e->as.crashed.charged)
        return;
    quarantine_counts(r, e);
    if (e->as.crashed.attempt == 0) {
        r->code_crashes[e->as.crashed.build.data[0] - 1u]++;
        return;
    }
    FACT_GROW(r->crashes, r->crash_count, r->crash_capacity);
    r->crashes[r->crash_count++] = (struct fact_crash){.address = e->as.crashed.address,
                                                       .nth = e->as.crashed.nth,
                                                       .pass = r->passes,
                                                       .seq = e->seq,
                                                       .at_ms = e->at_ms,
                                                       .build = e->as.crashed.build.data[0] - 1u};
}

/* What is on record about crashes of one step under one build. */
struct crash_record {
    uint32_t here, elsewhere, budget; /* budget: those that count against it */
    uint64_t last_seq;                /* of these */
};

static struct crash_record crashes_of(const struct sim_run *r, const struct address *a, uint64_t nth, uint32_t build)
{
    struct crash_record of = {0};
    for (uint32_t i = 0; i < r->crash_count; i++) {
        const struct fact_crash *c = &r->crashes[i];
        if (c->nth != nth || c->pass != r->passes || memcmp(&c->address, a, sizeof(*a)) != 0)
            continue;
        of.elsewhere += c->build != build;
        of.here += c->build == build;
        of.budget += c->build == build && c->seq > r->lifted_seq;
        of.last_seq = c->build == build ? c->seq : of.last_seq;
    }
    return of;
}

static bool is_spent(const struct sim_run *r, const struct crash_record *of, uint32_t name, uint32_t build)
{
    uint32_t max = sim.programs[build][r->workflow].tasks[name].crashes_max;
    return of->budget >= (max != 0 ? max : CRASHES_DEFAULT);
}

/* What crashes two builds is in the input. */
static bool is_of_two(const struct crash_record *of) { return of->here > 0 && of->elsewhere > 0; }

bool fact_is_crashed_out(const struct sim_run *r, const struct address *a, uint64_t nth, uint32_t name,
                         uint32_t build)
{
    struct crash_record of = crashes_of(r, a, nth, build);
    return is_spent(r, &of, name, build) || is_of_two(&of);
}

/* It fails for good when it crashed two builds, or when no other came in time. */
static void check_crashed_out(const struct sim_run *r, const struct event *e, const struct fact_step *s)
{
    struct crash_record of = crashes_of(r, &s->address, s->nth, r->build);
    bool begun = limits_of(r, s)->once && s->begun_attempt == e->as.step.attempt;
    if (is_of_two(&of))
        return;
    if (!is_spent(r, &of, s->name, r->build))
        wrong(r, e, "its crash budget is not used up");
    if (!begun && r->vain_seq < of.last_seq)
        wrong(r, e, "another build was not waited for");
}

void fact_unblocked(struct sim_run *r, const struct event *e)
{
    memset(r->code_crashes, 0, sizeof(r->code_crashes));
    if (e->as.unblocked.why == UNBLOCKED_LIFTED)
        r->lifted_seq = e->seq;
    if (e->as.unblocked.why != UNBLOCKED_IN_VAIN)
        return;
    r->vain_seq = e->seq;
    for (uint32_t i = 0; i < r->crash_count; i++)
        if (r->crashes[i].build == r->build && e->at_ms >= r->crashes[i].at_ms + sim.config.hold_ms)
            return;
    wrong(r, e, "it is held no more before its time");
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* How an attempt failed that is over; true: no further one may follow, whatever the policy says. */
static bool check_failure(const struct sim_run *r, const struct event *e, const struct fact_step *s)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (error_read(e->as.step.error, &err, NULL, NULL) != AIKI_OK)
        wrong(r, e, "its error does not decode");
    if (strcmp(err.code, "OUTCOME_UNKNOWN") == 0) {
        check_unknown(r, e, s);
        return true;
    }
    if (strcmp(err.code, "STEP_CRASHED") == 0) {
        check_crashed_out(r, e, s);
        return true;
    }
    if (strcmp(err.code, "SCHEMA") == 0) {
        struct fact_step judged = *s;
        (void)executed(r, e, s, strtoull(err.message, NULL, 10));
        judged.value = outcome(r, e, s).value;
        fact_check_schema(r, e, &judged, WARNED_OUTPUT);
        return true;
    }
    if (strcmp(err.code, "NO") != 0)
        return check_timeout(r, e, s, err.code);
    struct outcome_of o = outcome(r, e, s);
    (void)executed(r, e, s, strtoull(err.message, NULL, 10));
    if (o.good)
        wrong(r, e, "it failed on record and not in truth");
    return o.final || r->retry.no_is_final;
}

static void check_success(const struct sim_run *r, const struct event *e, struct fact_step *s)
{
    struct outcome_of o = outcome(r, e, s);
    const struct task_limits *t = limits_of(r, s);
    uint64_t execution;
    s->value = fact_number(e->as.step.value, &execution);
    const struct execution *x = executed(r, e, s, execution);
    if (!o.good || s->value != o.value)
        wrong(r, e, "its result is not what it returned");
    fact_check_schema(r, e, s, WARNED_OUTPUT);
    /* A stopped host may take a result first and look at its clock then; and a quarter late is in time. */
    int64_t limit_ms = t->start_to_close_ms;
    if (x->in_calm && limit_ms != 0 && o.takes_ms > limit_ms + limit_ms / 4 + SKEW_MS)
        wrong(r, e, "it took longer than it may");
}

/* The last attempt: it fits the policy, and the step ends as it did. */
static void take_last(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    uint32_t attempts_min, attempts_max;
    if (e->as.step.attempt != s->failed + 1)
        wrong(r, e, "attempts are not counted one by one");
    if (e->as.step.outcome == OUTCOME_OK) {
        check_success(r, e, s);
        return;
    }
    attempts_of(r, s, &attempts_min, &attempts_max);
    bool final = check_failure(r, e, s);
    if (!final && e->as.step.attempt > attempts_max)
        wrong(r, e, "more attempts than the policy allows");
    if (!final && e->as.step.attempt < attempts_min)
        wrong(r, e, "fewer attempts than the policy allows");
}

/* What was kept is shown as it was, whoever executes the run by then. */
void fact_task_done(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    uint64_t none;
    if (!s->kept) {
        take_last(r, e, s);
        return;
    }
    if (e->as.step.outcome != s->kept_outcome || e->as.step.attempt != s->failed + 1 ||
        (e->as.step.outcome == OUTCOME_OK && fact_number(e->as.step.value, &none) != s->value))
        wrong(r, e, "its kept outcome is shown as another");
}

void fact_attempt_done(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    if (s->kept)
        wrong(r, e, "its outcome is kept already");
    take_last(r, e, s);
    s->kept = true;
    s->kept_outcome = e->as.step.outcome;
    s->done_seq = e->seq;
}

/* A policy given at the start says when the next one begins, unless the task itself did. */
static void check_delay(const struct sim_run *r, const struct event *e, const struct fact_step *s)
{
    const struct start_retry *start = &r->retry;
    if (!start->given || outcome(r, e, s).retry_after_ms != 0)
        return;
    int64_t delay_ms = start->delays_ms[start->kind == AIKI_RETRY_LIST && e->as.step.attempt > 1];
    for (uint64_t n = 1; n < e->as.step.attempt && start->kind == AIKI_RETRY_EXPONENTIAL; n++)
        delay_ms *= 2;
    if (e->as.step.next_at_ms > e->at_ms + delay_ms + SKEW_MS)
        wrong(r, e, "the next one begins later than its policy says");
    const struct execution *x = latest(r, e, s);
    /* By its owner's clock, which never goes back; who was stopped may have learnt the time too late. */
    if (x != NULL && x->began_ms != 0 && e->as.step.next_at_ms < x->began_host_ms + delay_ms)
        wrong(r, e, "the next one begins earlier than its policy says");
}

void fact_attempt_failed(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    if (e->as.step.attempt != s->failed + 1 || s->kept)
        wrong(r, e, "attempts are not counted one by one");
    if (check_failure(r, e, s))
        wrong(r, e, "another attempt is to follow a final failure");
    check_delay(r, e, s);
    s->failed++;
    s->next_at_ms = e->as.step.next_at_ms;
    s->begun_seq = e->seq;
}

static bool began(const struct sim_run *r, const struct fact_step *s, uint64_t attempt)
{
    for (size_t n = sim.execution_count; n-- > 0;)
        if (is_of(&sim.executions[n], r, s) && sim.executions[n].attempt == attempt &&
            sim.executions[n].pass == r->passes)
            return true;
    return false;
}

/* A sign of life of the attempt under way; or that it has not begun and its owner gives it back. */
void fact_heartbeat(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    bool taken_back = e->as.step.attempt == s->failed && e->as.step.value.size_bytes == 0;
    if (e->as.step.attempt != s->failed + 1 && !taken_back)
        wrong(r, e, "a sign of life of another attempt");
    if (taken_back && began(r, s, s->failed + 1))
        wrong(r, e, "it is taken back though it has begun");
    s->begun_attempt = e->as.step.attempt;
    s->begun_epoch = e->epoch;
    s->begun_seq = e->seq;
    if (e->as.step.value.size_bytes == 0)
        return;
    uint64_t none;
    (void)executed(r, e, s, fact_number(e->as.step.value, &none));
    s->beat = true;
}

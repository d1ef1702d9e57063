/* facts.c - what is on record about a run, built from the events as they are committed and nothing else.
 *
 *   journal   gap-free, epochs only rise, one owner an epoch, nothing after the end but a retry
 *   steps     an outcome once; sleeps and waits not before their time, unless somebody woke the run
 *   signals   each reference once, taken once, in the order they came
 *   requests  each is recorded when it changes something; a retry voids what it says and no more
 *   times     no start before its time, no end by a deadline that has not passed
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sim.h"
#include "wire/error.h"
#include "wire/retry.h"

uint64_t fact_number(aiki_view value, uint64_t *ret_second)
{
    aiki_reader r;
    aiki_mp_item item;
    aiki_reader_init(&r, value);
    bool pair = aiki_mp_peek(&r, &item) && item.type == AIKI_MP_ARRAY;
    if (pair)
        (void)aiki_mp_read_array(&r);
    uint64_t first = aiki_mp_read_uint(&r);
    *ret_second = pair ? aiki_mp_read_uint(&r) : 0;
    return first;
}

static uint64_t first_number(aiki_view value)
{
    uint64_t none;
    return fact_number(value, &none);
}

uint32_t fact_run_number(const struct sim_run *r) { return (uint32_t)(r - sim.runs); }

static __attribute__((noreturn)) void wrong(const struct sim_run *r, const struct event *e, const char *what)
{
    violation("run %u event %llu (%s): %s", fact_run_number(r), (unsigned long long)e->seq,
              event_kind_name(e->kind), what);
}

/* ---- steps ----------------------------------------------------------------------------------- */

struct fact_step *fact_find(struct sim_run *r, const struct address *a, uint64_t nth)
{
    for (uint32_t i = 0; i < r->step_count; i++) {
        struct fact_step *s = &r->steps[i];
        if (!s->gone && s->nth == nth && memcmp(&s->address, a, sizeof(*a)) == 0)
            return s;
    }
    return NULL;
}

/* Tasks, sleeps, signals and side values are "a", "b"...; children "w0", "w1"... */
static uint32_t name_number(aiki_view name, uint64_t kind)
{
    if (kind == STEP_CHILD)
        return name.size_bytes == 2 ? (uint32_t)(name.data[1] - '0') : WORKFLOWS_MAX;
    return name.size_bytes > 0 ? (uint32_t)(name.data[0] - 'a') : 0;
}

static struct fact_step *step_of(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = fact_find(r, &e->as.step.address, e->as.step.nth);
    /* After a retry its identity is told once more. */
    if ((s == NULL) != (e->as.step.identity_kind != 0))
        wrong(r, e, "the identity of a step comes with its first event and no other");
    if (s == NULL) {
        FACT_GROW(r->steps, r->step_count, r->step_capacity);
        s = &r->steps[r->step_count++];
        *s = (struct fact_step){.address = e->as.step.address,
                                .nth = e->as.step.nth,
                                .kind = e->as.step.identity_kind,
                                .name = name_number(e->as.step.name, e->as.step.identity_kind),
                                .input = first_number(e->as.step.input),
                                .first_seq = e->seq};
    }
    if (s->done)
        wrong(r, e, "the step is on record as done");
    s->required = true;
    return s;
}

/* What an owner is told late, having been stopped, holds for what has begun by then. */
bool fact_was_woken(const struct sim_run *r, int64_t since_ms)
{
    int64_t last_ms = r->woken_at_ms > r->woken_told_ms ? r->woken_at_ms : r->woken_told_ms;
    return r->woken > 0 && last_ms + SKEW_MS >= since_ms;
}

/* Who waits for it now may do so with another duration than who began it. */
static bool may_have_another_limit(const struct fact_step *s)
{
    return HAS(OTHER_BUILD) || s->older;
}

/* Somebody woke the run after this began: it need not last as long as it was to. */
static bool may_end_early(const struct sim_run *r, const struct fact_step *s)
{
    return may_have_another_limit(s) || fact_was_woken(r, s->since_ms);
}

/* A value that was taken: what became of it fits the mode of the build that took it. */
void fact_check_schema(const struct sim_run *r, const struct event *e, const struct fact_step *s, uint64_t what)
{
    uint32_t mode = sim.programs[r->build][r->workflow].schema_modes[s->name];
    bool misfit = USES(SCHEMAS) && schema_misfit(s->value);
    bool fails = misfit && mode == AIKI_SCHEMA_STRICT, warns = misfit && mode == AIKI_SCHEMA_WARN;
    if ((e->as.step.outcome == OUTCOME_FAILED) != fails)
        wrong(r, e, fails ? "a value passed that does not fit" : "a value was refused that fits");
    if (warns && (s->warned & what) == 0)
        wrong(r, e, "a value passed that does not fit, and the history does not say so");
}

/* Once for each value of a step. It may have been given up since. */
static void warned(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = fact_find(r, &e->as.step.address, e->as.step.nth);
    if (s == NULL || !s->done)
        s = step_of(r, e);
    if ((s->warned & e->as.step.warned) != 0)
        wrong(r, e, "the history says so already");
    s->warned |= e->as.step.warned;
}

/* Another wait of that name, given up behind the limit of this one, may have had the signal until then. */
static bool may_have_been_held(const struct sim_run *r, const struct fact_step *s)
{
    for (uint32_t i = 0; i < r->step_count; i++) {
        const struct fact_step *o = &r->steps[i];
        if (o != s && o->kind == STEP_SIGNAL && o->name == s->name && o->cut && o->done_at_ms >= s->due_at_ms)
            return true;
    }
    return false;
}

static void signal_done(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    uint64_t seq = first_number(e->as.step.value);
    bool timed_out = e->as.step.outcome == OUTCOME_TIMEDOUT;
    for (uint32_t i = 0; i < r->signal_count; i++) {
        struct fact_signal *signal = &r->signals[i];
        if (signal->name != s->name || signal->taken)
            continue;
        if (timed_out && (r->told_epoch != e->epoch || signal->seq > r->told_seq))
            break; /* its owner may not have been told yet */
        if (timed_out && may_have_been_held(r, s))
            break;
        if (timed_out)
            wrong(r, e, "a wait gave up though its signal was there");
        if (signal->seq != seq)
            violation("run %u event %llu: takes signal %llu, the oldest is %llu", fact_run_number(r),
                      (unsigned long long)e->seq, (unsigned long long)seq,
                      (unsigned long long)signal->seq);
        signal->taken = true;
        s->value = signal->value;
        s->signal = i + 1;
        fact_check_schema(r, e, s, WARNED_INPUT);
        return;
    }
    if (!timed_out)
        wrong(r, e, "takes a signal that is not there");
    if (e->at_ms < s->due_at_ms && !may_have_another_limit(s))
        violation("run %u event %llu: a wait gave up %lld ms early", fact_run_number(r),
                  (unsigned long long)e->seq, (long long)(s->due_at_ms - e->at_ms));
}

/* A detached child is over once it was asked for. Of another the parent was told how it ended. */
static void child_done(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    static const uint64_t outcomes[] = {[RUN_COMPLETED] = OUTCOME_OK,
                                        [RUN_CANCELLED] = OUTCOME_CANCELLED,
                                        [RUN_TIMED_OUT] = OUTCOME_TIMEDOUT,
                                        [RUN_FAILED] = OUTCOME_FAILED,
                                        [RUN_TERMINATED] = OUTCOME_FAILED};
    if (s->detached) {
        if (e->as.step.outcome != OUTCOME_OK)
            wrong(r, e, "a detached child has an outcome");
        return;
    }
    uint64_t value = e->as.step.outcome == OUTCOME_OK ? first_number(e->as.step.value) : 0;
    for (uint32_t i = 0; i < r->end_count; i++) {
        const struct fact_end *end = &r->ends[i];
        s->value = value;
        if (id_equal(&end->child, &s->child) && end->value == value &&
            outcomes[end->state] == e->as.step.outcome)
            return;
    }
    wrong(r, e, "the parent was not told of such an end of its child");
}

static void note_first_done(struct sim_run *r, const struct event *e, const struct fact_step *s)
{
    if (s->kind != STEP_CHILD && r->first_done_seq[s->name] == 0)
        r->first_done_seq[s->name] = e->seq;
}

static void step_done(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = step_of(r, e);
    s->done = true;
    s->done_seq = e->seq;
    s->done_at_ms = e->at_ms;
    s->outcome = e->as.step.outcome;
    s->with_error = e->as.step.error.size_bytes > 0;
    s->cut = s->outcome == OUTCOME_CANCELLED && !s->with_error;
    note_first_done(r, e, s);
    FACT_GROW(r->deliveries, r->delivery_count, r->delivery_capacity);
    r->deliveries[r->delivery_count++] = (uint32_t)(s - r->steps);
    if (s->cut && s->kind != STEP_SIDE)
        return; /* whether the program did that, its model knows */
    switch (s->kind) {
    case STEP_TASK: fact_task_done(r, e, s); break;
    case STEP_SIGNAL: signal_done(r, e, s); break;
    case STEP_SIDE: s->value = first_number(e->as.step.value); break;
    case STEP_CHILD: child_done(r, e, s); break;
    case STEP_SLEEP:
        if (e->at_ms < s->due_at_ms && !may_end_early(r, s))
            violation("run %u event %llu: a sleep ends %lld ms early", fact_run_number(r),
                      (unsigned long long)e->seq, (long long)(s->due_at_ms - e->at_ms));
        break;
    default: wrong(r, e, "a step of an unknown kind");
    }
}

/* While the run is paused: the code may not see it yet. */
static void attempt_done(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = step_of(r, e);
    if (r->paused_ever == 0)
        wrong(r, e, "an outcome is kept though the run was never paused");
    note_first_done(r, e, s);
    fact_attempt_done(r, e, s);
}

static void child_begun(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    struct child_options o;
    if (child_options_read(e->as.step.options, &o) != AIKI_OK)
        wrong(r, e, "the options of a child do not decode");
    if (o.pass != r->passes)
        wrong(r, e, "a child is asked for in another pass than this");
    s->child = child_id(&r->id, &s->address, s->nth, o.pass);
    s->close_policy = o.close_policy;
    s->detached = o.detached;
    s->keyed = o.key.size_bytes > 0;
    s->shared = o.shared;
    (void)snprintf(s->key, sizeof(s->key), "%.*s", (int)o.key.size_bytes, (const char *)o.key.data);
    s->start_by_ms = o.schedule_to_start_ms;
}

static void step_begun(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = step_of(r, e);
    if (s->begun || s->failed > 0)
        wrong(r, e, "a step begins twice");
    s->begun = true;
    s->begun_seq = e->seq;
    s->due_at_ms = e->as.step.due_at_ms;
    s->since_ms = e->as.step.due_at_ms - (e->as.step.duration_ms > 0 ? e->as.step.duration_ms : 0);
    if (s->kind == STEP_CHILD)
        child_begun(r, e, s);
}

/* ---- arrivals and requests ------------------------------------------------------------------- */

static void signal_came(struct sim_run *r, const struct event *e)
{
    uint64_t number, value = fact_number(e->as.signal.payload, &number);
    for (uint32_t i = 0; i < r->signal_count; i++)
        if (r->signals[i].number >= number)
            violation("run %u event %llu: signal %llu is recorded after signal %llu", fact_run_number(r),
                      (unsigned long long)e->seq, (unsigned long long)number,
                      (unsigned long long)r->signals[i].number);
    FACT_GROW(r->signals, r->signal_count, r->signal_capacity);
    r->signals[r->signal_count++] = (struct fact_signal){
        .seq = e->seq, .name = name_number(e->as.signal.name, STEP_SIGNAL), .number = number, .value = value};
}

static void child_ended(struct sim_run *r, const struct event *e)
{
    uint64_t state = e->as.child_done.state;
    if (!run_state_is_terminal(state))
        wrong(r, e, "a child ended that goes on");
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_read(e->as.child_done.error, &err, NULL, NULL); /* its code counts, if there is one */
    FACT_GROW(r->ends, r->end_count, r->end_capacity);
    r->ends[r->end_count++] = (struct fact_end){
        .child = e->as.child_done.child,
        .by = e->as.child_done.by,
        .key_taken = strcmp(err.code, "KEY_TAKEN") == 0,
        .circle = strcmp(err.code, "JOIN_CIRCLE") == 0,
        .seq = e->seq,
        .state = state,
        .value = state == RUN_COMPLETED ? first_number(e->as.child_done.output) : 0};
}

bool fact_has_ref(const struct sim_run *r, uint64_t ref)
{
    for (uint32_t i = 0; i < r->ref_count; i++)
        if (r->refs[i] == ref)
            return true;
    return false;
}

static void note_ref(struct sim_run *r, const struct event *e, aiki_view text)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)text.size_bytes, (const char *)text.data);
    uint64_t ref = strtoull(digits, NULL, 10);
    if (ref == 0)
        return;
    if (fact_has_ref(r, ref))
        wrong(r, e, "the request is on record already");
    FACT_GROW(r->refs, r->ref_count, r->ref_capacity);
    r->refs[r->ref_count++] = ref;
}

static void arrived(struct sim_run *r, const struct event *e)
{
    r->arrival_seq = e->seq;
    if (e->kind == EVENT_SIGNAL) {
        signal_came(r, e);
        return;
    }
    if (e->kind == EVENT_CHILD_DONE) {
        child_ended(r, e);
        return;
    }
    note_ref(r, e, e->as.control.ref);
    switch (e->kind) {
    case EVENT_CANCEL_REQUESTED:
        if (r->cancel_requested)
            wrong(r, e, "it was asked to end already");
        r->cancel_requested = r->cancelled_now = true;
        r->paused = false;
        r->cancel_seq = e->seq;
        r->cancelled_ever++;
        return;
    case EVENT_WOKEN:
        r->woken++;
        r->woken_seq = e->seq;
        r->woken_at_ms = e->at_ms;
        return;
    case EVENT_PAUSED:
        if (r->paused || r->cancel_requested)
            wrong(r, e, "it is paused already, or is to end");
        r->paused = true;
        r->paused_seq = e->seq;
        r->paused_ever++;
        return;
    default: r->paused = false; return;
    }
}

/* ---- another pass ---------------------------------------------------------------------------- */

static bool is_void(const struct fact_step *s, uint64_t from_seq)
{
    if (from_seq != 0 && (s->first_seq >= from_seq || s->done_seq >= from_seq))
        return true;
    if (s->done || s->kept)
        return (s->done ? s->outcome : s->kept_outcome) != OUTCOME_OK;
    return s->kind == STEP_CHILD;
}

static void forget_void(struct sim_run *r, uint64_t from_seq)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->step_count; i++) {
        struct fact_step *s = &r->steps[i];
        s->required = false;
        s->older = true;
        if (s->gone || !is_void(s, from_seq))
            continue;
        s->gone = true;
        if (s->signal != 0)
            r->signals[s->signal - 1].taken = false;
    }
    for (uint32_t i = 0; i < r->delivery_count; i++)
        if (r->deliveries[i] != NOBODY && !r->steps[r->deliveries[i]].gone)
            r->deliveries[kept++] = r->deliveries[i];
    r->delivery_count = kept;
}

/* By policy: its owner wrote it, the program has failed, and the policy allows one more. */
static void check_policy(struct sim_run *r, const struct event *e)
{
    const struct program *p = &sim.programs[r->build][r->workflow];
    struct model_view v = model_run(r);
    if (v.wrong != NULL || v.status != INTERP_RETURNED || v.end != END_FAILED)
        violation("run %u: another pass begins, its program on its journal %s", fact_run_number(r),
                  v.wrong != NULL ? v.wrong : "has not failed");
    if (r->passes + 1 >= p->passes_max)
        wrong(r, e, "more passes than its policy allows");
    if (r->cancel_seen)
        wrong(r, e, "another pass begins of a run that knows it is to end");
    r->next_pass_at_ms = e->as.run_retried.next_at_ms;
    r->pass_told_seq = r->told_epoch == e->epoch ? r->told_seq : r->claimed_seq;
}

/* On request: from the first outcome of the step that was named as the reason, too. */
static void check_request(struct sim_run *r, const struct event *e)
{
    aiki_view step = e->as.run_retried.reason;
    uint64_t from_seq = step.size_bytes == 0 ? 0 : r->first_done_seq[name_number(step, STEP_TASK)];
    if (from_seq != e->as.run_retried.from_seq)
        wrong(r, e, "a retry from another event than the first outcome of its step");
    r->ended = r->cancel_requested = r->cancel_seen = r->paused = r->dropped = false;
    r->deadline_ms = r->next_pass_at_ms = 0;
    r->retried_ever++;
}

static void retried(struct sim_run *r, const struct event *e)
{
    bool by_policy = e->as.run_retried.next_at_ms != 0;
    note_ref(r, e, e->as.run_retried.ref);
    if (by_policy)
        check_policy(r, e);
    else
        check_request(r, e);
    if (e->as.run_retried.attempt != r->passes + 2)
        wrong(r, e, "passes are not counted one by one");
    forget_void(r, e->as.run_retried.from_seq);
    memset(r->code_crashes, 0, sizeof(r->code_crashes));
    r->passes++;
    r->retried_now = by_policy;
}

/* ---- begin and end --------------------------------------------------------------------------- */

static void check_times(const struct sim_run *r, const struct event *e)
{
    int64_t own_ms = r->run_timeout_ms != 0 ? r->run_timeout_ms : sim.programs[0][r->workflow].run_timeout_ms;
    int64_t start_ms = r->delay_ms != 0             ? e->at_ms + r->delay_ms
                       : r->wanted_at_ms > e->at_ms ? r->wanted_at_ms
                                                    : 0;
    int64_t from_ms = start_ms != 0 ? start_ms : e->at_ms;
    if (r->start_at_ms != start_ms)
        wrong(r, e, "it starts at another time than asked for");
    if (r->deadline_ms != (own_ms != 0 ? from_ms + own_ms : 0))
        wrong(r, e, "its deadline is another than asked for");
}

static void check_retry(const struct sim_run *r, const struct event *e)
{
    uint8_t memory[RETRY_ARRAY_BYTES_MAX];
    aiki_writer asked;
    struct start_retry as_array = r->retry;
    as_array.as_map = false;
    aiki_writer_init_fixed(&asked, memory, sizeof(memory));
    start_retry_write(&asked, &as_array);
    if (!view_equal(e->as.started.retry, aiki_writer_view(&asked)))
        wrong(r, e, "it has another retry policy than asked for");
}

static void started(struct sim_run *r, const struct event *e)
{
    r->started_at_ms = e->at_ms;
    r->start_at_ms = e->as.started.start_at_ms;
    r->deadline_ms = e->as.started.deadline_ms;
    key_born(r);
    if (r->parent != NOBODY)
        return; /* family.c compares it with what its parent asked for */
    if (!view_equal(e->as.started.workflow, view_of(workflow_name(r->workflow))) ||
        first_number(e->as.started.input) != r->input || !view_equal(e->as.started.key, view_of(r->key)))
        wrong(r, e, "it was started otherwise than asked for");
    check_times(r, e);
    check_retry(r, e);
}

static void claimed(struct sim_run *r, const struct event *e)
{
    bool early = r->woken > 0 || r->retried_ever > 0;
    if (r->claimed_epoch == e->epoch)
        wrong(r, e, "its epoch is claimed twice");
    if (e->at_ms < r->start_at_ms && !early)
        wrong(r, e, "it begins before it was to start");
    /* Whatever arrived behind what the last owner was told lets it go on at once. */
    if (e->at_ms < r->next_pass_at_ms && r->arrival_seq <= r->pass_told_seq)
        wrong(r, e, "another pass begins before its time");
    if (r->state == RUN_PAUSED)
        wrong(r, e, "it is executed although it is paused");
    r->next_pass_at_ms = 0;
    r->claimed_epoch = e->epoch;
    r->claimed_seq = e->seq;
    r->session = e->as.claimed.session;
    r->build = e->as.claimed.build.size_bytes > 0 ? e->as.claimed.build.data[0] - 1u : 0;
}

static void check_model(struct sim_run *r, enum interp_end end)
{
    struct model_view v = model_run(r);
    bool same = v.status == INTERP_RETURNED && v.end == end && (end != END_GOOD || v.sum == r->output);
    if (v.wrong == NULL && same && v.uncalled == 0)
        return;
    violation("run %u: its program on its journal %s, and %u recorded steps were never asked for",
              fact_run_number(r),
              v.wrong != NULL                  ? v.wrong
              : same                           ? "gives the same"
              : v.status == INTERP_RETURNED    ? "gives another end"
                                               : "does not return",
              v.uncalled);
}

/* Its deadline, or nobody took it up in time. */
static void check_time_out(const struct sim_run *r, const struct event *e)
{
    aiki_error err = {.struct_size = sizeof(err)};
    bool unclaimed = error_read(e->as.failed.error, &err, NULL, NULL) == AIKI_OK &&
                     strcmp(err.code, "TIMEOUT_SCHEDULE_TO_START") == 0;
    int64_t limit_ms = unclaimed ? r->start_by_ms : r->deadline_ms;
    if (limit_ms == 0 || e->at_ms < limit_ms)
        wrong(r, e, "its time has not passed");
    if (unclaimed && (r->claimed_seq != 0 || r->paused_ever > 0))
        wrong(r, e, "it ends as if nobody had taken it up");
}

static void ended(struct sim_run *r, const struct event *e)
{
    static const uint32_t states[] = {[EVENT_COMPLETED] = RUN_COMPLETED,
                                      [EVENT_FAILED] = RUN_FAILED,
                                      [EVENT_CANCELLED] = RUN_CANCELLED,
                                      [EVENT_TIMED_OUT] = RUN_TIMED_OUT,
                                      [EVENT_TERMINATED] = RUN_TERMINATED};
    r->ended = r->ended_now = true;
    r->end_kind = e->kind;
    r->ended_as |= UINT64_C(1) << states[e->kind];
    switch (e->kind) {
    case EVENT_COMPLETED:
        r->output = first_number(e->as.completed.output);
        check_model(r, END_GOOD);
        return;
    case EVENT_FAILED: check_model(r, END_FAILED); return;
    case EVENT_CANCELLED:
        if (!r->cancel_requested)
            wrong(r, e, "it is cancelled and nobody asked for that");
        if (r->claimed_epoch == e->epoch)
            check_model(r, END_CANCELLED);
        else if (r->claimed_seq != 0)
            wrong(r, e, "it is cancelled as if it had not started");
        return;
    case EVENT_TIMED_OUT:
        check_time_out(r, e);
        return;
    default: return;
    }
}

/* ---- any event ------------------------------------------------------------------------------- */

/* A result on record that one of the builds does not take; which of them says so, depends on who was asked
 * first. One that took it itself does. */
static bool has_misfit(const struct sim_run *r)
{
    bool found = false;
    for (uint32_t i = 0; i < r->step_count && HAS(OTHER_BUILD) && USES(SCHEMAS); i++) {
        const struct fact_step *s = &r->steps[i];
        bool shown = !s->gone && s->done && s->kind == STEP_TASK && s->outcome == OUTCOME_OK;
        for (uint32_t build = 0; build < BUILDS && shown && schema_misfit(s->value); build++)
            found |= sim.programs[build][r->workflow].schema_modes[s->name] == AIKI_SCHEMA_STRICT;
    }
    return found;
}

static void blocked(const struct sim_run *r, const struct event *e)
{
    enum { BLOCKING_MS_MAX = 5000 }; /* from what its code saw to the record, once nothing is disturbed */
    aiki_error err = {.struct_size = sizeof(err)};
    if (error_read(e->as.blocked.error, &err, NULL, NULL) != AIKI_OK)
        wrong(r, e, "its reason does not decode");
    if (strcmp(err.code, "WORKFLOW_CRASHED") == 0 && r->code_crashes[r->build] < CRASHES_DEFAULT)
        wrong(r, e, "its crash budget is not used up");
    if (strcmp(err.code, "SCHEMA_MISMATCH") == 0 && (!has_misfit(r) || schema_mended_ms() > BLOCKING_MS_MAX))
        wrong(r, e, "all that is on record fits");
    if (strcmp(err.code, "QUARANTINED") == 0 && !quarantine_was(r->build))
        wrong(r, e, "nothing of its build was ever quarantined");
}

static bool is_of_step(uint64_t kind)
{
    return kind == EVENT_STEP_BEGUN || kind == EVENT_ATTEMPT_FAILED || kind == EVENT_STEP_DONE ||
           kind == EVENT_ATTEMPT_DONE || kind == EVENT_HEARTBEAT || kind == EVENT_WARNED;
}

static bool is_of_owner(const struct event *e)
{
    return is_of_step(e->kind) || e->kind == EVENT_COMPLETED || e->kind == EVENT_FAILED ||
           e->kind == EVENT_BLOCKED || e->kind == EVENT_CANCEL_SEEN || e->kind == EVENT_CRASHED ||
           (e->kind == EVENT_RUN_RETRIED && e->as.run_retried.next_at_ms != 0);
}

static void check_order(const struct sim_run *r, const struct event *e)
{
    bool allowed = e->kind == EVENT_RUN_RETRIED && r->end_kind != EVENT_COMPLETED &&
                   r->end_kind != EVENT_TERMINATED;
    allowed |= e->kind == EVENT_DROPPED && r->end_kind == EVENT_FAILED;
    if ((r->ended && !allowed) || e->seq != r->seq + 1 || e->epoch < r->epoch ||
        (e->seq == 1) != (e->kind == EVENT_STARTED))
        violation("run %u: event %llu (%s, epoch %llx) after %llu events, epoch %llx%s", fact_run_number(r),
                  (unsigned long long)e->seq, event_kind_name(e->kind), (unsigned long long)e->epoch,
                  (unsigned long long)r->seq, (unsigned long long)r->epoch, r->ended ? ", ended" : "");
    if (is_of_owner(e) && r->claimed_epoch != e->epoch)
        wrong(r, e, "its epoch writes and was never claimed");
}

/* Behind the event: what its step is called stands in the first that speaks of it. */
static void tell(struct sim_run *r, const struct event *e)
{
    const struct fact_step *s = is_of_step(e->kind) ? fact_find(r, &e->as.step.address, e->as.step.nth) : NULL;
    if (s == NULL) {
        sim_note("run %u event %llu: %s", fact_run_number(r), (unsigned long long)e->seq,
                 event_kind_name(e->kind));
        return;
    }
    sim_note("run %u event %llu: %s %s %s nth %llu input %llu outcome %llu", fact_run_number(r),
             (unsigned long long)e->seq, event_kind_name(e->kind), step_kind_name(s->kind),
             s->kind == STEP_CHILD ? workflow_name(s->name) : task_name(s->name),
             (unsigned long long)s->nth, (unsigned long long)s->input,
             (unsigned long long)e->as.step.outcome);
}

static void cancel_seen(struct sim_run *r, const struct event *e)
{
    if (!r->cancel_requested || r->cancel_seen)
        wrong(r, e, "the code learns that it is to end, and is not, or knows it");
    r->cancel_seen = true;
    FACT_GROW(r->deliveries, r->delivery_count, r->delivery_capacity);
    r->deliveries[r->delivery_count++] = NOBODY;
}

static void dropped(struct sim_run *r, const struct event *e)
{
    if (r->end_kind != EVENT_FAILED || r->dropped)
        wrong(r, e, "it is no dead letter");
    r->dropped = true;
    r->dropped_ever++;
}

static void take_event(struct sim_run *r, const struct event *e)
{
    check_order(r, e);
    r->seq = e->seq;
    r->epoch = e->epoch;
    if (r->seq > HISTORY_EVENTS_MAX)
        violation("run %u goes on and on: it has %llu events", fact_run_number(r), (unsigned long long)r->seq);
    if (event_is_arrival(e->kind)) {
        arrived(r, e);
        return;
    }
    switch (e->kind) {
    case EVENT_STARTED: started(r, e); break;
    case EVENT_CLAIMED: claimed(r, e); break;
    case EVENT_STEP_BEGUN: step_begun(r, e); break;
    case EVENT_ATTEMPT_FAILED: fact_attempt_failed(r, e, step_of(r, e)); break;
    case EVENT_HEARTBEAT: fact_heartbeat(r, e, step_of(r, e)); break;
    case EVENT_ATTEMPT_DONE: attempt_done(r, e); break;
    case EVENT_STEP_DONE: step_done(r, e); break;
    case EVENT_CANCEL_SEEN: cancel_seen(r, e); break;
    case EVENT_CRASHED: fact_crashed(r, e); break;
    case EVENT_JOINED: join_noted(r, e); break;
    case EVENT_WARNED: warned(r, e); break;
    case EVENT_BLOCKED: blocked(r, e); break;
    case EVENT_UNBLOCKED: fact_unblocked(r, e); break;
    case EVENT_RUN_RETRIED: retried(r, e); break;
    case EVENT_DROPPED:
        note_ref(r, e, e->as.control.ref);
        dropped(r, e);
        break;
    case EVENT_COMPLETED:
    case EVENT_FAILED:
    case EVENT_CANCELLED:
    case EVENT_TIMED_OUT:
    case EVENT_TERMINATED:
        note_ref(r, e, e->kind == EVENT_TERMINATED ? e->as.control.ref : (aiki_view){NULL, 0});
        ended(r, e);
        break;
    default: break; /* says nothing that is checked here */
    }
}

void fact_event(struct sim_run *r, const struct event *e)
{
    take_event(r, e);
    if (sim.config.verbose)
        tell(r, e);
}

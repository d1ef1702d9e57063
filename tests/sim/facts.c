/* facts.c - what is on record about a run, built from the events as they are committed and nothing else.
 *
 *   journal   gap-free, epochs only rise, one owner an epoch, nothing after the end but a retry
 *   steps     an outcome once; sleeps and waits not before their time, unless somebody woke the run
 *   signals   each reference once, taken once, in the order they came
 *   requests  each is recorded when it changes something
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

uint64_t fact_first_number(aiki_view value)
{
    uint64_t none;
    return fact_number(value, &none);
}

uint32_t fact_run_number(const struct sim_run *r) { return (uint32_t)(r - sim.runs); }

void fact_wrong(const struct sim_run *r, const struct event *e, const char *what)
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

uint32_t fact_name_number(aiki_view name, uint64_t kind)
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
        fact_wrong(r, e, "the identity of a step comes with its first event and no other");
    if (s == NULL) {
        FACT_GROW(r->steps, r->step_count, r->step_capacity);
        s = &r->steps[r->step_count++];
        *s = (struct fact_step){.address = e->as.step.address,
                                .nth = e->as.step.nth,
                                .kind = e->as.step.identity_kind,
                                .name = fact_name_number(e->as.step.name, e->as.step.identity_kind),
                                .input = fact_first_number(e->as.step.input),
                                .first_seq = e->seq};
    }
    if (s->done)
        fact_wrong(r, e, "the step is on record as done");
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
        fact_wrong(r, e, fails ? "a value passed that does not fit" : "a value was refused that fits");
    if (warns && (s->warned & what) == 0)
        fact_wrong(r, e, "a value passed that does not fit, and the history does not say so");
}

/* Once for each value of a step. It may have been given up since. */
static void warned(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = fact_find(r, &e->as.step.address, e->as.step.nth);
    if (s == NULL || !s->done)
        s = step_of(r, e);
    if ((s->warned & e->as.step.warned) != 0)
        fact_wrong(r, e, "the history says so already");
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
    uint64_t seq = fact_first_number(e->as.step.value);
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
            fact_wrong(r, e, "a wait gave up though its signal was there");
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
        fact_wrong(r, e, "takes a signal that is not there");
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
            fact_wrong(r, e, "a detached child has an outcome");
        return;
    }
    uint64_t value = e->as.step.outcome == OUTCOME_OK ? fact_first_number(e->as.step.value) : 0;
    for (uint32_t i = 0; i < r->end_count; i++) {
        const struct fact_end *end = &r->ends[i];
        s->value = value;
        if (id_equal(&end->child, &s->child) && end->value == value &&
            outcomes[end->state] == e->as.step.outcome)
            return;
    }
    fact_wrong(r, e, "the parent was not told of such an end of its child");
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
    case STEP_SIDE: s->value = fact_first_number(e->as.step.value); break;
    case STEP_CHILD: child_done(r, e, s); break;
    case STEP_SLEEP:
        if (e->at_ms < s->due_at_ms && !may_end_early(r, s))
            violation("run %u event %llu: a sleep ends %lld ms early", fact_run_number(r),
                      (unsigned long long)e->seq, (long long)(s->due_at_ms - e->at_ms));
        break;
    default: fact_wrong(r, e, "a step of an unknown kind");
    }
}

/* While the run is paused, or has asked for a task that its build does not define: the code may not see it yet. */
static void attempt_done(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = step_of(r, e);
    if (r->paused_ever == 0 && !fact_has_lack(r))
        fact_wrong(r, e, "an outcome is kept though the run was never paused, and all tasks are defined");
    note_first_done(r, e, s);
    fact_attempt_done(r, e, s);
}

static void child_begun(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    struct child_options o;
    if (child_options_read(e->as.step.options, &o) != AIKI_OK)
        fact_wrong(r, e, "the options of a child do not decode");
    if (o.pass != r->passes)
        fact_wrong(r, e, "a child is asked for in another pass than this");
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
        fact_wrong(r, e, "a step begins twice");
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
        .seq = e->seq,
        .name = fact_name_number(e->as.signal.name, STEP_SIGNAL),
        .number = number,
        .value = value};
}

static void child_ended(struct sim_run *r, const struct event *e)
{
    uint64_t state = e->as.child_done.state;
    if (!run_state_is_terminal(state))
        fact_wrong(r, e, "a child ended that goes on");
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
        .value = state == RUN_COMPLETED ? fact_first_number(e->as.child_done.output) : 0};
}

bool fact_has_ref(const struct sim_run *r, uint64_t ref)
{
    for (uint32_t i = 0; i < r->ref_count; i++)
        if (r->refs[i] == ref)
            return true;
    return false;
}

void fact_note_ref(struct sim_run *r, const struct event *e, aiki_view text)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)text.size_bytes, (const char *)text.data);
    uint64_t ref = strtoull(digits, NULL, 10);
    if (ref == 0)
        return;
    if (fact_has_ref(r, ref))
        fact_wrong(r, e, "the request is on record already");
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
    fact_note_ref(r, e, e->as.control.ref);
    switch (e->kind) {
    case EVENT_CANCEL_REQUESTED:
        if (r->cancel_requested)
            fact_wrong(r, e, "it was asked to end already");
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
            fact_wrong(r, e, "it is paused already, or is to end");
        r->paused = true;
        r->paused_seq = e->seq;
        r->paused_ever++;
        return;
    default: r->paused = false; return;
    }
}

/* ---- any event ------------------------------------------------------------------------------- */

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
        fact_wrong(r, e, "its epoch writes and was never claimed");
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
    case EVENT_STARTED: fact_started(r, e); break;
    case EVENT_CLAIMED: fact_claimed(r, e); break;
    case EVENT_STEP_BEGUN: step_begun(r, e); break;
    case EVENT_ATTEMPT_FAILED: fact_attempt_failed(r, e, step_of(r, e)); break;
    case EVENT_HEARTBEAT: fact_heartbeat(r, e, step_of(r, e)); break;
    case EVENT_ATTEMPT_DONE: attempt_done(r, e); break;
    case EVENT_STEP_DONE: step_done(r, e); break;
    case EVENT_CANCEL_SEEN: fact_cancel_seen(r, e); break;
    case EVENT_CRASHED: fact_crashed(r, e); break;
    case EVENT_JOINED: join_noted(r, e); break;
    case EVENT_WARNED: warned(r, e); break;
    case EVENT_BLOCKED: fact_blocked(r, e); break;
    case EVENT_UNBLOCKED: fact_unblocked(r, e); break;
    case EVENT_RUN_RETRIED: fact_retried(r, e); break;
    case EVENT_DROPPED:
        fact_note_ref(r, e, e->as.control.ref);
        fact_dropped(r, e);
        break;
    case EVENT_COMPLETED:
    case EVENT_FAILED:
    case EVENT_CANCELLED:
    case EVENT_TIMED_OUT:
    case EVENT_TERMINATED:
        fact_note_ref(r, e, e->kind == EVENT_TERMINATED ? e->as.control.ref : (aiki_view){NULL, 0});
        fact_ended(r, e);
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

/* oracle.c - what must hold, looked at with every commit.
 *
 * The facts about a run are built from the events as they are committed and from nothing else; what a
 * client or a runtime is told is compared with them. Names as in docs/contributing.md:
 *   journal   gap-free, chained, epochs only rise, one owner an epoch, nothing after the end
 *   steps     an outcome once, of an attempt that ran under the epoch that recorded it, with the
 *             result that attempt had; attempts counted 1, 2, 3...; sleeps not before their time
 *   signals   each reference once, taken once, in the order they came
 *   effects   nothing begins again that is on record, nothing begins before what it depends on is
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "sim.h"
#include "store/memory.h"
#include "wire/error.h"

#define GROW(items, count, capacity)                                                     \
    do {                                                                                 \
        size_t room_ = (capacity);                                                       \
        (items) = array_grow((items), &room_, (count), sizeof(*(items)));                \
        (capacity) = (uint32_t)room_;                                                    \
    } while (0)

static uint64_t first_number(aiki_view value, uint64_t *ret_second)
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

static uint32_t name_number(aiki_view name)
{
    return name.size_bytes > 0 ? (uint32_t)(name.data[0] - 'a') : 0;
}

struct fact_step *fact_find(struct sim_run *r, const struct address *a, uint64_t nth)
{
    for (uint32_t i = 0; i < r->step_count; i++)
        if (r->steps[i].nth == nth && memcmp(&r->steps[i].address, a, sizeof(*a)) == 0)
            return &r->steps[i];
    return NULL;
}

/* ---- events as they are committed ------------------------------------------------------------ */

static uint32_t number_of(const struct sim_run *r) { return (uint32_t)(r - sim.runs); }

static struct fact_step *step_of(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = fact_find(r, &e->as.step.address, e->as.step.nth);
    uint64_t none;
    if ((s == NULL) != (e->as.step.identity_kind != 0))
        violation("run %u event %llu: the identity of a step comes with its first event and no other",
                  number_of(r), (unsigned long long)e->seq);
    if (s != NULL)
        return s;
    GROW(r->steps, r->step_count, r->step_capacity);
    s = &r->steps[r->step_count++];
    *s = (struct fact_step){.address = e->as.step.address,
                            .nth = e->as.step.nth,
                            .kind = e->as.step.identity_kind,
                            .name = name_number(e->as.step.name),
                            .input = first_number(e->as.step.input, &none)};
    return s;
}

/* The execution that an outcome names ran this attempt, under the epoch that recorded it. */
static void check_execution(const struct sim_run *r, const struct event *e, const struct fact_step *s,
                            uint64_t execution)
{
    if (execution >= sim.execution_count)
        violation("run %u event %llu: an outcome of no execution", number_of(r),
                  (unsigned long long)e->seq);
    const struct execution *x = &sim.executions[execution];
    if (x->run != number_of(r) || x->nth != s->nth || x->attempt != e->as.step.attempt ||
        memcmp(&x->address, &s->address, sizeof(s->address)) != 0)
        violation("run %u event %llu: the outcome of another step or attempt", number_of(r),
                  (unsigned long long)e->seq);
    if (x->epoch != e->epoch)
        violation("run %u event %llu: epoch %llx records what was executed under epoch %llx",
                  number_of(r), (unsigned long long)e->seq, (unsigned long long)e->epoch,
                  (unsigned long long)x->epoch);
}

static uint64_t execution_of_error(aiki_view map)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (error_read(map, &err, NULL, NULL) != AIKI_OK)
        return UINT64_MAX;
    return strtoull(err.message, NULL, 10);
}

/* The most attempts and the shortest delay that any call of this step in its program asks for: programs may
 * call one address under several policies, the journal does not say which call this was. */
static void policy_of(const struct sim_run *r, const struct fact_step *s, uint32_t *ret_attempts)
{
    const struct program *p = &sim.programs[r->build][r->workflow];
    *ret_attempts = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->ops[i].kind == OP_TASK && p->ops[i].name == s->name && p->ops[i].attempts_max > *ret_attempts)
            *ret_attempts = p->ops[i].attempts_max;
}

static void task_done(const struct sim_run *r, const struct event *e, struct fact_step *s)
{
    struct outcome_of o = attempt_outcome(number_of(r), s->name, s->input, s->nth, e->as.step.attempt);
    uint64_t execution;
    uint32_t attempts_max;
    if (e->as.step.attempt != s->failed + 1)
        violation("run %u event %llu: attempt %llu ends after %llu failed ones", number_of(r),
                  (unsigned long long)e->seq, (unsigned long long)e->as.step.attempt,
                  (unsigned long long)s->failed);
    if ((e->as.step.outcome == OUTCOME_OK) != o.good)
        violation("run %u event %llu: a task ended otherwise than it did", number_of(r),
                  (unsigned long long)e->seq);
    if (!o.good) {
        policy_of(r, s, &attempts_max);
        if (!o.final && e->as.step.attempt > attempts_max)
            violation("run %u event %llu: more attempts than the policy allows", number_of(r),
                      (unsigned long long)e->seq);
        check_execution(r, e, s, execution_of_error(e->as.step.error));
        return;
    }
    s->value = first_number(e->as.step.value, &execution);
    if (s->value != o.value)
        violation("run %u event %llu: a task's result is not what it returned", number_of(r),
                  (unsigned long long)e->seq);
    check_execution(r, e, s, execution);
}

static void signal_done(struct sim_run *r, const struct event *e, struct fact_step *s)
{
    uint64_t none, seq = first_number(e->as.step.value, &none);
    bool timed_out = e->as.step.outcome == OUTCOME_TIMEDOUT;
    for (uint32_t i = 0; i < r->signal_count; i++) {
        struct fact_signal *signal = &r->signals[i];
        if (signal->name != s->name || signal->taken)
            continue;
        if (timed_out && (r->told_epoch != e->epoch || signal->seq > r->told_seq))
            break; /* its owner may not have been told yet */
        if (timed_out)
            violation("run %u event %llu: a wait gave up though signal %llu was there", number_of(r),
                      (unsigned long long)e->seq, (unsigned long long)signal->seq);
        if (signal->seq != seq)
            violation("run %u event %llu: takes signal %llu, the oldest is %llu", number_of(r),
                      (unsigned long long)e->seq, (unsigned long long)seq,
                      (unsigned long long)signal->seq);
        signal->taken = true;
        s->value = signal->value;
        s->signal = i + 1;
        return;
    }
    if (!timed_out)
        violation("run %u event %llu: takes a signal that is not there", number_of(r),
                  (unsigned long long)e->seq);
    if (e->at_ms < s->due_at_ms && !HAS(OTHER_BUILD)) /* whose duration may differ */
        violation("run %u event %llu: a wait gave up %lld ms early", number_of(r),
                  (unsigned long long)e->seq, (long long)(s->due_at_ms - e->at_ms));
}

static void step_done(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = step_of(r, e);
    uint64_t none;
    if (s->done)
        violation("run %u event %llu: a step is done twice", number_of(r), (unsigned long long)e->seq);
    s->done = true;
    s->outcome = e->as.step.outcome;
    switch (s->kind) {
    case STEP_TASK: task_done(r, e, s); break;
    case STEP_SIGNAL: signal_done(r, e, s); break;
    case STEP_SIDE: s->value = first_number(e->as.step.value, &none); break;
    case STEP_SLEEP:
        if (e->at_ms < s->due_at_ms && !HAS(OTHER_BUILD)) /* whose duration may differ */
            violation("run %u event %llu: a sleep ends %lld ms early", number_of(r),
                      (unsigned long long)e->seq, (long long)(s->due_at_ms - e->at_ms));
        break;
    default: violation("run %u event %llu: a step of kind %llu", number_of(r),
                       (unsigned long long)e->seq, (unsigned long long)s->kind);
    }
    GROW(r->deliveries, r->delivery_count, r->delivery_capacity);
    r->deliveries[r->delivery_count++] = (uint32_t)(s - r->steps);
}

static void attempt_failed(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = step_of(r, e);
    struct outcome_of o = attempt_outcome(number_of(r), s->name, s->input, s->nth, e->as.step.attempt);
    if (s->done || e->as.step.attempt != s->failed + 1)
        violation("run %u event %llu: attempt %llu fails after %llu failed ones", number_of(r),
                  (unsigned long long)e->seq, (unsigned long long)e->as.step.attempt,
                  (unsigned long long)s->failed);
    if (o.good || o.final)
        violation("run %u event %llu: an attempt failed that did not", number_of(r),
                  (unsigned long long)e->seq);
    check_execution(r, e, s, execution_of_error(e->as.step.error));
    s->failed++;
    s->next_at_ms = e->as.step.next_at_ms;
}

static void step_begun(struct sim_run *r, const struct event *e)
{
    struct fact_step *s = step_of(r, e);
    if (s->begun || s->done || s->failed > 0)
        violation("run %u event %llu: a step begins twice", number_of(r), (unsigned long long)e->seq);
    s->begun = true;
    s->due_at_ms = e->as.step.due_at_ms;
}

static void signal_came(struct sim_run *r, const struct event *e)
{
    uint64_t number, value = first_number(e->as.signal.payload, &number);
    for (uint32_t i = 0; i < r->signal_count; i++)
        if (r->signals[i].number >= number)
            violation("run %u event %llu: signal %llu is recorded after signal %llu", number_of(r),
                      (unsigned long long)e->seq, (unsigned long long)number,
                      (unsigned long long)r->signals[i].number);
    GROW(r->signals, r->signal_count, r->signal_capacity);
    r->signals[r->signal_count++] = (struct fact_signal){
        .seq = e->seq, .name = name_number(e->as.signal.name), .number = number, .value = value};
}

static void claimed_event(struct sim_run *r, const struct event *e)
{
    if (r->claimed_epoch == e->epoch)
        violation("run %u event %llu: epoch %llx is claimed twice", number_of(r),
                  (unsigned long long)e->seq, (unsigned long long)e->epoch);
    r->claimed_epoch = e->epoch;
    r->session = e->as.claimed.session;
    r->build = e->as.claimed.build.size_bytes > 0 ? e->as.claimed.build.data[0] - 1u : 0;
}

static bool is_of_step(uint64_t kind)
{
    return kind == EVENT_STEP_BEGUN || kind == EVENT_ATTEMPT_FAILED || kind == EVENT_STEP_DONE;
}

static bool is_of_owner(uint64_t kind)
{
    return is_of_step(kind) || kind == EVENT_COMPLETED || kind == EVENT_FAILED || kind == EVENT_BLOCKED;
}

static void take_event(struct sim_run *r, const struct event *e)
{
    if (r->ended || e->seq != r->seq + 1 || e->epoch < r->epoch || (e->seq == 1) != (e->kind == EVENT_STARTED))
        violation("run %u: event %llu (%s, epoch %llx) after %llu events, epoch %llx%s", number_of(r),
                  (unsigned long long)e->seq, event_kind_name(e->kind), (unsigned long long)e->epoch,
                  (unsigned long long)r->seq, (unsigned long long)r->epoch, r->ended ? ", ended" : "");
    if (is_of_owner(e->kind) && r->claimed_epoch != e->epoch)
        violation("run %u event %llu: epoch %llx writes and was never claimed", number_of(r),
                  (unsigned long long)e->seq, (unsigned long long)e->epoch);
    sim_note("run %u event %llu: %s %s %.*s nth %llu outcome %llu", number_of(r),
             (unsigned long long)e->seq, event_kind_name(e->kind),
             is_of_step(e->kind) ? step_kind_name(e->as.step.identity_kind) : "",
             is_of_step(e->kind) ? (int)e->as.step.name.size_bytes : 0, (const char *)e->as.step.name.data,
             is_of_step(e->kind) ? (unsigned long long)e->as.step.nth : 0,
             is_of_step(e->kind) ? (unsigned long long)e->as.step.outcome : 0);
    r->seq = e->seq;
    r->epoch = e->epoch;
    switch (e->kind) {
    case EVENT_CLAIMED: claimed_event(r, e); break;
    case EVENT_STEP_BEGUN: step_begun(r, e); break;
    case EVENT_ATTEMPT_FAILED: attempt_failed(r, e); break;
    case EVENT_STEP_DONE: step_done(r, e); break;
    case EVENT_SIGNAL: signal_came(r, e); break;
    case EVENT_COMPLETED:
    case EVENT_FAILED: r->ended = true; r->completed = e->kind == EVENT_COMPLETED; break;
    default: break; /* says nothing that is checked here */
    }
    if (e->kind == EVENT_COMPLETED) {
        uint64_t none;
        r->output = first_number(e->as.completed.output, &none);
    }
}

/* ---- the model of a run ---------------------------------------------------------------------- */

/* Replays a whole journal in the plainest way: outcomes are shown in the order they were recorded, one
 * at a time and only while the program waits. */
struct model_call {
    uint64_t kind, input;
    uint32_t name, step;         /* index into run->steps, UINT32_MAX: not on record */
    bool counts;                 /* makes the next equal call another step */
};
struct model {
    struct sim_run *run;
    struct model_call calls[OPS_MAX + 1]; /* by future */
    uint32_t future_count;
    bool *shown, *called;        /* by step */
    uint32_t next;               /* delivery */
};

static uint32_t model_find(const struct model *m, const struct model_call *c, uint64_t nth)
{
    for (uint32_t i = 0; i < m->run->step_count; i++) {
        const struct fact_step *s = &m->run->steps[i];
        if (s->kind == c->kind && s->name == c->name && s->nth == nth &&
            (s->kind != STEP_TASK || s->input == c->input))
            return i;
    }
    return UINT32_MAX;
}

static uint32_t on_call(void *arg, const struct op *op)
{
    static const uint64_t kinds[] = {[OP_TASK] = STEP_TASK, [OP_SLEEP] = STEP_SLEEP,
                                     [OP_SIGNAL] = STEP_SIGNAL, [OP_SIDE] = STEP_SIDE};
    struct model *m = arg;
    struct model_call c = {.kind = kinds[op->kind],
                           .input = op->kind == OP_TASK ? op->input : 0,
                           .name = op->name,
                           .counts = true};
    uint64_t nth = 0;
    for (uint32_t f = 1; f <= m->future_count; f++) {
        const struct model_call *o = &m->calls[f];
        nth += o->counts && o->kind == c.kind && o->name == c.name && o->input == c.input;
    }
    if (op->kind == OP_SIDE && op->once && nth > 0) {
        nth = 0; /* the same value again */
        c.counts = false;
    }
    c.step = model_find(m, &c, nth);
    m->calls[++m->future_count] = c;
    if (c.step != UINT32_MAX) {
        m->called[c.step] = true;
        while (c.kind == STEP_SIDE && !m->shown[c.step]) /* behind what was recorded before it */
            m->shown[m->run->deliveries[m->next++]] = true;
    }
    return m->future_count;
}

static bool is_shown(const struct model *m, uint32_t future)
{
    return m->calls[future].step != UINT32_MAX && m->shown[m->calls[future].step];
}

static bool on_await(void *arg, const uint32_t *futures, uint32_t count, uint32_t needed)
{
    struct model *m = arg;
    for (;;) {
        uint32_t shown = 0;
        for (uint32_t i = 0; i < count; i++)
            shown += is_shown(m, futures[i]);
        if (shown >= needed)
            return true;
        if (m->next == m->run->delivery_count)
            return false;
        m->shown[m->run->deliveries[m->next++]] = true;
    }
}

static enum step_status on_look(void *arg, uint32_t future, uint64_t *ret_value)
{
    const struct model *m = arg;
    if (!is_shown(m, future))
        return STEP_PENDING;
    const struct fact_step *s = &m->run->steps[m->calls[future].step];
    *ret_value = s->value;
    return s->outcome == OUTCOME_OK ? STEP_GOOD : s->outcome == OUTCOME_TIMEDOUT ? STEP_LATE : STEP_BAD;
}

static bool on_side(void *arg, uint32_t future)
{
    return is_shown(arg, future);
}

/* The program on this journal returns what the run returned, and asked for all that is recorded. */
static void check_model(struct sim_run *r)
{
    struct model m = {.run = r};
    struct interp i = {.program = &sim.programs[r->build][r->workflow]};
    const struct machine machine = {&m, on_call, on_await, on_look, on_side};
    AUTO(free) bool *flags = memory_need(2 * (size_t)r->step_count + 1);
    m.shown = flags;
    m.called = flags + r->step_count;
    enum interp_status status = interp_go(&i, r->input, &machine);
    uint32_t uncalled = 0;
    for (uint32_t s = 0; s < r->step_count; s++)
        uncalled += !m.called[s];
    bool good = status == INTERP_RETURNED && i.failed == !r->completed &&
                (!r->completed || i.sum == r->output);
    if (good && uncalled == 0)
        return;
    free(flags);
    flags = NULL;
    violation("run %u: its program on its journal %s, and %u recorded steps were never asked for",
              number_of(r), good ? "gives the same" : status == INTERP_RETURNED ? "gives another output"
                                                                              : "does not return", uncalled);
}

/* ---- commits --------------------------------------------------------------------------------- */

static void take_write(const struct run_write *w)
{
    struct sim_run *r = &sim.runs[run_of_id(&w->row.id)];
    aiki_reader reader;
    aiki_error err = {.struct_size = sizeof(err)};
    bool was_ended = r->ended;
    if (w->insert == r->on_record || w->row.epoch < r->epoch)
        violation("run %u: inserted twice, or its epoch falls to %llx", number_of(r),
                  (unsigned long long)w->row.epoch);
    r->on_record = true;
    aiki_reader_init(&reader, w->events);
    while (aiki_reader_left(&reader) > 0) {
        struct event e;
        if (event_read_stored(&reader, &e, &err) != AIKI_OK)
            violation("run %u: an event does not decode: %s", number_of(r), err.message);
        event_chain(r->hash, e.encoded);
        take_event(r, &e);
    }
    if (r->seq != w->row.seq || memcmp(r->hash, w->row.hash, HASH_BYTES) != 0)
        violation("run %u: the row says %llu events, there are %llu, or the chain is broken",
                  number_of(r), (unsigned long long)w->row.seq, (unsigned long long)r->seq);
    if (r->ended != run_state_is_terminal(w->row.state))
        violation("run %u: its row is %s, its journal says otherwise", number_of(r),
                  run_state_name(w->row.state));
    r->state = w->row.state;
    r->epoch = w->row.epoch;
    r->wake_at_ms = w->row.wake_at_ms;
    if (r->ended && !was_ended)
        check_model(r);
}

void oracle_committed(const struct unit *u)
{
    for (size_t i = 0; i < u->run_count; i++)
        take_write(&u->runs[i]);
}

/* ---- what others are told or do -------------------------------------------------------------- */

void oracle_begins(uint32_t run, uint64_t epoch, const struct step *s, const struct interp *i,
                   uint32_t seen_at_call, const struct replay *replay)
{
    struct sim_run *r = &sim.runs[run];
    struct fact_step *fact = fact_find(r, &s->address, s->nth);
    bool current = epoch >= r->epoch; /* a former owner has an older journal, and may repeat */
    if (fact != NULL && fact->done && current)
        violation("run %u: a step begins again that is on record", run);
    if (fact != NULL && current && s->attempt != fact->failed)
        violation("run %u: attempt %llu begins, %llu failed ones are on record", run,
                  (unsigned long long)s->attempt + 1, (unsigned long long)fact->failed);
    if (fact != NULL && fact->next_at_ms > clock_wall_ms() && fact->failed > 0)
        violation("run %u: a retry begins %lld ms early", run,
                  (long long)(fact->next_at_ms - clock_wall_ms()));
    for (uint32_t n = 0; n < seen_at_call; n++) {
        const struct step *seen = replay_future(replay, i->seen[n]);
        const struct fact_step *f = fact_find(r, &seen->address, seen->nth);
        if (f == NULL || !f->done)
            violation("run %u: %.*s begins before the %s it depends on is on record", run,
                      (int)s->name.size_bytes, (const char *)s->name.data, step_kind_name(seen->kind));
    }
}

void oracle_claimed(uint32_t run, uint64_t epoch, aiki_view journal, uint64_t seq)
{
    struct sim_run *r = &sim.runs[run];
    uint8_t hash[HASH_BYTES] = {0};
    aiki_reader reader;
    uint64_t count = 0;
    r->told_epoch = epoch;
    r->told_seq = seq;
    if (epoch < r->epoch && r->seq == seq)
        return; /* lost again already; nothing was written since */
    if (r->seq != seq)
        return; /* others have written since the claim was decided */
    aiki_reader_init(&reader, journal);
    for (; aiki_reader_left(&reader) > 0; count++)
        event_chain(hash, aiki_mp_value(&reader));
    if (count != seq || memcmp(hash, r->hash, HASH_BYTES) != 0)
        violation("run %u: the journal that a runtime was given is not the one on record", run);
}

void oracle_waits(uint32_t run, const struct replay *replay)
{
    struct sim_run *r = &sim.runs[run];
    for (const struct step *s = replay->waiting.first; s != NULL; s = s->next) {
        const struct fact_step *f = fact_find(r, &s->address, s->nth);
        if (f == NULL || f->done)
            continue;
        int64_t due_ms = s->kind == STEP_TASK ? f->next_at_ms : f->due_at_ms;
        bool known = s->kind == STEP_TASK ? f->failed == s->attempt : f->begun;
        if (known && s->due_at_ms != due_ms && !HAS(OTHER_BUILD))
            violation("run %u: a %s on record ends at %lld, it waits until %lld", run,
                      step_kind_name(s->kind), (long long)due_ms, (long long)s->due_at_ms);
    }
}

void oracle_result(uint32_t run, const struct msg_RESULT *m)
{
    struct sim_run *r = &sim.runs[run];
    uint64_t none, output = m->output.size_bytes > 0 ? first_number(m->output, &none) : 0;
    bool ended = run_state_is_terminal(m->state);
    if (!id_equal(&m->run, &r->id) || !r->on_record || (ended && !r->ended))
        violation("run %u: RESULT says %s, that is not on record", run, run_state_name(m->state));
    if (r->result_seen && !ended)
        violation("run %u: it had ended and is now %s", run, run_state_name(m->state));
    if (ended && (m->state == RUN_COMPLETED) != r->completed)
        violation("run %u: RESULT says %s, the record says otherwise", run, run_state_name(m->state));
    if (m->state == RUN_COMPLETED && output != r->output)
        violation("run %u: RESULT brings another output than is on record", run);
    r->result_seen |= ended;
}

/* ---- at rest --------------------------------------------------------------------------------- */

void oracle_quiet(void)
{
    enum { LATE_MS = 5000 };
    for (uint32_t i = 0; i < sim.config.runs; i++) {
        const struct sim_run *r = &sim.runs[i];
        bool parked = r->state == RUN_SLEEPING || r->state == RUN_AWAITING_SIGNAL ||
                      r->state == RUN_AWAITING_RETRY;
        if (!r->on_record || r->ended || !parked)
            continue;
        if (r->wake_at_ms != 0 && r->wake_at_ms + LATE_MS < clock_wall_ms())
            violation("run %u: its timer was due %lld ms ago", i,
                      (long long)(clock_wall_ms() - r->wake_at_ms));
        for (uint32_t s = 0; s < r->step_count && r->state == RUN_AWAITING_SIGNAL; s++) {
            const struct fact_step *f = &r->steps[s];
            for (uint32_t n = 0; n < r->signal_count && f->kind == STEP_SIGNAL && f->begun && !f->done; n++)
                if (r->signals[n].name == f->name && !r->signals[n].taken)
                    violation("run %u: it is parked for a signal that is on record", i);
        }
    }
}

struct reading {
    struct sim_run *run;
    uint64_t no;
};

static bool on_row(void *arg, const struct run_row *row)
{
    struct reading *reading = arg;
    const struct sim_run *r = reading->run;
    if (row->seq != r->seq || row->state != r->state || memcmp(row->hash, r->hash, HASH_BYTES) != 0)
        violation("run %u: its row is not as it was committed", number_of(r));
    reading->no = row->no;
    return false;
}

/* What is on the disk is what was committed, and what was acknowledged is there. */
void oracle_end(void)
{
    struct store *disk = sim_store_disk();
    aiki_error err = {.struct_size = sizeof(err)};
    if (disk == NULL)
        violation("the server is down at the end");
    for (uint32_t i = 0; i < sim.config.runs; i++) {
        struct sim_run *r = &sim.runs[i];
        struct reading reading = {.run = r};
        if (!r->on_record && !r->acked)
            continue;
        if (disk->ops->find_run(disk, &r->id, on_row, &reading, &err) != AIKI_OK)
            violation("run %u: it was acknowledged and is gone: %s", i, err.message);
        aiki_writer w;
        uint64_t last_seq;
        buf_init(&w);
        aiki_status status = disk->ops->journal(disk, reading.no, 0, UINT64_MAX, &w, &last_seq, &err);
        trace_bytes(aiki_writer_view(&w));
        buf_deinit(&w);
        if (status != AIKI_OK || last_seq != r->seq)
            violation("run %u: its journal does not read: %s", i, err.message);
    }
}

/* stay.c - a run in a runtime: the real replay, driven as runtime/child/drive.c does.
 *
 * Instead of a fiber it resumes an interpreter of programs; instead of task threads, attempts end when
 * their event comes. Everything that is decided about the run is decided by runtime/replay.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "runtime_impl.h"
#include "wire/error.h"

/* ---- memory of a stay ------------------------------------------------------------------------ */

static void *stay_alloc(void *arg, uint64_t size_bytes)
{
    struct stay *s = arg;
    uint64_t need = (size_bytes + 15) & ~15u;
    struct block *b = s->blocks;
    if (b == NULL || b->size - b->used < need) {
        uint64_t size = need > ARENA_BYTES ? need : ARENA_BYTES;
        b = memory_need(sizeof(*b) + size);
        b->size = size;
        b->next = s->blocks;
        s->blocks = b;
    }
    void *p = b->bytes + b->used;
    b->used += need;
    return p;
}

aiki_view stay_copy(struct stay *s, aiki_view v)
{
    if (v.size_bytes == 0)
        return v;
    uint8_t *bytes = stay_alloc(s, v.size_bytes);
    memcpy(bytes, v.data, v.size_bytes);
    return (aiki_view){bytes, v.size_bytes};
}

void stay_drop(struct stay *s)
{
    for (struct block *b = s->blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    memset(s, 0, sizeof(*s));
}

struct runtime *host_of(const struct stay *s) { return &runtimes[s->runtime]; }

struct stay *stay_find(struct runtime *rt, uint64_t serial)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (rt->stays[i].used && rt->stays[i].serial == serial)
            return &rt->stays[i];
    return NULL;
}

struct stay *stay_of_run(struct runtime *rt, uint32_t run)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (rt->stays[i].used && !rt->stays[i].zombie && rt->stays[i].run == run)
            return &rt->stays[i];
    return NULL;
}

struct stay *stay_new(struct runtime *rt, uint32_t run, uint64_t epoch)
{
    struct stay *s = rt->stays;
    while (s->used)
        if (++s == &rt->stays[STAYS_MAX])
            violation("too many stays");
    s->used = true;
    s->serial = ++stay_serial;
    s->runtime = rt->number;
    s->run = run;
    s->epoch = epoch;
    return s;
}

uint32_t stay_count(const struct runtime *rt)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        count += rt->stays[i].used;
    return count;
}

static int64_t host_now_ms(struct runtime *rt)
{
    int64_t now_ms = sim.now_ms + rt->offset_ms;
    rt->last_ms = now_ms > rt->last_ms ? now_ms : rt->last_ms;
    return rt->last_ms;
}

void learn_time(struct runtime *rt, int64_t now_ms)
{
    if (now_ms > 0)
        rt->offset_ms = now_ms - sim.now_ms;
}

/* An event of a runtime that is stopped happens when it goes on. */
bool later(const struct sim_event *e, const struct runtime *rt)
{
    if (rt->frozen_until_ms <= sim.now_ms)
        return false;
    event_again(e, rt->frozen_until_ms);
    return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

uint32_t ask(struct runtime *rt, const struct ask *a)
{
    if (rt->ask_count == sizeof(rt->asks) / sizeof(rt->asks[0]))
        violation("a runtime is never answered");
    struct ask *slot = &rt->asks[rt->ask_count++];
    *slot = *a;
    slot->correlation = ++rt->correlation;
    return slot->correlation;
}

/* ---- appends --------------------------------------------------------------------------------- */

static void send_append(struct stay *s, uint64_t next, aiki_view events, aiki_view waits)
{
    struct runtime *rt = host_of(s);
    bool parks = next == NEXT_PARK;
    const struct ask a = {.kind = ASK_APPEND, .stay = s->serial, .number = s->appends + 1};
    const struct msg_APPEND m = {.run = sim.runs[s->run].id,
                                 .epoch = s->epoch,
                                 .number = ++s->appends,
                                 .next = next,
                                 .seen = parks ? s->replay.journal.arrival_count : 0,
                                 .wake_at_ms = parks ? replay_wake_at_ms(&s->replay) : 0,
                                 .waits = waits,
                                 .events = events};
    aiki_writer w;
    buf_init(&w);
    msg_APPEND_write(&w, &m);
    sim_note("runtime %u: run %u epoch %llx append %llu, next %llu, %llu bytes%s", s->runtime, s->run,
             (unsigned long long)s->epoch, (unsigned long long)s->appends, (unsigned long long)next,
             (unsigned long long)events.size_bytes, s->zombie ? " (zombie)" : "");
    line_send(s->runtime, WIRE_APPEND, ask(rt, &a), aiki_writer_view(&w));
    /* Not when the first may be refused and the second recorded: nobody could know that. */
    if (!HAS(STORE_REFUSES) && fault_strikes(FAULT_BIT_APPEND_TWICE, 50))
        line_send(s->runtime, WIRE_APPEND, ask(rt, &(struct ask){.kind = ASK_OTHER}), aiki_writer_view(&w));
    buf_deinit(&w);
    replay_append_end(&s->replay);
    s->leaving = next != NEXT_CONTINUE;
    sim.zombie_writes += s->zombie;
}

static void block(struct stay *s)
{
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_writer map, w;
    struct event e = {.kind = EVENT_BLOCKED};
    replay_explain(&s->replay, &err);
    buf_init(&map);
    buf_init(&w);
    error_write(&map, &err);
    e.as.blocked.error = aiki_writer_view(&map);
    event_write_new(&w, &e);
    sim.diverged++;
    if (!HAS(OTHER_BUILD))
        violation("run %u diverges though its code never changed: %s", s->run, err.message);
    send_append(s, NEXT_BLOCK, aiki_writer_view(&w), (aiki_view){NULL, 0});
    buf_deinit(&w);
    buf_deinit(&map);
}

static void finish(struct stay *s)
{
    struct event e = {.kind = EVENT_COMPLETED};
    aiki_error err = {.struct_size = sizeof(err)};
    uint8_t memory[1024];
    aiki_writer w;
    if (!replay_may_return(&s->replay)) {
        block(s);
        return;
    }
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    if (s->interp.failed) {
        e.kind = EVENT_FAILED;
        (void)error_code(&err, AIKI_FAILED, "REFUSED", "%llu", (unsigned long long)s->interp.sum);
        error_write(&w, &err);
        e.as.failed.error = aiki_writer_view(&w);
    } else {
        aiki_mp_uint(&w, s->interp.sum);
        e.as.completed.output = aiki_writer_view(&w);
    }
    replay_write_end(&s->replay, &e);
    send_append(s, NEXT_FINISH, replay_append_begin(&s->replay, false), (aiki_view){NULL, 0});
}

static void stay_give_back(struct stay *s)
{
    if (!s->leaving)
        send_append(s, NEXT_RELEASE, replay_append_begin(&s->replay, false), (aiki_view){NULL, 0});
}

/* ---- what the interpreter runs on ------------------------------------------------------------ */

static const struct task_policy *policy_of(struct stay *s, const struct op *op)
{
    struct task_policy *p = stay_alloc(s, sizeof(*p));
    p->retry = (struct retry){.kind = AIKI_RETRY_EXPONENTIAL,
                              .attempts_max = op->attempts_max,
                              .factor_percent = 200,
                              .jitter_percent = op->input == 0 ? 20 : 0,
                              .delay_ms = op->delay_ms,
                              .delay_ms_max = 10000};
    retry_fill(&p->retry);
    return p;
}

static uint32_t on_call(void *arg, const struct op *op)
{
    static const uint64_t kinds[] = {[OP_TASK] = STEP_TASK, [OP_SLEEP] = STEP_SLEEP,
                                     [OP_SIGNAL] = STEP_SIGNAL, [OP_SIDE] = STEP_SIDE};
    struct stay *s = arg;
    uint8_t memory[16];
    aiki_writer input;
    struct step *step;
    aiki_error err = {.struct_size = sizeof(err)};
    struct step_call call = {.kind = kinds[op->kind],
                             .name = view_of(task_name(op->name)),
                             .duration_ms = op->ms,
                             .once = op->kind == OP_SIDE && op->once};
    aiki_writer_init_fixed(&input, memory, sizeof(memory));
    if (op->kind == OP_TASK) {
        aiki_mp_uint(&input, op->input);
        call.input = aiki_writer_view(&input);
        call.policy = policy_of(s, op);
    }
    if (replay_call(&s->replay, &call, &step, &err) != AIKI_OK)
        violation("run %u: a call is refused: %s", s->run, err.message);
    s->seen_at_call[step->future] = s->interp.seen_count;
    return step->future;
}

static bool on_await(void *arg, const uint32_t *futures, uint32_t count, uint32_t needed)
{
    struct stay *s = arg;
    bool satisfied;
    aiki_error err = {.struct_size = sizeof(err)};
    if (replay_await(&s->replay, futures, count, needed, &satisfied, &err) != AIKI_OK)
        violation("run %u: a wait is refused: %s", s->run, err.message);
    return satisfied;
}

/* [what, execution] of a task, a number of the others; only `what` decides how the code goes on. */
static uint64_t number_in(aiki_view value)
{
    aiki_reader r;
    aiki_mp_item item;
    aiki_reader_init(&r, value);
    if (aiki_mp_peek(&r, &item) && item.type == AIKI_MP_ARRAY)
        (void)aiki_mp_read_array(&r);
    return aiki_mp_read_uint(&r);
}

static enum step_status on_look(void *arg, uint32_t future, uint64_t *ret_value)
{
    struct stay *s = arg;
    const struct step *step = replay_future(&s->replay, future);
    if (step->phase != PHASE_SHOWN)
        return STEP_PENDING;
    *ret_value = step->kind == STEP_SLEEP ? 0 : number_in(step->value);
    return step->outcome == OUTCOME_OK ? STEP_GOOD : step->outcome == OUTCOME_TIMEDOUT ? STEP_LATE : STEP_BAD;
}

static bool on_side(void *arg, uint32_t future)
{
    struct stay *s = arg;
    struct step *step = replay_future(&s->replay, future);
    uint8_t memory[16];
    aiki_writer w;
    if (step->phase == PHASE_SHOWN)
        return true;
    if (!replay_side_ready(&s->replay))
        return false;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_uint(&w, rng_next(&sim.work) >> 16); /* different every time it is captured */
    if (replay_side(&s->replay, step, aiki_writer_view(&w), (aiki_view){NULL, 0}) != AIKI_OK)
        violation("run %u: a side value is refused", s->run);
    return true;
}

/* ---- attempts -------------------------------------------------------------------------------- */

static void on_attempt_end(struct sim_event *e)
{
    struct runtime *rt = &runtimes[e->who];
    uint8_t memory[512];
    aiki_writer w;
    aiki_error err = {.struct_size = sizeof(err)};
    if (later(e, rt))
        return;
    struct stay *s = stay_find(rt, e->generation);
    if (s == NULL || s->leaving)
        return;
    struct step *step = replay_future(&s->replay, e->type);
    struct outcome_of o = attempt_outcome(s->run, (uint32_t)(step->name.data[0] - 'a'), number_in(step->input),
                                          step->nth, step->attempt + 1);
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    if (o.good) {
        aiki_mp_array(&w, 2);
        aiki_mp_uint(&w, o.value);
        aiki_mp_uint(&w, e->number);
        replay_attempt_done(&s->replay, step, stay_copy(s, aiki_writer_view(&w)), 0);
    } else {
        (void)error_code(&err, AIKI_FAILED, "NO", "%llu", (unsigned long long)e->number);
        error_write(&w, &err);
        replay_attempt_failed(&s->replay, step, stay_copy(s, aiki_writer_view(&w)), o.final, o.retry_after_ms,
                              (aiki_view){NULL, 0}, 0, host_now_ms(rt));
    }
    stay_pump(s);
}

static void start_attempt(struct stay *s, struct step *step)
{
    struct outcome_of o = attempt_outcome(s->run, (uint32_t)(step->name.data[0] - 'a'), number_in(step->input),
                                          step->nth, step->attempt + 1);
    if (!s->zombie)
        oracle_begins(s->run, s->epoch, step, &s->interp, s->seen_at_call[step->future],
                      &s->replay);
    sim.executions = array_grow(sim.executions, &sim.execution_capacity, sim.execution_count,
                                sizeof(*sim.executions));
    sim.executions[sim.execution_count] = (struct execution){.run = s->run,
                                                             .epoch = s->epoch,
                                                             .attempt = step->attempt + 1,
                                                             .address = step->address,
                                                             .nth = step->nth};
    sim_note("runtime %u: run %u begins %.*s nth %llu attempt %llu as execution %zu", s->runtime, s->run,
             (int)step->name.size_bytes, (const char *)step->name.data, (unsigned long long)step->nth,
             (unsigned long long)step->attempt + 1, sim.execution_count);
    struct sim_event *e = event_at(sim.now_ms + o.takes_ms, on_attempt_end);
    e->who = s->runtime;
    e->generation = s->serial;
    e->type = step->future;
    e->number = sim.execution_count++;
}

/* ---- going on -------------------------------------------------------------------------------- */

static void on_timer(struct sim_event *e)
{
    struct runtime *rt = &runtimes[e->who];
    if (later(e, rt))
        return;
    struct stay *s = stay_find(rt, e->generation);
    if (s == NULL || s->leaving || s->timer_at_ms == 0 || sim.now_ms < s->timer_at_ms)
        return;
    s->timer_at_ms = 0;
    stay_pump(s);
}

static void arm(struct stay *s)
{
    int64_t wake_ms = replay_wake_at_ms(&s->replay);
    if (wake_ms == 0)
        return;
    int64_t left_ms = wake_ms - host_now_ms(host_of(s));
    int64_t at_ms = sim.now_ms + (left_ms > 0 ? left_ms : 0);
    if (s->timer_at_ms != 0 && s->timer_at_ms <= at_ms)
        return;
    s->timer_at_ms = at_ms;
    struct sim_event *e = event_at(at_ms, on_timer);
    e->who = s->runtime;
    e->generation = s->serial;
}

static void idle(struct stay *s)
{
    struct replay *r = &s->replay;
    if (!s->zombie)
        oracle_waits(s->run, r);
    if (replay_should_park(r, host_now_ms(host_of(s)))) {
        aiki_writer waits;
        buf_init(&waits);
        replay_write_waits(r, &waits);
        send_append(s, NEXT_PARK, replay_append_begin(r, false), aiki_writer_view(&waits));
        buf_deinit(&waits);
        return;
    }
    if (replay_should_append(r))
        send_append(s, NEXT_CONTINUE, replay_append_begin(r, true), (aiki_view){NULL, 0});
    arm(s);
}

static void resume(struct stay *s)
{
    const struct machine m = {s, on_call, on_await, on_look, on_side};
    switch (interp_go(&s->interp, s->input, &m)) {
    case INTERP_WAITS: return;
    case INTERP_RETURNED: finish(s); return;
    case INTERP_BROKEN: violation("run %u: the interpreter is out of step", s->run);
    }
}

void stay_pump(struct stay *s)
{
    while (s->used && !s->leaving && !s->loading) {
        struct step *step;
        if (s->replay.status != AIKI_OK)
            violation("run %u: replay has failed", s->run);
        switch (replay_next(&s->replay, host_now_ms(host_of(s)), &step)) {
        case REPLAY_RESUME: resume(s); break;
        case REPLAY_START: start_attempt(s, step); break;
        case REPLAY_DIVERGED: block(s); break;
        case REPLAY_PAUSED: stay_give_back(s); return;
        case REPLAY_OVERDUE: violation("run %u: an attempt without a timeout is overdue", s->run);
        case REPLAY_IDLE: idle(s); return;
        }
    }
}

void stay_load(struct stay *s, const struct msg_CLAIMED *m)
{
    aiki_error err = {.struct_size = sizeof(err)};
    s->interp.program = &sim.programs[s->build][sim.runs[s->run].workflow];
    replay_init(&s->replay, (struct replay_memory){stay_alloc, s});
    s->replay.run = sim.runs[s->run].id;
    if (journal_load(&s->replay.journal, stay_copy(s, m->journal), &err) != AIKI_OK)
        violation("run %u: its journal is refused: %s", s->run, err.message);
    if (m->more)
        violation("run %u: a journal of many pages", s->run); /* CLAIM_BYTES_MAX is far away */
    s->loading = false;
    s->input = number_in(s->replay.journal.start.as.started.input);
    replay_begin(&s->replay);
    stay_pump(s);
}

/* runtime.c - a worker host: broker and child in one, around the real replay.
 *
 *   connect --REGISTER--> serving: read ticket --CLAIM--> stay --pump--> APPEND ... --> gone
 *                            |  heartbeat each third of the lease
 *                            +-- no renewal for a lease, FENCED, cut: drop all, connect anew
 *
 * What drive.c does with a fiber, stay_pump does with an interpreter of programs; everything that is
 * decided about a run is decided by runtime/replay. A stay whose child "hangs" is handed back by
 * the broker and goes on as a zombie: what it still sends must be refused.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "sim.h"
#include "wire/error.h"

enum { SLOTS = 6, STAYS_MAX = 64, ARENA_BYTES = 16 * 1024, BEAT_MS = LEASE_MS / 3 };

struct block {
    struct block *next;
    uint64_t used, size;
    uint8_t bytes[];
};

/* A run in a runtime, from its claim to its last append's answer. */
struct stay {
    bool used, zombie, leaving, loading;
    bool given_up;              /* an append was not recorded: handed back by its number */
    uint64_t serial;            /* names this use of the struct */
    uint32_t runtime, run, build;
    uint64_t epoch, appends, journal_seq;
    struct replay replay;
    struct interp interp;
    uint32_t seen_at_call[OPS_MAX + 1]; /* by future */
    struct block *blocks;       /* owned */
    int64_t timer_at_ms;
    uint64_t input;
};

enum ask_kind { ASK_REGISTER, ASK_CLAIM, ASK_APPEND, ASK_OTHER };
struct ask {
    uint32_t correlation;
    enum ask_kind kind;
    uint32_t workflow, build;
    struct ticket ticket;
    uint64_t stay, number;      /* serial; of the append */
};

struct runtime {
    uint32_t number, build;
    uint64_t generation;        /* rises when the process is a new one */
    bool up, registered;
    int64_t frozen_until_ms, renewed_at_ms;
    struct aiki_id session;
    uint32_t correlation;
    int64_t offset_ms, last_ms; /* engine's clock as learnt */
    struct ask asks[256];
    uint32_t ask_count, claims_open;
    struct stay stays[STAYS_MAX];
};
static struct runtime runtimes[RUNTIMES_MAX];
static uint64_t stay_serial;

static void pump(struct stay *s);

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

static aiki_view stay_copy(struct stay *s, aiki_view v)
{
    if (v.size_bytes == 0)
        return v;
    uint8_t *bytes = stay_alloc(s, v.size_bytes);
    memcpy(bytes, v.data, v.size_bytes);
    return (aiki_view){bytes, v.size_bytes};
}

static void stay_drop(struct stay *s)
{
    for (struct block *b = s->blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    memset(s, 0, sizeof(*s));
}

static struct runtime *host_of(const struct stay *s) { return &runtimes[s->runtime]; }

static struct stay *stay_find(struct runtime *rt, uint64_t serial)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (rt->stays[i].used && rt->stays[i].serial == serial)
            return &rt->stays[i];
    return NULL;
}

static struct stay *stay_of_run(struct runtime *rt, uint32_t run)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (rt->stays[i].used && !rt->stays[i].zombie && rt->stays[i].run == run)
            return &rt->stays[i];
    return NULL;
}

static struct stay *stay_new(struct runtime *rt, uint32_t run, uint64_t epoch)
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

static uint32_t stay_count(const struct runtime *rt)
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

static void learn_time(struct runtime *rt, int64_t now_ms)
{
    if (now_ms > 0)
        rt->offset_ms = now_ms - sim.now_ms;
}

bool runtime_frozen_until(uint32_t peer, int64_t *ret_until_ms)
{
    *ret_until_ms = runtimes[peer].frozen_until_ms;
    return *ret_until_ms > sim.now_ms;
}

/* An event of a runtime that is stopped happens when it goes on. */
static bool later(const struct sim_event *e, const struct runtime *rt)
{
    if (rt->frozen_until_ms <= sim.now_ms)
        return false;
    event_again(e, rt->frozen_until_ms);
    return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

static uint32_t ask(struct runtime *rt, const struct ask *a)
{
    if (rt->ask_count == sizeof(rt->asks) / sizeof(rt->asks[0]))
        violation("a runtime is never answered");
    struct ask *slot = &rt->asks[rt->ask_count++];
    *slot = *a;
    slot->correlation = ++rt->correlation;
    return slot->correlation;
}

static bool answered(struct runtime *rt, uint32_t correlation, struct ask *ret)
{
    for (uint32_t i = 0; i < rt->ask_count; i++) {
        if (rt->asks[i].correlation != correlation)
            continue;
        *ret = rt->asks[i];
        rt->asks[i] = rt->asks[--rt->ask_count];
        return true;
    }
    return false;
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

static void give_back(struct stay *s)
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
    pump(s);
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
    pump(s);
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

static void pump(struct stay *s)
{
    while (s->used && !s->leaving && !s->loading) {
        struct step *step;
        if (s->replay.status != AIKI_OK)
            violation("run %u: replay has failed", s->run);
        switch (replay_next(&s->replay, host_now_ms(host_of(s)), &step)) {
        case REPLAY_RESUME: resume(s); break;
        case REPLAY_START: start_attempt(s, step); break;
        case REPLAY_DIVERGED: block(s); break;
        case REPLAY_PAUSED: give_back(s); return;
        case REPLAY_OVERDUE: violation("run %u: an attempt without a timeout is overdue", s->run);
        case REPLAY_IDLE: idle(s); return;
        }
    }
}

/* ---- claims ---------------------------------------------------------------------------------- */

static void add_page(struct stay *s, const struct msg_CLAIMED *m)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (journal_load(&s->replay.journal, stay_copy(s, m->journal), &err) != AIKI_OK)
        violation("run %u: its journal is refused: %s", s->run, err.message);
    if (m->more)
        violation("run %u: a journal of many pages", s->run); /* CLAIM_BYTES_MAX is far away */
    s->loading = false;
    s->input = number_in(s->replay.journal.start.as.started.input);
    replay_begin(&s->replay);
    pump(s);
}

static void claimed(struct runtime *rt, const struct ask *a, const struct msg_CLAIMED *m)
{
    uint32_t run = run_of_id(&m->run);
    struct stay *s = stay_of_run(rt, run);
    learn_time(rt, m->now_ms);
    stream_ack(a->workflow, &rt->session, &a->ticket);
    oracle_claimed(run, m->epoch, m->journal, m->seq);
    if (s != NULL)
        stay_drop(s);
    s = stay_new(rt, run, m->epoch);
    s->loading = true;
    s->build = a->build;
    s->interp.program = &sim.programs[s->build][sim.runs[run].workflow];
    replay_init(&s->replay, (struct replay_memory){stay_alloc, s});
    s->replay.run = sim.runs[run].id;
    add_page(s, m);
}

static void build_hash(uint32_t build, uint8_t ret_hash[HASH_BYTES])
{
    memset(ret_hash, 0, HASH_BYTES);
    ret_hash[0] = (uint8_t)(build + 1);
}

static void read_streams(struct runtime *rt)
{
    uint8_t build[HASH_BYTES];
    build_hash(rt->build, build);
    for (uint32_t w = 0; w < sim.config.workflows && rt->registered; w++) {
        struct ticket t;
        if (sim.streams[w].reset) {
            const char name[] = {'w', (char)('0' + w), '\0'};
            sim.streams[w].reset = false;
            line_say(rt->number, STREAM_RESET, ask(rt, &(struct ask){.kind = ASK_OTHER}),
                     .workflow = view_of(name), .version = view_of(SIM_VERSION));
        }
        while (stay_count(rt) + rt->claims_open < SLOTS && stream_read(w, &rt->session, &t)) {
            const struct ask a = {.kind = ASK_CLAIM, .workflow = w, .build = rt->build, .ticket = t};
            rt->claims_open++;
            line_say(rt->number, CLAIM, ask(rt, &a), .run = t.run, .epoch = t.epoch,
                     .build = {build, HASH_BYTES});
        }
    }
}

/* ---- session --------------------------------------------------------------------------------- */

static void put_descriptor(aiki_writer *w)
{
    aiki_mp_map(w, 7);
    aiki_mp_str(w, "name"); aiki_mp_str(w, "sim");
    aiki_mp_str(w, "version"); aiki_mp_str(w, "1.0.0");
    aiki_mp_str(w, "language"); aiki_mp_str(w, "c");
    aiki_mp_str(w, "toolchain"); aiki_mp_str(w, "cc");
    aiki_mp_str(w, "abi"); aiki_mp_array(w, 2); aiki_mp_uint(w, 1); aiki_mp_uint(w, 0);
    aiki_mp_str(w, "tasks"); aiki_mp_array(w, 0);
    aiki_mp_str(w, "workflows"); aiki_mp_array(w, sim.config.workflows);
    for (uint32_t i = 0; i < sim.config.workflows; i++) {
        const char name[] = {'w', (char)('0' + i), '\0'};
        aiki_mp_map(w, 5);
        aiki_mp_str(w, "name"); aiki_mp_str(w, name);
        aiki_mp_str(w, "version"); aiki_mp_str(w, SIM_VERSION);
        aiki_mp_str(w, "summary"); aiki_mp_str(w, "");
        aiki_mp_str(w, "input"); aiki_mp_nil(w);
        aiki_mp_str(w, "output"); aiki_mp_nil(w);
    }
}

static void serve(struct runtime *rt)
{
    uint8_t build[HASH_BYTES];
    aiki_writer d;
    build_hash(rt->build, build);
    buf_init(&d);
    put_descriptor(&d);
    line_say(rt->number, REGISTER, ask(rt, &(struct ask){.kind = ASK_REGISTER}),
             .build = {build, HASH_BYTES}, .file = view_of("sim.so"), .descriptor = aiki_writer_view(&d));
    buf_deinit(&d);
}

/* What runs of another build are here go on to their end; new ones are for the new build. */
static void change_build(struct runtime *rt, uint32_t build)
{
    uint8_t old[HASH_BYTES];
    if (rt->build == build || !rt->registered)
        return;
    sim_note("runtime %u serves build %u", rt->number, build);
    build_hash(rt->build, old);
    line_say(rt->number, UNREGISTER, ask(rt, &(struct ask){.kind = ASK_OTHER}), .build = {old, HASH_BYTES});
    rt->build = build;
    rt->registered = false;
    serve(rt);
}

static void drop_all(struct runtime *rt)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (rt->stays[i].used)
            stay_drop(&rt->stays[i]);
    rt->ask_count = rt->claims_open = 0;
    rt->registered = false;
}

static void on_connect(struct sim_event *e)
{
    struct runtime *rt = &runtimes[e->who];
    struct session_open open;
    if (e->generation != rt->generation || rt->up)
        return;
    if (!sim.server.up) {
        event_again(e, sim.now_ms + 50);
        return;
    }
    uint8_t random[10] = {0};
    uint64_t salt = rng_next(&sim.net);
    memcpy(random, &salt, 8);
    memset(&open, 0, sizeof(open));
    open.id = rt->session = id_make(clock_wall_ms(), random);
    open.slots = SLOTS;
    memcpy(open.name, "rt", 3);
    line_open(rt->number);
    struct line *l = &sim.lines[rt->number];
    l->session = open.id;
    l->leased = true;
    l->lease_until_ms = sim.now_ms + LEASE_MS;
    rt->up = true;
    rt->renewed_at_ms = sim.now_ms;
    server_take(rt->number, COMMAND_OPEN, 0, (aiki_view){(const uint8_t *)&open, sizeof(open)});
    serve(rt);
}

static void reconnect_soon(struct runtime *rt)
{
    rt->up = false;
    rt->generation++;
    struct sim_event *e = event_at(sim.now_ms + 5 + (int64_t)rng_below(&sim.net, 200), on_connect);
    e->who = rt->number;
    e->generation = rt->generation;
}

static void leave(struct runtime *rt)
{
    drop_all(rt);
    line_close(rt->number);
    reconnect_soon(rt);
}

void runtime_cut(uint32_t peer)
{
    struct runtime *rt = &runtimes[peer];
    if (!rt->up || sim.lines[peer].open)
        return; /* it knew, and has a new connection */
    drop_all(rt);
    reconnect_soon(rt);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void on_ack(struct runtime *rt, const struct ask *a, const struct msg_ACK *m)
{
    struct stay *s = stay_find(rt, a->stay);
    learn_time(rt, m->now_ms);
    if (s == NULL || m->number != s->appends)
        return;
    if (s->leaving || s->zombie) { /* what a zombie brought into the record, the oracle has seen */
        stay_drop(s);
        return;
    }
    replay_acked(&s->replay);
    pump(s);
}

static void release(struct stay *s)
{
    const struct ask a = {.kind = ASK_APPEND, .stay = s->serial, .number = s->appends};
    line_say(s->runtime, APPEND, ask(host_of(s), &a), .run = sim.runs[s->run].id, .epoch = s->epoch,
             .number = s->appends, .next = NEXT_RELEASE);
}

/* The server cannot write: the run is handed back by the same number until that is taken. */
static void on_release_again(struct sim_event *e)
{
    struct runtime *rt = &runtimes[e->who];
    if (later(e, rt))
        return;
    struct stay *s = stay_find(rt, e->generation);
    if (s != NULL)
        release(s);
}

static void cannot_record(struct stay *s, uint64_t number)
{
    s->leaving = s->given_up = true;
    s->appends = number;
    struct sim_event *e = event_at(sim.now_ms + 200, on_release_again);
    e->who = s->runtime;
    e->generation = s->serial;
}

static void on_fault(struct runtime *rt, const struct ask *a, const struct msg_FAULT *m)
{
    struct stay *s = a->kind == ASK_APPEND ? stay_find(rt, a->stay) : NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_read(m->error, &err, NULL, NULL); /* shown only */
    if (a->kind == ASK_CLAIM) {
        stream_ack(a->workflow, &rt->session, &a->ticket);
        if (m->status == AIKI_FENCED)
            leave(rt);
        return;
    }
    if (a->kind == ASK_REGISTER) {
        leave(rt);
        return;
    }
    if (s == NULL)
        return;
    if (m->status == AIKI_FENCED) {
        sim.fenced++;
        if (!s->zombie && sim.lines[rt->number].leased)
            violation("run %u: its owner is fenced though its lease never ended: %s", s->run, err.message);
        bool zombie = s->zombie;
        stay_drop(s);
        if (!zombie)
            leave(rt);
        return;
    }
    if (s->zombie) {
        stay_drop(s);
        return;
    }
    if (s->given_up && a->number != s->appends)
        return; /* one of those that followed the first refused */
    if (m->status != AIKI_UNAVAILABLE)
        violation("run %u: an append is refused: %s %s", s->run, err.code, err.message);
    cannot_record(s, a->number);
}

static void on_notify(struct runtime *rt, const struct msg_NOTIFY *m)
{
    struct stay *s = stay_of_run(rt, run_of_id(&m->run));
    aiki_error err = {.struct_size = sizeof(err)};
    if (s == NULL || s->epoch != m->epoch || s->leaving)
        return;
    if (m->kind == NOTIFY_DROP) {
        stay_drop(s);
        return;
    }
    if (replay_add_arrival(&s->replay, stay_copy(s, m->event), &err) != AIKI_OK)
        violation("run %u: a signal is refused: %s", s->run, err.message);
    pump(s);
}

void runtime_frame(uint32_t peer, const struct frame *f)
{
    struct runtime *rt = &runtimes[peer];
    struct ask a = {.kind = ASK_OTHER};
    union {
        struct msg_CLAIMED claimed;
        struct msg_ACK ack;
        struct msg_FAULT fault;
        struct msg_NOTIFY notify;
        struct msg_OK ok;
    } m;
    if (f->correlation != 0 && !answered(rt, f->correlation, &a))
        return;
    if (a.kind == ASK_CLAIM)
        rt->claims_open--;
    switch (f->type) {
    case WIRE_CLAIMED:
        if (msg_CLAIMED_read(f->payload, &m.claimed, NULL) == AIKI_OK)
            claimed(rt, &a, &m.claimed);
        break;
    case WIRE_ACK:
        if (msg_ACK_read(f->payload, &m.ack, NULL) == AIKI_OK && a.kind == ASK_APPEND)
            on_ack(rt, &a, &m.ack);
        break;
    case WIRE_FAULT:
        if (msg_FAULT_read(f->payload, &m.fault, NULL) == AIKI_OK)
            on_fault(rt, &a, &m.fault);
        break;
    case WIRE_NOTIFY:
        if (msg_NOTIFY_read(f->payload, &m.notify, NULL) == AIKI_OK)
            on_notify(rt, &m.notify);
        break;
    case WIRE_OK:
        if (a.kind == ASK_REGISTER)
            rt->registered = true;
        else if (msg_OK_read(f->payload, &m.ok, NULL) == AIKI_OK && m.ok.count == 1)
            rt->renewed_at_ms = sim.now_ms;
        break;
    default: violation("a runtime was sent %s", wire_type_name(f->type));
    }
}

/* ---- by itself ------------------------------------------------------------------------------- */

/* The broker hands back what a child that hangs has; the child goes on unknowing. */
static void hang(struct runtime *rt)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++) {
        struct stay *s = &rt->stays[i];
        if (!s->used || s->zombie || s->leaving || s->replay.append_open)
            continue;
        s->zombie = true;
        struct stay *last = stay_new(rt, s->run, s->epoch); /* what the broker keeps of it */
        last->leaving = true;
        last->appends = s->appends + 1;
        release(last);
    }
}

static void on_life(struct sim_event *e)
{
    struct runtime *rt = &runtimes[e->who];
    if (later(e, rt))
        return;
    (void)event_again(e, sim.now_ms + 10 + (int64_t)rng_below(&sim.net, 20));
    if (!rt->up)
        return;
    if (sim.now_ms - rt->renewed_at_ms >= LEASE_MS) {
        leave(rt);
        return;
    }
    read_streams(rt);
    if (fault_strikes(FAULT_BIT_RUNTIME_CRASH, 1)) {
        sim_note("runtime %u dies", rt->number);
        leave(rt);
    } else if (fault_strikes(FAULT_BIT_RUNTIME_PAUSE, 1)) {
        sim_note("runtime %u stops for a while", rt->number);
        rt->frozen_until_ms = sim.now_ms + (int64_t)rng_below(&sim.faults, 3 * LEASE_MS);
    } else if (fault_strikes(FAULT_BIT_CHILD_HANGS, 2)) {
        hang(rt);
    } else if (fault_strikes(FAULT_BIT_OTHER_BUILD, 1)) {
        change_build(rt, !rt->build);
    } else if (fault_strikes(FAULT_BIT_STREAM_FLUSH, 1)) {
        stream_flush((uint32_t)rng_below(&sim.faults, sim.config.workflows));
    }
}

static void on_beat(struct sim_event *e)
{
    struct runtime *rt = &runtimes[e->who];
    if (later(e, rt))
        return;
    event_again(e, sim.now_ms + BEAT_MS);
    if (rt->up)
        line_say(rt->number, HEARTBEAT, ask(rt, &(struct ask){.kind = ASK_OTHER}), .busy = 0,
                 .slots = SLOTS);
}

void runtimes_start(void)
{
    memset(runtimes, 0, sizeof(runtimes));
    stay_serial = 0;
    for (uint32_t i = 0; i < sim.config.runtimes; i++) {
        runtimes[i].number = i;
        reconnect_soon(&runtimes[i]);
        event_at(sim.now_ms + i, on_life)->who = i;
        event_at(sim.now_ms + i, on_beat)->who = i;
    }
}

void runtimes_calm(uint32_t build)
{
    for (uint32_t i = 0; i < sim.config.runtimes; i++)
        change_build(&runtimes[i], build);
}

void runtimes_stop(void)
{
    for (uint32_t i = 0; i < RUNTIMES_MAX; i++)
        drop_all(&runtimes[i]);
}

/* stay.c - a run in a runtime: the real replay, driven as runtime/child/drive.c and run.c do.
 *
 * Instead of a fiber it resumes an interpreter of programs. Everything that is decided about the run is
 * decided by runtime/replay.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "runtime_impl.h"
#include "wire/error.h"

/* ---- memory of a stay ------------------------------------------------------------------------ */

void *stay_alloc(void *arg, uint64_t size_bytes)
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
    replay_init(&s->replay, (struct replay_memory){stay_alloc, s});
    s->replay.run = sim.runs[run].id;
    s->replay.judge = schema_judge;
    s->replay.judge_arg = s;
    return s;
}

void build_hash(uint32_t build, uint8_t ret_hash[HASH_BYTES])
{
    memset(ret_hash, 0, HASH_BYTES);
    ret_hash[0] = (uint8_t)(build + 1);
}

void stay_loads(struct stay *s, uint32_t build)
{
    uint8_t hash[HASH_BYTES];
    build_hash(build, hash);
    s->loading = true;
    s->build = build;
    s->interp.program = &sim.programs[build][sim.runs[s->run].workflow];
    s->interp.deep = run_is_deep(&sim.runs[s->run]);
    s->replay.journal.build = stay_copy(s, (aiki_view){hash, HASH_BYTES});
}

uint32_t stay_count(const struct runtime *rt)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        count += rt->stays[i].used;
    return count;
}

int64_t host_now_ms(struct runtime *rt)
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
                                 .wake_at_ms = !parks                    ? 0
                                               : s->next_pass_at_ms != 0 ? s->next_pass_at_ms
                                                                         : replay_wake_at_ms(&s->replay),
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
    s->orderly = next != NEXT_CONTINUE && next != NEXT_BLOCK;
    sim.zombie_writes += s->zombie;
}

static void block(struct stay *s, aiki_view why)
{
    aiki_writer w;
    const struct event e = {.kind = EVENT_BLOCKED, .as.blocked.error = why};
    buf_init(&w);
    event_write_new(&w, &e);
    send_append(s, NEXT_BLOCK, aiki_writer_view(&w), (aiki_view){NULL, 0});
    buf_deinit(&w);
}

/* As run_unfit, and what the broker makes of it: the other build, or the reason of the first. */
static void unfit(struct stay *s, const aiki_error *err)
{
    aiki_writer map;
    buf_init(&map);
    error_write(&map, err);
    aiki_view why = aiki_writer_view(&map);
    bool untouched = !s->acted && s->appends == 0;
    if (untouched && !s->moved && !s->zombie && HAS(BUILD_KEPT) && HAS(OTHER_BUILD)) {
        runtime_move(s, why);
    } else {
        if (untouched && s->moved)
            runtime_moved(s, !s->build);
        block(s, untouched && s->moved ? s->why : why);
    }
    buf_deinit(&map);
}

static void diverge(struct stay *s)
{
    aiki_error err = {.struct_size = sizeof(err)};
    replay_explain(&s->replay, &err);
    sim.diverged++;
    if (!HAS(OTHER_BUILD))
        violation("run %u diverges though its code never changed: %s", s->run, err.message);
    unfit(s, &err);
}

static bool is_quarantined(const struct stay *s, aiki_view name, bool workflow)
{
    return (host_of(s)->quarantined[s->build] & quarantine_bit(name, workflow)) != 0;
}

static void unfit_for_quarantine(struct stay *s)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_code(&err, AIKI_CRASHED, "QUARANTINED", "by this build no more");
    unfit(s, &err);
}

static void unfit_for_crashes(struct stay *s, const struct step *step)
{
    uint8_t memory[32];
    aiki_writer details;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_writer_init_fixed(&details, memory, sizeof(memory));
    aiki_mp_map(&details, 1);
    aiki_mp_str(&details, "crashed_at_ms");
    aiki_mp_int(&details, step->crashes->at_ms);
    (void)error_code(&err, AIKI_CRASHED, "TASK_CRASHED", "%llu times", (unsigned long long)step->crashes->count);
    err.details = aiki_writer_view(&details);
    unfit(s, &err);
}

/* False: its own code ended its process too often, or that of others. */
static bool may_execute(struct stay *s)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (is_quarantined(s, view_of(workflow_name(sim.runs[s->run].workflow)), true)) {
        unfit_for_quarantine(s);
        return false;
    }
    if (s->replay.journal.crashes < CRASHES_DEFAULT) {
        oracle_executes(s->run, s->epoch, s->build);
        return true;
    }
    (void)error_code(&err, AIKI_CRASHED, "WORKFLOW_CRASHED", "%llu times",
                     (unsigned long long)s->replay.journal.crashes);
    unfit(s, &err);
    return false;
}

/* As run_undefined. */
static void lacks(struct stay *s, const struct step *step)
{
    aiki_error err = {.struct_size = sizeof(err)};
    sim.undefined++;
    if (s->acted || s->appends > 0) {
        stay_give_back(s);
        return;
    }
    (void)error_code(&err, AIKI_NOT_FOUND, "TASK_UNKNOWN", "%.*s", (int)step->name.size_bytes,
                     (const char *)step->name.data);
    unfit(s, &err);
}

/* An attempt is to begin that may not, or not here. */
static bool is_elsewhere(struct stay *s, struct step *step)
{
    bool quarantined = is_quarantined(s, step->name, false);
    if (quarantined || step->barred) {
        bool lifted = !quarantined && !replay_is_spent(&s->replay, step);
        s->held_back = lifted || s->acted || s->appends > 0;
        if (s->held_back)
            replay_leave(&s->replay, step);
        else if (quarantined)
            unfit_for_quarantine(s);
        else
            unfit_for_crashes(s, step);
        return true;
    }
    if (!s->interp.program->tasks[step->name.data[0] - 'a'].isolated || s->alone)
        return false;
    s->wants_alone = true;
    replay_leave(&s->replay, step);
    replay_take_back(&s->replay);
    send_append(s, NEXT_ALONE, replay_append_begin(&s->replay, false), (aiki_view){NULL, 0});
    return true;
}

static void fail(struct stay *s, struct event *e, aiki_writer *w)
{
    bool cancelled = s->interp.end == END_CANCELLED && s->replay.cancel_seen;
    aiki_error err = {.struct_size = sizeof(err)};
    e->kind = cancelled ? EVENT_CANCELLED : EVENT_FAILED;
    (void)error_code(&err, cancelled ? AIKI_CANCELLED : AIKI_FAILED, cancelled ? "CANCELLED" : "REFUSED",
                     "%llu", (unsigned long long)s->interp.sum);
    error_write(w, &err);
    e->as.failed.error = aiki_writer_view(w);
}

/* Another pass, as run.c begins one. */
static void again(struct stay *s, aiki_view error)
{
    int64_t now_ms = host_now_ms(host_of(s));
    s->next_pass_at_ms = now_ms + s->interp.program->pass_delay_ms;
    const struct event e = {.kind = EVENT_RUN_RETRIED,
                            .as.run_retried = {.attempt = s->replay.journal.passes + 2,
                                               .next_at_ms = s->next_pass_at_ms,
                                               .error = error}};
    uint8_t memory[64];
    aiki_writer waits;
    replay_write_end(&s->replay, &e);
    aiki_writer_init_fixed(&waits, memory, sizeof(memory));
    aiki_mp_array(&waits, 1);
    wait_write(&waits, &(struct wait){.kind = STEP_TASK,
                                      .name = view_of(workflow_name(sim.runs[s->run].workflow)),
                                      .due_at_ms = s->next_pass_at_ms,
                                      .since_ms = now_ms});
    send_append(s, NEXT_PARK, replay_append_begin(&s->replay, false), aiki_writer_view(&waits));
}

static void finish(struct stay *s)
{
    struct event e = {.kind = EVENT_COMPLETED};
    uint8_t memory[1024];
    aiki_writer w;
    if (!replay_may_return(&s->replay)) {
        diverge(s);
        return;
    }
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    if (s->interp.end != END_GOOD) {
        fail(s, &e, &w);
    } else {
        aiki_mp_uint(&w, s->interp.sum);
        e.as.completed.output = aiki_writer_view(&w);
    }
    if (e.kind == EVENT_FAILED && s->replay.journal.passes + 1 < s->interp.program->passes_max &&
        !s->replay.journal.cancel_requested) {
        again(s, e.as.failed.error);
        return;
    }
    const struct step *undefined = replay_undefined(&s->replay);
    if (undefined != NULL) {
        lacks(s, undefined);
        return;
    }
    replay_write_end(&s->replay, &e);
    send_append(s, NEXT_FINISH, replay_append_begin(&s->replay, false), (aiki_view){NULL, 0});
}

void stay_give_back(struct stay *s)
{
    if (s->leaving)
        return;
    replay_take_back(&s->replay);
    send_append(s, NEXT_RELEASE, replay_append_begin(&s->replay, false), (aiki_view){NULL, 0});
}

/* ---- what the interpreter runs on ------------------------------------------------------------ */

static struct child_options child_of(struct stay *s, const struct op *op)
{
    char key[40] = "";
    if (op->shared)
        (void)snprintf(key, sizeof(key), "of-many-%u", op->skip);
    else if (op->keyed)
        (void)snprintf(key, sizeof(key), "child-%u-%u", s->run, op->input & 1);
    return (struct child_options){.version = op->skip % 2 == 0 ? view_of(SIM_VERSION) : (aiki_view){NULL, 0},
                                  .close_policy = op->close_policy,
                                  .detached = op->detached,
                                  .schedule_to_start_ms = op->start_by_ms,
                                  .shared = op->shared,
                                  .key = stay_copy(s, view_of(key))};
}

static uint32_t on_call(void *arg, const struct op *op)
{
    static const uint64_t kinds[] = {[OP_TASK] = STEP_TASK,
                                     [OP_SLEEP] = STEP_SLEEP,
                                     [OP_SIGNAL] = STEP_SIGNAL,
                                     [OP_SIDE] = STEP_SIDE,
                                     [OP_CHILD] = STEP_CHILD};
    struct stay *s = arg;
    uint8_t memory[16];
    aiki_writer input;
    struct step *step;
    struct child_options child;
    aiki_error err = {.struct_size = sizeof(err)};
    bool is_child = op->kind == OP_CHILD;
    struct step_call call = {.kind = kinds[op->kind],
                             .name = view_of(is_child ? workflow_name(op->name) : task_name(op->name)),
                             .duration_ms = op->until ? 0 : op->ms,
                             .until = op->until,
                             .until_ms = s->replay.journal.start.at_ms + op->ms,
                             .once = op->kind == OP_SIDE && op->once};
    aiki_writer_init_fixed(&input, memory, sizeof(memory));
    if (op->kind == OP_TASK || is_child) {
        aiki_mp_uint(&input, op->input);
        call.input = aiki_writer_view(&input);
    }
    if (op->kind == OP_SIGNAL && USES(SCHEMAS))
        call.expects = s->interp.program;
    if (op->kind == OP_TASK) {
        call.policy = attempt_policy(s, op);
        call.barred = is_quarantined(s, call.name, false);
        call.undefined = program_lacks(s->interp.program, op->name);
    }
    if (is_child) {
        child = child_of(s, op);
        call.child = &child;
    }
    if (replay_call(&s->replay, &call, &step, &err) != AIKI_OK)
        violation("run %u: a call is refused: %s", s->run, err.message);
    s->seen_at_call[step->future] = s->interp.seen_count;
    s->shielded[step->future] = s->interp.depth > 0;
    return step->future;
}

static enum await_status on_await(void *arg, const uint32_t *futures, uint32_t count, uint32_t needed)
{
    struct stay *s = arg;
    bool satisfied;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status status = replay_await(&s->replay, futures, count, needed, &satisfied, &err);
    if (status == AIKI_CANCELLED)
        return AWAIT_CANCELLED;
    if (status != AIKI_OK)
        violation("run %u: a wait is refused: %s", s->run, err.message);
    return satisfied ? AWAIT_OVER : AWAIT_SUSPENDS;
}

static enum await_status on_awaited(void *arg)
{
    const struct stay *s = arg;
    return s->replay.interrupted ? AWAIT_CANCELLED : AWAIT_OVER;
}

/* [what, execution] of a task, a number of the others; only `what` decides how the code goes on. */
uint64_t number_in(aiki_view value)
{
    uint64_t second;
    return fact_number(value, &second);
}

static enum step_status on_look(void *arg, uint32_t future, uint64_t *ret_value)
{
    struct stay *s = arg;
    struct step *step = replay_future(&s->replay, future);
    if (step->phase != PHASE_SHOWN)
        return STEP_PENDING;
    s->mismatch |= !schema_record_passes(s, step);
    bool text = step->kind == STEP_SLEEP || step->detached;
    *ret_value = text ? 0 : number_in(step->value);
    return step_status_of(step->outcome, step->error.size_bytes > 0);
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

static void on_cancel(void *arg, uint32_t future)
{
    struct stay *s = arg;
    if (!replay_cancel(&s->replay, future))
        violation("run %u: a future cannot be cancelled", s->run);
}

static void on_protect(void *arg, bool on)
{
    struct stay *s = arg;
    replay_protect(&s->replay, on);
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
    aiki_error err = {.struct_size = sizeof(err)};
    const struct machine m = {s, on_call, on_await, on_awaited, on_look, on_side, on_cancel, on_protect};
    enum interp_status status = interp_go(&s->interp, s->input, &m);
    if (s->mismatch) {
        (void)error_code(&err, AIKI_SCHEMA, "SCHEMA_MISMATCH", "what is on record does not fit this build");
        unfit(s, &err);
        return;
    }
    switch (status) {
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
        case REPLAY_START:
            if (!is_elsewhere(s, step))
                attempt_start(s, step);
            break;
        case REPLAY_DIVERGED: diverge(s); break;
        case REPLAY_PAUSED: stay_give_back(s); return;
        case REPLAY_UNDEFINED: lacks(s, step); return;
        case REPLAY_OVERDUE: attempt_check(s, step); break;
        case REPLAY_IDLE:
            if (s->held_back && !attempt_is_open(s))
                stay_give_back(s);
            else
                idle(s);
            return;
        }
    }
}

void stay_page(struct stay *s, aiki_view page)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (journal_load(&s->replay.journal, stay_copy(s, page), &err) != AIKI_OK)
        violation("run %u: its journal is refused: %s", s->run, err.message);
}

void stay_ready(struct stay *s)
{
    if (s->replay.journal.ended)
        violation("run %u: it is offered though it has ended", s->run);
    s->loading = false;
    if (!may_execute(s))
        return;
    s->input = number_in(s->replay.journal.start.as.started.input);
    replay_begin(&s->replay);
    stay_pump(s);
}

/* runtime.c - a worker host: broker and child in one, around the real replay.
 *
 *   connect --REGISTER--> serving: read ticket --CLAIM--> stay --pump--> APPEND ... --> gone
 *                            |  heartbeat each third of the lease
 *                            +-- no renewal for a lease, FENCED, cut: drop all, connect anew
 *
 * What happens to a run in between is in stay.c. A stay whose child "hangs" is handed back by the broker
 * and goes on as a zombie: what it still sends must be refused.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "runtime_impl.h"
#include "wire/error.h"

struct runtime runtimes[RUNTIMES_MAX];
uint64_t stay_serial;

bool runtime_frozen_until(uint32_t peer, int64_t *ret_until_ms)
{
    *ret_until_ms = runtimes[peer].frozen_until_ms;
    return *ret_until_ms > sim.now_ms;
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

/* ---- claims ---------------------------------------------------------------------------------- */

/* The next page; nobody else may have written since the claim, or that is refused. */
static void read_on(struct runtime *rt, const struct ask *a, const struct stay *s)
{
    struct ask more = *a;
    more.kind = ASK_JOURNAL;
    more.stay = s->serial;
    line_say(rt->number, JOURNAL, ask(rt, &more), .run = sim.runs[s->run].id, .epoch = s->epoch,
             .after_seq = s->replay.journal.seq);
}

void runtime_moved(struct stay *s, uint32_t to)
{
    struct runtime *rt = host_of(s);
    uint8_t build[HASH_BYTES];
    build_hash(to, build);
    line_say(rt->number, MOVED, ask(rt, &(struct ask){.kind = ASK_OTHER}), .run = sim.runs[s->run].id,
             .epoch = s->epoch, .build = {build, HASH_BYTES});
}

static void take_page(struct runtime *rt, const struct ask *a, struct stay *s, const struct msg_CLAIMED *m)
{
    stay_page(s, m->journal);
    if (s->replay.journal.seq != m->seq)
        violation("run %u: a page that ends with event %llu is said to end with %llu", s->run,
                  (unsigned long long)s->replay.journal.seq, (unsigned long long)m->seq);
    if (m->more) {
        read_on(rt, a, s);
        return;
    }
    if (s->moved)
        runtime_moved(s, s->build);
    stay_ready(s);
}

void runtime_move(struct stay *s, aiki_view why)
{
    struct runtime *rt = host_of(s);
    uint32_t run = s->run, build = !s->build;
    uint64_t epoch = s->epoch;
    bool alone = s->alone;
    uint8_t copy[1024];
    if (why.size_bytes > sizeof(copy))
        violation("a reason of %llu bytes", (unsigned long long)why.size_bytes);
    memcpy(copy, why.data, why.size_bytes);
    stay_drop(s);
    s = stay_new(rt, run, epoch);
    s->moved = true;
    s->alone = alone;
    s->why = stay_copy(s, (aiki_view){copy, why.size_bytes});
    sim.moved++;
    stay_loads(s, build);
    read_on(rt, &(struct ask){.workflow = sim.runs[run].workflow}, s);
}

static void claimed(struct runtime *rt, const struct ask *a, const struct msg_CLAIMED *m)
{
    uint32_t run = run_of_id(&m->run);
    struct stay *s = stay_of_run(rt, run);
    learn_time(rt, m->now_ms);
    stream_ack(a->workflow, &rt->session, &a->ticket);
    oracle_claimed(run, m);
    if (s != NULL)
        stay_drop(s);
    s = stay_new(rt, run, m->epoch);
    s->alone = m->alone;
    stay_loads(s, a->build);
    take_page(rt, a, s, m);
}

static void page_came(struct runtime *rt, const struct ask *a, const struct msg_CLAIMED *m)
{
    struct stay *s = stay_find(rt, a->stay);
    learn_time(rt, m->now_ms);
    if (s == NULL || s->epoch != m->epoch)
        return;
    sim.pages++;
    oracle_page(s->run, m->epoch, m->seq);
    take_page(rt, a, s, m);
}

static void read_streams(struct runtime *rt)
{
    uint8_t build[HASH_BYTES];
    build_hash(rt->build, build);
    for (uint32_t w = 0; w < sim.config.workflows && rt->registered; w++) {
        struct ticket t;
        if (sim.streams[w].reset) {
            sim.streams[w].reset = false;
            line_say(rt->number, STREAM_RESET, ask(rt, &(struct ask){.kind = ASK_OTHER}),
                     .workflow = view_of(workflow_name(w)), .version = view_of(SIM_VERSION));
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
        aiki_mp_map(w, 6);
        aiki_mp_str(w, "name"); aiki_mp_str(w, workflow_name(i));
        aiki_mp_str(w, "version"); aiki_mp_str(w, SIM_VERSION);
        aiki_mp_str(w, "summary"); aiki_mp_str(w, "");
        aiki_mp_str(w, "input"); aiki_mp_nil(w);
        aiki_mp_str(w, "output"); aiki_mp_nil(w);
        aiki_mp_str(w, "run_timeout_ms"); aiki_mp_int(w, sim.programs[0][i].run_timeout_ms);
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
    rt->serve_at_ms = 0;
    memset(rt->quarantined, 0, sizeof(rt->quarantined));
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
    if (!s->zombie && s->wants_alone)
        oracle_asked_alone(s->run, s->epoch);
    if (s->orderly && !s->zombie)
        sim.runs[s->run].left_epoch = s->epoch;
    if (s->leaving || s->zombie) { /* what a zombie brought into the record, the oracle has seen */
        stay_drop(s);
        return;
    }
    replay_acked(&s->replay);
    stay_pump(s);
}

void runtime_release(struct stay *s, aiki_view events)
{
    const struct ask a = {.kind = ASK_APPEND, .stay = s->serial, .number = s->appends};
    line_say(s->runtime, APPEND, ask(host_of(s), &a), .run = sim.runs[s->run].id, .epoch = s->epoch,
             .number = s->appends, .next = NEXT_RELEASE, .events = events);
}

/* The server cannot write: the run is handed back by the same number until that is taken. */
static void on_release_again(struct sim_event *e)
{
    struct runtime *rt = &runtimes[e->who];
    if (later(e, rt))
        return;
    struct stay *s = stay_find(rt, e->generation);
    if (s != NULL)
        runtime_release(s, (aiki_view){NULL, 0});
}

static void cannot_record(struct stay *s, uint64_t number)
{
    s->leaving = s->given_up = true;
    s->wants_alone = s->orderly = false;
    s->appends = number;
    struct sim_event *e = event_at(sim.now_ms + 200, on_release_again);
    e->who = s->runtime;
    e->generation = s->serial;
}

/* A request that ends a run takes it away from an owner whose lease lasts; nothing else does. */
static void fenced(struct runtime *rt, struct stay *s, const aiki_error *err)
{
    bool ended = sim.runs[s->run].ended_as != 0;
    sim.fenced++;
    if (!s->zombie && !ended && sim.lines[rt->number].leased)
        violation("run %u: its owner is fenced though its lease never ended: %s", s->run, err->message);
    bool zombie = s->zombie;
    stay_drop(s);
    if (!zombie && !ended)
        leave(rt);
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
        if (m->status == AIKI_UNAVAILABLE)
            rt->serve_at_ms = sim.now_ms + 1000; /* with the next look at its files */
        else if (m->status == AIKI_FENCED)
            leave(rt);
        else
            violation("runtime %u: its build is refused: %s %s", rt->number, err.code, err.message);
        return;
    }
    if (a->kind == ASK_JOURNAL)
        s = stay_find(rt, a->stay);
    if (s == NULL)
        return;
    if (m->status == AIKI_FENCED) {
        fenced(rt, s, &err);
        return;
    }
    if (s->zombie || a->kind == ASK_JOURNAL) {
        stay_drop(s);
        return;
    }
    if (s->brokers && m->status == AIKI_INVALID) {
        leave(rt); /* an append of the child before it was refused: the server takes all runs back */
        return;
    }
    if (s->given_up && a->number != s->appends)
        return; /* one of those that followed the first refused */
    if (m->status != AIKI_UNAVAILABLE)
        violation("run %u: an append is refused: %s %s", s->run, err.code, err.message);
    cannot_record(s, a->number);
}

static void note_arrival(const struct stay *s, aiki_view stored)
{
    struct event e;
    aiki_reader r;
    aiki_reader_init(&r, stored);
    if (event_read_stored(&r, &e, NULL) == AIKI_OK && e.kind == EVENT_WOKEN)
        sim.runs[s->run].woken_told_ms = clock_wall_ms();
}

static void on_notify(struct runtime *rt, const struct msg_NOTIFY *m)
{
    struct stay *s = stay_of_run(rt, run_of_id(&m->run));
    aiki_error err = {.struct_size = sizeof(err)};
    if (s == NULL || s->epoch != m->epoch)
        return;
    if (m->kind == NOTIFY_DROP) {
        stay_drop(s);
        return;
    }
    if (s->leaving || s->loading) /* the server knows it was not seen; the page to come has it */
        return;
    note_arrival(s, m->event);
    if (replay_add_arrival(&s->replay, stay_copy(s, m->event), &err) != AIKI_OK)
        violation("run %u: an arrival is refused: %s", s->run, err.message);
    stay_pump(s);
}

/* As long as the session lasts: the next one is told what is so then. */
static void on_quarantine(struct runtime *rt, const struct msg_QUARANTINE *m)
{
    uint32_t bit = quarantine_bit(m->name, m->workflow);
    uint32_t *all = &rt->quarantined[m->build.data[0] - 1u];
    sim_note("runtime %u: %.*s of build %u is %s", rt->number, (int)m->name.size_bytes,
             (const char *)m->name.data, m->build.data[0] - 1u, m->on ? "quarantined" : "free again");
    *all = m->on ? *all | bit : *all & ~bit;
}

uint32_t runtime_quarantined(uint32_t peer, uint32_t build, bool *ret_registered)
{
    *ret_registered = runtimes[peer].registered && runtimes[peer].build == build;
    return runtimes[peer].quarantined[build];
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
        struct msg_QUARANTINE quarantine;
    } m;
    if (f->correlation != 0 && !answered(rt, f->correlation, &a))
        return;
    if (a.kind == ASK_CLAIM)
        rt->claims_open--;
    switch (f->type) {
    case WIRE_CLAIMED:
        if (msg_CLAIMED_read(f->payload, &m.claimed, NULL) != AIKI_OK)
            break;
        if (a.kind == ASK_JOURNAL)
            page_came(rt, &a, &m.claimed);
        else
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
    case WIRE_QUARANTINE:
        if (msg_QUARANTINE_read(f->payload, &m.quarantine, NULL) == AIKI_OK)
            on_quarantine(rt, &m.quarantine);
        break;
    case WIRE_OK:
        if (a.kind == ASK_REGISTER)
            rt->registered = true;
        else if (a.kind == ASK_BEAT && msg_OK_read(f->payload, &m.ok, NULL) == AIKI_OK && m.ok.count == 1)
            rt->renewed_at_ms = sim.now_ms;
        break;
    default: violation("a runtime was sent %s", wire_type_name(f->type));
    }
}

/* ---- by itself ------------------------------------------------------------------------------- */

/* As before a drain ends, or when another shall go on. */
static void give_back_some(struct runtime *rt)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (crash_is_in_child(&rt->stays[i]) && rt->stays[i].replay.running == 0 &&
            rng_permille(&sim.faults, 500))
            stay_give_back(&rt->stays[i]);
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
    if (rt->serve_at_ms != 0 && rt->serve_at_ms <= sim.now_ms) {
        rt->serve_at_ms = 0;
        serve(rt);
    }
    read_streams(rt);
    if (fault_strikes(FAULT_BIT_RUNTIME_CRASH, 1)) {
        sim_note("runtime %u dies", rt->number);
        leave(rt);
    } else if (fault_strikes(FAULT_BIT_RUNTIME_PAUSE, 1)) {
        sim_note("runtime %u stops for a while", rt->number);
        rt->frozen_until_ms = sim.now_ms + (int64_t)rng_below(&sim.faults, 3 * LEASE_MS);
    } else if (fault_strikes(FAULT_BIT_CHILD_HANGS, 2)) {
        crash_hang(rt);
    } else if (fault_strikes(FAULT_BIT_CHILD_CRASH, HAS(CODE_CRASH) ? 8 : 2)) {
        crash_child(rt);
        if (HAS(OTHER_BUILD) && rng_permille(&sim.faults, 300))
            change_build(rt, !rt->build); /* as people do who see it crash */
    } else if (fault_strikes(FAULT_BIT_HAND_BACK, 3)) {
        give_back_some(rt);
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
        line_say(rt->number, HEARTBEAT, ask(rt, &(struct ask){.kind = ASK_BEAT}), .busy = 0,
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

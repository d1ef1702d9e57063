/* world.c - time, chance, order, connections: one seed from its beginning to its end. */
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sim.h"

enum { EVENTS_MAX = 2000000, EPOCH_MS_LOW = 1700000000 };

struct world sim;
static jmp_buf failed; /* back to world_play */

/* ---- the clocks of the product --------------------------------------------------------------- */

int64_t clock_mono_ms(void) { return sim.now_ms; }
int64_t clock_mono_ns(void) { return sim.now_ms * 1000 * 1000; }
int64_t clock_wall_ms(void) { return (int64_t)EPOCH_MS_LOW * 1000 + sim.now_ms; }

/* ---- chance ---------------------------------------------------------------------------------- */

/* splitmix64: one word of state, every seed as good as another. */
uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t mix64(uint64_t a, uint64_t b)
{
    struct rng r = {a ^ (b * 0x9e3779b97f4a7c15u)};
    return rng_next(&r);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return n == 0 ? 0 : rng_next(r) % n;
}

bool rng_permille(struct rng *r, uint64_t permille)
{
    return rng_below(r, 1000) < permille;
}

bool fault_strikes(uint32_t bit, uint64_t permille)
{
    if ((sim.config.faults >> bit & 1) == 0 || sim.calm)
        return false;
    return rng_below(&sim.faults, 100000) < permille * sim.config.fault_percent;
}

/* ---- trace ----------------------------------------------------------------------------------- */

void trace_add(uint64_t value) { sim.trace = mix64(sim.trace, value); }

void trace_bytes(aiki_view bytes)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < bytes.size_bytes; i++)
        h = (h ^ bytes.data[i]) * 0x100000001b3u;
    trace_add(h);
}

void sim_note(const char *format, ...)
{
    va_list args;
    if (!sim.config.verbose)
        return;
    printf("%8lld  ", (long long)sim.now_ms);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

void violation(const char *format, ...)
{
    va_list args;
    char why[500];
    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    (void)snprintf(sim.why, sizeof(sim.why), "at %lld ms: %s", (long long)sim.now_ms, why);
    longjmp(failed, 1);
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->serial < b->serial;
}

static struct sim_event *push(const struct sim_event *e)
{
    sim.heap = array_grow(sim.heap, &sim.heap_capacity, sim.heap_count, sizeof(*sim.heap));
    size_t i = sim.heap_count++;
    while (i > 0 && before(e, &sim.heap[(i - 1) / 2])) {
        sim.heap[i] = sim.heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim.heap[i] = *e;
    return &sim.heap[i];
}

static struct sim_event pop(void)
{
    struct sim_event first = sim.heap[0], last = sim.heap[--sim.heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim.heap_count)
            break;
        if (child + 1 < sim.heap_count && before(&sim.heap[child + 1], &sim.heap[child]))
            child++;
        if (!before(&sim.heap[child], &last))
            break;
        sim.heap[i] = sim.heap[child];
        i = child;
    }
    if (sim.heap_count > 0)
        sim.heap[i] = last;
    return first;
}

struct sim_event *event_at(int64_t at_ms, void (*fn)(struct sim_event *e))
{
    const struct sim_event e = {
        .at_ms = at_ms > sim.now_ms ? at_ms : sim.now_ms, .serial = ++sim.serial, .fn = fn};
    return push(&e);
}

void event_bytes(struct sim_event *e, aiki_view bytes)
{
    e->bytes = memory_need(bytes.size_bytes + 1);
    e->size_bytes = bytes.size_bytes;
    if (bytes.size_bytes > 0)
        memcpy(e->bytes, bytes.data, bytes.size_bytes);
}

void event_again(const struct sim_event *e, int64_t at_ms)
{
    struct sim_event again = *e;
    again.at_ms = at_ms;
    if (e->bytes != NULL)
        event_bytes(&again, (aiki_view){e->bytes, e->size_bytes});
    (void)push(&again);
}

/* ---- connections ----------------------------------------------------------------------------- */

int64_t line_delay_ms(void)
{
    return (int64_t)(HAS(SLOW_NET) ? rng_below(&sim.net, 60) : rng_below(&sim.net, 3));
}

peer_id line_peer(uint32_t peer) { return peer_make(sim.lines[peer].serial, peer); }

static void on_to_server(struct sim_event *e)
{
    struct line *l = &sim.lines[e->who];
    if (!l->open || l->serial != e->generation)
        return;
    if (e->type == WIRE_HEARTBEAT) {
        if (l->leased)
            l->lease_until_ms = sim.now_ms + LEASE_MS;
        aiki_writer w;
        aiki_writer_init_fixed(&w, (uint8_t[64]){0}, 64);
        frame_add(&w, OK, e->correlation, .count = l->leased ? 1 : 0);
        line_deliver(e->who, l->serial, aiki_writer_view(&w));
        return;
    }
    server_take(e->who, e->type, e->correlation, (aiki_view){e->bytes, e->size_bytes});
}

static int64_t in_order(int64_t *last_ms)
{
    int64_t at_ms = sim.now_ms + line_delay_ms();
    *last_ms = at_ms > *last_ms ? at_ms : *last_ms;
    return *last_ms;
}

void line_send(uint32_t peer, uint32_t type, uint32_t correlation, aiki_view payload)
{
    struct line *l = &sim.lines[peer];
    if (!l->open)
        return;
    struct sim_event *e = event_at(in_order(&l->to_server_ms), on_to_server);
    e->who = peer;
    e->type = type;
    e->correlation = correlation;
    e->generation = l->serial;
    event_bytes(e, payload);
}

static void on_to_peer(struct sim_event *e)
{
    const struct line *l = &sim.lines[e->who];
    int64_t until_ms;
    struct frame f;
    uint64_t size;
    if (!l->open || l->serial != e->generation)
        return;
    if (e->who < RUNTIMES_MAX && runtime_frozen_until(e->who, &until_ms)) {
        event_again(e, until_ms);
        return;
    }
    if (frame_read((aiki_view){e->bytes, e->size_bytes}, &f, &size, NULL) != AIKI_OK)
        violation("a frame of the server that does not decode");
    if (e->who < RUNTIMES_MAX)
        runtime_frame(e->who, &f);
    else
        client_frame(e->who, &f);
}

void line_deliver(uint32_t peer, uint64_t serial, aiki_view frames)
{
    struct line *l = &sim.lines[peer];
    struct frame f;
    uint64_t size;
    if (!l->open || l->serial != serial)
        return;
    while (frames.size_bytes > 0 && frame_read(frames, &f, &size, NULL) == AIKI_OK) {
        struct sim_event *e = event_at(in_order(&l->to_peer_ms), on_to_peer);
        e->who = peer;
        e->type = f.type;
        e->generation = serial;
        event_bytes(e, (aiki_view){frames.data, size});
        frames.data += size;
        frames.size_bytes -= size;
    }
}

void line_open(uint32_t peer)
{
    struct line *l = &sim.lines[peer];
    *l = (struct line){.open = true, .serial = ++sim.line_serial};
}

static void on_closed(struct sim_event *e)
{
    if (e->who < RUNTIMES_MAX)
        runtime_cut(e->who);
    else
        client_cut(e->who);
}

/* Both ends learn it: the server at once, the peer when its event comes. What was on its way is lost. */
void line_close(uint32_t peer)
{
    struct line *l = &sim.lines[peer];
    if (!l->open)
        return;
    server_take(peer, COMMAND_CLOSE, 0, (aiki_view){NULL, 0});
    l->open = false;
    l->leased = false;
    event_at(sim.now_ms + 1, on_closed)->who = peer;
}

/* ---- one seed -------------------------------------------------------------------------------- */

static void on_cut(struct sim_event *e)
{
    (void)e;
    if (sim.calm)
        return;
    if (fault_strikes(FAULT_BIT_CUT, 500))
        line_close((uint32_t)rng_below(&sim.faults, PEERS));
    (void)event_at(sim.now_ms + 200 + (int64_t)rng_below(&sim.faults, 1500), on_cut);
}

static void begin(const struct config *config)
{
    memset(&sim, 0, sizeof(sim));
    sim.config = *config;
    sim.now_ms = 1000;
    sim.faults = (struct rng){mix64(config->seed, 1)};
    sim.net = (struct rng){mix64(config->seed, 2)};
    sim.work = (struct rng){mix64(config->seed, 3)};
    sim.program_rng = (struct rng){mix64(config->seed, 4)};
    sim.faults_end_ms = sim.now_ms + FAULT_PHASE_MS;
    quarantine_begin();
    programs_make();
    runs_make();
    server_start();
    runtimes_start();
    clients_start();
    (void)event_at(sim.now_ms + 500, on_cut);
}

static void go_until(int64_t until_ms)
{
    while (sim.heap_count > 0 && sim.heap[0].at_ms <= until_ms) {
        struct sim_event e = pop();
        sim.now_ms = e.at_ms;
        if (++sim.handled > EVENTS_MAX)
            violation("no end after %d events", EVENTS_MAX);
        trace_add((uint64_t)e.at_ms);
        trace_add((uint64_t)e.who << 32 | e.type);
        if (e.bytes != NULL)
            trace_bytes((aiki_view){e.bytes, e.size_bytes});
        e.fn(&e);
        free(e.bytes);
    }
    sim.now_ms = until_ms;
}

static uint32_t first_open(void)
{
    for (uint32_t i = 0; i < sim.run_count; i++)
        if ((sim.runs[i].acked || sim.runs[i].on_record) && !sim.runs[i].ended)
            return i;
    return NOBODY;
}

/* Faults are over. Each round leaves time for what waits, looks whether somebody waits for nothing, sends
 * the signals programs ask for, and lets the other build have its turn with what only it can go on with. */
static void calm_down(void)
{
    enum { ROUND_MS = 15000 };
    sim.calm = true;
    for (uint32_t round = 0; !sim.server.up || first_open() != NOBODY || !clients_done(); round++) {
        uint32_t open = first_open();
        if (sim.now_ms > sim.faults_end_ms + CALM_MS_MAX && open != NOBODY)
            violation("run %u does not end; it is %s on record, acknowledged %d", open,
                      run_state_name(sim.runs[open].state), sim.runs[open].acked);
        if (sim.now_ms > sim.faults_end_ms + CALM_MS_MAX)
            violation("a client is never answered");
        runtimes_calm(HAS(OTHER_BUILD) ? round & 1 : 0);
        go_until(sim.now_ms + ROUND_MS);
        oracle_quiet();
        clients_help();
    }
}

static void end(void)
{
    for (size_t i = 0; i < sim.heap_count; i++)
        free(sim.heap[i].bytes);
    free(sim.heap);
    runtimes_stop();
    clients_stop();
    server_stop();
    sim_store_wipe();
    for (uint32_t i = 0; i < WORKFLOWS_MAX; i++)
        free(sim.streams[i].entries);
    runs_free();
    free(sim.executions);
}

bool world_play(const struct config *config, uint64_t *ret_trace)
{
    bool good = setjmp(failed) == 0;
    if (good) {
        begin(config);
        go_until(sim.faults_end_ms);
        calm_down();
        oracle_end();
        *ret_trace = sim.trace;
    }
    end();
    return good;
}

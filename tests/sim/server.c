/* server.c - the server process: the real pipeline, and what its loop thread does, in virtual time.
 *
 *   frames --> batch --turn--> pipeline_turn --> outcome: frames to links, offers to streams
 *                                  |
 *                                  +-- store crashes, or _exit: the process is gone, restart later
 *
 * The store thread is this thread. `_exit` is wrapped by the linker (tests/sim/meson.build), so that
 * the product's own decision to end is a crash of the simulated process and not of the simulator.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "sim.h"

static struct mailbox outbox;
static uv_loop_t loop;
static struct mail *in_hand; /* batches of the turn under way */

void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status)
{
    if (sim.server.in_turn)
        longjmp(sim.server.died, 1);
    __real__exit(status);
}

_Noreturn void server_crash_here(void) { longjmp(sim.server.died, 1); }

/* ---- what comes out -------------------------------------------------------------------------- */

static uint32_t workflow_of(const struct stream *s)
{
    for (uint32_t w = 0; w < WORKFLOWS_MAX; w++) {
        const char name[] = {'t', ':', 'w', (char)('0' + w), ':', '\0'};
        if (strstr(s->key, name) != NULL)
            return w;
    }
    violation("an offer for the stream %s", s->key);
}

static bool session_lives(const struct aiki_id *id)
{
    for (uint32_t i = 0; i < RUNTIMES_MAX; i++)
        if (sim.lines[i].leased && id_equal(&sim.lines[i].session, id))
            return true;
    return false;
}

/* What a consumer of an ended session has read and not claimed is to be offered again. */
static void tickets_of_the_dead(uint32_t workflow)
{
    struct sim_stream *s = &sim.streams[workflow];
    for (size_t i = 0; i < s->count;) {
        struct stream_entry *e = &s->entries[i];
        if (id_is_zero(&e->reader) || session_lives(&e->reader)) {
            i++;
            continue;
        }
        server_take(PEERS, COMMAND_TICKETS, 0, (aiki_view){(const uint8_t *)&e->ticket, sizeof(e->ticket)});
        memmove(e, e + 1, (--s->count - i) * sizeof(*e));
    }
}

static void offer(const struct stream *stream, int64_t min_age_ms, uint64_t after_no)
{
    struct offer_scan scan;
    memset(&scan, 0, sizeof(scan)); /* its padding is copied and hashed */
    scan.stream = stream;
    scan.min_age_ms = min_age_ms;
    scan.after_no = after_no;
    server_take(PEERS, COMMAND_OFFER, 0, (aiki_view){(const uint8_t *)&scan, sizeof(scan)});
}

static void take_outcome(struct outcome *o)
{
    for (size_t i = 0; i < o->parcel_count; i++) {
        const struct parcel *p = &o->parcels[i];
        line_deliver(peer_slot(p->peer), p->peer >> 16, aiki_writer_view(&p->frames));
    }
    for (size_t i = 0; i < o->offer_count; i++)
        stream_add(workflow_of(o->offers[i].stream), &o->offers[i].ticket);
    for (size_t i = 0; i < o->orphan_count; i++)
        tickets_of_the_dead(workflow_of(o->orphans[i].stream));
    for (size_t i = 0; i < o->audit_count; i++) {
        uint32_t w = workflow_of(o->audits[i].stream);
        if (sim.streams[w].count < o->audits[i].queued)
            offer(o->audits[i].stream, AUDIT_AGE_MS, 0);
        else
            tickets_of_the_dead(w);
    }
    if (o->scanned && o->scan.after_no != 0)
        offer(o->scan.stream, o->scan.min_age_ms, o->scan.after_no);
}

/* Everything the store thread has posted; `lost`: the process ended before its loop saw it. */
static void take_outcomes(bool lost)
{
    struct mail *list = outbox.first;
    outbox.first = NULL;
    outbox.last = &outbox.first;
    for (struct mail *next; list != NULL; list = next) {
        struct outcome *o = container_of(list, struct outcome, mail);
        next = list->next;
        if (!lost)
            take_outcome(o);
        outcome_destroy(o);
    }
}

/* ---- the process ----------------------------------------------------------------------------- */

static void on_start(struct sim_event *e)
{
    (void)e;
    server_start();
}

static void free_batches(struct mail *list)
{
    for (struct mail *next; list != NULL; list = next) {
        next = list->next;
        batch_destroy(container_of(list, struct batch, mail));
    }
}

static void take_down(void)
{
    struct sim_server *s = &sim.server;
    if (!s->up)
        return;
    s->up = s->in_turn = s->turn_due = false;
    s->generation++;
    s->wake_at_ms = 0;
    free_batches(in_hand);
    in_hand = NULL;
    batch_destroy(s->batch);
    s->batch = NULL;
    pipeline_deinit(&s->p);
    store_close(s->store);
    s->store = NULL;
}

static void die(void)
{
    sim_note("server dies");
    take_outcomes(rng_permille(&sim.faults, 500));
    take_down();
    for (uint32_t i = 0; i < PEERS; i++)
        line_close(i);
    (void)event_at(sim.now_ms + 20 + (int64_t)rng_below(&sim.faults, 2000), on_start);
}

/* What has to be true whenever nothing is being decided. */
static void forget_some(struct pipeline *p)
{
    if (!HAS(SMALL_CACHE))
        return;
    for (int i = 0; i < REST_COUNT; i++) {
        const struct chain *runs = &p->cache.resting[i].runs;
        while (!chain_is_empty(runs))
            cache_remove(&p->cache, container_of(runs->next, struct entry, resting));
    }
}

static void on_turn(struct sim_event *e);

static void arm(void)
{
    struct sim_server *s = &sim.server;
    int64_t at_ms = pipeline_deadline(&s->p);
    if (at_ms == 0 || (s->wake_at_ms != 0 && s->wake_at_ms <= at_ms))
        return;
    s->wake_at_ms = at_ms;
    event_at(at_ms, on_turn)->generation = s->generation;
}

static void turn(void)
{
    struct sim_server *s = &sim.server;
    s->turn_due = false;
    if (s->batch != NULL)
        s->batch->mail.next = NULL;
    in_hand = s->batch != NULL ? &s->batch->mail : NULL;
    s->batch = NULL;
    if (setjmp(s->died) != 0) {
        s->in_turn = false;
        die();
        return;
    }
    s->in_turn = true;
    pipeline_turn(&s->p, in_hand);
    s->in_turn = false;
    in_hand = NULL;
    take_outcomes(false);
    forget_some(&s->p);
    arm();
}

static void on_turn(struct sim_event *e)
{
    struct sim_server *s = &sim.server;
    if (!s->up || e->generation != s->generation)
        return;
    if (s->wake_at_ms != 0 && s->wake_at_ms <= sim.now_ms)
        s->wake_at_ms = 0;
    turn();
}

void server_take(uint32_t peer, uint32_t type, uint32_t correlation, aiki_view payload)
{
    struct sim_server *s = &sim.server;
    if (!s->up)
        return;
    if (s->batch == NULL)
        s->batch = batch_create();
    batch_add(s->batch, peer < PEERS ? line_peer(peer) : 0, type, correlation, payload);
    if (s->turn_due)
        return;
    s->turn_due = true;
    event_at(sim.now_ms + (int64_t)rng_below(&sim.net, 3), on_turn)->generation = s->generation;
}

/* Leases, and now and then the end of the process. */
static void on_watch(struct sim_event *e)
{
    struct sim_server *s = &sim.server;
    if (!s->up || e->generation != s->generation)
        return;
    for (uint32_t i = 0; i < RUNTIMES_MAX; i++) {
        struct line *l = &sim.lines[i];
        if (!l->leased || sim.now_ms < l->lease_until_ms)
            continue;
        sim_note("lease of runtime %u ends", i);
        l->leased = false;
        server_take(i, COMMAND_EXPIRE, 0, (aiki_view){NULL, 0});
    }
    if (fault_strikes(FAULT_BIT_SERVER_CRASH, 2)) {
        die();
        return;
    }
    event_at(sim.now_ms + 50, on_watch)->generation = s->generation;
}

void server_start(void)
{
    static bool ready;
    struct sim_server *s = &sim.server;
    aiki_error err = {.struct_size = sizeof(err)};
    if (!ready && (uv_loop_init(&loop) != 0 || mailbox_init(&outbox, &loop, NULL, NULL) != 0))
        violation("no loop for the mailbox");
    ready = true;
    if (sim_store_open(&s->store, &err) != AIKI_OK)
        violation("the store does not open: %s", err.message);
    pipeline_init(&s->p, s->store, "sim", &outbox);
    if (USES(PAGES))
        s->p.claim_bytes_max = s->p.page_bytes_max = sim.config.page_bytes;
    if (USES(QUARANTINE))
        s->p.quarantine.crashes_max = sim.config.quarantine_crashes;
    s->p.quarantine.window_ms = QUARANTINE_MS;
    s->p.quarantine.hold_ms = sim.config.hold_ms;
    if (USES(SMALL_UNITS))
        s->p.family_unit_runs = sim.config.unit_runs;
    if (pipeline_restore(&s->p, &err) != AIKI_OK)
        violation("the server does not restart: %s", err.message);
    s->up = true;
    s->wake_at_ms = 0;
    sim_note("server starts, incarnation %llu", (unsigned long long)s->store->incarnation);
    offer(NULL, 0, 0);
    arm();
    event_at(sim.now_ms + 50, on_watch)->generation = s->generation;
}

void server_stop(void)
{
    take_outcomes(true);
    take_down();
}

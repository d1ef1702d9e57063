/* pipeline.c - the store thread's turn: take, decide, wake, commit, post. */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "reader.h"
#include "wire/error.h"

/* ---- answers --------------------------------------------------------------------------------- */

static struct parcel *parcel_for(struct pipeline *p, peer_id peer)
{
    uint32_t *place = &p->parcel_of_slot[peer_slot(peer)];
    if (*place != 0 && p->outcome->parcels[*place - 1].peer == peer)
        return &p->outcome->parcels[*place - 1];
    struct parcel *parcel = outcome_add_parcel(p->outcome, peer);
    *place = (uint32_t)p->outcome->parcel_count;
    return parcel;
}

aiki_writer *answer_frames(struct pipeline *p, peer_id peer)
{
    struct parcel *parcel = parcel_for(p, peer);
    parcel->answered++;
    return &parcel->frames;
}

aiki_writer *push_frames(struct pipeline *p, peer_id peer)
{
    return &parcel_for(p, peer)->frames;
}

void answer_refusal(struct pipeline *p, const struct command *c, const aiki_error *err)
{
    metric_add(requests_refused, 1);
    frame_fault(answer_frames(p, c->peer), c->correlation, err);
}

void post_outcome(struct pipeline *p)
{
    struct outcome *o = p->outcome;
    if (outcome_is_empty(o))
        return;
    for (size_t i = 0; i < o->parcel_count; i++) {
        p->parcel_of_slot[peer_slot(o->parcels[i].peer)] = 0;
        if (o->parcels[i].frames.status != AIKI_OK) {
            log_error("server", "out of memory for answers; ending to restart clean");
            _exit(1);
        }
    }
    p->outcome = outcome_create();
    mailbox_post(p->outbox, &o->mail);
}

void offer_run(struct pipeline *p, const struct entry *e)
{
    struct offer *o = outcome_add_offer(p->outcome);
    o->stream = &e->flow->stream;
    o->ticket = (struct ticket){.run = e->id, .epoch = e->run.epoch};
}

/* ---- offers ---------------------------------------------------------------------------------- */

struct scan {
    struct pipeline *p;
    const struct offer_scan *want;
    uint64_t last_no;
    uint32_t rows;
    uint64_t offered;
};

/* The run as memory knows it, else as a claim would find it. False: not to be offered. */
static bool offer_of(struct pipeline *p, const struct run_row *row, int64_t min_age_ms,
                     struct offer *ret)
{
    struct run run = {.state = row->state,
                      .flags = row->flags,
                      .epoch = row->epoch,
                      .updated_at_ms = row->updated_at_ms};
    const struct entry *e = cache_find_no(&p->cache, row->no);
    const struct flow *flow =
        e != NULL ? e->flow : registry_find(&p->registry, row->workflow, row->version);
    if (e != NULL)
        run = e->run;
    else
        engine_adopt(&run, &p->now);
    if (flow == NULL || run.state != RUN_QUEUED || run.updated_at_ms > p->now.at_ms - min_age_ms)
        return false;
    ret->stream = &flow->stream;
    ret->ticket = (struct ticket){.run = row->id, .epoch = run.epoch};
    return true;
}

static bool offer_row(void *arg, const struct run_row *row)
{
    struct scan *s = arg;
    struct offer offer;
    s->last_no = row->no;
    s->rows++;
    if (!offer_of(s->p, row, s->want->min_age_ms, &offer) ||
        (s->want->stream != NULL && s->want->stream != offer.stream))
        return true;
    *outcome_add_offer(s->p->outcome) = offer;
    s->offered++;
    return true;
}

/* One page; the loop asks for the next one when it has published this one. */
void command_offer(struct pipeline *p, const struct offer_scan *want)
{
    aiki_error err = {.struct_size = sizeof(err)};
    struct scan s = {.p = p, .want = want};
    unit_finish(p); /* rows and memory agree */
    aiki_status status =
        p->store->ops->scan_open(p->store, want->after_no, SCAN_PAGE, offer_row, &s, &err);
    if (status != AIKI_OK)
        log_error("store", "open runs cannot be offered again: %s", err.message);
    metric_add(tickets_reoffered, s.offered);
    p->outcome->scanned = true;
    p->outcome->scan = *want;
    p->outcome->scan.after_no = status == AIKI_OK && s.rows == SCAN_PAGE ? s.last_no : 0;
    post_outcome(p); /* an outcome carries one scan */
}

/* Tickets that a dead consumer had read: offer those that still are the run's current offer. */
void command_tickets(struct pipeline *p, aiki_view tickets)
{
    aiki_error err = {.struct_size = sizeof(err)};
    unit_finish(p);
    for (uint64_t at = 0; at + sizeof(struct ticket) <= tickets.size_bytes;
         at += sizeof(struct ticket)) {
        struct ticket t;
        struct entry *e;
        memcpy(&t, tickets.data + at, sizeof(t));
        if (run_load(p, &t.run, &e, &err) != AIKI_OK)
            continue; /* a forged or foreign ticket: nothing to offer */
        if (e->run.state == RUN_QUEUED && e->run.epoch == t.epoch) {
            offer_run(p, e);
            metric_add(tickets_reoffered, 1);
        }
        cache_rest(&p->cache, e);
    }
}

/* Streams with runs queued for long: do they hold their tickets? */
static void audit(struct pipeline *p)
{
    p->audit_at_ms = 0;
    for (size_t i = 0; i < p->registry.flow_count; i++) {
        const struct flow *f = p->registry.flows[i];
        if (f->counts[RUN_QUEUED] == 0)
            continue;
        p->audit_at_ms = p->now.at_ms + AUDIT_MS;
        if (f->queued_since_ms > p->now.at_ms - AUDIT_AGE_MS)
            continue;
        struct audit *a = outcome_add_audit(p->outcome);
        a->stream = &f->stream;
        a->queued = f->counts[RUN_QUEUED];
    }
}

static bool anything_queued(const struct pipeline *p)
{
    for (size_t i = 0; i < p->registry.flow_count; i++)
        if (p->registry.flows[i]->counts[RUN_QUEUED] > 0)
            return true;
    return false;
}

/* ---- time ------------------------------------------------------------------------------------ */

static bool hold_is_over(struct pipeline *p, struct entry *e, struct engine_effects *effects)
{
    uint64_t why = quarantine_why_over((aiki_view){e->reason, e->reason_size_bytes});
    aiki_view body = event_body(p, &(struct event){.kind = EVENT_UNBLOCKED, .as.unblocked.why = why});
    return engine_hold_over(&e->run, &p->now, body, &e->journal, effects);
}

static void run_due(struct pipeline *p, uint64_t no)
{
    struct entry *e;
    struct engine_effects effects;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_timer_due);
    aiki_status status = run_load_no(p, no, &e, &err);
    if (status != AIKI_OK) {
        log_error("store", "the timer of run number %llu is due, but the run cannot be read: %s",
                  (unsigned long long)no, err.message);
        if (status == AIKI_UNAVAILABLE || status == AIKI_NOMEM)
            timers_set(&p->timers, no * 2, p->now.at_ms + RETRY_MS);
        return;
    }
    bool was_dirty = e->dirty != 0;
    uint64_t from = e->journal.size_bytes;
    e->timer_at_ms = 0; /* taken; whoever settles the run arms it again */
    unit_touch(p, e)->timer = true; /* armed again if the unit is rolled back */
    if ((e->run.flags & RUN_FLAG_FOLLOW) != 0) {
        children_follow_on(p, e);
        return;
    }
    bool expired = run_expire(p, e) || run_unclaimed(p, e);
    if (!expired && (engine_wake(&e->run, &p->now, &effects) || hold_is_over(p, e, &effects))) {
        unit_recorded(p, e, from, &effects);
    } else if (!expired) { /* signalled in this very unit, or its time was moved */
        if (!was_dirty) {
            unit_untouch(p, e);
            run_settle(p, e);
            cache_rest(&p->cache, e);
        }
        return;
    }
    metric_add(timers_fired, 1);
}

static void fire_timers(struct pipeline *p)
{
    uint64_t key;
    while (p->work.run_count < UNIT_RUNS &&
           timers_take(&p->timers, p->now.at_ms, &key)) {
        if ((key & WAITER_TIMER) != 0)
            waiter_timed_out(p, (uint32_t)(key / 2));
        else
            run_due(p, key / 2);
    }
}

static void write_lagging(struct pipeline *p)
{
    while (!chain_is_empty(&p->lagging) && p->work.run_count < UNIT_RUNS) {
        struct entry *e = container_of(p->lagging.next, struct entry, lagging);
        if (e->lags_since_ms > p->now.at_ms - LAG_MS_MAX)
            return;
        (void)unit_touch(p, e);
        chain_remove(&e->lagging); /* back in by roll_back_run when the store refuses */
    }
}

static int64_t earliest(int64_t a, int64_t b)
{
    return a == 0 ? b : b == 0 || a < b ? a : b;
}

int64_t pipeline_deadline(struct pipeline *p)
{
    int64_t at_ms = timers_first_at_ms(&p->timers);
    if (!chain_is_empty(&p->lagging)) {
        const struct entry *e = container_of(p->lagging.next, struct entry, lagging);
        at_ms = earliest(at_ms, e->lags_since_ms + LAG_MS_MAX);
    }
    if (p->audit_at_ms == 0 && anything_queued(p))
        p->audit_at_ms = p->now.at_ms + AUDIT_MS;
    at_ms = earliest(earliest(at_ms, p->audit_at_ms), p->unblock_at_ms);
    if (at_ms == 0)
        return 0;
    int64_t wait_ms = at_ms - engine_clock_ms(&p->clock);
    return clock_mono_ms() + (wait_ms > 0 ? wait_ms : 0);
}

/* ---- the turn -------------------------------------------------------------------------------- */

static void decide_batch(struct pipeline *p, const struct batch *b)
{
    metric_add(batches, 1);
    metric_add(commands, b->count);
    p->batch = b;
    for (p->index = 0; p->index < b->count; p->index++) {
        const struct command *c = &b->commands[p->index];
        command_decide(p, c, batch_payload(b, c));
        if (p->work.run_count >= UNIT_RUNS || p->work.ref_count >= UNIT_REFS)
            unit_finish(p);
    }
}

void pipeline_turn(struct pipeline *p, struct mail *list)
{
    p->now.at_ms = engine_clock_ms(&p->clock);
    for (struct mail *m = list; m != NULL; m = m->next)
        decide_batch(p, container_of(m, struct batch, mail));
    fire_timers(p);
    write_lagging(p);
    unit_commit(p);
    if (p->unblock_at_ms != 0 && p->now.at_ms >= p->unblock_at_ms)
        unblock_again(p);
    if (p->audit_at_ms != 0 && p->now.at_ms >= p->audit_at_ms)
        audit(p);
    p->outcome->used = list;
    post_outcome(p);
}

void pipeline_run(struct pipeline *p)
{
    while (!p->stopping) {
        int64_t at = pipeline_deadline(p);
        pipeline_turn(p, postbox_take(&p->inbox, at));
    }
}

/* ---- decide ---------------------------------------------------------------------------------- */

static void refuse_type(struct pipeline *p, const struct command *c)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_set(&err, AIKI_INVALID, "message type %u is not a request to the server", c->type);
    answer_refusal(p, c, &err);
}

static void note_beat(struct pipeline *p, peer_id peer, const struct session_beat *beat)
{
    struct session *s = party_of(p, peer)->session;
    if (s == NULL)
        return;
    s->busy = beat->busy;
    s->info.slots = beat->slots;
    s->beat_at_ms = p->now.at_ms;
}

static void decide_session(struct pipeline *p, const struct command *c, aiki_view payload)
{
    unit_finish(p); /* what these change cannot be rolled back */
    switch (c->type) {
    case COMMAND_OPEN:
        command_open(p, c, (const struct session_open *)(const void *)payload.data);
        break;
    case COMMAND_EXPIRE: session_end(p, c->peer); break;
    case COMMAND_CLOSE:
        session_end(p, c->peer);
        waiters_forget(p, c->peer, NULL);
        break;
    case COMMAND_FORGET: waiters_forget(p, c->peer, &c->correlation); break;
    default: abort(); /* command_decide sends nothing else here */
    }
}

void command_decide(struct pipeline *p, const struct command *c, aiki_view payload)
{
    switch (c->type) {
    case WIRE_START: command_start(p, c, payload); break;
    case WIRE_APPEND: command_append(p, c, payload); break;
    case WIRE_CLAIM: command_claim(p, c, payload); break;
    case WIRE_SIGNAL: command_signal(p, c, payload); break;
    case WIRE_CONTROL: command_control(p, c, payload); break;
    case WIRE_WAIT: command_wait(p, c, payload); break;
    case WIRE_QUERY: command_query(p, c, payload); break;
    case WIRE_JOURNAL: command_journal(p, c, payload); break;
    case WIRE_REGISTER: command_register(p, c, payload); break;
    case WIRE_UNREGISTER: command_unregister(p, c, payload); break;
    case WIRE_MOVED: command_moved(p, c, payload); break;
    case WIRE_USAGE: command_usage(p, c, payload); break;
    case WIRE_REFUSAL: command_refused(p, c, payload); break;
    case WIRE_STREAM_RESET: command_stream_reset(p, c, payload); break;
    case COMMAND_OFFER:
        command_offer(p, (const struct offer_scan *)(const void *)payload.data);
        break;
    case COMMAND_TICKETS: command_tickets(p, payload); break;
    case COMMAND_STOP: p->stopping = true; break;
    case COMMAND_OPEN:
    case COMMAND_EXPIRE:
    case COMMAND_CLOSE:
    case COMMAND_FORGET: decide_session(p, c, payload); break;
    case COMMAND_BEAT:
        note_beat(p, c->peer, (const struct session_beat *)(const void *)payload.data);
        break;
    default: refuse_type(p, c); break;
    }
}

/* ---- restart --------------------------------------------------------------------------------- */

struct restore {
    struct pipeline *p;
    uint64_t last_no;
    uint32_t rows;
    aiki_status status;
    aiki_error *err;
};

static bool restore_workflow(void *arg, const struct workflow_row *row)
{
    struct restore *r = arg;
    r->status = registry_restore(&r->p->registry, row, r->err);
    return r->status == AIKI_OK;
}

static bool restore_run(void *arg, const struct run_row *row)
{
    static const uint8_t no_build[HASH_BYTES];
    struct restore *r = arg;
    struct flow *flow;
    struct run run = {.state = row->state,
                      .flags = row->flags,
                      .epoch = row->epoch,
                      .wake_at_ms = row->wake_at_ms,
                      .deadline_ms = row->deadline_ms};
    r->last_no = row->no;
    r->rows++;
    r->status = registry_intern(&r->p->registry, row->workflow, row->version, &flow, r->err);
    if (r->status != AIKI_OK)
        return false;
    engine_adopt(&run, &r->p->now);
    flow_count(flow, 0, run.state, r->p->now.at_ms);
    if (row->build.size_bytes == HASH_BYTES && !run_state_is_terminal(row->state))
        flow_count_build(flow, no_build, row->build.data);
    timers_set(&r->p->timers, row->no * 2, run_timer_at_ms(&run));
    return true;
}

static aiki_status restore_workflows(struct pipeline *p, aiki_error *err)
{
    struct store_reader *reader;
    struct restore r = {.p = p, .err = err};
    aiki_status status = p->store->ops->open_reader(p->store, &reader, err);
    if (status != AIKI_OK)
        return status;
    status = p->store->ops->workflows(reader, p->space, restore_workflow, &r, err);
    p->store->ops->close_reader(reader);
    return status != AIKI_OK ? status : r.status;
}

aiki_status pipeline_restore(struct pipeline *p, aiki_error *err)
{
    struct restore r = {.p = p, .err = err};
    p->now.at_ms = engine_clock_ms(&p->clock);
    aiki_status status = restore_workflows(p, err);
    if (status == AIKI_OK)
        status = quarantine_restore(p, err);
    if (status == AIKI_OK)
        status = schemas_restore(p->schemas, p->store, p->space, err);
    while (status == AIKI_OK) {
        r.rows = 0;
        status = p->store->ops->scan_open(p->store, r.last_no, SCAN_PAGE, restore_run, &r, err);
        if (status == AIKI_OK)
            status = r.status;
        if (r.rows < SCAN_PAGE)
            break;
    }
    return status;
}

/* ---- life ------------------------------------------------------------------------------------ */

void pipeline_init(struct pipeline *p, struct store *store, const char *space,
                   struct mailbox *outbox)
{
    *p = (struct pipeline){.store = store, .space = space, .outbox = outbox};
    postbox_init(&p->inbox);
    engine_clock_init(&p->clock, store->clock_ms_max);
    p->now.at_ms = p->started_at_ms = engine_clock_ms(&p->clock);
    p->now.epoch_floor = store->incarnation << 32;
    p->run_no_max = store->run_no_max;
    p->claim_bytes_max = fault_mode(page_of_one) ? 1 : CLAIM_BYTES_MAX;
    p->family_unit_runs = fault_mode(page_of_one) ? 1 : FAMILY_UNIT_RUNS;
    p->page_bytes_max = fault_mode(page_of_one) ? 1 : PAGE_BYTES_MAX;
    cache_init(&p->cache);
    registry_init(&p->registry, space);
    p->schemas = schemas_create();
    chain_init(&p->lagging);
    p->outcome = outcome_create();
    p->parcel_of_slot = memory_need(PEER_SLOTS * sizeof(*p->parcel_of_slot));
    p->parties = memory_need(PEER_SLOTS * sizeof(*p->parties));
    buf_init(&p->scratch);
    buf_init(&p->body);
}

void pipeline_deinit(struct pipeline *p)
{
    for (struct mail *m = p->inbox.first, *next; m != NULL; m = next) {
        next = m->next;
        batch_destroy(container_of(m, struct batch, mail));
    }
    postbox_deinit(&p->inbox);
    unit_deinit(&p->work);
    cache_deinit(&p->cache);
    quarantine_deinit(&p->quarantine);
    registry_deinit(&p->registry);
    schemas_destroy(p->schemas);
    timers_deinit(&p->timers);
    for (size_t i = 0; i < p->waiter_count; i++)
        free(p->waiters[i]);
    free(p->waiters);
    outcome_destroy(p->outcome);
    free(p->parcel_of_slot);
    free(p->parties);
    free(p->fresh);
    buf_deinit(&p->scratch);
    buf_deinit(&p->body);
}

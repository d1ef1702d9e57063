/* unit.c - one unit of work: touch, commit, settle; or roll back and decide one by one.
 *
 *   touch --> engine --> recorded --> ... --> commit --OK--> settle: answers, offers
 *                                               |
 *                                               +--refused--> roll back, then each command alone
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/planted.h"
#include "pipeline.h"
#include "wire/error.h"

struct dirty *unit_touch(struct pipeline *p, struct entry *e)
{
    struct work *u = &p->work;
    if (e->dirty != 0)
        return &u->runs[e->dirty - 1];
    u->runs = array_grow(u->runs, &u->run_capacity, u->run_count, sizeof(*u->runs));
    struct dirty *d = &u->runs[u->run_count++];
    *d = (struct dirty){.entry = e,
                        .before = e->run,
                        .owner_before = e->owner,
                        .waits_before = e->waits,
                        .reason_before = e->reason,
                        .reason_size_before = e->reason_size_bytes,
                        .journal_size_before = e->journal.size_bytes,
                        .duplicates_before = e->duplicates,
                        .absorbed_before = e->absorbed,
                        .absorbed_size_before = e->absorbed_size_bytes,
                        .key_dropped_before = e->key_dropped};
    memcpy(d->hash_before, e->hash, HASH_BYTES);
    memcpy(d->last_build_before, e->last_build, HASH_BYTES);
    e->dirty = (uint32_t)u->run_count;
    cache_hold(&p->cache, e);
    return d;
}

void unit_untouch(struct pipeline *p, struct entry *e)
{
    p->work.run_count--;
    e->dirty = 0; /* the caller rests it */
}

/* The error map as it came, and for a blocked run the build that blocked it: the same build is
 * not offered the run again. */
static void keep_reason(struct entry *e, aiki_view map, const uint8_t *reason_before)
{
    aiki_writer w;
    aiki_reader r;
    buf_init(&w);
    aiki_reader_init(&r, map);
    uint64_t pairs = aiki_mp_read_map(&r);
    bool blocked = e->run.state == RUN_BLOCKED;
    if (r.status == AIKI_OK) {
        aiki_mp_map(&w, pairs + (blocked ? 1 : 0));
        aiki_mp_raw(&w, r.at, aiki_reader_left(&r));
        if (blocked) {
            aiki_mp_str(&w, "build");
            aiki_mp_bin(&w, e->build, HASH_BYTES);
        }
    }
    if (e->reason != reason_before)
        free(e->reason);
    e->reason = buf_take(&w, &e->reason_size_bytes);
}

static void clear_reason(struct entry *e, const uint8_t *reason_before)
{
    if (e->reason != reason_before)
        free(e->reason);
    e->reason = NULL;
    e->reason_size_bytes = 0;
}

void unit_recorded(struct pipeline *p, struct entry *e, uint64_t from,
                   const struct engine_effects *effects)
{
    struct dirty *d = unit_touch(p, e);
    aiki_reader r;
    if (e->journal.status != AIKI_OK) {
        log_error("store", "out of memory for a journal; ending to restart clean");
        _exit(1);
    }
    aiki_reader_init(&r, (aiki_view){e->journal.data + from, e->journal.size_bytes - from});
    while (aiki_reader_left(&r) > 0)
        event_chain(e->hash, aiki_mp_value(&r));
    uint8_t *former = entry_keep_waits(e);
    if (former != d->waits_before)
        free(former);
    if (effects->reason.size_bytes > 0)
        keep_reason(e, effects->reason, d->reason_before);
    else if (e->reason != NULL && e->run.state != RUN_BLOCKED &&
             !run_state_is_terminal(e->run.state))
        clear_reason(e, d->reason_before);
    if (e->run.owner == 0 && e->owner != NULL)
        run_set_owner(e, NULL);
    if (effects->finished)
        children_note(p, e, FOLLOW_ENDED);
    d->offer |= effects->offer;
    metric_add(events, effects->recorded);
}

static void note_command(struct pipeline *p)
{
    struct work *u = &p->work;
    if (u->command_count > 0 && u->commands[u->command_count - 1].batch == p->batch &&
        u->commands[u->command_count - 1].index == p->index)
        return;
    u->commands = array_grow(u->commands, &u->command_capacity, u->command_count,
                             sizeof(*u->commands));
    u->commands[u->command_count].batch = p->batch;
    u->commands[u->command_count++].index = p->index;
}

static struct owed *owe(struct pipeline *p, struct entry *e)
{
    struct work *u = &p->work;
    u->owed = array_grow(u->owed, &u->owed_capacity, u->owed_count, sizeof(*u->owed));
    struct owed *o = &u->owed[u->owed_count++];
    *o = (struct owed){.entry = e};
    return o;
}

struct owed *unit_owe(struct pipeline *p, const struct command *c, struct entry *e)
{
    struct owed *o = owe(p, e);
    o->peer = c->peer;
    o->correlation = c->correlation;
    note_command(p);
    return o;
}

void unit_refuse(struct pipeline *p, const struct command *c, struct entry *e, const aiki_error *err)
{
    if (e == NULL || e->dirty == 0) {
        answer_refusal(p, c, err);
        return;
    }
    struct owed *o = unit_owe(p, c, e);
    o->kind = OWED_FAULT;
    o->error = memory_need(sizeof(*o->error));
    *o->error = *err; /* without details or a cause, as refusals are */
}

void unit_changed(struct pipeline *p, struct entry *e, uint64_t from,
                  const struct engine_effects *effects)
{
    if ((effects->notify || effects->drop) && e->owner != NULL) {
        struct owed *o = owe(p, e);
        o->kind = effects->drop ? OWED_DROP : OWED_NOTIFY;
        o->peer = e->owner->peer;
        o->epoch = e->run.epoch;
        o->offset = from;
        o->size_bytes = e->journal.size_bytes - from;
    }
    unit_recorded(p, e, from, effects);
}

/* ---- settle ---------------------------------------------------------------------------------- */

static void pay(struct pipeline *p, const struct owed *o)
{
    struct entry *e = o->entry;
    const struct command c = {.peer = o->peer, .correlation = o->correlation};
    switch (o->kind) {
    case OWED_STARTED: answer_started(p, &c, e, o->created, o->want_result); break;
    case OWED_ACK:
        if (o->parked)
            fault_point(server_park_committed);
        answer(p, &c, ACK, .run = e->id, .number = o->number, .now_ms = p->now.at_ms);
        break;
    case OWED_OK: answer(p, &c, OK, .count = o->number); break;
    case OWED_FAULT: answer_refusal(p, &c, o->error); break;
    case OWED_NOTIFY:
        for (int times = fault_mode(duplicate) ? 2 : 1; times > 0; times--)
            frame_add(push_frames(p, o->peer), NOTIFY, 0, .run = e->id, .epoch = o->epoch,
                      .kind = NOTIFY_EVENT, .event = {e->journal.data + o->offset, o->size_bytes});
        break;
    case OWED_DROP:
        frame_add(push_frames(p, o->peer), NOTIFY, 0, .run = e->id, .epoch = o->epoch,
                  .kind = NOTIFY_DROP);
        break;
    }
}

static void forget_owed(struct work *u)
{
    for (size_t i = 0; i < u->owed_count; i++)
        free(u->owed[i].error);
    u->owed_count = 0;
}

static void pay_result(struct pipeline *p, const struct owed *o)
{
    aiki_error err = {.struct_size = sizeof(err)};
    const struct command c = {.peer = o->peer, .correlation = o->correlation};
    if (o->kind != OWED_STARTED || !o->want_result)
        return;
    if (waiter_add(p, o->entry, o->peer, o->correlation, false, WAIT_MS_MAX, &err) != AIKI_OK)
        answer_refusal(p, &c, &err);
}

static void settle_run(struct pipeline *p, struct dirty *d)
{
    struct entry *e = d->entry;
    if (d->waits_before != e->waits)
        free(d->waits_before);
    if (d->reason_before != e->reason)
        free(d->reason_before);
    if (d->absorbed_before != e->absorbed)
        free(d->absorbed_before);
    e->dirty = 0;
    e->stored_state = e->run.state;
    e->stored_epoch = e->run.epoch;
    e->stored_duplicates = e->duplicates;
    if (d->insert)
        metric_add(runs_started, 1);
    if (e->run.state != d->before.state) {
        if (e->run.state == RUN_COMPLETED)
            metric_add(runs_completed, 1);
        else if (e->run.state == RUN_FAILED)
            metric_add(runs_failed, 1);
        else if (e->run.state == RUN_BLOCKED)
            metric_add(runs_blocked, 1);
        else if (run_state_is_terminal(e->run.state))
            metric_add(runs_stopped, 1);
    }
    run_settle(p, e);
    if (d->offer && e->run.state == RUN_QUEUED)
        offer_run(p, e);
}

static void settle(struct pipeline *p)
{
    struct work *u = &p->work;
    quarantine_count(p);
    for (size_t i = 0; i < u->run_count; i++)
        settle_run(p, &u->runs[i]);
    for (size_t i = 0; i < u->owed_count; i++)
        pay(p, &u->owed[i]);
    for (size_t i = 0; i < u->owed_count; i++)
        pay_result(p, &u->owed[i]);
    for (size_t i = 0; i < u->run_count; i++) {
        struct entry *e = u->runs[i].entry;
        if (!chain_is_empty(&e->waiters))
            waiters_answer(p, e);
        entry_trim(e);
    }
    /* Last: from here on an entry may be gone. */
    for (size_t i = 0; i < u->run_count; i++)
        cache_rest(&p->cache, u->runs[i].entry);
    forget_owed(u);
    u->run_count = u->command_count = u->ref_count = 0;
}

/* ---- roll back ------------------------------------------------------------------------------- */

/* Not all at once again: one that can never be recorded would keep the others from it for ever. */
static int64_t retry_ms(const struct pipeline *p, const struct entry *e)
{
    uint64_t x = e->no * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)p->now.at_ms * UINT64_C(0xbf58476d1ce4e5b9);
    return RETRY_MS - (int64_t)((x >> 32) % (RETRY_MS / 2));
}

static void roll_back_run(struct pipeline *p, struct dirty *d)
{
    struct entry *e = d->entry;
    if (d->waits_before != e->waits)
        free(e->waits);
    if (d->reason_before != e->reason)
        free(e->reason);
    if (d->absorbed_before != e->absorbed)
        free(e->absorbed);
    e->absorbed = d->absorbed_before;
    e->absorbed_size_bytes = d->absorbed_size_before;
    e->key_dropped = d->key_dropped_before;
    e->waits = d->waits_before;
    e->reason = d->reason_before;
    e->reason_size_bytes = d->reason_size_before;
    e->run = d->before;
    e->duplicates = d->duplicates_before;
    memcpy(e->hash, d->hash_before, HASH_BYTES);
    memcpy(e->last_build, d->last_build_before, HASH_BYTES);
    if (!BUG(rollback_partial))
        e->journal.size_bytes = d->journal_size_before;
    e->dirty = 0;
    entry_forget_begun(e);
    if (e->owner != d->owner_before)
        run_set_owner(e, d->owner_before);
    if (d->timer)
        timers_set(&p->timers, e->no * 2, e->timer_at_ms = p->now.at_ms + retry_ms(p, e));
    if (e->run.state == RUN_BLOCKED) /* what let it go on may not come again */
        unblock_later(p);
    chain_remove(&e->lagging);
    if (!d->insert && run_lags(e)) { /* its turn comes again, later */
        e->lags_since_ms = p->now.at_ms + RETRY_MS;
        chain_append(&p->lagging, &e->lagging);
    }
}

static void roll_back(struct pipeline *p)
{
    struct work *u = &p->work;
    for (size_t i = 0; i < u->run_count; i++)
        roll_back_run(p, &u->runs[i]);
    for (size_t i = 0; i < u->run_count; i++) {
        struct entry *e = u->runs[i].entry;
        if (u->runs[i].insert)
            cache_remove(&p->cache, e); /* nobody waits for it: waiters come after the commit */
        else
            cache_rest(&p->cache, e);
    }
    forget_owed(u);
    quarantine_forget_drafts(&p->quarantine);
    u->run_count = u->command_count = u->follow_count = u->ref_count = 0;
    u->spoilt.status = AIKI_OK;
}

/* ---- commit ---------------------------------------------------------------------------------- */

/* What is on record counts: their rows are in the same unit. */
static void draft_crashes(struct pipeline *p)
{
    for (size_t i = 0; i < p->work.owed_count; i++) {
        const struct owed *o = &p->work.owed[i];
        aiki_reader r;
        struct event event;
        if (o->kind != OWED_ACK || !o->crashed)
            continue;
        aiki_reader_init(&r, (aiki_view){o->entry->journal.data + o->offset, o->size_bytes});
        while (event_read_stored(&r, &event, NULL) == AIKI_OK)
            quarantine_draft(p, &o->entry->id, &event);
    }
}

/* Nothing without fault injection. */
static void pass_edges(const struct unit *unit, bool committed)
{
    for (size_t i = 0; i < unit->run_count; i++)
        fault_edges(unit->runs[i].events, committed);
}

/* The store is not to be trusted any more: end, and let the restart find what is on record. */
static void end_process(const aiki_error *err)
{
    log_error("store", "commit failed, ending so that nothing unrecorded is acknowledged: %s",
              err->message);
    _exit(1);
}

static bool is_refusal(aiki_status status)
{
    return status == AIKI_CONFLICT || status == AIKI_STALE || status == AIKI_LIMIT ||
           status == AIKI_UNAVAILABLE;
}

aiki_status unit_store(struct pipeline *p, const struct unit *unit, aiki_error *err)
{
    aiki_error full = {.struct_size = sizeof(full)};
    aiki_status status = p->store->ops->commit(p->store, unit, err);
    if (status == AIKI_OK) {
        metric_add(store_commits, 1);
        return AIKI_OK;
    }
    if (!is_refusal(status))
        end_process(err);
    if (status != AIKI_LIMIT)
        return status;
    status = error_code(&full, AIKI_UNAVAILABLE, "STORE_FULL", "%s", err->message);
    *err = full;
    return status;
}

static aiki_status commit(struct pipeline *p, aiki_error *err)
{
    struct work *u = &p->work;
    children_follow(p);
    if (u->spoilt.status != AIKI_OK) {
        *err = u->spoilt;
        return err->status;
    }
    while (u->write_capacity < u->run_count)
        u->writes = array_grow(u->writes, &u->write_capacity, u->write_capacity,
                               sizeof(*u->writes));
    for (size_t i = 0; i < u->run_count; i++) {
        const struct dirty *d = &u->runs[i];
        struct run_write *w = &u->writes[i];
        *w = (struct run_write){
            .insert = d->insert,
            .drop_key = d->entry->key_dropped && !d->key_dropped_before && !d->insert,
            .seq_before = d->before.seq,
            .events = {d->entry->journal.data + d->journal_size_before,
                       d->entry->journal.size_bytes - d->journal_size_before}};
        entry_row(d->entry, p->space, &w->row);
    }
    draft_crashes(p);
    struct unit unit = {
        .runs = u->writes, .run_count = u->run_count, .refs = u->refs, .ref_count = u->ref_count};
    unit.workflows = suspects_rows(&p->quarantine.suspects, p->space, &unit.workflow_count);
    fault_point(server_commit_before);
    pass_edges(&unit, false);
    aiki_status status = unit_store(p, &unit, err);
    fault_point(server_commit_after);
    pass_edges(&unit, true);
    return status;
}

static void decide_alone(struct pipeline *p, const struct batch *batch, size_t index)
{
    aiki_error err = {.struct_size = sizeof(err)};
    const struct command *c = &batch->commands[index];
    p->batch = batch;
    p->index = index;
    command_decide(p, c, batch_payload(batch, c));
    if (p->work.run_count == 0)
        return;
    aiki_status status = commit(p, &err);
    if (status == AIKI_OK) {
        settle(p);
        return;
    }
    if (status == AIKI_STALE)
        end_process(&err); /* alone: memory and store disagree about a run */
    roll_back(p);
    metric_add(store_commits_refused, 1);
    answer_refusal(p, c, &err);
}

void unit_commit(struct pipeline *p)
{
    struct work *u = &p->work;
    aiki_error err = {.struct_size = sizeof(err)};
    if (u->run_count == 0)
        return;
    if (BUG(reply_before_commit))
        for (size_t i = 0; i < u->owed_count; i++)
            pay(p, &u->owed[i]);
    post_outcome(p); /* what needs no commit need not wait for it */
    aiki_status status = commit(p, &err);
    if (status == AIKI_OK) {
        fault_point(server_reply_before);
        settle(p);
        quarantine_settle(p);
        return;
    }
    if (status != AIKI_CONFLICT)
        log_warn("store", "commit refused, its commands are decided one by one: %s", err.message);

    const struct batch *batch = p->batch;
    size_t index = p->index, count = u->command_count;
    struct command_ref *commands = u->commands;
    u->commands = NULL;
    u->command_capacity = 0;
    roll_back(p);
    p->alone = true;
    for (size_t i = 0; i < count; i++)
        decide_alone(p, commands[i].batch, commands[i].index);
    p->alone = false;
    free(commands);
    p->batch = batch;
    p->index = index;
    quarantine_settle(p);
}

void unit_finish(struct pipeline *p)
{
    if (p->work.run_count == 0)
        return;
    unit_commit(p);
    post_outcome(p);
}

bool unit_barrier(struct pipeline *p, const struct entry *e)
{
    if (e->dirty == 0)
        return false;
    unit_finish(p);
    return true;
}

void unit_deinit(struct work *u)
{
    free(u->runs);
    free(u->owed);
    free(u->commands);
    free(u->follow);
    free(u->writes);
    free(u->refs);
    memset(u, 0, sizeof(*u));
}

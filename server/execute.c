/* execute.c - what runtimes ask for: register, claim, read on, append; and how they end. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/planted.h"
#include "begun.h"
#include "pipeline.h"
#include "wire/error.h"

struct session *session_of(struct pipeline *p, const struct command *c)
{
    struct session *s = party_of(p, c->peer)->session;
    aiki_error err = {.struct_size = sizeof(err)};
    if (s != NULL)
        return s;
    metric_add(fenced_writes, 1);
    (void)error_set(&err, AIKI_FENCED, "the session's lease has ended; say HELLO anew");
    answer_refusal(p, c, &err);
    return NULL;
}

void command_open(struct pipeline *p, const struct command *c, const struct session_open *info)
{
    struct party *party = party_of(p, c->peer);
    session_end(p, c->peer);
    party->session = session_create(&p->registry, c->peer, info, p->now.at_ms);
}

/* What the session's consumer had read and not claimed is to be offered again. */
static void leave_orphans(struct pipeline *p, const struct session *s)
{
    for (struct chain *m = s->plugins.next; m != &s->plugins; m = m->next) {
        const struct plugin *plugin = container_of(m, struct plugin, of_session);
        for (size_t i = 0; i < plugin->flow_count; i++) {
            struct orphan *o = outcome_add_orphan(p->outcome);
            o->stream = &plugin->flows[i]->stream;
            o->session = s->info.id;
        }
    }
}

void session_end(struct pipeline *p, peer_id peer)
{
    struct party *party = party_of(p, peer);
    struct session *s = party->session;
    if (s == NULL)
        return;
    if (s->owned_count > 0)
        log_info("session", "%s is gone; its %zu runs are offered again", s->info.name,
                 s->owned_count);
    session_lose_all(p, s);
    leave_orphans(p, s);
    party->session = NULL;
    session_destroy(&p->registry, s);
}

/* ---- register -------------------------------------------------------------------------------- */

/* What the build changed, and its schemas unless they are on record, in one commit. */
static aiki_status store_flows(struct pipeline *p, struct registration *r, aiki_error *err)
{
    struct schemas_text text;
    const struct plugin *plugin = r->plugin;
    const size_t count = r->changed_count;
    bool add = schemas_add(p->schemas, plugin->build,
                           (aiki_view){plugin->descriptor, plugin->descriptor_size_bytes}, plugin->role == 0);
    struct workflow_row *rows = memory_need((count + 1) * sizeof(*rows));
    for (size_t i = 0; i < count; i++)
        flow_row(&p->registry, r->changed[i].flow, &rows[i]);
    if (add)
        schemas_row(p->schemas, plugin->build, p->space, &text, &rows[count]);
    const struct unit unit = {.workflows = rows, .workflow_count = count + add};
    aiki_status status = unit.workflow_count > 0 ? unit_store(p, &unit, err) : AIKI_OK;
    free(rows);
    if (status == AIKI_OK) {
        registry_recorded(r);
        return AIKI_OK;
    }
    if (add)
        schemas_refused(p->schemas, plugin->build);
    registry_take_back(r);
    return status;
}

void command_register(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_REGISTER m;
    struct registration r;
    aiki_error err = {.struct_size = sizeof(err)};
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    unit_finish(p); /* what follows is not part of any unit that may be rolled back */
    aiki_status status = msg_REGISTER_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = registry_serve(&p->registry, s, &m, p->now.at_ms, &r, &err);
    if (status == AIKI_OK)
        status = store_flows(p, &r, &err);
    if (status != AIKI_OK) {
        log_warn("registry", "%s: a build is not registered: %s", s->info.name, err.message);
        answer_refusal(p, c, &err);
        return;
    }
    log_info("registry", "%s %s %s (%zu workflow%s)", s->info.name,
             r.plugin->role == 0 ? "serves" : "keeps an older build of", r.plugin->file,
             r.plugin->flow_count, r.plugin->flow_count == 1 ? "" : "s");
    answer(p, c, OK, .count = r.plugin->flow_count);
    quarantine_tell(p, s, r.plugin->build);
    unblock_for(p, r.plugin);
}

void command_unregister(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_UNREGISTER m;
    aiki_error err = {.struct_size = sizeof(err)};
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    if (msg_UNREGISTER_read(payload, &m, &err) != AIKI_OK)
        answer_refusal(p, c, &err);
    else
        answer(p, c, OK, .count = registry_withdraw(&p->registry, s, m.build));
}

void command_usage(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_USAGE m;
    aiki_error err = {.struct_size = sizeof(err)};
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    if (msg_USAGE_read(payload, &m, &err) != AIKI_OK)
        answer_refusal(p, c, &err);
    else
        answer(p, c, OK, .count = registry_used(s, &m, p->now.at_ms));
}

void command_refused(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_REFUSAL m;
    aiki_error err = {.struct_size = sizeof(err)};
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    aiki_status status = msg_REFUSAL_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = registry_refused(&p->registry, s, &m, &err);
    if (status == AIKI_OK && m.error.size_bytes > 0)
        metric_add(plugins_refused, 1);
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else
        answer(p, c, OK, .count = 1);
}

void command_stream_reset(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_STREAM_RESET m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (session_of(p, c) == NULL)
        return;
    if (msg_STREAM_RESET_read(payload, &m, &err) != AIKI_OK) {
        answer_refusal(p, c, &err);
        return;
    }
    const struct flow *flow = registry_find(&p->registry, m.workflow, m.version);
    if (flow != NULL && flow->counts[RUN_QUEUED] > 0)
        command_offer(p, &(struct offer_scan){.stream = &flow->stream});
    answer(p, c, OK, .count = flow != NULL ? flow->counts[RUN_QUEUED] : 0);
}

/* ---- claim ----------------------------------------------------------------------------------- */

/* Its journal does not read: block it by its row alone, so that it does not go round for ever. */
static void condemn(struct pipeline *p, struct entry *e, const aiki_error *why)
{
    aiki_writer reason;
    log_error("store", "a run is blocked, its journal cannot be read: %s", why->message);
    struct dirty *d = unit_touch(p, e);
    engine_condemn(&e->run, &p->now);
    run_set_owner(e, NULL);
    buf_init(&reason);
    error_write(&reason, why);
    if (e->reason != d->reason_before)
        free(e->reason);
    e->reason = buf_take(&reason, &e->reason_size_bytes);
}

/* It does not read for now: the audit of its stream offers it again. */
static void give_back(struct pipeline *p, struct entry *e)
{
    struct engine_effects effects;
    run_set_owner(e, NULL);
    if (engine_lose(&e->run, &p->now, &effects))
        run_settle(p, e);
}

static void answer_claimed(struct pipeline *p, const struct command *c, struct entry *e,
                           uint64_t after_seq, uint64_t bytes_max)
{
    aiki_view journal;
    uint64_t last_seq;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status status = run_journal(p, e, after_seq, bytes_max, &journal, &last_seq, &err);
    if (status != AIKI_OK) {
        if (status == AIKI_CORRUPT || status == AIKI_NOT_FOUND)
            condemn(p, e, &err);
        else
            give_back(p, e);
        answer_refusal(p, c, &err);
        return;
    }
    if (bytes_max == CLAIM_BYTES_MAX && journal.size_bytes > 2 * CLAIM_BYTES_MAX) {
        journal.size_bytes = 0; /* one large append: asked for as a page of its own */
        last_seq = after_seq;
    }
    answer(p, c, CLAIMED, .run = e->id, .epoch = e->run.epoch,
           .workflow = view_of(e->flow->name), .version = view_of(e->flow->version),
           .seq = last_seq, .now_ms = p->now.at_ms, .more = last_seq < e->run.seq,
           .journal = journal, .alone = (e->run.flags & RUN_FLAG_ALONE) != 0);
}

static aiki_status claim(struct pipeline *p, struct session *s, const struct msg_CLAIM *m,
                         struct entry **ret, aiki_error *err)
{
    struct engine_refusal refusal;
    aiki_status status = run_load_clean(p, &m->run, ret, err);
    if (status != AIKI_OK)
        return status == AIKI_NOT_FOUND
                   ? error_set(err, AIKI_STALE, "the ticket names a run that is not on record")
                   : status;
    struct entry *e = *ret;
    if (!engine_claim(&e->run, s->no, m->epoch, &refusal)) {
        refusal_error(e, &refusal, err);
        return refusal.status;
    }
    memset(e->build, 0, sizeof(e->build));
    e->load_ms = 0;
    if (m->build.size_bytes == HASH_BYTES)
        memcpy(e->build, m->build.data, HASH_BYTES);
    run_set_owner(e, s);
    run_settle(p, e);
    return AIKI_OK;
}

void command_claim(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_CLAIM m;
    struct entry *e = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_claim_received);
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    aiki_status status = msg_CLAIM_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = claim(p, s, &m, &e, &err);
    if (status == AIKI_OK) {
        fault_point(server_claim_granted);
        metric_add(claims, 1);
        answer_claimed(p, c, e, 0, p->claim_bytes_max);
    } else {
        metric_add(claims_refused, 1);
        answer_refusal(p, c, &err);
    }
    if (e != NULL)
        cache_rest(&p->cache, e);
}

/* Whether the command's session owns the run in that epoch; else it is answered and counted. */
static bool owns(struct pipeline *p, const struct command *c, const struct session *s,
                 const struct entry *e, uint64_t epoch)
{
    const struct engine_refusal refusal = {
        .status = AIKI_FENCED, .code = "FENCED", .text = "the reader no longer owns the run"};
    aiki_error err = {.struct_size = sizeof(err)};
    if (e->owner == s && e->run.epoch == epoch)
        return true;
    metric_add(fenced_writes, 1);
    refusal_error(e, &refusal, &err);
    answer_refusal(p, c, &err);
    return false;
}

void command_journal(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_JOURNAL m;
    struct entry *e = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_journal_received);
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    aiki_status status = msg_JOURNAL_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = run_load_clean(p, &m.run, &e, &err);
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else if (owns(p, c, s, e, m.epoch))
        answer_claimed(p, c, e, m.after_seq, p->page_bytes_max);
    if (e != NULL)
        cache_rest(&p->cache, e);
}

/* The CLAIMED event is written with the first append; until then its build may change, or be waited for. */
void command_moved(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_MOVED m;
    struct entry *e = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    aiki_status status = msg_MOVED_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = run_load(p, &m.run, &e, &err);
    bool moved = status == AIKI_OK && e->owner == s && e->run.epoch == m.epoch &&
                 !e->run.claim_recorded && m.build.size_bytes == HASH_BYTES;
    if (moved && !BUG(move_unrecorded))
        memcpy(e->build, m.build.data, HASH_BYTES);
    if (moved)
        e->load_ms = m.load_ms;
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else
        answer(p, c, OK, .count = moved);
    if (e != NULL)
        cache_rest(&p->cache, e);
}

/* ---- append ---------------------------------------------------------------------------------- */

/* Every event must decode: a replay is going to depend on it. They are in p->fresh then. *ret_family:
 * one is about a child. */
static aiki_status check_events(struct pipeline *p, aiki_view events, bool *ret_family,
                                aiki_error *err)
{
    aiki_reader r;
    struct event event;
    aiki_view body;
    aiki_status status = AIKI_OK;
    aiki_reader_init(&r, events);
    *ret_family = false;
    p->fresh_count = 0;
    while (status == AIKI_OK && aiki_reader_left(&r) > 0) {
        status = event_read_new(&r, &event, &body, err);
        if (status != AIKI_OK)
            break;
        *ret_family |= child_is_concerned(&event);
        p->fresh = array_grow(p->fresh, &p->fresh_capacity, p->fresh_count, sizeof(*p->fresh));
        p->fresh[p->fresh_count++] = event;
    }
    return status;
}

/* Of the event that goes in front of the first append of a stay. */
static aiki_view claimed_body(struct pipeline *p, const struct session *s, const struct entry *e)
{
    if (e->run.claim_recorded)
        return (aiki_view){NULL, 0};
    const struct event event = {.kind = EVENT_CLAIMED,
                                .as.claimed = {.session = s->info.id,
                                               .build = {e->build, HASH_BYTES},
                                               .load_ms = e->load_ms,
                                               .runtime = view_of(s->info.name)}};
    return event_body(p, &event);
}

static void refuse_append(struct pipeline *p, const struct command *c, struct entry *e,
                          const struct engine_refusal *refusal)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (refusal->status == AIKI_FENCED)
        metric_add(fenced_writes, 1);
    refusal_error(e, refusal, &err);
    unit_refuse(p, c, e, &err);
}

/* Of the append at hand, which ends in BLOCKED unless it is refused. */
static int64_t hold_until_ms(const struct pipeline *p, const struct entry *e)
{
    const struct event *last = p->fresh_count > 0 ? &p->fresh[p->fresh_count - 1] : NULL;
    return last != NULL && last->kind == EVENT_BLOCKED
               ? quarantine_hold_until_ms(p, e->build, last->as.blocked.error)
               : 0;
}

static void append(struct pipeline *p, const struct command *c, struct session *s,
                   struct entry *e, const struct msg_APPEND *m, bool family)
{
    struct engine_effects effects;
    struct engine_refusal refusal;
    const struct engine_append a = {.session = s->no,
                                    .epoch = m->epoch,
                                    .number = m->number,
                                    .next = m->next,
                                    .seen = m->seen,
                                    .wake_at_ms = m->next == NEXT_BLOCK ? hold_until_ms(p, e)
                                                                        : m->wake_at_ms,
                                    .waits = m->waits,
                                    .events = m->events,
                                    .claim_body = claimed_body(p, s, e)};
    uint64_t from = e->journal.size_bytes, seq_before = e->run.seq;
    bool was_dirty = e->dirty != 0;
    (void)unit_touch(p, e);
    bool allowed = engine_append(&e->run, &p->now, &a, &e->journal, &effects, &refusal);
    if ((!allowed || effects.repeated) && !was_dirty)
        unit_untouch(p, e);
    if (!allowed) {
        refuse_append(p, c, e, &refusal);
        return;
    }
    if (effects.repeated)
        metric_add(appends_repeated, 1);
    else
        metric_add(appends, 1);
    if (effects.repeated && !was_dirty) {
        answer(p, c, ACK, .run = e->id, .number = m->number, .now_ms = p->now.at_ms);
        return;
    }
    if (!effects.repeated) {
        unit_recorded(p, e, from, &effects);
        begun_tally(p, e, seq_before);
    }
    /* A stay that only gave the run back or blocked it has executed nothing. */
    bool executed = m->next != NEXT_BLOCK && (m->next != NEXT_RELEASE || m->events.size_bytes > 0);
    if (!effects.repeated && a.claim_body.size_bytes > 0 && executed)
        memcpy(e->last_build, e->build, HASH_BYTES);
    struct owed *o = unit_owe(p, c, e);
    o->kind = OWED_ACK;
    o->number = m->number;
    o->parked = m->next == NEXT_PARK;
    o->crashed = !effects.repeated && m->next == NEXT_RELEASE && m->events.size_bytes > 0;
    o->offset = from;
    o->size_bytes = e->journal.size_bytes - from;
    if (family && !effects.repeated)
        children_begin(p, e, m->events);
    if (effects.retried)
        children_note(p, e, FOLLOW_RETRIED);
    if ((e->run.flags & RUN_FLAG_RING) != 0 && e->run.state == RUN_AWAITING_CHILD && !effects.repeated)
        children_note(p, e, FOLLOW_PARKED);
}

void command_append(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_APPEND m;
    struct entry *e = NULL;
    bool family = false;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_append_received);
    struct session *s = session_of(p, c);
    if (s == NULL)
        return;
    aiki_status status = msg_APPEND_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = check_events(p, m.events, &family, &err);
    if (status == AIKI_OK)
        status = run_load(p, &m.run, &e, &err);
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else
        append(p, c, s, e, &m, family);
    if (e != NULL)
        cache_rest(&p->cache, e);
}

/* runs.c - runs in memory: loading, journals, what follows from a change. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/planted.h"
#include "pipeline.h"
#include "views.h"
#include "wire/error.h"

/* ---- load ------------------------------------------------------------------------------------ */

struct adoption {
    struct pipeline *p;
    struct entry *entry;
};

static bool adopt(void *arg, const struct run_row *row)
{
    struct adoption *a = arg;
    struct flow *flow;
    aiki_error err = {.struct_size = sizeof(err)};
    /* find_key and find_run may name a run that is in memory, and newer there. */
    a->entry = cache_find_no(&a->p->cache, row->no);
    if (a->entry != NULL)
        return false;
    if (registry_intern(&a->p->registry, row->workflow, row->version, &flow, &err) != AIKI_OK) {
        log_error("store", "a run on record cannot be loaded: %s", err.message);
        return false;
    }
    struct entry *e = cache_adopt(&a->p->cache, row, flow);
    engine_adopt(&e->run, &a->p->now);
    e->stored_epoch = e->run.epoch;
    e->stored_duplicates = e->duplicates;
    e->counted_state = e->run.state; /* counted by pipeline_restore or when it was made */
    if (!run_state_is_terminal(e->run.state))
        memcpy(e->counted_build, e->last_build, HASH_BYTES);
    e->timer_at_ms = run_timer_at_ms(&e->run);
    metric_add(runs_loaded, 1);
    a->entry = e;
    return false;
}

static aiki_status loaded(aiki_status status, const struct adoption *a, struct entry **ret,
                          aiki_error *err)
{
    if (status == AIKI_OK && a->entry == NULL)
        return error_set(err, AIKI_CORRUPT, "the run's row is not usable; see the server's log");
    if (status == AIKI_OK)
        *ret = a->entry;
    return status;
}

aiki_status run_load(struct pipeline *p, const struct aiki_id *id, struct entry **ret,
                     aiki_error *err)
{
    char text[AIKI_ID_TEXT_SIZE];
    struct adoption a = {.p = p, .entry = cache_find(&p->cache, id)};
    if (a.entry != NULL) {
        *ret = a.entry;
        return AIKI_OK;
    }
    aiki_status status = p->store->ops->find_run(p->store, id, adopt, &a, err);
    if (status == AIKI_NOT_FOUND) {
        id_text(id, text);
        return error_code(err, AIKI_NOT_FOUND, "RUN_NOT_FOUND", "there is no run %s", text);
    }
    return loaded(status, &a, ret, err);
}

aiki_status run_load_clean(struct pipeline *p, const struct aiki_id *id, struct entry **ret,
                           aiki_error *err)
{
    *ret = NULL;
    aiki_status status = run_load(p, id, ret, err);
    if (status == AIKI_OK && unit_barrier(p, *ret)) {
        *ret = NULL;
        status = run_load(p, id, ret, err);
    }
    return status;
}

aiki_status run_load_no(struct pipeline *p, uint64_t no, struct entry **ret, aiki_error *err)
{
    struct adoption a = {.p = p, .entry = cache_find_no(&p->cache, no)};
    if (a.entry != NULL) {
        *ret = a.entry;
        return AIKI_OK;
    }
    return loaded(p->store->ops->find_run_no(p->store, no, adopt, &a, err), &a, ret, err);
}

aiki_status run_load_key(struct pipeline *p, struct flow *flow, aiki_view key, struct entry **ret,
                         aiki_error *err)
{
    struct adoption a = {.p = p, .entry = cache_find_key(&p->cache, flow, key)};
    if (a.entry != NULL) {
        *ret = a.entry;
        return AIKI_OK;
    }
    return loaded(p->store->ops->find_key(p->store, view_of(p->space), view_of(flow->name), key,
                                          adopt, &a, err),
                  &a, ret, err);
}

/* ---- journal --------------------------------------------------------------------------------- */

static uint64_t seq_of(aiki_view event)
{
    aiki_reader r;
    aiki_reader_init(&r, event);
    (void)aiki_mp_read_array(&r); /* our own bytes */
    return aiki_mp_read_uint(&r);
}

static void slice(const struct entry *e, uint64_t after_seq, uint64_t bytes_max, aiki_view *ret,
                  uint64_t *ret_last_seq)
{
    aiki_reader r;
    const uint8_t *from = NULL;
    if (after_seq == e->journal_after && e->journal.size_bytes <= bytes_max) {
        *ret = aiki_writer_view(&e->journal);
        *ret_last_seq = e->run.seq;
        return;
    }
    aiki_reader_init(&r, aiki_writer_view(&e->journal));
    *ret_last_seq = after_seq;
    for (uint64_t seq = e->journal_after + 1; aiki_reader_left(&r) > 0; seq++) {
        aiki_view event = aiki_mp_value(&r);
        if (seq <= after_seq)
            continue;
        if (from == NULL)
            from = event.data;
        *ret_last_seq = seq;
        if ((uint64_t)(r.at - from) >= bytes_max)
            break;
    }
    *ret = from == NULL ? (aiki_view){NULL, 0} : (aiki_view){from, (uint64_t)(r.at - from)};
}

/* The page just read is the whole journal: keep it, the next claim needs no read. */
static void keep_journal(struct entry *e, aiki_view page)
{
    if (e->dirty != 0 || page.size_bytes > CACHE_JOURNAL_BYTES_MAX)
        return;
    buf_clear(&e->journal, CACHE_JOURNAL_BYTES_MAX);
    aiki_mp_raw(&e->journal, page.data, page.size_bytes);
    e->journal_after = 0;
    if (e->journal.status == AIKI_OK)
        return;
    buf_deinit(&e->journal); /* no memory to spare: it stays in the store */
    e->journal_after = e->run.seq;
}

static void count_bytes(struct entry *e, uint64_t after_seq, uint64_t last_seq, uint64_t size_bytes)
{
    if (e->counted_seq != after_seq)
        return;
    e->run.journal_bytes += size_bytes;
    e->counted_seq = last_seq;
}

aiki_status run_journal(struct pipeline *p, struct entry *e, uint64_t after_seq,
                        uint64_t bytes_max, aiki_view *ret, uint64_t *ret_last_seq,
                        aiki_error *err)
{
    if (BUG(page_boundary) && after_seq > 0 && after_seq + 1 < e->run.seq)
        after_seq++;
    if (after_seq >= e->journal_after) {
        slice(e, after_seq, bytes_max, ret, ret_last_seq);
        return AIKI_OK;
    }
    buf_clear(&p->scratch, CACHE_JOURNAL_BYTES_MAX);
    aiki_status status = p->store->ops->journal(p->store, e->no, after_seq, bytes_max, &p->scratch,
                                                ret_last_seq, err);
    if (status != AIKI_OK)
        return status;
    *ret = aiki_writer_view(&p->scratch);
    count_bytes(e, after_seq, *ret_last_seq, ret->size_bytes);
    if (after_seq == 0 && *ret_last_seq == e->run.seq)
        keep_journal(e, *ret);
    return AIKI_OK;
}

aiki_status run_last_event(struct pipeline *p, struct entry *e, struct event *ret, aiki_error *err)
{
    aiki_view events;
    uint64_t last_seq;
    aiki_reader r;
    aiki_status status =
        run_journal(p, e, e->run.seq - 1, UINT64_MAX, &events, &last_seq, err);
    if (status != AIKI_OK)
        return status;
    aiki_reader_init(&r, events);
    while (aiki_reader_left(&r) > 0) {
        aiki_view event = aiki_mp_value(&r);
        if (r.status != AIKI_OK)
            break;
        if (seq_of(event) != e->run.seq)
            continue;
        aiki_reader one;
        aiki_reader_init(&one, event);
        return event_read_stored(&one, ret, err);
    }
    return error_set(err, AIKI_CORRUPT, "event %llu of a run is not on record",
                     (unsigned long long)e->run.seq);
}

/* ---- events ---------------------------------------------------------------------------------- */

aiki_view event_body(struct pipeline *p, const struct event *event)
{
    buf_clear(&p->body, CACHE_JOURNAL_BYTES_MAX);
    event_write_new(&p->body, event);
    aiki_view v = aiki_writer_view(&p->body);
    return (aiki_view){v.data + 2, v.size_bytes - 2};
}

/* ---- what follows from a change -------------------------------------------------------------- */

void run_set_owner(struct entry *e, struct session *s)
{
    if (e->owner != NULL) {
        chain_remove(&e->owned);
        e->owner->owned_count--;
    }
    e->owner = s;
    if (s != NULL) {
        chain_append(&s->owned, &e->owned);
        s->owned_count++;
    }
}

int64_t run_timer_at_ms(const struct run *run)
{
    if ((run->flags & RUN_FLAG_FOLLOW) != 0 && !BUG(follow_lost))
        return 1; /* at once, in the next unit */
    switch (run->state) {
    case RUN_QUEUED:
    case RUN_SLEEPING:
    case RUN_AWAITING_SIGNAL:
    case RUN_AWAITING_RETRY:
    case RUN_AWAITING_CHILD:
    case RUN_BLOCKED:
    case RUN_SCHEDULED: break;
    default: return run_state_is_terminal(run->state) ? 0 : run->deadline_ms;
    }
    if (run->wake_at_ms == 0 || run->deadline_ms == 0)
        return run->wake_at_ms + run->deadline_ms;
    return run->wake_at_ms < run->deadline_ms ? run->wake_at_ms : run->deadline_ms;
}

bool run_lags(const struct entry *e)
{
    return e->run.state != e->stored_state || e->run.epoch != e->stored_epoch ||
           e->duplicates != e->stored_duplicates;
}

static void count_run(struct pipeline *p, struct entry *e)
{
    static const uint8_t none[HASH_BYTES];
    const uint8_t *build = run_state_is_terminal(e->run.state) ? none : e->last_build;
    flow_count(e->flow, e->counted_state, e->run.state, p->now.at_ms);
    e->counted_state = e->run.state;
    if (memcmp(e->counted_build, build, HASH_BYTES) == 0)
        return;
    flow_count_build(e->flow, e->counted_build, build);
    memcpy(e->counted_build, build, HASH_BYTES);
}

void run_settle(struct pipeline *p, struct entry *e)
{
    int64_t timer_at_ms = run_timer_at_ms(&e->run);
    if (timer_at_ms != e->timer_at_ms && !(BUG(woken_twice) && timer_at_ms == 0))
        timers_set(&p->timers, e->no * 2, timer_at_ms);
    e->timer_at_ms = timer_at_ms;
    count_run(p, e);

    if (!run_lags(e)) {
        chain_remove(&e->lagging);
    } else if (!chain_is_linked(&e->lagging)) {
        e->lags_since_ms = p->now.at_ms;
        chain_append(&p->lagging, &e->lagging);
    }
}

void session_lose_all(struct pipeline *p, struct session *s)
{
    struct engine_effects effects;
    while (!chain_is_empty(&s->owned)) {
        struct entry *e = container_of(s->owned.next, struct entry, owned);
        run_set_owner(e, NULL);
        if (engine_lose(&e->run, &p->now, &effects) && effects.offer) {
            offer_run(p, e);
            metric_add(tickets_reoffered, 1);
        }
        run_settle(p, e);
        cache_rest(&p->cache, e);
    }
}

/* ---- answers about a run --------------------------------------------------------------------- */

static uint32_t shown_state(const struct entry *e)
{
    return view_state(flow_display_state(e->flow, e->run.state), e->run.flags);
}

void answer_started(struct pipeline *p, const struct command *c, const struct entry *e,
                    bool created, bool want_result)
{
    /* With a RESULT to follow this is not yet the answer that ends the request. */
    aiki_writer *w = want_result ? push_frames(p, c->peer) : answer_frames(p, c->peer);
    frame_add(w, STARTED, c->correlation, .run = e->id, .created = created,
              .state = shown_state(e),
              .version = view_of(e->flow->version));
}

struct value_of run_value(const struct entry *e, bool output)
{
    return (struct value_of){.kind = STEP_CHILD,
                             .name = view_of(e->flow->name),
                             .version = view_of(e->flow->version),
                             .home = view_of(e->flow->name),
                             .build = build_is_known(e->build) ? e->build : NULL,
                             .output = output};
}

/* What a run ended with: one of them, or nothing. */
struct ending {
    aiki_view output, error;
};

static aiki_status ending_on_record(struct pipeline *p, struct entry *e, struct ending *ret, aiki_error *err)
{
    struct event last;

    *ret = (struct ending){.error = {e->reason, e->reason_size_bytes}};
    if (e->run.state != RUN_COMPLETED)
        return AIKI_OK;
    aiki_status st = run_last_event(p, e, &last, err);
    if (st == AIKI_OK && last.kind == EVENT_COMPLETED)
        ret->output = last.as.completed.output;
    return st;
}

/* As people may see it, which is written to w. */
static aiki_status ending_shown(struct pipeline *p, const struct entry *e, struct ending *end, aiki_writer *w,
                                aiki_error *err)
{
    const struct shown how = {.schemas = p->schemas, .full = true};
    const struct value_of of = run_value(e, true);

    if (end->output.size_bytes > 0) {
        shown_payload(w, &how, &of, end->output);
        end->output = aiki_writer_view(w);
    } else if (end->error.size_bytes > 0) {
        shown_error(w, &how, &of, end->error);
        end->error = aiki_writer_view(w);
    }
    return w->status == AIKI_OK ? AIKI_OK : error_set(err, w->status, "no memory for the result");
}

void answer_result(struct pipeline *p, struct entry *e, peer_id peer, uint32_t correlation, bool shown)
{
    const struct command c = {.peer = peer, .correlation = correlation};
    struct ending end;
    aiki_error err = {.struct_size = sizeof(err)};
    AUTO(buf) aiki_writer copy;
    buf_init(&copy);
    aiki_status st = ending_on_record(p, e, &end, &err);
    if (st == AIKI_OK && shown)
        st = ending_shown(p, e, &end, &copy, &err);
    if (st != AIKI_OK) {
        answer_refusal(p, &c, &err);
        return;
    }
    answer(p, &c, RESULT, .run = e->id, .state = shown_state(e), .output = end.output, .error = end.error);
}

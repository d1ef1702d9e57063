/* control.c - requests about runs: cancel, terminate, pause, resume, wake, retry, drop; and deadlines. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/planted.h"
#include "pipeline.h"
#include "wire/error.h"

/* ---- what is written ------------------------------------------------------------------------- */

/* [error], the body of CANCELLED and TIMED_OUT, into w; *ret_error: the map in it. */
static aiki_view error_body(aiki_writer *w, const aiki_error *error, aiki_view *ret_error)
{
    aiki_mp_array(w, 1);
    error_write(w, error);
    aiki_view body = aiki_writer_view(w);
    *ret_error = (aiki_view){body.data + 1, body.size_bytes - 1};
    return body;
}

static uint64_t event_of(uint64_t action)
{
    static const uint64_t events[] = {[CONTROL_CANCEL] = EVENT_CANCEL_REQUESTED,
                                      [CONTROL_TERMINATE] = EVENT_TERMINATED,
                                      [CONTROL_PAUSE] = EVENT_PAUSED,
                                      [CONTROL_RESUME] = EVENT_RESUMED,
                                      [CONTROL_WAKE] = EVENT_WOKEN};
    return events[action];
}

/* Why a run that this request ends has no result. */
static void end_error(uint64_t action, aiki_view reason, aiki_error *ret)
{
    bool terminated = action == CONTROL_TERMINATE;
    (void)error_code(ret, AIKI_CANCELLED, terminated ? "TERMINATED" : "CANCELLED", "%s%s%.*s",
                     terminated ? "terminated on request" : "cancelled before it started",
                     reason.size_bytes > 0 ? ": " : "", (int)reason.size_bytes,
                     (const char *)reason.data);
}

bool run_request(struct pipeline *p, struct entry *e, uint64_t action, const struct asked *asked,
                 struct engine_effects *ret_effects, struct engine_refusal *ret_refusal)
{
    aiki_error error = {.struct_size = sizeof(error)};
    AUTO(buf) aiki_writer w;
    const struct event event = {.kind = event_of(action),
                                .as.control = {asked->reason, asked->actor, asked->ref}};
    struct engine_request q = {.action = action, .body = event_body(p, &event)};
    uint64_t from = e->journal.size_bytes;
    bool was_dirty = e->dirty != 0;
    buf_init(&w);
    if (action == CONTROL_TERMINATE || action == CONTROL_CANCEL) {
        end_error(action, asked->reason, &error);
        q.end_body = error_body(&w, &error, &q.error);
    }
    (void)unit_touch(p, e);
    bool allowed = engine_request(&e->run, &p->now, &q, &e->journal, ret_effects, ret_refusal);
    if (allowed && ret_effects->recorded > 0)
        unit_changed(p, e, from, ret_effects);
    else if (!was_dirty)
        unit_untouch(p, e);
    if (allowed && ret_effects->recorded > 0 && action == CONTROL_CANCEL && !ret_effects->finished)
        children_note(p, e, FOLLOW_CANCELLED);
    return allowed;
}

typedef bool (*engine_time_out_fn)(struct run *run, const struct engine_now *now, aiki_view body,
                                   aiki_view error, aiki_writer *events,
                                   struct engine_effects *ret_effects);

static bool time_out(struct pipeline *p, struct entry *e, engine_time_out_fn fn,
                     const aiki_error *error)
{
    struct engine_effects effects;
    aiki_view map;
    AUTO(buf) aiki_writer w;
    uint64_t from = e->journal.size_bytes;
    buf_init(&w);
    aiki_view body = error_body(&w, error, &map);
    if (!fn(&e->run, &p->now, body, map, &e->journal, &effects))
        return false;
    unit_changed(p, e, from, &effects);
    return true;
}

bool run_expire(struct pipeline *p, struct entry *e)
{
    aiki_error error = {.struct_size = sizeof(error)};
    (void)error_code(&error, AIKI_TIMEDOUT, "RUN_TIMEOUT",
                     "the run had not ended when its time limit passed");
    return e->run.deadline_ms != 0 && time_out(p, e, engine_expire, &error);
}

bool run_unclaimed(struct pipeline *p, struct entry *e)
{
    const struct flow *f = e->flow;
    aiki_error error = {.struct_size = sizeof(error)};
    long long waited_ms = (long long)(p->now.at_ms - e->created_at_ms);
    if (e->run.state != RUN_QUEUED || e->run.wake_at_ms == 0)
        return false;
    if (f->serving_count == 0)
        (void)error_code(&error, AIKI_TIMEDOUT, "TIMEOUT_SCHEDULE_TO_START",
                         "nobody serves %s@%s: no runtime offered it for %lld ms; put its plugin "
                         "into a plugins directory",
                         f->name, f->version, waited_ms);
    else
        (void)error_code(&error, AIKI_TIMEDOUT, "TIMEOUT_SCHEDULE_TO_START",
                         "no runtime that serves %s@%s took the run up for %lld ms; they need "
                         "more slots, or there are too few",
                         f->name, f->version, waited_ms);
    return time_out(p, e, engine_unclaimed, &error);
}

/* ---- retry ----------------------------------------------------------------------------------- */

/* One step, as the events name it. */
struct place {
    struct address address;
    uint64_t nth;
};

/* What the history says about a run that is to be tried again. */
struct history {
    aiki_view step;       /* name looked for, empty = none */
    struct place *places; /* steps of that name that have begun */
    size_t place_count, place_capacity;
    uint64_t from_seq; /* first outcome of one of them */
    uint64_t attempts; /* of the run, so far */
};

static bool is_place(const struct history *h, const struct event *e)
{
    for (size_t i = 0; i < h->place_count; i++)
        if (h->places[i].nth == e->as.step.nth &&
            memcmp(&h->places[i].address, &e->as.step.address, sizeof(struct address)) == 0)
            return true;
    return false;
}

/* Any of these may be the first event of a step, which has its name. */
static bool is_of_step(uint64_t kind)
{
    return kind == EVENT_STEP_BEGUN || kind == EVENT_ATTEMPT_FAILED || kind == EVENT_HEARTBEAT ||
           kind == EVENT_STEP_DONE || kind == EVENT_ATTEMPT_DONE || kind == EVENT_WARNED;
}

static void note_event(struct history *h, const struct event *e)
{
    if (e->kind == EVENT_RUN_RETRIED)
        h->attempts++;
    if (h->step.size_bytes == 0 || h->from_seq != 0 || !is_of_step(e->kind))
        return;
    if (e->as.step.identity_kind != 0 && view_equal(e->as.step.name, h->step)) {
        h->places = array_grow(h->places, &h->place_capacity, h->place_count, sizeof(*h->places));
        h->places[h->place_count++] = (struct place){e->as.step.address, e->as.step.nth};
    }
    if ((e->kind == EVENT_STEP_DONE || e->kind == EVENT_ATTEMPT_DONE) && is_place(h, e))
        h->from_seq = e->seq;
}

static aiki_status read_history(struct pipeline *p, struct entry *e, struct history *h,
                                aiki_error *err)
{
    aiki_status status = AIKI_OK;
    for (uint64_t after = 0; status == AIKI_OK && after < e->run.seq;) {
        aiki_view page;
        aiki_reader r;
        struct event event;
        status = run_journal(p, e, after, p->page_bytes_max, &page, &after, err);
        aiki_reader_init(&r, page);
        while (status == AIKI_OK && aiki_reader_left(&r) > 0) {
            status = event_read_stored(&r, &event, err);
            if (status == AIKI_OK)
                note_event(h, &event);
        }
    }
    if (status == AIKI_OK && h->step.size_bytes > 0 && h->from_seq == 0)
        status = error_code(err, AIKI_NOT_FOUND, "STEP_NOT_FOUND",
                            "the run has no step %.*s that ended; see aiki runs inspect",
                            (int)h->step.size_bytes, (const char *)h->step.data);
    return status;
}

aiki_status run_retry(struct pipeline *p, struct entry *e, aiki_view step,
                      const struct asked *asked, aiki_error *err)
{
    struct engine_effects effects;
    struct engine_refusal refusal;
    struct history h = {.step = step, .attempts = 1};
    aiki_status status = read_history(p, e, &h, err);
    free(h.places);
    if (status != AIKI_OK)
        return status;
    const struct event event = {.kind = EVENT_RUN_RETRIED,
                                .as.run_retried = {.from_seq = h.from_seq,
                                                   .attempt = h.attempts + 1,
                                                   .error = {e->reason, e->reason_size_bytes},
                                                   .reason = asked->reason,
                                                   .actor = asked->actor,
                                                   .ref = asked->ref}};
    uint64_t from = e->journal.size_bytes;
    bool was_dirty = e->dirty != 0;
    if ((e->run.flags & RUN_FLAG_FOLLOW) != 0)
        return error_set(err, AIKI_UNAVAILABLE,
                         "the run's children are still being closed; try again");
    (void)unit_touch(p, e);
    if (engine_retry(&e->run, &p->now, event_body(p, &event), &e->journal, &effects, &refusal)) {
        unit_changed(p, e, from, &effects);
        return AIKI_OK;
    }
    if (!was_dirty)
        unit_untouch(p, e);
    refusal_error(e, &refusal, err);
    return refusal.status;
}

/* ---- drop ------------------------------------------------------------------------------------ */

static bool run_drop(struct pipeline *p, struct entry *e, const struct asked *asked,
                     struct engine_effects *ret_effects, struct engine_refusal *ret_refusal)
{
    const struct event event = {.kind = EVENT_DROPPED,
                                .as.control = {asked->reason, asked->actor, asked->ref}};
    uint64_t from = e->journal.size_bytes;
    bool was_dirty = e->dirty != 0;
    (void)unit_touch(p, e);
    bool allowed = engine_drop(&e->run, &p->now, event_body(p, &event), &e->journal, ret_effects,
                               ret_refusal);
    if (allowed && ret_effects->recorded > 0)
        unit_changed(p, e, from, ret_effects);
    else if (!was_dirty)
        unit_untouch(p, e);
    return allowed;
}

/* ---- the command ----------------------------------------------------------------------------- */

static aiki_status read_control(aiki_view payload, struct msg_CONTROL *m, aiki_error *err)
{
    aiki_status status = msg_CONTROL_read(payload, m, err);
    if (status == AIKI_OK && (m->action < CONTROL_CANCEL || m->action > CONTROL_DROP))
        status = error_code(err, AIKI_INVALID, "BAD_ACTION", "there is no request number %llu",
                            (unsigned long long)m->action);
    if (status == AIKI_OK && m->step.size_bytes > 0 && m->action != CONTROL_RETRY)
        status = error_code(err, AIKI_INVALID, "BAD_ACTION", "only a retry names a step");
    if (status == AIKI_OK)
        status = check_text(m->reason, "reason", err);
    if (status == AIKI_OK)
        status = check_text(m->actor, "actor", err);
    if (status == AIKI_OK)
        status = check_text(m->ref, "reference", err);
    return status;
}

static aiki_status control(struct pipeline *p, struct entry *e, const struct msg_CONTROL *m,
                           bool *ret_changed, aiki_error *err)
{
    struct engine_effects effects;
    struct engine_refusal refusal;
    const struct asked asked = {.reason = m->reason, .actor = m->actor, .ref = m->ref};
    *ret_changed = true;
    if (m->action == CONTROL_RETRY)
        return run_retry(p, e, m->step, &asked, err);
    bool allowed = m->action == CONTROL_DROP
                       ? run_drop(p, e, &asked, &effects, &refusal)
                       : run_request(p, e, m->action, &asked, &effects, &refusal);
    if (!allowed) {
        refusal_error(e, &refusal, err);
        return refusal.status;
    }
    *ret_changed = effects.recorded > 0;
    return AIKI_OK;
}

/* A repeat is answered as the first one was: only what changed something is on record. */
static aiki_status control_once(struct pipeline *p, struct entry *e, const struct msg_CONTROL *m,
                                bool *ret_repeated, bool *ret_changed, aiki_error *err)
{
    bool known;
    *ret_repeated = *ret_changed = false;
    aiki_status status = refs_know(p, e, m->action, m->ref, &known, err);
    if (status != AIKI_OK)
        return status;
    if (known && !BUG(reference_ignored)) {
        *ret_repeated = true;
        return AIKI_OK;
    }
    status = control(p, e, m, ret_changed, err);
    *ret_changed = *ret_changed && status == AIKI_OK;
    if (*ret_changed)
        refs_add(p, e, m->action, m->ref);
    return status;
}

void command_control(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_CONTROL m;
    struct entry *e = NULL;
    bool changed = false, repeated = false;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_control_received);
    aiki_status status = read_control(payload, &m, &err);
    if (status == AIKI_OK)
        status = run_load(p, &m.run, &e, &err);
    if (status == AIKI_OK)
        status = control_once(p, e, &m, &repeated, &changed, &err);
    if (status != AIKI_OK) {
        unit_refuse(p, c, e, &err);
    } else if (e->dirty == 0) {
        answer(p, c, OK, .count = repeated);
    } else {
        struct owed *o = unit_owe(p, c, e);
        o->kind = OWED_OK;
        o->number = changed || repeated;
    }
    if (changed)
        metric_add(controls, 1);
    if (e != NULL)
        cache_rest(&p->cache, e);
}

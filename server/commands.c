/* commands.c - what clients ask for: start, signal, wait. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "pipeline.h"
#include "wire/canon.h"
#include "wire/error.h"
#include "wire/frame.h"

static const uint8_t nil_value = 0xc0;

/* One msgpack value within the limits; empty is nil. */
static aiki_status check_payload(aiki_view *value, const char *what, aiki_error *err)
{
    if (value->size_bytes == 0)
        *value = (aiki_view){&nil_value, 1};
    if (value->size_bytes > PAYLOAD_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "the %s has %llu bytes, PAYLOAD_BYTES_MAX is %d", what,
                         (unsigned long long)value->size_bytes, PAYLOAD_BYTES_MAX);
    aiki_status status = aiki_mp_check(*value);
    if (status == AIKI_LIMIT)
        return error_set(err, AIKI_LIMIT, "the %s is nested deeper than %d or has over %d values",
                         what, AIKI_MP_DEPTH_MAX, AIKI_MP_NODES_MAX);
    if (status != AIKI_OK)
        return error_code(err, AIKI_INVALID, "BAD_PAYLOAD", "the %s is not one msgpack value",
                          what);
    return AIKI_OK;
}

aiki_status check_text(aiki_view text, const char *what, aiki_error *err)
{
    if (text.size_bytes > KEY_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "the %s has %llu bytes, KEY_BYTES_MAX is %d", what,
                         (unsigned long long)text.size_bytes, KEY_BYTES_MAX);
    return AIKI_OK;
}

/* ---- start ----------------------------------------------------------------------------------- */

struct start {
    struct msg_START m;
    struct flow *flow;
    uint8_t input_hash[HASH_BYTES];
};

static aiki_status read_start(struct pipeline *p, aiki_view payload, struct start *s,
                              aiki_error *err)
{
    aiki_status status = msg_START_read(payload, &s->m, err);
    if (status == AIKI_OK)
        status = check_payload(&s->m.input, "input", err);
    if (status == AIKI_OK)
        status = check_text(s->m.key, "key", err);
    if (status == AIKI_OK)
        status = check_text(s->m.actor, "actor", err);
    if (status == AIKI_OK)
        status = registry_resolve(&p->registry, s->m.workflow, s->m.version, &s->flow, err);
    if (status == AIKI_OK && s->flow->input_schema != NULL)
        status = schema_validate(s->flow->input_schema, s->m.input, err);
    if (status == AIKI_OK)
        status = canon_hash(s->m.input, s->input_hash, err);
    return status;
}

/* The key or the id names a run that exists: the same start answers with it, another does not. */
static void answer_existing(struct pipeline *p, const struct command *c, const struct start *s,
                            struct entry *e)
{
    char text[AIKI_ID_TEXT_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    bool by_id = id_equal(&s->m.run, &e->id);
    bool same = memcmp(e->input_hash, s->input_hash, HASH_BYTES) == 0 &&
                e->flow->family == s->flow->family;
    if (by_id)
        same = same && view_equal(e->key, s->m.key) &&
               (s->m.version.size_bytes == 0 || e->flow == s->flow);
    if (!same) {
        id_text(&e->id, text);
        (void)error_code(&err, AIKI_CONFLICT, by_id ? "RUN_ID_TAKEN" : "KEY_TAKEN",
                         by_id ? "run %s was started differently; choose another run id"
                               : "the key belongs to run %s, which was started with another input",
                         text);
        answer_refusal(p, c, &err);
        cache_rest(&p->cache, e);
        return;
    }
    if (!by_id) {
        metric_add(starts_deduplicated, 1);
        if (e->dirty == 0) {
            e->duplicates++; /* written with the next commit or after LAG_MS_MAX */
            run_settle(p, e);
        }
    }
    if (e->dirty != 0) {
        struct owed *o = unit_owe(p, c, e);
        o->kind = OWED_STARTED;
        o->created = by_id;
        o->want_result = s->m.want_result;
        if (!by_id)
            e->duplicates++;
        return;
    }
    answer_started(p, c, e, by_id, s->m.want_result);
    if (s->m.want_result && run_state_is_terminal(e->run.state))
        answer_result(p, e, c->peer, c->correlation);
    else if (s->m.want_result &&
             waiter_add(p, e, c->peer, c->correlation, WAIT_MS_MAX, &err) != AIKI_OK)
        answer_refusal(p, c, &err);
    cache_rest(&p->cache, e);
}

static aiki_status find_existing(struct pipeline *p, const struct start *s, struct entry **ret,
                                 aiki_error *err)
{
    *ret = NULL;
    if (!id_is_zero(&s->m.run)) {
        /* An id not in memory is assumed to be new: the insert finds out, and the command is then
         * decided again alone, with a look into the store. */
        if (!p->alone)
            *ret = cache_find(&p->cache, &s->m.run);
        else if (run_load(p, &s->m.run, ret, NULL) != AIKI_OK)
            *ret = NULL;
    }
    if (*ret != NULL || s->m.key.size_bytes == 0)
        return AIKI_OK;
    aiki_status status = run_load_key(p, s->flow, s->m.key, ret, err);
    return status == AIKI_NOT_FOUND ? AIKI_OK : status;
}

static void start_new(struct pipeline *p, const struct command *c, const struct start *s)
{
    struct engine_effects effects;
    struct aiki_id id = id_is_zero(&s->m.run) ? id_new() : s->m.run;
    struct entry *e =
        cache_add(&p->cache, &id, ++p->run_no_max, s->flow, s->m.key, s->m.actor);
    const struct event started = {.kind = EVENT_STARTED,
                                  .as.started = {.workflow = view_of(s->flow->name),
                                                 .version = view_of(s->flow->version),
                                                 .input = s->m.input,
                                                 .key = s->m.key,
                                                 .actor = s->m.actor}};
    memcpy(e->input_hash, s->input_hash, HASH_BYTES);
    e->created_at_ms = p->now.at_ms;
    e->counted_seq = UINT64_MAX; /* counted by the engine from its first event on */
    unit_touch(p, e)->insert = true;
    engine_start(&e->run, &p->now, event_body(p, &started), &e->journal, &effects);
    unit_recorded(p, e, 0, &effects);
    struct owed *o = unit_owe(p, c, e);
    o->kind = OWED_STARTED;
    o->created = true;
    o->want_result = s->m.want_result;
}

void command_start(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct start s;
    struct entry *existing;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_start_received);
    aiki_status status = read_start(p, payload, &s, &err);
    if (status == AIKI_OK)
        status = find_existing(p, &s, &existing, &err);
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else if (existing != NULL)
        answer_existing(p, c, &s, existing);
    else
        start_new(p, c, &s);
}

/* ---- signal ---------------------------------------------------------------------------------- */

static void hash_ref(aiki_view ref, uint8_t ret_hash[16])
{
    (void)crypto_generichash(ret_hash, 16, ref.data, ref.size_bytes, NULL, 0);
}

static void add_ref(struct ref_set *set, aiki_view ref)
{
    set->hashes = array_grow(set->hashes, &set->capacity, set->count, sizeof(set->hashes[0]));
    hash_ref(ref, set->hashes[set->count++]);
}

/* References of the signals on record, read once while the run is in memory. */
static aiki_status learn_refs(struct pipeline *p, struct entry *e, aiki_error *err)
{
    if (e->refs != NULL)
        return AIKI_OK;
    e->refs = memory_need(sizeof(*e->refs));
    for (uint64_t after = 0; after < e->run.seq && e->run.signals > 0;) {
        aiki_view page;
        aiki_reader r;
        struct event event;
        aiki_status status = run_journal(p, e, after, CLAIM_BYTES_MAX, &page, &after, err);
        aiki_reader_init(&r, page);
        while (status == AIKI_OK && aiki_reader_left(&r) > 0) {
            status = event_read_stored(&r, &event, err);
            if (status == AIKI_OK && event.kind == EVENT_SIGNAL &&
                event.as.signal.ref.size_bytes > 0)
                add_ref(e->refs, event.as.signal.ref);
        }
        if (status != AIKI_OK) {
            entry_forget_refs(e);
            return status;
        }
    }
    return AIKI_OK;
}

static bool knows_ref(const struct entry *e, aiki_view ref)
{
    uint8_t hash[16];
    hash_ref(ref, hash);
    for (size_t i = 0; i < e->refs->count; i++)
        if (memcmp(e->refs->hashes[i], hash, sizeof(hash)) == 0)
            return true;
    return false;
}

static aiki_status read_signal(aiki_view payload, struct msg_SIGNAL *m, aiki_error *err)
{
    aiki_status status = msg_SIGNAL_read(payload, m, err);
    if (status == AIKI_OK && !name_is_valid(m->name))
        status = error_code(err, AIKI_INVALID, "BAD_NAME",
                            "a signal name is 1 to %d characters of a-z A-Z 0-9 . _ -",
                            NAME_BYTES_MAX);
    if (status == AIKI_OK)
        status = check_text(m->ref, "reference", err);
    if (status == AIKI_OK)
        status = check_payload(&m->payload, "signal payload", err);
    return status;
}

/* The engine's refusal as an error about this run. */
void refusal_error(const struct entry *e, const struct engine_refusal *r, aiki_error *err)
{
    char text[AIKI_ID_TEXT_SIZE];
    id_text(&e->id, text);
    if (r->limit > 0)
        (void)error_code(err, r->status, r->code, "run %s: %s (%llu, at most %llu)", text, r->text,
                         (unsigned long long)r->value, (unsigned long long)r->limit);
    else
        (void)error_code(err, r->status, r->code, "run %s (%s): %s", text,
                         run_state_name(e->run.state), r->text);
}

static void record_signal(struct pipeline *p, const struct command *c, struct entry *e,
                          const struct msg_SIGNAL *m)
{
    struct engine_effects effects;
    struct engine_refusal refusal;
    aiki_error err = {.struct_size = sizeof(err)};
    const struct event signal = {
        .kind = EVENT_SIGNAL,
        .as.signal = {.name = m->name, .payload = m->payload, .ref = m->ref}};
    uint64_t from = e->journal.size_bytes;
    bool was_dirty = e->dirty != 0;
    (void)unit_touch(p, e);
    if (!engine_signal(&e->run, &p->now, m->name, event_body(p, &signal), &e->journal, &effects,
                       &refusal)) {
        if (!was_dirty)
            unit_untouch(p, e);
        refusal_error(e, &refusal, &err);
        answer_refusal(p, c, &err);
        return;
    }
    if (m->ref.size_bytes > 0)
        add_ref(e->refs, m->ref);
    struct owed *o = unit_owe(p, c, e);
    o->kind = OWED_OK;
    o->number = 1;
    unit_changed(p, e, from, &effects);
    metric_add(signals, 1);
}

void command_signal(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_SIGNAL m;
    struct entry *e = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    fault_point(server_signal_received);
    aiki_status status = read_signal(payload, &m, &err);
    if (status == AIKI_OK)
        status = run_load(p, &m.run, &e, &err);
    if (status == AIKI_OK && m.ref.size_bytes > 0)
        status = learn_refs(p, e, &err);
    if (status != AIKI_OK) {
        answer_refusal(p, c, &err);
    } else if (m.ref.size_bytes > 0 && knows_ref(e, m.ref)) {
        metric_add(signals_deduplicated, 1);
        if (e->dirty != 0)
            unit_owe(p, c, e)->kind = OWED_OK;
        else
            answer(p, c, OK, .count = 0);
    } else {
        record_signal(p, c, e, &m);
    }
    if (e != NULL)
        cache_rest(&p->cache, e);
}

/* ---- wait ------------------------------------------------------------------------------------ */

void command_wait(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_WAIT m;
    struct entry *e = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status status = msg_WAIT_read(payload, &m, &err);
    if (status == AIKI_OK)
        status = run_load_clean(p, &m.run, &e, &err);
    if (status == AIKI_OK && !run_state_is_terminal(e->run.state) && m.timeout_ms > 0) {
        int64_t timeout_ms = m.timeout_ms > WAIT_MS_MAX ? WAIT_MS_MAX : (int64_t)m.timeout_ms;
        status = waiter_add(p, e, c->peer, c->correlation, timeout_ms, &err);
        if (status == AIKI_OK)
            return;
    }
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else
        answer_result(p, e, c->peer, c->correlation);
    if (e != NULL)
        cache_rest(&p->cache, e);
}

/* starts.c - what a client starts: new runs, runs that are there already, runs that take a key
 * over.
 *
 *   id known? --yes--> the same start: that run       key known? --no--> new run
 *                                                        |
 *        KEY_SAME: that run or CONFLICT    KEY_EXISTING: that run    KEY_REPLACE: end it, new run
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/planted.h"
#include "pipeline.h"
#include "wire/canon.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/retry.h"

/* The journal of most runs is longer: growing it bit by bit costs more than what some leave empty. */
enum { JOURNAL_BYTES_FIRST = 1024 };

static const uint8_t nil_value = 0xc0;

/* One msgpack value within the limits; empty is nil. */
aiki_status check_payload(aiki_view *value, const char *what, aiki_error *err)
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

struct start {
    struct msg_START m;
    struct flow *flow;
    uint8_t input_hash[HASH_BYTES];
    int64_t start_at_ms, deadline_ms; /* 0 = at once, none */
    uint8_t retry[RETRY_ARRAY_BYTES_MAX];
    uint64_t retry_size_bytes;
};

static bool is_nil(aiki_view value)
{
    return value.size_bytes == 0 || (value.size_bytes == 1 && value.data[0] == nil_value);
}

/* A policy comes as a map from people and as an array from programs; the latter is recorded. */
static aiki_status read_retry(struct start *s, aiki_error *err)
{
    struct retry retry;
    aiki_mp_item head;
    aiki_reader r;
    aiki_writer w;
    if (is_nil(s->m.retry))
        return AIKI_OK;
    if (s->m.retry.size_bytes > START_RETRY_BYTES_MAX)
        return error_set(err, AIKI_LIMIT,
                         "the retry policy has %llu bytes, "
                         "START_RETRY_BYTES_MAX is %d",
                         (unsigned long long)s->m.retry.size_bytes, START_RETRY_BYTES_MAX);
    aiki_reader_init(&r, s->m.retry);
    bool is_map = aiki_mp_peek(&r, &head) && head.type == AIKI_MP_MAP;
    aiki_status status = is_map ? retry_read_map(s->m.retry, true, &retry, err)
                                : retry_read(s->m.retry, &retry, err);
    if (status != AIKI_OK)
        return status;
    aiki_writer_init_fixed(&w, s->retry, sizeof(s->retry));
    retry_write(&w, &retry);
    s->retry_size_bytes = w.size_bytes;
    return w.status;
}

static aiki_status bad_option(aiki_error *err, const char *what)
{
    return error_code(err, AIKI_INVALID, "BAD_START", "%s", what);
}

static aiki_status read_times(const struct pipeline *p, struct start *s, aiki_error *err)
{
    const struct msg_START *m = &s->m;
    int64_t timeout_ms = m->run_timeout_ms;
    if (m->delay_ms != 0 && m->start_at_ms != 0)
        return bad_option(err, "a start has a delay or a time, not both");
    if (m->delay_ms < 0 || m->delay_ms > START_DELAY_MS_MAX || m->start_at_ms < 0 ||
        m->start_at_ms > p->now.at_ms + START_DELAY_MS_MAX)
        return bad_option(err, "a run starts now or within START_DELAY_MS_MAX, a hundred years");
    if (timeout_ms < 0 || timeout_ms > START_DELAY_MS_MAX)
        return bad_option(err, "a run's time limit is positive and at most START_DELAY_MS_MAX, a "
                               "hundred years");
    if (m->key_policy > KEY_REPLACE)
        return bad_option(err, "an unknown key policy; there are same, existing and replace");
    if (m->key_policy != KEY_SAME && m->key.size_bytes == 0)
        return bad_option(err, "a key policy needs a key");
    s->start_at_ms = m->delay_ms != 0 ? p->now.at_ms + m->delay_ms : m->start_at_ms;
    if (s->start_at_ms <= p->now.at_ms)
        s->start_at_ms = 0;
    if (timeout_ms == 0)
        timeout_ms = s->flow->said.run_timeout_ms;
    if (timeout_ms != 0)
        s->deadline_ms = (s->start_at_ms != 0 ? s->start_at_ms : p->now.at_ms) + timeout_ms;
    return AIKI_OK;
}

static aiki_status read_start(struct pipeline *p, aiki_view payload, struct start *s,
                              aiki_error *err)
{
    s->start_at_ms = s->deadline_ms = 0;
    s->retry_size_bytes = 0;
    aiki_status status = msg_START_read(payload, &s->m, err);
    if (status == AIKI_OK)
        status = check_payload(&s->m.input, "input", err);
    if (status == AIKI_OK)
        status = check_text(s->m.key, "key", err);
    if (status == AIKI_OK)
        status = check_text(s->m.actor, "actor", err);
    if (status == AIKI_OK)
        status = registry_resolve(&p->registry, s->m.workflow, s->m.version, &s->flow, err);
    if (status == AIKI_OK)
        status = read_times(p, s, err);
    if (status == AIKI_OK)
        status = read_retry(s, err);
    if (status == AIKI_OK && s->flow->said.input_schema != NULL)
        status = schema_validate(s->flow->said.input_schema, s->m.input, err);
    if (status == AIKI_OK)
        status = canon_hash(s->m.input, s->input_hash, err);
    return status;
}

/* ---- a run that is there ----------------------------------------------------------------------
 */

/* Who was answered with this run instead of a new one: the last ABSORBED_MAX, each with its time.
 */
static void note_absorbed(struct pipeline *p, struct entry *e, aiki_view actor)
{
    aiki_writer w;
    aiki_reader r;
    const uint8_t *before = e->dirty != 0 ? p->work.runs[e->dirty - 1].absorbed_before : NULL;
    buf_init(&w);
    aiki_reader_init(&r, (aiki_view){e->absorbed, e->absorbed_size_bytes});
    uint64_t count = e->absorbed_size_bytes > 0 ? aiki_mp_read_array(&r) : 0;
    for (; count >= ABSORBED_MAX; count--)
        (void)aiki_mp_skip(&r); /* our own bytes */
    aiki_mp_array(&w, count + 1);
    aiki_mp_raw(&w, r.at, aiki_reader_left(&r));
    aiki_mp_array(&w, 2);
    aiki_mp_int(&w, p->now.at_ms);
    aiki_mp_strn(&w, actor.data, actor.size_bytes);
    if (e->absorbed != before)
        free(e->absorbed);
    e->absorbed = buf_take(&w, &e->absorbed_size_bytes);
    e->duplicates++; /* written with the next commit or after LAG_MS_MAX */
    metric_add(starts_deduplicated, 1);
}

static bool is_same_work(const struct start *s, const struct entry *e)
{
    return memcmp(e->input_hash, s->input_hash, HASH_BYTES) == 0 &&
           e->flow->family == s->flow->family;
}

/* Another start that may have this run. */
static bool is_answered_by(const struct start *s, const struct entry *e)
{
    return s->m.key_policy == KEY_EXISTING || BUG(key_input_ignored) || is_same_work(s, e);
}

/* The row of a run whose key another one took has none any more; its first event has. */
static aiki_status started_with_key(struct pipeline *p, struct entry *e, aiki_view key, bool *ret,
                                    aiki_error *err)
{
    aiki_view events;
    aiki_reader r;
    struct event started;
    uint64_t last_seq;
    *ret = view_equal(e->key, key);
    if (*ret || e->key.size_bytes > 0)
        return AIKI_OK;
    aiki_status status = run_journal(p, e, 0, 1, &events, &last_seq, err);
    if (status != AIKI_OK)
        return status;
    aiki_reader_init(&r, events);
    status = event_read_stored(&r, &started, err);
    *ret = status == AIKI_OK && view_equal(started.as.started.key, key);
    return status;
}

/* The same start that made this run, once more. */
static aiki_status is_repeated(struct pipeline *p, const struct start *s, struct entry *e, bool *ret,
                               aiki_error *err)
{
    *ret = is_same_work(s, e) && (s->m.version.size_bytes == 0 || e->flow == s->flow);
    return *ret ? started_with_key(p, e, s->m.key, ret, err) : AIKI_OK;
}

static void refuse_start(struct pipeline *p, const struct command *c, struct entry *e,
                         bool by_id)
{
    char text[AIKI_ID_TEXT_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    id_text(&e->id, text);
    (void)error_code(&err, AIKI_CONFLICT, by_id ? "RUN_ID_TAKEN" : "KEY_TAKEN",
                     by_id ? "run %s was started differently; choose another run id"
                           : "the key belongs to run %s, which was started with another input",
                     text);
    unit_refuse(p, c, e, &err);
}

static void answer_existing(struct pipeline *p, const struct command *c, const struct start *s,
                            struct entry *e)
{
    aiki_error err = {.struct_size = sizeof(err)};
    bool by_id = id_equal(&s->m.run, &e->id), fits = !by_id && is_answered_by(s, e);
    if (by_id && is_repeated(p, s, e, &fits, &err) != AIKI_OK) {
        answer_refusal(p, c, &err);
        cache_rest(&p->cache, e);
        return;
    }
    if (!fits) {
        refuse_start(p, c, e, by_id);
        cache_rest(&p->cache, e);
        return;
    }
    if (!by_id) {
        note_absorbed(p, e, s->m.actor);
        if (e->dirty == 0)
            run_settle(p, e);
    }
    if (e->dirty != 0) {
        struct owed *o = unit_owe(p, c, e);
        o->kind = OWED_STARTED;
        o->created = by_id;
        o->want_result = s->m.want_result;
        return;
    }
    answer_started(p, c, e, by_id, s->m.want_result);
    if (s->m.want_result && run_state_is_terminal(e->run.state))
        answer_result(p, e, c->peer, c->correlation, false);
    else if (s->m.want_result &&
             waiter_add(p, e, c->peer, c->correlation, false, WAIT_MS_MAX, &err) != AIKI_OK)
        answer_refusal(p, c, &err);
    cache_rest(&p->cache, e);
}

/* A run has the key; this start may still be on record itself, another one having taken its key since:
 * its id is looked for after all. */
static aiki_status prefer_own(struct pipeline *p, const struct start *s, struct entry **ret,
                              aiki_error *err)
{
    struct entry *own;
    if (id_is_zero(&s->m.run) || p->alone || id_equal(&(*ret)->id, &s->m.run))
        return AIKI_OK;
    aiki_status status = run_load(p, &s->m.run, &own, err);
    if (status == AIKI_OK) {
        cache_rest(&p->cache, *ret);
        *ret = own;
    }
    return status == AIKI_NOT_FOUND ? AIKI_OK : status;
}

static aiki_status find_existing(struct pipeline *p, const struct start *s, struct entry **ret,
                                 aiki_error *err)
{
    *ret = NULL;
    if (!id_is_zero(&s->m.run)) {
        /* An id not in memory is assumed to be new: the insert finds out, and the command is then
         * decided again alone, with a look into the store. */
        aiki_status status = AIKI_OK;
        if (!p->alone)
            *ret = cache_find(&p->cache, &s->m.run);
        else
            status = run_load(p, &s->m.run, ret, err);
        if (status != AIKI_OK && status != AIKI_NOT_FOUND)
            return status;
    }
    if (*ret != NULL || s->m.key.size_bytes == 0 || BUG(key_forgotten))
        return AIKI_OK;
    aiki_status status = run_load_key(p, s->flow, s->m.key, ret, err);
    if (status == AIKI_OK)
        status = prefer_own(p, s, ret, err);
    return status == AIKI_NOT_FOUND ? AIKI_OK : status;
}

/* ---- a new run --------------------------------------------------------------------------------
 */

struct entry *run_start(struct pipeline *p, struct flow *flow, const struct birth *b)
{
    struct engine_effects effects;
    struct event started = b->started;
    struct entry *e = cache_add(&p->cache, &b->id, ++p->run_no_max, flow, b->started.as.started.key,
                                b->started.as.started.actor);
    started.as.started.workflow = view_of(flow->name);
    started.as.started.version = view_of(flow->version);
    memcpy(e->input_hash, b->input_hash, HASH_BYTES);
    e->parent = b->started.as.started.parent;
    e->created_at_ms = p->now.at_ms;
    e->counted_seq = UINT64_MAX; /* counted by the engine from its first event on */
    e->run.wake_at_ms = b->started.as.started.start_at_ms;
    e->run.deadline_ms = b->started.as.started.deadline_ms;
    e->run.flags = b->flags;
    buf_reserve(&e->journal, JOURNAL_BYTES_FIRST);
    unit_touch(p, e)->insert = true;
    engine_start(&e->run, &p->now, event_body(p, &started), &e->journal, &effects);
    engine_start_by(&e->run, b->start_by_ms);
    unit_recorded(p, e, 0, &effects);
    return e;
}

static void start_new(struct pipeline *p, const struct command *c, const struct start *s)
{
    struct birth b = {.id = id_is_zero(&s->m.run) ? id_new() : s->m.run,
                      .started = {.kind = EVENT_STARTED,
                                  .as.started = {.input = s->m.input,
                                                 .key = s->m.key,
                                                 .actor = s->m.actor,
                                                 .start_at_ms = s->start_at_ms,
                                                 .deadline_ms = s->deadline_ms,
                                                 .retry = {s->retry, s->retry_size_bytes}}}};
    memcpy(b.input_hash, s->input_hash, HASH_BYTES);
    struct owed *o = unit_owe(p, c, run_start(p, s->flow, &b));
    o->kind = OWED_STARTED;
    o->created = true;
    o->want_result = s->m.want_result;
}

/* The run that had the key ends in the unit that starts the one that gets it. */
static void start_instead(struct pipeline *p, const struct command *c, const struct start *s,
                          struct entry *former)
{
    struct engine_effects effects;
    struct engine_refusal refusal;
    const struct asked asked = {.reason = view_of("another run took its key"),
                                .actor = s->m.actor};
    if (!run_state_is_terminal(former->run.state) && !BUG(former_goes_on))
        (void)run_request(p, former, CONTROL_TERMINATE, &asked, &effects,
                          &refusal); /* an open run can be terminated */
    (void)unit_touch(p, former);
    former->key_dropped = true;
    start_new(p, c, s);
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
    else if (existing != NULL && s.m.key_policy == KEY_REPLACE &&
             !id_equal(&s.m.run, &existing->id) && !is_answered_by(&s, existing))
        start_instead(p, c, &s, existing);
    else if (existing != NULL)
        answer_existing(p, c, &s, existing);
    else
        start_new(p, c, &s);
}

/* views.c - see views.h. */
#include "views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "wire/error.h"

/* ---- arguments ------------------------------------------------------------------------------- */

static uint64_t read_number(aiki_reader *r)
{
    aiki_mp_item item;
    char text[24] = "";
    if (!aiki_mp_next(r, &item))
        return 0;
    if (item.type == AIKI_MP_UINT)
        return item.as.u;
    if (item.type == AIKI_MP_NIL)
        return 0;
    char *end = text;
    uint64_t value = 0;
    if (item.type == AIKI_MP_STR && item.bytes.size_bytes > 0 &&
        item.bytes.size_bytes < sizeof(text)) {
        memcpy(text, item.bytes.data, item.bytes.size_bytes);
        value = strtoull(text, &end, 10);
    }
    if (end == text || *end != '\0')
        r->status = AIKI_CORRUPT;
    return value;
}

static void read_arg(aiki_reader *r, aiki_view name, struct query_args *a)
{
    if (view_is(name, "id"))
        a->id = aiki_mp_read_str(r);
    else if (view_is(name, "workflow") || view_is(name, "name"))
        a->workflow = aiki_mp_read_str(r);
    else if (view_is(name, "version"))
        a->version = aiki_mp_read_str(r);
    else if (view_is(name, "state"))
        a->state = aiki_mp_read_str(r);
    else if (view_is(name, "key"))
        a->key = aiki_mp_read_str(r);
    else if (view_is(name, "limit"))
        a->limit = read_number(r);
    else if (view_is(name, "before"))
        a->before = read_number(r);
    else if (view_is(name, "after"))
        a->after = read_number(r);
    else
        (void)aiki_mp_skip(r); /* its failure sticks */
}

aiki_status query_args_read(aiki_view map, struct query_args *ret, aiki_error *err)
{
    aiki_reader r;
    memset(ret, 0, sizeof(*ret));
    if (map.size_bytes == 0)
        return AIKI_OK;
    aiki_reader_init(&r, map);
    uint64_t pairs = aiki_mp_read_map(&r);
    if (r.status != AIKI_OK)
        return error_set(err, AIKI_INVALID, "query arguments are a map");
    for (; pairs > 0; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        read_arg(&r, name, ret);
        if (r.status != AIKI_OK)
            return error_set(err, AIKI_INVALID, "query argument %.*s is not of its type",
                             (int)(name.size_bytes > 40 ? 40 : name.size_bytes),
                             name.size_bytes > 0 ? (const char *)name.data : "");
    }
    return AIKI_OK;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void put(aiki_writer *w, const char *name) { aiki_mp_str(w, name); }

static void put_text(aiki_writer *w, const char *name, aiki_view text)
{
    put(w, name);
    if (text.size_bytes == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_strn(w, text.data, text.size_bytes);
}

static void put_uint(aiki_writer *w, const char *name, uint64_t value)
{
    put(w, name);
    aiki_mp_uint(w, value);
}

static void put_time(aiki_writer *w, const char *name, int64_t at_ms)
{
    put(w, name);
    view_time(w, at_ms);
}

static void put_raw(aiki_writer *w, const char *name, aiki_view value)
{
    put(w, name);
    if (value.size_bytes == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_raw(w, value.data, value.size_bytes);
}

static void put_payload(aiki_writer *w, const char *name, aiki_view payload)
{
    put(w, name);
    view_payload(w, payload);
}

void view_time(aiki_writer *w, int64_t at_ms)
{
    char text[64];
    struct tm tm;
    time_t seconds = (time_t)(at_ms / 1000);
    if (at_ms <= 0 || gmtime_r(&seconds, &tm) == NULL) {
        aiki_mp_nil(w);
        return;
    }
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + n, sizeof(text) - n, ".%03dZ", (int)(at_ms % 1000));
    aiki_mp_str(w, text);
}

void view_payload(aiki_writer *w, aiki_view payload)
{
    if (payload.size_bytes == 0)
        aiki_mp_nil(w);
    else if (aiki_mp_check(payload) == AIKI_OK)
        aiki_mp_raw(w, payload.data, payload.size_bytes);
    else
        aiki_mp_bin(w, payload.data, payload.size_bytes);
}

void view_hex(aiki_writer *w, const uint8_t *bytes, size_t size_bytes)
{
    char text[2 * HASH_BYTES + 1];
    size_t n = size_bytes > HASH_BYTES ? HASH_BYTES : size_bytes;
    for (size_t i = 0; i < n; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    aiki_mp_strn(w, text, 2 * n);
}

void view_id(aiki_writer *w, const struct aiki_id *id)
{
    char text[AIKI_ID_TEXT_SIZE];
    id_text(id, text);
    aiki_mp_str(w, text);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void put_waits(aiki_writer *w, aiki_view waits)
{
    aiki_reader r;
    struct wait wait;
    put(w, "waits");
    aiki_reader_init(&r, waits);
    uint64_t count = waits.size_bytes > 0 ? aiki_mp_read_array(&r) : 0;
    aiki_mp_array(w, count);
    for (uint64_t i = 0; i < count; i++) {
        if (wait_read(&r, &wait) != AIKI_OK)
            memset(&wait, 0, sizeof(wait)); /* checked when parked: cannot be */
        aiki_mp_map(w, 4);
        put_text(w, "kind", view_of(step_kind_name(wait.kind)));
        put_text(w, "name", wait.name);
        put_time(w, "due_at", wait.due_at_ms);
        put_time(w, "since", wait.since_ms);
    }
}

void view_run_fields(aiki_writer *w, const struct run_row *row, uint32_t state)
{
    put(w, "id");
    view_id(w, &row->id);
    put_text(w, "workflow", row->workflow);
    put_text(w, "version", row->version);
    put_text(w, "state", view_of(run_state_name(state)));
    put_text(w, "key", row->key);
    put_text(w, "actor", row->actor);
    put_time(w, "created_at", row->created_at_ms);
    put_time(w, "updated_at", row->updated_at_ms);
    put_time(w, "wake_at", row->wake_at_ms);
    put_uint(w, "epoch", row->epoch);
    put_uint(w, "seq", row->seq);
    put_uint(w, "duplicates", row->duplicates);
    put_waits(w, row->waits);
}

static const char *outcome_name(uint64_t outcome)
{
    return outcome == OUTCOME_OK ? "ok" : outcome == OUTCOME_FAILED ? "failed" : "timed_out";
}

enum { STEP_FIELDS = 5, EVENT_FIELDS = 5 };

static void put_step(aiki_writer *w, const struct event *e)
{
    put(w, "address");
    view_hex(w, e->as.step.address.bytes, ADDRESS_BYTES);
    put_uint(w, "nth", e->as.step.nth);
    bool named = e->as.step.identity_kind != 0;
    put_text(w, "step", named ? view_of(step_kind_name(e->as.step.identity_kind))
                              : (aiki_view){NULL, 0});
    put_text(w, "name", e->as.step.name);
    put_payload(w, "input", e->as.step.input);
}

static uint64_t body_fields(uint64_t kind)
{
    switch (kind) {
    case EVENT_STARTED: return 5;
    case EVENT_CLAIMED: return 3;
    case EVENT_STEP_BEGUN: return STEP_FIELDS + 1;
    case EVENT_ATTEMPT_FAILED: return STEP_FIELDS + 4;
    case EVENT_STEP_DONE: return STEP_FIELDS + 5;
    case EVENT_SIGNAL: return 3;
    case EVENT_COMPLETED:
    case EVENT_FAILED:
    case EVENT_BLOCKED: return 1;
    default: return 0;
    }
}

static void put_attempt_failed(aiki_writer *w, const struct event *e)
{
    put_step(w, e);
    put_uint(w, "attempt", e->as.step.attempt);
    put_time(w, "next_at", e->as.step.next_at_ms);
    put_raw(w, "error", e->as.step.error);
    put_uint(w, "duration_us", (uint64_t)e->as.step.duration_us);
}

static void put_step_done(aiki_writer *w, const struct event *e)
{
    put_step(w, e);
    put_uint(w, "attempt", e->as.step.attempt);
    put_text(w, "outcome", view_of(outcome_name(e->as.step.outcome)));
    put_payload(w, "output", e->as.step.value);
    put_raw(w, "error", e->as.step.error);
    put_uint(w, "duration_us", (uint64_t)e->as.step.duration_us);
}

static void put_body(aiki_writer *w, const struct event *e)
{
    switch (e->kind) {
    case EVENT_STARTED:
        put_text(w, "workflow", e->as.started.workflow);
        put_text(w, "version", e->as.started.version);
        put_payload(w, "input", e->as.started.input);
        put_text(w, "key", e->as.started.key);
        put_text(w, "actor", e->as.started.actor);
        break;
    case EVENT_CLAIMED:
        put(w, "session");
        view_id(w, &e->as.claimed.session);
        put(w, "build");
        view_hex(w, e->as.claimed.build.data, (size_t)e->as.claimed.build.size_bytes);
        put_text(w, "runtime", e->as.claimed.runtime);
        break;
    case EVENT_STEP_BEGUN:
        put_step(w, e);
        put_time(w, "due_at", e->as.step.due_at_ms);
        break;
    case EVENT_ATTEMPT_FAILED: put_attempt_failed(w, e); break;
    case EVENT_STEP_DONE: put_step_done(w, e); break;
    case EVENT_SIGNAL:
        put_text(w, "name", e->as.signal.name);
        put_payload(w, "payload", e->as.signal.payload);
        put_text(w, "ref", e->as.signal.ref);
        break;
    case EVENT_COMPLETED: put_payload(w, "output", e->as.completed.output); break;
    case EVENT_FAILED: put_raw(w, "error", e->as.failed.error); break;
    case EVENT_BLOCKED: put_raw(w, "error", e->as.blocked.error); break;
    default: break;
    }
}

void view_event(aiki_writer *w, const struct event *e, const uint8_t hash[HASH_BYTES])
{
    aiki_mp_map(w, EVENT_FIELDS + body_fields(e->kind));
    put_uint(w, "seq", e->seq);
    put_time(w, "at", e->at_ms);
    put_uint(w, "epoch", e->epoch);
    put_text(w, "kind", view_of(event_kind_name(e->kind)));
    put_body(w, e);
    put(w, "hash");
    view_hex(w, hash, HASH_BYTES);
}

/* ---- registry -------------------------------------------------------------------------------- */

static void put_schema(aiki_writer *w, const char *name, aiki_view schema)
{
    aiki_error err = {.struct_size = sizeof(err)};
    uint64_t before = w->size_bytes;
    put(w, name);
    uint64_t value_at = w->size_bytes;
    if (schema.size_bytes > 0 && schema_view_json_schema(w, schema, &err) == AIKI_OK)
        return;
    w->size_bytes = before < value_at ? value_at : before;
    aiki_mp_nil(w);
}

static void put_counts(aiki_writer *w, const struct flow *f)
{
    uint64_t kinds = 0;
    put(w, "runs");
    for (uint32_t s = 0; s <= RUN_CANCELLING; s++)
        kinds += f->counts[s] > 0;
    aiki_mp_map(w, kinds);
    for (uint32_t s = 0; s <= RUN_CANCELLING; s++)
        if (f->counts[s] > 0)
            put_uint(w, run_state_name(flow_display_state(f, s)), f->counts[s]);
}

static uint64_t count_workers(const struct flow *f)
{
    uint64_t count = 0;
    for (size_t i = 0; i < f->serving_count; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen |= f->serving[k]->session == f->serving[i]->session;
        count += !seen;
    }
    return count;
}

void view_flow(aiki_writer *w, const struct flow *f, bool schemas)
{
    struct descriptor_workflow d;
    memset(&d, 0, sizeof(d));
    (void)flow_descriptor(f, &d); /* without one the fields stay empty */
    const struct plugin *plugin = f->serving_count > 0 ? f->serving[f->serving_count - 1] : NULL;
    aiki_mp_map(w, schemas ? 12 : 10);
    put_text(w, "name", view_of(f->name));
    put_text(w, "version", view_of(f->version));
    put_text(w, "summary", d.summary);
    put(w, "served");
    aiki_mp_bool(w, plugin != NULL);
    put_uint(w, "workers", count_workers(f));
    put_text(w, "plugin", view_of(f->plugin_name));
    put(w, "build");
    view_hex(w, f->build, f->has_build ? HASH_BYTES : 0);
    put_time(w, "first_seen_at", f->first_seen_at_ms);
    put_text(w, "file", plugin != NULL ? view_of(plugin->file) : (aiki_view){NULL, 0});
    put_counts(w, f);
    if (!schemas)
        return;
    put_schema(w, "input", d.input);
    put_schema(w, "output", d.output);
}

void view_session(aiki_writer *w, const struct session *s, int64_t now_ms)
{
    uint64_t served = 0;
    for (struct chain *m = s->plugins.next; m != &s->plugins; m = m->next)
        served += container_of(m, struct plugin, of_session)->error == NULL;
    aiki_mp_map(w, 9);
    put(w, "id");
    view_id(w, &s->info.id);
    put_text(w, "name", view_of(s->info.name));
    put_uint(w, "pid", s->info.pid);
    put_uint(w, "slots", s->info.slots);
    put_uint(w, "busy", s->busy);
    put_uint(w, "runs", s->owned_count);
    put_time(w, "connected_at", s->connected_at_ms);
    put_uint(w, "last_beat_ms", (uint64_t)(now_ms - s->beat_at_ms));
    put(w, "plugins");
    aiki_mp_array(w, served);
    for (struct chain *m = s->plugins.next; m != &s->plugins; m = m->next) {
        const struct plugin *p = container_of(m, struct plugin, of_session);
        if (p->error == NULL)
            aiki_mp_str(w, p->file);
    }
}

void view_plugin(aiki_writer *w, const struct plugin *plugin)
{
    struct descriptor d;
    memset(&d, 0, sizeof(d));
    if (plugin->descriptor != NULL)
        (void)descriptor_read((aiki_view){plugin->descriptor, plugin->descriptor_size_bytes}, &d,
                              NULL); /* read before: it decodes */
    aiki_mp_map(w, 8);
    put_text(w, "file", view_of(plugin->file));
    put(w, "build");
    view_hex(w, plugin->build, (size_t)plugin->build_size_bytes);
    put_text(w, "name", d.name);
    put_text(w, "version", d.version);
    put_text(w, "worker", view_of(plugin->session->info.name));
    put(w, "worker_id");
    view_id(w, &plugin->session->info.id);
    put(w, "workflows");
    aiki_mp_array(w, plugin->flow_count);
    for (size_t i = 0; i < plugin->flow_count; i++) {
        char text[2 * NAME_BYTES_MAX + 2];
        (void)snprintf(text, sizeof(text), "%s@%s", plugin->flows[i]->name,
                       plugin->flows[i]->version);
        aiki_mp_str(w, text);
    }
    put_raw(w, "error", (aiki_view){plugin->error, plugin->error_size_bytes});
}

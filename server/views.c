/* views.c - see views.h. */
#include "views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "engine/run.h"
#include "wire/error.h"
#include "wire/retry.h"

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
    else if (view_is(name, "task"))
        a->task = aiki_mp_read_str(r);
    else if (view_is(name, "build"))
        a->build = aiki_mp_read_str(r);
    else if (view_is(name, "since"))
        a->since = read_number(r);
    else if (view_is(name, "until"))
        a->until = read_number(r);
    else if (view_is(name, "limit"))
        a->limit = read_number(r);
    else if (view_is(name, "before"))
        a->before = read_number(r);
    else if (view_is(name, "after"))
        a->after = read_number(r);
    else if (view_is(name, "wait_ms"))
        a->wait_ms = read_number(r);
    else if (view_is(name, "reveal"))
        a->reveal = aiki_mp_read_bool(r);
    else if (view_is(name, "full"))
        a->full = aiki_mp_read_bool(r);
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

static void put(aiki_writer *w, const char *name)
{
    aiki_mp_str(w, name);
}

static void write_text(aiki_writer *w, aiki_view text)
{
    if (text.size_bytes == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_strn(w, text.data, text.size_bytes);
}

static void put_text(aiki_writer *w, const char *name, aiki_view text)
{
    put(w, name);
    write_text(w, text);
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

static void write_raw(aiki_writer *w, aiki_view value)
{
    if (value.size_bytes == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_raw(w, value.data, value.size_bytes);
}

static void put_raw(aiki_writer *w, const char *name, aiki_view value)
{
    put(w, name);
    write_raw(w, value);
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

/* ---- maps ------------------------------------------------------------------------------------ */

void view_map_begin(struct view_map *m, aiki_writer *w)
{
    *m = (struct view_map){.w = w, .at = w->size_bytes};
    aiki_mp_raw(w, "\xde\0\0", 3); /* map 16 */
}

void view_map_end(struct view_map *m)
{
    if (m->w->status == AIKI_OK)
        aiki_mp_be_(m->w->data + m->at + 1, m->count, 2);
}

void view_name(struct view_map *m, const char *name)
{
    aiki_mp_str(m->w, name);
    m->count++;
}

void view_put_text(struct view_map *m, const char *name, aiki_view text)
{
    view_name(m, name);
    write_text(m->w, text);
}

void view_put_uint(struct view_map *m, const char *name, uint64_t value)
{
    view_name(m, name);
    aiki_mp_uint(m->w, value);
}

void view_put_bool(struct view_map *m, const char *name, bool value)
{
    view_name(m, name);
    aiki_mp_bool(m->w, value);
}

void view_put_time(struct view_map *m, const char *name, int64_t at_ms)
{
    view_name(m, name);
    view_time(m->w, at_ms);
}

void view_put_raw(struct view_map *m, const char *name, aiki_view value)
{
    view_name(m, name);
    write_raw(m->w, value);
}

void view_put_payload(struct view_map *m, const char *name, const struct shown *how,
                      const struct value_of *of, aiki_view payload)
{
    view_name(m, name);
    shown_payload(m->w, how, of, payload);
}

void view_put_error(struct view_map *m, const char *name, const struct shown *how,
                    const struct value_of *of, aiki_view error)
{
    view_name(m, name);
    shown_error(m->w, how, of, error);
}

void view_put_id(struct view_map *m, const char *name, const struct aiki_id *id)
{
    view_name(m, name);
    if (id_is_zero(id))
        aiki_mp_nil(m->w);
    else
        view_id(m->w, id);
}

void view_put_retry(struct view_map *m, const char *name, aiki_view retry)
{
    struct retry policy;
    view_name(m, name);
    if (retry.size_bytes > 0 && retry_read(retry, &policy, NULL) == AIKI_OK)
        retry_write_map(m->w, &policy);
    else
        aiki_mp_nil(m->w);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static const char *wait_kind_name(uint64_t kind)
{
    return kind == STEP_TASK ? "retry" : step_kind_name(kind);
}

/* Whose end it is that a run waits for: a child's id, or the key of a shared one. */
static void put_wait_ref(aiki_writer *w, const struct wait *wait)
{
    char text[AIKI_ID_TEXT_SIZE];
    id_text(&wait->child, text);
    put_text(w, "ref", id_is_zero(&wait->child) ? wait->key : view_of(text));
}

static void put_waits(struct view_map *m, aiki_view waits)
{
    aiki_reader r;
    struct wait wait;
    view_name(m, "waits");
    aiki_reader_init(&r, waits);
    uint64_t count = waits.size_bytes > 0 ? aiki_mp_read_array(&r) : 0;
    aiki_mp_array(m->w, count);
    for (uint64_t i = 0; i < count; i++) {
        if (wait_read(&r, &wait) != AIKI_OK)
            memset(&wait, 0, sizeof(wait)); /* checked when parked: cannot be */
        aiki_mp_map(m->w, 5);
        put_text(m->w, "kind", view_of(wait_kind_name(wait.kind)));
        put_text(m->w, "name", wait.name);
        put_time(m->w, "since", wait.since_ms);
        put_time(m->w, "expires", wait.due_at_ms);
        put_wait_ref(m->w, &wait);
    }
}

uint32_t view_state(uint32_t state, uint64_t flags)
{
    bool needs_somebody = state == RUN_BLOCKED || state == RUN_STALLED;
    if ((flags & RUN_FLAG_CANCEL) == 0 || needs_somebody || run_state_is_terminal(state))
        return state;
    return RUN_CANCELLING;
}

struct value_of view_row_value(const struct run_row *row)
{
    return (struct value_of){.kind = VALUE_FREE,
                             .home = row->workflow,
                             .build = row->build.size_bytes == HASH_BYTES ? row->build.data : NULL};
}

void view_run_fields(struct view_map *m, const struct shown *how, const struct run_row *row, uint32_t state)
{
    const struct value_of of = view_row_value(row);
    view_put_id(m, "id", &row->id);
    view_put_text(m, "workflow", row->workflow);
    view_put_text(m, "version", row->version);
    view_put_text(m, "state", view_of(run_state_name(state)));
    view_name(m, "build");
    if (row->build.size_bytes == HASH_BYTES)
        view_hex(m->w, row->build.data, HASH_BYTES);
    else
        aiki_mp_nil(m->w);
    view_put_text(m, "key", row->key);
    view_put_text(m, "actor", row->actor);
    view_put_time(m, "created_at", row->created_at_ms);
    view_put_time(m, "updated_at", row->updated_at_ms);
    bool unclaimed = row->state == RUN_QUEUED;
    view_put_time(m, "wake_at", unclaimed ? 0 : row->wake_at_ms);
    view_put_time(m, "start_by", unclaimed ? row->wake_at_ms : 0);
    view_put_time(m, "deadline_at", row->deadline_ms);
    view_put_bool(m, "cancel_requested", (row->flags & RUN_FLAG_CANCEL) != 0);
    view_put_bool(m, "pause_requested", (row->flags & RUN_FLAG_PAUSE) != 0);
    view_put_id(m, "parent", &row->parent);
    view_put_uint(m, "children", row->children);
    view_put_uint(m, "epoch", row->epoch);
    view_put_uint(m, "seq", row->seq);
    view_put_uint(m, "duplicates", row->duplicates);
    put_waits(m, row->waits);
    view_put_error(m, "error", how, &of, row->reason);
}

void view_absorbed(aiki_writer *w, aiki_view absorbed)
{
    aiki_reader r;
    aiki_reader_init(&r, absorbed);
    uint64_t count = absorbed.size_bytes > 0 ? aiki_mp_read_array(&r) : 0;
    aiki_mp_array(w, count);
    for (uint64_t i = 0; i < count; i++) { /* our own bytes */
        uint64_t more = aiki_mp_read_array(&r);
        int64_t at_ms = aiki_mp_read_int(&r);
        aiki_view actor = aiki_mp_read_str(&r);
        for (; more > 2; more--)
            (void)aiki_mp_skip(&r);
        aiki_mp_map(w, 2);
        put_time(w, "at", at_ms);
        put_text(w, "actor", actor);
    }
}

/* ---- registry -------------------------------------------------------------------------------- */

static void put_schema(aiki_writer *w, const char *name, aiki_view schema)
{
    aiki_error err = {.struct_size = sizeof(err)};
    put(w, name);
    uint64_t value_at = w->size_bytes;
    if (schema.size_bytes > 0 && schema_view_json_schema(w, schema, &err) == AIKI_OK)
        return;
    w->size_bytes = value_at; /* without what could not be shown */
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

static void put_builds(aiki_writer *w, const struct flow *f)
{
    put(w, "open_by_build");
    aiki_mp_map(w, f->build_count);
    for (size_t i = 0; i < f->build_count; i++) {
        view_hex(w, f->builds[i].build, HASH_BYTES);
        aiki_mp_uint(w, f->builds[i].open);
    }
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

/* One that takes new runs, if there is any. */
static const struct plugin *serving_plugin(const struct flow *f)
{
    const struct plugin *plugin = NULL;
    for (size_t i = 0; i < f->serving_count; i++)
        if (plugin == NULL || f->serving[i]->role == 0)
            plugin = f->serving[i];
    return plugin;
}

void view_flow(aiki_writer *w, const struct flow *f, bool schemas)
{
    struct descriptor_workflow d;
    memset(&d, 0, sizeof(d));
    (void)flow_descriptor(f, &d); /* without one the fields stay empty */
    const struct plugin *plugin = serving_plugin(f);
    aiki_mp_map(w, schemas ? 13 : 11);
    put_text(w, "name", view_of(f->name));
    put_text(w, "version", view_of(f->version));
    put_text(w, "summary", d.summary);
    put(w, "served");
    aiki_mp_bool(w, plugin != NULL);
    put_uint(w, "workers", count_workers(f));
    put_text(w, "plugin", view_of(f->said.plugin_name));
    put(w, "build");
    view_hex(w, f->said.build, f->said.has_build ? HASH_BYTES : 0);
    put_time(w, "first_seen_at", f->said.first_seen_at_ms);
    put_text(w, "file", plugin != NULL ? view_of(plugin->file) : (aiki_view){NULL, 0});
    put_counts(w, f);
    put_builds(w, f);
    if (!schemas)
        return;
    put_schema(w, "input", d.input);
    put_schema(w, "output", d.output);
}

void view_put_schema(struct view_map *m, const char *name, aiki_view schema)
{
    put_schema(m->w, name, schema);
    m->count++;
}

/* Of builds whose process has said what it uses, as their runtime told it last. */
static void put_usage(aiki_writer *w, const struct session *s)
{
    uint64_t serving = 0, kept = 0, processes = 0, memory_bytes = 0;
    for (struct chain *m = s->plugins.next; m != &s->plugins; m = m->next) {
        const struct plugin *p = container_of(m, struct plugin, of_session);
        serving += p->error == NULL && p->role == 0;
        kept += p->error == NULL && p->role != 0;
        processes += p->usage.at_ms != 0;
        memory_bytes += p->usage.memory_bytes;
    }
    put_uint(w, "serving", serving);
    put_uint(w, "kept", kept);
    put_uint(w, "processes", processes);
    put_uint(w, "memory_bytes", memory_bytes);
}

void view_session(aiki_writer *w, const struct session *s, int64_t now_ms)
{
    uint64_t served = 0;
    for (struct chain *m = s->plugins.next; m != &s->plugins; m = m->next)
        served += container_of(m, struct plugin, of_session)->error == NULL;
    aiki_mp_map(w, 13);
    put(w, "id");
    view_id(w, &s->info.id);
    put_text(w, "name", view_of(s->info.name));
    put_uint(w, "pid", s->info.pid);
    put_uint(w, "slots", s->info.slots);
    put_uint(w, "busy", s->busy);
    put_uint(w, "runs", s->owned_count);
    put_time(w, "connected_at", s->connected_at_ms);
    put_uint(w, "last_beat_ms", (uint64_t)(now_ms - s->beat_at_ms));
    put_usage(w, s);
    put(w, "plugins");
    aiki_mp_array(w, served);
    for (struct chain *m = s->plugins.next; m != &s->plugins; m = m->next) {
        const struct plugin *p = container_of(m, struct plugin, of_session);
        if (p->error == NULL)
            aiki_mp_str(w, p->file);
    }
}

const char *view_plugin_state(const struct plugin *plugin)
{
    if (plugin->error != NULL)
        return "refused";
    if (plugin->role == 0)
        return "serving";
    return (plugin->role & BUILD_DRAINING) != 0 ? "draining" : "kept";
}

/* Runs that it executed last. */
static uint64_t plugin_open(const struct plugin *plugin)
{
    uint64_t open = 0;
    for (size_t i = 0; i < plugin->flow_count; i++)
        open += flow_build_open(plugin->flows[i], plugin->build);
    return open;
}

static void put_process(aiki_writer *w, const struct plugin_usage *u)
{
    put(w, "process");
    if (u->at_ms == 0) {
        aiki_mp_nil(w);
        return;
    }
    aiki_mp_map(w, 11);
    put_uint(w, "pid", u->pid);
    put_time(w, "since", u->since_at_ms);
    put_uint(w, "loads", u->loads);
    put_uint(w, "load_ms", u->load_ms);
    put_uint(w, "memory_bytes", u->memory_bytes);
    put_uint(w, "files", u->files);
    put_uint(w, "threads", u->threads);
    put_uint(w, "cpu_ms", u->cpu_ms);
    put_uint(w, "replaced", u->replaced);
    put_text(w, "why", view_of(u->why));
    put_time(w, "at", u->at_ms);
}

/* nil: its runtime has not said, or there is nothing to load. */
static void put_loaded(aiki_writer *w, const struct plugin_usage *u)
{
    put(w, "loaded");
    if (u->at_ms == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_bool(w, u->pid != 0);
}

void view_plugin(aiki_writer *w, const struct plugin *plugin)
{
    struct descriptor d;
    memset(&d, 0, sizeof(d));
    if (plugin->descriptor != NULL)
        (void)descriptor_read((aiki_view){plugin->descriptor, plugin->descriptor_size_bytes}, &d,
                              NULL); /* read before: it decodes */
    aiki_mp_map(w, 18);
    put_text(w, "file", view_of(plugin->file));
    put_text(w, "state", view_of(view_plugin_state(plugin)));
    put_time(w, "since", plugin->since_at_ms);
    put_uint(w, "open", plugin_open(plugin));
    put(w, "build");
    view_hex(w, plugin->build, (size_t)plugin->build_size_bytes);
    put_text(w, "name", d.name);
    put_text(w, "version", d.version);
    put_text(w, "language", d.language);
    put_text(w, "toolchain", d.toolchain);
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
    put_raw(w, "gate", (aiki_view){plugin->gate, plugin->gate_size_bytes});
    put_raw(w, "warnings", d.warnings);
    put(w, "needs");
    if (d.needs.size_bytes > 0)
        aiki_mp_strn(w, d.needs.data, d.needs.size_bytes);
    else
        aiki_mp_nil(w);
    put_loaded(w, &plugin->usage);
    put_process(w, &plugin->usage);
}

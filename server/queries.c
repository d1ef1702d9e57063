/* queries.c - documents made from what the store thread has in memory; the rest goes to the
 * reader thread. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "pipeline.h"
#include "reader.h"
#include "views.h"
#include "wire/error.h"
#include "wire/version.h"

/* ---- runs.get -------------------------------------------------------------------------------- */

/* What its first event says: input and the policy that the start gave. */
static aiki_status put_start(struct pipeline *p, struct entry *e, const struct shown *how,
                             struct view_map *m, aiki_error *err)
{
    const struct value_of of = run_value(e, false);
    aiki_view events;
    uint64_t last_seq;
    aiki_reader r;
    struct event first;
    aiki_status status = run_journal(p, e, 0, 1, &events, &last_seq, err);
    if (status != AIKI_OK)
        return status;
    aiki_reader_init(&r, events);
    status = event_read_stored(&r, &first, err);
    if (status == AIKI_OK && first.kind != EVENT_STARTED)
        status = error_set(err, AIKI_CORRUPT, "the first event of a run is not its start");
    if (status != AIKI_OK)
        return status;
    view_put_payload(m, "input", how, &of, first.as.started.input);
    view_put_retry(m, "retry", first.as.started.retry);
    view_put_time(m, "start_at", first.as.started.start_at_ms);
    return AIKI_OK;
}

static aiki_status put_output(struct pipeline *p, struct entry *e, const struct shown *how,
                              struct view_map *m, aiki_error *err)
{
    const struct value_of of = run_value(e, true);
    struct event last = {.kind = 0};
    if (e->run.state == RUN_COMPLETED) {
        aiki_status status = run_last_event(p, e, &last, err);
        if (status != AIKI_OK)
            return status;
    }
    view_put_payload(m, "output", how, &of,
                     last.kind == EVENT_COMPLETED ? last.as.completed.output
                                                  : (aiki_view){NULL, 0});
    return AIKI_OK;
}

static void put_owner(struct view_map *m, const struct entry *e)
{
    struct view_map owner;
    view_name(m, "owner");
    if (e->owner == NULL) {
        aiki_mp_nil(m->w);
        return;
    }
    view_map_begin(&owner, m->w);
    view_put_id(&owner, "id", &e->owner->info.id);
    view_put_text(&owner, "name", view_of(e->owner->info.name));
    view_name(&owner, "build");
    view_hex(m->w, e->build, HASH_BYTES);
    view_map_end(&owner);
}

static aiki_status runs_get(struct pipeline *p, const struct query_args *a, aiki_writer *w,
                            aiki_error *err)
{
    struct aiki_id id;
    struct entry *e;
    struct run_row row;
    struct view_map m;
    const struct shown how = {.schemas = a->reveal ? NULL : p->schemas, .full = a->full};
    aiki_status status = id_parse((const char *)a->id.data, a->id.size_bytes, &id, err);
    if (status == AIKI_OK)
        status = run_load_clean(p, &id, &e, err);
    if (status != AIKI_OK)
        return status;
    entry_row(e, p->space, &row);
    view_map_begin(&m, w);
    view_run_fields(&m, &how, &row, view_state(flow_display_state(e->flow, e->run.state), e->run.flags));
    view_name(&m, "duplicate_starts");
    view_absorbed(w, row.absorbed);
    view_name(&m, "hash");
    view_hex(w, e->hash, HASH_BYTES);
    view_put_uint(&m, "signals", e->run.signals);
    put_owner(&m, e);
    status = put_start(p, e, &how, &m, err);
    if (status == AIKI_OK)
        status = put_output(p, e, &how, &m, err);
    view_map_end(&m);
    cache_rest(&p->cache, e); /* e may be gone */
    return status;
}

/* ---- workflows ------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct flow *x = *(struct flow *const *)a, *y = *(struct flow *const *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : -version_compare(view_of(x->version), view_of(y->version));
}

static void workflows_list(struct pipeline *p, aiki_writer *w)
{
    size_t count = p->registry.flow_count;
    struct flow **sorted = memory_need((count + 1) * sizeof(struct flow *));
    if (count > 0)
        memcpy(sorted, p->registry.flows, count * sizeof(struct flow *));
    qsort(sorted, count, sizeof(struct flow *), by_name);
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "workflows");
    aiki_mp_array(w, count);
    for (size_t i = 0; i < count; i++)
        view_flow(w, sorted[i], false);
    free(sorted);
}

static aiki_status workflows_get(struct pipeline *p, const struct query_args *a, aiki_writer *w,
                                 aiki_error *err)
{
    struct flow *f;
    uint64_t count = 0;
    aiki_status status = registry_resolve(&p->registry, a->workflow, a->version, &f, err);
    if (status != AIKI_OK)
        return status;
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "workflow");
    view_flow(w, f, true);
    for (const struct flow *v = f->family->versions; v != NULL; v = v->next_version)
        count++;
    aiki_mp_str(w, "versions");
    aiki_mp_array(w, count);
    for (const struct flow *v = f->family->versions; v != NULL; v = v->next_version)
        view_flow(w, v, false);
    return AIKI_OK;
}

/* ---- builds.get ------------------------------------------------------------------------------ */

static aiki_status parse_build(aiki_view digits, uint8_t ret[HASH_BYTES], aiki_error *err)
{
    size_t read = 0;
    if (digits.size_bytes == (uint64_t)2 * HASH_BYTES &&
        sodium_hex2bin(ret, HASH_BYTES, (const char *)digits.data, (size_t)digits.size_bytes, NULL,
                       &read, NULL) == 0 &&
        read == HASH_BYTES)
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "BAD_BUILD", "a build is asked for by its %d hex digits",
                      2 * HASH_BYTES);
}

/* Who still needs a build: the open runs that it executed last, by workflow version. */
static aiki_status builds_get(struct pipeline *p, const struct query_args *a, aiki_writer *w,
                              aiki_error *err)
{
    uint8_t build[HASH_BYTES];
    uint64_t open = 0, flows = 0;
    aiki_status status = parse_build(a->build, build, err);
    if (status != AIKI_OK)
        return status;
    for (size_t i = 0; i < p->registry.flow_count; i++) {
        uint64_t of_flow = flow_build_open(p->registry.flows[i], build);
        open += of_flow;
        flows += of_flow > 0;
    }
    aiki_mp_map(w, 3);
    aiki_mp_str(w, "build");
    view_hex(w, build, HASH_BYTES);
    aiki_mp_str(w, "open");
    aiki_mp_uint(w, open);
    aiki_mp_str(w, "workflows");
    aiki_mp_array(w, flows);
    for (size_t i = 0; i < p->registry.flow_count; i++) {
        const struct flow *f = p->registry.flows[i];
        struct view_map m;
        if (flow_build_open(f, build) == 0)
            continue;
        view_map_begin(&m, w);
        view_put_text(&m, "name", view_of(f->name));
        view_put_text(&m, "version", view_of(f->version));
        view_put_uint(&m, "open", flow_build_open(f, build));
        view_map_end(&m);
    }
    return AIKI_OK;
}

/* ---- workers, plugins, the server ------------------------------------------------------------ */

static uint64_t chain_count(const struct chain *head)
{
    uint64_t count = 0;
    for (const struct chain *m = head->next; m != head; m = m->next)
        count++;
    return count;
}

static void workers_list(struct pipeline *p, aiki_writer *w)
{
    struct chain *all = &p->registry.sessions;
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "workers");
    aiki_mp_array(w, chain_count(all));
    for (struct chain *m = all->next; m != all; m = m->next)
        view_session(w, container_of(m, struct session, all), p->now.at_ms);
}

static void plugins_list(struct pipeline *p, aiki_writer *w)
{
    struct chain *all = &p->registry.sessions;
    uint64_t count = 0;
    for (struct chain *m = all->next; m != all; m = m->next)
        count += container_of(m, struct session, all)->plugin_count;
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "quarantined");
    quarantine_write(p, w);
    aiki_mp_str(w, "plugins");
    aiki_mp_array(w, count);
    for (struct chain *m = all->next; m != all; m = m->next) {
        struct session *s = container_of(m, struct session, all);
        for (struct chain *k = s->plugins.next; k != &s->plugins; k = k->next)
            view_plugin(w, container_of(k, struct plugin, of_session));
    }
}

/* By its name, or that of its file, which is all there is of one that was refused. */
static bool is_plugin(const struct plugin *plugin, aiki_view name)
{
    struct descriptor d;
    if (view_is(name, plugin->file))
        return true;
    return plugin->descriptor != NULL &&
           descriptor_read((aiki_view){plugin->descriptor, plugin->descriptor_size_bytes}, &d,
                           NULL) == AIKI_OK &&
           view_equal(d.name, name);
}

static aiki_status plugins_get(struct pipeline *p, const struct query_args *a, aiki_writer *w,
                               aiki_error *err)
{
    AUTO(buf) aiki_writer builds;
    uint64_t count = 0;
    buf_init(&builds);
    for (struct chain *m = p->registry.sessions.next; m != &p->registry.sessions; m = m->next) {
        struct session *s = container_of(m, struct session, all);
        for (struct chain *k = s->plugins.next; k != &s->plugins; k = k->next) {
            const struct plugin *plugin = container_of(k, struct plugin, of_session);
            if (!is_plugin(plugin, a->workflow))
                continue;
            view_plugin(&builds, plugin);
            count++;
        }
    }
    if (count == 0)
        return error_code(err, AIKI_NOT_FOUND, "PLUGIN_NOT_FOUND",
                          "no connected runtime has a plugin or file %.*s",
                          (int)(a->workflow.size_bytes < 100 ? a->workflow.size_bytes : 100),
                          (const char *)a->workflow.data);
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "builds");
    aiki_mp_array(w, count);
    aiki_mp_raw(w, builds.data, builds.size_bytes);
    return builds.status;
}

/* Not only asked but done. */
static aiki_status plugins_unquarantine(struct pipeline *p, const struct query_args *a,
                                        aiki_writer *w, aiki_error *err)
{
    uint64_t lifted;
    aiki_status status = quarantine_lift(p, a->build, a->workflow, &lifted, err);
    if (status != AIKI_OK)
        return status;
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "lifted");
    aiki_mp_uint(w, lifted);
    return AIKI_OK;
}

static void server_stats(struct pipeline *p, aiki_writer *w)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"pid", (uint64_t)getpid()},
        {"incarnation", p->store->incarnation},
        {"uptime_ms", (uint64_t)(p->now.at_ms - p->started_at_ms)},
        {"cached_runs", p->cache.count},
        {"cached_bytes", cache_resting_bytes(&p->cache)},
        {"timers", p->timers.count},
        {"waiters", p->waiter_open_count},
        {"commits", p->store->commits},
    };
    aiki_mp_map(w, ARRAY_COUNT(numbers) + 2);
    aiki_mp_str(w, "started_at");
    view_time(w, p->started_at_ms);
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        aiki_mp_str(w, numbers[i].name);
        aiki_mp_uint(w, numbers[i].value);
    }
    aiki_mp_str(w, "counters");
    metrics_write_map(w);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

void ask_reader(struct pipeline *p, const struct command *c, const struct flow *flow,
                aiki_view what, aiki_view args)
{
    size_t count = 0, all = flow != NULL ? 1 : p->registry.flow_count;
    const struct flow **served = memory_need((all + 1) * sizeof(*served));
    aiki_error err = {.struct_size = sizeof(err)};
    for (size_t i = 0; i < all; i++) {
        const struct flow *f = flow != NULL ? flow : p->registry.flows[i];
        if (f->serving_count > 0)
            served[count++] = f;
    }
    if (reader_ask(p->reader, c->peer, c->correlation, what, args, served, count, &err) != AIKI_OK)
        answer_refusal(p, c, &err);
}

/* A history with nothing new in it, asked for with wait_ms: answered once it goes on. */
static aiki_status watch(struct pipeline *p, const struct command *c, aiki_view args,
                         bool *ret_waits, aiki_error *err)
{
    struct query_args a;
    struct aiki_id id;
    struct entry *e = NULL;
    *ret_waits = false;
    aiki_status status = query_args_read(args, &a, err);
    if (status != AIKI_OK || a.wait_ms == 0)
        return status;
    status = id_parse((const char *)a.id.data, a.id.size_bytes, &id, err);
    if (status == AIKI_OK)
        status = run_load_clean(p, &id, &e, err);
    if (status == AIKI_OK && e->run.seq <= a.after && !run_state_is_terminal(e->run.state)) {
        int64_t wait_ms = a.wait_ms > WAIT_MS_MAX ? WAIT_MS_MAX : (int64_t)a.wait_ms;
        status = watcher_add(p, e, c, &a, wait_ms, err);
        *ret_waits = status == AIKI_OK;
    }
    if (e != NULL)
        cache_rest(&p->cache, e);
    return status;
}

/* A gate asks this for each workflow version of a new build, mostly for nothing. */
static bool nobody_to_sample(struct pipeline *p, aiki_view args)
{
    struct query_args a;
    uint8_t build[HASH_BYTES] = {0};
    if (query_args_read(args, &a, NULL) != AIKI_OK)
        return false; /* the reader says what is wrong */
    const struct flow *f = registry_find(&p->registry, a.workflow, a.version);
    if (parse_build(a.build, build, NULL) != AIKI_OK)
        memset(build, 0, sizeof(build));
    for (size_t i = 0; f != NULL && i < f->build_count; i++)
        if (memcmp(f->builds[i].build, build, HASH_BYTES) != 0)
            return false;
    return true;
}

static void empty_sample(aiki_writer *w)
{
    struct view_map m;
    view_map_begin(&m, w);
    view_put_uint(&m, "total", 0);
    view_put_bool(&m, "whole", true);
    view_name(&m, "runs");
    aiki_mp_array(w, 0);
    view_map_end(&m);
}

static aiki_status make_document(struct pipeline *p, const struct msg_QUERY *m, aiki_writer *w,
                                 aiki_error *err)
{
    struct query_args args;
    aiki_status status = query_args_read(m->args, &args, err);
    if (status != AIKI_OK)
        return status;
    if (view_is(m->what, "runs.get"))
        return runs_get(p, &args, w, err);
    if (view_is(m->what, "workflows.get"))
        return workflows_get(p, &args, w, err);
    if (view_is(m->what, "tasks.get"))
        return view_task(w, &p->registry, args.workflow, err);
    if (view_is(m->what, "plugins.get"))
        return plugins_get(p, &args, w, err);
    if (view_is(m->what, "builds.get"))
        return builds_get(p, &args, w, err);
    if (view_is(m->what, "plugins.unquarantine"))
        return plugins_unquarantine(p, &args, w, err);
    if (view_is(m->what, "workflows.list"))
        workflows_list(p, w);
    else if (view_is(m->what, "tasks.list"))
        view_tasks(w, &p->registry);
    else if (view_is(m->what, "plugins.tasks"))
        view_plugin_tasks(w, &p->registry, args.workflow);
    else if (view_is(m->what, "workers.list"))
        workers_list(p, w);
    else if (view_is(m->what, "plugins.list"))
        plugins_list(p, w);
    else if (view_is(m->what, "runs.sample")) /* otherwise the reader is asked */
        empty_sample(w);
    else if (view_is(m->what, "server.stats"))
        server_stats(p, w);
    else
        return error_set(
            err, AIKI_INVALID,
            "unknown query; there are runs.list runs.get runs.history runs.tree runs.sample "
            "runs.journal letters.list letters.get tasks.list tasks.get workflows.list workflows.get builds.get workers.list plugins.list plugins.get plugins.tasks "
            "plugins.unquarantine server.stats");
    return AIKI_OK;
}

void command_query(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_QUERY m;
    AUTO(buf) aiki_writer doc;
    aiki_error err = {.struct_size = sizeof(err)};
    buf_init(&doc);
    aiki_status status = msg_QUERY_read(payload, &m, &err);
    bool elsewhere =
        status == AIKI_OK && reader_knows(m.what) &&
        !(view_is(m.what, "runs.sample") && nobody_to_sample(p, m.args));
    bool waits = false;
    if (elsewhere && view_is(m.what, "runs.history"))
        status = watch(p, c, m.args, &waits, &err);
    if (elsewhere && status == AIKI_OK && !waits)
        ask_reader(p, c, NULL, m.what, m.args);
    else if (!elsewhere && status == AIKI_OK)
        status = make_document(p, &m, &doc, &err);
    if (status == AIKI_OK && doc.status != AIKI_OK)
        status = error_set(&err, doc.status, "the answer could not be written");
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else if (!elsewhere)
        answer(p, c, DOCUMENT, .value = aiki_writer_view(&doc));
}

/* queries.c - documents made from what the store thread has in memory; the rest goes to the
 * reader thread. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "pipeline.h"
#include "reader.h"
#include "views.h"
#include "wire/error.h"
#include "wire/version.h"

static void put_nil_or_raw(aiki_writer *w, const char *name, aiki_view value)
{
    aiki_mp_str(w, name);
    if (value.size_bytes > 0)
        aiki_mp_raw(w, value.data, value.size_bytes);
    else
        aiki_mp_nil(w);
}

/* ---- runs.get -------------------------------------------------------------------------------- */

static aiki_status put_input(struct pipeline *p, struct entry *e, aiki_writer *w, aiki_error *err)
{
    aiki_view events;
    uint64_t last_seq;
    aiki_reader r;
    struct event first;
    aiki_status status = run_journal(p, e, 0, 1, &events, &last_seq, err);
    if (status != AIKI_OK)
        return status;
    aiki_reader_init(&r, events);
    status = event_read_stored(&r, &first, err);
    if (status != AIKI_OK)
        return status;
    aiki_mp_str(w, "input");
    view_payload(w, first.kind == EVENT_STARTED ? first.as.started.input : (aiki_view){NULL, 0});
    return AIKI_OK;
}

static aiki_status put_output(struct pipeline *p, struct entry *e, aiki_writer *w, aiki_error *err)
{
    struct event last = {.kind = 0};
    if (e->run.state == RUN_COMPLETED) {
        aiki_status status = run_last_event(p, e, &last, err);
        if (status != AIKI_OK)
            return status;
    }
    aiki_mp_str(w, "output");
    view_payload(w, last.kind == EVENT_COMPLETED ? last.as.completed.output
                                                 : (aiki_view){NULL, 0});
    return AIKI_OK;
}

static void put_owner(aiki_writer *w, const struct entry *e)
{
    aiki_mp_str(w, "owner");
    if (e->owner == NULL) {
        aiki_mp_nil(w);
        return;
    }
    aiki_mp_map(w, 3);
    aiki_mp_str(w, "id");
    view_id(w, &e->owner->info.id);
    aiki_mp_str(w, "name");
    aiki_mp_str(w, e->owner->info.name);
    aiki_mp_str(w, "build");
    view_hex(w, e->build, HASH_BYTES);
}

static aiki_status runs_get(struct pipeline *p, const struct query_args *a, aiki_writer *w,
                            aiki_error *err)
{
    struct aiki_id id;
    struct entry *e;
    struct run_row row;
    aiki_status status = id_parse((const char *)a->id.data, a->id.size_bytes, &id, err);
    if (status == AIKI_OK)
        status = run_load_clean(p, &id, &e, err);
    if (status != AIKI_OK)
        return status;
    entry_row(e, p->space, &row);
    aiki_mp_map(w, VIEW_RUN_FIELDS + 6);
    view_run_fields(w, &row, flow_display_state(e->flow, e->run.state));
    aiki_mp_str(w, "hash");
    view_hex(w, e->hash, HASH_BYTES);
    aiki_mp_str(w, "signals");
    aiki_mp_uint(w, e->run.signals);
    put_owner(w, e);
    put_nil_or_raw(w, "error", row.reason);
    status = put_input(p, e, w, err);
    if (status == AIKI_OK)
        status = put_output(p, e, w, err);
    cache_rest(&p->cache, e); /* e may be gone */
    return status;
}

/* ---- workflows, workers, plugins ------------------------------------------------------------- */

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
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "plugins");
    aiki_mp_array(w, count);
    for (struct chain *m = all->next; m != all; m = m->next) {
        struct session *s = container_of(m, struct session, all);
        for (struct chain *k = s->plugins.next; k != &s->plugins; k = k->next)
            view_plugin(w, container_of(k, struct plugin, of_session));
    }
}

static void server_stats(struct pipeline *p, aiki_writer *w)
{
    const struct { const char *name; uint64_t value; } numbers[] = {
        {"pid", (uint64_t)getpid()},
        {"incarnation", p->store->incarnation},
        {"uptime_ms", (uint64_t)(p->now.at_ms - p->started_at_ms)},
        {"cached_runs", p->cache.count},
        {"cached_bytes", p->cache.open_bytes + p->cache.ended_bytes},
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

static aiki_status ask_reader(struct pipeline *p, const struct command *c,
                              const struct msg_QUERY *m, aiki_error *err)
{
    const struct flow **served = memory_need((p->registry.flow_count + 1) * sizeof(*served));
    size_t count = 0;
    for (size_t i = 0; i < p->registry.flow_count; i++)
        if (p->registry.flows[i]->serving_count > 0)
            served[count++] = p->registry.flows[i];
    return reader_ask(p->reader, c->peer, c->correlation, m->what, m->args, served, count, err);
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
    if (view_is(m->what, "workflows.list"))
        workflows_list(p, w);
    else if (view_is(m->what, "workers.list"))
        workers_list(p, w);
    else if (view_is(m->what, "plugins.list"))
        plugins_list(p, w);
    else if (view_is(m->what, "server.stats"))
        server_stats(p, w);
    else
        return error_set(err, AIKI_INVALID,
                         "unknown query; there are runs.list runs.get runs.history workflows.list "
                         "workflows.get workers.list plugins.list server.stats");
    return AIKI_OK;
}

void command_query(struct pipeline *p, const struct command *c, aiki_view payload)
{
    struct msg_QUERY m;
    AUTO(buf) aiki_writer doc;
    aiki_error err = {.struct_size = sizeof(err)};
    buf_init(&doc);
    aiki_status status = msg_QUERY_read(payload, &m, &err);
    bool elsewhere = status == AIKI_OK &&
                     (view_is(m.what, "runs.list") || view_is(m.what, "runs.history"));
    if (elsewhere)
        status = ask_reader(p, c, &m, &err);
    else if (status == AIKI_OK)
        status = make_document(p, &m, &doc, &err);
    if (status == AIKI_OK && doc.status != AIKI_OK)
        status = error_set(&err, doc.status, "the answer could not be written");
    if (status != AIKI_OK)
        answer_refusal(p, c, &err);
    else if (!elsewhere)
        answer(p, c, DOCUMENT, .value = aiki_writer_view(&doc));
}

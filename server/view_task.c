/* view_task.c - the tasks of the plugins that connected runtimes have, and who serves each. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "views.h"
#include "wire/error.h"

/* One task of one plugin build of one runtime. Views borrow from the plugin's descriptor. */
struct offered {
    struct descriptor_task task;
    aiki_view plugin_name, plugin_version;
    const struct plugin *plugin;
};

struct offers {
    struct offered *of; /* owned */
    size_t count, capacity;
};

static void add_plugin(struct offers *o, const struct plugin *plugin, aiki_view only)
{
    struct descriptor d;
    struct descriptor_task task;
    aiki_reader r;
    if (plugin->descriptor == NULL ||
        descriptor_read((aiki_view){plugin->descriptor, plugin->descriptor_size_bytes}, &d, NULL) !=
            AIKI_OK)
        return;
    descriptor_tasks(&d, &r);
    while (descriptor_next_task(&r, &task)) {
        if (only.size_bytes > 0 && !view_equal(only, task.name))
            continue;
        o->of = array_grow(o->of, &o->capacity, o->count, sizeof(*o->of));
        o->of[o->count++] = (struct offered){
            .task = task, .plugin_name = d.name, .plugin_version = d.version, .plugin = plugin};
    }
}

/* By name; of one name those that take new runs first. */
static int by_name(const void *a, const void *b)
{
    const struct offered *x = a, *y = b;
    uint64_t size = x->task.name.size_bytes < y->task.name.size_bytes ? x->task.name.size_bytes
                                                                      : y->task.name.size_bytes;
    int order = memcmp(x->task.name.data, y->task.name.data, (size_t)size);
    if (order == 0 && x->task.name.size_bytes != y->task.name.size_bytes)
        order = x->task.name.size_bytes < y->task.name.size_bytes ? -1 : 1;
    if (order == 0)
        order = (x->plugin->role != 0) - (y->plugin->role != 0);
    return order;
}

static void put_server(aiki_writer *w, const struct offered *o)
{
    struct view_map m;
    view_map_begin(&m, w);
    view_put_text(&m, "worker", view_of(o->plugin->session->info.name));
    view_put_id(&m, "worker_id", &o->plugin->session->info.id);
    view_put_text(&m, "plugin", o->plugin_name);
    view_put_text(&m, "version", o->plugin_version);
    view_put_text(&m, "file", view_of(o->plugin->file));
    view_name(&m, "build");
    view_hex(w, o->plugin->build, (size_t)o->plugin->build_size_bytes);
    view_put_text(&m, "state", view_of(view_plugin_state(o->plugin)));
    view_map_end(&m);
}

static void put_limit(struct view_map *m, const char *name, int64_t ms)
{
    view_name(m, name);
    if (ms > 0)
        aiki_mp_int(m->w, ms);
    else
        aiki_mp_nil(m->w);
}

/* What the first of them says the task is, and all that have it. */
static void put_task(aiki_writer *w, const struct offered *of, size_t count, bool schemas)
{
    const struct descriptor_task *t = &of->task;
    struct view_map m;
    view_map_begin(&m, w);
    view_put_text(&m, "name", t->name);
    view_put_text(&m, "summary", t->summary);
    view_put_bool(&m, "served", of->plugin->role == 0);
    view_name(&m, "retry");
    retry_write_map(w, &t->retry);
    put_limit(&m, "start_to_close_ms", t->start_to_close_ms);
    put_limit(&m, "schedule_to_start_ms", t->schedule_to_start_ms);
    put_limit(&m, "schedule_to_close_ms", t->schedule_to_close_ms);
    put_limit(&m, "heartbeat_ms", t->heartbeat_ms);
    view_name(&m, "served_by");
    aiki_mp_array(w, count);
    for (size_t i = 0; i < count; i++)
        put_server(w, &of[i]);
    if (schemas) {
        view_put_schema(&m, "input", t->input);
        view_put_schema(&m, "output", t->output);
    }
    view_map_end(&m);
}

static void gather(const struct registry *r, struct offers *o, aiki_view only)
{
    for (const struct chain *m = r->sessions.next; m != &r->sessions; m = m->next) {
        const struct session *s = container_of(m, struct session, all);
        for (const struct chain *k = s->plugins.next; k != &s->plugins; k = k->next)
            add_plugin(o, container_of(k, struct plugin, of_session), only);
    }
    if (o->count > 0)
        qsort(o->of, o->count, sizeof(*o->of), by_name);
}

static size_t same_name(const struct offers *o, size_t from)
{
    size_t count = 1;
    while (from + count < o->count && view_equal(o->of[from].task.name, o->of[from + count].task.name))
        count++;
    return count;
}

void view_tasks(aiki_writer *w, const struct registry *r)
{
    struct offers o = {.count = 0};
    uint64_t tasks = 0;
    gather(r, &o, (aiki_view){NULL, 0});
    for (size_t i = 0; i < o.count; i += same_name(&o, i))
        tasks++;
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "tasks");
    aiki_mp_array(w, tasks);
    for (size_t i = 0, count; i < o.count; i += count) {
        count = same_name(&o, i);
        put_task(w, &o.of[i], count, false);
    }
    free(o.of);
}

aiki_status view_task(aiki_writer *w, const struct registry *r, aiki_view name, aiki_error *err)
{
    struct offers o = {.count = 0};
    aiki_status status = AIKI_OK;
    if (name.size_bytes > 0)
        gather(r, &o, name);
    if (o.count > 0)
        put_task(w, o.of, o.count, true);
    else
        status = error_code(err, AIKI_NOT_FOUND, "TASK_NOT_FOUND",
                            "no connected runtime has a plugin with a task %.*s; see aiki tasks list",
                            (int)(name.size_bytes < 100 ? name.size_bytes : 100),
                            (const char *)name.data);
    free(o.of);
    return status;
}

void view_plugin_tasks(aiki_writer *w, const struct registry *r, aiki_view plugin)
{
    AUTO(buf) aiki_writer names;
    struct offers o = {.count = 0};
    aiki_view last = {NULL, 0};
    uint64_t count = 0;
    buf_init(&names);
    gather(r, &o, (aiki_view){NULL, 0});
    for (size_t i = 0; i < o.count; i++) {
        if (!view_equal(o.of[i].plugin_name, plugin) || view_equal(o.of[i].task.name, last))
            continue;
        last = o.of[i].task.name;
        aiki_mp_strn(&names, (const char *)last.data, (size_t)last.size_bytes);
        count++;
    }
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "tasks");
    aiki_mp_array(w, count);
    aiki_mp_raw(w, names.data, names.size_bytes);
    free(o.of);
}

/* plugin.c - load a build and take its tables over.
 *
 * The tables may come from an older or newer header: entries are copied by their stride into ours,
 * so a shorter one reads as zero behind its end and a longer one is cut. What is wrong with them
 * descriptor_write finds; only what it passed is copied.
 */
#include "child/plugin.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "wire/descriptor.h"
#include "wire/error.h"

static aiki_status open_library(struct plugin *p, const char *path, aiki_error *err)
{
    p->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (p->handle != NULL)
        return AIKI_OK;
    const char *why = dlerror();
    size_t size = strlen(path);
    bool names_copy = why != NULL && strncmp(why, path, size) == 0 && strncmp(why + size, ": ", 2) == 0;
    why = why != NULL ? why : "unknown reason";
    if (strstr(why, "undefined symbol") != NULL)
        return error_code(err, AIKI_INVALID, "UNDEFINED_SYMBOL",
                          "%s; link the plugin with what it uses", names_copy ? why + size + 2 : why);
    if (strstr(why, "cannot open shared object") != NULL && strstr(why, path) == NULL)
        return error_code(err, AIKI_INVALID, "MISSING_LIBRARY",
                          "%s; install that library on this host, or link it into the plugin", why);
    return error_code(err, AIKI_INVALID, "DLOPEN_FAILED", "the dynamic linker refuses it: %s",
                      names_copy ? why + size + 2 : why); /* nobody knows the path of the copy */
}

static aiki_status ask_for_table(struct plugin *p, const aiki_plugin_def **ret, aiki_error *err)
{
    aiki_plugin_fn fn;
    void *symbol = dlsym(p->handle, AIKI_PLUGIN_SYMBOL);

    if (symbol == NULL)
        return error_code(err, AIKI_INVALID, "ENTRY_MISSING",
                          "no symbol " AIKI_PLUGIN_SYMBOL " in it; does it use AIKI_PLUGIN(...) "
                          "and is it a plugin at all?");
    memcpy(&fn, &symbol, sizeof(fn)); /* ISO C knows no cast from data to function */
    *ret = fn(AIKI_ABI_MAJOR, AIKI_ABI_MINOR);
    if (*ret == NULL)
        return error_code(err, AIKI_UNSUPPORTED, "ENTRY_REFUSED",
                          "the plugin refuses this host (ABI %d.%d)", AIKI_ABI_MAJOR,
                          AIKI_ABI_MINOR);
    return AIKI_OK;
}

/* ---- copies ------------------------------------------------------------------------------ */

static void copy_entry(void *to, size_t to_size, const void *table, uint32_t index, uint32_t stride)
{
    const char *from = (const char *)table + (size_t)index * stride;
    uint32_t size;

    memcpy(&size, from, sizeof(size)); /* struct_size is first in every entry */
    if (size > stride)
        size = stride;
    memcpy(to, from, size < to_size ? size : to_size);
}

static aiki_status copy_schema(struct schema **ret, const aiki_record_def *def, aiki_error *err)
{
    AUTO(buf) aiki_writer w;

    buf_init(&w);
    *ret = NULL;
    if (def == NULL)
        return AIKI_OK;
    aiki_status st = schema_write(&w, def, err);
    return st == AIKI_OK ? schema_create(ret, aiki_writer_view(&w), err) : st;
}

/* The lists of a policy stay where they are put; there is no unload. */
static aiki_status copy_retry(struct retry *ret, const aiki_retry *from, aiki_error *err)
{
    aiki_writer lists;

    buf_init(&lists);
    aiki_status st = retry_take(ret, from, &lists, NULL, err); /* checked by descriptor_write */
    if (st != AIKI_OK)
        buf_deinit(&lists);
    return st;
}

static aiki_status copy_policy(struct task_policy *ret, const aiki_task_def *t, aiki_error *err)
{
    *ret = (struct task_policy){.start_to_close_ms = t->start_to_close_ms,
                                .schedule_to_start_ms = t->schedule_to_start_ms,
                                .schedule_to_close_ms = t->schedule_to_close_ms,
                                .heartbeat_ms = t->heartbeat_ms,
                                .crashes_max = t->crashes_max,
                                .at_most_once = (t->flags & AIKI_TASK_AT_MOST_ONCE) != 0};
    aiki_status st = copy_retry(&ret->retry, &t->retry, err);
    if (st == AIKI_OK)
        retry_fill(&ret->retry);
    return st;
}

static int compare_tasks(const void *a, const void *b)
{
    return strcmp(((const struct plugin_task *)a)->def.name,
                  ((const struct plugin_task *)b)->def.name);
}

static int compare_workflows(const void *a, const void *b)
{
    const aiki_workflow_def *x = &((const struct plugin_workflow *)a)->def;
    const aiki_workflow_def *y = &((const struct plugin_workflow *)b)->def;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : strcmp(x->version, y->version);
}

static aiki_status copy_tasks(struct plugin *p, const aiki_plugin_def *def, aiki_error *err)
{
    aiki_status st = AIKI_OK;

    p->tasks = calloc(def->task_count + 1u, sizeof(*p->tasks));
    if (p->tasks == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for %u tasks", def->task_count);
    for (uint32_t i = 0; i < def->task_count && st == AIKI_OK; i++) {
        struct plugin_task *t = &p->tasks[i];
        copy_entry(&t->def, sizeof(t->def), def->tasks, i, def->task_stride);
        st = copy_schema(&t->input, t->def.input, err);
        if (st == AIKI_OK)
            st = copy_schema(&t->output, t->def.output, err);
        if (st == AIKI_OK)
            st = copy_policy(&t->policy, &t->def, err);
    }
    p->task_count = def->task_count;
    if (st == AIKI_OK)
        qsort(p->tasks, p->task_count, sizeof(*p->tasks), compare_tasks);
    return st;
}

static aiki_status copy_workflows(struct plugin *p, const aiki_plugin_def *def, aiki_error *err)
{
    aiki_status st = AIKI_OK;

    p->workflows = calloc(def->workflow_count + 1u, sizeof(*p->workflows));
    if (p->workflows == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for %u workflows", def->workflow_count);
    for (uint32_t i = 0; i < def->workflow_count && st == AIKI_OK; i++) {
        struct plugin_workflow *f = &p->workflows[i];
        copy_entry(&f->def, sizeof(f->def), def->workflows, i, def->workflow_stride);
        st = copy_schema(&f->input, f->def.input, err);
        if (st == AIKI_OK)
            st = copy_schema(&f->output, f->def.output, err);
        if (st == AIKI_OK)
            st = copy_retry(&f->retry, &f->def.retry, err);
        if (f->retry.kind == AIKI_RETRY_DEFAULT)
            f->retry.kind = AIKI_RETRY_NEVER;
        retry_fill(&f->retry);
    }
    p->workflow_count = def->workflow_count;
    if (st == AIKI_OK)
        qsort(p->workflows, p->workflow_count, sizeof(*p->workflows), compare_workflows);
    return st;
}

static aiki_status add_marks(struct plugin *p, const struct schema *input, const struct schema *output)
{
    aiki_status st = input != NULL ? schema_add_marks(input, &p->hidden) : AIKI_OK;

    return st == AIKI_OK && output != NULL ? schema_add_marks(output, &p->hidden) : st;
}

static aiki_status collect_marks(struct plugin *p, aiki_error *err)
{
    aiki_status st = AIKI_OK;

    for (uint32_t i = 0; i < p->task_count && st == AIKI_OK; i++)
        st = add_marks(p, p->tasks[i].input, p->tasks[i].output);
    for (uint32_t i = 0; i < p->workflow_count && st == AIKI_OK; i++)
        st = add_marks(p, p->workflows[i].input, p->workflows[i].output);
    return st == AIKI_OK ? st : error_set(err, st, "no memory for the names of marked fields");
}

static void begin(const struct plugin *p, enum plugin_step step)
{
    if (p->on_step != NULL)
        p->on_step(step, p->on_step_arg);
}

aiki_status plugin_load(struct plugin *p, const char *path, aiki_writer *w, aiki_error *err)
{
    const aiki_plugin_def *def = NULL;

    begin(p, PLUGIN_OPENING);
    aiki_status st = open_library(p, path, err);
    if (st == AIKI_OK) {
        begin(p, PLUGIN_ASKING);
        st = ask_for_table(p, &def, err);
    }
    if (st == AIKI_OK) {
        begin(p, PLUGIN_READING);
        st = descriptor_write(w, def, err);
    }
    if (st == AIKI_OK)
        st = copy_tasks(p, def, err);
    if (st == AIKI_OK)
        st = copy_workflows(p, def, err);
    if (st == AIKI_OK)
        st = collect_marks(p, err);
    if (st == AIKI_OK)
        p->name = def->name;
    return st;
}

/* ---- look-ups ---------------------------------------------------------------------------- */

const struct plugin_task *plugin_task_find(const struct plugin *p, const char *name)
{
    const struct plugin_task key = {.def.name = name};

    return bsearch(&key, p->tasks, p->task_count, sizeof(key), compare_tasks);
}

const struct plugin_workflow *plugin_workflow_find(const struct plugin *p, const char *name,
                                                   const char *version)
{
    const struct plugin_workflow key = {.def.name = name, .def.version = version};

    return bsearch(&key, p->workflows, p->workflow_count, sizeof(key), compare_workflows);
}

void plugin_quarantine(struct plugin *p, aiki_view name, bool workflow, bool on)
{
    for (uint32_t i = 0; !workflow && i < p->task_count; i++)
        if (view_is(name, p->tasks[i].def.name))
            p->tasks[i].quarantined = on;
    for (uint32_t i = 0; workflow && i < p->workflow_count; i++)
        if (view_is(name, p->workflows[i].def.name))
            p->workflows[i].quarantined = on;
}

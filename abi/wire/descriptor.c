/* descriptor.c - a plugin's tables to data, on the side that has the plugin.
 *
 *   aiki_plugin_v1() --> aiki_plugin_def --descriptor_write--> READY --> REGISTER --> store
 *
 * Everything is checked before anything is used: nothing in the tables is trusted but that
 * pointers which are not NULL point to what they claim. descriptor_read.c is the other side.
 */
#include "wire/descriptor.h"

#include <string.h>

#include "wire/error.h"
#include "wire/keys.h"
#include "wire/schema.h"
#include "wire/version.h"

/* Sizes as of 1.0: a plugin's struct may be longer, never shorter. */
enum {
    PLUGIN_SIZE_MIN = offsetof(aiki_plugin_def, task_stride) + sizeof(uint32_t),
    WORKFLOW_SIZE_MIN = offsetof(aiki_workflow_def, summary) + sizeof(char *),
    TASK_SIZE_MIN = offsetof(aiki_task_def, summary) + sizeof(char *)
};
enum { TASK_FLAGS = AIKI_TASK_INLINE | AIKI_TASK_AT_MOST_ONCE | AIKI_TASK_ISOLATED };
#define TIMEOUT_MS_MAX AIKI_DAYS_MS(3660)

/* A member of an entry that 1.0 did not have: zero when the plugin's struct ends before it. */
#define MEMBER_OR_ZERO(entry, member) (AIKI_HAS(entry, member) ? (entry)->member : 0)

static aiki_view view_of_text(const char *text, uint64_t bytes_max)
{
    aiki_view v = {(const uint8_t *)text, text != NULL ? strnlen(text, bytes_max + 1) : 0};
    return v;
}

static const aiki_workflow_def *workflow_at(const aiki_plugin_def *def, uint32_t index)
{
    const char *base = (const char *)def->workflows;
    return (const aiki_workflow_def *)(const void *)(base + (size_t)index * def->workflow_stride);
}

static const aiki_task_def *task_at(const aiki_plugin_def *def, uint32_t index)
{
    const char *base = (const char *)def->tasks;
    return (const aiki_task_def *)(const void *)(base + (size_t)index * def->task_stride);
}

/* ---- checks ------------------------------------------------------------------------------ */

static aiki_status check_name(const char *what, const char *name, aiki_error *err)
{
    aiki_view v = view_of_text(name, NAME_BYTES_MAX);
    if (name_is_valid(v))
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "BAD_NAME",
                      "%s name \"%.*s\": must be 1 to %d characters of a-z A-Z 0-9 . _ -", what,
                      (int)v.size_bytes, name != NULL ? name : "", NAME_BYTES_MAX);
}

static aiki_status check_version(const char *what, const char *name, const char *version,
                                 aiki_error *err)
{
    aiki_view v = view_of_text(version, VERSION_BYTES_MAX);
    if (version_is_valid(v))
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "BAD_VERSION",
                      "%s %s: version \"%.*s\" is not MAJOR.MINOR.PATCH, e.g. 1.0.0", what, name,
                      (int)v.size_bytes, version != NULL ? version : "");
}

/* Free text for people; NULL is fine. */
static aiki_status check_text(const char *what, const char *name, const char *text,
                              aiki_error *err)
{
    aiki_view v = view_of_text(text, DESCRIPTOR_TEXT_BYTES_MAX);
    if (v.size_bytes <= DESCRIPTOR_TEXT_BYTES_MAX && aiki_utf8_length(v) >= 0)
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "BAD_TEXT", "%s of %s: must be UTF-8 of at most %d bytes",
                      what, name, DESCRIPTOR_TEXT_BYTES_MAX);
}

static aiki_status check_plugin(const aiki_plugin_def *def, aiki_error *err)
{
    aiki_status st;
    if (def == NULL)
        return error_code(err, AIKI_INVALID, "NULL_TABLE",
                          "the plugin's entry function returned no table");
    /* The major comes first: with another one the rest may lie elsewhere. */
    if (def->struct_size < PLUGIN_SIZE_MIN && def->abi_major == AIKI_ABI_MAJOR)
        return error_code(err, AIKI_UNSUPPORTED, "STRUCT_SIZE",
                          "the plugin's table has %u bytes, at least %u are needed",
                          def->struct_size, (unsigned)PLUGIN_SIZE_MIN);
    if (def->abi_major != AIKI_ABI_MAJOR)
        return error_code(err, AIKI_UNSUPPORTED, "ABI_MAJOR",
                          "the plugin was built for ABI %u.%u, this aiki has %d.%d; rebuild it",
                          def->abi_major, def->abi_minor, AIKI_ABI_MAJOR, AIKI_ABI_MINOR);
    if ((st = check_name("plugin", def->name, err)) != AIKI_OK ||
        (st = check_version("plugin", def->name, def->version, err)) != AIKI_OK ||
        (st = check_text("language", def->name, def->language, err)) != AIKI_OK ||
        (st = check_text("toolchain", def->name, def->toolchain, err)) != AIKI_OK)
        return st;
    if (def->workflow_count == 0)
        return error_code(err, AIKI_INVALID, "EMPTY_PLUGIN", "plugin %s offers no workflow",
                          def->name);
    if (def->workflow_count > DESCRIPTOR_WORKFLOWS_MAX || def->task_count > DESCRIPTOR_TASKS_MAX)
        return error_code(err, AIKI_LIMIT, "TOO_MANY",
                          "plugin %s: %u workflows and %u tasks, at most %d and %d", def->name,
                          def->workflow_count, def->task_count, DESCRIPTOR_WORKFLOWS_MAX,
                          DESCRIPTOR_TASKS_MAX);
    if (def->workflows == NULL || (def->tasks == NULL && def->task_count > 0))
        return error_code(err, AIKI_INVALID, "NULL_TABLE", "plugin %s: a table is missing",
                          def->name);
    if (def->workflow_stride < WORKFLOW_SIZE_MIN || def->workflow_stride % sizeof(void *) != 0 ||
        (def->task_count > 0 &&
         (def->task_stride < TASK_SIZE_MIN || def->task_stride % sizeof(void *) != 0)))
        return error_code(err, AIKI_UNSUPPORTED, "BAD_STRIDE",
                          "plugin %s: entries of %u and %u bytes, at least %u and %u are needed",
                          def->name, def->workflow_stride, def->task_stride,
                          (unsigned)WORKFLOW_SIZE_MIN, (unsigned)TASK_SIZE_MIN);
    return AIKI_OK;
}

static aiki_status check_entry(const char *what, const char *name, uint32_t struct_size,
                               uint32_t size_min, uint32_t unknown_flags, bool has_fn,
                               aiki_error *err)
{
    aiki_status st = check_name(what, name, err);
    if (st != AIKI_OK)
        return st;
    if (struct_size < size_min)
        return error_code(err, AIKI_UNSUPPORTED, "STRUCT_SIZE",
                          "%s %s: its entry has %u bytes, at least %u are needed", what, name,
                          struct_size, size_min);
    if (unknown_flags != 0)
        return error_code(err, AIKI_UNSUPPORTED, "BAD_FLAGS",
                          "%s %s: flags 0x%x are unknown to ABI %d.%d", what, name, unknown_flags,
                          AIKI_ABI_MAJOR, AIKI_ABI_MINOR);
    if (!has_fn)
        return error_code(err, AIKI_INVALID, "NULL_HANDLER", "%s %s has no function", what, name);
    return AIKI_OK;
}

static aiki_status duplicate(const char *what, const char *name, const char *version,
                             aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "DUPLICATE_NAME", "%s %s %s is defined twice", what, name,
                      version);
}

static aiki_status check_workflow(const aiki_plugin_def *def, uint32_t index, aiki_error *err)
{
    const aiki_workflow_def *f = workflow_at(def, index);
    uint32_t i;
    aiki_status st = check_entry("workflow", f->name, f->struct_size, WORKFLOW_SIZE_MIN, f->flags,
                                 f->fn != NULL, err);
    if (st != AIKI_OK ||
        (st = check_version("workflow", f->name, f->version, err)) != AIKI_OK ||
        (st = check_text("summary", f->name, f->summary, err)) != AIKI_OK)
        return st;
    for (i = 0; i < index; i++)
        if (strcmp(workflow_at(def, i)->name, f->name) == 0 &&
            strcmp(workflow_at(def, i)->version, f->version) == 0)
            return duplicate("workflow", f->name, f->version, err);
    return AIKI_OK;
}

static aiki_status check_task(const aiki_plugin_def *def, uint32_t index, aiki_error *err)
{
    const aiki_task_def *t = task_at(def, index);
    uint32_t i;
    aiki_status st = check_entry("task", t->name, t->struct_size, TASK_SIZE_MIN,
                                 t->flags & ~(uint32_t)TASK_FLAGS, t->fn != NULL, err);
    if (st != AIKI_OK || (st = check_text("summary", t->name, t->summary, err)) != AIKI_OK)
        return st;
    for (i = 0; i < index; i++)
        if (strcmp(task_at(def, i)->name, t->name) == 0)
            return duplicate("task", t->name, "", err);
    return AIKI_OK;
}

/* ---- timeouts and retries ---------------------------------------------------------------- */

static aiki_status write_timeout(aiki_writer *w, const char *owner, const char *key, int64_t ms,
                                 aiki_error *err)
{
    if (ms < 0 || ms > TIMEOUT_MS_MAX)
        return error_code(err, AIKI_INVALID, "BAD_TIMEOUT",
                          "%s of %s: %lld ms is not within 0 and 3660 days", key, owner,
                          (long long)ms);
    aiki_mp_str(w, key);
    aiki_mp_int(w, ms);
    return AIKI_OK;
}

static aiki_status write_retry(aiki_writer *w, const aiki_retry *from, const char *owner,
                               aiki_error *err)
{
    uint8_t memory[RETRY_LISTS_BYTES_MAX];
    aiki_writer lists;
    struct retry r;

    aiki_writer_init_fixed(&lists, memory, sizeof(memory));
    aiki_status st = retry_take(&r, from, &lists, owner, err);
    if (st != AIKI_OK)
        return st;
    aiki_mp_str(w, "retry");
    retry_write_map(w, &r);
    return AIKI_OK;
}

static aiki_status write_mode(aiki_writer *w, const char *owner, uint32_t mode, aiki_error *err)
{
    if (mode > AIKI_SCHEMA_OFF)
        return error_code(err, AIKI_UNSUPPORTED, "BAD_MODE",
                          "%s: schema mode %u is unknown to ABI %d.%d", owner, mode, AIKI_ABI_MAJOR,
                          AIKI_ABI_MINOR);
    aiki_mp_str(w, "schema_mode");
    aiki_mp_uint(w, mode);
    return AIKI_OK;
}

/* ---- writing ----------------------------------------------------------------------------- */

static aiki_status write_schema(aiki_writer *w, const char *key, const char *owner,
                                const struct aiki_record_def *def, aiki_error *err)
{
    aiki_error inner = AIKI_ERROR_INIT;
    aiki_mp_str(w, key);
    if (def == NULL) {
        aiki_mp_nil(w);
        return AIKI_OK;
    }
    if (schema_write(w, def, &inner) == AIKI_OK)
        return AIKI_OK;
    return error_code(err, inner.status, inner.code, "%s of %s: %.160s", key, owner,
                      inner.message);
}

static void write_pair(aiki_writer *w, const char *key, const char *text)
{
    aiki_mp_str(w, key);
    aiki_mp_str(w, text); /* NULL is written as nil */
}

static aiki_status write_workflow(aiki_writer *w, const aiki_workflow_def *f, aiki_error *err)
{
    static const aiki_retry none;
    aiki_status st;
    aiki_mp_map(w, 10);
    write_pair(w, "name", f->name);
    write_pair(w, "version", f->version);
    write_pair(w, "summary", f->summary);
    if ((st = write_schema(w, "input", f->name, f->input, err)) != AIKI_OK ||
        (st = write_schema(w, "output", f->name, f->output, err)) != AIKI_OK ||
        (st = write_retry(w, AIKI_HAS(f, retry) ? &f->retry : &none, f->name, err)) != AIKI_OK ||
        (st = write_timeout(w, f->name, "run_timeout_ms", MEMBER_OR_ZERO(f, run_timeout_ms),
                            err)) != AIKI_OK ||
        (st = write_mode(w, f->name, MEMBER_OR_ZERO(f, schema_mode), err)) != AIKI_OK ||
        (st = write_timeout(w, f->name, "task_start_to_close_ms",
                            MEMBER_OR_ZERO(f, task_start_to_close_ms), err)) != AIKI_OK)
        return st;
    return write_timeout(w, f->name, "wait_timeout_ms", MEMBER_OR_ZERO(f, wait_timeout_ms), err);
}

static aiki_status write_timeouts(aiki_writer *w, const aiki_task_def *t, aiki_error *err)
{
    const struct {
        const char *key;
        int64_t ms;
    } all[] = {{"start_to_close_ms", MEMBER_OR_ZERO(t, start_to_close_ms)},
               {"schedule_to_start_ms", MEMBER_OR_ZERO(t, schedule_to_start_ms)},
               {"schedule_to_close_ms", MEMBER_OR_ZERO(t, schedule_to_close_ms)},
               {"heartbeat_ms", MEMBER_OR_ZERO(t, heartbeat_ms)}};
    aiki_status st = AIKI_OK;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && st == AIKI_OK; i++)
        st = write_timeout(w, t->name, all[i].key, all[i].ms, err);
    return st;
}

static aiki_status write_crashes(aiki_writer *w, const aiki_task_def *t, aiki_error *err)
{
    uint32_t max = MEMBER_OR_ZERO(t, crashes_max);
    if (max > CRASHES_MAX)
        return error_set(err, AIKI_INVALID, "task %s allows %u crashes, over CRASHES_MAX (%d)",
                         t->name, max, CRASHES_MAX);
    aiki_mp_str(w, "crashes_max");
    aiki_mp_uint(w, max);
    return AIKI_OK;
}

static aiki_status write_task(aiki_writer *w, const aiki_task_def *t, aiki_error *err)
{
    aiki_status st;
    aiki_mp_map(w, 12);
    write_pair(w, "name", t->name);
    aiki_mp_str(w, "flags");
    aiki_mp_uint(w, t->flags);
    write_pair(w, "summary", t->summary);
    if ((st = write_retry(w, &t->retry, t->name, err)) != AIKI_OK ||
        (st = write_schema(w, "input", t->name, t->input, err)) != AIKI_OK ||
        (st = write_schema(w, "output", t->name, t->output, err)) != AIKI_OK ||
        (st = write_crashes(w, t, err)) != AIKI_OK ||
        (st = write_mode(w, t->name, MEMBER_OR_ZERO(t, schema_mode), err)) != AIKI_OK)
        return st;
    return write_timeouts(w, t, err);
}

static void write_head(aiki_writer *w, const aiki_plugin_def *def)
{
    aiki_mp_map(w, 7);
    write_pair(w, "name", def->name);
    write_pair(w, "version", def->version);
    write_pair(w, "language", def->language);
    write_pair(w, "toolchain", def->toolchain);
    aiki_mp_str(w, "abi");
    aiki_mp_array(w, 2);
    aiki_mp_uint(w, def->abi_major);
    aiki_mp_uint(w, def->abi_minor);
}

static aiki_status write_entries(aiki_writer *w, const aiki_plugin_def *def, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    uint32_t i;
    aiki_mp_str(w, "workflows");
    aiki_mp_array(w, def->workflow_count);
    for (i = 0; i < def->workflow_count && st == AIKI_OK; i++) {
        st = check_workflow(def, i, err);
        if (st == AIKI_OK)
            st = write_workflow(w, workflow_at(def, i), err);
    }
    if (st != AIKI_OK)
        return st;
    aiki_mp_str(w, "tasks");
    aiki_mp_array(w, def->task_count);
    for (i = 0; i < def->task_count && st == AIKI_OK; i++) {
        st = check_task(def, i, err);
        if (st == AIKI_OK)
            st = write_task(w, task_at(def, i), err);
    }
    return st;
}

aiki_status descriptor_write(aiki_writer *w, const aiki_plugin_def *def, aiki_error *err)
{
    uint64_t begin = w->size_bytes;
    aiki_status st = check_plugin(def, err);
    if (st != AIKI_OK)
        return st;
    write_head(w, def);
    st = write_entries(w, def, err);
    if (st == AIKI_OK && w->status != AIKI_OK)
        st = error_set(err, w->status, "descriptor of %s: %s", def->name,
                       aiki_status_text(w->status));
    if (st == AIKI_OK && w->size_bytes - begin > DESCRIPTOR_BYTES_MAX)
        st = error_set(err, AIKI_LIMIT, "descriptor of %s: over %d bytes", def->name,
                       DESCRIPTOR_BYTES_MAX);
    if (st != AIKI_OK)
        w->size_bytes = begin;
    return st;
}

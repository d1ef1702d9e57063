/* descriptor_read.c - what a plugin build offers, read where the plugin is not.
 *
 * The bytes come from another process: descriptor_read looks at every entry and schema once, so
 * that the iterators need no error path.
 */
#include <string.h>

#include "wire/descriptor.h"
#include "wire/error.h"
#include "wire/keys.h"
#include "wire/schema.h"
#include "wire/version.h"

static bool key_is(aiki_view key, const char *text)
{
    return strlen(text) == key.size_bytes && memcmp(text, key.data, key.size_bytes) == 0;
}

static bool same(aiki_view a, aiki_view b)
{
    return a.size_bytes == b.size_bytes &&
           (a.size_bytes == 0 || memcmp(a.data, b.data, a.size_bytes) == 0);
}

static aiki_status corrupt(aiki_error *err, const char *what)
{
    return error_set(err, AIKI_CORRUPT, "descriptor: %s", what);
}

/* A value; nil reads as empty. */
static aiki_view value_or_empty(aiki_reader *r)
{
    aiki_view v = aiki_mp_value(r);
    if (v.size_bytes == 1 && v.data[0] == 0xc0)
        v.size_bytes = 0;
    return v;
}

/* Damage sticks in r, like everything else that is wrong. */
static void read_retry(aiki_reader *r, struct retry *ret)
{
    aiki_view map = aiki_mp_value(r);
    if (r->status == AIKI_OK && retry_read_map(map, false, ret, NULL) != AIKI_OK)
        r->status = AIKI_CORRUPT;
}

static bool read_workflow(aiki_reader *r, struct descriptor_workflow *ret)
{
    uint64_t pairs;
    memset(ret, 0, sizeof(*ret));
    ret->encoded.data = r->at;
    for (pairs = aiki_mp_read_map(r); pairs > 0 && r->status == AIKI_OK; pairs--) {
        aiki_view key = aiki_mp_read_str(r);
        if (key_is(key, "name"))
            ret->name = aiki_mp_read_str(r);
        else if (key_is(key, "version"))
            ret->version = aiki_mp_read_str(r);
        else if (key_is(key, "summary"))
            ret->summary = aiki_mp_read_str(r);
        else if (key_is(key, "input"))
            ret->input = value_or_empty(r);
        else if (key_is(key, "output"))
            ret->output = value_or_empty(r);
        else if (key_is(key, "retry"))
            read_retry(r, &ret->retry);
        else if (key_is(key, "run_timeout_ms"))
            ret->run_timeout_ms = aiki_mp_read_int(r);
        else if (key_is(key, "task_start_to_close_ms"))
            ret->task_start_to_close_ms = aiki_mp_read_int(r);
        else if (key_is(key, "schema_mode"))
            ret->schema_mode = aiki_mp_read_uint(r);
        else if (key_is(key, "wait_timeout_ms"))
            ret->wait_timeout_ms = aiki_mp_read_int(r);
        else
            (void)aiki_mp_skip(r); /* failures stick in r */
    }
    ret->encoded.size_bytes = (uint64_t)(r->at - ret->encoded.data);
    return r->status == AIKI_OK;
}

static bool read_task(aiki_reader *r, struct descriptor_task *ret)
{
    uint64_t pairs;
    memset(ret, 0, sizeof(*ret));
    for (pairs = aiki_mp_read_map(r); pairs > 0 && r->status == AIKI_OK; pairs--) {
        aiki_view key = aiki_mp_read_str(r);
        if (key_is(key, "name"))
            ret->name = aiki_mp_read_str(r);
        else if (key_is(key, "flags"))
            ret->flags = aiki_mp_read_uint(r);
        else if (key_is(key, "summary"))
            ret->summary = aiki_mp_read_str(r);
        else if (key_is(key, "retry"))
            read_retry(r, &ret->retry);
        else if (key_is(key, "input"))
            ret->input = value_or_empty(r);
        else if (key_is(key, "output"))
            ret->output = value_or_empty(r);
        else if (key_is(key, "start_to_close_ms"))
            ret->start_to_close_ms = aiki_mp_read_int(r);
        else if (key_is(key, "schedule_to_start_ms"))
            ret->schedule_to_start_ms = aiki_mp_read_int(r);
        else if (key_is(key, "schedule_to_close_ms"))
            ret->schedule_to_close_ms = aiki_mp_read_int(r);
        else if (key_is(key, "heartbeat_ms"))
            ret->heartbeat_ms = aiki_mp_read_int(r);
        else if (key_is(key, "crashes_max"))
            ret->crashes_max = aiki_mp_read_uint(r);
        else if (key_is(key, "schema_mode"))
            ret->schema_mode = aiki_mp_read_uint(r);
        else
            (void)aiki_mp_skip(r); /* failures stick in r */
    }
    return r->status == AIKI_OK;
}

static bool read_head(aiki_view bytes, struct descriptor *ret)
{
    aiki_reader r;
    uint64_t pairs;
    memset(ret, 0, sizeof(*ret));
    aiki_reader_init(&r, bytes);
    for (pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        aiki_view key = aiki_mp_read_str(&r);
        if (key_is(key, "name"))
            ret->name = aiki_mp_read_str(&r);
        else if (key_is(key, "version"))
            ret->version = aiki_mp_read_str(&r);
        else if (key_is(key, "language"))
            ret->language = aiki_mp_read_str(&r);
        else if (key_is(key, "toolchain"))
            ret->toolchain = aiki_mp_read_str(&r);
        else if (key_is(key, "warnings"))
            ret->warnings = value_or_empty(&r);
        else if (key_is(key, "needs"))
            ret->needs = aiki_mp_read_str(&r);
        else if (key_is(key, "workflows"))
            ret->workflows = aiki_mp_value(&r);
        else if (key_is(key, "tasks"))
            ret->tasks = aiki_mp_value(&r);
        else if (key_is(key, "abi")) {
            uint64_t more = aiki_mp_read_array(&r);
            ret->abi_major = more > 0 ? aiki_mp_read_uint(&r) : 0;
            ret->abi_minor = more > 1 ? aiki_mp_read_uint(&r) : 0;
            for (; more > 2; more--)
                (void)aiki_mp_skip(&r); /* failures stick in r */
        } else
            (void)aiki_mp_skip(&r); /* failures stick in r */
    }
    return r.status == AIKI_OK && aiki_reader_left(&r) == 0;
}

static aiki_status check_schemas(aiki_view name, aiki_view input, aiki_view output,
                                 aiki_error *err)
{
    aiki_error inner = AIKI_ERROR_INIT;
    if ((input.size_bytes == 0 || schema_check(input, &inner) == AIKI_OK) &&
        (output.size_bytes == 0 || schema_check(output, &inner) == AIKI_OK))
        return AIKI_OK;
    return error_code(err, inner.status, inner.code, "descriptor: schema of %.*s: %.140s",
                      (int)name.size_bytes, (const char *)name.data, inner.message);
}

/* Name and version, and nobody before has both. */
static aiki_status check_workflows(const struct descriptor *d, aiki_error *err)
{
    struct {
        aiki_view name, version;
    } seen[DESCRIPTOR_WORKFLOWS_MAX];
    struct descriptor_workflow f;
    uint64_t i, j;
    aiki_reader r;
    aiki_status st = AIKI_OK;
    descriptor_workflows(d, &r);
    for (i = 0; i < d->workflow_count && st == AIKI_OK; i++) {
        if (!read_workflow(&r, &f) || !name_is_valid(f.name) || !version_is_valid(f.version))
            return corrupt(err, "a workflow without a valid name and version");
        for (j = 0; j < i; j++)
            if (same(f.name, seen[j].name) && same(f.version, seen[j].version))
                return corrupt(err, "a workflow is there twice");
        seen[i].name = f.name;
        seen[i].version = f.version;
        st = check_schemas(f.name, f.input, f.output, err);
    }
    return st;
}

static aiki_status check_tasks(const struct descriptor *d, aiki_error *err)
{
    struct descriptor_task t;
    aiki_reader r;
    uint64_t i;
    aiki_status st = AIKI_OK;
    descriptor_tasks(d, &r);
    for (i = 0; i < d->task_count && st == AIKI_OK; i++) {
        if (!read_task(&r, &t) || !name_is_valid(t.name))
            return corrupt(err, "a task without a valid name");
        st = check_schemas(t.name, t.input, t.output, err);
    }
    return st;
}

aiki_status descriptor_read(aiki_view bytes, struct descriptor *ret, aiki_error *err)
{
    struct descriptor d;
    aiki_reader r;
    aiki_status st;
    if (bytes.size_bytes > DESCRIPTOR_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "descriptor: %llu bytes, at most %d",
                         (unsigned long long)bytes.size_bytes, DESCRIPTOR_BYTES_MAX);
    if (!read_head(bytes, &d))
        return corrupt(err, "not a map of the known form");
    if (!name_is_valid(d.name) || !version_is_valid(d.version))
        return corrupt(err, "no valid plugin name and version");
    aiki_reader_init(&r, d.workflows);
    d.workflow_count = aiki_mp_read_array(&r);
    if (r.status == AIKI_OK && d.tasks.size_bytes > 0) {
        aiki_reader_init(&r, d.tasks);
        d.task_count = aiki_mp_read_array(&r);
    }
    if (r.status != AIKI_OK || d.workflow_count > DESCRIPTOR_WORKFLOWS_MAX ||
        d.task_count > DESCRIPTOR_TASKS_MAX)
        return corrupt(err, "workflows or tasks are missing, no lists, or too many");
    st = check_workflows(&d, err);
    if (st == AIKI_OK)
        st = check_tasks(&d, err);
    if (st == AIKI_OK)
        *ret = d;
    return st;
}

/* ---- iteration --------------------------------------------------------------------------- */

static void begin_list(aiki_view list, aiki_reader *ret_reader)
{
    aiki_reader_init(ret_reader, list);
    if (list.size_bytes > 0)
        (void)aiki_mp_read_array(ret_reader); /* counted by descriptor_read */
}

void descriptor_workflows(const struct descriptor *d, aiki_reader *ret_reader)
{
    begin_list(d->workflows, ret_reader);
}

bool descriptor_next_workflow(aiki_reader *r, struct descriptor_workflow *ret)
{
    return aiki_reader_left(r) > 0 && read_workflow(r, ret);
}

aiki_status descriptor_read_workflow(aiki_view entry, struct descriptor_workflow *ret,
                                     aiki_error *err)
{
    struct descriptor_workflow f;
    aiki_reader r;
    aiki_reader_init(&r, entry);
    if (!read_workflow(&r, &f) || aiki_reader_left(&r) > 0 || !name_is_valid(f.name) ||
        !version_is_valid(f.version))
        return corrupt(err, "not one workflow's entry");
    *ret = f;
    return AIKI_OK;
}

void descriptor_tasks(const struct descriptor *d, aiki_reader *ret_reader)
{
    begin_list(d->tasks, ret_reader);
}

bool descriptor_next_task(aiki_reader *r, struct descriptor_task *ret)
{
    return aiki_reader_left(r) > 0 && read_task(r, ret);
}

aiki_status descriptor_find_workflow(const struct descriptor *d, aiki_view name, aiki_view version,
                                     struct descriptor_workflow *ret, aiki_error *err)
{
    struct descriptor_workflow f, best;
    aiki_reader r;
    bool found = false;
    descriptor_workflows(d, &r);
    while (descriptor_next_workflow(&r, &f)) {
        if (!same(f.name, name) || (version.size_bytes > 0 && !same(f.version, version)) ||
            (found && version_compare(f.version, best.version) < 0))
            continue;
        best = f;
        found = true;
    }
    if (!found)
        return error_set(err, AIKI_NOT_FOUND, "plugin %.*s has no workflow %.*s %.*s",
                         (int)d->name.size_bytes, (const char *)d->name.data,
                         (int)name.size_bytes, (const char *)name.data, (int)version.size_bytes,
                         (const char *)version.data);
    *ret = best;
    return AIKI_OK;
}

aiki_status descriptor_complete(aiki_writer *w, aiki_view descriptor, aiki_view warnings, aiki_view needs)
{
    aiki_reader r;
    aiki_reader_init(&r, descriptor);
    uint64_t count = aiki_mp_read_map(&r);
    if (r.status != AIKI_OK)
        return AIKI_CORRUPT;
    aiki_mp_map(w, count + (warnings.size_bytes > 0 ? 1 : 0) + (needs.size_bytes > 0 ? 1 : 0));
    aiki_mp_raw(w, r.at, aiki_reader_left(&r));
    if (warnings.size_bytes > 0) {
        aiki_mp_str(w, "warnings");
        aiki_mp_raw(w, warnings.data, warnings.size_bytes);
    }
    if (needs.size_bytes > 0) { /* behind one that the process may have added: the last one counts */
        aiki_mp_str(w, "needs");
        aiki_mp_strn(w, needs.data, needs.size_bytes);
    }
    return w->status;
}

/* fake_host.c - the tables of aiki/plugin.h over malloc, without durability. */
#include "fake_host.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUTURES_MAX = 10000, ATTEMPTS_DEFAULT = 10, CAUSES_MAX = AIKI_CAUSE_DEPTH_MAX };

struct block {
    struct block *next;
    _Alignas(16) uint8_t bytes[];
};

struct signal {
    struct signal *next;
    char *name;
    aiki_view payload;
};

struct future {
    aiki_status status;
    aiki_view output;
    aiki_error error;
};

struct fake_host {
    aiki_run run;   /* first: a run is cast back */
    aiki_call call; /* of the attempt under way */
    const aiki_plugin_def *def;
    struct block *blocks;
    struct signal *signals;
    struct future *futures;
    uint32_t future_count;
    uint32_t attempt, attempts, calls;
    uint32_t alloc_fails_in;
    int64_t slept_ms;
    uint64_t side_values;
    char key[64];
    const char *task_name;
    aiki_view output, task_output, task_details;
    aiki_error failure, task_failure;
    bool failed, task_failed;
};

static struct fake_host *of_run(const aiki_run *run) { return (struct fake_host *)(void *)run; }

static struct fake_host *of_call(const aiki_call *call)
{
    return (struct fake_host *)(void *)((char *)(void *)call - offsetof(struct fake_host, call));
}

static void *take(struct fake_host *h, uint64_t size_bytes)
{
    struct block *b = calloc(1, sizeof(*b) + size_bytes);
    assert(b != NULL);
    b->next = h->blocks;
    h->blocks = b;
    return b->bytes;
}

static void *take_or_fail(struct fake_host *h, uint64_t size_bytes)
{
    if (h->alloc_fails_in > 0 && --h->alloc_fails_in == 0)
        return NULL;
    return take(h, size_bytes);
}

static aiki_view keep(struct fake_host *h, aiki_view v)
{
    aiki_view copy = {take(h, v.size_bytes + 1), v.size_bytes};
    if (v.size_bytes > 0)
        memcpy((uint8_t *)(uintptr_t)copy.data, v.data, v.size_bytes);
    return copy;
}

static void keep_error(struct fake_host *h, const aiki_error *from, aiki_error *to, int depth)
{
    *to = *from;
    to->details = keep(h, from->details);
    to->cause = NULL;
    if (from->cause != NULL && depth < CAUSES_MAX) {
        aiki_error *cause = take(h, sizeof(*cause));
        keep_error(h, from->cause, cause, depth + 1);
        to->cause = cause;
    }
}

/* ---- task side --------------------------------------------------------------------------- */

static uint32_t call_attempt(const aiki_call *call) { return of_call(call)->attempt; }
static const char *call_key(const aiki_call *call) { return of_call(call)->key; }
static const char *call_run_id(const aiki_call *call) { return (void)call, "RUN"; }
static const char *call_task_name(const aiki_call *call) { return of_call(call)->task_name; }
static bool call_cancelled(const aiki_call *call) { return (void)call, false; }
static void *call_alloc(aiki_call *call, uint64_t n) { return take_or_fail(of_call(call), n); }

static aiki_status call_output(aiki_call *call, aiki_view value)
{
    if (aiki_mp_check(value) != AIKI_OK)
        return AIKI_INVALID;
    of_call(call)->task_output = keep(of_call(call), value);
    return AIKI_OK;
}

static aiki_status call_fail(aiki_call *call, const aiki_error *error)
{
    struct fake_host *h = of_call(call);
    keep_error(h, error, &h->task_failure, 1);
    h->task_failed = true;
    return AIKI_FAILED;
}

static void call_log(aiki_call *call, int32_t level, const char *text)
{
    (void)call;
    (void)level;
    (void)text;
}

static aiki_status call_heartbeat(aiki_call *call, aiki_view details)
{
    struct fake_host *h = of_call(call);
    if (details.size_bytes > 0 && aiki_mp_check(details) != AIKI_OK)
        return AIKI_INVALID;
    h->task_details = keep(h, details);
    return AIKI_OK;
}

/* The details of the attempt before, because attempts here follow one another at once. */
static aiki_view call_last_details(const aiki_call *call) { return of_call(call)->task_details; }
static int64_t call_deadline_ms(const aiki_call *call) { return (void)call, 0; }

static uint32_t call_schema_mode(const aiki_call *call) { return (void)call, AIKI_SCHEMA_STRICT; }

static const aiki_task_api task_api = {
    .struct_size = sizeof(task_api),
    .attempt = call_attempt,
    .idempotency_key = call_key,
    .run_id = call_run_id,
    .task_name = call_task_name,
    .cancelled = call_cancelled,
    .alloc = call_alloc,
    .output = call_output,
    .fail = call_fail,
    .log = call_log,
    .heartbeat = call_heartbeat,
    .last_details = call_last_details,
    .deadline_ms = call_deadline_ms,
    .schema_mode = call_schema_mode,
};

static const aiki_task_def *find_task(const struct fake_host *h, const char *name)
{
    const char *entry = (const char *)h->def->tasks; /* entries may be longer than ours */
    uint32_t i;
    for (i = 0; i < h->def->task_count; i++, entry += h->def->task_stride) {
        const aiki_task_def *t = (const void *)entry;
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

static aiki_status one_attempt(struct fake_host *h, const aiki_task_def *t, aiki_view input,
                               struct future *f)
{
    static const uint8_t nil = 0xc0;
    h->task_name = t->name;
    h->task_failed = false;
    h->task_output.data = &nil;
    h->task_output.size_bytes = 1;
    h->attempts++;
    f->status = t->fn(&h->call, input);
    f->output = h->task_output;
    if (f->status != AIKI_OK && h->task_failed)
        f->error = h->task_failure;
    else
        f->error.status = f->status;
    return f->status;
}

static void run_task(struct fake_host *h, const aiki_task_def *t, aiki_view input,
                     const aiki_retry *retry, struct future *f)
{
    uint32_t max = retry->kind == AIKI_RETRY_NEVER ? 1
                   : retry->attempts_max > 0       ? retry->attempts_max
                                                   : ATTEMPTS_DEFAULT;
    snprintf(h->key, sizeof(h->key), "key-%u", ++h->calls);
    h->task_details = (aiki_view){NULL, 0};
    for (h->attempt = 1; h->attempt <= max; h->attempt++)
        if (one_attempt(h, t, input, f) == AIKI_OK || (f->error.flags & AIKI_ERROR_FINAL) != 0)
            return;
}

/* ---- workflow side ----------------------------------------------------------------------- */

static const char *run_id(const aiki_run *run) { return (void)run, "RUN"; }
static void *run_alloc(aiki_run *run, uint64_t n) { return take_or_fail(of_run(run), n); }

static aiki_status run_output(aiki_run *run, aiki_view value)
{
    if (aiki_mp_check(value) != AIKI_OK)
        return AIKI_INVALID;
    of_run(run)->output = keep(of_run(run), value);
    return AIKI_OK;
}

static aiki_status run_fail(aiki_run *run, const aiki_error *error)
{
    keep_error(of_run(run), error, &of_run(run)->failure, 1);
    of_run(run)->failed = true;
    return AIKI_FAILED;
}

static struct future *new_future(struct fake_host *h, aiki_future *ret)
{
    assert(h->future_count < FUTURES_MAX);
    *ret = ++h->future_count;
    return &h->futures[*ret - 1];
}

static aiki_status run_task_start(aiki_run *run, const char *name, aiki_view input,
                                  const aiki_task_options *options, aiki_future *ret,
                                  aiki_error *err)
{
    struct fake_host *h = of_run(run);
    const aiki_task_def *t = find_task(h, name);
    if (t == NULL)
        return aiki_error_set(err, AIKI_INVALID, "NO_TASK", "no task %s", name);
    if (aiki_mp_check(input) != AIKI_OK)
        return aiki_error_set(err, AIKI_INVALID, "BAD_INPUT", "input of %s", name);
    run_task(h, t, input,
             options != NULL && options->retry != NULL ? options->retry : &t->retry,
             new_future(h, ret));
    return AIKI_OK;
}

static aiki_status run_sleep_start(aiki_run *run, const char *name, int64_t duration_ms,
                                   aiki_future *ret, aiki_error *err)
{
    (void)name;
    (void)err;
    of_run(run)->slept_ms += duration_ms;
    new_future(of_run(run), ret)->status = AIKI_OK;
    return AIKI_OK;
}

static aiki_status run_signal_start(aiki_run *run, const char *name, int64_t timeout_ms,
                                    aiki_future *ret, aiki_error *err)
{
    struct fake_host *h = of_run(run);
    struct future *f = new_future(h, ret);
    struct signal **at = &h->signals;
    (void)err;
    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    if (*at != NULL) {
        f->output = (*at)->payload;
        *at = (*at)->next;
    } else {
        f->status = timeout_ms < 0 ? AIKI_PENDING : AIKI_TIMEDOUT;
    }
    return AIKI_OK;
}

static aiki_status run_await(aiki_run *run, const aiki_future *futures, uint32_t count,
                             uint32_t needed, aiki_error *err)
{
    uint32_t i, done = 0;
    for (i = 0; i < count; i++)
        done += of_run(run)->futures[futures[i] - 1].status != AIKI_PENDING;
    return done >= needed ? AIKI_OK
                          : aiki_error_set(err, AIKI_SUSPENDED, "STUCK", "waits for ever");
}

static aiki_status run_result(aiki_run *run, aiki_future future, aiki_view *ret, aiki_error *err)
{
    const struct future *f = &of_run(run)->futures[future - 1];
    if (f->status == AIKI_OK)
        *ret = f->output;
    else if (err != NULL)
        *err = f->error;
    return f->status;
}

static aiki_status run_now(aiki_run *run, int64_t *ret, aiki_error *err)
{
    (void)err;
    *ret = 1700000000000 + (int64_t)++of_run(run)->side_values;
    return AIKI_OK;
}

static aiki_status run_random(aiki_run *run, uint64_t *ret, aiki_error *err)
{
    (void)err;
    *ret = ++of_run(run)->side_values * 0x9e3779b97f4a7c15u;
    return AIKI_OK;
}

static aiki_status run_uuid(aiki_run *run, char ret[37], aiki_error *err)
{
    (void)err;
    snprintf(ret, 37, "00000000-0000-4000-8000-%012llx",
             (unsigned long long)++of_run(run)->side_values);
    return AIKI_OK;
}

static aiki_status run_record_once(aiki_run *run, const char *name,
                                   aiki_status (*fn)(void *arg, aiki_writer *output), void *arg,
                                   aiki_view *ret, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    aiki_status st = fn(arg, &w);
    if (st != AIKI_OK)
        return aiki_error_set(err, st, "RECORD_ONCE", "%s", name);
    *ret = aiki_writer_view(&w);
    return AIKI_OK;
}

static bool run_replaying(const aiki_run *run) { return (void)run, false; }

/* One process with one plugin: it has nobody to be a parent of, and nobody asks it to end. */
static aiki_status run_child_start(aiki_run *run, const char *workflow, const char *version,
                                   aiki_view input, const aiki_child_options *options,
                                   aiki_future *ret, aiki_error *err)
{
    (void)run;
    (void)version;
    (void)input;
    (void)options;
    (void)ret;
    return aiki_error_set(err, AIKI_UNSUPPORTED, "NO_CHILDREN", "%s", workflow);
}

static aiki_status run_sleep_until_start(aiki_run *run, const char *name, int64_t at_ms,
                                         aiki_future *ret, aiki_error *err)
{
    return run_sleep_start(run, name, at_ms, ret, err);
}

static aiki_status run_future_cancel(aiki_run *run, aiki_future future, aiki_error *err)
{
    struct future *f = &of_run(run)->futures[future - 1];
    (void)err;
    if (f->status == AIKI_PENDING)
        f->status = AIKI_CANCELLED;
    return AIKI_OK;
}

static bool run_cancelled(const aiki_run *run) { return (void)run, false; }

static void run_protect(aiki_run *run, bool on)
{
    (void)run;
    (void)on;
}

static void run_log(aiki_run *run, int32_t level, const char *text)
{
    (void)run;
    (void)level;
    (void)text;
}

static uint32_t run_schema_mode(const aiki_run *run) { return (void)run, AIKI_SCHEMA_STRICT; }

static aiki_status run_result_as(aiki_run *run, aiki_future future, const struct aiki_record_def *record,
                                 aiki_view *ret, uint32_t *ret_mode, aiki_error *err)
{
    (void)record;
    *ret_mode = AIKI_SCHEMA_STRICT;
    return run_result(run, future, ret, err);
}

static aiki_status run_signal_start_as(aiki_run *run, const char *name, int64_t timeout_ms,
                                       const struct aiki_record_def *record, aiki_future *ret,
                                       aiki_error *err)
{
    (void)record;
    return run_signal_start(run, name, timeout_ms, ret, err);
}

static aiki_status run_kept_output(aiki_run *run, aiki_future future, aiki_view *ret, aiki_error *err)
{
    (void)run, (void)future, (void)ret, (void)err;
    return AIKI_NOT_FOUND;
}

static const aiki_run_api run_api = {
    sizeof(run_api), 0,          run_id,     run_alloc,       run_output,
    run_fail,        run_task_start, run_sleep_start, run_signal_start, run_await,
    run_result,      run_now,    run_random, run_uuid,        run_record_once,
    run_replaying,   run_log,    run_child_start, run_sleep_until_start, run_future_cancel,
    run_cancelled,   run_protect, run_schema_mode, run_result_as,  run_signal_start_as,
    run_kept_output};

/* ---- public ------------------------------------------------------------------------------ */

struct fake_host *fake_host_create(const aiki_plugin_def *def)
{
    struct fake_host *h = calloc(1, sizeof(*h));
    assert(h != NULL);
    h->run.api = &run_api;
    h->call.api = &task_api;
    h->def = def;
    h->futures = calloc(FUTURES_MAX, sizeof(*h->futures));
    assert(h->futures != NULL);
    return h;
}

void fake_host_destroy(struct fake_host *h)
{
    if (h == NULL)
        return;
    while (h->blocks != NULL) {
        struct block *next = h->blocks->next;
        free(h->blocks);
        h->blocks = next;
    }
    free(h->futures);
    free(h);
}

void fake_host_signal(struct fake_host *h, const char *name, aiki_view payload)
{
    struct signal *s = take(h, sizeof(*s)), **at = &h->signals;
    aiki_view text = {(const uint8_t *)name, strlen(name)};
    s->name = (char *)(uintptr_t)keep(h, text).data;
    s->payload = keep(h, payload);
    while (*at != NULL)
        at = &(*at)->next;
    *at = s;
}

aiki_status fake_host_run(struct fake_host *h, const char *workflow, aiki_view input,
                          aiki_view *ret_output, aiki_error *err)
{
    const char *entry = (const char *)h->def->workflows;
    aiki_status st = AIKI_NOT_FOUND;
    uint32_t i;
    h->failed = false;
    h->output.size_bytes = 0;
    for (i = 0; i < h->def->workflow_count; i++, entry += h->def->workflow_stride) {
        const aiki_workflow_def *w = (const void *)entry;
        if (strcmp(w->name, workflow) == 0)
            st = w->fn(&h->run, input, err);
    }
    if (st == AIKI_OK)
        *ret_output = h->output;
    else if (h->failed)
        *err = h->failure;
    return st;
}

aiki_status fake_host_task(struct fake_host *h, const char *task, aiki_view input,
                           uint32_t attempt, aiki_view *ret_output, aiki_error *err)
{
    const aiki_task_def *t = find_task(h, task);
    struct future f = {0};
    assert(t != NULL);
    snprintf(h->key, sizeof(h->key), "key-%u", ++h->calls);
    h->attempt = attempt;
    if (one_attempt(h, t, input, &f) == AIKI_OK)
        *ret_output = f.output;
    else
        *err = f.error;
    return f.status;
}

uint32_t fake_host_attempts(const struct fake_host *h) { return h->attempts; }
int64_t fake_host_slept_ms(const struct fake_host *h) { return h->slept_ms; }
void fake_host_fail_alloc(struct fake_host *h, uint32_t nth) { h->alloc_fails_in = nth; }

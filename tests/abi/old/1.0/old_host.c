/* old_host.c - the tables of release 1.0, filled to their last member and no further. */
#include "old_host.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_BYTES = 256 * 1024, ALIGNMENT = 16, TASKS_MAX = 16, ABI_MAJOR = 1 };

static const struct v10_plugin_def *current;
static _Alignas(ALIGNMENT) uint8_t arena[ARENA_BYTES];
static uint64_t arena_used;
static struct v10_view run_result, task_results[TASKS_MAX];
static uint32_t task_count;
static char failure[256];

static void *take(uint64_t size_bytes)
{
    uint64_t size = (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *p = arena + arena_used;
    if (size > ARENA_BYTES - arena_used)
        return NULL;
    arena_used += size;
    return p;
}

static struct v10_view keep(struct v10_view v)
{
    uint8_t *copy = take(v.size_bytes + 1);
    struct v10_view kept = {copy, copy != NULL ? v.size_bytes : 0};
    if (copy != NULL)
        memcpy(copy, v.data, v.size_bytes);
    return kept;
}

static void note(const struct v10_error *e)
{
    snprintf(failure, sizeof(failure), "%.60s: %.190s", e->code, e->message);
}

static uint32_t call_attempt(const struct v10_call *call) { return (void)call, 1; }
static const char *call_text(const struct v10_call *call) { return (void)call, "text"; }
static bool call_cancelled(const struct v10_call *call) { return (void)call, false; }
static void *call_alloc(struct v10_call *call, uint64_t n) { return (void)call, take(n); }

static int32_t call_output(struct v10_call *call, struct v10_view value)
{
    (void)call;
    task_results[task_count] = keep(value);
    return V10_OK;
}

static int32_t call_fail(struct v10_call *call, const struct v10_error *error)
{
    (void)call;
    note(error);
    return V10_FAILED;
}

static void call_log(struct v10_call *call, int32_t level, const char *text)
{
    (void)call;
    (void)level;
    (void)text;
}

static const struct v10_task_api task_api = {
    sizeof(task_api), 0,          call_attempt, call_text, call_text, call_text,
    call_cancelled,   call_alloc, call_output,  call_fail, call_log};

static const char *run_id(const struct v10_run *run) { return (void)run, "run"; }
static void *run_alloc(struct v10_run *run, uint64_t n) { return (void)run, take(n); }
static bool run_replaying(const struct v10_run *run) { return (void)run, false; }

static int32_t run_output(struct v10_run *run, struct v10_view value)
{
    (void)run;
    run_result = keep(value);
    return V10_OK;
}

static int32_t run_fail(struct v10_run *run, const struct v10_error *error)
{
    (void)run;
    note(error);
    return V10_FAILED;
}

static int32_t run_task_start(struct v10_run *run, const char *name, struct v10_view input,
                              const struct v10_task_options *options, uint32_t *ret_future,
                              struct v10_error *err)
{
    struct v10_call call = {&task_api};
    const char *entry = (const char *)current->tasks;
    (void)run;
    (void)options;
    (void)err;
    for (uint32_t i = 0; i < current->task_count; i++, entry += current->task_stride) {
        const struct v10_task_def *t = (const void *)entry;
        if (strcmp(t->name, name) != 0 || task_count == TASKS_MAX)
            continue;
        if (t->fn(&call, input) != V10_OK)
            return V10_FAILED;
        *ret_future = ++task_count;
        return V10_OK;
    }
    return V10_INVALID;
}

static int32_t run_await(struct v10_run *run, const uint32_t *futures, uint32_t count,
                         uint32_t needed, struct v10_error *err)
{
    (void)run;
    (void)futures;
    (void)err;
    return needed <= count ? V10_OK : V10_INVALID;
}

static int32_t run_task_result(struct v10_run *run, uint32_t future, struct v10_view *ret_output,
                               struct v10_error *err)
{
    (void)run;
    (void)err;
    *ret_output = task_results[future - 1];
    return V10_OK;
}

static void run_log(struct v10_run *run, int32_t level, const char *text)
{
    (void)run;
    (void)level;
    (void)text;
}

/* No timers, signals and side values: the workflows of this test ask for none. */
static const struct v10_run_api run_api = {
    .struct_size = sizeof(run_api),
    .id = run_id,
    .alloc = run_alloc,
    .output = run_output,
    .fail = run_fail,
    .task_start = run_task_start,
    .await = run_await,
    .result = run_task_result,
    .replaying = run_replaying,
    .log = run_log};

bool old_host_run(const struct v10_plugin_def *plugin, struct v10_view input,
                  uint8_t ret_output[OLD_HOST_OUTPUT_BYTES_MAX], uint64_t *ret_size_bytes,
                  char ret_reason[OLD_HOST_REASON_SIZE])
{
    struct v10_run run = {&run_api};
    struct v10_error err = {.struct_size = sizeof(err)};

    current = plugin;
    memset(arena, 0, sizeof(arena));
    arena_used = task_count = 0;
    failure[0] = '\0';
    if (plugin == NULL || plugin->abi_major != ABI_MAJOR || plugin->workflow_count == 0 ||
        plugin->workflows[0].fn(&run, input, &err) != V10_OK ||
        run_result.size_bytes > OLD_HOST_OUTPUT_BYTES_MAX) {
        snprintf(ret_reason, OLD_HOST_REASON_SIZE, "%s / %.60s: %.150s", failure, err.code,
                 err.message);
        return false;
    }
    memcpy(ret_output, run_result.data, run_result.size_bytes);
    *ret_size_bytes = run_result.size_bytes;
    return true;
}

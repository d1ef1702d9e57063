/* glue.c - the C side of aiki.go: tables, trampolines, and the only place that waits. */
#include "glue.h"

#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

/* A run that waits moves to another stack, which Go cannot follow. So Go code never waits: it
 * answers AIKI_PENDING, is left, and is called again from the top when its step is done. */
static aiki_status drive(int workflow, aiki_run *run, aiki_view input, aiki_error *err)
{
    struct go_run state = {.run = run, .err = err};
    for (;;) {
        state.step = 0;
        aiki_status status = goWorkflow(workflow, &state, input);
        if (status != AIKI_PENDING)
            return status;
        AIKI_TRY(run->api->await(run, &state.futures[state.waits_for], 1, 1, err));
    }
}

/* A workflow function is called without its name: each has a function of its own. */
#define WORKFLOW(n)                                                                   \
    static aiki_status workflow_##n(aiki_run *run, aiki_view input, aiki_error *err) \
    {                                                                                 \
        return drive(n, run, input, err);                                             \
    }
WORKFLOW(0) WORKFLOW(1) WORKFLOW(2) WORKFLOW(3) WORKFLOW(4) WORKFLOW(5) WORKFLOW(6) WORKFLOW(7)
static const aiki_workflow_fn trampolines[GO_WORKFLOWS_MAX] = {
    workflow_0, workflow_1, workflow_2, workflow_3, workflow_4, workflow_5, workflow_6, workflow_7};

static aiki_status task(aiki_call *call, aiki_view input)
{
    return goTask(call, (char *)call->api->task_name(call), input);
}

static aiki_workflow_def workflows[GO_WORKFLOWS_MAX];
static aiki_task_def tasks[GO_TASKS_MAX];
static aiki_plugin_def plugin;

void go_plugin(char *name, char *version)
{
    aiki_plugin_fill_(&plugin, name, version, "go", NULL);
    plugin.workflows = workflows;
    plugin.tasks = tasks;
}

bool go_add_workflow(char *name, char *version)
{
    uint32_t n = plugin.workflow_count;
    if (n == GO_WORKFLOWS_MAX)
        return false;
    workflows[n] = AIKI_WORKFLOW(name, version, trampolines[n]);
    plugin.workflow_count++;
    return true;
}

bool go_add_task(char *name)
{
    uint32_t n = plugin.task_count;
    if (n == GO_TASKS_MAX)
        return false;
    tasks[n] = AIKI_TASK(name, task);
    plugin.task_count++;
    return true;
}

AIKI_EXPORT const aiki_plugin_def *aiki_plugin_v1(uint32_t major, uint32_t minor)
{
    (void)major;
    (void)minor;
    goReady(); /* returns when Go's own initialization is over */
    return &plugin;
}

static bool begins(struct go_run *r)
{
    return r->futures[r->step] == 0;
}

/* Result of the step that was just asked for; PENDING notes what to wait for. */
static aiki_status finish(struct go_run *r, aiki_status started, aiki_view *ret_output)
{
    uint32_t step = r->step++;
    if (started != AIKI_OK)
        return started;
    r->waits_for = step;
    return r->run->api->result(r->run, r->futures[step], ret_output, r->err);
}

aiki_status go_call(struct go_run *r, char *name, void *input, uint64_t size_bytes,
                    aiki_view *ret_output)
{
    aiki_status status = AIKI_OK;
    if (r->step == GO_STEPS_MAX)
        return AIKI_LIMIT;
    if (begins(r))
        status = r->run->api->task_start(r->run, name, (aiki_view){input, size_bytes}, NULL,
                                         &r->futures[r->step], r->err);
    return finish(r, status, ret_output);
}

aiki_status go_sleep(struct go_run *r, char *name, int64_t duration_ms)
{
    aiki_view nothing;
    aiki_status status = AIKI_OK;
    if (r->step == GO_STEPS_MAX)
        return AIKI_LIMIT;
    if (begins(r))
        status = r->run->api->sleep_start(r->run, name, duration_ms, &r->futures[r->step], r->err);
    return finish(r, status, &nothing);
}

aiki_status go_run_output(struct go_run *r, void *output, uint64_t size_bytes)
{
    return r->run->api->output(r->run, (aiki_view){output, size_bytes});
}

aiki_status go_run_fail(struct go_run *r, char *code, char *message)
{
    return aiki_error_set(r->err, AIKI_FAILED, code, "%s", message);
}

aiki_status go_task_output(aiki_call *call, void *output, uint64_t size_bytes)
{
    return call->api->output(call, (aiki_view){output, size_bytes});
}

aiki_status go_task_fail(aiki_call *call, char *code, char *message, bool is_final)
{
    aiki_error error = AIKI_ERROR_INIT;
    aiki_error_set(&error, AIKI_FAILED, code, "%s", message);
    error.flags = is_final ? AIKI_ERROR_FINAL : 0;
    return call->api->fail(call, &error);
}

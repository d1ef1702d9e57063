/* isolated.c - tells in which processes its tasks were executed; the isolated ones end when the file `gate` is there. */
#include <unistd.h>

#include <aiki/record.h>

#include "trace.h"

#define ISOLATED_INPUT(F, R)                             \
    F(R, i64, ms, AIKI_REQUIRED, AIKI_RANGE(0, 60000))   \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(isolated_input, ISOLATED_INPUT);
#define PROCESS(F, R) F(R, i64, pid, AIKI_REQUIRED)
AIKI_RECORD(process, PROCESS);
#define ISOLATED_OUTPUT(F, R)    \
    F(R, i64, here, AIKI_REQUIRED) \
    F(R, i64, apart, AIKI_REQUIRED)
AIKI_RECORD(isolated_output, ISOLATED_OUTPUT);

static aiki_status here(aiki_call *call, const struct isolated_input *in, struct process *out)
{
    (void)call;
    (void)in;
    out->pid = getpid();
    return AIKI_OK;
}
AIKI_TASK_TYPED(here, "here", isolated_input, process);

static aiki_status apart(aiki_call *call, const struct isolated_input *in, struct process *out)
{
    (void)usleep((useconds_t)in->ms * 1000);
    trace_await(call, in->gate);
    return here(call, in, out);
}
AIKI_TASK_TYPED_WITH(apart, "apart", isolated_input, process, AIKI_ISOLATED);

static aiki_status isolated(aiki_run *run, const struct isolated_input *in,
                            struct isolated_output *out, aiki_error *err)
{
    struct process p;
    AIKI_TRY(here_call(run, in, &p, err));
    out->here = p.pid;
    AIKI_TRY(apart_call(run, in, &p, err));
    out->apart = p.pid;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(isolated, "isolated", "1.0.0", isolated_input, isolated_output);

/* Of a task that is executed at most once: changing the process is no reason not to know whether it was. */
static aiki_status isolated_once(aiki_run *run, const struct isolated_input *in,
                                 struct isolated_output *out, aiki_error *err)
{
    const aiki_task_options options = {.struct_size = (uint32_t)sizeof(options),
                                       .flags = AIKI_TASK_AT_MOST_ONCE};
    aiki_future futures[2];
    struct process p;
    for (int i = 0; i < 2; i++)
        AIKI_TRY(apart_start(run, &(struct isolated_input){.ms = in->ms + i, .gate = in->gate}, &options, &futures[i], err));
    AIKI_TRY(aiki_await_all(run, futures, 2, err));
    AIKI_TRY(apart_result(run, futures[0], &p, err));
    out->here = p.pid;
    AIKI_TRY(apart_result(run, futures[1], &p, err));
    out->apart = p.pid;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(isolated_once, "isolated-once", "1.0.0", isolated_input, isolated_output);

AIKI_PLUGIN("isolated", "1.0.0", AIKI_WORKFLOWS(isolated_workflow, isolated_once_workflow), AIKI_TASKS(here_task, apart_task));

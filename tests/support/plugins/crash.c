/* crash.c - takes its process down on request.
 *
 *   crash {"how": "segv", "times": 2, "path": P}
 *
 * The task dies `times` times, counted by marks in P that outlive the process, then answers how
 * often it did. With "where": "workflow" the workflow itself dies instead of the task.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <aiki/record.h>

#include "trace.h"

#define CRASH_INPUT(F, R)                                                                      \
    F(R, str, how, AIKI_REQUIRED, AIKI_ONE_OF("segv|abort|exit|loop|stack|none"))              \
    F(R, i64, times, AIKI_OPTIONAL, AIKI_RANGE(0, 1000), AIKI_DEFAULT(1))                      \
    F(R, str, path, AIKI_REQUIRED)                                                             \
    F(R, str, where, AIKI_OPTIONAL, AIKI_ONE_OF("task|workflow"), AIKI_DEFAULT_TEXT("task"))
AIKI_RECORD(crash_input, CRASH_INPUT);
#define CRASH_OUTPUT(F, R) F(R, i64, crashes, AIKI_REQUIRED)
AIKI_RECORD(crash_output, CRASH_OUTPUT);

static volatile unsigned sink; /* wraps: the loop is for ever */

/* Deeper than any stack; the array keeps the compiler from turning it into a loop. */
static int overflow(int depth)
{
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : overflow(depth + 1) + frame[0];
}

static void die(const char *how)
{
    if (strcmp(how, "segv") == 0)
        raise(SIGSEGV);
    else if (strcmp(how, "abort") == 0)
        abort();
    else if (strcmp(how, "exit") == 0)
        exit(0);
    else if (strcmp(how, "stack") == 0)
        sink = (unsigned)overflow(1);
    else if (strcmp(how, "loop") == 0)
        for (;;)
            sink++;
}

static aiki_status maybe_die(const struct crash_input *in)
{
    if (trace_size(in->path) < in->times && trace_append(in->path, "x", 1))
        die(in->how);
    return AIKI_OK;
}

static aiki_status crash_task_fn(aiki_call *call, const struct crash_input *in,
                                 struct crash_output *out)
{
    (void)call;
    if (strcmp(in->where, "task") == 0)
        AIKI_TRY(maybe_die(in));
    out->crashes = trace_size(in->path);
    return AIKI_OK;
}
AIKI_TASK_TYPED(crash_task_fn, "crash", crash_input, crash_output);

static aiki_status crash(aiki_run *run, const struct crash_input *in, struct crash_output *out,
                         aiki_error *err)
{
    if (strcmp(in->where, "workflow") == 0) /* breaks the rule of purity on purpose */
        AIKI_TRY(maybe_die(in));
    return crash_task_fn_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(crash, "crash", "1.0.0", crash_input, crash_output);

AIKI_PLUGIN("crash", "1.0.0", AIKI_WORKFLOWS(crash_workflow), AIKI_TASKS(crash_task_fn_task));

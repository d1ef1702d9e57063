/* deadlines.c - until when a run may take, and who else is bound by that.
 *
 *   deadlines {"what": WHAT, "path": FILE}
 *
 * WHAT it does: "sleep" for an hour; "loop" over tasks for ever; "spin" in its own code for ever; "task"
 * answers the deadline that a task sees; "child" does the same in a child; "wait" for a child that sleeps,
 * "abandon" one to itself and sleep. A run that looks back (marks "c" in FILE) after its sleep would show
 * that code is executed behind the deadline.
 */
#include <string.h>

#include <aiki/record.h>

#include "trace.h"

#define DEADLINES(F, R)             \
    F(R, str, what, AIKI_REQUIRED)  \
    F(R, str, path, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(deadlines_input, DEADLINES);
#define SEEN(F, R) F(R, i64, at_ms, AIKI_REQUIRED)
AIKI_RECORD(seen, SEEN);

static aiki_status look(aiki_call *call, const struct deadlines_input *in, struct seen *out)
{
    out->at_ms = aiki_deadline_ms(call);
    if (in->path[0] != '\0' && !trace_append(in->path, "c", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    return AIKI_OK;
}
AIKI_TASK_TYPED(look, "look", deadlines_input, seen);

static aiki_status sleep_and_look(aiki_run *run, const struct deadlines_input *in, struct seen *out,
                                  aiki_error *err)
{
    aiki_status st = aiki_sleep(run, "hour", AIKI_HOURS_MS(1), err);
    aiki_protected(run)
    {
        AIKI_TRY(look_call(run, in, out, err));
    }
    return st;
}

static aiki_status loop(aiki_run *run, const struct deadlines_input *in, aiki_error *err)
{
    for (;;) {
        AIKI_TRY(look_call(run, in, NULL, err));
        AIKI_TRY(aiki_sleep(run, "moment", 50, err));
    }
}

AIKI_CHILD_DECLARE(again, "deadlines", "", deadlines_input, seen);

static aiki_status abandon(aiki_run *run, const struct deadlines_input *in, aiki_error *err)
{
    const struct deadlines_input sleep = {.what = "sleep", .path = in->path};
    const aiki_child_options options = {.struct_size = (uint32_t)sizeof(options),
                                        .close_policy = AIKI_CLOSE_ABANDON};
    aiki_future future;

    AIKI_TRY(again_child_start(run, &sleep, &options, &future, err));
    return aiki_sleep(run, "hour", AIKI_HOURS_MS(1), err);
}

static aiki_status deadlines(aiki_run *run, const struct deadlines_input *in, struct seen *out,
                             aiki_error *err)
{
    struct deadlines_input of_child = {.what = "task", .path = in->path};

    if (strcmp(in->what, "task") == 0)
        return look_call(run, in, out, err);
    if (strcmp(in->what, "child") == 0)
        return again_child(run, &of_child, out, err);
    of_child.what = "sleep";
    if (strcmp(in->what, "wait") == 0)
        return again_child(run, &of_child, out, err);
    if (strcmp(in->what, "abandon") == 0)
        return abandon(run, in, err);
    if (strcmp(in->what, "loop") == 0)
        return loop(run, in, err);
    for (volatile bool spins = strcmp(in->what, "spin") == 0; spins;)
        continue;
    return sleep_and_look(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(deadlines, "deadlines", "1.0.0", deadlines_input, seen);

static aiki_status by_definition(aiki_run *run, const struct deadlines_input *in, struct seen *out,
                                 aiki_error *err)
{
    return deadlines(run, in, out, err);
}
AIKI_WORKFLOW_TYPED_WITH(by_definition, "deadlines-by-definition", "1.0.0", deadlines_input, seen,
                         AIKI_RUN_TIMEOUT_MS(600));

AIKI_PLUGIN("deadlines", "1.0.0", AIKI_WORKFLOWS(deadlines_workflow, by_definition_workflow),
            AIKI_TASKS(look_task));

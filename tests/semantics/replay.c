/* replay.c - workflow code is executed from its first line again and again.
 *
 *   replay {"path": FILE, "steps": N}
 *
 * N times: a task that appends "t" to FILE and answers its number, then the signal
 * "next". Every execution of the function appends "w": workflow code must not do that, and this one
 * does it to be counted. Answers the list of what the tasks answered.
 */
#include <aiki/record.h>

#include "trace.h"

#define REPLAY(F, R)                   \
    F(R, str, path, AIKI_REQUIRED)     \
    F(R, i64, steps, AIKI_REQUIRED, AIKI_RANGE(1, 1000))
AIKI_RECORD(replay_input, REPLAY);
#define STEP(F, R)                     \
    F(R, str, path, AIKI_REQUIRED)     \
    F(R, i64, number, AIKI_REQUIRED)
AIKI_RECORD(step, STEP);

static aiki_status take(aiki_call *call, const struct step *in, struct step *out)
{
    if (!trace_append(in->path, "t", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    *out = *in;
    return AIKI_OK;
}
AIKI_TASK_TYPED(take, "take", step, step);

static aiki_status replay(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_writer w = aiki_run_writer(run);
    struct replay_input in;

    AIKI_TRY(replay_input_decode(input, &memory, &in, err));
    if (!trace_append(in.path, "w", 1))
        return aiki_run_fail(run, "NO_TRACE", "%s cannot be written", in.path);
    aiki_mp_array(&w, (uint64_t)in.steps);
    for (int64_t i = 0; i < in.steps; i++) {
        const struct step step = {in.path, i};
        struct step done;
        AIKI_TRY(take_call(run, &step, &done, err));
        AIKI_TRY(aiki_wait_signal(run, "next", AIKI_FOREVER_MS, NULL, err));
        aiki_mp_int(&w, done.number);
    }
    return aiki_output(run, &w, err);
}

AIKI_PLUGIN("replay", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("replay", "1.0.0", replay, AIKI_INPUT(replay_input))),
            AIKI_TASKS(take_task));

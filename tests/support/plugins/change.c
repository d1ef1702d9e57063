/* change.c - one workflow in several builds: what open runs survive, row by row of the guide.
 *
 *   original            A, B, the signal "go", C; answers how many steps it took
 *   -DADDED_BEHIND      a step more behind "go"
 *   -DADDED_BEFORE_WAIT a step more just before "go"
 *   -DADDED_BEFORE      a step more between A and B
 *   -DADDED_CHECKED     a step more between A and B, whose answer it relies on
 *   -DREMOVED           without B
 *   -DSECOND_VERSION    2.0.0 with a step more, beside 1.0.0 as it was
 */
#include <aiki/plugin.h>

static aiki_status step(aiki_run *run, const char *letter, uint64_t *steps, aiki_error *err)
{
    uint8_t memory[16];
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_str(&w, letter);
    ++*steps;
    return aiki_task(run, "take", aiki_writer_view(&w), NULL, err);
}

#ifdef ADDED_CHECKED
/* Its own answer cannot be anything else; that of a gate which looks ahead can. */
static aiki_status checked_step(aiki_run *run, uint64_t *steps, aiki_error *err)
{
    static const uint8_t question[] = {0xa3, 'N', 'E', 'W'};
    const aiki_view input = {question, sizeof(question)};
    aiki_view output;
    ++*steps;
    AIKI_TRY(aiki_task(run, "take", input, &output, err));
    if (output.size_bytes != input.size_bytes)
        __builtin_trap();
    return AIKI_OK;
}
#endif

static aiki_status answer(aiki_run *run, uint64_t steps, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    aiki_mp_uint(&w, steps);
    return aiki_output(run, &w, err);
}

static aiki_status change(aiki_run *run, aiki_view input, aiki_error *err)
{
    uint64_t steps = 0;
    (void)input;
    AIKI_TRY(step(run, "A", &steps, err));
#ifdef ADDED_BEFORE
    AIKI_TRY(step(run, "NEW", &steps, err));
#endif
#ifdef ADDED_CHECKED
    AIKI_TRY(checked_step(run, &steps, err));
#endif
#ifndef REMOVED
    AIKI_TRY(step(run, "B", &steps, err));
#endif
#ifdef ADDED_BEFORE_WAIT
    AIKI_TRY(step(run, "NEW", &steps, err));
#endif
    AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err));
#ifdef ADDED_BEHIND
    AIKI_TRY(step(run, "NEW", &steps, err));
#endif
    AIKI_TRY(step(run, "C", &steps, err));
    return answer(run, steps, err);
}

static aiki_status take(aiki_call *call, aiki_view input)
{
    return call->api->output(call, input);
}

#ifdef SECOND_VERSION
static aiki_status change_2(aiki_run *run, aiki_view input, aiki_error *err)
{
    uint64_t steps = 0;
    (void)input;
    AIKI_TRY(step(run, "NEW", &steps, err));
    AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err));
    return answer(run, steps, err);
}

AIKI_PLUGIN("change", "2.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("change", "1.0.0", change),
                           AIKI_WORKFLOW("change", "2.0.0", change_2)),
            AIKI_TASKS(AIKI_TASK("take", take)));
#else
AIKI_PLUGIN("change", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("change", "1.0.0", change)),
            AIKI_TASKS(AIKI_TASK("take", take)));
#endif

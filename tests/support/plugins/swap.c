/* swap.c - one workflow in three builds, to change the code under a parked run.
 *
 *   -DSWAP_VARIANT=1  steps A, B, then the signal "go", then C
 *   -DSWAP_VARIANT=2  B before A: the recorded steps are found wherever they stand
 *   -DSWAP_VARIANT=3  A with another input: the code has diverged
 *
 * Each step appends its letter as a line to the file `path` and answers the letter.
 */
#include <errno.h>
#include <string.h>

#include <aiki/record.h>

#include "trace.h"

#define SWAP_INPUT(F, R) F(R, str, path, AIKI_REQUIRED)
AIKI_RECORD(swap_input, SWAP_INPUT);
#define SWAP_OUTPUT(F, R)       \
    F(R, str, a, AIKI_REQUIRED) \
    F(R, str, b, AIKI_REQUIRED) \
    F(R, str, c, AIKI_REQUIRED)
AIKI_RECORD(swap_output, SWAP_OUTPUT);
#define MARK(F, R)                                  \
    F(R, str, path, AIKI_REQUIRED)                  \
    F(R, str, letter, AIKI_REQUIRED)                \
    F(R, i64, edition, AIKI_OPTIONAL, AIKI_DEFAULT(1))
AIKI_RECORD(mark, MARK);
#define MARKED(F, R) F(R, str, letter, AIKI_REQUIRED)
AIKI_RECORD(marked, MARKED);

static aiki_status make_mark(aiki_call *call, const struct mark *in, struct marked *out)
{
    const char *line = aiki_call_format(call, "%s\n", in->letter);
    if (line == NULL || !trace_append(in->path, line, strlen(line)))
        return aiki_fail(call, "MARK", "%s: %s", in->path, strerror(errno));
    out->letter = in->letter;
    return AIKI_OK;
}
AIKI_TASK_TYPED(make_mark, "mark", mark, marked);

static aiki_status step(aiki_run *run, const struct swap_input *in, const char *letter,
                        const char **ret_letter, aiki_error *err)
{
    const bool is_changed = SWAP_VARIANT == 3 && strcmp(letter, "A") == 0;
    const struct mark mark = {in->path, letter, is_changed ? 2 : 1};
    struct marked marked;
    AIKI_TRY(make_mark_call(run, &mark, &marked, err));
    *ret_letter = marked.letter;
    return AIKI_OK;
}

static aiki_status swap(aiki_run *run, const struct swap_input *in, struct swap_output *out,
                        aiki_error *err)
{
    if (SWAP_VARIANT == 2) {
        AIKI_TRY(step(run, in, "B", &out->b, err));
        AIKI_TRY(step(run, in, "A", &out->a, err));
    } else {
        AIKI_TRY(step(run, in, "A", &out->a, err));
        AIKI_TRY(step(run, in, "B", &out->b, err));
    }
    AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err));
    return step(run, in, "C", &out->c, err);
}
AIKI_WORKFLOW_TYPED(swap, "swap", "1.0.0", swap_input, swap_output);

AIKI_PLUGIN("swap", "1.0.0", AIKI_WORKFLOWS(swap_workflow), AIKI_TASKS(make_mark_task));

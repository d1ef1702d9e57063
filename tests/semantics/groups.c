/* groups.c - many tasks at once, and how many of them to wait for.
 *
 *   groups {"until": "all"|"any"|"settled"|"most"|"quorum"|"fail-fast",
 *           "branches": [{"gate": FILE, "path": FILE, "fails": B}...]}
 *
 * Starts one task a branch, which leaves a mark in its path and ends when its gate is there. "most" is until more than half have ended, "quorum" until more than half have
 * succeeded. Answers what the wait said, and for each branch what it knows by then: "ok", "pending", or the
 * code of its error.
 */
#include <string.h>

#include <aiki/record.h>

#include "trace.h"

enum { BRANCHES_MAX = 16 };

#define BRANCH(F, R)                                       \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))  \
    F(R, str, path, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))  \
    F(R, bool, fails, AIKI_OPTIONAL)
AIKI_RECORD(branch, BRANCH);
#define GROUPS_INPUT(F, R)                                                      \
    F(R, str, until, AIKI_REQUIRED, AIKI_ONE_OF("all|any|settled|most|quorum|fail-fast")) \
    F(R, list(record(branch)), branches, AIKI_REQUIRED, AIKI_LENGTH(1, BRANCHES_MAX))
AIKI_RECORD(groups_input, GROUPS_INPUT);
#define GROUPS_OUTPUT(F, R)              \
    F(R, str, said, AIKI_REQUIRED)       \
    F(R, list(str), branches, AIKI_REQUIRED)
AIKI_RECORD(groups_output, GROUPS_OUTPUT);

/* A branch nobody waits for ends soon. */
static aiki_status take(aiki_call *call, const struct branch *in, struct aiki_nothing *out)
{
    (void)out;
    if (in->path[0] != '\0' && !trace_append(in->path, "+", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    trace_await(call, in->gate);
    return in->fails ? aiki_fail_final(call, "REFUSED", "this branch fails") : AIKI_OK;
}
AIKI_TASK_TYPED(take, "take", branch, aiki_nothing);

static aiki_status wait_for(aiki_run *run, const struct groups_input *in, const aiki_future *futures,
                            aiki_error *err)
{
    const uint32_t count = (uint32_t)in->branches_count;
    uint32_t first;
    if (strcmp(in->until, "all") == 0)
        return aiki_await_all(run, futures, count, err);
    if (strcmp(in->until, "any") == 0)
        return aiki_await_any(run, futures, count, &first, err);
    if (strcmp(in->until, "settled") == 0)
        return aiki_await_settled(run, futures, count, err);
    if (strcmp(in->until, "quorum") == 0)
        return aiki_await_quorum(run, futures, count, count / 2 + 1, err);
    if (strcmp(in->until, "fail-fast") == 0)
        return aiki_await_all_or_cancel(run, futures, count, err);
    return run->api->await(run, futures, count, count / 2 + 1, err);
}

static aiki_status groups(aiki_run *run, const struct groups_input *in, struct groups_output *out,
                          aiki_error *err)
{
    const uint64_t count = in->branches_count;
    const char **names = (const char **)aiki_alloc(run, count * sizeof(*names));
    aiki_future futures[BRANCHES_MAX];

    if (names == NULL)
        return aiki_run_fail(run, "NOMEM", "no memory for %u names", (unsigned)count);
    for (uint64_t i = 0; i < count; i++)
        AIKI_TRY(take_start(run, &in->branches[i], NULL, &futures[i], err));
    const aiki_status st = wait_for(run, in, futures, err);
    if (st != AIKI_OK && st != AIKI_FAILED)
        return st;
    for (uint64_t i = 0; i < count; i++) {
        aiki_error why = AIKI_ERROR_INIT;
        const aiki_status branch = aiki_result(run, futures[i], NULL, &why);
        names[i] = branch == AIKI_OK        ? "ok"
                   : branch == AIKI_PENDING ? "pending"
                                            : aiki_format(run, "%s", why.code);
    }
    out->said = st == AIKI_OK ? "ok" : err->code;
    out->branches = names;
    out->branches_count = count;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(groups, "groups", "1.0.0", groups_input, groups_output);

AIKI_PLUGIN("groups", "1.0.0", AIKI_WORKFLOWS(groups_workflow), AIKI_TASKS(take_task));

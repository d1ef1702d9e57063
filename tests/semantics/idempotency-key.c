/* idempotency-key.c - a task that dies between its effect and its record.
 *
 *   idempotency-key {"path": FILE, "deaths": N}
 *
 * Calls "pay" twice with the same input. Each execution appends a line KEY ATTEMPT to FILE, the
 * effect; the first N kill the process right after it, with SIGKILL. Answers the two keys.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <aiki/record.h>

#include "trace.h"

#define PAY(F, R)                      \
    F(R, str, path, AIKI_REQUIRED)     \
    F(R, i64, deaths, AIKI_REQUIRED)
AIKI_RECORD(pay_input, PAY);
#define KEY(F, R) F(R, str, key, AIKI_REQUIRED)
AIKI_RECORD(key, KEY);

static int64_t lines_in(const char *path)
{
    int64_t lines = 0;
    FILE *f = fopen(path, "re");
    for (int c; f != NULL && (c = fgetc(f)) != EOF;)
        lines += c == '\n';
    if (f != NULL)
        fclose(f);
    return lines;
}

static aiki_status pay(aiki_call *call, const struct pay_input *in, struct key *out)
{
    out->key = aiki_idempotency_key(call);
    const char *line = aiki_call_format(call, "%s %u\n", out->key, aiki_attempt(call));
    if (line == NULL || !trace_append(in->path, line, strlen(line)))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->path);
    if (lines_in(in->path) <= in->deaths)
        raise(SIGKILL);
    return AIKI_OK;
}
AIKI_TASK_TYPED(pay, "pay", pay_input, key);

#define KEYS(F, R)                     \
    F(R, str, first, AIKI_REQUIRED)    \
    F(R, str, second, AIKI_REQUIRED)
AIKI_RECORD(keys, KEYS);

static aiki_status pay_twice(aiki_run *run, const struct pay_input *in, struct keys *out,
                             aiki_error *err)
{
    struct key first, second;
    AIKI_TRY(pay_call(run, in, &first, err));
    AIKI_TRY(pay_call(run, in, &second, err));
    out->first = first.key;
    out->second = second.key;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(pay_twice, "idempotency-key", "1.0.0", pay_input, keys);

AIKI_PLUGIN("idempotency-key", "1.0.0", AIKI_WORKFLOWS(pay_twice_workflow), AIKI_TASKS(pay_task));

/* retry-policies.c - who says how often and when a failed attempt is repeated.
 *
 *   retry-policies {"task": NAME, "failures": N, "attempts": A, "delay_ms": D, "delay_ms_max": M}
 *
 * NAME is a task with a policy in its definition: standard, never, fixed, exponential, stubborn
 * (fails for good by itself) or choosy (says when to come back). With "attempts" the call brings an
 * exponential policy of its own. Each fails its first N attempts and answers the number of the one
 * that did not.
 */
#include <string.h>

#include <aiki/record.h>

#define POLICY_INPUT(F, R)                                                 \
    F(R, str, task, AIKI_REQUIRED)                                         \
    F(R, i64, failures, AIKI_REQUIRED)                                     \
    F(R, i64, attempts, AIKI_OPTIONAL)                                     \
    F(R, i64, delay_ms, AIKI_OPTIONAL)                                     \
    F(R, i64, delay_ms_max, AIKI_OPTIONAL)
AIKI_RECORD(policy_input, POLICY_INPUT);
#define ATTEMPT(F, R) F(R, i64, attempt, AIKI_REQUIRED)
AIKI_RECORD(attempt, ATTEMPT);

static aiki_status try_it(aiki_call *call, aiki_view input)
{
    const aiki_memory memory = aiki_call_memory(call);
    struct policy_input in;
    aiki_writer w = aiki_call_writer(call);
    aiki_error err = AIKI_ERROR_INIT;

    if (policy_input_decode(input, &memory, &in, &err) != AIKI_OK)
        return call->api->fail(call, &err);
    if (aiki_attempt(call) <= in.failures) {
        if (strcmp(in.task, "stubborn") == 0)
            return aiki_fail_final(call, "CARD_STOLEN", "trying again cannot help");
        if (strcmp(in.task, "choosy") == 0)
            return aiki_fail_retry_after(call, 300, "BUSY", "come back in 300 ms");
        return aiki_fail(call, "NOT_YET", "attempt %u fails", aiki_attempt(call));
    }
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "attempt");
    aiki_mp_uint(&w, aiki_attempt(call));
    return aiki_call_output(call, &w);
}

/* Raw, because the task is chosen by name. */
static aiki_status retry_policies(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    struct policy_input in;
    aiki_future future;
    aiki_view output;

    AIKI_TRY(policy_input_decode(input, &memory, &in, err));
    const aiki_retry retry = {.struct_size = (uint32_t)sizeof(retry),
                              .kind = AIKI_RETRY_EXPONENTIAL,
                              .attempts_max = (uint32_t)in.attempts,
                              .delay_ms = in.delay_ms,
                              .delay_ms_max = in.delay_ms_max};
    const aiki_task_options options = {.struct_size = (uint32_t)sizeof(options),
                                       .retry = in.attempts > 0 ? &retry : NULL};
    AIKI_TRY(run->api->task_start(run, in.task, input, &options, &future, err));
    AIKI_TRY(aiki_await(run, future, &output, err));
    return run->api->output(run, output);
}

AIKI_PLUGIN("retry-policies", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("retry-policies", "1.0.0", retry_policies,
                                         AIKI_INPUT(policy_input), AIKI_OUTPUT(attempt))),
            AIKI_TASKS(AIKI_TASK("standard", try_it), AIKI_TASK("never", try_it, AIKI_NO_RETRY),
                       AIKI_TASK("fixed", try_it, AIKI_FIXED_DELAY(4, 50)),
                       AIKI_TASK("exponential", try_it, AIKI_BACKOFF(6, 25, 100)),
                       AIKI_TASK("stubborn", try_it, AIKI_FIXED_DELAY(4, 50)),
                       AIKI_TASK("choosy", try_it, AIKI_FIXED_DELAY(4, 50))));

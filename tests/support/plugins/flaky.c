/* flaky.c - a task that fails as ordered.
 *
 *   flaky {"failures": 3, "policy": "fixed", "delay_ms": 200, "attempts": 10, "how": "plain"}
 *   defined {"failures": 3}
 *
 * flaky says the policy at the call, defined leaves it to the definition of its task (a list of 50
 * and 100 ms, code FINAL is final). The first `failures` attempts fail, by the attempt's number. how: plain; final (no retry);
 * retry_after (asks for delay_ms itself); full (details and a chain of two causes).
 */
#include <string.h>

#include <aiki/record.h>

#define FLAKY_INPUT(F, R)                                                                       \
    F(R, i64, failures, AIKI_REQUIRED, AIKI_RANGE(0, 1000))                                     \
    F(R, str, policy, AIKI_OPTIONAL, AIKI_ONE_OF("default|never|fixed|exponential|list"),       \
      AIKI_DEFAULT_TEXT("default"))                                                             \
    F(R, i64, delay_ms, AIKI_OPTIONAL, AIKI_RANGE(0, 3600000), AIKI_DEFAULT(100))               \
    F(R, i64, attempts, AIKI_OPTIONAL, AIKI_RANGE(1, 1000), AIKI_DEFAULT(10))                   \
    F(R, i64, jitter, AIKI_OPTIONAL, AIKI_RANGE(0, 100), AIKI_DEFAULT(0))                       \
    F(R, str, how, AIKI_OPTIONAL, AIKI_ONE_OF("plain|final|code|retry_after|full"),             \
      AIKI_DEFAULT_TEXT("plain"))
AIKI_RECORD(flaky_input, FLAKY_INPUT);
#define FLAKY_OUTPUT(F, R)             \
    F(R, i64, attempt, AIKI_REQUIRED)  \
    F(R, str, key, AIKI_REQUIRED)
AIKI_RECORD(flaky_output, FLAKY_OUTPUT);

static aiki_status fail_fully(aiki_call *call)
{
    uint8_t memory[64];
    aiki_writer w;
    aiki_error root = AIKI_ERROR_INIT, middle = AIKI_ERROR_INIT, top = AIKI_ERROR_INIT;

    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "balance");
    aiki_mp_int(&w, -5);
    (void)aiki_error_set(&root, AIKI_UNAVAILABLE, "DISK_FULL", "no space left"); /* only filled */
    (void)aiki_error_set(&middle, AIKI_FAILED, "LEDGER_CLOSED", "the ledger did not open");
    (void)aiki_error_set(&top, AIKI_FAILED, "NO_TRANSFER", "the transfer was not booked");
    middle.cause = &root;
    top.cause = &middle;
    top.details = aiki_writer_view(&w);
    return call->api->fail(call, &top);
}

static aiki_status attempt(aiki_call *call, const struct flaky_input *in, struct flaky_output *out)
{
    uint32_t number = aiki_attempt(call);
    if (number <= in->failures) {
        if (strcmp(in->how, "final") == 0)
            return aiki_fail_final(call, "FINAL", "attempt %u fails for good", number);
        if (strcmp(in->how, "code") == 0)
            return aiki_fail(call, "FINAL", "attempt %u fails with a code", number);
        if (strcmp(in->how, "retry_after") == 0)
            return aiki_fail_retry_after(call, in->delay_ms, "BUSY", "attempt %u: later", number);
        if (strcmp(in->how, "full") == 0)
            return fail_fully(call);
        return aiki_fail(call, "FLAKY", "attempt %u fails", number);
    }
    out->attempt = number;
    out->key = aiki_idempotency_key(call);
    return AIKI_OK;
}
static const int64_t defined_delays[] = {50, 100};
static const char *const final_codes[] = {"FINAL"};
AIKI_TASK_TYPED_WITH(attempt, "attempt", flaky_input, flaky_output, AIKI_DELAYS(defined_delays),
                     AIKI_FINAL_CODES(final_codes));

static int32_t retry_kind(const char *policy)
{
    return strcmp(policy, "never") == 0         ? AIKI_RETRY_NEVER
           : strcmp(policy, "fixed") == 0       ? AIKI_RETRY_FIXED
           : strcmp(policy, "exponential") == 0 ? AIKI_RETRY_EXPONENTIAL
           : strcmp(policy, "list") == 0        ? AIKI_RETRY_LIST
                                                : AIKI_RETRY_DEFAULT;
}

static aiki_status flaky(aiki_run *run, const struct flaky_input *in, struct flaky_output *out,
                         aiki_error *err)
{
    const int64_t delays_ms[] = {in->delay_ms, in->delay_ms * 3};
    const aiki_retry retry = {.struct_size = (uint32_t)sizeof(retry),
                              .kind = retry_kind(in->policy),
                              .attempts_max = (uint32_t)in->attempts,
                              .delay_ms = in->delay_ms,
                              .delay_ms_max = in->delay_ms * 8,
                              .jitter_percent = (uint32_t)in->jitter,
                              .delays_ms = delays_ms,
                              .delay_count = 2};
    const aiki_task_options options = {
        .struct_size = (uint32_t)sizeof(options),
        .retry = retry.kind != AIKI_RETRY_DEFAULT ? &retry : NULL};
    aiki_future future;
    AIKI_TRY(attempt_start(run, in, &options, &future, err));
    AIKI_TRY(aiki_await_settled(run, &future, 1, err));
    return attempt_result(run, future, out, err);
}
AIKI_WORKFLOW_TYPED(flaky, "flaky", "1.0.0", flaky_input, flaky_output);

static aiki_status defined(aiki_run *run, const struct flaky_input *in, struct flaky_output *out,
                           aiki_error *err)
{
    return attempt_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(defined, "defined", "1.0.0", flaky_input, flaky_output);

/* One step that succeeds and one that does not: fails as a whole, three times. */
static aiki_status passes(aiki_run *run, const struct flaky_input *in, struct flaky_output *out,
                          aiki_error *err)
{
    const struct flaky_input fine = {.policy = "default", .how = "plain", .delay_ms = 100, .attempts = 1};
    const aiki_retry never = {.struct_size = (uint32_t)sizeof(never), .kind = AIKI_RETRY_NEVER};
    const aiki_task_options options = {.struct_size = (uint32_t)sizeof(options), .retry = &never};
    aiki_future future;
    AIKI_TRY(attempt_call(run, &fine, out, err));
    if (in->failures == 0)
        return AIKI_OK;
    AIKI_TRY(attempt_start(run, in, &options, &future, err));
    AIKI_TRY(aiki_await_settled(run, &future, 1, err));
    return attempt_result(run, future, out, err);
}
AIKI_WORKFLOW_TYPED_WITH(passes, "passes", "1.0.0", flaky_input, flaky_output,
                         AIKI_FIXED_DELAY(3, 1000));

/* Three calls: two with one key and one with another; with an empty key when failures are asked for. */
static aiki_status keyed(aiki_run *run, const struct flaky_input *in, struct flaky_output *out,
                         aiki_error *err)
{
    aiki_task_options options = {.struct_size = (uint32_t)sizeof(options),
                                 .key = in->failures > 0 ? "" : "one"};
    struct flaky_input other = *in;
    aiki_future futures[3];
    AIKI_TRY(attempt_start(run, in, &options, &futures[0], err));
    other.delay_ms++; /* another input, the same key */
    AIKI_TRY(attempt_start(run, &other, &options, &futures[1], err));
    options.key = "two";
    AIKI_TRY(attempt_start(run, in, &options, &futures[2], err));
    AIKI_TRY(aiki_await_settled(run, futures, 3, err));
    return attempt_result(run, futures[1], out, err);
}
AIKI_WORKFLOW_TYPED(keyed, "keyed", "1.0.0", flaky_input, flaky_output);

AIKI_PLUGIN("flaky", "1.0.0",
            AIKI_WORKFLOWS(flaky_workflow, defined_workflow, passes_workflow, keyed_workflow),
            AIKI_TASKS(attempt_task));

/* slow.c - a task that takes its time, and may or may not care about being stopped.
 *
 *   slow {"ms": 2000, "how": "poll", "bad": 1, "timeout_ms": 500, "attempts": 3, "delay_ms": 10,
 *         "begun": MARKS, "gate": FILE}
 *   limited {...}    the same under a workflow whose tasks may take 300 ms by default
 *
 * Attempts up to `bad` leave a mark, take `ms` and wait until the file is there; later ones return at once. how: poll (returns when told to stop),
 * spin (does not look), beat (sends heartbeats with a count for the first half of its time, then
 * none). The output tells the attempt, the details it was handed and whether it had a deadline.
 */
#include <string.h>
#include <time.h>

#include <aiki/record.h>

#include "trace.h"

#define SLOW_INPUT(F, R)                                                                     \
    F(R, i64, ms, AIKI_REQUIRED, AIKI_RANGE(0, 3600000))                                     \
    F(R, str, how, AIKI_OPTIONAL, AIKI_ONE_OF("poll|spin|beat"), AIKI_DEFAULT_TEXT("poll"))  \
    F(R, i64, bad, AIKI_OPTIONAL, AIKI_DEFAULT(1000))                                        \
    F(R, str, begun, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))                                   \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))                                    \
    F(R, i64, timeout_ms, AIKI_OPTIONAL, AIKI_DEFAULT(0))                                    \
    F(R, i64, heartbeat_ms, AIKI_OPTIONAL, AIKI_DEFAULT(0))                                  \
    F(R, i64, schedule_to_start_ms, AIKI_OPTIONAL, AIKI_DEFAULT(0))                          \
    F(R, i64, schedule_to_close_ms, AIKI_OPTIONAL, AIKI_DEFAULT(0))                          \
    F(R, i64, once, AIKI_OPTIONAL, AIKI_DEFAULT(0))                                          \
    F(R, i64, attempts, AIKI_OPTIONAL, AIKI_DEFAULT(3))                                      \
    F(R, i64, delay_ms, AIKI_OPTIONAL, AIKI_DEFAULT(10))
AIKI_RECORD(slow_input, SLOW_INPUT);
#define SLOW_OUTPUT(F, R)               \
    F(R, i64, attempt, AIKI_REQUIRED)   \
    F(R, i64, details, AIKI_REQUIRED)   \
    F(R, bool, deadline, AIKI_REQUIRED)
AIKI_RECORD(slow_output, SLOW_OUTPUT);

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void rest(void)
{
    static const struct timespec millisecond = {.tv_nsec = 1000000};
    (void)nanosleep(&millisecond, NULL);
}

static aiki_status beat(aiki_call *call, int64_t count)
{
    uint8_t memory[16];
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_int(&w, count);
    return aiki_heartbeat(call, aiki_writer_view(&w));
}

static aiki_status work(aiki_call *call, const struct slow_input *in, struct slow_output *out)
{
    aiki_view details = aiki_last_details(call);
    aiki_reader r;
    int64_t began = now_ms(), count = 0, before = 0;

    aiki_reader_init(&r, details);
    out->details = details.size_bytes > 0 ? aiki_mp_read_int(&r) : -1;
    out->attempt = aiki_attempt(call);
    out->deadline = aiki_deadline_ms(call) != 0;
    if (out->attempt > in->bad)
        return AIKI_OK;
    if (in->begun[0] != '\0' && !trace_append(in->begun, "b", 1))
        return aiki_fail_final(call, "NO_TRACE", "%s cannot be written", in->begun);
    while (now_ms() - began < in->ms || !trace_open(in->gate)) {
        rest();
        if (strcmp(in->how, "poll") == 0 && aiki_cancelled(call))
            return aiki_fail(call, "STOPPED", "told to stop");
        bool beats = strcmp(in->how, "beat") == 0;
        if (beats && now_ms() - began < in->ms / 2 && now_ms() - before >= 5) {
            before = now_ms();
            if (beat(call, ++count) == AIKI_CANCELLED)
                return aiki_fail(call, "STOPPED", "told to stop by a heartbeat");
        }
        if (beats && aiki_cancelled(call))
            return aiki_fail(call, "STOPPED", "told to stop");
    }
    return AIKI_OK;
}
AIKI_TASK_TYPED(work, "work", slow_input, slow_output);

static aiki_status slow(aiki_run *run, const struct slow_input *in, struct slow_output *out,
                        aiki_error *err)
{
    const aiki_retry retry = {.struct_size = (uint32_t)sizeof(retry),
                              .kind = AIKI_RETRY_FIXED,
                              .attempts_max = (uint32_t)in->attempts,
                              .delay_ms = in->delay_ms};
    const aiki_task_options options = {.struct_size = (uint32_t)sizeof(options),
                                       .flags = in->once != 0 ? AIKI_TASK_AT_MOST_ONCE : 0,
                                       .retry = &retry,
                                       .start_to_close_ms = in->timeout_ms,
                                       .schedule_to_start_ms = in->schedule_to_start_ms,
                                       .schedule_to_close_ms = in->schedule_to_close_ms,
                                       .heartbeat_ms = in->heartbeat_ms};
    aiki_future future;
    AIKI_TRY(work_start(run, in, &options, &future, err));
    AIKI_TRY(aiki_await_settled(run, &future, 1, err));
    return work_result(run, future, out, err);
}
AIKI_WORKFLOW_TYPED(slow, "slow", "1.0.0", slow_input, slow_output);

static aiki_status limited(aiki_run *run, const struct slow_input *in, struct slow_output *out,
                           aiki_error *err)
{
    return slow(run, in, out, err);
}
AIKI_WORKFLOW_TYPED_WITH(limited, "limited", "1.0.0", slow_input, slow_output,
                         AIKI_TASK_TIMEOUT_MS(300));

/* Computes for `ms` without coming back. */
static aiki_status spin(aiki_run *run, const struct slow_input *in, struct slow_output *out,
                        aiki_error *err)
{
    int64_t began = now_ms();
    (void)run;
    (void)err;
    while (now_ms() - began < in->ms)
        continue;
    out->attempt = 1;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(spin, "spin", "1.0.0", slow_input, slow_output);

AIKI_PLUGIN("slow", "1.0.0", AIKI_WORKFLOWS(slow_workflow, limited_workflow, spin_workflow),
            AIKI_TASKS(work_task));

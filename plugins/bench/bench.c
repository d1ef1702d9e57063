/* bench.c - what `aiki bench` measures: workflows whose tasks do nothing.
 *
 *   bench         three steps of an inline task that hands its payload on
 *   bench-pool    the same through the task threads
 *   bench-fanout  {"width": N}: N tasks at once
 *   bench-wait    waits for the signal `go`
 *   bench-history {"steps": N}: N steps one after the other, then waits for `go`
 *   bench-each    {"task": N, "pool": N, "retry": N, "side": N, "sleep": N, "signal": N, "child": N,
 *                 "shared": N, "group": N}: of each so many one after the other, but those of the
 *                 group at once; shared are children that all runs have in common
 *   bench-hold    a task that does not return in the process that recorded its number a step before
 *
 * Payloads are passed on as they are: this is the raw layer, without records.
 */
#include <time.h>
#include <unistd.h>

#include <aiki/record.h>

enum { STEPS = 3, WIDTH_MAX = 10000, STEPS_MAX = 99999, EACH_MAX = 100 };

static aiki_status noop(aiki_call *call, aiki_view input)
{
    return call->api->output(call, input);
}

/* Fails once. */
static aiki_status second(aiki_call *call, aiki_view input)
{
    if (aiki_attempt(call) == 1)
        return aiki_fail(call, "FIRST", "the first attempt fails");
    return call->api->output(call, input);
}

static aiki_status three_steps(aiki_run *run, const char *task, aiki_view payload, aiki_error *err)
{
    for (int step = 0; step < STEPS; step++)
        AIKI_TRY(aiki_task(run, task, payload, &payload, err));
    return run->api->output(run, payload);
}

static aiki_status bench(aiki_run *run, aiki_view input, aiki_error *err)
{
    return three_steps(run, "noop", input, err);
}

static aiki_status bench_pool(aiki_run *run, aiki_view input, aiki_error *err)
{
    return three_steps(run, "noop-pool", input, err);
}

static aiki_status bench_wait(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)input; /* kept with the run, as that of any other is */
    return aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err);
}

#define FANOUT(F, R) F(R, i64, width, AIKI_REQUIRED, AIKI_RANGE(1, WIDTH_MAX))
AIKI_RECORD(fanout, FANOUT);

static aiki_status bench_fanout(aiki_run *run, const struct fanout *in, struct fanout *out,
                                aiki_error *err)
{
    aiki_future *futures = (aiki_future *)aiki_alloc(run, (uint64_t)in->width * sizeof(*futures));
    if (futures == NULL)
        return aiki_error_set(err, AIKI_NOMEM, "NOMEM", "no memory for the futures");
    for (int64_t i = 0; i < in->width; i++) {
        uint8_t memory[9];
        aiki_writer w;
        aiki_writer_init_fixed(&w, memory, sizeof(memory));
        aiki_mp_int(&w, i);
        AIKI_TRY(aiki_task_start(run, "noop", aiki_writer_view(&w), &futures[i], err));
    }
    AIKI_TRY(aiki_await_all(run, futures, (uint32_t)in->width, err));
    out->width = in->width;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(bench_fanout, "bench-fanout", "1.0.0", fanout, fanout);

#define HISTORY(F, R) F(R, i64, steps, AIKI_REQUIRED, AIKI_RANGE(1, STEPS_MAX))
AIKI_RECORD(history, HISTORY);

static aiki_status bench_history(aiki_run *run, const struct history *in, struct history *out,
                                 aiki_error *err)
{
    for (int64_t i = 0; i < in->steps; i++) {
        uint8_t memory[9];
        aiki_writer w;
        aiki_writer_init_fixed(&w, memory, sizeof(memory));
        aiki_mp_int(&w, i);
        AIKI_TRY(aiki_task(run, "noop", aiki_writer_view(&w), NULL, err));
    }
    out->steps = in->steps;
    return aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err);
}
AIKI_WORKFLOW_TYPED(bench_history, "bench-history", "1.0.0", history, history);

static aiki_status call_number(aiki_run *run, const char *task, int64_t number, aiki_error *err)
{
    uint8_t memory[9];
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_int(&w, number);
    return aiki_task(run, task, aiki_writer_view(&w), NULL, err);
}

/* One run for each number, whoever asks. */
static aiki_status call_shared(aiki_run *run, int64_t number, aiki_error *err)
{
    static const uint8_t empty_map = 0x80;
    char key[] = "bench-00";
    aiki_future future;
    aiki_child_options options = {.struct_size = (uint32_t)sizeof(options), .shared = 1, .key = key};
    key[6] = (char)('0' + number / 10 % 10);
    key[7] = (char)('0' + number % 10);
    AIKI_TRY(aiki_child_start(run, "bench-each", "", (aiki_view){&empty_map, 1}, &options, &future,
                              err));
    return aiki_await(run, future, NULL, err);
}

static aiki_status call_group(aiki_run *run, int64_t width, aiki_error *err)
{
    aiki_future futures[EACH_MAX];
    for (int64_t i = 0; i < width; i++)
        AIKI_TRY(aiki_task_start(run, "noop", (aiki_view){NULL, 0}, &futures[i], err));
    return width > 0 ? aiki_await_all(run, futures, (uint32_t)width, err) : AIKI_OK;
}

#define COUNT(F, R, name) F(R, i64, name, AIKI_OPTIONAL, AIKI_RANGE(0, EACH_MAX))
#define EACH(F, R)                                                                                 \
    COUNT(F, R, task)                                                                              \
    COUNT(F, R, pool)                                                                              \
    COUNT(F, R, retry)                                                                             \
    COUNT(F, R, side)                                                                              \
    COUNT(F, R, sleep)                                                                             \
    COUNT(F, R, signal)                                                                            \
    COUNT(F, R, child)                                                                             \
    COUNT(F, R, shared)                                                                            \
    COUNT(F, R, group)
AIKI_RECORD(each, EACH);

static aiki_status bench_each(aiki_run *run, const struct each *in, struct aiki_nothing *out,
                              aiki_error *err)
{
    static const uint8_t empty_map = 0x80;
    uint64_t unused;
    (void)out;
    for (int64_t i = 0; i < in->task; i++)
        AIKI_TRY(call_number(run, "noop", i, err));
    for (int64_t i = 0; i < in->pool; i++)
        AIKI_TRY(call_number(run, "noop-pool", i, err));
    for (int64_t i = 0; i < in->retry; i++)
        AIKI_TRY(call_number(run, "second", i, err));
    for (int64_t i = 0; i < in->side; i++)
        AIKI_TRY(aiki_random(run, &unused, err));
    for (int64_t i = 0; i < in->sleep; i++)
        AIKI_TRY(aiki_sleep(run, "nap", 1, err));
    for (int64_t i = 0; i < in->signal; i++)
        AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err));
    for (int64_t i = 0; i < in->child; i++)
        AIKI_TRY(aiki_child(run, "bench-each", "", (aiki_view){&empty_map, 1}, NULL, err));
    for (int64_t i = 0; i < in->shared; i++)
        AIKI_TRY(call_shared(run, i, err));
    return call_group(run, in->group, err);
}
AIKI_WORKFLOW_TYPED(bench_each, "bench-each", "1.0.0", each, aiki_nothing);

static aiki_status whoami(aiki_call *call, aiki_view input)
{
    uint8_t memory[9];
    aiki_writer w;
    (void)input;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_int(&w, getpid());
    return call->api->output(call, aiki_writer_view(&w));
}

/* Input: the process to hang in. */
static aiki_status hold(aiki_call *call, aiki_view input)
{
    static const struct timespec nap = {0, 1000000};
    aiki_reader r;
    aiki_reader_init(&r, input);
    bool stay = aiki_mp_read_int(&r) == getpid();
    while (stay && !aiki_cancelled(call))
        (void)nanosleep(&nap, NULL);
    return stay ? AIKI_CANCELLED : AIKI_OK;
}

static aiki_status bench_hold(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_view process;
    (void)input;
    AIKI_TRY(aiki_task(run, "whoami", (aiki_view){NULL, 0}, &process, err));
    return aiki_task(run, "hold", process, NULL, err);
}

AIKI_PLUGIN("bench", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("bench", "1.0.0", bench),
                           AIKI_WORKFLOW("bench-pool", "1.0.0", bench_pool),
                           AIKI_WORKFLOW("bench-wait", "1.0.0", bench_wait),
                           AIKI_WORKFLOW("bench-hold", "1.0.0", bench_hold), bench_fanout_workflow,
                           bench_history_workflow, bench_each_workflow),
            AIKI_TASKS(AIKI_TASK("noop", noop, AIKI_INLINE), AIKI_TASK("noop-pool", noop),
                       AIKI_TASK("second", second, AIKI_INLINE, AIKI_FIXED_DELAY(2, 1)),
                       AIKI_TASK("whoami", whoami, AIKI_INLINE), AIKI_TASK("hold", hold)));

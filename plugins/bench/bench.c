/* bench.c - what `aiki bench` measures: workflows whose tasks do nothing.
 *
 *   bench         three steps of an inline task that hands its payload on
 *   bench-pool    the same through the task threads
 *   bench-fanout  {"width": N}: N tasks at once
 *   bench-wait    waits for the signal `go`
 *   bench-history {"steps": N}: N steps one after the other, then waits for `go`
 *
 * Payloads are passed on as they are: this is the raw layer, without records.
 */
#include <aiki/record.h>

enum { STEPS = 3, WIDTH_MAX = 10000, STEPS_MAX = 99999 };

static aiki_status noop(aiki_call *call, aiki_view input)
{
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

AIKI_PLUGIN("bench", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("bench", "1.0.0", bench),
                           AIKI_WORKFLOW("bench-pool", "1.0.0", bench_pool),
                           AIKI_WORKFLOW("bench-wait", "1.0.0", bench_wait),
                           bench_fanout_workflow, bench_history_workflow),
            AIKI_TASKS(AIKI_TASK("noop", noop, AIKI_INLINE), AIKI_TASK("noop-pool", noop)));

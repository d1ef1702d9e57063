/* bulk.c - payloads of any size and any number of things at once; see tests/integration/limits.py.
 *
 *   carry   takes any input, answers {"bytes": its size}
 *   make    {"result": N}: a task answers N bytes of msgpack; {"output": N}: the workflow does;
 *           {"details": N}: a task fails with so many. Answers what the code saw of it
 *   heap    {"times": N, "bytes": N}: a task answers that so many times, then waits for "go"
 *   hoard   {"own": N}: the workflow writes a text of N bytes; {"inputs": N}: it starts N tasks with 4 MiB
 *           of input each; {"waits": N, "gate": G}: it waits for N signals with a long name and, once the file G
 *           is there, records 8 MiB with that
 *   pend    {"tasks": N, "sleeps": N, "signals": N}: all of them at once
 */
#include <stdlib.h>

#include <aiki/record.h>

#include "trace.h"

/* One msgpack text of exactly that many bytes. */
static aiki_status write_text(aiki_writer *w, int64_t size_bytes)
{
    uint64_t size = (uint64_t)size_bytes;
    uint64_t head_bytes = size <= 32 ? 1 : size <= 257 ? 2 : size <= 65538 ? 3 : 5;
    char *text = (char *)malloc(size);
    if (text == NULL)
        return AIKI_NOMEM;
    for (uint64_t i = 0; i < size; i++)
        text[i] = 'x';
    aiki_mp_strn(w, text, size - head_bytes);
    free(text);
    return w->status;
}

/* Memory of the attempt, all at once: what is written fits. */
static aiki_status make_text(aiki_call *call, int64_t size_bytes, aiki_view *ret)
{
    aiki_writer w;
    uint8_t *memory = (uint8_t *)call->api->alloc(call, (uint64_t)size_bytes);
    if (memory == NULL)
        return AIKI_NOMEM;
    aiki_writer_init_fixed(&w, memory, (uint64_t)size_bytes);
    aiki_status st = write_text(&w, size_bytes);
    *ret = aiki_writer_view(&w);
    return st;
}

static aiki_status answer(aiki_call *call, aiki_view input)
{
    aiki_view text;
    aiki_reader r;
    aiki_reader_init(&r, input);
    AIKI_TRY(make_text(call, aiki_mp_read_int(&r), &text));
    return call->api->output(call, text);
}

static aiki_status fail(aiki_call *call, aiki_view input)
{
    aiki_error e = AIKI_ERROR_INIT;
    aiki_reader r;
    aiki_reader_init(&r, input);
    (void)aiki_error_set(&e, AIKI_FAILED, "ON_PURPOSE", "with details");
    AIKI_TRY(make_text(call, aiki_mp_read_int(&r), &e.details));
    e.flags |= AIKI_ERROR_FINAL;
    return call->api->fail(call, &e);
}

static aiki_status nothing(aiki_call *call, aiki_view input)
{
    (void)input;
    (void)call;
    return AIKI_OK;
}

static aiki_status carry(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "bytes");
    aiki_mp_uint(&w, input.size_bytes);
    return aiki_output(run, &w, err);
}

#define MAKE(F, R)                                                                                 \
    F(R, i64, result, AIKI_OPTIONAL, AIKI_MIN(0), AIKI_DEFAULT(0))                                 \
    F(R, i64, output, AIKI_OPTIONAL, AIKI_MIN(0), AIKI_DEFAULT(0))                                 \
    F(R, i64, details, AIKI_OPTIONAL, AIKI_MIN(0), AIKI_DEFAULT(0))
AIKI_RECORD(make, MAKE);

static aiki_status call_sized(aiki_run *run, const char *task, int64_t bytes, aiki_view *output,
                              aiki_error *err)
{
    uint8_t memory[9];
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_int(&w, bytes);
    return aiki_task(run, task, aiki_writer_view(&w), output, err);
}

static aiki_status make(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_memory memory = aiki_run_memory(run);
    aiki_writer w = aiki_run_writer(run);
    aiki_view seen = {NULL, 0};
    struct make in;
    AIKI_TRY(make_decode(input, &memory, &in, err));
    if (in.output > 0) {
        AIKI_TRY(write_text(&w, in.output));
        return aiki_output(run, &w, err);
    }
    if (in.result > 0)
        AIKI_TRY(call_sized(run, "answer", in.result, &seen, err));
    if (in.details > 0) {
        if (call_sized(run, "fail", in.details, NULL, err) == AIKI_OK)
            return aiki_error_set(err, AIKI_INTERNAL, "IMPOSSIBLE", "it did not fail");
        seen = err->details;
    }
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "bytes");
    aiki_mp_uint(&w, seen.size_bytes);
    return aiki_output(run, &w, err);
}

#define HEAP(F, R)                                                                                 \
    F(R, i64, times, AIKI_REQUIRED, AIKI_MIN(0))                                                   \
    F(R, i64, bytes, AIKI_REQUIRED, AIKI_MIN(1))
AIKI_RECORD(heap, HEAP);

static aiki_status heap(aiki_run *run, const struct heap *in, struct heap *out, aiki_error *err)
{
    for (int64_t i = 0; i < in->times; i++)
        AIKI_TRY(call_sized(run, "answer", in->bytes, NULL, err));
    *out = *in;
    return aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err);
}
AIKI_WORKFLOW_TYPED(heap, "heap", "1.0.0", heap, heap);

#define PEND(F, R)                                                                                 \
    F(R, i64, tasks, AIKI_OPTIONAL, AIKI_RANGE(0, 200000), AIKI_DEFAULT(0))                        \
    F(R, i64, sleeps, AIKI_OPTIONAL, AIKI_RANGE(0, 200000), AIKI_DEFAULT(0))                       \
    F(R, i64, signals, AIKI_OPTIONAL, AIKI_RANGE(0, 200000), AIKI_DEFAULT(0))
AIKI_RECORD(pend, PEND);

static aiki_status pend(aiki_run *run, const struct pend *in, struct pend *out, aiki_error *err)
{
    uint32_t count = (uint32_t)(in->tasks + in->sleeps + in->signals), n = 0;
    aiki_future *futures = (aiki_future *)aiki_alloc(run, count * sizeof(*futures));
    uint8_t memory[9];
    if (futures == NULL && count > 0)
        return aiki_error_set(err, AIKI_NOMEM, "NOMEM", "no memory for the futures");
    for (int64_t i = 0; i < in->tasks; i++) {
        aiki_writer w;
        aiki_writer_init_fixed(&w, memory, sizeof(memory));
        aiki_mp_int(&w, i);
        AIKI_TRY(aiki_task_start(run, "nothing", aiki_writer_view(&w), &futures[n++], err));
    }
    for (int64_t i = 0; i < in->sleeps; i++)
        AIKI_TRY(aiki_sleep_start(run, "nap", 6000, &futures[n++], err));
    for (int64_t i = 0; i < in->signals; i++)
        AIKI_TRY(aiki_signal_start(run, "item", AIKI_FOREVER_MS, &futures[n++], err));
    *out = *in;
    return aiki_await_all(run, futures, count, err);
}
AIKI_WORKFLOW_TYPED(pend, "pend", "1.0.0", pend, pend);

#define HOARD(F, R)                                                \
    F(R, i64, own, AIKI_OPTIONAL, AIKI_RANGE(0, 1000000000))       \
    F(R, i64, inputs, AIKI_OPTIONAL, AIKI_RANGE(0, 1000))          \
    F(R, i64, waits, AIKI_OPTIONAL, AIKI_RANGE(0, 99000))          \
    F(R, str, gate, AIKI_OPTIONAL, AIKI_DEFAULT_TEXT(""))
AIKI_RECORD(hoard, HOARD);
#define REST(F, R) F(R, str, gate, AIKI_REQUIRED)
AIKI_RECORD(rest, REST);

enum { LARGEST_BYTES = 4 * 1024 * 1024, LONG_NAME = 100 };

static aiki_status rest(aiki_call *call, const struct rest *in, struct aiki_nothing *out)
{
    (void)out;
    trace_await(call, in->gate);
    return AIKI_OK;
}
AIKI_TASK_TYPED(rest, "rest", rest, aiki_nothing);

static aiki_status echo(aiki_call *call, aiki_view input) { return call->api->output(call, input); }

static aiki_status write_largest(aiki_run *run, aiki_writer *w)
{
    *w = aiki_run_writer(run);
    return write_text(w, LARGEST_BYTES);
}

static aiki_status start_with_inputs(aiki_run *run, uint32_t count, aiki_error *err)
{
    aiki_future *futures = (aiki_future *)aiki_alloc(run, count * sizeof(*futures));
    aiki_writer w;
    if (futures == NULL)
        return AIKI_NOMEM;
    AIKI_TRY(write_largest(run, &w));
    for (uint32_t i = 0; i < count; i++) {
        w.data[w.size_bytes - 1 - i] = 'y'; /* each has another input */
        AIKI_TRY(aiki_task_start(run, "nothing", aiki_writer_view(&w), &futures[i], err));
    }
    return aiki_await_all(run, futures, count, err);
}

/* While the first task rests the waits go on record, so that they are only counted when it parks. */
static aiki_status wait_with_a_result(aiki_run *run, uint32_t count, const struct rest *first, aiki_error *err)
{
    aiki_future *futures = (aiki_future *)aiki_alloc(run, count * sizeof(*futures));
    char name[LONG_NAME + 1] = {0};
    aiki_writer w;
    if (futures == NULL)
        return AIKI_NOMEM;
    for (int i = 0; i < LONG_NAME; i++)
        name[i] = 'n';
    AIKI_TRY(write_largest(run, &w));
    for (uint32_t i = 0; i < count; i++)
        AIKI_TRY(aiki_signal_start(run, name, AIKI_FOREVER_MS, &futures[i], err));
    AIKI_TRY(rest_call(run, first, NULL, err));
    AIKI_TRY(aiki_task(run, "echo", aiki_writer_view(&w), NULL, err));
    return aiki_await_all(run, futures, count, err);
}

static aiki_status hoard(aiki_run *run, const struct hoard *in, struct aiki_nothing *out, aiki_error *err)
{
    aiki_writer w = aiki_run_writer(run);
    (void)out;
    if (in->own > 0)
        return write_text(&w, in->own);
    if (in->inputs > 0)
        return start_with_inputs(run, (uint32_t)in->inputs, err);
    return wait_with_a_result(run, (uint32_t)in->waits, &(struct rest){in->gate}, err);
}
AIKI_WORKFLOW_TYPED(hoard, "hoard", "1.0.0", hoard, aiki_nothing);

AIKI_PLUGIN("bulk", "1.0.0",
            AIKI_WORKFLOWS(AIKI_WORKFLOW("carry", "1.0.0", carry),
                           AIKI_WORKFLOW("make", "1.0.0", make, AIKI_INPUT(make)), heap_workflow,
                           hoard_workflow, pend_workflow),
            AIKI_TASKS(AIKI_TASK("answer", answer), AIKI_TASK("fail", fail),
                       AIKI_TASK("nothing", nothing), rest_task,
                       AIKI_TASK("echo", echo)));

/* child_plugin.c - workflows and tasks that test_child.c needs. */
#include <aiki/plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static aiki_view number(aiki_run *run, uint64_t n)
{
    aiki_writer w = aiki_run_writer(run);
    aiki_mp_uint(&w, n);
    return aiki_writer_view(&w);
}

static uint64_t number_of(aiki_view v)
{
    aiki_reader r;
    aiki_reader_init(&r, v);
    return aiki_mp_read_uint(&r);
}

static aiki_status put_number(aiki_call *call, uint64_t n)
{
    aiki_writer w = aiki_call_writer(call);
    aiki_mp_uint(&w, n);
    return aiki_call_output(call, &w);
}

/* ---- tasks ------------------------------------------------------------------------------- */

static aiki_status twice(aiki_call *call, aiki_view input)
{
    return put_number(call, 2 * number_of(input));
}

static aiki_status nap(aiki_call *call, aiki_view input)
{
    uint64_t ms = number_of(input);
    const struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
    return put_number(call, ms);
}

/* Fails until the attempt given as input. */
static aiki_status flaky(aiki_call *call, aiki_view input)
{
    if (aiki_attempt(call) < number_of(input))
        return aiki_fail(call, "FLAKY", "attempt %u of %s", aiki_attempt(call),
                         aiki_idempotency_key(call));
    return put_number(call, aiki_attempt(call));
}

/* Its key, in the failures of the attempts before the one given as input and in its result. */
static aiki_status tell_key(aiki_call *call, aiki_view input)
{
    aiki_writer w = aiki_call_writer(call);
    if (aiki_attempt(call) < number_of(input))
        return aiki_fail(call, "NOT_YET", "key %s", aiki_idempotency_key(call));
    aiki_mp_str(&w, aiki_idempotency_key(call));
    return aiki_call_output(call, &w);
}

static aiki_status refuse(aiki_call *call, aiki_view input)
{
    (void)input;
    return aiki_fail_final(call, "REFUSED", "never");
}

static aiki_status talk(aiki_call *call, aiki_view input)
{
    (void)input;
    aiki_call_log(call, AIKI_LOG_INFO, "hello from a task");
    return AIKI_OK;
}

/* Says nothing for so long that nobody waits for it. */
static aiki_status stuck(aiki_call *call, aiki_view input)
{
    const struct timespec t = {600, 0};
    (void)call;
    (void)input;
    nanosleep(&t, NULL);
    return AIKI_OK;
}

static aiki_status strange_task(aiki_call *call, aiki_view input)
{
    (void)call;
    (void)input;
    return 12345;
}

enum { TOO_LARGE = 5 * 1024 * 1024 };
static uint8_t large[TOO_LARGE];

/* One string that fills `size` bytes. */
static aiki_view large_value(uint32_t size)
{
    large[0] = 0xdb;
    for (int i = 0; i < 4; i++)
        large[1 + i] = (uint8_t)((size - 5) >> (24 - 8 * i));
    return (aiki_view){large, size};
}

static aiki_status oversize_task(aiki_call *call, aiki_view input)
{
    (void)input;
    return call->api->output(call, large_value(TOO_LARGE));
}

static aiki_run *kept; /* what a plugin must not do */

static aiki_status intruder(aiki_call *call, aiki_view input)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_future future;
    if (kept->api->task_start(kept, "twice", input, NULL, &future, &err) != AIKI_INVALID ||
        kept->api->await(kept, &future, 1, 1, NULL) != AIKI_INVALID ||
        kept->api->alloc(kept, 8) != NULL || kept->api->output(kept, input) != AIKI_INVALID)
        return aiki_fail_final(call, "LET_IN", "a task got into a run");
    kept->api->log(kept, AIKI_LOG_INFO, "nobody reads this");
    return aiki_fail_final(call, err.code, "%s", err.message);
}

static aiki_status aborting(aiki_call *call, aiki_view input)
{
    (void)call;
    (void)input;
    abort();
}

/* ---- workflows --------------------------------------------------------------------------- */

static aiki_status finish(aiki_run *run, uint64_t n)
{
    return run->api->output(run, number(run, n));
}

/* input n: n times twice(previous + 1), one after the other, inline. */
static aiki_status sequence(aiki_run *run, aiki_view input, aiki_error *err)
{
    uint64_t count = number_of(input), value = 0;
    for (uint64_t i = 0; i < count; i++) {
        aiki_view out;
        AIKI_TRY(aiki_task(run, "twice", number(run, value + 1), &out, err));
        value = number_of(out);
    }
    return finish(run, value);
}

static aiki_status sequence_threads(aiki_run *run, aiki_view input, aiki_error *err)
{
    uint64_t count = number_of(input);
    for (uint64_t i = 0; i < count; i++)
        AIKI_TRY(aiki_task(run, "nap", number(run, 0), NULL, err));
    return finish(run, count);
}

/* A nap of n milliseconds that may take 3 s. */
static aiki_status hurried(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_task_options options = {.struct_size = (uint32_t)sizeof(options),
                                       .start_to_close_ms = 3000};
    return aiki_task_with(run, "nap", input, &options, NULL, err);
}

static aiki_status talk_once(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_task_options options = {.struct_size = (uint32_t)sizeof(options),
                                       .flags = AIKI_TASK_AT_MOST_ONCE};
    return aiki_task_with(run, "talk", input, &options, NULL, err);
}

/* input n: n naps side by side, all awaited. */
static aiki_status fan(aiki_run *run, aiki_view input, aiki_error *err)
{
    uint32_t count = (uint32_t)number_of(input);
    aiki_future *futures = aiki_alloc(run, count * sizeof(*futures));
    for (uint32_t i = 0; i < count; i++)
        AIKI_TRY(aiki_task_start(run, "nap", number(run, i % 5), &futures[i], err));
    AIKI_TRY(aiki_await_all(run, futures, count, err));
    return finish(run, count);
}

static aiki_status race(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_future futures[2];
    uint32_t first = 9;
    (void)input;
    AIKI_TRY(aiki_task_start(run, "nap", number(run, 60000), &futures[0], err));
    AIKI_TRY(aiki_task_start(run, "nap", number(run, 1), &futures[1], err));
    AIKI_TRY(aiki_await_any(run, futures, 2, &first, err));
    AIKI_TRY(aiki_task(run, "twice", number(run, first), NULL, err));
    return finish(run, first);
}

static aiki_status rest(aiki_run *run, aiki_view input, aiki_error *err)
{
    AIKI_TRY(aiki_task(run, "twice", number(run, 1), NULL, err));
    AIKI_TRY(aiki_sleep(run, "rest", (int64_t)number_of(input), err));
    AIKI_TRY(aiki_task(run, "twice", number(run, 2), NULL, err));
    return finish(run, 7);
}

static aiki_status listen(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_view payload;
    aiki_status st = aiki_wait_signal(run, "go", (int64_t)number_of(input), &payload, err);
    if (st == AIKI_TIMEDOUT)
        return finish(run, 404);
    return st == AIKI_OK ? finish(run, number_of(payload)) : st;
}

static aiki_status retried(aiki_run *run, aiki_view input, aiki_error *err)
{
    static const aiki_retry retry = {
        .struct_size = sizeof(retry), .kind = AIKI_RETRY_FIXED, .attempts_max = 3, .delay_ms = 20};
    const aiki_task_options options = {.struct_size = sizeof(options), .retry = &retry};
    aiki_future f;
    aiki_view out;
    AIKI_TRY(run->api->task_start(run, "flaky", input, &options, &f, err));
    AIKI_TRY(aiki_await(run, f, &out, err));
    return finish(run, number_of(out));
}

/* The same call twice: the keys of both, one behind the other. */
static aiki_status keys(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_view first, second;
    aiki_writer w = aiki_run_writer(run);
    AIKI_TRY(aiki_task(run, "tell-key", input, &first, err));
    AIKI_TRY(aiki_task(run, "tell-key", input, &second, err));
    aiki_mp_array(&w, 2);
    aiki_mp_raw(&w, first.data, first.size_bytes);
    aiki_mp_raw(&w, second.data, second.size_bytes);
    return run->api->output(run, aiki_writer_view(&w));
}

static aiki_status patient(aiki_run *run, aiki_view input, aiki_error *err)
{
    static const aiki_retry retry = {.struct_size = sizeof(retry),
                                     .kind = AIKI_RETRY_FIXED,
                                     .attempts_max = 3,
                                     .delay_ms = 60000};
    const aiki_task_options options = {.struct_size = sizeof(options), .retry = &retry};
    aiki_future f;
    AIKI_TRY(run->api->task_start(run, "flaky", input, &options, &f, err));
    return aiki_await(run, f, NULL, err);
}

static aiki_status refused(aiki_run *run, aiki_view input, aiki_error *err)
{
    return aiki_task(run, "refuse", input, NULL, err);
}

static aiki_status missing(aiki_run *run, aiki_view input, aiki_error *err)
{
    return aiki_task(run, "no-such-task", input, NULL, err);
}

/* Asks for it while another task is under way, and behind a result. */
static aiki_status misspelt(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_future f;
    AIKI_TRY(aiki_task_start(run, "nap", number(run, 30), &f, err));
    AIKI_TRY(aiki_task(run, "twice", input, NULL, err));
    AIKI_TRY(aiki_task(run, "tell-kye", input, NULL, err));
    return aiki_await(run, f, NULL, err);
}

static aiki_status once(void *arg, aiki_writer *output)
{
    aiki_mp_uint(output, *(uint64_t *)arg);
    return AIKI_OK;
}

static aiki_status sides(aiki_run *run, aiki_view input, aiki_error *err)
{
    int64_t now;
    uint64_t random, seed = 41;
    char uuid[37];
    aiki_view value;
    (void)input;
    AIKI_TRY(aiki_now(run, &now, err));
    AIKI_TRY(aiki_random(run, &random, err));
    AIKI_TRY(aiki_uuid(run, uuid, err));
    AIKI_TRY(aiki_record_once(run, "seed", once, &seed, &value, err));
    seed = 99;
    AIKI_TRY(aiki_record_once(run, "seed", once, &seed, &value, err));
    AIKI_TRY(aiki_task(run, "talk", value, NULL, err));
    aiki_log(run, AIKI_LOG_WARN, "uuid %s", uuid);
    if (number_of(value) != 41 || now < 1000000 || strlen(uuid) != 36)
        return aiki_run_fail(run, "WRONG", "%lld %s", (long long)now, uuid);
    return finish(run, number_of(value));
}

/* Changes its mind about an input from one process to the next. */
static aiki_status moody(aiki_run *run, aiki_view input, aiki_error *err)
{
    FILE *f = fopen("/proc/self/stat", "r");
    unsigned pid = 0;
    (void)input;
    if (f != NULL && fscanf(f, "%u", &pid) != 1)
        pid = 0;
    if (f != NULL)
        fclose(f);
    AIKI_TRY(aiki_task(run, "twice", number(run, 1000000 + pid), NULL, err));
    AIKI_TRY(aiki_sleep(run, "night", 3600000, err));
    return finish(run, 0);
}

static aiki_status silent(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_view out;
    AIKI_TRY(aiki_task(run, "talk", input, &out, err));
    return out.size_bytes == 1 && out.data[0] == 0xc0 ? AIKI_OK : AIKI_FAILED;
}

static aiki_status strange(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_error seen = AIKI_ERROR_INIT;
    (void)err;
    if (aiki_task(run, "strange-task", input, NULL, &seen) != AIKI_FAILED)
        return AIKI_FAILED;
    return -7;
}

/* input 0: an output over the limit, whose refusal is ignored; 1: one of a task; n: a large one. */
static aiki_status oversize(aiki_run *run, aiki_view input, aiki_error *err)
{
    uint64_t n = number_of(input);
    if (n == 1)
        return aiki_task(run, "oversize-task", input, NULL, err);
    if (n > 1)
        return run->api->output(run, large_value((uint32_t)n));
    if (run->api->output(run, large_value(TOO_LARGE)) != AIKI_LIMIT)
        return AIKI_INTERNAL;
    return AIKI_OK;
}

static aiki_status betrayed(aiki_run *run, aiki_view input, aiki_error *err)
{
    kept = run;
    return aiki_task(run, "intruder", input, NULL, err);
}

static aiki_status steps_inside(void *arg, aiki_writer *output)
{
    aiki_run *run = arg;
    (void)output;
    return aiki_task(run, "twice", number(run, 1), NULL, NULL);
}

static aiki_status nested(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)input;
    return aiki_record_once(run, "nested", steps_inside, run, NULL, err);
}

/* A frame of this much a level; the compiler may not turn it into a loop. */
static uint64_t deep(volatile uint8_t *above, uint64_t levels)
{
    volatile uint8_t frame[1024];
    frame[0] = (uint8_t)(above[0] + levels);
    return levels == 0 ? frame[0] : deep(frame, levels - 1) + frame[0];
}

static aiki_status bottomless(aiki_run *run, aiki_view input, aiki_error *err)
{
    volatile uint8_t top = 1;
    (void)err;
    return finish(run, deep(&top, number_of(input)));
}

static aiki_status aborts(aiki_run *run, aiki_view input, aiki_error *err)
{
    return aiki_task(run, "aborting", input, NULL, err);
}

/* Leaves a task behind. */
static aiki_status careless(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_future future;
    AIKI_TRY(aiki_task_start(run, "stuck", input, &future, err));
    AIKI_TRY(aiki_task(run, "nap", number(run, 1), NULL, err));
    return finish(run, 5);
}

/* One task done, a signal to come, and one that does not end. */
static aiki_status held_up(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_future futures[3];
    AIKI_TRY(aiki_task_start(run, "stuck", input, &futures[0], err));
    AIKI_TRY(aiki_task_start(run, "twice", input, &futures[1], err));
    AIKI_TRY(run->api->signal_start(run, "go", AIKI_FOREVER_MS, &futures[2], err));
    return aiki_await_all(run, futures, 3, err);
}

static aiki_status patience(aiki_run *run, aiki_view input, aiki_error *err)
{
    return aiki_task(run, "stuck", input, NULL, err);
}

static aiki_status spins(aiki_run *run, aiki_view input, aiki_error *err)
{
    volatile bool for_ever = true;
    (void)run;
    (void)input;
    (void)err;
    while (for_ever)
        ;
    return AIKI_OK;
}

/* input n: n waits at once, for signals and for time. */
static aiki_status crowd(aiki_run *run, aiki_view input, aiki_error *err)
{
    uint32_t count = (uint32_t)number_of(input);
    aiki_future *futures = aiki_alloc(run, 2 * count * sizeof(*futures));
    for (uint32_t i = 0; i < count; i++) {
        const char *name = aiki_format(run, "wait-%u", i);
        AIKI_TRY(run->api->signal_start(run, name, AIKI_FOREVER_MS, &futures[2 * i], err));
        AIKI_TRY(run->api->sleep_start(run, name, 3600000 + i, &futures[2 * i + 1], err));
    }
    AIKI_TRY(aiki_await_settled(run, futures, 2 * count, err));
    return finish(run, count);
}

/* ---- children -------------------------------------------------------------------------------- */

static bool is_refused(aiki_run *run, const char *workflow, const char *version, aiki_view input,
                       const aiki_child_options *options, const char *word)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_future future = 0;
    aiki_status st = aiki_child_start(run, workflow, version, input, options, &future, &err);
    return (st == AIKI_INVALID || st == AIKI_LIMIT) && future == 0 &&
           strstr(err.message, word) != NULL;
}

/* Answers which of twelve bad calls of child_start are refused with a message that says why. */
static aiki_status bad_calls(aiki_run *run, aiki_view input, aiki_error *err)
{
    static const uint8_t no_value[] = {0xc1}, big[4 * 1024 * 1024 + 2] = {0xc6, 0, 0x40};
    static char long_text[300];
    const aiki_view in = number(run, 1), broken = {no_value, 1}, huge = {big, sizeof(big)};
    aiki_child_options o = {.struct_size = (uint32_t)sizeof(o)};
    unsigned refused = 0;
    (void)input;

    memset(long_text, 'x', sizeof(long_text) - 1);
    refused |= 0x001u * is_refused(run, NULL, "", in, NULL, "workflow name");
    refused |= 0x002u * is_refused(run, "", "", in, NULL, "workflow name");
    refused |= 0x004u * is_refused(run, "two words", "", in, NULL, "two words");
    refused |= 0x008u * is_refused(run, long_text, "", in, NULL, "workflow name");
    refused |= 0x010u * is_refused(run, "nap", "", broken, NULL, "msgpack");
    refused |= 0x020u * is_refused(run, "nap", "", huge, NULL, "PAYLOAD_BYTES_MAX");
    refused |= 0x040u * is_refused(run, "nap", long_text, in, NULL, "version of a child");
    refused |= 0x080u * is_refused(run, "nap", "\xff", in, NULL, "version of a child");
    o.close_policy = AIKI_CLOSE_ABANDON + 1;
    refused |= 0x100u * is_refused(run, "nap", "", in, &o, "close policy");
    o.close_policy = -1;
    refused |= 0x200u * is_refused(run, "nap", "", in, &o, "close policy -1");
    o.close_policy = AIKI_CLOSE_CANCEL;
    o.key = long_text;
    refused |= 0x400u * is_refused(run, "nap", "", in, &o, "key of a child");
    o.key = "\xc3(";
    refused |= 0x800u * is_refused(run, "nap", "", in, &o, "key of a child");
    (void)err;
    return finish(run, refused);
}

/* Options of an older header: what it does not have is 0, whatever stands behind it. */
static aiki_status short_options(aiki_run *run, aiki_view input, aiki_error *err)
{
    const aiki_child_options o = {.struct_size = (uint32_t)offsetof(aiki_child_options, key),
                                  .close_policy = AIKI_CLOSE_TERMINATE,
                                  .key = "\xff"};
    aiki_future future;
    AIKI_TRY(aiki_child_start(run, "nap", NULL, input, &o, &future, err));
    return aiki_await(run, future, NULL, err);
}

AIKI_PLUGIN(
    "steps", "1.0.0",
    AIKI_WORKFLOWS(
        AIKI_WORKFLOW("sequence", "1.0.0", sequence),
        AIKI_WORKFLOW("sequence-threads", "1.0.0", sequence_threads),
        AIKI_WORKFLOW("fan", "1.0.0", fan), AIKI_WORKFLOW("race", "1.0.0", race),
        AIKI_WORKFLOW("rest", "1.0.0", rest), AIKI_WORKFLOW("listen", "1.0.0", listen),
        AIKI_WORKFLOW("retried", "1.0.0", retried), AIKI_WORKFLOW("keys", "1.0.0", keys),
        AIKI_WORKFLOW("patient", "1.0.0", patient), AIKI_WORKFLOW("refused", "1.0.0", refused),
        AIKI_WORKFLOW("missing", "1.0.0", missing), AIKI_WORKFLOW("sides", "1.0.0", sides),
        AIKI_WORKFLOW("misspelt", "1.0.0", misspelt),
        AIKI_WORKFLOW("moody", "1.0.0", moody), AIKI_WORKFLOW("silent", "1.0.0", silent),
        AIKI_WORKFLOW("strange", "1.0.0", strange), AIKI_WORKFLOW("oversize", "1.0.0", oversize),
        AIKI_WORKFLOW("betrayed", "1.0.0", betrayed), AIKI_WORKFLOW("nested", "1.0.0", nested),
        AIKI_WORKFLOW("bottomless", "1.0.0", bottomless), AIKI_WORKFLOW("aborts", "1.0.0", aborts),
        AIKI_WORKFLOW("careless", "1.0.0", careless), AIKI_WORKFLOW("held-up", "1.0.0", held_up),
        AIKI_WORKFLOW("patience", "1.0.0", patience), AIKI_WORKFLOW("spins", "1.0.0", spins),
        AIKI_WORKFLOW("crowd", "1.0.0", crowd), AIKI_WORKFLOW("hurried", "1.0.0", hurried),
        AIKI_WORKFLOW("bad-calls", "1.0.0", bad_calls),
        AIKI_WORKFLOW("talk-once", "1.0.0", talk_once),
        AIKI_WORKFLOW("short-options", "1.0.0", short_options)),
    AIKI_TASKS(AIKI_TASK("twice", twice, AIKI_INLINE), AIKI_TASK("nap", nap),
               AIKI_TASK("flaky", flaky), AIKI_TASK("tell-key", tell_key),
               AIKI_TASK("refuse", refuse), AIKI_TASK("talk", talk), AIKI_TASK("stuck", stuck),
               AIKI_TASK("strange-task", strange_task, AIKI_NO_RETRY),
               AIKI_TASK("oversize-task", oversize_task, AIKI_NO_RETRY),
               AIKI_TASK("intruder", intruder), AIKI_TASK("aborting", aborting)));

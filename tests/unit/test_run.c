/* aiki/run.h, aiki/define.h and the typed functions of aiki/record.h: what a plugin says in one
 * line, through the tables of a host that answers at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/fake_host.h"

#include <aiki/record.h>

/* ---- a plugin ---------------------------------------------------------------------------- */

#define JOB(F, R)                                                             \
    F(R, str, how, AIKI_REQUIRED)                                             \
    F(R, i64, number, AIKI_OPTIONAL, AIKI_RANGE(0, 100), AIKI_DEFAULT(1))
AIKI_RECORD(job, JOB);
#define DONE(F, R)                                           \
    F(R, i64, number, AIKI_REQUIRED, AIKI_RANGE(0, 100))     \
    F(R, str, text, AIKI_OPTIONAL)
AIKI_RECORD(done, DONE);

static aiki_status work(aiki_call *call, const struct job *in, struct done *out)
{
    if (strcmp(in->how, "fail") == 0)
        return aiki_fail(call, "NOT_NOW", "number %d", (int)in->number);
    if (strcmp(in->how, "final") == 0)
        return aiki_fail_final(call, "NEVER", "number %d", (int)in->number);
    if (strcmp(in->how, "later") == 0)
        return aiki_fail_retry_after(call, 5000, "LATER", "number %d", (int)in->number);
    if (strcmp(in->how, "third") == 0 && aiki_attempt(call) < 3)
        return aiki_fail(call, "NOT_YET", "attempt %u", aiki_attempt(call));
    out->number = strcmp(in->how, "bad-output") == 0 ? 101 : in->number;
    out->text = aiki_call_format(call, "%s %s", in->how, aiki_idempotency_key(call));
    return out->text != NULL ? AIKI_OK : aiki_fail(call, "NOMEM", "no memory for a text");
}
AIKI_TASK_TYPED_WITH(work, "work", job, done, AIKI_FIXED_DELAY(4, 50), AIKI_SUMMARY("Works"));

/* One task as ordered. */
static aiki_status one(aiki_run *run, const struct job *in, struct done *out, aiki_error *err)
{
    return work_call(run, in, out, err);
}
AIKI_WORKFLOW_TYPED_WITH(one, "one", "1.0.0", job, done, AIKI_SUMMARY("Calls work"));

/* Three tasks at once, the second and third fail: the second one's error is the answer. */
static aiki_status all(aiki_run *run, aiki_view input, aiki_error *err)
{
    static const struct job jobs[] = {{"good", 1}, {"final", 2}, {"final", 3}};
    aiki_future futures[3];
    (void)input;
    for (int i = 0; i < 3; i++)
        AIKI_TRY(work_start(run, &jobs[i], NULL, &futures[i], err));
    AIKI_TRY(aiki_await_settled(run, futures, 3, err));
    return aiki_await_all(run, futures, 3, err);
}

/* A signal that does not come against a task: the task wins, the signal stays open. */
static aiki_status any(aiki_run *run, aiki_view input, aiki_error *err)
{
    static const struct job job = {"good", 7};
    aiki_future futures[2];
    uint32_t index = 99;
    struct done done;
    aiki_writer w = aiki_run_writer(run);
    (void)input;
    AIKI_TRY(aiki_signal_start(run, "go", AIKI_FOREVER_MS, &futures[0], err));
    AIKI_TRY(work_start(run, &job, NULL, &futures[1], err));
    AIKI_TRY(aiki_await_any(run, futures, 2, &index, err));
    AIKI_TRY(work_result(run, futures[index], &done, err));
    aiki_mp_array(&w, 3);
    aiki_mp_uint(&w, index);
    aiki_mp_int(&w, done.number);
    aiki_mp_bool(&w, aiki_result(run, futures[0], NULL, NULL) == AIKI_PENDING);
    return aiki_output(run, &w, err);
}

/* Sleeps, takes a signal, and one that does not come. */
static aiki_status wait(aiki_run *run, aiki_view input, aiki_error *err)
{
    aiki_view payload;
    (void)input;
    AIKI_TRY(aiki_sleep(run, "rest", AIKI_HOURS_MS(2), err));
    AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, &payload, err));
    if (aiki_wait_signal(run, "go", AIKI_DAYS_MS(1), NULL, err) != AIKI_TIMEDOUT)
        return aiki_run_fail(run, "UNEXPECTED", "%s came twice", "go");
    return run->api->output(run, payload);
}

static aiki_status refuse(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)input;
    (void)err;
    return aiki_run_fail(run, "REFUSED", "%s said %s", aiki_run_id(run), "no");
}

static aiki_status echo(aiki_call *call, aiki_view input) { return call->api->output(call, input); }

AIKI_PLUGIN("run-test", "3.2.1",
            AIKI_WORKFLOWS(one_workflow, AIKI_WORKFLOW("all", "1.0.0", all),
                           AIKI_WORKFLOW("any", "1.1.0", any, AIKI_SUMMARY("Races")),
                           AIKI_WORKFLOW("wait", "1.0.0", wait),
                           AIKI_WORKFLOW("refuse", "1.0.0", refuse, AIKI_INPUT(job))),
            AIKI_TASKS(work_task, AIKI_TASK("echo", echo, AIKI_INLINE, AIKI_NO_RETRY),
                       AIKI_TASK("slow", echo, AIKI_BACKOFF(7, 100, 3000), AIKI_OUTPUT(done))));

/* ---- helpers ----------------------------------------------------------------------------- */

static const uint8_t nil_byte = 0xc0;
static const aiki_view nil = {&nil_byte, 1};
static uint8_t input_bytes[256];

static int setup(void **state)
{
    *state = fake_host_create(aiki_plugin_v1(AIKI_ABI_MAJOR, AIKI_ABI_MINOR));
    return 0;
}

static int teardown(void **state)
{
    fake_host_destroy(*state);
    return 0;
}

static aiki_view job_of(const char *how, int64_t number)
{
    const struct job job = {how, number};
    aiki_writer w;
    aiki_writer_init_fixed(&w, input_bytes, sizeof(input_bytes));
    assert_int_equal(job_encode(&job, &w, NULL), AIKI_OK);
    return aiki_writer_view(&w);
}

/* ---- cases ------------------------------------------------------------------------------- */

/* The table has what the macros were told, and nothing of the closing entries. */
static void macros_fill_the_table(void **state)
{
    const aiki_plugin_def *p = aiki_plugin_v1(AIKI_ABI_MAJOR, AIKI_ABI_MINOR);
    (void)state;
    assert_int_equal(p->struct_size, sizeof(*p));
    assert_int_equal(p->abi_major, AIKI_ABI_MAJOR);
    assert_string_equal(p->name, "run-test");
    assert_string_equal(p->version, "3.2.1");
    assert_string_equal(p->language, "c");
    assert_int_equal(p->workflow_count, 5);
    assert_int_equal(p->task_count, 3);
    assert_string_equal(p->workflows[0].summary, "Calls work");
    assert_ptr_equal(p->workflows[0].input, &job_record);
    assert_ptr_equal(p->workflows[4].input, &job_record);
    assert_null(p->workflows[4].output);
    assert_int_equal(p->tasks[0].retry.kind, AIKI_RETRY_FIXED);
    assert_int_equal(p->tasks[0].retry.attempts_max, 4);
    assert_int_equal(p->tasks[0].retry.delay_ms, 50);
    assert_string_equal(p->tasks[0].summary, "Works");
    assert_int_equal(p->tasks[1].flags, AIKI_TASK_INLINE);
    assert_int_equal(p->tasks[1].retry.kind, AIKI_RETRY_NEVER);
    assert_int_equal(p->tasks[2].retry.factor_percent, 200);
    assert_int_equal(p->tasks[2].retry.delay_ms_max, 3000);
    assert_ptr_equal(p->tasks[2].output, &done_record);
}

/* On a host of 1.0 what came later is an error that says so, and the rest works. */
static void an_older_host_is_said(void **state)
{
    /* volatile: compilers shall not follow what a test makes of the calls behind the check */
    static volatile uint32_t size = (uint32_t)offsetof(aiki_run_api, child_start);
    const aiki_run_api old = {.struct_size = size};
    aiki_run run = {.api = &old};
    aiki_error err = AIKI_ERROR_INIT;
    aiki_future future = 0;
    (void)state;
    assert_int_equal(aiki_child(&run, "ship", "", nil, NULL, &err), AIKI_UNSUPPORTED);
    assert_string_equal(err.code, "RUNTIME_TOO_OLD");
    assert_non_null(strstr(err.message, "ABI 1.1"));
    assert_int_equal(aiki_sleep_until(&run, "alarm", 1, &err), AIKI_UNSUPPORTED);
    assert_int_equal(aiki_future_cancel(&run, 1, &err), AIKI_UNSUPPORTED);
    assert_int_equal(aiki_child_start(&run, "ship", "", nil, NULL, &future, NULL), AIKI_UNSUPPORTED);
    assert_int_equal(future, 0);
    assert_false(aiki_run_cancelled(&run));
    aiki_protected(&run)
        future = 1; /* a scope that protects nothing is left like any other */
    assert_int_equal(future, 1);
}

/* Values and defaults reach the task, its answer comes back, retries keep the same key. */
static void typed_call(void **state)
{
    const aiki_memory memory = aiki_run_memory((aiki_run *)*state);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output = nil;
    struct done done = {0};
    assert_int_equal(fake_host_run(*state, "one", job_of("third", 42), &output, &err), AIKI_OK);
    assert_int_equal(fake_host_attempts(*state), 3);
    assert_int_equal(done_decode(output, &memory, &done, &err), AIKI_OK);
    assert_int_equal(done.number, 42);
    assert_string_equal(done.text, "third key-1");
}

/* The error a task reported is the run's, retried or not as it says. */
static void failures_arrive_whole(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output = nil;
    assert_int_equal(fake_host_run(*state, "one", job_of("fail", 1), &output, &err), AIKI_FAILED);
    assert_string_equal(err.code, "NOT_NOW");
    assert_string_equal(err.message, "number 1");
    assert_int_equal(fake_host_attempts(*state), 4);
    assert_int_equal(fake_host_run(*state, "one", job_of("final", 2), &output, &err), AIKI_FAILED);
    assert_int_equal(err.flags, AIKI_ERROR_FINAL);
    assert_int_equal(fake_host_attempts(*state), 5);
    assert_int_equal(fake_host_task(*state, "work", job_of("later", 3), 1, &output, &err),
                     AIKI_FAILED);
    assert_int_equal(err.retry_after_ms, 5000);
    assert_int_equal(err.flags, 0);
    assert_int_equal(fake_host_run(*state, "refuse", nil, &output, &err), AIKI_FAILED);
    assert_string_equal(err.message, "RUN said no");
}

/* What does not fit its record fails for good, on each of the four ways. */
static void schemas_hold_everywhere(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output = nil;
    assert_int_equal(fake_host_run(*state, "one", nil, &output, &err), AIKI_SCHEMA);
    assert_string_equal(err.message, "how: is required");
    assert_int_equal(fake_host_task(*state, "work", nil, 1, &output, &err), AIKI_FAILED);
    assert_string_equal(err.code, "SCHEMA_MISMATCH");
    assert_true((err.flags & AIKI_ERROR_FINAL) != 0);
    assert_int_equal(fake_host_run(*state, "one", job_of("bad-output", 1), &output, &err),
                     AIKI_FAILED);
    assert_string_equal(err.message, "number: must be at most 100, is 101");
    assert_int_equal(fake_host_attempts(*state), 2);
}

/* All: the first failure in the order given. Any: the index of what is done. */
static void many_at_once(void **state)
{
    static const uint8_t expected[] = {0x93, 1, 7, 0xc3};
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output = nil;
    assert_int_equal(fake_host_run(*state, "all", nil, &output, &err), AIKI_FAILED);
    assert_string_equal(err.message, "number 2");
    assert_int_equal(fake_host_run(*state, "any", nil, &output, &err), AIKI_OK);
    assert_int_equal(output.size_bytes, sizeof(expected));
    assert_memory_equal(output.data, expected, sizeof(expected));
    assert_int_equal(aiki_await_settled((aiki_run *)*state, NULL, 0, &err), AIKI_OK);
    assert_int_equal(aiki_await_all((aiki_run *)*state, NULL, 0, &err), AIKI_OK);
}

/* The payload of a signal is the workflow's, time passes by name. */
static void waiting(void **state)
{
    const aiki_view payload = {(const uint8_t *)"\xa2hi", 3};
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view output = nil;
    fake_host_signal(*state, "go", payload);
    assert_int_equal(fake_host_run(*state, "wait", nil, &output, &err), AIKI_OK);
    assert_int_equal(output.size_bytes, 3);
    assert_memory_equal(output.data, payload.data, 3);
    assert_int_equal(fake_host_slept_ms(*state), 2 * 3600 * 1000);
}

/* Whichever allocation fails, the run ends with an error or retries its way through. */
static void every_allocation_may_fail(void **state)
{
    aiki_view output = nil;
    uint32_t nth = 0;
    aiki_status st;
    (void)state;
    do {
        struct fake_host *h = fake_host_create(aiki_plugin_v1(AIKI_ABI_MAJOR, AIKI_ABI_MINOR));
        aiki_error err = AIKI_ERROR_INIT;
        fake_host_fail_alloc(h, ++nth);
        st = fake_host_run(h, "one", job_of("good", 1), &output, &err);
        if (st != AIKI_OK)
            assert_true(err.status != AIKI_OK);
        fake_host_destroy(h);
        assert_true(nth < 100);
    } while (nth < 20 || st != AIKI_OK);
}

/* Too long a code, message or text is cut or refused, never written past its end. */
static void text_is_bounded(void **state)
{
    char longer[1000];
    aiki_run *run = *state;
    aiki_error err = AIKI_ERROR_INIT;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(aiki_error_set(&err, AIKI_LIMIT, longer, "%s", longer), AIKI_LIMIT);
    assert_int_equal(strlen(err.code), AIKI_CODE_SIZE - 1);
    assert_int_equal(strlen(err.message), AIKI_MESSAGE_SIZE - 1);
    assert_int_equal(aiki_error_set(NULL, AIKI_LIMIT, longer, "%s", longer), AIKI_LIMIT);
    aiki_log(run, AIKI_LOG_INFO, "%s", longer);
    assert_int_equal(strlen(aiki_format(run, "%s", longer)), sizeof(longer) - 1);
    assert_null(aiki_format(run, "%*d", AIKI_TEXT_BYTES_MAX, 1));
    assert_non_null(aiki_format(run, "%*d", AIKI_TEXT_BYTES_MAX - 1, 1));
}

/* A writer that failed answers at its end, once, with what happened. */
static void failed_writers_are_reported(void **state)
{
    aiki_run *run = *state;
    aiki_error err = AIKI_ERROR_INIT;
    uint8_t small[2];
    aiki_writer w;
    aiki_writer_init_fixed(&w, small, sizeof(small));
    aiki_mp_str(&w, "too long");
    assert_int_equal(aiki_output(run, &w, &err), AIKI_LIMIT);
    assert_string_equal(err.code, "LIMIT");
    w = aiki_run_writer(run);
    fake_host_fail_alloc(*state, 2);
    for (int i = 0; i < 1000; i++)
        aiki_mp_uint(&w, 1);
    assert_int_equal(aiki_output(run, &w, &err), AIKI_NOMEM);
    assert_int_equal(w.size_bytes, 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(macros_fill_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_host_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(typed_call, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_arrive_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(schemas_hold_everywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(every_allocation_may_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(text_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(failed_writers_are_reported, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

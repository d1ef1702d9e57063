/* test_client_requests.c - what the client library asks, and what it makes of the answers, or of none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../support/played_server.h"

/* ---- requests ----------------------------------------------------------------------------- */

static void one_of_each(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    struct aiki_id run = remember_start(f, &frame);
    SEND(f, STARTED, frame.correlation, .run = run, .created = true, .state = RUN_QUEUED);
    frame = read_frame(f); /* status */
    SEND(f, RESULT, frame.correlation, .run = run, .state = RUN_RUNNING);
    frame = read_frame(f); /* signal */
    SEND(f, OK, frame.correlation, .count = 1);
    frame = read_frame(f); /* query */
    SEND(f, DOCUMENT, frame.correlation, .value = {(const uint8_t *)"\xa2ok", 3});
    frame = read_frame(f); /* wait */
    SEND(f, RESULT, frame.correlation, .run = run, .state = RUN_COMPLETED,
         .output = {(const uint8_t *)"\x2a", 1});
}

/* Start, status, signal, query and wait, each answered once. */
static void requests_and_answers(void **state)
{
    struct fixture *f = *state;
    play(f, one_of_each);
    open_client(f);
    char run_id[AIKI_RUN_ID_SIZE];
    bool flag = false;
    aiki_start s = hello_start();
    assert_int_equal(aiki_client_start(f->client, &s, run_id, &flag, &f->err), AIKI_OK);
    assert_true(flag);
    assert_int_equal(strlen(run_id), 26);

    int32_t run_state = 0;
    assert_int_equal(aiki_client_status(f->client, run_id, &run_state, &f->err), AIKI_OK);
    assert_int_equal(run_state, AIKI_RUN_RUNNING);
    assert_string_equal(aiki_run_state_name(run_state), "running");

    aiki_view none = {NULL, 0}, document;
    assert_int_equal(aiki_client_signal(f->client, run_id, "paid", none, NULL, &flag, &f->err),
                     AIKI_OK);
    assert_int_equal(aiki_client_query(f->client, "runs.list", none, &document, &f->err), AIKI_OK);
    assert_int_equal(document.size_bytes, 3);
    aiki_client_free(document.data);

    const aiki_outcome *outcome = NULL;
    assert_int_equal(aiki_client_wait(f->client, run_id, -1, &outcome, &f->err), AIKI_OK);
    assert_int_equal(outcome->state, AIKI_RUN_COMPLETED);
    assert_int_equal(outcome->output.size_bytes, 1);
    assert_int_equal(outcome->output.data[0], 0x2a);
    assert_null(outcome->error);
    aiki_client_free(outcome);
}

static void be_told(struct fixture *f)
{
    struct msg_START start;
    struct msg_CONTROL control;
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    bool ok = msg_START_read(frame.payload, &start, NULL) == AIKI_OK &&
              start.key_policy == KEY_REPLACE && start.start_at_ms == 77 && start.delay_ms == 0 &&
              start.run_timeout_ms == 88 && start.retry.size_bytes == 1;
    SEND(f, STARTED, frame.correlation, .run = start.run, .created = ok, .state = RUN_SCHEDULED);
    for (uint64_t action = CONTROL_CANCEL; action <= CONTROL_DROP; action++) {
        frame = read_frame(f);
        ok = frame.type == WIRE_CONTROL &&
             msg_CONTROL_read(frame.payload, &control, NULL) == AIKI_OK &&
             control.action == action && id_equal(&control.run, &start.run) &&
             view_is(control.actor, "c-client") &&
             view_is(control.reason, action == CONTROL_CANCEL ? "why" : "") &&
             view_is(control.step, action == CONTROL_RETRY ? "pay" : "");
        if (ok && action != CONTROL_PAUSE)
            SEND(f, OK, frame.correlation, .count = action != CONTROL_TERMINATE);
        else
            send_fault(f, frame.correlation, AIKI_STALE, "the run has ended");
    }
}

/* Every option of a start and every action reaches the server, and its answer the caller. */
static void options_and_control(void **state)
{
    struct fixture *f = *state;
    char run_id[AIKI_RUN_ID_SIZE];
    bool flag = false;
    play(f, be_told);
    open_client(f);
    aiki_start s = hello_start();
    s.key = "k";
    s.key_policy = AIKI_KEY_REPLACE;
    s.start_at_ms = 77;
    s.run_timeout_ms = 88;
    s.retry = (aiki_view){(const uint8_t *)"\x80", 1};
    assert_int_equal(aiki_client_start(f->client, &s, run_id, &flag, &f->err), AIKI_OK);
    assert_true(flag);
    assert_int_equal(aiki_client_cancel(f->client, run_id, "why", &f->err), AIKI_OK);
    const aiki_control terminate = {.struct_size = sizeof(terminate),
                                    .action = AIKI_CONTROL_TERMINATE};
    assert_int_equal(aiki_client_control(f->client, run_id, &terminate, &flag, &f->err), AIKI_OK);
    assert_false(flag);
    assert_int_equal(aiki_client_pause(f->client, run_id, NULL, &f->err), AIKI_STALE);
    assert_string_equal(f->err.message, "the run has ended");
    assert_int_equal(aiki_client_resume(f->client, run_id, NULL, &f->err), AIKI_OK);
    assert_int_equal(aiki_client_wake(f->client, run_id, NULL, &f->err), AIKI_OK);
    assert_int_equal(aiki_client_retry(f->client, run_id, "pay", &f->err), AIKI_OK);
    assert_int_equal(aiki_client_drop(f->client, run_id, NULL, &f->err), AIKI_OK);
}

static void hang_up_on_a_retry(struct fixture *f)
{
    struct msg_CONTROL first, again;
    char ref[AIKI_RUN_ID_SIZE] = "";
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    if (msg_CONTROL_read(frame.payload, &first, NULL) != AIKI_OK ||
        first.ref.size_bytes != sizeof(ref) - 1)
        return;
    memcpy(ref, first.ref.data, sizeof(ref) - 1);
    accept_one(f); /* hangs up on the first connection */
    welcome(f);
    frame = read_frame(f);
    if (msg_CONTROL_read(frame.payload, &again, NULL) != AIKI_OK || !view_is(again.ref, ref))
        return;
    SEND(f, OK, frame.correlation, .count = 1);
    frame = read_frame(f);
    if (msg_CONTROL_read(frame.payload, &again, NULL) == AIKI_OK && !view_is(again.ref, ref))
        SEND(f, OK, frame.correlation, .count = 1);
    frame = read_frame(f);
    if (msg_CONTROL_read(frame.payload, &again, NULL) == AIKI_OK && view_is(again.ref, "mine"))
        SEND(f, OK, frame.correlation, .count = 1);
}

/* An answer is lost: the request is sent again under its reference, so that a server which did it
 * does nothing; the next call is another one. Whoever has references of his own gives them. */
static void a_repeated_request_has_its_reference(void **state)
{
    struct fixture *f = *state;
    char run_id[AIKI_RUN_ID_SIZE];
    aiki_run_id_new(run_id);
    const aiki_control mine = {
        .struct_size = sizeof(mine), .action = AIKI_CONTROL_WAKE, .ref = "mine"};
    play(f, hang_up_on_a_retry);
    open_client(f);
    assert_int_equal(aiki_client_retry(f->client, run_id, NULL, &f->err), AIKI_OK);
    assert_int_equal(aiki_client_retry(f->client, run_id, NULL, &f->err), AIKI_OK);
    assert_int_equal(aiki_client_control(f->client, run_id, &mine, NULL, &f->err), AIKI_OK);
}

static void fail_the_run(struct fixture *f)
{
    aiki_error cause = {.struct_size = sizeof(cause)};
    aiki_error e = {.struct_size = sizeof(e)};
    (void)error_code(&cause, AIKI_UNAVAILABLE, "BANK_DOWN", "bank did not answer");
    (void)error_code(&e, AIKI_FAILED, "CARD_DECLINED", "card ending 4242 was declined");
    e.cause = &cause;
    e.details = (aiki_view){(const uint8_t *)"\x81\xa1n\x07", 4};
    aiki_writer w;
    buf_init(&w);
    error_write(&w, &e);
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    SEND(f, RESULT, frame.correlation, .state = RUN_FAILED, .error = aiki_writer_view(&w));
    buf_deinit(&w);
}

/* A failed run brings its whole error: code, message, details, cause. */
static void failed_run(void **state)
{
    struct fixture *f = *state;
    play(f, fail_the_run);
    open_client(f);
    char run_id[AIKI_RUN_ID_SIZE];
    aiki_run_id_new(run_id);
    const aiki_outcome *outcome = NULL;
    assert_int_equal(aiki_client_wait(f->client, run_id, -1, &outcome, &f->err), AIKI_FAILED);
    assert_string_equal(f->err.code, "CARD_DECLINED");
    assert_int_equal(f->err.details.size_bytes, 4);
    assert_non_null(f->err.cause);
    assert_string_equal(f->err.cause->code, "BANK_DOWN");
    assert_int_equal(outcome->state, AIKI_RUN_FAILED);
    assert_string_equal(outcome->error->message, "card ending 4242 was declined");
    aiki_client_free(outcome);
}

static void not_yet(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    SEND(f, RESULT, frame.correlation, .state = RUN_SLEEPING);
    frame = read_frame(f); /* the second wait is left without an answer */
    (void)read_frame(f);
}

/* A wait that ends early is TIMEDOUT, whether the server says so or says nothing. */
static void wait_times_out(void **state)
{
    struct fixture *f = *state;
    play(f, not_yet);
    open_client(f);
    char run_id[AIKI_RUN_ID_SIZE];
    aiki_run_id_new(run_id);
    const aiki_outcome *outcome = NULL;
    assert_int_equal(aiki_client_wait(f->client, run_id, 0, &outcome, &f->err), AIKI_TIMEDOUT);
    assert_non_null(strstr(f->err.message, "sleeping"));
    int64_t began = clock_mono_ms();
    assert_int_equal(aiki_client_wait(f->client, run_id, 50, &outcome, &f->err), AIKI_TIMEDOUT);
    assert_true(clock_mono_ms() - began < 2000);
    assert_null(outcome);
}

static void refuse(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    send_fault(f, frame.correlation, AIKI_SCHEMA, "input.name: required, found nil");
    frame = read_frame(f);
    send_fault(f, frame.correlation, AIKI_UNAVAILABLE, "starting");
    frame = read_frame(f); /* the same again */
    struct aiki_id run = remember_start(f, &frame);
    SEND(f, STARTED, frame.correlation, .run = run, .created = true, .state = RUN_QUEUED);
}

/* A refusal is passed on with its code; a busy server is asked again. */
static void refusals(void **state)
{
    struct fixture *f = *state;
    play(f, refuse);
    open_client(f);
    char run_id[AIKI_RUN_ID_SIZE];
    aiki_start s = hello_start();
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_SCHEMA);
    assert_string_equal(f->err.message, "input.name: required, found nil");
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_OK);
}

static void be_busy(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    for (struct frame frame = read_frame(f); frame.type != 0; frame = read_frame(f))
        send_fault(f, frame.correlation, AIKI_UNAVAILABLE, "the disk is full");
}

/* A server that stays busy ends the request in the end, with the server's reason. */
static void busy_for_too_long(void **state)
{
    struct fixture *f = *state;
    aiki_client_options o = {.struct_size = sizeof(o), .request_timeout_ms = 250};
    play(f, be_busy);
    assert_int_equal(aiki_client_open(f->url, &o, &f->client, &f->err), AIKI_OK);
    aiki_start s = hello_start();
    assert_int_equal(aiki_client_start(f->client, &s, NULL, NULL, &f->err), AIKI_UNAVAILABLE);
    assert_non_null(strstr(f->err.message, "the disk is full"));
}

static void lose_the_answer(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    (void)remember_start(f, &frame);
    accept_one(f); /* hangs up on the first connection */
    welcome(f);
    frame = read_frame(f);
    struct aiki_id run = remember_start(f, &frame);
    SEND(f, STARTED, frame.correlation, .run = run, .created = true, .state = RUN_QUEUED);
}

/* A start whose answer was lost is sent again with the same run id. */
static void lost_answer_is_repeated(void **state)
{
    struct fixture *f = *state;
    play(f, lose_the_answer);
    open_client(f);
    char run_id[AIKI_RUN_ID_SIZE];
    aiki_start s = hello_start();
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_OK);
    assert_int_equal(f->run_count, 2);
    assert_true(id_equal(&f->runs[0], &f->runs[1]));
}

static void go_away(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    (void)read_frame(f);
    shutdown(f->listener, SHUT_RDWR);
}

/* A server that stays away ends the request with UNAVAILABLE once request_timeout_ms is over. */
static void server_goes_away(void **state)
{
    struct fixture *f = *state;
    aiki_client_options o = {.struct_size = sizeof(o), .request_timeout_ms = 150};
    play(f, go_away);
    assert_int_equal(aiki_client_open(f->url, &o, &f->client, &f->err), AIKI_OK);
    char run_id[AIKI_RUN_ID_SIZE];
    aiki_run_id_new(run_id);
    assert_int_equal(aiki_client_wait(f->client, run_id, -1, NULL, &f->err), AIKI_UNAVAILABLE);
    assert_non_null(strstr(f->err.message, f->directory));
}

static void answer_garbage(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    SEND(f, OK, frame.correlation, .count = 1); /* not an answer to a start */
    frame = read_frame(f);
    aiki_writer w;
    buf_init(&w);
    uint64_t at = frame_begin(&w);
    aiki_mp_raw(&w, "\xff\xff", 2);
    (void)frame_end(&w, at, WIRE_STARTED, frame.correlation);
    send_out(f, &w);
    (void)read_frame(f);
}

/* Answers of the wrong kind or that do not decode end the request, not the process. */
static void garbage_answers(void **state)
{
    struct fixture *f = *state;
    play(f, answer_garbage);
    open_client(f);
    char run_id[AIKI_RUN_ID_SIZE];
    aiki_start s = hello_start();
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_CORRUPT);
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(requests_and_answers),
        CASE(options_and_control),
        CASE(a_repeated_request_has_its_reference),
        CASE(failed_run),
        CASE(wait_times_out),
        CASE(refusals),
        CASE(busy_for_too_long),
        CASE(lost_answer_is_repeated),
        CASE(server_goes_away),
        CASE(garbage_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_client.c - the client library against a server that is played by the test.
 *
 * The test's thread calls the blocking forms; a second thread plays the server from a script:
 * accept, read one frame, answer, hang up. Everything on a unix socket in a private directory.
 */
#include <aiki/client_record.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"
#include "wire/message.h"

struct fixture {
    char directory[64];
    char url[128];
    int listener;
    int fd; /* the open connection, -1 = none */
    aiki_writer in;
    uint64_t in_used; /* bytes of `in` that the last frame took */
    pthread_t thread;
    void (*script)(struct fixture *f);
    struct aiki_id runs[8]; /* what the server was asked about */
    unsigned run_count;
    aiki_client *client;
    aiki_error err;
};

/* ---- the server's side -------------------------------------------------------------------- */

static void accept_one(struct fixture *f)
{
    if (f->fd >= 0)
        close(f->fd);
    buf_clear(&f->in, 0);
    f->in_used = 0;
    f->fd = accept(f->listener, NULL, NULL);
}

/* The next frame; type 0 when the client hung up. */
static struct frame read_frame(struct fixture *f)
{
    struct frame frame = {0};
    buf_consume(&f->in, f->in_used);
    f->in_used = 0;
    for (;;) {
        uint64_t size = 0;
        aiki_view have = aiki_writer_view(&f->in);
        aiki_status st = frame_read(have, &frame, &size, NULL);
        if (st == AIKI_OK) {
            f->in_used = size;
            return frame;
        }
        uint8_t chunk[4096];
        ssize_t n = read(f->fd, chunk, sizeof(chunk));
        if (n <= 0 || st != AIKI_PENDING)
            return (struct frame){0};
        aiki_mp_raw(&f->in, chunk, (uint64_t)n);
    }
}

static void send_out(struct fixture *f, aiki_writer *w)
{
    (void)send(f->fd, w->data, w->size_bytes, MSG_NOSIGNAL); /* the reader tells */
    buf_deinit(w);
}

#define SEND(f, NAME, correlation, ...)                                                            \
    do {                                                                                           \
        aiki_writer w_;                                                                            \
        buf_init(&w_);                                                                             \
        uint64_t at_ = frame_begin(&w_);                                                           \
        msg_##NAME##_write(&w_, &(struct msg_##NAME){__VA_ARGS__});                                \
        (void)frame_end(&w_, at_, WIRE_##NAME, correlation);                                       \
        send_out(f, &w_);                                                                          \
    } while (0)

static void welcome(struct fixture *f)
{
    struct frame hello = read_frame(f);
    SEND(f, WELCOME, hello.correlation, .major = WIRE_MAJOR, .lease_ms = 5000);
}

static struct aiki_id remember_start(struct fixture *f, const struct frame *frame)
{
    struct msg_START m = {0};
    (void)msg_START_read(frame->payload, &m, NULL);
    f->runs[f->run_count++] = m.run;
    return m.run;
}

static void send_fault(struct fixture *f, uint32_t correlation, aiki_status st, const char *message)
{
    aiki_error e = {.struct_size = sizeof(e)};
    aiki_writer w;
    (void)error_set(&e, st, "%s", message);
    buf_init(&w);
    error_write(&w, &e);
    SEND(f, FAULT, correlation, .status = st, .error = aiki_writer_view(&w));
    buf_deinit(&w);
}

static void *server_main(void *arg)
{
    struct fixture *f = arg;
    f->script(f);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    return NULL;
}

/* ---- fixture ------------------------------------------------------------------------------ */

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->fd = -1;
    f->err.struct_size = sizeof(f->err);
    buf_init(&f->in);
    strcpy(f->directory, "/tmp/aiki-test-client-XXXXXX");
    if (mkdtemp(f->directory) == NULL)
        return -1;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", f->directory);
    snprintf(f->url, sizeof(f->url), "unix:%s/s", f->directory);
    f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(f->listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(f->listener, 8) != 0)
        return -1;
    *state = f;
    return 0;
}

static void play(struct fixture *f, void (*script)(struct fixture *f))
{
    f->script = script;
    assert_int_equal(pthread_create(&f->thread, NULL, server_main, f), 0);
}

static void open_client(struct fixture *f)
{
    assert_int_equal(aiki_client_open(f->url, NULL, &f->client, &f->err), AIKI_OK);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    aiki_client_close(f->client);
    shutdown(f->listener, SHUT_RDWR);
    close(f->listener);
    if (f->script != NULL)
        pthread_join(f->thread, NULL);
    buf_deinit(&f->in);
    char path[128];
    snprintf(path, sizeof(path), "%s/s", f->directory);
    unlink(path);
    rmdir(f->directory);
    free(f);
    return 0;
}

static aiki_start hello_start(void)
{
    return (aiki_start){.struct_size = sizeof(aiki_start), .workflow = "hello"};
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Nobody listens: an answer within the time given, naming the address. */
static void open_without_server(void **state)
{
    struct fixture *f = *state;
    aiki_client_options o = {.struct_size = sizeof(o), .connect_timeout_ms = 120};
    char url[128];
    snprintf(url, sizeof(url), "unix:%s/nobody", f->directory);
    int64_t began = clock_mono_ms();
    aiki_client *untouched = NULL;
    assert_int_equal(aiki_client_open(url, &o, &untouched, &f->err), AIKI_UNAVAILABLE);
    assert_null(untouched);
    assert_non_null(strstr(f->err.message, "nobody"));
    assert_in_range(clock_mono_ms() - began, 100, 2000);
}

static void never_answer(struct fixture *f)
{
    accept_one(f);
    (void)read_frame(f);
    (void)read_frame(f); /* until the client hangs up */
}

/* A server that accepts and stays silent counts as unreachable. */
static void open_with_silent_server(void **state)
{
    struct fixture *f = *state;
    aiki_client_options o = {.struct_size = sizeof(o), .connect_timeout_ms = 100};
    play(f, never_answer);
    assert_int_equal(aiki_client_open(f->url, &o, &f->client, &f->err), AIKI_UNAVAILABLE);
    assert_null(f->client);
}

static void turn_away(struct fixture *f)
{
    accept_one(f);
    struct frame hello = read_frame(f);
    send_fault(f, hello.correlation, AIKI_DENIED, "no such token");
    accept_one(f); /* the listener is shut down by then */
}

/* A refusal ends open() at once with the server's own words. */
static void open_denied(void **state)
{
    struct fixture *f = *state;
    play(f, turn_away);
    int64_t began = clock_mono_ms();
    assert_int_equal(aiki_client_open(f->url, NULL, &f->client, &f->err), AIKI_DENIED);
    assert_string_equal(f->err.message, "no such token");
    assert_true(clock_mono_ms() - began < 2000);
}

static void bad_urls(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(aiki_client_open(NULL, NULL, &f->client, &f->err), AIKI_INVALID);
    assert_int_equal(aiki_client_open("", NULL, &f->client, &f->err), AIKI_INVALID);
    assert_int_equal(aiki_client_open("aiki://", NULL, &f->client, &f->err), AIKI_INVALID);
}

/* ---- arguments ---------------------------------------------------------------------------- */

static void welcome_only(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    (void)read_frame(f);
}

/* Bad arguments are refused before anything is sent, and outputs stay untouched. */
static void bad_arguments(void **state)
{
    struct fixture *f = *state;
    play(f, welcome_only);
    open_client(f);
    char run_id[AIKI_RUN_ID_SIZE] = "untouched";
    aiki_start s = hello_start();

    s.workflow = "no spaces";
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_INVALID);
    s.workflow = NULL;
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_INVALID);
    s = hello_start();
    s.run_id = "not an id";
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_INVALID);
    s = hello_start();
    s.input = (aiki_view){(const uint8_t *)"\xc1", 1};
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_INVALID);
    uint8_t *big = calloc(1, PAYLOAD_BYTES_MAX + 1);
    s.input = (aiki_view){big, PAYLOAD_BYTES_MAX + 1};
    assert_int_equal(aiki_client_start(f->client, &s, run_id, NULL, &f->err), AIKI_LIMIT);
    free(big);
    assert_string_equal(run_id, "untouched");

    assert_int_equal(aiki_client_wait(f->client, NULL, 0, NULL, &f->err), AIKI_INVALID);
    assert_int_equal(aiki_client_wait(f->client, "x", 0, NULL, &f->err), AIKI_INVALID);
    aiki_view none = {NULL, 0};
    aiki_run_id_new(run_id);
    assert_int_equal(aiki_client_signal(f->client, run_id, "a/b", none, NULL, NULL, NULL),
                     AIKI_INVALID);
}

static aiki_status start_with(struct fixture *f, const aiki_start *options)
{
    aiki_start s = *options;
    s.struct_size = sizeof(s);
    s.workflow = "hello";
    return aiki_client_start(f->client, &s, NULL, NULL, &f->err);
}

static aiki_status control_with(struct fixture *f, const char *run_id, aiki_control c)
{
    c.struct_size = sizeof(c);
    return aiki_client_control(f->client, run_id, &c, NULL, &f->err);
}

/* The same for what 1.1 added. */
static void bad_options(void **state)
{
    struct fixture *f = *state;
    char run_id[AIKI_RUN_ID_SIZE], *text = calloc(1, 2000);
    play(f, welcome_only);
    open_client(f);
    assert_int_equal(start_with(f, &(aiki_start){.delay_ms = -1}), AIKI_INVALID);
    assert_int_equal(start_with(f, &(aiki_start){.start_at_ms = -1}), AIKI_INVALID);
    assert_int_equal(start_with(f, &(aiki_start){.run_timeout_ms = -1}), AIKI_INVALID);
    assert_int_equal(start_with(f, &(aiki_start){.delay_ms = 1, .start_at_ms = 1}), AIKI_INVALID);
    assert_int_equal(start_with(f, &(aiki_start){.key_policy = 3}), AIKI_INVALID);
    assert_int_equal(start_with(f, &(aiki_start){.key_policy = -1}), AIKI_INVALID);
    aiki_view broken = {(const uint8_t *)"\xc1", 1};
    assert_int_equal(start_with(f, &(aiki_start){.retry = broken}), AIKI_INVALID);

    aiki_run_id_new(run_id);
    assert_int_equal(aiki_client_control(f->client, run_id, NULL, NULL, &f->err), AIKI_INVALID);
    assert_int_equal(control_with(f, run_id, (aiki_control){.action = 0}), AIKI_INVALID);
    assert_int_equal(control_with(f, run_id, (aiki_control){.action = 8}), AIKI_INVALID);
    assert_int_equal(control_with(f, "x", (aiki_control){.action = 1}), AIKI_INVALID);
    assert_int_equal(aiki_client_retry(f->client, run_id, "no step", &f->err), AIKI_INVALID);
    assert_int_equal(control_with(f, run_id, (aiki_control){.action = 1, .from_step = "a"}),
                     AIKI_INVALID);
    memset(text, 'x', 1999);
    assert_int_equal(aiki_client_cancel(f->client, run_id, text, &f->err), AIKI_LIMIT);
    free(text);
}

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

/* ---- records ------------------------------------------------------------------------------ */

#define GREETED(F, R)                                                                              \
    F(R, str, name, AIKI_REQUIRED, AIKI_LENGTH(1, 10)) F(R, bytes, seal, AIKI_OPTIONAL)
AIKI_RECORD(greeted, GREETED);
AIKI_CLIENT_WORKFLOW(greet, "hello", greeted, greeted);

/* Answers a start with its own input, then with something that is no such record. */
static void answer_with_input(struct fixture *f)
{
    struct msg_START m = {0};
    accept_one(f);
    welcome(f);
    struct frame frame = read_frame(f);
    (void)msg_START_read(frame.payload, &m, NULL);
    uint8_t input[64];
    uint64_t size = m.input.size_bytes;
    memcpy(input, m.input.data, size);
    SEND(f, STARTED, frame.correlation, .run = m.run, .created = true, .state = RUN_QUEUED);
    frame = read_frame(f);
    SEND(f, RESULT, frame.correlation, .state = RUN_COMPLETED, .output = {input, size});
    frame = read_frame(f);
    SEND(f, RESULT, frame.correlation, .state = RUN_COMPLETED,
         .output = {(const uint8_t *)"\x2a", 1});
    (void)read_frame(f);
}

/* Records go out and come back; what breaks a rule is refused on either way. */
static void typed(void **state)
{
    struct fixture *f = *state;
    char run_id[AIKI_RUN_ID_SIZE] = "untouched";
    const aiki_start options = {.struct_size = sizeof(options), .workflow = "ignored", .key = "k"};
    const uint8_t bytes[] = {1, 2, 3};
    struct greeted in = {.name = "", .seal = {bytes, sizeof(bytes)}}, out = {0};
    aiki_kept kept = {0};
    play(f, answer_with_input);
    open_client(f);
    assert_int_equal(greet_start(f->client, &in, &options, run_id, NULL, &f->err), AIKI_SCHEMA);
    assert_string_equal(run_id, "untouched");

    in.name = "world";
    assert_int_equal(greet_start(f->client, &in, &options, run_id, NULL, &f->err), AIKI_OK);
    assert_int_equal(greet_result(f->client, run_id, -1, &out, &kept, &f->err), AIKI_OK);
    assert_string_equal(out.name, "world");
    assert_int_equal(out.seal.size_bytes, sizeof(bytes));
    assert_memory_equal(out.seal.data, bytes, sizeof(bytes));
    assert_int_equal(greet_result(f->client, run_id, -1, &out, &kept, &f->err), AIKI_SCHEMA);
    aiki_kept_free(&kept);
}

/* ---- callbacks ---------------------------------------------------------------------------- */

struct heard {
    aiki_client *client;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned started, ended, cancelled, refused_inside;
};

static void heard_started(void *arg, aiki_status st, const aiki_started *started,
                          const aiki_error *err)
{
    struct heard *h = arg;
    (void)err;
    int32_t run_state;
    pthread_mutex_lock(&h->lock);
    if (st == AIKI_OK)
        h->started++;
    else
        h->cancelled++;
    /* A blocking call from here would never end; it must say so instead. */
    if (started != NULL &&
        aiki_client_status(h->client, started->run_id, &run_state, NULL) == AIKI_INVALID)
        h->refused_inside++;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static void heard_outcome(void *arg, aiki_status st, const aiki_outcome *outcome,
                          const aiki_error *err)
{
    struct heard *h = arg;
    (void)err;
    pthread_mutex_lock(&h->lock);
    if (st == AIKI_OK && outcome->state == AIKI_RUN_COMPLETED)
        h->ended++;
    else if (st == AIKI_CANCELLED)
        h->cancelled++;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static void start_and_finish(struct fixture *f)
{
    accept_one(f);
    welcome(f);
    for (int i = 0; i < 3; i++) {
        struct frame frame = read_frame(f);
        struct aiki_id run = remember_start(f, &frame);
        uint32_t correlation = frame.correlation;
        SEND(f, STARTED, correlation, .run = run, .created = true, .state = RUN_QUEUED);
        if (i < 2)
            SEND(f, RESULT, correlation, .run = run, .state = RUN_COMPLETED);
    }
    (void)read_frame(f);
}

/* Several starts at once: each is told started, then ended; closing ends the one left open. */
static void callbacks(void **state)
{
    struct fixture *f = *state;
    play(f, start_and_finish);
    open_client(f);
    struct heard h = {.client = f->client};
    pthread_mutex_init(&h.lock, NULL);
    pthread_cond_init(&h.changed, NULL);
    aiki_start s = hello_start();
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            aiki_client_start_async(f->client, &s, heard_started, heard_outcome, &h, NULL),
            AIKI_OK);
    pthread_mutex_lock(&h.lock);
    while (h.started < 3 || h.ended < 2)
        pthread_cond_wait(&h.changed, &h.lock);
    pthread_mutex_unlock(&h.lock);
    aiki_client_close(f->client);
    f->client = NULL;
    assert_int_equal(h.cancelled, 1);
    assert_int_equal(h.refused_inside, 3);
    pthread_cond_destroy(&h.changed);
    pthread_mutex_destroy(&h.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(open_without_server),
        CASE(open_with_silent_server),
        CASE(open_denied),
        CASE(bad_urls),
        CASE(bad_arguments),
        CASE(bad_options),
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
        CASE(typed),
        CASE(callbacks),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

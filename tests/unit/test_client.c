/* test_client.c - the client library: opening, what it refuses at once, records and callbacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <semaphore.h>

#include "../support/played_server.h"

enum { BACKOFF_MS = 20 }; /* of the library: the longest pause behind the first attempt */

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

static sem_t looked;
static int came; /* whether somebody came to the listener; -1: nobody has looked */

static void deny_who_comes_back(struct fixture *f)
{
    struct pollfd listener = {.fd = f->listener, .events = POLLIN};
    accept_one(f);
    welcome(f);
    accept_one(f); /* it hangs up before */
    struct frame frame = read_frame(f);
    send_fault(f, frame.correlation, AIKI_DENIED, "no such token");
    came = poll(&listener, 1, 20 * BACKOFF_MS);
    (void)sem_post(&looked);
    accept_one(f);
    welcome(f);
    frame = read_frame(f);
    SEND(f, STARTED, frame.correlation, .run = remember_start(f, &frame), .created = true, .state = RUN_QUEUED);
    (void)read_frame(f);
}

/* With nothing to ask, who was denied does not come again and again; the next request makes a connection. */
static void denied_with_nothing_to_ask(void **state)
{
    struct fixture *f = *state;
    aiki_start s = hello_start();
    came = -1;
    assert_int_equal(sem_init(&looked, 0, 0), 0);
    play(f, deny_who_comes_back);
    open_client(f);
    while (sem_wait(&looked) != 0)
        ;
    assert_int_equal(came, 0);
    assert_int_equal(aiki_client_start(f->client, &s, NULL, NULL, &f->err), AIKI_OK);
    (void)sem_destroy(&looked);
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
    assert_int_equal(start_with(f, &(aiki_start){.key = ""}), AIKI_INVALID);
    assert_string_equal(f->err.code, "BAD_KEY");
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
        CASE(open_without_server),
        CASE(open_with_silent_server),
        CASE(open_denied),
        CASE(denied_with_nothing_to_ask),
        CASE(bad_urls),
        CASE(bad_arguments),
        CASE(bad_options),
        CASE(typed),
        CASE(callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

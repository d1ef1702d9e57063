/* test_session.c - the link to the server and its lease, with a server played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/fake_server.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/session.h"
#include "wire/error.h"

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct fake_server server;
    struct session *session;
    struct request request;
    unsigned ups, endings, closed, pushes, answers, lost_answers, conns_gone;
    int64_t ended_mono_ms;
    uint8_t seen_session;
};

static void on_up(void *arg)
{
    struct fixture *f = arg;
    f->ups++;
    f->seen_session = session_id(f->session)->bytes[0];
}

static void on_push(const struct frame *frame, void *arg)
{
    struct fixture *f = arg;
    (void)frame;
    f->pushes++;
}

static void on_ending(void *arg)
{
    struct fixture *f = arg;
    f->endings++;
    f->ended_mono_ms = clock_mono_ms();
    assert_null(session_conn(f->session));
}

static uint64_t busy(void *arg)
{
    (void)arg;
    return 7;
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;
    f->closed++;
}

static void on_conns_gone(void *arg)
{
    struct fixture *f = arg;
    f->conns_gone++;
}

static void on_answer(struct request *r, const struct frame *answer)
{
    struct fixture *f = container_of(r, struct fixture, request);
    f->answers += answer != NULL;
    f->lost_answers += answer == NULL;
}

static const struct session_callbacks callbacks = {.on_up = on_up,
                                                   .on_push = on_push,
                                                   .on_ending = on_ending,
                                                   .busy = busy,
                                                   .on_closed = on_closed};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    aiki_error err = AIKI_ERROR_INIT;
    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->conns = conn_loop_create(&f->loop);
    assert_non_null(f->conns);
    fake_server_start(&f->server, &f->loop, f->conns);
    const struct session_options options = {.server = f->server.address,
                                            .name = "worker",
                                            .token = "",
                                            .space = "default",
                                            .slots = 12};
    assert_int_equal(session_create(&f->session, &f->loop, f->conns, &options, &callbacks, f, &err),
                     AIKI_OK);
    f->request.on_answer = on_answer;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    session_close(f->session);
    fake_run_until(&f->loop, &f->closed, 1);
    fake_server_stop(&f->server);
    conn_loop_destroy(f->conns, on_conns_gone, f);
    fake_run_until(&f->loop, &f->conns_gone, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

static void come_up(struct fixture *f, unsigned times)
{
    fake_run_until(&f->loop, &f->ups, times);
    assert_non_null(session_conn(f->session));
}

/* HELLO says who this is; WELCOME names the session. */
static void it_greets_and_comes_up(void **state)
{
    struct fixture *f = *state;
    struct msg_HELLO hello;
    session_start(f->session);
    come_up(f, 1);
    const struct fake_frame *frame = fake_server_await(&f->server, WIRE_HELLO);
    assert_int_equal(msg_HELLO_read(frame->payload, &hello, NULL), AIKI_OK);
    assert_int_equal(hello.role, WIRE_ROLE_RUNTIME);
    assert_int_equal(hello.slots, 12);
    assert_true(view_is(hello.name, "worker"));
    assert_int_equal(f->seen_session, 1);
}

/* The server may be started later than the runtime. */
static void it_waits_for_a_server(void **state)
{
    struct fixture *f = *state;
    fake_server_listen(&f->server, false);
    session_start(f->session);
    for (int turn = 0; turn < 4; turn++) /* an attempt or two */
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->ups, 0);
    fake_server_listen(&f->server, true);
    come_up(f, 1);
    assert_int_equal(f->endings, 0);
}

/* Each answer finds its request; what nobody asked for is a push. */
static void answers_find_their_request(void **state)
{
    struct fixture *f = *state;
    session_start(f->session);
    come_up(f, 1);
    uint32_t number = session_expect(f->session, &f->request);
    assert_int_not_equal(number, 0);
    conn_send(f->server.conn, OK, number, .count = 1);
    fake_run_until(&f->loop, &f->answers, 1);
    conn_send(f->server.conn, OK, number, .count = 1); /* again: nobody waits any more */
    fake_run_until(&f->loop, &f->pushes, 1);
    assert_int_equal(f->answers, 1);
    uint32_t next = session_expect(f->session, &f->request);
    assert_int_not_equal(next, number);
    session_forget(f->session, next);
    conn_send(f->server.conn, OK, next, .count = 1);
    fake_run_until(&f->loop, &f->pushes, 2);
    assert_int_equal(f->answers, 1);
}

/* A lost connection ends everything that hung on it; the next session has another id. */
static void a_lost_connection_is_a_new_session(void **state)
{
    struct fixture *f = *state;
    session_start(f->session);
    come_up(f, 1);
    assert_int_not_equal(session_expect(f->session, &f->request), 0);
    fake_server_drop(&f->server);
    fake_run_until(&f->loop, &f->endings, 1);
    assert_int_equal(f->lost_answers, 1);
    come_up(f, 2);
    assert_int_equal(f->seen_session, 2);
}

/* Heartbeats come every third of the lease and carry the load. A process that gets no processor for the length of it
 * loses it: it is longer than that takes. */
static void heartbeats_keep_the_lease(void **state)
{
    struct fixture *f = *state;
    struct msg_HEARTBEAT beat;
    f->server.lease_ms = 1500;
    session_start(f->session);
    come_up(f, 1);
    for (int i = 0; i < 4; i++) {
        const struct fake_frame *frame = fake_server_await(&f->server, WIRE_HEARTBEAT);
        assert_int_equal(msg_HEARTBEAT_read(frame->payload, &beat, NULL), AIKI_OK);
        assert_int_equal(beat.busy, 7);
    }
    assert_int_equal(f->endings, 0);
}

/* No answer for a lease: it ends by itself, not before and not long after. */
static void silence_ends_the_session(void **state)
{
    struct fixture *f = *state;
    f->server.beats = false;
    f->server.lease_ms = 200;
    session_start(f->session);
    int64_t before = clock_mono_ms();
    come_up(f, 1);
    fake_run_until(&f->loop, &f->endings, 1);
    assert_true(f->ended_mono_ms - before >= 195); /* the loop's clock is in whole ms, and older */
    f->server.beats = true;
    come_up(f, 2);
}

/* The holder finds its lease over before any timer ran: a process that was stopped wakes up. */
static void a_stale_lease_is_found_on_use(void **state)
{
    struct fixture *f = *state;
    f->server.lease_ms = 500;
    session_start(f->session);
    come_up(f, 1);
    for (int64_t until = clock_mono_ms() + 510; clock_mono_ms() < until;)
        ; /* the loop stands still, as under SIGSTOP */
    uv_update_time(&f->loop);
    assert_null(session_conn(f->session));
    assert_int_equal(f->endings, 1);
}

/* A heartbeat that is refused: the server has ended the session. */
static void a_refused_heartbeat_ends_it(void **state)
{
    struct fixture *f = *state;
    f->server.beats = false;
    session_start(f->session);
    come_up(f, 1);
    session_suspect(f->session);
    const struct fake_frame *beat = fake_server_await(&f->server, WIRE_HEARTBEAT);
    fake_server_fault(&f->server, beat->correlation, AIKI_FENCED);
    f->server.beats = true;
    fake_run_until(&f->loop, &f->endings, 1);
    come_up(f, 2);
}

/* Refused or another major version: it keeps trying, and is never up. */
static void other_versions_are_refused(void **state)
{
    struct fixture *f = *state;
    f->server.welcomes = false;
    session_start(f->session);
    const struct fake_frame *hello = fake_server_await(&f->server, WIRE_HELLO);
    conn_send(f->server.conn, WELCOME, hello->correlation, .major = WIRE_MAJOR + 1,
              .lease_ms = 5000);
    hello = fake_server_await(&f->server, WIRE_HELLO);
    fake_server_fault(&f->server, hello->correlation, AIKI_DENIED);
    hello = fake_server_await(&f->server, WIRE_HELLO);
    assert_int_equal(f->ups, 0);
    conn_send(f->server.conn, WELCOME, hello->correlation, .major = WIRE_MAJOR, .lease_ms = 5000);
    come_up(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_greets_and_comes_up, setup, teardown),
        cmocka_unit_test_setup_teardown(it_waits_for_a_server, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_find_their_request, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_connection_is_a_new_session, setup, teardown),
        cmocka_unit_test_setup_teardown(heartbeats_keep_the_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_ends_the_session, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stale_lease_is_found_on_use, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_heartbeat_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(other_versions_are_refused, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

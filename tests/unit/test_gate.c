/* test_gate.c - a replay gate and the end of its session, with a server played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <aiki/plugin.h>

#include "../support/fake_server.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/gate.h"
#include "wire/id.h"

enum { LEASE_MS = 300, RUNS = GATE_AHEAD_MAX + 1 };

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct fake_server server;
    struct session *session;
    struct gate *gate;
    aiki_writer descriptor;
    unsigned ups, endings, closed, conns_gone, done, lost;
    uint32_t journals[GATE_AHEAD_MAX]; /* correlations */
};

static aiki_status nothing(aiki_call *call, aiki_view input)
{
    (void)call;
    (void)input;
    return AIKI_OK;
}

static aiki_status work(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)run;
    (void)input;
    (void)err;
    return AIKI_OK;
}

AIKI_PLUGIN("shop", "2.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("order", "1.0.0", work)),
            AIKI_TASKS(AIKI_TASK("ship", nothing)));

static void on_up(void *arg)
{
    struct fixture *f = arg;
    f->ups++;
}

/* The process stands still here until the lease is over, in the middle of what it has read. */
static void on_push(const struct frame *frame, void *arg)
{
    struct fixture *f = arg;
    (void)frame;
    for (int64_t until = clock_mono_ms() + LEASE_MS + 10; clock_mono_ms() < until;)
        ;
    uv_update_time(&f->loop);
}

static void on_ending(void *arg)
{
    struct fixture *f = arg;
    f->endings++;
}

static uint64_t busy(void *arg)
{
    (void)arg;
    return 0;
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

static void on_gate_done(const struct gate_result *result, void *arg)
{
    struct fixture *f = arg;
    f->done++;
    f->lost += result->lost;
}

static int setup(void **state)
{
    static const struct session_callbacks callbacks = {
        .on_up = on_up, .on_push = on_push, .on_ending = on_ending, .busy = busy, .on_closed = on_closed};
    struct fixture *f = calloc(1, sizeof(*f));
    aiki_error err = AIKI_ERROR_INIT;
    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->conns = conn_loop_create(&f->loop);
    fake_server_start(&f->server, &f->loop, f->conns);
    const struct session_options options = {
        .server = f->server.address, .name = "worker", .token = "", .space = "default", .slots = 1};
    assert_int_equal(session_create(&f->session, &f->loop, f->conns, &options, &callbacks, f, &err),
                     AIKI_OK);
    buf_init(&f->descriptor);
    assert_int_equal(
        descriptor_write(&f->descriptor, aiki_plugin_v1(AIKI_ABI_MAJOR, AIKI_ABI_MINOR), NULL), AIKI_OK);
    f->server.lease_ms = LEASE_MS;
    session_start(f->session);
    fake_run_until(&f->loop, &f->ups, 1);
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
    buf_deinit(&f->descriptor);
    free(f);
    return 0;
}

static void send_document(struct fixture *f, uint32_t correlation, const aiki_writer *w)
{
    conn_send(f->server.conn, DOCUMENT, correlation, .value = aiki_writer_view(w));
}

/* Up to where the first journals are asked for, and which tasks other builds have, without which no
 * process is started. */
static void begin(struct fixture *f)
{
    static const struct gate_route route = {{(const uint8_t *)"order", 5}, {(const uint8_t *)"1.0.0", 5}};
    const struct gate_options options = {.executable = "/nowhere/aiki-runtime",
                                         .label = "played.so@b1",
                                         .path = "/nowhere/played.so",
                                         .file = "played.so",
                                         .sandbox = view_of(""),
                                         .descriptor = aiki_writer_view(&f->descriptor),
                                         .routes = &route,
                                         .route_count = 1,
                                         .ms_max = GATE_MS_MAX};
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer w;
    assert_int_equal(gate_start(&f->gate, &f->loop, f->conns, f->session, &options, on_gate_done, f, &err),
                     AIKI_OK);
    buf_init(&w);
    aiki_mp_map(&w, 2);
    aiki_mp_str(&w, "total");
    aiki_mp_uint(&w, RUNS);
    aiki_mp_str(&w, "runs");
    aiki_mp_array(&w, RUNS);
    for (int i = 0; i < RUNS; i++) {
        const struct aiki_id run = id_new();
        char id[AIKI_ID_TEXT_SIZE];
        id_text(&run, id);
        aiki_mp_map(&w, 1);
        aiki_mp_str(&w, "id");
        aiki_mp_str(&w, id);
    }
    send_document(f, fake_server_await(&f->server, WIRE_QUERY)->correlation, &w);
    buf_deinit(&w);
    for (int i = 0; i < GATE_AHEAD_MAX; i++)
        f->journals[i] = fake_server_await(&f->server, WIRE_QUERY)->correlation;
    (void)fake_server_await(&f->server, WIRE_QUERY);
}

static void stand_still(struct fixture *f)
{
    conn_send(f->server.conn, NOTIFY, 0, .kind = NOTIFY_EVENT);
}

static void expect_lost(struct fixture *f)
{
    fake_run_until(&f->loop, &f->done, 1);
    fake_run_until(&f->loop, &f->ups, 2);
    assert_int_equal(f->endings, 1);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->lost, 1);
}

/* The lease is found over when the journal of another run is to be asked for. */
static void a_lease_over_before_the_next_run(void **state)
{
    struct fixture *f = *state;
    begin(f);
    stand_still(f);
    fake_server_fault(&f->server, f->journals[0], AIKI_NOT_FOUND);
    expect_lost(f);
}

/* So it is when the next page of a journal is. */
static void a_lease_over_before_the_next_page(void **state)
{
    struct fixture *f = *state;
    aiki_writer w;
    begin(f);
    stand_still(f);
    buf_init(&w);
    aiki_mp_map(&w, 3);
    aiki_mp_str(&w, "last");
    aiki_mp_uint(&w, 1);
    aiki_mp_str(&w, "seq");
    aiki_mp_uint(&w, 2);
    aiki_mp_str(&w, "events");
    aiki_mp_bin(&w, "x", 1);
    send_document(f, f->journals[1], &w);
    buf_deinit(&w);
    expect_lost(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lease_over_before_the_next_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lease_over_before_the_next_page, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

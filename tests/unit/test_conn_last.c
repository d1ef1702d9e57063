/* test_conn_last.c - last words: of a process whose loop thread does not come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/conn.h"
#include "wire/message.h"

enum { FRAME_BYTES = 64 * 1024, PLENTY = 64, TIMEOUT_MS = 50 };

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct conn *conn; /* NULL once closed */
    int peer;
    bool destroyed;
    aiki_writer words;
};

static void on_frame(struct conn *c, const struct frame *frame, void *arg)
{
    (void)c;
    (void)frame;
    (void)arg;
}

static void on_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct fixture *f = arg;
    (void)c;
    (void)status;
    (void)why;
    f->conn = NULL;
}

static void on_destroyed(void *arg) { *(bool *)arg = true; }

static void make_frame(aiki_writer *w, uint64_t payload_bytes, uint32_t correlation)
{
    uint64_t at = frame_begin(w);
    memset(aiki_mp_room(w, payload_bytes), 'p', payload_bytes);
    assert_int_equal(frame_end(w, at, WIRE_OK, correlation), AIKI_OK);
}

static int setup(void **state)
{
    static const struct conn_callbacks callbacks = {.on_frame = on_frame, .on_closed = on_closed};
    struct fixture *f = calloc(1, sizeof(*f));
    int fds[2];
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    f->conns = conn_loop_create(&f->loop);
    f->conn = conn_open_fd(f->conns, fds[0], &callbacks, f);
    f->peer = fds[1];
    buf_init(&f->words);
    make_frame(&f->words, 3, 99);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)close(f->peer);
    conn_loop_destroy(f->conns, on_destroyed, &f->destroyed);
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    assert_true(f->destroyed && f->conn == NULL);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_deinit(&f->words);
    free(f);
    return 0;
}

/* All that can be read now. */
static void receive(struct fixture *f, aiki_writer *w)
{
    uint8_t chunk[FRAME_BYTES];
    ssize_t n;
    while ((n = recv(f->peer, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0)
        aiki_mp_raw(w, chunk, (uint64_t)n);
}

static void correlations(const aiki_writer *w, uint32_t *ret, unsigned *ret_count)
{
    struct frame frame;
    uint64_t size;
    *ret_count = 0;
    for (uint64_t at = 0; at < w->size_bytes; at += size) {
        aiki_view rest = {w->data + at, w->size_bytes - at};
        assert_int_equal(frame_read(rest, &frame, &size, NULL), AIKI_OK);
        ret[(*ret_count)++] = frame.correlation;
    }
}

/* Without the loop: what waited for the end of the turn, then the words. */
static void they_follow_what_waits(void **state)
{
    struct fixture *f = *state;
    uint32_t came[4];
    unsigned count;
    aiki_writer w;
    buf_init(&w);
    conn_send(f->conn, OK, 1, .count = 1);
    conn_send(f->conn, OK, 2, .count = 1);
    conn_last_words(f->conn, aiki_writer_view(&f->words), TIMEOUT_MS);
    receive(f, &w);
    correlations(&w, came, &count);
    assert_int_equal(count, 3);
    assert_true(came[0] == 1 && came[1] == 2 && came[2] == 99);
    buf_deinit(&w);
    buf_clear(conn_out(f->conn), 0); /* the process would have ended */
}

/* Part of a frame has been given to the loop: whatever came behind it would tear it apart. */
static void a_frame_on_its_way_is_not_torn(void **state)
{
    struct fixture *f = *state;
    aiki_writer w;
    buf_init(&w);
    for (uint32_t i = 0; i < PLENTY; i++)
        make_frame(conn_out(f->conn), FRAME_BYTES, i);
    conn_flush(f->conn); /* the socket takes some of it */
    assert_true(conn_unsent_bytes(f->conn) > 0);
    receive(f, &w);
    uint64_t before = w.size_bytes;
    assert_true(before > 0);
    conn_last_words(f->conn, aiki_writer_view(&f->words), TIMEOUT_MS);
    receive(f, &w);
    assert_int_equal(w.size_bytes, before);
    buf_deinit(&w);
}

/* A peer that does not read costs the time given and no more. */
static void a_peer_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < PLENTY; i++)
        make_frame(conn_out(f->conn), FRAME_BYTES, i);
    int64_t began_mono_ms = clock_mono_ms();
    conn_last_words(f->conn, aiki_writer_view(&f->words), TIMEOUT_MS);
    assert_in_range(clock_mono_ms() - began_mono_ms, TIMEOUT_MS, 100 * TIMEOUT_MS);
    buf_clear(conn_out(f->conn), 0);
}

static void a_connection_that_is_closed(void **state)
{
    struct fixture *f = *state;
    aiki_writer w;
    buf_init(&w);
    conn_close(f->conn);
    conn_last_words(f->conn, aiki_writer_view(&f->words), TIMEOUT_MS);
    receive(f, &w);
    assert_int_equal(w.size_bytes, 0);
    buf_deinit(&w);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(they_follow_what_waits),
        CASE(a_frame_on_its_way_is_not_torn),
        CASE(a_peer_that_does_not_read),
        CASE(a_connection_that_is_closed),
    };
    return cmocka_run_group_tests_name("conn_last", tests, NULL, NULL);
}

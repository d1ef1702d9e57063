/* test_conn.c - framed connections over socketpairs, TCP and unix sockets. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/conn.h"
#include "wire/message.h"

/* One end of a connection and what happened to it. */
struct side {
    struct fixture *f;
    struct conn *conn; /* NULL once closed */
    unsigned opened, frames, batches, closed;
    uint64_t bytes;
    uint32_t last_correlation;
    unsigned close_after; /* frames until conn_close; 0 = never */
    unsigned echo_until;  /* answer each frame while frames < this */
    aiki_status status;
    char why[AIKI_MESSAGE_SIZE];
};

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct side a, b;
    struct conn_listener *listener;
    bool destroyed;
};

static void send_frame(struct conn *c, const void *bytes, uint64_t size, uint32_t correlation)
{
    uint64_t at = frame_begin(conn_out(c));
    aiki_mp_raw(conn_out(c), bytes, size);
    conn_end_frame(c, at, WIRE_OK, correlation);
}

static void on_open(struct conn *c, void *arg)
{
    struct side *s = arg;
    assert_true(conn_is_open(c));
    s->opened++;
}

static void on_frame(struct conn *c, const struct frame *frame, void *arg)
{
    struct side *s = arg;
    s->frames++;
    s->bytes += frame->payload.size_bytes;
    s->last_correlation = frame->correlation;
    if (s->frames < s->echo_until)
        send_frame(c, frame->payload.data, frame->payload.size_bytes, frame->correlation + 1);
    if (s->frames == s->close_after)
        conn_close(c);
}

static void on_batch(struct conn *c, void *arg)
{
    struct side *s = arg;
    assert_true(conn_is_open(c));
    s->batches++;
}

static void on_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct side *s = arg;
    assert_ptr_equal(c, s->conn);
    s->closed++;
    s->status = status;
    s->conn = NULL;
    (void)snprintf(s->why, sizeof(s->why), "%s", why);
}

static const struct conn_callbacks callbacks = {
    .on_open = on_open, .on_frame = on_frame, .on_batch = on_batch, .on_closed = on_closed};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->conns = conn_loop_create(&f->loop);
    f->a.f = f->b.f = f;
    *state = f;
    return 0;
}

static void on_destroyed(void *arg) { *(bool *)arg = true; }

/* Whatever a case left open goes with the loop; no handle, descriptor or byte stays behind. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    conn_loop_destroy(f->conns, on_destroyed, &f->destroyed);
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    assert_true(f->destroyed);
    assert_null(f->a.conn);
    assert_null(f->b.conn);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

static void run_until(struct fixture *f, const unsigned *what, unsigned at_least)
{
    while (*what < at_least)
        assert_true(uv_run(&f->loop, UV_RUN_ONCE) != 0 || *what >= at_least);
}

/* a is a conn, the other end a plain descriptor. */
static int half_pair(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    f->a.conn = conn_open_fd(f->conns, fds[0], &callbacks, &f->a);
    assert_true(conn_is_open(f->a.conn));
    return fds[1];
}

static void whole_pair(struct fixture *f)
{
    f->b.conn = conn_open_fd(f->conns, half_pair(f), &callbacks, &f->b);
}

static void make_frame(aiki_writer *w, uint64_t payload_bytes, uint32_t correlation)
{
    uint64_t at = frame_begin(w);
    memset(aiki_mp_room(w, payload_bytes), 'p', payload_bytes);
    assert_int_equal(frame_end(w, at, WIRE_OK, correlation), AIKI_OK);
}

static void one_byte_at_a_time(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer w;
    AUTO(close_fd) int fd = half_pair(f);
    buf_init(&w);
    for (uint32_t i = 1; i <= 3; i++)
        make_frame(&w, 5 * i, i);
    for (uint64_t i = 0; i < w.size_bytes; i++) {
        assert_int_equal(write(fd, w.data + i, 1), 1);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->a.frames, 3);
    assert_int_equal(f->a.bytes, 30);
    assert_int_equal(f->a.batches, 3);
    assert_int_equal(f->a.last_correlation, 3);
}

static void many_frames_in_one_read(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer w;
    AUTO(close_fd) int fd = half_pair(f);
    buf_init(&w);
    for (uint32_t i = 1; i <= 100; i++)
        make_frame(&w, 10, i);
    assert_int_equal(write(fd, w.data, w.size_bytes), w.size_bytes);
    run_until(f, &f->a.frames, 1);
    assert_int_equal(f->a.frames, 100);
    assert_int_equal(f->a.batches, 1);
}

/* Frames written in one turn leave together: the raw end sees them with one read. */
static void writes_of_one_turn_leave_together(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[4096];
    AUTO(close_fd) int fd = half_pair(f);
    for (uint32_t i = 0; i < 50; i++)
        conn_send(f->a.conn, OK, i, .count = i);
    assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    assert_true(n > 50 * FRAME_HEADER_BYTES);
    assert_int_equal(conn_unsent_bytes(f->a.conn), 0);
    conn_send(f->a.conn, OK, 1, .count = 1);
    conn_flush(f->a.conn); /* without the loop */
    assert_true(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > FRAME_HEADER_BYTES);
}

/* Each way of breaking a frame ends the connection with a reason that names it. */
static void broken_frames_close_with_a_reason(void **state)
{
    static const struct {
        unsigned offset;
        uint8_t flip;
        aiki_status status;
        const char *part;
    } cases[] = {{4, 0x01, AIKI_CORRUPT, "checksum"},  {16, 0x80, AIKI_CORRUPT, "checksum"},
                 {12, 0x01, AIKI_CORRUPT, "checksum"}, {3, 0x40, AIKI_LIMIT, "FRAME_BYTES_MAX"},
                 {10, 0x01, AIKI_UNSUPPORTED, "reserved"}};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        AUTO(buf) aiki_writer w;
        f->a = (struct side){.f = f};
        AUTO(close_fd) int fd = half_pair(f);
        buf_init(&w);
        make_frame(&w, 3, 1);
        make_frame(&w, 3, 2);
        w.data[19 + cases[i].offset] ^= cases[i].flip; /* in the second frame */
        make_frame(&w, 3, 3);
        assert_int_equal(write(fd, w.data, w.size_bytes), w.size_bytes);
        run_until(f, &f->a.closed, 1);
        assert_int_equal(f->a.frames, 1);
        assert_int_equal(f->a.status, cases[i].status);
        assert_non_null(strstr(f->a.why, cases[i].part));
    }
}

static void peer_closes(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer w;
    int fd = half_pair(f);
    assert_int_equal(close(fd), 0);
    run_until(f, &f->a.closed, 1);
    assert_int_equal(f->a.status, AIKI_UNAVAILABLE);
    assert_string_equal(f->a.why, "peer closed the connection");

    buf_init(&w);
    make_frame(&w, 100, 1);
    fd = half_pair(f);
    assert_int_equal(write(fd, w.data, 50), 50);
    assert_int_equal(close(fd), 0);
    run_until(f, &f->a.closed, 2);
    assert_non_null(strstr(f->a.why, "inside a frame (50 bytes"));
}

/* After conn_close in on_frame nothing more is delivered, and on_closed comes once. */
static void close_inside_on_frame(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer w;
    AUTO(close_fd) int fd = half_pair(f);
    f->a.close_after = 2;
    buf_init(&w);
    for (uint32_t i = 1; i <= 5; i++)
        make_frame(&w, 10, i);
    assert_int_equal(write(fd, w.data, w.size_bytes), w.size_bytes);
    run_until(f, &f->a.closed, 1);
    assert_int_equal(f->a.frames, 2);
    assert_int_equal(f->a.batches, 0);
    assert_int_equal(f->a.status, AIKI_OK);
    assert_int_equal(f->a.closed, 1);
}

/* What was written before conn_close still arrives. */
static void close_sends_what_waits(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64];
    AUTO(close_fd) int fd = half_pair(f);
    conn_send(f->a.conn, OK, 9, .count = 1);
    conn_close(f->a.conn);
    conn_close(f->a.conn);
    conn_send(f->a.conn, OK, 10, .count = 1); /* dropped, not a crash */
    run_until(f, &f->a.closed, 1);
    ssize_t n = read(fd, bytes, sizeof(bytes));
    struct frame frame;
    uint64_t size = 0;
    assert_int_equal(frame_read((aiki_view){bytes, (uint64_t)n}, &frame, &size, NULL), AIKI_OK);
    assert_int_equal(size, n);
    assert_int_equal(frame.correlation, 9);
}

/* 100,000 frames each way at once, far more than the socket's buffer takes. */
static void a_hundred_thousand_both_ways(void **state)
{
    struct fixture *f = *state;
    char payload[100];
    memset(payload, 'x', sizeof(payload));
    whole_pair(f);
    for (uint32_t i = 1; i <= 100000; i++) {
        send_frame(f->a.conn, payload, i % 100, i);
        send_frame(f->b.conn, payload, i % 100, i);
    }
    run_until(f, &f->a.frames, 100000);
    run_until(f, &f->b.frames, 100000);
    assert_int_equal(f->a.frames, 100000);
    assert_int_equal(f->b.frames, 100000);
    assert_int_equal(f->a.bytes, f->b.bytes);
    assert_int_equal(f->a.last_correlation, 100000);
    assert_int_equal(conn_unsent_bytes(f->a.conn), 0);
    assert_true(f->a.batches < 20000); /* read in large pieces */
}

static void ping_pong(void **state)
{
    struct fixture *f = *state;
    whole_pair(f);
    f->a.echo_until = f->b.echo_until = 10000;
    send_frame(f->a.conn, "ping", 4, 0);
    run_until(f, &f->b.frames, 10000);
    assert_int_equal(f->a.frames, 9999);
    assert_int_equal(f->b.last_correlation, 19998);
}

/* The largest frame passes between small ones; one byte more closes the sender. */
static void largest_frame(void **state)
{
    struct fixture *f = *state;
    AUTO(free) uint8_t *payload = calloc(1, FRAME_BYTES_MAX + 1);
    whole_pair(f);
    send_frame(f->a.conn, payload, 10, 1);
    send_frame(f->a.conn, payload, FRAME_BYTES_MAX, 2);
    send_frame(f->a.conn, payload, 5000, 3);
    send_frame(f->a.conn, payload, 10, 4);
    run_until(f, &f->b.frames, 4);
    assert_int_equal(f->b.bytes, 10 + FRAME_BYTES_MAX + 5000 + 10);
    assert_int_equal(f->b.last_correlation, 4);
    send_frame(f->a.conn, payload, FRAME_BYTES_MAX + 1, 5);
    run_until(f, &f->a.closed, 1);
    assert_int_equal(f->a.status, AIKI_LIMIT);
    assert_non_null(strstr(f->a.why, "FRAME_BYTES_MAX"));
    run_until(f, &f->b.closed, 1);
    assert_int_equal(f->b.frames, 4);
}

/* A peer that does not read is cut off once the named limit is reached. */
static void slow_reader_is_cut_off(void **state)
{
    struct fixture *f = *state;
    AUTO(free) uint8_t *payload = calloc(1, FRAME_BYTES_MAX);
    AUTO(close_fd) int fd = half_pair(f);
    unsigned sent = 0;
    while (f->a.closed == 0 && sent < 100) {
        send_frame(f->a.conn, payload, FRAME_BYTES_MAX, ++sent);
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(f->a.status, AIKI_LIMIT);
    assert_non_null(strstr(f->a.why, "CONN_UNSENT_BYTES_MAX"));
    assert_in_range(sent, 15, 18);
    (void)fd;
}

static void on_connection(uv_stream_t *listener, void *arg)
{
    struct fixture *f = arg;
    f->b.conn = conn_accept(f->conns, listener, &callbacks, &f->b);
    assert_true(conn_is_open(f->b.conn));
}

static void connect_and_talk(struct fixture *f, const char *listen_address, const char *to)
{
    aiki_error err = {0};
    assert_int_equal(conn_listen(f->conns, listen_address, on_connection, f, &f->listener, &err),
                     AIKI_OK);
    char address[300];
    const char *port = strrchr(conn_listener_address(f->listener), ':');
    (void)snprintf(address, sizeof(address), "%s%s", to, to[strlen(to) - 1] == ':' ? port + 1 : "");
    f->a.conn = conn_open(f->conns, address, &callbacks, &f->a);
    assert_false(conn_is_open(f->a.conn));
    send_frame(f->a.conn, "early", 5, 1); /* leaves when it opens */
    f->b.echo_until = 2;
    run_until(f, &f->a.frames, 1);
    assert_int_equal(f->a.opened, 1);
    assert_int_equal(f->b.opened, 0);
    assert_int_equal(f->b.frames, 1);
    conn_close(f->a.conn);
    run_until(f, &f->b.closed, 1);
    assert_string_equal(f->b.why, "peer closed the connection");
}

static void tcp_by_number(void **state) { connect_and_talk(*state, "127.0.0.1:0", "127.0.0.1:"); }

/* localhost may mean ::1 first; the next address is tried. */
static void tcp_by_name(void **state) { connect_and_talk(*state, "127.0.0.1:0", "localhost:"); }

static void unix_path(void **state)
{
    struct fixture *f = *state;
    char dir[] = "/tmp/aiki-conn-XXXXXX";
    char address[80];
    char path[64];
    struct stat st;
    struct conn_listener *second = NULL;
    aiki_error err = {0};
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/sock", dir);
    (void)snprintf(address, sizeof(address), "unix:%s", path);
    connect_and_talk(f, address, address);
    assert_string_equal(conn_listener_address(f->listener), address);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* a living owner keeps it, a dead one does not */
    assert_int_equal(conn_listen(f->conns, address, on_connection, f, &second, &err), AIKI_CONFLICT);
    assert_null(second);
    conn_listener_close(f->listener);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    AUTO(close_fd) int left = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    assert_int_equal(bind(left, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(conn_listen(f->conns, address, on_connection, f, &second, &err), AIKI_OK);
    conn_listener_close(second);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(rmdir(dir), 0);
}

static void expect_open_fails(struct fixture *f, const char *address, aiki_status status,
                              const char *part)
{
    f->a = (struct side){.f = f};
    f->a.conn = conn_open(f->conns, address, &callbacks, &f->a);
    assert_int_equal(f->a.closed, 0); /* never from inside the call */
    run_until(f, &f->a.closed, 1);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->a.closed, 1);
    assert_int_equal(f->a.opened, 0);
    assert_int_equal(f->a.status, status);
    if (strstr(f->a.why, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, f->a.why);
}

/* Refused, unknown and misspelt: reported once, with the address. */
static void failed_connects_are_reported_once(void **state)
{
    struct fixture *f = *state;
    char address[300];
    aiki_error err = {0};
    struct conn_listener *l = NULL;
    assert_int_equal(conn_listen(f->conns, "127.0.0.1:0", on_connection, f, &l, &err), AIKI_OK);
    (void)snprintf(address, sizeof(address), "%s", conn_listener_address(l));
    assert_int_equal(conn_listen(f->conns, address, on_connection, f, &f->listener, &err),
                     AIKI_CONFLICT);
    conn_listener_close(l);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    expect_open_fails(f, address, AIKI_UNAVAILABLE, "connection refused");
    assert_non_null(strstr(f->a.why, address));
    const char *colon = strrchr(address, ':');
    char by_name[300];
    (void)snprintf(by_name, sizeof(by_name), "localhost%s", colon);
    expect_open_fails(f, by_name, AIKI_UNAVAILABLE, "connection refused");
    expect_open_fails(f, "unix:/nowhere/at/all", AIKI_UNAVAILABLE, "unix:/nowhere/at/all");
    static const char *const bad[] = {"", "host", ":90", "host:", "host:x", "host:65536", "::1:90",
                                      "[]:1", "unix:", "h:1:2"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        expect_open_fails(f, bad[i], AIKI_INVALID, "address");
}

/* Closing while the connect or the look-up is under way still ends in one on_closed. */
static void close_while_connecting(void **state)
{
    struct fixture *f = *state;
    static const char *const addresses[] = {"127.0.0.1:9", "localhost:9", "unix:/nowhere"};
    for (unsigned i = 0; i < ARRAY_COUNT(addresses); i++) {
        f->a.conn = conn_open(f->conns, addresses[i], &callbacks, &f->a);
        send_frame(f->a.conn, "x", 1, 1);
        conn_close(f->a.conn);
        run_until(f, &f->a.closed, i + 1);
        assert_int_equal(f->a.status, AIKI_OK);
    }
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    f->a.conn = conn_open_fd(f->conns, fd, &callbacks, &f->a);
    run_until(f, &f->a.closed, ARRAY_COUNT(addresses) + 1);
    assert_int_equal(f->a.status, AIKI_INVALID);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(one_byte_at_a_time),
        CASE(many_frames_in_one_read),
        CASE(writes_of_one_turn_leave_together),
        CASE(broken_frames_close_with_a_reason),
        CASE(peer_closes),
        CASE(close_inside_on_frame),
        CASE(close_sends_what_waits),
        CASE(a_hundred_thousand_both_ways),
        CASE(ping_pong),
        CASE(largest_frame),
        CASE(slow_reader_is_cut_off),
        CASE(tcp_by_number),
        CASE(tcp_by_name),
        CASE(unix_path),
        CASE(failed_connects_are_reported_once),
        CASE(close_while_connecting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

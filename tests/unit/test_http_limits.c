/* test_http_limits.c - slow and greedy clients: every limit of http.h, without waiting for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "http/target.h"
#include "support/http_fixture.h"
#include "wire/event.h"

#define RUN  "01JD2V7Q8X3M5N7P9R1S3T5V7W"
#define HOST "Host: localhost\r\n"
#define POST "POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST

static void settle(struct fixture *f)
{
    struct response r = ask(f, "GET", "/healthz", "");
    assert_int_equal(r.status, 200);
    response_deinit(&r);
}

/* A connection without a request ends after HTTP_IDLE_MS, and not much earlier. */
static void idle(void **state)
{
    struct fixture *f = *state;
    int fresh = client_open(f);
    int used = client_open(f);
    client_text(f, used, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    struct response r = client_read(f, used);
    response_deinit(&r);
    clock_shift(HTTP_IDLE_MS - 5000);
    settle(f);
    assert_false(peer_closed(f, fresh));
    assert_false(peer_closed(f, used));
    clock_shift(6000);
    turn_until(f, fresh, peer_closed(f, fresh));
    turn_until(f, used, peer_closed(f, used));
    close(fresh);
    close(used);
}

/* One byte now and then does not keep a request alive. */
static void slow_head(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_text(f, fd, "GET /healthz HTTP/1.1\r\nHo");
    settle(f);
    for (int i = 0; i < 2; i++) {
        clock_shift(HTTP_IDLE_MS / 2);
        client_text(f, fd, "s");
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    clock_shift(1000);
    struct response r = client_read(f, fd);
    assert_error(&r, 408, "REQUEST_TIMEOUT");
    assert_true(r.closed);
    response_deinit(&r);
    turn_until(f, fd, peer_closed(f, fd));
    close(fd);
}

static void slow_body(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_text(f, fd, POST "Content-Length: 10\r\n\r\n{");
    settle(f);
    clock_shift(HTTP_BODY_MS - 1000);
    client_text(f, fd, "\"");
    settle(f);
    clock_shift(2000);
    struct response r = client_read(f, fd);
    assert_error(&r, 408, "REQUEST_TIMEOUT");
    response_deinit(&r);
    assert_int_equal(f->core.count, 0);
    close(fd);
}

/* Who does not read its answer is cut off. */
static void slow_reader(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 8 * 1024 * 1024 };
    AUTO(buf) aiki_writer value;
    buf_init(&value);
    aiki_mp_size_(&value, SIZE, 0, 0, 0xd9, 0xda, 0xdb);
    uint8_t *text = aiki_mp_room(&value, SIZE);
    assert_non_null(text);
    memset(text, 'x', SIZE);
    int fd = client_open(f);
    client_text(f, fd, "GET /v1/workers HTTP/1.1\r\n" HOST "\r\n");
    reply(f, await_asked(f, 1), DOCUMENT, .value = aiki_writer_view(&value));
    struct response r = client_read_head(f, fd);
    assert_int_equal(r.status, 200);
    response_deinit(&r);
    clock_shift(HTTP_WRITE_MS + 1000);
    char rest[65536];
    size_t got = 0;
    ssize_t n;
    do {
        turn(f, fd);
        n = recv(fd, rest, sizeof(rest), MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    assert_true(got < SIZE);
    close(fd);
    assert_int_equal(gauge(f, "aiki_http_held_bytes"), 0);
}

/* A store that hangs does not hold connections for ever. */
static void core_that_hangs(void **state)
{
    struct fixture *f = *state;
    int asking = client_open(f);
    client_text(f, asking, "GET /v1/workers HTTP/1.1\r\n" HOST "\r\n");
    (void)await_asked(f, 1);
    int waiting = client_open(f);
    client_text(f, waiting, "GET /v1/runs/" RUN "/result?wait=300s HTTP/1.1\r\n" HOST "\r\n");
    (void)await_asked(f, 2);
    clock_shift(HTTP_CORE_MS + 1000);
    struct response r = client_read(f, asking);
    assert_error(&r, 504, "NO_ANSWER");
    assert_int_equal(f->core.forgotten, 1);
    response_deinit(&r);
    clock_shift(HTTP_WAIT_MS_MAX);
    r = client_read(f, waiting);
    assert_error(&r, 504, "NO_ANSWER");
    assert_int_equal(f->core.forgotten, 2);
    response_deinit(&r);
    close(asking);
    close(waiting);
}

/* Deadlines of a phase start with the phase: a connection that is used lives on. */
static void used_connections_live(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    for (int i = 0; i < 5; i++) {
        client_text(f, fd, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
        struct response r = client_read(f, fd);
        assert_int_equal(r.status, 200);
        response_deinit(&r);
        clock_shift(HTTP_IDLE_MS - 2000);
    }
    close(fd);
}

static void send_many(struct fixture *f, int fd, size_t size)
{
    static char bytes[64 * 1024];
    memset(bytes, 'x', sizeof(bytes));
    for (; size > 0; size -= size < sizeof(bytes) ? size : sizeof(bytes))
        client_send(f, fd, bytes, size < sizeof(bytes) ? size : sizeof(bytes));
}

/* Over the body limit: read to its end, refused by name, and the connection goes on. */
static void large_body(void **state)
{
    struct fixture *f = *state;
    char head[200];
    int fd = client_open(f);
    (void)snprintf(head, sizeof(head), POST "Content-Length: %d\r\n\r\n", HTTP_BODY_BYTES_MAX + 1);
    client_text(f, fd, head);
    send_many(f, fd, HTTP_BODY_BYTES_MAX + 1);
    struct response r = client_read(f, fd);
    assert_error(&r, 413, "BODY_TOO_LARGE");
    assert_non_null(strstr(r.body, "HTTP_BODY_BYTES_MAX is 5242880"));
    assert_false(r.closed);
    response_deinit(&r);
    client_text(f, fd, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    r = client_read(f, fd);
    assert_int_equal(r.status, 200);
    response_deinit(&r);
    close(fd);
}

/* A body that is over by far, or by announcement, is not read at all. */
static void announced_body(void **state)
{
    struct fixture *f = *state;
    static const char *const heads[] = {
        POST "Content-Length: 100000000000\r\n\r\n",
        POST "Content-Length: 6000000\r\nExpect: 100-continue\r\n\r\n",
        "POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(heads); i++) {
        struct response r = ask_raw(f, heads[i]);
        assert_error(&r, i < 2 ? 413 : 404, i < 2 ? "BODY_TOO_LARGE" : "NO_SUCH_PATH");
        assert_true(r.closed);
        response_deinit(&r);
    }
}

static void send_chunks(struct fixture *f, int fd, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        client_text(f, fd, "10000\r\n");
        send_many(f, fd, 0x10000);
        client_text(f, fd, "\r\n");
    }
}

/* Chunks announce nothing: refused when they are over, cut off when they never end. */
static void chunked_body(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_text(f, fd, POST "Transfer-Encoding: chunked\r\n\r\n");
    send_chunks(f, fd, HTTP_BODY_BYTES_MAX / 0x10000 + 1);
    client_text(f, fd, "0\r\n\r\n");
    struct response r = client_read(f, fd);
    assert_error(&r, 413, "BODY_TOO_LARGE");
    response_deinit(&r);
    client_text(f, fd, POST "Transfer-Encoding: chunked\r\n\r\n");
    send_chunks(f, fd, HTTP_DRAIN_BYTES_MAX / 0x10000 + 10);
    turn_until(f, fd, peer_closed(f, fd));
    close(fd);
    settle(f);
}

/* JSON within the body limit whose msgpack is over the payload limit. */
static void large_payload(void **state)
{
    struct fixture *f = *state;
    size_t size = PAYLOAD_BYTES_MAX + 100;
    char *body = malloc(size + 1);
    assert_non_null(body);
    memset(body, 'x', size);
    memcpy(body, "{\"input\":\"", 10);
    memcpy(body + size - 2, "\"}", 3);
    struct response r = ask(f, "POST", "/v1/workflows/w/runs", body);
    assert_error(&r, 413, "PAYLOAD_TOO_LARGE");
    assert_non_null(strstr(r.body, "PAYLOAD_BYTES_MAX is 4194304"));
    response_deinit(&r);
    assert_int_equal(f->core.count, 0);
    free(body);
}

/* Long request lines and headers, to where libmicrohttpd itself says no. */
static void large_heads(void **state)
{
    struct fixture *f = *state;
    static const struct {
        size_t path, header;
        unsigned status;
        const char *code;
    } cases[] = {
        {100, 30 * 1024, 404, "NO_SUCH_PATH"},
        {TARGET_BYTES_MAX, 10, 414, "URI_TOO_LONG"},
        {10, HTTP_HEADER_BYTES_MAX, 431, "HEADERS_TOO_LARGE"},
        {10, 100 * 1024, 431, NULL},
        {100 * 1024, 10, 414, NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t size = cases[i].path + cases[i].header + 200;
        char *path = malloc(cases[i].path + 1), *header = malloc(cases[i].header + 1);
        char *text = malloc(size);
        assert_true(path != NULL && header != NULL && text != NULL);
        memset(path, 'p', cases[i].path);
        memset(header, 'h', cases[i].header);
        path[cases[i].path] = header[cases[i].header] = '\0';
        (void)snprintf(text, size, "GET /%s HTTP/1.1\r\n" HOST "X-Long: %s\r\n\r\n", path, header);
        struct response r = ask_raw(f, text);
        assert_int_equal(r.status, cases[i].status);
        if (cases[i].code != NULL)
            assert_error(&r, cases[i].status, cases[i].code);
        response_deinit(&r);
        free(path);
        free(header);
        free(text);
    }
    settle(f);
}

/* Bodies held at one time have a limit; beyond it a request is told to come back. */
static void held_bodies(void **state)
{
    struct fixture *f = *state;
    enum { EACH = 5 * 1024 * 1024, COUNT = HTTP_HELD_BYTES_MAX / EACH };
    int fds[COUNT + 1];
    char head[200];
    (void)snprintf(head, sizeof(head), POST "Content-Length: %d\r\n\r\n", EACH);
    for (uint64_t i = 0; i <= COUNT; i++) {
        fds[i] = client_open(f);
        client_text(f, fds[i], head);
        send_many(f, fds[i], EACH - 1);
        while (i < COUNT && gauge(f, "aiki_http_held_bytes") < (i + 1) * (EACH - 1))
            turn(f, -1);
    }
    client_text(f, fds[COUNT], "x");
    struct response r = client_read(f, fds[COUNT]);
    assert_error(&r, 503, "OVERLOADED");
    response_deinit(&r);
    for (int i = 0; i <= COUNT; i++)
        close(fds[i]);
    while (gauge(f, "aiki_http_held_bytes") > 0)
        turn(f, -1);
}

/* At HTTP_CONNECTIONS_MAX further ones wait in the backlog and are served later. */
static void many_connections(void **state)
{
    struct fixture *f = *state;
    int fds[HTTP_CONNECTIONS_MAX];
    for (int i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        fds[i] = client_open(f);
    int late = client_open(f);
    client_text(f, late, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    for (bool all = false; !all;) {
        client_text(f, fds[0], "GET /metrics HTTP/1.1\r\n" HOST "\r\n");
        struct response r = client_read(f, fds[0]);
        all = strstr(r.body, "aiki_http_connections 1024\n") != NULL;
        response_deinit(&r);
    }
    char byte;
    assert_int_equal(recv(late, &byte, 1, MSG_DONTWAIT), -1);
    close(fds[1]);
    struct response r = client_read(f, late);
    assert_int_equal(r.status, 200);
    response_deinit(&r);
    close(late);
    for (int i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        if (i != 1)
            close(fds[i]);
}

/* Out of descriptors, a connection waits until there is one. */
static void no_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    int served = client_open(f);
    client_text(f, served, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    struct response r = client_read(f, served);
    response_deinit(&r);
    int late = client_open(f);
    client_text(f, late, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    int next = dup(late); /* the number that an accepted one would get */
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    turn(f, -1);
    turn(f, -1);
    char byte;
    ssize_t early = recv(late, &byte, 1, MSG_DONTWAIT);
    close(served);
    r = client_read(f, late); /* both ends of the other one have ended */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(early, -1);
    assert_int_equal(r.status, 200);
    response_deinit(&r);
    close(late);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(idle),
        TEST(slow_head),
        TEST(slow_body),
        TEST(slow_reader),
        TEST(core_that_hangs),
        TEST(used_connections_live),
        TEST(large_body),
        TEST(announced_body),
        TEST(chunked_body),
        TEST(large_payload),
        TEST(large_heads),
        TEST(held_bodies),
        TEST(many_connections),
        TEST(no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

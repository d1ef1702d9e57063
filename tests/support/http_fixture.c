/* http_fixture.c - see http_fixture.h. */
#include "support/http_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"

enum { TURN_MS = 100 };

/* ---- the clock ---------------------------------------------------------------------------- */

static int64_t shift_ms;
static int64_t test_began_ms;
enum { TEST_MS_MAX = 30000 };

void clock_shift(int64_t ms)
{
    shift_ms += ms;
}

static int64_t real_ms(void)
{
    struct timespec now;
    (void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* In place of the C library's, also for libuv: deadlines pass without waiting for them. */
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *ret)
{
    long result = syscall(SYS_clock_gettime, clock, ret);
    if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)
        ret->tv_sec += shift_ms / 1000;
    return (int)result;
}

/* ---- the core ------------------------------------------------------------------------------ */

uint64_t core_request(struct core *c, uint32_t type, aiki_view payload, core_reply_fn fn, void *arg)
{
    assert_true(c->count < ASKED_MAX);
    struct asked *a = &c->asked[c->count++];
    *a = (struct asked){.token = c->count,
                        .type = type,
                        .size_bytes = payload.size_bytes,
                        .fn = fn,
                        .arg = arg,
                        .open = true};
    a->payload = malloc(payload.size_bytes + 1);
    assert_non_null(a->payload);
    memcpy(a->payload, payload.data, payload.size_bytes);
    return a->token;
}

void core_forget(struct core *c, uint64_t token)
{
    assert_true(token > 0 && token <= c->count && c->asked[token - 1].open);
    c->asked[token - 1].open = false;
    c->forgotten++;
}

bool core_is_ready(const struct core *c, const char **ret_why_not)
{
    if (c->not_ready != NULL)
        *ret_why_not = c->not_ready;
    return c->not_ready == NULL;
}

void core_metrics(struct core *c, aiki_writer *w)
{
    (void)c;
    aiki_mp_raw(w, "aiki_test_total 1\n", 18);
}

struct asked *last_asked(struct fixture *f)
{
    assert_true(f->core.count > 0);
    return &f->core.asked[f->core.count - 1];
}

struct asked *await_asked(struct fixture *f, unsigned count)
{
    turn_until(f, -1, f->core.count >= count);
    return last_asked(f);
}

void reply_bytes(struct fixture *f, struct asked *a, uint32_t type, aiki_view payload)
{
    (void)f;
    assert_true(a->open);
    a->open = false;
    a->fn(a->arg, type, payload);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int count_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* libuv keeps a pipe for signals from its first loop on. */
static void warm_up(void)
{
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int fixture_setup(void **state)
{
    return fixture_setup_tokens(state, NULL);
}

int fixture_setup_tokens(void **state, struct tokens *tokens)
{
    warm_up();
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_began_ms = real_ms();
    f->descriptors = count_descriptors();
    assert_int_equal(uv_loop_init(&f->loop), 0);
    const struct http_options options = {
        .listen = "127.0.0.1:0", .core = &f->core, .tokens = tokens};
    f->tokens = tokens;
    assert_int_equal(http_start(&f->http, &f->loop, &options, NULL), AIKI_OK);
    *state = f;
    return 0;
}

static void on_stopped(void *arg)
{
    struct fixture *f = arg;
    f->http = NULL;
    f->stopped = true;
}

void fixture_stop(struct fixture *f)
{
    http_stop(f->http, on_stopped, f);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->http != NULL && !f->stopped)
        fixture_stop(f);
    clock_shift(HTTP_STOP_MS + 1000);
    turn_until(f, -1, f->stopped);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    for (unsigned i = 0; i < f->core.count; i++) {
        assert_false(f->core.asked[i].open);
        free(f->core.asked[i].payload);
    }
    assert_int_equal(count_descriptors(), f->descriptors);
    tokens_close(f->tokens);
    free(f);
    return 0;
}

void turn(struct fixture *f, int fd)
{
    struct pollfd fds[] = {{.fd = uv_backend_fd(&f->loop), .events = POLLIN},
                           {.fd = fd, .events = POLLIN}};
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    uv_update_time(&f->loop);
    int timeout_ms = uv_backend_timeout(&f->loop);
    if (timeout_ms < 0 || timeout_ms > TURN_MS)
        timeout_ms = TURN_MS;
    (void)poll(fds, fd >= 0 ? 2 : 1, timeout_ms);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    if (real_ms() - test_began_ms > TEST_MS_MAX)
        fail_msg("waited for %d ms", TEST_MS_MAX);
}

/* ---- clients -----------------------------------------------------------------------------------
 */

int client_open(struct fixture *f)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(http_address(f->http), ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* Stops early when the server has closed. */
void client_send(struct fixture *f, int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n < 0)
            turn(f, -1);
        else {
            bytes += n;
            size -= (size_t)n;
        }
    }
}

void client_text(struct fixture *f, int fd, const char *text)
{
    client_send(f, fd, text, strlen(text));
}

/* One more byte; false at the end of the connection. */
static bool read_byte(struct fixture *f, int fd, char *ret)
{
    for (;;) {
        ssize_t n = recv(fd, ret, 1, MSG_DONTWAIT);
        if (n == 1)
            return true;
        if (n == 0 || errno != EAGAIN)
            return false;
        turn(f, fd);
    }
}

static void read_body(struct fixture *f, int fd, struct response *r, size_t size)
{
    size_t got = 0;
    r->body = calloc(1, size + 1);
    assert_non_null(r->body);
    while (got < size) {
        ssize_t n = recv(fd, r->body + got, size - got, MSG_DONTWAIT);
        assert_true(n != 0);
        if (n > 0)
            got += (size_t)n;
        else
            turn(f, fd);
    }
}

struct response client_read_head(struct fixture *f, int fd)
{
    enum { HEAD_BYTES_MAX = 4096 };
    struct response r = {0};
    size_t size = 0;
    r.head = calloc(1, HEAD_BYTES_MAX);
    assert_non_null(r.head);
    while (strstr(r.head, "\r\n\r\n") == NULL) {
        assert_true(size + 1 < HEAD_BYTES_MAX);
        if (!read_byte(f, fd, r.head + size++)) {
            r.closed = true;
            return r;
        }
    }
    assert_int_equal(sscanf(r.head, "HTTP/1.%*c %u", &r.status), 1);
    return r;
}

struct response client_read(struct fixture *f, int fd)
{
    struct response r = client_read_head(f, fd);
    if (r.status == 0)
        return r;
    if (r.status == 100) {
        response_deinit(&r);
        return client_read(f, fd);
    }
    const char *length = strcasestr(r.head, "content-length:");
    assert_non_null(length);
    read_body(f, fd, &r, (size_t)atoll(length + 15));
    r.closed = strcasestr(r.head, "connection: close") != NULL;
    return r;
}

void response_deinit(struct response *r)
{
    free(r->head);
    free(r->body);
    *r = (struct response){0};
}

struct response ask_raw(struct fixture *f, const char *text)
{
    int fd = client_open(f);
    client_text(f, fd, text);
    struct response r = client_read(f, fd);
    close(fd);
    return r;
}

struct response ask(struct fixture *f, const char *method, const char *path, const char *body)
{
    size_t size = strlen(path) + strlen(body) + 200;
    char *text = malloc(size);
    assert_non_null(text);
    (void)snprintf(text, size, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                   method, path, strlen(body), body);
    struct response r = ask_raw(f, text);
    free(text);
    return r;
}

bool peer_closed(struct fixture *f, int fd)
{
    char bytes[4096];
    ssize_t n;
    turn(f, fd);
    do
        n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    while (n > 0);
    return n == 0 || errno != EAGAIN;
}

uint64_t gauge(struct fixture *f, const char *name)
{
    char line[100];
    struct response r = ask(f, "GET", "/metrics", "");
    (void)snprintf(line, sizeof(line), "\n%s ", name);
    const char *at = strstr(r.body, line);
    assert_non_null(at);
    uint64_t value = strtoull(at + strlen(line), NULL, 10);
    response_deinit(&r);
    return value;
}

void assert_error(const struct response *r, unsigned status, const char *code)
{
    json_error_t why;
    if (r->status != status)
        fail_msg("status %u, expected %u %s: %s", r->status, status, code, r->body);
    json_t *root = json_loads(r->body, 0, &why);
    assert_non_null(root);
    const json_t *error = json_object_get(root, "error");
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    assert_true(json_string_length(json_object_get(error, "message")) > 0);
    assert_true(json_string_length(json_object_get(error, "category")) > 0);
    json_decref(root);
}

/* test_http.c - requests over real sockets against a core that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "support/http_fixture.h"
#include "wire/error.h"
#include "wire/event.h"

#define RUN  "01JD2V7Q8X3M5N7P9R1S3T5V7W"
#define HOST "Host: localhost\r\n"

static struct aiki_id run_id(void)
{
    struct aiki_id id;
    assert_int_equal(id_parse(RUN, strlen(RUN), &id, NULL), AIKI_OK);
    return id;
}

static void assert_json(aiki_view value, const char *expected)
{
    AUTO(buf) aiki_writer text;
    buf_init(&text);
    assert_int_equal(msgpack_to_json(value, 0, &text, NULL), AIKI_OK);
    aiki_mp_raw(&text, "", 1);
    assert_string_equal((const char *)text.data, expected);
}

static aiki_view packed(aiki_writer *w, const char *json)
{
    buf_init(w);
    assert_int_equal(json_to_msgpack(view_of(json), w, NULL), AIKI_OK);
    return aiki_writer_view(w);
}

/* Sends a request whose answer the core gives later. */
static int begin(struct fixture *f, const char *method, const char *path, const char *body)
{
    char text[1024];
    int fd = client_open(f);
    (void)snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n%s",
                   method, path, strlen(body), body);
    client_text(f, fd, text);
    return fd;
}

static void finish(struct fixture *f, int fd, unsigned status, const char *body)
{
    struct response r = client_read(f, fd);
    if (r.status != status || strcmp(r.body, body) != 0)
        fail_msg("%u %s, expected %u %s", r.status, r.body, status, body);
    response_deinit(&r);
    close(fd);
}

/* Health, readiness and metrics are answered without the core. */
static void health(void **state)
{
    struct fixture *f = *state;
    struct response r = ask(f, "GET", "/healthz", "");
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "{\"status\":\"ok\"}\n");
    response_deinit(&r);
    r = ask(f, "GET", "/readyz", "");
    assert_int_equal(r.status, 200);
    response_deinit(&r);
    f->core.not_ready = "Redis is away";
    r = ask(f, "GET", "/readyz", "");
    assert_error(&r, 503, "NOT_READY");
    assert_non_null(strstr(r.body, "Redis is away"));
    response_deinit(&r);
    r = ask(f, "GET", "/metrics", "");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "text/plain; version=0.0.4"));
    assert_non_null(strstr(r.body, "aiki_test_total 1\n"));
    response_deinit(&r);
    /* A request may be answered in the turn that sees the end of those before it. */
    turn_until(f, -1, gauge(f, "aiki_http_connections") == 1);
    assert_int_equal(f->core.count, 0);
}

/* A start arrives as START; a new run is 201 with its place, one the key named is 200. */
static void start(void **state)
{
    struct fixture *f = *state;
    struct msg_START m;
    int fd = begin(
        f, "POST", "/v1/workflows/hello/runs",
        "{\"input\": {\"name\": \"w\"}, \"key\": \"k\", \"version\": \"1.0.0\", \"actor\": null}");
    struct asked *a = await_asked(f, 1);
    assert_int_equal(a->type, WIRE_START);
    assert_int_equal(msg_START_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_true(view_is(m.workflow, "hello") && view_is(m.key, "k") && view_is(m.version, "1.0.0"));
    assert_true(m.actor.size_bytes == 0 && !m.want_result && id_is_zero(&m.run));
    assert_json(m.input, "{\"name\":\"w\"}");
    reply(f, a, STARTED, .run = run_id(), .created = true, .state = RUN_QUEUED,
          .version = view_of("1.0.0"));
    struct response r = client_read(f, fd);
    assert_int_equal(r.status, 201);
    assert_non_null(strstr(r.head, "Location: /v1/runs/" RUN "\r\n"));
    assert_string_equal(r.body, "{\"id\":\"" RUN "\",\"workflow\":\"hello\",\"version\":\"1.0.0\","
                                "\"state\":\"queued\",\"created\":true}\n");
    response_deinit(&r);
    close(fd);

    fd = begin(f, "POST", "/v1/workflows/hello/runs", "");
    a = await_asked(f, 2);
    assert_int_equal(msg_START_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_int_equal(m.input.size_bytes, 0);
    reply(f, a, STARTED, .run = run_id(), .created = false, .state = RUN_COMPLETED,
          .version = view_of("1.0.0"));
    finish(f, fd, 200,
           "{\"id\":\"" RUN
           "\",\"workflow\":\"hello\",\"version\":\"1.0.0\",\"state\":\"completed\","
           "\"created\":false}\n");
}

/* A result is 202 while the run goes on and 200 once it has ended, well or not. */
static void result(void **state)
{
    struct fixture *f = *state;
    struct msg_WAIT m;
    AUTO(buf) aiki_writer value;
    int fd = begin(f, "GET", "/v1/runs/" RUN "/result", "");
    struct asked *a = await_asked(f, 1);
    assert_int_equal(a->type, WIRE_WAIT);
    assert_int_equal(msg_WAIT_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_int_equal(m.timeout_ms, 0);
    reply(f, a, RESULT, .run = run_id(), .state = RUN_RUNNING);
    finish(f, fd, 202, "{\"id\":\"" RUN "\",\"state\":\"running\"}\n");

    fd = begin(f, "GET", "/v1/runs/" RUN "/result?wait=1500ms", "");
    a = await_asked(f, 2);
    assert_int_equal(msg_WAIT_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_int_equal(m.timeout_ms, 1500);
    reply(f, a, RESULT, .run = run_id(), .state = RUN_COMPLETED,
          .output = packed(&value, "{\"n\": 1}"));
    finish(f, fd, 200,
           "{\"id\":\"" RUN "\",\"state\":\"completed\",\"output\":{\"n\":1},\"error\":null}\n");
    buf_deinit(&value);

    fd = begin(f, "GET", "/v1/runs/" RUN "/result?wait=2m", "");
    a = await_asked(f, 3);
    assert_int_equal(msg_WAIT_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_int_equal(m.timeout_ms, 120000);
    reply(f, a, RESULT, .run = run_id(), .state = RUN_FAILED,
          .error = packed(&value, "{\"code\": \"NO\"}"));
    finish(f, fd, 200,
           "{\"id\":\"" RUN
           "\",\"state\":\"failed\",\"output\":null,\"error\":{\"code\":\"NO\"}}\n");
}

/* The body of a signal is its payload; a repeated reference is said to be one. */
static void signals(void **state)
{
    struct fixture *f = *state;
    struct msg_SIGNAL m;
    struct aiki_id id = run_id();
    int fd = begin(f, "POST", "/v1/runs/" RUN "/signals/decision?ref=a+b%2Bc", "[1, null]");
    struct asked *a = await_asked(f, 1);
    assert_int_equal(a->type, WIRE_SIGNAL);
    assert_int_equal(msg_SIGNAL_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_true(id_equal(&m.run, &id) && view_is(m.name, "decision") && view_is(m.ref, "a b+c"));
    assert_json(m.payload, "[1,null]");
    reply(f, a, OK, .count = 1);
    finish(f, fd, 200, "{\"id\":\"" RUN "\",\"recorded\":true}\n");
    fd = begin(f, "POST", "/v1/runs/" RUN "/signals/decision", "");
    a = await_asked(f, 2);
    assert_int_equal(msg_SIGNAL_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_json(m.payload, "null");
    reply(f, a, OK, .count = 0);
    finish(f, fd, 200, "{\"id\":\"" RUN "\",\"recorded\":false}\n");
}

/* When, until when, with which key policy and how persistently a run is to go. */
static void start_options(void **state)
{
    struct fixture *f = *state;
    struct msg_START m;
    int fd = begin(f, "POST", "/v1/workflows/hello/runs",
                   "{\"delay_ms\": 5000, \"start_at\": null, \"run_timeout_ms\": 60000, "
                   "\"key_policy\": \"replace\", \"retry\": {\"kind\": \"never\"}}");
    struct asked *a = await_asked(f, 1);
    assert_int_equal(msg_START_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_int_equal(m.delay_ms, 5000);
    assert_int_equal(m.start_at_ms, 0);
    assert_int_equal(m.run_timeout_ms, 60000);
    assert_int_equal(m.key_policy, KEY_REPLACE);
    assert_json(m.retry, "{\"kind\":\"never\"}");
    reply(f, a, STARTED, .run = run_id(), .created = true, .state = RUN_SCHEDULED,
          .version = view_of("1.0.0"));
    finish(f, fd, 201,
           "{\"id\":\"" RUN "\",\"workflow\":\"hello\",\"version\":\"1.0.0\","
           "\"state\":\"scheduled\",\"created\":true}\n");

    static const char *const times[] = {"\"2026-11-21T07:31:02.114Z\"", "1795246262114"};
    for (unsigned i = 0; i < ARRAY_COUNT(times); i++) {
        char body[80];
        (void)snprintf(body, sizeof(body), "{\"start_at\": %s}", times[i]);
        fd = begin(f, "POST", "/v1/workflows/hello/runs", body);
        a = await_asked(f, i + 2);
        assert_int_equal(msg_START_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
        assert_int_equal(m.start_at_ms, INT64_C(1795246262114));
        assert_int_equal(m.key_policy, KEY_SAME);
        reply(f, a, STARTED, .run = run_id(), .created = true, .state = RUN_SCHEDULED,
              .version = view_of("1.0.0"));
        struct response r = client_read(f, fd);
        assert_int_equal(r.status, 201);
        response_deinit(&r);
        close(fd);
    }
}

/* Each verb is a CONTROL with its action; who, why and from where are optional. */
static void controls(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *verb, *body;
        uint64_t action;
        const char *reason, *actor, *step;
    } cases[] = {
        {"cancel", "{\"reason\":\"too late\",\"actor\":\"ann\"}", CONTROL_CANCEL, "too late", "ann",
         ""},
        {"terminate", "", CONTROL_TERMINATE, "", "", ""},
        {"pause", "{}", CONTROL_PAUSE, "", "", ""},
        {"resume", "", CONTROL_RESUME, "", "", ""},
        {"wake", "{\"reason\":null}", CONTROL_WAKE, "", "", ""},
        {"retry", "{\"from\":\"charge\"}", CONTROL_RETRY, "", "", "charge"},
        {"retry", "", CONTROL_RETRY, "", "", ""},
    };
    struct aiki_id id = run_id();
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct msg_CONTROL m;
        char path[80];
        (void)snprintf(path, sizeof(path), "/v1/runs/" RUN "/%s", cases[i].verb);
        int fd = begin(f, "POST", path, cases[i].body);
        struct asked *a = await_asked(f, i + 1);
        assert_int_equal(a->type, WIRE_CONTROL);
        assert_int_equal(msg_CONTROL_read((aiki_view){a->payload, a->size_bytes}, &m, NULL),
                         AIKI_OK);
        assert_true(id_equal(&m.run, &id) && m.action == cases[i].action);
        assert_true(view_is(m.reason, cases[i].reason) && view_is(m.actor, cases[i].actor) &&
                    view_is(m.step, cases[i].step));
        reply(f, a, OK, .count = i % 2);
        finish(f, fd, 200,
               i % 2 ? "{\"id\":\"" RUN "\",\"changed\":true}\n"
                     : "{\"id\":\"" RUN "\",\"changed\":false}\n");
    }
}

/* Lists and histories are queries with their arguments; the document is the answer. */
static void queries(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *path, *what, *args;
    } cases[] = {
        {"/v1/runs", "runs.list", "{}"},
        {"/v1/runs?state=failed&limit=7&before=0&key=a%2Fb&workflow=w&version=1", "runs.list",
         "{\"state\":\"failed\",\"limit\":7,\"before\":0,\"key\":\"a/b\",\"workflow\":\"w\","
         "\"version\":\"1\"}"},
        {"/v1/runs/" RUN, "runs.get", "{\"id\":\"" RUN "\"}"},
        {"/v1/runs/" RUN "/history?after=3&limit=2", "runs.history",
         "{\"id\":\"" RUN "\",\"after\":3,\"limit\":2}"},
        {"/v1/runs/" RUN "/tree", "runs.tree", "{\"id\":\"" RUN "\"}"},
        {"/v1/workflows", "workflows.list", "{}"},
        {"/v1/workflows/w?version=2.0.0", "workflows.get",
         "{\"name\":\"w\",\"version\":\"2.0.0\"}"},
        {"/v1/workers", "workers.list", "{}"},
        {"/v1/plugins", "plugins.list", "{}"},
        {"/v1/server", "server.stats", "{}"},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct msg_QUERY m;
        AUTO(buf) aiki_writer value;
        int fd = begin(f, "GET", cases[i].path, "");
        struct asked *a = await_asked(f, i + 1);
        assert_int_equal(a->type, WIRE_QUERY);
        assert_int_equal(msg_QUERY_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
        assert_true(view_is(m.what, cases[i].what));
        assert_json(m.args, cases[i].args);
        reply(f, a, DOCUMENT, .value = packed(&value, "{\"x\": [1]}"));
        finish(f, fd, 200, "{\"x\":[1]}\n");
    }
}

/* What the core refuses comes out with the status that fits, its error as it is. */
static void faults(void **state)
{
    struct fixture *f = *state;
    static const struct {
        aiki_status status;
        unsigned http;
    } cases[] = {{AIKI_INVALID, 400},     {AIKI_NOT_FOUND, 404}, {AIKI_CONFLICT, 409},
                 {AIKI_SCHEMA, 422},      {AIKI_LIMIT, 413},     {AIKI_DENIED, 403},
                 {AIKI_UNAVAILABLE, 503}, {AIKI_INTERNAL, 500},  {AIKI_CORRUPT, 500}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        AUTO(buf) aiki_writer map;
        aiki_error err = AIKI_ERROR_INIT;
        buf_init(&map);
        (void)error_code(&err, cases[i].status, "SO_IT_IS", "because");
        error_write(&map, &err);
        int fd = begin(f, "GET", "/v1/workers", "");
        reply(f, await_asked(f, i + 1), FAULT, .status = cases[i].status,
              .error = aiki_writer_view(&map));
        struct response r = client_read(f, fd);
        assert_error(&r, cases[i].http, "SO_IT_IS");
        assert_int_equal(strstr(r.head, "Retry-After") != NULL, cases[i].http == 503);
        response_deinit(&r);
        close(fd);
    }
    int fd = begin(f, "GET", "/v1/workers", "");
    reply_bytes(f, await_asked(f, ARRAY_COUNT(cases) + 1), WIRE_DOCUMENT, view_of("\xc1"));
    struct response r = client_read(f, fd);
    assert_int_equal(r.status, 500);
    response_deinit(&r);
    close(fd);
}

/* HEAD is GET without the body. */
static void head_requests(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_text(f, fd,
                "HEAD /healthz HTTP/1.1\r\n" HOST "\r\nGET /healthz HTTP/1.1\r\n" HOST "\r\n");
    struct response r = client_read_head(f, fd);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Length: 16"));
    response_deinit(&r);
    finish(f, fd, 200, "{\"status\":\"ok\"}\n");
}

/* Several requests on one connection, sent at once, are answered in order. */
static void pipelined(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_text(f, fd,
                "GET /v1/workers HTTP/1.1\r\n" HOST "\r\nGET /nowhere HTTP/1.1\r\n" HOST
                "\r\nGET /v1/plugins HTTP/1.1\r\n" HOST "\r\n");
    AUTO(buf) aiki_writer value;
    reply(f, await_asked(f, 1), DOCUMENT, .value = packed(&value, "1"));
    struct response r = client_read(f, fd);
    assert_string_equal(r.body, "1\n");
    response_deinit(&r);
    r = client_read(f, fd);
    assert_error(&r, 404, "NO_SUCH_PATH");
    assert_false(r.closed);
    response_deinit(&r);
    reply(f, await_asked(f, 2), DOCUMENT, .value = aiki_writer_view(&value));
    finish(f, fd, 200, "1\n");
}

/* The same request in single bytes. */
static void byte_by_byte(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "POST /v1/runs/" RUN "/signals/s HTTP/1.1\r\n" HOST
                               "Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
    struct msg_SIGNAL m;
    int fd = client_open(f);
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        client_send(f, fd, text + i, 1);
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    struct asked *a = await_asked(f, 1);
    assert_int_equal(msg_SIGNAL_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_json(m.payload, "[1,2]");
    reply(f, a, OK, .count = 1);
    finish(f, fd, 200, "{\"id\":\"" RUN "\",\"recorded\":true}\n");
}

/* A megabyte in and out: converted on another thread, the same answer. */
static void large(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 1024 * 1024 };
    char *body = malloc(SIZE + 3);
    assert_non_null(body);
    memset(body, 'x', SIZE + 2);
    body[0] = body[SIZE + 1] = '"';
    body[SIZE + 2] = '\0';
    char head[200];
    (void)snprintf(head, sizeof(head),
                   "POST /v1/runs/" RUN "/signals/s HTTP/1.1\r\n" HOST
                   "Expect: 100-continue\r\nContent-Length: %d\r\n\r\n",
                   SIZE + 2);
    int fd = client_open(f);
    client_text(f, fd, head);
    struct response r = client_read_head(f, fd);
    assert_int_equal(r.status, 100);
    response_deinit(&r);
    client_text(f, fd, body);
    struct msg_SIGNAL m;
    struct asked *a = await_asked(f, 1);
    assert_int_equal(msg_SIGNAL_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    assert_int_equal(m.payload.size_bytes, SIZE + 5);
    reply(f, a, OK, .count = 1);
    finish(f, fd, 200, "{\"id\":\"" RUN "\",\"recorded\":true}\n");

    AUTO(buf) aiki_writer value;
    fd = begin(f, "GET", "/v1/workers", "");
    reply(f, await_asked(f, 2), DOCUMENT, .value = packed(&value, body));
    r = client_read(f, fd);
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body, body, SIZE + 2);
    response_deinit(&r);
    close(fd);
    assert_int_equal(gauge(f, "aiki_http_held_bytes"), 0);
    free(body);
}

/* Two hundred wait at once; all are answered, in any order. */
static void many_wait(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 200 };
    int fds[MANY];
    for (int i = 0; i < MANY; i++)
        fds[i] = begin(f, "GET", "/v1/runs/" RUN "/result?wait=30s", "");
    (void)await_asked(f, MANY);
    assert_int_equal(gauge(f, "aiki_http_waiting"), MANY);
    for (unsigned i = MANY; i-- > 0;)
        reply(f, &f->core.asked[i], RESULT, .run = run_id(), .state = RUN_RUNNING);
    for (int i = 0; i < MANY; i++)
        finish(f, fds[i], 202, "{\"id\":\"" RUN "\",\"state\":\"running\"}\n");
}

/* Who hangs up while waiting is forgotten at once, by close and by reset. */
static void gone_while_waiting(void **state)
{
    struct fixture *f = *state;
    const struct linger reset = {.l_onoff = 1};
    int closed = begin(f, "GET", "/v1/runs/" RUN "/result?wait=30s", "");
    int killed = begin(f, "GET", "/v1/runs/" RUN "/result?wait=30s", "");
    (void)await_asked(f, 2);
    close(closed);
    turn_until(f, -1, f->core.forgotten == 1);
    assert_int_equal(setsockopt(killed, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(killed);
    turn_until(f, -1, f->core.forgotten == 2);
    assert_int_equal(gauge(f, "aiki_http_waiting"), 0);
    turn_until(f, -1, gauge(f, "aiki_http_connections") == 1);
}

/* Who hangs up before an answer that is under way gets none, and nothing breaks. */
static void gone_before_the_answer(void **state)
{
    struct fixture *f = *state;
    close(begin(f, "GET", "/v1/workers", ""));
    AUTO(buf) aiki_writer value;
    reply(f, await_asked(f, 1), DOCUMENT, .value = packed(&value, "1"));
    struct response r = ask(f, "GET", "/healthz", "");
    assert_int_equal(r.status, 200);
    response_deinit(&r);
}

/* Data and the end that came with it are both seen, wherever the request was cut. */
static void gone_anywhere(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n[1]GET /healthz HTTP/1.1\r\n";
    for (size_t size = 0; size < sizeof(text); size++) {
        int fd = client_open(f);
        client_send(f, fd, text, size);
        close(fd);
        turn_until(f, -1, gauge(f, "aiki_http_connections") == 1);
    }
}

/* A client that sends no more than its request is answered, unless it is one that waits. */
static void half_closed(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer value;
    int fd = begin(f, "GET", "/v1/workers", "");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    reply(f, await_asked(f, 1), DOCUMENT, .value = packed(&value, "1"));
    finish(f, fd, 200, "1\n");
    fd = begin(f, "GET", "/healthz", "");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    finish(f, fd, 200, "{\"status\":\"ok\"}\n");
    fd = begin(f, "GET", "/v1/runs/" RUN "/result?wait=30s", "");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    turn_until(f, fd, f->core.forgotten == 1);
    turn_until(f, fd, peer_closed(f, fd));
    close(fd);
}

/* Stopping answers who waits, refuses who comes now, and ends. */
static void stop(void **state)
{
    struct fixture *f = *state;
    int waiting = begin(f, "GET", "/v1/runs/" RUN "/result?wait=30s", "");
    int asking = begin(f, "GET", "/v1/workers", "");
    (void)await_asked(f, 2);
    int idle = client_open(f);
    int sending = client_open(f);
    client_text(f, sending,
                "POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{");
    struct response r = ask(f, "GET", "/healthz", "");
    response_deinit(&r);
    fixture_stop(f);
    client_text(f, sending, "}");
    const int fds[] = {waiting, asking, sending};
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++) {
        r = client_read(f, fds[i]);
        assert_error(&r, 503, "STOPPING");
        assert_true(r.closed);
        response_deinit(&r);
        close(fds[i]);
    }
    turn_until(f, idle, f->stopped);
    assert_int_equal(f->core.forgotten, 2);
    close(idle);
}

/* A stop with a request that never ends its body does not wait for it for ever. */
static void stop_in_a_body(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_text(f, fd, "POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{");
    struct response r = ask(f, "GET", "/healthz", "");
    response_deinit(&r);
    fixture_stop(f);
    clock_shift(HTTP_STOP_MS + 1000);
    turn_until(f, fd, f->stopped);
    close(fd);
}

/* Addresses that cannot be listened on are named. */
static void bad_addresses(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", "nonsense", "127.0.0.1:99999", "unix:/tmp/x",
                                      "203.0.113.1:0"};
    struct http *h = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        const struct http_options options = {.listen = bad[i], .core = &f->core};
        assert_int_equal(http_start(&h, &f->loop, &options, &err), AIKI_INVALID);
        assert_true(strlen(err.message) > 0);
    }
    const struct http_options taken = {.listen = http_address(f->http), .core = &f->core};
    assert_int_equal(http_start(&h, &f->loop, &taken, &err), AIKI_CONFLICT);
    assert_null(h);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(health),
        TEST(start),
        TEST(result),
        TEST(signals),
        TEST(start_options),
        TEST(controls),
        TEST(queries),
        TEST(faults),
        TEST(head_requests),
        TEST(pipelined),
        TEST(byte_by_byte),
        TEST(large),
        TEST(many_wait),
        TEST(gone_while_waiting),
        TEST(gone_before_the_answer),
        TEST(gone_anywhere),
        TEST(half_closed),
        TEST(stop),
        TEST(stop_in_a_body),
        TEST(bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

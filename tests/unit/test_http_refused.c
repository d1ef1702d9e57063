/* test_http_refused.c - wrong requests: a coded answer, and the core is never asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/cleanup.h"
#include "support/http_fixture.h"
#include "support/token_file.h"

#define RUN  "01JD2V7Q8X3M5N7P9R1S3T5V7W"
#define HOST "Host: localhost\r\n"
#define LONG_NAME                                                                                  \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct wrong {
    const char *method, *path, *body;
    unsigned status;
    const char *code;
};

static void check(struct fixture *f, const struct wrong *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct response r = ask(f, cases[i].method, cases[i].path, cases[i].body);
        if (r.status != cases[i].status)
            fail_msg("%s %s: %u", cases[i].method, cases[i].path, r.status);
        assert_error(&r, cases[i].status, cases[i].code);
        assert_int_equal(f->core.count, 0);
        response_deinit(&r);
    }
}

/* Paths, methods, ids and parameters that do not exist. */
static void unknown_things(void **state)
{
    static const struct wrong cases[] = {
        {"GET", "/dashboard", "", 404, "NO_SUCH_PATH"},
        {"GET", "/nowhere", "", 404, "NO_SUCH_PATH"},
        {"GET", "/v1/runs/", "", 404, "NO_SUCH_PATH"},
        {"GET", "//v1/runs", "", 404, "NO_SUCH_PATH"},
        {"GET", "/v1/runs/a/b/c/d/e/f/g/h", "", 404, "NO_SUCH_PATH"},
        {"GET", "/v1/%72uns/zzz/", "", 404, "NO_SUCH_PATH"},
        {"DELETE", "/v1/runs", "", 405, "METHOD_NOT_ALLOWED"},
        {"POST", "/healthz", "", 405, "METHOD_NOT_ALLOWED"},
        {"GET", "/v1/workflows/w/runs", "", 405, "METHOD_NOT_ALLOWED"},
        {"OPTIONS", "/v1/runs", "", 405, "METHOD_NOT_ALLOWED"},
        {"PUT", "/v1/runs/" RUN "/signals/s", "1", 405, "METHOD_NOT_ALLOWED"},
        {"get", "/v1/runs", "", 405, "METHOD_NOT_ALLOWED"},
        {"GET", "/v1/runs/zzz", "", 400, "INVALID"},
        {"GET", "/v1/runs/" LONG_NAME, "", 400, "INVALID"},
        {"GET", "/v1/runs/" RUN "x/result", "", 400, "INVALID"},
        {"POST", "/v1/runs/zzz/signals/s", "", 400, "INVALID"},
        {"GET", "/v1/runs?stat=failed", "", 400, "UNKNOWN_PARAMETER"},
        {"GET", "/v1/runs?=1", "", 400, "UNKNOWN_PARAMETER"},
        {"GET", "/healthz?x=1", "", 400, "UNKNOWN_PARAMETER"},
        {"POST", "/v1/workflows/w/runs?key=1", "", 400, "UNKNOWN_PARAMETER"},
        {"GET", "/v1/runs?limit=ten", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs?limit=0", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs?limit=-1", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs?limit=1e3", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs?before=99999999999999999999999", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs?limit", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs?limit=", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs?limit=1&limit=2", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs/" RUN "/result?wait=soon", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs/" RUN "/result?wait=-1s", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs/" RUN "/result?wait=s", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs/" RUN "/result?wait=1h", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs/" RUN "/result?wait=301s", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs/" RUN "/result?wait=18446744073709551617ms", "", 400, "BAD_PARAMETER"},
        {"GET", "/v1/runs/%zz", "", 400, "BAD_TARGET"},
        {"GET", "/v1/runs/%4", "", 400, "BAD_TARGET"},
        {"GET", "/v1/runs/%00", "", 400, "BAD_TARGET"},
        {"GET", "/v1/workflows/%ff", "", 400, "BAD_TARGET"},
        {"GET", "/v1/runs?key=%00", "", 400, "BAD_TARGET"},
        {"GET", "/v1/runs#x", "", 400, "BAD_TARGET"},
        {"GET", "http://localhost/v1/runs", "", 400, "BAD_TARGET"},
        {"OPTIONS", "*", "", 400, "BAD_TARGET"},
        {"GET", "/v1/runs", "{}", 400, "UNEXPECTED_BODY"},
    };
    check(*state, cases, ARRAY_COUNT(cases));
}

/* Bodies that are no JSON, or not the JSON that is wanted. */
static void bad_bodies(void **state)
{
    static const char path[] = "/v1/workflows/w/runs";
    static const struct wrong cases[] = {
        {"POST", path, "{", 400, "JSON_SYNTAX"},
        {"POST", path, " ", 400, "JSON_SYNTAX"},
        {"POST", path, "{} x", 400, "JSON_SYNTAX"},
        {"POST", path, "\xff\xfe", 400, "JSON_SYNTAX"},
        {"POST", path, "{\"key\":\"a\",\"key\":\"b\"}", 400, "JSON_SYNTAX"},
        {"POST", path, "{\"input\":1e999}", 400, "JSON_NUMBER_RANGE"},
        {"POST", path, "{\"input\":{\"$bin\":\"?\"}}", 400, "JSON_BASE64"},
        {"POST", path, "\"text\"", 400, "BAD_BODY"},
        {"POST", path, "null", 400, "BAD_BODY"},
        {"POST", path, "[1,2]", 400, "BAD_BODY"},
        {"POST", path, "{\"key\":5}", 400, "BAD_BODY"},
        {"POST", path, "{\"version\":{}}", 400, "BAD_BODY"},
        {"POST", path, "{\"actor\":[]}", 400, "BAD_BODY"},
        {"POST", path, "{\"inptu\":{}}", 400, "UNKNOWN_MEMBER"},
        {"POST", path, "{\"\":1}", 400, "UNKNOWN_MEMBER"},
        {"POST", path, "{\"retry\":\"fixed\"}", 400, "BAD_BODY"},
        {"POST", path, "{\"key_policy\":\"newest\"}", 400, "BAD_BODY"},
        {"POST", path, "{\"delay_ms\":-1}", 400, "BAD_BODY"},
        {"POST", path, "{\"delay_ms\":1.5}", 400, "BAD_BODY"},
        {"POST", path, "{\"delay_ms\":18446744073709551615}", 400, "JSON_NUMBER_RANGE"},
        {"POST", path, "{\"run_timeout_ms\":\"5s\"}", 400, "BAD_BODY"},
        {"POST", path, "{\"start_at\":\"tomorrow\"}", 400, "BAD_BODY"},
        {"POST", path, "{\"start_at\":0}", 400, "BAD_BODY"},
        {"POST", path, "{\"start_at\":-5}", 400, "BAD_BODY"},
        {"POST", path, "{\"start_at\":5,\"delay_ms\":5}", 400, "BAD_BODY"},
        {"POST", "/v1/runs/" RUN "/signals/s", "{", 400, "JSON_SYNTAX"},
        {"POST", "/v1/runs/" RUN "/cancel", "{", 400, "JSON_SYNTAX"},
        {"POST", "/v1/runs/" RUN "/cancel", "[]", 400, "BAD_BODY"},
        {"POST", "/v1/runs/" RUN "/cancel", "{\"reason\":1}", 400, "BAD_BODY"},
        {"POST", "/v1/runs/" RUN "/cancel", "{\"from\":\"a\"}", 400, "UNKNOWN_MEMBER"},
        {"POST", "/v1/runs/" RUN "/retry", "{\"form\":\"a\"}", 400, "UNKNOWN_MEMBER"},
        {"POST", "/v1/runs/" RUN "/pause?now=1", "", 400, "UNKNOWN_PARAMETER"},
        {"POST", "/v1/runs/zzz/wake", "", 400, "INVALID"},
        {"GET", "/v1/runs/" RUN "/cancel", "", 405, "METHOD_NOT_ALLOWED"},
        {"POST", "/v1/runs/" RUN "/tree", "", 405, "METHOD_NOT_ALLOWED"},
    };
    check(*state, cases, ARRAY_COUNT(cases));
}

/* Deep nesting is refused before anything recurses, inline and on a thread of the pool. */
static void deep(void **state)
{
    struct fixture *f = *state;
    static const int depths[] = {64, 5000, 200 * 1000};
    for (size_t i = 0; i < ARRAY_COUNT(depths); i++) {
        size_t depth = (size_t)depths[i];
        char *body = malloc(depth + 1);
        assert_non_null(body);
        memset(body, '[', depth);
        body[depth] = '\0';
        struct response r = ask(f, "POST", "/v1/workflows/w/runs", body);
        assert_error(&r, 400, "JSON_TOO_DEEP");
        response_deinit(&r);
        free(body);
    }
    assert_int_equal(f->core.count, 0);
}

/* The methods that a path has are named with the refusal. */
static void allowed_methods(void **state)
{
    struct fixture *f = *state;
    struct response r = ask(f, "DELETE", "/v1/runs", "");
    assert_non_null(strstr(r.head, "Allow: GET, HEAD\r\n"));
    response_deinit(&r);
    r = ask(f, "GET", "/v1/workflows/w/runs", "");
    assert_non_null(strstr(r.head, "Allow: POST\r\n"));
    response_deinit(&r);
}

struct head_case {
    const char *head;
    unsigned status;
    const char *code; /* NULL: taken */
};

static void check_heads(struct fixture *f, const struct head_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text), "%s\r\n", cases[i].head);
        struct response r = ask_raw(f, text);
        if (r.status != cases[i].status)
            fail_msg("%s: %u", cases[i].head, r.status);
        if (cases[i].code != NULL)
            assert_error(&r, cases[i].status, cases[i].code);
        response_deinit(&r);
    }
    assert_int_equal(f->core.count, 0);
}

/* Names that this server does not go by are refused, whoever sends them. */
static void host_and_origin(void **state)
{
    struct fixture *f = *state;
    static const struct head_case cases[] = {
        {"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:9091\r\n", 200, NULL},
        {"GET /healthz HTTP/1.1\r\nHost: 10.1.2.3\r\n", 200, NULL},
        {"GET /healthz HTTP/1.1\r\nHost: [::1]:9091\r\n", 200, NULL},
        {"GET /healthz HTTP/1.1\r\nHost: LocalHost:80\r\n", 200, NULL},
        {"GET /healthz HTTP/1.1\r\nHost: aiki.example\r\n", 200, NULL},
        {"GET /healthz HTTP/1.0\r\n", 200, NULL},
        {"GET /healthz HTTP/1.1\r\n", 400, "BAD_HEADERS"},
        {"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost: localhost.evil.example\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1@evil\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost: localhost:x\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost: localhost:123456\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost: [::1\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost: [localhost]\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\nHost:\r\n", 403, "HOST_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\n" HOST "Origin: http://localhost\r\n", 200, NULL},
        {"GET /healthz HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\n", 403,
         "ORIGIN_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\n" HOST "Origin: http://localhost:81\r\n", 403,
         "ORIGIN_NOT_ALLOWED"},
        {"GET /healthz HTTP/1.1\r\n" HOST "Origin: null\r\n", 403, "ORIGIN_NOT_ALLOWED"},
        {"POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\n"
         "Content-Length: 0\r\n",
         403, "ORIGIN_NOT_ALLOWED"},
    };
    assert_int_equal(http_allow_host(f->http, "aiki.example", NULL), AIKI_OK);
    assert_int_equal(http_allow_host(f->http, "", NULL), AIKI_INVALID);
    assert_int_equal(http_allow_host(f->http, "a b", NULL), AIKI_INVALID);
    check_heads(f, cases, ARRAY_COUNT(cases));
    for (int i = 1; i < HTTP_HOSTS_MAX; i++)
        assert_int_equal(http_allow_host(f->http, "b.example", NULL), AIKI_OK);
    assert_int_equal(http_allow_host(f->http, "c.example", NULL), AIKI_LIMIT);
}

/* Requests that two parsers could cut in two ways end the connection. */
static void two_readings(void **state)
{
    static const struct head_case cases[] = {
        {"POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST "Content-Length: 0\r\nContent-Length: 5\r\n",
         400, "BAD_HEADERS"},
        {"POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST
         "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
         400, "BAD_HEADERS"},
        {"POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n", 400,
         "BAD_HEADERS"},
        {"POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST
         "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
         400, "BAD_HEADERS"},
        {"GET /healthz HTTP/1.1\r\n" HOST HOST, 400, "BAD_HEADERS"},
        {"POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST "Expect: miracles\r\nContent-Length: 5\r\n",
         400, "BAD_HEADERS"},
        {"POST /v1/workflows/w/runs HTTP/1.1\r\n" HOST
         "Content-Encoding: gzip\r\nContent-Length: 0\r\n",
         415, "CONTENT_ENCODING"},
    };
    check_heads(*state, cases, ARRAY_COUNT(cases));
}

/* What a wrong POST brings as its body is not taken for the next request. */
static void refused_body_is_no_request(void **state)
{
    struct fixture *f = *state;
    int fd = client_open(f);
    client_text(f, fd,
                "POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 43\r\n\r\n"
                "GET /v1/workers HTTP/1.1\r\nHost: localhost\r\n\r\n"
                "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    struct response r = client_read(f, fd);
    assert_error(&r, 404, "NO_SUCH_PATH");
    response_deinit(&r);
    r = client_read(f, fd);
    assert_int_equal(r.status, 200);
    response_deinit(&r);
    assert_int_equal(f->core.count, 0);
    close(fd);
}

/* ---- tokens -------------------------------------------------------------------------------- */

static int setup_tokens(void **state)
{
    struct token_file file;
    struct tokens *t = NULL;
    token_file_init(&file, TOKEN_LINES);
    assert_true(sodium_init() >= 0);
    aiki_status status = tokens_open(&t, file.path, NULL);
    token_file_deinit(&file);
    return status == AIKI_OK ? fixture_setup_tokens(state, t) : -1;
}

/* Everything but health and the page wants the token of a client, and says nothing else to who has none. */
static void tokens(void **state)
{
    struct fixture *f = *state;
    static const struct head_case cases[] = {
        {"GET /healthz HTTP/1.1\r\n" HOST, 200, NULL},
        {"GET / HTTP/1.1\r\n" HOST, 200, NULL},
        {"GET /readyz HTTP/1.1\r\n" HOST, 401, "TOKEN_REFUSED"},
        {"GET /metrics HTTP/1.1\r\n" HOST, 401, "TOKEN_REFUSED"},
        {"GET /nowhere HTTP/1.1\r\n" HOST, 401, "TOKEN_REFUSED"},
        {"PATCH /v1/runs HTTP/1.1\r\n" HOST, 401, "TOKEN_REFUSED"},
        {"GET /metrics HTTP/1.1\r\n" HOST "Authorization: Bearer " CLIENT_TOKEN "\r\n", 200,
         NULL},
        {"GET /metrics HTTP/1.1\r\n" HOST "authorization: bearer  " ANY_TOKEN " \r\n", 200,
         NULL},
        {"GET /nowhere HTTP/1.1\r\n" HOST "Authorization: Bearer " ANY_TOKEN "\r\n", 404,
         "NO_SUCH_PATH"},
        {"GET /metrics HTTP/1.1\r\n" HOST "Authorization: Bearer " RUNTIME_TOKEN "\r\n",
         401, "TOKEN_REFUSED"},
        {"GET /metrics HTTP/1.1\r\n" HOST "Authorization: Bearer\r\n", 401,
         "TOKEN_REFUSED"},
        {"GET /metrics HTTP/1.1\r\n" HOST "Authorization: Basic " ANY_TOKEN "\r\n", 401,
         "TOKEN_REFUSED"},
        {"GET /metrics HTTP/1.1\r\n" HOST "Authorization: Bearer " ANY_TOKEN
         "\r\nAuthorization: Bearer " ANY_TOKEN "\r\n",
         401, "TOKEN_REFUSED"},
        {"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer " ANY_TOKEN "\r\n", 403,
         "HOST_NOT_ALLOWED"},
    };
    check_heads(f, cases, ARRAY_COUNT(cases));
    struct response r = ask(f, "POST", "/v1/workflows/x/runs", "{\"input\":1}");
    assert_error(&r, 401, "TOKEN_REFUSED");
    assert_non_null(strstr(r.head, "WWW-Authenticate: Bearer realm=\"aiki\"\r\n"));
    assert_null(strstr(r.head, "Allow:"));
    response_deinit(&r);
    assert_int_equal(f->core.count, 0);
}

/* What is no HTTP ends its connection and nothing else. */
static void no_http(void **state)
{
    struct fixture *f = *state;
    uint32_t seed = 7;
    for (int i = 0; i < 300; i++) {
        char junk[300];
        size_t size = (size_t)(i % 299) + 1;
        for (size_t k = 0; k < size; k++) {
            seed = seed * 1664525 + 1013904223;
            junk[k] = (char)(seed >> 24);
        }
        if (i % 3 == 0)
            memcpy(junk, "GET / HTTP/1.1\r\n", size < 16 ? size : 16);
        int fd = client_open(f);
        client_send(f, fd, junk, size);
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        close(fd);
    }
    struct response r = ask(f, "GET", "/healthz", "");
    assert_int_equal(r.status, 200);
    response_deinit(&r);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(unknown_things),
        TEST(bad_bodies),
        TEST(deep),
        TEST(allowed_methods),
        TEST(host_and_origin),
        TEST(two_readings),
        TEST(refused_body_is_no_request),
        TEST(no_http),
        cmocka_unit_test_setup_teardown(tokens, setup_tokens, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

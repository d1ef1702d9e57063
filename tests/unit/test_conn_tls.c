/* test_conn_tls.c - connections over TLS: frames, sizes, and each reason not to talk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/conn.h"
#include "wire/error.h"
#include "wire/message.h"

static char folder[64];

struct side {
    struct conn *conn; /* NULL once closed */
    unsigned opened, frames, closed;
    uint32_t last_type;
    uint64_t bytes;
    bool echo;
    aiki_status status;
    char code[AIKI_CODE_SIZE], why[AIKI_MESSAGE_SIZE];
};

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct conn_listener *listener;
    struct tls *tls; /* the server's */
    bool alerts;     /* the server is none of ours and answers with an alert */
    struct side client, server;
    bool destroyed;
};

static const char *file(const char *name, char buffer[128])
{
    (void)snprintf(buffer, 128, "%s/%s", folder, name);
    return buffer;
}

/* name: of certificate and key, as below; NULL = none. */
static struct tls_files files(const char *name, const char *ca, char buffers[3][128])
{
    char with_end[64];
    struct tls_files f = {NULL, NULL, ca != NULL ? file(ca, buffers[0]) : NULL};
    if (name != NULL) {
        (void)snprintf(with_end, sizeof(with_end), "%s.pem", name);
        f.cert = file(with_end, buffers[1]);
        (void)snprintf(with_end, sizeof(with_end), "%s.key", name);
        f.key = file(with_end, buffers[2]);
    }
    return f;
}

/* ---- the two sides --------------------------------------------------------------------------- */

static void send_frame(struct conn *c, const void *bytes, uint64_t size)
{
    uint64_t at = frame_begin(conn_out(c));
    aiki_mp_raw(conn_out(c), bytes, size);
    conn_end_frame(c, at, WIRE_OK, 7);
}

static void on_open(struct conn *c, void *arg)
{
    struct side *s = arg;
    assert_true(conn_is_open(c));
    s->opened++;
}

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct side *s = arg;
    s->frames++;
    s->bytes += f->payload.size_bytes;
    s->last_type = f->type;
    if (s->echo)
        send_frame(c, f->payload.data, f->payload.size_bytes);
}

static void on_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct side *s = arg;
    s->conn = NULL;
    s->closed++;
    s->status = status;
    (void)snprintf(s->code, sizeof(s->code), "%s", conn_code(c));
    (void)snprintf(s->why, sizeof(s->why), "%s", why);
}

static const struct conn_callbacks callbacks = {
    .on_open = on_open, .on_frame = on_frame, .on_closed = on_closed};

static const uint8_t handshake_failure[] = {21, 3, 3, 0, 2, 2, 40};

static void on_connection(uv_stream_t *listener, void *arg)
{
    struct fixture *f = arg;
    f->server.conn = conn_accept_tls(f->conns, listener, f->tls, &callbacks, &f->server);
    assert_non_null(f->server.conn);
    if (f->alerts)
        conn_send_bytes(f->server.conn, (aiki_view){handshake_failure, sizeof(handshake_failure)});
}

static void run_until(struct fixture *f, const unsigned *what, unsigned at_least)
{
    while (*what < at_least) {
        assert_true(uv_run(&f->loop, UV_RUN_ONCE) != 0 || *what >= at_least);
        if (f->client.closed > 0 && what == &f->client.frames && *what < at_least)
            fail_msg("closed: %s %s", f->client.code, f->client.why);
    }
}

/* name: the server's certificate, client_ca: whose certificates it asks for; NULL = none. */
static void serve(struct fixture *f, const char *name, const char *client_ca)
{
    char buffers[3][128];
    const struct tls_files own = files(name, client_ca, buffers);
    if (name != NULL)
        assert_int_equal(tls_server_create(&f->tls, &own, NULL), AIKI_OK);
    assert_int_equal(conn_listen(f->conns, "127.0.0.1:0", on_connection, f, &f->listener, NULL),
                     AIKI_OK);
    f->server.echo = true;
}

static void dial(struct fixture *f, const char *prefix, const char *name, const char *ca)
{
    char buffers[3][128], address[64];
    const struct tls_files own = files(name, ca, buffers);
    struct tls *tls = NULL;
    assert_int_equal(tls_client_create(&tls, &own, NULL), AIKI_OK);
    conn_loop_set_tls(f->conns, tls);
    tls_unref(tls);
    (void)snprintf(address, sizeof(address), "%s%s", prefix, conn_listener_address(f->listener));
    f->client.conn = conn_open(f->conns, address, &callbacks, &f->client);
    assert_non_null(f->client.conn);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->conns = conn_loop_create(&f->loop);
    *state = f;
    return 0;
}

static void on_destroyed(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    conn_loop_destroy(f->conns, on_destroyed, &f->destroyed);
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    assert_true(f->destroyed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    tls_unref(f->tls);
    free(f);
    return 0;
}

static int make_certificates(void **state)
{
    char command[256];
    (void)state;
    strcpy(folder, "/tmp/aiki-test-tls-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(command, sizeof(command), "%s %s", CERTIFICATES, folder);
    return system(command);
}

static int remove_certificates(void **state)
{
    char command[256];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

/* ---- talking --------------------------------------------------------------------------------- */

/* What is written before the handshake is done leaves after it; all sizes arrive whole. */
static void frames_of_all_sizes(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[] = {0, 1, 100, 16383, 16384, 16385, 70000, 1 << 20, PAYLOAD_BYTES_MAX};
    AUTO(free) uint8_t *bytes = calloc(1, PAYLOAD_BYTES_MAX);
    uint64_t sum = 0;
    serve(f, "server", NULL);
    dial(f, "tls:", NULL, "ca.pem");
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        send_frame(f->client.conn, bytes, sizes[i]);
        sum += sizes[i];
    }
    run_until(f, &f->client.frames, ARRAY_COUNT(sizes));
    assert_int_equal(f->client.opened, 1);
    assert_int_equal(f->server.opened, 0); /* as without TLS */
    assert_int_equal(f->client.bytes, sum);
    assert_int_equal(f->server.bytes, sum);
    for (unsigned i = 0; i < 1000; i++)
        send_frame(f->client.conn, bytes, i);
    run_until(f, &f->client.frames, ARRAY_COUNT(sizes) + 1000);
    conn_close(f->client.conn);
    run_until(f, &f->server.closed, 1);
    assert_int_equal(f->server.status, AIKI_UNAVAILABLE);
    assert_string_equal(f->server.why, "peer closed the connection");
}

/* A peer that reads slowly gets everything, in pieces. */
static void more_than_the_socket_takes(void **state)
{
    struct fixture *f = *state;
    AUTO(free) uint8_t *bytes = calloc(1, PAYLOAD_BYTES_MAX);
    serve(f, "server", NULL);
    dial(f, "tls:", NULL, "ca.pem");
    for (unsigned i = 0; i < 12; i++)
        send_frame(f->client.conn, bytes, PAYLOAD_BYTES_MAX);
    assert_true(conn_unsent_bytes(f->client.conn) > 12ull * PAYLOAD_BYTES_MAX);
    run_until(f, &f->client.frames, 12);
    assert_int_equal(conn_unsent_bytes(f->client.conn), 0);
}

/* A server that asks for certificates takes those of its CA. */
static void both_sides_show_one(void **state)
{
    struct fixture *f = *state;
    serve(f, "server", "ca.pem");
    dial(f, "tls:", "client", "ca.pem");
    send_frame(f->client.conn, "x", 1);
    run_until(f, &f->client.frames, 1);
}

/* ---- not talking ----------------------------------------------------------------------------- */

static void expect_refusal(struct fixture *f, aiki_status status, const char *code)
{
    send_frame(f->client.conn, "x", 1);
    run_until(f, &f->client.closed, 1);
    if (f->server.closed == 0 && f->server.conn != NULL)
        run_until(f, &f->server.closed, 1);
    assert_string_equal(f->client.code, code);
    assert_int_equal(f->client.status, status);
    assert_true(f->client.why[0] != '\0');
    assert_int_equal(f->server.frames + f->client.frames, 0);
}

static void unknown_ca(void **state)
{
    struct fixture *f = *state;
    serve(f, "server", NULL);
    dial(f, "tls:", NULL, "other-ca.pem");
    expect_refusal(f, AIKI_DENIED, "TLS_UNKNOWN_CA");
    assert_int_equal(f->client.opened, 0);
}

static void wrong_name(void **state)
{
    struct fixture *f = *state;
    serve(f, "wrong-name", NULL);
    dial(f, "tls:", NULL, "ca.pem");
    expect_refusal(f, AIKI_DENIED, "TLS_WRONG_NAME");
}

static void expired(void **state)
{
    struct fixture *f = *state;
    serve(f, "expired", NULL);
    dial(f, "tls:", NULL, "ca.pem");
    expect_refusal(f, AIKI_DENIED, "TLS_EXPIRED");
}

static void weak_signature(void **state)
{
    struct fixture *f = *state;
    serve(f, "weak", NULL);
    dial(f, "tls:", NULL, "ca.pem");
    expect_refusal(f, AIKI_DENIED, "TLS_UNTRUSTED");
}

static void alert(void **state)
{
    struct fixture *f = *state;
    f->alerts = true;
    serve(f, NULL, NULL);
    dial(f, "tls:", NULL, "ca.pem");
    expect_refusal(f, AIKI_DENIED, "TLS_REFUSED");
}

/* The client believes to be through before the server has looked at its certificate. */
static void no_client_certificate(void **state)
{
    struct fixture *f = *state;
    serve(f, "server", "ca.pem");
    dial(f, "tls:", NULL, "ca.pem");
    expect_refusal(f, AIKI_DENIED, "TLS_CERTIFICATE_REFUSED");
    assert_int_equal(f->server.status, AIKI_DENIED);
    assert_string_equal(f->server.code, "TLS_NO_CERTIFICATE");
}

static void strange_client_certificate(void **state)
{
    struct fixture *f = *state;
    serve(f, "server", "ca.pem");
    dial(f, "tls:", "other-client", "ca.pem");
    expect_refusal(f, AIKI_DENIED, "TLS_CERTIFICATE_REFUSED");
    assert_int_equal(f->server.status, AIKI_DENIED);
}

/* Whoever speaks frames is told in a frame. */
static void plain_client(void **state)
{
    struct fixture *f = *state;
    serve(f, "server", NULL);
    dial(f, "", NULL, "ca.pem");
    send_frame(f->client.conn, "x", 1);
    run_until(f, &f->client.closed, 1);
    run_until(f, &f->server.closed, 1);
    assert_int_equal(f->client.last_type, WIRE_FAULT);
    assert_int_equal(f->server.frames, 0);
    assert_string_equal(f->server.code, "TLS_NOT_SPOKEN");
}

static void plain_server(void **state)
{
    struct fixture *f = *state;
    serve(f, NULL, NULL);
    dial(f, "tls:", NULL, "ca.pem");
    expect_refusal(f, AIKI_UNAVAILABLE, "TLS_FAILED");
    assert_non_null(strstr(f->client.why, "does the peer speak TLS?"));
}

/* Without settings for it an address with TLS is refused, not tried without. */
static void not_set_up(void **state)
{
    struct fixture *f = *state;
    char address[64];
    serve(f, "server", NULL);
    (void)snprintf(address, sizeof(address), "tls:%s", conn_listener_address(f->listener));
    f->client.conn = conn_open(f->conns, address, &callbacks, &f->client);
    run_until(f, &f->client.closed, 1);
    assert_int_equal(f->client.status, AIKI_INVALID);
}

/* Closing at any moment of the handshake leaves nothing behind. */
static void closed_on_the_way(void **state)
{
    struct fixture *f = *state;
    serve(f, "server", NULL);
    for (unsigned turns = 0; turns < 8; turns++) {
        f->client.closed = 0;
        dial(f, "tls:", NULL, "ca.pem");
        for (unsigned i = 0; i < turns; i++)
            (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        if (f->client.conn != NULL)
            conn_close(f->client.conn);
        run_until(f, &f->client.closed, 1);
        while (f->server.conn != NULL)
            (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
}

/* Files that are missing, no certificates, or a key that others can read. */
static void bad_files(void **state)
{
    char buffers[3][128], path[128];
    struct tls *t = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    struct tls_files f = files("server", "absent.pem", buffers);
    assert_int_equal(tls_server_create(&t, &f, &err), AIKI_INVALID);
    assert_non_null(strstr(err.message, "absent.pem"));
    f = files("server", "server.ext", buffers);
    assert_int_equal(tls_server_create(&t, &f, &err), AIKI_INVALID);
    f = files("server", NULL, buffers);
    f.key = file("client.key", path); /* of another certificate */
    assert_int_equal(tls_server_create(&t, &f, &err), AIKI_INVALID);
    f.key = NULL;
    assert_int_equal(tls_server_create(&t, &f, &err), AIKI_INVALID);
    assert_non_null(strstr(err.message, "tls-key"));
    f = (struct tls_files){NULL, NULL, NULL};
    assert_int_equal(tls_server_create(&t, &f, &err), AIKI_INVALID);
    f = files("server", NULL, buffers);
    assert_int_equal(chmod(f.key, 0644), 0);
    assert_int_equal(tls_server_create(&t, &f, &err), AIKI_INVALID);
    assert_non_null(strstr(err.message, "chmod 600"));
    assert_int_equal(chmod(f.key, 0600), 0);
    assert_null(t);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(frames_of_all_sizes),
        CASE(more_than_the_socket_takes),
        CASE(both_sides_show_one),
        CASE(unknown_ca),
        CASE(wrong_name),
        CASE(expired),
        CASE(weak_signature),
        CASE(alert),
        CASE(no_client_certificate),
        CASE(strange_client_certificate),
        CASE(plain_client),
        CASE(plain_server),
        CASE(not_set_up),
        CASE(closed_on_the_way),
        cmocka_unit_test(bad_files),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}

/* fake_server.c - see fake_server.h. */
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "wire/error.h"

enum { PATIENCE_MS = 20000 };

static void on_limit(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

void fake_run_until(uv_loop_t *loop, const unsigned *what, unsigned at_least)
{
    bool give_up = false;
    uv_timer_t limit = {.data = &give_up};
    (void)uv_timer_init(loop, &limit);
    (void)uv_timer_start(&limit, on_limit, PATIENCE_MS, 0);
    while (*what < at_least && !give_up)
        (void)uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&limit, NULL);
    (void)uv_run(loop, UV_RUN_NOWAIT);
    assert_false(give_up);
}

static void keep(struct fake_server *s, const struct frame *f)
{
    assert_true(s->frame_count < FAKE_FRAMES_MAX);
    struct fake_frame *kept = &s->frames[s->frame_count++];
    uint64_t size = f->payload.size_bytes;
    kept->type = f->type;
    kept->correlation = f->correlation;
    kept->bytes = malloc(size + 1);
    assert_non_null(kept->bytes);
    memcpy(kept->bytes, f->payload.data, size);
    kept->payload = (aiki_view){kept->bytes, size};
}

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct fake_server *s = arg;
    if (f->type == WIRE_HELLO)
        s->hellos++;
    if (f->type == WIRE_HELLO && s->welcomes)
        conn_send(c, WELCOME, f->correlation, .major = WIRE_MAJOR, .lease_ms = s->lease_ms,
                  .session = {{(uint8_t)s->hellos}});
    else if (f->type == WIRE_HEARTBEAT && s->beats)
        conn_send(c, OK, f->correlation, .count = 0);
    keep(s, f);
}

static void on_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct fake_server *s = arg;
    (void)status;
    (void)why;
    if (s->conn == c)
        s->conn = NULL;
}

static const struct conn_callbacks callbacks = {.on_frame = on_frame, .on_closed = on_closed};

static void on_connection(uv_stream_t *listener, void *arg)
{
    struct fake_server *s = arg;
    s->conn = conn_accept(s->conns, listener, &callbacks, s);
}

void fake_server_listen(struct fake_server *s, bool on)
{
    aiki_error err = AIKI_ERROR_INIT;
    if (!on && s->listener != NULL) {
        conn_listener_close(s->listener);
        s->listener = NULL;
    }
    if (on && s->listener == NULL)
        assert_int_equal(conn_listen(s->conns, s->address, on_connection, s, &s->listener, &err),
                         AIKI_OK);
}

void fake_server_start(struct fake_server *s, uv_loop_t *loop, struct conn_loop *conns)
{
    s->loop = loop;
    s->conns = conns;
    s->welcomes = s->beats = true;
    s->lease_ms = 5000;
    strcpy(s->dir, "/tmp/aiki-fake-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->address, sizeof(s->address), "unix:%s/rpc", s->dir);
    fake_server_listen(s, true);
}

void fake_server_drop(struct fake_server *s)
{
    if (s->conn != NULL)
        conn_close(s->conn);
    s->conn = NULL;
}

static struct fake_frame *find(struct fake_server *s, uint32_t type)
{
    for (unsigned i = 0; i < s->frame_count; i++)
        if (s->frames[i].type == type)
            return &s->frames[i];
    return NULL;
}

unsigned fake_server_waiting(const struct fake_server *s, uint32_t type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < s->frame_count; i++)
        count += s->frames[i].type == type;
    return count;
}

const struct fake_frame *fake_server_await(struct fake_server *s, uint32_t type)
{
    struct fake_frame *f;
    int64_t deadline_mono_ms = clock_mono_ms() + PATIENCE_MS;
    for (unsigned seen = s->frame_count; (f = find(s, type)) == NULL; seen = s->frame_count) {
        assert_true(clock_mono_ms() < deadline_mono_ms);
        fake_run_until(s->loop, &s->frame_count, seen + 1);
    }
    f->type = 0;
    return f;
}

void fake_server_fault(struct fake_server *s, uint32_t correlation, aiki_status st)
{
    aiki_error e = AIKI_ERROR_INIT;
    aiki_writer w;
    (void)error_set(&e, st, "refused by the test");
    buf_init(&w);
    error_write(&w, &e);
    conn_send(s->conn, FAULT, correlation, .status = st, .error = aiki_writer_view(&w));
    buf_deinit(&w);
}

void fake_server_stop(struct fake_server *s)
{
    fake_server_listen(s, false);
    for (unsigned i = 0; i < s->frame_count; i++)
        free(s->frames[i].bytes);
    char path[128];
    snprintf(path, sizeof(path), "%s/rpc", s->dir);
    (void)unlink(path);
    (void)rmdir(s->dir);
}

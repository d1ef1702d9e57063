/* conn.c - framed connections: reading, gathering writes, closing.
 *
 *   socket --read--> [shared read buffer] --frames in place--> on_frame
 *                         ^ partial frame: c->tail, put in front of the next read
 *
 *   conn_out --> c->out --prepare, before the loop waits: one write call--> socket
 *                  ^ swap                        | not all taken
 *                  +--------- c->sending --------+ uv_write of the rest
 *
 * Limits: conn.h; a partial frame over TAIL_COPY_BYTES_MAX is read on in place, not copied again.
 */
#include "base/conn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/conn_impl.h"
#include "base/tls_impl.h"
#include "wire/error.h"

enum {
    TAIL_COPY_BYTES_MAX = 4096,
    TAIL_KEEP_BYTES_MAX = 64 * 1024, /* memory kept for partial frames by an idle connection */
    OUT_KEEP_BYTES_MAX = 1024 * 1024 /* and for frames to send */
};

/* ---- the loop's part ----------------------------------------------------------------------- */

static void on_prepare(uv_prepare_t *prepare)
{
    struct conn_loop *l = container_of(prepare, struct conn_loop, prepare);
    while (!ring_is_empty(&l->dirty))
        conn_flush(container_of(l->dirty.next, struct conn, in_dirty));
}

/* A peer that went away must be an error code of write(2), not the end of the process. */
static void ignore_sigpipe(void)
{
    struct sigaction old;
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        (void)signal(SIGPIPE, SIG_IGN);
}

struct conn_loop *conn_loop_create(uv_loop_t *loop)
{
    struct conn_loop *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->read_bytes = CONN_READ_BYTES_MIN;
    l->read_buffer = malloc(l->read_bytes);
    if (l->read_buffer == NULL) {
        free(l);
        return NULL;
    }
    ignore_sigpipe();
    l->loop = loop;
    ring_init(&l->dirty);
    ring_init(&l->conns);
    ring_init(&l->listeners);
    (void)uv_prepare_init(loop, &l->prepare); /* neither of the two can fail */
    (void)uv_prepare_start(&l->prepare, on_prepare);
    uv_unref((uv_handle_t *)&l->prepare);
    return l;
}

void conn_loop_set_tls(struct conn_loop *l, struct tls *client)
{
    if (l->tls != NULL)
        l->tls->ops->unref(l->tls);
    l->tls = client != NULL ? client->ops->ref(client) : NULL;
}

static void on_prepare_closed(uv_handle_t *handle)
{
    struct conn_loop *l = container_of((uv_prepare_t *)handle, struct conn_loop, prepare);
    void (*on_closed)(void *) = l->on_closed;
    void *arg = l->arg;
    conn_loop_set_tls(l, NULL);
    free(l->cipher_buffer);
    free(l->read_buffer);
    free(l);
    if (on_closed != NULL)
        on_closed(arg);
}

void conn_loop_check(struct conn_loop *l)
{
    if (!l->closing || !ring_is_empty(&l->conns) || !ring_is_empty(&l->listeners) ||
        uv_is_closing((uv_handle_t *)&l->prepare))
        return;
    uv_close((uv_handle_t *)&l->prepare, on_prepare_closed);
}

void conn_loop_destroy(struct conn_loop *l, void (*on_closed)(void *arg), void *arg)
{
    l->closing = true;
    l->on_closed = on_closed;
    l->arg = arg;
    for (struct ring *r = l->conns.next; r != &l->conns; r = r->next)
        conn_close(container_of(r, struct conn, in_conns));
    for (struct ring *r = l->listeners.next; r != &l->listeners; r = r->next)
        conn_listener_close((struct conn_listener *)(void *)r); /* its first member */
    conn_loop_check(l);
}

/* ---- a connection's life ------------------------------------------------------------------- */

struct conn *conn_new(struct conn_loop *l, const struct conn_callbacks *cb, void *arg)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->loop = l;
    c->cb = *cb;
    c->arg = arg;
    buf_init(&c->out);
    buf_init(&c->sending);
    buf_init(&c->tail);
    ring_init(&c->in_dirty);
    ring_add(&l->conns, &c->in_conns);
    return c;
}

void conn_release(struct conn *c)
{
    if (!c->handle_closed || !dial_end(c))
        return;
    struct conn_loop *l = c->loop;
    ring_remove(&c->in_conns);
    c->cb.on_closed(c, c->status, c->why, c->arg);
    buf_deinit(&c->out);
    buf_deinit(&c->sending);
    buf_deinit(&c->tail);
    if (c->tls != NULL)
        c->tls_ops->free(c);
    free(c);
    conn_loop_check(l);
}

void conn_on_handle_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    c->handle_closed = true;
    conn_release(c);
}

void conn_fail(struct conn *c, aiki_status status, const char *format, ...)
{
    if (c->state == CONN_CLOSING)
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(c->why, sizeof(c->why), format, args);
    va_end(args);
    c->state = CONN_CLOSING;
    c->status = status;
    ring_remove(&c->in_dirty);
    if (!uv_is_closing(&c->h.handle)) /* closing already: between two addresses (conn_open.c) */
        uv_close(&c->h.handle, conn_on_handle_closed);
}

void conn_fail_coded(struct conn *c, const aiki_error *err)
{
    if (c->state != CONN_CLOSING)
        (void)snprintf(c->code, sizeof(c->code), "%s", err->code);
    conn_fail(c, err->status, "%s", err->message);
}

const char *conn_code(const struct conn *c) { return c->code; }

void conn_close(struct conn *c)
{
    if (c->state == CONN_OPEN)
        conn_flush(c);
    if (c->state == CONN_OPEN && c->tls != NULL)
        c->tls_ops->bye(c);
    conn_fail(c, AIKI_OK, "closed on this side");
}

void conn_set_arg(struct conn *c, void *arg) { c->arg = arg; }

bool conn_is_open(const struct conn *c) { return c->state == CONN_OPEN; }

const char *conn_peer_text(const struct conn *c, char ret_text[ENDPOINT_TEXT_SIZE])
{
    struct sockaddr_storage peer;
    int size = sizeof(peer);
    if (c->h.handle.type == UV_TCP &&
        uv_tcp_getpeername(&c->h.tcp, (struct sockaddr *)&peer, &size) == 0)
        endpoint_text((const struct sockaddr *)&peer, ret_text);
    else
        (void)snprintf(ret_text, ENDPOINT_TEXT_SIZE, "a local process");
    return ret_text;
}

/* ---- reading ------------------------------------------------------------------------------- */

static void double_read_buffer(struct conn_loop *l)
{
    l->read_filled = false;
    if (l->read_bytes >= CONN_READ_BYTES_MAX)
        return;
    uint8_t *bigger = malloc(l->read_bytes * 2);
    if (bigger == NULL) /* only slower */
        return;
    free(l->read_buffer);
    l->read_buffer = bigger;
    l->read_bytes *= 2;
}

/* Short partial frames move in front of the next read, so that everything is cut out of one
 * buffer. Long ones stay and are added to: copying them at each read would cost the square. */
void conn_room(struct conn *c, uv_buf_t *buf)
{
    struct conn_loop *l = c->loop;
    c->read_in_tail = c->tail.size_bytes > TAIL_COPY_BYTES_MAX;
    if (c->read_in_tail) {
        uint64_t room = c->tail.size_bytes > CONN_READ_BYTES_MIN ? c->tail.size_bytes
                                                                 : CONN_READ_BYTES_MIN;
        uint8_t *to = aiki_mp_room(&c->tail, room);
        if (to != NULL)
            c->tail.size_bytes -= room; /* on_read adds what came */
        *buf = uv_buf_init((char *)to, to != NULL ? (unsigned)room : 0);
        return;
    }
    if (l->read_filled)
        double_read_buffer(l);
    if (c->tail.size_bytes > 0)
        memcpy(l->read_buffer, c->tail.data, c->tail.size_bytes);
    *buf = uv_buf_init((char *)l->read_buffer + c->tail.size_bytes,
                       (unsigned)(l->read_bytes - c->tail.size_bytes));
}

static void on_alloc(uv_handle_t *handle, size_t suggested_bytes, uv_buf_t *buf)
{
    (void)suggested_bytes;
    conn_room(handle->data, buf);
}

/* Hand out the whole frames at the front of bytes; answers the bytes they took. */
static uint64_t deliver(struct conn *c, aiki_view bytes)
{
    struct frame frame;
    aiki_error err = {0};
    uint64_t used = 0;
    while (c->state == CONN_OPEN) {
        uint64_t size = 0;
        const aiki_view rest = {bytes.data + used, bytes.size_bytes - used};
        aiki_status st = frame_read(rest, &frame, &size, &err);
        if (st == AIKI_PENDING)
            break;
        if (st != AIKI_OK) {
            conn_fail(c, st, "%s", err.message);
            break;
        }
        used += size;
        c->cb.on_frame(c, &frame, c->arg);
    }
    if (used > 0 && c->state == CONN_OPEN && c->cb.on_batch != NULL)
        c->cb.on_batch(c, c->arg);
    return used;
}

static void received_in_tail(struct conn *c, uint64_t n)
{
    c->tail.size_bytes += n;
    uint64_t used = deliver(c, aiki_writer_view(&c->tail));
    buf_consume(&c->tail, used);
    if (c->tail.size_bytes == 0)
        buf_clear(&c->tail, TAIL_KEEP_BYTES_MAX);
}

static void received_in_shared(struct conn *c, uint64_t n)
{
    const aiki_view bytes = {c->loop->read_buffer, c->tail.size_bytes + n};
    buf_clear(&c->tail, TAIL_KEEP_BYTES_MAX);
    uint64_t used = deliver(c, bytes);
    if (used < bytes.size_bytes)
        aiki_mp_raw(&c->tail, bytes.data + used, bytes.size_bytes - used);
}

/* Only this process can take its descriptor away: nothing is known of the peer then. */
static void lost(struct conn *c, int error)
{
    bool is_ours = error == UV_EBADF || error == UV_ENOTSOCK;
    conn_fail(c, is_ours ? AIKI_INTERNAL : AIKI_UNAVAILABLE, "connection lost: %s", uv_strerror(error));
}

void conn_peer_ended(struct conn *c, int error)
{
    if (error != UV_EOF)
        lost(c, error);
    else if (c->tail.size_bytes > 0)
        conn_fail(c, AIKI_UNAVAILABLE, "peer closed the connection inside a frame (%llu bytes of it)",
                  (unsigned long long)c->tail.size_bytes);
    else
        conn_fail(c, AIKI_UNAVAILABLE, "peer closed the connection");
}

void conn_received(struct conn *c, ssize_t n, const uv_buf_t *buf)
{
    if (n == 0)
        return;
    if (n > 0 && c->read_in_tail) {
        received_in_tail(c, (uint64_t)n);
    } else if (n > 0) {
        if ((size_t)n == buf->len)
            c->loop->read_filled = true;
        received_in_shared(c, (uint64_t)n);
    } else if (n != UV_ENOBUFS) {
        conn_peer_ended(c, (int)n);
    }
    if (c->tail.status != AIKI_OK)
        conn_fail(c, AIKI_NOMEM, "no memory for a partial frame of %llu bytes",
                  (unsigned long long)c->tail.size_bytes);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    conn_received(stream->data, n, buf);
}

void conn_opened(struct conn *c)
{
    enum { KEEPALIVE_S = 30 };
    if (c->state != CONN_CONNECTING)
        return;
    if (c->h.handle.type == UV_TCP) { /* both only make it better */
        (void)uv_tcp_nodelay(&c->h.tcp, 1);
        (void)uv_tcp_keepalive(&c->h.tcp, 1, KEEPALIVE_S);
    }
    if (c->tls != NULL) {
        c->tls_ops->start(c);
        return;
    }
    c->state = CONN_OPEN;
    int error = uv_read_start(&c->h.stream, on_alloc, on_read);
    if (error != 0)
        conn_fail(c, AIKI_INTERNAL, "cannot read from the connection: %s", uv_strerror(error));
    else
        conn_dirty(c);
}

/* ---- writing ------------------------------------------------------------------------------- */

static void on_written(uv_write_t *req, int error)
{
    struct conn *c = req->data;
    c->writing = false;
    if (error == 0) {
        buf_clear(&c->sending, OUT_KEEP_BYTES_MAX);
        conn_flush(c);
    } else if (error != UV_ECANCELED) {
        lost(c, error);
    }
}

/* The first `taken` bytes are gone; libuv gets the rest while `from` gathers on. */
static void write_rest(struct conn *c, aiki_writer *from, size_t taken)
{
    aiki_writer swap = c->sending;
    c->sending = *from;
    *from = swap;
    uv_buf_t rest = uv_buf_init((char *)c->sending.data + taken,
                                (unsigned)(c->sending.size_bytes - taken));
    c->write.data = c;
    int error = uv_write(&c->write, &c->h.stream, &rest, 1, on_written);
    if (error != 0)
        lost(c, error);
    else
        c->writing = true;
}

void conn_write(struct conn *c, aiki_writer *from)
{
    uv_buf_t all = uv_buf_init((char *)from->data, (unsigned)from->size_bytes);
    int taken = uv_try_write(&c->h.stream, &all, 1);
    if (taken < 0 && taken != UV_EAGAIN)
        lost(c, taken);
    else if (taken >= 0 && (uint64_t)taken == from->size_bytes)
        buf_clear(from, OUT_KEEP_BYTES_MAX);
    else
        write_rest(c, from, taken > 0 ? (size_t)taken : 0);
}

void conn_flush(struct conn *c)
{
    ring_remove(&c->in_dirty);
    if (c->tls != NULL)
        c->tls_ops->flush(c);
    else if (c->state == CONN_OPEN && !c->writing && c->out.size_bytes > 0)
        conn_write(c, &c->out);
}

static bool write_all(int fd, aiki_view bytes, int64_t until_mono_ms)
{
    while (bytes.size_bytes > 0) {
        ssize_t n = write(fd, bytes.data, bytes.size_bytes);
        if (n > 0) {
            bytes.data += n;
            bytes.size_bytes -= (uint64_t)n;
            continue;
        }
        int64_t left_ms = until_mono_ms - clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (n == 0 || (errno != EAGAIN && errno != EINTR) || left_ms <= 0 ||
            poll(&p, 1, (int)left_ms) < 0)
            return false;
    }
    return true;
}

void conn_last_words(struct conn *c, aiki_view frames, int64_t timeout_ms)
{
    int64_t until_mono_ms = clock_mono_ms() + timeout_ms;
    int fd;

    if (c->state != CONN_OPEN || c->writing || uv_fileno(&c->h.handle, &fd) != 0)
        return;
    if (write_all(fd, aiki_writer_view(&c->out), until_mono_ms))
        (void)write_all(fd, frames, until_mono_ms); /* the process ends either way */
}

uint64_t conn_unsent_bytes(const struct conn *c)
{
    return c->out.size_bytes + (c->writing ? uv_stream_get_write_queue_size(&c->h.stream) : 0);
}

aiki_writer *conn_out(struct conn *c) { return &c->out; }

void conn_dirty(struct conn *c)
{
    uint64_t unsent = conn_unsent_bytes(c);
    if (c->state == CONN_CLOSING)
        buf_clear(&c->out, 0);
    else if (c->out.status != AIKI_OK)
        conn_fail(c, c->out.status, "no memory for outgoing frames (%llu bytes unsent)",
                  (unsigned long long)unsent);
    else if (unsent > CONN_UNSENT_BYTES_MAX)
        conn_fail(c, AIKI_LIMIT, "peer reads too slowly: %llu bytes unsent, CONN_UNSENT_BYTES_MAX is %d",
                  (unsigned long long)unsent, CONN_UNSENT_BYTES_MAX);
    else if (c->state == CONN_OPEN && !c->writing && ring_is_empty(&c->in_dirty))
        ring_add(&c->loop->dirty, &c->in_dirty);
}

void conn_end_frame(struct conn *c, uint64_t offset, uint32_t type, uint32_t correlation)
{
    aiki_status st = frame_end(&c->out, offset, type, correlation);
    if (st == AIKI_OK || st == c->out.status)
        conn_dirty(c);
    else
        conn_fail(c, st, "message of type %u is over FRAME_BYTES_MAX (%d)", type, FRAME_BYTES_MAX);
}

void conn_send_bytes(struct conn *c, aiki_view frames)
{
    aiki_mp_raw(&c->out, frames.data, frames.size_bytes);
    conn_dirty(c);
}

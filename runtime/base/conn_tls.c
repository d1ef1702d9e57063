/* conn_tls.c - TLS under a framed connection: libuv carries the records, GnuTLS makes and reads them.
 *
 *   socket --read--> [the loop's cipher buffer] --pull, gnutls_record_recv--> read buffer --> frames
 *   c->out --gnutls_record_send, push--> link->sealed --write--> socket
 *
 *   CONNECTING --handshake done--> OPEN --close-notify, end of the connection, conn_close--> CLOSING
 *
 * GnuTLS only ever sees memory: what it pulls is what one read brought, what it pushes is gathered
 * and leaves with one write, like frames without TLS. The handshake has no clock of its own: all who
 * connect and all who accept give a peer a limited time to greet, and it is part of that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/conn_impl.h"
#include "base/tls_impl.h"
#include "wire/error.h"
#include "wire/message.h"

enum {
    CIPHER_BYTES = 128 * 1024, /* of one read; shared by the connections of a loop */
    SEALED_KEEP_BYTES_MAX = 1024 * 1024,
    TLS_HANDSHAKE = 22 /* the first byte of whoever speaks TLS */
};

struct tls_link {
    struct tls *tls; /* a reference; its credentials must outlive the session */
    gnutls_session_t session;
    const uint8_t *in; /* read and not pulled yet; borrowed until on_read returns */
    size_t in_size;
    aiki_writer sealed; /* pushed and not with libuv yet */
    bool is_client, has_read;
    char host[ENDPOINT_HOST_SIZE]; /* the session refers to it */
};

/* ---- memory in place of a socket ------------------------------------------------------------- */

static ssize_t pull(gnutls_transport_ptr_t arg, void *to, size_t size)
{
    struct tls_link *link = arg;
    if (link->in_size == 0) {
        gnutls_transport_set_errno(link->session, EAGAIN);
        return -1;
    }
    if (size > link->in_size)
        size = link->in_size;
    memcpy(to, link->in, size);
    link->in += size;
    link->in_size -= size;
    return (ssize_t)size;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *from, size_t size)
{
    struct tls_link *link = arg;
    aiki_mp_raw(&link->sealed, from, size);
    if (link->sealed.status == AIKI_OK)
        return (ssize_t)size;
    gnutls_transport_set_errno(link->session, ENOMEM);
    return -1;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* What fits into the socket now; the connection ends, so nobody waits for the rest. */
static void write_last(struct conn *c)
{
    struct tls_link *link = c->tls;
    uv_buf_t all = uv_buf_init((char *)link->sealed.data, (unsigned)link->sealed.size_bytes);
    if (!c->writing && link->sealed.size_bytes > 0)
        (void)uv_try_write(&c->h.stream, &all, 1);
    buf_clear(&link->sealed, 0);
}

static void fail(struct conn *c, int error)
{
    aiki_error err = AIKI_ERROR_INIT;
    const char *during = c->state == CONN_CONNECTING ? "TLS handshake" : "TLS connection";
    (void)gnutls_alert_send_appropriate(c->tls->session, error); /* the peer may be gone already */
    write_last(c);
    (void)tls_explain(c->tls->session, error, during, &err);
    conn_fail_coded(c, &err);
}

static void bye(struct conn *c)
{
    if (c->writing) /* behind what is cut off it would make no sense */
        return;
    (void)gnutls_bye(c->tls->session, GNUTLS_SHUT_WR);
    write_last(c);
}

static void free_link(struct conn *c)
{
    struct tls_link *link = c->tls;
    gnutls_deinit(link->session);
    tls_unref(link->tls);
    buf_deinit(&link->sealed);
    free(link);
    c->tls = NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void seal(struct conn *c)
{
    struct tls_link *link = c->tls;
    uint64_t sent = 0;
    while (sent < c->out.size_bytes) {
        ssize_t n =
            gnutls_record_send(link->session, c->out.data + sent, (size_t)(c->out.size_bytes - sent));
        if (n < 0 && n != GNUTLS_E_INTERRUPTED && n != GNUTLS_E_AGAIN) {
            fail(c, (int)n);
            return;
        }
        sent += n > 0 ? (uint64_t)n : 0;
    }
    buf_clear(&c->out, SEALED_KEEP_BYTES_MAX);
}

static void flush(struct conn *c)
{
    if (c->writing || c->state == CONN_CLOSING)
        return;
    if (c->state == CONN_OPEN)
        seal(c);
    if (c->state != CONN_CLOSING && c->tls->sealed.size_bytes > 0)
        conn_write(c, &c->tls->sealed);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* As many frames at a time as the read buffer takes. */
static void receive(struct conn *c)
{
    struct tls_link *link = c->tls;
    ssize_t n = 0;
    while (c->state == CONN_OPEN) {
        uv_buf_t room;
        size_t have = 0, before = link->in_size;
        conn_room(c, &room);
        while (have < room.len &&
               (n = gnutls_record_recv(link->session, room.base + have, room.len - have)) > 0)
            have += (size_t)n;
        if (have > 0 || room.len == 0)
            conn_received(c, room.len == 0 ? UV_ENOBUFS : (ssize_t)have, &room);
        if (c->state != CONN_OPEN || (have > 0 && have == room.len))
            continue;
        if (n == 0)
            conn_peer_ended(c, UV_EOF);
        else if (gnutls_error_is_fatal((int)n))
            fail(c, (int)n);
        else if (have == 0 && link->in_size == before) /* the rest of a record is to come */
            return;
    }
}

/* Somebody who speaks to us in frames can be told in frames. */
static void refuse_plain(struct conn *c)
{
    struct tls_link *link = c->tls;
    enum { HELLO_CORRELATION = 1 }; /* the client library's */
    struct frame f = {.correlation = HELLO_CORRELATION};
    uint64_t unused;
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer text;
    (void)error_code(&err, AIKI_UNSUPPORTED, "TLS_REQUIRED",
                     "this address speaks TLS only; connect to tls:HOST:PORT");
    if (frame_read((aiki_view){link->in, link->in_size}, &f, &unused, NULL) == AIKI_OK) {
        buf_init(&text);
        error_write(&text, &err);
        const struct msg_FAULT m = {.status = err.status, .error = aiki_writer_view(&text)};
        uint64_t at = frame_begin(&link->sealed);
        msg_FAULT_write(&link->sealed, &m);
        (void)frame_end(&link->sealed, at, WIRE_FAULT, f.correlation);
        buf_deinit(&text);
        write_last(c);
    }
    (void)error_code(&err, AIKI_UNSUPPORTED, "TLS_NOT_SPOKEN", "the peer speaks no TLS");
    conn_fail_coded(c, &err);
}

static void shake(struct conn *c)
{
    struct tls_link *link = c->tls;
    int error;
    do
        error = gnutls_handshake(link->session);
    while (error != 0 && error != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(error));
    if (error == GNUTLS_E_AGAIN) {
        flush(c);
    } else if (error != 0) {
        fail(c, error);
    } else {
        c->state = CONN_OPEN;
        if (link->is_client && c->cb.on_open != NULL)
            c->cb.on_open(c, c->arg);
        /* The end of the handshake and what on_open wrote leave together: a server that refuses
         * this side's certificate then closes without unread bytes, and its reason arrives. */
        conn_dirty(c);
    }
}

static void on_cipher_alloc(uv_handle_t *handle, size_t suggested_bytes, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    (void)suggested_bytes;
    *buf = uv_buf_init((char *)c->loop->cipher_buffer, CIPHER_BYTES);
}

static void lost(struct conn *c, int error)
{
    aiki_error err = AIKI_ERROR_INIT;
    if (c->state != CONN_CONNECTING) {
        conn_peer_ended(c, error);
        return;
    }
    (void)error_code(&err, AIKI_UNAVAILABLE, "TLS_FAILED",
                     "the connection ended during the TLS handshake (%s); does the peer speak TLS?",
                     uv_strerror(error));
    conn_fail_coded(c, &err);
}

static void on_cipher_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    struct tls_link *link = c->tls;
    if (n == 0)
        return;
    if (n < 0) {
        lost(c, (int)n);
        return;
    }
    link->in = (const uint8_t *)buf->base;
    link->in_size = (size_t)n;
    bool is_plain = !link->is_client && !link->has_read && link->in[0] != TLS_HANDSHAKE;
    link->has_read = true;
    if (is_plain)
        refuse_plain(c);
    if (c->state == CONN_CONNECTING)
        shake(c);
    receive(c);
    link->in = NULL;
    link->in_size = 0;
}

/* ---- the beginning --------------------------------------------------------------------------- */

static aiki_status attach(struct conn *c, struct tls *tls, const char *host, aiki_error *err)
{
    struct conn_loop *l = c->loop;
    if (l->cipher_buffer == NULL)
        l->cipher_buffer = malloc(CIPHER_BYTES);
    struct tls_link *link = calloc(1, sizeof(*link));
    if (link == NULL || l->cipher_buffer == NULL) {
        free(link);
        return error_set(err, AIKI_NOMEM, "no memory for a TLS connection");
    }
    buf_init(&link->sealed);
    link->is_client = host != NULL;
    (void)snprintf(link->host, sizeof(link->host), "%s", host != NULL ? host : "");
    aiki_status status =
        tls_session(tls, link->is_client ? link->host : NULL, &link->session, err);
    if (status != AIKI_OK) {
        free(link);
        return status;
    }
    link->tls = tls_ref(tls);
    gnutls_transport_set_ptr(link->session, link);
    gnutls_transport_set_pull_function(link->session, pull);
    gnutls_transport_set_push_function(link->session, push);
    gnutls_handshake_set_timeout(link->session, 0);
    c->tls = link;
    c->tls_ops = &conn_tls_ops;
    return AIKI_OK;
}

static void start(struct conn *c)
{
    int error = uv_read_start(&c->h.stream, on_cipher_alloc, on_cipher_read);
    if (error != 0)
        conn_fail(c, AIKI_INTERNAL, "cannot read from the connection: %s", uv_strerror(error));
    else if (c->tls->is_client)
        shake(c);
}

const struct conn_tls_ops conn_tls_ops = {.ref = tls_ref,
                                          .unref = tls_unref,
                                          .attach = attach,
                                          .start = start,
                                          .flush = flush,
                                          .bye = bye,
                                          .free = free_link};

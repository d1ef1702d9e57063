/* base/conn_impl.h - what conn.c, conn_open.c and conn_listen.c share. Private. [loop] */
#ifndef BASE_CONN_IMPL_H
#define BASE_CONN_IMPL_H

#include "base/conn.h"

/* A circular list through its members. */
struct ring {
    struct ring *next, *prev;
};
static inline void ring_init(struct ring *r) { r->next = r->prev = r; }
static inline bool ring_is_empty(const struct ring *r) { return r->next == r; }
static inline void ring_add(struct ring *head, struct ring *r)
{
    r->next = head;
    r->prev = head->prev;
    head->prev->next = r;
    head->prev = r;
}
/* Fine on a member that is in no list, if it was initialised. */
static inline void ring_remove(struct ring *r)
{
    r->prev->next = r->next;
    r->next->prev = r->prev;
    ring_init(r);
}

struct conn_loop {
    uv_loop_t *loop;
    uv_prepare_t prepare;
    struct ring dirty, conns, listeners;
    uint8_t *cipher_buffer; /* of TLS connections; NULL until there is one */
    struct tls *tls;        /* a reference; what connections to tls: addresses go by, or NULL */
    uint8_t *read_buffer;
    size_t read_bytes; /* size of read_buffer */
    bool read_filled;  /* a read used all of it: double it */
    bool closing;
    void (*on_closed)(void *arg);
    void *arg;
};

union conn_handle {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_CLOSING };
struct dial;
struct tls_link;
struct conn;

/* What conn_tls.c does, for connections whose tls is not NULL; see tls_impl.h. */
struct conn_tls_ops {
    struct tls *(*ref)(struct tls *t);
    void (*unref)(struct tls *t);
    /* Before conn_opened. host: the server's name, for clients; NULL on the server's side. */
    aiki_status (*attach)(struct conn *c, struct tls *tls, const char *host, aiki_error *err);
    /* The handle is connected: the handshake begins. */
    void (*start)(struct conn *c);
    void (*flush)(struct conn *c);
    /* Tell the peer that this is the end. */
    void (*bye)(struct conn *c);
    void (*free)(struct conn *c);
};

struct conn {
    struct conn_loop *loop;
    struct ring in_conns, in_dirty;
    union conn_handle h;
    enum conn_state state;
    bool handle_closed;
    bool writing;      /* `sending` is with libuv */
    bool read_in_tail; /* the read under way goes into `tail` */
    struct conn_callbacks cb;
    void *arg;
    aiki_writer out;     /* gathers frames */
    aiki_writer sending; /* what a write call did not take; swapped with out */
    aiki_writer tail;    /* received bytes that are no whole frame yet */
    uv_write_t write;
    struct dial *dial;    /* owned; while connecting */
    struct tls_link *tls; /* owned; NULL: no TLS */
    const struct conn_tls_ops *tls_ops; /* static; set with tls */
    aiki_status status;   /* why it closes */
    char code[AIKI_CODE_SIZE];
    char why[AIKI_MESSAGE_SIZE];
};

/* A connection without a handle yet; the caller initialises c->h at once. NULL: no memory. */
struct conn *conn_new(struct conn_loop *l, const struct conn_callbacks *cb, void *arg);
/* The handle is connected: start reading. */
void conn_opened(struct conn *c);
/* Begin to close; the first reason wins. */
void conn_fail(struct conn *c, aiki_status status, const char *format, ...) AIKI_PRINTF(3, 4);
void conn_fail_coded(struct conn *c, const aiki_error *err);
/* Where the next bytes are to be received, and that n of them are there (UV_ENOBUFS: there was no
 * room). */
void conn_room(struct conn *c, uv_buf_t *ret_room);
void conn_received(struct conn *c, ssize_t n, const uv_buf_t *room);
/* UV_EOF or what else a read says. */
void conn_peer_ended(struct conn *c, int error);
/* Give all of `from` to the socket; only while nothing is with libuv. */
void conn_write(struct conn *c, aiki_writer *from);

/* The close callback of c->h. */
void conn_on_handle_closed(uv_handle_t *handle);
/* Free c when its handle is closed and no lookup is under way. */
void conn_release(struct conn *c);
/* conn_open.c: false while a lookup still refers to the connection. */
bool dial_end(struct conn *c);
/* A listener or connection is gone: finish conn_loop_destroy if it was the last. */
void conn_loop_check(struct conn_loop *l);

#endif

/* base/conn.h - one framed connection on the loop: coalesced writes, bounded buffers. [loop]
 *
 * Works over TCP, TLS, unix sockets and socketpairs. What is written during one turn of the loop
 * leaves with one write call before the loop waits again (uv_prepare), never a call a message.
 *
 *   conn_open_tcp/unix --> CONNECTING --> OPEN --(peer gone, bad frame, conn_close)--> CLOSED
 *   conn_accept / conn_open_fd ----------^
 *
 * Frames are cut out of one read buffer shared by all connections of the loop; only a partial
 * frame at the end of a read is kept per connection.
 *
 * Limits: unsent bytes CONN_UNSENT_BYTES_MAX, then the peer is cut off as too slow. The read
 * buffer starts at CONN_READ_BYTES_MIN and doubles while reads fill it, to CONN_READ_BYTES_MAX.
 */
#ifndef BASE_CONN_H
#define BASE_CONN_H

#include <aiki/status.h>
#include <uv.h>

#include "base/endpoint.h"
#include "base/tls.h"
#include "wire/frame.h"

enum {
    CONN_UNSENT_BYTES_MAX = 256 * 1024 * 1024,
    CONN_READ_BYTES_MIN = 64 * 1024,
    CONN_READ_BYTES_MAX = 1024 * 1024
};

struct conn;
struct conn_callbacks {
    /* Optional: conn_open reached its peer. Not called for conn_open_fd and conn_accept, whose
     * connections are open from the start. */
    void (*on_open)(struct conn *c, void *arg);
    /* One frame; its payload is borrowed until the callback returns. conn_close is allowed. */
    void (*on_frame)(struct conn *c, const struct frame *f, void *arg);
    /* Optional: all frames that one read brought have been delivered. */
    void (*on_batch)(struct conn *c, void *arg);
    /* Exactly once, last, never from inside another call of this header: closed for this reason
     * (AIKI_OK: by conn_close). c is gone after. */
    void (*on_closed)(struct conn *c, aiki_status status, const char *why, void *arg);
};

/* Per-loop state: the prepare hook and the list of dirty connections. One per uv_loop_t.
 * create: NULL when out of memory; ignores SIGPIPE if nobody handles it. destroy closes what is
 * still open (on_closed follows for each) and calls back when all is gone. */
struct conn_loop;
struct conn_loop *conn_loop_create(uv_loop_t *loop);
void conn_loop_destroy(struct conn_loop *l, void (*on_closed)(void *arg), void *arg);
/* What connections to tls: addresses go by; takes a reference. NULL: there are none. */
void conn_loop_set_tls(struct conn_loop *l, struct tls *client);

/* host:port, tls:host:port or unix:PATH. With TLS the connection is open, and on_open called, once
 * the peer is verified. Resolution of names other than numeric happens off the loop. NULL only when
 * out of memory; a bad address or refused connection arrives through on_closed. */
struct conn *conn_open(struct conn_loop *l, const char *address, const struct conn_callbacks *cb,
                       void *arg);
/* Takes the descriptor, in any case. NULL only when out of memory, as below. */
struct conn *conn_open_fd(struct conn_loop *l, int fd, const struct conn_callbacks *cb, void *arg);
/* Inside a listen callback. */
struct conn *conn_accept(struct conn_loop *l, uv_stream_t *listener,
                         const struct conn_callbacks *cb, void *arg);
/* The same with TLS, unless tls is NULL or the listener a unix socket. The connection is not open
 * before the peer has done its part; who accepts limits the time for that. */
struct conn *conn_accept_tls(struct conn_loop *l, uv_stream_t *listener, struct tls *tls,
                             const struct conn_callbacks *cb, void *arg);
void conn_set_arg(struct conn *c, void *arg);
/* Inside on_closed: a code that names the reason better than its status, or "". */
const char *conn_code(const struct conn *c);
bool conn_is_open(const struct conn *c);
/* The outgoing buffer: frame_begin, write, conn_end_frame. What is written before the connection
 * is open leaves when it opens; what is written after it closed is dropped. */
aiki_writer *conn_out(struct conn *c);
/* frame_end and conn_dirty. A frame that does not fit closes the connection with that reason:
 * dropping it silently would leave the peer waiting. */
void conn_end_frame(struct conn *c, uint64_t offset, uint32_t type, uint32_t correlation);
/* Bytes were added: send them before the loop waits. Not from a uv_prepare callback. */
void conn_dirty(struct conn *c);
/* Whole frames from elsewhere (another thread encoded them). */
void conn_send_bytes(struct conn *c, aiki_view frames);
/* Write now instead of before the next wait; for latency. */
void conn_flush(struct conn *c);
/* "127.0.0.1:41873", or "a local process" when the peer has no such address; returns the buffer. */
const char *conn_peer_text(const struct conn *c, char ret_text[ENDPOINT_TEXT_SIZE]);
/* Of a process that ends because its loop thread does not come back: write what is unsent, and these
 * frames, without the loop. Nothing is written when part of a frame may be on its way. [any] */
void conn_last_words(struct conn *c, aiki_view frames, int64_t timeout_ms);
uint64_t conn_unsent_bytes(const struct conn *c);
/* Idempotent; unsent bytes are tried once, on_closed follows. */
void conn_close(struct conn *c);

/* Encode message NAME straight into the connection: */
#define conn_send(c, NAME, correlation, ...)                                     \
    do {                                                                         \
        const struct msg_##NAME m_ = {__VA_ARGS__};                              \
        uint64_t at_ = frame_begin(conn_out(c));                                 \
        msg_##NAME##_write(conn_out(c), &m_);                                    \
        conn_end_frame(c, at_, WIRE_##NAME, (uint32_t)(correlation));            \
    } while (0)

/* Parse "HOST:PORT", "[V6]:PORT" or "unix:PATH" for listening; binds and listens. A name is
 * resolved on the spot (start-up only). A unix socket gets mode 0600; one that a dead process
 * left behind is replaced, one that answers is AIKI_CONFLICT. */
struct conn_listener;
aiki_status conn_listen(struct conn_loop *l, const char *address,
                        void (*on_connection)(uv_stream_t *listener, void *arg), void *arg,
                        struct conn_listener **ret, aiki_error *err);
/* Text of the bound address with the real port ("127.0.0.1:41873"), owned by the listener. */
const char *conn_listener_address(const struct conn_listener *l);
void conn_listener_close(struct conn_listener *l);

#endif

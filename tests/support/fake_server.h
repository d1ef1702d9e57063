/* fake_server.h - a server played by a test on its own loop: keeps what it is sent, answers when
 * told.
 *
 * HELLO is answered by itself while `welcomes` is set, heartbeats while `beats` is. */
#ifndef TESTS_FAKE_SERVER_H
#define TESTS_FAKE_SERVER_H

#include <uv.h>

#include "base/buf.h"
#include "base/conn.h"
#include "wire/message.h"

enum { FAKE_FRAMES_MAX = 4096 };

struct fake_frame {
    uint32_t type, correlation;
    uint8_t *bytes;
    aiki_view payload;
};

struct fake_server {
    uv_loop_t *loop;
    struct conn_loop *conns;
    struct conn_listener *listener;
    char dir[64], address[96];
    struct conn *conn; /* the newest connection; NULL when it has gone */
    struct fake_frame frames[FAKE_FRAMES_MAX];
    unsigned frame_count;
    unsigned hellos; /* the last one is the first byte of the session id */
    bool welcomes, beats;
    uint64_t lease_ms;
};

void fake_server_start(struct fake_server *s, uv_loop_t *loop, struct conn_loop *conns);
/* Hang up. */
void fake_server_drop(struct fake_server *s);
/* Refuse connections, or accept them again. */
void fake_server_listen(struct fake_server *s, bool on);
/* The next frame of this type that no call has returned yet; runs the loop until it is there. */
const struct fake_frame *fake_server_await(struct fake_server *s, uint32_t type);
/* Frames of this type received and not yet returned by fake_server_await. */
unsigned fake_server_waiting(const struct fake_server *s, uint32_t type);
void fake_server_fault(struct fake_server *s, uint32_t correlation, aiki_status st);
void fake_server_stop(struct fake_server *s);

/* Run the loop until *what is at least that, or fail after a while. */
void fake_run_until(uv_loop_t *loop, const unsigned *what, unsigned at_least);

#endif

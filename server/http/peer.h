/* http/peer.h - the connections of the listener: what each is doing and for how long it may. [loop]
 *
 *   IDLE --request line--> HEAD --headers--> BODY --all there--> CORE or WAIT --> WRITE --> IDLE
 *                                                  \--large JSON--> WORK --^  \--> WORK --^
 *
 * libmicrohttpd knows one timeout of inactivity, which one byte now and then defeats. So deadlines
 * are kept here, one chain a phase: all in a phase have the same time, so the first in its chain is
 * the first to run out. Nor does it see everybody who hangs up: it does not look at suspended
 * connections, and an end that arrives together with data is lost to it, since it waits for edges
 * and reads until a read is short. So those who wait or are waited for are watched for that here,
 * from the first time on that they are still there when MHD has done what it could: who asks, is
 * answered and goes costs nothing.
 */
#ifndef SERVER_HTTP_PEER_H
#define SERVER_HTTP_PEER_H

#include <aiki/status.h>
#include <uv.h>

#include "chain.h"

/* name, ms; 0 = as long as it takes. */
#define PHASES(X)                                                                                  \
    X(IDLE, HTTP_IDLE_MS)                                                                          \
    X(HEAD, HTTP_IDLE_MS)                                                                          \
    X(BODY, HTTP_BODY_MS)                                                                          \
    X(CORE, HTTP_CORE_MS)                                                                          \
    X(WAIT, HTTP_WAIT_MS_MAX + HTTP_CORE_MS)                                                       \
    X(WORK, 0)                                                                                     \
    X(WRITE, HTTP_WRITE_MS)                                                                        \
    X(ENDING, 0) /* cut off; MHD will say so */

enum phase {
#define PHASE_ENUM(name, ms) PHASE_##name,
    PHASES(PHASE_ENUM)
#undef PHASE_ENUM
        PHASE_COUNT
};

struct request;
struct peer {
    struct chain in_phase, in_hung, in_unwatched;
    enum phase phase;
    int64_t until_ms;        /* of the loop's clock */
    int fd;                  /* borrowed from MHD */
    bool watched;            /* in watch_fd */
    struct request *request; /* borrowed; NULL between requests */
    struct tls *tls;         /* a reference; NULL: none */
};

struct peers {
    bool is_tls; /* set by the owner */
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_poll_t watch; /* of watch_fd, an epoll of those who are watched */
    int watch_fd;
    struct chain phases[PHASE_COUNT];
    struct chain hung; /* will send no more than the kernel holds of them */
    struct chain unwatched; /* will be watched if they stay */
    unsigned count;
    /* It overstayed its phase; moves it to another. */
    void (*on_expired)(struct peer *p, void *arg);
    /* Somebody hung up: peers_drop_hung is to be called once MHD has read what it can. */
    void (*on_hung_up)(void *arg);
    /* In WAIT and hung up; moves it to another phase. */
    void (*on_gone)(struct peer *p, void *arg);
    void *arg;
};

/* Handles that peers_close closes. */
enum { PEERS_HANDLES = 2 };
aiki_status peers_init(struct peers *p, uv_loop_t *loop, aiki_error *err);
/* All peers have been removed. on_closed is called PEERS_HANDLES times. */
void peers_close(struct peers *p, uv_close_cb on_closed);
/* NULL when out of memory. */
struct peer *peer_add(struct peers *p, int fd);
void peer_remove(struct peers *p, struct peer *peer);
void peer_enter(struct peers *p, struct peer *peer, enum phase phase);
/* Before the loop waits: MHD has done what it could, and who sends a request or waits is watched from now on. */
void peers_watch(struct peers *p);
/* Those who hung up, have been read to their end and are not being answered. */
void peers_drop_hung(struct peers *p);
/* End the connection whatever it is doing; MHD finds out by itself. Not while it is suspended. */
void peer_cut(struct peers *p, struct peer *peer);
/* Send this before cutting it, as far as the socket takes it at once. */
void peer_cut_saying(struct peers *p, struct peer *peer, const char *text, size_t size_bytes);

#endif

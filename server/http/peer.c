/* peer.c - see peer.h. */
#include "http/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/tls.h"
#include "http/http.h"
#include "wire/error.h"

enum { WATCH_BATCH = 64 };

static const int64_t phase_ms[PHASE_COUNT] = {
#define PHASE_MS(name, ms) [PHASE_##name] = ms,
    PHASES(PHASE_MS)
#undef PHASE_MS
};

static void on_timer(uv_timer_t *timer);

static struct peer *first_of(const struct peers *p, int phase)
{
    struct chain *head = p->phases[phase].next;
    return head == &p->phases[phase] ? NULL : container_of(head, struct peer, in_phase);
}

/* The timer is never moved to a later time: when it fires for nobody, it looks whom to wait for. */
static void arm(struct peers *p, int64_t until_ms)
{
    int64_t now_ms = (int64_t)uv_now(p->loop);
    if (uv_is_active((uv_handle_t *)&p->timer) &&
        now_ms + (int64_t)uv_timer_get_due_in(&p->timer) <= until_ms)
        return;
    uint64_t delay_ms = until_ms > now_ms ? (uint64_t)(until_ms - now_ms) : 0;
    (void)uv_timer_start(&p->timer, on_timer, delay_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct peers *p = timer->data;
    int64_t now_ms = (int64_t)uv_now(p->loop);
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        struct peer *peer = NULL;
        while (phase_ms[phase] > 0 && (peer = first_of(p, phase)) != NULL &&
               peer->until_ms <= now_ms)
            p->on_expired(peer, p->arg);
        if (peer != NULL)
            arm(p, peer->until_ms);
    }
}

static void on_watched(uv_poll_t *watch, int status, int events)
{
    struct peers *p = watch->data;
    struct epoll_event found[WATCH_BATCH];
    (void)status; /* whatever happened, epoll_wait names it */
    (void)events;
    int count = epoll_wait(p->watch_fd, found, WATCH_BATCH, 0);
    for (int i = 0; i < count; i++) {
        struct peer *peer = found[i].data.ptr;
        if (!chain_is_linked(&peer->in_hung))
            chain_append(&p->hung, &peer->in_hung);
    }
    if (count > 0)
        p->on_hung_up(p->arg);
}

static bool is_reading(const struct peer *peer)
{
    return peer->phase == PHASE_IDLE || peer->phase == PHASE_HEAD || peer->phase == PHASE_BODY;
}

/* An end that came before is reported, too. Unwatched (no memory in the kernel) its deadlines end it. */
static void watch(struct peers *p, struct peer *peer)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = peer};
    peer->watched = epoll_ctl(p->watch_fd, EPOLL_CTL_ADD, peer->fd, &event) == 0;
}

void peers_watch(struct peers *p)
{
    for (struct chain *m = p->unwatched.next; m != &p->unwatched; m = p->unwatched.next) {
        struct peer *peer = container_of(m, struct peer, in_unwatched);
        chain_remove(m);
        watch(p, peer);
    }
}

void peers_drop_hung(struct peers *p)
{
    for (struct chain *m = p->hung.next, *next; m != &p->hung; m = next) {
        struct peer *peer = container_of(m, struct peer, in_hung);
        char byte;
        next = m->next;
        if (peer->phase == PHASE_WAIT)
            p->on_gone(peer, p->arg);
        else if (is_reading(peer) && recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
            peer_cut(p, peer);
    }
}

aiki_status peers_init(struct peers *p, uv_loop_t *loop, aiki_error *err)
{
    p->loop = loop;
    for (int i = 0; i < PHASE_COUNT; i++)
        chain_init(&p->phases[i]);
    chain_init(&p->hung);
    chain_init(&p->unwatched);
    p->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->watch_fd < 0)
        return error_set(err, AIKI_UNAVAILABLE, "epoll for HTTP: %s", strerror(errno));
    (void)uv_timer_init(loop, &p->timer); /* cannot fail */
    p->timer.data = p;
    if (uv_poll_init(loop, &p->watch, p->watch_fd) != 0 ||
        uv_poll_start(&p->watch, UV_READABLE, on_watched) != 0)
        abort(); /* an epoll descriptor can be polled */
    p->watch.data = p;
    return AIKI_OK;
}

void peers_close(struct peers *p, uv_close_cb on_closed)
{
    uv_close((uv_handle_t *)&p->timer, on_closed);
    uv_close((uv_handle_t *)&p->watch, on_closed);
    close(p->watch_fd); /* uv_close has let go of it */
}

struct peer *peer_add(struct peers *p, int fd)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer == NULL)
        return NULL;
    peer->fd = fd;
    p->count++;
    peer_enter(p, peer, PHASE_IDLE);
    return peer;
}

void peer_remove(struct peers *p, struct peer *peer)
{
    if (peer->watched)
        (void)epoll_ctl(p->watch_fd, EPOLL_CTL_DEL, peer->fd, NULL);
    chain_remove(&peer->in_unwatched);
    chain_remove(&peer->in_hung);
    chain_remove(&peer->in_phase);
    p->count--;
    tls_unref(peer->tls);
    free(peer);
}

void peer_enter(struct peers *p, struct peer *peer, enum phase phase)
{
    chain_remove(&peer->in_phase);
    peer->phase = phase;
    peer->until_ms = (int64_t)uv_now(p->loop) + phase_ms[phase];
    chain_append(&p->phases[phase], &peer->in_phase);
    chain_remove(&peer->in_unwatched);
    if (!peer->watched && (phase == PHASE_WAIT || is_reading(peer)))
        chain_append(&p->unwatched, &peer->in_unwatched);
    if (phase_ms[phase] > 0)
        arm(p, peer->until_ms);
}

void peer_cut(struct peers *p, struct peer *peer)
{
    peer_enter(p, peer, PHASE_ENDING);
    (void)shutdown(peer->fd, SHUT_RDWR); /* not connected any more is as good */
}

void peer_cut_saying(struct peers *p, struct peer *peer, const char *text, size_t size_bytes)
{
    if (!p->is_tls) /* between records there is no place for it */
        (void)!send(peer->fd, text, size_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    peer_cut(p, peer);
}

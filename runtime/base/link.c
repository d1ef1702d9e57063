/* link.c - one Redis connection that notices when it dies, and comes back. [loop]
 *
 *   IDLE --> RESOLVE --> CONNECT --PING answered--> UP         any --link_close--> CLOSING
 *              ^  \         |  \                     |                                |
 *        timer |   +--------+---+------- lost -------+               last handle gone v
 *              +------- BACKOFF <-- (50 ms to 2 s, jittered)                       CLOSED
 *
 * A redisAsyncContext ends in one of three ways, and only ever once:
 *   connect failed   hiredis calls on_connected(error), then frees it
 *   connection lost  hiredis answers what is pending with NULL, calls on_lost, then frees it
 *   we drop it       drop_context: redisAsyncFree, with data = NULL so that late news is none;
 *                    inside a reply callback hiredis defers the freeing itself
 * redisAsyncFree inside on_connected would free it under hiredis' feet; so nothing of ours, and
 * no user callback, runs there: UP is reported from the reply to PING.
 *
 * The watcher (uv_poll) is a separate object because uv_close outlives the context.
 * Limits: LINK_CONNECT_MS for connecting and signing in, LINK_ADDRESSES_MAX addresses of a name.
 */
#include "base/link.h"

#include <assert.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/endpoint.h"
#include "base/link_url.h"
#include "base/log.h"

enum {
    LINK_CONNECT_MS = 5000,
    BACKOFF_MS_MIN = 50,
    BACKOFF_MS_MAX = 2000,
    LINK_ADDRESSES_MAX = 8,
    WHY_SIZE = 200
};
enum state { IDLE, RESOLVE, CONNECT, UP, BACKOFF, CLOSING, CLOSED };

/* hiredis' view of the loop. Owned by itself: freed in the close callback of poll. */
struct watch {
    uv_poll_t poll;
    redisAsyncContext *context; /* NULL once hiredis let go */
    struct link *link;
    int events;      /* what the poll handle waits for */
    bool want_flush; /* commands were added; written before the loop waits */
};

struct link {
    uv_loop_t *loop;
    uv_timer_t timer;     /* connect limit, or backoff */
    uv_prepare_t prepare; /* flushes commands once a turn */
    uv_getaddrinfo_t lookup;
    struct link_url url;
    enum state state;
    struct watch *watch; /* of the live context */
    redisAsyncContext *context;
    unsigned attempt;   /* failures in a row */
    bool down_reported; /* one on_down an outage */
    int open_handles;   /* timer, prepare, watches, a lookup */
    char numeric[INET6_ADDRSTRLEN];
    char why[WHY_SIZE];
    struct link_callbacks cb;
    void *arg;
};

static void enter(struct link *l, enum state next);

static void handle_gone(struct link *l)
{
    if (--l->open_handles == 0 && l->state == CLOSING)
        enter(l, CLOSED);
}

/* ---- the adapter between hiredis and libuv -------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *w = container_of(poll, struct watch, poll);
    if (status < 0) {
        /* libuv stopped the watcher on EPOLLERR. Reading tells hiredis the error and rearms. */
        w->events = 0;
        events = UV_READABLE;
    }
    if (w->context != NULL && (events & (UV_READABLE | UV_DISCONNECT)) != 0)
        redisAsyncHandleRead(w->context);
    if (w->context != NULL && (events & UV_WRITABLE) != 0)
        redisAsyncHandleWrite(w->context);
}

static void watch_events(struct watch *w, int events)
{
    if (events == w->events)
        return;
    w->events = events;
    if (events == 0)
        (void)uv_poll_stop(&w->poll);
    else if (uv_poll_start(&w->poll, events, on_poll) != 0)
        log_error("redis", "cannot watch the connection"); /* epoll refused a good descriptor */
}

static void on_add_read(void *data)
{
    struct watch *w = data;
    watch_events(w, w->events | UV_READABLE | UV_DISCONNECT);
}

static void on_del_read(void *data)
{
    struct watch *w = data;
    watch_events(w, w->events & ~(UV_READABLE | UV_DISCONNECT));
}

/* Connected: written in on_prepare, together with all else of this turn. Before that, writable
 * means connected. */
static void on_add_write(void *data)
{
    struct watch *w = data;
    if ((w->context->c.flags & REDIS_CONNECTED) != 0)
        w->want_flush = true;
    else
        watch_events(w, w->events | UV_WRITABLE);
}

static void on_del_write(void *data)
{
    struct watch *w = data;
    w->want_flush = false;
    watch_events(w, w->events & ~UV_WRITABLE);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct link *l = container_of(prepare, struct link, prepare);
    struct watch *w = l->watch;
    if (w == NULL || !w->want_flush || (w->events & UV_WRITABLE) != 0)
        return;
    redisAsyncHandleWrite(w->context);
    if (w->context != NULL && w->want_flush) { /* the socket is full: wait until it is not */
        w->want_flush = false;
        watch_events(w, w->events | UV_WRITABLE);
    }
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct watch *w = container_of((uv_poll_t *)handle, struct watch, poll);
    struct link *l = w->link;
    free(w);
    handle_gone(l);
}

/* hiredis lets go of the descriptor and closes it right after. */
static void on_cleanup(void *data)
{
    struct watch *w = data;
    w->context = NULL;
    if (w->link->watch == w)
        w->link->watch = NULL;
    uv_close((uv_handle_t *)&w->poll, on_poll_closed);
}

static bool attach(struct link *l)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (w == NULL || uv_poll_init(l->loop, &w->poll, l->context->c.fd) != 0) {
        free(w);
        return false;
    }
    w->link = l;
    w->context = l->context;
    l->watch = w;
    l->open_handles++;
    l->context->ev.data = w;
    l->context->ev.addRead = on_add_read;
    l->context->ev.delRead = on_del_read;
    l->context->ev.addWrite = on_add_write;
    l->context->ev.delWrite = on_del_write;
    l->context->ev.cleanup = on_cleanup;
    return true;
}

/* ---- one attempt ---------------------------------------------------------------------------- */

static void drop_context(struct link *l)
{
    redisAsyncContext *context = l->context;
    if (context == NULL)
        return;
    l->context = NULL;
    context->data = NULL; /* its callbacks find nobody */
    redisAsyncFree(context);
}

static void fail(struct link *l, const char *what, const char *why)
{
    (void)snprintf(l->why, sizeof(l->why), "%s%s%s", what, why[0] != '\0' ? ": " : "", why);
    enter(l, BACKOFF);
}

/* A host that vanished sends no RST; a blocking reader would wait for ever. */
static void keep_alive(const struct link *l, int fd)
{
    static const struct {
        int level, option, value;
    } settings[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                    {IPPROTO_TCP, TCP_KEEPIDLE, 15},
                    {IPPROTO_TCP, TCP_KEEPINTVL, 5},
                    {IPPROTO_TCP, TCP_KEEPCNT, 3}};
    for (size_t i = 0; !l->url.endpoint.is_unix && i < ARRAY_COUNT(settings); i++)
        (void)setsockopt(fd, settings[i].level, settings[i].option, &settings[i].value,
                         sizeof(settings[i].value)); /* only makes it better */
}

/* After an error hiredis frees the context; it must not be touched again. */
static void on_connected(const redisAsyncContext *context, int status)
{
    struct link *l = context->data;
    if (l == NULL)
        return;
    if (status == REDIS_OK) {
        keep_alive(l, context->c.fd);
        return;
    }
    l->context = NULL;
    fail(l, "connect", context->errstr);
}

static void on_lost(const redisAsyncContext *context, int status)
{
    struct link *l = context->data;
    if (l == NULL)
        return;
    l->context = NULL;
    fail(l, "connection lost", status == REDIS_OK ? "" : context->errstr);
}

/* The replies to AUTH, SELECT and PING. NULL means the connection ended; on_lost tells. */
static void on_sign_in(redisAsyncContext *context, void *reply_data, void *what)
{
    struct link *l = context->data;
    const redisReply *reply = reply_data;
    if (l == NULL || reply == NULL || l->state != CONNECT)
        return;
    if (reply->type == REDIS_REPLY_ERROR) /* -WRONGPASS, -NOAUTH, -LOADING, ... */
        fail(l, what, reply->str);
    else if (strcmp(what, "PING") == 0)
        enter(l, UP);
}

static bool sign_in(struct link *l)
{
    redisAsyncContext *context = l->context;
    int refused = 0;
    if (l->url.user[0] != '\0')
        refused |= redisAsyncCommand(context, on_sign_in, "AUTH", "AUTH %s %s", l->url.user,
                                     l->url.password);
    else if (l->url.password[0] != '\0')
        refused |= redisAsyncCommand(context, on_sign_in, "AUTH", "AUTH %s", l->url.password);
    if (l->url.db != 0)
        refused |= redisAsyncCommand(context, on_sign_in, "SELECT", "SELECT %d", l->url.db);
    refused |= redisAsyncCommand(context, on_sign_in, "PING", "PING");
    return refused == 0;
}

static void connect_now(struct link *l)
{
    const struct endpoint *e = &l->url.endpoint;
    l->context = e->is_unix ? redisAsyncConnectUnix(e->path)
                            : redisAsyncConnect(l->numeric, e->port);
    if (l->context == NULL) {
        fail(l, "connect", "out of memory");
        return;
    }
    l->context->data = l;
    if (l->context->err != 0) { /* a dead unix socket says so at once */
        char why[sizeof(l->context->c.errstr)]; /* the original goes with the context */
        (void)snprintf(why, sizeof(why), "%s", l->context->errstr);
        fail(l, "connect", why);
        return;
    }
    if (!attach(l) || redisAsyncSetConnectCallback(l->context, on_connected) != REDIS_OK ||
        redisAsyncSetDisconnectCallback(l->context, on_lost) != REDIS_OK || !sign_in(l))
        fail(l, "connect", "out of memory");
}

/* IPv4 first, one address an attempt. */
static bool choose_address(struct link *l, const struct addrinfo *found)
{
    const struct addrinfo *list[LINK_ADDRESSES_MAX];
    unsigned count = 0;
    for (int family = AF_INET; count < LINK_ADDRESSES_MAX; family = AF_INET6) {
        for (const struct addrinfo *a = found; a != NULL && count < LINK_ADDRESSES_MAX;
             a = a->ai_next)
            if (a->ai_family == family)
                list[count++] = a;
        if (family == AF_INET6)
            break;
    }
    if (count == 0)
        return false;
    const struct sockaddr *chosen = list[l->attempt % count]->ai_addr;
    int error = chosen->sa_family == AF_INET
                    ? uv_ip4_name((const void *)chosen, l->numeric, sizeof(l->numeric))
                    : uv_ip6_name((const void *)chosen, l->numeric, sizeof(l->numeric));
    return error == 0;
}

static void on_looked_up(uv_getaddrinfo_t *req, int error, struct addrinfo *found)
{
    struct link *l = container_of(req, struct link, lookup);
    bool chosen = error == 0 && l->state == RESOLVE && choose_address(l, found);
    uv_freeaddrinfo(found);
    if (l->state == RESOLVE && chosen)
        enter(l, CONNECT);
    else if (l->state == RESOLVE)
        fail(l, "look up the host", error != 0 ? uv_strerror(error) : "no address");
    handle_gone(l);
}

static void resolve(struct link *l)
{
    struct sockaddr_storage unused;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    const struct endpoint *e = &l->url.endpoint;
    if (e->is_unix || endpoint_numeric(e, &unused)) {
        (void)snprintf(l->numeric, sizeof(l->numeric), "%.45s", e->host);
        enter(l, CONNECT);
        return;
    }
    int error = uv_getaddrinfo(l->loop, &l->lookup, on_looked_up, e->host, NULL, &hints);
    if (error != 0)
        fail(l, "look up the host", uv_strerror(error));
    else
        l->open_handles++;
}

/* ---- states --------------------------------------------------------------------------------- */

static uint64_t backoff_ms(unsigned attempt)
{
    uint32_t dice = 0;
    uint64_t ceiling = BACKOFF_MS_MIN;
    for (unsigned i = 1; i < attempt && ceiling < BACKOFF_MS_MAX; i++)
        ceiling *= 2;
    if (ceiling > BACKOFF_MS_MAX)
        ceiling = BACKOFF_MS_MAX;
    (void)uv_random(NULL, NULL, &dice, sizeof(dice), 0, NULL); /* without it: no jitter */
    return ceiling / 2 + dice % (ceiling / 2 + 1);
}

static void on_timer(uv_timer_t *timer)
{
    struct link *l = container_of(timer, struct link, timer);
    if (l->state == BACKOFF)
        enter(l, RESOLVE);
    else if (l->state == CONNECT)
        fail(l, "connect", "no answer within LINK_CONNECT_MS (5000)");
}

/* The log says each reason once, not each attempt. */
static void report_down(struct link *l)
{
    if (l->down_reported)
        return;
    l->down_reported = true;
    log_warn("redis", "%s: %s; trying again", l->url.text, l->why);
    if (l->cb.on_down != NULL)
        l->cb.on_down(l, l->why, l->arg); /* may close the link */
}

static void report_up(struct link *l)
{
    l->attempt = 0;
    if (l->down_reported)
        log_info("redis", "%s: connected again", l->url.text);
    l->down_reported = false;
    if (l->cb.on_up != NULL)
        l->cb.on_up(l, l->arg);
}

static void on_handle_closed(uv_handle_t *handle) { handle_gone(handle->data); }

static void close_handles(struct link *l)
{
    drop_context(l);
    (void)uv_cancel((uv_req_t *)&l->lookup); /* refused when it is running or none is */
    uv_close((uv_handle_t *)&l->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&l->timer, on_handle_closed);
}

static void enter(struct link *l, enum state next)
{
    assert(l->state != CLOSING || next == CLOSED);
    l->state = next;
    (void)uv_timer_stop(&l->timer);
    switch (next) {
    case RESOLVE: resolve(l); break;
    case CONNECT:
        (void)uv_timer_start(&l->timer, on_timer, LINK_CONNECT_MS, 0);
        connect_now(l);
        break;
    case UP: report_up(l); break;
    case BACKOFF:
        (void)uv_timer_start(&l->timer, on_timer, backoff_ms(++l->attempt), 0);
        drop_context(l);
        if (l->state == BACKOFF) /* a pending command's callback may have closed the link */
            report_down(l);
        break;
    case CLOSING: close_handles(l); break;
    case CLOSED:
        if (l->cb.on_closed != NULL)
            l->cb.on_closed(l, l->arg);
        free(l);
        break;
    case IDLE: abort(); /* nothing leads back */
    }
}

/* ---- public --------------------------------------------------------------------------------- */

struct link *link_create(uv_loop_t *loop, const char *url, const struct link_callbacks *cb,
                         void *arg)
{
    aiki_error err = {0};
    struct link *l = calloc(1, sizeof(*l));
    if (l == NULL || link_url_parse(url, &l->url, &err) != AIKI_OK) {
        log_error("redis", "%s", l == NULL ? "out of memory" : err.message);
        free(l);
        return NULL;
    }
    l->loop = loop;
    l->cb = *cb;
    l->arg = arg;
    l->open_handles = 2;
    (void)uv_timer_init(loop, &l->timer); /* these three cannot fail */
    (void)uv_prepare_init(loop, &l->prepare);
    (void)uv_prepare_start(&l->prepare, on_prepare);
    uv_unref((uv_handle_t *)&l->prepare);
    l->timer.data = l;
    l->prepare.data = l;
    l->state = BACKOFF; /* the first attempt is made by the loop, not inside this call */
    (void)uv_timer_start(&l->timer, on_timer, 0, 0);
    return l;
}

redisAsyncContext *link_context(struct link *l)
{
    bool usable = l->state == UP && l->context != NULL &&
                  (l->context->c.flags & (REDIS_DISCONNECTING | REDIS_FREEING)) == 0;
    return usable ? l->context : NULL;
}

void link_reset(struct link *l, const char *why)
{
    if (l->state == CONNECT || l->state == UP)
        fail(l, why, "");
}

void link_close(struct link *l)
{
    if (l->state != CLOSING && l->state != CLOSED)
        enter(l, CLOSING);
}

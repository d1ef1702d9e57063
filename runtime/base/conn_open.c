/* conn_open.c - how connections come about: by address, descriptor, or from a listener.
 *
 *   conn_open --name--> LOOKUP (thread pool) --> TRY address 1 --refused--> TRY 2 ... --> failed
 *           \--numeric or unix -----------------^   \--connected--> open
 *
 * A refused handle cannot connect again, so each try closes it and begins a new one.
 * Limit: DIAL_ADDRESSES_MAX addresses of a name are tried, in the resolver's order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conn_impl.h"
#include "base/tls_impl.h"
#include "base/endpoint.h"
#include "wire/error.h"

enum { DIAL_ADDRESSES_MAX = 8 };

struct dial {
    uv_connect_t connect;
    uv_getaddrinfo_t lookup;
    bool looking_up;
    bool is_tls;
    uint16_t port;
    char host[ENDPOINT_HOST_SIZE]; /* for TLS */
    unsigned count, next;
    struct sockaddr_storage addresses[DIAL_ADDRESSES_MAX];
    char text[ENDPOINT_TEXT_SIZE]; /* as given, for messages */
};

static void try_next(struct conn *c);

bool dial_end(struct conn *c)
{
    if (c->dial != NULL && c->dial->looking_up)
        return false;
    free(c->dial);
    c->dial = NULL;
    return true;
}

static void on_try_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (c->state == CONN_CLOSING) { /* conn_close came in between */
        conn_on_handle_closed(handle);
        return;
    }
    (void)uv_tcp_init(c->loop->loop, &c->h.tcp); /* without flags it makes no socket yet */
    c->h.handle.data = c;
    try_next(c);
}

static void try_failed(struct conn *c, int error)
{
    if (c->dial->next < c->dial->count)
        uv_close(&c->h.handle, on_try_closed);
    else
        conn_fail(c, AIKI_UNAVAILABLE, "connect to %s: %s", c->dial->text, uv_strerror(error));
}

/* The name stays on record for the check of the certificate. */
static aiki_status attach_tls(struct conn *c, aiki_error *err)
{
    if (!c->dial->is_tls)
        return AIKI_OK;
    if (c->loop->tls == NULL)
        return error_set(err, AIKI_INVALID, "%s: TLS is not set up here", c->dial->text);
    return c->loop->tls->ops->attach(c, c->loop->tls, c->dial->host, err);
}

static void on_connected(uv_connect_t *req, int error)
{
    struct conn *c = req->data;
    if (c->state != CONN_CONNECTING)
        return;
    if (error != 0) {
        try_failed(c, error);
        return;
    }
    aiki_error err = AIKI_ERROR_INIT;
    if (attach_tls(c, &err) != AIKI_OK) {
        conn_fail_coded(c, &err);
        return;
    }
    (void)dial_end(c); /* nothing is being looked up any more */
    conn_opened(c);
    if (c->tls == NULL && c->state == CONN_OPEN && c->cb.on_open != NULL)
        c->cb.on_open(c, c->arg);
}

static void try_next(struct conn *c)
{
    struct dial *d = c->dial;
    const struct sockaddr *address = (const struct sockaddr *)&d->addresses[d->next++];
    d->connect.data = c;
    int error = uv_tcp_connect(&d->connect, &c->h.tcp, address, on_connected);
    if (error != 0)
        try_failed(c, error);
}

static void take_addresses(struct dial *d, const struct addrinfo *found)
{
    for (; found != NULL && d->count < DIAL_ADDRESSES_MAX; found = found->ai_next) {
        struct sockaddr_storage *to = &d->addresses[d->count];
        if (found->ai_addrlen > sizeof(*to))
            continue;
        memcpy(to, found->ai_addr, found->ai_addrlen);
        if (found->ai_family == AF_INET6)
            ((struct sockaddr_in6 *)to)->sin6_port = htons(d->port);
        else
            ((struct sockaddr_in *)to)->sin_port = htons(d->port);
        d->count++;
    }
}

static void on_looked_up(uv_getaddrinfo_t *req, int error, struct addrinfo *found)
{
    struct conn *c = req->data;
    c->dial->looking_up = false;
    if (error == 0)
        take_addresses(c->dial, found);
    uv_freeaddrinfo(found);
    if (c->state == CONN_CLOSING)
        conn_release(c);
    else if (c->dial->count == 0)
        conn_fail(c, AIKI_UNAVAILABLE, "look up %s: %s", c->dial->text,
                  error != 0 ? uv_strerror(error) : "no address");
    else
        try_next(c);
}

static void look_up(struct conn *c, const char *host)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    c->dial->lookup.data = c;
    int error = uv_getaddrinfo(c->loop->loop, &c->dial->lookup, on_looked_up, host, NULL, &hints);
    if (error != 0)
        conn_fail(c, AIKI_UNAVAILABLE, "look up %s: %s", c->dial->text, uv_strerror(error));
    else
        c->dial->looking_up = true;
}

static void dial_endpoint(struct conn *c, const struct endpoint *e)
{
    struct dial *d = c->dial;
    d->port = e->port;
    d->is_tls = e->is_tls;
    memcpy(d->host, e->host, sizeof(d->host));
    if (e->is_unix) {
        d->connect.data = c;
        uv_pipe_connect(&d->connect, &c->h.pipe, e->path, on_connected);
    } else if (endpoint_numeric(e, &d->addresses[0])) {
        d->count = 1;
        try_next(c);
    } else {
        look_up(c, e->host);
    }
}

struct conn *conn_open(struct conn_loop *l, const char *address, const struct conn_callbacks *cb,
                       void *arg)
{
    struct endpoint e = {0};
    aiki_error err = {0};
    struct dial *dial = calloc(1, sizeof(*dial));
    struct conn *c = dial != NULL ? conn_new(l, cb, arg) : NULL;
    if (c == NULL) {
        free(dial);
        return NULL;
    }
    c->dial = dial;
    (void)snprintf(dial->text, sizeof(dial->text), "%s", address);

    aiki_status st = endpoint_parse(address, &e, &err);
    if (e.is_unix)
        (void)uv_pipe_init(l->loop, &c->h.pipe, 0);
    else
        (void)uv_tcp_init(l->loop, &c->h.tcp);
    c->h.handle.data = c;
    if (st == AIKI_OK)
        dial_endpoint(c, &e);
    else
        conn_fail(c, st, "%s", err.message);
    return c;
}

struct conn *conn_open_fd(struct conn_loop *l, int fd, const struct conn_callbacks *cb, void *arg)
{
    struct conn *c = conn_new(l, cb, arg);
    uv_handle_type type = uv_guess_handle(fd);
    int error = 0;
    if (c == NULL) {
        (void)close(fd);
        return NULL;
    }
    if (type == UV_TCP) {
        (void)uv_tcp_init(l->loop, &c->h.tcp);
        error = uv_tcp_open(&c->h.tcp, fd);
    } else {
        (void)uv_pipe_init(l->loop, &c->h.pipe, 0);
        error = type == UV_NAMED_PIPE ? uv_pipe_open(&c->h.pipe, fd) : UV_ENOTSOCK;
    }
    c->h.handle.data = c;
    if (error != 0) {
        (void)close(fd);
        conn_fail(c, AIKI_INVALID, "descriptor %d: %s", fd, uv_strerror(error));
    }
    conn_opened(c);
    return c;
}

struct conn *conn_accept(struct conn_loop *l, uv_stream_t *listener,
                         const struct conn_callbacks *cb, void *arg)
{
    return conn_accept_tls(l, listener, NULL, cb, arg);
}

struct conn *conn_accept_tls(struct conn_loop *l, uv_stream_t *listener, struct tls *tls,
                             const struct conn_callbacks *cb, void *arg)
{
    aiki_error err = AIKI_ERROR_INIT;
    struct conn *c = conn_new(l, cb, arg);
    if (c == NULL)
        return NULL;
    if (listener->type == UV_TCP)
        (void)uv_tcp_init(l->loop, &c->h.tcp);
    else
        (void)uv_pipe_init(l->loop, &c->h.pipe, 0);
    c->h.handle.data = c;
    int error = uv_accept(listener, &c->h.stream);
    if (error != 0)
        conn_fail(c, AIKI_UNAVAILABLE, "accept: %s", uv_strerror(error));
    else if (tls != NULL && listener->type == UV_TCP &&
             tls->ops->attach(c, tls, NULL, &err) != AIKI_OK)
        conn_fail_coded(c, &err);
    conn_opened(c);
    return c;
}

/* conn_listen.c - listening sockets. [loop] */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/conn_impl.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "wire/error.h"

enum { LISTEN_BACKLOG = 1024 };

struct conn_listener {
    struct ring in_listeners; /* first: conn_loop_destroy goes by it */
    struct conn_loop *loop;
    union conn_handle h;
    void (*on_connection)(uv_stream_t *listener, void *arg);
    void *arg;
    char text[ENDPOINT_TEXT_SIZE];
};

static void on_listener_closed(uv_handle_t *handle)
{
    struct conn_listener *listener = handle->data;
    struct conn_loop *l = listener->loop;
    ring_remove(&listener->in_listeners);
    free(listener);
    conn_loop_check(l);
}

void conn_listener_close(struct conn_listener *listener)
{
    if (!uv_is_closing(&listener->h.handle))
        uv_close(&listener->h.handle, on_listener_closed);
}

static void on_ready(uv_stream_t *stream, int error)
{
    struct conn_listener *listener = stream->data;
    if (error != 0)
        log_warn("conn", "accept on %s: %s; still listening", listener->text, uv_strerror(error));
    else
        listener->on_connection(stream, listener->arg);
}

/* A socket file whose process is gone blocks bind(2) for ever: remove it, but never a live one. */
static aiki_status clear_stale(const char *path, aiki_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return AIKI_OK; /* absent; anything else bind will name */
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, AIKI_CONFLICT, "listen on unix:%s: a file that is no socket is there",
                         path);
    AUTO(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno == ECONNREFUSED) {
        (void)unlink(path); /* if that fails, bind names the reason */
        return AIKI_OK;
    }
    return error_set(err, AIKI_CONFLICT, "listen on unix:%s: another process is listening there",
                     path);
}

static aiki_status listen_failed(const char *address, int error, aiki_error *err)
{
    aiki_status status = error == UV_EADDRINUSE ? AIKI_CONFLICT
                         : error == UV_ENOMEM   ? AIKI_NOMEM
                                                : AIKI_INVALID;
    return error_set(err, status, "listen on %s: %s", address, uv_strerror(error));
}

/* Mode 0600 before listen: nobody else can connect in between. */
static int bind_unix(struct conn_listener *listener, const char *path)
{
    int error = uv_pipe_bind(&listener->h.pipe, path);
    if (error == 0 && chmod(path, S_IRUSR | S_IWUSR) != 0)
        error = uv_translate_sys_error(errno);
    (void)snprintf(listener->text, sizeof(listener->text), "unix:%s", path);
    return error;
}

static int bind_tcp(struct conn_listener *listener, const struct endpoint *e)
{
    struct sockaddr_storage address;
    if (!endpoint_numeric(e, &address)) {
        const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
        char port[8];
        uv_getaddrinfo_t lookup;
        (void)snprintf(port, sizeof(port), "%u", e->port);
        int error = uv_getaddrinfo(listener->loop->loop, &lookup, NULL, e->host, port, &hints);
        if (error != 0)
            return error;
        memcpy(&address, lookup.addrinfo->ai_addr, lookup.addrinfo->ai_addrlen);
        uv_freeaddrinfo(lookup.addrinfo);
    }
    return uv_tcp_bind(&listener->h.tcp, (const struct sockaddr *)&address, 0);
}

/* The port is known only now when it was given as 0. */
static int name_tcp(struct conn_listener *listener)
{
    struct sockaddr_storage bound;
    int size = sizeof(bound);
    int error = uv_tcp_getsockname(&listener->h.tcp, (struct sockaddr *)&bound, &size);
    if (error == 0)
        endpoint_text((const struct sockaddr *)&bound, listener->text);
    return error;
}

aiki_status conn_listen(struct conn_loop *l, const char *address,
                        void (*on_connection)(uv_stream_t *listener, void *arg), void *arg,
                        struct conn_listener **ret, aiki_error *err)
{
    struct endpoint e;
    aiki_status st = endpoint_parse(address, &e, err);
    if (st == AIKI_OK && e.is_tls)
        st = error_set(err, AIKI_INVALID,
                       "listen on %s: give HOST:PORT; with tls-cert and tls-key it speaks TLS", address);
    if (st == AIKI_OK && e.is_unix)
        st = clear_stale(e.path, err);
    if (st != AIKI_OK)
        return st;

    struct conn_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        return error_set(err, AIKI_NOMEM, "listen on %s", address);
    listener->loop = l;
    listener->on_connection = on_connection;
    listener->arg = arg;
    ring_add(&l->listeners, &listener->in_listeners);
    if (e.is_unix)
        (void)uv_pipe_init(l->loop, &listener->h.pipe, 0);
    else
        (void)uv_tcp_init(l->loop, &listener->h.tcp);
    listener->h.handle.data = listener;

    int error = e.is_unix ? bind_unix(listener, e.path) : bind_tcp(listener, &e);
    if (error == 0)
        error = uv_listen(&listener->h.stream, LISTEN_BACKLOG, on_ready);
    if (error == 0 && !e.is_unix)
        error = name_tcp(listener);
    if (error != 0) {
        conn_listener_close(listener);
        return listen_failed(address, error, err);
    }
    *ret = listener;
    return AIKI_OK;
}

const char *conn_listener_address(const struct conn_listener *listener) { return listener->text; }

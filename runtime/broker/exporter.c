/* exporter.c - see exporter.h. libmicrohttpd on the loop: its epoll descriptor is polled, and it is
 * asked when it wants to be called by itself. */
#include "broker/exporter.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/endpoint.h"
#include "wire/error.h"

struct exporter {
    struct MHD_Daemon *daemon;
    uv_poll_t epoll;
    uv_timer_t timer;
    char address[ENDPOINT_TEXT_SIZE];
    void (*write)(aiki_writer *w, void *arg);
    void *arg;
    unsigned handles;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static void on_timer(uv_timer_t *timer);

static void run(struct exporter *e)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    (void)MHD_run(e->daemon); /* what fails is a connection, which it ends */
    if (MHD_get_timeout(e->daemon, &timeout_ms) == MHD_YES)
        (void)uv_timer_start(&e->timer, on_timer, timeout_ms, 0);
    else
        (void)uv_timer_stop(&e->timer);
}

static void on_timer(uv_timer_t *timer)
{
    run(container_of(timer, struct exporter, timer));
}

static void on_epoll(uv_poll_t *poll, int status, int events)
{
    (void)status; /* an error shows in MHD_run */
    (void)events;
    run(container_of(poll, struct exporter, epoll));
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, aiki_view text)
{
    static const char type[] = "text/plain; version=0.0.4; charset=utf-8";
    struct MHD_Response *response = MHD_create_response_from_buffer(
        (size_t)text.size_bytes, (void *)(uintptr_t)text.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **context)
{
    static char seen;
    struct exporter *e = arg;
    AUTO(buf) aiki_writer text;
    (void)version;
    (void)data;
    buf_init(&text);
    if (*context == NULL) { /* the head is there; a body is read and dropped */
        *context = &seen;
        return MHD_YES;
    }
    if (*size > 0) {
        *size = 0;
        return MHD_YES;
    }
    if (strcmp(url, "/metrics") != 0)
        return answer(connection, MHD_HTTP_NOT_FOUND, view_of("there is /metrics\n"));
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, view_of("GET, HEAD\n"));
    e->write(&text, e->arg);
    if (text.status != AIKI_OK)
        return MHD_NO;
    return answer(connection, MHD_HTTP_OK, aiki_writer_view(&text));
}

static aiki_status listen_on(struct exporter *e, const char *address, aiki_error *err)
{
    struct endpoint at;
    struct sockaddr_storage to;
    aiki_status st = endpoint_parse(address, &at, err);
    if (st == AIKI_OK && (at.is_unix || at.is_tls || !endpoint_numeric(&at, &to)))
        st = error_set(err, AIKI_INVALID, "metrics on %.100s: expected IP:PORT or [IPV6]:PORT",
                       address);
    if (st != AIKI_OK)
        return st;
    unsigned flags = MHD_USE_EPOLL | (to.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0u);
    e->daemon = MHD_start_daemon(flags, at.port, NULL, NULL, on_request, e, MHD_OPTION_SOCK_ADDR,
                                 (struct sockaddr *)&to, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)EXPORTER_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                                 (unsigned)EXPORTER_IDLE_S, MHD_OPTION_END);
    if (e->daemon == NULL)
        return error_set(err, errno == EADDRINUSE ? AIKI_CONFLICT : AIKI_INVALID,
                         "metrics on %.100s: %s", address, strerror(errno));
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(e->daemon, MHD_DAEMON_INFO_BIND_PORT);
    uint16_t port = htons(info != NULL ? info->port : at.port);
    if (to.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&to)->sin6_port = port;
    else
        ((struct sockaddr_in *)&to)->sin_port = port;
    endpoint_text((const struct sockaddr *)&to, e->address);
    return AIKI_OK;
}

aiki_status exporter_start(struct exporter **ret, uv_loop_t *loop, const char *address,
                           void (*write)(aiki_writer *w, void *arg), void *arg, aiki_error *err)
{
    struct exporter *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return error_set(err, AIKI_NOMEM, "metrics");
    e->write = write;
    e->arg = arg;
    aiki_status st = listen_on(e, address, err);
    if (st != AIKI_OK) {
        free(e);
        return st;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(e->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(loop, &e->epoll, info->epoll_fd) != 0)
        abort(); /* asked for with MHD_USE_EPOLL, and an epoll descriptor can be polled */
    (void)uv_poll_start(&e->epoll, UV_READABLE, on_epoll); /* neither of these can fail */
    (void)uv_timer_init(loop, &e->timer);
    e->handles = 2;
    run(e); /* it begins to listen with its first run */
    *ret = e;
    return AIKI_OK;
}

const char *exporter_address(const struct exporter *e)
{
    return e->address;
}

static void handle_closed(struct exporter *e)
{
    if (--e->handles > 0)
        return;
    void (*on_closed)(void *arg) = e->on_closed;
    void *arg = e->closed_arg;
    MHD_stop_daemon(e->daemon); /* after its descriptor is polled no more */
    free(e);
    on_closed(arg);
}

static void on_epoll_closed(uv_handle_t *handle)
{
    handle_closed(container_of((uv_poll_t *)handle, struct exporter, epoll));
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(container_of((uv_timer_t *)handle, struct exporter, timer));
}

void exporter_close(struct exporter *e, void (*on_closed)(void *arg), void *arg)
{
    e->on_closed = on_closed;
    e->closed_arg = arg;
    uv_close((uv_handle_t *)&e->epoll, on_epoll_closed);
    uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

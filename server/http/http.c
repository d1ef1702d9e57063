/* http.c - libmicrohttpd on the loop.
 *
 *   uv_poll(MHD's epoll) --+
 *   uv_timer (more to do) -+--> run --> MHD_run --> on_target, on_request, on_completed
 *   uv_prepare (resumed) --+
 *
 * MHD runs without a thread of its own. What the core answers during a turn of the loop resumes its
 * connections, and one MHD_run before the loop waits again sends all of it.
 *
 * Stopping: no more connections; idle ones end, waiting ones are answered; when all have gone, or
 * HTTP_STOP_MS are over, the daemon is taken down, and the last handle's end frees the rest.
 */
#include "http/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "http/http_impl.h"
#include "wire/error.h"

enum { LISTEN_BACKLOG = 1024, LISTEN_AGAIN_MS = 50, OWN_HANDLES = 3, TLS_OPTIONS_MAX = 5 };

static void stop_when_idle(struct http *h);

/* ---- running MHD --------------------------------------------------------------------------- */

static void on_kick(uv_timer_t *timer);

static void run(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG delay_ms;
    h->run_wanted = false;
    (void)MHD_run(h->daemon); /* its failures are those of single connections */
    if (MHD_get_timeout(h->daemon, &delay_ms) == MHD_YES)
        (void)uv_timer_start(&h->kick, on_kick, delay_ms, 0);
    else
        peers_drop_hung(&h->peers);
    if (h->stopping)
        stop_when_idle(h);
}

static void on_kick(uv_timer_t *timer)
{
    struct http *h = timer->data;
    run(h);
}

static void on_epoll(uv_poll_t *poll, int status, int events)
{
    struct http *h = poll->data;
    (void)status; /* MHD finds out by itself */
    (void)events;
    run(h);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct http *h = prepare->data;
    if (h->run_wanted)
        run(h);
    peers_watch(&h->peers);
}

/* ---- what MHD tells ------------------------------------------------------------------------ */

static struct peer *peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

/* Before the handshake: MHD knows only the certificate it was started with. */
static void use_tls(struct http *h, struct MHD_Connection *connection, struct peer *peer)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (h->tls == h->first_tls || peer == NULL || info == NULL)
        return;
    peer->tls = tls_ref(h->tls);
    tls_use(h->tls, info->tls_session);
}

/* At its limit MHD stops to listen, and looks at that again only in a later run. At which limit it is, the kernel's
 * or ours, it does not say. */
static void listen_again(struct http *h)
{
    h->run_wanted |= h->peers.count + 1 >= HTTP_CONNECTIONS_MAX;
    if (!uv_is_active((uv_handle_t *)&h->kick))
        (void)uv_timer_start(&h->kick, on_kick, LISTEN_AGAIN_MS, 0);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *h = arg;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = peer_add(
            &h->peers,
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
        use_tls(h, connection, *context);
    } else if (*context != NULL) {
        peer_remove(&h->peers, *context);
        *context = NULL;
    }
    if (what == MHD_CONNECTION_NOTIFY_CLOSED)
        listen_again(h);
}

/* The request line is there. The result becomes the request's context. */
static void *on_target(void *arg, const char *target, struct MHD_Connection *connection)
{
    struct http *h = arg;
    struct peer *peer = peer_of(connection);
    if (peer == NULL)
        return NULL;
    peer->request = request_create(h, peer, target);
    peer_enter(&h->peers, peer, PHASE_HEAD);
    return peer->request;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **context)
{
    (void)arg;
    (void)url; /* decoded by MHD, and ambiguous: request_create saw it as it came */
    if (*context == NULL)
        return MHD_NO; /* no memory for it */
    return request_step(*context, connection, method, version, data, size);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    struct http *h = arg;
    struct peer *peer = peer_of(connection);
    (void)why;
    request_destroy(*context);
    *context = NULL;
    if (peer == NULL)
        return;
    peer->request = NULL;
    if (h->stopping)
        peer_cut(&h->peers, peer);
    else if (peer->phase != PHASE_ENDING)
        peer_enter(&h->peers, peer, PHASE_IDLE);
}

static void on_log(void *arg, const char *format, va_list args)
{
    char text[300];
    (void)arg;
    if (!log_enabled(LOG_DEBUG))
        return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)vsnprintf(text, sizeof(text), format, args);
#pragma GCC diagnostic pop
    text[strcspn(text, "\r\n")] = '\0';
    log_debug("http", "%s", text);
}

/* ---- deadlines ----------------------------------------------------------------------------- */

static void say_too_slow(struct http *h, struct peer *peer, int64_t limit_ms, const char *limit)
{
    char text[1024];
    aiki_error err = AIKI_ERROR_INIT;
    (void)error_code(&err, AIKI_TIMEDOUT, "REQUEST_TIMEOUT",
                     "the request was not complete after %lld ms (%s)", (long long)limit_ms, limit);
    size_t size = request_raw_answer(408, "Request Timeout", &err, text, sizeof(text));
    peer_cut_saying(&h->peers, peer, text, size);
}

static void on_expired(struct peer *peer, void *arg)
{
    struct http *h = arg;
    switch (peer->phase) {
    case PHASE_HEAD: say_too_slow(h, peer, HTTP_IDLE_MS, "HTTP_IDLE_MS"); break;
    case PHASE_BODY: say_too_slow(h, peer, HTTP_BODY_MS, "HTTP_BODY_MS"); break;
    case PHASE_CORE:
    case PHASE_WAIT: request_expired(peer->request); break;
    case PHASE_IDLE:
    case PHASE_WRITE: peer_cut(&h->peers, peer); break;
    case PHASE_WORK:
    case PHASE_ENDING:
    case PHASE_COUNT: abort(); /* these have no deadline */
    }
}

static void on_hung_up(void *arg)
{
    struct http *h = arg;
    h->run_wanted = true;
}

static void on_gone(struct peer *peer, void *arg)
{
    (void)arg;
    request_gone(peer->request);
}

/* ---- starting ------------------------------------------------------------------------------ */

static aiki_status look_up(struct http *h, const struct endpoint *e, struct sockaddr_storage *ret,
                           aiki_error *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    uv_getaddrinfo_t lookup;
    char port[8];
    if (endpoint_numeric(e, ret))
        return AIKI_OK;
    (void)snprintf(port, sizeof(port), "%u", e->port);
    int error = uv_getaddrinfo(h->loop, &lookup, NULL, e->host, port, &hints);
    if (error != 0)
        return error_set(err, AIKI_INVALID, "HTTP on %s: %s", e->host, uv_strerror(error));
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, lookup.addrinfo->ai_addr, lookup.addrinfo->ai_addrlen);
    uv_freeaddrinfo(lookup.addrinfo);
    return hosts_add(&h->hosts, e->host, err);
}

static aiki_status listen_on(struct http *h, const char *address, aiki_error *err)
{
    struct endpoint e;
    struct sockaddr_storage to;
    int on = 1;
    aiki_status status = endpoint_parse(address, &e, err);
    if (status == AIKI_OK && (e.is_unix || e.is_tls))
        status =
            error_set(err, AIKI_INVALID, "HTTP on %s: expected HOST:PORT or [IPV6]:PORT", address);
    if (status == AIKI_OK)
        status = look_up(h, &e, &to, err);
    if (status != AIKI_OK)
        return status;
    socklen_t size =
        to.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    h->listen_fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (h->listen_fd < 0 ||
        setsockopt(h->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(h->listen_fd, (const struct sockaddr *)&to, size) != 0 ||
        listen(h->listen_fd, LISTEN_BACKLOG) != 0 ||
        getsockname(h->listen_fd, (struct sockaddr *)&to, &size) != 0)
        return error_set(err, errno == EADDRINUSE ? AIKI_CONFLICT : AIKI_INVALID, "HTTP on %s: %s",
                         address, strerror(errno));
    endpoint_text((const struct sockaddr *)&to, h->address);
    return AIKI_OK;
}

/* libmicrohttpd takes texts and only reads them. */
static void *text_of(const char *text)
{
    return (void *)(uintptr_t)text;
}

static void list_tls_options(const struct tls *t, struct MHD_OptionItem ret[TLS_OPTIONS_MAX])
{
    size_t n = 0;
    ret[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, text_of(TLS_PRIORITIES)};
    ret[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, text_of(tls_cert_text(t))};
    ret[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, text_of(tls_key_text(t))};
    if (tls_ca_text(t) != NULL)
        ret[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, text_of(tls_ca_text(t))};
    ret[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
}

static aiki_status start_daemon(struct http *h, aiki_error *err)
{
    /* Room for more than the largest head that is taken, so that a larger one is told why. */
    const size_t memory_bytes = 2 * (size_t)HTTP_HEADER_BYTES_MAX;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[TLS_OPTIONS_MAX] = {{MHD_OPTION_END, 0, NULL}};
    if (h->tls != NULL) {
        flags |= MHD_USE_TLS;
        list_tls_options(h->tls, tls);
    } else {
        /* To read before it polls, and to close without a shutdown(): half the system calls of a connection for one
         * request. With TLS it would leave out the notice that the answer is complete, too. */
        flags |= MHD_USE_TURBO;
    }
    h->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, h->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory_bytes, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_URI_LOG_CALLBACK, on_target,
        h, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (h->daemon == NULL)
        return error_set(err, AIKI_UNAVAILABLE, "HTTP on %s: libmicrohttpd does not start: %s",
                         h->address, strerror(errno));
    h->listen_fd = -1;
    return AIKI_OK;
}

static aiki_status start_handles(struct http *h, aiki_error *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    aiki_status status = peers_init(&h->peers, h->loop, err);
    if (status != AIKI_OK)
        return status;
    if (info == NULL || uv_poll_init(h->loop, &h->epoll, info->epoll_fd) != 0)
        abort(); /* asked for with MHD_USE_EPOLL, and an epoll descriptor can be polled */
    (void)uv_poll_start(&h->epoll, UV_READABLE, on_epoll);
    (void)uv_prepare_init(h->loop, &h->prepare); /* these cannot fail */
    (void)uv_prepare_start(&h->prepare, on_prepare);
    (void)uv_timer_init(h->loop, &h->kick);
    h->epoll.data = h->prepare.data = h->kick.data = h;
    h->handles = OWN_HANDLES + PEERS_HANDLES;
    h->peers.on_expired = on_expired;
    h->peers.on_hung_up = on_hung_up;
    h->peers.on_gone = on_gone;
    h->peers.arg = h;
    return AIKI_OK;
}

static void destroy(struct http *h)
{
    tls_unref(h->tls);
    tls_unref(h->first_tls);
    free(h);
}

aiki_status http_start(struct http **ret, uv_loop_t *loop, const struct http_options *options,
                       aiki_error *err)
{
    struct http *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return error_set(err, AIKI_NOMEM, "HTTP on %s", options->listen);
    h->loop = loop;
    h->core = options->core;
    h->tokens = options->tokens;
    if (options->tls != NULL) {
        h->tls = tls_ref(options->tls);
        h->first_tls = tls_ref(options->tls);
    }
    h->peers.is_tls = options->tls != NULL;
    h->listen_fd = -1;
    aiki_status status = listen_on(h, options->listen, err);
    if (status == AIKI_OK)
        status = start_daemon(h, err);
    if (status == AIKI_OK)
        status = start_handles(h, err);
    if (status == AIKI_OK) {
        run(h); /* MHD begins to listen with its first run */
        *ret = h;
        return AIKI_OK;
    }
    if (h->daemon != NULL)
        MHD_stop_daemon(h->daemon);
    if (h->listen_fd >= 0)
        close(h->listen_fd);
    destroy(h);
    return status;
}

void http_set_tls(struct http *h, struct tls *tls)
{
    tls_unref(h->tls);
    h->tls = tls_ref(tls);
}

const char *http_address(const struct http *h)
{
    return h->address;
}

aiki_status http_allow_host(struct http *h, const char *name, aiki_error *err)
{
    return hosts_add(&h->hosts, name, err);
}

/* ---- stopping ------------------------------------------------------------------------------ */

static void handle_closed(struct http *h)
{
    if (--h->handles > 0)
        return;
    void (*on_stopped)(void *arg) = h->on_stopped;
    void *arg = h->arg;
    destroy(h);
    on_stopped(arg);
}

static void on_handle_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static void on_peers_handle_closed(uv_handle_t *handle)
{
    handle_closed(container_of(handle->data, struct http, peers));
}

static void finish(struct http *h)
{
    uv_close((uv_handle_t *)&h->epoll, on_handle_closed); /* before MHD closes its descriptor */
    uv_close((uv_handle_t *)&h->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&h->kick, on_handle_closed);
    MHD_stop_daemon(h->daemon); /* ends what is left, on_completed and on_connection included */
    h->daemon = NULL;
    peers_close(&h->peers, on_peers_handle_closed);
}

/* Nothing may be suspended or on a thread when the daemon goes. */
static void stop_when_idle(struct http *h)
{
    int64_t left_ms = h->stop_until_ms - (int64_t)uv_now(h->loop);
    if (uv_is_closing((uv_handle_t *)&h->epoll))
        return;
    if (h->working == 0 && !h->run_wanted && (h->peers.count == 0 || left_ms <= 0))
        finish(h);
    else if (left_ms > 0 && !uv_is_active((uv_handle_t *)&h->kick))
        (void)uv_timer_start(&h->kick, on_kick, (uint64_t)left_ms, 0);
}

void http_stop(struct http *h, void (*on_stopped)(void *arg), void *arg)
{
    h->stopping = true;
    h->on_stopped = on_stopped;
    h->arg = arg;
    h->stop_until_ms = (int64_t)uv_now(h->loop) + HTTP_STOP_MS;
    MHD_socket fd = MHD_quiesce_daemon(h->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        for (struct chain *m = h->peers.phases[phase].next, *next; m != &h->peers.phases[phase];
             m = next) {
            struct peer *peer = container_of(m, struct peer, in_phase);
            next = m->next;
            if (phase == PHASE_IDLE)
                peer_cut(&h->peers, peer);
            else if (peer->request != NULL)
                request_stop(peer->request);
        }
    h->run_wanted = true; /* goes on in on_prepare */
}

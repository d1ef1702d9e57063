/* request.c - one request's life.
 *
 *            headers          end of body            answer             sent
 *   NEW ----------> READING ----------> ASKING ----------> READY ------> SENDING --> gone
 *                      |   \              ^  \               ^
 *                      |    \--large--> PARSING  \--large--> SHOWING      (thread pool)
 *                      |                                     |
 *                      +--- wrong, or known here ------------+
 *
 * A stream (stream.c) is READY and ASKING in turn until it ends: MHD asks stream_read for bytes.
 *
 * In PARSING, ASKING and SHOWING the connection is suspended: it costs no thread and MHD does not
 * touch it. finish() resumes it, and MHD comes back with request_step. A refused body is read to
 * its end first, since closing a socket with unread bytes would take the answer away.
 */
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "http/request_impl.h"
#include "wire/error.h"

/* ---- memory -------------------------------------------------------------------------------- */

static void hold(struct request *r, uint64_t bytes)
{
    r->held_bytes += bytes;
    r->http->held_bytes += bytes;
}

static void let_go(struct request *r)
{
    r->http->held_bytes -= r->held_bytes;
    r->held_bytes = 0;
}

static aiki_status check_room(struct request *r, uint64_t bytes, aiki_error *err)
{
    if (r->http->held_bytes + bytes <= HTTP_HELD_BYTES_MAX)
        return AIKI_OK;
    return error_code(
        err, AIKI_UNAVAILABLE, "OVERLOADED",
        "HTTP_HELD_BYTES_MAX: %d bytes of bodies and answers are being held; try again",
        HTTP_HELD_BYTES_MAX);
}

struct request *request_create(struct http *h, struct peer *peer, const char *target)
{
    struct request *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->http = h;
    r->peer = peer;
    r->err = (aiki_error)AIKI_ERROR_INIT;
    call_init(&r->call);
    answer_init(&r->answer);
    buf_init(&r->reply);
    h->requests++;
    aiki_status status = target_parse(target, &r->call.target, &r->err);
    if (status != AIKI_OK)
        answer_error(&r->answer,
                     strcmp(r->err.code, "URI_TOO_LONG") == 0 ? 414 : http_status_of(status),
                     &r->err);
    return r;
}

void request_destroy(struct request *r)
{
    if (r == NULL)
        return;
    let_go(r);
    r->http->streams -= r->streams;
    call_deinit(&r->call);
    answer_deinit(&r->answer);
    buf_deinit(&r->reply);
    free(r);
}

/* ---- answers ------------------------------------------------------------------------------- */

/* The first answer stands. */
static void refuse(struct request *r, unsigned http_status, const aiki_error *err)
{
    if (r->answer.status == 0)
        answer_error(&r->answer, http_status, err);
}

static void resume(struct request *r, enum state state)
{
    r->state = state;
    r->token = 0;
    peer_enter(&r->http->peers, r->peer, PHASE_WRITE);
    r->http->run_wanted = true;
    MHD_resume_connection(r->connection);
}

/* ---- the core ------------------------------------------------------------------------------ */

static void show(uv_work_t *work)
{
    struct request *r = container_of(work, struct request, work);
    call_show(&r->call, r->reply_type, aiki_writer_view(&r->reply), &r->answer);
}

/* The body and the copy are done with, the answer takes their place. */
static void shown(struct request *r)
{
    buf_deinit(&r->reply);
    let_go(r);
    hold(r, r->answer.body.size_bytes);
    resume(r, READY);
}

static void on_shown(uv_work_t *work, int status)
{
    struct request *r = container_of(work, struct request, work);
    (void)status; /* never cancelled */
    r->http->working--;
    shown(r);
}

static void on_reply(void *arg, uint32_t type, aiki_view payload)
{
    struct request *r = arg;
    r->token = 0;
    r->http->waiting -= r->peer->phase == PHASE_WAIT;
    if (payload.size_bytes <= HTTP_INLINE_BYTES_MAX) {
        call_show(&r->call, type, payload, &r->answer);
        shown(r);
        return;
    }
    if (check_room(r, payload.size_bytes, &r->err) == AIKI_OK)
        aiki_mp_raw(&r->reply, payload.data, payload.size_bytes);
    else
        refuse(r, 503, &r->err);
    if (r->reply.status != AIKI_OK)
        refuse(r, 503, (error_set(&r->err, AIKI_NOMEM, "no memory for the answer"), &r->err));
    if (r->answer.status != 0) {
        shown(r);
        return;
    }
    hold(r, payload.size_bytes);
    r->reply_type = type;
    r->state = SHOWING;
    peer_enter(&r->http->peers, r->peer, PHASE_WORK);
    r->http->working++;
    (void)uv_queue_work(r->http->loop, &r->work, show,
                        on_shown); /* fails only without a callback */
}

void request_ask(struct request *r)
{
    bool waits = r->call.wait_ms > 0;
    r->state = ASKING;
    r->http->waiting += waits;
    peer_enter(&r->http->peers, r->peer, waits ? PHASE_WAIT : PHASE_CORE);
    r->token =
        core_request(r->http->core, r->call.type, aiki_writer_view(&r->call.message), on_reply, r);
    buf_deinit(&r->call.message);
    buf_deinit(&r->call.body);
    let_go(r);
}

static void forget(struct request *r)
{
    core_forget(r->http->core, r->token);
    r->http->waiting -= r->peer->phase == PHASE_WAIT;
}

void request_gone(struct request *r)
{
    forget(r);
    resume(r, GONE);
}

void request_expired(struct request *r)
{
    forget(r);
    (void)error_code(
        &r->err, AIKI_TIMEDOUT, "NO_ANSWER",
        "the store has not answered in time; what was asked may still happen, so repeat "
        "a start with its key, anything else with its ref");
    refuse(r, 504, &r->err);
    resume(r, READY);
}

static void refuse_stopping(struct request *r)
{
    (void)error_code(&r->err, AIKI_UNAVAILABLE, "STOPPING",
                     "the server is stopping; try again, a start with its key");
    refuse(r, 503, &r->err);
}

void request_stop(struct request *r)
{
    if (r->state != ASKING)
        return;
    forget(r);
    refuse_stopping(r);
    resume(r, READY);
}

/* ---- the request --------------------------------------------------------------------------- */

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    head_add(arg, name, value);
    return MHD_YES;
}

static void read_head(struct request *r, const char *version, struct head *head)
{
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    memset(head, 0, sizeof(*head));
    head->version = version;
    head->size_bytes = size != NULL ? size->header_size : 0;
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_header, head);
}

/* Health is told to anyone, so that probes need no token; the page has no data in it, and asks who
 * reads it for a token. */
static bool is_open(const struct call *c)
{
    return c->route != NULL && (call_local(c) == LOCAL_HEALTH || call_local(c) == LOCAL_PAGE);
}

enum { FROM_SIZE = ENDPOINT_TEXT_SIZE + 40 };

/* Who asks, for the log. */
static const char *sender(const struct request *r, char from[FROM_SIZE])
{
    char address[ENDPOINT_TEXT_SIZE] = "?";
    const union MHD_ConnectionInfo *peer =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (peer != NULL && peer->client_addr != NULL)
        endpoint_text(peer->client_addr, address);
    (void)snprintf(from, FROM_SIZE, "an HTTP request from %s", address);
    return from;
}

static aiki_status check_token(struct request *r, const struct head *head, aiki_error *err)
{
    char from[FROM_SIZE];
    if (r->http->tokens == NULL || is_open(&r->call))
        return AIKI_OK;
    return tokens_check(r->http->tokens, head_token(head), TOKEN_CLIENT, sender(r, from), NULL, err);
}

static aiki_status check_reveal(struct request *r, const struct head *head, aiki_error *err)
{
    char from[FROM_SIZE];
    if (!call_reveals(&r->call))
        return AIKI_OK;
    return tokens_check_reveal(r->http->tokens, head_token(head), sender(r, from), err);
}

/* libmicrohttpd asks for a certificate and leaves it to us to look at it. */
static aiki_status check_certificate(struct request *r, aiki_error *err)
{
    unsigned problems = 0;
    if (r->http->first_tls == NULL || tls_ca_text(r->http->first_tls) == NULL)
        return AIKI_OK; /* asked of all or of nobody, as it was at start */
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info != NULL && gnutls_certificate_verify_peers2(info->tls_session, &problems) == 0 &&
        problems == 0)
        return AIKI_OK;
    return error_code(err, AIKI_DENIED, "TLS_CERTIFICATE_REFUSED",
                      "this server wants the certificate of a client that its tls-client-ca issued");
}

static void check_head(struct request *r, const struct head *head, const char *method)
{
    aiki_error *err = &r->err;
    aiki_status status = check_certificate(r, err);
    if (status == AIKI_OK)
        status = guard_check(head, &r->http->hosts, err);
    unsigned http_status = http_status_of(status);
    if (status == AIKI_LIMIT)
        http_status = 431;
    else if (status == AIKI_UNSUPPORTED)
        http_status = 415;
    if (status == AIKI_OK) {
        status = call_route(&r->call, method, r->answer.allow, err);
        http_status = status == AIKI_UNSUPPORTED ? 405 : http_status_of(status);
        aiki_error denied = AIKI_ERROR_INIT;
        if (check_token(r, head, &denied) != AIKI_OK) { /* whatever there is or not */
            r->answer.allow[0] = '\0';
            refuse(r, 401, &denied);
            return;
        }
        if (status == AIKI_OK) {
            status = check_reveal(r, head, err);
            http_status = http_status_of(status);
        }
    }
    if (status != AIKI_OK)
        refuse(r, http_status, err);
}

/* Headers are there, the body is not. An answer given now ends the connection, so it is given only
 * when reading on makes no sense. */
static enum MHD_Result begin(struct request *r, const char *method, const char *version)
{
    struct head head;
    r->state = READING;
    peer_enter(&r->http->peers, r->peer, PHASE_BODY);
    read_head(r, version, &head);
    if (r->answer.status == 0)
        check_head(r, &head, method);
    r->call.last_event_id = head.last_event_id; /* MHD keeps it as long as the request */
    uint64_t announced = head.content_length != NULL ? strtoull(head.content_length, NULL, 10) : 0;
    if (announced > HTTP_BODY_BYTES_MAX) {
        (void)error_code(&r->err, AIKI_LIMIT, "BODY_TOO_LARGE",
                         "the body has %llu bytes, HTTP_BODY_BYTES_MAX is %d",
                         (unsigned long long)announced, HTTP_BODY_BYTES_MAX);
        refuse(r, 413, &r->err);
    }
    if (r->answer.status != 0 &&
        (announced > HTTP_DRAIN_BYTES_MAX || head.expect != NULL || !head_is_framed(&head))) {
        r->answer.close = true;
        return request_send(r);
    }
    return MHD_YES;
}

static void keep(struct request *r, const char *data, size_t size)
{
    if (r->body_bytes > HTTP_BODY_BYTES_MAX) {
        (void)error_code(&r->err, AIKI_LIMIT, "BODY_TOO_LARGE",
                         "the body has more than HTTP_BODY_BYTES_MAX, %d bytes",
                         HTTP_BODY_BYTES_MAX);
        refuse(r, 413, &r->err);
    } else if (check_room(r, size, &r->err) != AIKI_OK) {
        refuse(r, 503, &r->err);
    } else {
        aiki_mp_raw(&r->call.body, data, size);
        hold(r, size);
        if (r->call.body.status != AIKI_OK)
            refuse(r, 503, (error_set(&r->err, AIKI_NOMEM, "no memory for the body"), &r->err));
    }
    if (r->answer.status != 0) {
        buf_deinit(&r->call.body);
        let_go(r);
    }
}

/* A chunked body without an end: MHD takes an answer before or after a body, not within. */
static void cut_off(struct request *r)
{
    char text[1024];
    (void)error_code(&r->err, AIKI_LIMIT, "BODY_TOO_LARGE",
                     "the body goes on after HTTP_DRAIN_BYTES_MAX, %d bytes", HTTP_DRAIN_BYTES_MAX);
    size_t size = request_raw_answer(413, "Content Too Large", &r->err, text, sizeof(text));
    peer_cut_saying(&r->http->peers, r->peer, text, size);
}

static enum MHD_Result read_on(struct request *r, const char *data, size_t size)
{
    r->body_bytes += size;
    if (r->body_bytes > HTTP_DRAIN_BYTES_MAX) {
        cut_off(r);
        return MHD_NO;
    }
    if (r->answer.status == 0)
        keep(r, data, size);
    return MHD_YES;
}

static void prepared(struct request *r)
{
    if (r->status == AIKI_OK) {
        request_ask(r);
        return;
    }
    refuse(r, http_status_of(r->status), &r->err);
    let_go(r);
    resume(r, READY);
}

static void parse(uv_work_t *work)
{
    struct request *r = container_of(work, struct request, work);
    r->status = call_prepare(&r->call, &r->err);
}

static void on_parsed(uv_work_t *work, int status)
{
    struct request *r = container_of(work, struct request, work);
    (void)status; /* never cancelled */
    r->http->working--;
    if (r->http->stopping) {
        refuse_stopping(r);
        resume(r, READY);
        return;
    }
    prepared(r);
}

static bool take_stream(struct request *r)
{
    r->streams = r->http->streams < HTTP_STREAMS_MAX;
    r->http->streams += r->streams;
    if (!r->streams) {
        (void)error_code(&r->err, AIKI_UNAVAILABLE, "OVERLOADED",
                         "HTTP_STREAMS_MAX: %d streams of events are open; try again, or ask for "
                         "the history with wait",
                         HTTP_STREAMS_MAX);
        refuse(r, 503, &r->err);
    }
    return r->streams;
}

/* All of the request is there. */
static enum MHD_Result act(struct request *r)
{
    if (r->answer.status == 0 && r->http->stopping)
        refuse_stopping(r);
    if (r->answer.status != 0)
        return request_send(r);
    if (r->call.body.size_bytes > HTTP_INLINE_BYTES_MAX) {
        MHD_suspend_connection(r->connection);
        r->state = PARSING;
        peer_enter(&r->http->peers, r->peer, PHASE_WORK);
        r->http->working++;
        (void)uv_queue_work(r->http->loop, &r->work, parse, on_parsed); /* as in on_reply */
        return MHD_YES;
    }
    r->status = call_prepare(&r->call, &r->err);
    if (r->status != AIKI_OK) {
        refuse(r, http_status_of(r->status), &r->err);
        return request_send(r);
    }
    if (r->call.streams && !take_stream(r))
        return request_send(r);
    if (call_local(&r->call) != LOCAL_NONE) {
        answer_here(r->http, &r->call, &r->answer);
        return request_send(r);
    }
    MHD_suspend_connection(r->connection);
    request_ask(r);
    return MHD_YES;
}

enum MHD_Result request_step(struct request *r, struct MHD_Connection *connection,
                             const char *method, const char *version, const char *data,
                             size_t *size)
{
    switch (r->state) {
    case NEW: r->connection = connection; return begin(r, method, version);
    case READING: {
        if (*size == 0)
            return act(r);
        size_t taken = *size;
        *size = 0;
        return read_on(r, data, taken);
    }
    case READY: return request_send(r);
    case SENDING: return MHD_YES;
    case PARSING:
    case ASKING:
    case SHOWING: return MHD_YES; /* suspended: MHD does not call */
    case GONE: return MHD_NO;
    }
    return MHD_NO;
}

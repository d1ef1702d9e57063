/* session.c - stay connected, send requests, match answers, repeat what got none. [loop]
 *
 *       request             open          WELCOME
 *   IDLE ----> CONNECT -----> HELLO ----------> UP --+
 *               ^   | refused   | lost, late,   |    | answers, expiry
 *         timer |   v           v denied   lost |<---+
 *              BACKOFF <------------------------+
 *   any state --destroy--> CLOSING: open requests end, handles close, the loop runs out
 *
 * The first request makes the connection, so that a server that turns it away at once finds the
 * request that is to be told.
 *
 * A request stays on the list from submission until its last answer. Entering UP sends the
 * whole list again: what the old connection had answered is gone from it, and the rest is the
 * same request to the server (a START carries its run id, a SIGNAL its reference). A request that
 * is to go once ends when the connection it was sent on does.
 *
 * Time: one timer stands for the earliest moment any request needs attention. Most requests are
 * answered before theirs, so the list is walked about once per request_timeout_ms.
 */
#include "session.h"

#include <assert.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/conn.h"
#include "base/fault.h"
#include "base/secret.h"
#include "outcome.h"
#include "wire/error.h"
#include "wire/event.h"

enum {
    HASH_SIZE = 4096, /* 16 requests a chain at the limit */
    HELLO_CORRELATION = 1,
    CONNECT_MS_MAX = 5000, /* one attempt, WELCOME included */
    BACKOFF_MS_MIN = 20,
    BACKOFF_MS_MAX = 2000,
    BUSY_MS = 100, /* before asking a server again that answered UNAVAILABLE */
    REQUEST_TIMEOUT_MS = 30000,
    WAIT_GRACE_MS = 250 /* for the server's own "not yet" to arrive; it knows the state */
};

enum state { IDLE, CONNECT, HELLO, UP, BACKOFF, CLOSING };

struct session {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct conn *conn;   /* NULL unless CONNECT, HELLO or UP */
    uv_timer_t pace;     /* limit of an attempt in CONNECT and HELLO, pause in BACKOFF */
    uv_timer_t due;      /* when the list must be looked at */
    int64_t due_mono_ms; /* what `due` is armed for; INT64_MAX = nothing */
    struct mailbox mailbox;
    struct mail stop; /* posted by destroy */
    pthread_t thread;

    enum state state;
    unsigned attempt;                 /* connection attempts since it was last up */
    int64_t down_since_mono_ms;       /* 0 while UP */
    char why[AIKI_MESSAGE_SIZE];      /* the last connection did not work because */
    char why_busy[AIKI_MESSAGE_SIZE]; /* the server last answered UNAVAILABLE because */

    struct request *first, **last;
    struct request *hash[HASH_SIZE]; /* by correlation */
    uint32_t correlation_last;

    char *address, *name, *token, *token_file, *space; /* owned; token "": of token_file */
    struct tls *tls; /* owned; NULL: the address is without TLS */
    int64_t request_timeout_ms;
    atomic_uint count;
    atomic_ullong bytes;
};

static void enter(struct session *s, enum state next);

/* ---- requests ----------------------------------------------------------------------------- */

struct request *request_create(uint32_t type, request_fn fn, void *arg)
{
    struct request *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    buf_init(&r->payload);
    r->type = type;
    r->fn = fn;
    r->arg = arg;
    r->submitted_mono_ms = clock_mono_ms();
    return r;
}

void request_destroy(struct request *r)
{
    if (r == NULL)
        return;
    buf_deinit(&r->payload);
    free(r);
}

static uint64_t request_bytes(const struct request *r)
{
    return sizeof(*r) + r->payload.size_bytes;
}

static void link_request(struct session *s, struct request *r)
{
    do
        r->correlation = ++s->correlation_last;
    while (r->correlation <= HELLO_CORRELATION); /* 0 is for pushes */
    r->link = s->last;
    *s->last = r;
    s->last = &r->next;
    struct request **bucket = &s->hash[r->correlation % HASH_SIZE];
    r->hash_next = *bucket;
    *bucket = r;
}

static void unlink_request(struct session *s, struct request *r)
{
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    else
        s->last = r->link;
    struct request **at = &s->hash[r->correlation % HASH_SIZE];
    while (*at != r)
        at = &(*at)->hash_next;
    *at = r->hash_next;
}

static struct request *find_request(struct session *s, uint32_t correlation)
{
    struct request *r = s->hash[correlation % HASH_SIZE];
    while (r != NULL && r->correlation != correlation)
        r = r->hash_next;
    return r;
}

static void uncount(struct session *s, const struct request *r)
{
    atomic_fetch_sub(&s->count, 1);
    atomic_fetch_sub(&s->bytes, request_bytes(r));
}

/* The last word on r. fn may submit new requests. */
static void finish(struct session *s, struct request *r, aiki_status st, struct answer *a,
                   const aiki_error *err)
{
    unlink_request(s, r);
    uncount(s, r);
    r->fn(r, st, a, err);
    request_destroy(r);
}

static void fail(struct session *s, struct request *r, aiki_status st, const char *message)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_set(&err, st, "%s", message);
    finish(s, r, st, NULL, &err);
}

/* Ends what is open now; requests that callbacks add meanwhile are not touched. */
static void fail_all(struct session *s, const aiki_error *err)
{
    struct request *stop = s->first == NULL ? NULL : container_of(s->last, struct request, next);
    for (struct request *r = s->first, *next; r != NULL; r = next) {
        next = r == stop ? NULL : r->next;
        finish(s, r, err->status, NULL, err);
    }
}

static void send_request(struct session *s, struct request *r)
{
    aiki_writer *w = conn_out(s->conn);
    uint64_t at = frame_begin(w);
    aiki_mp_raw(w, r->payload.data, r->payload.size_bytes);
    (void)frame_end(w, at, r->type, r->correlation); /* the size was checked at submission */
    conn_dirty(s->conn);
    r->sent = true;
}

/* ---- time --------------------------------------------------------------------------------- */

/* When the server has been out of reach for too long as far as r is concerned. */
static int64_t lost_mono_ms(const struct session *s, const struct request *r)
{
    if (s->down_since_mono_ms == 0 || r->type == 0)
        return INT64_MAX;
    int64_t since =
        s->down_since_mono_ms > r->submitted_mono_ms ? s->down_since_mono_ms : r->submitted_mono_ms;
    return since + s->request_timeout_ms;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When r ends without an answer. */
static int64_t expiry_mono_ms(const struct session *s, const struct request *r)
{
    int64_t grace_ms = r->type == WIRE_WAIT ? WAIT_GRACE_MS : 0;
    int64_t own = r->deadline_mono_ms > 0 ? r->deadline_mono_ms + grace_ms : INT64_MAX;
    return earlier(own, lost_mono_ms(s, r));
}

static int64_t request_due_mono_ms(const struct session *s, const struct request *r)
{
    int64_t due = expiry_mono_ms(s, r);
    return r->resend_mono_ms > 0 ? earlier(due, r->resend_mono_ms) : due;
}

static void on_due(uv_timer_t *t);

static void arm_due(struct session *s, int64_t due_mono_ms)
{
    if (due_mono_ms >= s->due_mono_ms || s->state == CLOSING)
        return;
    s->due_mono_ms = due_mono_ms;
    int64_t left_ms = due_mono_ms - clock_mono_ms();
    uv_update_time(&s->loop);
    uv_timer_start(&s->due, on_due, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
}

static void expire(struct session *s, struct request *r)
{
    char message[2 * AIKI_MESSAGE_SIZE];
    if (s->state != UP) {
        snprintf(message, sizeof(message), "server %s cannot be reached: %s", s->address, s->why);
        fail(s, r, AIKI_UNAVAILABLE, message);
    } else if (r->type == WIRE_WAIT) {
        fail(s, r, AIKI_TIMEDOUT, "the run has not finished yet");
    } else if (r->was_busy) {
        snprintf(message, sizeof(message), "server %s could not for %lld ms: %s", s->address,
                 (long long)s->request_timeout_ms, s->why_busy);
        fail(s, r, AIKI_UNAVAILABLE, message);
    } else {
        snprintf(message, sizeof(message), "server %s did not answer within %lld ms", s->address,
                 (long long)s->request_timeout_ms);
        fail(s, r, AIKI_UNAVAILABLE, message);
    }
}

static void on_due(uv_timer_t *t)
{
    struct session *s = container_of(t, struct session, due);
    int64_t now = clock_mono_ms();
    bool silent = false;

    s->due_mono_ms = INT64_MAX;
    for (struct request *r = s->first, *next; r != NULL; r = next) {
        next = r->next;
        if (r->resend_mono_ms > 0 && r->resend_mono_ms <= now) {
            r->resend_mono_ms = 0;
            if (s->state == UP)
                send_request(s, r);
        }
        if (expiry_mono_ms(s, r) <= now) {
            silent = silent || (s->state == UP && r->type != WIRE_WAIT && !r->was_busy);
            expire(s, r);
        } else {
            arm_due(s, request_due_mono_ms(s, r));
        }
    }
    /* A peer that owes an answer for that long is gone, whatever its socket says. */
    if (silent && s->state == UP)
        conn_close(s->conn);
}

/* ---- answers ------------------------------------------------------------------------------ */

static void answer_fault(struct session *s, struct request *r, aiki_view payload)
{
    struct msg_FAULT m;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status st = msg_FAULT_read(payload, &m, &err);
    if (st == AIKI_OK)
        st = error_read(m.error, &err, NULL, NULL);
    if (st != AIKI_OK) {
        fail(s, r, AIKI_CORRUPT, "the server's refusal does not decode");
        return;
    }
    st = m.status == AIKI_OK ? AIKI_INTERNAL : (aiki_status)m.status;
    if (st == AIKI_UNAVAILABLE) {
        r->resend_mono_ms = clock_mono_ms() + BUSY_MS;
        r->was_busy = true;
        snprintf(s->why_busy, sizeof(s->why_busy), "%s", err.message);
        arm_due(s, r->resend_mono_ms);
        return;
    }
    err.status = st;
    finish(s, r, st, NULL, &err);
}

static void answer_started(struct session *s, struct request *r, aiki_view payload)
{
    struct answer a = {.type = WIRE_STARTED};
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_STARTED_read(payload, &a.as.started, &err) != AIKI_OK) {
        fail(s, r, AIKI_CORRUPT, err.message);
    } else if (!r->want_result) {
        finish(s, r, AIKI_OK, &a, NULL);
    } else if (!r->started) { /* else: the echo of a repeat */
        r->started = true;
        r->deadline_mono_ms = 0;
        r->fn(r, AIKI_OK, &a, NULL);
    }
}

/* Whether the server's limit on a wait ended well before ours. */
static bool wait_goes_on(const struct request *r)
{
    enum { ROUNDING_MS = 10 };
    return r->deadline_mono_ms == 0 || clock_mono_ms() + ROUNDING_MS < r->deadline_mono_ms;
}

static void answer_result(struct session *s, struct request *r, aiki_view payload)
{
    struct msg_RESULT m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_RESULT_read(payload, &m, &err) != AIKI_OK) {
        fail(s, r, AIKI_CORRUPT, err.message);
        return;
    }
    bool is_final = run_state_is_terminal(m.state);
    if (!is_final && !r->look && wait_goes_on(r)) {
        send_request(s, r);
        return;
    }
    struct answer a = {.type = WIRE_RESULT, .outcome = outcome_create(&m)};
    if (a.outcome == NULL) {
        fail(s, r, AIKI_NOMEM, "no memory for the run's result");
    } else if (m.state == RUN_COMPLETED) {
        finish(s, r, AIKI_OK, &a, NULL);
    } else if (is_final) {
        (void)error_set(&err, AIKI_FAILED, "run ended %s", run_state_name(m.state));
        finish(s, r, AIKI_FAILED, &a, a.outcome->error != NULL ? a.outcome->error : &err);
    } else {
        (void)error_set(&err, AIKI_TIMEDOUT, "the run is still %s", run_state_name(m.state));
        finish(s, r, AIKI_TIMEDOUT, &a, &err);
    }
    free(a.outcome);
}

static void answer_ok(struct session *s, struct request *r, aiki_view payload)
{
    struct answer a = {.type = WIRE_OK};
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_OK_read(payload, &a.as.ok, &err) != AIKI_OK)
        fail(s, r, AIKI_CORRUPT, err.message);
    else
        finish(s, r, AIKI_OK, &a, NULL);
}

static void answer_document(struct session *s, struct request *r, aiki_view payload)
{
    struct msg_DOCUMENT m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_DOCUMENT_read(payload, &m, &err) != AIKI_OK) {
        fail(s, r, AIKI_CORRUPT, err.message);
        return;
    }
    struct answer a = {.type = WIRE_DOCUMENT, .as.document = m.value};
    finish(s, r, AIKI_OK, &a, NULL);
}

static void answer_request(struct session *s, struct request *r, const struct frame *f)
{
    bool asked_result = r->type == WIRE_WAIT || (r->type == WIRE_START && r->want_result);
    if (f->type == WIRE_FAULT) {
        answer_fault(s, r, f->payload);
    } else if (f->type == WIRE_STARTED && r->type == WIRE_START) {
        answer_started(s, r, f->payload);
    } else if (f->type == WIRE_RESULT && asked_result) {
        answer_result(s, r, f->payload);
    } else if (f->type == WIRE_OK && (r->type == WIRE_SIGNAL || r->type == WIRE_CONTROL)) {
        answer_ok(s, r, f->payload);
    } else if (f->type == WIRE_DOCUMENT && r->type == WIRE_QUERY) {
        answer_document(s, r, f->payload);
    } else {
        char message[AIKI_MESSAGE_SIZE];
        snprintf(message, sizeof(message), "server %s answered %s to %s", s->address,
                 wire_type_name(f->type), wire_type_name(r->type));
        fail(s, r, AIKI_CORRUPT, message);
    }
}

/* ---- the connection ----------------------------------------------------------------------- */

static void on_open(struct conn *c, void *arg)
{
    struct session *s = arg;
    (void)c;
    if (s->state == CONNECT)
        enter(s, HELLO);
}

/* Turned away: waiting would not change the answer. */
static void on_refused(struct session *s, const struct frame *f)
{
    struct msg_FAULT m;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status st = f->type == WIRE_FAULT ? msg_FAULT_read(f->payload, &m, &err) : AIKI_CORRUPT;
    if (st == AIKI_OK)
        st = error_read(m.error, &err, NULL, NULL);
    if (st == AIKI_OK)
        err.status = m.status == AIKI_OK ? AIKI_INTERNAL : (aiki_status)m.status;
    else
        (void)error_set(&err, AIKI_UNSUPPORTED, "%s does not speak this protocol", s->address);
    snprintf(s->why, sizeof(s->why), "%s", err.message);
    if (err.status != AIKI_UNAVAILABLE)
        fail_all(s, &err);
    conn_close(s->conn);
}

static void on_hello_answer(struct session *s, const struct frame *f)
{
    struct msg_WELCOME m;
    if (f->type == WIRE_WELCOME && msg_WELCOME_read(f->payload, &m, NULL) == AIKI_OK &&
        m.major == WIRE_MAJOR)
        enter(s, UP);
    else
        on_refused(s, f);
}

/* For tests; the answer to what cannot be repeated is spared. */
static bool loses_reply(struct session *s, const struct frame *f)
{
    const struct request *r = find_request(s, f->correlation);
    return (r == NULL || !r->once) && fault_drops_reply(f->type);
}

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct session *s = arg;
    if (loses_reply(s, f)) {
        conn_close(c);
    } else if (s->state == HELLO && f->correlation == HELLO_CORRELATION) {
        on_hello_answer(s, f);
    } else if (s->state == UP) {
        struct request *r = find_request(s, f->correlation);
        if (r != NULL) /* else: late news of a request that expired */
            answer_request(s, r, f);
    }
}

static void close_handles(struct session *s);

static void on_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct session *s = arg;
    aiki_error err = {.struct_size = sizeof(err)};
    s->conn = NULL;
    if (status != AIKI_OK)
        snprintf(s->why, sizeof(s->why), "%s", why);
    if (status == AIKI_DENIED && s->state != CLOSING) { /* a certificate: time does not mend it */
        (void)error_code(&err, status, conn_code(c), "%s: %s", s->address, why);
        fail_all(s, &err);
    }
    if (s->state == CLOSING)
        close_handles(s);
    else
        enter(s, BACKOFF);
}

static const struct conn_callbacks callbacks = {
    .on_open = on_open, .on_frame = on_frame, .on_closed = on_closed};

static void on_pace(uv_timer_t *t)
{
    struct session *s = container_of(t, struct session, pace);
    if (s->state == BACKOFF) {
        enter(s, CONNECT);
    } else if (s->state == CONNECT || s->state == HELLO) {
        snprintf(s->why, sizeof(s->why), "no welcome within %d ms", CONNECT_MS_MAX);
        conn_close(s->conn);
    }
}

static void start_connecting(struct session *s)
{
    uv_timer_start(&s->pace, on_pace, CONNECT_MS_MAX, 0);
    s->conn = conn_open(s->conns, s->address, &callbacks, s);
    if (s->conn == NULL) {
        snprintf(s->why, sizeof(s->why), "out of memory");
        enter(s, BACKOFF);
    }
}

/* The token is looked up each time, so that a new one in the file is found. */
static void say_hello(struct session *s)
{
    char token[TOKEN_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    if (token_find(s->token, s->token_file, token, &err) != AIKI_OK) {
        snprintf(s->why, sizeof(s->why), "%s", err.message);
        fail_all(s, &err);
        conn_close(s->conn);
        return;
    }
    conn_send(s->conn, HELLO, HELLO_CORRELATION, .magic = view_of(WIRE_MAGIC), .major = WIRE_MAJOR,
              .minor = WIRE_MINOR, .role = WIRE_ROLE_CLIENT, .name = view_of(s->name),
              .token = view_of(token), .space = view_of(s->space), .pid = (uint64_t)getpid());
    explicit_bzero(token, sizeof(token));
}

static void go_up(struct session *s)
{
    uv_timer_stop(&s->pace);
    s->attempt = 0;
    s->down_since_mono_ms = 0;
    for (struct request *r = s->first, *next; r != NULL; r = next) {
        next = r->next;
        r->resend_mono_ms = 0;
        if (r->type == 0)
            finish(s, r, AIKI_OK, NULL, NULL);
        else
            send_request(s, r);
    }
}

/* Requests that must not be repeated; callbacks may add new ones, which were not sent. */
static void fail_once(struct session *s)
{
    for (struct request *r = s->first, *next; r != NULL; r = next) {
        next = r->next;
        if (r->once && r->sent)
            fail(s, r, AIKI_UNAVAILABLE,
                 "the connection was lost before the answer came; look at the run before asking "
                 "again");
    }
}

/* A pause that doubles, with jitter so that many clients do not come back in step. */
static void start_backoff(struct session *s)
{
    uint32_t ceiling_ms = BACKOFF_MS_MAX;
    if (s->attempt < 7)
        ceiling_ms = (uint32_t)BACKOFF_MS_MIN << s->attempt;
    s->attempt++;
    uint32_t ms = ceiling_ms / 2 + randombytes_uniform(ceiling_ms / 2 + 1);
    uv_timer_start(&s->pace, on_pace, ms, 0);
    if (s->down_since_mono_ms == 0) {
        s->down_since_mono_ms = clock_mono_ms();
        arm_due(s, s->down_since_mono_ms + s->request_timeout_ms);
    }
}

static void start_closing(struct session *s)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_set(&err, AIKI_CANCELLED, "the client was closed before the answer came");
    fail_all(s, &err);
    if (s->conn != NULL)
        conn_close(s->conn);
    else
        close_handles(s);
}

static void enter(struct session *s, enum state next)
{
    assert(s->state != CLOSING);
    s->state = next;
    switch (next) {
    case IDLE: break;
    case CONNECT: start_connecting(s); break;
    case HELLO: say_hello(s); break;
    case UP: go_up(s); break;
    case BACKOFF:
        fail_once(s);
        start_backoff(s);
        break;
    case CLOSING: start_closing(s); break;
    }
}

static void close_handles(struct session *s)
{
    uv_close((uv_handle_t *)&s->pace, NULL);
    uv_close((uv_handle_t *)&s->due, NULL);
    mailbox_close(&s->mailbox, NULL);
    conn_loop_destroy(s->conns, NULL, NULL);
}

/* ---- the thread --------------------------------------------------------------------------- */

static void accept_request(struct session *s, struct request *r)
{
    link_request(s, r);
    arm_due(s, request_due_mono_ms(s, r));
    if (s->state == IDLE)
        enter(s, CONNECT);
    else if (s->state == UP && r->type != 0)
        send_request(s, r);
    else if (s->state == UP)
        finish(s, r, AIKI_OK, NULL, NULL);
}

static void on_mail(void *arg, struct mail *list)
{
    struct session *s = arg;
    bool stop = false;
    for (struct mail *m = list, *next; m != NULL; m = next) {
        next = m->next;
        if (m == &s->stop)
            stop = true;
        else
            accept_request(s, container_of(m, struct request, mail));
    }
    if (stop)
        enter(s, CLOSING);
}

static void *thread_main(void *arg)
{
    struct session *s = arg;
    sigset_t all;
    sigfillset(&all); /* signals are the application's; a lost peer is EPIPE, not SIGPIPE */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- outside ------------------------------------------------------------------------------ */

/* "aiki://HOST:PORT/" and "HOST" become "HOST:PORT". NULL when out of memory. */
static char *address_of(const char *url)
{
    static const char scheme[] = "aiki://", tls[] = "tls:";
    char *address = NULL;
    bool is_tls = strncmp(url, tls, sizeof(tls) - 1) == 0;
    if (is_tls)
        url += sizeof(tls) - 1;
    if (strncmp(url, "unix:", 5) == 0)
        return strdup(url);
    if (strncmp(url, scheme, sizeof(scheme) - 1) == 0)
        url += sizeof(scheme) - 1;
    size_t size = strcspn(url, "/");
    const char *after_v6 = memchr(url, ']', size);
    const char *host_end = after_v6 != NULL ? after_v6 : url;
    bool has_port = memchr(host_end, ':', size - (size_t)(host_end - url)) != NULL;
    if (asprintf(&address, "%s%.*s%s", is_tls ? tls : "", (int)size, url,
                 has_port ? "" : ":9090") < 0)
        return NULL;
    return address;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static aiki_status copy_token(struct session *s, const aiki_client_options *o, aiki_error *err)
{
    char token[TOKEN_SIZE];
    const char *value = o->token, *file = o->token_file;
    if (value == NULL && file == NULL) {
        value = secure_getenv("AIKI_TOKEN");
        file = secure_getenv("AIKI_TOKEN_FILE");
    }
    s->token = strdup(or_empty(value));
    s->token_file = strdup(o->token == NULL ? or_empty(file) : "");
    if (s->token == NULL || s->token_file == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for a client");
    aiki_status status = token_find(s->token, s->token_file, token, err);
    explicit_bzero(token, sizeof(token));
    return status;
}

static const char *or_variable(const char *text, const char *name)
{
    return text != NULL ? text : secure_getenv(name);
}

static aiki_status open_tls(struct session *s, const aiki_client_options *o, aiki_error *err)
{
    bool has_own = o->tls_cert != NULL || o->tls_key != NULL;
    const struct tls_files files = {
        .cert = has_own ? o->tls_cert : secure_getenv("AIKI_TLS_CERT"),
        .key = has_own ? o->tls_key : secure_getenv("AIKI_TLS_KEY"),
        .ca = or_variable(o->tls_ca, "AIKI_TLS_CA"),
    };
    return strncmp(s->address, "tls:", 4) == 0 ? tls_client_create(&s->tls, &files, err) : AIKI_OK;
}

static aiki_status copy_options(struct session *s, const char *url, const aiki_client_options *o,
                                aiki_error *err)
{
    s->request_timeout_ms = o->request_timeout_ms > 0 ? o->request_timeout_ms : REQUEST_TIMEOUT_MS;
    s->address = address_of(url);
    s->name = strdup(o->name != NULL ? o->name : "c-client");
    s->space = strdup(o->space != NULL ? o->space : "default");
    if (s->address == NULL || s->name == NULL || s->space == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for a client");
    if (s->address[0] == ':' || s->address[0] == '\0')
        return error_set(err, AIKI_INVALID,
                         "url '%s' names no host; expected aiki://HOST:PORT, tls:HOST:PORT or "
                         "unix:PATH",
                         url);
    aiki_status status = copy_token(s, o, err);
    return status == AIKI_OK ? open_tls(s, o, err) : status;
}

static void free_session(struct session *s)
{
    free(s->address);
    free(s->name);
    if (s->token != NULL)
        secret_free(s->token, strlen(s->token));
    free(s->token_file);
    tls_unref(s->tls);
    free(s->space);
    free(s);
}

/* Everything with a descriptor. All of it, or nothing but the memory of s is left. */
static aiki_status open_loop(struct session *s, aiki_error *err)
{
    if (uv_loop_init(&s->loop) != 0)
        return error_set(err, AIKI_NOMEM, "no event loop: too many open files?");
    int failed = mailbox_init(&s->mailbox, &s->loop, on_mail, s);
    if (failed != 0) {
        (void)uv_loop_close(&s->loop);
        return error_set(err, AIKI_NOMEM, "no mailbox: %s", uv_strerror(failed));
    }
    uv_timer_init(&s->loop, &s->pace); /* timers own no resources and cannot fail */
    uv_timer_init(&s->loop, &s->due);
    s->conns = conn_loop_create(&s->loop);
    if (s->conns != NULL)
        conn_loop_set_tls(s->conns, s->tls);
    if (s->conns != NULL && pthread_create(&s->thread, NULL, thread_main, s) == 0)
        return AIKI_OK;

    uv_close((uv_handle_t *)&s->pace, NULL);
    uv_close((uv_handle_t *)&s->due, NULL);
    mailbox_close(&s->mailbox, NULL);
    if (s->conns != NULL)
        conn_loop_destroy(s->conns, NULL, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&s->loop);
    return error_set(err, AIKI_NOMEM, "no thread for the client");
}

aiki_status session_create(struct session **ret, const char *url,
                           const aiki_client_options *options, aiki_error *err)
{
    if (sodium_init() < 0)
        return error_set(err, AIKI_INTERNAL, "no source of random numbers");
    struct session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for a client");
    s->last = &s->first;
    s->due_mono_ms = INT64_MAX;
    s->correlation_last = HELLO_CORRELATION;
    s->down_since_mono_ms = clock_mono_ms();
    snprintf(s->why, sizeof(s->why), "no answer yet");
    aiki_status st = copy_options(s, url, options, err);
    if (st == AIKI_OK)
        st = open_loop(s, err);
    if (st != AIKI_OK) {
        free_session(s);
        return st;
    }
    *ret = s;
    return AIKI_OK;
}

void session_destroy(struct session *s)
{
    if (s == NULL)
        return;
    mailbox_post(&s->mailbox, &s->stop);
    pthread_join(s->thread, NULL);
    int left = uv_loop_close(&s->loop);
    assert(left == 0);
    (void)left;
    free_session(s);
}

static aiki_status reserve(struct session *s, const struct request *r, aiki_error *err)
{
    unsigned count = atomic_fetch_add(&s->count, 1);
    unsigned long long bytes = atomic_fetch_add(&s->bytes, request_bytes(r));
    aiki_status st = AIKI_OK;
    if (count >= AIKI_CLIENT_REQUESTS_MAX)
        st = error_set(err, AIKI_LIMIT,
                       "over AIKI_CLIENT_REQUESTS_MAX: %u requests have no answer yet", count);
    else if (bytes + request_bytes(r) > AIKI_CLIENT_BYTES_MAX)
        st = error_set(err, AIKI_LIMIT,
                       "over AIKI_CLIENT_BYTES_MAX: %llu bytes of requests have no answer yet",
                       bytes);
    if (st != AIKI_OK)
        uncount(s, r);
    return st;
}

aiki_status session_submit(struct session *s, struct request *r, aiki_error *err)
{
    if (r->payload.status != AIKI_OK)
        return error_set(err, r->payload.status, "no memory for a request");
    if (r->payload.size_bytes > FRAME_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "over FRAME_BYTES_MAX: a request of %llu bytes",
                         (unsigned long long)r->payload.size_bytes);
    bool own_thread = session_is_own_thread(s);
    if (own_thread && s->state == CLOSING)
        return error_set(err, AIKI_CANCELLED, "the client is being closed");
    aiki_status st = reserve(s, r, err);
    if (st != AIKI_OK)
        return st;
    if (own_thread)
        accept_request(s, r); /* from a callback: no detour through the mailbox */
    else
        mailbox_post(&s->mailbox, &r->mail);
    return AIKI_OK;
}

const char *session_name(const struct session *s)
{
    return s->name;
}

int64_t session_request_timeout_ms(const struct session *s)
{
    return s->request_timeout_ms;
}

bool session_is_own_thread(const struct session *s)
{
    return pthread_equal(s->thread, pthread_self()) != 0;
}

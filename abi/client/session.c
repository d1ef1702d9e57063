/* session.c - stay connected, send requests, match answers, repeat what got none. [loop]
 *
 *       request             open          WELCOME
 *   IDLE ----> CONNECT -----> HELLO ----------> UP --+
 *    ^          ^   | refused   | lost, late,   |    | answers, expiry
 *    |    timer |   v           v denied   lost |<---+
 *    +--timer--BACKOFF <------------------------+
 *      denied, and nobody asks
 *   any state --destroy--> CLOSING: open requests end, handles close, the loop runs out
 *
 * The first request makes the connection, so that a server that turns it away at once finds the
 * request that is to be told.
 *
 * A request stays on the list from submission until its last answer. Entering UP sends the
 * whole list again: what the old connection had answered is gone from it, and the rest is the
 * same request to the server (a START carries its run id, a SIGNAL and a CONTROL their reference).
 */
#include "session_impl.h"

#include <assert.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/secret.h"
#include "wire/error.h"

enum {
    CONNECT_MS_MAX = 5000, /* one attempt, WELCOME included */
    BACKOFF_MS_MIN = 20,
    BACKOFF_MS_MAX = 2000
};

static void enter(struct session *s, enum state next);

/* ---- the connection ----------------------------------------------------------------------- */

static void on_open(struct conn *c, void *arg)
{
    struct session *s = arg;
    (void)c;
    if (s->state == CONNECT)
        enter(s, HELLO);
}

/* Time does not mend it: who asks is told, and the next attempt is for who asks next. */
static void deny(struct session *s, const aiki_error *err)
{
    s->denied = true;
    session_fail_all(s, err);
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
        deny(s, &err);
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

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct session *s = arg;
    if (fault_drops_reply(f->type)) {
        conn_close(c);
    } else if (s->state == HELLO && f->correlation == HELLO_CORRELATION) {
        on_hello_answer(s, f);
    } else if (s->state == UP) {
        struct request *r = session_find(s, f->correlation);
        if (r != NULL) /* else: late news of a request that expired */
            session_answer(s, r, f);
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
    if (status == AIKI_DENIED && s->state != CLOSING) { /* a certificate */
        (void)error_code(&err, status, conn_code(c), "%s: %s", s->address, why);
        deny(s, &err);
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
        enter(s, s->denied && s->first == NULL ? IDLE : CONNECT);
    } else if (s->state == CONNECT || s->state == HELLO) {
        snprintf(s->why, sizeof(s->why), "no welcome within %d ms", CONNECT_MS_MAX);
        conn_close(s->conn);
    }
}

static void start_connecting(struct session *s)
{
    s->denied = false;
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
        deny(s, &err);
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
            session_finish(s, r, AIKI_OK, NULL, NULL);
        else
            session_send(s, r);
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
        session_arm_due(s, s->down_since_mono_ms + s->request_timeout_ms);
    }
}

static void start_closing(struct session *s)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_set(&err, AIKI_CANCELLED, "the client was closed before the answer came");
    session_fail_all(s, &err);
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
    case BACKOFF: start_backoff(s); break;
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
    session_link(s, r);
    session_arm_due(s, request_due_mono_ms(s, r));
    if (s->state == IDLE)
        enter(s, CONNECT);
    else if (s->state == UP && r->type != 0)
        session_send(s, r);
    else if (s->state == UP)
        session_finish(s, r, AIKI_OK, NULL, NULL);
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
    aiki_status st = session_copy_options(s, url, options, err);
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
        session_uncount(s, r);
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

/* session.c - connect, greet, keep the lease, start over.
 *
 *            start         connected           WELCOME
 *     IDLE --------> DIAL ----------> GREETING --------> UP --+
 *                     ^ | failed         | failed, late        | lost, FENCED, lease over
 *               timer | v                v                     v
 *                     BACKOFF <----------+---------------------+      any --close--> CLOSING
 *
 * The lease runs from when the acknowledged heartbeat was SENT, on the monotonic clock: the
 * server counts from when it arrived, which is later, so this side always stops first.
 */
#include "broker/session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/secret.h"
#include "wire/error.h"
#include "wire/message.h"

enum state { IDLE, DIAL, GREETING, UP, BACKOFF, CLOSING };
static const char *const state_name[] = {"idle", "dial", "greeting", "up", "backoff", "closing"};

enum { BEATS_MAX = 4, LEASE_MS_MIN = 50, INDEX_BITS = 20, INDEX_MASK = (1 << INDEX_BITS) - 1 };

/* Correlation = generation << 20 | index + 1, so that a late answer never finds a new request. */
struct waiting {
    struct request *request;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
};

struct beat {
    struct request request;
    struct session *session;
    uint64_t sent_loop_ms;
    bool pending;
};

struct session {
    uv_loop_t *loop;
    struct conn_loop *conns;
    struct session_options options;
    struct session_callbacks cb;
    void *arg;
    enum state state;
    struct conn *conn;   /* of DIAL, GREETING and UP */
    unsigned conns_open; /* also those that are closing */
    unsigned handles_open;
    uv_timer_t timer; /* backoff, greeting limit */
    uv_timer_t beat_timer;
    uv_timer_t fence_timer;
    struct request greeting;
    struct beat beats[BEATS_MAX];
    struct aiki_id id;
    uint64_t lease_ms, fence_loop_ms, greeted_loop_ms;
    unsigned attempt;
    char complaint[AIKI_MESSAGE_SIZE]; /* what the log says of the outage under way; "" = nothing */
    struct waiting *waiting;
    uint32_t waiting_count, waiting_capacity, first_free;
};

static void enter(struct session *s, enum state next);

/* ---- requests ------------------------------------------------------------------------------ */

static bool grow_waiting(struct session *s)
{
    uint32_t capacity = s->waiting_capacity == 0 ? 1024 : s->waiting_capacity * 2;
    struct waiting *bigger = realloc(s->waiting, capacity * sizeof(*bigger));
    if (bigger == NULL)
        return false;
    s->waiting = bigger;
    s->waiting_capacity = capacity;
    return true;
}

uint32_t session_expect(struct session *s, struct request *r)
{
    uint32_t index;
    if (s->first_free != 0) {
        index = s->first_free - 1;
        s->first_free = s->waiting[index].next_free;
    } else {
        if (s->waiting_count == SESSION_REQUESTS_MAX - 1 ||
            (s->waiting_count == s->waiting_capacity && !grow_waiting(s)))
            return 0;
        index = s->waiting_count++;
        s->waiting[index].generation = 0;
    }
    s->waiting[index].request = r;
    return s->waiting[index].generation << INDEX_BITS | (index + 1);
}

static struct request *take_waiting(struct session *s, uint32_t index)
{
    struct waiting *w = &s->waiting[index];
    struct request *r = w->request;
    w->request = NULL;
    w->generation++;
    w->next_free = s->first_free;
    s->first_free = index + 1;
    return r;
}

/* The request behind a number, taken out of the table; NULL when nobody waits for it. */
static struct request *take_correlation(struct session *s, uint32_t correlation)
{
    uint32_t index = (correlation & INDEX_MASK) - 1;
    if ((correlation & INDEX_MASK) == 0 || index >= s->waiting_count ||
        s->waiting[index].request == NULL ||
        s->waiting[index].generation << INDEX_BITS != (correlation & ~(uint32_t)INDEX_MASK))
        return NULL;
    return take_waiting(s, index);
}

void session_forget(struct session *s, uint32_t correlation)
{
    (void)take_correlation(s, correlation);
}

static bool answer(struct session *s, const struct frame *f)
{
    struct request *r = take_correlation(s, f->correlation);
    if (r != NULL)
        r->on_answer(r, f);
    return r != NULL;
}

static void answer_all_lost(struct session *s)
{
    for (uint32_t i = 0; i < s->waiting_count; i++) {
        if (s->waiting[i].request != NULL) {
            struct request *r = take_waiting(s, i);
            r->on_answer(r, NULL);
        }
    }
}

/* ---- lease --------------------------------------------------------------------------------- */

static void on_fence(uv_timer_t *t);

/* The lease holds for lease_ms from when that heartbeat left. */
static void extend_lease(struct session *s, uint64_t sent_loop_ms)
{
    uint64_t until = sent_loop_ms + s->lease_ms, now = uv_now(s->loop);
    if (until <= s->fence_loop_ms)
        return;
    s->fence_loop_ms = until;
    uv_timer_start(&s->fence_timer, on_fence, until > now ? until - now : 0, 0);
}

static void on_beat_answer(struct request *r, const struct frame *f)
{
    struct beat *b = container_of(r, struct beat, request);
    struct session *s = b->session;
    b->pending = false;
    if (f == NULL)
        return;
    if (f->type == WIRE_OK)
        extend_lease(s, b->sent_loop_ms);
    else
        session_renew(s, "the server has ended the session");
}

static void send_beat(struct session *s)
{
    for (int i = 0; i < BEATS_MAX; i++) {
        struct beat *b = &s->beats[i];
        if (b->pending)
            continue;
        uint32_t correlation = session_expect(s, &b->request);
        if (correlation == 0)
            return; /* the lease will tell */
        b->pending = true;
        b->sent_loop_ms = uv_now(s->loop);
        conn_send(s->conn, HEARTBEAT, correlation, .busy = s->cb.busy(s->arg),
                  .slots = s->options.slots);
        return;
    }
}

static void on_beat(uv_timer_t *t)
{
    struct session *s = container_of(t, struct session, beat_timer);
    if (s->state == UP)
        send_beat(s);
}

static void on_fence(uv_timer_t *t)
{
    struct session *s = container_of(t, struct session, fence_timer);
    if (s->state == UP)
        session_renew(s, "no heartbeat was answered for the length of the lease");
}

/* ---- connection ---------------------------------------------------------------------------- */

/* Exponential, and spread over its upper half so that runtimes do not return in step. */
static uint64_t backoff_ms(unsigned attempt)
{
    uint32_t random = 0;
    uint64_t ms = SESSION_BACKOFF_MS_MIN;
    for (unsigned i = 1; i < attempt && ms < SESSION_BACKOFF_MS_MAX; i++)
        ms *= 2;
    ms = ms < SESSION_BACKOFF_MS_MAX ? ms : SESSION_BACKOFF_MS_MAX;
    (void)getrandom(&random, sizeof(random), 0); /* without it: no jitter */
    return ms / 2 + random % (ms / 2 + 1);
}

/* Each reason once: a server that was away and now refuses is news. */
static void complain(struct session *s, const char *why)
{
    if (strncmp(s->complaint, why, sizeof(s->complaint) - 1) == 0) {
        log_debug("session", "%s: %s", s->options.server, why);
        return;
    }
    log_warn("session", "no session with %s: %s; trying again, up to every %d ms",
             s->options.server, why, SESSION_BACKOFF_MS_MAX);
    (void)snprintf(s->complaint, sizeof(s->complaint), "%s", why);
}

static void on_welcome(struct request *r, const struct frame *f)
{
    struct session *s = container_of(r, struct session, greeting);
    struct msg_WELCOME m;
    struct msg_FAULT fault;
    aiki_error err = {.struct_size = sizeof(err)};
    bool denied = false;
    if (f == NULL)
        return;
    if (f->type == WIRE_WELCOME && msg_WELCOME_read(f->payload, &m, &err) == AIKI_OK &&
        m.major == WIRE_MAJOR) {
        s->id = m.session;
        s->lease_ms = m.lease_ms > LEASE_MS_MIN ? m.lease_ms : LEASE_MS_MIN;
        enter(s, UP);
        return;
    }
    if (f->type == WIRE_WELCOME && err.status == AIKI_OK)
        (void)error_set(&err, AIKI_UNSUPPORTED,
                        "it speaks wire version %" PRIu64
                        ", this runtime %d; install matching releases",
                        m.major, WIRE_MAJOR);
    else if (f->type == WIRE_FAULT && msg_FAULT_read(f->payload, &fault, &err) == AIKI_OK) {
        denied = fault.status == AIKI_DENIED;
        (void)error_read(fault.error, &err, NULL, NULL);
    }
    session_renew(s, err.message[0] != '\0' ? err.message : "refused without a reason");
    if (denied && s->cb.on_denied != NULL)
        s->cb.on_denied(&err, s->arg);
}

static void on_open(struct conn *c, void *arg)
{
    struct session *s = arg;
    if (c == s->conn && s->state == DIAL)
        enter(s, GREETING);
}

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct session *s = arg;
    if (c == s->conn && f->correlation != 0 && fault_drops_reply(f->type)) {
        session_renew(s, "a reply was lost on purpose");
        return;
    }
    if (c != s->conn || answer(s, f))
        return;
    if (s->state == UP)
        s->cb.on_push(f, s->arg);
}

static void closed_check(struct session *s);

static void on_conn_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct session *s = arg;
    (void)status;
    s->conns_open--;
    if (c == s->conn) {
        s->conn = NULL;
        session_renew(s, why);
    }
    closed_check(s);
}

static const struct conn_callbacks conn_callbacks = {
    .on_open = on_open, .on_frame = on_frame, .on_closed = on_conn_closed};

static void dial(struct session *s)
{
    s->conn = conn_open(s->conns, s->options.server, &conn_callbacks, s);
    if (s->conn == NULL)
        enter(s, BACKOFF); /* out of memory: perhaps later */
    else
        s->conns_open++;
}

static void on_timer(uv_timer_t *t)
{
    struct session *s = container_of(t, struct session, timer);
    if (s->state == BACKOFF)
        enter(s, DIAL);
    else if (s->state == DIAL || s->state == GREETING)
        session_renew(s, "no answer within SESSION_GREETING_MS");
}

static void greet(struct session *s)
{
    char token[TOKEN_SIZE];
    aiki_error err = AIKI_ERROR_INIT;
    if (token_find(s->options.token, s->options.token_file, token, &err) != AIKI_OK) {
        session_renew(s, err.message);
        return;
    }
    s->greeting.on_answer = on_welcome;
    s->greeted_loop_ms = uv_now(s->loop);
    conn_send(s->conn, HELLO, session_expect(s, &s->greeting), .magic = view_of(WIRE_MAGIC),
              .major = WIRE_MAJOR, .minor = WIRE_MINOR, .role = WIRE_ROLE_RUNTIME,
              .name = view_of(s->options.name), .token = view_of(token),
              .space = view_of(s->options.space), .pid = (uint64_t)getpid(),
              .slots = s->options.slots);
    explicit_bzero(token, sizeof(token));
}

static void come_up(struct session *s)
{
    char text[AIKI_ID_TEXT_SIZE];
    uv_timer_stop(&s->timer);
    s->attempt = 0;
    s->complaint[0] = '\0';
    s->fence_loop_ms = 0;
    extend_lease(s, s->greeted_loop_ms);
    uv_timer_start(&s->beat_timer, on_beat, s->lease_ms / 3, s->lease_ms / 3);
    id_text(&s->id, text);
    log_info("session", "%s with %s, lease %" PRIu64 " ms", text, s->options.server, s->lease_ms);
    s->cb.on_up(s->arg);
}

/* Whatever the session was, nothing is left of it but connections that close by themselves. */
static void take_down(struct session *s, bool was_up)
{
    uv_timer_stop(&s->timer);
    uv_timer_stop(&s->beat_timer);
    uv_timer_stop(&s->fence_timer);
    if (was_up)
        s->cb.on_ending(s->arg);
    struct conn *c = s->conn;
    s->conn = NULL;
    if (c != NULL)
        conn_close(c);
    answer_all_lost(s);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct session *s = h->data;
    s->handles_open--;
    closed_check(s);
}

static void closed_check(struct session *s)
{
    if (s->state != CLOSING || s->handles_open > 0 || s->conns_open > 0)
        return;
    void (*on_closed)(void *arg) = s->cb.on_closed;
    void *arg = s->arg;
    free(s->waiting);
    free(s);
    on_closed(arg);
}

static void close_handles(struct session *s)
{
    uv_timer_t *timers[] = {&s->timer, &s->beat_timer, &s->fence_timer};
    for (unsigned i = 0; i < ARRAY_COUNT(timers); i++) {
        timers[i]->data = s;
        uv_close((uv_handle_t *)timers[i], on_handle_closed);
    }
}

static void enter(struct session *s, enum state next)
{
    static const unsigned allowed[] = {
        [IDLE] = 1u << DIAL | 1u << CLOSING,
        [DIAL] = 1u << GREETING | 1u << BACKOFF | 1u << CLOSING,
        [GREETING] = 1u << UP | 1u << BACKOFF | 1u << CLOSING,
        [UP] = 1u << BACKOFF | 1u << CLOSING,
        [BACKOFF] = 1u << DIAL | 1u << CLOSING,
    };
    enum state last = s->state;
    assert(allowed[last] & 1u << next);
    log_debug("session", "%s -> %s", state_name[last], state_name[next]);
    s->state = next;
    switch (next) {
    case DIAL:
        uv_timer_start(&s->timer, on_timer, SESSION_GREETING_MS, 0);
        dial(s);
        break;
    case GREETING: greet(s); break;
    case UP: come_up(s); break;
    case BACKOFF:
        take_down(s, last == UP);
        uv_timer_start(&s->timer, on_timer, backoff_ms(++s->attempt), 0);
        break;
    case CLOSING:
        take_down(s, last == UP);
        close_handles(s);
        break;
    case IDLE: abort();
    }
}

/* ---- public -------------------------------------------------------------------------------- */

aiki_status session_create(struct session **ret, uv_loop_t *loop, struct conn_loop *conns,
                           const struct session_options *options,
                           const struct session_callbacks *cb, void *arg, aiki_error *err)
{
    struct session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set(err, AIKI_NOMEM, "session");
    s->loop = loop;
    s->conns = conns;
    s->options = *options;
    s->cb = *cb;
    s->arg = arg;
    for (int i = 0; i < BEATS_MAX; i++) {
        s->beats[i].session = s;
        s->beats[i].request.on_answer = on_beat_answer;
    }
    uv_timer_init(loop, &s->timer);
    uv_timer_init(loop, &s->beat_timer);
    uv_timer_init(loop, &s->fence_timer);
    s->handles_open = 3;
    *ret = s;
    return AIKI_OK;
}

void session_start(struct session *s)
{
    enter(s, DIAL);
}

struct conn *session_conn(struct session *s)
{
    if (s->state != UP)
        return NULL;
    if (uv_now(s->loop) >= s->fence_loop_ms) {
        session_renew(s, "the lease ran out while this process stood still");
        return NULL;
    }
    return s->conn;
}

struct conn *session_last_words(struct session *s)
{
    return s->conn != NULL && conn_is_open(s->conn) ? s->conn : NULL;
}

const struct aiki_id *session_id(const struct session *s)
{
    return &s->id;
}

void session_set_slots(struct session *s, uint64_t slots)
{
    s->options.slots = slots;
    if (s->state == UP)
        send_beat(s);
}

void session_suspect(struct session *s)
{
    if (s->state == UP)
        send_beat(s);
}

void session_renew(struct session *s, const char *why)
{
    if (s->state == CLOSING || s->state == BACKOFF || s->state == IDLE)
        return;
    complain(s, why);
    enter(s, BACKOFF);
}

void session_close(struct session *s)
{
    if (s->state != CLOSING)
        enter(s, CLOSING);
}

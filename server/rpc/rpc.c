/* rpc.c - see rpc.h.
 *
 *            HELLO client
 *   GREETING -------------> CLIENT
 *      |  |  HELLO runtime              lease over
 *      |  +---------------> RUNTIME ----------------> EXPIRED
 *      | refused, late
 *      v
 *   LEAVING <---- any: closed by either side
 *
 * Greetings last equally long and so do leases: each is a list in order of its end, and one timer
 * stands for the first of both.
 */
#include "rpc/rpc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "chain.h"
#include "metrics.h"
#include "version.h"
#include "views.h"
#include "wire/error.h"
#include "wire/frame.h"

enum phase { GREETING, CLIENT, RUNTIME, EXPIRED, LEAVING };
enum { LATE_MS = 100 }; /* a timer later than this says that this process stood still */

struct peer {
    struct chain timed;   /* in rpc.greeting or rpc.leases */
    uint64_t due_loop_ms; /* of the greeting or the lease */
    struct rpc *rpc;
    struct conn *conn;
    peer_id id;
    enum phase phase;
    uint32_t requests;      /* that wait for an answer */
    bool slow;              /* cut because it does not read */
    struct aiki_id session; /* of a runtime */
    unsigned role;          /* TOKEN_CLIENT or TOKEN_RUNTIME */
    struct token_id token;
    char name[NAME_BYTES_MAX + 1];
};

struct rpc {
    uv_loop_t *loop;
    struct conn_loop *conns;
    struct gather *gather;
    struct rpc_options options;
    struct conn_listener *listener;
    struct peer **peers;  /* by slot */
    uint32_t *free_slots; /* stack */
    uint32_t free_count;
    uint64_t serial;
    size_t peer_count, session_count;
    unsigned turned_away; /* connections over the limit that are not closed yet */
    struct chain greeting, leases;
    uv_timer_t timer;
    uint64_t timer_loop_ms; /* when it is due; 0 = not armed */
    bool second_look;       /* it was late: what waits in the sockets is read first */
    bool closing, timer_closed;
    void (*on_closed)(void *arg);
    void *arg;
};

static void arm(struct rpc *r);

/* ---- answers --------------------------------------------------------------------------------- */

static void refuse(struct peer *p, uint32_t correlation, const aiki_error *err)
{
    metric_add(requests_refused, 1);
    frame_fault(conn_out(p->conn), correlation, err);
    conn_dirty(p->conn);
}

/* Say why and cut. */
static void dismiss(struct peer *p, uint32_t correlation, const aiki_error *err)
{
    refuse(p, correlation, err);
    chain_remove(&p->timed);
    p->phase = LEAVING;
    conn_close(p->conn);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void set_due(struct peer *p, struct chain *list, uint64_t in_ms)
{
    chain_remove(&p->timed);
    p->due_loop_ms = uv_now(p->rpc->loop) + in_ms;
    chain_append(list, &p->timed);
    if (p->rpc->timer_loop_ms == 0 || p->due_loop_ms < p->rpc->timer_loop_ms)
        arm(p->rpc);
}

static void too_late(struct peer *p)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_set(&err, AIKI_TIMEDOUT, "no HELLO within RPC_HELLO_MS_MAX (%d ms)",
                    RPC_HELLO_MS_MAX);
    log_debug("rpc", "a connection is cut: %s", err.message);
    dismiss(p, 0, &err);
}

static void expire(struct peer *p)
{
    log_warn("rpc", "runtime %s was silent for its lease of %llu ms: its runs go to others",
             p->name, (unsigned long long)p->rpc->options.lease_ms);
    metric_add(sessions_expired, 1);
    chain_remove(&p->timed);
    p->phase = EXPIRED;
    p->rpc->session_count--;
    gather_add(p->rpc->gather, p->id, COMMAND_EXPIRE, 0, (aiki_view){NULL, 0});
}

static struct peer *first_of(const struct chain *list)
{
    return chain_is_empty(list) ? NULL : container_of(list->next, struct peer, timed);
}

static void on_timer(uv_timer_t *timer)
{
    struct rpc *r = container_of(timer, struct rpc, timer);
    uint64_t now = uv_now(r->loop);
    /* This process itself was stopped: heartbeats may lie unread in the sockets. */
    if (now > r->timer_loop_ms + LATE_MS && !r->second_look) {
        r->second_look = true;
        (void)uv_timer_start(timer, on_timer, 1, 0);
        return;
    }
    r->second_look = false;
    for (struct peer *p; (p = first_of(&r->greeting)) != NULL && p->due_loop_ms <= now;)
        too_late(p);
    for (struct peer *p; (p = first_of(&r->leases)) != NULL && p->due_loop_ms <= now;)
        expire(p);
    arm(r);
}

/* For the first end of all. A heartbeat moves an end back and leaves the timer alone. */
static void arm(struct rpc *r)
{
    const struct peer *greeting = first_of(&r->greeting), *lease = first_of(&r->leases);
    uint64_t now = uv_now(r->loop), due = UINT64_MAX;
    if (greeting != NULL)
        due = greeting->due_loop_ms;
    if (lease != NULL && lease->due_loop_ms < due)
        due = lease->due_loop_ms;
    r->timer_loop_ms = due == UINT64_MAX || r->closing ? 0 : due;
    if (r->timer_loop_ms != 0)
        (void)uv_timer_start(&r->timer, on_timer, due > now ? due - now : 0, 0);
}

/* ---- greeting -------------------------------------------------------------------------------- */

static aiki_status check_token(struct peer *p, const struct msg_HELLO *m, aiki_error *err)
{
    char name[NAME_BYTES_MAX + 1], from[NAME_BYTES_MAX + 80], address[ENDPOINT_TEXT_SIZE];
    p->role = m->role == WIRE_ROLE_RUNTIME ? TOKEN_RUNTIME : TOKEN_CLIENT;
    (void)snprintf(from, sizeof(from), "%s \"%s\" at %.60s",
                   p->role == TOKEN_RUNTIME ? "runtime" : "client",
                   log_clean(m->name, name, sizeof(name)), conn_peer_text(p->conn, address));
    return tokens_check(p->rpc->options.tokens, m->token, p->role, from, &p->token, err);
}

static aiki_status check_hello(struct peer *p, const struct frame *f, struct msg_HELLO *m,
                               aiki_error *err)
{
    const struct rpc *r = p->rpc;
    char text[NAME_BYTES_MAX + 1];
    if (f->type != WIRE_HELLO)
        return error_code(err, AIKI_INVALID, "HELLO_EXPECTED",
                          "the first message is HELLO, not one of type %u", f->type);
    if (f->payload.size_bytes > RPC_HELLO_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "HELLO has %llu bytes, RPC_HELLO_BYTES_MAX is %d",
                         (unsigned long long)f->payload.size_bytes, RPC_HELLO_BYTES_MAX);
    aiki_status status = msg_HELLO_read(f->payload, m, err);
    if (status != AIKI_OK)
        return status;
    if (!view_is(m->magic, WIRE_MAGIC))
        return error_set(err, AIKI_INVALID, "HELLO without the magic \"%s\": not an aiki peer",
                         WIRE_MAGIC);
    if (m->major != WIRE_MAJOR)
        return error_set(err, AIKI_UNSUPPORTED,
                         "this server speaks wire version %d, the peer %llu; install matching "
                         "releases",
                         WIRE_MAJOR, (unsigned long long)m->major);
    if (m->role != WIRE_ROLE_CLIENT && m->role != WIRE_ROLE_RUNTIME)
        return error_set(err, AIKI_INVALID, "HELLO for role %llu; 1 is client, 2 is runtime",
                         (unsigned long long)m->role);
    status = check_token(p, m, err);
    if (status != AIKI_OK)
        return status;
    aiki_view space = m->space.size_bytes > 0 ? m->space : view_of("default");
    if (!view_is(space, r->options.space))
        return error_code(err, AIKI_DENIED, "WRONG_NAMESPACE",
                          "this server keeps namespace \"%s\", the peer asks for \"%s\"",
                          r->options.space, log_clean(space, text, sizeof(text)));
    return AIKI_OK;
}

static void open_session(struct peer *p, const struct msg_HELLO *m)
{
    struct session_open open = {.pid = m->pid, .slots = m->slots};
    p->phase = RUNTIME;
    p->session = open.id = id_new();
    memcpy(open.name, p->name, sizeof(open.name));
    p->rpc->session_count++;
    metric_add(sessions_opened, 1);
    set_due(p, &p->rpc->leases, p->rpc->options.lease_ms);
    gather_add(p->rpc->gather, p->id, COMMAND_OPEN, 0,
               (aiki_view){(const uint8_t *)&open, sizeof(open)});
}

static void greet(struct peer *p, const struct frame *f)
{
    const struct rpc_options *o = &p->rpc->options;
    struct msg_HELLO m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (check_hello(p, f, &m, &err) != AIKI_OK) {
        if (strcmp(err.code, "TOKEN_REFUSED") != 0) /* those are logged, not each */
            log_warn("rpc", "a connection is refused: %s", err.message);
        dismiss(p, f->correlation, &err);
        return;
    }
    (void)log_clean(m.name, p->name, sizeof(p->name));
    chain_remove(&p->timed);
    if (m.role == WIRE_ROLE_RUNTIME)
        open_session(p, &m);
    else
        p->phase = CLIENT;
    conn_send(p->conn, WELCOME, f->correlation, .major = WIRE_MAJOR, .minor = WIRE_MINOR,
              .incarnation = o->incarnation, .session = p->session, .lease_ms = o->lease_ms,
              .now_ms = engine_clock_ms(&o->clock), .payload_bytes_max = PAYLOAD_BYTES_MAX,
              .server = view_of("aiki-server " AIKI_VERSION));
    if (p->phase == RUNTIME)
        log_info("rpc", "runtime %s (pid %llu, %llu slots) is connected", p->name,
                 (unsigned long long)m.pid, (unsigned long long)m.slots);
}

/* ---- requests -------------------------------------------------------------------------------- */

enum { FOR_CLIENT = 1, FOR_RUNTIME = 2 };

static unsigned asked_by(uint32_t type)
{
    switch (type) {
    case WIRE_START:
    case WIRE_WAIT:
    case WIRE_SIGNAL:
    case WIRE_CONTROL: return FOR_CLIENT;
    case WIRE_QUERY: return FOR_CLIENT | FOR_RUNTIME;
    case WIRE_REGISTER:
    case WIRE_UNREGISTER:
    case WIRE_REFUSAL:
    case WIRE_CLAIM:
    case WIRE_JOURNAL:
    case WIRE_APPEND:
    case WIRE_MOVED:
    case WIRE_USAGE:
    case WIRE_HEARTBEAT:
    case WIRE_STREAM_RESET: return FOR_RUNTIME;
    default: return 0;
    }
}

/* Journals as they are, for replay, are such a query, too. A query that does not read is refused where it is
 * answered. */
static aiki_status check_reveal(const struct peer *p, aiki_view payload, aiki_error *err)
{
    struct msg_QUERY m;
    struct query_args a = {.reveal = false};
    char from[NAME_BYTES_MAX + 16];
    if (p->rpc->options.tokens == NULL || msg_QUERY_read(payload, &m, NULL) != AIKI_OK)
        return AIKI_OK;
    bool whole = view_is(m.what, "runs.journal");
    if (!whole && (query_args_read(m.args, &a, NULL) != AIKI_OK || !a.reveal))
        return AIKI_OK;
    (void)snprintf(from, sizeof(from), "client %s", p->name);
    return tokens_check_reveal_id(p->rpc->options.tokens, &p->token, from, err);
}

static aiki_status check_request(const struct peer *p, const struct frame *f, aiki_error *err)
{
    unsigned role = p->phase == CLIENT ? FOR_CLIENT : FOR_RUNTIME;
    if ((asked_by(f->type) & role) == 0)
        return error_code(err, AIKI_INVALID, "BAD_REQUEST",
                          "message %s (type %u) is no request of a %s", wire_type_name(f->type),
                          f->type, role == FOR_CLIENT ? "client" : "runtime");
    if (p->requests >= CONNECTION_REQUESTS_MAX)
        return error_set(err, AIKI_LIMIT,
                         "CONNECTION_REQUESTS_MAX: %d requests of this connection wait for an "
                         "answer",
                         CONNECTION_REQUESTS_MAX);
    if (f->type == WIRE_QUERY && p->phase == CLIENT)
        return check_reveal(p, f->payload, err);
    /* What is under way may go on. */
    if (f->type == WIRE_START || f->type == WIRE_SIGNAL || f->type == WIRE_CONTROL)
        return gather_room(p->rpc->gather, f->payload.size_bytes, err);
    return AIKI_OK;
}

/* On the loop alone: the store thread only notes it for `aiki workers list`. */
static void beat(struct peer *p, const struct frame *f)
{
    struct msg_HEARTBEAT m;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status status = msg_HEARTBEAT_read(f->payload, &m, &err);
    if (status == AIKI_OK && p->phase != RUNTIME)
        status = error_set(&err, AIKI_FENCED, "the session's lease has ended; say HELLO anew");
    if (status != AIKI_OK) {
        refuse(p, f->correlation, &err);
        return;
    }
    const struct session_beat beat = {.busy = m.busy, .slots = m.slots};
    set_due(p, &p->rpc->leases, p->rpc->options.lease_ms);
    conn_send(p->conn, OK, f->correlation, .count = 1);
    gather_add(p->rpc->gather, p->id, COMMAND_BEAT, 0,
               (aiki_view){(const uint8_t *)&beat, sizeof(beat)});
}

static void request(struct peer *p, const struct frame *f)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (check_request(p, f, &err) != AIKI_OK) {
        refuse(p, f->correlation, &err);
    } else if (f->type == WIRE_HEARTBEAT) {
        beat(p, f);
    } else {
        p->requests++;
        gather_add(p->rpc->gather, p->id, f->type, f->correlation, f->payload);
    }
}

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct peer *p = arg;
    (void)c;
    switch (p->phase) {
    case GREETING: greet(p, f); break;
    case CLIENT:
    case RUNTIME:
    case EXPIRED: request(p, f); break;
    case LEAVING: break;
    }
}

void rpc_deliver(struct rpc *r, const struct parcel *parcel)
{
    struct peer *p = r->peers[peer_slot(parcel->peer)];
    if (p == NULL || p->id != parcel->peer || !conn_is_open(p->conn))
        return;
    assert(parcel->answered <= p->requests);
    p->requests -= parcel->answered;
    conn_send_bytes(p->conn, aiki_writer_view(&parcel->frames));
    p->slow = !conn_is_open(p->conn);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void closed_check(struct rpc *r)
{
    if (!r->closing || r->peer_count > 0 || r->turned_away > 0 || !r->timer_closed)
        return;
    void (*on_closed)(void *arg) = r->on_closed;
    void *arg = r->arg;
    free(r->peers);
    free(r->free_slots);
    free(r);
    on_closed(arg);
}

static void log_end(const struct peer *p, aiki_status status, const char *why)
{
    const char *who = p->name[0] != '\0' ? p->name : "a peer without a name";
    bool damaged =
        status == AIKI_CORRUPT || status == AIKI_UNSUPPORTED || (status == AIKI_LIMIT && !p->slow);
    if (damaged)
        metric_add(frames_damaged, 1);
    if (damaged || (status != AIKI_OK && status != AIKI_UNAVAILABLE))
        log_warn("rpc", "connection %llu of %s is cut: %s", (unsigned long long)(p->id >> 16), who,
                 why);
    else if (p->phase == RUNTIME && status != AIKI_OK)
        log_warn("rpc", "runtime %s is gone: %s", who, why);
    else
        log_debug("rpc", "connection of %s ended: %s", who, why);
}

static void on_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct peer *p = arg;
    struct rpc *r = p->rpc;
    (void)c;
    log_end(p, status, why);
    chain_remove(&p->timed);
    if (p->phase == RUNTIME)
        r->session_count--;
    gather_add(r->gather, p->id, COMMAND_CLOSE, 0, (aiki_view){NULL, 0});
    r->peers[peer_slot(p->id)] = NULL;
    r->free_slots[r->free_count++] = peer_slot(p->id);
    r->peer_count--;
    free(p);
    closed_check(r);
}

static const struct conn_callbacks peer_callbacks = {.on_frame = on_frame, .on_closed = on_closed};

static void on_frame_ignored(struct conn *c, const struct frame *f, void *arg)
{
    (void)c;
    (void)f;
    (void)arg;
}

static void on_turned_away(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct rpc *r = arg;
    (void)c;
    (void)status;
    (void)why;
    r->turned_away--;
    closed_check(r);
}

static const struct conn_callbacks turned_away_callbacks = {.on_frame = on_frame_ignored,
                                                            .on_closed = on_turned_away};

/* The answer stands where that to HELLO would: the client library numbers it 1. */
static void turn_away(struct rpc *r, uv_stream_t *listener)
{
    enum { HELLO_CORRELATION = 1 };
    aiki_error err = {.struct_size = sizeof(err)};
    struct conn *c =
        conn_accept_tls(r->conns, listener, r->options.tls, &turned_away_callbacks, r);
    metric_add(connections_refused, 1);
    if (c == NULL)
        return;
    r->turned_away++;
    (void)error_set(&err, AIKI_UNAVAILABLE, "CONNECTIONS_MAX: %d connections are open",
                    CONNECTIONS_MAX);
    frame_fault(conn_out(c), HELLO_CORRELATION, &err);
    conn_dirty(c);
    conn_close(c);
}

static void on_connection(uv_stream_t *listener, void *arg)
{
    struct rpc *r = arg;
    if (r->free_count == 0) {
        turn_away(r, listener);
        return;
    }
    struct peer *p = memory_need(sizeof(*p));
    p->conn = conn_accept_tls(r->conns, listener, r->options.tls, &peer_callbacks, p);
    if (p->conn == NULL) {
        log_error("rpc", "out of memory for a connection");
        free(p);
        return;
    }
    p->rpc = r;
    p->id = peer_make(++r->serial, r->free_slots[--r->free_count]);
    r->peers[peer_slot(p->id)] = p;
    r->peer_count++;
    metric_add(connections, 1);
    set_due(p, &r->greeting, RPC_HELLO_MS_MAX);
}

/* ---- life ------------------------------------------------------------------------------------ */

aiki_status rpc_start(struct rpc **ret, uv_loop_t *loop, struct conn_loop *conns,
                      struct gather *gather, const struct rpc_options *options, aiki_error *err)
{
    struct rpc *r = memory_need(sizeof(*r));
    r->loop = loop;
    r->conns = conns;
    r->gather = gather;
    r->options = *options;
    aiki_status status = conn_listen(conns, options->listen, on_connection, r, &r->listener, err);
    if (status != AIKI_OK) {
        free(r);
        return status;
    }
    r->peers = memory_need(PEER_SLOTS * sizeof(struct peer *));
    r->free_slots = memory_need(CONNECTIONS_MAX * sizeof(*r->free_slots));
    for (uint32_t slot = CONNECTIONS_MAX; slot > 0; slot--)
        r->free_slots[r->free_count++] = slot - 1;
    chain_init(&r->greeting);
    chain_init(&r->leases);
    (void)uv_timer_init(loop, &r->timer); /* cannot fail */
    *ret = r;
    return AIKI_OK;
}

const char *rpc_address(const struct rpc *r)
{
    return conn_listener_address(r->listener);
}
size_t rpc_connection_count(const struct rpc *r)
{
    return r->peer_count;
}
size_t rpc_session_count(const struct rpc *r)
{
    return r->session_count;
}

void rpc_set_tls(struct rpc *r, struct tls *tls)
{
    r->options.tls = tls;
}

void rpc_check_tokens(struct rpc *r)
{
    for (uint32_t slot = 0; slot < CONNECTIONS_MAX; slot++) {
        struct peer *p = r->peers[slot];
        if (p == NULL || p->phase == GREETING || p->phase == LEAVING ||
            tokens_has(r->options.tokens, &p->token, p->role))
            continue;
        log_warn("rpc", "%s is cut: its token is not accepted any more", p->name);
        conn_close(p->conn);
    }
}

static int by_id(const void *a, const void *b)
{
    return id_compare(a, b);
}

struct aiki_id *rpc_sessions(const struct rpc *r, size_t *ret_count)
{
    struct aiki_id *ids = NULL;
    size_t count = 0;
    if (r->session_count > 0)
        ids = memory_need(r->session_count * sizeof(*ids));
    for (const struct chain *m = r->leases.next; m != &r->leases; m = m->next)
        ids[count++] = ((const struct peer *)container_of(m, struct peer, timed))->session;
    if (count > 0)
        qsort(ids, count, sizeof(*ids), by_id);
    *ret_count = count;
    return ids;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct rpc *r = container_of((uv_timer_t *)h, struct rpc, timer);
    r->timer_closed = true;
    closed_check(r);
}

void rpc_close(struct rpc *r, void (*on_all_closed)(void *arg), void *arg)
{
    r->closing = true;
    r->on_closed = on_all_closed;
    r->arg = arg;
    conn_listener_close(r->listener);
    for (uint32_t slot = 0; slot < CONNECTIONS_MAX; slot++)
        if (r->peers[slot] != NULL)
            conn_close(r->peers[slot]->conn);
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

/* broker.c - start the parts, join them, take them down.
 *
 *   consumer --ticket--> relay --claim, append--> session ==> server
 *                          ^ |
 *        append, run lost  | v assign, ack
 *   watch --> admit --> builds ==> children
 *
 *             SIGTERM           children ended, nothing held,          last handle gone
 *   SERVING ----------> DRAINING -----------------------------> CLOSING ----------> end
 *                          +-- second signal, drain-ms over: children killed --^
 *
 * Draining: no tickets are read, children finish what is resident; what is not done after
 * drain-ms they hand back, and the server offers it to others at once.
 */
#include "broker/broker.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/endpoint.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/secret.h"
#include "broker/builds.h"
#include "broker/consumer.h"
#include "broker/exporter.h"
#include "broker/relay.h"
#include "broker/session.h"
#include "wire/error.h"
#include "wire/message.h"

enum state { SERVING, DRAINING, CLOSING };

struct broker {
    uv_loop_t loop;
    const struct broker_options *options;
    enum state state;
    struct conn_loop *conns;
    struct session *session;
    struct builds *builds;
    struct consumer *consumer;
    struct relay *relay;
    struct exporter *exporter; /* NULL: nobody asked for metrics */
    struct broker_limits limits;
    uv_signal_t on_term, on_int, on_hangup;
    uv_timer_t limit; /* of DRAINING */
    bool session_up;
    bool ready_told;
    bool children_ended;
    bool hurried;        /* do not wait for the server's answers any more */
    unsigned parts_open; /* in CLOSING: relay, consumer, builds */
};

/* ---- ready --------------------------------------------------------------------------------- */

/* Whoever started this process waits for one line. */
static void tell_parent(int fd, const char *session, unsigned serving, unsigned refused,
                        const char *metrics)
{
    char line[512];
    int size = snprintf(line, sizeof(line),
                        "{\"pid\":%d,\"session\":\"%s\",\"plugins\":%u,\"refused\":%u,"
                        "\"metrics\":\"%s\"}\n",
                        (int)getpid(), session, serving, refused, metrics);
    if (write(fd, line, (size_t)size) != size)
        log_warn("broker", "nobody reads --ready-fd %d: %s", fd, strerror(errno));
    if (fd > STDERR_FILENO)
        close(fd);
}

static void ready_check(struct broker *b)
{
    char session[AIKI_ID_TEXT_SIZE];
    unsigned serving, refused;
    if (b->ready_told || !b->session_up || b->state != SERVING || !builds_is_settled(b->builds))
        return;
    b->ready_told = true;
    notify_manager("STATUS=serving");
    builds_count(b->builds, &serving, &refused);
    log_info("broker", "ready: %u plugin%s, %u refused", serving, serving == 1 ? "" : "s", refused);
    id_text(session_id(b->session), session);
    if (b->options->ready_fd >= 0)
        tell_parent(b->options->ready_fd, session, serving, refused,
                    b->exporter != NULL ? exporter_address(b->exporter) : "");
}

/* ---- ending -------------------------------------------------------------------------------- */

static void on_conns_closed(void *arg)
{
    struct broker *b = arg;
    uv_close((uv_handle_t *)&b->on_term, NULL);
    uv_close((uv_handle_t *)&b->on_int, NULL);
    uv_close((uv_handle_t *)&b->on_hangup, NULL);
    uv_close((uv_handle_t *)&b->limit, NULL); /* with these the loop ends */
}

static void on_part_closed(void *arg)
{
    struct broker *b = arg;
    if (--b->parts_open == 0)
        conn_loop_destroy(b->conns, on_conns_closed, b);
}

/* The session goes first: its end still tells the relay what is given back. */
static void on_session_closed(void *arg)
{
    struct broker *b = arg;
    b->parts_open = 1; /* this call */
    if (b->relay != NULL) {
        b->parts_open++;
        relay_close(b->relay);
    }
    if (b->consumer != NULL) {
        b->parts_open++;
        consumer_close(b->consumer);
    }
    if (b->exporter != NULL) {
        b->parts_open++;
        exporter_close(b->exporter, on_part_closed, b);
    }
    if (b->builds != NULL) {
        b->parts_open++;
        builds_close(b->builds);
    }
    on_part_closed(b);
}

static void close_all(struct broker *b)
{
    b->state = CLOSING;
    uv_timer_stop(&b->limit);
    if (b->session != NULL)
        session_close(b->session);
    else
        on_session_closed(b);
}

static void drained_check(struct broker *b)
{
    if (b->state == DRAINING && b->children_ended && (b->hurried || relay_held(b->relay) == 0))
        close_all(b);
}

static void hurry(struct broker *b, const char *why)
{
    log_warn("broker", "%s: %" PRIu64 " runs are given back now", why, relay_held(b->relay));
    b->hurried = true;
    builds_kill_all(b->builds);
    drained_check(b);
}

static void on_limit(uv_timer_t *t)
{
    struct broker *b = container_of(t, struct broker, limit);
    hurry(b, "not drained within drain-ms");
}

static void drain(struct broker *b, int number)
{
    uint64_t grace_ms = b->limits.drain_ms;
    log_info("broker", "%s: no new runs; %" PRIu64 " resident ones have %" PRIu64 " ms to finish",
             number == SIGTERM ? "SIGTERM" : "SIGINT", relay_held(b->relay), grace_ms);
    b->state = DRAINING;
    notify_manager("STOPPING=1");
    consumer_set_session(b->consumer, NULL);
    relay_stop(b->relay);
    uv_timer_start(&b->limit, on_limit, grace_ms + BROKER_END_MS, 0);
    builds_drain(b->builds); /* on_drained may come from inside */
}

static void on_signal(uv_signal_t *s, int number)
{
    struct broker *b = s->data;
    if (b->state == SERVING)
        drain(b, number);
    else if (b->state == DRAINING && !b->hurried)
        hurry(b, "a second signal");
}

/* ---- limits that change -------------------------------------------------------------------- */

/* Fewer slots than runs held: those stay, and no other comes until they are fewer. */
static void set_slots(struct broker *b, uint64_t slots)
{
    bool lowered = slots < b->limits.slots;
    if (slots == b->limits.slots)
        return;
    log_info("broker", "%" PRIu64 " slots instead of %" PRIu64 ", %" PRIu64 " in use", slots,
             b->limits.slots, relay_held(b->relay));
    b->limits.slots = slots;
    relay_set_slots(b->relay, slots);
    session_set_slots(b->session, slots);
    if (lowered)
        consumer_slots_lowered(b->consumer);
    else
        consumer_kick(b->consumer);
}

static void on_hangup(uv_signal_t *s, int number)
{
    struct broker *b = s->data;
    struct broker_limits limits = b->limits;
    (void)number;
    if (b->state != SERVING || !b->options->on_hangup(&limits, b->options->arg))
        return;
    set_slots(b, limits.slots);
    b->limits = limits;
    builds_set_drain_ms(b->builds, limits.drain_ms);
    builds_set_idle(b->builds, limits.idle);
    builds_set_alone(b->builds, limits.alone);
    builds_set_policy(b->builds, limits.gate, &limits.admit);
}

/* ---- what the parts report ----------------------------------------------------------------- */

static void on_session_up(void *arg)
{
    struct broker *b = arg;
    b->session_up = true;
    builds_session_up(b->builds);
    relay_session_up(b->relay);
    if (b->state == SERVING)
        consumer_set_session(b->consumer, session_id(b->session));
    ready_check(b);
}

static void on_session_push(const struct frame *f, void *arg)
{
    struct broker *b = arg;
    if (f->type == WIRE_QUARANTINE)
        builds_quarantine(b->builds, f);
    else
        relay_push(b->relay, f);
}

static void on_session_ending(void *arg)
{
    struct broker *b = arg;
    b->session_up = false;
    consumer_set_session(b->consumer, NULL);
    relay_session_ending(b->relay);
}

static uint64_t on_busy(void *arg)
{
    struct broker *b = arg;
    return relay_held(b->relay);
}

static void add_route(void *arg, struct build *build, aiki_view workflow, aiki_view version)
{
    struct broker *b = arg;
    consumer_routes_add(b->consumer, workflow, version, build);
}

static void on_routes(void *arg)
{
    struct broker *b = arg;
    consumer_routes_begin(b->consumer);
    builds_each_route(b->builds, add_route, b);
    consumer_routes_end(b->consumer);
}

static void on_child_frame(struct build *build, const struct frame *f, void *arg)
{
    struct broker *b = arg;
    relay_child_frame(b->relay, build, f);
}

static void on_child_lost(struct build *build, void *arg)
{
    struct broker *b = arg;
    relay_build_lost(b->relay, build);
}

static void on_build_dropped(struct build *build, void *arg)
{
    struct broker *b = arg;
    relay_build_dropped(b->relay, build);
}

static void on_build_ready(struct build *build, void *arg)
{
    struct broker *b = arg;
    relay_build_ready(b->relay, build);
}

static void on_build_given_up(struct build *build, void *arg)
{
    struct broker *b = arg;
    relay_build_given_up(b->relay, build);
}

static void on_build_replaced(struct build *build, struct build *by, void *arg)
{
    struct broker *b = arg;
    relay_build_replaced(b->relay, build, by);
}

static bool build_is_used(struct build *build, void *arg)
{
    struct broker *b = arg;
    return relay_uses_build(b->relay, build);
}

static bool build_has_run(struct build *build, void *arg)
{
    struct broker *b = arg;
    return relay_build_has_run(b->relay, build);
}

static struct build *find_other_build(const struct build_wanted *w, bool *ret_later, void *arg)
{
    struct broker *b = arg;
    return builds_find_other(b->builds, w, ret_later);
}

static bool is_revoked(const uint8_t *hash, aiki_error *ret, void *arg)
{
    struct broker *b = arg;
    return builds_is_revoked(b->builds, hash, ret);
}

static struct build *find_alone(const uint8_t *hash, bool *ret_later, void *arg)
{
    struct broker *b = arg;
    return builds_find_alone(b->builds, hash, ret_later);
}

static void on_solo_free(void *arg)
{
    struct broker *b = arg;
    relay_solo_free(b->relay);
}

static void on_settled(void *arg)
{
    struct broker *b = arg;
    ready_check(b);
}

static void on_children_ended(void *arg)
{
    struct broker *b = arg;
    b->children_ended = true;
    drained_check(b);
}

static void on_ticket(struct stream *s, struct entry_id entry, const struct ticket *t, void *arg)
{
    struct broker *b = arg;
    relay_ticket(b->relay, s, entry, t);
}

/* Without a session there is nobody to tell; the server's sweep finds the empty stream. */
static void on_stream_reset(const struct stream *s, void *arg)
{
    struct broker *b = arg;
    struct conn *c = session_conn(b->session);
    if (c != NULL)
        conn_send(c, STREAM_RESET, 0, .workflow = view_of(s->workflow),
                  .version = view_of(s->version));
}

static uint64_t on_free_slots(void *arg)
{
    struct broker *b = arg;
    return relay_free_slots(b->relay);
}

static void on_left(uint64_t held, void *arg)
{
    struct broker *b = arg;
    (void)held;
    drained_check(b);
}

/* ---- metrics ------------------------------------------------------------------------------- */

static void write_metrics(aiki_writer *w, void *arg)
{
    const struct broker *b = arg;
    stats_put(w, "session_up", "gauge", "Whether the server knows this runtime", b->session_up);
    stats_put(w, "slots", "gauge", "Runs that may be resident at a time", b->limits.slots);
    stats_put(w, "slots_busy", "gauge", "Runs that are resident, or on their way", relay_held(b->relay));
    if (b->builds != NULL) /* it could not be made: what there is is taken down */
        builds_write_metrics(b->builds, w);
}

/* ---- beginning ----------------------------------------------------------------------------- */

static aiki_status set_up_tls(struct broker *b, aiki_error *err)
{
    struct endpoint server;
    struct tls *tls = NULL;
    aiki_status st = endpoint_parse(b->options->server, &server, err);
    if (st != AIKI_OK || !server.is_tls)
        return st;
    st = tls_client_create(&tls, &b->options->tls, err);
    if (st == AIKI_OK)
        conn_loop_set_tls(b->conns, tls);
    tls_unref(tls);
    return st;
}

static aiki_status create_link_to_server(struct broker *b, aiki_error *err)
{
    static const struct session_callbacks callbacks = {.on_up = on_session_up,
                                                       .on_push = on_session_push,
                                                       .on_ending = on_session_ending,
                                                       .busy = on_busy,
                                                       .on_closed = on_session_closed};
    const struct broker_options *o = b->options;
    const struct session_options options = {.server = o->server,
                                            .name = o->name,
                                            .token = o->token,
                                            .token_file = o->token_file,
                                            .space = o->space,
                                            .slots = o->limits.slots};
    char token[TOKEN_SIZE];
    aiki_status st = set_up_tls(b, err);
    if (st == AIKI_OK) /* what is wrong with it now is told now */
        st = token_find(o->token, o->token_file, token, err);
    explicit_bzero(token, sizeof(token));
    if (st == AIKI_OK)
        st = session_create(&b->session, &b->loop, b->conns, &options, &callbacks, b, err);
    return st;
}

/* Builds come last: a half-made broker can be taken down without draining them. */
static aiki_status create_parts(struct broker *b, aiki_error *err)
{
    static const struct relay_callbacks relay_callbacks = {.find_other = find_other_build,
                                                           .find_alone = find_alone,
                                                           .is_revoked = is_revoked,
                                                           .on_left = on_left,
                                                           .on_closed = on_part_closed};
    static const struct consumer_callbacks consumer_callbacks = {.on_ticket = on_ticket,
                                                                 .on_reset = on_stream_reset,
                                                                 .free_slots = on_free_slots,
                                                                 .on_closed = on_part_closed};
    static const struct builds_callbacks builds_callbacks = {.on_routes = on_routes,
                                                             .on_frame = on_child_frame,
                                                             .on_lost = on_child_lost,
                                                             .on_dropped = on_build_dropped,
                                                             .on_ready = on_build_ready,
                                                             .on_given_up = on_build_given_up,
                                                             .on_replaced = on_build_replaced,
                                                             .is_used = build_is_used,
                                                             .has_run = build_has_run,
                                                             .on_solo_free = on_solo_free,
                                                             .on_settled = on_settled,
                                                             .on_drained = on_children_ended,
                                                             .on_closed = on_part_closed};
    const struct broker_options *o = b->options;
    const struct builds_options builds_options = {.plugins_dir = o->plugins_dir,
                                                  .ignore = o->ignore,
                                                  .state_dir = o->state_dir,
                                                  .executable = o->executable,
                                                  .admit = o->limits.admit,
                                                  .space = o->space,
                                                  .gate = o->limits.gate,
                                                  .task_threads = o->task_threads,
                                                  .child_limits = o->child_limits,
                                                  .idle = o->limits.idle,
                                                  .alone = o->limits.alone,
                                                  .wait_timeout_ms = o->wait_timeout_ms,
                                                  .oom_events = o->oom_events,
                                                  .stopped_ms = o->stopped_ms,
                                                  .keep_previous_ms = o->keep_previous_ms,
                                                  .drain_ms = o->limits.drain_ms};
    aiki_status st = create_link_to_server(b, err);
    if (st == AIKI_OK)
        st = relay_create(&b->relay, &b->loop, o->limits.slots, b->session, &relay_callbacks, b, err);
    if (st == AIKI_OK)
        st = consumer_create(&b->consumer, &b->loop, o->redis_url, o->space, &consumer_callbacks, b,
                             err);
    if (st == AIKI_OK)
        relay_set_consumer(b->relay, b->consumer);
    if (st == AIKI_OK && o->metrics[0] != '\0')
        st = exporter_start(&b->exporter, &b->loop, o->metrics, write_metrics, b, err);
    if (st == AIKI_OK)
        st = builds_create(&b->builds, &b->loop, b->conns, b->session, &builds_options,
                           &builds_callbacks, b, err);
    return st;
}

static void start(struct broker *b)
{
    uv_signal_start(&b->on_term, on_signal, SIGTERM);
    uv_signal_start(&b->on_int, on_signal, SIGINT);
    if (b->options->on_hangup != NULL)
        uv_signal_start(&b->on_hangup, on_hangup, SIGHUP);
    session_start(b->session);
    builds_start(b->builds);
    notify_manager("READY=1\nSTATUS=looking for the server"); /* it may come later than this */
}

aiki_status broker_run(const struct broker_options *options, aiki_error *err)
{
    struct broker *b = calloc(1, sizeof(*b));
    if (b == NULL || uv_loop_init(&b->loop) != 0) {
        free(b);
        return error_set(err, AIKI_NOMEM, "cannot start an event loop");
    }
    b->options = options;
    b->limits = options->limits;
    b->on_term.data = b->on_int.data = b->on_hangup.data = b;
    uv_signal_init(&b->loop, &b->on_term);
    uv_signal_init(&b->loop, &b->on_int);
    uv_signal_init(&b->loop, &b->on_hangup);
    uv_timer_init(&b->loop, &b->limit);
    b->conns = conn_loop_create(&b->loop);
    if (b->conns == NULL)
        abort(); /* start-up, out of memory */
    aiki_status st = create_parts(b, err);
    if (st == AIKI_OK)
        start(b);
    else
        close_all(b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    int left = uv_loop_close(&b->loop);
    assert(left == 0);
    (void)left;
    free(b);
    return st;
}

/* consumer.c - one blocking reader over all streams served here, one connection for the rest.
 *
 *   redis --XREADGROUP--> reader --on_ticket()--> relay --consumer_ack()--> XACK, XDEL --> redis
 *
 *            up                 session, streams, slots            all groups answered
 *     DOWN ------> IDLE ----------------------------> GROUPS ------------------------> READ
 *      ^             ^ ^------------- nothing to do ------+ ^--- NOGROUP, UNBLOCKED ---+  |
 *      | lost        |                                      |                             |
 *      +-- any       +---- timer ---- PAUSE <---- other error, from GROUPS and READ ------+
 *
 * The group is created on the reader's own connection, from id 0, so that no entry added between
 * is skipped. Creating it anew means that the stream's past is gone: on_reset.
 * Delivery: at least once. An entry is acknowledged after the server has answered its claim.
 */
#include "broker/consumer_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/link.h"
#include "base/log.h"
#include "wire/error.h"

static const char *const state_name[] = {"down", "idle", "groups", "read", "pause"};

static void evaluate(struct consumer *c);

static void enter(struct consumer *c, enum consumer_state next)
{
    if (c->state != next)
        log_debug("consumer", "%s -> %s", state_name[c->state], state_name[next]);
    c->state = next;
    if (next != READ && next != PAUSE)
        uv_timer_stop(&c->deadline);
}

/* hiredis gives every error a text; nothing here relies on it. */
static const char *error_text(const redisReply *r)
{
    return r->str != NULL ? r->str : "";
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* ---- trouble ------------------------------------------------------------------------------- */

static void forget_groups(struct consumer *c)
{
    for (struct stream *s = c->streams; s != NULL; s = s->next)
        s->group_known = false;
}

static void on_deadline(uv_timer_t *t)
{
    struct consumer *c = container_of(t, struct consumer, deadline);
    if (c->state == READ)
        link_reset(c->reader, "a blocking read outlived its deadline");
    else if (c->state == PAUSE) {
        enter(c, IDLE);
        evaluate(c);
    }
}

/* An error that only time or an operator mends. */
static void pause_reading(struct consumer *c, const char *error)
{
    uint64_t ms = 50;
    for (unsigned i = 0; i < c->trouble && ms < CONSUMER_PAUSE_MS_MAX; i++)
        ms *= 2;
    c->trouble++;
    if (strncmp(error, c->last_error, sizeof(c->last_error) - 1) != 0)
        log_error("consumer",
                  "redis refuses to hand out tickets: %s; trying again, up to every %d "
                  "ms. The user of --redis needs XREADGROUP, XGROUP, XACK, XDEL and CLIENT",
                  error, CONSUMER_PAUSE_MS_MAX);
    snprintf(c->last_error, sizeof(c->last_error), "%s", error);
    enter(c, PAUSE);
    uv_timer_start(&c->deadline, on_deadline,
                   ms < CONSUMER_PAUSE_MS_MAX ? ms : CONSUMER_PAUSE_MS_MAX, 0);
    if (starts_with(error, "READONLY"))
        link_reset(c->reader, "connected to a replica");
}

static void on_bad_timer(uv_timer_t *t)
{
    struct consumer *c = container_of(t, struct consumer, bad_timer);
    c->wrong_type = false;
    for (struct stream *s = c->streams; s != NULL; s = s->next) {
        s->group_known = s->group_known && !s->bad;
        s->bad = false;
    }
    evaluate(c);
}

static void leave_out(struct consumer *c, struct stream *s, const char *error)
{
    log_error("consumer",
              "redis key %s is not a stream (%s): no tickets for %s %s until it is "
              "deleted; other workflows go on",
              s->key, error, s->workflow, s->version);
    s->bad = true;
    if (!c->wrong_type)
        uv_timer_start(&c->bad_timer, on_bad_timer, CONSUMER_BAD_STREAM_MS, 0);
    c->wrong_type = true;
}

/* ---- groups -------------------------------------------------------------------------------- */

static void group_answered(struct consumer *c)
{
    if (--c->groups_pending == 0 && c->state == GROUPS) {
        enter(c, IDLE);
        evaluate(c);
    }
}

/* Our own names: nobody gains by a clash. */
static struct stream **bucket_of(struct consumer *c, const char *key, size_t size)
{
    return &c->buckets[view_hash(0, (aiki_view){(const uint8_t *)key, size}) % STREAM_BUCKETS];
}

struct stream *consumer_find_key(struct consumer *c, const char *key, size_t size)
{
    for (struct stream *s = *bucket_of(c, key, size); s != NULL; s = s->next_in_bucket)
        if (strlen(s->key) == size && memcmp(s->key, key, size) == 0)
            return s;
    return NULL;
}

struct group_call {
    struct consumer *consumer;
    struct stream *stream;
};

static void on_group(redisAsyncContext *ac, void *reply, void *privdata)
{
    AUTO(free) struct group_call *call = privdata;
    struct consumer *c = call->consumer;
    struct stream *s = call->stream;
    const redisReply *r = reply;
    (void)ac;
    if (r == NULL) {
        c->groups_pending--;
        return; /* on_down follows */
    }
    if (r->type != REDIS_REPLY_ERROR || starts_with(error_text(r), "BUSYGROUP")) {
        s->group_known = true;
        if (r->type != REDIS_REPLY_ERROR)
            c->cb.on_reset(s, c->arg);
    } else if (starts_with(error_text(r), "WRONGTYPE")) {
        leave_out(c, s, error_text(r));
    } else if (c->state == GROUPS) {
        pause_reading(c, error_text(r));
    }
    group_answered(c);
}

static void on_client_id(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct consumer *c = privdata;
    const redisReply *r = reply;
    (void)ac;
    if (r != NULL && r->type == REDIS_REPLY_INTEGER)
        snprintf(c->client_id, sizeof(c->client_id), "%lld", r->integer);
    if (r != NULL)
        group_answered(c); /* without the id a change of streams waits for the read to end */
    else
        c->groups_pending--;
}

static bool create_group(struct consumer *c, redisAsyncContext *ac, struct stream *s)
{
    const char *argv[] = {"XGROUP", "CREATE", s->key, STREAM_GROUP, "0", "MKSTREAM"};
    struct group_call *call = malloc(sizeof(*call));
    if (call == NULL)
        return false;
    *call = (struct group_call){c, s};
    if (redisAsyncCommandArgv(ac, on_group, call, ARRAY_COUNT(argv), argv, NULL) != REDIS_OK) {
        free(call);
        return false;
    }
    c->groups_pending++;
    return true;
}

static bool needs_groups(const struct consumer *c)
{
    for (const struct stream *s = c->streams; s != NULL; s = s->next)
        if (s->active && !s->bad && !s->group_known)
            return true;
    return false;
}

static void create_groups(struct consumer *c, redisAsyncContext *ac)
{
    enter(c, GROUPS);
    if (c->client_id[0] == '\0') {
        const char *argv[] = {"CLIENT", "ID"};
        if (redisAsyncCommandArgv(ac, on_client_id, c, 2, argv, NULL) == REDIS_OK)
            c->groups_pending++;
    }
    for (struct stream *s = c->streams; s != NULL; s = s->next)
        if (s->active && !s->bad && !s->group_known && !create_group(c, ac, s))
            break;
    if (c->groups_pending == 0)
        pause_reading(c, "out of memory");
}

/* ---- reading ------------------------------------------------------------------------------- */

static void read_failed(struct consumer *c, const char *error)
{
    enter(c, IDLE);
    bool repairable = starts_with(error, "NOGROUP") || starts_with(error, "UNBLOCKED") ||
                      starts_with(error, "WRONGTYPE");
    if (repairable)
        forget_groups(c); /* creating them tells which one it was */
    if (repairable && c->trouble < 3)
        c->trouble++;
    else
        pause_reading(c, error);
    evaluate(c);
}

static void on_read(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct consumer *c = privdata;
    const redisReply *r = reply;
    (void)ac;
    if (r == NULL)
        return; /* on_down follows */
    c->unblocking = false;
    if (r->type == REDIS_REPLY_ERROR) {
        read_failed(c, error_text(r));
        return;
    }
    c->trouble = 0;
    c->last_error[0] = '\0';
    enter(c, IDLE);
    if (r->type == REDIS_REPLY_ARRAY) {
        fault_point(runtime_ticket_read);
        consumer_take_entries(c, r);
    }
    evaluate(c);
}

static bool grow_argv(struct consumer *c, size_t count)
{
    if (count <= c->arg_capacity)
        return true;
    const char **argv = realloc(c->argv, count * sizeof(*argv));
    if (argv != NULL)
        c->argv = argv;
    size_t *sizes = realloc(c->arg_sizes, count * sizeof(*sizes));
    if (sizes != NULL)
        c->arg_sizes = sizes;
    if (argv == NULL || sizes == NULL)
        return false;
    c->arg_capacity = count;
    return true;
}

static void push_arg(struct consumer *c, size_t *count, const char *text)
{
    c->argv[*count] = text;
    c->arg_sizes[*count] = strlen(text);
    ++*count;
}

/* Keys from the rotation point on, so that no stream is always first. */
static uint32_t push_keys(struct consumer *c, size_t *count)
{
    uint32_t readable = 0, position = 0;
    for (const struct stream *s = c->streams; s != NULL; s = s->next)
        readable += s->active && s->group_known && !s->bad;
    uint32_t first = readable > 0 ? c->rotation++ % readable : 0;
    size_t base = *count;
    for (const struct stream *s = c->streams; s != NULL; s = s->next) {
        if (!s->active || !s->group_known || s->bad)
            continue;
        size_t at = base + (position++ + readable - first) % readable;
        c->argv[at] = s->key;
        c->arg_sizes[at] = strlen(s->key);
    }
    *count += readable;
    return readable;
}

static void read_tickets(struct consumer *c, redisAsyncContext *ac, uint64_t free_slots)
{
    char count_text[NUMBER_TEXT_SIZE], block_text[NUMBER_TEXT_SIZE];
    size_t count = 0;
    if (!grow_argv(c, 10 + 2 * (size_t)c->active_count)) {
        pause_reading(c, "out of memory");
        return;
    }
    const char *head[] = {"XREADGROUP", "GROUP", STREAM_GROUP, c->session, "COUNT",
                          count_text,   "BLOCK", block_text,   "STREAMS"};
    count = ARRAY_COUNT(head);
    uint32_t streams = push_keys(c, &count);
    if (streams == 0)
        return;
    snprintf(count_text, sizeof(count_text), "%" PRIu64,
             free_slots / streams > 0 ? free_slots / streams : 1);
    snprintf(block_text, sizeof(block_text), "%d", CONSUMER_BLOCK_MS);
    size_t at = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(head); i++)
        push_arg(c, &at, head[i]);
    for (uint32_t i = 0; i < streams; i++)
        push_arg(c, &count, ">");
    if (redisAsyncCommandArgv(ac, on_read, c, (int)count, c->argv, c->arg_sizes) != REDIS_OK)
        return; /* the link is going down and says so */
    c->outdated = false;
    enter(c, READ);
    uv_timer_start(&c->deadline, on_deadline, CONSUMER_DEADLINE_MS, 0);
}

/* The one place that decides what the reader does next. */
static void evaluate(struct consumer *c)
{
    if (c->state != IDLE || c->closing || c->session[0] == '\0' || c->active_count == 0)
        return;
    redisAsyncContext *ac = link_context(c->reader);
    uint64_t free_slots = c->cb.free_slots(c->arg);
    if (ac == NULL || free_slots == 0)
        return;
    if (needs_groups(c))
        create_groups(c, ac);
    else
        read_tickets(c, ac, free_slots);
}

static void on_unblocked(redisAsyncContext *ac, void *reply, void *privdata);

/* What the read under way asks for is out of date: end it. */
static void unblock(struct consumer *c)
{
    redisAsyncContext *ac = link_context(c->commands);
    if (c->state != READ)
        return;
    c->outdated = true;
    if (c->unblocking || ac == NULL || c->client_id[0] == '\0')
        return;
    const char *argv[] = {"CLIENT", "UNBLOCK", c->client_id};
    c->unblocking =
        redisAsyncCommandArgv(ac, on_unblocked, c, ARRAY_COUNT(argv), argv, NULL) == REDIS_OK;
}

/* 0: nobody was blocked. The read travels on the other connection and may only just be on its
 * way; left alone it would block for its whole time. Or its answer is on its way: that ends this. */
static void on_unblocked(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct consumer *c = privdata;
    const redisReply *r = reply;
    (void)ac;
    bool missed = c->unblocking && r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer == 0;
    if (missed || r == NULL)
        c->unblocking = false;
    if (missed)
        unblock(c);
}

void consumer_slots_lowered(struct consumer *c)
{
    unblock(c);
}

void consumer_set_session(struct consumer *c, const struct aiki_id *session)
{
    c->session[0] = '\0';
    if (session != NULL)
        id_text(session, c->session);
    unblock(c); /* it reads under the former name */
    evaluate(c);
}

/* ---- streams ------------------------------------------------------------------------------- */

void consumer_routes_begin(struct consumer *c)
{
    for (struct stream *s = c->streams; s != NULL; s = s->next) {
        s->was_active = s->active;
        s->active = false;
        s->user = NULL;
    }
}

static struct stream *add_stream(struct consumer *c, const char key[STREAM_KEY_SIZE], aiki_view workflow,
                                 aiki_view version)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        log_error("consumer", "out of memory: no tickets are read from %s", key);
        return NULL;
    }
    memcpy(s->key, key, sizeof(s->key));
    snprintf(s->workflow, sizeof(s->workflow), "%.*s", (int)workflow.size_bytes,
             (const char *)workflow.data);
    snprintf(s->version, sizeof(s->version), "%.*s", (int)version.size_bytes,
             (const char *)version.data);
    struct stream **bucket = bucket_of(c, key, strlen(key));
    s->next_in_bucket = *bucket;
    *bucket = s;
    s->next = c->streams;
    c->streams = s;
    return s;
}

void consumer_routes_add(struct consumer *c, aiki_view workflow, aiki_view version, void *user)
{
    char key[STREAM_KEY_SIZE];
    if (stream_key(key, c->space, workflow, version) != AIKI_OK)
        return; /* the child has refused such names */
    struct stream *s = consumer_find_key(c, key, strlen(key));
    if (s == NULL && (s = add_stream(c, key, workflow, version)) == NULL)
        return;
    s->active = true;
    s->user = user;
}

void consumer_routes_end(struct consumer *c)
{
    bool same = true;
    c->active_count = 0;
    for (const struct stream *s = c->streams; s != NULL; s = s->next) {
        c->active_count += s->active;
        same &= s->active == s->was_active;
    }
    if (!same)
        unblock(c);
    evaluate(c);
}

/* ---- turns ------------------------------------------------------------------------------- */

/* Idle handles run before the loop writes and waits: what one turn brought leaves together. */
static void on_turn_end(uv_idle_t *h)
{
    struct consumer *c = container_of(h, struct consumer, turn_end);
    uv_idle_stop(h);
    if (c->acks_waiting)
        consumer_flush_acks(c);
    evaluate(c);
}

void consumer_turn_soon(struct consumer *c)
{
    if (!c->closing)
        uv_idle_start(&c->turn_end, on_turn_end);
}

void consumer_kick(struct consumer *c)
{
    if (c->state == IDLE)
        consumer_turn_soon(c);
}

/* ---- links --------------------------------------------------------------------------------- */

static void on_reader_up(struct link *l, void *arg)
{
    struct consumer *c = arg;
    (void)l;
    c->client_id[0] = '\0';
    c->unblocking = false;
    c->groups_pending = 0;
    forget_groups(c); /* it may be another Redis, or the same one emptied */
    enter(c, IDLE);
    evaluate(c);
}

static void on_reader_down(struct link *l, const char *why, void *arg)
{
    struct consumer *c = arg;
    (void)l;
    log_debug("consumer", "reader: %s", why);
    enter(c, DOWN);
}

static void on_commands_up(struct link *l, void *arg)
{
    struct consumer *c = arg;
    (void)l;
    if (c->acks_waiting)
        consumer_flush_acks(c);
    if (c->outdated)
        unblock(c);
}

static void on_commands_down(struct link *l, const char *why, void *arg)
{
    (void)l;
    (void)arg;
    log_debug("consumer", "commands: %s", why);
}

static void closed_check(struct consumer *c)
{
    if (--c->open_handles > 0)
        return;
    while (c->streams != NULL) {
        struct stream *s = c->streams;
        c->streams = s->next;
        free(s->acks);
        free(s);
    }
    void (*on_closed)(void *arg) = c->cb.on_closed;
    void *arg = c->arg;
    free(c->argv);
    free(c->arg_sizes);
    free(c);
    on_closed(arg);
}

static void on_link_closed(struct link *l, void *arg)
{
    (void)l;
    closed_check(arg);
}

static void on_handle_closed(uv_handle_t *h)
{
    closed_check(h->data);
}

static const struct link_callbacks reader_callbacks = {
    .on_up = on_reader_up, .on_down = on_reader_down, .on_closed = on_link_closed};
static const struct link_callbacks commands_callbacks = {
    .on_up = on_commands_up, .on_down = on_commands_down, .on_closed = on_link_closed};

static void close_handles(struct consumer *c)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&c->deadline, (uv_handle_t *)&c->bad_timer,
                              (uv_handle_t *)&c->turn_end};
    for (unsigned i = 0; i < ARRAY_COUNT(handles); i++) {
        handles[i]->data = c;
        uv_close(handles[i], on_handle_closed);
    }
}

aiki_status consumer_create(struct consumer **ret, uv_loop_t *loop, const char *redis_url,
                            const char *space, const struct consumer_callbacks *cb, void *arg,
                            aiki_error *err)
{
    struct consumer *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return error_set(err, AIKI_NOMEM, "consumer");
    if (!name_is_valid(view_of(space))) {
        free(c);
        return error_set(err, AIKI_INVALID, "namespace: \"%s\" is not 1 to %d of a-z A-Z 0-9 . _ -",
                         space, NAME_BYTES_MAX);
    }
    c->loop = loop;
    c->cb = *cb;
    c->arg = arg;
    snprintf(c->space, sizeof(c->space), "%s", space);
    c->reader = link_create(loop, redis_url, &reader_callbacks, c);
    if (c->reader == NULL) {
        free(c);
        return error_set(err, AIKI_INVALID,
                         "redis: not a usable url; write "
                         "redis://[:password@]host:port[/db] or unix:PATH");
    }
    c->commands = link_create(loop, redis_url, &commands_callbacks, c);
    if (c->commands == NULL)
        abort(); /* the same url was good a line ago; start-up, out of memory */
    uv_timer_init(loop, &c->deadline);
    uv_timer_init(loop, &c->bad_timer);
    uv_idle_init(loop, &c->turn_end);
    c->open_handles = 5;
    *ret = c;
    return AIKI_OK;
}

void consumer_close(struct consumer *c)
{
    assert(!c->closing);
    if (c->acks_waiting)
        consumer_flush_acks(c);
    c->closing = true;
    enter(c, DOWN);
    link_close(c->reader);
    link_close(c->commands);
    close_handles(c);
}

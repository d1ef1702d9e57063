/* publisher.c - see publisher.h.
 *
 *   link up --> scan of everything: page --XADD...--> answered --> next page ...
 *
 *   a stream, first used since the link came up, or audited while its tickets are all there:
 *     XINFO CONSUMERS --those that are no session any more--> clear each
 *   clear: XPENDING --> XCLAIM, XACK, XDEL --tickets--> store thread, which offers those that
 *          still stand --> XPENDING ... none left --> XGROUP DELCONSUMER
 *
 * Everything here may be cut off at any point: when the link comes up again all runnable runs are
 * offered, and consumers that were left are found at the first use of their stream.
 */
#include "publisher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/link.h"
#include "base/log.h"
#include "metrics.h"
#include "wire/error.h"

#define CLAIMER "server" /* consumer that takes over what ended ones had read */
enum { SCAN_PAUSE_FACTOR = 4, ARG_MAX = PUBLISHER_PAGE + 8, ENTRY_TEXT_SIZE = 44 };

/* What is remembered about a stream. */
struct outlet {
    bool known;              /* its consumers were looked at since the link came up */
    bool asked;              /* an XLEN or XINFO is under way */
    bool scanning;
    uint64_t scan_loop_ms;   /* when the scan began */
    uint64_t rested_loop_ms; /* no scan for an audit before */
};

/* A page is published; the next one is asked for when Redis has it. */
struct scan_wait {
    uint64_t at; /* number of the last XADD of the page */
    struct offer_scan next;
};

struct publisher {
    uv_loop_t *loop;
    struct link *link;
    struct gather *gather;
    publisher_sessions_fn sessions;
    void *sessions_arg;
    bool up;
    uint64_t sent, answered;     /* XADDs on this connection */
    bool behind;                 /* some were left out; all is offered when the rest is answered */
    struct scan_wait scans[PUBLISHER_SCANS_MAX];
    size_t scan_count;
    struct outlet *outlets;      /* by stream.index */
    size_t outlet_count;
    size_t orphan_count;
    char last_error[128];        /* so that a lasting error is said once */
    void (*on_closed)(void *arg);
    void *arg;
};

static struct outlet *outlet_of(struct publisher *p, const struct stream *s)
{
    if (s->index >= p->outlet_count) {
        size_t count = p->outlet_count == 0 ? 64 : p->outlet_count;
        while (count <= s->index)
            count *= 2;
        struct outlet *grown = memory_need(count * sizeof(*grown));
        if (p->outlet_count > 0)
            memcpy(grown, p->outlets, p->outlet_count * sizeof(*grown));
        free(p->outlets);
        p->outlets = grown;
        p->outlet_count = count;
    }
    return &p->outlets[s->index];
}

static bool is_error(const redisReply *r, const char *prefix)
{
    return r->type == REDIS_REPLY_ERROR && strncmp(r->str, prefix, strlen(prefix)) == 0;
}

static void complain(struct publisher *p, const char *error)
{
    if (strncmp(error, p->last_error, sizeof(p->last_error) - 1) != 0)
        log_error("publisher", "redis refuses: %s; runs wait until it takes their tickets. The "
                  "user of --redis needs XADD, XLEN, XINFO, XPENDING, XCLAIM, XACK, XDEL, XGROUP",
                  error);
    (void)snprintf(p->last_error, sizeof(p->last_error), "%s", error);
}

/* ---- scans ------------------------------------------------------------------------------------- */

static void ask_page(struct publisher *p, const struct offer_scan *scan)
{
    gather_add(p->gather, 0, COMMAND_OFFER, 0,
               (aiki_view){(const uint8_t *)scan, sizeof(*scan)});
}

static void offer_everything(struct publisher *p)
{
    p->scan_count = 0;
    ask_page(p, &(struct offer_scan){.stream = NULL});
}

static void offer_stream(struct publisher *p, const struct stream *s, int64_t min_age_ms)
{
    struct outlet *o = outlet_of(p, s);
    if (o->scanning)
        return;
    o->scanning = true;
    o->scan_loop_ms = uv_now(p->loop);
    ask_page(p, &(struct offer_scan){.stream = s, .min_age_ms = min_age_ms});
}

/* A scan reads every open run: audits leave it four fifths of the time free. */
static void scan_ended(struct publisher *p, const struct stream *s)
{
    struct outlet *o = s != NULL ? outlet_of(p, s) : NULL;
    if (o == NULL || !o->scanning)
        return;
    uint64_t now = uv_now(p->loop);
    o->scanning = false;
    o->rested_loop_ms = now + SCAN_PAUSE_FACTOR * (now - o->scan_loop_ms);
}

static void ask_pages(struct publisher *p)
{
    for (size_t i = 0; i < p->scan_count;) {
        if (p->scans[i].at > p->answered) {
            i++;
            continue;
        }
        const struct offer_scan next = p->scans[i].next;
        p->scans[i] = p->scans[--p->scan_count];
        ask_page(p, &next);
    }
}

static void page_published(struct publisher *p, const struct offer_scan *next)
{
    if (next->after_no == 0) {
        scan_ended(p, next->stream);
    } else if (p->scan_count == PUBLISHER_SCANS_MAX) {
        offer_everything(p);
    } else {
        p->scans[p->scan_count++] = (struct scan_wait){.at = p->sent, .next = *next};
        ask_pages(p);
    }
}

/* ---- tickets ------------------------------------------------------------------------------------ */

static void on_added(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct publisher *p = privdata;
    const redisReply *r = reply;
    (void)ac;
    if (r == NULL) /* the connection ended; all is offered again on the next one */
        return;
    p->answered++;
    if (r->type != REDIS_REPLY_ERROR) {
        fault_point(server_publish_after);
        metric_add(tickets_published, 1);
        p->last_error[0] = '\0';
    } else {
        metric_add(tickets_failed, 1);
        complain(p, r->str); /* the audit of its stream offers it again */
        if (is_error(r, "READONLY") && p->up)
            link_reset(p->link, "connected to a replica");
    }
    if (p->behind && p->up && p->sent == p->answered) {
        p->behind = false;
        offer_everything(p);
    }
    if (p->scan_count > 0 && p->up)
        ask_pages(p);
}

static char *put_bulk(char *at, const void *bytes, size_t size_bytes)
{
    at += sprintf(at, "$%zu\r\n", size_bytes);
    memcpy(at, bytes, size_bytes);
    memcpy(at + size_bytes, "\r\n", 2);
    return at + size_bytes + 2;
}

/* XADD KEY * t TICKET, written out: the one command sent for every run. */
static void add_ticket(struct publisher *p, redisAsyncContext *ac, const struct offer *o)
{
    static const char head[] = "*5\r\n$4\r\nXADD\r\n", middle[] = "$1\r\n*\r\n$1\r\n" TICKET_FIELD
                                                                "\r\n";
    if (p->sent - p->answered >= PUBLISHER_UNANSWERED_MAX) { /* Redis stands still */
        if (!p->behind)
            log_warn("publisher", "redis has not answered %d tickets "
                     "(PUBLISHER_UNANSWERED_MAX); further ones wait until it has",
                     PUBLISHER_UNANSWERED_MAX);
        p->behind = true;
        return;
    }
    char command[sizeof(head) + sizeof(middle) + STREAM_KEY_SIZE + TICKET_BYTES_MAX + 64];
    uint8_t ticket[TICKET_BYTES_MAX];
    uint64_t ticket_bytes = ticket_write(ticket, &o->ticket);
    if (fault_fails(server_publish_before)) {
        metric_add(tickets_failed, 1);
        return;
    }
    memcpy(command, head, sizeof(head) - 1);
    char *at = put_bulk(command + sizeof(head) - 1, o->stream->key, o->stream->key_size_bytes);
    memcpy(at, middle, sizeof(middle) - 1);
    at = put_bulk(at + sizeof(middle) - 1, ticket, (size_t)ticket_bytes);
    if (redisAsyncFormattedCommand(ac, on_added, p, command, (size_t)(at - command)) == REDIS_OK)
        p->sent++;
}

/* ---- questions about a stream -------------------------------------------------------------------- */

/* A command's way back: who asked about what. */
struct ask {
    struct publisher *publisher;
    const struct stream *stream;
    uint64_t queued;                 /* of an audit */
    char consumer[AIKI_ID_TEXT_SIZE]; /* being cleared */
};

static struct ask *ask_create(struct publisher *p, const struct stream *s)
{
    struct ask *a = memory_need(sizeof(*a));
    a->publisher = p;
    a->stream = s;
    return a;
}

/* fn is called in any case and frees a. */
static void send_command(struct ask *a, redisCallbackFn *fn, int argc, const char **argv)
{
    redisAsyncContext *ac = link_context(a->publisher->link);
    if (ac == NULL || redisAsyncCommandArgv(ac, fn, a, argc, argv, NULL) != REDIS_OK)
        fn(NULL, NULL, a);
}

/* ---- consumers whose session has ended ------------------------------------------------------------- */

static void look_for_pending(struct ask *a);

static void clear_ended(struct ask *a)
{
    a->publisher->orphan_count--;
    free(a);
}

static void on_consumer_deleted(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct ask *a = privdata;
    const redisReply *r = reply;
    (void)ac;
    /* It read on meanwhile: those entries are nobody's now. */
    if (r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer > 0)
        offer_stream(a->publisher, a->stream, 0);
    clear_ended(a);
}

static void delete_consumer(struct ask *a)
{
    const char *argv[] = {"XGROUP", "DELCONSUMER", a->stream->key, STREAM_GROUP, a->consumer};
    send_command(a, on_consumer_deleted, ARRAY_COUNT(argv), argv);
}

/* The tickets among entries of [id, [field, value, ...]] go to the store thread. */
static void hand_in_tickets(struct publisher *p, const redisReply *entries)
{
    struct ticket tickets[PUBLISHER_PAGE];
    size_t count = 0;
    for (size_t i = 0; i < entries->elements && count < PUBLISHER_PAGE; i++) {
        const redisReply *e = entries->element[i];
        if (e->type != REDIS_REPLY_ARRAY || e->elements < 2 ||
            e->element[1]->type != REDIS_REPLY_ARRAY || e->element[1]->elements < 2)
            continue;
        const redisReply *name = e->element[1]->element[0], *value = e->element[1]->element[1];
        if (name->type == REDIS_REPLY_STRING && strcmp(name->str, TICKET_FIELD) == 0 &&
            value->type == REDIS_REPLY_STRING &&
            ticket_read((aiki_view){(const uint8_t *)value->str, (uint64_t)value->len},
                        &tickets[count], NULL) == AIKI_OK)
            count++;
    }
    if (count > 0)
        gather_add(p->gather, 0, COMMAND_TICKETS, 0,
                   (aiki_view){(const uint8_t *)tickets, count * sizeof(tickets[0])});
}

static void on_taken_over(redisAsyncContext *ac, void *reply, void *privdata)
{
    const redisReply *r = reply;
    struct publisher *p = privdata;
    (void)ac;
    if (r != NULL && r->type == REDIS_REPLY_ARRAY)
        hand_in_tickets(p, r);
    else if (r != NULL && r->type == REDIS_REPLY_ERROR)
        complain(p, r->str);
}

static void on_removed(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct ask *a = privdata;
    (void)ac;
    if (reply == NULL)
        clear_ended(a);
    else
        look_for_pending(a);
}

/* Take the entries over, then out of the stream: the server answers for their runs. */
static void take_over(struct ask *a, const redisReply *pending)
{
    const char *argv[ARG_MAX] = {"XCLAIM", a->stream->key, STREAM_GROUP, CLAIMER, "0"};
    struct publisher *p = a->publisher;
    redisAsyncContext *ac = link_context(p->link);
    int head = 5, count = 0;
    for (size_t i = 0; i < pending->elements && count < PUBLISHER_PAGE; i++) {
        const redisReply *e = pending->element[i];
        if (e->type == REDIS_REPLY_ARRAY && e->elements > 0 &&
            e->element[0]->type == REDIS_REPLY_STRING)
            argv[head + count++] = e->element[0]->str;
    }
    if (ac == NULL || count == 0 ||
        redisAsyncCommandArgv(ac, on_taken_over, p, head + count, argv, NULL) != REDIS_OK) {
        clear_ended(a);
        return;
    }
    argv[2] = "XACK";
    argv[3] = a->stream->key;
    argv[4] = STREAM_GROUP;
    (void)redisAsyncCommandArgv(ac, NULL, NULL, 3 + count, argv + 2, NULL); /* the next one tells */
    argv[3] = "XDEL";
    argv[4] = a->stream->key;
    send_command(a, on_removed, 2 + count, argv + 3);
}

static void on_pending(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct ask *a = privdata;
    const redisReply *r = reply;
    (void)ac;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY) {
        if (r != NULL && r->type == REDIS_REPLY_ERROR && !is_error(r, "NOGROUP"))
            complain(a->publisher, r->str);
        clear_ended(a); /* NOGROUP: whoever creates it anew says STREAM_RESET */
    } else if (r->elements == 0) {
        delete_consumer(a);
    } else {
        take_over(a, r);
    }
}

static void look_for_pending(struct ask *a)
{
    char page[16];
    (void)snprintf(page, sizeof(page), "%d", PUBLISHER_PAGE);
    const char *argv[] = {"XPENDING", a->stream->key, STREAM_GROUP, "-", "+", page, a->consumer};
    send_command(a, on_pending, ARRAY_COUNT(argv), argv);
}

static void clear_consumer(struct publisher *p, const struct stream *s, const struct aiki_id *id)
{
    if (p->orphan_count >= PUBLISHER_ORPHANS_MAX)
        return;
    struct ask *a = ask_create(p, s);
    id_text(id, a->consumer);
    p->orphan_count++;
    look_for_pending(a);
}

static int by_id(const void *a, const void *b) { return id_compare(a, b); }

/* The value of "name" in an entry of XINFO CONSUMERS, as an id. */
static bool consumer_id(const redisReply *entry, struct aiki_id *ret)
{
    if (entry->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i + 1 < entry->elements; i += 2) {
        const redisReply *name = entry->element[i], *value = entry->element[i + 1];
        if (name->type == REDIS_REPLY_STRING && strcmp(name->str, "name") == 0 &&
            value->type == REDIS_REPLY_STRING)
            return id_parse(value->str, (size_t)value->len, ret, NULL) == AIKI_OK;
    }
    return false;
}

static void on_consumers(redisAsyncContext *ac, void *reply, void *privdata)
{
    AUTO(free) struct ask *a = privdata;
    AUTO(free) struct aiki_id *alive = NULL;
    struct publisher *p = a->publisher;
    const redisReply *r = reply;
    size_t alive_count;
    struct aiki_id id;
    (void)ac;
    outlet_of(p, a->stream)->asked = false;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY) /* ERR no such key: nobody reads there yet */
        return;
    alive = p->sessions(p->sessions_arg, &alive_count);
    for (size_t i = 0; i < r->elements; i++)
        if (consumer_id(r->element[i], &id) &&
            (alive_count == 0 || bsearch(&id, alive, alive_count, sizeof(id), by_id) == NULL))
            clear_consumer(p, a->stream, &id);
}

static void look_at_consumers(struct publisher *p, const struct stream *s)
{
    const char *argv[] = {"XINFO", "CONSUMERS", s->key, STREAM_GROUP};
    struct outlet *o = outlet_of(p, s);
    if (o->asked)
        return;
    o->known = o->asked = true;
    send_command(ask_create(p, s), on_consumers, ARRAY_COUNT(argv), argv);
}

/* ---- audits ----------------------------------------------------------------------------------------- */

static void on_length(redisAsyncContext *ac, void *reply, void *privdata)
{
    AUTO(free) struct ask *a = privdata;
    struct publisher *p = a->publisher;
    const redisReply *r = reply;
    (void)ac;
    outlet_of(p, a->stream)->asked = false;
    if (r == NULL)
        return;
    if (r->type == REDIS_REPLY_ERROR)
        complain(p, r->str);
    else if (r->type == REDIS_REPLY_INTEGER && (uint64_t)r->integer < a->queued)
        offer_stream(p, a->stream, AUDIT_AGE_MS);
    else
        look_at_consumers(p, a->stream);
}

static void audit(struct publisher *p, const struct audit *audit)
{
    struct outlet *o = outlet_of(p, audit->stream);
    const char *argv[] = {"XLEN", audit->stream->key};
    if (o->asked || o->scanning || uv_now(p->loop) < o->rested_loop_ms)
        return;
    struct ask *a = ask_create(p, audit->stream);
    a->queued = audit->queued;
    o->asked = true;
    send_command(a, on_length, ARRAY_COUNT(argv), argv);
}

/* ---- life --------------------------------------------------------------------------------------------- */

void publisher_take(struct publisher *p, const struct outcome *o)
{
    for (size_t i = 0; i < o->offer_count; i++) {
        redisAsyncContext *ac = link_context(p->link);
        if (ac == NULL)
            return;
        add_ticket(p, ac, &o->offers[i]);
        if (!outlet_of(p, o->offers[i].stream)->known)
            look_at_consumers(p, o->offers[i].stream);
    }
    if (!p->up)
        return;
    for (size_t i = 0; i < o->audit_count; i++)
        audit(p, &o->audits[i]);
    for (size_t i = 0; i < o->orphan_count; i++)
        clear_consumer(p, o->orphans[i].stream, &o->orphans[i].session);
    if (o->scanned)
        page_published(p, &o->scan);
}

static void on_up(struct link *l, void *arg)
{
    struct publisher *p = arg;
    (void)l;
    p->up = true;
    p->sent = p->answered = 0;
    p->behind = false;
    p->last_error[0] = '\0';
    if (p->outlet_count > 0)
        memset(p->outlets, 0, p->outlet_count * sizeof(*p->outlets));
    offer_everything(p);
}

static void on_down(struct link *l, const char *why, void *arg)
{
    struct publisher *p = arg;
    (void)l;
    (void)why; /* the link logged it */
    p->up = false;
    p->scan_count = 0;
}

static void on_link_closed(struct link *l, void *arg)
{
    struct publisher *p = arg;
    (void)l;
    void (*on_closed)(void *arg) = p->on_closed;
    void *closed_arg = p->arg;
    free(p->outlets);
    free(p);
    on_closed(closed_arg);
}

aiki_status publisher_create(struct publisher **ret, uv_loop_t *loop, const char *redis_url,
                             struct gather *gather, publisher_sessions_fn sessions, void *arg,
                             aiki_error *err)
{
    static const struct link_callbacks callbacks = {
        .on_up = on_up, .on_down = on_down, .on_closed = on_link_closed};
    struct publisher *p = memory_need(sizeof(*p));
    p->loop = loop;
    p->gather = gather;
    p->sessions = sessions;
    p->sessions_arg = arg;
    p->link = link_create(loop, redis_url, &callbacks, p);
    if (p->link == NULL) {
        free(p);
        return error_set(err, AIKI_INVALID,
                         "redis: not a usable url; write redis://[:password@]host:port[/db] or "
                         "unix:PATH");
    }
    *ret = p;
    return AIKI_OK;
}

bool publisher_is_up(const struct publisher *p) { return p->up; }

void publisher_close(struct publisher *p, void (*on_closed)(void *arg), void *arg)
{
    p->on_closed = on_closed;
    p->arg = arg;
    p->up = false;
    link_close(p->link);
}

/* publisher.c - see publisher.h.
 *
 *   link up --> scan of everything: page --XADD...--> answered --> next page ...
 *
 *   audits --XLEN--> too few entries: scan of the stream; else publisher_ended.c
 *
 * Everything here may be cut off at any point: when the link comes up again all runnable runs are
 * offered, and consumers that were left are found at the first use of their stream.
 */
#include "publisher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/link.h"
#include "base/log.h"
#include "metrics.h"
#include "publisher_impl.h"
#include "wire/error.h"

enum { SCAN_PAUSE_FACTOR = 4 };

struct outlet *publisher_outlet(struct publisher *p, const struct stream *s)
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

bool reply_is_error(const redisReply *r, const char *prefix)
{
    return r->type == REDIS_REPLY_ERROR && strncmp(r->str, prefix, strlen(prefix)) == 0;
}

void publisher_complain(struct publisher *p, const char *error)
{
    if (strncmp(error, p->last_error, sizeof(p->last_error) - 1) != 0)
        log_error("publisher",
                  "redis refuses: %s; runs wait until it takes their tickets. The "
                  "user of --redis needs XADD, XLEN, XINFO, XPENDING, XCLAIM, XACK, XDEL, XGROUP",
                  error);
    (void)snprintf(p->last_error, sizeof(p->last_error), "%s", error);
}

/* ---- scans ----------------------------------------------------------------------------------- */

static void ask_page(struct publisher *p, const struct offer_scan *scan)
{
    gather_add(p->gather, 0, COMMAND_OFFER, 0, (aiki_view){(const uint8_t *)scan, sizeof(*scan)});
}

void publisher_offer_stream(struct publisher *p, const struct stream *s, int64_t min_age_ms)
{
    struct outlet *o = publisher_outlet(p, s);
    if (o->scanning)
        return;
    o->scanning = true;
    o->scan_loop_ms = uv_now(p->loop);
    ask_page(p, &(struct offer_scan){.stream = s, .min_age_ms = min_age_ms});
}

/* A scan reads every open run: audits leave it four fifths of the time free. */
static void scan_ended(struct publisher *p, const struct stream *s)
{
    struct outlet *o = s != NULL ? publisher_outlet(p, s) : NULL;
    if (o == NULL || !o->scanning)
        return;
    uint64_t now = uv_now(p->loop);
    o->scanning = false;
    o->rested_loop_ms = now + SCAN_PAUSE_FACTOR * (now - o->scan_loop_ms);
}

/* In the place of the scans that wait. */
static void offer_everything(struct publisher *p)
{
    for (size_t i = 0; i < p->scan_count; i++)
        scan_ended(p, p->scans[i].next.stream);
    p->scan_count = 0;
    ask_page(p, &(struct offer_scan){.stream = NULL});
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
        scan_ended(p, next->stream);
        offer_everything(p);
    } else {
        p->scans[p->scan_count++] = (struct scan_wait){.at = p->sent, .next = *next};
        ask_pages(p);
    }
}

/* ---- tickets --------------------------------------------------------------------------------- */

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
        publisher_complain(p, r->str); /* the audit of its stream offers it again */
        if (reply_is_error(r, "READONLY") && p->up)
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
    static const char head[] = "*5\r\n$4\r\nXADD\r\n",
                      middle[] = "$1\r\n*\r\n$1\r\n" TICKET_FIELD "\r\n";
    if (p->sent - p->answered >= PUBLISHER_UNANSWERED_MAX) { /* Redis stands still */
        if (!p->behind)
            log_warn("publisher",
                     "redis has not answered %d tickets "
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

/* ---- questions about a stream ---------------------------------------------------------------- */

struct ask *ask_create(struct publisher *p, const struct stream *s)
{
    struct ask *a = memory_need(sizeof(*a));
    a->publisher = p;
    a->stream = s;
    return a;
}

void ask_send(struct ask *a, redisCallbackFn *fn, int argc, const char **argv)
{
    redisAsyncContext *ac = link_context(a->publisher->link);
    if (ac == NULL || redisAsyncCommandArgv(ac, fn, a, argc, argv, NULL) != REDIS_OK)
        fn(NULL, NULL, a);
}

/* ---- audits ---------------------------------------------------------------------------------- */

static void on_length(redisAsyncContext *ac, void *reply, void *privdata)
{
    AUTO(free) struct ask *a = privdata;
    struct publisher *p = a->publisher;
    const redisReply *r = reply;
    (void)ac;
    publisher_outlet(p, a->stream)->asked = false;
    if (r == NULL)
        return;
    if (r->type == REDIS_REPLY_ERROR)
        publisher_complain(p, r->str);
    else if (r->type == REDIS_REPLY_INTEGER && (uint64_t)r->integer < a->queued)
        publisher_offer_stream(p, a->stream, AUDIT_AGE_MS);
    else
        publisher_look_at_consumers(p, a->stream);
}

static void audit(struct publisher *p, const struct audit *audit)
{
    struct outlet *o = publisher_outlet(p, audit->stream);
    const char *argv[] = {"XLEN", audit->stream->key};
    if (o->asked || o->scanning || uv_now(p->loop) < o->rested_loop_ms)
        return;
    struct ask *a = ask_create(p, audit->stream);
    a->queued = audit->queued;
    o->asked = true;
    ask_send(a, on_length, ARRAY_COUNT(argv), argv);
}

/* ---- life ------------------------------------------------------------------------------------ */

void publisher_take(struct publisher *p, const struct outcome *o)
{
    for (size_t i = 0; i < o->offer_count; i++) {
        redisAsyncContext *ac = link_context(p->link);
        if (ac == NULL)
            return;
        for (int times = fault_mode(duplicate) ? 2 : 1; times > 0; times--)
            add_ticket(p, ac, &o->offers[i]);
        if (!publisher_outlet(p, o->offers[i].stream)->known)
            publisher_look_at_consumers(p, o->offers[i].stream);
    }
    if (!p->up)
        return;
    for (size_t i = 0; i < o->audit_count; i++)
        audit(p, &o->audits[i]);
    for (size_t i = 0; i < o->orphan_count; i++)
        publisher_clear_consumer(p, o->orphans[i].stream, &o->orphans[i].session);
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

bool publisher_is_up(const struct publisher *p)
{
    return p->up;
}

void publisher_close(struct publisher *p, void (*on_closed)(void *arg), void *arg)
{
    p->on_closed = on_closed;
    p->arg = arg;
    p->up = false;
    link_close(p->link);
}

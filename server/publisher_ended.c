/* publisher_ended.c - consumers whose session has ended: what they had read is offered again.
 *
 *   a stream, first used since the link came up, or audited while its tickets are all there:
 *     XINFO CONSUMERS --those that are no session any more, and the server's own--> clear each
 *   clear: XPENDING --> XCLAIM, XACK, XDEL --tickets--> store thread, which offers those that
 *          still stand --> XPENDING ... none left --> XGROUP DELCONSUMER
 *
 * Cut off at any point it does no harm: on a new connection all runnable runs are offered, and
 * consumers that were left are found at the first use of their stream. So is what the server's own
 * was left with between XCLAIM and XACK: on one connection nothing comes between these.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "publisher_impl.h"

#define CLAIMER "server" /* consumer that takes over what ended ones had read */
enum { ARG_MAX = PUBLISHER_PAGE + 8 };

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
        publisher_offer_stream(a->publisher, a->stream, 0);
    clear_ended(a);
}

static void delete_consumer(struct ask *a)
{
    const char *argv[] = {"XGROUP", "DELCONSUMER", a->stream->key, STREAM_GROUP, a->consumer};
    ask_send(a, on_consumer_deleted, ARRAY_COUNT(argv), argv);
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
        publisher_complain(p, r->str);
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
    if (ac == NULL || count == 0 || strcmp(argv[head], a->first) == 0 || /* refused: the next audit looks again */
        redisAsyncCommandArgv(ac, on_taken_over, p, head + count, argv, NULL) != REDIS_OK) {
        clear_ended(a);
        return;
    }
    (void)snprintf(a->first, sizeof(a->first), "%s", argv[head]);
    argv[2] = "XACK";
    argv[3] = a->stream->key;
    argv[4] = STREAM_GROUP;
    (void)redisAsyncCommandArgv(ac, on_taken_over, p, 3 + count, argv + 2, NULL); /* the next one tells */
    argv[3] = "XDEL";
    argv[4] = a->stream->key;
    ask_send(a, on_removed, 2 + count, argv + 3);
}

static void on_pending(redisAsyncContext *ac, void *reply, void *privdata)
{
    struct ask *a = privdata;
    const redisReply *r = reply;
    (void)ac;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY) {
        if (r != NULL && r->type == REDIS_REPLY_ERROR && !reply_is_error(r, "NOGROUP"))
            publisher_complain(a->publisher, r->str);
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
    ask_send(a, on_pending, ARRAY_COUNT(argv), argv);
}

static void clear(struct publisher *p, const struct stream *s, const char *consumer)
{
    if (p->orphan_count >= PUBLISHER_ORPHANS_MAX)
        return;
    struct ask *a = ask_create(p, s);
    (void)snprintf(a->consumer, sizeof(a->consumer), "%s", consumer);
    p->orphan_count++;
    look_for_pending(a);
}

void publisher_clear_consumer(struct publisher *p, const struct stream *s, const struct aiki_id *id)
{
    char name[AIKI_ID_TEXT_SIZE];
    id_text(id, name);
    clear(p, s, name);
}

static int by_id(const void *a, const void *b)
{
    return id_compare(a, b);
}

/* The value of "name" in an entry of XINFO CONSUMERS, or NULL. */
static const redisReply *consumer_name(const redisReply *entry)
{
    if (entry->type != REDIS_REPLY_ARRAY)
        return NULL;
    for (size_t i = 0; i + 1 < entry->elements; i += 2) {
        const redisReply *name = entry->element[i], *value = entry->element[i + 1];
        if (name->type == REDIS_REPLY_STRING && strcmp(name->str, "name") == 0 &&
            value->type == REDIS_REPLY_STRING)
            return value;
    }
    return NULL;
}

/* Nobody reads under that name any more. alive: sorted. */
static bool is_ended(const redisReply *name, const struct aiki_id *alive, size_t alive_count)
{
    struct aiki_id id;
    if (strcmp(name->str, CLAIMER) == 0)
        return true;
    return id_parse(name->str, (size_t)name->len, &id, NULL) == AIKI_OK &&
           (alive_count == 0 || bsearch(&id, alive, alive_count, sizeof(id), by_id) == NULL);
}

static void on_consumers(redisAsyncContext *ac, void *reply, void *privdata)
{
    AUTO(free) struct ask *a = privdata;
    AUTO(free) struct aiki_id *alive = NULL;
    struct publisher *p = a->publisher;
    const redisReply *r = reply;
    size_t alive_count;
    (void)ac;
    publisher_outlet(p, a->stream)->asked = false;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY) /* ERR no such key: nobody reads there yet */
        return;
    alive = p->sessions(p->sessions_arg, &alive_count);
    for (size_t i = 0; i < r->elements; i++) {
        const redisReply *name = consumer_name(r->element[i]);
        if (name != NULL && is_ended(name, alive, alive_count))
            clear(p, a->stream, name->str);
    }
}

void publisher_look_at_consumers(struct publisher *p, const struct stream *s)
{
    const char *argv[] = {"XINFO", "CONSUMERS", s->key, STREAM_GROUP};
    struct outlet *o = publisher_outlet(p, s);
    if (o->asked)
        return;
    o->known = o->asked = true;
    ask_send(ask_create(p, s), on_consumers, ARRAY_COUNT(argv), argv);
}

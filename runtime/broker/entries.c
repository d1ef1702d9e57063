/* entries.c - tickets out of the reader's replies, and their acknowledgement.
 *
 *   on_ticket <-- reply            consumer_ack --gathered a turn--> XACK, XDEL
 *   junk is acknowledged at once
 *
 * An acknowledgement that is not known to have arrived is sent again: both commands may be
 * repeated.
 */
#include "broker/consumer_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "wire/error.h"

enum { ENTRY_TEXT_SIZE = 44 };

/* ---- taking -------------------------------------------------------------------------------- */

static bool entry_parse(const char *text, struct entry_id *ret)
{
    char *end;
    ret->ms = strtoull(text, &end, 10);
    if (end == text || *end != '-')
        return false;
    const char *seq = end + 1;
    ret->seq = strtoull(seq, &end, 10);
    return end != seq && *end == '\0';
}

/* Value of field "t" of an entry's field list, or empty. */
static aiki_view ticket_field(const redisReply *fields)
{
    aiki_view none = {NULL, 0};
    if (fields->type != REDIS_REPLY_ARRAY)
        return none;
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i], *value = fields->element[i + 1];
        if (name->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            strcmp(name->str, TICKET_FIELD) == 0)
            return (aiki_view){(const uint8_t *)value->str, (uint64_t)value->len};
    }
    return none;
}

static void take_entry(struct consumer *c, struct stream *s, const redisReply *entry)
{
    struct entry_id id;
    struct ticket ticket;
    aiki_error err = {.struct_size = sizeof(err)};
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements < 2 ||
        entry->element[0]->type != REDIS_REPLY_STRING || !entry_parse(entry->element[0]->str, &id))
        return;
    if (ticket_read(ticket_field(entry->element[1]), &ticket, &err) == AIKI_OK) {
        c->cb.on_ticket(s, id, &ticket, c->arg);
        return;
    }
    log_warn("consumer", "entry %s of %s is not a ticket (%s); removed", entry->element[0]->str,
             s->key, err.message);
    consumer_ack(c, s, id);
}

void consumer_take_entries(struct consumer *c, const redisReply *r)
{
    for (size_t i = 0; i < r->elements; i++) {
        const redisReply *pair = r->element[i];
        if (pair->type != REDIS_REPLY_ARRAY || pair->elements < 2 ||
            pair->element[0]->type != REDIS_REPLY_STRING ||
            pair->element[1]->type != REDIS_REPLY_ARRAY)
            continue;
        struct stream *s =
            consumer_find_key(c, pair->element[0]->str, (size_t)pair->element[0]->len);
        for (size_t k = 0; s != NULL && k < pair->element[1]->elements; k++)
            take_entry(c, s, pair->element[1]->element[k]);
    }
}

/* ---- acknowledging ------------------------------------------------------------------------- */

struct ack_batch {
    struct consumer *consumer;
    struct stream *stream;
    uint32_t count;
    struct entry_id ids[];
};

static void on_deleted(redisAsyncContext *ac, void *reply, void *privdata)
{
    AUTO(free) struct ack_batch *b = privdata;
    (void)ac;
    if (reply == NULL && !b->consumer->closing) /* not known to have arrived; both are idempotent */
        for (uint32_t i = 0; i < b->count; i++)
            consumer_ack(b->consumer, b->stream, b->ids[i]);
}

static bool send_acks(struct consumer *c, redisAsyncContext *ac, struct stream *s)
{
    char text[CONSUMER_ACK_BATCH_MAX][ENTRY_TEXT_SIZE];
    const char *argv[CONSUMER_ACK_BATCH_MAX + 3];
    uint32_t count = s->ack_count < CONSUMER_ACK_BATCH_MAX ? s->ack_count : CONSUMER_ACK_BATCH_MAX;
    struct ack_batch *b = malloc(sizeof(*b) + count * sizeof(b->ids[0]));
    if (b == NULL)
        return false;
    *b = (struct ack_batch){.consumer = c, .stream = s, .count = count};
    uint32_t first = s->ack_count - count;
    memcpy(b->ids, s->acks + first, count * sizeof(b->ids[0]));
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text[i], sizeof(text[i]), "%" PRIu64 "-%" PRIu64, b->ids[i].ms, b->ids[i].seq);
        argv[3 + i] = text[i];
    }
    argv[0] = "XACK";
    argv[1] = s->key;
    argv[2] = STREAM_GROUP;
    int rc = redisAsyncCommandArgv(ac, NULL, NULL, (int)count + 3, argv, NULL);
    argv[1] = "XDEL";
    argv[2] = s->key;
    if (rc != REDIS_OK ||
        redisAsyncCommandArgv(ac, on_deleted, b, (int)count + 2, argv + 1, NULL) != REDIS_OK) {
        free(b);
        return false;
    }
    s->ack_count = first;
    return true;
}

void consumer_flush_acks(struct consumer *c)
{
    redisAsyncContext *ac = link_context(c->commands);
    if (ac == NULL)
        return;
    fault_point(runtime_ack_before);
    c->acks_waiting = false;
    for (struct stream *s = c->streams; s != NULL; s = s->next)
        while (s->ack_count > 0 && send_acks(c, ac, s))
            ;
    fault_point(runtime_ack_after);
}

void consumer_ack(struct consumer *c, struct stream *s, struct entry_id entry)
{
    if (s->ack_count == s->ack_capacity) {
        uint32_t capacity = s->ack_capacity == 0 ? 64 : s->ack_capacity * 2;
        struct entry_id *bigger =
            capacity <= CONSUMER_ACKS_MAX ? realloc(s->acks, capacity * sizeof(*bigger)) : NULL;
        if (bigger == NULL)
            return; /* stays pending for this session; the server clears that at its end */
        s->acks = bigger;
        s->ack_capacity = capacity;
    }
    s->acks[s->ack_count++] = entry;
    c->acks_waiting = true;
    consumer_turn_soon(c);
}

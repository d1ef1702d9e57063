/* fuzz_entry.c - what XREADGROUP answers, whatever somebody has put into the stream.
 *
 * A reply is described by the input, so that every shape occurs; hiredis, which has its own tests,
 * stays outside:
 *   0 N bytes  string of N bytes    1 N replies  array of N    2 integer    3 nil    4 a ticket */
#include "fuzz.h"

#include <hiredis/hiredis.h>

#include "base/log.h"
#include "broker/consumer_impl.h"

enum { REPLY_DEPTH_MAX = 6 };

struct cursor {
    const uint8_t *at, *end;
};

static uint8_t take_byte(struct cursor *c)
{
    return c->at < c->end ? *c->at++ : 3;
}

/* As hiredis does: a NUL behind the bytes, and memory of exactly that size. */
static void make_string(redisReply *r, const uint8_t *bytes, size_t size)
{
    r->type = REDIS_REPLY_STRING;
    r->str = malloc(size + 1);
    CHECK(r->str != NULL);
    memcpy(r->str, bytes, size);
    r->str[size] = '\0';
    r->len = (__typeof__(r->len))size;
}

static redisReply *make_reply(struct cursor *c, int depth)
{
    redisReply *r = calloc(1, sizeof(*r));
    CHECK(r != NULL);
    switch (depth < REPLY_DEPTH_MAX ? take_byte(c) % 5 : 3) {
    case 0: {
        size_t size = take_byte(c), left = (size_t)(c->end - c->at);
        size = size < left ? size : left;
        make_string(r, c->at, size);
        c->at += size;
        break;
    }
    case 1:
        r->type = REDIS_REPLY_ARRAY;
        r->elements = take_byte(c) % 8;
        r->element = calloc(r->elements + 1, sizeof(redisReply *));
        CHECK(r->element != NULL);
        for (size_t i = 0; i < r->elements; i++)
            r->element[i] = make_reply(c, depth + 1);
        break;
    case 2: r->type = REDIS_REPLY_INTEGER; break;
    case 4: {
        uint8_t bytes[TICKET_BYTES_MAX];
        const struct ticket t = {.run.bytes = {take_byte(c)}, .epoch = take_byte(c)};
        make_string(r, bytes, ticket_write(bytes, &t));
        break;
    }
    default: r->type = REDIS_REPLY_NIL; break;
    }
    return r;
}

static void drop_reply(redisReply *r)
{
    for (size_t i = 0; i < r->elements; i++)
        drop_reply(r->element[i]);
    free(r->element);
    free(r->str);
    free(r);
}

static unsigned tickets;

static void on_ticket(struct stream *s, struct entry_id entry, const struct ticket *t, void *arg)
{
    (void)entry;
    (void)t;
    CHECK(s->key[0] != '\0' && arg == &tickets);
    tickets++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct stream stream = {.key = "s", .active = true};
    static struct consumer consumer = {
        .cb.on_ticket = on_ticket, .arg = &tickets, .streams = &stream, .closing = true};
    struct cursor c = {data, data + size};
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    log_init("fuzz", LOG_ERROR + 1); /* what it says about bad entries is not looked at */
    tickets = stream.ack_count = 0;
    redisReply *reply = make_reply(&c, 0);
    if (reply->type == REDIS_REPLY_ARRAY)
        consumer_take_entries(&consumer, reply);
    drop_reply(reply);
    CHECK(tickets + stream.ack_count <= size);
    return 0;
}

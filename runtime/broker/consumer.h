/* broker/consumer.h - tickets from Redis Streams, at least once. [loop]
 *
 * One connection reads (XREADGROUP blocks it), a second one acknowledges. Tickets are hints; the
 * server's record decides. So a ticket may come twice, and losing Redis loses no run.
 * Idle cost: one XREADGROUP every CONSUMER_BLOCK_MS.
 * Limits: COUNT is free slots / streams, at least 1, for each stream: a read may bring up to one
 * ticket a stream more than there are free slots. CONSUMER_ACKS_MAX unsent acknowledgements a
 * stream while Redis is down; further ones are left to the server, which finds them pending.
 */
#ifndef BROKER_CONSUMER_H
#define BROKER_CONSUMER_H

#include <aiki/status.h>
#include <uv.h>

#include "wire/keys.h"

enum {
    CONSUMER_BLOCK_MS = 5000,
    CONSUMER_DEADLINE_MS = CONSUMER_BLOCK_MS + 2000,
    CONSUMER_PAUSE_MS_MAX = 5000,
    CONSUMER_BAD_STREAM_MS = 10000, /* until a stream of the wrong type is looked at again */
    CONSUMER_ACKS_MAX = 65536,
    CONSUMER_ACK_BATCH_MAX = 1000 /* ids a command */
};

struct consumer;
/* One (workflow, version). Lives as long as the consumer, whether or not it is being read. */
struct stream {
    struct stream *next, *next_in_bucket;
    char key[STREAM_KEY_SIZE];
    char workflow[NAME_BYTES_MAX + 1], version[NAME_BYTES_MAX + 1];
    bool active;      /* served here */
    bool was_active;  /* before the routes that are being told */
    bool group_known; /* created or found since the last trouble */
    bool bad;         /* not a stream; said so; left out for a while */
    void *user;       /* from consumer_routes_add; NULL while not active */
    struct entry_id *acks;
    uint32_t ack_count, ack_capacity;
};
struct entry_id {
    uint64_t ms, seq;
};

struct consumer_callbacks {
    void (*on_ticket)(struct stream *s, struct entry_id entry, const struct ticket *t, void *arg);
    /* The group was not there: what the stream held is lost, ask the server to offer again. */
    void (*on_reset)(const struct stream *s, void *arg);
    uint64_t (*free_slots)(void *arg);
    void (*on_closed)(void *arg);
};

aiki_status consumer_create(struct consumer **ret, uv_loop_t *loop, const char *redis_url,
                            const char *space, const struct consumer_callbacks *cb, void *arg,
                            aiki_error *err);
/* Read as this session; NULL: do not read. */
void consumer_set_session(struct consumer *c, const struct aiki_id *session);
/* Which streams to read: begin, add each, end. */
void consumer_routes_begin(struct consumer *c);
void consumer_routes_add(struct consumer *c, aiki_view workflow, aiki_view version, void *user);
void consumer_routes_end(struct consumer *c);
/* Fewer slots than the read under way asks for: it is ended and made again. */
void consumer_slots_lowered(struct consumer *c);
/* Slots may have become free. Cheap. */
void consumer_kick(struct consumer *c);
/* XACK and XDEL, sent together with others at the end of this turn of the loop. */
void consumer_ack(struct consumer *c, struct stream *s, struct entry_id entry);
/* Unsent acknowledgements leave if Redis is there. */
void consumer_close(struct consumer *c);

#endif

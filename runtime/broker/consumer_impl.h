/* broker/consumer_impl.h - what consumer.c and entries.c share. Private. [loop]
 *
 * consumer.c: which streams are read, when, and by whom. entries.c: what is in a reply, and its
 * acknowledgement.
 */
#ifndef BROKER_CONSUMER_IMPL_H
#define BROKER_CONSUMER_IMPL_H

#include "base/link.h"
#include "broker/consumer.h"

enum consumer_state { DOWN, IDLE, GROUPS, READ, PAUSE };
enum { NUMBER_TEXT_SIZE = 24, STREAM_BUCKETS = 1024 };

struct consumer {
    uv_loop_t *loop;
    struct consumer_callbacks cb;
    void *arg;
    char space[NAME_BYTES_MAX + 1];
    enum consumer_state state;
    struct link *reader, *commands;
    char session[AIKI_ID_TEXT_SIZE];  /* "" = none */
    char client_id[NUMBER_TEXT_SIZE]; /* of the reader's connection; "" = unknown */
    struct stream *streams, *buckets[STREAM_BUCKETS]; /* all of them, twice */
    uint32_t active_count, rotation;
    unsigned groups_pending; /* CLIENT ID and XGROUP CREATE without a reply */
    unsigned trouble;        /* errors in a row, for the pause */
    bool outdated;           /* the read under way asks for something else than is wanted now */
    bool unblocking;         /* CLIENT UNBLOCK was sent for it */
    bool acks_waiting;
    bool wrong_type;      /* some stream is bad: the retry timer is running */
    char last_error[128]; /* so that a lasting error is said once */
    uv_timer_t deadline;  /* of READ, and the length of PAUSE */
    uv_timer_t bad_timer;
    uv_idle_t turn_end;
    const char **argv; /* of XREADGROUP, kept between reads */
    size_t *arg_sizes;
    size_t arg_capacity;
    unsigned open_handles;
    bool closing;
};

struct stream *consumer_find_key(struct consumer *c, const char *key, size_t size);
/* Something is to be done at the end of this turn of the loop: acknowledge, look for slots. */
void consumer_turn_soon(struct consumer *c);

/* ---- entries.c ---- */

/* The reply to XREADGROUP: tickets go to on_ticket, junk is removed. */
void consumer_take_entries(struct consumer *c, const redisReply *r);
/* All acknowledgements leave, if Redis is there. */
void consumer_flush_acks(struct consumer *c);

#endif

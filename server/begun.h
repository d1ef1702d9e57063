/* begun.h - which task an event is about that only has the address of its step. [store]
 *
 * The first event that speaks of a step says what it is; the one that ends it often is that event, and
 * then nothing is kept. For the others the journal of the run is read once, at the latest when it has
 * BEGUN_FOLLOW_EVENTS, and from then on the steps that have begun and not ended are remembered as long as
 * the run is in memory. So no long journal is read by the store thread in one go: of a long run that
 * comes from the store, or whose commit was refused, only the last BEGUN_LEARN_EVENTS_MAX events are,
 * which takes about 5 ms. Limits: those, and BEGUN_STEPS_MAX of a run; tasks beyond are counted as "other".
 */
#ifndef SERVER_BEGUN_H
#define SERVER_BEGUN_H

#include "cache.h"

enum {
    BEGUN_STEPS_MAX = 10000,
    BEGUN_FOLLOW_EVENTS = 1000,
    BEGUN_LEARN_EVENTS_MAX = 10 * BEGUN_FOLLOW_EVENTS,
    BEGUN_LEARN_BYTES_MAX = 4 * 1024 * 1024 /* which may be fewer events */
};

struct pipeline;

struct begun_step {
    struct address address;
    uint64_t nth;
    uint16_t task; /* tally.h */
    bool is_task, used;
};

/* A table by address, linear probing; at most half of it is used. */
struct begun_set {
    struct begun_step *steps;
    size_t count, capacity; /* a power of two, or 0 */
};

void begun_destroy(struct begun_set *set); /* NULL is a no-op */
/* Count how attempts ended, of p->fresh, new events of the run that were accepted; its last event before
 * them is seq_before. */
void begun_tally(struct pipeline *p, struct entry *e, uint64_t seq_before);

#endif

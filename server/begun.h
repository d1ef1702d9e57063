/* begun.h - which task an event is about that only has the address of its step. [store]
 *
 * The first event that speaks of a step says what it is; the one that ends it often is that event, and
 * then nothing is kept. For the others the journal of the run is read once, and from then on the
 * steps that have begun and not ended are remembered as long as the run is in memory.
 * Limit: BEGUN_STEPS_MAX of a run; tasks beyond that are counted as "other".
 */
#ifndef SERVER_BEGUN_H
#define SERVER_BEGUN_H

#include "cache.h"

enum { BEGUN_STEPS_MAX = 10000 };

struct pipeline;

struct begun_step {
    struct address address;
    uint64_t nth;
    uint16_t task; /* tally.h */
    bool is_task, open;
};

/* In the order they began; before `first` all have ended. */
struct begun_set {
    struct begun_step *steps;
    size_t first, count, capacity;
};

void begun_destroy(struct begun_set *set); /* NULL is a no-op */
/* Count how attempts ended, of p->fresh, new events of the run that were accepted; its last event before
 * them is seq_before. */
void begun_tally(struct pipeline *p, struct entry *e, uint64_t seq_before);

#endif

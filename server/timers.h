/* timers.h - many timers by number, in little memory: an indexed heap. One owner, any thread.
 *
 * A parked run costs one entry here (about 40 bytes) and nothing else.
 */
#ifndef SERVER_TIMERS_H
#define SERVER_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer_entry {
    int64_t at_ms;
    uint64_t key;
};
struct timers {
    struct timer_entry *heap;
    size_t count, capacity;
    uint32_t *place;    /* open addressing: heap index + 1 by hash of key */
    size_t place_count; /* power of two */
};

void timers_deinit(struct timers *t);
/* Arm or move; at_ms 0 disarms. Exits the process when out of memory. */
void timers_set(struct timers *t, uint64_t key, int64_t at_ms);
/* When the first one is due; 0 = none. */
int64_t timers_first_at_ms(const struct timers *t);
/* Take one that is due. */
bool timers_take(struct timers *t, int64_t now_ms, uint64_t *ret_key);

#endif

/* timers.c - binary heap with a hash of positions, so that moving and disarming are exact. */
#include "timers.h"

#include <stdlib.h>
#include <string.h>

#include "batch.h"

static uint64_t mix(uint64_t key)
{
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdull;
    return key ^ (key >> 29);
}

/* Slot that holds key, or the free one where it belongs. */
static size_t slot_of(const struct timers *t, uint64_t key)
{
    size_t i = mix(key) & (t->place_count - 1);
    while (t->place[i] != 0 && t->heap[t->place[i] - 1].key != key)
        i = (i + 1) & (t->place_count - 1);
    return i;
}

/* Linear probing without tombstones: what follows the gap moves up when it may. The heap entry
 * of the removed key is still in place when this runs. */
static void unplace(struct timers *t, size_t gap)
{
    size_t mask = t->place_count - 1;
    t->place[gap] = 0;
    for (size_t i = (gap + 1) & mask; t->place[i] != 0; i = (i + 1) & mask) {
        size_t home = mix(t->heap[t->place[i] - 1].key) & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            t->place[gap] = t->place[i];
            t->place[i] = 0;
            gap = i;
        }
    }
}

static void grow(struct timers *t)
{
    t->heap = array_grow(t->heap, &t->capacity, t->count, sizeof(*t->heap));
    if (t->place_count >= 2 * (t->count + 1))
        return;
    free(t->place);
    t->place_count = t->place_count == 0 ? 64 : t->place_count * 2;
    t->place = memory_need(t->place_count * sizeof(*t->place));
    for (size_t i = 0; i < t->count; i++)
        t->place[slot_of(t, t->heap[i].key)] = (uint32_t)(i + 1);
}

static void exchange(struct timers *t, size_t a, size_t b)
{
    size_t slot_a = slot_of(t, t->heap[a].key), slot_b = slot_of(t, t->heap[b].key);
    struct timer_entry entry = t->heap[a];
    t->heap[a] = t->heap[b];
    t->heap[b] = entry;
    t->place[slot_a] = (uint32_t)(b + 1);
    t->place[slot_b] = (uint32_t)(a + 1);
}

static void settle(struct timers *t, size_t i)
{
    while (i > 0 && t->heap[i].at_ms < t->heap[(i - 1) / 2].at_ms) {
        exchange(t, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t least = i, left = 2 * i + 1;
        if (left < t->count && t->heap[left].at_ms < t->heap[least].at_ms)
            least = left;
        if (left + 1 < t->count && t->heap[left + 1].at_ms < t->heap[least].at_ms)
            least = left + 1;
        if (least == i)
            return;
        exchange(t, i, least);
        i = least;
    }
}

static void drop(struct timers *t, size_t i)
{
    size_t last = t->count - 1;
    if (i != last)
        exchange(t, i, last);
    unplace(t, slot_of(t, t->heap[last].key));
    t->count--;
    if (i != last)
        settle(t, i);
}

void timers_deinit(struct timers *t)
{
    free(t->heap);
    free(t->place);
    memset(t, 0, sizeof(*t));
}

void timers_set(struct timers *t, uint64_t key, int64_t at_ms)
{
    size_t slot = t->place_count > 0 ? slot_of(t, key) : 0;
    bool armed = t->place_count > 0 && t->place[slot] != 0;
    if (at_ms == 0) {
        if (armed)
            drop(t, t->place[slot] - 1);
        return;
    }
    if (!armed) {
        grow(t);
        t->heap[t->count++] = (struct timer_entry){.at_ms = at_ms, .key = key};
        slot = slot_of(t, key);
        t->place[slot] = (uint32_t)t->count;
    }
    size_t i = t->place[slot] - 1;
    t->heap[i].at_ms = at_ms;
    settle(t, i);
}

int64_t timers_first_at_ms(const struct timers *t) { return t->count > 0 ? t->heap[0].at_ms : 0; }

bool timers_take(struct timers *t, int64_t now_ms, uint64_t *ret_key)
{
    if (t->count == 0 || t->heap[0].at_ms > now_ms)
        return false;
    *ret_key = t->heap[0].key;
    drop(t, 0);
    return true;
}

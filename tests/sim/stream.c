/* stream.c - the simulated Redis streams: hints that may be lost, doubled, swapped and trimmed. */
#include <string.h>

#include "sim.h"

static void put(struct sim_stream *s, size_t at, const struct ticket *t)
{
    s->entries = array_grow(s->entries, &s->capacity, s->count, sizeof(*s->entries));
    memmove(&s->entries[at + 1], &s->entries[at], (s->count - at) * sizeof(*s->entries));
    s->entries[at] = (struct stream_entry){.ticket = *t};
    s->count++;
}

static void drop(struct sim_stream *s, size_t at)
{
    memmove(&s->entries[at], &s->entries[at + 1], (--s->count - at) * sizeof(*s->entries));
}

void stream_add(uint32_t workflow, const struct ticket *t)
{
    struct sim_stream *s = &sim.streams[workflow];
    if (fault_strikes(FAULT_BIT_TICKET_LOST, 50))
        return;
    size_t at = s->count;
    if (at > 0 && fault_strikes(FAULT_BIT_TICKET_ORDER, 200))
        at = rng_below(&sim.faults, at);
    put(s, at, t);
    if (fault_strikes(FAULT_BIT_TICKET_TWICE, 80))
        put(s, s->count, t);
    if (fault_strikes(FAULT_BIT_STREAM_TRIM, 20))
        drop(s, 0);
}

bool stream_read(uint32_t workflow, const struct aiki_id *reader, struct ticket *ret)
{
    struct sim_stream *s = &sim.streams[workflow];
    for (size_t i = 0; i < s->count; i++) {
        if (!id_is_zero(&s->entries[i].reader))
            continue;
        s->entries[i].reader = *reader;
        *ret = s->entries[i].ticket;
        return true;
    }
    return false;
}

void stream_ack(uint32_t workflow, const struct aiki_id *reader, const struct ticket *t)
{
    struct sim_stream *s = &sim.streams[workflow];
    for (size_t i = 0; i < s->count; i++) {
        const struct stream_entry *e = &s->entries[i];
        if (!id_equal(&e->reader, reader) || !id_equal(&e->ticket.run, &t->run) ||
            e->ticket.epoch != t->epoch)
            continue;
        drop(s, i);
        return;
    }
}

void stream_flush(uint32_t workflow)
{
    sim.streams[workflow].count = 0;
    sim.streams[workflow].reset = true;
}

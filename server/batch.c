/* batch.c - batches and outcomes.
 *
 * Out of memory here would lose a command or an answer silently; the process ends instead and
 * the restart path, which is the tested one, takes over.
 */
#include "batch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "wire/error.h"
#include "wire/frame.h"

void *memory_need(size_t size_bytes)
{
    void *p = calloc(1, size_bytes);
    if (p == NULL) {
        log_error("server", "out of memory for %zu bytes; ending to restart clean", size_bytes);
        _exit(1);
    }
    return p;
}

void *array_grow(void *items, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count < *capacity)
        return items;
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = realloc(items, wanted * item_bytes);
    if (grown == NULL) {
        log_error("server", "out of memory for %zu items; ending to restart clean", wanted);
        _exit(1);
    }
    *capacity = wanted;
    return grown;
}

struct batch *batch_create(void)
{
    struct batch *b = memory_need(sizeof(*b));
    buf_init(&b->bytes);
    return b;
}

void batch_destroy(struct batch *b)
{
    if (b == NULL)
        return;
    free(b->commands);
    buf_deinit(&b->bytes);
    free(b);
}

void batch_clear(struct batch *b)
{
    enum { KEEP_BYTES_MAX = 4 * 1024 * 1024, KEEP_COMMANDS_MAX = 64 * 1024 };
    buf_clear(&b->bytes, KEEP_BYTES_MAX);
    b->count = 0;
    if (b->capacity <= KEEP_COMMANDS_MAX)
        return;
    free(b->commands);
    b->commands = NULL;
    b->capacity = 0;
}

void batch_add(struct batch *b, peer_id peer, uint32_t type, uint32_t correlation,
               aiki_view payload)
{
    b->commands = array_grow(b->commands, &b->capacity, b->count, sizeof(*b->commands));
    struct command *c = &b->commands[b->count++];
    /* Structs among the payloads are read in place: keep them aligned. */
    static const uint8_t zeros[8];
    aiki_mp_raw(&b->bytes, zeros, -b->bytes.size_bytes & 7u);
    *c = (struct command){.type = type,
                          .correlation = correlation,
                          .peer = peer,
                          .offset = b->bytes.size_bytes,
                          .size_bytes = payload.size_bytes};
    aiki_mp_raw(&b->bytes, payload.data, payload.size_bytes);
    if (b->bytes.status != AIKI_OK) {
        log_error("server", "out of memory for a request of %llu bytes; ending to restart clean",
                  (unsigned long long)payload.size_bytes);
        _exit(1);
    }
}

struct outcome *outcome_create(void) { return memory_need(sizeof(struct outcome)); }

void outcome_destroy(struct outcome *o)
{
    if (o == NULL)
        return;
    for (size_t i = 0; i < o->parcel_count; i++)
        buf_deinit(&o->parcels[i].frames);
    for (struct mail *m = o->used, *next; m != NULL; m = next) {
        next = m->next;
        batch_destroy(container_of(m, struct batch, mail));
    }
    free(o->parcels);
    free(o->offers);
    free(o->audits);
    free(o->orphans);
    free(o);
}

bool outcome_is_empty(const struct outcome *o)
{
    return o->parcel_count + o->offer_count + o->audit_count + o->orphan_count == 0 &&
           !o->scanned && o->used == NULL;
}

struct parcel *outcome_add_parcel(struct outcome *o, peer_id peer)
{
    o->parcels = array_grow(o->parcels, &o->parcel_capacity, o->parcel_count, sizeof(*o->parcels));
    struct parcel *p = &o->parcels[o->parcel_count++];
    *p = (struct parcel){.peer = peer};
    buf_init(&p->frames);
    return p;
}

struct offer *outcome_add_offer(struct outcome *o)
{
    o->offers = array_grow(o->offers, &o->offer_capacity, o->offer_count, sizeof(*o->offers));
    return memset(&o->offers[o->offer_count++], 0, sizeof(*o->offers));
}

struct audit *outcome_add_audit(struct outcome *o)
{
    o->audits = array_grow(o->audits, &o->audit_capacity, o->audit_count, sizeof(*o->audits));
    return memset(&o->audits[o->audit_count++], 0, sizeof(*o->audits));
}

struct orphan *outcome_add_orphan(struct outcome *o)
{
    o->orphans = array_grow(o->orphans, &o->orphan_capacity, o->orphan_count, sizeof(*o->orphans));
    return memset(&o->orphans[o->orphan_count++], 0, sizeof(*o->orphans));
}

void frame_fault(aiki_writer *w, uint32_t correlation, const aiki_error *error)
{
    uint8_t memory[4096];
    aiki_writer map;
    aiki_writer_init_fixed(&map, memory, sizeof(memory));
    error_write(&map, error);
    const struct msg_FAULT m = {.status = error->status, .error = aiki_writer_view(&map)};
    uint64_t at = frame_begin(w);
    msg_FAULT_write(w, &m);
    (void)frame_end(w, at, WIRE_FAULT, correlation); /* far below the limit */
}

void frame_seal(aiki_writer *w, uint64_t at, uint32_t type, uint32_t correlation)
{
    uint64_t size_bytes = w->size_bytes - at;
    if (frame_end(w, at, type, correlation) == AIKI_OK)
        return;
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_set(&err, AIKI_LIMIT,
                    "the answer has %llu bytes, FRAME_BYTES_MAX is %d; ask for less",
                    (unsigned long long)size_bytes, FRAME_BYTES_MAX);
    frame_fault(w, correlation, &err);
}

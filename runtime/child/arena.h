/* arena.h - memory of one run or one attempt: taken in pieces, given back as a whole.
 *
 * [one thread at a time] Zeroed, 16-byte aligned. The first chunk stays for the next user of the
 * same arena, so that a short run allocates nothing.
 */
#ifndef CHILD_ARENA_H
#define CHILD_ARENA_H

#include <stdint.h>

#include <aiki/msgpack.h>

enum { ARENA_CHUNK_BYTES = 16 * 1024, ARENA_CHUNK_BYTES_MAX = 1024 * 1024 };

struct chunk;
struct arena {
    struct chunk *newest; /* owned chain */
    uint64_t bytes, bytes_max;
    uint64_t chunk_bytes; /* of the next one */
};

void arena_init(struct arena *a, uint64_t bytes_max);
/* NULL: out of memory or over bytes_max. */
void *arena_alloc(struct arena *a, uint64_t size_bytes);
/* A writer whose buffer is in the arena. */
aiki_writer arena_writer(struct arena *a);
/* Everything handed out is gone; the first chunk is kept. */
void arena_reset(struct arena *a);
/* The first chunk too. Fine on a zeroed struct. */
void arena_deinit(struct arena *a);

#endif

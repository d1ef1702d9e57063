/* arena.c - chunks, each twice the one before. */
#include "child/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "replay/journal.h"

enum { ALIGN = 16 };

struct chunk {
    struct chunk *older;
    uint64_t size_bytes, used_bytes;
    bool fresh; /* from calloc and never handed out: still zero */
    _Alignas(ALIGN) uint8_t data[];
};

void arena_init(struct arena *a, uint64_t bytes_max)
{
    memset(a, 0, sizeof(*a));
    a->bytes_max = bytes_max;
    a->chunk_bytes = ARENA_CHUNK_BYTES;
}

static struct chunk *add_chunk(struct arena *a, uint64_t size_bytes)
{
    uint64_t wanted = size_bytes > a->chunk_bytes ? size_bytes : a->chunk_bytes;
    struct chunk *c = calloc(1, sizeof(*c) + wanted);

    if (c == NULL)
        return NULL;
    c->size_bytes = wanted;
    c->fresh = true;
    c->older = a->newest;
    a->newest = c;
    if (a->chunk_bytes < ARENA_CHUNK_BYTES_MAX)
        a->chunk_bytes *= 2;
    return c;
}

void *arena_alloc(struct arena *a, uint64_t size_bytes)
{
    struct chunk *c = a->newest;

    if (size_bytes > a->bytes_max || a->bytes_max - size_bytes < a->bytes)
        return NULL;
    size_bytes = size_bytes == 0 ? ALIGN : (size_bytes + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
    if (c == NULL || c->size_bytes - c->used_bytes < size_bytes)
        c = add_chunk(a, size_bytes);
    if (c == NULL)
        return NULL;
    uint8_t *p = c->data + c->used_bytes;
    c->used_bytes += size_bytes;
    a->bytes += size_bytes;
    if (!c->fresh)
        memset(p, 0, size_bytes);
    return p;
}

static void *alloc(void *arena, uint64_t size_bytes)
{
    return arena_alloc(arena, size_bytes);
}

static bool grow(aiki_writer *w, uint64_t capacity_min_bytes)
{
    const struct replay_memory memory = {alloc, w->arg};

    return replay_memory_grow(&memory, w, capacity_min_bytes);
}

aiki_writer arena_writer(struct arena *a)
{
    return (aiki_writer){.grow = grow, .arg = a};
}

void arena_reset(struct arena *a)
{
    struct chunk *c = a->newest, *kept = NULL;

    while (c != NULL) {
        struct chunk *older = c->older;
        if (older == NULL && c->size_bytes == ARENA_CHUNK_BYTES)
            kept = c;
        else
            free(c);
        c = older;
    }
    if (kept != NULL) {
        kept->used_bytes = 0;
        kept->fresh = false;
    }
    a->newest = kept;
    a->bytes = 0;
    a->chunk_bytes = ARENA_CHUNK_BYTES * (kept != NULL ? 2 : 1);
}

void arena_deinit(struct arena *a)
{
    for (struct chunk *c = a->newest, *older; c != NULL; c = older) {
        older = c->older;
        free(c);
    }
    a->newest = NULL;
    a->bytes = 0;
}

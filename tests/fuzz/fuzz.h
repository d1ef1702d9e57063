/* fuzz.h - what every fuzz target needs. A target states properties; CHECK ends the process. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <aiki/msgpack.h>

enum { FUZZ_INPUT_BYTES_MAX = 64 * 1024, FUZZ_ROOM_BYTES = 16 * FUZZ_INPUT_BYTES_MAX };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Called by libFuzzer, or by replay.c. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One of a few scratch writers, emptied. Large enough for what any input turns into. */
static inline aiki_writer *fuzz_writer(unsigned index)
{
    static uint8_t memory[3][FUZZ_ROOM_BYTES];
    static aiki_writer writers[3];
    aiki_writer_init_fixed(&writers[index], memory[index], FUZZ_ROOM_BYTES);
    return &writers[index];
}

static inline bool fuzz_same(aiki_view a, aiki_view b)
{
    return a.size_bytes == b.size_bytes &&
           (a.size_bytes == 0 || memcmp(a.data, b.data, a.size_bytes) == 0);
}

/* Memory that error_read takes; given back all at once. */
struct fuzz_arena {
    uint64_t used;
    _Alignas(16) uint8_t memory[FUZZ_ROOM_BYTES];
};

static inline void *fuzz_take(void *arg, uint64_t size)
{
    struct fuzz_arena *a = arg;
    void *p = a->memory + a->used;
    if (size > sizeof(a->memory) - a->used)
        return NULL;
    a->used += (size + 15) & ~15ull;
    return p;
}

#endif

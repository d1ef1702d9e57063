/* outcome.c - copy a run's output or error out of the frame it came in.
 *
 *   | struct block | output bytes, or the error's causes and details |
 *
 * The room needed is known beforehand: what error_read asks for is at most the bytes of the
 * error map and AIKI_CAUSE_DEPTH_MAX error structs, each rounded up.
 */
#include "outcome.h"

#include <stdlib.h>
#include <string.h>

#include "wire/error.h"

enum { ALIGN_BYTES = 16 };

struct block {
    aiki_outcome outcome; /* first: the block is freed by its address */
    aiki_error error;
    uint64_t used_bytes, room_bytes;
    _Alignas(ALIGN_BYTES) uint8_t room[];
};

static void *block_alloc(void *arg, uint64_t size_bytes)
{
    struct block *b = arg;
    uint64_t rounded = (size_bytes + ALIGN_BYTES - 1) & ~(uint64_t)(ALIGN_BYTES - 1);
    if (rounded < size_bytes || rounded > b->room_bytes - b->used_bytes)
        return NULL;
    void *p = b->room + b->used_bytes;
    b->used_bytes += rounded;
    return p;
}

static uint64_t room_for(const struct msg_RESULT *result)
{
    if (result->error.size_bytes == 0)
        return result->output.size_bytes + ALIGN_BYTES;
    return 2 * result->error.size_bytes +
           (AIKI_CAUSE_DEPTH_MAX + 1) * (sizeof(aiki_error) + 2 * ALIGN_BYTES);
}

aiki_outcome *outcome_create(const struct msg_RESULT *result)
{
    uint64_t room_bytes = room_for(result);
    struct block *b = malloc(sizeof(*b) + room_bytes);
    if (b == NULL)
        return NULL;
    memset(b, 0, sizeof(*b));
    b->room_bytes = room_bytes;
    b->outcome.struct_size = sizeof(b->outcome);
    b->outcome.state = (int32_t)result->state;

    if (result->error.size_bytes > 0) {
        /* An error that does not decode is still an error: say what is known. */
        if (error_read(result->error, &b->error, block_alloc, b) != AIKI_OK)
            (void)error_set(&b->error, AIKI_CORRUPT, "the run's recorded error does not decode");
        b->outcome.error = &b->error;
    } else if (result->output.size_bytes > 0) {
        uint8_t *copy = block_alloc(b, result->output.size_bytes);
        memcpy(copy, result->output.data, result->output.size_bytes);
        b->outcome.output = (aiki_view){copy, result->output.size_bytes};
    }
    return &b->outcome;
}

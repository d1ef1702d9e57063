/* event.c - what kinds, steps and states are called; addresses of steps; the chain of a journal. */
#include "wire/event.h"

#include <stdlib.h>
#include <string.h>

#include "wire/canon.h"
#include "wire/hash.h"

enum { CANON_INLINE = 2048 /* inputs up to half of this are hashed without an allocation */ };

/* ---- names ------------------------------------------------------------------------------- */

#define NAME_CASE(name, number, text)                                                              \
    case number: return text;

const char *event_kind_name(uint64_t kind)
{
    switch (kind) {
        EVENT_KIND_MAP(NAME_CASE)
    default: return "unknown";
    }
}

const char *step_kind_name(uint64_t kind)
{
    switch (kind) {
        STEP_KIND_MAP(NAME_CASE)
    default: return "unknown";
    }
}

#define STATE_CASE(name, number, text, terminal) NAME_CASE(name, number, text)
const char *run_state_name(uint64_t state)
{
    switch (state) {
        RUN_STATE_MAP(STATE_CASE)
    default: return "unknown";
    }
}

uint64_t run_state_parse(const char *text)
{
#define STATE_PARSE(name, number, words, terminal)                                                 \
    if (strcmp(text, words) == 0)                                                                  \
        return number;
    RUN_STATE_MAP(STATE_PARSE)
#undef STATE_PARSE
    return 0;
}

bool run_state_is_terminal(uint64_t state)
{
    switch (state) {
#define STATE_TERMINAL(name, number, text, terminal)                                               \
    case number: return terminal;
        RUN_STATE_MAP(STATE_TERMINAL)
#undef STATE_TERMINAL
    default: return false;
    }
}

/* ---- address and chain ------------------------------------------------------------------- */

aiki_status address_make(uint64_t step_kind, aiki_view name, aiki_view input,
                         struct address *ret_address, aiki_error *err)
{
    uint8_t memory[CANON_INLINE], head[5], hash[HASH_BYTES];
    uint8_t *owned = NULL;
    aiki_view canonical = {NULL, 0};
    if (input.size_bytes > 0) {
        aiki_status status = canon_borrow(input, memory, sizeof(memory), &canonical, &owned, err);
        if (status != AIKI_OK)
            return status;
    }
    /* The length keeps name and input apart: no two steps share the bytes that are hashed. */
    head[0] = (uint8_t)step_kind;
    aiki_mp_be_(head + 1, name.size_bytes, 4);
    const aiki_view parts[] = {{head, sizeof(head)}, name, canonical};
    hash_parts(hash, parts, sizeof(parts) / sizeof(parts[0]));
    memcpy(ret_address->bytes, hash, ADDRESS_BYTES);
    free(owned);
    return AIKI_OK;
}

void event_chain(uint8_t hash[HASH_BYTES], aiki_view stored)
{
    const aiki_view parts[] = {{hash, HASH_BYTES}, stored};
    hash_parts(hash, parts, 2); /* the result is written after all parts are read */
}

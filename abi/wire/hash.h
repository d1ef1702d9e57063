/* wire/hash.h - BLAKE2b over a few parts, the one hash of journals, steps and builds. [any] */
#ifndef WIRE_HASH_H
#define WIRE_HASH_H

#include <aiki/status.h>

/* BLAKE2b-256 of the concatenation of parts; part boundaries leave no trace in the result. */
void hash_parts(uint8_t ret_hash[32], const aiki_view *parts, size_t part_count);
/* The same of what comes piece by piece. */
struct hash_state {
    _Alignas(64) uint8_t opaque[384];
};
void hash_begin(struct hash_state *state);
void hash_more(struct hash_state *state, aiki_view part);
void hash_end(struct hash_state *state, uint8_t ret_hash[32]);
/* libsodium chooses its implementation once per process; the first user triggers it. */
void hash_setup(void);

#endif

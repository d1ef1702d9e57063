/* hash.c - BLAKE2b-256 by libsodium. */
#include "wire/hash.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

static void setup_once(void)
{
    if (sodium_init() < 0)
        abort(); /* no random source: nothing this process makes would be unique */
}

void hash_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, setup_once); /* fails only for a bad control object */
}

static crypto_generichash_blake2b_state *inner(struct hash_state *state)
{
    static_assert(sizeof(crypto_generichash_blake2b_state) <= sizeof(struct hash_state), "no room for libsodium's");
    static_assert(_Alignof(crypto_generichash_blake2b_state) <= _Alignof(struct hash_state), "not aligned for it");
    return (void *)state->opaque;
}

/* These report nothing but sizes out of range, and ours are fixed. */
void hash_begin(struct hash_state *state)
{
    hash_setup();
    (void)crypto_generichash_blake2b_init(inner(state), NULL, 0, 32);
}

void hash_more(struct hash_state *state, aiki_view part)
{
    if (part.size_bytes > 0)
        (void)crypto_generichash_blake2b_update(inner(state), part.data, part.size_bytes);
}

void hash_end(struct hash_state *state, uint8_t ret_hash[32])
{
    (void)crypto_generichash_blake2b_final(inner(state), ret_hash, 32);
}

void hash_parts(uint8_t ret_hash[32], const aiki_view *parts, size_t part_count)
{
    struct hash_state state;
    hash_begin(&state);
    for (size_t i = 0; i < part_count; i++)
        hash_more(&state, parts[i]);
    hash_end(&state, ret_hash);
}

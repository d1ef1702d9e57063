/* hash.c - BLAKE2b-256 by libsodium. */
#include "wire/hash.h"

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

void hash_parts(uint8_t ret_hash[32], const aiki_view *parts, size_t part_count)
{
    crypto_generichash_blake2b_state state;
    hash_setup();
    /* These report nothing but sizes out of range, and ours are fixed. */
    (void)crypto_generichash_blake2b_init(&state, NULL, 0, 32);
    for (size_t i = 0; i < part_count; i++)
        if (parts[i].size_bytes > 0)
            (void)crypto_generichash_blake2b_update(&state, parts[i].data, parts[i].size_bytes);
    (void)crypto_generichash_blake2b_final(&state, ret_hash, 32);
}

/* fuzz_record.c - values that reach a plugin's typed code: what is decoded encodes, and decodes to
 * the same again. */
#include "fuzz.h"

#include "../support/shop_records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_arena arena;
    const aiki_memory memory = {fuzz_take, &arena};
    const aiki_view bytes = {data, size};
    struct shop_cart cart, again;
    aiki_error err = AIKI_ERROR_INIT;
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    memset(arena.memory, 0, arena.used); /* arenas hand out zeroed memory */
    arena.used = 0;

    aiki_status status = shop_cart_decode(bytes, &memory, &cart, &err);
    CHECK(status == AIKI_OK || (status == AIKI_NOMEM && err.message[0] != '\0') ||
          (status == AIKI_SCHEMA && strcmp(err.code, "SCHEMA_MISMATCH") == 0));
    CHECK(status == AIKI_NOMEM || aiki_record_check(&shop_cart_record, bytes, NULL) == status);
    if (status != AIKI_OK)
        return 0;
    aiki_writer *first = fuzz_writer(0), *second = fuzz_writer(1);
    CHECK(shop_cart_encode(&cart, first, &err) == AIKI_OK);
    status = shop_cart_decode(aiki_writer_view(first), &memory, &again, &err);
    CHECK(status == AIKI_OK || status == AIKI_NOMEM);
    CHECK(status == AIKI_NOMEM || shop_cart_encode(&again, second, &err) == AIKI_OK);
    CHECK(status == AIKI_NOMEM || fuzz_same(aiki_writer_view(first), aiki_writer_view(second)));
    return 0;
}

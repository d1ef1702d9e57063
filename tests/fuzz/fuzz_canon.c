/* fuzz_canon.c - canonical form: exists for every value, is a fixed point, and is recognised. */
#include "fuzz.h"

#include "wire/canon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t memory[256], a[32], b[32], *owned;
    aiki_view value = {data, size}, borrowed;
    aiki_error err = AIKI_ERROR_INIT;
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    aiki_writer *first = fuzz_writer(0), *second = fuzz_writer(1);
    aiki_status sound = aiki_mp_check(value), status = canon_write(first, value, &err);
    CHECK(sound == AIKI_OK ? status == AIKI_OK || status == AIKI_INVALID : status != AIKI_OK);
    CHECK(canon_hash(value, a, NULL) == status);
    if (status != AIKI_OK) {
        CHECK(first->size_bytes == 0 && err.message[0] != '\0' && !canon_is(value));
        return 0;
    }
    aiki_view canonical = aiki_writer_view(first);
    CHECK(canon_is(canonical) && aiki_mp_check(canonical) == AIKI_OK);
    CHECK(canon_write(second, canonical, NULL) == AIKI_OK);
    CHECK(fuzz_same(aiki_writer_view(second), canonical));
    CHECK(canon_is(value) == fuzz_same(value, canonical));

    CHECK(canon_borrow(value, memory, sizeof(memory), &borrowed, &owned, NULL) == AIKI_OK);
    CHECK(fuzz_same(borrowed, canonical));
    free(owned);
    CHECK(canon_hash(canonical, b, NULL) == AIKI_OK);
    CHECK(memcmp(a, b, sizeof(a)) == 0);
    return 0;
}

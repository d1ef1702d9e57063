/* fuzz_error.c - error maps: what one read keeps, every later read keeps. */
#include "fuzz.h"

#include "wire/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_arena arena;
    aiki_error e = AIKI_ERROR_INIT;
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    arena.used = 0;
    if (error_read((aiki_view){data, size}, &e, fuzz_take, &arena) != AIKI_OK)
        return 0;
    aiki_writer *first = fuzz_writer(0), *second = fuzz_writer(1);
    error_write(first, &e);
    CHECK(aiki_mp_check(aiki_writer_view(first)) == AIKI_OK);
    CHECK(error_read(aiki_writer_view(first), &e, fuzz_take, &arena) == AIKI_OK);
    error_write(second, &e);
    CHECK(fuzz_same(aiki_writer_view(first), aiki_writer_view(second)));
    return 0;
}

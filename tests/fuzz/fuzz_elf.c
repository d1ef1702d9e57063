/* fuzz_elf.c - files dropped into the plugins directory: a verdict for any bytes, read in bounds.
 */
#include "fuzz.h"

#include "intake/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aiki_error err = AIKI_ERROR_INIT;
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    aiki_status status = elf_check((aiki_view){data, size}, &err);
    CHECK(status == AIKI_OK || status == AIKI_INVALID);
    CHECK(status == AIKI_OK || (err.code[0] != '\0' && err.message[0] != '\0'));
    CHECK(elf_check((aiki_view){data, size}, NULL) == status);
    return 0;
}

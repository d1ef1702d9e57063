/* fuzz_elf.c - files dropped into the plugins directory: a verdict for any bytes, read in bounds.
 */
#include "fuzz.h"

#include "intake/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view file = {data, size};
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    aiki_status status = elf_check(file, &err);
    CHECK(status == AIKI_OK || status == AIKI_INVALID);
    CHECK(status == AIKI_OK || (err.code[0] != '\0' && err.message[0] != '\0'));
    CHECK(elf_check(file, NULL) == status);
    aiki_view path = elf_run_path(file);
    CHECK(path.size_bytes == 0 || (status == AIKI_OK && path.data[0] == '/'));
    return 0;
}

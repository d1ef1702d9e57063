/* fuzz_elf.c - files dropped into the plugins directory: a verdict for any bytes, read in bounds.
 */
#include "fuzz.h"

#include "intake/elf.h"
#include "intake/lint.h"
#include "intake/needs.h"

static void on_import(const char *symbol, const char *what, uint64_t table, uint64_t function, void *arg)
{
    CHECK(symbol[0] != '\0' && what[0] != '\0');
    CHECK(function == 0 || table != 0);
    (void)arg;
}

/* Entries come from the plugin itself, so any number may be one. */
static void look_into(aiki_view file)
{
    static const uint64_t entries[] = {0, 1, 64, 0x1000, 0x1010, 0x1100, UINT64_MAX, UINT64_MAX / 2};
    struct lint *l = lint_create(file);
    for (size_t i = 0; l != NULL && i < sizeof(entries) / sizeof(entries[0]); i++)
        lint_entry(l, entries[i], on_import, NULL);
    lint_destroy(l);
    lint_imports(file, on_import, NULL);
}

/* What it declares is shown and logged. */
static void look_at_needs(aiki_view file, aiki_status checked)
{
    char needs[NEEDS_SIZE];
    aiki_error err = AIKI_ERROR_INIT;
    aiki_status status = needs_read(file, needs, &err);
    CHECK(status == AIKI_OK || (status == AIKI_INVALID && err.code[0] != '\0'));
    CHECK(status != AIKI_OK || checked == AIKI_OK);
    CHECK(needs[0] == '\0' || status == AIKI_OK);
    for (const char *at = needs; *at != '\0'; at++)
        CHECK(*at >= 0x20 && *at < 0x7f);
}

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
    look_at_needs(file, status);
    look_into(file);
    return 0;
}

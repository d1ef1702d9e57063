/* needs.c - see needs.h. What counts is what is in the file, whatever becomes of it in memory. */
#include "intake/needs.h"

#include <stdio.h>
#include <string.h>

#include <aiki/plugin.h>

#include "intake/elf_impl.h"
#include "wire/error.h"

/* The definition that a file exports; st_name 0: there is none. */
static Elf64_Sym find_symbol(const struct image *m, const char *name)
{
    for (uint64_t i = 0; i < m->symbol_count; i++) {
        Elf64_Sym s = elf_symbol(m, i);
        if (s.st_shndx != SHN_UNDEF && s.st_name != 0 && strcmp(elf_text(m, s.st_name), name) == 0)
            return s;
    }
    return (Elf64_Sym){.st_name = 0};
}

static aiki_status bad(const char *what, aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "BAD_NEEDS",
                      "its " AIKI_NEEDS_SYMBOL " %s; define it with AIKI_NEEDS", what);
}

static aiki_status check_text(aiki_view text, char ret[NEEDS_SIZE], aiki_error *err)
{
    aiki_error found = AIKI_ERROR_INIT;
    if (needs_check(text, &found) != AIKI_OK)
        return error_code(err, AIKI_INVALID, "BAD_NEEDS",
                          "what it declares to need has %s; take network, processes, modes, read:/PATH and "
                          "write:/PATH, with blanks between and %d paths at most",
                          found.message, SANDBOX_PATHS_MAX);
    bool nothing = true;
    for (uint64_t i = 0; i < text.size_bytes; i++)
        nothing &= text.data[i] == ' ';
    if (nothing)
        text = (aiki_view){(const uint8_t *)"none", 4};
    (void)snprintf(ret, NEEDS_SIZE, "%.*s", (int)text.size_bytes, (const char *)text.data);
    return AIKI_OK;
}

aiki_status needs_read(aiki_view file, char ret[NEEDS_SIZE], aiki_error *err)
{
    struct image m;
    ret[0] = '\0';
    aiki_status st = elf_open(&m, file, err);
    if (st != AIKI_OK)
        return st;
    Elf64_Sym s = find_symbol(&m, AIKI_NEEDS_SYMBOL);
    if (s.st_name == 0)
        return AIKI_OK;
    if (ELF64_ST_TYPE(s.st_info) != STT_OBJECT || s.st_shndx == SHN_ABS)
        return bad("is no constant", err);
    if (s.st_size == 0 || s.st_size > NEEDS_SIZE)
        return bad("is empty, or over NEEDS_SIZE (2048)", err);
    const uint8_t *bytes = elf_at(&m, s.st_value, s.st_size);
    if (bytes == NULL)
        return bad("is not in the file", err);
    aiki_view text = {bytes, strnlen((const char *)bytes, s.st_size)};
    return text.size_bytes < NEEDS_SIZE ? check_text(text, ret, err)
                                        : bad("has no end within NEEDS_SIZE (2048)", err);
}

/* elf_dynamic.c - the dynamic table: where the loader finds everything else.
 *
 *   PT_DYNAMIC --> tags --> string table (ends in a zero byte?) --> names of libraries, run path
 *                       --> other tables, each inside a loaded segment and of the entry size we know
 *                       --> symbol versions, needed and defined
 *
 * Several of these the loader checks by assert(), which ends the process.
 */
#include <string.h>

#include "intake/elf_impl.h"
#include "wire/error.h"

/* ---- tags ---------------------------------------------------------------------------------- */

static void take_tag(struct image *m, const Elf64_Dyn *d, uint64_t *needed_max)
{
    switch (d->d_tag) {
    case DT_NEEDED:
        *needed_max = d->d_un.d_val > *needed_max ? d->d_un.d_val : *needed_max;
        break;
    case DT_TEXTREL: m->value[DT_TEXTREL] = 1; break; /* its own value means nothing */
    case DT_GNU_HASH: m->gnu_hash = d->d_un.d_val; break;
    case DT_FLAGS_1: m->flags_1 = d->d_un.d_val; break;
    case DT_VERSYM: m->version_table = d->d_un.d_val; break;
    case DT_VERNEED: m->versions_needed = d->d_un.d_val; break;
    case DT_VERDEF: m->versions_defined = d->d_un.d_val; break;
    default:
        if (d->d_tag > 0 && d->d_tag < ELF_TAG_COUNT) {
            m->value[d->d_tag] = d->d_un.d_val;
            m->present |= UINT64_C(1) << d->d_tag;
        }
        break;
    }
}

/* Tables that take_tag keeps by name: at address 0 is the ELF header, never one of them. */
static bool is_table_at_0(const Elf64_Dyn *d)
{
    return d->d_un.d_val == 0 && (d->d_tag == DT_GNU_HASH || d->d_tag == DT_VERSYM ||
                                  d->d_tag == DT_VERNEED || d->d_tag == DT_VERDEF);
}

static aiki_status read_tags(struct image *m, uint64_t *needed_max, aiki_error *err)
{
    uint64_t count = m->dynamic.p_filesz / sizeof(Elf64_Dyn), needed = 0, i;
    for (i = 0; i < count; i++) {
        Elf64_Dyn d;
        memcpy(&d, m->file.data + m->dynamic.p_offset + i * sizeof(d), sizeof(d));
        if (d.d_tag == DT_NULL)
            break;
        if (is_table_at_0(&d))
            return elf_broken("its dynamic section has a table at address 0", err);
        needed += d.d_tag == DT_NEEDED;
        take_tag(m, &d, needed_max);
    }
    if (i == count)
        return elf_broken("its dynamic section has no end", err);
    if (needed > ELF_NEEDED_MAX)
        return elf_broken("it needs over ELF_NEEDED_MAX (256) libraries", err);
    return AIKI_OK;
}

/* ---- tables -------------------------------------------------------------------------------- */

static bool has(const struct image *m, unsigned tag)
{
    return (m->present >> tag & 1) != 0;
}

/* Entries of another size than ours would be read with ours by the loader. */
static bool has_known_entries(const struct image *m)
{
    const uint64_t *v = m->value;
    return (!has(m, DT_SYMENT) || v[DT_SYMENT] == sizeof(Elf64_Sym)) && !has(m, DT_REL) &&
           (!has(m, DT_RELA) || v[DT_RELAENT] == sizeof(Elf64_Rela)) &&
           (!has(m, DT_JMPREL) || v[DT_PLTREL] == DT_RELA) &&
           (!has(m, DT_RELR) || v[DT_RELRENT] == sizeof(uint64_t)) &&
           v[DT_RELASZ] % sizeof(Elf64_Rela) == 0 && v[DT_PLTRELSZ] % sizeof(Elf64_Rela) == 0 &&
           v[DT_RELRSZ] % sizeof(uint64_t) == 0 && v[DT_INIT_ARRAYSZ] % sizeof(uint64_t) == 0 &&
           v[DT_FINI_ARRAYSZ] % sizeof(uint64_t) == 0;
}

static aiki_status check_tables(const struct image *m, aiki_error *err)
{
    static const struct {
        unsigned address, size;
        uint64_t fixed;
        bool required;
        const char *what;
    } tables[] = {
        {DT_STRTAB, DT_STRSZ, 0, true, "its string table is missing or outside its segments"},
        {DT_SYMTAB, 0, sizeof(Elf64_Sym), true,
         "its symbol table is missing or outside its segments"},
        {DT_RELA, DT_RELASZ, 0, false, "its relocations lie outside its segments"},
        {DT_JMPREL, DT_PLTRELSZ, 0, false, "its jump relocations lie outside its segments"},
        {DT_RELR, DT_RELRSZ, 0, false, "its relative relocations lie outside its segments"},
        {DT_INIT_ARRAY, DT_INIT_ARRAYSZ, 0, false, "its constructors lie outside its segments"},
        {DT_FINI_ARRAY, DT_FINI_ARRAYSZ, 0, false, "its destructors lie outside its segments"},
        {DT_HASH, 0, 2 * sizeof(uint32_t), false, "its hash table lies outside its segments"},
    };
    for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        uint64_t at = m->value[tables[i].address];
        uint64_t size = tables[i].size != 0 ? m->value[tables[i].size] : tables[i].fixed;
        if (!has(m, tables[i].address) && !tables[i].required)
            continue;
        if (at == 0 || elf_at(m, at, size) == NULL)
            return elf_broken(tables[i].what, err);
    }
    if (!has_known_entries(m))
        return elf_broken("its dynamic section gives a table entries of an unknown size", err);
    if ((has(m, DT_INIT) && !elf_in_memory(m, m->value[DT_INIT], 1, PF_X)) ||
        (has(m, DT_FINI) && !elf_in_memory(m, m->value[DT_FINI], 1, PF_X)))
        return elf_broken("what runs when it is loaded lies outside its code", err);
    return AIKI_OK;
}

/* ---- texts --------------------------------------------------------------------------------- */

const char *elf_text(const struct image *m, uint64_t offset)
{
    return (const char *)elf_at(m, m->value[DT_STRTAB], m->value[DT_STRSZ]) + offset;
}

static aiki_status check_texts(const struct image *m, uint64_t needed_max, aiki_error *err)
{
    uint64_t size = m->value[DT_STRSZ];
    if (size == 0 || *elf_text(m, size - 1) != '\0')
        return elf_broken("its string table does not end in a zero byte", err);
    if (needed_max >= size || m->value[DT_SONAME] >= size || m->value[DT_RPATH] >= size ||
        m->value[DT_RUNPATH] >= size)
        return elf_broken("it names a library outside its string table", err);
    return AIKI_OK;
}

/* A plugin runs from a private copy, so $ORIGIN and relative paths lead nowhere, or where somebody
 * else may write. Whether absolute ones are trusted is for those who know the file system. */
static aiki_status check_run_path(const struct image *m, aiki_error *err)
{
    uint64_t at = m->value[DT_RUNPATH] != 0 ? m->value[DT_RUNPATH] : m->value[DT_RPATH];
    if (at == 0)
        return AIKI_OK;
    const char *text = elf_text(m, at);
    for (const char *entry = text; entry != NULL; entry = strchr(entry, ':')) {
        entry += *entry == ':';
        if (entry[0] != '/' || memchr(entry, '$', strcspn(entry, ":")) != NULL)
            return error_code(err, AIKI_INVALID, "FOREIGN_RPATH",
                              "it looks for libraries in \"%.100s\"; only absolute paths without $ "
                              "are let in: link it without -rpath",
                              text);
    }
    return AIKI_OK;
}

/* ---- versions ------------------------------------------------------------------------------ */

static void note_version(struct image *m, uint32_t index)
{
    index &= 0x7fff;
    m->version_max = index > m->version_max ? index : m->version_max;
}

static bool check_needed_names(struct image *m, uint64_t at, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        Elf64_Vernaux a;
        const uint8_t *from = elf_at(m, at, sizeof(a));
        if (from == NULL)
            return false;
        memcpy(&a, from, sizeof(a));
        if (a.vna_name >= m->value[DT_STRSZ])
            return false;
        note_version(m, a.vna_other);
        if (a.vna_next == 0)
            break;
        at += a.vna_next;
    }
    return true;
}

/* Each entry lies behind the one before, so the walk ends with the segment at the latest. */
static bool check_versions_needed(struct image *m)
{
    for (uint64_t at = m->versions_needed; at != 0;) {
        Elf64_Verneed n;
        const uint8_t *from = elf_at(m, at, sizeof(n));
        if (from == NULL)
            return false;
        memcpy(&n, from, sizeof(n));
        if (n.vn_file >= m->value[DT_STRSZ] || !check_needed_names(m, at + n.vn_aux, n.vn_cnt))
            return false;
        at = n.vn_next != 0 ? at + n.vn_next : 0;
    }
    return true;
}

static bool check_versions_defined(struct image *m)
{
    for (uint64_t at = m->versions_defined; at != 0;) {
        Elf64_Verdef d;
        const uint8_t *from = elf_at(m, at, sizeof(d));
        if (from == NULL)
            return false;
        memcpy(&d, from, sizeof(d));
        from = elf_at(m, at + d.vd_aux, sizeof(Elf64_Verdaux));
        if (from == NULL || elf_u32(from) >= m->value[DT_STRSZ])
            return false;
        note_version(m, d.vd_ndx);
        at = d.vd_next != 0 ? at + d.vd_next : 0;
    }
    return true;
}

/* ---- the whole ----------------------------------------------------------------------------- */

aiki_status elf_check_dynamic(struct image *m, aiki_error *err)
{
    uint64_t needed_max = 0;
    if (m->dynamic.p_type != PT_DYNAMIC)
        return error_code(err, AIKI_INVALID, "NOT_SHARED",
                          "it has no dynamic section; link it with -shared, not -static");
    aiki_status st = read_tags(m, &needed_max, err);
    if (st == AIKI_OK && (m->flags_1 & DF_1_PIE) != 0)
        st = error_code(err, AIKI_INVALID, "NOT_SHARED",
                        "this is an executable, not a plugin; link it with -shared");
    if (st == AIKI_OK)
        st = check_tables(m, err);
    if (st == AIKI_OK)
        st = check_texts(m, needed_max, err);
    if (st == AIKI_OK)
        st = check_run_path(m, err);
    if (st == AIKI_OK && (!check_versions_needed(m) || !check_versions_defined(m)))
        st = elf_broken("its symbol versions lie outside its segments", err);
    return st;
}

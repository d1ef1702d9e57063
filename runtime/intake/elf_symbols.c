/* elf_symbols.c - hash tables, symbols, relocations: every index inside its table, every address
 * inside a segment that may hold it.
 *
 * Nothing says how many symbols there are but the hash tables; relocations and versions must agree.
 */
#include <string.h>

#include "intake/elf_impl.h"
#include "wire/error.h"

#if defined(__x86_64__)
enum { RELOC_INDIRECT = R_X86_64_IRELATIVE, RELOC_COPY = R_X86_64_COPY };
#else
enum { RELOC_INDIRECT = R_AARCH64_IRELATIVE, RELOC_COPY = R_AARCH64_COPY };
#endif

/* ---- hash tables --------------------------------------------------------------------------- */

/* Walks every chain: a circle would keep the loader for ever, so more steps than symbols are none. */
static bool check_hash(const struct image *m, uint64_t *ret_count)
{
    const uint8_t *head = elf_at(m, m->value[DT_HASH], 2 * sizeof(uint32_t));
    uint64_t buckets = elf_u32(head), chains = elf_u32(head + 4), steps = 0;
    const uint8_t *table = elf_at(m, m->value[DT_HASH], (2 + buckets + chains) * sizeof(uint32_t));
    if (table == NULL || buckets == 0)
        return false;
    const uint8_t *bucket = table + 2 * sizeof(uint32_t);
    const uint8_t *chain = bucket + buckets * sizeof(uint32_t);
    for (uint64_t i = 0; i < buckets; i++) {
        for (uint64_t at = elf_u32(bucket + 4 * i); at != 0; at = elf_u32(chain + 4 * at)) {
            if (at >= chains || ++steps > chains)
                return false;
        }
    }
    *ret_count = chains;
    return true;
}

/* The chain that begins last is the last one: it ends at the last symbol, and all others before. */
static bool check_gnu_hash(const struct image *m, uint64_t *ret_count)
{
    const uint8_t *head = elf_at(m, m->gnu_hash, 4 * sizeof(uint32_t));
    if (head == NULL)
        return false;
    uint64_t buckets = elf_u32(head), first = elf_u32(head + 4), words = elf_u32(head + 8);
    uint64_t bucket_at = m->gnu_hash + 4 * sizeof(uint32_t) + words * sizeof(uint64_t);
    const uint8_t *bucket = elf_at(m, bucket_at, buckets * sizeof(uint32_t));
    if (words == 0 || (words & (words - 1)) != 0 || elf_u32(head + 12) > 63 || bucket == NULL ||
        elf_at(m, m->gnu_hash, bucket_at - m->gnu_hash) == NULL)
        return false;
    uint64_t last = 0;
    for (uint64_t i = 0; i < buckets; i++) {
        uint64_t at = elf_u32(bucket + 4 * i);
        if (at != 0 && at < first)
            return false;
        last = at > last ? at : last;
    }
    if (last == 0)
        return true; /* it exports nothing */
    for (uint64_t chain_at = bucket_at + buckets * sizeof(uint32_t);; last++) {
        const uint8_t *chain = elf_at(m, chain_at + 4 * (last - first), sizeof(uint32_t));
        if (chain == NULL)
            return false;
        if (elf_u32(chain) & 1)
            break;
    }
    *ret_count = last + 1;
    return true;
}

static uint64_t symbols_relocated(const struct image *m)
{
    Elf64_Rela r;
    uint64_t count = 1;
    for (uint64_t i = 0; elf_relocation(m, i, &r); i++)
        if (ELF64_R_SYM(r.r_info) >= count)
            count = ELF64_R_SYM(r.r_info) + 1;
    return count;
}

static aiki_status count_symbols(struct image *m, aiki_error *err)
{
    uint64_t by_hash = 0, by_gnu_hash = 0;
    if (m->value[DT_HASH] == 0 && m->gnu_hash == 0)
        return elf_broken("it has no hash table of its symbols", err);
    if ((m->value[DT_HASH] != 0 && !check_hash(m, &by_hash)) ||
        (m->gnu_hash != 0 && !check_gnu_hash(m, &by_gnu_hash)))
        return elf_broken("its hash table points outside itself", err);
    m->symbol_count = by_hash > by_gnu_hash ? by_hash : by_gnu_hash;
    if (m->symbol_count == 0) /* then only relocations know of symbols */
        m->symbol_count = symbols_relocated(m);
    if (elf_at(m, m->value[DT_SYMTAB], m->symbol_count * sizeof(Elf64_Sym)) == NULL)
        return elf_broken("its symbol table is longer than its segment", err);
    return AIKI_OK;
}

/* ---- symbols ------------------------------------------------------------------------------- */

Elf64_Sym elf_symbol(const struct image *m, uint64_t index)
{
    Elf64_Sym s;
    memcpy(&s, elf_at(m, m->value[DT_SYMTAB], m->symbol_count * sizeof(s)) + index * sizeof(s),
           sizeof(s));
    return s;
}

static bool is_sound(const struct image *m, const Elf64_Sym *s)
{
    unsigned type = ELF64_ST_TYPE(s->st_info);
    if (s->st_name >= m->value[DT_STRSZ])
        return false;
    if (s->st_shndx == SHN_UNDEF || s->st_shndx == SHN_ABS)
        return true;
    if (type == STT_FUNC || type == STT_GNU_IFUNC)
        return elf_in_memory(m, s->st_value, 1, PF_X);
    return type != STT_TLS || s->st_value <= m->tls.p_memsz;
}

static aiki_status check_each_symbol(const struct image *m, aiki_error *err)
{
    const uint8_t *versions = NULL;
    if (m->version_table != 0) {
        versions = elf_at(m, m->version_table, m->symbol_count * sizeof(uint16_t));
        if (versions == NULL)
            return elf_broken("its symbol versions lie outside its segments", err);
    }
    for (uint64_t i = 0; i < m->symbol_count; i++) {
        Elf64_Sym s = elf_symbol(m, i);
        if (!is_sound(m, &s))
            return elf_broken("a symbol has its name or its place outside the file", err);
        if (versions == NULL)
            continue;
        uint32_t version = (versions[2 * i] | ((uint32_t)versions[2 * i + 1] << 8)) & 0x7fff;
        if (version > VER_NDX_GLOBAL && version > m->version_max)
            return elf_broken("a symbol has a version that is not defined", err);
    }
    return AIKI_OK;
}

/* ---- relocations --------------------------------------------------------------------------- */

bool elf_relocation(const struct image *m, uint64_t index, Elf64_Rela *ret)
{
    static const unsigned tables[][2] = {{DT_RELA, DT_RELASZ}, {DT_JMPREL, DT_PLTRELSZ}};
    for (unsigned i = 0; i < 2; i++) {
        uint64_t at = m->value[tables[i][0]], size = m->value[tables[i][1]];
        uint64_t count = at != 0 ? size / sizeof(*ret) : 0;
        if (index < count) {
            memcpy(ret, elf_at(m, at, size) + index * sizeof(*ret), sizeof(*ret));
            return true;
        }
        index -= count;
    }
    return false;
}

static aiki_status check_target(const struct image *m, uint64_t address, aiki_error *err)
{
    if (elf_in_memory(m, address, sizeof(uint64_t), PF_W))
        return AIKI_OK;
    if (elf_in_memory(m, address, 1, 0))
        return error_code(err, AIKI_INVALID, "TEXT_RELOCATIONS",
                          "its code would have to be changed while it is loaded; compile all of it "
                          "with -fPIC");
    return elf_broken("a relocation lies outside its segments", err);
}

static aiki_status check_relocations(const struct image *m, aiki_error *err)
{
    Elf64_Rela r;
    for (uint64_t i = 0; elf_relocation(m, i, &r); i++) {
        uint64_t type = ELF64_R_TYPE(r.r_info);
        if (type == 0)
            continue; /* none */
        if (ELF64_R_SYM(r.r_info) >= m->symbol_count && ELF64_R_SYM(r.r_info) != 0)
            return elf_broken("a relocation names a symbol that is not there", err);
        if (type == RELOC_COPY ||
            (type == RELOC_INDIRECT && !elf_in_memory(m, (uint64_t)r.r_addend, 1, PF_X)))
            return elf_broken("it has a relocation that no shared object may have", err);
        aiki_status st = check_target(m, r.r_offset, err);
        if (st != AIKI_OK)
            return st;
    }
    return AIKI_OK;
}

/* An even word is an address, an odd one a map of which of the next 63 words are meant. */
bool elf_next_packed(const struct image *m, struct elf_packed *at, uint64_t *ret_address)
{
    uint64_t count = m->value[DT_RELR] != 0 ? m->value[DT_RELRSZ] / sizeof(uint64_t) : 0;
    const uint8_t *table = elf_at(m, m->value[DT_RELR], m->value[DT_RELRSZ]);
    while (at->map != 0 || at->index < count) {
        if (at->map == 0) {
            uint64_t word = elf_u64(table + at->index++ * sizeof(word));
            bool is_map = (word & 1) != 0;
            at->map = is_map ? word >> 1 : 1;
            at->word = is_map ? at->next : word;
            at->next = is_map ? at->next + 63 * sizeof(word) : word + sizeof(word);
        }
        bool meant = (at->map & 1) != 0;
        *ret_address = at->word;
        at->map >>= 1;
        at->word += sizeof(uint64_t);
        if (meant)
            return true;
    }
    return false;
}

static aiki_status check_packed(const struct image *m, aiki_error *err)
{
    struct elf_packed at = {.index = 0};
    uint64_t address;
    aiki_status st = AIKI_OK;
    while (st == AIKI_OK && elf_next_packed(m, &at, &address))
        st = check_target(m, address, err);
    return st;
}

/* ---- the whole ----------------------------------------------------------------------------- */

aiki_status elf_check_symbols(struct image *m, aiki_error *err)
{
    aiki_status st = count_symbols(m, err);
    if (st == AIKI_OK)
        st = check_each_symbol(m, err);
    if (st == AIKI_OK)
        st = check_relocations(m, err);
    if (st == AIKI_OK)
        st = check_packed(m, err);
    if (st == AIKI_OK && (m->value[DT_TEXTREL] != 0 || (m->value[DT_FLAGS] & DF_TEXTREL) != 0))
        st = error_code(err, AIKI_INVALID, "TEXT_RELOCATIONS",
                        "it is marked as changing its code while it is loaded; compile all of it "
                        "with -fPIC");
    return st;
}

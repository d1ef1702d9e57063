/* intake/elf_impl.h - what elf.c, elf_dynamic.c, elf_symbols.c and lint.c share. Private. [any]
 *
 * elf.c: headers, segments, sections, notes. elf_dynamic.c: the dynamic table, what it names and
 * points to. elf_symbols.c: hash tables, symbols, relocations. All read through elf_at, which
 * knows no byte outside the file.
 */
#ifndef INTAKE_ELF_IMPL_H
#define INTAKE_ELF_IMPL_H

#include <elf.h>

#include <aiki/status.h>

enum {
    ELF_SEGMENTS_MAX = 64,
    ELF_NEEDED_MAX = 256,
    ELF_TAG_COUNT = 38, /* tags 0..37: all of the standard's */
    ELF_PAGE_BYTES = 4096
};
/* From the first to the last byte in memory, zeroed data included. */
#define ELF_MEMORY_BYTES_MAX (UINT64_C(4) << 30)

struct image {
    aiki_view file;
    Elf64_Ehdr header;
    Elf64_Phdr dynamic, tls; /* p_type PT_NULL until found */
    Elf64_Phdr stack;
    unsigned load_count;
    uint64_t memory_end; /* of the segments so far */
    /* of the dynamic table */
    uint64_t value[ELF_TAG_COUNT];
    uint64_t present; /* a bit for each of those, as 0 may be a value that the loader uses */
    uint64_t gnu_hash, flags_1, version_table, versions_needed, versions_defined;
    uint32_t version_max; /* highest index that either of the two gives out */
    uint64_t symbol_count;
};

static inline bool elf_inside(uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset <= limit && size <= limit - offset;
}

/* BAD_ELF; what: a sentence without its full stop. */
aiki_status elf_broken(const char *what, aiki_error *err);
Elf64_Phdr elf_segment(const struct image *m, unsigned index);
/* `size` bytes at a virtual address as they are in the file, or NULL when they are not all in it. */
const uint8_t *elf_at(const struct image *m, uint64_t address, uint64_t size);
/* Whether they are memory of one segment that has all of these PF_* flags; zeroed data counts. */
bool elf_in_memory(const struct image *m, uint64_t address, uint64_t size, uint32_t flags);
uint32_t elf_u32(const uint8_t *at);
uint64_t elf_u64(const uint8_t *at);

aiki_status elf_check_dynamic(struct image *m, aiki_error *err);
/* A text of the dynamic string table; it ends inside it (checked by elf_check_dynamic). */
const char *elf_text(const struct image *m, uint64_t offset);
aiki_status elf_check_symbols(struct image *m, aiki_error *err);
/* Both after elf_check_symbols, index < symbol_count. */
Elf64_Sym elf_symbol(const struct image *m, uint64_t index);
/* The relocations of DT_RELA, then those of DT_JMPREL. False behind the last. */
bool elf_relocation(const struct image *m, uint64_t index, Elf64_Rela *ret);
/* A walk over the packed ones of DT_RELR; all zero at its beginning. */
struct elf_packed {
    uint64_t index;     /* of the next word of the table */
    uint64_t map, word; /* what is left of a map of addresses, and the first one it speaks of */
    uint64_t next;      /* the address that the next map begins with */
};
/* The address of the next pointer to be moved. False behind the last. After elf_check_dynamic. */
bool elf_next_packed(const struct image *m, struct elf_packed *at, uint64_t *ret_address);

/* Headers, segments, dynamic table and symbols, in this order; what elf_check does, and its image. */
aiki_status elf_open(struct image *m, aiki_view file, aiki_error *err);

#endif

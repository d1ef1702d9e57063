/* lint_read.c - functions, slots and pointers of a file, sorted. See lint.c. */
#include <stdlib.h>
#include <string.h>

#include "intake/lint.h"
#include "intake/lint_impl.h"

/* Encodings of .eh_frame_hdr and .eh_frame (DW_EH_PE_*) that compilers use. */
enum { PE_SDATA4 = 0x0b, PE_PCREL = 0x10, PE_DATAREL = 0x30, HDR_TABLE_AT = 12 };

/* ---- tables -------------------------------------------------------------------------------- */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

const void *lint_find(uint64_t address, const void *table, size_t count, size_t size)
{
    return count > 0 ? bsearch(&address, table, count, size, compare_u64) : NULL;
}

/* Of one entry, 4 bytes each: length, to the CIE, start relative to here, size. 0: not so. */
static uint64_t size_of_function(const struct image *m, uint64_t entry, uint64_t start)
{
    const uint8_t *e = elf_at(m, entry, 4 * sizeof(uint32_t));
    bool known = e != NULL && entry + 8 + (uint64_t)(int64_t)(int32_t)elf_u32(e + 8) == start;
    return known ? elf_u32(e + 12) : 0;
}

uint64_t lint_relative(uint64_t base, const uint8_t *at)
{
    return base + (uint64_t)(int64_t)(int32_t)elf_u32(at);
}

/* What a file says may overlap: each byte is looked at once, or a small file could ask for hours. Of
 * those with one start it is the same one that is found each time. */
static void end_at_next(struct lint *l)
{
    for (size_t i = l->function_count, next = 0; i-- > 0;) {
        struct function *f = &l->functions[i];
        if (i + 1 < l->function_count && f[1].start != f->start)
            next = i + 1;
        if (next > 0 && f->size > l->functions[next].start - f->start)
            f->size = l->functions[next].start - f->start;
    }
}

static bool read_functions(struct lint *l)
{
    const struct image *m = &l->image;
    for (unsigned i = 0; i < m->header.e_phnum; i++) {
        Elf64_Phdr p = elf_segment(m, i);
        if (p.p_type != PT_GNU_EH_FRAME || p.p_filesz < HDR_TABLE_AT)
            continue;
        const uint8_t *h = m->file.data + p.p_offset; /* inside: elf_check */
        uint64_t count = elf_u32(h + 8);
        if (h[0] != 1 || h[1] != (PE_PCREL | PE_SDATA4) || h[3] != (PE_DATAREL | PE_SDATA4) ||
            count == 0 || count > LINT_FUNCTIONS_MAX || count > (p.p_filesz - HDR_TABLE_AT) / 8)
            return false;
        l->functions = calloc(count, sizeof(*l->functions));
        l->seen = calloc(count, 1);
        l->todo = calloc(count, sizeof(*l->todo));
        l->table = calloc(count, sizeof(*l->table));
        l->is_task = calloc(count, 1);
        if (l->functions == NULL || l->seen == NULL || l->todo == NULL || l->table == NULL ||
            l->is_task == NULL)
            return false;
        for (uint64_t n = 0; n < count; n++) {
            const uint8_t *row = h + HDR_TABLE_AT + 8 * n;
            uint64_t start = lint_relative(p.p_vaddr, row);
            l->functions[n].start = start;
            l->functions[n].size = size_of_function(m, lint_relative(p.p_vaddr, row + 4), start);
        }
        l->function_count = count;
        qsort(l->functions, count, sizeof(*l->functions), compare_u64);
        end_at_next(l);
        return true;
    }
    return false;
}

#if defined(__x86_64__)
enum { TYPE_POINTER = R_X86_64_64, TYPE_RELATIVE = R_X86_64_RELATIVE, TYPE_LINKAGE = R_X86_64_GLOB_DAT };
#else
enum { TYPE_POINTER = R_AARCH64_ABS64, TYPE_RELATIVE = R_AARCH64_RELATIVE, TYPE_LINKAGE = R_AARCH64_GLOB_DAT };
#endif

static void add_pointer(struct lint *l, uint64_t address, uint64_t target, uint64_t size)
{
    l->pointers[l->pointer_count++] = (struct pointer){address, target, size};
}

/* Those with a symbol of the file lead there as those without one do: only who else defines it is open. */
static void read_relocation(struct lint *l, const Elf64_Rela *r)
{
    const struct image *m = &l->image;
    uint64_t type = ELF64_R_TYPE(r->r_info), addend = (uint64_t)r->r_addend;
    if (ELF64_R_SYM(r->r_info) == 0) {
        if (type == TYPE_RELATIVE)
            add_pointer(l, r->r_offset, addend, 0);
        return;
    }
    Elf64_Sym s = elf_symbol(m, ELF64_R_SYM(r->r_info));
    const char *name = elf_text(m, s.st_name);
    bool own = s.st_shndx != SHN_UNDEF, object = ELF64_ST_TYPE(s.st_info) == STT_OBJECT;
    if (type == TYPE_POINTER)
        add_pointer(l, r->r_offset, own ? s.st_value + addend : 0, 0);
    else if (type == TYPE_LINKAGE && own && object)
        add_pointer(l, r->r_offset, s.st_value, s.st_size);
    else if (own && !object)
        l->slots[l->slot_count++] = (struct slot){r->r_offset, NULL, s.st_value};
    if (!own && lint_what(name) != NULL)
        l->slots[l->slot_count++] = (struct slot){r->r_offset, name, 0};
}

/* Of a packed one the file has the target where the pointer is to be. */
static void read_packed(struct lint *l, uint64_t count)
{
    struct elf_packed at = {.index = 0};
    uint64_t address;
    while (count-- > 0 && elf_next_packed(&l->image, &at, &address)) {
        const uint8_t *pointer = elf_at(&l->image, address, sizeof(uint64_t));
        if (pointer != NULL)
            add_pointer(l, address, elf_u64(pointer), 0);
    }
}

/* A word of the table may stand for 63 pointers, and the same ones again: only so many are looked at. */
static uint64_t count_packed(const struct lint *l)
{
    struct elf_packed at = {.index = 0};
    uint64_t address, count = 0;
    while (count < LINT_PACKED_MAX && elf_next_packed(&l->image, &at, &address))
        count++;
    return count;
}

static bool read_slots(struct lint *l)
{
    Elf64_Rela r;
    size_t count = 0;
    uint64_t packed = count_packed(l);
    while (elf_relocation(&l->image, count, &r))
        count++;
    count += packed;
    l->slots = calloc(count + 1, sizeof(*l->slots));
    l->slot_seen = calloc(count + 1, 1);
    l->pointers = calloc(count + 1, sizeof(*l->pointers));
    l->pointer_seen = calloc(count + 1, 1);
    l->pointer_begins = calloc(count + 1, 1);
    l->pointer_todo = calloc(count + 1, sizeof(*l->pointer_todo));
    if (l->slots == NULL || l->slot_seen == NULL || l->pointers == NULL || l->pointer_seen == NULL ||
        l->pointer_begins == NULL || l->pointer_todo == NULL || count > UINT32_MAX)
        return false;
    for (uint64_t i = 0; elf_relocation(&l->image, i, &r); i++)
        read_relocation(l, &r);
    read_packed(l, packed);
    qsort(l->slots, l->slot_count, sizeof(*l->slots), compare_u64);
    qsort(l->pointers, l->pointer_count, sizeof(*l->pointers), compare_u64);
    return true;
}

#if defined(__x86_64__)
/* Behind call, jmp, a jump under a condition, or a ModRM byte that says: relative to the next instruction. */
bool lint_is_distance(const uint8_t *code, uint64_t at)
{
    if (at == 0)
        return false;
    uint8_t before = code[at - 1];
    return before == 0xe8 || before == 0xe9 || (before & 0xc7) == 0x05 ||
           (at > 1 && (before & 0xf0) == 0x80 && code[at - 2] == 0x0f);
}
#endif

/* Nothing in a stripped file says how long an object is; the next one begins where something refers to. */
static void mark_beginning(struct lint *l, uint64_t address)
{
    if (address < l->pointers[0].address || address > l->pointers[l->pointer_count - 1].address)
        return; /* nearly all of what code looks like it referred to */
    const struct pointer *p = lint_find(address, l->pointers, l->pointer_count, sizeof(*p));
    if (p != NULL)
        l->pointer_begins[p - l->pointers] = 1;
}

static void mark_beginnings(struct lint *l)
{
    if (l->pointer_count == 0)
        return;
    for (size_t i = 0; i < l->pointer_count; i++)
        mark_beginning(l, l->pointers[i].target);
#if defined(__x86_64__)
    for (size_t i = 0; i < l->function_count; i++) {
        const struct function *f = &l->functions[i];
        const uint8_t *code = elf_at(&l->image, f->start, f->size);
        for (uint64_t at = 0; code != NULL && at + 4 <= f->size; at++)
            if (lint_is_distance(code, at))
                mark_beginning(l, lint_relative(f->start + at + 4, code + at));
    }
#endif
}

bool lint_read(struct lint *l)
{
    if (!read_functions(l) || !read_slots(l))
        return false;
    mark_beginnings(l);
    return true;
}

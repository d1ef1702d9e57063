/* lint.c - a call graph out of machine code, as far as it can be had without a disassembler.
 *
 *   .eh_frame_hdr --> all functions, sorted
 *   relocations   --> slots that hold an imported function; pointers in data
 *   code          --> stubs of the linkage table (jump through a slot): a start that is an import
 *
 * x86-64: any four bytes of a function, taken as a distance from their end, that lead exactly to a start
 * or a slot are a reference: calls, jumps and addresses all look like that, and hardly anything does so
 * by accident. AArch64: BL and B by their encoding.
 */
#include "intake/lint.h"

#include <stdlib.h>
#include <string.h>

#include "intake/elf_impl.h"
#include "intake/lint_impl.h"

/* Encodings of .eh_frame_hdr and .eh_frame (DW_EH_PE_*) that compilers use. */
enum { PE_SDATA4 = 0x0b, PE_PCREL = 0x10, PE_DATAREL = 0x30, HDR_TABLE_AT = 12 };

struct slot {
    uint64_t address;
    const char *symbol;
};

struct function {
    uint64_t start, size;
};

struct lint {
    struct image image;
    struct function *functions; /* owned, sorted */
    uint8_t *seen;    /* owned: one for each */
    uint32_t *todo;   /* owned: indices of functions still to be looked into */
    struct slot *slots; /* owned, sorted by address: what is of interest */
    uint8_t *slot_seen;
    uint64_t *pointers; /* owned, sorted: addresses of all pointers in data, the linkage table's apart */
    size_t function_count, todo_count, slot_count, pointer_count;
};

/* ---- tables -------------------------------------------------------------------------------- */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* An address is the first member of what the tables hold. */
static const void *find(uint64_t address, const void *table, size_t count, size_t size)
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

static uint64_t relative(uint64_t base, const uint8_t *at)
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
        if (l->functions == NULL || l->seen == NULL || l->todo == NULL)
            return false;
        for (uint64_t n = 0; n < count; n++) {
            const uint8_t *row = h + HDR_TABLE_AT + 8 * n;
            uint64_t start = relative(p.p_vaddr, row);
            l->functions[n].start = start;
            l->functions[n].size = size_of_function(m, relative(p.p_vaddr, row + 4), start);
        }
        l->function_count = count;
        qsort(l->functions, count, sizeof(*l->functions), compare_u64);
        end_at_next(l);
        return true;
    }
    return false;
}

/* In an object of the plugin. What the linker makes itself has types of its own. */
static bool is_pointer(const Elf64_Rela *r)
{
#if defined(__x86_64__)
    return ELF64_R_TYPE(r->r_info) == R_X86_64_64 || ELF64_R_TYPE(r->r_info) == R_X86_64_RELATIVE;
#else
    return ELF64_R_TYPE(r->r_info) == R_AARCH64_ABS64 || ELF64_R_TYPE(r->r_info) == R_AARCH64_RELATIVE;
#endif
}

static bool read_slots(struct lint *l)
{
    const struct image *m = &l->image;
    Elf64_Rela r;
    size_t count = 0;
    while (elf_relocation(m, count, &r))
        count++;
    l->slots = calloc(count + 1, sizeof(*l->slots));
    l->slot_seen = calloc(count + 1, 1);
    l->pointers = calloc(count + 1, sizeof(*l->pointers));
    if (l->slots == NULL || l->slot_seen == NULL || l->pointers == NULL)
        return false;
    for (uint64_t i = 0; elf_relocation(m, i, &r); i++) {
        if (is_pointer(&r))
            l->pointers[l->pointer_count++] = r.r_offset;
        if (ELF64_R_SYM(r.r_info) == 0)
            continue;
        Elf64_Sym s = elf_symbol(m, ELF64_R_SYM(r.r_info));
        const char *name = elf_text(m, s.st_name);
        if (s.st_shndx == SHN_UNDEF && lint_what(name) != NULL)
            l->slots[l->slot_count++] = (struct slot){r.r_offset, name};
    }
    qsort(l->slots, l->slot_count, sizeof(*l->slots), compare_u64);
    qsort(l->pointers, l->pointer_count, sizeof(*l->pointers), compare_u64);
    return true;
}

struct lint *lint_create(aiki_view file)
{
    struct lint *l = calloc(1, sizeof(*l));
    if (l != NULL && elf_open(&l->image, file, NULL) == AIKI_OK && read_functions(l) && read_slots(l))
        return l;
    lint_destroy(l);
    return NULL;
}

void lint_destroy(struct lint *l)
{
    if (l == NULL)
        return;
    free(l->functions);
    free(l->seen);
    free(l->todo);
    free(l->slots);
    free(l->slot_seen);
    free(l->pointers);
    free(l);
}

/* ---- the linkage table --------------------------------------------------------------------- */

#if defined(__x86_64__)
enum { STUB_BYTES = 11 };

/* endbr64, then jmp *slot(%rip) with or without its prefix. 0: no stub. */
static uint64_t read_stub(const uint8_t *code, uint64_t address)
{
    unsigned at = elf_u32(code) == 0xfa1e0ff3u ? 4 : 0;
    at += code[at] == 0xf2;
    if (code[at] != 0xff || code[at + 1] != 0x25)
        return 0;
    return address + at + 6 + (uint64_t)(int64_t)(int32_t)elf_u32(code + at + 2);
}

/* The first entry pushes what the loader needs: pushq slot(%rip). */
static bool is_first_entry(const uint8_t *code)
{
    return code[0] == 0xff && code[1] == 0x35;
}
#else
enum { STUB_BYTES = 12 };

/* adrp x16, page; ldr x17, [x16, #offset], behind an optional bti. 0: no stub. */
static uint64_t read_stub(const uint8_t *code, uint64_t address)
{
    unsigned at = elf_u32(code) == 0xd503245fu ? 4 : 0;
    uint32_t adrp = elf_u32(code + at), ldr = elf_u32(code + at + 4);
    if ((adrp & 0x9f00001fu) != 0x90000010u || (ldr & 0xffc003ffu) != 0xf9400211u)
        return 0;
    uint64_t bits = (uint64_t)((adrp >> 5 & 0x7ffffu) << 2 | (adrp >> 29 & 3u));
    uint64_t pages = (bits ^ 0x100000u) - 0x100000u; /* the sign of 21 bits */
    return ((address + at) & ~UINT64_C(0xfff)) + pages * 4096 + (uint64_t)(ldr >> 10 & 0xfffu) * 8;
}

/* stp x16, x30, [sp, #-16]! */
static bool is_first_entry(const uint8_t *code)
{
    return elf_u32(code) == 0xa9bf7bf0u || elf_u32(code + 4) == 0xa9bf7bf0u;
}
#endif

static const uint8_t *code_at(const struct lint *l, uint64_t address)
{
    return elf_in_memory(&l->image, address, STUB_BYTES, PF_X)
               ? elf_at(&l->image, address, STUB_BYTES)
               : NULL;
}

/* Where the stub at an address takes what it jumps to from; 0: none is there. */
static uint64_t slot_of_stub(const struct lint *l, uint64_t address)
{
    const uint8_t *code = code_at(l, address);
    return code != NULL ? read_stub(code, address) : 0;
}

/* All stubs are one function in the table of functions: to look into it would be to call them all. */
static bool is_linkage(const struct lint *l, uint64_t address)
{
    const uint8_t *code = code_at(l, address);
    return code != NULL && (read_stub(code, address) != 0 || is_first_entry(code));
}

/* ---- references ---------------------------------------------------------------------------- */

struct search {
    struct lint *lint;
    lint_fn fn;
    void *arg;
    bool tables; /* look at these alone */
};

static void take_slot(struct search *s, uint64_t address, uint64_t table)
{
    struct lint *l = s->lint;
    const struct slot *slot = find(address, l->slots, l->slot_count, sizeof(*slot));
    if (slot == NULL || l->slot_seen[slot - l->slots])
        return;
    l->slot_seen[slot - l->slots] = 1;
    s->fn(slot->symbol, lint_what(slot->symbol), table, s->arg);
}

/* The pointers from here on that stand one behind the other. */
static void take_table(struct search *s, uint64_t address)
{
    const struct lint *l = s->lint;
    const uint64_t *first = find(address, l->pointers, l->pointer_count, sizeof(*first));
    if (first == NULL)
        return;
    size_t left = l->pointer_count - (size_t)(first - l->pointers);
    for (size_t i = 0; i < left && i < LINT_TABLE_MAX && first[i] == address + i * sizeof(*first); i++)
        take_slot(s, first[i], address);
}

static void take_stub(struct search *s, uint64_t address)
{
    uint64_t slot = slot_of_stub(s->lint, address);
    if (slot != 0)
        take_slot(s, slot, 0);
}

static void take_start(struct search *s, uint64_t address)
{
    struct lint *l = s->lint;
    const struct function *f = find(address, l->functions, l->function_count, sizeof(*f));
    if (f == NULL || l->seen[f - l->functions] || is_linkage(l, address))
        return;
    l->seen[f - l->functions] = 1;
    l->todo[l->todo_count++] = (uint32_t)(f - l->functions);
}

#if defined(__x86_64__)
static void take_code(struct search *s, const uint8_t *code, uint64_t address, uint64_t size)
{
    for (uint64_t i = 0; i + 4 <= size; i++) {
        uint64_t to = address + i + 4 + (uint64_t)(int64_t)(int32_t)elf_u32(code + i);
        /* Stubs are not all in the table of functions, so only calls and jumps may lead to one. */
        bool jumps = i > 0 && (code[i - 1] == 0xe8 || code[i - 1] == 0xe9);
        if (jumps)
            take_stub(s, to);
        if (s->tables)
            take_table(s, to);
        else
            take_slot(s, to, 0);
        take_start(s, to);
    }
}
#else
static void take_code(struct search *s, const uint8_t *code, uint64_t address, uint64_t size)
{
    for (uint64_t i = 0; i + 4 <= size; i += 4) {
        uint32_t word = elf_u32(code + i);
        if ((word & 0x7c000000u) != 0x14000000u)
            continue;
        uint64_t to = address + i + (uint64_t)((int64_t)((uint64_t)word << 38) >> 36);
        take_stub(s, to);
        take_start(s, to);
    }
}
#endif

static void take_function(struct search *s, const struct function *f)
{
    const uint8_t *code = elf_at(&s->lint->image, f->start, f->size);
    if (code != NULL && elf_in_memory(&s->lint->image, f->start, f->size, PF_X))
        take_code(s, code, f->start, f->size);
}

void lint_entry(struct lint *l, uint64_t entry, lint_fn fn, void *arg)
{
    struct search s = {l, fn, arg, false};
    memset(l->seen, 0, l->function_count);
    memset(l->slot_seen, 0, l->slot_count);
    l->todo_count = 0;
    take_start(&s, entry);
    while (l->todo_count > 0)
        take_function(&s, &l->functions[l->todo[--l->todo_count]]);
    s.tables = true; /* what is certain has been said, and is not said again */
    for (size_t i = 0; i < l->function_count; i++)
        if (l->seen[i])
            take_function(&s, &l->functions[i]);
}

void lint_imports(aiki_view file, lint_fn fn, void *arg)
{
    struct image m;
    if (elf_open(&m, file, NULL) != AIKI_OK)
        return;
    for (uint64_t i = 0; i < m.symbol_count; i++) {
        Elf64_Sym s = elf_symbol(&m, i);
        const char *name = elf_text(&m, s.st_name);
        if (s.st_shndx == SHN_UNDEF && lint_what(name) != NULL)
            fn(name, lint_what(name), 0, arg);
    }
}

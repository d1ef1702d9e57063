/* lint.c - a call graph out of machine code, as far as it can be had without a disassembler.
 *
 *   .eh_frame_hdr --> all functions, sorted
 *   relocations   --> slots that hold a function, imported or exported; pointers in data, and where they lead
 *   code          --> stubs of the linkage table (jump through a slot): a start that is an import
 *
 * x86-64: any four bytes of a function that stand where a call, a jump or an address relative to the code has its
 * distance, and lead exactly to a start or a slot when they are taken as one from their end, are a reference: hardly
 * anything does so by accident. AArch64: BL and B by their encoding; tables are not followed there.
 *
 * First all that is certain, then the tables that what was found refers to: a table is the pointers that stand one
 * behind the other. A function in it is looked into, but for tables of its own, a pointer to another table is
 * followed. Each function and each pointer is looked at once.
 */
#include "intake/lint.h"

#include <stdlib.h>
#include <string.h>

#include "intake/lint_impl.h"

enum { POINTER_QUEUED = 1, POINTER_DONE = 2 };

struct lint *lint_create(aiki_view file)
{
    struct lint *l = calloc(1, sizeof(*l));
    if (l != NULL && elf_open(&l->image, file, NULL) == AIKI_OK && lint_read(l))
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
    free(l->pointer_seen);
    free(l->pointer_begins);
    free(l->pointer_todo);
    free(l->table);
    free(l->is_task);
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
    bool code, tables; /* look at what is called, and at tables that are referred to */
    uint64_t table;    /* through which this is looked at; 0: certain */
    uint64_t function; /* that is looked into */
};

static void take_start(struct search *s, uint64_t address)
{
    struct lint *l = s->lint;
    const struct function *f = lint_find(address, l->functions, l->function_count, sizeof(*f));
    if (f == NULL || l->seen[f - l->functions] || is_linkage(l, address) ||
        (s->table != 0 && l->is_task[f - l->functions]))
        return;
    l->seen[f - l->functions] = 1;
    l->table[f - l->functions] = s->table;
    l->todo[l->todo_count++] = (uint32_t)(f - l->functions);
}

static void take_slot(struct search *s, uint64_t address)
{
    struct lint *l = s->lint;
    const struct slot *slot = lint_find(address, l->slots, l->slot_count, sizeof(*slot));
    if (slot == NULL || l->slot_seen[slot - l->slots])
        return;
    l->slot_seen[slot - l->slots] = 1;
    if (s->table != 0 && slot->symbol != NULL && strcmp(slot->symbol, "syscall") == 0)
        return; /* locks of language runtimes: nearly all of their tables lead there */
    if (slot->symbol != NULL)
        s->fn(slot->symbol, lint_what(slot->symbol), s->table, s->table != 0 ? s->function : 0, s->arg);
    else
        take_start(s, slot->target);
}

static void take_stub(struct search *s, uint64_t address)
{
    uint64_t slot = slot_of_stub(s->lint, address);
    if (slot != 0)
        take_slot(s, slot);
}

/* ---- tables -------------------------------------------------------------------------------- */

/* A pointer there is the first of a table. */
static void queue_table(struct lint *l, size_t index)
{
    if (l->pointer_seen[index] != 0)
        return;
    l->pointer_seen[index] = POINTER_QUEUED;
    l->pointer_todo[l->pointer_todo_count++] = (uint32_t)index;
}

static void queue_table_at(struct lint *l, uint64_t address)
{
    const struct pointer *p = lint_find(address, l->pointers, l->pointer_count, sizeof(*p));
    if (p != NULL)
        queue_table(l, (size_t)(p - l->pointers));
}

/* An object that the linkage table leads to. Of virtual functions neither is the first pointer at its front, nor is it
 * the front that others refer to. */
static void queue_object(struct lint *l, uint64_t address, uint64_t size)
{
    size_t low = 0, high = l->pointer_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (l->pointers[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = 0; i < LINT_TABLE_MAX && low + i < l->pointer_count; i++)
        if (l->pointers[low + i].address - address < size)
            queue_table(l, low + i);
}

static void take_pointer(struct search *s, const struct pointer *p)
{
    s->lint->pointer_seen[p - s->lint->pointers] = POINTER_DONE;
    take_slot(s, p->address);
    if (p->target == 0)
        return;
    take_start(s, p->target);
    if (p->size > 0)
        queue_object(s->lint, p->target, p->size);
    else
        queue_table_at(s->lint, p->target);
}

/* From there on, as far as one stands behind the other and none begins something else; those of the linkage table
 * stand alone. */
static void take_pointers(struct search *s, size_t first)
{
    struct lint *l = s->lint;
    const struct pointer *p = &l->pointers[first];
    for (size_t i = 0; i < LINT_TABLE_MAX && first + i < l->pointer_count; i++) {
        bool next = p[i].address == p[0].address + i * sizeof(uint64_t);
        bool another = i > 0 && (p[i].size > 0 || l->pointer_begins[first + i]);
        if (!next || another || l->pointer_seen[first + i] == POINTER_DONE)
            return;
        take_pointer(s, &p[i]);
        if (p[i].size > 0)
            return;
    }
}

static void take_table(struct search *s, uint64_t address)
{
    struct lint *l = s->lint;
    struct search inside = *s;
    queue_table_at(l, address);
    inside.table = address;
    inside.function = 0;
    while (l->pointer_todo_count > 0)
        take_pointers(&inside, l->pointer_todo[--l->pointer_todo_count]);
}

/* ---- code ---------------------------------------------------------------------------------- */

#if defined(__x86_64__)
static void take_code(struct search *s, const uint8_t *code, uint64_t address, uint64_t size)
{
    for (uint64_t i = 0; i + 4 <= size; i++) {
        if (!lint_is_distance(code, i))
            continue;
        uint64_t to = lint_relative(address + i + 4, code + i);
        /* Stubs are not all in the table of functions, so only calls and jumps may lead to one. */
        bool jumps = code[i - 1] == 0xe8 || code[i - 1] == 0xe9;
        if (s->code && jumps)
            take_stub(s, to);
        if (s->code) {
            take_slot(s, to);
            take_start(s, to);
        }
        if (s->tables)
            take_table(s, to);
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

static void take_function(struct search *s, size_t index)
{
    const struct image *m = &s->lint->image;
    const struct function *f = &s->lint->functions[index];
    const uint8_t *code = elf_at(m, f->start, f->size);
    s->table = s->lint->table[index];
    s->function = f->start;
    if (code != NULL && elf_in_memory(m, f->start, f->size, PF_X))
        take_code(s, code, f->start, f->size);
}

void lint_task(struct lint *l, uint64_t entry)
{
    const struct function *f = lint_find(entry, l->functions, l->function_count, sizeof(*f));
    if (f != NULL)
        l->is_task[f - l->functions] = 1;
}

void lint_entry(struct lint *l, uint64_t entry, lint_fn fn, void *arg)
{
    struct search s = {.lint = l, .fn = fn, .arg = arg, .code = true};
    memset(l->seen, 0, l->function_count);
    memset(l->slot_seen, 0, l->slot_count);
    memset(l->pointer_seen, 0, l->pointer_count);
    l->todo_count = 0;
    take_start(&s, entry);
    while (l->todo_count > 0)
        take_function(&s, l->todo[--l->todo_count]);
    s.code = false; /* what is certain has been said, and is not said again */
    s.tables = true;
    for (size_t i = 0; i < l->function_count; i++)
        if (l->seen[i] && l->table[i] == 0)
            take_function(&s, i);
    s.code = true;
    s.tables = false;
    while (l->todo_count > 0)
        take_function(&s, l->todo[--l->todo_count]);
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
            fn(name, lint_what(name), 0, 0, arg);
    }
}

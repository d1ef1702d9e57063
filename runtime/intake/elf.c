/* elf.c - bounds checks over the tables of a shared object: headers, segments, sections, notes.
 *
 *   header -> program headers -> PT_LOAD in order, apart, inside the file? others inside a PT_LOAD?
 *          -> section headers -> each section inside the file, none zeroed?
 *          -> dynamic table (elf_dynamic.c) -> symbols, relocations (elf_symbols.c)
 *
 * Linkers write the section headers last, so a file that was cut short or whose tail is zeros
 * fails there even when everything the loader needs happens to be present.
 */
#include "intake/elf.h"

#include <inttypes.h>
#include <string.h>

#include "intake/elf_impl.h"
#include "wire/error.h"

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#define HOST_NAME    "x86-64"
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#define HOST_NAME    "aarch64"
#else
#error "add this machine's ELF number"
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "plugins are checked for a little-endian host"
#endif

/* ---- reading ------------------------------------------------------------------------------- */

uint32_t elf_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

uint64_t elf_u64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

Elf64_Phdr elf_segment(const struct image *m, unsigned index)
{
    Elf64_Phdr p;
    memcpy(&p, m->file.data + m->header.e_phoff + index * sizeof(p), sizeof(p));
    return p;
}

const uint8_t *elf_at(const struct image *m, uint64_t address, uint64_t size)
{
    for (unsigned i = 0; i < m->header.e_phnum; i++) {
        Elf64_Phdr p = elf_segment(m, i);
        if (p.p_type == PT_LOAD && address >= p.p_vaddr &&
            elf_inside(address - p.p_vaddr, size, p.p_filesz))
            return m->file.data + p.p_offset + (address - p.p_vaddr);
    }
    return NULL;
}

bool elf_in_memory(const struct image *m, uint64_t address, uint64_t size, uint32_t flags)
{
    for (unsigned i = 0; i < m->header.e_phnum; i++) {
        Elf64_Phdr p = elf_segment(m, i);
        if (p.p_type == PT_LOAD && address >= p.p_vaddr &&
            elf_inside(address - p.p_vaddr, size, p.p_memsz))
            return (p.p_flags & flags) == flags;
    }
    return false;
}

/* ---- verdicts ------------------------------------------------------------------------------ */

static aiki_status cut_short(const struct image *m, const char *what, uint64_t offset,
                             uint64_t size, aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "TRUNCATED",
                      "%s at byte %" PRIu64 ", %" PRIu64
                      " bytes long, is not inside the file of %" PRIu64
                      " bytes; it was cut short: copy it again",
                      what, offset, size, m->file.size_bytes);
}

aiki_status elf_broken(const char *what, aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "BAD_ELF", "%s; build the plugin again", what);
}

/* ---- header -------------------------------------------------------------------------------- */

static aiki_status check_machine(const struct image *m, aiki_error *err)
{
    const Elf64_Ehdr *h = &m->header;
    if (h->e_machine != HOST_MACHINE)
        return error_code(err, AIKI_INVALID, "WRONG_MACHINE",
                          "built for ELF machine %u, this host is " HOST_NAME
                          " (%u); build it for this host",
                          h->e_machine, HOST_MACHINE);
    if (h->e_ident[EI_OSABI] != ELFOSABI_SYSV && h->e_ident[EI_OSABI] != ELFOSABI_GNU)
        return error_code(err, AIKI_INVALID, "WRONG_MACHINE",
                          "built for the system with ELF number %u, not for Linux; build it for "
                          "this host",
                          h->e_ident[EI_OSABI]);
    if (h->e_type != ET_DYN)
        return error_code(err, AIKI_INVALID, "NOT_SHARED",
                          "ELF type %u is not a shared object; link it with -shared", h->e_type);
    if (h->e_ident[EI_VERSION] != EV_CURRENT || h->e_version != EV_CURRENT)
        return elf_broken("its header is of an unknown ELF version", err);
    return AIKI_OK;
}

static aiki_status check_header(struct image *m, aiki_error *err)
{
    const uint8_t *b = m->file.data;
    if (m->file.size_bytes == 0)
        return error_code(err, AIKI_INVALID, "NOT_ELF", "the file is empty; copy it again");
    if (m->file.size_bytes < EI_NIDENT || memcmp(b, ELFMAG, SELFMAG) != 0)
        return error_code(err, AIKI_INVALID, "NOT_ELF",
                          "not a shared object; build it with cc -shared -fPIC");
    if (b[EI_CLASS] != ELFCLASS64 || b[EI_DATA] != ELFDATA2LSB)
        return error_code(
            err, AIKI_INVALID, "WRONG_MACHINE",
            "built for a %s-bit %s-endian machine, this host is 64-bit little-endian " HOST_NAME
            "; build it for this host",
            b[EI_CLASS] == ELFCLASS64 ? "64" : "32", b[EI_DATA] == ELFDATA2LSB ? "little" : "big");
    if (m->file.size_bytes < sizeof(m->header))
        return cut_short(m, "the ELF header", 0, sizeof(m->header), err);
    memcpy(&m->header, b, sizeof(m->header));
    return check_machine(m, err);
}

/* ---- segments ------------------------------------------------------------------------------ */

static uint64_t page_up(uint64_t address)
{
    return (address + ELF_PAGE_BYTES - 1) & ~(uint64_t)(ELF_PAGE_BYTES - 1);
}

static bool is_power_of_2(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* Segments come in order and share no page, as linkers make them: the loader maps page by page, so
 * of two that overlap it would show other bytes than those looked at here. */
static aiki_status check_load(struct image *m, const Elf64_Phdr *p, aiki_error *err)
{
    if (p->p_filesz > p->p_memsz || p->p_memsz > ELF_MEMORY_BYTES_MAX ||
        p->p_vaddr > ELF_MEMORY_BYTES_MAX)
        return elf_broken("a segment is larger in the file than in memory, or larger than 4 GiB",
                          err);
    if (p->p_align > 1 &&
        (!is_power_of_2(p->p_align) || p->p_vaddr % p->p_align != p->p_offset % p->p_align))
        return elf_broken("a segment is not aligned as it claims", err);
    if (p->p_vaddr % ELF_PAGE_BYTES != p->p_offset % ELF_PAGE_BYTES ||
        (m->load_count > 0 && p->p_vaddr - p->p_vaddr % ELF_PAGE_BYTES < m->memory_end))
        return elf_broken("its segments overlap or are not in order", err);
    if ((p->p_flags & (PF_W | PF_X)) == (PF_W | PF_X))
        return error_code(err, AIKI_INVALID, "WRITABLE_CODE",
                          "it has a segment that is writable and executable; link it without -N "
                          "and without such sections");
    m->load_count++;
    m->memory_end = page_up(p->p_vaddr + p->p_memsz);
    return AIKI_OK;
}

static aiki_status check_segment(struct image *m, const Elf64_Phdr *p, aiki_error *err)
{
    if (p->p_filesz > 0 && !elf_inside(p->p_offset, p->p_filesz, m->file.size_bytes))
        return cut_short(m, "a segment", p->p_offset, p->p_filesz, err);
    switch (p->p_type) {
    case PT_LOAD: return check_load(m, p, err);
    case PT_DYNAMIC: m->dynamic = *p; break;
    case PT_TLS: m->tls = *p; break;
    case PT_GNU_STACK: m->stack = *p; break;
    case PT_INTERP:
        return error_code(err, AIKI_INVALID, "NOT_SHARED",
                          "it names a program interpreter: this is an executable, not a plugin; "
                          "link it with -shared");
    default: break;
    }
    return AIKI_OK;
}

/* Notes are read by the loader for what processor features the code asks for. */
static aiki_status check_notes(const struct image *m, const Elf64_Phdr *p, aiki_error *err)
{
    const uint8_t *bytes = m->file.data + p->p_offset;
    uint64_t align = p->p_align == 8 ? 8 : 4;
    for (uint64_t at = 0; p->p_filesz - at >= sizeof(Elf64_Nhdr);) {
        uint64_t name = elf_u32(bytes + at), data = elf_u32(bytes + at + 4);
        uint64_t size = (sizeof(Elf64_Nhdr) + name + align - 1) & ~(align - 1);
        size = (size + data + align - 1) & ~(align - 1);
        if (sizeof(Elf64_Nhdr) + name + data > p->p_filesz - at)
            return elf_broken("a note is longer than its segment", err);
        at = size < p->p_filesz - at ? at + size : p->p_filesz;
    }
    return AIKI_OK;
}

/* What the loader reads by address must be the bytes that were looked at by offset. */
static bool is_where_it_says(const struct image *m, const Elf64_Phdr *p)
{
    const uint8_t *at = elf_at(m, p->p_vaddr, p->p_filesz);
    return at != NULL && (uint64_t)(at - m->file.data) == p->p_offset;
}

static aiki_status check_inner(const struct image *m, const Elf64_Phdr *p, aiki_error *err)
{
    switch (p->p_type) {
    case PT_DYNAMIC:
    case PT_PHDR:
    case PT_GNU_EH_FRAME:
        return is_where_it_says(m, p)
                   ? AIKI_OK
                   : elf_broken("a table of it lies outside its loaded segments", err);
    case PT_NOTE:
    case PT_GNU_PROPERTY:
        if (p->p_memsz > p->p_filesz || !is_where_it_says(m, p))
            return elf_broken("its notes lie outside its loaded segments", err);
        return check_notes(m, p, err);
    case PT_TLS:
        if (p->p_filesz > p->p_memsz || p->p_memsz > ELF_MEMORY_BYTES_MAX ||
            (p->p_align > 1 && !is_power_of_2(p->p_align)) || p->p_align > ELF_PAGE_BYTES ||
            (p->p_filesz > 0 && !is_where_it_says(m, p)))
            return elf_broken("its thread-local data lies outside its loaded segments", err);
        return AIKI_OK;
    case PT_GNU_RELRO:
        /* Its end may be rounded up to a page, beyond the data. */
        if (!elf_in_memory(m, p->p_vaddr, 1, PF_W) || p->p_memsz > ELF_MEMORY_BYTES_MAX ||
            !elf_in_memory(m, p->p_vaddr,
                           p->p_memsz > ELF_PAGE_BYTES ? p->p_memsz - ELF_PAGE_BYTES : 1, PF_W))
            return elf_broken("what is to be made read-only lies outside its data", err);
        return AIKI_OK;
    default: return AIKI_OK;
    }
}

/* Without PT_GNU_STACK the system makes the stacks of the whole process executable. */
static aiki_status check_stack(const struct image *m, aiki_error *err)
{
    if (m->stack.p_type == PT_GNU_STACK && (m->stack.p_flags & PF_X) == 0)
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "EXEC_STACK",
                      "it asks for an executable stack%s; link it with -z noexecstack, and give "
                      "assembly files a .note.GNU-stack section",
                      m->stack.p_type == PT_GNU_STACK ? "" : " (it has no PT_GNU_STACK)");
}

static aiki_status check_segments(struct image *m, aiki_error *err)
{
    const Elf64_Ehdr *h = &m->header;
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > ELF_SEGMENTS_MAX)
        return elf_broken("it has no program headers, or over ELF_SEGMENTS_MAX (64)", err);
    uint64_t size = (uint64_t)h->e_phnum * sizeof(Elf64_Phdr);
    if (!elf_inside(h->e_phoff, size, m->file.size_bytes))
        return cut_short(m, "the program header table", h->e_phoff, size, err);
    aiki_status st = AIKI_OK;
    for (unsigned i = 0; i < h->e_phnum && st == AIKI_OK; i++) {
        Elf64_Phdr p = elf_segment(m, i);
        st = check_segment(m, &p, err);
    }
    if (st == AIKI_OK && m->load_count == 0)
        st = elf_broken("it has nothing to load", err);
    for (unsigned i = 0; i < h->e_phnum && st == AIKI_OK; i++) {
        Elf64_Phdr p = elf_segment(m, i);
        st = check_inner(m, &p, err);
    }
    return st;
}

/* ---- sections ------------------------------------------------------------------------------ */

static aiki_status check_sections(const struct image *m, aiki_error *err)
{
    const Elf64_Ehdr *h = &m->header;
    if (h->e_shoff == 0)
        return AIKI_OK; /* stripped of them: allowed, the loader needs none */
    uint64_t size = (uint64_t)h->e_shnum * sizeof(Elf64_Shdr);
    if (h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shnum == 0)
        return elf_broken("its section header table is empty", err);
    if (!elf_inside(h->e_shoff, size, m->file.size_bytes))
        return cut_short(m, "the section header table", h->e_shoff, size, err);
    for (unsigned i = 1; i < h->e_shnum; i++) {
        Elf64_Shdr s;
        memcpy(&s, m->file.data + h->e_shoff + i * sizeof(s), sizeof(s));
        if (s.sh_type == SHT_NULL)
            return error_code(err, AIKI_INVALID, "TRUNCATED",
                              "section header %u is all zeros: the end of the file was never "
                              "written; copy it again",
                              i);
        if (s.sh_type != SHT_NOBITS && !elf_inside(s.sh_offset, s.sh_size, m->file.size_bytes))
            return cut_short(m, "a section", s.sh_offset, s.sh_size, err);
    }
    return AIKI_OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

aiki_status elf_open(struct image *m, aiki_view file, aiki_error *err)
{
    *m = (struct image){.file = file};
    aiki_status st = check_header(m, err);
    if (st == AIKI_OK)
        st = check_segments(m, err);
    if (st == AIKI_OK)
        st = check_sections(m, err);
    if (st == AIKI_OK)
        st = elf_check_dynamic(m, err);
    if (st == AIKI_OK)
        st = elf_check_symbols(m, err);
    if (st == AIKI_OK) /* policy last: a broken file is called broken */
        st = check_stack(m, err);
    return st;
}

aiki_status elf_check(aiki_view file, aiki_error *err)
{
    struct image m;
    return elf_open(&m, file, err);
}

aiki_view elf_run_path(aiki_view file)
{
    struct image m;
    aiki_view none = {NULL, 0};
    if (elf_open(&m, file, NULL) != AIKI_OK)
        return none;
    uint64_t at = m.value[DT_RUNPATH] != 0 ? m.value[DT_RUNPATH] : m.value[DT_RPATH];
    if (at == 0)
        return none;
    const char *text = elf_text(&m, at);
    return (aiki_view){(const uint8_t *)text, strlen(text)};
}

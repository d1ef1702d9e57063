/* elf.c - bounds checks over the tables of a shared object.
 *
 *   header -> program headers -> PT_LOAD, PT_DYNAMIC inside the file?
 *          -> section headers -> each section inside the file, none zeroed?
 *   dynamic table -> strings, symbols, relocations, init arrays inside a loaded segment?
 *
 * Linkers write the section headers last, so a file that was cut short or whose tail is zeros
 * fails there even when everything the loader needs happens to be present.
 */
#include "intake/elf.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>

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

struct image {
    aiki_view file;
    Elf64_Ehdr header;
    Elf64_Phdr dynamic; /* p_type PT_NULL until found */
    unsigned load_count;
};

static bool inside(uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset <= limit && size <= limit - offset;
}

static aiki_status cut_short(const struct image *m, const char *what, uint64_t offset,
                             uint64_t size, aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "TRUNCATED",
                      "%s at byte %" PRIu64 ", %" PRIu64
                      " bytes long, is not inside the file of %" PRIu64
                      " bytes; it was cut short: copy it again",
                      what, offset, size, m->file.size_bytes);
}

static aiki_status broken(const char *what, aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "BAD_ELF", "%s; build the plugin again", what);
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
    if (m->header.e_machine != HOST_MACHINE)
        return error_code(err, AIKI_INVALID, "WRONG_MACHINE",
                          "built for ELF machine %u, this host is " HOST_NAME
                          " (%u); build it for this host",
                          m->header.e_machine, HOST_MACHINE);
    if (m->header.e_type != ET_DYN)
        return error_code(err, AIKI_INVALID, "NOT_SHARED",
                          "ELF type %u is not a shared object; link it with -shared",
                          m->header.e_type);
    return AIKI_OK;
}

static Elf64_Phdr segment(const struct image *m, unsigned index)
{
    Elf64_Phdr p;
    memcpy(&p, m->file.data + m->header.e_phoff + index * sizeof(p), sizeof(p));
    return p;
}

static aiki_status check_segment(struct image *m, const Elf64_Phdr *p, aiki_error *err)
{
    if (p->p_filesz > 0 && !inside(p->p_offset, p->p_filesz, m->file.size_bytes))
        return cut_short(m, "a segment", p->p_offset, p->p_filesz, err);
    if (p->p_type == PT_DYNAMIC)
        m->dynamic = *p;
    if (p->p_type != PT_LOAD)
        return AIKI_OK;
    m->load_count++;
    if (p->p_filesz > p->p_memsz || !inside(p->p_vaddr, p->p_memsz, UINT64_MAX))
        return broken("a segment is larger in the file than in memory", err);
    if (p->p_align > 1 && ((p->p_align & (p->p_align - 1)) != 0 ||
                           p->p_vaddr % p->p_align != p->p_offset % p->p_align))
        return broken("a segment is not aligned as it claims", err);
    return AIKI_OK;
}

static aiki_status check_segments(struct image *m, aiki_error *err)
{
    const Elf64_Ehdr *h = &m->header;
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0)
        return broken("it has no program headers", err);
    uint64_t size = (uint64_t)h->e_phnum * sizeof(Elf64_Phdr);
    if (!inside(h->e_phoff, size, m->file.size_bytes))
        return cut_short(m, "the program header table", h->e_phoff, size, err);
    aiki_status st = AIKI_OK;
    for (unsigned i = 0; i < h->e_phnum && st == AIKI_OK; i++) {
        Elf64_Phdr p = segment(m, i);
        st = check_segment(m, &p, err);
    }
    if (st == AIKI_OK && m->load_count == 0)
        st = broken("it has nothing to load", err);
    return st;
}

static aiki_status check_sections(const struct image *m, aiki_error *err)
{
    const Elf64_Ehdr *h = &m->header;
    if (h->e_shoff == 0)
        return AIKI_OK; /* stripped of them: allowed, the loader needs none */
    uint64_t size = (uint64_t)h->e_shnum * sizeof(Elf64_Shdr);
    if (h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shnum == 0)
        return broken("its section header table is empty", err);
    if (!inside(h->e_shoff, size, m->file.size_bytes))
        return cut_short(m, "the section header table", h->e_shoff, size, err);
    for (unsigned i = 1; i < h->e_shnum; i++) {
        Elf64_Shdr s;
        memcpy(&s, m->file.data + h->e_shoff + i * sizeof(s), sizeof(s));
        if (s.sh_type == SHT_NULL)
            return error_code(err, AIKI_INVALID, "TRUNCATED",
                              "section header %u is all zeros: the end of the file was never "
                              "written; copy it again",
                              i);
        if (s.sh_type != SHT_NOBITS && !inside(s.sh_offset, s.sh_size, m->file.size_bytes))
            return cut_short(m, "a section", s.sh_offset, s.sh_size, err);
    }
    return AIKI_OK;
}

/* Whether `size` bytes at a virtual address come out of the file. */
static bool is_backed(const struct image *m, uint64_t vaddr, uint64_t size)
{
    for (unsigned i = 0; i < m->header.e_phnum; i++) {
        Elf64_Phdr p = segment(m, i);
        if (p.p_type == PT_LOAD && vaddr >= p.p_vaddr &&
            inside(vaddr - p.p_vaddr, size, p.p_filesz))
            return true;
    }
    return false;
}

enum { TAG_COUNT = 38 }; /* tags 0..37: all tables with an address and a size */

static aiki_status check_tables(const struct image *m, const uint64_t value[TAG_COUNT],
                                uint64_t flags_1, aiki_error *err)
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
        {DT_INIT_ARRAY, DT_INIT_ARRAYSZ, 0, false, "its constructors lie outside its segments"},
        {DT_FINI_ARRAY, DT_FINI_ARRAYSZ, 0, false, "its destructors lie outside its segments"},
        {DT_HASH, 0, 2 * sizeof(uint32_t), false, "its hash table lies outside its segments"},
    };
    if (flags_1 & DF_1_PIE)
        return error_code(err, AIKI_INVALID, "NOT_SHARED",
                          "this is an executable, not a plugin; link it with -shared");
    for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        uint64_t size = tables[i].size != 0 ? value[tables[i].size] : tables[i].fixed;
        if (value[tables[i].address] == 0 && !tables[i].required)
            continue;
        if (value[tables[i].address] == 0 || !is_backed(m, value[tables[i].address], size))
            return broken(tables[i].what, err);
    }
    return AIKI_OK;
}

static aiki_status check_dynamic(const struct image *m, aiki_error *err)
{
    if (m->dynamic.p_type != PT_DYNAMIC)
        return error_code(err, AIKI_INVALID, "NOT_SHARED",
                          "it has no dynamic section; link it with -shared, not -static");
    uint64_t value[TAG_COUNT] = {0};
    uint64_t flags_1 = 0, needed_max = 0, count = m->dynamic.p_filesz / sizeof(Elf64_Dyn), i;
    for (i = 0; i < count; i++) {
        Elf64_Dyn d;
        memcpy(&d, m->file.data + m->dynamic.p_offset + i * sizeof(d), sizeof(d));
        if (d.d_tag == DT_NULL)
            break;
        if (d.d_tag == DT_NEEDED && d.d_un.d_val > needed_max)
            needed_max = d.d_un.d_val;
        else if (d.d_tag == DT_FLAGS_1)
            flags_1 = d.d_un.d_val;
        else if (d.d_tag > 0 && d.d_tag < TAG_COUNT)
            value[d.d_tag] = d.d_un.d_val;
    }
    if (i == count)
        return broken("its dynamic section has no end", err);
    aiki_status st = check_tables(m, value, flags_1, err);
    if (st == AIKI_OK && needed_max > 0 && needed_max >= value[DT_STRSZ])
        st = broken("it names a library outside its string table", err);
    return st;
}

aiki_status elf_check(aiki_view file, aiki_error *err)
{
    struct image m = {.file = file};
    aiki_status st = check_header(&m, err);
    if (st == AIKI_OK)
        st = check_segments(&m, err);
    if (st == AIKI_OK)
        st = check_sections(&m, err);
    if (st == AIKI_OK)
        st = check_dynamic(&m, err);
    return st;
}

/* stack.c - where in the plugin an error came from.
 *
 *   backtrace() --> frames inside the task's library --> its .symtab --> texts
 *
 * The file is mapped for one failure and read with every offset checked: the program headers have
 * been admitted (intake/elf.h), its section headers nobody needed so far.
 */
#include "child/stack.h"

#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "child/lines.h"

static const char *build_label = "";

struct symbols {
    const uint8_t *file; /* mapped; NULL = no names */
    size_t size_bytes;
    const ElfW(Sym) *first;
    size_t count;
    const char *names;
    size_t names_bytes;
};

struct place {
    const char *name; /* NULL = unknown */
    size_t name_bytes;
    uint64_t start, offset; /* of the function in the library; from there */
    uint64_t call;          /* the instruction itself */
};

void stack_name_build(const char *label)
{
    build_label = label;
}

/* ---- names --------------------------------------------------------------------------------- */

/* A part of the file as an array, or NULL. */
static const void *part(const struct symbols *s, uint64_t at, uint64_t size_bytes)
{
    bool fits = at <= s->size_bytes && size_bytes <= s->size_bytes - at && at % 8 == 0;
    return fits ? s->file + at : NULL;
}

static void find_table(struct symbols *s)
{
    const ElfW(Ehdr) *head = part(s, 0, sizeof(*head));
    if (head == NULL || head->e_shentsize != sizeof(ElfW(Shdr)))
        return;
    const ElfW(Shdr) *sections = part(s, head->e_shoff, head->e_shnum * sizeof(*sections));
    for (size_t i = 0; sections != NULL && i < head->e_shnum; i++) {
        const ElfW(Shdr) *table = &sections[i];
        if (table->sh_type != SHT_SYMTAB || table->sh_link >= head->e_shnum)
            continue;
        const ElfW(Shdr) *names = &sections[table->sh_link];
        s->first = part(s, table->sh_offset, table->sh_size);
        s->count = s->first != NULL ? table->sh_size / sizeof(ElfW(Sym)) : 0;
        if (names->sh_offset <= s->size_bytes &&
            names->sh_size <= s->size_bytes - names->sh_offset) {
            s->names = (const char *)s->file + names->sh_offset;
            s->names_bytes = names->sh_size;
        }
        return;
    }
}

static void symbols_open(struct symbols *s, const char *path)
{
    struct stat about;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0 || about.st_size <= 0)
        return;
    void *map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return;
    s->file = map;
    s->size_bytes = (size_t)about.st_size;
    find_table(s);
}

static void symbols_close(struct symbols *s)
{
    if (s->file != NULL)
        (void)munmap((void *)s->file, s->size_bytes); /* mapped by symbols_open, so it is there */
}

/* at: in the library, that is, relative to where it is loaded. */
static struct place find_place(const struct symbols *s, uint64_t at)
{
    for (size_t i = 0; i < s->count; i++) {
        const ElfW(Sym) *symbol = &s->first[i];
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || at < symbol->st_value ||
            at - symbol->st_value >= symbol->st_size || symbol->st_name >= s->names_bytes)
            continue;
        const char *name = s->names + symbol->st_name;
        return (struct place){.name = name,
                              .name_bytes = strnlen(name, s->names_bytes - symbol->st_name),
                              .start = symbol->st_value,
                              .offset = at - symbol->st_value};
    }
    return (struct place){.offset = at};
}

/* ---- texts --------------------------------------------------------------------------------- */

static void write_text(aiki_writer *w, const struct place *p, const char *path)
{
    char text[STACK_TEXT_BYTES_MAX + 1], name[96];
    uint32_t line = 0;
    const char *source = lines_find(p->call, &line);
    const char *slash = strrchr(path, '/'), *at = strrchr(build_label, '@');
    const char *file = build_label[0] != '\0' ? build_label : slash != NULL ? slash + 1 : path;
    size_t file_bytes = at != NULL ? (size_t)(at - build_label) : strlen(file);
    aiki_view raw = {(const uint8_t *)p->name, p->name_bytes};
    int n = snprintf(text, sizeof(text), "%s+0x%llx (%.*s%s%s)%s%s",
                     p->name != NULL ? log_clean(raw, name, sizeof(name)) : "",
                     (unsigned long long)p->offset, (int)(file_bytes < 32 ? file_bytes : 32), file,
                     at != NULL ? " build " : "", at != NULL ? at + 1 : "",
                     source != NULL ? " " : "", source != NULL ? source : "");
    if (source != NULL && n < STACK_TEXT_BYTES_MAX)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ":%u", line);
    aiki_mp_strn(w, text, n < STACK_TEXT_BYTES_MAX ? (uint64_t)n : STACK_TEXT_BYTES_MAX);
}

/* False: it is not in the library. back: 1 for an address that was returned to, whose call stands before it. */
static bool place_in(const struct link_map *library, const struct symbols *symbols, uintptr_t address, unsigned back,
                     struct place *ret)
{
    Dl_info info;
    struct link_map *map = NULL;
    uintptr_t call = address - back;
    if (dladdr1((void *)call, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || map != library) /* NOLINT(performance-no-int-to-ptr): a place in code */
        return false;
    *ret = find_place(symbols, (uint64_t)call - library->l_addr);
    ret->call = ret->start + ret->offset;
    ret->offset += back; /* the address itself, as debuggers show it */
    return true;
}

/* Of a signal that another handler took and passed on (as that of Go does) the frames end at that one: what was hit goes before
 * them. */
static unsigned add_hit(const struct link_map *library, const struct symbols *symbols, uintptr_t hit, void *const frames[], int depth,
                        struct place *ret)
{
    for (int i = 0; i < depth; i++)
        if ((uintptr_t)frames[i] == hit)
            return 0;
    return hit != 0 && place_in(library, symbols, hit, 0, ret);
}

/* The call before each address that was returned to, and last the task itself: a compiler may
 * have turned its last call into a jump, so that it has no frame. */
static unsigned find_places(const struct link_map *library, uint64_t task, bool add_task, uintptr_t hit,
                            const struct symbols *symbols,
                            struct place ret_places[STACK_FRAMES_MAX])
{
    void *frames[STACK_DEPTH_MAX];
    bool has_task = false;
    int depth = backtrace(frames, STACK_DEPTH_MAX);
    unsigned count = add_hit(library, symbols, hit, frames, depth, ret_places);
    for (int i = 0; i < depth && count < STACK_FRAMES_MAX - 1; i++) {
        uintptr_t at = (uintptr_t)frames[i];
        struct place *p = &ret_places[count];
        if (!place_in(library, symbols, at, at != hit, p)) /* what was hit does not return */
            continue;
        has_task = has_task || (p->name != NULL && p->start == task);
        count++;
    }
    if (!has_task && add_task) {
        ret_places[count] = find_place(symbols, task);
        ret_places[count++].call = task;
    }
    return count;
}

static void write_stack(aiki_writer *w, void (*task)(void), bool add_task, uintptr_t hit)
{
    Dl_info info;
    struct link_map *library = NULL;
    struct symbols symbols = {0};
    struct place places[STACK_FRAMES_MAX];
    void *code;
    memcpy(&code, &task, sizeof(code)); /* POSIX: they are the same; ISO C has no cast for it */
    if (dladdr1(code, &info, (void **)&library, RTLD_DL_LINKMAP) == 0 || library == NULL)
        return;
    symbols_open(&symbols, info.dli_fname);
    unsigned count = find_places(library, (uint64_t)(uintptr_t)code - library->l_addr, add_task, hit,
                                 &symbols, places);
    aiki_mp_array(w, count);
    for (unsigned i = 0; i < count; i++)
        write_text(w, &places[i], info.dli_fname);
    symbols_close(&symbols);
}

void stack_write(aiki_writer *w, void (*task)(void))
{
    write_stack(w, task, true, 0);
}

void stack_write_crash(aiki_writer *w, void (*code)(void), uintptr_t hit)
{
    write_stack(w, code, false, hit);
}

void stack_prepare(void)
{
    void *frame;
    (void)backtrace(&frame, 1); /* the first call loads the unwinder */
}

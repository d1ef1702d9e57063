/* main.c - aiki-lines: which source line each address of a plugin belongs to, read from its debug
 * information and written as base/lines.h says.
 *
 *   aiki-lines < COPY.so > BUILD.lines        by the runtime, once a build (intake/lines.h)
 *
 * A program of its own: what is read was made by strangers, and libdw and what it needs would cost every
 * process of a runtime memory and time at its start. It has two descriptors, no way to open another or to
 * start anything, and limits of time and memory; whatever goes wrong in it, there are no lines. The name of
 * a file is the last two parts of its path: the rest is about the machine it was compiled on.
 */
#include <elfutils/libdw.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/lines.h"
#include "fiber/checkers.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif

enum {
    CPU_S = 5,
    MEMORY_BYTES_MAX = 1024 * 1024 * 1024,
    ROWS_MAX = LINES_FILE_BYTES_MAX / (int)sizeof(struct lines_row),
    FILES_MAX = 64 * 1024,
    BUCKETS = 2 * FILES_MAX
};

/* As read. Of several at one address the last one counts, and qsort() promises no order for what compares equal. */
struct read_row {
    struct lines_row says;
    size_t number;
};

static struct {
    struct read_row *rows;
    size_t row_count, row_capacity;
    char *names; /* all of them, one after the other */
    size_t names_bytes, names_capacity;
    uint32_t names_at[FILES_MAX];
    uint32_t file_count;
    uint32_t buckets[BUCKETS]; /* file + 1 */
} all;

/* ---- limits ---------------------------------------------------------------------------------- */

static void limit(__rlimit_resource_t what, rlim_t most)
{
    const struct rlimit l = {most, most};
    (void)setrlimit(what, &l); /* lowering cannot fail */
}

/* Memory, the two descriptors, the end: all else is told that it is not permitted. */
static bool forbid_calls(void)
{
    static const int allowed[] = {
        SYS_read,     SYS_pread64, SYS_write,  SYS_close,  SYS_fstat,        SYS_newfstatat,
        SYS_lseek,    SYS_mmap,    SYS_munmap, SYS_mremap, SYS_mprotect,     SYS_madvise,
        SYS_brk,      SYS_futex,   SYS_exit,   SYS_fcntl,  SYS_rt_sigreturn, SYS_exit_group,
    };
    enum { COUNT = sizeof(allowed) / sizeof(allowed[0]), HEAD = 4, LENGTH = HEAD + COUNT + 2 };
    struct sock_filter code[LENGTH] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    for (int i = 0; i < COUNT; i++)
        code[HEAD + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i],
                                                   (uint8_t)(COUNT - i), 0);
    code[LENGTH - 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    code[LENGTH - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog filter = {.len = LENGTH, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static bool confine(void)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, CPU_S);
    limit(RLIMIT_FSIZE, LINES_FILE_BYTES_MAX);
    if (FIBER_ASAN || FIBER_TSAN) /* they reserve terabytes, and end with calls of their own */
        return true;
    limit(RLIMIT_AS, MEMORY_BYTES_MAX);
    return forbid_calls();
}

/* ---- what is read ---------------------------------------------------------------------------- */

/* "billing/src/charge.c" is "src/charge.c". */
static const char *short_name(const char *path)
{
    const char *name = path, *before = path;
    for (const char *at = path; *at != '\0'; at++)
        if (*at == '/') {
            before = name;
            name = at + 1;
        }
    return strlen(before) <= LINES_NAME_BYTES_MAX ? before : name;
}

/* FILES_MAX: there are too many. */
static uint32_t file_number(const char *path)
{
    const char *name = short_name(path);
    size_t size = strnlen(name, LINES_NAME_BYTES_MAX) + 1;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i + 1 < size; i++)
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    uint32_t at = hash % BUCKETS;
    for (; all.buckets[at] != 0; at = (at + 1) % BUCKETS) {
        const char *other = all.names + all.names_at[all.buckets[at] - 1];
        if (strncmp(other, name, size - 1) == 0 && other[size - 1] == '\0')
            return all.buckets[at] - 1;
    }
    if (all.file_count == FILES_MAX)
        return FILES_MAX;
    if (all.names_bytes + size > all.names_capacity) {
        all.names_capacity = 2 * (all.names_capacity + size);
        all.names = realloc(all.names, all.names_capacity);
        if (all.names == NULL)
            return FILES_MAX;
    }
    memcpy(all.names + all.names_bytes, name, size - 1);
    all.names[all.names_bytes + size - 1] = '\0';
    all.names_at[all.file_count] = (uint32_t)all.names_bytes;
    all.names_bytes += size;
    all.buckets[at] = ++all.file_count;
    return all.file_count - 1;
}

static bool add_row(uint64_t address, uint32_t file, uint32_t line)
{
    if (all.row_count == all.row_capacity) {
        all.row_capacity = all.row_capacity == 0 ? 4096 : 2 * all.row_capacity;
        all.rows = realloc(all.rows, all.row_capacity * sizeof(*all.rows));
    }
    if (all.rows == NULL || all.row_count == ROWS_MAX || file == FILES_MAX)
        return false;
    all.rows[all.row_count] = (struct read_row){{address, file, line}, all.row_count};
    all.row_count++;
    return true;
}

static bool add_line(Dwarf_Line *line)
{
    Dwarf_Addr address;
    int number = 0;
    bool end = false;
    const char *path = dwarf_linesrc(line, NULL, NULL);
    if (dwarf_lineaddr(line, &address) != 0 || dwarf_lineno(line, &number) != 0 ||
        dwarf_lineendsequence(line, &end) != 0)
        return true; /* what does not read is not there */
    bool known = !end && path != NULL && number > 0;
    return add_row(address, known ? file_number(path) : 0, known ? (uint32_t)number : 0);
}

/* One compilation after the other. */
static bool read_lines(Dwarf *dwarf)
{
    Dwarf_Off at = 0, next, abbreviations;
    size_t head_bytes, count;
    uint8_t address_bytes, offset_bytes;
    while (dwarf_nextcu(dwarf, at, &next, &head_bytes, &abbreviations, &address_bytes, &offset_bytes) == 0) {
        Dwarf_Die die;
        Dwarf_Lines *lines;
        bool has_lines = dwarf_offdie(dwarf, at + head_bytes, &die) != NULL &&
                         dwarf_getsrclines(&die, &lines, &count) == 0;
        for (size_t i = 0; has_lines && i < count; i++)
            if (!add_line(dwarf_onesrcline(lines, i)))
                return false;
        at = next;
    }
    return true;
}

/* ---- what is written ------------------------------------------------------------------------- */

/* The end of one sequence before the begin of the next. */
static int by_address(const void *a, const void *b)
{
    const struct read_row *x = a, *y = b;
    if (x->says.address != y->says.address)
        return x->says.address < y->says.address ? -1 : 1;
    if ((x->says.line != 0) != (y->says.line != 0))
        return x->says.line != 0 ? 1 : -1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Without rows that say what the one before them said. How many there are. */
static size_t pack(struct lines_row *ret)
{
    size_t kept = 0;
    for (size_t i = 0; i < all.row_count; i++) {
        const struct lines_row *row = &all.rows[i].says;
        if (kept > 0 && ret[kept - 1].address == row->address)
            kept--; /* the last one counts */
        if (kept == 0 || ret[kept - 1].file != row->file || ret[kept - 1].line != row->line)
            ret[kept++] = *row;
    }
    return kept;
}

static bool put(const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(STDOUT_FILENO, (const char *)bytes + done, size - done);
        if (n <= 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool write_all(const struct lines_row *rows, size_t row_count)
{
    const struct lines_head head = {.magic = LINES_MAGIC,
                                    .row_count = (uint32_t)row_count,
                                    .file_count = all.file_count,
                                    .names_bytes = all.names_bytes};
    return put(&head, sizeof(head)) && put(rows, row_count * sizeof(*rows)) &&
           put(all.names_at, all.file_count * sizeof(all.names_at[0])) && put(all.names, all.names_bytes);
}

int main(void)
{
    if (!confine())
        return EXIT_FAILURE;
    Dwarf *dwarf = dwarf_begin(STDIN_FILENO, DWARF_C_READ);
    if (dwarf == NULL || !read_lines(dwarf) || all.row_count == 0 || all.file_count == 0)
        return EXIT_FAILURE;
    qsort(all.rows, all.row_count, sizeof(*all.rows), by_address);
    struct lines_row *rows = calloc(all.row_count, sizeof(*rows));
    bool done = rows != NULL && write_all(rows, pack(rows));
    (void)dwarf_end(dwarf);
    free(rows);
    free(all.rows);
    free(all.names);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

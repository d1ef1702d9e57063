"""A corpus of hostile and broken plugins, built from source: (name, code it is refused with, how to put it there).

compiled(): what its own source makes of it: constructors, entry functions, tables, link options.
changed(): one number of a good plugin's ELF tables changed. special(): files that are no such files.
"""
import os
import platform
import struct
import subprocess

from harness import ROOT

PRELUDE = """
#define _GNU_SOURCE
#include <aiki/record.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <asm/sockios.h>
#include <unistd.h>
#define CONSTRUCTOR __attribute__((constructor, used)) static void construct(void)
static aiki_status flow(aiki_run *run, aiki_view in, aiki_error *err)
{
    (void)in; (void)err;
    return aiki_run_fail(run, "SERVED", "a hostile plugin serves");
}
static aiki_status task(aiki_call *call, aiki_view in)
{
    (void)call; (void)in;
    return AIKI_OK;
}
"""
TABLES = """
static const aiki_task_def tasks[] = {
    {.struct_size = sizeof(aiki_task_def), .name = "work", .fn = task, %(task)s},
    {.struct_size = sizeof(aiki_task_def), .name = "other", .fn = task, %(task2)s}};
static const aiki_workflow_def workflows[] = {
    {.struct_size = sizeof(aiki_workflow_def), .name = "hostile", .version = "1.0.0", .fn = flow, %(flow)s},
    {.struct_size = sizeof(aiki_workflow_def), .name = "hostile", .version = "1.1.0", .fn = flow, %(flow2)s}};
static const aiki_plugin_def plugin = {.struct_size = sizeof(plugin), .abi_major = AIKI_ABI_MAJOR,
    .name = "hostile", .version = "1.0.0", .language = "c", .toolchain = __VERSION__,
    .workflows = workflows, .workflow_count = 2, .workflow_stride = sizeof(workflows[0]),
    .tasks = tasks, .task_count = 2, .task_stride = sizeof(tasks[0]), %(plugin)s};
AIKI_EXPORT const aiki_plugin_def *aiki_plugin_v1(uint32_t major, uint32_t minor);
const aiki_plugin_def *aiki_plugin_v1(uint32_t major, uint32_t minor)
{
    (void)major; (void)minor;
    %(entry)s
    return &plugin;
}
"""
NAMES = ("task", "task2", "flow", "flow2", "plugin", "entry")
# In the middle of a page that ends in one that is not there: texts and tables that never end.
EDGE = """
static char *edge(size_t size)
{
    char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(m + 4096, 4096);
    return memset(m + 4096 - size, 'x', size);
}
"""
FIELDS = """
static const aiki_field_def fields[] = {{.name = "n", .type = AIKI_FIELD_I64, %s}};
static const aiki_record_def record = {.struct_size = sizeof(record), .size_bytes = 8, .name = "r",
    .fields = fields, .field_count = 1, .field_stride = sizeof(fields[0]), %s};
"""

# name: (code, source before the tables, what is filled in, options of the linker)
COMPILED = {
    # constructors
    "ctor-segv": ("LOAD_CRASHED", "CONSTRUCTOR { *(volatile int *)8 = 1; }"),
    "ctor-abort": ("LOAD_CRASHED", 'CONSTRUCTOR { fputs("no licence found\\n", stderr); abort(); }'),
    "ctor-trap": ("LOAD_CRASHED", "CONSTRUCTOR { __builtin_trap(); }"),
    "ctor-overflow": ("LOAD_CRASHED", "static int deep(volatile char *p) { volatile char b[4096]; b[0] = *p; "
                      "return deep(b) + b[1]; } CONSTRUCTOR { char c = 1; deep(&c); }"),
    "ctor-kills-itself": ("LOAD_CRASHED", "CONSTRUCTOR { kill(getpid(), SIGKILL); }"),
    "ctor-exit-0": ("LOAD_EXITED", "CONSTRUCTOR { exit(0); }"),
    "ctor-exit-7": ("LOAD_EXITED", "CONSTRUCTOR { _exit(7); }"),
    "ctor-loops": ("LOAD_TIMEOUT", "CONSTRUCTOR { for (volatile int i = 0;; i++) {} }"),
    "ctor-sleeps": ("LOAD_TIMEOUT", "CONSTRUCTOR { for (;;) pause(); }"),
    "ctor-forks": ("LOAD_STARTS_PROCESS", "CONSTRUCTOR { if (fork() == 0) for (;;) pause(); }"),
    "ctor-fork-bomb": ("LOAD_STARTS_PROCESS", "CONSTRUCTOR { for (;;) fork(); }"),
    "ctor-system": ("LOAD_STARTS_PROCESS", 'CONSTRUCTOR { if (system("true") != 0) abort(); }'),
    "ctor-exec": ("LOAD_STARTS_PROCESS", 'CONSTRUCTOR { execl("/bin/true", "true", (char *)0); }'),
    "ctor-daemon": ("LOAD_STARTS_PROCESS", "CONSTRUCTOR { if (daemon(0, 0) != 0) abort(); }"),
    # what it does to others; signals that would harm nobody, were they not refused
    "ctor-traced": ("LOAD_REACHES_OUT", "static void *ask(void *a) { ptrace(PTRACE_TRACEME, 0, 0, 0); return a; } "
                    "CONSTRUCTOR { pthread_t t; if (pthread_create(&t, 0, ask, 0) == 0) pthread_join(t, 0); }"),
    "ctor-traces-the-runtime": ("LOAD_REACHES_OUT", "CONSTRUCTOR { ptrace(PTRACE_SEIZE, getppid(), 0, 0); }"),
    "ctor-signals-the-runtime": ("LOAD_REACHES_OUT", "CONSTRUCTOR { kill(getppid(), SIGTERM); }"),
    "ctor-signals-its-group": ("LOAD_REACHES_OUT", "CONSTRUCTOR { kill(-getpgid(getppid()), SIGWINCH); }"),
    "ctor-signals-everybody": ("LOAD_REACHES_OUT", "CONSTRUCTOR { kill(-1, SIGWINCH); }"),
    "ctor-signals-a-thread": ("LOAD_REACHES_OUT", "CONSTRUCTOR { syscall(SYS_tgkill, getppid(), getppid(), SIGTERM); }"),
    "ctor-signals-any-thread": ("LOAD_REACHES_OUT", "CONSTRUCTOR { syscall(SYS_tkill, getppid(), SIGTERM); }"),
    "ctor-queues-a-signal": ("LOAD_REACHES_OUT", "CONSTRUCTOR { sigqueue(getppid(), SIGTERM, (union sigval){0}); }"),
    "ctor-signals-by-descriptor": ("LOAD_REACHES_OUT", "CONSTRUCTOR { int fd = syscall(SYS_pidfd_open, getppid(), 0); "
                                   "syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0); }"),
    "ctor-takes-descriptors": ("LOAD_REACHES_OUT", "CONSTRUCTOR { int fd = syscall(SYS_pidfd_open, getppid(), 0); "
                               "syscall(SYS_pidfd_getfd, fd, 3, 0); }"),
    "ctor-has-signals-sent": ("LOAD_REACHES_OUT", "CONSTRUCTOR { int p[2]; if (pipe(p) != 0) abort(); fcntl(p[0], F_SETOWN, getppid()); "
                              "fcntl(p[0], F_SETFL, O_ASYNC); if (write(p[1], p, 1) < 0) abort(); }"),
    "ctor-has-signals-sent-by-a-socket": ("LOAD_REACHES_OUT", "CONSTRUCTOR { int s[2], who = getppid(); socketpair(AF_UNIX, SOCK_STREAM, 0, s); "
                                          "ioctl(s[0], FIOSETOWN, &who); fcntl(s[0], F_SETFL, O_ASYNC); if (write(s[1], s, 1) < 0) abort(); }"),
    "ctor-limits-the-runtime": ("LOAD_REACHES_OUT", "CONSTRUCTOR { struct rlimit few = {3, 3}; prlimit(getppid(), RLIMIT_NOFILE, &few, 0); }"),
    "ctor-writes-into-the-runtime": ("LOAD_REACHES_OUT", "CONSTRUCTOR { char c = 0; struct iovec own = {&c, 1}, its = {stdout, 1}; "
                                     "process_vm_writev(getppid(), &own, 1, &its, 1, 0); }"),
    "ctor-renices-the-runtime": ("LOAD_REACHES_OUT", "CONSTRUCTOR { setpriority(PRIO_PROCESS, getppid(), 19); }"),
    "ctor-renices-its-user": ("LOAD_REACHES_OUT", "CONSTRUCTOR { setpriority(PRIO_USER, getuid(), 0); }"),
    "ctor-pins-the-runtime": ("LOAD_REACHES_OUT", "CONSTRUCTOR { unsigned long all = ~0ul; sched_setaffinity(getppid(), sizeof(all), (void *)&all); }"),
    "ctor-hears-no-refusal": ("LOAD_CRASHED", "static void deaf(int n) { (void)n; } CONSTRUCTOR { signal(SIGSYS, deaf); "
                              "kill(getppid(), SIGTERM); abort(); }"),
    "ifunc-signals-the-runtime": ("LOAD_REACHES_OUT", "static int one(void) { return 1; } static void *choose(void) { "
                                  "syscall(SYS_kill, syscall(SYS_getppid), SIGTERM); return one; } "
                                  '__attribute__((ifunc("choose"))) int chosen(void); CONSTRUCTOR { chosen(); }'),
    "ctor-ends-its-thread": ("LOAD_EXITED", "CONSTRUCTOR { pthread_exit(0); }"),
    "ctor-reads-stdin": ("LOAD_READS_INPUT", "CONSTRUCTOR { while (getchar() != EOF) {} }"),
    "ctor-closes-all": ("LOAD_", "CONSTRUCTOR { for (int fd = 0; fd < 64; fd++) close(fd); }"),
    "ctor-floods-stdout": ("LOAD_PRINTS", 'CONSTRUCTOR { for (;;) puts("a line that says nothing at all"); }'),
    "ctor-floods-stderr": ("LOAD_PRINTS", 'CONSTRUCTOR { for (;;) if (write(2, "x", 1) != 1) abort(); }'),
    "ctor-writes-to-the-line": ("LOAD_CRASHED", 'CONSTRUCTOR { if (write(3, "0123456789abcdef0123456789", 26) < 0) '
                                "abort(); for (;;) pause(); }"),
    "ctor-eats-memory": ("LOAD_LIMIT", "CONSTRUCTOR { for (;;) { char *m = malloc(1 << 24); if (!m) abort(); "
                         "memset(m, 1, 1 << 24); } }"),
    "ctor-huge-file": ("LOAD_CRASHED", 'CONSTRUCTOR { FILE *f = tmpfile(); if (!f) abort(); for (;;) '
                       'fputs("0123456789abcdef0123456789abcdef", f); }'),
    "ctor-throws-signal-mask-away": ("LOAD_TIMEOUT", "CONSTRUCTOR { sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0); "
                                     "signal(SIGXCPU, SIG_IGN); for (volatile int i = 0;; i++) {} }"),
    "destructor-segv": (None, "__attribute__((destructor, used)) static void end(void) { *(volatile int *)8 = 1; }"),
    "init-null": ("LOAD_CRASHED", '__attribute__((section(".init_array"), used)) '
                  "static void (*const bad)(void) = (void (*)(void))16;"),
    # the entry function
    "entry-segv": ("LOAD_CRASHED", "", {"entry": "*(volatile int *)8 = 1;"}),
    "entry-exit": ("LOAD_EXITED", "", {"entry": "exit(0);"}),
    "entry-loops": ("LOAD_TIMEOUT", "", {"entry": "for (volatile int i = 0;; i++) {}"}),
    "entry-null": ("ENTRY_REFUSED", "", {"entry": "return NULL;"}),
    "entry-nowhere": ("LOAD_CRASHED", "", {"entry": "return (const aiki_plugin_def *)64;"}),
    "entry-missing": ("ENTRY_MISSING", "#define aiki_plugin_v1 aiki_plugin_v0"),
    "entry-is-data": ("LOAD_CRASHED", None, "AIKI_EXPORT const char aiki_plugin_v1[64]; const char aiki_plugin_v1[64] = {1};"),
    # the plugin's table
    "abi-major-99": ("ABI_MAJOR", "", {"plugin": ".abi_major = 99"}),
    "abi-major-0": ("ABI_MAJOR", "", {"plugin": ".abi_major = 0"}),
    "table-too-short": ("STRUCT_SIZE", "", {"plugin": ".struct_size = 16"}),
    "table-larger": (None, "", {"plugin": ".struct_size = sizeof(plugin) + 64"}),
    "name-null": ("BAD_NAME", "", {"plugin": ".name = NULL"}),
    "name-nowhere": ("LOAD_CRASHED", "", {"plugin": ".name = (const char *)32"}),
    "name-not-utf8": ("BAD_NAME", "", {"plugin": '.name = "h\\xff\\xfe"'}),
    "name-too-long": ("BAD_NAME", "", {"plugin": '.name = "' + "a" * 101 + '"'}),
    "name-without-end": ("BAD_NAME", EDGE, {"entry": "static aiki_plugin_def p; p = plugin; p.name = edge(4000); return &p;"}),
    "name-at-the-edge": ("LOAD_CRASHED", EDGE, {"entry": "static aiki_plugin_def p; p = plugin; p.name = edge(5); return &p;"}),
    "language-not-utf8": ("BAD_TEXT", "", {"plugin": '.language = "\\xc3("'}),
    "version-bad": ("BAD_VERSION", "", {"plugin": '.version = "one"'}),
    "version-null": ("BAD_VERSION", "", {"plugin": ".version = NULL"}),
    "no-workflows": ("EMPTY_PLUGIN", "", {"plugin": ".workflow_count = 0"}),
    "workflows-null": ("NULL_TABLE", "", {"plugin": ".workflows = NULL"}),
    "tasks-null": ("NULL_TABLE", "", {"plugin": ".tasks = NULL"}),
    "workflows-nowhere": ("LOAD_CRASHED", "", {"plugin": ".workflows = (const aiki_workflow_def *)4096"}),
    "workflows-without-end": ("TOO_MANY", "", {"plugin": ".workflow_count = 0xffffffff"}),
    "tasks-without-end": ("TOO_MANY", "", {"plugin": ".task_count = 0xffffffff"}),
    "more-workflows-than-there-are": ("", "", {"plugin": ".workflow_count = 256"}),
    "stride-0": ("BAD_STRIDE", "", {"plugin": ".workflow_stride = 0"}),
    "stride-odd": ("BAD_STRIDE", "", {"plugin": ".task_stride = sizeof(tasks[0]) + 3"}),
    # entries
    "workflow-twice": ("DUPLICATE_NAME", "", {"flow2": '.version = "1.0.0"'}),
    "task-twice": ("DUPLICATE_NAME", "", {"task2": '.name = "work"'}),
    "workflow-null": ("NULL_HANDLER", "", {"flow": ".fn = NULL"}),
    "task-null": ("NULL_HANDLER", "", {"task": ".fn = NULL"}),
    "workflow-is-data": ("BAD_HANDLER", "", {"flow": ".fn = (aiki_workflow_fn)(const void *)tasks"}),
    "task-nowhere": ("BAD_HANDLER", "", {"task": ".fn = (aiki_task_fn)8"}),
    "workflow-too-short": ("STRUCT_SIZE", "", {"flow": ".struct_size = 8"}),
    "workflow-flags": ("BAD_FLAGS", "", {"flow": ".flags = 0x80"}),
    "summary-not-utf8": ("BAD_TEXT", "", {"flow": '.summary = "\\xf0\\x9f"'}),
    "timeout-negative": ("BAD_TIMEOUT", "", {"flow": ".run_timeout_ms = -1"}),
    "retry-nowhere": ("LOAD_CRASHED", "", {"task": ".retry = {.struct_size = sizeof(aiki_retry), .kind = AIKI_RETRY_LIST, "
                                           ".delay_count = 3, .delays_ms = (const int64_t *)8}"}),
    "retry-without-end": ("BAD_RETRY", "", {"task": ".retry = {.struct_size = sizeof(aiki_retry), .kind = AIKI_RETRY_LIST, "
                                            ".delay_count = 0xffffffff, .delays_ms = (const int64_t *)8}"}),
    "record-nowhere": ("LOAD_CRASHED", "", {"flow": ".input = (const aiki_record_def *)24"}),
    "record-of-itself": ("BAD_SCHEMA", "extern const aiki_record_def record;" + (FIELDS % (".type = AIKI_FIELD_RECORD, "
                         ".record = &record", "")).replace("static const aiki_record_def", "const aiki_record_def"),
                         {"flow": ".input = &record"}),
    "record-without-end": ("BAD_SCHEMA", FIELDS % ("", ".field_count = 0xffffffff"), {"flow": ".input = &record"}),
    "field-type-unknown": ("BAD_SCHEMA", FIELDS % (".type = 77", ""), {"flow": ".input = &record"}),
    # what it declares to need
    "needs-unknown": ("BAD_NEEDS", 'AIKI_NEEDS("network root");'),
    "needs-relative": ("BAD_NEEDS", 'AIKI_NEEDS("read:etc");'),
    "needs-upwards": ("BAD_NEEDS", 'AIKI_NEEDS("read:/srv/../etc");'),
    "needs-nul": ("BAD_NEEDS", 'AIKI_NEEDS("read:/a%00b");'),
    "needs-control": ("BAD_NEEDS", 'AIKI_NEEDS("read:/a\x1b[2J");'),
    "needs-hidden-control": ("BAD_NEEDS", 'AIKI_NEEDS("read:/a%1b[2J");'),
    "needs-not-utf8": ("BAD_NEEDS", 'AIKI_NEEDS("read:/%ff");'),
    "needs-of-a-setting": ("BAD_NEEDS", 'AIKI_NEEDS("network as read:/");'),
    "needs-many": ("BAD_NEEDS", 'AIKI_NEEDS("' + " ".join(f"read:/{i}" for i in range(17)) + '");'),
    "needs-long-path": ("BAD_NEEDS", 'AIKI_NEEDS("read:/' + "x" * 600 + '");'),
    "needs-long": ("BAD_NEEDS", 'AIKI_NEEDS("network' + " " * 2048 + '");'),
    "needs-without-end": ("BAD_NEEDS", "AIKI_EXPORT const char aiki_needs_v1[2048] = {[0 ... 2047] = ' '};"),
    "needs-zeroed": ("BAD_NEEDS", "AIKI_EXPORT char aiki_needs_v1[64];"),
    "needs-of-a-thread": ("BAD_NEEDS", 'AIKI_EXPORT __thread char aiki_needs_v1[8] = "network";'),
    "needs-are-code": ("BAD_NEEDS", "AIKI_EXPORT void aiki_needs_v1(void); void aiki_needs_v1(void) {}"),
    "needs-later": (None, 'AIKI_EXPORT char aiki_needs_v1[64] = "none"; CONSTRUCTOR { strcpy(aiki_needs_v1, "network"); }'),
    # linking
    "symbol-missing": ("UNDEFINED_SYMBOL", "extern int nobody_has_this(void); CONSTRUCTOR { nobody_has_this(); }"),
    "library-missing": ("MISSING_LIBRARY", "", {}, ["-Wl,--no-as-needed", "-L.", "-l:libgone.so"]),
    "exec-stack": ("EXEC_STACK", "", {}, ["-Wl,-z,execstack"]),
    "rpath-relative": ("FOREIGN_RPATH", "", {}, ["-Wl,-rpath,lib"]),
    "rpath-origin": ("FOREIGN_RPATH", "", {}, ["-Wl,-rpath,$ORIGIN/lib"]),
    "rpath-empty-entry": ("FOREIGN_RPATH", "", {}, ["-Wl,-rpath,/usr/lib:"]),
    "runpath-old-tag": ("FOREIGN_RPATH", "", {}, ["-Wl,-rpath,../lib,--disable-new-dtags"]),
    "sanitized": ("LOAD_", "", {}, ["-fsanitize=address"]),
    "program": ("NOT_SHARED", "int main(void) { return 0; }", {}, ["-pie"]),
    "program-static": ("NOT_SHARED", "int main(void) { return 0; }", {}, ["-static"]),
    "program-static-pie": ("NOT_SHARED", "int main(void) { return 0; }", {}, ["-static-pie"]),
    "object-file": ("NOT_SHARED", "", {}, ["-c"]),
}
if platform.machine() == "x86_64":
    COMPILED["text-relocation"] = ("TEXT_RELOCATIONS", 'extern const void *const place; __asm__(".text\\n.globl place\\n'
                                   'place: .quad free\\n"); CONSTRUCTOR { if (place == 0) abort(); }', {}, ["-Wl,-z,notext"])

# For processes that may have 128 MiB and 64 threads.
HUNGRY = {
    "ctor-much-memory": ("LOAD_LIMIT", "static char *volatile kept; CONSTRUCTOR { kept = malloc(200 << 20); "
                         "if (kept) memset(kept, 1, 200 << 20); }"),
    "ctor-much-shared-memory": ("LOAD_LIMIT", "CONSTRUCTOR { char *m = mmap(0, 200 << 20, PROT_READ | PROT_WRITE, "
                                "MAP_SHARED | MAP_ANONYMOUS, -1, 0); if (m != MAP_FAILED) memset(m, 1, 200 << 20); }"),
    "ctor-many-threads": ("LOAD_LIMIT", "static void *stay(void *a) { for (;;) pause(); return a; } CONSTRUCTOR { pthread_t t; "
                          "for (int i = 0; i < 100; i++) pthread_create(&t, 0, stay, 0); }"),
}


def compiled(folder, sources=COMPILED):
    """Builds each; several compilers at a time."""
    running, made = [], {}
    (folder / "libgone.c").write_text("int gone;")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libgone.so", "libgone.c"], cwd=folder, check=True)
    for name, (code, before, *rest) in sources.items():
        fills = rest[0] if rest else {}
        tables = fills if isinstance(fills, str) else TABLES % {n: fills.get(n, "") for n in NAMES}
        (folder / f"{name}.c").write_text(PRELUDE + (before or "") + "\n" + tables)
        options = rest[1] if len(rest) > 1 else []
        shape = [] if {"-pie", "-static", "-static-pie", "-c"} & set(options) else ["-shared"]
        argv = ["cc", "-w", "-O1", "-std=gnu11", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include",
                *shape, "-o", f"{name}.bin", f"{name}.c", *options]
        running.append((name, code, subprocess.Popen(argv, cwd=folder, stderr=subprocess.PIPE)))
        if len(running) >= 4:
            made.update([finished(folder, *running.pop(0))])
    made.update(finished(folder, *r) for r in running)
    (folder / "libgone.so").unlink()
    return made


def finished(folder, name, code, compiler):
    said = compiler.communicate()[1]
    assert compiler.returncode == 0, f"{name}: {said.decode()}"
    return name, (code, (folder / f"{name}.bin").read_bytes())


# ---- ELF tables ------------------------------------------------------------------------------

class Elf:
    """Just enough to find a number in the tables of a 64-bit little-endian file and to change it."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.phoff, self.shoff = struct.unpack_from("<QQ", data, 32)
        self.phnum, self.shnum = struct.unpack_from("<H", data, 56)[0], struct.unpack_from("<H", data, 60)[0]

    def segment(self, kind, nth=0):
        found = [at for at in (self.phoff + 56 * i for i in range(self.phnum))
                 if struct.unpack_from("<I", self.data, at)[0] == kind]
        return found[nth]

    def tag(self, tag):
        at = struct.unpack_from("<Q", self.data, self.segment(2) + 8)[0]
        while struct.unpack_from("<q", self.data, at)[0] != tag:
            assert struct.unpack_from("<q", self.data, at)[0] != 0, tag
            at += 16
        return at

    def at(self, tag):
        """Offset in the file of the table that a tag points to."""
        address = struct.unpack_from("<Q", self.data, self.tag(tag) + 8)[0]
        for i in range(self.phnum):
            kind, _, offset, start, _, size = struct.unpack_from("<IIQQQQ", self.data, self.phoff + 56 * i)
            if kind == 1 and start <= address < start + size:
                return offset + address - start
        raise AssertionError(tag)

    def symbol(self, name):
        """Offset of a dynamic symbol."""
        at, strings = self.at(SYMTAB), self.at(STRTAB)
        while True:
            text = strings + struct.unpack_from("<I", self.data, at)[0]
            if self.data[text:self.data.index(0, text)] == name.encode():
                return at
            at += 24

    def put(self, form, at, *values):
        struct.pack_into("<" + form, self.data, at, *values)
        return bytes(self.data)


STRTAB, SYMTAB, RELA, STRSZ, SYMENT, INIT, RELASZ, RELAENT, NEEDED = 5, 6, 7, 10, 11, 12, 8, 9, 1
GNU_HASH, VERSYM, VERNEED, INIT_ARRAY, INIT_ARRAYSZ = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFE, 25, 27
FAR = 1 << 40

CHANGED = {
    "elf-32-bit": ("WRONG_MACHINE", lambda e: e.put("B", 4, 1)),
    "elf-big-endian": ("WRONG_MACHINE", lambda e: e.put("B", 5, 2)),
    "elf-sparc": ("WRONG_MACHINE", lambda e: e.put("H", 18, 2)),
    "elf-freebsd": ("WRONG_MACHINE", lambda e: e.put("B", 7, 9)),
    "elf-core": ("NOT_SHARED", lambda e: e.put("H", 16, 4)),
    "elf-version-9": ("BAD_ELF", lambda e: e.put("I", 20, 9)),
    "elf-magic-only": ("NOT_ELF", lambda e: bytes(e.data[:4])),
    "elf-header-only": ("TRUNCATED", lambda e: bytes(e.data[:64])),
    "elf-no-segments": ("BAD_ELF", lambda e: e.put("H", 56, 0)),
    "elf-many-segments": ("BAD_ELF", lambda e: e.put("H", 56, 0xFFFF)),
    "elf-segments-far": ("TRUNCATED", lambda e: e.put("Q", 32, FAR)),
    "elf-sections-far": ("TRUNCATED", lambda e: e.put("Q", 40, FAR)),
    "elf-load-far": ("TRUNCATED", lambda e: e.put("Q", e.segment(1) + 8, FAR)),
    "elf-load-huge": ("BAD_ELF", lambda e: e.put("Q", e.segment(1, -1) + 40, 1 << 60)),
    "elf-load-overlap": ("BAD_ELF", lambda e: e.put("Q", e.segment(1, 1) + 16, 0)),
    "elf-load-order": ("BAD_ELF", lambda e: e.put("Q", e.segment(1, 0) + 16, 1 << 30)),
    "elf-write-and-execute": ("WRITABLE_CODE", lambda e: e.put("I", e.segment(1, 1) + 4, 7)),
    "elf-no-stack": ("EXEC_STACK", lambda e: e.put("I", e.segment(0x6474E551), 0x60000000)),
    "elf-interpreter": ("NOT_SHARED", lambda e: e.put("I", e.segment(0x6474E551), 3)),
    "elf-no-dynamic": ("NOT_SHARED", lambda e: e.put("I", e.segment(2), 0x60000000)),
    "elf-dynamic-elsewhere": ("BAD_ELF", lambda e: e.put("Q", e.segment(2) + 16, 0)),
    "elf-dynamic-endless": ("BAD_ELF", lambda e: e.put("Q", e.segment(2) + 32, 48)),
    "elf-strings-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(STRTAB) + 8, FAR)),
    "elf-strings-endless": ("BAD_ELF", lambda e: e.put("Q", e.tag(STRSZ) + 8, FAR)),
    "elf-strings-unended": ("BAD_ELF", lambda e: e.put("Q", e.tag(STRSZ) + 8, 3)),
    "elf-needed-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(NEEDED) + 8, FAR)),
    "elf-symbols-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(SYMTAB) + 8, FAR)),
    "elf-symbol-size": ("BAD_ELF", lambda e: e.put("Q", e.tag(SYMENT) + 8, 16)),
    "elf-symbol-name-far": ("BAD_ELF", lambda e: e.put("I", e.at(SYMTAB) + 24, 0x7FFFFFFF)),
    "elf-needs-far": ("BAD_NEEDS", lambda e: e.put("Q", e.symbol("aiki_needs_v1") + 8, FAR)),
    "elf-needs-endless": ("BAD_NEEDS", lambda e: e.put("Q", e.symbol("aiki_needs_v1") + 16, FAR)),
    "elf-needs-empty": ("BAD_NEEDS", lambda e: e.put("Q", e.symbol("aiki_needs_v1") + 16, 0)),
    "elf-needs-absolute": ("BAD_NEEDS", lambda e: e.put("H", e.symbol("aiki_needs_v1") + 6, 0xFFF1)),
    "elf-hash-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(GNU_HASH) + 8, FAR)),
    "elf-hash-buckets": ("BAD_ELF", lambda e: e.put("I", e.at(GNU_HASH), 0x7FFFFFFF)),
    "elf-hash-filter": ("BAD_ELF", lambda e: e.put("I", e.at(GNU_HASH) + 8, 3)),
    "elf-relocations-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(RELA) + 8, FAR)),
    "elf-relocations-many": ("BAD_ELF", lambda e: e.put("Q", e.tag(RELASZ) + 8, 1 << 30)),
    "elf-relocation-size": ("BAD_ELF", lambda e: e.put("Q", e.tag(RELAENT) + 8, 8)),
    "elf-relocation-target": ("BAD_ELF", lambda e: e.put("Q", e.at(RELA), FAR)),
    "elf-relocation-in-code": ("TEXT_RELOCATIONS", lambda e: e.put("Q", e.at(RELA), 0)),
    "elf-relocation-symbol": ("BAD_ELF", lambda e: e.put("I", e.at(RELA) + 12, 0x00FFFFFF)),
    "elf-versions-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(VERSYM) + 8, FAR)),
    "elf-version-unknown": ("BAD_ELF", lambda e: e.put("H", e.at(VERSYM) + 2, 0x7000)),
    "elf-versions-needed": ("BAD_ELF", lambda e: e.put("I", e.at(VERNEED) + 8, 0x7FFFFFF0)),
    "elf-init-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(INIT) + 8, FAR)),
    "elf-init-is-data": ("BAD_ELF", lambda e: e.put("Q", e.tag(INIT) + 8, 0)),
    "elf-init-array-size": ("BAD_ELF", lambda e: e.put("Q", e.tag(INIT_ARRAYSZ) + 8, 1 << 30)),
    "elf-init-array-far": ("BAD_ELF", lambda e: e.put("Q", e.tag(INIT_ARRAY) + 8, FAR)),
    "elf-eh-frame-far": ("BAD_ELF", lambda e: e.put("Q", e.segment(0x6474E550) + 16, FAR)),
    "elf-note-long": ("BAD_ELF", lambda e: e.put("I", struct.unpack_from("<Q", e.data, e.segment(4) + 8)[0], 0x7FFFFFF0)),
    "elf-relro-far": ("BAD_ELF", lambda e: e.put("Q", e.segment(0x6474E552) + 16, FAR)),
    "cut-in-half": ("TRUNCATED", lambda e: bytes(e.data[:len(e.data) // 2])),
    "cut-by-one": ("TRUNCATED", lambda e: bytes(e.data[:-1])),
    "tail-of-zeros": ("TRUNCATED", lambda e: bytes(e.data[:2000]) + bytes(len(e.data) - 2000)),
    "zeros": ("NOT_ELF", lambda e: bytes(len(e.data))),
    "empty": ("NOT_ELF", lambda e: b""),
    "script": ("NOT_ELF", lambda e: b"#!/bin/sh\nexec true\n"),
    "archive": ("NOT_ELF", lambda e: b"!<arch>\n" + bytes(64)),
}


def changed(good):
    return {name: (code, change(Elf(good))) for name, (code, change) in CHANGED.items()}


# ---- what is no file -------------------------------------------------------------------------

def special():
    """name: (code, function that makes it at a path)."""
    def huge(path):
        with open(path, "wb") as f:
            f.truncate(300 * 1024 * 1024)
    return {
        "fifo": ("NOT_A_FILE", os.mkfifo),
        "directory": ("NOT_A_FILE", os.mkdir),
        "device": ("NOT_A_FILE", lambda path: os.symlink("/dev/zero", path)),
        "terminal": ("NOT_A_FILE", lambda path: os.symlink("/dev/tty", path)),
        "link-to-directory": ("NOT_A_FILE", lambda path: os.symlink("/", path)),
        "link-that-does-not-read": ("UNREADABLE", lambda path: os.symlink("/proc/self/mem", path)),
        "link-to-nothing": ("BROKEN_LINK", lambda path: os.symlink("nowhere", path)),
        "link-in-a-circle": ("BROKEN_LINK", lambda path: os.symlink("hello.so", path)),
        "link-to-proc": ("UNSTABLE", lambda path: os.symlink("/proc/version", path)),
        "huge": ("TOO_LARGE", huge),
    }

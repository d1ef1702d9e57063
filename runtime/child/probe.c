/* probe.c - load, look, answer, end.
 *
 *   PROBE --> limits --> PROBE_STEP, dlopen --> PROBE_STEP, entry --> PROBE_STEP, tables
 *         --> is each function code? was stdin read? --> PROBED with the token, or REFUSED
 *
 * A step is written before it begins, so whoever reads knows where a process ended that says no more.
 * Blocking throughout: nothing else happens here.
 */
#include "child/probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limit.h"
#include "base/log.h"
#include "child/plugin.h"
#include "child/reach.h"
#include "child/sandbox.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/hash.h"
#include "wire/keys.h"
#include "wire/message.h"

enum { EXIT_BROKEN = 70, READ_BYTES = 4096 };

/* ---- frames -------------------------------------------------------------------------------- */

static void write_all(int fd, aiki_view bytes)
{
    for (uint64_t done = 0; done < bytes.size_bytes;) {
        ssize_t n = write(fd, bytes.data + done, (size_t)(bytes.size_bytes - done));
        if (n < 0 && errno != EINTR)
            _exit(EXIT_BROKEN); /* nobody listens any more */
        done += n > 0 ? (uint64_t)n : 0;
    }
}

#define say(fd, NAME, ...)                                                \
    do {                                                                  \
        const struct msg_##NAME m_ = {__VA_ARGS__};                       \
        aiki_writer w_;                                                   \
        buf_init(&w_);                                                    \
        uint64_t at_ = frame_begin(&w_);                                  \
        msg_##NAME##_write(&w_, &m_);                                     \
        if (frame_end(&w_, at_, WIRE_##NAME, 0) != AIKI_OK)               \
            _exit(EXIT_BROKEN);                                           \
        write_all(fd, aiki_writer_view(&w_));                             \
        buf_deinit(&w_);                                                  \
    } while (0)

/* in: keeps the bytes that *ret borrows from. */
static bool read_probe(int fd, aiki_writer *in, struct msg_PROBE *ret)
{
    struct frame f;
    uint64_t size;
    aiki_error err;
    aiki_status st;
    while ((st = frame_read(aiki_writer_view(in), &f, &size, &err)) == AIKI_PENDING) {
        char chunk[READ_BYTES];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0)
            aiki_mp_raw(in, chunk, (uint64_t)n);
    }
    return st == AIKI_OK && f.type == WIRE_PROBE && msg_PROBE_read(f.payload, ret, &err) == AIKI_OK;
}

/* ---- limits -------------------------------------------------------------------------------- */

static void limit(__rlimit_resource_t what, rlim_t most)
{
    const struct rlimit l = {most, most};
    (void)setrlimit(what, &l); /* lowering cannot fail */
}

/* Of the memory of a host that has too little of it nothing that serves is taken first. */
static void be_first_to_go(void)
{
    AUTO(close_fd) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    (void)!write(fd, "1000", 4); /* what is missing then is only caution */
}

static void set_limits(const struct msg_PROBE *m)
{
    const struct rlimit cpu = {m->cpu_s, m->cpu_s + 1}; /* SIGXCPU first, then SIGKILL */
    limit(RLIMIT_CORE, 0); /* a plugin's memory may hold secrets */
    (void)setrlimit(RLIMIT_CPU, &cpu);
    limit(RLIMIT_FSIZE, PROBE_FILE_BYTES_MAX);
    limits_take_files(m->files_max);
    be_first_to_go();
    reach_limit_probe();
}

/* ---- looking ------------------------------------------------------------------------------- */

struct place {
    uintptr_t address;
    uintptr_t base; /* of the object whose code it is */
    bool is_code;
};

static int find_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct place *p = arg;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type == PT_LOAD && (h->p_flags & PF_X) != 0 &&
            p->address - info->dlpi_addr - h->p_vaddr < h->p_memsz) {
            p->base = info->dlpi_addr;
            p->is_code = true;
            return 1;
        }
    }
    return 0;
}

static struct place place_of(uintptr_t address)
{
    struct place p = {.address = address};
    (void)dl_iterate_phdr(find_object, &p);
    return p;
}

/* What its addresses in memory are ahead of those in its file. */
static uintptr_t base_of(const struct plugin *p)
{
    struct link_map *map = NULL;
    return dlinfo(p->handle, RTLD_DI_LINKMAP, &map) == 0 ? map->l_addr : 0;
}

static aiki_status no_code(const char *what, const char *name, uintptr_t address, aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "BAD_HANDLER",
                      "the function of %s %s is at 0x%llx, where no code is; look at what its table "
                      "was filled with",
                      what, name, (unsigned long long)address);
}

static void put_entry(aiki_writer *entries, const char *name, const struct place *at, uintptr_t own_base)
{
    aiki_mp_array(entries, 2);
    aiki_mp_str(entries, name);
    aiki_mp_uint(entries, at->base == own_base ? at->address - at->base : 0);
}

/* And where they are in the file, for the search for what workflows must not call. */
static aiki_status check_functions(const struct plugin *p, aiki_writer *entries, aiki_error *err)
{
    uintptr_t own_base = base_of(p);
    aiki_mp_array(entries, p->workflow_count + p->task_count);
    for (uint32_t i = 0; i < p->workflow_count; i++) {
        const aiki_workflow_def *f = &p->workflows[i].def;
        struct place at = place_of((uintptr_t)f->fn);
        if (!at.is_code)
            return no_code("workflow", f->name, at.address, err);
        char name[2 * NAME_BYTES_MAX + 2]; /* both were checked */
        snprintf(name, sizeof(name), "%s@%s", f->name, f->version);
        put_entry(entries, name, &at, own_base);
    }
    for (uint32_t i = 0; i < p->task_count; i++) {
        struct place at = place_of((uintptr_t)p->tasks[i].def.fn);
        if (!at.is_code)
            return no_code("task", p->tasks[i].def.name, at.address, err);
        put_entry(entries, "", &at, own_base);
    }
    return AIKI_OK;
}

/* The intake left some bytes to be read; those of a plugin's operator are none of its business. */
static aiki_status check_input(int unread_before, aiki_error *err)
{
    int unread = 0;
    if (ioctl(STDIN_FILENO, FIONREAD, &unread) == 0 && unread == unread_before)
        return AIKI_OK;
    return error_code(err, AIKI_INVALID, "LOAD_READS_INPUT",
                      "it reads or closes its standard input while it is loaded; look at its "
                      "constructors");
}

static uint64_t step; /* PROBE_* */

static void on_step(enum plugin_step next, void *arg)
{
    static const uint64_t steps[] = {[PLUGIN_OPENING] = PROBE_OPENS,
                                     [PLUGIN_ASKING] = PROBE_ASKS,
                                     [PLUGIN_READING] = PROBE_READS};
    step = steps[next];
    say(*(const int *)arg, PROBE_STEP, .step = step);
}

static int line_fd; /* for the signal handler */

/* One line more, and the end: PROBE_STEP in memory of its own, as the one who was interrupted may be
 * allocating. */
static void on_refused(int number, siginfo_t *info, void *context)
{
    static uint8_t memory[256];
    const struct msg_PROBE_STEP m = {.step = step, .refused = (uint64_t)info->si_syscall + 1,
                                     .reaches = info->si_errno == REACH_REFUSED};
    aiki_writer w;
    (void)context;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    uint64_t at = frame_begin(&w);
    msg_PROBE_STEP_write(&w, &m);
    if (frame_end(&w, at, WIRE_PROBE_STEP, 0) == AIKI_OK)
        write_all(line_fd, aiki_writer_view(&w));
    (void)signal(number, SIG_DFL); /* with a number that exists, as is raising it */
    (void)raise(number);
}

static aiki_status confine(int fd, const struct msg_PROBE *m, const char *path, aiki_error *err)
{
    const struct sigaction act = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO};
    struct sandbox sandbox;
    line_fd = fd;
    if (!sandbox_parse(m->sandbox, &sandbox))
        return error_set(err, AIKI_CORRUPT, "a sandbox that does not parse");
    if (sigaction(SIGSYS, &act, NULL) != 0)
        return error_set(err, AIKI_INTERNAL, "no handler: %s", strerror(errno));
    return sandbox_enter(&sandbox, path, err);
}

static void probe(int fd, const struct msg_PROBE *m)
{
    AUTO(buf) aiki_writer descriptor;
    AUTO(buf) aiki_writer entries;
    AUTO(buf) aiki_writer map;
    AUTO(free) char *path = view_dup(m->path);
    struct plugin p = {.on_step = on_step, .on_step_arg = &fd};
    aiki_error err = AIKI_ERROR_INIT;
    int unread = 0;

    buf_init(&descriptor);
    buf_init(&entries);
    buf_init(&map);
    (void)ioctl(STDIN_FILENO, FIONREAD, &unread); /* 0 then, as it is afterwards */
    aiki_status st = path != NULL ? confine(fd, m, path, &err)
                                  : error_set(&err, AIKI_NOMEM, "no memory to load a plugin");
    if (st == AIKI_OK)
        st = plugin_load(&p, path, &descriptor, &err);
    if (st == AIKI_OK)
        st = check_functions(&p, &entries, &err);
    if (st == AIKI_OK)
        st = check_input(unread, &err);
    if (st == AIKI_OK) {
        say(fd, PROBED, .token = m->token, .descriptor = aiki_writer_view(&descriptor),
            .entries = aiki_writer_view(&entries));
        return;
    }
    error_write(&map, &err);
    say(fd, REFUSED, .status = st, .error = aiki_writer_view(&map));
}

/* What it uses is looked at once more from outside. */
static void await_end(int fd)
{
    char c;
    ssize_t n;
    do
        n = read(fd, &c, 1);
    while (n > 0 || (n < 0 && errno == EINTR));
}

int probe_main(int fd)
{
    AUTO(buf) aiki_writer in;
    struct msg_PROBE m;

    buf_init(&in);
    hash_setup();
    if (!read_probe(fd, &in, &m)) {
        log_error("intake", "nobody says what to probe on descriptor %d; --probe is for "
                            "aiki-runtime itself", fd);
        return EXIT_BROKEN;
    }
    set_limits(&m);
    probe(fd, &m);
    await_end(fd);
    _exit(EXIT_SUCCESS); /* no exit handlers: the plugin may have left some */
}

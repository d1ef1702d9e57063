/* blame.c - see blame.h. */
#include "base/blame.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/clock.h"

enum { EXIT_LOOK_S = 2, EXITS_AT_ONCE = 8 };
enum { TAG_BEGIN = 1, TAG_END = 2 }; /* not in texts that people print */

static struct blame_page *page; /* the child's; set before there are threads */
static pid_t owner;             /* whose page that is: not that of a process which plugin code forks */
static atomic_uint slots_taken;
static atomic_int threads[BLAME_SLOTS]; /* ids; 0: none yet. Not on the page: it is only for us */
static _Thread_local struct blame_slot *mine;

/* ---- broker ------------------------------------------------------------------------------ */

/* A child that could shrink it would end its broker with SIGBUS. */
static bool fix_size(int fd)
{
    return ftruncate(fd, sizeof(struct blame_page)) == 0 &&
           fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

struct blame_page *blame_create(int *ret_fd)
{
    int fd = memfd_create("aiki-blame", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *map = MAP_FAILED;
    if (fd >= 0 && fix_size(fd))
        map = mmap(NULL, sizeof(struct blame_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        if (fd >= 0)
            (void)close(fd);
        return NULL;
    }
    *ret_fd = fd;
    struct blame_page *made = map;
    for (unsigned i = 0; i < BLAME_SEALED; i++)
        made->slots[i].seal = BLAME_SEAL;
    return made;
}

bool blame_is_sound(const struct blame_page *p)
{
    for (unsigned i = 0; i < BLAME_SEALED; i++)
        if (p->slots[i].seal != BLAME_SEAL)
            return false;
    return true;
}

void blame_destroy(struct blame_page *p)
{
    if (p != NULL)
        (void)munmap(p, sizeof(*p)); /* mapped by blame_create, so it is there */
}

/* The text up to `end`, which is skipped. */
static aiki_view take_word(aiki_view *line, char end)
{
    const uint8_t *at = line->size_bytes > 0 ? memchr(line->data, end, line->size_bytes) : NULL;
    aiki_view word = {line->data, at != NULL ? (uint64_t)(at - line->data) : 0};
    if (at == NULL)
        return (aiki_view){NULL, 0};
    line->data = at + 1;
    line->size_bytes -= word.size_bytes + 1;
    return word;
}

/* 1 to 9 digits. */
static bool read_number(aiki_view digits, uint32_t *ret)
{
    *ret = 0;
    for (uint64_t i = 0; i < digits.size_bytes; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return false;
        *ret = *ret * 10 + (uint32_t)(digits.data[i] - '0');
    }
    return digits.size_bytes > 0 && digits.size_bytes < 10;
}

struct blame_said blame_read_tag(aiki_view line)
{
    struct blame_said said = {.attempt = 0};
    if (line.size_bytes < 2 || line.data[0] != TAG_BEGIN)
        return said;
    aiki_view rest = {line.data + 1, line.size_bytes - 1};
    said.run = take_word(&rest, ' ');
    bool has_number = read_number(take_word(&rest, ' '), &said.attempt);
    said.name = take_word(&rest, TAG_END);
    if (said.run.size_bytes != AIKI_ID_TEXT_SIZE - 1 || !has_number || said.name.data == NULL ||
        said.name.size_bytes >= BLAME_NAME_SIZE)
        return (struct blame_said){.attempt = 0};
    said.size_bytes = (size_t)(rest.data - line.data);
    return said;
}

/* ---- child ------------------------------------------------------------------------------- */

static bool is_protected; /* set before there are threads that execute code */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER; /* while the slots of a protected page are open */

/* Of a protected page: up to the gap. */
static bool allow(int access)
{
    return mprotect(page, offsetof(struct blame_page, deaths_taken), access) == 0;
}

/* False: nothing may be written. A thread that dies asks for neither of the two: what it writes lies behind the gap. */
static bool open_slots(void)
{
    if (!is_protected)
        return true;
    (void)pthread_mutex_lock(&writing); /* ours, and not held by this thread */
    if (allow(PROT_READ | PROT_WRITE))
        return true;
    (void)pthread_mutex_unlock(&writing);
    return false;
}

static void close_slots(void)
{
    if (!is_protected)
        return;
    (void)allow(PROT_READ); /* otherwise it is as in any other process */
    (void)pthread_mutex_unlock(&writing);
}

void blame_protect(void)
{
    is_protected = page != NULL && allow(PROT_READ);
}

/* In a process that plugin code forked there is nothing of this one's to write to, or to blame. */
static bool is_copy;
static char copied_in[BLAME_NAME_SIZE];

/* It has the socket to the broker, too: it does not outlive the thread that forked it. */
static void on_copied(void)
{
    if (mine != NULL || is_copy)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* what is missing then is only haste */
    is_copy = true;
    if (mine != NULL)
        memcpy(copied_in, mine->name, sizeof(copied_in)); /* this thread filled it */
    page = NULL;
    mine = NULL;
}

/* It has come back from plugin code and would go on as if it were the child: on the same connection, with
 * the same runs. Locks that other threads held are held for ever here, so nothing but write. */
static _Noreturn void end_copy(void)
{
    static const char before[] = "FORKED in ", after[] = ": the copy of this process came back from there "
                                                         "and is ended; let it exec or _exit\n";
    ssize_t n = write(STDERR_FILENO, before, sizeof(before) - 1);
    n = n < 0 ? n : write(STDERR_FILENO, copied_in, strnlen(copied_in, sizeof(copied_in)));
    n = n < 0 ? n : write(STDERR_FILENO, after, sizeof(after) - 1);
    (void)n; /* nobody left to tell */
    _exit(BLAME_EXIT_COPY);
}

static atomic_int ends_it; /* the thread that came first */

static void on_exit_called(void);

/* Up to glibc 2.40 several threads may be in exit() at once, and each entry of its list is called by one of
 * them: the next would find nothing in its way, and end the process before the others are heard. One
 * entry is there for it, and some for those that come before it is. That the list has grown also keeps
 * exit() from going on in a part of it that another thread has freed. */
static bool catch_exits(int count)
{
    bool all = true;
    for (int i = 0; i < count; i++)
        all &= atexit(on_exit_called) == 0 && at_quick_exit(on_exit_called) == 0;
    return all;
}

/* exit() by plugin code, on whatever thread. The child itself ends with _exit. What exit() does next may
 * need a lock of a thread that was stopped: an alarm ends the process then. */
static void on_exit_called(void)
{
    if (page == NULL || getpid() != owner || atomic_load(&ends_it) == gettid())
        return; /* a forked process; or another entry of the list */
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(EXIT_LOOK_S);
    (void)catch_exits(1); /* without memory those that are left have to do */
    blame_settle(blame_dying(0));
}

static void stay(void)
{
    for (;;)
        (void)pause();
}

static void on_stop(int signal_number)
{
    (void)signal_number;
    if (mine != NULL)
        atomic_store(&page->stopped[mine - page->slots], 1);
    stay();
}

/* All else is blocked there: a thread that stands still does not crash any more. */
static bool can_be_stopped(void)
{
    struct sigaction act = {.sa_handler = on_stop, .sa_flags = SA_ONSTACK};
    (void)sigfillset(&act.sa_mask);
    return sigaction(BLAME_STOP_SIGNAL, &act, NULL) == 0;
}

/* Who runs over the end of memory beside it is hit there. */
static void *map_between_guards(int fd)
{
    size_t size = sizeof(struct blame_page);
    uint8_t *room = mmap(NULL, size + 2L * BLAME_GAP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    return mmap(room + BLAME_GAP, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
}

aiki_status blame_attach(int fd)
{
    struct stat about;
    void *map = MAP_FAILED;
    if (fstat(fd, &about) == 0 && about.st_size == (off_t)sizeof(struct blame_page))
        map = map_between_guards(fd);
    (void)close(fd);
    if (map == MAP_FAILED || !catch_exits(EXITS_AT_ONCE) || pthread_atfork(NULL, NULL, on_copied) != 0 || !can_be_stopped())
        return AIKI_INTERNAL;
    page = map;
    owner = getpid();
    return AIKI_OK;
}

void blame_thread(void)
{
    unsigned number = atomic_fetch_add(&slots_taken, 1);
    if (page == NULL || number >= BLAME_SLOTS)
        return;
    mine = &page->slots[number];
    atomic_store(&threads[number], gettid());
}

void blame_enter(const struct blame_code *code)
{
    struct blame_slot *s = mine;
    errno = 0;
    if (s == NULL || !open_slots())
        return;
    s->run = code->run;
    s->attempt = code->attempt;
    s->nth = code->nth;
    s->address = code->address != NULL ? *code->address : (struct address){{0}};
    size_t size = strnlen(code->name, sizeof(s->name) - 1);
    memcpy(s->name, code->name, size);
    s->name[size] = '\0';
    if (code->attempt > 0) /* this thread alone writes it */
        atomic_store_explicit(&s->attempts, atomic_load_explicit(&s->attempts, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    atomic_store_explicit(&s->busy, 1, memory_order_release);
    close_slots();
}

void blame_leave(int64_t mono_ms)
{
    if (mine == NULL) {
        if (is_copy)
            end_copy();
        return;
    }
    if (!open_slots())
        return;
    atomic_store_explicit(&mine->left_mono_ms, mono_ms, memory_order_relaxed);
    atomic_store_explicit(&mine->busy, 0, memory_order_release);
    close_slots();
}

size_t blame_tag(char text[BLAME_TAG_SIZE])
{
    char run[AIKI_ID_TEXT_SIZE];
    if (mine == NULL || atomic_load_explicit(&mine->busy, memory_order_relaxed) == 0)
        return 0;
    id_text(&mine->run, run);
    int n = snprintf(text, BLAME_TAG_SIZE, "%c%s %u %s%c", TAG_BEGIN, run, mine->attempt, mine->name, TAG_END);
    return n > 0 && n < BLAME_TAG_SIZE ? (size_t)n : 0;
}

/* ---- the end ----------------------------------------------------------------------------- */

static atomic_uint closed; /* by the thread that came first: it has heard whoever was to be heard */

/* Its place is not waited for. The process ends a moment later: not by this thread, unless it is the one
 * that does so. */
static void come_too_late(unsigned number)
{
    if (number < BLAME_DEATHS_MAX)
        atomic_store(&page->deaths[number].told, 1);
    if (atomic_load(&ends_it) != gettid())
        stay();
}

struct blame_death *blame_dying(int signal)
{
    if (page == NULL || getpid() != owner)
        return NULL;
    unsigned number = atomic_fetch_add(&page->deaths_taken, 1);
    if (atomic_load(&closed) != 0) {
        come_too_late(number);
        return NULL;
    }
    if (number >= BLAME_DEATHS_MAX)
        return NULL;
    struct blame_death *d = &page->deaths[number];
    d->signal = (uint32_t)signal;
    atomic_store(&d->thread, (mine != NULL ? (unsigned)(mine - page->slots) : BLAME_FOREIGN) + 1);
    return d;
}

static unsigned death_count(void)
{
    unsigned count = atomic_load(&page->deaths_taken);
    return count < BLAME_DEATHS_MAX ? count : BLAME_DEATHS_MAX;
}

static bool has_died(unsigned slot)
{
    for (unsigned i = 0, count = death_count(); i < count; i++)
        if (atomic_load(&page->deaths[i].thread) == slot + 1)
            return true;
    return false;
}

/* Every thread that has a slot, those that begin meanwhile included. */
static bool others_stand_still(bool stop_sent[BLAME_SLOTS])
{
    unsigned count = atomic_load(&slots_taken);
    pid_t self = gettid();
    bool all = true;
    for (unsigned i = 0; i < count && i < BLAME_SLOTS; i++) {
        int id = atomic_load(&threads[i]);
        if (id == 0 || id == self || atomic_load(&page->stopped[i]) != 0 || has_died(i))
            continue;
        all = false;
        if (!stop_sent[i])
            (void)tgkill(getpid(), id, BLAME_STOP_SIGNAL); /* gone: then it did nothing */
        stop_sent[i] = true;
    }
    return all;
}

/* Who has a place has an account, or will find in a moment that it came too late. */
static bool all_have_told(void)
{
    for (unsigned i = 0, count = death_count(); i < count; i++)
        if (atomic_load(&page->deaths[i].told) == 0)
            return false;
    return true;
}

/* How long the others take for their stacks is limited by whoever set an alarm. */
static void wait_for_others(void)
{
    static bool stop_sent[BLAME_SLOTS]; /* one thread comes here */
    const struct timespec moment = {0, 100 * 1000};
    int64_t until_ms = clock_mono_ms() + BLAME_STOP_MS_MAX;
    while (!others_stand_still(stop_sent) && clock_mono_ms() < until_ms)
        (void)nanosleep(&moment, NULL); /* too short is only a further look */
    atomic_store(&closed, 1); /* before the look: who took a place and did not see it is waited for */
    while (!all_have_told())
        (void)nanosleep(&moment, NULL);
}

void blame_settle(struct blame_death *death)
{
    int nobody = 0;
    if (page == NULL || getpid() != owner)
        return;
    if (death != NULL)
        atomic_store(&death->told, 1);
    if (atomic_compare_exchange_strong(&ends_it, &nobody, gettid()))
        wait_for_others();
    else if (nobody != gettid()) /* it may crash once more in what exit() does */
        stay();
}

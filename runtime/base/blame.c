/* blame.c - see blame.h. */
#include "base/blame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

static struct blame_page *page; /* the child's; set before there are threads */
static atomic_uint slots_taken;
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
    return map;
}

void blame_destroy(struct blame_page *p)
{
    if (p != NULL)
        (void)munmap(p, sizeof(*p)); /* mapped by blame_create, so it is there */
}

/* ---- child ------------------------------------------------------------------------------- */

/* exit() by plugin code, on whatever thread. The child itself ends with _exit. */
static void on_exit_called(void)
{
    (void)blame_dying(0); /* all there is to say */
}

aiki_status blame_attach(int fd)
{
    struct stat about;
    void *map = MAP_FAILED;
    if (fstat(fd, &about) == 0 && about.st_size == (off_t)sizeof(struct blame_page))
        map = mmap(NULL, sizeof(struct blame_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (map == MAP_FAILED || atexit(on_exit_called) != 0 || at_quick_exit(on_exit_called) != 0)
        return AIKI_INTERNAL;
    page = map;
    return AIKI_OK;
}

void blame_thread(void)
{
    unsigned number = atomic_fetch_add(&slots_taken, 1);
    if (page != NULL && number < BLAME_SLOTS)
        mine = &page->slots[number];
}

void blame_enter(const struct blame_code *code)
{
    struct blame_slot *s = mine;
    if (s == NULL)
        return;
    s->run = code->run;
    s->attempt = code->attempt;
    s->nth = code->nth;
    s->address = code->address != NULL ? *code->address : (struct address){{0}};
    size_t size = strnlen(code->name, sizeof(s->name) - 1);
    memcpy(s->name, code->name, size);
    s->name[size] = '\0';
    atomic_store_explicit(&s->busy, 1, memory_order_release);
}

void blame_leave(int64_t mono_ms)
{
    if (mine == NULL)
        return;
    atomic_store_explicit(&mine->left_mono_ms, mono_ms, memory_order_relaxed);
    atomic_store_explicit(&mine->busy, 0, memory_order_release);
}

struct blame_page *blame_dying(int signal)
{
    if (page == NULL)
        return NULL;
    unsigned nobody = 0;
    unsigned slot = mine != NULL ? (unsigned)(mine - page->slots) : BLAME_FOREIGN;
    if (!atomic_compare_exchange_strong(&page->dying, &nobody, slot + 1))
        return NULL;
    page->signal = (uint32_t)signal;
    return page;
}

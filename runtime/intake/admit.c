/* admit.c - from a file that anybody may still be writing to a copy that nobody else can touch. */
#include "intake/admit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "intake/elf.h"
#include "wire/error.h"
#include "wire/hash.h"

static aiki_status unreadable(aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "UNREADABLE", "cannot read it: %s; check its permissions",
                      strerror(errno));
}

/* O_NONBLOCK: opening a FIFO must not wait for its writer. Symbolic links are followed; they are
 * how release directories are switched. */
static aiki_status open_regular(const char *path, int *ret_fd, struct stat *ret_stat,
                                aiki_error *err)
{
    if (stat(path, ret_stat) != 0)
        return errno == ENOENT ? error_set(err, AIKI_STALE, "gone again") : unreadable(err);
    if (!S_ISREG(ret_stat->st_mode))
        return error_code(err, AIKI_INVALID, "NOT_A_FILE",
                          "not a regular file; put the plugin itself there");
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return unreadable(err);
    if (fstat(fd, ret_stat) != 0 || !S_ISREG(ret_stat->st_mode)) {
        close(fd);
        return error_set(err, AIKI_STALE, "replaced while it was opened");
    }
    *ret_fd = fd;
    return AIKI_OK;
}

static bool same_content(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static aiki_status cache_failed(const char *path, aiki_error *err)
{
    return error_code(err, AIKI_UNAVAILABLE, "CACHE_WRITE",
                      "cannot write the copy %s: %s; make room there or choose another --state",
                      path, strerror(errno));
}

static aiki_status copy_bytes(int from, int to, const char *to_path, const struct stat *before,
                              aiki_error *err)
{
    uint8_t chunk[64 * 1024];
    uint64_t total = 0;
    (void)posix_fadvise(from, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint; no harm if refused */
    for (;;) {
        ssize_t n = read(from, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return unreadable(err);
        if (n == 0)
            break;
        total += (uint64_t)n;
        if (total > (uint64_t)before->st_size)
            return error_set(err, AIKI_STALE, "grew while it was read");
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, chunk + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR)
                return cache_failed(to_path, err);
            done += w > 0 ? w : 0;
        }
    }
    struct stat after;
    if (fstat(from, &after) != 0 || !same_content(before, &after) ||
        total != (uint64_t)before->st_size)
        return error_set(err, AIKI_STALE, "changed while it was read");
    return AIKI_OK;
}

static aiki_status hash_and_check(int fd, uint64_t size, struct admission *ret, aiki_error *err)
{
    void *map = NULL;
    if (size > 0) {
        map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            return error_set(err, AIKI_NOMEM, "cannot map %llu bytes", (unsigned long long)size);
    }
    aiki_view bytes = {map, size};
    hash_parts(ret->build, &bytes, 1);
    aiki_status st = elf_check(bytes, err);
    if (map != NULL)
        munmap(map, size);
    return st;
}

/* DIR/7.draft becomes DIR/BUILD.7.so. */
static aiki_status give_final_name(const char *draft, struct admission *a, aiki_error *err)
{
    char hex[BUILD_HEX_SIZE];
    const char *name = strrchr(draft, '/') + 1;
    build_hex(a->build, hex);
    int n = snprintf(a->copy, sizeof(a->copy), "%.*s%s.%.*s.so", (int)(name - draft), draft, hex,
                     (int)strcspn(name, "."), name);
    if (n >= (int)sizeof(a->copy) || rename(draft, a->copy) != 0)
        return cache_failed(draft, err);
    return AIKI_OK;
}

aiki_status admit_copy(const char *path, const char *draft_path, struct admission *ret,
                       aiki_error *err)
{
    struct stat before;
    AUTO(close_fd) int from = -1;
    AUTO(close_fd) int to = -1;
    memset(ret->build, 0, sizeof(ret->build));
    aiki_status st = open_regular(path, &from, &before, err);
    if (st != AIKI_OK)
        return st;
    if (before.st_size > PLUGIN_BYTES_MAX)
        return error_code(err, AIKI_LIMIT, "TOO_LARGE",
                          "%lld bytes are over PLUGIN_BYTES_MAX (%d); strip it with strip -g",
                          (long long)before.st_size, PLUGIN_BYTES_MAX);
    to = open(draft_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return cache_failed(draft_path, err);
    st = copy_bytes(from, to, draft_path, &before, err);
    if (st == AIKI_OK)
        st = hash_and_check(to, (uint64_t)before.st_size, ret, err);
    if (st == AIKI_OK)
        st = give_final_name(draft_path, ret, err);
    if (st != AIKI_OK)
        (void)unlink(draft_path);
    return st;
}

void admission_init(struct admission *a)
{
    memset(a, 0, sizeof(*a));
    probe_answer_init(&a->answer);
}

void admission_deinit(struct admission *a)
{
    probe_answer_deinit(&a->answer);
}

aiki_status admit_file(const char *path, const char *draft_path,
                       const struct admit_options *options, struct admission *ret, aiki_error *err)
{
    aiki_status st = admit_copy(path, draft_path, ret, err);
    if (st != AIKI_OK)
        return st;
    st = probe_run(options->executable, ret->copy, &ret->answer, err);
    if (st != AIKI_OK)
        (void)unlink(ret->copy);
    return st;
}

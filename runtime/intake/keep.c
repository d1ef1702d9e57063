/* keep.c - names of builds on disk: a directory each, the plugin's file in it. */
#include "intake/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/lines.h"
#include "base/log.h"
#include "base/percent.h"
#include "wire/error.h"
#include "wire/hash.h"

#define SIGNATURE_NAME ".signature"
#define LINES_NAME ".lines"

enum { SCOPE_BYTES = 8, SCOPE_HEX_SIZE = 2 * SCOPE_BYTES + 1 };

struct keep {
    char directory[CACHE_PATH_SIZE];
};

aiki_status keep_create(struct keep **ret, const char *state_dir, const char *plugins_dir,
                        const char *space, aiki_error *err)
{
    AUTO(free) char *real = realpath(plugins_dir, NULL);
    uint8_t hash[BUILD_BYTES];
    char scope[SCOPE_HEX_SIZE];
    const aiki_view parts[] = {view_of(real != NULL ? real : plugins_dir), view_of(" "),
                               view_of(space)};
    hash_parts(hash, parts, 3);
    (void)sodium_bin2hex(scope, sizeof(scope), hash, SCOPE_BYTES);
    struct keep *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return error_set(err, AIKI_NOMEM, "state: %s", state_dir);
    int n = snprintf(k->directory, sizeof(k->directory), "%s/kept/%s", state_dir, scope);
    aiki_status st = n < (int)sizeof(k->directory)
                         ? cache_own_directory(k->directory, err)
                         : error_set(err, AIKI_LIMIT, "state: the path %s is too long", state_dir);
    if (st != AIKI_OK) {
        free(k);
        return st;
    }
    *ret = k;
    return AIKI_OK;
}

void keep_destroy(struct keep *k)
{
    free(k);
}

/* False: too long. */
static bool build_path(const struct keep *k, const uint8_t build[BUILD_BYTES],
                       char ret[CACHE_PATH_SIZE])
{
    char hex[BUILD_HEX_SIZE];
    build_hex(build, hex);
    return snprintf(ret, CACHE_PATH_SIZE, "%s/%s", k->directory, hex) < CACHE_PATH_SIZE;
}

/* Whole or not there, and before the plugin: a directory without one is not used. */
static bool write_signature(const char *directory, const struct build_signature *signature)
{
    char draft[CACHE_PATH_SIZE], path[CACHE_PATH_SIZE];
    if (!signature->known)
        return true;
    errno = ENAMETOOLONG;
    if (snprintf(draft, sizeof(draft), "%s/" SIGNATURE_NAME ".%d", directory, (int)getpid()) >= (int)sizeof(draft) ||
        snprintf(path, sizeof(path), "%s/" SIGNATURE_NAME, directory) >= (int)sizeof(path))
        return false;
    AUTO(close_fd) int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write(fd, signature->bytes, SIGNATURE_BYTES) == SIGNATURE_BYTES &&
                rename(draft, path) == 0;
    fault_point(runtime_kept_signed);
    return done;
}

void keep_read_signature(const char *path, struct build_signature *ret)
{
    char name[CACHE_PATH_SIZE];
    const char *slash = strrchr(path, '/');
    ret->known = false;
    if (snprintf(name, sizeof(name), "%.*s/" SIGNATURE_NAME, (int)(slash - path), path) >= (int)sizeof(name))
        return;
    AUTO(close_fd) int fd = open(name, O_RDONLY | O_CLOEXEC);
    ret->known = fd >= 0 && read(fd, ret->bytes, SIGNATURE_BYTES) == SIGNATURE_BYTES;
}

/* The path of a plugin as the name of one file. False: too long. */
static bool flatten(const char *file, char ret[NAME_MAX + 1])
{
    size_t size = 0;
    for (const char *at = file; *at != '\0'; at++) {
        bool is_plain = *at != '/' && *at != '%';
        if (size + (is_plain ? 1 : 3) > NAME_MAX)
            return false;
        if (is_plain)
            ret[size++] = *at;
        else
            size += (size_t)snprintf(ret + size, 4, "%%%02X", (unsigned)*at);
    }
    ret[size] = '\0';
    return true;
}

aiki_status keep_add(struct keep *k, const uint8_t build[BUILD_BYTES], const char *file,
                     const char *copy, const struct build_signature *signature, aiki_error *err)
{
    char directory[CACHE_PATH_SIZE], path[CACHE_PATH_SIZE], name[NAME_MAX + 1];
    if (access(k->directory, F_OK) != 0)
        (void)cache_own_directory(k->directory, NULL); /* removed to make room, perhaps; what fails then says why */
    errno = ENAMETOOLONG;
    if (build_path(k, build, directory) && flatten(file, name) &&
        snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path) &&
        (mkdir(directory, 0700) == 0 || errno == EEXIST) &&
        write_signature(directory, signature) && (link(copy, path) == 0 || errno == EEXIST))
        return AIKI_OK;
    return error_code(err, AIKI_UNAVAILABLE, "CACHE_WRITE", "cannot keep %s: %s", copy,
                      strerror(errno));
}

bool keep_read_note(const struct keep *k, const char *program,
                    const uint8_t build[BUILD_BYTES], aiki_view sandbox,
                    struct probe_answer *ret)
{
    char directory[CACHE_PATH_SIZE];
    return build_path(k, build, directory) && note_read(directory, program, build, sandbox, ret);
}

aiki_status keep_write_note(struct keep *k, const char *program,
                            const uint8_t build[BUILD_BYTES], aiki_view sandbox,
                            const struct probe_answer *answer, aiki_error *err)
{
    char directory[CACHE_PATH_SIZE];
    errno = ENAMETOOLONG;
    if (build_path(k, build, directory) && note_write(directory, program, build, sandbox, answer))
        return AIKI_OK;
    return error_code(err, AIKI_UNAVAILABLE, "CACHE_WRITE", "cannot write what its probe said: %s",
                      strerror(errno));
}

void keep_touch(struct keep *k, const uint8_t build[BUILD_BYTES])
{
    char directory[CACHE_PATH_SIZE];
    if (build_path(k, build, directory))
        (void)utimensat(AT_FDCWD, directory, NULL, 0); /* not kept: it has no age to change */
}

void keep_remove(struct keep *k, const uint8_t build[BUILD_BYTES])
{
    char directory[CACHE_PATH_SIZE];
    if (build_path(k, build, directory))
        cache_remove_directory(directory);
}

/* ---- source lines, and the bytes themselves ------------------------------------------------ */

/* The first plugin in it; an empty directory is what a kill left. */
static bool find_file(const char *directory, char ret_file[NAME_MAX + 1])
{
    DIR *d = opendir(directory);
    bool found = false;
    if (d == NULL)
        return false;
    for (struct dirent *e = readdir(d); e != NULL && !found; e = readdir(d)) {
        found = e->d_name[0] != '.';
        if (found)
            (void)snprintf(ret_file, NAME_MAX + 1, "%s", e->d_name);
    }
    closedir(d);
    return found;
}

static bool lines_paths(const struct keep *k, const uint8_t build[BUILD_BYTES], const char *copy,
                        char ret_kept[CACHE_PATH_SIZE], char ret_beside[CACHE_PATH_SIZE])
{
    char directory[CACHE_PATH_SIZE];
    return build_path(k, build, directory) && lines_path(copy, ret_beside, CACHE_PATH_SIZE) &&
           snprintf(ret_kept, CACHE_PATH_SIZE, "%s/" LINES_NAME, directory) < CACHE_PATH_SIZE;
}

void keep_write_lines(struct keep *k, const uint8_t build[BUILD_BYTES], const char *copy)
{
    char kept[CACHE_PATH_SIZE], beside[CACHE_PATH_SIZE];
    if (!lines_paths(k, build, copy, kept, beside))
        return;
    (void)unlink(kept); /* of an earlier release, perhaps */
    (void)link(beside, kept); /* most builds have none; otherwise the next start makes it again */
    fault_point(runtime_kept_lines);
}

/* After a power cut a file may be there without its bytes. */
static bool is_whole(const char *path)
{
    struct lines_head head;
    struct stat s;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode) &&
           pread(fd, &head, sizeof(head), 0) == sizeof(head) && lines_fit(&head, (uint64_t)s.st_size);
}

void keep_lend_lines(const struct keep *k, const uint8_t build[BUILD_BYTES], const char *copy)
{
    char kept[CACHE_PATH_SIZE], beside[CACHE_PATH_SIZE];
    if (lines_paths(k, build, copy, kept, beside) && is_whole(kept))
        (void)link(kept, beside); /* another copy has it already, perhaps */
}

static bool copy_path(const struct keep *k, const uint8_t build[BUILD_BYTES], char ret[CACHE_PATH_SIZE])
{
    char directory[CACHE_PATH_SIZE], name[NAME_MAX + 1];
    return build_path(k, build, directory) && find_file(directory, name) &&
           snprintf(ret, CACHE_PATH_SIZE, "%s/%s", directory, name) < CACHE_PATH_SIZE;
}

bool keep_lend_copy(const struct keep *k, const uint8_t build[BUILD_BYTES], const char *as)
{
    char path[CACHE_PATH_SIZE];
    return copy_path(k, build, path) && link(path, as) == 0;
}

void keep_forget_copy(const struct keep *k, const uint8_t build[BUILD_BYTES])
{
    char path[CACHE_PATH_SIZE];
    if (copy_path(k, build, path))
        (void)unlink(path); /* without it nothing else of the build counts */
}

/* ---- listing ------------------------------------------------------------------------------- */

static int64_t age_ms(const struct stat *s)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ms = ((int64_t)now.tv_sec - (int64_t)s->st_mtim.tv_sec) * 1000 +
                 (now.tv_nsec - s->st_mtim.tv_nsec) / 1000000;
    return ms > 0 ? ms : 0;
}

static bool parse_build(const char *name, uint8_t ret[BUILD_BYTES])
{
    size_t size = 0;
    return strlen(name) == 2 * (size_t)BUILD_BYTES &&
           sodium_hex2bin(ret, BUILD_BYTES, name, strlen(name), NULL, &size, NULL) == 0 &&
           size == BUILD_BYTES;
}

void keep_each(struct keep *k,
               void (*fn)(const uint8_t build[BUILD_BYTES], const char *file, const char *path,
                          int64_t age_ms, void *arg),
               void *arg)
{
    DIR *d = opendir(k->directory);
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        uint8_t build[BUILD_BYTES];
        char directory[CACHE_PATH_SIZE], path[CACHE_PATH_SIZE], name[NAME_MAX + 1], file[NAME_MAX + 1];
        struct stat s;
        if (!parse_build(e->d_name, build) || !build_path(k, build, directory))
            continue;
        if (!find_file(directory, name)) {
            cache_remove_directory(directory);
            continue;
        }
        if (!percent_decode(name, strlen(name), file, sizeof(file)))
            (void)snprintf(file, sizeof(file), "%s", name); /* kept before names were flattened */
        if (stat(directory, &s) == 0 &&
            snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path))
            fn(build, file, path, age_ms(&s), arg);
    }
    closedir(d);
}

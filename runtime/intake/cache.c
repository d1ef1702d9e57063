/* cache.c - make, lock and sweep the directories that hold plugin copies. */
#include "intake/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "wire/error.h"

enum {
    DRAFT_TAIL_SIZE = 32, /* "/.COUNTER.draft" behind a directory */
    CACHE_TRIES_MAX = 32
};

struct cache {
    char directory[CACHE_PATH_SIZE - DRAFT_TAIL_SIZE];
    int lock_fd; /* the directory itself; the lock ends with the process */
    uint64_t counter;
};

void build_hex(const uint8_t build[BUILD_BYTES], char ret_text[BUILD_HEX_SIZE])
{
    for (int i = 0; i < BUILD_BYTES; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", build[i]);
}

void cache_default_state_dir(char ret_path[CACHE_PATH_SIZE])
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (geteuid() == 0)
        snprintf(ret_path, CACHE_PATH_SIZE, "/var/lib/aiki");
    else if (xdg != NULL && xdg[0] == '/')
        snprintf(ret_path, CACHE_PATH_SIZE, "%s/aiki", xdg);
    else if (home != NULL && home[0] == '/')
        snprintf(ret_path, CACHE_PATH_SIZE, "%s/.local/state/aiki", home);
    else
        snprintf(ret_path, CACHE_PATH_SIZE, "/tmp/aiki-%u", (unsigned)geteuid());
}

/* mkdir -p with mode 0700 for what is missing. */
static int make_directories(const char *path)
{
    char at[CACHE_PATH_SIZE];
    if (snprintf(at, sizeof(at), "%s", path) >= (int)sizeof(at)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *slash = strchr(at + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(at, 0700) != 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return mkdir(at, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

aiki_status cache_own_directory(const char *path, aiki_error *err)
{
    struct stat s;
    if (make_directories(path) != 0 || stat(path, &s) != 0)
        return error_code(err, AIKI_UNAVAILABLE, "STATE_DIR", "state: cannot make %s: %s", path,
                          strerror(errno));
    if (s.st_uid != geteuid() || (s.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return error_code(err, AIKI_DENIED, "STATE_DIR",
                          "state: %s must belong to uid %u and be writable by nobody else; "
                          "chown it and chmod 700",
                          path, (unsigned)geteuid());
    return AIKI_OK;
}

void cache_remove_directory(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        (void)unlinkat(dirfd(d), e->d_name, 0); /* "." and ".." fail, which is right */
    closedir(d);
    (void)rmdir(path); /* not empty: another runtime's, or somebody else's; it stays visible to the operator */
}

static void sweep(const char *cache_dir)
{
    DIR *d = opendir(cache_dir);
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[CACHE_PATH_SIZE];
        if (e->d_name[0] == '.' ||
            snprintf(path, sizeof(path), "%s/%s", cache_dir, e->d_name) >= (int)sizeof(path))
            continue;
        AUTO(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            cache_remove_directory(path);
    }
    closedir(d);
}

/* False: nobody's, or that of a sweep, which came between the two and removes it. errno says why. */
static bool make_and_lock(struct cache *c)
{
    struct stat s;
    if (mkdir(c->directory, 0700) != 0)
        return false;
    fault_point(runtime_cache_made);
    c->lock_fd = open(c->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->lock_fd < 0)
        return false;
    fault_point(runtime_cache_opened);
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) == 0 && fstat(c->lock_fd, &s) == 0 && s.st_nlink > 0)
        return true;
    cleanup_close_fd(&c->lock_fd);
    c->lock_fd = -1;
    errno = ENOENT;
    return false;
}

/* Others that start at the same time sweep; one of them may take a new directory for a left one. */
static aiki_status make_directory(struct cache *c, const char *state_dir, aiki_error *err)
{
    for (int i = 0; i < CACHE_TRIES_MAX; i++) {
        uint32_t random = 0;
        (void)getrandom(&random, sizeof(random), 0); /* a clash shows as EEXIST */
        if (snprintf(c->directory, sizeof(c->directory), "%s/cache/%d-%08x", state_dir, (int)getpid(),
                     random) >= (int)sizeof(c->directory))
            return error_set(err, AIKI_LIMIT, "state: the path %s is too long", state_dir);
        if (make_and_lock(c))
            return AIKI_OK;
        if (errno != ENOENT)
            break;
    }
    return error_code(err, AIKI_UNAVAILABLE, "STATE_DIR", "state: cannot make %s: %s", c->directory,
                      strerror(errno));
}

void cache_mend(struct cache *c)
{
    struct stat s;
    char parent[CACHE_PATH_SIZE];
    aiki_error err = AIKI_ERROR_INIT;
    if (lstat(c->directory, &s) == 0 || errno != ENOENT)
        return;
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(c->directory, '/') - c->directory), c->directory);
    if (c->lock_fd >= 0)
        close(c->lock_fd); /* of what was removed */
    c->lock_fd = -1;
    if (cache_own_directory(parent, &err) == AIKI_OK && make_and_lock(c))
        log_warn("intake", "%s was removed, and is there again; leave it alone while the runtime is there", c->directory);
}

aiki_status cache_create(struct cache **ret, const char *state_dir, aiki_error *err)
{
    char parent[CACHE_PATH_SIZE];
    struct cache *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return error_set(err, AIKI_NOMEM, "state: %s", state_dir);
    c->lock_fd = -1;
    aiki_status st = cache_own_directory(state_dir, err);
    if (st != AIKI_OK)
        goto out;
    if (snprintf(parent, sizeof(parent), "%s/cache", state_dir) >= (int)sizeof(parent)) {
        st = error_set(err, AIKI_LIMIT, "state: the path %s is too long", state_dir);
        goto out;
    }
    st = cache_own_directory(parent, err);
    if (st != AIKI_OK)
        goto out;
    sweep(parent);
    st = make_directory(c, state_dir, err);
    if (st != AIKI_OK)
        goto out;
    *ret = c;
    c = NULL;
out:
    cache_destroy(c);
    return st;
}

void cache_destroy(struct cache *c)
{
    if (c == NULL)
        return;
    if (c->lock_fd >= 0) {
        cache_remove_directory(c->directory);
        close(c->lock_fd);
    }
    free(c);
}

aiki_status cache_link(struct cache *c, const char *copy, const uint8_t build[BUILD_BYTES],
                       char ret_path[CACHE_PATH_SIZE], aiki_error *err)
{
    char hex[BUILD_HEX_SIZE];
    build_hex(build, hex);
    cache_mend(c);
    int n = snprintf(ret_path, CACHE_PATH_SIZE, "%s/%s.%llu.so", c->directory, hex,
                     (unsigned long long)++c->counter);
    if (n < CACHE_PATH_SIZE && link(copy, ret_path) == 0)
        return AIKI_OK;
    return error_code(err, AIKI_UNAVAILABLE, "CACHE_WRITE", "cannot link %s: %s", copy,
                      n < CACHE_PATH_SIZE ? strerror(errno) : "its name is too long");
}

void cache_draft_path(struct cache *c, char ret_path[CACHE_PATH_SIZE])
{
    cache_mend(c);
    snprintf(ret_path, CACHE_PATH_SIZE, "%s/%llu.draft", c->directory,
             (unsigned long long)++c->counter);
}

/* sqlite_file.c - the database file: where it is, whose it is, who has it.
 *
 * One server per file. The lock is an open-file-description lock on PATH.lock: the kernel drops
 * it when the process ends, however that happens, so a restart after kill -9 waits for nothing.
 * It cannot be on the database itself: closing any descriptor of that file would drop the locks
 * SQLite holds on it (POSIX fcntl).
 */
#include "store/sqlite_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/sqlite_schema.h"
#include "wire/error.h"

enum { DIRECTORY_MODE = 0700, FILE_MODE = 0600 };

static aiki_status refuse(aiki_error *err, const char *what, const char *path)
{
    int why = errno;
    aiki_status st = why == EACCES || why == EPERM || why == EROFS     ? AIKI_DENIED
                     : why == ENOSPC || why == EDQUOT || why == EMFILE ? AIKI_LIMIT
                     : why == ENOMEM                                   ? AIKI_NOMEM
                                                                       : AIKI_INVALID;
    return error_set(err, st, "cannot %s %s: %s", what, path, strerror(why));
}

/* A new name in a directory is only there for good when the directory is on disk. */
static aiki_status sync_parent(const char *path, aiki_error *err)
{
    AUTO(free) char *copy = strdup(path);
    if (copy == NULL)
        return error_set(err, AIKI_NOMEM, "%s", path);
    AUTO(close_fd) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return refuse(err, "write the directory above", path);
    return AIKI_OK;
}

static aiki_status make_directory(const char *path, aiki_error *err)
{
    if (mkdir(path, DIRECTORY_MODE) == 0)
        return sync_parent(path, err);
    if (errno != EEXIST)
        return refuse(err, "create the data directory", path);
    return AIKI_OK;
}

/* The one name of the file, so that a detour through a link meets the same lock. */
static aiki_status resolve(const char *path, char **ret, aiki_error *err)
{
    AUTO(free) char *for_directory = strdup(path);
    AUTO(free) char *for_name = strdup(path);
    if (for_directory == NULL || for_name == NULL)
        return error_set(err, AIKI_NOMEM, "%s", path);
    aiki_status st = make_directory(dirname(for_directory), err);
    if (st != AIKI_OK)
        return st;

    char *found = realpath(path, NULL);
    if (found == NULL && errno == ENOENT) {
        AUTO(free) char *directory = realpath(for_directory, NULL);
        if (directory == NULL)
            return refuse(err, "open the data directory", for_directory);
        if (asprintf(&found, "%s/%s", directory, basename(for_name)) < 0)
            return error_set(err, AIKI_NOMEM, "%s", path);
    }
    if (found == NULL)
        return refuse(err, "open the database", path);
    *ret = found;
    return AIKI_OK;
}

static aiki_status taken(int fd, const char *path, aiki_error *err)
{
    char pid[24] = "";
    ssize_t size = pread(fd, pid, sizeof(pid) - 1, 0);
    if (size > 0)
        pid[strcspn(pid, "\n")] = '\0';
    return error_set(err, AIKI_CONFLICT,
                     "a server (process %s) already uses %s: stop it, or give this one a data "
                     "directory of its own",
                     pid[0] != '\0' ? pid : "unknown", path);
}

static aiki_status take_lock(const char *path, int *ret_fd, aiki_error *err)
{
    AUTO(free) char *lock_path = NULL;
    if (asprintf(&lock_path, "%s.lock", path) < 0)
        return error_set(err, AIKI_NOMEM, "%s", path);
    AUTO(close_fd) int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0)
        return refuse(err, "open the lock file", lock_path);

    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0)
        return errno == EAGAIN || errno == EACCES ? taken(fd, path, err)
                                                  : refuse(err, "lock", lock_path);
    char pid[24];
    int size = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)size, 0) != size)
        return refuse(err, "write", lock_path);
    *ret_fd = fd;
    fd = -1; /* stays open: it is the lock */
    return AIKI_OK;
}

/* Refuses a database that is not ours before SQLite's settings switch it to a write-ahead log. With
 * a log the truth may be in there, and nothing is switched: schema_apply looks at those. */
static aiki_status check_format(int fd, const char *path, aiki_error *err)
{
    static const char magic[16] = "SQLite format 3";
    /* SQLite file format 1.3 */
    enum { WRITE_VERSION_AT = 18, ROLLBACK = 1, APPLICATION_ID_AT = 68, HEADER_BYTES = 72 };
    char header[HEADER_BYTES];
    ssize_t size = pread(fd, header, sizeof(header), 0);
    if (size < 0)
        return refuse(err, "read", path);
    if (size < HEADER_BYTES || memcmp(header, magic, sizeof(magic)) != 0 ||
        header[WRITE_VERSION_AT] != ROLLBACK)
        return AIKI_OK;
    uint32_t id;
    memcpy(&id, header + APPLICATION_ID_AT, sizeof(id));
    if (be32toh(id) == APPLICATION_ID)
        return AIKI_OK; /* a copy made by VACUUM INTO */
    return error_set(err, AIKI_UNSUPPORTED,
                     "%s is the database of another program; give another path", path);
}

/* SQLite gives its side files the mode of the database. */
static aiki_status check_file(const char *path, aiki_error *err)
{
    AUTO(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0)
        return refuse(err, "open the database", path);
    struct stat at;
    if (fstat(fd, &at) != 0)
        return refuse(err, "look at", path);
    if (!S_ISREG(at.st_mode))
        return error_set(err, AIKI_INVALID, "%s is not a regular file", path);
    if (at.st_uid != geteuid())
        return error_set(err, AIKI_DENIED,
                         "%s belongs to user %u, this server runs as user %u: start it as the "
                         "owner, or chown the file and its -wal and -shm",
                         path, at.st_uid, geteuid());
    aiki_status st = check_format(fd, path, err);
    if (st == AIKI_OK && (at.st_mode & 07777) != FILE_MODE && fchmod(fd, FILE_MODE) != 0)
        st = refuse(err, "make private", path);
    return st;
}

aiki_status sqlite_file_claim(const char *path, struct sqlite_file *ret, aiki_error *err)
{
    struct sqlite_file f = {NULL, -1};
    if (path[0] == '\0')
        return error_set(err, AIKI_INVALID, "store url: sqlite:PATH, the path is missing");
    aiki_status st = resolve(path, &f.path, err);
    if (st == AIKI_OK)
        st = take_lock(f.path, &f.lock_fd, err);
    if (st == AIKI_OK)
        st = check_file(f.path, err);
    if (st != AIKI_OK) {
        sqlite_file_release(&f);
        return st;
    }
    *ret = f;
    return AIKI_OK;
}

void sqlite_file_release(struct sqlite_file *f)
{
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    free(f->path);
    *f = (struct sqlite_file){NULL, -1};
}

/* trust.c - walk a path component by component and look at each.
 *
 *   rest "srv/aiki/current/hello.so", at "/" --> openat(at, "srv") --directory--> at = it
 *                                                    |--link--> rest = its target + rest
 *                                                    `--last one--> the file
 */
#include "intake/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "wire/error.h"

enum { NAMES_BYTES = 16 * 1024 };

struct walk {
    int at;               /* directory that was reached, O_PATH */
    int found;            /* what the last component is, O_PATH; -1 while on the way */
    char rest[PATH_MAX];  /* still to go */
    char name[NAME_MAX + 1];
    struct stat stat;     /* of what was looked at last */
    unsigned links;
    const char *path;
    aiki_error *doubt;
};

/* ---- the rule ------------------------------------------------------------------------------ */

static bool is_ours(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/* Named after this user and without other members, as systems make them for each user. */
static bool is_private_group(gid_t gid)
{
    struct group group, *g = NULL;
    struct passwd user, *u = NULL;
    char group_names[NAMES_BYTES], user_names[NAMES_BYTES];
    if (getgrgid_r(gid, &group, group_names, sizeof(group_names), &g) != 0 || g == NULL ||
        getpwuid_r(geteuid(), &user, user_names, sizeof(user_names), &u) != 0 || u == NULL)
        return false;
    for (char **member = g->gr_mem; *member != NULL; member++)
        if (strcmp(*member, u->pw_name) != 0)
            return false;
    return u->pw_gid == gid && strcmp(g->gr_name, u->pw_name) == 0;
}

/* The first finding is kept. */
static void judge(struct walk *w, const char *name)
{
    const struct stat *s = &w->stat;
    mode_t others = s->st_mode & (S_IWGRP | S_IWOTH);
    if (w->doubt->status != AIKI_OK)
        return;
    if (!is_ours(s->st_uid)) {
        (void)error_code(w->doubt, AIKI_DENIED, "UNTRUSTED_OWNER",
                         "%.60s (on the way %.90s) belongs to uid %u, who could change what runs "
                         "here; chown it to root or to the runtime's user",
                         name, w->path, s->st_uid);
        return;
    }
    if (S_ISLNK(s->st_mode) || others == 0 || (S_ISDIR(s->st_mode) && (s->st_mode & S_ISVTX)) ||
        (others == S_IWGRP && is_private_group(s->st_gid)))
        return;
    (void)error_code(w->doubt, AIKI_DENIED, "UNTRUSTED_MODE",
                     "%.60s (on the way %.90s) may be written by others (mode %04o); chmod go-w it",
                     name, w->path, s->st_mode & 07777u);
}

/* ---- the walk ------------------------------------------------------------------------------ */

static bool walk_from_root(struct walk *w)
{
    if (w->at >= 0)
        close(w->at);
    w->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->at < 0 || fstat(w->at, &w->stat) != 0)
        return false;
    judge(w, "/");
    return true;
}

static bool walk_begin(struct walk *w, const char *path, aiki_error *doubt_to)
{
    char here[PATH_MAX] = "";
    *w = (struct walk){.at = -1, .found = -1, .path = path, .doubt = doubt_to};
    *doubt_to = (aiki_error)AIKI_ERROR_INIT;
    if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL)
        return false;
    if (snprintf(w->rest, sizeof(w->rest), "%s/%s", here, path) >= (int)sizeof(w->rest)) {
        errno = ENAMETOOLONG;
        return false;
    }
    return walk_from_root(w);
}

static void walk_end(struct walk *w)
{
    if (w->at >= 0)
        close(w->at);
    if (w->found >= 0)
        close(w->found);
}

/* Its target takes the place of a link in what is still to go. */
static bool walk_link(struct walk *w, int link_fd)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t n = readlinkat(link_fd, "", target, sizeof(target) - 1);
    if (n <= 0 || ++w->links > TRUST_LINKS_MAX) {
        errno = n < 0 ? errno : ELOOP;
        return false;
    }
    target[n] = '\0';
    if (snprintf(rest, sizeof(rest), "%s/%s", target, w->rest) >= (int)sizeof(rest)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(w->rest, rest, sizeof(rest));
    return target[0] != '/' || walk_from_root(w);
}

/* Cut the next component off. False when there is none. */
static bool next_name(struct walk *w)
{
    const char *from = w->rest + strspn(w->rest, "/");
    size_t size = strcspn(from, "/");
    if (size == 0 || size > NAME_MAX)
        return false;
    memcpy(w->name, from, size);
    w->name[size] = '\0';
    from += size;
    memmove(w->rest, from, strlen(from) + 1);
    return true;
}

/* One component further; w->found is what the last one names. */
static bool walk_step(struct walk *w)
{
    int fd = openat(w->at, w->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool last = w->rest[strspn(w->rest, "/")] == '\0', ok = fstat(fd, &w->stat) == 0;
    if (ok)
        judge(w, w->name);
    if (ok && S_ISLNK(w->stat.st_mode)) {
        ok = walk_link(w, fd);
        close(fd);
        return ok;
    }
    if (ok && last) {
        w->found = fd;
        return true;
    }
    if (ok && S_ISDIR(w->stat.st_mode)) {
        close(w->at);
        w->at = fd;
        return true;
    }
    errno = ok ? ENOTDIR : errno;
    close(fd);
    return false;
}

static bool walk(struct walk *w, const char *path, aiki_error *doubt_to)
{
    if (!walk_begin(w, path, doubt_to))
        return false;
    while (w->found < 0 && next_name(w))
        if (!walk_step(w))
            return false;
    return true;
}

/* ---- what is asked ------------------------------------------------------------------------- */

aiki_status trust_unreadable(aiki_error *err)
{
    const char *why = strerror(errno);
    switch (errno) {
    case EACCES:
    case EPERM:
        return error_code(err, AIKI_DENIED, "UNREADABLE",
                          "cannot read it: %s; let uid %u read it and enter the directories on the way", why,
                          (unsigned)geteuid());
    case EMFILE:
    case ENFILE:
        return error_code(err, AIKI_UNAVAILABLE, "UNREADABLE", "cannot read it: %s; raise ulimit -n, or fs.file-max",
                          why);
    default:
        return error_code(err, AIKI_UNAVAILABLE, "UNREADABLE",
                          "cannot read it: %s; look at its disk and at what the kernel logs of it", why);
    }
}

static aiki_status unreadable(const struct walk *w, aiki_error *err)
{
    int error = errno;
    struct stat s;
    bool is_link = lstat(w->path, &s) == 0 && S_ISLNK(s.st_mode);
    if (error == ELOOP)
        return error_code(err, AIKI_INVALID, "BROKEN_LINK",
                          "links on the way to it lead in a circle, or are over TRUST_LINKS_MAX (%d); make them lead to a "
                          "file",
                          TRUST_LINKS_MAX);
    if (is_link && (error == ENOENT || error == ENOTDIR))
        return error_code(err, AIKI_INVALID, "BROKEN_LINK",
                          "it is a link that leads to nothing; put the file there, or make the link lead to it");
    if (error == ENOENT || error == ENOTDIR)
        return error_set(err, AIKI_STALE, "gone again");
    errno = error;
    return trust_unreadable(err);
}

/* O_NONBLOCK: opening a FIFO must not wait for its writer, should one have taken the file's place. */
static aiki_status open_found(const struct walk *w, int *ret_fd, struct stat *ret_stat,
                              aiki_error *err)
{
    if (w->found < 0 || !S_ISREG(w->stat.st_mode))
        return error_code(err, AIKI_INVALID, "NOT_A_FILE",
                          "not a regular file; put the plugin itself there");
    int fd = openat(w->at, w->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno == ELOOP ? error_set(err, AIKI_STALE, "replaced while it was opened")
                              : unreadable(w, err);
    if (fstat(fd, ret_stat) != 0 || ret_stat->st_dev != w->stat.st_dev ||
        ret_stat->st_ino != w->stat.st_ino) {
        close(fd);
        return error_set(err, AIKI_STALE, "replaced while it was opened");
    }
    *ret_fd = fd;
    return AIKI_OK;
}

aiki_status trust_open(const char *path, int *ret_fd, struct stat *ret_stat,
                       aiki_error *ret_doubt, aiki_error *err)
{
    struct walk w;
    aiki_status st = walk(&w, path, ret_doubt) ? open_found(&w, ret_fd, ret_stat, err)
                                               : unreadable(&w, err);
    walk_end(&w);
    return st;
}

aiki_status trust_directory(const char *path, aiki_error *err)
{
    struct walk w;
    aiki_error found;
    aiki_status st = AIKI_OK;
    if (!walk(&w, path, &found) && errno != ENOENT)
        st = unreadable(&w, err);
    walk_end(&w);
    if (st == AIKI_OK && found.status != AIKI_OK)
        st = error_code(err, found.status, found.code, "%s", found.message);
    return st;
}

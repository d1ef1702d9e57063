/* identity.c - see identity.h. */
#include "intake/identity.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

enum presence identity_look(const char *dir, const char *text, struct identity *ret)
{
    struct stat s, root;
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", dir, text) >= (int)sizeof(path))
        return GONE; /* the system has no such path */
    bool leads = stat(path, &s) == 0;
    if (!leads && lstat(path, &s) != 0)
        return (errno == ENOENT || errno == ENOTDIR) && stat(dir, &root) == 0 ? GONE : UNSURE;
    *ret = (struct identity){.device = s.st_dev,
                             .inode = s.st_ino,
                             .size = s.st_size,
                             .modified = s.st_mtim,
                             .changed = s.st_ctim,
                             .mode = s.st_mode,
                             .owner = s.st_uid,
                             .leads = leads || !S_ISLNK(s.st_mode)};
    return THERE;
}

bool identity_entry(const char *dir, const char *text, struct stat *ret)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof(path), "%s/%s", dir, text) < (int)sizeof(path) && lstat(path, ret) == 0;
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           is_same_time(&a->modified, &b->modified) && is_same_time(&a->changed, &b->changed);
}

bool identity_changed_hands(const struct identity *before, const struct identity *now)
{
    return now->inode == before->inode && is_same_time(&now->modified, &before->modified) &&
           (now->mode != before->mode || now->owner != before->owner);
}

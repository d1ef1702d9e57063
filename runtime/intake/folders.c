/* folders.c - which directories are watched, told anew by each scan. */
#include "intake/folders.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

#include "wire/error.h"

void folders_begin(struct folders *fs)
{
    memcpy(fs->before, fs->all, fs->count * sizeof(fs->all[0]));
    fs->before_count = fs->count;
    fs->count = fs->known = 0;
    fs->over_limit = fs->blind = false;
}

/* As the last round found it; NULL: it is new. */
static const struct folder *before(const struct folders *fs, const char *path)
{
    for (unsigned i = 0; i < fs->before_count; i++)
        if (strcmp(fs->before[i].path, path) == 0)
            return &fs->before[i];
    return NULL;
}

bool folders_had(const struct folders *fs, const char *path)
{
    return before(fs, path) != NULL;
}

static unsigned depth_of(const char *path)
{
    unsigned depth = 1;
    for (const char *at = path; (at = strchr(at, '/')) != NULL; at++)
        depth++;
    return depth;
}

static void pass_over(struct folders *fs, const char *path)
{
    char what[FOLDER_PATH_SIZE + 2];
    aiki_error err = AIKI_ERROR_INIT;
    (void)snprintf(what, sizeof(what), "%s/", path);
    (void)error_code(&err, AIKI_LIMIT, "FOLDER_LIMIT",
                     "it is not looked into: over FOLDERS_MAX (%d directories), FOLDERS_DEPTH_MAX (%d levels), or its path "
                     "has more than %d bytes; move its plugins",
                     FOLDERS_MAX, FOLDERS_DEPTH_MAX, FOLDER_PATH_SIZE - 1);
    troubles_add(fs->troubles, what, &err);
    fs->over_limit = true;
}

/* By path, so that a directory swapped in under the same name is followed. */
static int watch(struct folders *fs, const char *root, const char *path)
{
    char whole[4096];
    errno = ENAMETOOLONG;
    int id = snprintf(whole, sizeof(whole), "%s/%s", root, path) < (int)sizeof(whole)
                 ? inotify_add_watch(fs->inotify_fd, whole, fs->events | IN_DONT_FOLLOW)
                 : -1;
    if (id < 0 && errno != ENOENT && errno != ENOTDIR) {
        troubles_add_folder(fs->troubles, root, path, errno);
        fs->blind = true;
    }
    return id;
}

void folders_add(struct folders *fs, const char *root, const char *path)
{
    bool is_known = folders_had(fs, path);
    fs->known += is_known;
    if ((!is_known && fs->count - fs->known + fs->before_count >= FOLDERS_MAX) ||
        depth_of(path) > FOLDERS_DEPTH_MAX || strlen(path) >= FOLDER_PATH_SIZE) {
        pass_over(fs, path);
        return;
    }
    struct folder *new = &fs->all[fs->count++];
    (void)snprintf(new->path, sizeof(new->path), "%s", path);
    new->watch_id = watch(fs, root, path);
}

bool folders_end(struct folders *fs)
{
    for (unsigned i = 0; i < fs->before_count; i++)
        if (fs->before[i].watch_id >= 0 && folders_find(fs, fs->before[i].watch_id) == NULL)
            (void)inotify_rm_watch(fs->inotify_fd, fs->before[i].watch_id); /* gone already: fine */
    return fs->over_limit && fs->known < fs->before_count;
}

const char *folders_find(const struct folders *fs, int watch_id)
{
    for (unsigned i = 0; i < fs->count; i++)
        if (watch_id >= 0 && fs->all[i].watch_id == watch_id)
            return fs->all[i].path;
    return NULL;
}

/* links.c - find the links on a path and watch the names that decide where it leads. */
#include "intake/links.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 40 };

/* No CREATE: what is created is not complete yet; links are mostly renamed into place. */
static const uint32_t link_events = IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE |
                                    IN_ONLYDIR | IN_MASK_ADD;

void links_begin(struct links *l)
{
    l->blind = false;
    for (unsigned i = 0; i < l->count; i++)
        l->all[i].used = false;
}

static void watch_name(struct links *l, const char *dir, const char *name)
{
    int id = inotify_add_watch(l->inotify_fd, dir, link_events);
    l->blind |= id < 0;
    if (id < 0 || strlen(name) >= LINK_NAME_SIZE)
        return; /* a rescan has to do */
    for (unsigned i = 0; i < l->count; i++) {
        if (l->all[i].watch_id == id && strcmp(l->all[i].name, name) == 0) {
            l->all[i].used = true;
            return;
        }
    }
    l->blind |= l->count == LINKS_MAX;
    if (l->count == LINKS_MAX)
        return;
    struct link *new = &l->all[l->count++];
    *new = (struct link){.watch_id = id, .used = true};
    (void)snprintf(new->name, sizeof(new->name), "%s", name);
}

/* The first link on path: its directory and name are watched and path becomes where it leads. False
 * when there is none. */
static bool follow_one(struct links *l, char path[PATH_MAX])
{
    for (char *end = strchr(path + 1, '/');; end = strchr(end + 1, '/')) {
        char at[PATH_MAX], target[PATH_MAX], next[2 * PATH_MAX];
        struct stat s;
        int size = end != NULL ? (int)(end - path) : (int)strlen(path);
        (void)snprintf(at, sizeof(at), "%.*s", size, path);
        if (lstat(at, &s) == 0 && S_ISLNK(s.st_mode)) {
            ssize_t n = readlink(at, target, sizeof(target) - 1);
            char *name = strrchr(at, '/');
            if (n <= 0 || name == NULL)
                return false;
            target[n] = '\0';
            *name++ = '\0';
            watch_name(l, at[0] != '\0' ? at : "/", name);
            int all = snprintf(next, sizeof(next), "%s%s%s%s", target[0] == '/' ? "" : at,
                               target[0] == '/' ? "" : "/", target, end != NULL ? end : "");
            if (all >= PATH_MAX)
                return false;
            memcpy(path, next, (size_t)all + 1);
            return true;
        }
        if (end == NULL)
            return false;
    }
}

void links_add(struct links *l, const char *from)
{
    char path[PATH_MAX], here[PATH_MAX] = "";
    unsigned depth = 0;
    if (from[0] != '/' && getcwd(here, sizeof(here)) == NULL)
        return;
    if (snprintf(path, sizeof(path), "%s%s%s", here, from[0] != '/' ? "/" : "", from) >=
        (int)sizeof(path))
        return;
    while (depth < DEPTH_MAX && follow_one(l, path))
        depth++;
    char *name = strrchr(path, '/');
    if (depth == 0 || name == NULL || name == path)
        return;
    *name = '\0';
    watch_name(l, path, name + 1);
}

static bool is_needed(const struct links *l, int watch_id)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->all[i].used && l->all[i].watch_id == watch_id)
            return true;
    return false;
}

void links_end(struct links *l, bool (*is_other)(int watch_id, const void *arg), const void *arg)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < l->count; i++)
        if (!l->all[i].used && !is_other(l->all[i].watch_id, arg) && !is_needed(l, l->all[i].watch_id))
            (void)inotify_rm_watch(l->inotify_fd, l->all[i].watch_id); /* gone already: fine */
    for (unsigned i = 0; i < l->count; i++)
        if (l->all[i].used)
            l->all[kept++] = l->all[i];
    l->count = kept;
}

bool links_match(const struct links *l, int watch_id, const char *name)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->all[i].watch_id == watch_id && strcmp(l->all[i].name, name) == 0)
            return true;
    return false;
}

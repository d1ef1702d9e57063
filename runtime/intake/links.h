/* intake/links.h - notice when the links on a path, or what they lead to, are switched. [loop]
 *
 *   plugins/hello.so -> ../current/hello.so,  current -> releases/7
 *
 * inotify on plugins/ sees nothing of a switch of `current`. So each directory that holds a link on the
 * way, and the one that holds its end, is watched for that one name. Limit: LINKS_MAX names; beyond it
 * a rescan of watch.h has to notice.
 */
#ifndef INTAKE_LINKS_H
#define INTAKE_LINKS_H

#include <aiki/status.h>

enum { LINKS_MAX = 256, LINK_NAME_SIZE = 256 };

struct links {
    int inotify_fd; /* borrowed */
    unsigned count;
    bool blind; /* this round could not watch all */
    struct link {
        int watch_id;
        bool used; /* by the round under way */
        char name[LINK_NAME_SIZE];
    } all[LINKS_MAX];
};

/* A round: begin, each path, end. What no path of the round needs is no longer watched, but for the
 * watches of somebody else's on the same inotify_fd. */
void links_begin(struct links *l);
void links_add(struct links *l, const char *path);
void links_end(struct links *l, bool (*is_other)(int watch_id, const void *arg), const void *arg);
bool links_match(const struct links *l, int watch_id, const char *name);

#endif

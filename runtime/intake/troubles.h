/* intake/troubles.h - what keeps the watch from looking at all of a plugins directory. [loop]
 *
 *   a round of watch.c: begin, add..., end --new, or other than in the round before--> fn(what, err)
 *                                          --no more-------------------------------> fn(what, NULL)
 *
 * Told by name, as they are listed: "./" is the plugins directory, "shop/" a directory in it, all else a file.
 * Limit: TROUBLES_MAX a round; of what is beyond the log has the number.
 */
#ifndef INTAKE_TROUBLES_H
#define INTAKE_TROUBLES_H

#include <aiki/status.h>

enum { TROUBLES_MAX = 64, TROUBLE_NAME_SIZE = 256 };

struct trouble {
    char what[TROUBLE_NAME_SIZE]; /* printable, cut if need be */
    aiki_error err;
};

struct troubles {
    unsigned count, before_count;
    unsigned more, said_more; /* beyond the limit; what the log has */
    struct trouble all[TROUBLES_MAX];
    struct trouble before[TROUBLES_MAX]; /* of the last round */
};

void troubles_begin(struct troubles *t);
/* The first about the same name counts. */
void troubles_add(struct troubles *t, const char *what, const aiki_error *err);
/* A directory cannot be watched or read: error of that call. path: relative; "" is the plugins directory, which is at
 * root. WATCH_AGAIN_MS is how often it is looked at meanwhile. */
void troubles_add_folder(struct troubles *t, const char *root, const char *path, int error);
void troubles_end(struct troubles *t, void (*fn)(const char *what, const aiki_error *err, void *arg), void *arg);

#endif

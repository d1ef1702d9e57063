/* intake/folders.h - the directories below the plugins directory that are looked into. [loop]
 *
 * Each is named by its path relative to the plugins directory and watched by itself. Links to directories
 * are not followed, and names with a dot in front or .so behind are passed over. Limits: FOLDERS_MAX directories,
 * FOLDERS_DEPTH_MAX levels, paths of FOLDER_PATH_SIZE - 1 bytes; what is beyond them is not looked into
 * (FOLDER_LIMIT). Those that were found first keep their place.
 */
#ifndef INTAKE_FOLDERS_H
#define INTAKE_FOLDERS_H

#include <aiki/status.h>

#include "intake/troubles.h"

enum { FOLDERS_MAX = 64, FOLDERS_DEPTH_MAX = 4, FOLDER_PATH_SIZE = 256 };

struct folder {
    int watch_id; /* -1: cannot be watched, the rescan has to do */
    char path[FOLDER_PATH_SIZE];
};

struct folders {
    int inotify_fd; /* borrowed */
    uint32_t events;
    struct troubles *troubles; /* borrowed: of the same round */
    unsigned count, before_count;
    unsigned known; /* of this round, that the one before it had found */
    struct folder all[FOLDERS_MAX];
    struct folder before[FOLDERS_MAX]; /* what the last round found */
    bool over_limit;
    bool blind; /* one of them could not be watched in this round */
};

/* A round: begin, each directory that is there, end. What the round does not name is no longer watched. */
void folders_begin(struct folders *fs);
/* It is a directory, root the plugins directory. */
void folders_add(struct folders *fs, const char *root, const char *path);
/* During a round: the round before it had found that directory, too. */
bool folders_had(const struct folders *fs, const char *path);
/* True: another round finds more, because directories went that this one had still kept room for. */
bool folders_end(struct folders *fs);
/* The path of the directory with this watch, or NULL. */
const char *folders_find(const struct folders *fs, int watch_id);

#endif

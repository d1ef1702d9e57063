/* intake/watch.h - say which plugins of a directory came, changed or went. [loop]
 *
 * A plugin's name is its path relative to the directory: hello.so, shop/hello.so. Directories in it are looked
 * into as folders.h says; one that comes, goes or is renamed asks for a rescan.
 * inotify names what to look at; a name is looked at once it was quiet for WATCH_QUIET_MS, so
 * that the several events of one installation count once. A file must be absent for
 * WATCH_ABSENT_MS before it counts as removed: installers delete first. It is not removed when it is only not known
 * whether it is there: its directory cannot be entered, the plugins directory itself is gone. A link that leads nowhere
 * is a plugin that cannot be read. A rescan on overflow,
 * when the directory itself is moved, deleted or opened to others, when a link on the way to it or to a
 * plugin is switched (links.h), and every WATCH_RESCAN_MS backs the events up; every WATCH_AGAIN_MS while something
 * cannot be watched, or a link leads nowhere. A signature, NAME.so.sig,
 * that comes or changes makes its plugin be looked at.
 * Dot-files, names without .so and what watch_ignore names are ignored. What else is not looked at is told by on_trouble:
 * BAD_FILE_NAME, FOLDER_UNREADABLE, FOLDER_LIMIT, INOTIFY, PLUGINS_DIR, and TOO_MANY_FILES, as the limit is
 * WATCH_NAMES_MAX plugins.
 */
#ifndef INTAKE_WATCH_H
#define INTAKE_WATCH_H

#include <aiki/status.h>
#include <uv.h>

#include "intake/names.h"

enum {
    WATCH_QUIET_MS = 20,
    WATCH_ABSENT_MS = 1000,
    WATCH_AGAIN_MS = 1000,
    WATCH_RESCAN_MS = 30000,
    WATCH_NAMES_MAX = 1024
};

struct watch;
struct watch_callbacks {
    void (*on_changed)(const char *name, void *arg); /* may be the same bytes as before */
    void (*on_removed)(const char *name, void *arg);
    /* What is not looked at, and why; err NULL: that is over. what: troubles.h. Of a file that was not reported. */
    void (*on_trouble)(const char *what, const aiki_error *err, void *arg);
};

/* AIKI_NOT_FOUND when dir is not a directory. Nothing is reported before watch_start. */
aiki_status watch_create(struct watch **ret, uv_loop_t *loop, const char *dir,
                         const struct watch_callbacks *cb, void *arg, aiki_error *err);
/* Files that are not looked at: patterns of names.h, such as "*-test.so,old-*"; of a directory that matches
 * everything is ignored. They are checked before and borrowed for the watch's life. Before watch_start. */
void watch_ignore(struct watch *w, const char *patterns);
/* Reports, from inside this call, every plugin that is there now. */
void watch_start(struct watch *w);
/* Look at a name again soon: it changed while it was read. */
void watch_again(struct watch *w, const char *name);
/* Report it once more at the next rescan: what speaks against it may be mended elsewhere. */
void watch_doubt(struct watch *w, const char *name);
void watch_close(struct watch *w, void (*on_closed)(void *arg), void *closed_arg);

#endif

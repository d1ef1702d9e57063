/* intake/watch.h - say which plugins of a directory came, changed or went. [loop]
 *
 * A plugin's name is its path relative to the directory: hello.so, shop/hello.so. Directories in it are looked
 * into as folders.h says; one that comes, goes or is renamed asks for a rescan.
 * inotify names what to look at; a name is looked at once it was quiet for WATCH_QUIET_MS, so
 * that the several events of one installation count once. A file must be absent for
 * WATCH_ABSENT_MS before it counts as removed: installers delete first. A rescan on overflow,
 * when the directory itself is moved, deleted or opened to others, when a link on the way to it or to a
 * plugin is switched (links.h), and every WATCH_RESCAN_MS backs the events up. A signature, NAME.so.sig,
 * that comes or changes makes its plugin be looked at.
 * Dot-files, names without .so and what watch_ignore names are ignored. Limit: WATCH_NAMES_MAX plugins; more are not looked
 * at, and the log says so.
 */
#ifndef INTAKE_WATCH_H
#define INTAKE_WATCH_H

#include <aiki/status.h>
#include <uv.h>

enum {
    WATCH_QUIET_MS = 20,
    WATCH_ABSENT_MS = 1000,
    WATCH_RESCAN_MS = 30000,
    WATCH_NAMES_MAX = 1024,
    WATCH_NAME_SIZE = 256
};

struct watch;
struct watch_callbacks {
    void (*on_changed)(const char *name, void *arg); /* may be the same bytes as before */
    void (*on_removed)(const char *name, void *arg);
};

/* AIKI_NOT_FOUND when dir is not a directory. Nothing is reported before watch_start. */
aiki_status watch_create(struct watch **ret, uv_loop_t *loop, const char *dir,
                         const struct watch_callbacks *cb, void *arg, aiki_error *err);
/* Files that are not looked at: patterns (glob(7)) with commas between them, such as "*-test.so,old-*";
 * the whole name or its last part matches, and of a directory that matches everything is ignored. They are
 * checked before and borrowed for the watch's life. Before watch_start. */
void watch_ignore(struct watch *w, const char *patterns);
/* AIKI_INVALID: one is longer than a name can be. [any] */
aiki_status watch_patterns_check(const char *patterns, aiki_error *err);
/* Reports, from inside this call, every plugin that is there now. */
void watch_start(struct watch *w);
/* Look at a name again soon: it changed while it was read. */
void watch_again(struct watch *w, const char *name);
/* Report it once more at the next rescan: what speaks against it may be mended elsewhere. */
void watch_doubt(struct watch *w, const char *name);
void watch_close(struct watch *w, void (*on_closed)(void *arg), void *closed_arg);

#endif

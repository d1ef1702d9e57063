/* watch.c - names become due, due names are looked at.
 *
 *   inotify event --> name.due = now + quiet --timer--> stat: there?   --> on_changed
 *   rescan: there and different, or gone  --^                 missing? --> due = now + absent,
 *                                                             still missing? --> on_removed
 *
 * A name is the path of a file relative to the plugins directory.
 */
#include "intake/watch.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "intake/folders.h"
#include "intake/identity.h"
#include "intake/links.h"
#include "intake/troubles.h"
#include "wire/error.h"

static const uint32_t watched_events = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM |
                                       IN_DELETE | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF |
                                       IN_ONLYDIR | IN_MASK_ADD;

struct name {
    struct name *next;
    char text[WATCH_NAME_SIZE];
    struct identity reported; /* as of the last on_changed */
    bool present;             /* reported and not yet removed */
    bool seen;                /* by the rescan under way */
    int64_t due_mono_ms;      /* 0 = nothing to look at */
    int64_t missing_mono_ms;  /* since when the file is gone; 0 = it is not */
};

struct watch {
    uv_loop_t *loop;
    char *dir;
    const char *ignore; /* patterns, borrowed; or NULL */
    struct watch_callbacks cb;
    void *arg;
    int inotify_fd, watch_id;
    struct links links;
    struct folders folders; /* below dir */
    struct troubles troubles;
    uv_poll_t poll;
    uv_timer_t due, rescan;
    struct name *names;
    unsigned name_count, open_handles;
    bool over_limit; /* there are more plugins than names may be */
    bool lost;       /* dir cannot be watched, or not be read */
    bool started;    /* what is found now came just now, and may be on its way still */
    bool closing;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static bool is_wanted(const struct watch *w, const char *text)
{
    return name_is_plugin(text) && !name_matches(w->ignore, text);
}

void watch_ignore(struct watch *w, const char *patterns)
{
    w->ignore = patterns;
}

static enum presence look(const struct watch *w, const char *text, struct identity *ret)
{
    return identity_look(w->dir, text, ret);
}

static bool entry(const struct watch *w, const char *text, struct stat *ret)
{
    return identity_entry(w->dir, text, ret);
}

static bool is_symlink(const struct watch *w, const char *text)
{
    struct stat s;
    return entry(w, text, &s) && S_ISLNK(s.st_mode);
}

/* All but an ordinary file appear complete with their CREATE event; that one is done at CLOSE_WRITE. */
static bool is_complete(const struct watch *w, const char *text)
{
    struct stat s;
    return entry(w, text, &s) && (!S_ISREG(s.st_mode) || s.st_nlink > 1);
}

static struct name *find(struct watch *w, const char *text)
{
    for (struct name *n = w->names; n != NULL; n = n->next)
        if (strcmp(n->text, text) == 0)
            return n;
    return NULL;
}

static struct name *find_or_add(struct watch *w, const char *text)
{
    struct name *n = find(w, text);
    if (n != NULL)
        return n;
    if (w->name_count == WATCH_NAMES_MAX) {
        w->over_limit = true;
        return NULL;
    }
    n = calloc(1, sizeof(*n));
    if (n == NULL)
        return NULL; /* the next rescan tries again */
    assert(strlen(text) < sizeof(n->text)); /* name_check has passed it */
    memcpy(n->text, text, strlen(text) + 1);
    n->next = w->names;
    w->names = n;
    w->name_count++;
    return n;
}

static void forget(struct watch *w, struct name *gone)
{
    for (struct name **at = &w->names; *at != NULL; at = &(*at)->next) {
        if (*at == gone) {
            *at = gone->next;
            free(gone);
            w->name_count--;
            return;
        }
    }
}

static void on_due(uv_timer_t *t);

/* The timer stands at the earliest due name. */
static void arm(struct watch *w)
{
    int64_t first = 0;
    for (struct name *n = w->names; n != NULL; n = n->next)
        if (n->due_mono_ms != 0 && (first == 0 || n->due_mono_ms < first))
            first = n->due_mono_ms;
    if (w->closing || first == 0) {
        uv_timer_stop(&w->due);
        return;
    }
    int64_t wait_ms = first - clock_mono_ms();
    uv_timer_start(&w->due, on_due, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void on_rescan(uv_timer_t *t);

/* Several events of one switch are one rescan. */
static void rescan_soon(struct watch *w)
{
    if (uv_timer_get_due_in(&w->rescan) > WATCH_QUIET_MS)
        uv_timer_start(&w->rescan, on_rescan, WATCH_QUIET_MS, WATCH_RESCAN_MS);
}

static void report(struct watch *w, struct name *n, const struct identity *now)
{
    n->reported = *now;
    n->present = true;
    n->due_mono_ms = n->missing_mono_ms = 0;
    if (!now->leads)
        rescan_soon(w); /* which goes on until it leads somewhere */
    w->cb.on_changed(n->text, w->arg);
}

/* One that served and leads nowhere now is on its way elsewhere, perhaps. */
static bool is_missing(const struct name *n, enum presence presence, const struct identity *now)
{
    return presence == GONE || (n->present && n->reported.leads && !now->leads);
}

static void settle(struct watch *w, struct name *n, int64_t now_ms)
{
    struct identity now = {.size = 0};
    enum presence presence = look(w, n->text, &now);
    n->due_mono_ms = 0;
    if (presence == UNSURE) {
        rescan_soon(w); /* which tells why */
    } else if (!is_missing(n, presence, &now)) {
        report(w, n, &now);
        return;
    } else if (n->present) {
        if (n->missing_mono_ms == 0)
            n->missing_mono_ms = now_ms;
        if (now_ms - n->missing_mono_ms < WATCH_ABSENT_MS) {
            n->due_mono_ms = n->missing_mono_ms + WATCH_ABSENT_MS;
            return;
        }
        if (presence == THERE) {
            report(w, n, &now);
            return;
        }
        w->cb.on_removed(n->text, w->arg);
    }
    if (presence == GONE || !n->present)
        forget(w, n);
    if (w->over_limit)
        rescan_soon(w); /* there is room for another one */
}

static void on_due(uv_timer_t *t)
{
    struct watch *w = container_of(t, struct watch, due);
    int64_t now_ms = clock_mono_ms();
    for (struct name *n = w->names, *next; n != NULL; n = next) {
        next = n->next;
        if (n->due_mono_ms != 0 && n->due_mono_ms <= now_ms)
            settle(w, n, now_ms);
    }
    arm(w);
}

void watch_again(struct watch *w, const char *text)
{
    if (w->closing)
        return;
    struct name *n = name_check(text, NULL) == AIKI_OK ? find_or_add(w, text) : NULL;
    if (n == NULL) {
        rescan_soon(w); /* which tells why it is not looked at */
        return;
    }
    n->due_mono_ms = clock_mono_ms() + WATCH_QUIET_MS;
    arm(w);
}

void watch_doubt(struct watch *w, const char *text)
{
    struct name *n = find(w, text);
    if (n != NULL)
        n->reported = (struct identity){.size = -1}; /* which nothing equals */
}

/* By path, so that a directory swapped in under the same name is followed. */
static void watch_path(struct watch *w)
{
    int id = inotify_add_watch(w->inotify_fd, w->dir, watched_events);
    w->lost = id < 0;
    if (w->lost)
        troubles_add_folder(&w->troubles, w->dir, "", errno);
    if (w->watch_id >= 0 && w->watch_id != id)
        (void)inotify_rm_watch(w->inotify_fd, w->watch_id); /* gone with its directory already? */
    w->watch_id = id;
}

static bool is_ours(int watch_id, const void *arg)
{
    const struct watch *w = arg;
    return watch_id == w->watch_id || folders_find(&w->folders, watch_id) != NULL;
}

static void follow_links(struct watch *w)
{
    char path[4096];
    links_begin(&w->links);
    links_add(&w->links, w->dir);
    for (struct name *n = w->names; n != NULL; n = n->next)
        if (is_symlink(w, n->text) && snprintf(path, sizeof(path), "%s/%s", w->dir, n->text) <
                                       (int)sizeof(path))
            links_add(&w->links, path);
    links_end(&w->links, is_ours, w);
}

/* It is there, and nobody could look at it: that is told of its directory. */
static void note_unsure(struct watch *w, const char *text, int error)
{
    char folder[2 * WATCH_NAME_SIZE];
    size_t size = (size_t)(name_last_part(text) - text);
    (void)snprintf(folder, sizeof(folder), "%.*s", size > 0 ? (int)size - 1 : 0, text);
    troubles_add_folder(&w->troubles, w->dir, folder, error);
}

static void note_too_many(struct watch *w, const char *text)
{
    aiki_error err = AIKI_ERROR_INIT;
    (void)error_code(&err, AIKI_LIMIT, "TOO_MANY_FILES",
                     "the plugins directory holds more than WATCH_NAMES_MAX (%d) plugins, and this one was not among the "
                     "first; remove some, or give a runtime of its own to some of them",
                     WATCH_NAMES_MAX);
    troubles_add(&w->troubles, text, &err);
}

/* The name it is looked at by, or NULL, and the reason is noted. */
static struct name *name_for(struct watch *w, const char *text, struct identity *ret_now)
{
    aiki_error err = AIKI_ERROR_INIT;
    if (name_check(text, &err) != AIKI_OK) {
        troubles_add(&w->troubles, text, &err);
        return NULL;
    }
    enum presence presence = look(w, text, ret_now);
    if (presence == UNSURE)
        note_unsure(w, text, errno);
    struct name *n = presence == THERE ? find_or_add(w, text) : NULL;
    if (presence == THERE && n == NULL)
        note_too_many(w, text);
    return n;
}

/* What a directory that was moved in brings is reported when it was quiet, like files that come. */
static void found(struct watch *w, const char *text, bool is_new_folder)
{
    struct identity now;
    struct name *n = is_wanted(w, text) ? name_for(w, text, &now) : NULL;
    if (n == NULL)
        return;
    n->seen = true;
    if (n->due_mono_ms != 0 || (n->present && identity_equal(&n->reported, &now)))
        return;
    if (is_missing(n, THERE, &now))
        n->due_mono_ms = clock_mono_ms();
    else if (is_new_folder && !n->present)
        n->due_mono_ms = clock_mono_ms() + WATCH_QUIET_MS;
    else
        report(w, n, &now);
}

/* Its plugins, and the directories in it, which are scanned after it. */
static void scan_entries(struct watch *w, DIR *d, const char *folder, bool is_new_folder)
{
    char text[2 * WATCH_NAME_SIZE];
    struct stat s;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.' || !name_join(folder, e->d_name, text))
            continue;
        /* A directory that calls itself a plugin is refused as one. */
        if (name_is_plugin(text) || !entry(w, text, &s) || !S_ISDIR(s.st_mode))
            found(w, text, is_new_folder);
        else if (!name_matches(w->ignore, text))
            folders_add(&w->folders, w->dir, text);
    }
}

static void scan_folder(struct watch *w, const char *folder)
{
    char path[4096];
    if (snprintf(path, sizeof(path), "%s/%s", w->dir, folder) >= (int)sizeof(path))
        return; /* folders_add has said so */
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        if (errno != ENOENT && errno != ENOTDIR) /* else it went */
            troubles_add_folder(&w->troubles, w->dir, folder, errno);
        cleanup_close_fd(&fd);
        return;
    }
    scan_entries(w, d, folder, w->started && !folders_had(&w->folders, folder));
    closedir(d);
}

static void scan_all(struct watch *w, DIR *d)
{
    scan_entries(w, d, "", false);
    for (unsigned i = 0; i < w->folders.count; i++) /* which grows meanwhile */
        scan_folder(w, w->folders.all[i].path);
}

/* What was not seen went, or its directory could not be read. */
static void note_unseen(struct watch *w)
{
    struct identity now;
    for (struct name *n = w->names; n != NULL; n = n->next)
        if (n->present && !n->seen && n->due_mono_ms == 0 && look(w, n->text, &now) == GONE)
            n->due_mono_ms = clock_mono_ms();
}

static bool has_broken_link(const struct watch *w)
{
    for (const struct name *n = w->names; n != NULL; n = n->next)
        if (n->present && !n->reported.leads)
            return true;
    return false;
}

static void scan(struct watch *w)
{
    w->over_limit = false;
    troubles_begin(&w->troubles);
    watch_path(w); /* before what it would tell of is read: what comes in between is seen twice, not never */
    DIR *d = opendir(w->dir);
    bool again = false;
    if (d != NULL) {
        for (struct name *n = w->names; n != NULL; n = n->next)
            n->seen = false;
        folders_begin(&w->folders);
        scan_all(w, d);
        closedir(d);
        again = folders_end(&w->folders);
        note_unseen(w);
        follow_links(w);
    } else {
        w->lost = true;
        troubles_add_folder(&w->troubles, w->dir, "", errno);
    }
    troubles_end(&w->troubles, w->cb.on_trouble, w->arg);
    arm(w);
    if (again)
        rescan_soon(w);
    else if (w->lost || w->folders.blind || w->links.blind || has_broken_link(w))
        uv_timer_start(&w->rescan, on_rescan, WATCH_AGAIN_MS, WATCH_RESCAN_MS);
}

static void on_rescan(uv_timer_t *t)
{
    scan(container_of(t, struct watch, rescan));
}

/* Nobody is writing. Of a name in doubt it is not known what it was: it may just have been mended. */
static bool changed_hands(struct watch *w, const char *text)
{
    struct identity now;
    const struct name *n = find(w, text);
    if (n != NULL && n->present && n->reported.size < 0)
        return true;
    return n != NULL && n->present && look(w, text, &now) == THERE && identity_changed_hands(&n->reported, &now);
}

static void on_name(struct watch *w, const char *text, uint32_t mask)
{
    char plugin[WATCH_NAME_SIZE];
    if (name_of_signed(text, plugin)) {
        if (find(w, plugin) != NULL)
            watch_again(w, plugin);
        return;
    }
    if (!is_wanted(w, text) || ((mask & IN_CREATE) && !is_complete(w, text)) ||
        ((mask & IN_ATTRIB) && !changed_hands(w, text)))
        return;
    if (is_symlink(w, text))
        rescan_soon(w); /* where it leads now is to be watched, too */
    watch_again(w, text);
}

/* Of a directory that is watched; NULL: the watch is not one of those. */
static const char *folder_of(const struct watch *w, int watch_id)
{
    return watch_id == w->watch_id ? "" : folders_find(&w->folders, watch_id);
}

/* Another directory may take its place, there is one more, or a link leads elsewhere. */
static bool asks_for_rescan(const struct watch *w, const struct inotify_event *e, const char *folder)
{
    if (e->len == 0)
        return folder != NULL && (e->mask & (IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB));
    return links_match(&w->links, e->wd, e->name) ||
           (folder != NULL && (e->mask & IN_ISDIR) && e->name[0] != '.' && !name_is_plugin(e->name));
}

static void on_event(struct watch *w, const struct inotify_event *e)
{
    char text[2 * WATCH_NAME_SIZE];
    if (e->mask & IN_Q_OVERFLOW) {
        scan(w);
        return;
    }
    const char *folder = folder_of(w, e->wd);
    if (asks_for_rescan(w, e, folder))
        rescan_soon(w);
    else if (e->len > 0 && folder != NULL && name_join(folder, e->name, text))
        on_name(w, text, e->mask);
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    struct watch *w = container_of(p, struct watch, poll);
    _Alignas(struct inotify_event) char buffer[16 * 1024];
    ssize_t n;
    (void)status; /* an error shows in read */
    (void)events;
    while ((n = read(w->inotify_fd, buffer, sizeof(buffer))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(buffer + at);
            on_event(w, e);
            at += (ssize_t)(sizeof(*e) + e->len);
        }
    }
}

aiki_status watch_create(struct watch **ret, uv_loop_t *loop, const char *dir,
                         const struct watch_callbacks *cb, void *arg, aiki_error *err)
{
    struct stat s;
    if (stat(dir, &s) != 0 || !S_ISDIR(s.st_mode))
        return error_code(err, AIKI_NOT_FOUND, "PLUGINS_DIR",
                          "plugins: %s is not a directory; create it or name another", dir);
    struct watch *w = calloc(1, sizeof(*w));
    if (w == NULL || (w->dir = strdup(dir)) == NULL) {
        free(w);
        return error_set(err, AIKI_NOMEM, "plugins: %s", dir);
    }
    w->loop = loop;
    w->cb = *cb;
    w->arg = arg;
    w->watch_id = -1;
    w->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    w->links.inotify_fd = w->folders.inotify_fd = w->inotify_fd;
    w->folders.events = watched_events;
    w->folders.troubles = &w->troubles;
    if (w->inotify_fd < 0 || uv_poll_init(loop, &w->poll, w->inotify_fd) != 0) {
        aiki_status st = error_code(err, AIKI_LIMIT, "INOTIFY",
                                    "plugins: no inotify instance: %s; raise "
                                    "fs.inotify.max_user_instances",
                                    strerror(errno));
        cleanup_close_fd(&w->inotify_fd);
        free(w->dir);
        free(w);
        return st;
    }
    uv_timer_init(loop, &w->due);
    uv_timer_init(loop, &w->rescan);
    w->open_handles = 3;
    *ret = w;
    return AIKI_OK;
}

void watch_start(struct watch *w)
{
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    uv_timer_start(&w->rescan, on_rescan, WATCH_RESCAN_MS, WATCH_RESCAN_MS);
    scan(w);
    w->started = true;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct watch *w = h->data;
    if (--w->open_handles > 0)
        return;
    close(w->inotify_fd);
    while (w->names != NULL)
        forget(w, w->names);
    void (*on_closed)(void *arg) = w->on_closed;
    void *arg = w->closed_arg;
    free(w->dir);
    free(w);
    on_closed(arg);
}

void watch_close(struct watch *w, void (*on_closed)(void *arg), void *closed_arg)
{
    assert(!w->closing);
    w->closing = true;
    w->on_closed = on_closed;
    w->closed_arg = closed_arg;
    w->poll.data = w->due.data = w->rescan.data = w;
    uv_close((uv_handle_t *)&w->poll, on_handle_closed);
    uv_close((uv_handle_t *)&w->due, on_handle_closed);
    uv_close((uv_handle_t *)&w->rescan, on_handle_closed);
}

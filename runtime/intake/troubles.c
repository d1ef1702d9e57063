/* troubles.c - see troubles.h. */
#include "intake/troubles.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "intake/watch.h"
#include "wire/error.h"

void troubles_begin(struct troubles *t)
{
    memcpy(t->before, t->all, t->count * sizeof(t->all[0]));
    t->before_count = t->count;
    t->count = t->more = 0;
}

static struct trouble *find(struct trouble *all, unsigned count, const char *what)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(all[i].what, what) == 0)
            return &all[i];
    return NULL;
}

void troubles_add(struct troubles *t, const char *what, const aiki_error *err)
{
    char name[TROUBLE_NAME_SIZE];
    (void)log_clean(view_of(what), name, sizeof(name));
    if (find(t->all, t->count, name) != NULL)
        return;
    if (t->count == TROUBLES_MAX) {
        t->more++;
        return;
    }
    struct trouble *new = &t->all[t->count++];
    memcpy(new->what, name, sizeof(name));
    new->err = *err;
}

void troubles_add_folder(struct troubles *t, const char *root, const char *path, int error)
{
    char what[TROUBLE_NAME_SIZE];
    aiki_error err = AIKI_ERROR_INIT;
    (void)snprintf(what, sizeof(what), "%s/", path[0] != '\0' ? path : ".");
    if (error == ENOSPC)
        (void)error_code(&err, AIKI_LIMIT, "INOTIFY",
                         "the system gives no more inotify watches; until it does, changes are looked for every %d ms; "
                         "raise fs.inotify.max_user_watches",
                         WATCH_AGAIN_MS);
    else if (error == ENOENT || error == ENOTDIR)
        (void)error_code(&err, AIKI_NOT_FOUND, "PLUGINS_DIR",
                         "%.120s is no directory any more; what served goes on; put it back, or name another", root);
    else
        (void)error_code(&err, AIKI_DENIED, "FOLDER_UNREADABLE",
                         "it cannot be looked into: %s; what served goes on; let uid %u read and enter it",
                         strerror(error), (unsigned)geteuid());
    troubles_add(t, what, &err);
}

static bool is_news(const struct trouble *now, const struct trouble *before)
{
    return before == NULL || strcmp(now->err.code, before->err.code) != 0 ||
           strcmp(now->err.message, before->err.message) != 0;
}

void troubles_end(struct troubles *t, void (*fn)(const char *what, const aiki_error *err, void *arg), void *arg)
{
    for (unsigned i = 0; i < t->before_count; i++)
        if (find(t->all, t->count, t->before[i].what) == NULL)
            fn(t->before[i].what, NULL, arg);
    for (unsigned i = 0; i < t->count; i++)
        if (is_news(&t->all[i], find(t->before, t->before_count, t->all[i].what)))
            fn(t->all[i].what, &t->all[i].err, arg);
    if (t->more > 0 && t->more != t->said_more)
        log_error("intake", "besides, %u more cannot be looked at (over TROUBLES_MAX, %d)", t->more, TROUBLES_MAX);
    t->said_more = t->more;
}

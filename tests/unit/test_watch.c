/* test_watch.c - files that come, change and go in a directory, as installers do it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/without_root.h"
#include "base/clock.h"
#include "base/log.h"
#include "intake/folders.h"
#include "intake/troubles.h"
#include "intake/watch.h"

enum { PATH_SIZE = 512, PATIENCE_MS = 20000 };

/* Takes the place of the system's own (-Wl,--wrap): a limit of the whole machine is not a test's to use up. */
static bool no_more_watches;
int __real_inotify_add_watch(int fd, const char *path, uint32_t events);
int __wrap_inotify_add_watch(int fd, const char *path, uint32_t events);
int __wrap_inotify_add_watch(int fd, const char *path, uint32_t events)
{
    errno = ENOSPC;
    return no_more_watches ? -1 : __real_inotify_add_watch(fd, path, events);
}

struct fixture {
    uv_loop_t loop;
    uv_timer_t limit;
    struct watch *watch;
    char dir[64];
    unsigned changed, removed, troubled, mended, closed;
    char last[WATCH_NAME_SIZE], last_changed[WATCH_NAME_SIZE], trouble[WATCH_NAME_SIZE + AIKI_CODE_SIZE];
    int64_t last_mono_ms;
    bool give_up;
};

static void on_changed(const char *name, void *arg)
{
    struct fixture *f = arg;
    f->changed++;
    snprintf(f->last, sizeof(f->last), "%s", name);
    snprintf(f->last_changed, sizeof(f->last_changed), "%s", name);
    f->last_mono_ms = clock_mono_ms();
}

static void on_removed(const char *name, void *arg)
{
    struct fixture *f = arg;
    f->removed++;
    snprintf(f->last, sizeof(f->last), "%s", name);
    f->last_mono_ms = clock_mono_ms();
}

static void on_trouble(const char *what, const aiki_error *err, void *arg)
{
    struct fixture *f = arg;
    *(err != NULL ? &f->troubled : &f->mended) += 1;
    snprintf(f->trouble, sizeof(f->trouble), "%s %s", what, err != NULL ? err->code : "mended");
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;
    f->closed++;
}

static const struct watch_callbacks callbacks = {.on_changed = on_changed,
                                                 .on_removed = on_removed,
                                                 .on_trouble = on_trouble};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    aiki_error err = AIKI_ERROR_INIT;
    assert_non_null(f);
    strcpy(f->dir, "/tmp/aiki-watch-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(watch_create(&f->watch, &f->loop, f->dir, &callbacks, f, &err), AIKI_OK);
    *state = f;
    return 0;
}

static void on_limit(uv_timer_t *t)
{
    struct fixture *f = t->data;
    f->give_up = true;
}

static void run_until(struct fixture *f, const unsigned *what, unsigned at_least)
{
    f->give_up = false;
    f->limit.data = f;
    (void)uv_timer_init(&f->loop, &f->limit);
    (void)uv_timer_start(&f->limit, on_limit, PATIENCE_MS, 0);
    while (*what < at_least && !f->give_up)
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&f->limit, NULL);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(f->give_up);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    watch_close(f->watch, on_closed, f);
    run_until(f, &f->closed, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static const char *path_of(const struct fixture *f, const char *name, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/%s", f->dir, name);
    return path;
}

static int open_new(const struct fixture *f, const char *name)
{
    char path[PATH_SIZE];
    int fd = open(path_of(f, name, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void put(const struct fixture *f, const char *name, const char *text)
{
    int fd = open_new(f, name);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

static void rename_to(const struct fixture *f, const char *from, const char *to)
{
    char a[PATH_SIZE], b[PATH_SIZE];
    assert_int_equal(rename(path_of(f, from, a), path_of(f, to, b)), 0);
}

static void take_away(const struct fixture *f, const char *name)
{
    char path[PATH_SIZE];
    assert_int_equal(unlink(path_of(f, name, path)), 0);
}

static void shell(const struct fixture *f, const char *commands)
{
    char command[4 * PATH_SIZE];
    snprintf(command, sizeof(command), "cd %s && %s", f->dir, commands);
    assert_int_equal(system(command), 0);
}

/* What is there at the start is reported from inside watch_start, other names never. */
static void the_start_reports_what_is_there(void **state)
{
    struct fixture *f = *state;
    put(f, "a.so", "1");
    put(f, "b.so", "2");
    put(f, ".hidden.so", "3");
    put(f, "readme.txt", "4");
    put(f, ".so", "5");
    watch_start(f->watch);
    assert_int_equal(f->changed, 2);
}

/* One installation counts once, whichever way: copied in place, renamed over, linked. */
static void each_way_of_installing_counts_once(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE], link_path[PATH_SIZE];
    watch_start(f->watch);
    put(f, "a.so", "1");
    run_until(f, &f->changed, 1);
    put(f, ".a.tmp", "longer");
    rename_to(f, ".a.tmp", "a.so");
    run_until(f, &f->changed, 2);
    assert_string_equal(f->last, "a.so");
    assert_int_equal(symlink(path_of(f, "a.so", path), path_of(f, "b.so", link_path)), 0);
    run_until(f, &f->changed, 3);
    assert_string_equal(f->last, "b.so");
    assert_int_equal(link(path, path_of(f, "c.so", link_path)), 0);
    run_until(f, &f->changed, 4);
    put(f, "last.so", "x");
    run_until(f, &f->changed, 5);
    assert_string_equal(f->last, "last.so");
    assert_int_equal(f->removed, 0);
}

/* A file is looked at when its writer closes it, not while it grows. */
static void a_file_being_written_is_left_alone(void **state)
{
    struct fixture *f = *state;
    watch_start(f->watch);
    int fd = open_new(f, "slow.so");
    assert_int_equal(write(fd, "half", 4), 4);
    put(f, "other.so", "whole"); /* its report shows that the events before it were seen */
    run_until(f, &f->changed, 1);
    assert_string_equal(f->last, "other.so");
    assert_int_equal(write(fd, "rest", 4), 4);
    assert_int_equal(close(fd), 0);
    run_until(f, &f->changed, 2);
    assert_string_equal(f->last, "slow.so");
}

/* A release directory behind a link is switched: the file's own link stays as it is. */
static void a_switched_link_on_the_way_is_seen(void **state)
{
    struct fixture *f = *state;
    char command[4 * PATH_SIZE];
    snprintf(command, sizeof(command),
             "cd %s && mkdir .r1 .r2 && echo 1 > .r1/a.so && echo 22 > .r2/a.so && "
             "ln -s .r1 .current && ln -s .current/a.so a.so",
             f->dir);
    assert_int_equal(system(command), 0);
    watch_start(f->watch);
    assert_int_equal(f->changed, 1);
    snprintf(command, sizeof(command), "cd %s && ln -s .r2 .next && mv -T .next .current", f->dir);
    assert_int_equal(system(command), 0);
    run_until(f, &f->changed, 2);
    snprintf(command, sizeof(command), "cd %s && echo 333 > .new && mv .new .r2/a.so", f->dir);
    assert_int_equal(system(command), 0);
    run_until(f, &f->changed, 3);
    assert_string_equal(f->last, "a.so");
}

/* What speaks against a file may be its mode, or come with its signature. */
static void modes_and_signatures_count(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    put(f, "a.so", "1");
    watch_start(f->watch);
    assert_int_equal(chmod(path_of(f, "a.so", path), 0640), 0);
    run_until(f, &f->changed, 2);
    put(f, "a.so.sig", "signature");
    run_until(f, &f->changed, 3);
    assert_string_equal(f->last, "a.so");
    watch_doubt(f->watch, "a.so");
    assert_int_equal(chmod(f->dir, 0750), 0); /* it rescans */
    run_until(f, &f->changed, 4);
    watch_doubt(f->watch, "a.so");
    assert_int_equal(chmod(path_of(f, "a.so", path), 0600), 0); /* what was doubted is mended */
    run_until(f, &f->changed, 5);
    put(f, "b.so.sig", "of nothing");
    put(f, "c.so", "2");
    run_until(f, &f->changed, 6);
    assert_string_equal(f->last, "c.so");
}

/* Written many times in a row: quiet comes first, one report follows. */
static void a_burst_is_one_change(void **state)
{
    struct fixture *f = *state;
    watch_start(f->watch);
    for (int i = 0; i < 50; i++)
        put(f, "a.so", "again");
    run_until(f, &f->changed, 1);
    put(f, "b.so", "x");
    run_until(f, &f->changed, 2);
    assert_string_equal(f->last, "b.so");
}

/* Installers delete and then write: no removal is reported when the file is soon back. */
static void absence_has_to_last(void **state)
{
    struct fixture *f = *state;
    put(f, "a.so", "1");
    watch_start(f->watch);
    take_away(f, "a.so");
    put(f, "a.so", "2");
    run_until(f, &f->changed, 2);
    assert_int_equal(f->removed, 0);

    int64_t before = clock_mono_ms();
    take_away(f, "a.so");
    run_until(f, &f->removed, 1);
    assert_true(f->last_mono_ms - before >= WATCH_ABSENT_MS);
    put(f, "a.so", "3");
    run_until(f, &f->changed, 3);
}

/* Asked to look again, it does, changed or not. */
static void asked_again_it_reports_again(void **state)
{
    struct fixture *f = *state;
    put(f, "a.so", "1");
    watch_start(f->watch);
    watch_again(f->watch, "a.so");
    run_until(f, &f->changed, 2);
    watch_again(f->watch, "never.so"); /* never there: no news */
    watch_again(f->watch, "a.so");
    run_until(f, &f->changed, 3);
    assert_int_equal(f->removed, 0);
}

/* The directory is swapped for another one: what differs is reported, what is missing removed. */
static void a_swapped_directory_is_followed(void **state)
{
    struct fixture *f = *state;
    char aside[128], path[PATH_SIZE];
    put(f, "both.so", "1");
    put(f, "old.so", "1");
    watch_start(f->watch);
    snprintf(aside, sizeof(aside), "%s.aside", f->dir);
    assert_int_equal(rename(f->dir, aside), 0);
    assert_int_equal(mkdir(f->dir, 0700), 0);
    put(f, "both.so", "2");
    run_until(f, &f->changed, 3);
    assert_string_equal(f->last, "both.so");
    run_until(f, &f->removed, 1);
    assert_string_equal(f->last, "old.so");
    put(f, "new.so", "3");
    run_until(f, &f->changed, 4);
    snprintf(path, sizeof(path), "%s/both.so", aside);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/old.so", aside);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(aside), 0);
}

/* Gone for a while: nothing is removed, and what comes back is watched again. */
static void a_directory_that_is_gone_is_looked_for(void **state)
{
    struct fixture *f = *state;
    char aside[128];
    put(f, "a.so", "1");
    watch_start(f->watch);
    snprintf(aside, sizeof(aside), "%s.aside", f->dir);
    assert_int_equal(rename(f->dir, aside), 0);
    for (int turn = 0; turn < 3; turn++)
        (void)uv_run(&f->loop, UV_RUN_ONCE); /* the event, then timers that find nothing */
    assert_int_equal(f->removed, 0);
    run_until(f, &f->troubled, 1);
    assert_string_equal(f->trouble, "./ PLUGINS_DIR");
    assert_int_equal(rename(aside, f->dir), 0);
    put(f, "b.so", "2");
    run_until(f, &f->changed, 2);
    assert_string_equal(f->last, "b.so");
    run_until(f, &f->mended, 1);
    assert_string_equal(f->trouble, "./ mended");
    assert_int_equal(f->removed, 0);
}

/* The directory goes with all that is in it: its files are not known to be removed. */
static void what_was_in_a_directory_that_went_is_not_removed(void **state)
{
    struct fixture *f = *state;
    put(f, "a.so", "1");
    watch_start(f->watch);
    shell(f, "rm -r $PWD");
    run_until(f, &f->troubled, 1);
    assert_string_equal(f->trouble, "./ PLUGINS_DIR");
    int64_t until_ms = clock_mono_ms() + 2 * WATCH_ABSENT_MS;
    while (clock_mono_ms() < until_ms)
        (void)uv_run(&f->loop, UV_RUN_ONCE); /* it looks every WATCH_AGAIN_MS */
    assert_int_equal(f->removed, 0);
    assert_int_equal(mkdir(f->dir, 0700), 0);
    run_until(f, &f->mended, 1);
    run_until(f, &f->removed, 1); /* now it is known */
}

/* They appear whole, and none of them is ever closed by a writer. */
static void what_is_no_file_is_reported_when_it_appears(void **state)
{
    struct fixture *f = *state;
    watch_start(f->watch);
    shell(f, "mkfifo fifo.so");
    run_until(f, &f->changed, 1);
    assert_string_equal(f->last, "fifo.so");
    shell(f, "mkdir directory.so");
    run_until(f, &f->changed, 2);
    assert_string_equal(f->last, "directory.so");
    shell(f, "ln -s nowhere dangling.so");
    run_until(f, &f->changed, 3);
    assert_string_equal(f->last, "dangling.so");
    shell(f, "ln -s circle.so circle.so");
    run_until(f, &f->changed, 4);
    assert_string_equal(f->last, "circle.so");
}

/* A link that leads nowhere is there, and is told when it has been so for a while: its file may be on its way. */
static void a_link_that_leads_nowhere_is_not_removed(void **state)
{
    struct fixture *f = *state;
    shell(f, "mkdir .releases && echo 1 > .releases/a && ln -s .releases/a a.so");
    watch_start(f->watch);
    shell(f, "rm .releases/a");
    run_until(f, &f->changed, 2);
    shell(f, "rm -r .releases");
    shell(f, "mkdir -p .releases && echo 2 > .releases/.a && mv .releases/.a .releases/a");
    run_until(f, &f->changed, 3);
    assert_string_equal(f->last, "a.so");
    assert_int_equal(f->removed, 0);
    shell(f, "rm a.so");
    run_until(f, &f->removed, 1);
}

/* Bad names are told and shown so that they harm nobody; those that are ignored are not. */
static void names_that_cannot_be_shown_are_told(void **state)
{
    struct fixture *f = *state;
    char name[WATCH_NAME_SIZE], command[2 * PATH_SIZE];
    watch_ignore(f->watch, "old-*");
    watch_start(f->watch);
    put(f, "a\nb.so", "1");
    run_until(f, &f->troubled, 1);
    assert_string_equal(f->trouble, "a\\x0ab.so BAD_FILE_NAME");
    rename_to(f, "a\nb.so", "\xff.so");
    run_until(f, &f->troubled, 2);
    assert_string_equal(f->trouble, "\\xff.so BAD_FILE_NAME");
    run_until(f, &f->mended, 1);
    put(f, "old-\xfe.so", "1");
    rename_to(f, "\xff.so", "good.so");
    run_until(f, &f->changed, 1);
    assert_string_equal(f->last, "good.so");
    run_until(f, &f->mended, 2);
    memset(name, 'n', 200);
    name[200] = '\0';
    snprintf(command, sizeof(command), "mkdir %s && echo 1 > %s/%s.so", name, name, name);
    shell(f, command);
    run_until(f, &f->troubled, 3);
    assert_non_null(strstr(f->trouble, "... BAD_FILE_NAME"));
    assert_int_equal(f->changed, 1);
}

/* Who may not enter a directory does not know what is in it: nothing was removed. */
static void a_directory_that_cannot_be_entered_is_told(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    shell(f, "mkdir shop && echo 1 > shop/a.so && mkdir seen && echo 1 > seen/b.so");
    without_root(true);
    watch_start(f->watch);
    assert_int_equal(f->changed, 2);
    assert_int_equal(chmod(path_of(f, "shop", path), 0), 0);
    run_until(f, &f->troubled, 1);
    assert_string_equal(f->trouble, "shop/ FOLDER_UNREADABLE");
    assert_int_equal(chmod(path, 0700), 0);
    put(f, "shop/a.so", "22");
    run_until(f, &f->mended, 1);
    run_until(f, &f->changed, 3);
    assert_int_equal(chmod(path_of(f, "seen", path), 0400), 0); /* names, but nothing of what they name */
    run_until(f, &f->troubled, 2);
    assert_string_equal(f->trouble, "seen/ FOLDER_UNREADABLE");
    assert_int_equal(chmod(path, 0700), 0);
    run_until(f, &f->mended, 2);
    assert_int_equal(chmod(f->dir, 0), 0);
    run_until(f, &f->troubled, 3);
    assert_string_equal(f->trouble, "./ FOLDER_UNREADABLE");
    assert_int_equal(chmod(f->dir, 0700), 0);
    run_until(f, &f->mended, 3);
    without_root(false);
    assert_int_equal(f->removed, 0);
}

/* WATCH_NAMES_MAX: who is beyond is named, as far as TROUBLES_MAX goes, and has the place of one that goes. */
static void more_plugins_than_there_may_be_are_told(void **state)
{
    struct fixture *f = *state;
    unsigned more = 2 * TROUBLES_MAX;
    char name[32];
    for (unsigned i = 0; i < WATCH_NAMES_MAX + more; i++) {
        snprintf(name, sizeof(name), "%u.so", i);
        put(f, name, "1");
    }
    watch_start(f->watch);
    assert_int_equal(f->changed, WATCH_NAMES_MAX);
    assert_int_equal(f->troubled, TROUBLES_MAX);
    assert_non_null(strstr(f->trouble, ".so TOO_MANY_FILES"));
    for (unsigned i = 0; i < WATCH_NAMES_MAX + more; i++) {
        snprintf(name, sizeof(name), "%u.so", i);
        take_away(f, name);
    }
    put(f, "last.so", "1");
    run_until(f, &f->removed, WATCH_NAMES_MAX);
    run_until(f, &f->mended, TROUBLES_MAX);
    run_until(f, &f->changed, WATCH_NAMES_MAX + 1);
    assert_string_equal(f->last_changed, "last.so"); /* removals may be told behind it */
}

/* inotify has no room for another watch: everything is looked at again and again instead. */
static void without_watches_it_looks_again_and_again(void **state)
{
    struct fixture *f = *state;
    no_more_watches = true;
    put(f, "a.so", "1");
    watch_start(f->watch);
    assert_int_equal(f->changed, 1);
    assert_string_equal(f->trouble, "./ INOTIFY");
    put(f, "b.so", "1");
    run_until(f, &f->changed, 2);
    assert_string_equal(f->last, "b.so");
    no_more_watches = false;
    run_until(f, &f->mended, 1);
    put(f, "c.so", "1");
    run_until(f, &f->changed, 3);
    assert_int_equal(f->troubled, 1);
}

/* A directory that is none is said at once. */
static void a_missing_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    struct watch *w = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    assert_int_equal(watch_create(&w, &f->loop, "/nonexistent", &callbacks, f, &err),
                     AIKI_NOT_FOUND);
    assert_string_equal(err.code, "PLUGINS_DIR");
    assert_null(w);
}

/* Without a descriptor there is no inotify instance, and nothing is left of the attempt. */
static void no_instance_is_refused(void **state)
{
    struct fixture *f = *state;
    struct watch *w = NULL;
    struct rlimit before, none;
    aiki_error err = AIKI_ERROR_INIT;
    int next = dup(STDERR_FILENO); /* the number that would be given out */
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    aiki_status st = watch_create(&w, &f->loop, f->dir, &callbacks, f, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(st, AIKI_LIMIT);
    assert_string_equal(err.code, "INOTIFY");
    assert_null(w);
    int again = dup(STDERR_FILENO);
    assert_int_equal(again, next);
    assert_int_equal(close(again), 0);
}

/* What a pattern names is not looked at, whenever it comes. */
static void what_is_ignored_is_not_reported(void **state)
{
    struct fixture *f = *state;
    aiki_error err = AIKI_ERROR_INIT;
    char long_pattern[WATCH_NAME_SIZE + 1];
    memset(long_pattern, 'x', sizeof(long_pattern) - 1);
    long_pattern[sizeof(long_pattern) - 1] = '\0';
    assert_int_equal(name_check_patterns(long_pattern, &err), AIKI_INVALID);
    assert_int_equal(name_check_patterns("old-*, *-test.so", &err), AIKI_OK);
    watch_ignore(f->watch, "old-*, *-test.so");
    close(open_new(f, "old-one.so"));
    close(open_new(f, "one.so"));
    watch_start(f->watch);
    assert_int_equal(f->changed, 1);
    close(open_new(f, "two-test.so"));
    close(open_new(f, "two.so"));
    run_until(f, &f->changed, 2);
    assert_string_equal(f->last, "two.so");
}

/* Directories in it are looked into; hidden ones, links to some and what a pattern names are not. */
static void directories_are_looked_into(void **state)
{
    struct fixture *f = *state;
    watch_ignore(f->watch, "old*,*-test.so");
    shell(f, "mkdir -p shop/eu .hidden old shop/older outside.d && ln -s outside.d link && "
             "touch a.so shop/b.so shop/eu/c.so .hidden/d.so old/e.so shop/older/f.so shop/g-test.so");
    watch_start(f->watch);
    assert_int_equal(f->changed, 3);
    put(f, "shop/eu/h.so", "1");
    run_until(f, &f->changed, 4);
    assert_string_equal(f->last, "shop/eu/h.so");
    put(f, "shop/b.so.sig", "signature");
    run_until(f, &f->changed, 5);
    assert_string_equal(f->last, "shop/b.so");
    put(f, "old/i.so", "1");
    put(f, ".hidden/i.so", "1");
    put(f, "outside.d/j.so", "1"); /* once, not by the link as well */
    run_until(f, &f->changed, 6);
    assert_string_equal(f->last, "outside.d/j.so");
    take_away(f, "shop/eu/c.so");
    run_until(f, &f->removed, 1);
    assert_string_equal(f->last, "shop/eu/c.so");
    assert_int_equal(f->changed, 6);
}

/* A directory is created, moved in with files inside, renamed, moved out. */
static void directories_come_and_go(void **state)
{
    struct fixture *f = *state;
    watch_start(f->watch);
    shell(f, "mkdir -p new/er && echo 1 > new/er/a.so");
    run_until(f, &f->changed, 1);
    assert_string_equal(f->last, "new/er/a.so");
    shell(f, "mkdir -p .aside/in && echo 1 > .aside/b.so && echo 1 > .aside/in/c.so && mv .aside in");
    run_until(f, &f->changed, 3);
    shell(f, "mv in renamed");
    run_until(f, &f->changed, 5);
    run_until(f, &f->removed, 2);
    put(f, "renamed/in/d.so", "1"); /* its watch knows its new name */
    run_until(f, &f->changed, 6);
    assert_string_equal(f->last, "renamed/in/d.so");
    shell(f, "rm -r new && mv renamed .gone");
    run_until(f, &f->removed, 6);
    put(f, ".gone/in/d.so", "2"); /* is not watched any more */
    put(f, "last.so", "1");
    run_until(f, &f->changed, 7);
    assert_string_equal(f->last, "last.so");
}

/* A release directory is swapped: what differs is reported, what is the same path is not removed. */
static void a_swapped_folder_is_followed(void **state)
{
    struct fixture *f = *state;
    shell(f, "mkdir shop && echo 1 > shop/both.so && echo 1 > shop/old.so");
    watch_start(f->watch);
    assert_int_equal(f->changed, 2);
    shell(f, "mkdir .next && echo 22 > .next/both.so && mv shop .before && mv .next shop");
    run_until(f, &f->changed, 3);
    assert_string_equal(f->last, "shop/both.so");
    run_until(f, &f->removed, 1);
    assert_string_equal(f->last, "shop/old.so");
    put(f, "shop/both.so", "333");
    run_until(f, &f->changed, 4);
}

/* FOLDERS_MAX and FOLDERS_DEPTH_MAX: what is beyond is passed over, and found when there is room. */
static void folders_have_limits(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE], name[32];
    shell(f, "mkdir -p 1/2/3/4/5 && touch 1/2/3/4/a.so 1/2/3/4/5/b.so");
    watch_start(f->watch);
    assert_int_equal(f->changed, 1);
    assert_string_equal(f->last, "1/2/3/4/a.so");
    put(f, "1/2/3/4/5/c.so", "1");
    for (int i = 0; i < FOLDERS_MAX; i++) {
        snprintf(name, sizeof(name), "more%d", i);
        assert_int_equal(mkdir(path_of(f, name, path), 0700), 0);
        snprintf(name, sizeof(name), "more%d/d.so", i);
        put(f, name, "1");
    }
    run_until(f, &f->changed, 1 + FOLDERS_MAX - 4); /* those of 1/2/3/4 keep their place */
    put(f, "1/2/3/4/a.so", "1");
    run_until(f, &f->changed, 2 + FOLDERS_MAX - 4);
    assert_string_equal(f->last, "1/2/3/4/a.so");
    assert_true(f->troubled >= 2); /* 1/2/3/4/5/, and some of more0/ ... */
    assert_non_null(strstr(f->trouble, "/ FOLDER_LIMIT"));
    shell(f, "rm -r 1");
    run_until(f, &f->changed, 2 + FOLDERS_MAX);
    run_until(f, &f->removed, 1);
    run_until(f, &f->mended, f->troubled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_start_reports_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(each_way_of_installing_counts_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_being_written_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_switched_link_on_the_way_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(modes_and_signatures_count, setup, teardown),
        cmocka_unit_test_setup_teardown(a_burst_is_one_change, setup, teardown),
        cmocka_unit_test_setup_teardown(absence_has_to_last, setup, teardown),
        cmocka_unit_test_setup_teardown(asked_again_it_reports_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_swapped_directory_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_gone_is_looked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_in_a_directory_that_went_is_not_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_reported_when_it_appears, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_that_leads_nowhere_is_not_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_cannot_be_shown_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_entered_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(more_plugins_than_there_may_be_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(without_watches_it_looks_again_and_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_directory_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(no_instance_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_ignored_is_not_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(directories_are_looked_into, setup, teardown),
        cmocka_unit_test_setup_teardown(directories_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(a_swapped_folder_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(folders_have_limits, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

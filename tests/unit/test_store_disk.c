/* test_store_disk.c - the SQLite backend on a disk that is full, broken or slow, and the length of its log. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "support/sqlite_fixture.h"
#include "support/sqlite_shim.h"
#include "support/store_suite.h"

static int tear_down(void **state)
{
    shim_order(SHIM_NONE);
    return sqlite_tear_down(state);
}

static aiki_status save_another(struct sqlite_fixture *f, uint64_t no, aiki_error *err)
{
    struct draft d, *unit[] = {&d};
    draft_init(&d, no);
    aiki_status st = draft_commit(f->s, unit, 1, err);
    draft_deinit(&d);
    return st;
}

/* One commit is one fsync: none is not durable, two are too slow. */
static void one_sync_a_commit(void **state)
{
    struct sqlite_fixture *f = *state;
    assert_int_equal(save_another(f, 1, NULL), AIKI_OK);
    (void)shim_take_syncs();
    assert_int_equal(save_another(f, 2, NULL), AIKI_OK);
    assert_int_equal(shim_take_syncs(), 1);
}

/* A full disk refuses and says so; with room again the same handle goes on. */
static void disk_full(void **state)
{
    struct sqlite_fixture *f = *state;
    aiki_error err = {.struct_size = sizeof(err)};
    sqlite_store_limit_wal(f->s, &sqlite_short_log); /* the log cannot be copied either */
    assert_int_equal(save_another(f, 1, NULL), AIKI_OK);
    shim_order(SHIM_DISK_FULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(save_another(f, 2, &err), AIKI_LIMIT);
    assert_non_null(strstr(err.message, "disk is full"));
    struct draft d;
    draft_init(&d, 1);
    draft_assert_stored(f->s, &d);
    shim_order(SHIM_NONE);
    assert_int_equal(save_another(f, 2, NULL), AIKI_OK);
    sqlite_reopen(f);
    assert_int_equal(f->s->run_no_max, 2);
    draft_assert_stored(f->s, &d);
    draft_deinit(&d);
}

static void limit_files(rlim_t size_bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size_bytes < limit.rlim_max ? size_bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* So does a limit on the size of files, and a quota in the same way. */
static void file_size_limit(void **state)
{
    struct sqlite_fixture *f = *state;
    struct stat st;
    char log[300];
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(save_another(f, 1, NULL), AIKI_OK);
    (void)snprintf(log, sizeof(log), "%s-wal", f->path);
    assert_int_equal(stat(log, &st), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN); /* as the server does */
    limit_files((rlim_t)st.st_size);
    for (int i = 0; i < 3; i++)
        assert_int_equal(save_another(f, 2, &err), AIKI_LIMIT);
    limit_files(RLIM_INFINITY);
    (void)signal(SIGXFSZ, before);
    assert_non_null(strstr(err.message, "disk is full"));
    assert_int_equal(save_another(f, 2, NULL), AIKI_OK);
    sqlite_reopen(f);
    assert_int_equal(f->s->run_no_max, 2);
}

/* A disk that is full from the beginning leaves nothing half made. */
static void disk_full_at_first(void **state)
{
    struct sqlite_fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(unlink(f->path), 0);
    shim_order(SHIM_DISK_FULL);
    sqlite_refused(f->url, AIKI_LIMIT, "disk is full");
    shim_order(SHIM_NONE);
    assert_int_equal(store_open(&f->s, f->url, NULL), AIKI_OK);
    assert_int_equal(f->s->incarnation, 1);
    assert_int_equal(save_another(f, 1, NULL), AIKI_OK);
}

/* The first failed write or fsync is the last: the handle takes no more, a new one does. */
static void disk_error(void **state)
{
    struct sqlite_fixture *f = *state;
    static const enum shim_failure failures[] = {SHIM_SYNC, SHIM_WRITE};
    for (uint64_t i = 0; i < ARRAY_COUNT(failures); i++) {
        aiki_error err = {.struct_size = sizeof(err)};
        shim_order(failures[i]);
        assert_int_equal(save_another(f, 2 * i + 1, &err), AIKI_INTERNAL);
        assert_non_null(strstr(err.message, "disk failed"));
        assert_int_equal(save_another(f, 2 * i + 1, &err), AIKI_INTERNAL);
        assert_non_null(strstr(err.message, "no commits after a failure"));
        sqlite_reopen(f);
        assert_int_equal(save_another(f, 2 * i + 2, &err), AIKI_OK);
    }
}

/* ---- the log ---- */

enum { COMMITS_ENOUGH = 300, PAGE_BYTES = 4096, FRAME_BYTES = PAGE_BYTES + 24 };

/* A run with an event of several pages. */
static aiki_status save_long(struct sqlite_fixture *f, uint64_t no, aiki_error *err)
{
    struct draft d, *unit[] = {&d};
    draft_init(&d, no);
    draft_event(&d, 3 * PAGE_BYTES);
    aiki_status st = draft_commit(f->s, unit, 1, err);
    draft_deinit(&d);
    return st;
}

/* A checkpoint whose fsync fails does not undo the commits it came with, but no more are taken,
 * and the log is kept: what was copied from it may not be on disk. */
static void checkpoint_error(void **state)
{
    struct sqlite_fixture *f = *state;
    static const struct wal_limits limits = {10, 50, 1000, 0};
    aiki_error err = {.struct_size = sizeof(err)};
    sqlite_store_limit_wal(f->s, &limits);
    shim_order(SHIM_SYNC_DB);
    uint64_t no = 0;
    while (no < COMMITS_ENOUGH && save_long(f, no + 1, &err) == AIKI_OK)
        no++;
    assert_true(no > 0 && no < COMMITS_ENOUGH);
    assert_non_null(strstr(err.message, "no commits after a failure: cannot checkpoint"));
    store_close(f->s);
    assert_true(sqlite_size_of(f, "-wal") > (off_t)no * FRAME_BYTES);
    assert_int_equal(store_open(&f->s, f->url, NULL), AIKI_OK);
    assert_int_equal(f->s->run_no_max, no);
}

struct busy_reader {
    struct store_reader *r;
    atomic_bool stop;
};

static bool look_at(void *arg, const struct run_row *row)
{
    (void)row;
    return !atomic_load((atomic_bool *)arg);
}

static void *read_all_the_time(void *arg)
{
    struct busy_reader *b = arg;
    const struct list_filter filter = {.space = "test", .limit = STORE_LIST_MAX};
    while (!atomic_load(&b->stop))
        (void)b->r->ops->list(b->r, &filter, look_at, &b->stop, NULL); /* the log is what counts */
    return NULL;
}

/* Under load the log stays within WAL_RESTART_PAGES, although somebody always reads. */
static void log_is_bounded(void **state)
{
    struct sqlite_fixture *f = *state;
    static const struct wal_limits limits = {20, 60, 1000, BUSY_MS_MAX};
    struct busy_reader b = {0};
    aiki_error err = {.struct_size = sizeof(err)};
    pthread_t thread;
    sqlite_store_limit_wal(f->s, &limits);
    assert_int_equal(f->s->ops->open_reader(f->s, &b.r, &err), AIKI_OK);
    assert_int_equal(pthread_create(&thread, NULL, read_all_the_time, &b), 0);
    off_t longest = 0;
    for (uint64_t no = 1; no <= COMMITS_ENOUGH; no++) {
        if (save_long(f, no, &err) != AIKI_OK)
            fail_msg("%s", err.message);
        off_t size = sqlite_size_of(f, "-wal");
        longest = size > longest ? size : longest;
    }
    atomic_store(&b.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    f->s->ops->close_reader(b.r);
    assert_true(longest <= (off_t)(limits.restart_pages + 20) * FRAME_BYTES); /* 20: one commit */
    sqlite_reopen(f);
    assert_int_equal(f->s->run_no_max, COMMITS_ENOUGH);
}

/* A program that reads and does not let go stops the server before it fills the disk; when it
 * has ended the same handle goes on. */
static void log_has_an_end(void **state)
{
    struct sqlite_fixture *f = *state;
    static const struct wal_limits limits = {20, 60, 200, 0};
    aiki_error err = {.struct_size = sizeof(err)};
    sqlite3 *db;
    sqlite_store_limit_wal(f->s, &limits);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT * FROM runs", NULL, NULL, NULL), SQLITE_OK);
    uint64_t no = 0;
    while (no < COMMITS_ENOUGH && save_long(f, no + 1, &err) == AIKI_OK)
        no++;
    assert_true(no < COMMITS_ENOUGH);
    assert_non_null(strstr(err.message, "WAL_PAGES_MAX"));
    assert_int_equal(save_long(f, no + 1, &err), AIKI_LIMIT);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    off_t longest = sqlite_size_of(f, "-wal");
    for (int i = 0; i < 10; i++)
        assert_int_equal(save_long(f, ++no, &err), AIKI_OK);
    assert_true(sqlite_size_of(f, "-wal") <= longest);
    sqlite_reopen(f);
    assert_int_equal(f->s->run_no_max, no);
}

/* Somebody's open transaction in a shell makes a commit give up without harm, and those that
 * follow give up at once. */
static void locked_by_a_shell(void **state)
{
    struct sqlite_fixture *f = *state;
    enum { BUSY_MS = 1000, TRIES = 10 }; /* so far apart that no machine is too slow */
    static const struct wal_limits limits = {20, 60, 200, BUSY_MS};
    sqlite3 *db;
    aiki_error err = {.struct_size = sizeof(err)};
    sqlite_store_limit_wal(f->s, &limits);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t began_ms = clock_mono_ms();
    for (int i = 0; i < TRIES; i++)
        assert_int_equal(save_another(f, 1, &err), AIKI_UNAVAILABLE);
    assert_true(clock_mono_ms() - began_ms < BUSY_MS * TRIES / 2);
    assert_non_null(strstr(err.message, "locked"));
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(save_another(f, 1, &err), AIKI_OK);
}

/* A reader cannot write, and gives up at its deadline. */
static void reader_is_limited(void **state)
{
    struct sqlite_fixture *f = *state;
    struct sqlite_conn c;
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(sql_open(&c, f->path, true, &err), AIKI_OK);
    assert_int_equal(sql_script(&c, "DELETE FROM runs", &err), AIKI_DENIED);
    c.deadline_mono_ms = 1;
    int64_t count;
    assert_int_equal(sql_number(&c,
                                "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
                                "SELECT count(*) FROM c",
                                &count, &err),
                     AIKI_LIMIT);
    assert_non_null(strstr(err.message, "STORE_LIST_MS_MAX"));
    sql_close(&c);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, sqlite_set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(one_sync_a_commit),
        CASE(disk_full),
        CASE(file_size_limit),
        CASE(disk_full_at_first),
        CASE(disk_error),
        CASE(checkpoint_error),
        CASE(log_is_bounded),
        CASE(log_has_an_end),
        CASE(locked_by_a_shell),
        CASE(reader_is_limited),
    };
#undef CASE
    shim_install();
    return cmocka_run_group_tests_name("disks", tests, NULL, NULL);
}

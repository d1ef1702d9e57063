/* test_store_sqlite.c - the SQLite backend: the common suite, its file, its lock, bad disks. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "store/sqlite.h"
#include "support/sqlite_shim.h"
#include "support/store_suite.h"

/* A private directory per test; the data directory in it is the store's to create. */
static char root[64];

static void fresh_url(char *ret_url, size_t size)
{
    (void)snprintf(root, sizeof(root), "/tmp/aiki-store-XXXXXX");
    assert_non_null(mkdtemp(root));
    (void)snprintf(ret_url, size, "sqlite:%s/data/aiki.db", root);
}

static void wipe(const char *url)
{
    (void)url;
    static const char *const names[] = {
        "data/aiki.db", "data/aiki.db-wal",  "data/aiki.db-shm", "data/aiki.db.lock",
        "data/copy.db", "data/copy.db.lock", "link/aiki.db",     "link",
    };
    char path[128];
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof(path), "%s/data", root);
    (void)rmdir(path);
    assert_int_equal(rmdir(root), 0); /* nothing else may have been left behind */
}

struct fixture {
    char url[256];
    const char *path;
    struct store *s; /* may be closed by the test and set to NULL */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    fresh_url(f->url, sizeof(f->url));
    f->path = f->url + strlen("sqlite:");
    aiki_error err = {.struct_size = sizeof(err)};
    if (store_open(&f->s, f->url, &err) != AIKI_OK)
        fail_msg("%s", err.message);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    shim_order(SHIM_NONE);
    store_close(f->s);
    wipe(f->url);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    store_close(f->s);
    assert_int_equal(store_open(&f->s, f->url, NULL), AIKI_OK);
}

/* What somebody with a SQLite shell does to the file. */
static void tamper(const struct fixture *f, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void refused(const char *url, aiki_status status, const char *word)
{
    struct store *s = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status st = store_open(&s, url, &err);
    if (st != status || strstr(err.message, word) == NULL)
        fail_msg("%s: got %s \"%s\", wanted %s with \"%s\"", url, aiki_status_name(st), err.message,
                 aiki_status_name(status), word);
    assert_null(s);
}

static mode_t mode_of(const char *path)
{
    struct stat at;
    assert_int_equal(stat(path, &at), 0);
    return at.st_mode & 07777;
}

/* ---- the file ---- */

/* Directory and file are for the owner only, also when they were not before. */
static void private_file(void **state)
{
    struct fixture *f = *state;
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/data", root);
    assert_int_equal(mode_of(path), 0700);
    assert_int_equal(mode_of(f->path), 0600);
    (void)snprintf(path, sizeof(path), "%s-wal", f->path);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(chmod(f->path, 0644), 0);
    reopen(f);
    assert_int_equal(mode_of(f->path), 0600);
}

/* Paths that cannot be: the message has the path and the reason. */
static void bad_paths(void **state)
{
    struct fixture *f = *state;
    char url[300];
    refused("sqlite:", AIKI_INVALID, "path is missing");
    (void)snprintf(url, sizeof(url), "sqlite:%s/no/such/aiki.db", root);
    refused(url, AIKI_INVALID, "No such file");
    (void)snprintf(url, sizeof(url), "%s/aiki.db", f->url);
    refused(url, AIKI_INVALID, "Not a directory");
    (void)snprintf(url, sizeof(url), "sqlite:%s", root);
    refused(url, AIKI_INVALID, root);
    (void)unlink(strcat(strcpy(url, root), ".lock"));
    if (geteuid() == 0) {
        store_close(f->s);
        f->s = NULL;
        assert_int_equal(chown(f->path, 12345, 12345), 0);
        refused(f->url, AIKI_DENIED, "belongs to user 12345");
    }
}

/* A file of schema 1 with a run in it, as the first release wrote it: opened, it has all that
 * later schemas have, and the run is as it was and goes on. */
static void an_old_file_is_upgraded(void **state)
{
    static const char back_to_1[] =
        "DROP INDEX runs_parent;"
        "ALTER TABLE runs DROP COLUMN parent; ALTER TABLE runs DROP COLUMN flags;"
        "ALTER TABLE runs DROP COLUMN deadline_ms; ALTER TABLE runs DROP COLUMN children;"
        "ALTER TABLE runs DROP COLUMN absorbed; ALTER TABLE runs DROP COLUMN build;"
        "DROP TABLE refs;"
        "UPDATE meta SET value = 1 WHERE name = 'schema'";
    struct fixture *f = *state;
    struct draft d, child;
    draft_init(&d, 1);
    draft_init(&child, 2);
    d.write.row.key = view_of("k");
    draft_save(f->s, &d);
    store_close(f->s);
    f->s = NULL;
    tamper(f, back_to_1);
    reopen(f);
    draft_assert_stored(f->s, &d);
    draft_next(&d);
    draft_event(&d, 10);
    d.write.row.flags = 3;
    d.write.row.deadline_ms = 99;
    d.write.row.build = (aiki_view){d.write.row.hash, HASH_BYTES};
    child.write.row.parent = d.write.row.id;
    struct draft *unit[] = {&d, &child};
    assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_OK);
    reopen(f);
    draft_assert_stored(f->s, &d);
    draft_assert_stored(f->s, &child);
    draft_deinit(&d);
    draft_deinit(&child);
}

/* A file of schema 3 has references in its journals alone: they are known afterwards. */
static void references_of_an_old_file_are_gathered(void **state)
{
    static const char back_to_3[] = "DROP TABLE refs; UPDATE meta SET value = 3 WHERE name = 'schema'";
    const struct event signal = {.kind = EVENT_SIGNAL,
                                 .as.signal = {.name = view_of("paid"), .ref = view_of("r1")}};
    struct fixture *f = *state;
    struct draft d;
    struct ref_row ref = {.run_no = 1}, none = {.run_no = 1};
    bool known;
    AUTO(buf) aiki_writer event, stored;
    buf_init(&event);
    buf_init(&stored);
    event_write_new(&event, &signal); /* [kind, body] */
    draft_init(&d, 1);
    event_write_stored(&stored, 1, 5, d.write.row.epoch, EVENT_SIGNAL,
                       (aiki_view){event.data + 2, event.size_bytes - 2});
    d.write.events = aiki_writer_view(&stored);
    memset(d.write.row.hash, 0, HASH_BYTES);
    event_chain(d.write.row.hash, d.write.events);
    d.write.row.signals = 1;
    draft_save(f->s, &d);
    store_close(f->s);
    f->s = NULL;
    tamper(f, back_to_3);
    reopen(f);
    reference_hash(REF_SIGNAL, view_of("r1"), ref.hash);
    reference_hash(REF_SIGNAL, view_of("r2"), none.hash);
    assert_int_equal(f->s->ops->find_ref(f->s, &ref, &known, NULL), AIKI_OK);
    assert_true(known);
    assert_int_equal(f->s->ops->find_ref(f->s, &none, &known, NULL), AIKI_OK);
    assert_false(known);
    draft_deinit(&d);
}

/* Text, another program's database and a newer schema are told apart, and left as they are. */
static void foreign_files(void **state)
{
    struct fixture *f = *state;
    tamper(f, "UPDATE meta SET value = 7 WHERE name = 'schema'");
    store_close(f->s);
    f->s = NULL;
    refused(f->url, AIKI_UNSUPPORTED, "schema 7, this server speaks up to 4");
    tamper(f, "PRAGMA application_id = 1");
    refused(f->url, AIKI_UNSUPPORTED, "another program");
    AUTO(close_fd) int fd = open(f->path, O_WRONLY | O_TRUNC);
    char text[8192];
    memset(text, 'x', sizeof(text));
    assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
    refused(f->url, AIKI_CORRUPT, "not an Aiki database");
}

/* Another program's database is refused before anything of it is changed. */
static void foreign_file_is_untouched(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(unlink(f->path), 0);
    tamper(f, "CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)");
    refused(f->url, AIKI_UNSUPPORTED, "another program");
    char write_version;
    AUTO(close_fd) int fd = open(f->path, O_RDONLY);
    assert_int_equal(pread(fd, &write_version, 1, 18), 1);
    assert_int_equal(write_version, 1); /* 2 = has been switched to a write-ahead log */
}

/* A copy made while the server runs can be opened in its place. */
static void live_copy(void **state)
{
    struct fixture *f = *state;
    char sql[128], url[128];
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    (void)snprintf(sql, sizeof(sql), "VACUUM INTO '%s/data/copy.db'", root);
    tamper(f, sql);
    store_close(f->s);
    (void)snprintf(url, sizeof(url), "sqlite:%s/data/copy.db", root);
    assert_int_equal(store_open(&f->s, url, NULL), AIKI_OK);
    draft_assert_stored(f->s, &d);
    draft_next(&d);
    draft_event(&d, 10);
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);
    assert_int_equal(f->s->incarnation, 2);
    draft_deinit(&d);
}

/* A link to the data directory is no way around the lock. */
static void detour_meets_the_lock(void **state)
{
    struct fixture *f = *state;
    char target[100], link[100], url[128];
    (void)snprintf(target, sizeof(target), "%s/data", root);
    (void)snprintf(link, sizeof(link), "%s/link", root);
    assert_int_equal(symlink(target, link), 0);
    (void)snprintf(url, sizeof(url), "sqlite:%s/aiki.db", link);
    refused(url, AIKI_CONFLICT, f->path);
}

/* So that a test meets every state of the log within a few commits. */
static const struct wal_limits short_log = {6, 20, 1000, BUSY_MS_MAX};

/* Opens the store in a child, says so through the pipe, and commits runs, reporting each, until
 * it is killed. limits may be NULL. */
static pid_t start_server(const char *url, const struct wal_limits *limits, int *ret_fd)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct store *s;
        uint64_t no = 0;
        if (store_open(&s, url, NULL) != AIKI_OK)
            _exit(1);
        if (limits != NULL)
            sqlite_store_limit_wal(s, limits);
        for (no = s->run_no_max;; no++) {
            if (write(fds[1], &no, sizeof(no)) != sizeof(no))
                _exit(2);
            struct draft d, *unit[] = {&d};
            draft_init(&d, no + 1);
            if (draft_commit(s, unit, 1, NULL) != AIKI_OK)
                _exit(3);
            draft_deinit(&d);
        }
    }
    close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

/* A second server is told who the first is. kill -9 gives the lock back and loses nothing that was
 * acknowledged, also while the log is being copied. */
static void killed_server(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    for (int round = 1; round <= 5; round++) {
        int fd;
        pid_t pid = start_server(f->url, &short_log, &fd);
        uint64_t acknowledged = 0, count = 0;
        char text[24];
        (void)snprintf(text, sizeof(text), "process %d", pid);
        while (count < (uint64_t)round * 20 && read(fd, &acknowledged, sizeof(acknowledged)) > 0)
            if (++count == 1)
                refused(f->url, AIKI_CONFLICT, text);
        assert_int_equal(count, round * 20);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while (read(fd, &acknowledged, sizeof(acknowledged)) > 0)
            ; /* what it said before it died */
        close(fd);

        assert_int_equal(store_open(&f->s, f->url, NULL), AIKI_OK);
        assert_true(f->s->run_no_max >= acknowledged);
        assert_int_equal(f->s->incarnation, 1 + 2 * round);
        struct draft d;
        draft_init(&d, acknowledged);
        draft_assert_stored(f->s, &d);
        draft_deinit(&d);
        store_close(f->s);
        f->s = NULL;
    }
}

static off_t size_of(const struct fixture *f, const char *suffix)
{
    char path[300];
    struct stat at;
    (void)snprintf(path, sizeof(path), "%s%s", f->path, suffix);
    assert_int_equal(stat(path, &at), 0);
    return at.st_size;
}

/* A machine that stops in the middle of a write leaves a torn end of the log: everything before
 * it is there, and the store goes on. */
static void torn_log(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    for (int round = 0; round < 2; round++) {
        int fd;
        uint64_t last = 0, first = 0;
        pid_t pid = start_server(f->url, NULL, &fd);
        assert_int_equal(read(fd, &first, sizeof(first)), sizeof(first));
        while (last < first + 10)
            assert_int_equal(read(fd, &last, sizeof(last)), sizeof(last));
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while (read(fd, &last, sizeof(last)) > 0)
            ;
        close(fd);

        char path[300];
        (void)snprintf(path, sizeof(path), "%s-wal", f->path);
        if (round == 0) {
            assert_int_equal(truncate(path, size_of(f, "-wal") - 100), 0);
        } else {
            AUTO(close_fd) int wal = open(path, O_WRONLY);
            assert_int_equal(pwrite(wal, "torn", 4, size_of(f, "-wal") - 100), 4);
        }
        assert_int_equal(store_open(&f->s, f->url, NULL), AIKI_OK);
        assert_true(f->s->run_no_max + 1 >= last); /* only the very last commit may be gone */
        struct draft d;
        draft_init(&d, last - 1);
        draft_assert_stored(f->s, &d);
        draft_deinit(&d);
        store_close(f->s);
        f->s = NULL;
    }
}

/* ---- tampering ---- */

static void expect_damage(struct fixture *f, const char *where)
{
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    uint64_t last;
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, 1 << 20, &w, &last, &err), AIKI_CORRUPT);
    if (strstr(err.message, where) == NULL)
        fail_msg("\"%s\" is not in: %s", where, err.message);
}

/* Whatever is done to the rows of a history, it is noticed where it was done. */
static void tampered_history(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 1); /* rows: 1, 2-3, 4 */
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, 50);
    draft_event(&d, 50);
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, 50);
    draft_save(f->s, &d);
    tamper(f, "CREATE TABLE copy AS SELECT * FROM journal");
    static const char restore[] = "DELETE FROM journal; INSERT INTO journal SELECT * FROM copy";
    static const struct {
        const char *sql, *where;
    } acts[] = {
        {"UPDATE journal SET events = CAST(substr(events, 1, length(events) - 1) || x'07' AS BLOB) "
         "WHERE seq = 3",
         "event 3"},
        {"UPDATE journal SET hash = zeroblob(32) WHERE seq = 1", "event 1"},
        {"UPDATE journal SET hash = x'00' WHERE seq = 3", "event 3"},
        {"DELETE FROM journal WHERE seq = 1", "event 1"},
        {"DELETE FROM journal WHERE seq = 3", "event 2"},
        {"DELETE FROM journal WHERE seq = 4", "event 4"},
        {"DELETE FROM journal", "event 1"},
        {"UPDATE journal SET events = x'' WHERE seq = 4", "event 4"},
        {"UPDATE journal SET events = x'9501' WHERE seq = 4", "event 4"},
        {"UPDATE journal SET seq = 5 WHERE seq = 4", "event 5"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(acts); i++) {
        tamper(f, acts[i].sql);
        expect_damage(f, acts[i].where);
        tamper(f, restore);
    }
    tamper(f, "UPDATE runs SET hash = zeroblob(32)");
    expect_damage(f, "event 4");
    tamper(f, "UPDATE runs SET hash = x'00'");
    expect_damage(f, "wrong size");
    assert_int_equal(f->s->ops->find_run_no(f->s, 1, NULL, NULL, NULL), AIKI_CORRUPT);
    draft_deinit(&d);
}

/* ---- the disk ---- */

static aiki_status save_another(struct fixture *f, uint64_t no, aiki_error *err)
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
    struct fixture *f = *state;
    assert_int_equal(save_another(f, 1, NULL), AIKI_OK);
    (void)shim_take_syncs();
    assert_int_equal(save_another(f, 2, NULL), AIKI_OK);
    assert_int_equal(shim_take_syncs(), 1);
}

/* A full disk refuses and says so; with room again the same handle goes on. */
static void disk_full(void **state)
{
    struct fixture *f = *state;
    aiki_error err = {.struct_size = sizeof(err)};
    sqlite_store_limit_wal(f->s, &short_log); /* the log cannot be copied either */
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
    reopen(f);
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
    struct fixture *f = *state;
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
    reopen(f);
    assert_int_equal(f->s->run_no_max, 2);
}

/* A disk that is full from the beginning leaves nothing half made. */
static void disk_full_at_first(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(unlink(f->path), 0);
    shim_order(SHIM_DISK_FULL);
    refused(f->url, AIKI_LIMIT, "disk is full");
    shim_order(SHIM_NONE);
    assert_int_equal(store_open(&f->s, f->url, NULL), AIKI_OK);
    assert_int_equal(f->s->incarnation, 1);
    assert_int_equal(save_another(f, 1, NULL), AIKI_OK);
}

/* The first failed write or fsync is the last: the handle takes no more, a new one does. */
static void disk_error(void **state)
{
    struct fixture *f = *state;
    static const enum shim_failure failures[] = {SHIM_SYNC, SHIM_WRITE};
    for (uint64_t i = 0; i < ARRAY_COUNT(failures); i++) {
        aiki_error err = {.struct_size = sizeof(err)};
        shim_order(failures[i]);
        assert_int_equal(save_another(f, 2 * i + 1, &err), AIKI_INTERNAL);
        assert_non_null(strstr(err.message, "disk failed"));
        assert_int_equal(save_another(f, 2 * i + 1, &err), AIKI_INTERNAL);
        assert_non_null(strstr(err.message, "no commits after a failure"));
        reopen(f);
        assert_int_equal(save_another(f, 2 * i + 2, &err), AIKI_OK);
    }
}

enum { COMMITS_ENOUGH = 300, PAGE_BYTES = 4096, FRAME_BYTES = PAGE_BYTES + 24 };

/* A run with an event of several pages. */
static aiki_status save_long(struct fixture *f, uint64_t no, aiki_error *err)
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
    struct fixture *f = *state;
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
    assert_true(size_of(f, "-wal") > (off_t)no * FRAME_BYTES);
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
    struct fixture *f = *state;
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
        off_t size = size_of(f, "-wal");
        longest = size > longest ? size : longest;
    }
    atomic_store(&b.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    f->s->ops->close_reader(b.r);
    assert_true(longest <= (off_t)(limits.restart_pages + 20) * FRAME_BYTES); /* 20: one commit */
    reopen(f);
    assert_int_equal(f->s->run_no_max, COMMITS_ENOUGH);
}

/* A program that reads and does not let go stops the server before it fills the disk; when it
 * has ended the same handle goes on. */
static void log_has_an_end(void **state)
{
    struct fixture *f = *state;
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
    off_t longest = size_of(f, "-wal");
    for (int i = 0; i < 10; i++)
        assert_int_equal(save_long(f, ++no, &err), AIKI_OK);
    assert_true(size_of(f, "-wal") <= longest);
    reopen(f);
    assert_int_equal(f->s->run_no_max, no);
}

/* Somebody's open transaction in a shell makes a commit give up without harm, and those that
 * follow give up at once. */
static void locked_by_a_shell(void **state)
{
    struct fixture *f = *state;
    enum { BUSY_MS = 200, TRIES = 10 };
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
    struct fixture *f = *state;
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
#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(private_file),      CASE(bad_paths),          CASE(an_old_file_is_upgraded),
        CASE(references_of_an_old_file_are_gathered),
        CASE(foreign_files),
        CASE(killed_server),     CASE(torn_log),           CASE(foreign_file_is_untouched),
        CASE(tampered_history),  CASE(one_sync_a_commit),  CASE(detour_meets_the_lock),
        CASE(disk_full),         CASE(disk_error),         CASE(checkpoint_error),
        CASE(file_size_limit),
        CASE(log_is_bounded),    CASE(log_has_an_end),     CASE(locked_by_a_shell),
        CASE(reader_is_limited), CASE(disk_full_at_first), CASE(live_copy),
    };
#undef CASE
    const struct store_backend sqlite = {"sqlite", fresh_url, wipe};
    shim_install();
    int failed = store_suite_run(&sqlite);
    return failed + cmocka_run_group_tests_name("sqlite only", tests, NULL, NULL);
}

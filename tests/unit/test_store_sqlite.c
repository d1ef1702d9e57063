/* test_store_sqlite.c - the SQLite backend: the common suite, its file, its lock, what others do to it. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "support/sqlite_fixture.h"
#include "support/store_suite.h"

/* What somebody with a SQLite shell does to the file. */
static void tamper(const struct sqlite_fixture *f, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
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
    struct sqlite_fixture *f = *state;
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/data", f->root);
    assert_int_equal(mode_of(path), 0700);
    assert_int_equal(mode_of(f->path), 0600);
    (void)snprintf(path, sizeof(path), "%s-wal", f->path);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(chmod(f->path, 0644), 0);
    sqlite_reopen(f);
    assert_int_equal(mode_of(f->path), 0600);
}

/* Paths that cannot be: the message has the path and the reason. */
static void bad_paths(void **state)
{
    struct sqlite_fixture *f = *state;
    char url[300];
    sqlite_refused("sqlite:", AIKI_INVALID, "path is missing");
    (void)snprintf(url, sizeof(url), "sqlite:%s/no/such/aiki.db", f->root);
    sqlite_refused(url, AIKI_INVALID, "No such file");
    (void)snprintf(url, sizeof(url), "%s/aiki.db", f->url);
    sqlite_refused(url, AIKI_INVALID, "Not a directory");
    (void)snprintf(url, sizeof(url), "sqlite:%s", f->root);
    sqlite_refused(url, AIKI_INVALID, f->root);
    (void)unlink(strcat(strcpy(url, f->root), ".lock"));
    if (geteuid() == 0) {
        store_close(f->s);
        f->s = NULL;
        assert_int_equal(chown(f->path, 12345, 12345), 0);
        sqlite_refused(f->url, AIKI_DENIED, "belongs to user 12345");
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
    struct sqlite_fixture *f = *state;
    struct draft d, child;
    draft_init(&d, 1);
    draft_init(&child, 2);
    d.write.row.key = view_of("k");
    draft_save(f->s, &d);
    store_close(f->s);
    f->s = NULL;
    tamper(f, back_to_1);
    sqlite_reopen(f);
    draft_assert_stored(f->s, &d);
    draft_next(&d);
    draft_event(&d, 10);
    d.write.row.flags = 3;
    d.write.row.deadline_ms = 99;
    d.write.row.build = (aiki_view){d.write.row.hash, HASH_BYTES};
    child.write.row.parent = d.write.row.id;
    struct draft *unit[] = {&d, &child};
    assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_OK);
    sqlite_reopen(f);
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
    struct sqlite_fixture *f = *state;
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
    sqlite_reopen(f);
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
    struct sqlite_fixture *f = *state;
    tamper(f, "UPDATE meta SET value = 7 WHERE name = 'schema'");
    store_close(f->s);
    f->s = NULL;
    sqlite_refused(f->url, AIKI_UNSUPPORTED, "schema 7, this server speaks up to 4");
    tamper(f, "PRAGMA application_id = 1");
    sqlite_refused(f->url, AIKI_UNSUPPORTED, "another program");
    AUTO(close_fd) int fd = open(f->path, O_WRONLY | O_TRUNC);
    char text[8192];
    memset(text, 'x', sizeof(text));
    assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
    sqlite_refused(f->url, AIKI_CORRUPT, "not an Aiki database");
}

/* Another program's database is refused before anything of it is changed. */
static void foreign_file_is_untouched(void **state)
{
    struct sqlite_fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(unlink(f->path), 0);
    tamper(f, "CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)");
    sqlite_refused(f->url, AIKI_UNSUPPORTED, "another program");
    char write_version;
    AUTO(close_fd) int fd = open(f->path, O_RDONLY);
    assert_int_equal(pread(fd, &write_version, 1, 18), 1);
    assert_int_equal(write_version, 1); /* 2 = has been switched to a write-ahead log */
}

/* A copy made while the server runs can be opened in its place. */
static void live_copy(void **state)
{
    struct sqlite_fixture *f = *state;
    char sql[128], url[128];
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    (void)snprintf(sql, sizeof(sql), "VACUUM INTO '%s/data/copy.db'", f->root);
    tamper(f, sql);
    store_close(f->s);
    (void)snprintf(url, sizeof(url), "sqlite:%s/data/copy.db", f->root);
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
    struct sqlite_fixture *f = *state;
    char target[100], link[100], url[128];
    (void)snprintf(target, sizeof(target), "%s/data", f->root);
    (void)snprintf(link, sizeof(link), "%s/link", f->root);
    assert_int_equal(symlink(target, link), 0);
    (void)snprintf(url, sizeof(url), "sqlite:%s/aiki.db", link);
    sqlite_refused(url, AIKI_CONFLICT, f->path);
}

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
    struct sqlite_fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    for (int round = 1; round <= 5; round++) {
        int fd;
        pid_t pid = start_server(f->url, &sqlite_short_log, &fd);
        uint64_t acknowledged = 0, count = 0;
        char text[24];
        (void)snprintf(text, sizeof(text), "process %d", pid);
        while (count < (uint64_t)round * 20 && read(fd, &acknowledged, sizeof(acknowledged)) > 0)
            if (++count == 1)
                sqlite_refused(f->url, AIKI_CONFLICT, text);
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

/* A machine that stops in the middle of a write leaves a torn end of the log: everything before
 * it is there, and the store goes on. */
static void torn_log(void **state)
{
    struct sqlite_fixture *f = *state;
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
            assert_int_equal(truncate(path, sqlite_size_of(f, "-wal") - 100), 0);
        } else {
            AUTO(close_fd) int wal = open(path, O_WRONLY);
            assert_int_equal(pwrite(wal, "torn", 4, sqlite_size_of(f, "-wal") - 100), 4);
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

static void expect_damage(struct sqlite_fixture *f, const char *where)
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
    struct sqlite_fixture *f = *state;
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

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, sqlite_set_up, sqlite_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(private_file),
        CASE(bad_paths),
        CASE(an_old_file_is_upgraded),
        CASE(references_of_an_old_file_are_gathered),
        CASE(foreign_files),
        CASE(foreign_file_is_untouched),
        CASE(live_copy),
        CASE(detour_meets_the_lock),
        CASE(killed_server),
        CASE(torn_log),
        CASE(tampered_history),
    };
#undef CASE
    const struct store_backend sqlite = {"sqlite", sqlite_fresh_url, sqlite_wipe};
    int failed = store_suite_run(&sqlite);
    return failed + cmocka_run_group_tests_name("sqlite only", tests, NULL, NULL);
}

/* sqlite.c - durable state in one SQLite file.
 *
 *   commit: BEGIN IMMEDIATE, one insert or fenced update per run and one journal row per append,
 *           COMMIT = one fsync of the log; what is in the log gets into the database later
 *           (sqlite_wal.c)
 *   readers: connections of their own, see what was committed when a statement began
 *
 * Failure: what a commit may survive (conflict, stale, disk full, locked, no memory) is rolled
 * back. Anything else breaks the handle for good, because after a failed fsync the kernel may
 * have dropped the very pages a later fsync would claim to have written. The process ends and
 * reads again what is really there.
 */
#include "store/sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/checks.h"
#include "store/sqlite_file.h"
#include "store/sqlite_read.h"
#include "store/sqlite_refs.h"
#include "store/sqlite_schema.h"
#include "wire/error.h"

struct sqlite_store {
    struct store base;
    struct sqlite_file file;
    struct sqlite_conn conn;
    struct wal *wal;
    int64_t clock_ms_max; /* including the unit being written */
    bool locked; /* the last transaction waited in vain for another program */
    bool broken;
    aiki_error why_broken;
};

struct sqlite_reader {
    struct store_reader base;
    struct sqlite_conn conn;
    struct wal *wal; /* borrowed from the store, which outlives its readers */
};

static struct sqlite_store *sqlite_of(struct store *s)
{
    return container_of(s, struct sqlite_store, base);
}

static struct sqlite_reader *reader_of(struct store_reader *r)
{
    return container_of(r, struct sqlite_reader, base);
}

/* ---- open and close ---- */

static aiki_status read_marks(struct sqlite_store *s, aiki_error *err)
{
    int64_t incarnation = 0, no = 0, clock_ms = 0;
    aiki_status st = sql_number(&s->conn, "SELECT value FROM meta WHERE name = 'incarnation'",
                                &incarnation, err);
    if (st == AIKI_OK)
        st = sql_number(&s->conn, "SELECT max(no) FROM runs", &no, err);
    /* The newest journal row knows the time; units without one leave it in meta. */
    if (st == AIKI_OK)
        st = sql_number(&s->conn,
                        "SELECT max(value, ifnull((SELECT clock_ms FROM journal "
                        "ORDER BY pos DESC LIMIT 1), 0)) FROM meta WHERE name = 'clock_ms'",
                        &clock_ms, err);
    s->base.incarnation = (uint64_t)incarnation;
    s->base.run_no_max = (uint64_t)no;
    s->base.clock_ms_max = s->clock_ms_max = clock_ms;
    return st;
}

static aiki_status open_database(struct sqlite_store *s, const char *path, aiki_error *err)
{
    struct store_migration migration;
    aiki_status st = sqlite_file_claim(path, &s->file, err);
    if (st == AIKI_OK)
        st = sql_open(&s->conn, s->file.path, false, err);
    if (st == AIKI_OK)
        st = schema_apply(&s->conn, false, &migration, err);
    if (st == AIKI_OK)
        st = sql_script(&s->conn, "UPDATE meta SET value = value + 1 WHERE name = 'incarnation'",
                        err);
    if (st == AIKI_OK)
        st = read_marks(s, err);
    if (st == AIKI_OK)
        st = wal_create(&s->wal, &s->conn, err);
    return st;
}

static void destroy(struct sqlite_store *s)
{
    wal_destroy(s->wal);
    sql_close(&s->conn);
    sqlite_file_release(&s->file); /* last: nobody else may open while SQLite still writes */
    free(s);
}

static aiki_status sqlite_open(struct store **ret, const char *url, aiki_error *err)
{
    struct sqlite_store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set(err, AIKI_NOMEM, "store %s", url);
    s->base.ops = &store_sqlite;
    s->file.lock_fd = -1;
    aiki_status st = open_database(s, url + strlen("sqlite:"), err);
    if (st != AIKI_OK) {
        destroy(s);
        return st;
    }
    *ret = &s->base;
    return AIKI_OK;
}

static aiki_status sqlite_migrate(const char *url, bool dry_run, struct store_migration *ret,
                                  aiki_error *err)
{
    const char *path = url + strlen("sqlite:");
    struct sqlite_file file = {.lock_fd = -1};
    struct sqlite_conn conn = {.db = NULL};
    if (access(path, F_OK) != 0) /* opening it would make one */
        return error_set(err, AIKI_NOT_FOUND, "%s: %s", path, strerror(errno));
    aiki_status st = sqlite_file_claim(path, &file, err);
    if (st == AIKI_OK)
        st = sql_open(&conn, file.path, false, err);
    if (st == AIKI_OK)
        st = schema_apply(&conn, dry_run, ret, err);
    sql_close(&conn);
    sqlite_file_release(&file);
    return st;
}

static void sqlite_close(struct store *s)
{
    if (s != NULL)
        destroy(sqlite_of(s));
}

void sqlite_store_limit_wal(struct store *s, const struct wal_limits *limits)
{
    wal_set_limits(sqlite_of(s)->wal, limits);
}

static aiki_status sqlite_open_reader(struct store *s, struct store_reader **ret, aiki_error *err)
{
    struct sqlite_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return error_set(err, AIKI_NOMEM, "reader of %s", sqlite_of(s)->file.path);
    r->base.ops = &store_sqlite;
    r->wal = sqlite_of(s)->wal;
    aiki_status st = sql_open(&r->conn, sqlite_of(s)->file.path, true, err);
    if (st != AIKI_OK) {
        free(r);
        return st;
    }
    *ret = &r->base;
    return AIKI_OK;
}

static void sqlite_close_reader(struct store_reader *r)
{
    if (r == NULL)
        return;
    sql_close(&reader_of(r)->conn);
    free(reader_of(r));
}

/* ---- commit ---- */

/* Steps a bound statement that answers no rows. */
static aiki_status execute(struct sqlite_conn *c, struct binder *b, aiki_error *err)
{
    int rc = b->rc == SQLITE_OK ? sqlite3_step(b->statement) : b->rc;
    aiki_status st = rc == SQLITE_DONE ? AIKI_OK : sql_error(c, "write to", err);
    sqlite3_reset(b->statement);
    return st;
}

/* Which of the unique things was taken; the number and the journal are ours to keep unique. */
static aiki_status insert_failed(struct sqlite_conn *c, const struct run_row *row, aiki_error *err)
{
    char id[AIKI_ID_TEXT_SIZE];
    id_text(&row->id, id);
    if (sqlite3_extended_errcode(c->db) != SQLITE_CONSTRAINT_UNIQUE)
        return sql_error(c, "write to", err);
    if (strstr(sqlite3_errmsg(c->db), "runs.key") != NULL)
        return error_set(err, AIKI_CONFLICT, "run %s: its key is taken by another run", id);
    return error_set(err, AIKI_CONFLICT, "run %s exists already", id);
}

static aiki_view parent_of(const struct run_row *row)
{
    return (aiki_view){row->parent.bytes, id_is_zero(&row->parent) ? 0 : sizeof(row->parent.bytes)};
}

/* The columns of later schemas that change. */
static void bind_late(struct binder *b, const struct run_row *row)
{
    bind_uint(b, row->flags);
    bind_number(b, row->deadline_ms);
    bind_uint(b, row->children);
    bind_optional(b, row->absorbed);
    bind_optional(b, row->build);
}

static void bind_progress(struct binder *b, const struct run_row *row)
{
    bind_uint(b, row->seq);
    bind_bytes(b, row->hash, HASH_BYTES);
    bind_number(b, row->updated_at_ms);
    bind_number(b, row->wake_at_ms);
    bind_uint(b, row->signals);
    bind_uint(b, row->duplicates);
}

static aiki_status insert_run(struct sqlite_conn *c, const struct run_row *row, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_RUN_INSERT, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_number(&b, shelf_of_row(row));
    bind_uint(&b, row->no);
    bind_bytes(&b, row->id.bytes, sizeof(row->id.bytes));
    bind_number(&b, row->state);
    bind_uint(&b, row->epoch);
    bind_progress(&b, row);
    bind_text(&b, row->space);
    bind_text(&b, row->workflow);
    bind_text(&b, row->version);
    bind_optional(&b, row->key);
    bind_bytes(&b, row->input_hash, HASH_BYTES);
    bind_text(&b, row->actor);
    bind_number(&b, row->created_at_ms);
    bind_optional(&b, row->waits);
    bind_optional(&b, row->reason);
    bind_optional(&b, parent_of(row));
    bind_late(&b, row);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.statement) : b.rc;
    if (rc != SQLITE_DONE)
        st = insert_failed(c, row, err);
    sqlite3_reset(b.statement);
    return st;
}

/* *ret_hit: whether a row met the conditions. with_shelf: the variant that also moves the run. */
static aiki_status try_update(struct sqlite_conn *c, const struct run_write *w, bool with_shelf,
                              bool *ret_hit, aiki_error *err)
{
    const struct run_row *row = &w->row;
    struct binder b = {0};
    aiki_status st =
        sql_statement(c, with_shelf ? SQL_RUN_UPDATE_SHELF : SQL_RUN_UPDATE, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_uint(&b, row->no);
    bind_uint(&b, w->seq_before);
    bind_uint(&b, row->epoch);
    bind_number(&b, row->state);
    bind_progress(&b, row);
    bind_optional(&b, row->waits);
    bind_optional(&b, row->reason);
    bind_late(&b, row);
    if (with_shelf)
        bind_number(&b, shelf_of_row(row));
    st = execute(c, &b, err);
    *ret_hit = st == AIKI_OK && sqlite3_changes(c->db) == 1;
    return st;
}

/* Most updates leave the run on shelf 0 and touch no index. */
static aiki_status update_run(struct sqlite_conn *c, const struct run_write *w, aiki_error *err)
{
    bool hit = false;
    aiki_status st = AIKI_OK;
    if (shelf_of_row(&w->row) == 0)
        st = try_update(c, w, false, &hit, err);
    if (st == AIKI_OK && !hit)
        st = try_update(c, w, true, &hit, err);
    if (st == AIKI_OK && !hit)
        st = error_set(err, AIKI_STALE, "run number %" PRIu64 " moved on", w->row.no);
    return st;
}

static aiki_status drop_key(struct sqlite_conn *c, uint64_t no, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_RUN_DROP_KEY, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_uint(&b, no);
    return execute(c, &b, err);
}

static aiki_status insert_events(struct sqlite_store *s, const struct run_write *w, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(&s->conn, SQL_JOURNAL_INSERT, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_uint(&b, w->row.no);
    bind_uint(&b, w->row.seq);
    bind_number(&b, s->clock_ms_max);
    bind_bytes(&b, w->row.hash, HASH_BYTES);
    bind_bytes(&b, w->events.data, w->events.size_bytes);
    return execute(&s->conn, &b, err);
}

static aiki_status put_workflow(struct sqlite_conn *c, const struct workflow_row *row,
                                aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_WORKFLOW_PUT, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_text(&b, row->space);
    bind_text(&b, row->name);
    bind_text(&b, row->version);
    bind_text(&b, row->plugin);
    bind_text(&b, row->build);
    bind_bytes(&b, row->descriptor.data, row->descriptor.size_bytes);
    bind_number(&b, row->first_seen_at_ms);
    bind_number(&b, row->last_seen_at_ms);
    return execute(c, &b, err);
}

static aiki_status put_clock(struct sqlite_store *s, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(&s->conn, SQL_CLOCK_PUT, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_number(&b, s->clock_ms_max);
    return execute(&s->conn, &b, err);
}

static aiki_status write_unit(struct sqlite_store *s, const struct unit *u, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    bool clock_written = false;
    for (size_t i = 0; st == AIKI_OK && i < u->run_count; i++) {
        const struct run_write *w = &u->runs[i];
        st = w->insert ? insert_run(&s->conn, &w->row, err) : update_run(&s->conn, w, err);
        if (st == AIKI_OK && w->drop_key)
            st = drop_key(&s->conn, w->row.no, err);
        if (st == AIKI_OK && w->events.size_bytes > 0) {
            st = insert_events(s, w, err);
            clock_written = true;
        }
    }
    for (size_t i = 0; st == AIKI_OK && i < u->workflow_count; i++)
        st = put_workflow(&s->conn, &u->workflows[i], err);
    for (size_t i = 0; st == AIKI_OK && i < u->ref_count; i++)
        st = refs_put(&s->conn, &u->refs[i], err);
    if (st == AIKI_OK && !clock_written)
        st = put_clock(s, err);
    return st;
}

/* Who waited in vain once does not wait again before the other program has let go: the refused
 * commands of a unit are tried one by one, and each would hold up everybody. */
static aiki_status begin(struct sqlite_store *s, aiki_error *err)
{
    aiki_status st = sql_run(&s->conn, SQL_BEGIN_WRITE, err);
    bool locked = st == AIKI_UNAVAILABLE;
    if (locked != s->locked)
        sqlite3_busy_timeout(s->conn.db, locked ? 0 : BUSY_MS_MAX);
    s->locked = locked;
    return st;
}

static aiki_status transact(struct sqlite_store *s, const struct unit *u, aiki_error *err)
{
    aiki_status st = begin(s, err);
    if (st != AIKI_OK)
        return st;
    st = write_unit(s, u, err);
    if (st == AIKI_OK)
        st = sql_run(&s->conn, SQL_COMMIT, err);
    if (st != AIKI_OK && !sqlite3_get_autocommit(s->conn.db) &&
        sql_run(&s->conn, SQL_ROLLBACK, NULL) != AIKI_OK)
        return error_set(err, AIKI_INTERNAL, "%s: a failed commit could not be rolled back",
                         s->file.path);
    return st;
}

static void break_store(struct sqlite_store *s, aiki_status st, const aiki_error *why)
{
    s->broken = true;
    sql_keep_log(&s->conn);
    s->why_broken = *why;
    s->why_broken.status = st;
}

static aiki_status sqlite_commit(struct store *base, const struct unit *u, aiki_error *err)
{
    struct sqlite_store *s = sqlite_of(base);
    if (s->broken)
        return error_set(err, AIKI_INTERNAL, "no commits after a failure: %s",
                         s->why_broken.message);
    aiki_status st = unit_check(u, err);
    if (st != AIKI_OK || u->run_count + u->workflow_count == 0)
        return st;

    aiki_error why = {.struct_size = sizeof(why)};
    int64_t clock_ms_before = s->clock_ms_max;
    int64_t clock_ms = unit_clock_ms(u);
    if (clock_ms > s->clock_ms_max)
        s->clock_ms_max = clock_ms;
    st = wal_check_room(s->wal, &why);
    if (st == AIKI_OK)
        st = transact(s, u, &why);
    if (st == AIKI_OK) {
        base->commits++;
        st = wal_tend(s->wal, &why);
        if (st != AIKI_OK)
            break_store(s, st, &why); /* from the next commit on: this one is on disk */
        return AIKI_OK;
    }
    s->clock_ms_max = clock_ms_before;
    if (commit_failure_is_fatal(st))
        break_store(s, st, &why);
    if (err != NULL)
        *err = why;
    return st;
}

/* ---- reads ---- */

static aiki_status sqlite_find_run(struct store *s, const struct aiki_id *id, store_run_fn fn,
                                   void *arg, aiki_error *err)
{
    return sql_find_run(&sqlite_of(s)->conn, id, fn, arg, err);
}

static aiki_status sqlite_find_run_no(struct store *s, uint64_t no, store_run_fn fn, void *arg,
                                      aiki_error *err)
{
    return sql_find_run_no(&sqlite_of(s)->conn, no, fn, arg, err);
}

static aiki_status sqlite_find_key(struct store *s, aiki_view space, aiki_view workflow,
                                   aiki_view key, store_run_fn fn, void *arg, aiki_error *err)
{
    return sql_find_key(&sqlite_of(s)->conn, space, workflow, key, fn, arg, err);
}

static aiki_status sqlite_journal(struct store *s, uint64_t run_no, uint64_t after_seq,
                                  uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                                  aiki_error *err)
{
    return sql_journal(&sqlite_of(s)->conn, run_no, after_seq, bytes_max, w, ret_last_seq, NULL,
                       err);
}

static aiki_status sqlite_find_ref(struct store *s, const struct ref_row *ref, bool *ret_known,
                                   aiki_error *err)
{
    return refs_find(&sqlite_of(s)->conn, ref, ret_known, err);
}

static aiki_status sqlite_scan_open(struct store *s, uint64_t after_no, uint32_t limit,
                                    store_run_fn fn, void *arg, aiki_error *err)
{
    return sql_scan_open(&sqlite_of(s)->conn, after_no, limit, fn, arg, err);
}

static aiki_status sqlite_children(struct store *s, const struct aiki_id *parent,
                                   uint64_t after_no, uint32_t limit, store_run_fn fn, void *arg,
                                   aiki_error *err)
{
    return sql_children(&sqlite_of(s)->conn, parent, after_no, limit, fn, arg, err);
}

/* Around every read of a reader: the log is not reused under it. */
static struct sqlite_conn *begin_read(struct store_reader *base)
{
    wal_read_begin(reader_of(base)->wal);
    return &reader_of(base)->conn;
}

static aiki_status end_read(struct store_reader *base, aiki_status st)
{
    wal_read_end(reader_of(base)->wal);
    return st;
}

static aiki_status sqlite_reader_children(struct store_reader *base, const struct aiki_id *parent,
                                          uint64_t after_no, uint32_t limit, store_run_fn fn,
                                          void *arg, aiki_error *err)
{
    struct sqlite_conn *c = begin_read(base);
    return end_read(base, sql_children(c, parent, after_no, limit, fn, arg, err));
}

static aiki_status sqlite_list(struct store_reader *base, const struct list_filter *filter,
                               store_run_fn fn, void *arg, aiki_error *err)
{
    struct sqlite_conn *c = begin_read(base);
    return end_read(base, sql_list(c, filter, fn, arg, err));
}

static aiki_status sqlite_reader_find_run(struct store_reader *base, const struct aiki_id *id,
                                          store_run_fn fn, void *arg, aiki_error *err)
{
    struct sqlite_conn *c = begin_read(base);
    return end_read(base, sql_find_run(c, id, fn, arg, err));
}

/* One snapshot for the head of the run and its rows, while the store thread goes on. */
static aiki_status sqlite_reader_journal(struct store_reader *base, uint64_t run_no,
                                         uint64_t after_seq, uint64_t bytes_max, aiki_writer *w,
                                         uint64_t *ret_last_seq, uint8_t ret_hash[HASH_BYTES],
                                         aiki_error *err)
{
    struct sqlite_conn *c = begin_read(base);
    aiki_status st = sql_run(c, SQL_BEGIN_READ, err);
    if (st == AIKI_OK) {
        st = sql_journal(c, run_no, after_seq, bytes_max, w, ret_last_seq, ret_hash, err);
        (void)sql_run(c, SQL_ROLLBACK, NULL); /* nothing was written, nothing is lost */
    }
    return end_read(base, st);
}

static aiki_status sqlite_workflows(struct store_reader *base, const char *space,
                                    store_workflow_fn fn, void *arg, aiki_error *err)
{
    struct sqlite_conn *c = begin_read(base);
    return end_read(base, sql_workflows(c, space, fn, arg, err));
}

const struct store_ops store_sqlite = {
    .scheme = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .migrate = sqlite_migrate,
    .open_reader = sqlite_open_reader,
    .close_reader = sqlite_close_reader,
    .commit = sqlite_commit,
    .find_run = sqlite_find_run,
    .find_run_no = sqlite_find_run_no,
    .find_key = sqlite_find_key,
    .journal = sqlite_journal,
    .find_ref = sqlite_find_ref,
    .scan_open = sqlite_scan_open,
    .children = sqlite_children,
    .reader_children = sqlite_reader_children,
    .list = sqlite_list,
    .reader_find_run = sqlite_reader_find_run,
    .reader_journal = sqlite_reader_journal,
    .workflows = sqlite_workflows,
};

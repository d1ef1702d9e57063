/* sqlite_conn.c - one SQLite connection: its settings, statements and errors. */
#include "store/sqlite_conn.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "wire/error.h"

/* How often a reader looks at its deadline: about every 1 ms. */
enum { WATCH_OPCODES = 20000 };

static const char *const sql_text[SQL_COUNT] = {
#define SQLITE_STATEMENT_TEXT(name, sql) [SQL_##name] = sql,
    SQLITE_STATEMENTS(SQLITE_STATEMENT_TEXT)
#undef SQLITE_STATEMENT_TEXT
};

/* Side effects matter here: page_size before the first table, WAL before the first write.
 * Checkpoints are sqlite_wal.c's, so that their errors are seen. */
static const char writer_settings[] = "PRAGMA page_size = 4096;"
                                      "PRAGMA journal_mode = WAL;"
                                      "PRAGMA synchronous = FULL;"
                                      "PRAGMA wal_autocheckpoint = 0;"
                                      "PRAGMA journal_size_limit = 67108864;"
                                      "PRAGMA cache_size = -8192;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA foreign_keys = OFF;"
                                      "PRAGMA trusted_schema = OFF;"
                                      "PRAGMA cell_size_check = ON";
static const char reader_settings[] = "PRAGMA query_only = ON;"
                                      "PRAGMA cache_size = -16384;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA trusted_schema = OFF;"
                                      "PRAGMA cell_size_check = ON";

static int primary_code(const struct sqlite_conn *c)
{
    return sqlite3_extended_errcode(c->db) & 0xff;
}

/* Of the database (SQLITE_FCNTL_FILE_POINTER) or of its log; 0 = no call has failed. */
static int last_errno(const struct sqlite_conn *c, int file)
{
    sqlite3_file *f = NULL;
    int why = 0;
    if (sqlite3_file_control(c->db, "main", file, &f) == SQLITE_OK && f != NULL && f->pMethods != NULL)
        (void)f->pMethods->xFileControl(f, SQLITE_FCNTL_LAST_ERRNO, &why);
    return why;
}

static bool means_full(int why)
{
    return why == EFBIG || why == EDQUOT || why == ENOSPC;
}

/* A file-size or quota limit is the administrator's way to say that the disk is full. When a statement has
 * failed because of one, sqlite3_system_errno() does not tell: the files do. */
static bool disk_is_full(const struct sqlite_conn *c)
{
    int code = sqlite3_extended_errcode(c->db);
    return primary_code(c) == SQLITE_FULL ||
           (code == SQLITE_IOERR_WRITE && (means_full(sqlite3_system_errno(c->db)) ||
                                           means_full(last_errno(c, SQLITE_FCNTL_JOURNAL_POINTER)) ||
                                           means_full(last_errno(c, SQLITE_FCNTL_FILE_POINTER))));
}

static aiki_status status_of(const struct sqlite_conn *c)
{
    if (disk_is_full(c))
        return AIKI_LIMIT;
    switch (primary_code(c)) {
    case SQLITE_INTERRUPT: return AIKI_LIMIT;
    case SQLITE_TOOBIG: return AIKI_LIMIT;
    case SQLITE_NOMEM: return AIKI_NOMEM;
    case SQLITE_BUSY: return AIKI_UNAVAILABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return AIKI_CORRUPT;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN: return AIKI_DENIED;
    default: return AIKI_INTERNAL;
    }
}

static const char *advice_of(const struct sqlite_conn *c)
{
    if (disk_is_full(c))
        return "the disk is full; free space, nothing was written";
    switch (primary_code(c)) {
    case SQLITE_INTERRUPT: return "it took over STORE_LIST_MS_MAX; narrow the filter";
    case SQLITE_BUSY: return "another program has it locked; end that program";
    case SQLITE_CORRUPT: return "the file is damaged; restore a backup, check the disk";
    case SQLITE_NOTADB: return "it is not an Aiki database; give another path";
    case SQLITE_IOERR: return "the disk failed; check it, then start the server again";
    default: return sqlite3_errmsg(c->db);
    }
}

aiki_status sql_error(struct sqlite_conn *c, const char *doing, aiki_error *err)
{
    int why = sqlite3_system_errno(c->db);
    return error_set(err, status_of(c), "cannot %s %s: %s (sqlite %d%s%s)", doing, c->path,
                     advice_of(c), sqlite3_extended_errcode(c->db), why != 0 ? ", " : "",
                     why != 0 ? strerror(why) : "");
}

/* ---- open and close ---- */

/* Nobody reads SQLite's memory statistics, and each malloc would take a lock for them. Refused
 * once SQLite runs, which only costs that speed. */
static void configure_once(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int on_progress(void *arg)
{
    const struct sqlite_conn *c = arg;
    return c->deadline_mono_ms != 0 && clock_mono_ms() > c->deadline_mono_ms;
}

/* A setting that silently did not take would weaken what a commit promises. */
static aiki_status check_settings(struct sqlite_conn *c, aiki_error *err)
{
    int64_t synchronous = 0, wal = 0;
    aiki_status st = sql_number(c, "PRAGMA synchronous", &synchronous, err);
    if (st == AIKI_OK)
        st = sql_number(c, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &wal, err);
    if (st == AIKI_OK && (synchronous != 2 || wal != 1))
        st = error_set(err, AIKI_UNSUPPORTED,
                       "%s: the write-ahead log does not work here; use a local file system",
                       c->path);
    return st;
}

aiki_status sql_open(struct sqlite_conn *c, const char *path, bool reader, aiki_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure_once);
    *c = (struct sqlite_conn){.path = path};
    if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK) {
        aiki_status st = c->db != NULL ? sql_error(c, "open", err)
                                       : error_set(err, AIKI_NOMEM, "cannot open %s", path);
        sql_close(c);
        return st;
    }
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, BUSY_MS_MAX);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (reader)
        sqlite3_progress_handler(c->db, WATCH_OPCODES, on_progress, c);
    aiki_status st = sql_script(c, reader ? reader_settings : writer_settings, err);
    if (st == AIKI_OK && !reader)
        st = check_settings(c, err);
    if (st != AIKI_OK)
        sql_close(c);
    return st;
}

void sql_close(struct sqlite_conn *c)
{
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(c->statements[i]);
    sqlite3_close(c->db);
    *c = (struct sqlite_conn){.path = c->path};
}

void sql_keep_log(struct sqlite_conn *c)
{
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* cannot fail */
}

/* ---- statements ---- */

aiki_status sql_statement(struct sqlite_conn *c, enum sqlite_statement which, sqlite3_stmt **ret,
                          aiki_error *err)
{
    if (c->statements[which] == NULL &&
        sqlite3_prepare_v3(c->db, sql_text[which], -1, SQLITE_PREPARE_PERSISTENT,
                           &c->statements[which], NULL) != SQLITE_OK)
        return sql_error(c, "use", err);
    *ret = c->statements[which];
    return AIKI_OK;
}

aiki_status sql_run(struct sqlite_conn *c, enum sqlite_statement which, aiki_error *err)
{
    sqlite3_stmt *s = NULL;
    aiki_status st = sql_statement(c, which, &s, err);
    if (st != AIKI_OK)
        return st;
    if (sqlite3_step(s) != SQLITE_DONE)
        st = sql_error(c, "write to", err);
    sqlite3_reset(s);
    return st;
}

aiki_status sql_number(struct sqlite_conn *c, const char *sql, int64_t *ret, aiki_error *err)
{
    sqlite3_stmt *s = NULL;
    aiki_status st = AIKI_OK;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        *ret = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    else
        st = sql_error(c, "read", err);
    sqlite3_finalize(s);
    return st;
}

aiki_status sql_script(struct sqlite_conn *c, const char *sql, aiki_error *err)
{
    if (sqlite3_exec(c->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return sql_error(c, "prepare", err);
    return AIKI_OK;
}

/* ---- parameters and columns ---- */

static void bound(struct binder *b, int rc)
{
    if (b->rc == SQLITE_OK)
        b->rc = rc;
}

void bind_number(struct binder *b, int64_t number)
{
    bound(b, sqlite3_bind_int64(b->statement, ++b->index, number));
}

void bind_uint(struct binder *b, uint64_t number)
{
    assert(number <= (uint64_t)INT64_MAX);
    bind_number(b, (int64_t)number);
}

/* NULL data would bind NULL where the empty value is meant. */
static const void *not_null(const void *data)
{
    return data != NULL ? data : "";
}

void bind_text(struct binder *b, aiki_view text)
{
    bound(b, sqlite3_bind_text64(b->statement, ++b->index, not_null(text.data), text.size_bytes,
                                 SQLITE_STATIC, SQLITE_UTF8));
}

void bind_bytes(struct binder *b, const void *data, uint64_t size_bytes)
{
    bound(b,
          sqlite3_bind_blob64(b->statement, ++b->index, not_null(data), size_bytes, SQLITE_STATIC));
}

void bind_optional(struct binder *b, aiki_view bytes)
{
    if (bytes.size_bytes > 0)
        bind_bytes(b, bytes.data, bytes.size_bytes);
    else
        bound(b, sqlite3_bind_null(b->statement, ++b->index));
}

void bind_name(struct binder *b, const char *text)
{
    if (text != NULL)
        bind_text(b, view_of(text));
    else
        bound(b, sqlite3_bind_null(b->statement, ++b->index));
}

aiki_view column_view(sqlite3_stmt *s, int column)
{
    aiki_view v;
    v.data = sqlite3_column_blob(s, column);
    v.size_bytes = (uint64_t)sqlite3_column_bytes(s, column);
    return v;
}

uint64_t column_uint(sqlite3_stmt *s, int column)
{
    return (uint64_t)sqlite3_column_int64(s, column);
}

bool column_exact(sqlite3_stmt *s, int column, void *ret, size_t size_bytes)
{
    aiki_view v = column_view(s, column);
    if (v.size_bytes != size_bytes)
        return false;
    memcpy(ret, v.data, size_bytes);
    return true;
}

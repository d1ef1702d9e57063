/* store/sqlite_conn.h - one SQLite connection: its settings, statements and errors.
 *
 * All SQL of the backend is in the table below (and the schema in sqlite_schema.c). A statement
 * is prepared at its first use and kept. [the thread that owns the connection]
 */
#ifndef STORE_SQLITE_CONN_H
#define STORE_SQLITE_CONN_H

#include <sqlite3.h>

#include "store/store.h"

/* How long the write lock or a read of somebody else (a sqlite3 shell) is waited for. */
enum { BUSY_MS_MAX = 2000 };

/* clang-format off: the table keeps its columns */
/* Columns in the order of run_from_row(). */
#define SQL_RUN                                                                                    \
    "no, id, state, epoch, seq, hash, updated_at_ms, wake_at_ms, signals, duplicates, "            \
    "space, workflow, version, key, input_hash, actor, created_at_ms, waits, reason, "              \
    "parent, flags, deadline_ms, children, absorbed, build"
#define SQL_WORKFLOW                                                                               \
    "space, name, version, plugin, build, descriptor, first_seen_at_ms, last_seen_at_ms"

#define SQL_UPDATE                                                                                 \
    "UPDATE runs SET state = ?4, epoch = ?3, seq = ?5, hash = ?6, updated_at_ms = ?7, "            \
    "wake_at_ms = ?8, signals = ?9, duplicates = ?10, waits = ?11, reason = ?12, "                 \
    "flags = ?13, deadline_ms = ?14, children = ?15, absorbed = ?16, "         \
    "build = ?17"
/* The condition of every write: nobody wrote in between, and nobody newer owns the run. */
#define SQL_FENCE " WHERE no = ?1 AND seq = ?2 AND epoch <= ?3"

/* Each listing names its index: which one serves is known from the filter, not from statistics.
 * ?1 space, ?2 workflow, ?3 version, ?4 key, ?5 state mask, ?6 before_no, ?7 limit, ?8 and ?9 the
 * first and the last build. */
#define SQL_LIST(index, condition)                                                                 \
    "SELECT " SQL_RUN " FROM runs " index " WHERE " condition                                      \
    " AND space = ?1 AND no < ?6 AND (?2 IS NULL OR workflow = ?2)"                                \
    " AND (?3 IS NULL OR version = ?3) AND (?4 IS NULL OR key = ?4)"                               \
    " AND (?5 = 0 OR (?5 >> state) & 1) AND (?8 IS NULL OR build BETWEEN ?8 AND ?9)"               \
    " ORDER BY no DESC LIMIT ?7"

#define SQLITE_STATEMENTS(X)                                                                       \
    X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                                              \
    X(BEGIN_READ, "BEGIN")                                                                         \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(RUN_INSERT,                                                                                  \
      "INSERT INTO runs(shelf, " SQL_RUN ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "           \
      "?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)")      \
    X(RUN_UPDATE, SQL_UPDATE SQL_FENCE " AND shelf = 0")                                           \
    X(RUN_UPDATE_SHELF, SQL_UPDATE ", shelf = ?18" SQL_FENCE)                                      \
    X(RUN_DROP_KEY, "UPDATE runs SET key = NULL WHERE no = ?1")                                    \
    X(JOURNAL_INSERT,                                                                              \
      "INSERT INTO journal(run_no, seq, clock_ms, hash, events) VALUES(?1, ?2, ?3, ?4, ?5)")       \
    X(WORKFLOW_PUT,                                                                                \
      "INSERT INTO workflows(" SQL_WORKFLOW ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "            \
      "ON CONFLICT(space, name, version) DO UPDATE SET plugin = ?4, build = ?5, "                  \
      "descriptor = ?6, last_seen_at_ms = ?8")                                                     \
    X(REF_PUT, "INSERT OR IGNORE INTO refs(run_no, hash) VALUES(?1, ?2)")                          \
    X(REF_FIND, "SELECT 1 FROM refs WHERE run_no = ?1 AND hash = ?2")                              \
    X(REFS_GATHER, /* see refs_gather */                                                           \
      "SELECT run_no, events FROM runs JOIN journal ON run_no = no "                               \
      "WHERE signals > 0 OR state = 12 OR flags >= 256 ORDER BY pos")                              \
    X(CLOCK_PUT, "UPDATE meta SET value = ?1 WHERE name = 'clock_ms'")                             \
    X(RUN_BY_ID, "SELECT " SQL_RUN " FROM runs WHERE id = ?1")                                     \
    X(RUN_BY_NO, "SELECT " SQL_RUN " FROM runs WHERE no = ?1")                                     \
    X(RUN_BY_KEY, "SELECT " SQL_RUN " FROM runs WHERE space = ?1 AND key = ?2 AND workflow = ?3")  \
    X(RUN_HEAD, "SELECT id, seq, hash FROM runs WHERE no = ?1")                                    \
    X(SCAN_OPEN, "SELECT " SQL_RUN " FROM runs INDEXED BY runs_open WHERE shelf <= 0 AND no > ?1 " \
                 "ORDER BY no LIMIT ?2")                                                           \
    X(CHILDREN, "SELECT " SQL_RUN " FROM runs INDEXED BY runs_parent WHERE parent = ?1 "           \
                "AND no > ?2 ORDER BY no LIMIT ?3")                                                \
    X(LIST_ALL, SQL_LIST("NOT INDEXED", "1"))                                                      \
    X(LIST_WORKFLOW, SQL_LIST("INDEXED BY runs_workflow", "workflow = ?2"))                        \
    X(LIST_KEY, SQL_LIST("INDEXED BY runs_key", "key = ?4"))                                       \
    X(LIST_OPEN, SQL_LIST("INDEXED BY runs_open", "shelf <= 0"))                                   \
    X(LIST_SPECIAL,                                                                                \
      SQL_LIST("INDEXED BY runs_special", "shelf <> 0 AND shelf <> 8 AND (?5 >> abs(shelf)) & 1")) \
    X(JOURNAL_BEFORE, "SELECT seq, hash FROM journal WHERE run_no = ?1 AND seq <= ?2 "             \
                      "ORDER BY seq DESC LIMIT 1")                                                 \
    X(JOURNAL_AFTER,                                                                               \
      "SELECT seq, hash, events FROM journal WHERE run_no = ?1 AND seq > ?2 ORDER BY seq")         \
    X(WORKFLOWS, "SELECT " SQL_WORKFLOW " FROM workflows WHERE space = ?1 ORDER BY name, version")
/* clang-format on */

enum sqlite_statement {
#define SQLITE_STATEMENT_ENUM(name, sql) SQL_##name,
    SQLITE_STATEMENTS(SQLITE_STATEMENT_ENUM)
#undef SQLITE_STATEMENT_ENUM
        SQL_COUNT
};

struct sqlite_conn {
    sqlite3 *db;
    const char *path; /* borrowed, for messages */
    sqlite3_stmt *statements[SQL_COUNT];
    int64_t deadline_mono_ms; /* a reader stops looking then; 0 = never */
};

/* Opens and applies the settings; the connection is closed again on failure. reader: may not
 * write, and is stopped at its deadline. */
aiki_status sql_open(struct sqlite_conn *c, const char *path, bool reader, aiki_error *err);
void sql_close(struct sqlite_conn *c);
/* Closing leaves the log as it is. Needed once a sync of the database failed: some of the log
 * counts as copied but is not on disk, and only who opens the file anew copies all of it again. */
void sql_keep_log(struct sqlite_conn *c);
/* What SQLite last said, as one of ours; `doing` reads "write to". */
aiki_status sql_error(struct sqlite_conn *c, const char *doing, aiki_error *err);
/* The statement, ready to be bound. Never NULL on AIKI_OK. */
aiki_status sql_statement(struct sqlite_conn *c, enum sqlite_statement which, sqlite3_stmt **ret,
                          aiki_error *err);
/* A statement without parameters and rows. */
aiki_status sql_run(struct sqlite_conn *c, enum sqlite_statement which, aiki_error *err);
/* One number from a text that is not worth keeping prepared; 0 when there is no row. */
aiki_status sql_number(struct sqlite_conn *c, const char *sql, int64_t *ret, aiki_error *err);
/* Several statements without parameters. */
aiki_status sql_script(struct sqlite_conn *c, const char *sql, aiki_error *err);

/* Binds one parameter after the other, from 1 on; the bytes stay the caller's until the
 * statement is reset. A failure sticks in rc. */
struct binder {
    sqlite3_stmt *statement;
    int index;
    int rc;
};
void bind_number(struct binder *b, int64_t number);
void bind_uint(struct binder *b, uint64_t number); /* checked to fit 63 bits before */
void bind_text(struct binder *b, aiki_view text);
void bind_bytes(struct binder *b, const void *data, uint64_t size_bytes);
void bind_optional(struct binder *b, aiki_view bytes); /* NULL when empty */
void bind_name(struct binder *b, const char *text);    /* NULL stays NULL */

/* Columns of the current row; views last until the statement moves. */
aiki_view column_view(sqlite3_stmt *s, int column);
uint64_t column_uint(sqlite3_stmt *s, int column);
/* False when the column is not exactly this long. */
bool column_exact(sqlite3_stmt *s, int column, void *ret, size_t size_bytes);

#endif

/* sqlite_schema.c - the tables, as numbered steps that are appended and never edited.
 *
 * journal is shaped like a log: rows only go to the end, and its unique index is nearly so. Ids
 * are time-ordered, therefore runs' index on them grows at its end too.
 *
 * runs.shelf (shelf_of) tells recovery and listings where a run belongs without making every
 * append touch an index: those that mention shelf are written only when it changes, and a run
 * that simply completed is in none of them.
 */
#include "store/sqlite_schema.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "store/sqlite_refs.h"
#include "wire/error.h"

/* The 8 in runs_special is RUN_COMPLETED; the same condition is in SQL LIST_SPECIAL. */
_Static_assert(RUN_COMPLETED == 8, "runs_special leaves out completed runs");

static const char *const steps[] = {
    /* 1 */
    "CREATE TABLE meta("
    "  name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "INSERT INTO meta VALUES('schema', 0), ('incarnation', 0), ('clock_ms', 0);"
    "CREATE TABLE runs("
    "  no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, shelf INTEGER NOT NULL,"
    "  state INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
    "  hash BLOB NOT NULL, updated_at_ms INTEGER NOT NULL, wake_at_ms INTEGER NOT NULL,"
    "  signals INTEGER NOT NULL, duplicates INTEGER NOT NULL,"
    "  space TEXT NOT NULL, workflow TEXT NOT NULL, version TEXT NOT NULL, key BLOB,"
    "  input_hash BLOB NOT NULL, actor TEXT NOT NULL, created_at_ms INTEGER NOT NULL,"
    "  waits BLOB, reason BLOB) STRICT;"
    "CREATE UNIQUE INDEX runs_key ON runs(space, key, workflow) WHERE key IS NOT NULL;"
    "CREATE INDEX runs_workflow ON runs(space, workflow, no);"
    "CREATE INDEX runs_open ON runs(no) WHERE shelf <= 0;"
    "CREATE INDEX runs_special ON runs(space, no, shelf) WHERE shelf <> 0 AND shelf <> 8;"
    "CREATE TABLE journal("
    "  pos INTEGER PRIMARY KEY, run_no INTEGER NOT NULL,"
    "  seq INTEGER NOT NULL," /* of the last event in this row */
    "  clock_ms INTEGER NOT NULL, hash BLOB NOT NULL, events BLOB NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX journal_run ON journal(run_no, seq);"
    "CREATE TABLE workflows("
    "  space TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, plugin TEXT NOT NULL,"
    "  build TEXT NOT NULL, descriptor BLOB NOT NULL, first_seen_at_ms INTEGER NOT NULL,"
    "  last_seen_at_ms INTEGER NOT NULL, PRIMARY KEY(space, name, version))"
    "  STRICT, WITHOUT ROWID;"
    "PRAGMA application_id = 1097427785;", /* APPLICATION_ID */
    /* 2: children, deadlines, requests that wait for the owner */
    "ALTER TABLE runs ADD COLUMN parent BLOB;"
    "ALTER TABLE runs ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE runs ADD COLUMN deadline_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE runs ADD COLUMN children INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE runs ADD COLUMN absorbed BLOB;"
    "CREATE INDEX runs_parent ON runs(parent, no) WHERE parent IS NOT NULL;",
    /* 3: who executed it last. No index: open runs are counted in memory (registry.h), and every
     * run would pay for it. */
    "ALTER TABLE runs ADD COLUMN build BLOB;",
    /* 4: references, which had to be read from journals; refs_gather fills it */
    "CREATE TABLE refs(run_no INTEGER, hash BLOB, PRIMARY KEY(run_no, hash)) STRICT, WITHOUT ROWID;",
};
enum { SCHEMA_VERSION = ARRAY_COUNT(steps), SCHEMA_REFS = 4 };

/* The version of the schema on disk; 0 for a file without tables. */
static aiki_status read_version(struct sqlite_conn *c, int64_t *ret, aiki_error *err)
{
    int64_t tables, id;
    aiki_status st = sql_number(c, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (st == AIKI_OK)
        st = sql_number(c, "PRAGMA application_id", &id, err);
    if (st != AIKI_OK)
        return st;
    if (tables == 0) {
        *ret = 0;
        return AIKI_OK;
    }
    if (id != APPLICATION_ID)
        return error_set(err, AIKI_UNSUPPORTED,
                         "%s is the database of another program; give another path", c->path);
    return sql_number(c, "SELECT value FROM meta WHERE name = 'schema'", ret, err);
}

static aiki_status apply_steps(struct sqlite_conn *c, int64_t from, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    for (int64_t i = from; st == AIKI_OK && i < SCHEMA_VERSION; i++) {
        st = sql_script(c, steps[i], err);
        if (st == AIKI_OK && i + 1 == SCHEMA_REFS)
            st = refs_gather(c, err);
        if (st == AIKI_OK)
            st = sql_script(c, "UPDATE meta SET value = value + 1 WHERE name = 'schema'", err);
    }
    return st;
}

aiki_status schema_apply(struct sqlite_conn *c, bool dry_run, struct store_migration *ret,
                         aiki_error *err)
{
    int64_t version;
    aiki_status st = read_version(c, &version, err);
    if (st != AIKI_OK)
        return st;
    *ret = (struct store_migration){.from = version, .to = SCHEMA_VERSION};
    if (version == SCHEMA_VERSION)
        return AIKI_OK;
    if (version < 0 || version > SCHEMA_VERSION)
        return error_set(err, AIKI_UNSUPPORTED,
                         "%s has schema %" PRId64 ", this server speaks up to %d: use the newer "
                         "server, or restore the backup from before the upgrade",
                         c->path, version, SCHEMA_VERSION);
    st = sql_script(c, "BEGIN IMMEDIATE", err);
    if (st == AIKI_OK)
        st = apply_steps(c, version, err);
    if (st == AIKI_OK)
        st = sql_script(c, dry_run ? "ROLLBACK" : "COMMIT", err);
    if (st != AIKI_OK && !sqlite3_get_autocommit(c->db))
        (void)sql_script(c, "ROLLBACK", NULL); /* the first failure is the one to tell */
    return st;
}

int64_t shelf_of(uint64_t state)
{
    switch (state) {
    case RUN_BLOCKED:
    case RUN_STALLED:
    case RUN_PAUSED:
    case RUN_CANCELLING: return -(int64_t)state;
    default: return run_state_is_terminal(state) ? (int64_t)state : 0;
    }
}

int64_t shelf_of_row(const struct run_row *row)
{
    return (row->flags & STORE_FLAG_UNDONE) != 0 ? 0 : shelf_of(row->state);
}

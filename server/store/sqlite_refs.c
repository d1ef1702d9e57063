/* sqlite_refs.c - see sqlite_refs.h. */
#include "store/sqlite_refs.h"

#include <string.h>

#include "wire/error.h"

/* Runs that were never asked anything have no references: no arrivals, not terminated, not retried. Those are
 * the numbers in SQL REFS_GATHER; 256 and up in flags counts retries (engine/run.h). */
_Static_assert(RUN_TERMINATED == 12, "refs_gather reads the journals of terminated runs");

static aiki_status bind_ref(struct sqlite_conn *c, enum sqlite_statement which, const struct ref_row *ref,
                            struct binder *ret, aiki_error *err)
{
    *ret = (struct binder){0};
    aiki_status st = sql_statement(c, which, &ret->statement, err);
    if (st != AIKI_OK)
        return st;
    bind_uint(ret, ref->run_no);
    bind_bytes(ret, ref->hash, REFERENCE_BYTES);
    return AIKI_OK;
}

aiki_status refs_put(struct sqlite_conn *c, const struct ref_row *ref, aiki_error *err)
{
    struct binder b;
    aiki_status st = bind_ref(c, SQL_REF_PUT, ref, &b, err);
    if (st != AIKI_OK)
        return st;
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.statement) : b.rc;
    if (rc != SQLITE_DONE)
        st = sql_error(c, "write to", err);
    sqlite3_reset(b.statement);
    return st;
}

aiki_status refs_find(struct sqlite_conn *c, const struct ref_row *ref, bool *ret_known, aiki_error *err)
{
    struct binder b;
    aiki_status st = bind_ref(c, SQL_REF_FIND, ref, &b, err);
    if (st != AIKI_OK)
        return st;
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.statement) : b.rc;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        *ret_known = rc == SQLITE_ROW;
    else
        st = sql_error(c, "read from", err);
    sqlite3_reset(b.statement);
    return st;
}

/* A damaged row keeps nobody from upgrading: whoever reads the run is told. */
static aiki_status gather_row(struct sqlite_conn *c, uint64_t run_no, aiki_view events, aiki_error *err)
{
    struct ref_row ref = {.run_no = run_no};
    struct event event;
    aiki_reader r;
    aiki_status st = AIKI_OK;
    aiki_reader_init(&r, events);
    while (st == AIKI_OK && event_read_stored(&r, &event, NULL) == AIKI_OK)
        if (reference_of_event(&event, ref.hash))
            st = refs_put(c, &ref, err);
    return st;
}

aiki_status refs_gather(struct sqlite_conn *c, aiki_error *err)
{
    sqlite3_stmt *rows;
    int rc = SQLITE_ROW;
    aiki_status st = sql_statement(c, SQL_REFS_GATHER, &rows, err);
    if (st != AIKI_OK)
        return st;
    while (st == AIKI_OK && (rc = sqlite3_step(rows)) == SQLITE_ROW)
        st = gather_row(c, column_uint(rows, 0), column_view(rows, 1), err);
    if (st == AIKI_OK && rc != SQLITE_DONE)
        st = sql_error(c, "read from", err);
    sqlite3_reset(rows);
    return st;
}

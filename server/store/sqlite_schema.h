/* store/sqlite_schema.h - bring a database to the schema this binary speaks. [store] */
#ifndef STORE_SQLITE_SCHEMA_H
#define STORE_SQLITE_SCHEMA_H

#include "store/sqlite_conn.h"

/* In the header of every database of ours: "AikI". */
enum { APPLICATION_ID = 0x41696b49 };

/* Applies the missing steps in one transaction, which a dry run takes back. AIKI_UNSUPPORTED for a
 * newer schema, and for the database of another program; nothing was written then. ret: what it was
 * and what it is or would be; set on success. */
aiki_status schema_apply(struct sqlite_conn *c, bool dry_run, struct store_migration *ret,
                         aiki_error *err);
/* Where a run in this state belongs: 0 = open and moving, -state = open but held up by something
 * that a person may have to look at, state = final. */
int64_t shelf_of(uint64_t state);
/* The same of a row: 0 while something is to be done about it. */
int64_t shelf_of_row(const struct run_row *row);

#endif

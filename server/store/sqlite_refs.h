/* store/sqlite_refs.h - the table of references. [the thread that owns the connection] */
#ifndef STORE_SQLITE_REFS_H
#define STORE_SQLITE_REFS_H

#include "store/sqlite_conn.h"

aiki_status refs_put(struct sqlite_conn *c, const struct ref_row *ref, aiki_error *err);
aiki_status refs_find(struct sqlite_conn *c, const struct ref_row *ref, bool *ret_known, aiki_error *err);
/* From the journals that a release without the table has left: once, in the transaction that makes it. */
aiki_status refs_gather(struct sqlite_conn *c, aiki_error *err);

#endif

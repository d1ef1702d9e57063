/* store/sqlite.h - what only the SQLite store can do, for tests. [store] */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include "store/sqlite_wal.h"

/* Other limits than the usual ones for the write-ahead log, so that a test meets them soon. */
void sqlite_store_limit_wal(struct store *s, const struct wal_limits *limits);

#endif

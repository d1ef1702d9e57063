/* store/sqlite_wal.h - keeps the write-ahead log short without holding up commits. [store]
 *
 *   pages:  0 ------------ copy ------------------ restart ------------------ max
 *            nothing to do  a thread copies the     a commit waits until the   commits are refused:
 *                           log into the database,  readers have let go and    another program has
 *                           a commit finishes that  the log starts over        not let go for long
 *
 * Limits: WAL_COPY_PAGES, WAL_RESTART_PAGES, WAL_PAGES_MAX.
 */
#ifndef STORE_SQLITE_WAL_H
#define STORE_SQLITE_WAL_H

#include "store/sqlite_conn.h"

/* Pages of 4 KiB. */
enum { WAL_COPY_PAGES = 4000, WAL_RESTART_PAGES = 16000, WAL_PAGES_MAX = 1024 * 1024 };

struct wal_limits {
    int copy_pages, restart_pages, pages_max; /* WAL_COPY_PAGES... */
    int busy_ms_max;                          /* how long a commit waits for readers */
};

struct wal;

/* Hooks itself to the writer's commits and starts the thread. writer: borrowed until destroy. */
aiki_status wal_create(struct wal **ret, struct sqlite_conn *writer, aiki_error *err);
void wal_destroy(struct wal *w);
/* For tests. */
void wal_set_limits(struct wal *w, const struct wal_limits *limits);
/* Around each read of a reader of ours, [the reader's thread]. Without this the next read begins
 * where the last one ended, and SQLite never finds the moment to start the log over. */
void wal_read_begin(struct wal *w);
void wal_read_end(struct wal *w);
/* Before a commit: AIKI_LIMIT when the log is over pages_max and cannot be started over. */
aiki_status wal_check_room(struct wal *w, aiki_error *err);
/* After a commit, which stays committed whatever comes of this. A failure says that the disk
 * cannot be trusted any more. */
aiki_status wal_tend(struct wal *w, aiki_error *err);

#endif

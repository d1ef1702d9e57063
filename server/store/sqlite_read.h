/* store/sqlite_read.h - reads that the store and its readers have in common.
 * [the thread that owns the connection] Meanings are those of store.h. */
#ifndef STORE_SQLITE_READ_H
#define STORE_SQLITE_READ_H

#include "store/sqlite_conn.h"

aiki_status sql_find_run(struct sqlite_conn *c, const struct aiki_id *id, store_run_fn fn,
                         void *arg, aiki_error *err);
aiki_status sql_find_run_no(struct sqlite_conn *c, uint64_t no, store_run_fn fn, void *arg,
                            aiki_error *err);
aiki_status sql_find_key(struct sqlite_conn *c, aiki_view space, aiki_view workflow, aiki_view key,
                         store_run_fn fn, void *arg, aiki_error *err);
/* Several statements: a connection that others write beside needs a transaction around it. */
aiki_status sql_journal(struct sqlite_conn *c, uint64_t run_no, uint64_t after_seq,
                        uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                        uint8_t ret_hash[HASH_BYTES], aiki_error *err);
aiki_status sql_scan_open(struct sqlite_conn *c, uint64_t after_no, uint32_t limit, store_run_fn fn,
                          void *arg, aiki_error *err);
aiki_status sql_children(struct sqlite_conn *c, const struct aiki_id *parent, uint64_t after_no,
                         uint32_t limit, store_run_fn fn, void *arg, aiki_error *err);
aiki_status sql_list(struct sqlite_conn *c, const struct list_filter *filter, store_run_fn fn,
                     void *arg, aiki_error *err);
aiki_status sql_workflows(struct sqlite_conn *c, const char *space, store_workflow_fn fn, void *arg,
                          aiki_error *err);

#endif

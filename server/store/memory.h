/* store/memory.h - the store without a disk, for tests and the simulator. [store], readers any
 *
 * "memory:" lives until it is closed. "memory:NAME" outlives store_close like a file does, so
 * that a simulated server can be restarted on it; opening it twice at once is AIKI_CONFLICT.
 */
#ifndef STORE_MEMORY_H
#define STORE_MEMORY_H

#include "store/store.h"

/* Forget a named store; it must be closed. A name that is not there is fine. */
void memory_store_wipe(const char *name);
/* After `after` more commits have passed, one commit writes nothing and answers status. AIKI_OK
 * takes the order back. A status that commit() calls fatal stays: all later commits are refused. */
void memory_store_fail_commit(struct store *s, aiki_status status, uint64_t after);

#endif

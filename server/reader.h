/* reader.h - the reader thread: lists, trees and histories on a connection of its own, so that a long
 * one never delays a commit. Limits: READER_JOBS_MAX waiting.
 */
#ifndef SERVER_READER_H
#define SERVER_READER_H

#include "batch.h"
#include "registry.h"
#include "schemas.h"
#include "store/store.h"

enum {
    READER_JOBS_MAX = 10000,
    LIST_LIMIT_DEFAULT = 50,
    HISTORY_LIMIT_DEFAULT = 100,
    HISTORY_LIMIT_MAX = 1000,
    TREE_RUNS_MAX = 1000, /* a larger or deeper family is cut, and says so */
    TREE_DEPTH_MAX = 30,
    TREE_JOINED_MAX = 100, /* calls by a shared key that are looked at in one run */
    TREE_JOURNAL_BYTES_MAX = 16 * 1024 * 1024,
    SAMPLE_RUNS_MAX = 1000,
    DOCUMENT_BYTES_MAX = 8 * 1024 * 1024 /* a page of history ends early rather than be larger */
};

struct reader;
/* Starts the thread; answers go to outbox as outcomes. schemas outlives it; NULL: nothing is hidden. [loop] */
aiki_status reader_start(struct reader **ret, struct store *store, const char *space,
                         uint64_t epoch_floor, struct schemas *schemas, struct mailbox *outbox,
                         aiki_error *err);
/* Ends the thread after what waits is answered. NULL is a no-op. */
void reader_stop(struct reader *r);
/* Whether it is such a request. */
bool reader_knows(aiki_view what);
/* "runs.list", "runs.history", "runs.tree", "runs.sample", "runs.journal", "letters.list" or
 * "letters.get" for that request. served: the flows that somebody serves, a malloc'ed array that the reader frees. AIKI_LIMIT when too many wait. [store] */
aiki_status reader_ask(struct reader *r, peer_id peer, uint32_t correlation, aiki_view what,
                       aiki_view args, const struct flow **served, size_t served_count,
                       aiki_error *err);

#endif

/* reader_impl.h - what the sources of the reader share. [reader thread unless stated] */
#ifndef SERVER_READER_IMPL_H
#define SERVER_READER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "reader.h"
#include "views.h"

/* One request, on its way to the reader thread. */
struct job {
    struct mail mail;
    bool stop;
    enum job_kind { JOB_NONE, JOB_LIST, JOB_HISTORY, JOB_TREE, JOB_SAMPLE, JOB_JOURNAL, JOB_LETTERS, JOB_LETTER } what;
    peer_id peer;
    uint32_t correlation;
    uint8_t *args; /* owned */
    uint64_t args_size_bytes;
    const struct flow **served; /* owned */
    size_t served_count;
};

struct reader {
    pthread_t thread;
    struct postbox inbox;
    struct mailbox *outbox;
    struct store *store;
    struct store_reader *connection;
    const char *space;
    uint64_t epoch_floor;
    struct schemas *schemas; /* borrowed */
    struct steps_shelf steps;
    atomic_uint waiting;
};

/* The run that the arguments name: fn is called with its row. AIKI_NOT_FOUND, AIKI_INVALID. */
aiki_status reader_find(struct reader *r, const struct query_args *a, store_run_fn fn, void *arg,
                        struct aiki_id *ret_id, aiki_error *err);
/* As people are to see it. A row that says running may be of an earlier incarnation, whose
 * ownerships are void. */
uint32_t reader_state(const struct reader *r, const struct job *job, const struct run_row *row);

/* How payloads are to be shown to who asked. */
struct shown reader_shown(const struct reader *r, const struct query_args *a);

/* As a mask of states. */
uint64_t reader_open_states(void);

/* reader_gate.c */
aiki_status runs_sample(struct reader *r, const struct query_args *a, aiki_writer *doc,
                        aiki_error *err);
aiki_status runs_journal(struct reader *r, const struct query_args *a, aiki_writer *doc,
                         aiki_error *err);

/* reader_letters.c */
aiki_status letters_list(struct reader *r, const struct query_args *a, aiki_writer *doc,
                         aiki_error *err);
aiki_status letters_get(struct reader *r, const struct query_args *a, aiki_writer *doc,
                        aiki_error *err);

/* reader_tree.c */
aiki_status runs_tree(struct reader *r, const struct job *job, const struct query_args *a,
                      aiki_writer *doc, aiki_error *err);

#endif

/* store/store.h - the only door to durable state. Blocking calls: [store] unless stated.
 *
 * A unit of work in domain terms: load what a batch of commands is about, decide in memory,
 * commit all of it or nothing with one fsync. No SQL leaves a backend. The store does not know
 * what the columns mean beyond what is said here.
 *
 * A run row is its own outbox: a row in state QUEUED or RUNNING is "to be offered", and a
 * restart offers every such row again (docs/decisions/0001). A row with wake_at_ms > 0 is a
 * timer. So one commit holds events, state, timers and outbox.
 *
 * Threads: the store handle belongs to the store thread; a reader handle has its own connection
 * and belongs to the thread that uses it. Limits: STORE_UNIT_RUNS_MAX runs a commit.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

#include "store/reference.h"
#include "wire/event.h"
#include "wire/id.h"

struct store;
struct store_reader;

/* In a row's flags: something is to be done about the run, whatever its state: scan_open shows it. */
enum { STORE_FLAG_UNDONE = 64 };

/* Runs one commit may write; rows one listing may answer; how long one listing may look. */
enum { STORE_UNIT_RUNS_MAX = 64 * 1024, STORE_LIST_MAX = 1000, STORE_LIST_MS_MAX = 2000 };

/* One row of the runs table. Views: on commit borrowed from the caller until it returns; on load
 * borrowed from the callback's duration. */
struct run_row {
    uint64_t no;              /* dense number, chosen by the server, never reused */
    struct aiki_id id;
    aiki_view space;          /* namespace */
    aiki_view workflow, version;
    aiki_view key;            /* start key; empty = none. Unique per (space, workflow) */
    uint8_t input_hash[HASH_BYTES]; /* canonical hash of the input, for key conflicts */
    aiki_view actor;          /* who started it */
    uint32_t state;           /* RUN_* */
    uint64_t epoch;
    uint64_t seq;             /* number of events on record: the revision */
    uint8_t hash[HASH_BYTES]; /* chain head */
    int64_t created_at_ms, updated_at_ms;
    int64_t wake_at_ms;       /* 0 = no timer */
    uint64_t signals;         /* arrivals (event.h) on record */
    uint64_t duplicates;      /* starts absorbed by the key */
    aiki_view waits;          /* msgpack array of waits (event.h), empty = none */
    aiki_view reason;         /* error map while blocked or once failed, empty = none */
    struct aiki_id parent;    /* zero: nobody's child; never changes */
    uint64_t flags;           /* RUN_FLAG_* (engine/run.h) */
    int64_t deadline_ms;      /* 0 = none */
    uint64_t children;        /* runs this one started as its children */
    aiki_view absorbed;       /* who was answered with this run; see cache.h, empty = nobody */
    aiki_view build;          /* HASH_BYTES that executed it last, as its newest CLAIMED event says;
                               * empty = none, or not since it was kept (schema 3) */
};

/* One write to one run. A new run: insert = true. Otherwise seq_before and epoch_max are
 * conditions inside the transaction: the stored row must have seq == seq_before and
 * epoch <= row.epoch, else AIKI_STALE and nothing of the unit is written. */
struct run_write {
    struct run_row row;       /* as it is after the commit */
    bool insert;
    bool drop_key;            /* the key is free again, for a run inserted later in the unit */
    uint64_t seq_before;
    /* Stored events seq_before+1 .. row.seq, concatenated; empty when only the row changes.
     * Kept as one journal row whose hash is row.hash. */
    aiki_view events;
};

/* A workflow version ever seen, for the registry. schema: descriptor map of the workflow. */
struct workflow_row {
    aiki_view space, name, version;
    aiki_view plugin, build;  /* the last one that served it */
    aiki_view descriptor;     /* msgpack map */
    int64_t first_seen_at_ms, last_seen_at_ms;
};

/* A reference under which something was asked of a run (reference.h), so that a repeat is known without
 * reading its journal. */
struct ref_row {
    uint64_t run_no;
    uint8_t hash[REFERENCE_BYTES];
};

struct unit {
    const struct run_write *runs;
    size_t run_count;
    const struct workflow_row *workflows; /* upserted by (space, name, version) */
    size_t workflow_count;
    const struct ref_row *refs; /* of events in runs; one that is there stays */
    size_t ref_count;
};

struct list_filter {
    const char *space;
    const char *workflow;     /* NULL = any */
    const char *version;      /* NULL = any */
    const char *key;          /* NULL = any */
    uint64_t state_mask;      /* bit RUN_*; 0 = any */
    aiki_view build_min, build_max; /* last executed by one of these, both of HASH_BYTES and included;
                               * empty = any */
    uint64_t before_no;       /* keyset paging, newest first; 0 = from the newest */
    uint32_t limit;           /* at most STORE_LIST_MAX; more is cut to that */
};

/* Return false to stop. May not call the store or the reader again. */
typedef bool (*store_run_fn)(void *arg, const struct run_row *row);
typedef bool (*store_workflow_fn)(void *arg, const struct workflow_row *row);

/* Schemas of a store by their number: as it is, and as this release has it. 0: there is nothing. */
struct store_migration {
    int64_t from, to;
};

struct store_ops {
    const char *scheme; /* "sqlite", "memory" */
    /* url: "sqlite:PATH" or "memory:". Creates or migrates the schema, takes an exclusive lock
     * (a second server on the same file gets AIKI_CONFLICT with a clear message), and durably
     * raises the incarnation. */
    aiki_status (*open)(struct store **ret, const char *url, aiki_error *err);
    void (*close)(struct store *s); /* NULL is a no-op */
    /* What open does to the schema, and nothing else. A dry run does it, too, and takes it back.
     * AIKI_NOT_FOUND when there is no store, AIKI_CONFLICT when a server uses it, AIKI_UNSUPPORTED
     * when it is of a newer release. NULL: nothing outlives the process. */
    aiki_status (*migrate)(const char *url, bool dry_run, struct store_migration *ret,
                           aiki_error *err);
    /* A second connection for lists and histories, [the thread that uses it]. */
    aiki_status (*open_reader)(struct store *s, struct store_reader **ret, aiki_error *err);
    void (*close_reader)(struct store_reader *r);

    /* All of u or nothing, with one fsync. Writes to the same run apply in the order given.
     * AIKI_CONFLICT: an inserted row's id or key is taken. AIKI_STALE: a condition failed.
     * AIKI_LIMIT: the disk is full, or u is over a limit. AIKI_UNAVAILABLE: another program keeps
     * the file locked. AIKI_NOMEM. AIKI_INVALID: u contradicts itself. After these nothing was
     * written and the store goes on working. Anything else is fatal for the process: every
     * further commit is refused. */
    aiki_status (*commit)(struct store *s, const struct unit *u, aiki_error *err);
    /* AIKI_NOT_FOUND when absent. */
    aiki_status (*find_run)(struct store *s, const struct aiki_id *id, store_run_fn fn, void *arg,
                            aiki_error *err);
    aiki_status (*find_run_no)(struct store *s, uint64_t no, store_run_fn fn, void *arg,
                               aiki_error *err);
    aiki_status (*find_key)(struct store *s, aiki_view space, aiki_view workflow, aiki_view key,
                            store_run_fn fn, void *arg, aiki_error *err);
    /* Append stored events with seq > after_seq to w, up to the end of a journal row, stopping
     * once w grew by bytes_max or more (at least one row). *ret_last_seq: last one appended, or
     * after_seq when there is nothing behind it. A gap, or a row whose recomputed chain hash
     * differs from the recorded one, is AIKI_CORRUPT naming run and seq; w is cut back then.
     * AIKI_NOT_FOUND without such a run. */
    aiki_status (*journal)(struct store *s, uint64_t run_no, uint64_t after_seq,
                           uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                           aiki_error *err);
    /* Whether a committed unit had it. */
    aiki_status (*find_ref)(struct store *s, const struct ref_row *ref, bool *ret_known, aiki_error *err);
    /* Rows that are not terminal, or have STORE_FLAG_UNDONE, by rising no, from after_no on; for recovery and re-offers. */
    aiki_status (*scan_open)(struct store *s, uint64_t after_no, uint32_t limit, store_run_fn fn,
                             void *arg, aiki_error *err);

    /* The runs with this parent, open or ended, by rising no, from after_no on: to end or cancel
     * them with it, and on a reader to show them. No child: AIKI_OK and fn is not called. */
    aiki_status (*children)(struct store *s, const struct aiki_id *parent, uint64_t after_no,
                            uint32_t limit, store_run_fn fn, void *arg, aiki_error *err);
    aiki_status (*reader_children)(struct store_reader *r, const struct aiki_id *parent,
                                   uint64_t after_no, uint32_t limit, store_run_fn fn, void *arg,
                                   aiki_error *err);

    /* [reader] AIKI_LIMIT when finding the rows took more than STORE_LIST_MS_MAX: a long read
     * keeps the log of the database from being reused. */
    aiki_status (*list)(struct store_reader *r, const struct list_filter *filter, store_run_fn fn,
                        void *arg, aiki_error *err);
    aiki_status (*reader_find_run)(struct store_reader *r, const struct aiki_id *id,
                                   store_run_fn fn, void *arg, aiki_error *err);
    /* ret_hash: chain hash of event after_seq, set when events behind it were appended; may be
     * NULL. */
    aiki_status (*reader_journal)(struct store_reader *r, uint64_t run_no, uint64_t after_seq,
                                  uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                                  uint8_t ret_hash[HASH_BYTES], aiki_error *err);
    aiki_status (*workflows)(struct store_reader *r, const char *space, store_workflow_fn fn,
                             void *arg, aiki_error *err);
    /* Open runs by (workflow, version) are counted by the caller through list(). */
};

/* Backends embed this first. */
struct store {
    const struct store_ops *ops;
    uint64_t incarnation; /* set by open: 1, 2, 3... */
    uint64_t run_no_max;  /* set by open: highest run number in use */
    int64_t clock_ms_max; /* set by open: highest *_at_ms on record; the engine clock starts there */
    uint64_t commits;     /* fsyncs so far, for metrics and the benchmark */
};
struct store_reader {
    const struct store_ops *ops;
};

extern const struct store_ops store_sqlite, store_memory;
/* By the scheme of the url. AIKI_UNSUPPORTED names the schemes there are. */
aiki_status store_open(struct store **ret, const char *url, aiki_error *err);
void store_close(struct store *s);
/* As store_ops.migrate, by the scheme of the url. */
aiki_status store_migrate(const char *url, bool dry_run, struct store_migration *ret,
                          aiki_error *err);

#endif

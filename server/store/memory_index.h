/* store/memory_index.h - the runs of a memory store, found by number, id and key.
 *
 * One thread at a time; who calls holds the lock of the disk that it belongs to.
 */
#ifndef STORE_MEMORY_INDEX_H
#define STORE_MEMORY_INDEX_H

#include "store/store.h"

/* One append: its events concatenated, with the hash of the last. */
struct journal_row {
    uint64_t seq; /* of the last event */
    uint8_t hash[HASH_BYTES];
    uint64_t size_bytes;
    uint8_t events[];
};

struct stored_run {
    struct run_row row;
    void *block; /* owned, what row looks at */
    struct journal_row **journal;
    size_t journal_count, journal_capacity;
    uint8_t (*refs)[REFERENCE_BYTES]; /* owned */
    size_t ref_count, ref_capacity;
    struct stored_run *next_by_id, *next_by_key; /* chains of a bucket */
};

struct run_index {
    struct stored_run **by_no; /* sorted */
    size_t count, capacity;
    struct stored_run **by_id, **by_key; /* buckets, a power of two of each */
    size_t bucket_count;
};

void run_index_deinit(struct run_index *x);
uint64_t run_index_no_max(const struct run_index *x);
/* Position of the first run with a higher number than no. */
size_t run_index_after(const struct run_index *x, uint64_t no);
struct stored_run *run_index_by_no(const struct run_index *x, uint64_t no);
struct stored_run *run_index_by_id(const struct run_index *x, const struct aiki_id *id);
struct stored_run *run_index_by_key(const struct run_index *x, aiki_view space, aiki_view workflow,
                                    aiki_view key);
/* Copies the row. NULL when out of memory. */
struct stored_run *run_index_insert(struct run_index *x, const struct run_row *row);
/* Removes and frees. */
void run_index_remove(struct run_index *x, struct stored_run *run);

/* The key is free; and the way back. */
void run_index_drop_key(struct run_index *x, struct stored_run *run);
void run_index_keep_key(struct run_index *x, struct stored_run *run, aiki_view key);

bool stored_run_append(struct stored_run *run, uint64_t seq, const uint8_t hash[HASH_BYTES],
                       aiki_view events);
bool stored_run_has_ref(const struct stored_run *run, const uint8_t hash[REFERENCE_BYTES]);
/* It has it now, or false: no memory. */
bool stored_run_add_ref(struct stored_run *run, const uint8_t hash[REFERENCE_BYTES]);
/* Back to the first journal_count rows of the journal. */
void stored_run_cut(struct stored_run *run, size_t journal_count);

/* A copy whose views look into the returned block; NULL when out of memory. */
void *run_row_copy(const struct run_row *row, struct run_row *ret);
void *workflow_row_copy(const struct workflow_row *row, struct workflow_row *ret);

#endif

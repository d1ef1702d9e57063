/* memory_index.c - the runs of a memory store, found by number, id and key. */
#include "store/memory_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

/* ---- copies of rows ---- */

/* Moves what the views look at into one block, in order. */
static void *pack_views(aiki_view *const views[], size_t count)
{
    uint64_t size_bytes = 1;
    for (size_t i = 0; i < count; i++)
        size_bytes += views[i]->size_bytes;
    uint8_t *block = malloc(size_bytes);
    if (block == NULL)
        return NULL;
    uint8_t *at = block;
    for (size_t i = 0; i < count; i++) {
        if (views[i]->size_bytes > 0)
            memcpy(at, views[i]->data, views[i]->size_bytes);
        views[i]->data = at;
        at += views[i]->size_bytes;
    }
    return block;
}

void *run_row_copy(const struct run_row *row, struct run_row *ret)
{
    *ret = *row;
    aiki_view *const views[] = {&ret->space, &ret->workflow, &ret->version,  &ret->key,  &ret->actor,
                                &ret->waits, &ret->reason,   &ret->absorbed, &ret->build};
    return pack_views(views, ARRAY_COUNT(views));
}

void *workflow_row_copy(const struct workflow_row *row, struct workflow_row *ret)
{
    *ret = *row;
    aiki_view *const views[] = {&ret->space,  &ret->name,  &ret->version,
                                &ret->plugin, &ret->build, &ret->descriptor};
    return pack_views(views, ARRAY_COUNT(views));
}

/* ---- one run ---- */

bool stored_run_append(struct stored_run *run, uint64_t seq, const uint8_t hash[HASH_BYTES],
                       aiki_view events)
{
    if (run->journal_count == run->journal_capacity) {
        size_t capacity = run->journal_capacity == 0 ? 4 : run->journal_capacity * 2;
        struct journal_row **grown = realloc(run->journal, capacity * sizeof(struct journal_row *));
        if (grown == NULL)
            return false;
        run->journal = grown;
        run->journal_capacity = capacity;
    }
    struct journal_row *row = malloc(sizeof(*row) + events.size_bytes);
    if (row == NULL)
        return false;
    row->seq = seq;
    memcpy(row->hash, hash, HASH_BYTES);
    row->size_bytes = events.size_bytes;
    memcpy(row->events, events.data, events.size_bytes);
    run->journal[run->journal_count++] = row;
    return true;
}

void stored_run_cut(struct stored_run *run, size_t journal_count)
{
    while (run->journal_count > journal_count)
        free(run->journal[--run->journal_count]);
}

bool stored_run_has_ref(const struct stored_run *run, const uint8_t hash[REFERENCE_BYTES])
{
    for (size_t i = 0; i < run->ref_count; i++)
        if (memcmp(run->refs[i], hash, REFERENCE_BYTES) == 0)
            return true;
    return false;
}

bool stored_run_add_ref(struct stored_run *run, const uint8_t hash[REFERENCE_BYTES])
{
    if (stored_run_has_ref(run, hash))
        return true;
    if (run->ref_count == run->ref_capacity) {
        size_t capacity = run->ref_capacity == 0 ? 4 : run->ref_capacity * 2;
        uint8_t(*grown)[REFERENCE_BYTES] = realloc(run->refs, capacity * sizeof(run->refs[0]));
        if (grown == NULL)
            return false;
        run->refs = grown;
        run->ref_capacity = capacity;
    }
    memcpy(run->refs[run->ref_count++], hash, REFERENCE_BYTES);
    return true;
}

static void stored_run_destroy(struct stored_run *run)
{
    if (run == NULL)
        return;
    stored_run_cut(run, 0);
    free(run->refs);
    free((void *)run->journal);
    free(run->block);
    free(run);
}

/* ---- the index ---- */

static size_t id_bucket(const struct run_index *x, const struct aiki_id *id)
{
    return view_hash(0, (aiki_view){id->bytes, sizeof(id->bytes)}) & (x->bucket_count - 1);
}

static size_t key_bucket(const struct run_index *x, aiki_view space, aiki_view workflow,
                         aiki_view key)
{
    return view_hash(view_hash(view_hash(0, space), workflow), key) & (x->bucket_count - 1);
}

static void link_run(struct run_index *x, struct stored_run *run)
{
    const struct run_row *row = &run->row;
    struct stored_run **head = &x->by_id[id_bucket(x, &row->id)];
    run->next_by_id = *head;
    *head = run;
    if (row->key.size_bytes == 0)
        return;
    head = &x->by_key[key_bucket(x, row->space, row->workflow, row->key)];
    run->next_by_key = *head;
    *head = run;
}

static void unlink_run(struct run_index *x, const struct stored_run *run)
{
    const struct run_row *row = &run->row;
    struct stored_run **at = &x->by_id[id_bucket(x, &row->id)];
    while (*at != run)
        at = &(*at)->next_by_id;
    *at = run->next_by_id;
    if (row->key.size_bytes == 0)
        return;
    at = &x->by_key[key_bucket(x, row->space, row->workflow, row->key)];
    while (*at != run)
        at = &(*at)->next_by_key;
    *at = run->next_by_key;
}

/* Room for one more run: the sorted array, and buckets about as many as runs. */
static bool reserve(struct run_index *x)
{
    if (x->count < x->capacity)
        return true;
    size_t capacity = x->capacity == 0 ? 64 : x->capacity * 2;
    struct stored_run **by_no = realloc(x->by_no, capacity * sizeof(struct stored_run *));
    if (by_no != NULL)
        x->by_no = by_no;
    struct stored_run **by_id = calloc(capacity, sizeof(struct stored_run *));
    struct stored_run **by_key = calloc(capacity, sizeof(struct stored_run *));
    if (by_no == NULL || by_id == NULL || by_key == NULL) {
        free((void *)by_id);
        free((void *)by_key);
        return false;
    }
    free((void *)x->by_id);
    free((void *)x->by_key);
    x->by_id = by_id;
    x->by_key = by_key;
    x->capacity = x->bucket_count = capacity;
    for (size_t i = 0; i < x->count; i++)
        link_run(x, x->by_no[i]);
    return true;
}

void run_index_deinit(struct run_index *x)
{
    for (size_t i = 0; i < x->count; i++)
        stored_run_destroy(x->by_no[i]);
    free((void *)x->by_no);
    free((void *)x->by_id);
    free((void *)x->by_key);
}

uint64_t run_index_no_max(const struct run_index *x)
{
    return x->count == 0 ? 0 : x->by_no[x->count - 1]->row.no;
}

size_t run_index_after(const struct run_index *x, uint64_t no)
{
    size_t low = 0, high = x->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (x->by_no[middle]->row.no > no)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct stored_run *run_index_by_no(const struct run_index *x, uint64_t no)
{
    size_t after = run_index_after(x, no);
    return after > 0 && x->by_no[after - 1]->row.no == no ? x->by_no[after - 1] : NULL;
}

struct stored_run *run_index_by_id(const struct run_index *x, const struct aiki_id *id)
{
    if (x->count == 0)
        return NULL;
    struct stored_run *run = x->by_id[id_bucket(x, id)];
    while (run != NULL && !id_equal(&run->row.id, id))
        run = run->next_by_id;
    return run;
}

struct stored_run *run_index_by_key(const struct run_index *x, aiki_view space, aiki_view workflow,
                                    aiki_view key)
{
    if (x->count == 0)
        return NULL;
    struct stored_run *run = x->by_key[key_bucket(x, space, workflow, key)];
    while (run != NULL && !(view_equal(run->row.key, key) && view_equal(run->row.space, space) &&
                            view_equal(run->row.workflow, workflow)))
        run = run->next_by_key;
    return run;
}

struct stored_run *run_index_insert(struct run_index *x, const struct run_row *row)
{
    if (!reserve(x))
        return NULL;
    struct stored_run *run = calloc(1, sizeof(*run));
    if (run == NULL)
        return NULL;
    run->block = run_row_copy(row, &run->row);
    if (run->block == NULL) {
        stored_run_destroy(run);
        return NULL;
    }
    size_t at = run_index_after(x, row->no);
    memmove((void *)&x->by_no[at + 1], (void *)&x->by_no[at],
            (x->count - at) * sizeof(struct stored_run *));
    x->by_no[at] = run;
    x->count++;
    link_run(x, run);
    return run;
}

void run_index_drop_key(struct run_index *x, struct stored_run *run)
{
    if (run->row.key.size_bytes == 0)
        return;
    struct stored_run **at =
        &x->by_key[key_bucket(x, run->row.space, run->row.workflow, run->row.key)];
    while (*at != run)
        at = &(*at)->next_by_key;
    *at = run->next_by_key;
    run->row.key.size_bytes = 0;
}

void run_index_keep_key(struct run_index *x, struct stored_run *run, aiki_view key)
{
    run->row.key = key;
    if (key.size_bytes == 0)
        return;
    struct stored_run **head =
        &x->by_key[key_bucket(x, run->row.space, run->row.workflow, key)];
    run->next_by_key = *head;
    *head = run;
}

void run_index_remove(struct run_index *x, struct stored_run *run)
{
    size_t at = run_index_after(x, run->row.no) - 1;
    x->count--;
    memmove((void *)&x->by_no[at], (void *)&x->by_no[at + 1],
            (x->count - at) * sizeof(struct stored_run *));
    unlink_run(x, run);
    stored_run_destroy(run);
}

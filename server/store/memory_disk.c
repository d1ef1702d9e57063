/* memory_disk.c - disks in memory, and units applied to them.
 *
 * A unit is applied write by write with an undo list, so that what failed half way leaves no trace.
 */
#include "store/memory_disk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/checks.h"
#include "wire/error.h"

/* How to take one applied write back. */
struct undo {
    struct stored_run *run;
    bool inserted;
    struct run_row row; /* before, with the block it looks at */
    void *block;
    size_t journal_count, ref_count;
    bool key_dropped;
};

static pthread_mutex_t disks_lock = PTHREAD_MUTEX_INITIALIZER;
static struct disk *disks;

/* ---- disks ---- */

static void disk_destroy(struct disk *d)
{
    if (d == NULL)
        return;
    run_index_deinit(&d->runs);
    for (size_t i = 0; i < d->workflow_count; i++)
        free(d->workflows[i].block);
    free(d->workflows);
    pthread_mutex_destroy(&d->lock);
    free(d->name);
    free(d);
}

static struct disk *disk_create(const char *name)
{
    struct disk *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    pthread_mutex_init(&d->lock, NULL);
    d->name = strdup(name);
    if (d->name == NULL) {
        disk_destroy(d);
        return NULL;
    }
    return d;
}

static struct disk **disk_find(const char *name)
{
    struct disk **at = &disks;
    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static aiki_status disk_find_free(const char *name, struct disk **ret, aiki_error *err)
{
    struct disk **at = disk_find(name);
    if (name[0] == '\0' || *at == NULL) {
        struct disk *d = disk_create(name);
        if (d == NULL)
            return error_set(err, AIKI_NOMEM, "store memory:%s", name);
        if (name[0] != '\0')
            *at = d;
        *ret = d;
    } else {
        if ((*at)->open)
            return error_set(err, AIKI_CONFLICT, "store memory:%s is in use by another server",
                             name);
        *ret = *at;
    }
    (*ret)->open = true;
    return AIKI_OK;
}

aiki_status disk_claim(const char *name, struct disk **ret, aiki_error *err)
{
    pthread_mutex_lock(&disks_lock);
    aiki_status st = disk_find_free(name, ret, err);
    pthread_mutex_unlock(&disks_lock);
    return st;
}

void disk_release(struct disk *d)
{
    pthread_mutex_lock(&disks_lock);
    d->open = false;
    pthread_mutex_unlock(&disks_lock);
    if (d->name[0] == '\0')
        disk_destroy(d);
}

void disk_wipe(const char *name)
{
    pthread_mutex_lock(&disks_lock);
    struct disk **at = disk_find(name);
    struct disk *d = *at;
    if (d != NULL) {
        assert(!d->open);
        *at = d->next;
    }
    pthread_mutex_unlock(&disks_lock);
    disk_destroy(d);
}

/* ---- units ---- */

static aiki_status insert(struct disk *d, const struct run_row *row, struct undo *u,
                          aiki_error *err)
{
    char id[AIKI_ID_TEXT_SIZE];
    id_text(&row->id, id);
    if (run_index_by_no(&d->runs, row->no) != NULL)
        return error_set(err, AIKI_INTERNAL, "run %s: number %" PRIu64 " is taken", id, row->no);
    if (run_index_by_id(&d->runs, &row->id) != NULL)
        return error_set(err, AIKI_CONFLICT, "run %s exists already", id);
    if (row->key.size_bytes > 0 &&
        run_index_by_key(&d->runs, row->space, row->workflow, row->key) != NULL)
        return error_set(err, AIKI_CONFLICT, "run %s: its key is taken by another run", id);
    u->run = run_index_insert(&d->runs, row);
    if (u->run == NULL)
        return error_set(err, AIKI_NOMEM, "run %s", id);
    u->inserted = true;
    return AIKI_OK;
}

static aiki_status update(struct disk *d, const struct run_write *w, struct undo *u,
                          aiki_error *err)
{
    struct stored_run *run = run_index_by_no(&d->runs, w->row.no);
    if (run == NULL || run->row.seq != w->seq_before || run->row.epoch > w->row.epoch)
        return error_set(err, AIKI_STALE, "run number %" PRIu64 " moved on", w->row.no);

    struct run_row next = w->row; /* what never changes is kept as it was */
    next.id = run->row.id;
    next.space = run->row.space;
    next.workflow = run->row.workflow;
    next.version = run->row.version;
    next.key = run->row.key;
    memcpy(next.input_hash, run->row.input_hash, HASH_BYTES);
    next.actor = run->row.actor;
    next.parent = run->row.parent;
    next.created_at_ms = run->row.created_at_ms;

    struct run_row copy;
    void *block = run_row_copy(&next, &copy);
    if (block == NULL)
        return error_set(err, AIKI_NOMEM, "run number %" PRIu64, w->row.no);
    u->run = run;
    u->row = run->row;
    u->block = run->block;
    u->journal_count = run->journal_count;
    u->ref_count = run->ref_count;
    run->row = copy;
    run->block = block;
    return AIKI_OK;
}

static void undo_all(struct disk *d, struct undo *undos, size_t count)
{
    while (count-- > 0) {
        struct undo *u = &undos[count];
        if (u->run == NULL)
            continue;
        if (u->inserted) {
            run_index_remove(&d->runs, u->run);
            continue;
        }
        free(u->run->block);
        u->run->row = u->row;
        u->run->block = u->block;
        if (u->key_dropped)
            run_index_keep_key(&d->runs, u->run, u->row.key);
        stored_run_cut(u->run, u->journal_count);
        u->run->ref_count = u->ref_count;
    }
}

static aiki_status apply_runs(struct disk *d, const struct unit *unit, struct undo *undos,
                              aiki_error *err)
{
    for (size_t i = 0; i < unit->run_count; i++) {
        const struct run_write *w = &unit->runs[i];
        aiki_status st =
            w->insert ? insert(d, &w->row, &undos[i], err) : update(d, w, &undos[i], err);
        if (st != AIKI_OK)
            return st;
        if (w->drop_key) {
            run_index_drop_key(&d->runs, undos[i].run);
            undos[i].key_dropped = true;
        }
        if (w->events.size_bytes > 0 &&
            !stored_run_append(undos[i].run, w->row.seq, w->row.hash, w->events))
            return error_set(err, AIKI_NOMEM, "events of run number %" PRIu64, w->row.no);
    }
    return AIKI_OK;
}

static aiki_status apply_refs(struct disk *d, const struct unit *unit, aiki_error *err)
{
    for (size_t i = 0; i < unit->ref_count; i++) {
        const struct ref_row *ref = &unit->refs[i];
        struct stored_run *run = run_index_by_no(&d->runs, ref->run_no);
        if (run == NULL)
            return error_set(err, AIKI_INVALID, "a reference of run number %" PRIu64 ", which is not there",
                             ref->run_no);
        if (!stored_run_add_ref(run, ref->hash))
            return error_set(err, AIKI_NOMEM, "a reference of run number %" PRIu64, ref->run_no);
    }
    return AIKI_OK;
}

int disk_compare(aiki_view a, aiki_view b)
{
    uint64_t size = a.size_bytes < b.size_bytes ? a.size_bytes : b.size_bytes;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);
    if (order != 0)
        return order;
    return (a.size_bytes > b.size_bytes) - (a.size_bytes < b.size_bytes);
}

static int workflow_compare(const struct workflow_row *a, const struct workflow_row *b)
{
    int order = disk_compare(a->space, b->space);
    if (order == 0)
        order = disk_compare(a->name, b->name);
    return order != 0 ? order : disk_compare(a->version, b->version);
}

/* All memory is asked for first, so that a unit's workflows are registered together or not. */
static bool reserve_workflows(struct disk *d, const struct unit *unit, struct workflow *ret_new)
{
    struct workflow *grown = realloc(d->workflows, (d->workflow_count + unit->workflow_count + 1) *
                                                       sizeof(*d->workflows));
    if (grown == NULL)
        return false;
    d->workflows = grown;
    for (size_t i = 0; i < unit->workflow_count; i++) {
        ret_new[i].block = workflow_row_copy(&unit->workflows[i], &ret_new[i].row);
        if (ret_new[i].block == NULL)
            return false;
    }
    return true;
}

static void put_workflow(struct disk *d, struct workflow fresh)
{
    size_t at = 0;
    int order = 1;
    while (at < d->workflow_count &&
           (order = workflow_compare(&fresh.row, &d->workflows[at].row)) > 0)
        at++;
    struct workflow *slot = &d->workflows[at];
    if (at < d->workflow_count && order == 0) {
        fresh.row.first_seen_at_ms = slot->row.first_seen_at_ms;
        free(slot->block);
    } else {
        memmove(slot + 1, slot, (d->workflow_count - at) * sizeof(*slot));
        d->workflow_count++;
    }
    *slot = fresh;
}

aiki_status disk_apply(struct disk *d, const struct unit *unit, aiki_error *err)
{
    AUTO(free) struct undo *undos = calloc(unit->run_count + 1, sizeof(*undos));
    AUTO(free) struct workflow *fresh = calloc(unit->workflow_count + 1, sizeof(*fresh));
    if (undos == NULL || fresh == NULL)
        return error_set(err, AIKI_NOMEM, "a unit of %zu runs", unit->run_count);

    aiki_status st = apply_runs(d, unit, undos, err);
    if (st == AIKI_OK)
        st = apply_refs(d, unit, err);
    if (st == AIKI_OK && !reserve_workflows(d, unit, fresh))
        st = error_set(err, AIKI_NOMEM, "%zu workflows", unit->workflow_count);
    if (st != AIKI_OK) {
        undo_all(d, undos, unit->run_count);
        for (size_t i = 0; i < unit->workflow_count; i++)
            free(fresh[i].block);
        return st;
    }
    for (size_t i = 0; i < unit->run_count; i++)
        free(undos[i].block);
    for (size_t i = 0; i < unit->workflow_count; i++)
        put_workflow(d, fresh[i]);
    int64_t clock_ms = unit_clock_ms(unit);
    if (clock_ms > d->clock_ms_max)
        d->clock_ms_max = clock_ms;
    return AIKI_OK;
}

/* memory.c - the store without a disk: same answers as a database, nothing to wait for.
 *
 *   disk: runs sorted by no --> journal rows        index: id, (space, key, workflow)
 *
 * The store thread writes, readers look, under one lock. Nothing is called while holding it:
 * rows are copied out for callbacks. A unit is applied write by write with an undo list, so
 * that what failed half way leaves no trace.
 */
#include "store/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/checks.h"
#include "store/memory_index.h"
#include "wire/error.h"

struct workflow {
    struct workflow_row row;
    void *block; /* owned, what row looks at */
};

/* What outlives a handle. */
struct disk {
    struct disk *next; /* named disks */
    char *name;        /* owned, "" = dies with its handle */
    bool open;         /* guarded by disks_lock */
    pthread_mutex_t lock;
    struct run_index runs;
    struct workflow *workflows; /* sorted by space, name, version */
    size_t workflow_count;
    uint64_t incarnation;
    int64_t clock_ms_max;
};

struct memory_store {
    struct store base;
    struct disk *disk;
    aiki_status fail_status; /* AIKI_OK = no failure ordered */
    uint64_t fail_after;
    bool broken;
};

struct memory_reader {
    struct store_reader base;
    struct disk *disk; /* borrowed from the store, which outlives its readers */
};

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

static aiki_status disk_open(const char *name, struct disk **ret, aiki_error *err)
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

void memory_store_wipe(const char *name)
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

/* ---- open and close ---- */

static aiki_status memory_open(struct store **ret, const char *url, aiki_error *err)
{
    const char *name = url + strlen("memory:");
    struct memory_store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set(err, AIKI_NOMEM, "store %s", url);

    pthread_mutex_lock(&disks_lock);
    aiki_status st = disk_open(name, &s->disk, err);
    pthread_mutex_unlock(&disks_lock);
    if (st != AIKI_OK) {
        free(s);
        return st;
    }
    s->base.ops = &store_memory;
    s->base.incarnation = ++s->disk->incarnation;
    s->base.run_no_max = run_index_no_max(&s->disk->runs);
    s->base.clock_ms_max = s->disk->clock_ms_max;
    *ret = &s->base;
    return AIKI_OK;
}

static struct memory_store *memory_of(struct store *s)
{
    return container_of(s, struct memory_store, base);
}

static void memory_close(struct store *base)
{
    if (base == NULL)
        return;
    struct memory_store *s = memory_of(base);
    pthread_mutex_lock(&disks_lock);
    s->disk->open = false;
    pthread_mutex_unlock(&disks_lock);
    if (s->disk->name[0] == '\0')
        disk_destroy(s->disk);
    free(s);
}

static aiki_status memory_open_reader(struct store *s, struct store_reader **ret, aiki_error *err)
{
    struct memory_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return error_set(err, AIKI_NOMEM, "reader of a memory store");
    r->base.ops = &store_memory;
    r->disk = memory_of(s)->disk;
    *ret = &r->base;
    return AIKI_OK;
}

static void memory_close_reader(struct store_reader *r)
{
    if (r != NULL)
        free(container_of(r, struct memory_reader, base));
}

void memory_store_fail_commit(struct store *s, aiki_status status, uint64_t after)
{
    memory_of(s)->fail_status = status;
    memory_of(s)->fail_after = after;
}

/* ---- commit ---- */

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

static int view_compare(aiki_view a, aiki_view b)
{
    uint64_t size = a.size_bytes < b.size_bytes ? a.size_bytes : b.size_bytes;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);
    if (order != 0)
        return order;
    return (a.size_bytes > b.size_bytes) - (a.size_bytes < b.size_bytes);
}

static int workflow_compare(const struct workflow_row *a, const struct workflow_row *b)
{
    int order = view_compare(a->space, b->space);
    if (order == 0)
        order = view_compare(a->name, b->name);
    return order != 0 ? order : view_compare(a->version, b->version);
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

static aiki_status apply(struct disk *d, const struct unit *unit, aiki_error *err)
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

/* The failure a test ordered, if its turn has come. */
static aiki_status ordered_failure(struct memory_store *s, aiki_error *err)
{
    if (s->broken)
        return error_set(err, AIKI_INTERNAL, "the store failed before; it takes no more commits");
    if (s->fail_status == AIKI_OK || s->fail_after-- > 0)
        return AIKI_OK;
    aiki_status st = s->fail_status;
    s->fail_status = AIKI_OK;
    s->broken = commit_failure_is_fatal(st);
    return error_set(err, st, "commit failed on request of the test");
}

static aiki_status memory_commit(struct store *base, const struct unit *unit, aiki_error *err)
{
    struct memory_store *s = memory_of(base);
    aiki_status st = unit_check(unit, err);
    if (st == AIKI_OK)
        st = ordered_failure(s, err);
    if (st != AIKI_OK || unit->run_count + unit->workflow_count == 0)
        return st;

    pthread_mutex_lock(&s->disk->lock);
    st = apply(s->disk, unit, err);
    pthread_mutex_unlock(&s->disk->lock);
    if (st == AIKI_OK)
        s->base.commits++;
    s->broken = commit_failure_is_fatal(st);
    return st;
}

/* ---- reads ---- */

/* Copies the row out under the lock, then calls without it. Takes the lock held. */
static aiki_status show_unlocked(struct disk *d, const struct stored_run *run, store_run_fn fn,
                                 void *arg, bool *ret_more, aiki_error *err)
{
    struct run_row row;
    void *block = run_row_copy(&run->row, &row);
    pthread_mutex_unlock(&d->lock);
    if (block == NULL)
        return error_set(err, AIKI_NOMEM, "a row of a memory store");
    *ret_more = fn(arg, &row);
    free(block);
    return AIKI_OK;
}

static aiki_status find(struct disk *d, const struct stored_run *run, store_run_fn fn, void *arg,
                        aiki_error *err)
{
    bool more;
    if (run != NULL)
        return show_unlocked(d, run, fn, arg, &more, err);
    pthread_mutex_unlock(&d->lock);
    return error_set(err, AIKI_NOT_FOUND, "no such run");
}

static aiki_status disk_find_run(struct disk *d, const struct aiki_id *id, store_run_fn fn,
                                 void *arg, aiki_error *err)
{
    pthread_mutex_lock(&d->lock);
    return find(d, run_index_by_id(&d->runs, id), fn, arg, err);
}

static aiki_status memory_find_run(struct store *s, const struct aiki_id *id, store_run_fn fn,
                                   void *arg, aiki_error *err)
{
    return disk_find_run(memory_of(s)->disk, id, fn, arg, err);
}

static aiki_status memory_find_run_no(struct store *s, uint64_t no, store_run_fn fn, void *arg,
                                      aiki_error *err)
{
    struct disk *d = memory_of(s)->disk;
    pthread_mutex_lock(&d->lock);
    return find(d, run_index_by_no(&d->runs, no), fn, arg, err);
}

static aiki_status memory_find_key(struct store *s, aiki_view space, aiki_view workflow,
                                   aiki_view key, store_run_fn fn, void *arg, aiki_error *err)
{
    struct disk *d = memory_of(s)->disk;
    pthread_mutex_lock(&d->lock);
    return find(d, run_index_by_key(&d->runs, space, workflow, key), fn, arg, err);
}

static aiki_status read_journal(const struct stored_run *run, uint64_t after_seq,
                                uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                                uint8_t ret_hash[HASH_BYTES], aiki_error *err)
{
    uint64_t start = w->size_bytes;
    struct journal_check c = {.run_id = run->row.id};
    aiki_status st = AIKI_OK;
    size_t i = 0;
    for (; i < run->journal_count && run->journal[i]->seq <= after_seq; i++) {
        c.seq = run->journal[i]->seq;
        memcpy(c.hash, run->journal[i]->hash, HASH_BYTES);
    }
    uint64_t last_seq = after_seq;
    for (; st == AIKI_OK && i < run->journal_count; i++) {
        const struct journal_row *row = run->journal[i];
        aiki_view events = {row->events, row->size_bytes};
        st = journal_check_row(&c, row->seq, row->hash, events, after_seq, w, err);
        last_seq = c.seq;
        if (w->size_bytes - start >= bytes_max)
            break;
    }
    if (st == AIKI_OK && i == run->journal_count)
        st = journal_check_end(&c, run->row.seq, run->row.hash, err);
    if (st != AIKI_OK) {
        w->size_bytes = start;
        return st;
    }
    *ret_last_seq = last_seq;
    if (ret_hash != NULL)
        memcpy(ret_hash, c.hash_before, HASH_BYTES);
    return AIKI_OK;
}

static aiki_status disk_journal(struct disk *d, uint64_t run_no, uint64_t after_seq,
                                uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                                uint8_t ret_hash[HASH_BYTES], aiki_error *err)
{
    pthread_mutex_lock(&d->lock);
    const struct stored_run *run = run_index_by_no(&d->runs, run_no);
    aiki_status st = run != NULL
                         ? read_journal(run, after_seq, bytes_max, w, ret_last_seq, ret_hash, err)
                         : error_set(err, AIKI_NOT_FOUND, "no run with number %" PRIu64, run_no);
    pthread_mutex_unlock(&d->lock);
    return st;
}

static aiki_status memory_journal(struct store *s, uint64_t run_no, uint64_t after_seq,
                                  uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                                  aiki_error *err)
{
    return disk_journal(memory_of(s)->disk, run_no, after_seq, bytes_max, w, ret_last_seq, NULL,
                        err);
}

static aiki_status memory_find_ref(struct store *s, const struct ref_row *ref, bool *ret_known,
                                   aiki_error *err)
{
    struct disk *d = memory_of(s)->disk;
    (void)err;
    pthread_mutex_lock(&d->lock);
    const struct stored_run *run = run_index_by_no(&d->runs, ref->run_no);
    *ret_known = run != NULL && stored_run_has_ref(run, ref->hash);
    pthread_mutex_unlock(&d->lock);
    return AIKI_OK;
}

static aiki_status memory_scan_open(struct store *s, uint64_t after_no, uint32_t limit,
                                    store_run_fn fn, void *arg, aiki_error *err)
{
    struct disk *d = memory_of(s)->disk;
    aiki_status st = AIKI_OK;
    bool more = true;
    for (uint32_t shown = 0; st == AIKI_OK && more && shown < limit; shown++) {
        pthread_mutex_lock(&d->lock);
        size_t at = run_index_after(&d->runs, after_no);
        while (at < d->runs.count && run_state_is_terminal(d->runs.by_no[at]->row.state) &&
               (d->runs.by_no[at]->row.flags & STORE_FLAG_UNDONE) == 0)
            at++;
        if (at == d->runs.count) {
            pthread_mutex_unlock(&d->lock);
            break;
        }
        after_no = d->runs.by_no[at]->row.no;
        st = show_unlocked(d, d->runs.by_no[at], fn, arg, &more, err);
    }
    return st;
}

static aiki_status disk_children(struct disk *d, const struct aiki_id *parent, uint64_t after_no,
                                 uint32_t limit, store_run_fn fn, void *arg, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    bool more = true;
    limit = limit < STORE_LIST_MAX ? limit : STORE_LIST_MAX;
    for (uint32_t shown = 0; st == AIKI_OK && more && shown < limit; shown++) {
        pthread_mutex_lock(&d->lock);
        size_t at = run_index_after(&d->runs, after_no);
        while (at < d->runs.count && !id_equal(&d->runs.by_no[at]->row.parent, parent))
            at++;
        if (at == d->runs.count) {
            pthread_mutex_unlock(&d->lock);
            break;
        }
        after_no = d->runs.by_no[at]->row.no;
        st = show_unlocked(d, d->runs.by_no[at], fn, arg, &more, err);
    }
    return st;
}

static aiki_status memory_children(struct store *s, const struct aiki_id *parent,
                                   uint64_t after_no, uint32_t limit, store_run_fn fn, void *arg,
                                   aiki_error *err)
{
    return disk_children(memory_of(s)->disk, parent, after_no, limit, fn, arg, err);
}

static bool is_or_any(aiki_view value, const char *wanted)
{
    return wanted == NULL || view_is(value, wanted);
}

static bool is_between(aiki_view value, aiki_view min, aiki_view max)
{
    return min.size_bytes == 0 || (value.size_bytes > 0 && view_compare(value, min) >= 0 &&
                                   view_compare(value, max) <= 0);
}

static bool matches(const struct run_row *row, const struct list_filter *f)
{
    return view_is(row->space, f->space) && is_or_any(row->workflow, f->workflow) &&
           is_or_any(row->version, f->version) && is_or_any(row->key, f->key) &&
           is_between(row->build, f->build_min, f->build_max) &&
           (f->state_mask == 0 || (f->state_mask >> row->state & 1) != 0);
}

static struct disk *reader_disk(struct store_reader *r)
{
    return container_of(r, struct memory_reader, base)->disk;
}

static aiki_status memory_list(struct store_reader *r, const struct list_filter *filter,
                               store_run_fn fn, void *arg, aiki_error *err)
{
    struct disk *d = reader_disk(r);
    uint64_t before_no = filter->before_no == 0 ? UINT64_MAX : filter->before_no;
    uint32_t limit = filter->limit < STORE_LIST_MAX ? filter->limit : STORE_LIST_MAX;
    aiki_status st = list_filter_check(filter, err);
    bool more = true;
    for (uint32_t shown = 0; st == AIKI_OK && more && shown < limit; shown++) {
        pthread_mutex_lock(&d->lock);
        size_t at = run_index_after(&d->runs, before_no - 1);
        while (at > 0 && !matches(&d->runs.by_no[at - 1]->row, filter))
            at--;
        if (at == 0) {
            pthread_mutex_unlock(&d->lock);
            break;
        }
        before_no = d->runs.by_no[at - 1]->row.no;
        st = show_unlocked(d, d->runs.by_no[at - 1], fn, arg, &more, err);
    }
    return st;
}

static aiki_status memory_reader_children(struct store_reader *r, const struct aiki_id *parent,
                                          uint64_t after_no, uint32_t limit, store_run_fn fn,
                                          void *arg, aiki_error *err)
{
    return disk_children(reader_disk(r), parent, after_no, limit, fn, arg, err);
}

static aiki_status memory_reader_find_run(struct store_reader *r, const struct aiki_id *id,
                                          store_run_fn fn, void *arg, aiki_error *err)
{
    return disk_find_run(reader_disk(r), id, fn, arg, err);
}

static aiki_status memory_reader_journal(struct store_reader *r, uint64_t run_no,
                                         uint64_t after_seq, uint64_t bytes_max, aiki_writer *w,
                                         uint64_t *ret_last_seq, uint8_t ret_hash[HASH_BYTES],
                                         aiki_error *err)
{
    return disk_journal(reader_disk(r), run_no, after_seq, bytes_max, w, ret_last_seq, ret_hash,
                        err);
}

static aiki_status memory_workflows(struct store_reader *r, const char *space, store_workflow_fn fn,
                                    void *arg, aiki_error *err)
{
    struct disk *d = reader_disk(r);
    bool more = true;
    for (size_t i = 0; more; i++) {
        struct workflow_row row;
        void *block = NULL;
        pthread_mutex_lock(&d->lock);
        while (i < d->workflow_count && !view_is(d->workflows[i].row.space, space))
            i++;
        bool found = i < d->workflow_count;
        if (found)
            block = workflow_row_copy(&d->workflows[i].row, &row);
        pthread_mutex_unlock(&d->lock);
        if (!found)
            break;
        if (block == NULL)
            return error_set(err, AIKI_NOMEM, "a workflow of a memory store");
        more = fn(arg, &row);
        free(block);
    }
    return AIKI_OK;
}

const struct store_ops store_memory = {
    .scheme = "memory",
    .open = memory_open,
    .close = memory_close,
    .open_reader = memory_open_reader,
    .close_reader = memory_close_reader,
    .commit = memory_commit,
    .find_run = memory_find_run,
    .find_run_no = memory_find_run_no,
    .find_key = memory_find_key,
    .journal = memory_journal,
    .find_ref = memory_find_ref,
    .scan_open = memory_scan_open,
    .children = memory_children,
    .reader_children = memory_reader_children,
    .list = memory_list,
    .reader_find_run = memory_reader_find_run,
    .reader_journal = memory_reader_journal,
    .workflows = memory_workflows,
};

/* memory.c - the store without a disk: same answers as a database, nothing to wait for.
 *
 * The store thread writes, readers look, under the lock of what memory_disk.h calls a disk. Nothing is
 * called while holding it: rows are copied out for callbacks.
 */
#include "store/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/checks.h"
#include "store/memory_disk.h"
#include "wire/error.h"

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

/* ---- open and close ---- */

static aiki_status memory_open(struct store **ret, const char *url, aiki_error *err)
{
    const char *name = url + strlen("memory:");
    struct memory_store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set(err, AIKI_NOMEM, "store %s", url);

    aiki_status st = disk_claim(name, &s->disk, err);
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
    disk_release(s->disk);
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

void memory_store_wipe(const char *name)
{
    disk_wipe(name);
}

void memory_store_fail_commit(struct store *s, aiki_status status, uint64_t after)
{
    memory_of(s)->fail_status = status;
    memory_of(s)->fail_after = after;
}

/* ---- commit ---- */

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
    st = disk_apply(s->disk, unit, err);
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

typedef bool (*wanted_fn)(const struct run_row *row, const void *arg);

/* Runs behind after_no that are wanted, from the lowest number on. */
static aiki_status disk_walk(struct disk *d, uint64_t after_no, uint32_t limit, wanted_fn wanted,
                             const void *what, store_run_fn fn, void *arg, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    bool more = true;
    for (uint32_t shown = 0; st == AIKI_OK && more && shown < limit; shown++) {
        pthread_mutex_lock(&d->lock);
        size_t at = run_index_after(&d->runs, after_no);
        while (at < d->runs.count && !wanted(&d->runs.by_no[at]->row, what))
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

static bool is_open(const struct run_row *row, const void *what)
{
    (void)what;
    return !run_state_is_terminal(row->state) || (row->flags & STORE_FLAG_UNDONE) != 0;
}

static aiki_status memory_scan_open(struct store *s, uint64_t after_no, uint32_t limit,
                                    store_run_fn fn, void *arg, aiki_error *err)
{
    return disk_walk(memory_of(s)->disk, after_no, limit, is_open, NULL, fn, arg, err);
}

static bool is_child_of(const struct run_row *row, const void *parent)
{
    return id_equal(&row->parent, parent);
}

static aiki_status disk_children(struct disk *d, const struct aiki_id *parent, uint64_t after_no,
                                 uint32_t limit, store_run_fn fn, void *arg, aiki_error *err)
{
    limit = limit < STORE_LIST_MAX ? limit : STORE_LIST_MAX;
    return disk_walk(d, after_no, limit, is_child_of, parent, fn, arg, err);
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
    return min.size_bytes == 0 || (value.size_bytes > 0 && disk_compare(value, min) >= 0 &&
                                   disk_compare(value, max) <= 0);
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

/* sqlite_read.c - reads that the store and its readers have in common. */
#include "store/sqlite_read.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/checks.h"
#include "store/sqlite_schema.h"
#include "wire/error.h"

static int64_t clamp(uint64_t number)
{
    return number > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)number;
}

/* False when a column has a size that was never written. */
static bool run_from_row(sqlite3_stmt *s, struct run_row *ret)
{
    *ret = (struct run_row){
        .no = column_uint(s, 0),
        .state = (uint32_t)sqlite3_column_int(s, 2),
        .epoch = column_uint(s, 3),
        .seq = column_uint(s, 4),
        .updated_at_ms = sqlite3_column_int64(s, 6),
        .wake_at_ms = sqlite3_column_int64(s, 7),
        .signals = column_uint(s, 8),
        .duplicates = column_uint(s, 9),
        .space = column_view(s, 10),
        .workflow = column_view(s, 11),
        .version = column_view(s, 12),
        .key = column_view(s, 13),
        .actor = column_view(s, 15),
        .created_at_ms = sqlite3_column_int64(s, 16),
        .waits = column_view(s, 17),
        .reason = column_view(s, 18),
        .flags = column_uint(s, 20),
        .deadline_ms = sqlite3_column_int64(s, 21),
        .children = column_uint(s, 22),
        .absorbed = column_view(s, 23),
        .build = column_view(s, 24),
    };
    if (sqlite3_column_type(s, 19) != SQLITE_NULL &&
        !column_exact(s, 19, ret->parent.bytes, sizeof(ret->parent.bytes)))
        return false;
    return column_exact(s, 1, ret->id.bytes, sizeof(ret->id.bytes)) &&
           column_exact(s, 5, ret->hash, HASH_BYTES) &&
           column_exact(s, 14, ret->input_hash, HASH_BYTES);
}

/* Steps through a bound statement. ret_count may be NULL. */
static aiki_status show_runs(struct sqlite_conn *c, struct binder *b, store_run_fn fn, void *arg,
                             uint64_t *ret_count, aiki_error *err)
{
    int rc = b->rc;
    bool more = true;
    aiki_status st = AIKI_OK;
    uint64_t count = 0;
    while (rc == SQLITE_OK && more && st == AIKI_OK &&
           (rc = sqlite3_step(b->statement)) == SQLITE_ROW) {
        struct run_row row;
        rc = SQLITE_OK;
        count++;
        if (run_from_row(b->statement, &row))
            more = fn(arg, &row);
        else
            st = error_set(err, AIKI_CORRUPT, "row of run number %" PRIu64 " in %s is damaged",
                           row.no, c->path);
    }
    if (st == AIKI_OK && rc != SQLITE_OK && rc != SQLITE_DONE)
        st = sql_error(c, "read", err);
    sqlite3_reset(b->statement);
    if (ret_count != NULL)
        *ret_count = count;
    return st;
}

static aiki_status show_one(struct sqlite_conn *c, struct binder *b, store_run_fn fn, void *arg,
                            aiki_error *err)
{
    uint64_t count;
    aiki_status st = show_runs(c, b, fn, arg, &count, err);
    if (st == AIKI_OK && count == 0)
        st = error_set(err, AIKI_NOT_FOUND, "no such run");
    return st;
}

aiki_status sql_find_run(struct sqlite_conn *c, const struct aiki_id *id, store_run_fn fn,
                         void *arg, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_RUN_BY_ID, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_bytes(&b, id->bytes, sizeof(id->bytes));
    return show_one(c, &b, fn, arg, err);
}

aiki_status sql_find_run_no(struct sqlite_conn *c, uint64_t no, store_run_fn fn, void *arg,
                            aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_RUN_BY_NO, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_number(&b, (int64_t)no); /* a number beyond 63 bits is negative and not found */
    return show_one(c, &b, fn, arg, err);
}

aiki_status sql_find_key(struct sqlite_conn *c, aiki_view space, aiki_view workflow, aiki_view key,
                         store_run_fn fn, void *arg, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_RUN_BY_KEY, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_text(&b, space);
    bind_optional(&b, key);
    bind_text(&b, workflow);
    return show_one(c, &b, fn, arg, err);
}

aiki_status sql_scan_open(struct sqlite_conn *c, uint64_t after_no, uint32_t limit, store_run_fn fn,
                          void *arg, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_SCAN_OPEN, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_number(&b, clamp(after_no));
    bind_number(&b, limit);
    return show_runs(c, &b, fn, arg, NULL, err);
}

/* A reader is stopped at its deadline as in sql_list; the store's connection has none. */
aiki_status sql_children(struct sqlite_conn *c, const struct aiki_id *parent, uint64_t after_no,
                         uint32_t limit, store_run_fn fn, void *arg, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_CHILDREN, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_bytes(&b, parent->bytes, sizeof(parent->bytes));
    bind_number(&b, clamp(after_no));
    bind_number(&b, limit < STORE_LIST_MAX ? limit : STORE_LIST_MAX);
    c->deadline_mono_ms = clock_mono_ms() + STORE_LIST_MS_MAX;
    st = show_runs(c, &b, fn, arg, NULL, err);
    c->deadline_mono_ms = 0;
    return st;
}

/* ---- the journal ---- */

struct head {
    uint64_t seq;
    uint8_t hash[HASH_BYTES];
};

static aiki_status damaged(struct sqlite_conn *c, uint64_t run_no, aiki_error *err)
{
    return error_set(err, AIKI_CORRUPT, "run number %" PRIu64 " in %s: a hash has the wrong size",
                     run_no, c->path);
}

static aiki_status read_head(struct sqlite_conn *c, uint64_t run_no, struct aiki_id *ret_id,
                             struct head *ret, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_RUN_HEAD, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_number(&b, (int64_t)run_no);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.statement) : b.rc;
    if (rc == SQLITE_ROW) {
        ret->seq = column_uint(b.statement, 1);
        if (!column_exact(b.statement, 0, ret_id->bytes, sizeof(ret_id->bytes)) ||
            !column_exact(b.statement, 2, ret->hash, HASH_BYTES))
            st = damaged(c, run_no, err);
    } else {
        st = rc == SQLITE_DONE
                 ? error_set(err, AIKI_NOT_FOUND, "no run with number %" PRIu64, run_no)
                 : sql_error(c, "read", err);
    }
    sqlite3_reset(b.statement);
    return st;
}

/* The journal row that ends at or before after_seq: where the chain is picked up. */
static aiki_status read_before(struct sqlite_conn *c, uint64_t run_no, uint64_t after_seq,
                               struct journal_check *chain, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_JOURNAL_BEFORE, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_uint(&b, run_no);
    bind_uint(&b, after_seq);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.statement) : b.rc;
    if (rc == SQLITE_ROW) {
        chain->seq = column_uint(b.statement, 0);
        if (!column_exact(b.statement, 1, chain->hash, HASH_BYTES))
            st = damaged(c, run_no, err);
    } else if (rc != SQLITE_DONE) {
        st = sql_error(c, "read", err);
    }
    sqlite3_reset(b.statement);
    return st;
}

/* One journal row; *ret_end when there is none left. */
static aiki_status read_journal_row(struct sqlite_conn *c, struct binder *b,
                                    struct journal_check *chain, uint64_t after_seq, aiki_writer *w,
                                    bool *ret_end, aiki_error *err)
{
    int rc = b->rc == SQLITE_OK ? sqlite3_step(b->statement) : b->rc;
    *ret_end = rc == SQLITE_DONE;
    if (rc == SQLITE_DONE)
        return AIKI_OK;
    if (rc != SQLITE_ROW)
        return sql_error(c, "read", err);
    uint8_t hash[HASH_BYTES] = {0}; /* of another size: fits no chain */
    (void)column_exact(b->statement, 1, hash, HASH_BYTES);
    return journal_check_row(chain, column_uint(b->statement, 0), hash,
                             column_view(b->statement, 2), after_seq, w, err);
}

static aiki_status read_after(struct sqlite_conn *c, uint64_t run_no, uint64_t after_seq,
                              uint64_t bytes_max, struct journal_check *chain,
                              const struct head *head, aiki_writer *w, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_JOURNAL_AFTER, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_uint(&b, run_no);
    bind_uint(&b, after_seq);
    uint64_t start = w->size_bytes;
    bool end = false;
    do {
        st = read_journal_row(c, &b, chain, after_seq, w, &end, err);
    } while (st == AIKI_OK && !end && w->size_bytes - start < bytes_max);
    sqlite3_reset(b.statement);
    if (st == AIKI_OK && end)
        st = journal_check_end(chain, head->seq, head->hash, err);
    return st;
}

aiki_status sql_journal(struct sqlite_conn *c, uint64_t run_no, uint64_t after_seq,
                        uint64_t bytes_max, aiki_writer *w, uint64_t *ret_last_seq,
                        uint8_t ret_hash[HASH_BYTES], aiki_error *err)
{
    struct journal_check chain = {0};
    struct head head;
    aiki_status st = read_head(c, run_no, &chain.run_id, &head, err);
    if (st != AIKI_OK)
        return st;
    if (after_seq >= head.seq) {
        *ret_last_seq = after_seq;
        return AIKI_OK;
    }
    uint64_t start = w->size_bytes;
    if (after_seq > 0)
        st = read_before(c, run_no, after_seq, &chain, err);
    if (st == AIKI_OK)
        st = read_after(c, run_no, after_seq, bytes_max, &chain, &head, w, err);
    if (st != AIKI_OK) {
        w->size_bytes = start;
        return st;
    }
    *ret_last_seq = chain.seq;
    if (ret_hash != NULL)
        memcpy(ret_hash, chain.hash_before, HASH_BYTES);
    return AIKI_OK;
}

/* ---- lists ---- */

static bool is_open(uint64_t state)
{
    return shelf_of(state) <= 0;
}
static bool is_special(uint64_t state)
{
    return shelf_of(state) != 0 && shelf_of(state) != RUN_COMPLETED;
}

static uint64_t states_that(bool (*are)(uint64_t state))
{
    uint64_t mask = 0;
#define STATE_BIT(name, number, text, terminal)                                                    \
    if (are(number))                                                                               \
        mask |= UINT64_C(1) << (number);
    RUN_STATE_MAP(STATE_BIT)
#undef STATE_BIT
    return mask;
}

/* The index that holds every run the filter can mean, and the fewest others. */
static enum sqlite_statement plan(const struct list_filter *f)
{
    if (f->key != NULL)
        return SQL_LIST_KEY;
    if (f->state_mask != 0 && (f->state_mask & ~states_that(is_special)) == 0)
        return SQL_LIST_SPECIAL;
    if (f->state_mask != 0 && (f->state_mask & ~states_that(is_open)) == 0)
        return SQL_LIST_OPEN;
    return f->workflow != NULL ? SQL_LIST_WORKFLOW : SQL_LIST_ALL;
}

aiki_status sql_list(struct sqlite_conn *c, const struct list_filter *filter, store_run_fn fn,
                     void *arg, aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = list_filter_check(filter, err);
    if (st == AIKI_OK)
        st = sql_statement(c, plan(filter), &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_name(&b, filter->space);
    bind_name(&b, filter->workflow);
    bind_name(&b, filter->version);
    if (filter->key != NULL)
        bind_bytes(&b, filter->key, strlen(filter->key));
    else
        bind_name(&b, NULL);
    bind_number(&b, (int64_t)filter->state_mask);
    bind_number(&b, filter->before_no == 0 ? INT64_MAX : clamp(filter->before_no));
    bind_number(&b, filter->limit < STORE_LIST_MAX ? filter->limit : STORE_LIST_MAX);
    bind_optional(&b, filter->build_min);
    bind_optional(&b, filter->build_max);
    c->deadline_mono_ms = clock_mono_ms() + STORE_LIST_MS_MAX;
    st = show_runs(c, &b, fn, arg, NULL, err);
    c->deadline_mono_ms = 0;
    return st;
}

static struct workflow_row workflow_from_row(sqlite3_stmt *s)
{
    return (struct workflow_row){
        .space = column_view(s, 0),
        .name = column_view(s, 1),
        .version = column_view(s, 2),
        .plugin = column_view(s, 3),
        .build = column_view(s, 4),
        .descriptor = column_view(s, 5),
        .first_seen_at_ms = sqlite3_column_int64(s, 6),
        .last_seen_at_ms = sqlite3_column_int64(s, 7),
    };
}

aiki_status sql_workflows(struct sqlite_conn *c, const char *space, store_workflow_fn fn, void *arg,
                          aiki_error *err)
{
    struct binder b = {0};
    aiki_status st = sql_statement(c, SQL_WORKFLOWS, &b.statement, err);
    if (st != AIKI_OK)
        return st;
    bind_name(&b, space);
    int rc = b.rc;
    bool more = true;
    while (rc == SQLITE_OK && more && (rc = sqlite3_step(b.statement)) == SQLITE_ROW) {
        struct workflow_row row = workflow_from_row(b.statement);
        rc = SQLITE_OK;
        more = fn(arg, &row);
    }
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        st = sql_error(c, "read", err);
    sqlite3_reset(b.statement);
    return st;
}

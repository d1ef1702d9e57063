/* store_suite.c - what every store backend must do. */
#include "support/store_suite.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"

enum { BIG_BYTES = 4 * 1024 * 1024, WHOLE = 1 << 30 };

/* The backend under test; cmocka gives tests no other way to know. */
static const struct store_backend *backend;

struct fixture {
    char url[256];
    struct store *s;
    struct store_reader *r;
};

#define NUMBERS(n, ...)                                                                            \
    numbers_assert(n, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t),                        \
                   (uint64_t[]){__VA_ARGS__})

static void open_both(struct fixture *f)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (store_open(&f->s, f->url, &err) != AIKI_OK)
        fail_msg("%s: %s", f->url, err.message);
    assert_int_equal(f->s->ops->open_reader(f->s, &f->r, &err), AIKI_OK);
}

static void close_both(struct fixture *f)
{
    if (f->s == NULL)
        return;
    f->s->ops->close_reader(f->r);
    store_close(f->s);
    f->s = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    backend->fresh_url(f->url, sizeof(f->url));
    open_both(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_both(f);
    backend->wipe(f->url);
    free(f);
    return 0;
}

static bool count_row(void *arg, const struct run_row *row)
{
    (void)row;
    ++*(size_t *)arg;
    return true;
}

/* ---- writing and finding ---- */

static const uint8_t some_build[HASH_BYTES] = {0xab, 0xcd, 0xef};

/* A new run is found by id, by number and by key, with every column as written. */
static void insert_and_find(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 7);
    d.write.row.key = view_of("invoice-7");
    d.write.row.wake_at_ms = 123456789;
    d.write.row.duplicates = 3;
    d.write.row.parent.bytes[15] = 1;
    d.write.row.flags = 5;
    d.write.row.deadline_ms = 77;
    d.write.row.children = 2;
    d.write.row.absorbed = view_of("you");
    d.write.row.build = (aiki_view){some_build, HASH_BYTES};
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);

    struct numbers found = {0};
    assert_int_equal(f->s->ops->find_key(f->s, view_of("test"), view_of("order"),
                                         view_of("invoice-7"), numbers_add, &found, NULL),
                     AIKI_OK);
    assert_int_equal(f->r->ops->reader_find_run(f->r, &d.write.row.id, numbers_add, &found, NULL),
                     AIKI_OK);
    NUMBERS(&found, 7, 7);
    assert_int_equal(f->s->commits, 1);
    draft_deinit(&d);
}

/* What is not there is NOT_FOUND everywhere, and no callback is called. */
static void absent_is_not_found(void **state)
{
    struct fixture *f = *state;
    const struct store_ops *ops = f->s->ops;
    struct aiki_id id = {{1, 2, 3}};
    size_t count = 0;
    uint64_t last = 99;
    aiki_error err = {.struct_size = sizeof(err)};
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    assert_int_equal(ops->find_run(f->s, &id, count_row, &count, &err), AIKI_NOT_FOUND);
    assert_int_equal(ops->find_run_no(f->s, 1, count_row, &count, &err), AIKI_NOT_FOUND);
    assert_int_equal(ops->find_run_no(f->s, UINT64_MAX, count_row, &count, &err), AIKI_NOT_FOUND);
    assert_int_equal(ops->find_key(f->s, view_of("test"), view_of("order"), view_of("k"), count_row,
                                   &count, &err),
                     AIKI_NOT_FOUND);
    assert_int_equal(ops->reader_find_run(f->r, &id, count_row, &count, &err), AIKI_NOT_FOUND);
    assert_int_equal(ops->journal(f->s, 1, 0, WHOLE, &w, &last, &err), AIKI_NOT_FOUND);
    assert_int_equal(last, 99);
    assert_int_equal(count, 0);
    assert_true(err.message[0] != '\0');
}

/* An id is taken once; the refusal writes nothing and the store goes on. */
static void duplicate_id(void **state)
{
    struct fixture *f = *state;
    struct draft first, second;
    draft_init(&first, 1);
    draft_init(&second, 2);
    draft_save(f->s, &first);
    struct aiki_id own = second.write.row.id;
    second.write.row.id = first.write.row.id;
    struct draft *unit[] = {&second};
    assert_int_equal(draft_commit(f->s, unit, 1, NULL), AIKI_CONFLICT);
    size_t count = 0;
    assert_int_equal(f->s->ops->find_run_no(f->s, 2, count_row, &count, NULL), AIKI_NOT_FOUND);

    second.write.row.id = own;
    draft_save(f->s, &second);
    draft_assert_stored(f->s, &first);
    draft_assert_stored(f->s, &second);
    draft_deinit(&first);
    draft_deinit(&second);
}

/* A key is unique within its namespace and workflow; runs without key never collide. */
static void duplicate_key(void **state)
{
    struct fixture *f = *state;
    struct draft d[6];
    for (uint64_t i = 0; i < ARRAY_COUNT(d); i++) {
        draft_init(&d[i], i + 1);
        d[i].write.row.key = view_of("same");
    }
    d[2].write.row.workflow = view_of("refund");
    d[3].write.row.space = view_of("other");
    d[4].write.row.key = d[5].write.row.key = (aiki_view){NULL, 0};
    draft_save(f->s, &d[0]);
    aiki_error err = {.struct_size = sizeof(err)};
    struct draft *unit[] = {&d[1]};
    assert_int_equal(draft_commit(f->s, unit, 1, &err), AIKI_CONFLICT);
    assert_non_null(strstr(err.message, "key"));
    for (size_t i = 2; i < ARRAY_COUNT(d); i++)
        draft_save(f->s, &d[i]);
    struct numbers found = {0};
    assert_int_equal(f->s->ops->find_key(f->s, view_of("other"), view_of("order"), view_of("same"),
                                         numbers_add, &found, NULL),
                     AIKI_OK);
    NUMBERS(&found, 4);
    for (size_t i = 0; i < ARRAY_COUNT(d); i++)
        draft_deinit(&d[i]);
}

/* A write that does not continue from the stored seq is STALE and leaves the row alone. */
static void stale_seq(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    struct draft before = d;
    draft_next(&d);
    draft_event(&d, 10);
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);

    struct draft *again[] = {&d};
    assert_int_equal(draft_commit(f->s, again, 1, NULL), AIKI_STALE);
    struct draft absent;
    draft_init(&absent, 2);
    draft_next(&absent);
    struct draft *missing[] = {&absent};
    assert_int_equal(draft_commit(f->s, missing, 1, NULL), AIKI_STALE);
    assert_int_equal(before.write.row.seq, 1);
    draft_assert_stored(f->s, &d);
    draft_next(&d);
    draft_event(&d, 10);
    draft_save(f->s, &d);
    draft_deinit(&d);
    draft_deinit(&absent);
}

/* A write of an older owner is STALE; the same and a newer epoch may write. */
static void lower_epoch(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 1);
    d.write.row.epoch = UINT64_C(5) << 32;
    draft_save(f->s, &d);
    draft_next(&d);
    d.write.row.epoch--;
    struct draft *unit[] = {&d};
    assert_int_equal(draft_commit(f->s, unit, 1, NULL), AIKI_STALE);
    d.write.row.epoch++;
    draft_save(f->s, &d);
    draft_next(&d);
    d.write.row.epoch++;
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);
    draft_deinit(&d);
}

static bool count_workflow(void *arg, const struct workflow_row *row)
{
    (void)row;
    ++*(size_t *)arg;
    return true;
}

/* When one write of a unit fails, none of it is there: rows, events, workflows. */
static void all_or_nothing(void **state)
{
    struct fixture *f = *state;
    struct draft old, fresh, stale;
    draft_init(&old, 1);
    draft_init(&fresh, 2);
    draft_init(&stale, 3);
    draft_save(f->s, &old);
    draft_save(f->s, &stale);
    struct draft was = old;
    draft_next(&old);
    draft_event(&old, 50);
    old.write.row.state = RUN_COMPLETED;
    draft_next(&stale);
    stale.write.seq_before = stale.write.row.seq = 17;

    struct run_write writes[] = {old.write, fresh.write, stale.write};
    struct workflow_row workflow = {.space = view_of("test"), .name = view_of("order")};
    struct unit unit = {writes, 3, &workflow, 1};
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_STALE);
    draft_assert_stored(f->s, &was);
    size_t count = 0;
    assert_int_equal(f->s->ops->find_run_no(f->s, 2, count_row, &count, NULL), AIKI_NOT_FOUND);
    assert_int_equal(f->r->ops->workflows(f->r, "test", count_workflow, &count, NULL), AIKI_OK);
    assert_int_equal(count, 0);
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    uint64_t last;
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, WHOLE, &w, &last, NULL), AIKI_OK);
    assert_int_equal(last, 1);

    unit.run_count = 2;
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_OK);
    draft_assert_stored(f->s, &old);
    draft_assert_stored(f->s, &fresh);
    assert_int_equal(f->s->commits, 3);
    draft_deinit(&old);
    draft_deinit(&fresh);
    draft_deinit(&stale);
}

/* A run may be inserted and written again in one unit, in that order; undone in that order too. */
static void same_run_twice_in_a_unit(void **state)
{
    struct fixture *f = *state;
    struct draft a, b;
    draft_init(&a, 1);
    b = a;
    draft_init(&b, 1);
    draft_next(&b);
    draft_event(&b, 20);
    struct run_write writes[] = {a.write, b.write, b.write};
    struct unit unit = {.runs = writes, .run_count = 3};
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_STALE);
    size_t count = 0;
    assert_int_equal(f->s->ops->find_run_no(f->s, 1, count_row, &count, NULL), AIKI_NOT_FOUND);
    unit.run_count = 2;
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_OK);
    draft_assert_stored(f->s, &b);
    draft_deinit(&a);
    draft_deinit(&b);
}

/* A unit over its limit or one that contradicts itself is refused before anything is touched. */
static void impossible_units(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 1);
    struct run_write *many = calloc(STORE_UNIT_RUNS_MAX + 1, sizeof(*many));
    assert_non_null(many);
    struct unit unit = {.runs = many, .run_count = STORE_UNIT_RUNS_MAX + 1};
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(f->s->ops->commit(f->s, &unit, &err), AIKI_LIMIT);
    assert_non_null(strstr(err.message, "STORE_UNIT_RUNS_MAX"));
    free(many);

    struct run_write bad[] = {d.write, d.write, d.write, d.write};
    bad[0].row.no = 0;
    bad[1].row.epoch = UINT64_MAX;
    bad[2].seq_before = 1;
    bad[3].events.size_bytes = 0;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct unit one = {.runs = &bad[i], .run_count = 1};
        assert_int_equal(f->s->ops->commit(f->s, &one, &err), AIKI_INVALID);
    }
    struct unit empty = {0};
    assert_int_equal(f->s->ops->commit(f->s, &empty, &err), AIKI_OK);
    assert_int_equal(f->s->commits, 0);
    draft_save(f->s, &d);
    draft_deinit(&d);
}

/* Waits and reason come and go with the writes; empty is empty, not something short. */
static void waits_and_reason(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    draft_next(&d);
    d.write.row.waits = (aiki_view){(const uint8_t *)"\x91\x00\xc0\x00", 4};
    d.write.row.reason = view_of("because");
    d.write.row.state = RUN_BLOCKED;
    d.write.row.signals = 2;
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);
    draft_next(&d);
    d.write.row.waits = d.write.row.reason = (aiki_view){NULL, 0};
    d.write.row.state = RUN_QUEUED;
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);
    draft_deinit(&d);
}

/* Keys are bytes: NULs, 0xff and common prefixes stay apart. */
static void binary_keys(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bytes[] = {'a', 0, 'b', 0xff, 0, 0xc3, 0x28};
    struct draft d[ARRAY_COUNT(bytes)];
    for (uint64_t i = 0; i < ARRAY_COUNT(d); i++) {
        draft_init(&d[i], i + 1);
        d[i].write.row.key = (aiki_view){bytes, i + 1};
        d[i].write.row.actor = d[i].write.row.key;
        draft_save(f->s, &d[i]);
    }
    for (uint64_t i = 0; i < ARRAY_COUNT(d); i++) {
        struct numbers found = {0};
        assert_int_equal(f->s->ops->find_key(f->s, view_of("test"), view_of("order"),
                                             d[i].write.row.key, numbers_add, &found, NULL),
                         AIKI_OK);
        NUMBERS(&found, i + 1);
        draft_assert_stored(f->s, &d[i]);
        draft_deinit(&d[i]);
    }
}

/* ---- journals ---- */

/* Events come back as written, over several rows, in pages that end where a row ends. */
static void journal_in_pages(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer all, got;
    buf_init(&all);
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1); /* rows: 1 | 2 3 4 | 5 6 7 | ... */
    for (int row = 0; row < 5; row++) {
        draft_save(f->s, &d);
        aiki_mp_raw(&all, d.write.events.data, d.write.events.size_bytes);
        draft_next(&d);
        for (int i = 0; i < 3; i++)
            draft_event(&d, 100);
    }
    uint64_t last = 0, pages = 0;
    while (last < 13) {
        assert_int_equal(f->s->ops->journal(f->s, 1, last, 400, &got, &last, NULL), AIKI_OK);
        pages++;
    }
    assert_int_equal(pages, 3); /* 1 2 3 4 | 5..10 | 11 12 13 */
    assert_int_equal(got.size_bytes, all.size_bytes);
    assert_memory_equal(got.data, all.data, all.size_bytes);

    /* at least one row, however little was asked for; nothing behind the end */
    assert_int_equal(f->r->ops->reader_journal(f->r, 1, 1, 0, &got, &last, NULL, NULL), AIKI_OK);
    assert_int_equal(last, 4);
    uint64_t size = got.size_bytes;
    assert_int_equal(f->s->ops->journal(f->s, 1, 13, WHOLE, &got, &last, NULL), AIKI_OK);
    assert_int_equal(last, 13);
    assert_int_equal(got.size_bytes, size);
    draft_deinit(&d);
}

/* Reading from the middle of a row gives what follows, not the row's beginning. */
static void journal_from_within_a_row(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, 30);
    uint64_t first_size = d.write.events.size_bytes;
    draft_event(&d, 30);
    draft_save(f->s, &d);
    uint64_t last;
    assert_int_equal(f->s->ops->journal(f->s, 1, 2, WHOLE, &got, &last, NULL), AIKI_OK);
    assert_int_equal(last, 3);
    assert_int_equal(got.size_bytes, d.write.events.size_bytes - first_size);
    assert_memory_equal(got.data, d.write.events.data + first_size, got.size_bytes);
    draft_deinit(&d);
}

/* A hash that does not follow from the events is CORRUPT, and says which run and event. */
static void wrong_hash(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, 30);
    d.write.row.hash[31] ^= 1;
    draft_save(f->s, &d);
    aiki_error err = {.struct_size = sizeof(err)};
    uint64_t last = 99;
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, WHOLE, &got, &last, &err), AIKI_CORRUPT);
    char id[AIKI_ID_TEXT_SIZE];
    id_text(&d.write.row.id, id);
    assert_non_null(strstr(err.message, id));
    assert_non_null(strstr(err.message, "event 2"));
    assert_int_equal(got.size_bytes, 0);
    assert_int_equal(last, 99);
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, 1, &got, &last, &err), AIKI_OK);
    assert_int_equal(last, 1);
    draft_deinit(&d);
}

/* Events that are not numbered one after the other, or are no events, are CORRUPT. */
static void wrong_numbers(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft gap, text;
    draft_init(&gap, 1);
    gap.write.row.seq = 2; /* the event in it says 1 */
    draft_save(f->s, &gap);
    draft_init(&text, 2);
    text.write.events = view_of("no msgpack array");
    draft_save(f->s, &text);
    uint64_t last;
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, WHOLE, &got, &last, &err), AIKI_CORRUPT);
    assert_int_equal(f->s->ops->journal(f->s, 2, 0, WHOLE, &got, &last, &err), AIKI_CORRUPT);
    assert_int_equal(f->r->ops->reader_journal(f->r, 2, 0, WHOLE, &got, &last, NULL, &err), AIKI_CORRUPT);
    draft_deinit(&gap);
    draft_deinit(&text);
}

/* A single event of 4 MiB is stored and read like any other. */
static void big_event(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) aiki_writer got;
    buf_init(&got);
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    draft_next(&d);
    draft_event(&d, BIG_BYTES);
    draft_save(f->s, &d);
    uint64_t last;
    assert_int_equal(f->r->ops->reader_journal(f->r, 1, 1, WHOLE, &got, &last, NULL, NULL), AIKI_OK);
    assert_int_equal(got.size_bytes, d.write.events.size_bytes);
    assert_memory_equal(got.data, d.write.events.data, got.size_bytes);
    draft_deinit(&d);
}

/* A fixed buffer that is too small is LIMIT, and holds no half event. */
static void small_buffer(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    uint8_t memory[64];
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    uint64_t last;
    assert_int_equal(f->s->ops->journal(f->s, 1, 0, WHOLE, &w, &last, NULL), AIKI_LIMIT);
    assert_int_equal(w.size_bytes, 0);
    draft_deinit(&d);
}

/* ---- scans and lists ---- */

static void save_in_state(struct fixture *f, uint64_t no, uint32_t run_state)
{
    struct draft d;
    draft_init(&d, no);
    draft_save(f->s, &d);
    draft_next(&d);
    d.write.row.state = run_state;
    draft_save(f->s, &d);
    draft_deinit(&d);
}

/* Recovery sees every run that is not final, by rising number, page by page. */
static void scan_open_pages(void **state)
{
    struct fixture *f = *state;
    const struct store_ops *ops = f->s->ops;
    save_in_state(f, 9, RUN_RUNNING);
    save_in_state(f, 2, RUN_COMPLETED);
    save_in_state(f, 3, RUN_BLOCKED);
    save_in_state(f, 5, RUN_SLEEPING);
    save_in_state(f, 6, RUN_FAILED);
    save_in_state(f, 4, RUN_QUEUED);
    save_in_state(f, 8, RUN_PAUSED);
    struct numbers n = {0};
    assert_int_equal(ops->scan_open(f->s, 0, 3, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 3, 4, 5);
    assert_int_equal(ops->scan_open(f->s, 5, 3, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 3, 4, 5, 8, 9);
    assert_int_equal(ops->scan_open(f->s, 9, 3, numbers_add, &n, NULL), AIKI_OK);
    assert_int_equal(ops->scan_open(f->s, UINT64_MAX, 3, numbers_add, &n, NULL), AIKI_OK);
    assert_int_equal(n.count, 5);
    struct numbers enough = {.stop_at = 1};
    assert_int_equal(ops->scan_open(f->s, 0, 3, numbers_add, &enough, NULL), AIKI_OK);
    NUMBERS(&enough, 3);
}

/* A run with something left to do about it is shown by a scan, whatever its state, until it is done. */
static void scan_undone(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    struct numbers n = {0};
    draft_init(&d, 4);
    d.write.row.state = RUN_COMPLETED;
    d.write.row.flags = STORE_FLAG_UNDONE;
    draft_save(f->s, &d);
    draft_assert_stored(f->s, &d);
    assert_int_equal(f->s->ops->scan_open(f->s, 0, 9, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 4);
    draft_next(&d);
    draft_event(&d, 10);
    d.write.row.flags = 0;
    draft_save(f->s, &d);
    assert_int_equal(f->s->ops->scan_open(f->s, 0, 9, numbers_add, &n, NULL), AIKI_OK);
    assert_int_equal(n.count, 1);
    draft_deinit(&d);
}

/* A run that leaves or re-enters the open states is found accordingly. */
static void states_move(void **state)
{
    struct fixture *f = *state;
    static const uint32_t path[] = {RUN_BLOCKED, RUN_QUEUED,    RUN_STALLED, RUN_BLOCKED,
                                    RUN_RUNNING, RUN_COMPLETED, RUN_QUEUED,  RUN_FAILED};
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    for (size_t i = 0; i < ARRAY_COUNT(path); i++) {
        draft_next(&d);
        d.write.row.state = path[i];
        draft_save(f->s, &d);
        struct list_filter filter = {.space = "test", .limit = 10};
        filter.state_mask = UINT64_C(1) << path[i];
        struct numbers listed = {0};
        size_t open = 0;
        assert_int_equal(f->s->ops->scan_open(f->s, 0, 10, count_row, &open, NULL), AIKI_OK);
        assert_int_equal(open, !run_state_is_terminal(path[i]));
        assert_int_equal(f->r->ops->list(f->r, &filter, numbers_add, &listed, NULL), AIKI_OK);
        NUMBERS(&listed, 1);
        filter.state_mask = ~filter.state_mask;
        assert_int_equal(f->r->ops->list(f->r, &filter, numbers_add, &listed, NULL), AIKI_OK);
        assert_int_equal(listed.count, 1);
    }
    draft_deinit(&d);
}

static struct numbers listed(struct fixture *f, struct list_filter filter)
{
    struct numbers n = {0};
    if (filter.limit == 0)
        filter.limit = NUMBERS_MAX;
    assert_int_equal(f->r->ops->list(f->r, &filter, numbers_add, &n, NULL), AIKI_OK);
    return n;
}

#define LISTED(f, expected, ...)                                                                   \
    do {                                                                                           \
        struct numbers listed_ = listed(f, (struct list_filter){.space = "test", __VA_ARGS__});    \
        numbers_assert(&listed_, strlen(expected), (uint64_t[]){DIGITS(expected)});                \
    } while (0)
#define DIGIT(text, i) ((i) < strlen(text) ? (uint64_t)((text)[i] - '0') : 0)
#define DIGITS(text)                                                                               \
    DIGIT(text, 0), DIGIT(text, 1), DIGIT(text, 2), DIGIT(text, 3), DIGIT(text, 4),                \
        DIGIT(text, 5), DIGIT(text, 6), DIGIT(text, 7)

/* Every filter alone and together, newest first. */
static void list_filters(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *space, *workflow, *version, *key;
        uint32_t state;
    } rows[] = {
        {"test", "order", "1.0.0", "a", RUN_COMPLETED},
        {"test", "order", "2.0.0", "b", RUN_FAILED},
        {"test", "refund", "1.0.0", "a", RUN_COMPLETED},
        {"test", "refund", "1.0.0", "", RUN_SLEEPING},
        {"other", "order", "1.0.0", "a", RUN_FAILED},
        {"test", "order", "1.0.0", "", RUN_BLOCKED},
        {"test", "order", "1.0.0", "", RUN_QUEUED},
        {"test", "order", "2.0.0", "c", RUN_TERMINATED},
    };
    for (uint64_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct draft d;
        draft_init(&d, i + 1);
        d.write.row.space = view_of(rows[i].space);
        d.write.row.workflow = view_of(rows[i].workflow);
        d.write.row.version = view_of(rows[i].version);
        d.write.row.key = view_of(rows[i].key);
        d.write.row.state = rows[i].state;
        draft_save(f->s, &d);
        draft_deinit(&d);
    }
    const uint64_t failed = 1u << RUN_FAILED, blocked = 1u << RUN_BLOCKED;
    const uint64_t completed = 1u << RUN_COMPLETED, sleeping = 1u << RUN_SLEEPING;
    LISTED(f, "8764321", .limit = 10);
    LISTED(f, "87621", .workflow = "order");
    LISTED(f, "82", .version = "2.0.0");
    LISTED(f, "761", .workflow = "order", .version = "1.0.0");
    LISTED(f, "31", .key = "a");
    LISTED(f, "3", .key = "a", .workflow = "refund");
    LISTED(f, "", .key = "z");
    LISTED(f, "2", .state_mask = failed);
    LISTED(f, "62", .state_mask = failed | blocked);
    LISTED(f, "64", .state_mask = sleeping | blocked);
    LISTED(f, "31", .state_mask = completed);
    LISTED(f, "1", .state_mask = completed, .workflow = "order");
    LISTED(f, "321", .state_mask = completed | failed);
    LISTED(f, "2", .state_mask = failed, .workflow = "order", .version = "2.0.0", .key = "b");
    LISTED(f, "87", .limit = 2);
    LISTED(f, "64", .limit = 2, .before_no = 7);
    LISTED(f, "6", .workflow = "order", .limit = 1, .before_no = 7);
    LISTED(f, "", .before_no = 1);
    LISTED(f, "87", .before_no = UINT64_MAX, .limit = 2);
    struct numbers n = {.stop_at = 3};
    struct list_filter all = {.space = "test", .limit = UINT32_MAX};
    assert_int_equal(f->r->ops->list(f->r, &all, numbers_add, &n, NULL), AIKI_OK);
    NUMBERS(&n, 8, 7, 6);
    all.space = NULL;
    assert_int_equal(f->r->ops->list(f->r, &all, numbers_add, &n, NULL), AIKI_INVALID);
}

/* By the build that executed a run last, which an update may change: one, or all between two. */
static void list_by_build(void **state)
{
    static const uint8_t builds[][HASH_BYTES] = {{1}, {2}, {2, 9}, {3}};
    const aiki_view one = {builds[0], HASH_BYTES}, two = {builds[1], HASH_BYTES};
    const aiki_view more = {builds[2], HASH_BYTES}, three = {builds[3], HASH_BYTES};
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 5; i++) {
        struct draft d;
        draft_init(&d, i + 1);
        if (i < ARRAY_COUNT(builds))
            d.write.row.build = (aiki_view){builds[i], HASH_BYTES};
        draft_save(f->s, &d);
        if (i == 0) {
            draft_next(&d);
            draft_event(&d, 10);
            d.write.row.build = three;
            draft_save(f->s, &d);
            draft_assert_stored(f->s, &d);
        }
        draft_deinit(&d);
    }
    LISTED(f, "41", .build_min = three, .build_max = three);
    LISTED(f, "32", .build_min = two, .build_max = more);
    LISTED(f, "4321", .build_min = one, .build_max = three);
    LISTED(f, "4", .build_min = three, .build_max = three, .before_no = 5, .limit = 1);
    LISTED(f, "", .build_min = one, .build_max = one);
    LISTED(f, "54321", .limit = 10);
}

/* Pages neither repeat nor skip a run while new ones arrive. */
static void list_pages_under_inserts(void **state)
{
    struct fixture *f = *state;
    for (uint64_t no = 1; no <= 6; no++)
        save_in_state(f, no, RUN_COMPLETED);
    LISTED(f, "654", .limit = 3);
    save_in_state(f, 7, RUN_COMPLETED);
    save_in_state(f, 8, RUN_QUEUED);
    LISTED(f, "321", .limit = 3, .before_no = 4);
    LISTED(f, "", .limit = 3, .before_no = 1);
}

/* A listing is cut at STORE_LIST_MAX rows whatever is asked for. */
static void list_is_capped(void **state)
{
    struct fixture *f = *state;
    struct draft *drafts = calloc(STORE_LIST_MAX + 5, sizeof(*drafts));
    struct draft **unit = calloc(STORE_LIST_MAX + 5, sizeof(struct draft *));
    assert_true(drafts != NULL && unit != NULL);
    for (size_t i = 0; i < STORE_LIST_MAX + 5; i++) {
        draft_init(&drafts[i], i + 1);
        unit[i] = &drafts[i];
    }
    assert_int_equal(draft_commit(f->s, unit, STORE_LIST_MAX + 5, NULL), AIKI_OK);
    assert_int_equal(f->s->commits, 1);
    size_t count = 0;
    struct list_filter filter = {.space = "test", .limit = UINT32_MAX};
    assert_int_equal(f->r->ops->list(f->r, &filter, count_row, &count, NULL), AIKI_OK);
    assert_int_equal(count, STORE_LIST_MAX);
    for (size_t i = 0; i < STORE_LIST_MAX + 5; i++)
        draft_deinit(&drafts[i]);
    free(drafts);
    free((void *)unit);
}

/* ---- workflows ---- */

struct registry {
    char text[256];
};

static bool registry_add(void *arg, const struct workflow_row *row)
{
    struct registry *r = arg;
    size_t size = strlen(r->text);
    (void)snprintf(r->text + size, sizeof(r->text) - size, "%.*s@%.*s %.*s %ld-%ld;",
                   (int)row->name.size_bytes, (const char *)row->name.data,
                   (int)row->version.size_bytes, (const char *)row->version.data,
                   (int)row->build.size_bytes, (const char *)row->build.data,
                   (long)row->first_seen_at_ms, (long)row->last_seen_at_ms);
    return true;
}

static void put_workflow(struct fixture *f, const char *space, const char *name,
                         const char *version, const char *build, int64_t at_ms)
{
    struct workflow_row row = {
        .space = view_of(space),
        .name = view_of(name),
        .version = view_of(version),
        .plugin = view_of("orders"),
        .build = view_of(build),
        .descriptor = view_of("\x80"),
        .first_seen_at_ms = at_ms,
        .last_seen_at_ms = at_ms,
    };
    struct unit unit = {.workflows = &row, .workflow_count = 1};
    assert_int_equal(f->s->ops->commit(f->s, &unit, NULL), AIKI_OK);
}

/* The registry keeps when a version was first seen and who served it last, by namespace. */
static void workflow_registry(void **state)
{
    struct fixture *f = *state;
    put_workflow(f, "test", "order", "1.0.0", "b1", 10);
    put_workflow(f, "test", "order", "0.9.0", "b0", 5);
    put_workflow(f, "test", "billing", "1.0.0", "b7", 20);
    put_workflow(f, "other", "order", "1.0.0", "b9", 30);
    put_workflow(f, "test", "order", "1.0.0", "b2", 40);
    struct registry r = {""};
    assert_int_equal(f->r->ops->workflows(f->r, "test", registry_add, &r, NULL), AIKI_OK);
    assert_string_equal(r.text, "billing@1.0.0 b7 20-20;order@0.9.0 b0 5-5;order@1.0.0 b2 10-40;");
}

/* ---- opening again, readers ---- */

/* A store closed and opened again has everything, a higher incarnation, and its marks. */
static void reopen(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->s->incarnation, 1);
    assert_int_equal(f->s->run_no_max, 0);
    struct draft d;
    draft_init(&d, 41);
    d.write.row.wake_at_ms = INT64_C(1) << 50; /* ahead: not a time that was seen */
    draft_save(f->s, &d);
    close_both(f);
    open_both(f);
    assert_int_equal(f->s->incarnation, 2);
    assert_int_equal(f->s->run_no_max, 41);
    assert_int_equal(f->s->clock_ms_max, d.write.row.updated_at_ms);
    draft_assert_stored(f->s, &d);

    draft_next(&d); /* a row only, no event */
    d.write.row.updated_at_ms += 1000;
    draft_save(f->s, &d);
    int64_t at_ms = d.write.row.updated_at_ms;
    close_both(f);
    open_both(f);
    assert_int_equal(f->s->clock_ms_max, at_ms);
    put_workflow(f, "test", "order", "1.0.0", "b", at_ms + 7);
    draft_next(&d);
    draft_event(&d, 10); /* an event with an earlier time does not turn the clock back */
    draft_save(f->s, &d);
    close_both(f);
    open_both(f);
    assert_int_equal(f->s->clock_ms_max, at_ms + 7);
    assert_int_equal(f->s->incarnation, 4);
    draft_assert_stored(f->s, &d);
    draft_deinit(&d);
}

/* Who comes second is refused, and the first is not disturbed. */
static void second_open_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *second = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(store_open(&second, f->url, &err), AIKI_CONFLICT);
    assert_null(second);
    struct draft d;
    draft_init(&d, 1);
    draft_save(f->s, &d);
    close_both(f);
    open_both(f);
    assert_int_equal(f->s->incarnation, 2);
    draft_assert_stored(f->s, &d);
    draft_deinit(&d);
}

/* A url of a kind that is not there says which kinds are. */
static void unknown_scheme(void **state)
{
    (void)state;
    struct store *s = NULL;
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(store_open(&s, "tape:/dev/nst0", &err), AIKI_UNSUPPORTED);
    assert_non_null(strstr(err.message, "sqlite:"));
    assert_int_equal(store_open(&s, "", &err), AIKI_UNSUPPORTED);
    store_close(NULL);
}

struct watcher {
    struct store_reader *r;
    struct aiki_id first, second;
    atomic_bool stop;
    size_t looks, torn;
};

static bool read_seq(void *arg, const struct run_row *row)
{
    *(uint64_t *)arg = row->seq;
    return true;
}

static void *watch(void *arg)
{
    struct watcher *w = arg;
    while (!atomic_load(&w->stop)) {
        uint64_t first = 0, second = 0;
        if (w->r->ops->reader_find_run(w->r, &w->first, read_seq, &first, NULL) != AIKI_OK ||
            w->r->ops->reader_find_run(w->r, &w->second, read_seq, &second, NULL) != AIKI_OK)
            w->torn++;
        w->looks++;
        if (second < first)
            w->torn++;
    }
    return NULL;
}

/* A reader on its own thread sees whole units, while they are written: runs that are always
 * written together are never apart. */
static void reader_sees_committed_units(void **state)
{
    struct fixture *f = *state;
    struct draft a, b;
    draft_init(&a, 1);
    draft_init(&b, 2);
    struct draft *unit[] = {&a, &b};
    assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_OK);
    struct watcher w = {.r = f->r, .first = a.write.row.id, .second = b.write.row.id};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch, &w), 0);
    for (int i = 0; i < 100; i++) {
        draft_next(&a);
        draft_next(&b);
        draft_event(&a, 100);
        draft_event(&b, 100);
        assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_OK);
    }
    atomic_store(&w.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(w.torn, 0);
    draft_assert_stored(f->s, &a);
    draft_deinit(&a);
    draft_deinit(&b);
}

/* ---- children ---- */

/* A parent's children come by rising number, page by page, open or ended; nobody else's do. */
static void children_by_number(void **state)
{
    struct fixture *f = *state;
    struct aiki_id parent = {.bytes = {9}}, nobody = {.bytes = {8}};
    struct draft d[5];
    for (uint64_t i = 0; i < ARRAY_COUNT(d); i++) {
        draft_init(&d[i], i + 1);
        if (i != 2)
            d[i].write.row.parent = parent;
        draft_save(f->s, &d[i]);
    }
    draft_next(&d[1]);
    d[1].write.row.state = RUN_COMPLETED;
    draft_event(&d[1], 10);
    draft_save(f->s, &d[1]);
    draft_assert_stored(f->s, &d[1]);
    struct numbers page = {0}, rest = {0}, none = {0};
    assert_int_equal(f->s->ops->children(f->s, &parent, 0, 2, numbers_add, &page, NULL), AIKI_OK);
    NUMBERS(&page, 1, 2);
    assert_int_equal(f->r->ops->reader_children(f->r, &parent, 2, 100, numbers_add, &rest, NULL),
                     AIKI_OK);
    NUMBERS(&rest, 4, 5);
    assert_int_equal(f->s->ops->children(f->s, &nobody, 0, 2, numbers_add, &none, NULL), AIKI_OK);
    assert_int_equal(none.count, 0);
    for (size_t i = 0; i < ARRAY_COUNT(d); i++)
        draft_deinit(&d[i]);
}

static void assert_key_of(struct fixture *f, uint64_t no)
{
    struct numbers found = {0};
    assert_int_equal(f->s->ops->find_key(f->s, view_of("test"), view_of("order"), view_of("k"),
                                         numbers_add, &found, NULL), AIKI_OK);
    NUMBERS(&found, no);
}

/* A key goes from one run to the next in one unit, or stays where it was. */
static void a_key_changes_hands(void **state)
{
    struct fixture *f = *state;
    struct draft old, new;
    draft_init(&old, 1);
    draft_init(&new, 2);
    old.write.row.key = new.write.row.key = view_of("k");
    draft_save(f->s, &old);
    draft_next(&old);
    draft_event(&old, 10);
    old.write.drop_key = true;
    new.write.row.id = old.write.row.id; /* refused: nothing of the unit stays */
    struct draft *unit[] = {&old, &new};
    assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_CONFLICT);
    assert_key_of(f, 1);
    new.write.row.id.bytes[0] ^= 1;
    assert_int_equal(draft_commit(f->s, unit, 2, NULL), AIKI_OK);
    assert_key_of(f, 2);
    old.write.row.key = (aiki_view){NULL, 0};
    draft_assert_stored(f->s, &old);
    draft_deinit(&old);
    draft_deinit(&new);
}

int store_suite_run(const struct store_backend *b)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(insert_and_find),
        CASE(absent_is_not_found),
        CASE(duplicate_id),
        CASE(duplicate_key),
        CASE(stale_seq),
        CASE(lower_epoch),
        CASE(all_or_nothing),
        CASE(same_run_twice_in_a_unit),
        CASE(impossible_units),
        CASE(waits_and_reason),
        CASE(binary_keys),
        CASE(journal_in_pages),
        CASE(journal_from_within_a_row),
        CASE(wrong_hash),
        CASE(wrong_numbers),
        CASE(big_event),
        CASE(small_buffer),
        CASE(scan_open_pages),
        CASE(scan_undone),
        CASE(states_move),
        CASE(list_filters),
        CASE(list_by_build),
        CASE(list_pages_under_inserts),
        CASE(list_is_capped),
        CASE(children_by_number),
        CASE(a_key_changes_hands),
        CASE(workflow_registry),
        CASE(reopen),
        CASE(second_open_is_refused),
        CASE(unknown_scheme),
        CASE(reader_sees_committed_units),
    };
#undef CASE
    backend = b;
    return cmocka_run_group_tests_name(b->name, tests, NULL, NULL);
}

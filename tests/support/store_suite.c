/* store_suite.c - what every store backend must do. */
#include "support/store_suite_impl.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"

/* The backend under test; cmocka gives tests no other way to know. */
static const struct store_backend *backend;

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

bool count_row(void *arg, const struct run_row *row)
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
    struct unit unit = {.runs = writes, .run_count = 3, .workflows = &workflow, .workflow_count = 1};
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

int store_suite_run(const struct store_backend *b)
{
#define CASE(function)        cmocka_unit_test_setup_teardown(function, set_up, tear_down)
#define LISTED_CASE(function) CASE(function),
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
        JOURNAL_CASES(LISTED_CASE) LIST_CASES(LISTED_CASE) CASE(reopen),
        CASE(second_open_is_refused),
        CASE(unknown_scheme),
        CASE(reader_sees_committed_units),
    };
#undef LISTED_CASE
#undef CASE
    backend = b;
    return cmocka_run_group_tests_name(b->name, tests, NULL, NULL);
}

/* test_cache.c - runs in memory: found three ways, forgotten only when nothing holds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cache.h"
#include "registry.h"

struct fixture {
    struct cache cache;
    struct registry registry;
    struct flow *flow, *other;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    cache_init(&f->cache);
    registry_init(&f->registry, "test");
    assert_int_equal(registry_intern(&f->registry, view_of("order"), view_of("1.0.0"), &f->flow,
                                     NULL), AIKI_OK);
    assert_int_equal(registry_intern(&f->registry, view_of("bill"), view_of("1.0.0"), &f->other,
                                     NULL), AIKI_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cache_deinit(&f->cache);
    registry_deinit(&f->registry);
    free(f);
    return 0;
}

static struct entry *add(struct fixture *f, uint64_t no, const char *key)
{
    struct aiki_id id = {{0}};
    memcpy(id.bytes + 8, &no, sizeof(no));
    struct entry *e = cache_add(&f->cache, &id, no, f->flow, view_of(key), view_of("me"));
    e->run.state = RUN_QUEUED;
    return e;
}

/* All three ways, over several growths of the tables. */
static void found_by_id_number_and_key(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 20000 };
    for (uint64_t no = 1; no <= COUNT; no++) {
        char key[24];
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)no);
        cache_rest(&f->cache, add(f, no, no % 2 == 0 ? key : ""));
    }
    assert_int_equal(f->cache.count, COUNT);
    for (uint64_t no = 1; no <= COUNT; no++) {
        char key[24];
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)no);
        struct entry *e = cache_find_no(&f->cache, no);
        assert_non_null(e);
        assert_ptr_equal(cache_find(&f->cache, &e->id), e);
        assert_ptr_equal(cache_find_key(&f->cache, f->flow, view_of(key)), no % 2 == 0 ? e : NULL);
        assert_null(cache_find_key(&f->cache, f->other, view_of(key)));
    }
}

/* Over the limit the oldest resting one goes; what is held stays however old it is. */
static void only_resting_entries_are_forgotten(void **state)
{
    struct fixture *f = *state;
    enum { BIG = 1024 * 1024, MANY = CACHE_QUEUED_BYTES_MAX / BIG + 20 };
    struct session session = {.no = 1};
    struct entry *held = add(f, 1, "");
    held->owner = &session;
    cache_rest(&f->cache, held);
    struct entry *used = add(f, 2, "");
    cache_rest(&f->cache, used);
    cache_hold(&f->cache, used); /* in use by a command */
    for (uint64_t no = 3; no < MANY; no++) {
        struct entry *e = add(f, no, "");
        assert_non_null(aiki_mp_room(&e->journal, BIG));
        cache_rest(&f->cache, e);
    }
    assert_true(f->cache.resting[REST_QUEUED].bytes <= CACHE_QUEUED_BYTES_MAX);
    assert_ptr_equal(cache_find_no(&f->cache, 1), held);
    assert_ptr_equal(cache_find_no(&f->cache, 2), used);
    assert_null(cache_find_no(&f->cache, 3));
    assert_non_null(cache_find_no(&f->cache, MANY - 1));
    held->owner = NULL;
}

/* A million runs that wait for a month are not to take the memory of those that run today. */
static void parked_ones_have_little_room(void **state)
{
    struct fixture *f = *state;
    static const uint32_t states[] = {RUN_SLEEPING, RUN_AWAITING_SIGNAL, RUN_PAUSED, RUN_SCHEDULED};
    enum { BIG = 16 * 1024, MANY = 2 * CACHE_PARKED_BYTES_MAX / BIG };
    cache_rest(&f->cache, add(f, 1, "")); /* queued */
    for (uint64_t no = 2; no < MANY; no++) {
        struct entry *e = add(f, no, "");
        e->run.state = states[no % ARRAY_COUNT(states)];
        buf_reserve(&e->journal, 2 * BIG);
        assert_non_null(aiki_mp_room(&e->journal, BIG));
        cache_rest(&f->cache, e);
        assert_int_equal(e->journal.capacity_bytes, BIG); /* what it would grow by is given back */
        assert_true(f->cache.resting[REST_PARKED].bytes <= CACHE_PARKED_BYTES_MAX);
    }
    assert_non_null(cache_find_no(&f->cache, 1));
    assert_null(cache_find_no(&f->cache, 2));
    assert_non_null(cache_find_no(&f->cache, MANY - 1));
    assert_true(cache_resting_bytes(&f->cache) > f->cache.resting[REST_PARKED].bytes);
}

/* A run that ended while it rested is charged where it was put. */
static void the_charge_follows_the_list(void **state)
{
    struct fixture *f = *state;
    struct entry *e = add(f, 1, "");
    cache_rest(&f->cache, e);
    size_t charged = f->cache.resting[REST_QUEUED].bytes;
    assert_true(charged > 0);
    e->run.state = RUN_COMPLETED;
    cache_rest(&f->cache, e);
    assert_int_equal(f->cache.resting[REST_QUEUED].bytes, 0);
    assert_int_equal(f->cache.resting[REST_ENDED].bytes, charged);
    cache_remove(&f->cache, e);
    assert_int_equal(f->cache.resting[REST_ENDED].bytes, 0);
}

/* What a row says is what the entry knows, and back. */
static void a_row_goes_in_and_out(void **state)
{
    struct fixture *f = *state;
    static const uint8_t waits[] = {0x90}, reason[] = {0x80}, build[HASH_BYTES] = {5};
    struct run_row back, row = {.no = 9, .state = RUN_SLEEPING, .epoch = 5, .seq = 3,
                                .signals = 2, .wake_at_ms = 77, .created_at_ms = 1,
                                .updated_at_ms = 2, .duplicates = 4,
                                .key = view_of("k"), .actor = view_of("a"),
                                .waits = {waits, 1}, .reason = {reason, 1}, .flags = 3,
                                .deadline_ms = 99, .children = 2, .absorbed = {waits, 1}, .build = {build, HASH_BYTES}};
    memset(row.hash, 3, HASH_BYTES);
    row.parent.bytes[3] = 7;
    struct entry *e = cache_adopt(&f->cache, &row, f->flow);
    entry_row(e, "test", &back);
    assert_int_equal(back.state, row.state);
    assert_int_equal(back.seq, row.seq);
    assert_int_equal(back.wake_at_ms, row.wake_at_ms);
    assert_int_equal(back.duplicates, row.duplicates);
    assert_true(view_equal(back.key, row.key) && view_equal(back.actor, row.actor));
    assert_true(view_equal(back.waits, row.waits) && view_equal(back.reason, row.reason));
    assert_true(id_equal(&back.parent, &row.parent) && view_equal(back.absorbed, row.absorbed));
    assert_true(view_equal(back.build, row.build));
    assert_int_equal(back.flags, row.flags);
    assert_int_equal(back.deadline_ms, row.deadline_ms);
    assert_int_equal(back.children, row.children);
    assert_true(view_is(back.workflow, "order") && view_is(back.space, "test"));
    assert_memory_equal(back.hash, row.hash, HASH_BYTES);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(found_by_id_number_and_key),
        CASE(only_resting_entries_are_forgotten),
        CASE(parked_ones_have_little_room),
        CASE(the_charge_follows_the_list),
        CASE(a_row_goes_in_and_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

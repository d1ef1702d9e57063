/* test_store_memory.c - the memory backend: the common suite, and what only it can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "store/memory.h"
#include "support/store_suite.h"

static void fresh_url(char *ret_url, size_t size)
{
    static int count;
    (void)snprintf(ret_url, size, "memory:suite-%d", ++count);
}

static void wipe(const char *url)
{
    memory_store_wipe(url + sizeof("memory:") - 1);
}

/* A store without a name is gone when it is closed. */
static void unnamed_is_forgotten(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct store *s;
        assert_int_equal(store_open(&s, "memory:", NULL), AIKI_OK);
        assert_int_equal(s->run_no_max, 0);
        assert_int_equal(s->incarnation, 1);
        struct draft d;
        draft_init(&d, 1);
        draft_save(s, &d);
        draft_deinit(&d);
        store_close(s);
    }
}

/* An empty store, and a run to be committed. */
static struct store *open_drafted(struct draft *d)
{
    struct store *s;
    assert_int_equal(store_open(&s, "memory:", NULL), AIKI_OK);
    draft_init(d, 1);
    return s;
}

/* The ordered commit fails once and writes nothing; the next one works. */
static void ordered_failure_passes(void **state)
{
    (void)state;
    struct draft d, *unit[] = {&d};
    struct store *s = open_drafted(&d);
    memory_store_fail_commit(s, AIKI_LIMIT, 1);
    draft_save(s, &d);
    draft_next(&d);
    draft_event(&d, 10);
    assert_int_equal(draft_commit(s, unit, 1, NULL), AIKI_LIMIT);
    draft_save(s, &d);
    draft_assert_stored(s, &d);
    assert_int_equal(s->commits, 2);
    draft_deinit(&d);
    store_close(s);
}

/* A failure that is fatal stays. */
static void ordered_failure_stays(void **state)
{
    (void)state;
    struct draft d, *unit[] = {&d};
    struct store *s = open_drafted(&d);
    memory_store_fail_commit(s, AIKI_INTERNAL, 0);
    assert_int_equal(draft_commit(s, unit, 1, NULL), AIKI_INTERNAL);
    assert_int_equal(draft_commit(s, unit, 1, NULL), AIKI_INTERNAL);
    draft_deinit(&d);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unnamed_is_forgotten),
        cmocka_unit_test(ordered_failure_passes),
        cmocka_unit_test(ordered_failure_stays),
    };
    const struct store_backend memory = {"memory", fresh_url, wipe};
    int failed = store_suite_run(&memory);
    return failed + cmocka_run_group_tests_name("memory only", tests, NULL, NULL);
}

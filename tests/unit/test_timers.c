/* test_timers.c - many timers by number, against a plain table of the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "timers.h"

/* Due ones come in order of time, each once. */
static void due_ones_come_in_order(void **state)
{
    (void)state;
    struct timers t = {0};
    uint64_t key;
    timers_set(&t, 3, 30);
    timers_set(&t, 1, 10);
    timers_set(&t, 2, 20);
    assert_int_equal(timers_first_at_ms(&t), 10);
    assert_false(timers_take(&t, 9, &key));
    assert_true(timers_take(&t, 25, &key) && key == 1);
    assert_true(timers_take(&t, 25, &key) && key == 2);
    assert_false(timers_take(&t, 25, &key));
    assert_true(timers_take(&t, 30, &key) && key == 3);
    assert_int_equal(timers_first_at_ms(&t), 0);
    timers_deinit(&t);
}

/* Moved and disarmed ones do not ring at their old time. */
static void moving_and_disarming_are_exact(void **state)
{
    (void)state;
    struct timers t = {0};
    uint64_t key;
    timers_set(&t, 1, 0); /* was never armed */
    timers_set(&t, 1, 10);
    timers_set(&t, 2, 20);
    timers_set(&t, 1, 30);
    timers_set(&t, 2, 0);
    assert_int_equal(t.count, 1);
    assert_false(timers_take(&t, 29, &key));
    assert_true(timers_take(&t, 30, &key) && key == 1);
    timers_deinit(&t);
}

/* Thousands of random orders, checked against a table after each. */
static void random_orders_match_a_table(void **state)
{
    (void)state;
    enum { KEYS = 500, ORDERS = 20000 };
    static int64_t table[KEYS];
    struct timers t = {0};
    unsigned seed = 1;
    int64_t now = 1;
    for (int i = 0; i < ORDERS; i++) {
        uint64_t key = (uint64_t)(rand_r(&seed) % KEYS);
        int what = rand_r(&seed) % 10;
        if (what < 6) {
            table[key] = now + 1 + rand_r(&seed) % 1000;
            timers_set(&t, key * 64, table[key]);
        } else if (what < 8) {
            table[key] = 0;
            timers_set(&t, key * 64, 0);
        } else {
            now += rand_r(&seed) % 20;
            for (uint64_t got; timers_take(&t, now, &got);) {
                assert_true(table[got / 64] > 0 && table[got / 64] <= now);
                table[got / 64] = 0;
            }
        }
        int64_t first = 0;
        size_t count = 0;
        for (int k = 0; k < KEYS; k++) {
            count += table[k] > 0;
            if (table[k] > 0 && (first == 0 || table[k] < first))
                first = table[k];
        }
        assert_int_equal(t.count, count);
        assert_int_equal(timers_first_at_ms(&t), first);
    }
    timers_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(due_ones_come_in_order),
        cmocka_unit_test(moving_and_disarming_are_exact),
        cmocka_unit_test(random_orders_match_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_tally.c - attempts counted by task, outcome, category and build, up to the limits and beyond. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tally.h"
#include "wire/event.h"

/* There is one tally a process: the cases fill it up one after the other. */
static const uint8_t build[HASH_BYTES] = {1, 2, 3, 4, 5, 6, 7}, no_build[HASH_BYTES];

static char *text(void)
{
    static aiki_writer w;
    static bool ready;
    if (!ready)
        buf_init(&w);
    ready = true;
    buf_clear(&w, 1024 * 1024);
    tally_write(&w);
    aiki_mp_raw(&w, "", 1);
    assert_int_equal(w.status, AIKI_OK);
    return (char *)w.data;
}

/* 0: there is no such series. */
static uint64_t count_of(const char *task, const char *outcome, const char *category, const char *of)
{
    char line[256];
    (void)snprintf(line, sizeof(line),
                   "\naiki_task_attempts_total{task=\"%s\",outcome=\"%s\",category=\"%s\",build=\"%s\"} ",
                   task, outcome, category, of);
    const char *at = strstr(text(), line);
    return at != NULL ? strtoull(at + strlen(line), NULL, 10) : 0;
}

static uint64_t sum(unsigned *ret_lines)
{
    uint64_t total = 0;
    *ret_lines = 0;
    for (const char *at = text(); (at = strstr(at, "\"} ")) != NULL; at++, ++*ret_lines)
        total += strtoull(at + 3, NULL, 10);
    return total;
}

static void a_series_for_each_way_to_end(void **state)
{
    (void)state;
    uint16_t pay = tally_task(view_of("pay")), ship = tally_task(view_of("ship"));
    assert_true(pay != 0 && ship != 0 && pay != ship);
    assert_int_equal(tally_task(view_of("pay")), pay);
    tally_add(pay, TALLY_OK, 0, build);
    tally_add(pay, TALLY_OK, 0, build);
    tally_add(pay, TALLY_FAILED, AIKI_CATEGORY_USER, build);
    tally_add(ship, TALLY_TIMED_OUT, AIKI_CATEGORY_INFRA, no_build);
    tally_add(ship, TALLY_CRASHED, AIKI_CATEGORY_PLUGIN, build);
    assert_int_equal(count_of("pay", "ok", "none", "010203040506"), 2);
    assert_int_equal(count_of("pay", "failed", "user", "010203040506"), 1);
    assert_int_equal(count_of("ship", "timed_out", "infra", "none"), 1);
    assert_int_equal(count_of("ship", "crashed", "plugin", "010203040506"), 1);
    assert_int_equal(count_of("pay", "retried", "none", "010203040506"), 0);
}

/* What comes from outside is no category, or no name that may stand in the text as it is. */
static void odd_values_are_counted_too(void **state)
{
    (void)state;
    uint16_t odd = tally_task(view_of("a\"b\\c\nd\x01\xff"));
    tally_add(odd, TALLY_RETRIED, 99, build);
    tally_add(odd, TALLY_RETRIED, -1, build);
    assert_int_equal(count_of("a\\\"b\\\\c\\nd??", "retried", "none", "010203040506"), 2);
    assert_int_equal(tally_task((aiki_view){NULL, 0}), 0);
    tally_add(0, TALLY_CANCELLED, 0, build);
    assert_int_equal(count_of("other", "cancelled", "none", "other"), 1);
}

/* TALLY_TASKS_MAX names: those that are known go on, others are "other". */
static void names_beyond_the_limit_are_others(void **state)
{
    char name[32];
    uint16_t first = tally_task(view_of("pay")), last = 0;
    unsigned known = 3; /* by the cases before */
    (void)state;
    for (unsigned i = known; i < TALLY_TASKS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "task-%u", i);
        assert_true(tally_task(view_of(name)) > last);
        last = tally_task(view_of(name));
    }
    assert_int_equal(last, TALLY_TASKS_MAX);
    uint16_t over = tally_task(view_of("one-too-many"));
    assert_int_equal(over, 0);
    assert_int_equal(tally_task(view_of(name)), last);
    assert_int_equal(tally_task(view_of("pay")), first);
    tally_add(over, TALLY_FAILED, AIKI_CATEGORY_CALLER, build);
    assert_int_equal(count_of("other", "failed", "caller", "other"), 1);
    assert_int_equal(count_of("one-too-many", "failed", "caller", "010203040506"), 0);
    tally_add(last, TALLY_OK, 0, build);
    assert_int_equal(count_of(name, "ok", "none", "010203040506"), 1);
}

static void add_for_build(unsigned number)
{
    uint8_t hash[HASH_BYTES] = {0xee, (uint8_t)(number >> 8), (uint8_t)number};
    tally_add(tally_task(view_of("ship")), TALLY_OK, 0, hash);
}

/* TALLY_SERIES_MAX of them: what has been idle longest makes room, and its count stays in the sum. */
static void series_beyond_the_limit_make_room(void **state)
{
    unsigned lines, before;
    uint64_t total = sum(&before);
    unsigned others = 2; /* lines of the cases before, in no series */
    (void)state;
    for (unsigned i = 0; i < TALLY_SERIES_MAX - (before - others); i++)
        add_for_build(i);
    total += TALLY_SERIES_MAX - (before - others);
    assert_int_equal(sum(&lines), total);
    assert_int_equal(lines, TALLY_SERIES_MAX + others);
    tally_add(tally_task(view_of("pay")), TALLY_OK, 0, build); /* the oldest, but not idle any more */
    assert_int_equal(count_of("pay", "failed", "user", "010203040506"), 1);
    add_for_build(5000);
    assert_int_equal(sum(&lines), total + 2);
    assert_int_equal(lines, TALLY_SERIES_MAX + others + 1);
    assert_int_equal(count_of("pay", "ok", "none", "010203040506"), 3);
    assert_int_equal(count_of("ship", "ok", "none", "ee1388000000"), 1);
    assert_int_equal(count_of("pay", "failed", "user", "010203040506"), 0);
    assert_int_equal(count_of("other", "failed", "user", "other"), 1);
    for (unsigned i = 6000; i < 6000 + 2 * TALLY_SERIES_MAX; i++) /* each of them makes room once */
        add_for_build(i);
    assert_int_equal(sum(&lines), total + 2 + 2 * TALLY_SERIES_MAX);
    assert_int_equal(count_of("pay", "ok", "none", "010203040506"), 0);
    assert_int_equal(count_of("other", "crashed", "plugin", "other"), 1);
    tally_add(tally_task(view_of("pay")), TALLY_OK, 0, build); /* and begins anew */
    assert_int_equal(count_of("pay", "ok", "none", "010203040506"), 1);
    add_for_build(6000 + 2 * TALLY_SERIES_MAX - 1);
    assert_int_equal(sum(&lines), total + 4 + 2 * TALLY_SERIES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_for_each_way_to_end),
        cmocka_unit_test(odd_values_are_counted_too),
        cmocka_unit_test(names_beyond_the_limit_are_others),
        cmocka_unit_test(series_beyond_the_limit_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

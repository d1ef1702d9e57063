/* What /metrics of a runtime says about builds, whatever they are there for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "broker/builds_impl.h"

static const char *const names[] = {
#define BUILD_STATE_TEXT(name, text) [name] = (text),
    BUILD_STATES(BUILD_STATE_TEXT)
#undef BUILD_STATE_TEXT
};

/* One build in each state, two in the last one: each is counted where it belongs, and nowhere else. */
static void each_state_is_counted(void **state)
{
    AUTO(buf) aiki_writer text;
    static struct build builds[ARRAY_COUNT(names) + 1];
    struct builds all = {.all = NULL};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(builds); i++) {
        size_t of = i < ARRAY_COUNT(names) ? i : ARRAY_COUNT(names) - 1;
        builds[i] = (struct build){.next = all.all, .state = (enum build_state)of};
        all.all = &builds[i];
    }
    buf_init(&text);
    builds_write_metrics(&all, &text);
    aiki_mp_raw(&text, "", 1);
    assert_int_equal(text.status, AIKI_OK);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char line[100];
        int count = i + 1 < ARRAY_COUNT(names) ? 1 : 2;
        (void)snprintf(line, sizeof(line), "aiki_runtime_builds{state=\"%s\"} %d\n", names[i], count);
        assert_non_null(strstr((const char *)text.data, line));
    }
}

/* Codes beyond STATS_CODES_MAX are counted together. */
static void codes_have_a_limit(void **state)
{
    struct build_stats stats = {.other_codes = 0};
    (void)state;
    for (int i = 0; i < 2 * (STATS_CODES_MAX + 3); i++) {
        char code[AIKI_CODE_SIZE];
        (void)snprintf(code, sizeof(code), "CODE_%d", i / 2);
        stats_refused(&stats, code);
    }
    assert_int_equal(stats.code_count, STATS_CODES_MAX);
    assert_int_equal(stats.codes[STATS_CODES_MAX - 1].count, 2);
    assert_int_equal(stats.other_codes, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_state_is_counted),
                                       cmocka_unit_test(codes_have_a_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

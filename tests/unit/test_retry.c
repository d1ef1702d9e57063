/* test_retry.c - how often and how long: tables of delays, and what fills the gaps in a policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "replay/retry.h"
#include "wire/error.h"

enum { DELAYS = 5, DRAWS = 1000 };

static const int64_t listed[] = {50, 0, 700};

/* As a plugin says it, with defaults filled in. */
static struct retry filled(const aiki_retry *from)
{
    static uint8_t memory[RETRY_LISTS_BYTES_MAX];
    aiki_writer lists;
    struct retry r;
    aiki_writer_init_fixed(&lists, memory, sizeof(memory));
    assert_int_equal(retry_take(&r, from, &lists, NULL, NULL), AIKI_OK);
    retry_fill(&r);
    return r;
}

/* What the kinds mean, as milliseconds between attempts. */
static void delays_follow_the_policy(void **state)
{
    static const struct {
        aiki_retry retry;
        uint32_t attempts_max;
        int64_t delays_ms[DELAYS];
    } cases[] = {
        {{.kind = AIKI_RETRY_NEVER, .attempts_max = 7}, 1, {200, 400, 800, 1600, 3200}},
        {{.kind = AIKI_RETRY_FIXED, .attempts_max = 3, .delay_ms = 300},
         3,
         {300, 300, 300, 300, 300}},
        {{.kind = AIKI_RETRY_EXPONENTIAL, .attempts_max = 4, .delay_ms = 200},
         4,
         {200, 400, 800, 1600, 3200}},
        {{.kind = AIKI_RETRY_EXPONENTIAL, .delay_ms = 100, .delay_ms_max = 250},
         RETRY_ATTEMPTS_DEFAULT,
         {100, 200, 250, 250, 250}},
        {{.kind = AIKI_RETRY_EXPONENTIAL, .delay_ms = 1000, .factor_percent = 150},
         RETRY_ATTEMPTS_DEFAULT,
         {1000, 1500, 2250, 3375, 5062}},
        {{.kind = AIKI_RETRY_EXPONENTIAL, .delay_ms = 500, .factor_percent = 1},
         RETRY_ATTEMPTS_DEFAULT,
         {500, 500, 500, 500, 500}},
        {{.kind = AIKI_RETRY_LIST, .delays_ms = listed, .delay_count = 3},
         4,
         {50, 0, 700, 700, 700}},
        {{.kind = AIKI_RETRY_LIST, .attempts_max = 9, .delays_ms = listed, .delay_count = 1},
         9,
         {50, 50, 50, 50, 50}},
        {{.kind = AIKI_RETRY_DEFAULT}, RETRY_ATTEMPTS_DEFAULT, {200, 400, 800, 1600, 3200}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retry r = filled(&cases[i].retry);
        assert_int_equal(r.attempts_max, cases[i].attempts_max);
        for (uint64_t n = 0; n < DELAYS; n++)
            assert_int_equal(retry_delay_ms(&r, n + 1, UINT64_MAX), cases[i].delays_ms[n]);
    }
}

/* Numbers at the ends of their ranges neither overflow nor take long. */
static void extremes_are_bounded(void **state)
{
    const aiki_retry huge = {.kind = AIKI_RETRY_EXPONENTIAL,
                             .attempts_max = RETRY_ATTEMPTS_MAX,
                             .factor_percent = RETRY_FACTOR_PERCENT_MAX,
                             .jitter_percent = 100,
                             .delay_ms = RETRY_DELAY_MS_MAX,
                             .delay_ms_max = RETRY_DELAY_MS_MAX};
    const aiki_retry slow = {.kind = AIKI_RETRY_EXPONENTIAL,
                             .factor_percent = 101,
                             .delay_ms = 1,
                             .delay_ms_max = RETRY_DELAY_MS_MAX};
    struct retry r = filled(&huge);
    (void)state;
    for (uint64_t n = 1; n < 5; n++)
        assert_in_range(retry_delay_ms(&r, n, UINT64_MAX), 0, RETRY_DELAY_MS_MAX);
    assert_in_range(retry_delay_ms(&r, UINT64_MAX, 0), 1, RETRY_DELAY_MS_MAX);
    r = filled(&slow);
    assert_int_equal(retry_delay_ms(&r, UINT64_MAX, 0), 1); /* 1 % of 1 ms is nothing */
}

/* Runs that fail at the same instant come back spread over the whole window, and the same run in the
 * same place always at the same time. */
static void jitter_spreads_and_repeats(void **state)
{
    const aiki_retry policy = {.kind = AIKI_RETRY_FIXED, .delay_ms = 1000, .jitter_percent = 50};
    struct retry r = filled(&policy);
    struct address a = {{7}};
    unsigned buckets[51] = {0};
    (void)state;
    for (unsigned i = 0; i < DRAWS; i++) {
        struct aiki_id run = {{(uint8_t)i, (uint8_t)(i >> 8)}};
        uint64_t draw = retry_draw(&run, &a, 0, 1);
        int64_t delay_ms = retry_delay_ms(&r, 1, draw);
        assert_in_range(delay_ms, 500, 1000);
        buckets[(delay_ms - 500) / 10]++;
        assert_int_equal(retry_draw(&run, &a, 0, 1), draw);
        assert_int_not_equal(retry_draw(&run, &a, 1, 1), draw);
        assert_int_not_equal(retry_draw(&run, &a, 0, 2), draw);
    }
    for (unsigned i = 0; i < 50; i++)
        assert_in_range(buckets[i], 1, DRAWS / 5);
}

/* Codes are compared whole. */
static void final_codes_are_final(void **state)
{
    static const char *const codes[] = {"NO_FUNDS", "CLOSED"};
    const aiki_retry policy = {.final_codes = codes, .final_code_count = 2};
    static const struct {
        const char *code;
        bool final;
    } cases[] = {{"NO_FUNDS", true}, {"CLOSED", true}, {"NO_FUND", false}, {"CLOSED_", false}};
    struct retry r = filled(&policy);
    uint8_t memory[512];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        aiki_error e = AIKI_ERROR_INIT;
        aiki_writer w;
        (void)error_code(&e, AIKI_FAILED, cases[i].code, "no");
        aiki_writer_init_fixed(&w, memory, sizeof(memory));
        error_write(&w, &e);
        assert_int_equal(retry_is_final(&r, aiki_writer_view(&w)), cases[i].final);
    }
    assert_false(retry_is_final(&r, (aiki_view){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_follow_the_policy),
        cmocka_unit_test(extremes_are_bounded),
        cmocka_unit_test(jitter_spreads_and_repeats),
        cmocka_unit_test(final_codes_are_final),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}

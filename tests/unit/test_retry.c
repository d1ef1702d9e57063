/* test_retry.c - how often and how long: tables of delays, and what fills the gaps in a policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "replay/retry.h"

enum { DELAYS = 5 };

/* What the four kinds mean, as milliseconds between attempts. */
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
        {{.kind = AIKI_RETRY_DEFAULT}, RETRY_ATTEMPTS_DEFAULT, {200, 400, 800, 1600, 3200}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retry_policy p;
        retry_resolve(NULL, &cases[i].retry, &p);
        assert_int_equal(p.attempts_max, cases[i].attempts_max);
        for (uint64_t n = 0; n < DELAYS; n++)
            assert_int_equal(retry_delay_ms(&p, n + 1), cases[i].delays_ms[n]);
    }
}

/* The call site decides over the definition, and a kind of a later release is read carefully. */
static void the_call_site_wins(void **state)
{
    const aiki_retry definition = {.kind = AIKI_RETRY_FIXED, .attempts_max = 5, .delay_ms = 10};
    const aiki_retry call = {.kind = AIKI_RETRY_EXPONENTIAL, .attempts_max = 2, .delay_ms = 20};
    const aiki_retry later = {.kind = 99, .attempts_max = 9};
    struct retry_policy p;
    (void)state;
    retry_resolve(&call, &definition, &p);
    assert_int_equal(p.attempts_max, 2);
    assert_int_equal(retry_delay_ms(&p, 2), 40);
    retry_resolve(&later, &definition, &p);
    assert_int_equal(p.attempts_max, 1);
    retry_resolve(NULL, NULL, &p);
    assert_int_equal(p.attempts_max, RETRY_ATTEMPTS_DEFAULT);
}

/* Numbers at the ends of their ranges neither overflow nor take long. */
static void extremes_are_bounded(void **state)
{
    const aiki_retry huge = {.kind = AIKI_RETRY_EXPONENTIAL,
                             .attempts_max = UINT32_MAX,
                             .factor_percent = UINT32_MAX,
                             .delay_ms = INT64_MAX,
                             .delay_ms_max = INT64_MAX};
    const aiki_retry slow = {.kind = AIKI_RETRY_EXPONENTIAL,
                             .factor_percent = 101,
                             .delay_ms = 1,
                             .delay_ms_max = INT64_MAX};
    struct retry_policy p;
    (void)state;
    retry_resolve(&huge, NULL, &p);
    assert_int_equal(p.attempts_max, RETRY_ATTEMPTS_MAX);
    for (uint64_t n = 1; n < 5; n++)
        assert_in_range(retry_delay_ms(&p, n), 1, AIKI_DAYS_MS(3650));
    assert_in_range(retry_delay_ms(&p, UINT64_MAX), 1, AIKI_DAYS_MS(3650));
    retry_resolve(&slow, NULL, &p);
    assert_int_equal(retry_delay_ms(&p, UINT64_MAX), 1); /* 1 % of 1 ms is nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_follow_the_policy),
        cmocka_unit_test(the_call_site_wins),
        cmocka_unit_test(extremes_are_bounded),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}

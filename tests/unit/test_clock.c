/* test_clock.c - the two clocks, and lines of the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

static void clocks_agree_with_each_other(void **state)
{
    (void)state;
    int64_t before_ms = clock_mono_ms();
    int64_t between_ms = clock_mono_ns() / 1000000;
    int64_t after_ms = clock_mono_ms();
    assert_true(before_ms <= between_ms && between_ms <= after_ms);
    assert_true(clock_wall_ms() > INT64_C(1600000000000)); /* after 2020 */
}

/* Times that people and programs write; anything else is none. */
static void times_are_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"1970-01-01T00:00:01Z", 1000},
                 {"1970-01-01T00:00:01.5Z", 1500},
                 {"1970-01-01T00:00:01.1239z", 1123},
                 {"1970-01-01T01:00:02+01:00", 2000},
                 {"1969-12-31T23:30:02-00:30", 2000},
                 {"2026-11-21T07:31:02.114Z", INT64_C(1795246262114)},
                 {"1970-01-01T00:00:00Z", 0},
                 {"1960-01-01T00:00:00Z", 0},
                 {"2026-11-21", 0},
                 {"2026-11-21T07:31:02", 0},
                 {"2026-11-21T07:31:02+1:00", 0},
                 {"2026-11-21T07:31:02+01:00x", 0},
                 {"2026-11-21T07:31:02+25:00", 0},
                 {" 2026-11-21T07:31:02Z", 0},
                 {"2026-13-21T07:31:02Z", 0},
                 {"tomorrow", 0},
                 {"", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (clock_parse_ms(cases[i].text) != cases[i].ms)
            fail_msg("%s: %lld", cases[i].text, (long long)clock_parse_ms(cases[i].text));
}

/* Never below the floor that the store has on record, and never back. */
static void engine_clock_starts_at_the_floor(void **state)
{
    (void)state;
    struct engine_clock c;
    int64_t wall_ms = clock_wall_ms();
    engine_clock_init(&c, 0);
    assert_true(engine_clock_ms(&c) >= wall_ms);
    int64_t future_ms = wall_ms + 3600 * 1000;
    engine_clock_init(&c, future_ms);
    int64_t last_ms = engine_clock_ms(&c);
    assert_true(last_ms >= future_ms && last_ms < future_ms + 60 * 1000);
    for (int i = 0; i < 1000; i++) {
        int64_t now_ms = engine_clock_ms(&c);
        assert_true(now_ms >= last_ms);
        last_ms = now_ms;
    }
}

/* What log_at writes to descriptor 2 while `level` is the lowest shown. */
static void logged(char *to, size_t size, int level, int at, const char *text)
{
    int ends[2];
    int saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    log_init("test", level);
    log_at(at, "unit", "%s", text);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(ends[1]);
    ssize_t n = read(ends[0], to, size - 1);
    (void)close(ends[0]);
    to[n > 0 ? n : 0] = '\0';
}

/* One line, whatever is in it: nothing can forge a second line or steer a terminal. */
static void log_lines_stay_one_line(void **state)
{
    (void)state;
    char line[8192];
    logged(line, sizeof(line), LOG_INFO, LOG_WARN, "a\nb\x1b[31m\xff\xc2\x9b \xe2\x82\xac");
    assert_non_null(strstr(line, "Z WARN  test/unit: a\\x0ab\\x1b[31m\\xff\\xc2\\x9b \xe2\x82\xac\n"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    logged(line, sizeof(line), LOG_WARN, LOG_INFO, "not shown");
    assert_string_equal(line, "");
}

static void long_log_lines_are_cut(void **state)
{
    (void)state;
    static char text[3 * LOG_LINE_BYTES_MAX];
    char line[8192];
    memset(text, '\n', sizeof(text) - 1); /* each becomes four characters */
    logged(line, sizeof(line), LOG_DEBUG, LOG_ERROR, text);
    assert_true(strlen(line) <= LOG_LINE_BYTES_MAX + 4);
    assert_string_equal(line + strlen(line) - 4, "...\n");
}

static void clean_cuts_whole_characters(void **state)
{
    (void)state;
    char small[8];
    int level = -1;
    assert_string_equal(log_clean(view_of("abc"), small, sizeof(small)), "abc");
    assert_string_equal(log_clean(view_of("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"), small, sizeof(small)),
                        "\xe2\x82\xac...");
    assert_string_equal(log_clean(view_of("abc"), small, 1), "");
    assert_true(log_level_parse("Warn", &level));
    assert_int_equal(level, LOG_WARN);
    assert_false(log_level_parse("loud", &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_agree_with_each_other),
        cmocka_unit_test(times_are_parsed),
        cmocka_unit_test(engine_clock_starts_at_the_floor),
        cmocka_unit_test(log_lines_stay_one_line),
        cmocka_unit_test(long_log_lines_are_cut),
        cmocka_unit_test(clean_cuts_whole_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_args.c - the words of a command line: flags, values, variables, operands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/args.h"

/* clang-format off */
static const struct arg table[] = {
    {ARG_TEXT, "server", "HOST:PORT", "here:1", "TEST_ARGS_SERVER", "where", 0, 0},
    {ARG_INT, "limit", "N", NULL, "TEST_ARGS_LIMIT", "how many", 1, 10},
    {ARG_DURATION_MAYBE, "wait", "TIME", NULL, NULL, "how long", 0, 0},
    {ARG_DURATION, "timeout", "TIME", NULL, NULL, "how long", 0, 0},
    {ARG_FLAG, "json", NULL, NULL, NULL, "as JSON", 0, 0},
    {.type = ARG_END}};
/* clang-format on */

static aiki_error err;

#define PARSE(a, ...)                                                                              \
    args_parse(a, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),                         \
               (char *[]){__VA_ARGS__}, &err)

static int setup(void **state)
{
    static struct args a;
    a = (struct args){.tables = {table}};
    err = (aiki_error){.struct_size = sizeof(err)};
    (void)unsetenv("TEST_ARGS_SERVER");
    (void)unsetenv("TEST_ARGS_LIMIT");
    *state = &a;
    return 0;
}

/* Both spellings of a value, flags between operands, the last one counts, "--" ends flags. */
static void flags_and_operands(void **state)
{
    struct args *a = *state;
    assert_int_equal(
        PARSE(a, "one", "--limit", "3", "two", "--limit=4", "--json", "--", "--server"), AIKI_OK);
    assert_int_equal(args_int(a, "limit"), 4);
    assert_true(args_has(a, "json"));
    assert_false(args_has(a, "wait"));
    assert_int_equal(a->operand_count, 3);
    assert_string_equal(a->operands[1], "two");
    assert_string_equal(a->operands[2], "--server");
}

/* Flag, then variable, then default; an empty variable is none. */
static void precedence(void **state)
{
    struct args *a = *state;
    assert_string_equal(args_text(a, "server"), "here:1");
    assert_int_equal(setenv("TEST_ARGS_SERVER", "", 1), 0);
    assert_string_equal(args_text(a, "server"), "here:1");
    assert_int_equal(setenv("TEST_ARGS_SERVER", "there:2", 1), 0);
    assert_string_equal(args_text(a, "server"), "there:2");
    assert_false(args_is_given(a, "server"));
    assert_int_equal(PARSE(a, "--server", "flag:3"), AIKI_OK);
    assert_string_equal(args_text(a, "server"), "flag:3");
    assert_true(args_is_given(a, "server"));
}

/* A flag that may go without a value takes the next word only if that is a duration. */
static void optional_value(void **state)
{
    struct args *a = *state;
    assert_int_equal(PARSE(a, "--wait", "hello"), AIKI_OK);
    assert_int_equal(args_ms(a, "wait"), DURATION_FOREVER_MS);
    assert_string_equal(a->operands[0], "hello");
    assert_int_equal(PARSE(a, "--wait", "30s"), AIKI_OK);
    assert_int_equal(args_ms(a, "wait"), 30000);
    assert_int_equal(PARSE(a, "--wait=2h"), AIKI_OK);
    assert_int_equal(args_ms(a, "wait"), 7200000);
}

/* What is wrong is refused with the flag or variable it came from. */
static void refusals(void **state)
{
    struct args *a = *state;
    assert_int_equal(PARSE(a, "--nothing"), AIKI_INVALID);
    assert_non_null(strstr(err.message, "--nothing"));
    assert_int_equal(PARSE(a, "--limit"), AIKI_INVALID);
    assert_int_equal(PARSE(a, "--json=yes"), AIKI_INVALID);
    assert_int_equal(PARSE(a, "--limit", "11"), AIKI_INVALID);
    assert_int_equal(PARSE(a, "--limit", "3x"), AIKI_INVALID);
    assert_int_equal(PARSE(a, "--limit", "99999999999999999999"), AIKI_INVALID);
    assert_int_equal(PARSE(a, "--timeout", "soon"), AIKI_INVALID);
    assert_int_equal(setenv("TEST_ARGS_LIMIT", "many", 1), 0);
    assert_int_equal(PARSE(a, "word"), AIKI_INVALID);
    assert_non_null(strstr(err.message, "TEST_ARGS_LIMIT"));
}

/* More words or flags than there is room for end in an error, not behind the array. */
static void limits(void **state)
{
    struct args *a = *state;
    char *words[ARGS_FLAGS_MAX + 1];
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = (char *)(uintptr_t) "word";
    assert_int_equal(args_parse(a, ARGS_OPERANDS_MAX + 1, words, &err), AIKI_INVALID);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = (char *)(uintptr_t) "--json";
    assert_int_equal(args_parse(a, ARGS_FLAGS_MAX + 1, words, &err), AIKI_LIMIT);
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},       {"3", 3000},    {"250ms", 250},
                {"1.5s", 1500}, {"5m", 300000}, {"1d", 86400000}};
    static const char *const bad[] = {"", "s", "-1s", "1w", "1s2", "nan", "1e300d", " 1s"};
    int64_t ms;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(duration_parse(good[i].text, &ms), AIKI_OK);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(duration_parse(bad[i], &ms), AIKI_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup(name, setup)
        CASE(flags_and_operands), CASE(precedence), CASE(optional_value),
        CASE(refusals),           CASE(limits),     CASE(durations),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

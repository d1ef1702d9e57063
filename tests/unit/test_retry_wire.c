/* test_retry_wire.c - retry policies as data: what a plugin or a user says arrives whole or is
 * refused with the member named. */
#include "golden.h"

#include "wire/retry.h"

static uint8_t memory[4096], list_memory[RETRY_LISTS_BYTES_MAX];

static aiki_writer writer(void)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    return w;
}

static aiki_status take(const aiki_retry *from, struct retry *ret, aiki_error *err)
{
    aiki_writer lists;
    aiki_writer_init_fixed(&lists, list_memory, sizeof(list_memory));
    return retry_take(ret, from, &lists, "charge", err);
}

static void assert_same(const struct retry *a, const struct retry *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->attempts_max, b->attempts_max);
    assert_int_equal(a->factor_percent, b->factor_percent);
    assert_int_equal(a->jitter_percent, b->jitter_percent);
    assert_int_equal(a->delay_ms, b->delay_ms);
    assert_int_equal(a->delay_ms_max, b->delay_ms_max);
    assert_view_equal(a->delays_ms, b->delays_ms);
    assert_view_equal(a->final_codes, b->final_codes);
}

/* Every member, lists of the largest size included, through both forms. */
static void whole_policies_arrive(void **state)
{
    static int64_t delays[AIKI_RETRY_DELAYS_MAX];
    static char long_code[AIKI_CODE_SIZE];
    static const char *codes[AIKI_RETRY_CODES_MAX];
    aiki_retry from = {.kind = AIKI_RETRY_LIST,
                       .attempts_max = 1000,
                       .factor_percent = 150,
                       .jitter_percent = 100,
                       .delay_ms = 7,
                       .delay_ms_max = RETRY_DELAY_MS_MAX,
                       .delays_ms = delays,
                       .delay_count = AIKI_RETRY_DELAYS_MAX,
                       .final_codes = codes,
                       .final_code_count = AIKI_RETRY_CODES_MAX};
    struct retry taken, read;
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    memset(long_code, 'C', sizeof(long_code) - 1);
    for (int i = 0; i < AIKI_RETRY_DELAYS_MAX; i++)
        delays[i] = RETRY_DELAY_MS_MAX - i;
    for (int i = 0; i < AIKI_RETRY_CODES_MAX; i++)
        codes[i] = long_code;
    assert_int_equal(take(&from, &taken, &err), AIKI_OK);
    aiki_writer w = writer();
    retry_write(&w, &taken);
    assert_int_equal(retry_read(aiki_writer_view(&w), &read, &err), AIKI_OK);
    assert_same(&read, &taken);
    w = writer();
    retry_write_map(&w, &taken);
    assert_int_equal(retry_read_map(aiki_writer_view(&w), true, &read, &err), AIKI_OK);
    assert_same(&read, &taken);
}

/* A zeroed policy of 1.0 is one that says nothing. */
static void nothing_said_is_the_default(void **state)
{
    static const aiki_retry zero;
    static const struct retry nothing;
    struct retry r;
    aiki_error err = AIKI_ERROR_INIT;
    (void)state;
    assert_int_equal(take(&zero, &r, &err), AIKI_OK);
    assert_same(&r, &nothing);
    assert_int_equal(retry_read((aiki_view){(const uint8_t *)"\x90", 1}, &r, &err), AIKI_OK);
    assert_same(&r, &nothing);
    assert_int_equal(retry_read_map((aiki_view){(const uint8_t *)"\x80", 1}, true, &r, &err), AIKI_OK);
    assert_same(&r, &nothing);
}

#define WRONG(X)                                                                                   \
    X("kind", .kind = 5)                                                                           \
    X("kind", .kind = -1)                                                                          \
    X("attempts_max", .attempts_max = 1001)                                                        \
    X("factor_percent", .factor_percent = 10001)                                                   \
    X("jitter_percent", .jitter_percent = 101)                                                     \
    X("delay_ms", .delay_ms = -1)                                                                  \
    X("delay_ms", .delay_ms_max = RETRY_DELAY_MS_MAX + 1)                                          \
    X("delays_ms", .kind = AIKI_RETRY_LIST)                                                        \
    X("delays_ms", .delay_count = 1)                                                               \
    X("delays_ms", .delay_count = 65, .delays_ms = negative)                                       \
    X("delays_ms", .delay_count = 1, .delays_ms = negative)                                        \
    X("final_codes", .final_code_count = 1)                                                        \
    X("final_codes", .final_code_count = 33, .final_codes = no_codes)                              \
    X("final_codes", .final_code_count = 1, .final_codes = no_codes)                               \
    X("final_codes", .final_code_count = 2, .final_codes = too_long)

static void mistakes_name_the_member(void **state)
{
    static const int64_t negative[] = {-1};
    static const char *const no_codes[] = {""};
    static char long_code[AIKI_CODE_SIZE + 1];
    const char *const too_long[] = {"FINE", long_code};
    struct retry r;
    (void)state;
    memset(long_code, 'C', sizeof(long_code) - 1);
#define REFUSED(member, ...)                                                                       \
    do {                                                                                           \
        const aiki_retry from = {__VA_ARGS__};                                                     \
        aiki_error err = AIKI_ERROR_INIT;                                                          \
        assert_int_equal(take(&from, &r, &err), AIKI_INVALID);                                     \
        assert_string_equal(err.code, "BAD_RETRY");                                                \
        assert_non_null(strstr(err.message, member));                                              \
        assert_non_null(strstr(err.message, "charge"));                                            \
    } while (0);
    WRONG(REFUSED)
}

/* What a user wrote: unknown members and wrong types are named; a later release's are skipped. */
static void users_are_told(void **state)
{
    static const struct {
        const char *map, *says;
    } cases[] = {
        {"\x81\xa5" "tries\x05", "no member \"tries\""},
        {"\x81\xa8" "delay_ms\xa1" "5", "delay_ms"},
        {"\x81\xa4" "kind\xa5" "often", "kind"},
        {"\x81\xa4" "kind\x63", "kind"},
        {"\x91\x01", "object"},
        {"\x81\xa4" "kind\xa4" "list", "delays_ms"},
    };
    struct retry r;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        aiki_error err = AIKI_ERROR_INIT;
        assert_int_equal(retry_read_map(text_view(cases[i].map), true, &r, &err), AIKI_INVALID);
        assert_string_equal(err.code, "BAD_RETRY");
        assert_non_null(strstr(err.message, cases[i].says));
    }
    assert_int_equal(retry_read_map(text_view(cases[0].map), false, &r, NULL), AIKI_OK);
}

/* Bytes cut anywhere are refused and nothing is written out. */
static void damage_is_refused(void **state)
{
    static const int64_t delays[] = {5, 70000};
    static const char *const codes[] = {"NO_FUNDS"};
    const aiki_retry from = {.kind = AIKI_RETRY_LIST, .delays_ms = delays, .delay_count = 2,
                             .final_codes = codes, .final_code_count = 1};
    struct retry r, untouched = {.kind = 77};
    (void)state;
    assert_int_equal(take(&from, &r, NULL), AIKI_OK);
    aiki_writer w = writer();
    retry_write(&w, &r);
    for (uint64_t n = 0; n < w.size_bytes; n++)
        assert_int_not_equal(retry_read((aiki_view){w.data, n}, &untouched, NULL), AIKI_OK);
    w = writer();
    retry_write_map(&w, &r);
    for (uint64_t n = 0; n < w.size_bytes; n++)
        assert_int_not_equal(retry_read_map((aiki_view){w.data, n}, true, &untouched, NULL), AIKI_OK);
    assert_int_equal(untouched.kind, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_policies_arrive),    cmocka_unit_test(nothing_said_is_the_default),
        cmocka_unit_test(mistakes_name_the_member), cmocka_unit_test(users_are_told),
        cmocka_unit_test(damage_is_refused),
    };
    return cmocka_run_group_tests_name("retry_wire", tests, NULL, NULL);
}

/* test_json.c - JSON and msgpack, both ways, and everything that is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"

static void expect_json(aiki_view value, unsigned indent, const char *expected)
{
    AUTO(buf) aiki_writer w;
    aiki_error err = {0};
    buf_init(&w);
    assert_int_equal(msgpack_to_json(value, indent, &w, &err), AIKI_OK);
    aiki_mp_raw(&w, "", 1);
    assert_string_equal((const char *)w.data, expected);
}

/* text to msgpack and back gives `expected`. */
static void expect_round_trip(const char *text, const char *expected)
{
    AUTO(buf) aiki_writer w;
    aiki_error err = {0};
    buf_init(&w);
    assert_int_equal(json_to_msgpack(view_of(text), &w, &err), AIKI_OK);
    assert_int_equal(aiki_mp_check(aiki_writer_view(&w)), AIKI_OK);
    expect_json(aiki_writer_view(&w), 0, expected);
}

static void expect_refused(aiki_view text, aiki_status status, const char *code, const char *part)
{
    uint8_t memory[64] = {0};
    aiki_writer w;
    aiki_error err = {0};
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_nil(&w);
    assert_int_equal(json_to_msgpack(text, &w, &err), status);
    assert_int_equal(w.size_bytes, 1); /* cut back */
    assert_string_equal(err.code, code);
    if (strstr(err.message, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, err.message);
}

static void values_survive_the_round_trip(void **state)
{
    (void)state;
    static const char *const same[] = {
        "null", "true", "false", "0", "-1", "127", "128", "-33", "65536", "9223372036854775807",
        "-9223372036854775808", "\"\"", "\"text\"", "[]", "{}", "[1,[2,[3]],{\"a\":{}}]",
        "{\"b\":1,\"a\":2}", "1.5", "-0.0", "1e+300", "0.1", "1.0", "4.94065645841247e-324",
        "1.7976931348623157e+308", "{\"$bin\":\"AAECAw==\"}", "{\"$bin\":\"\"}",
        "{\"$ext\":[-1,\"AAAA\"]}", "{\"$bin\":\"AA==\",\"other\":1}",
        "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f\"", "\"\xe2\x82\xac\xf0\x9f\x98\x80\"",
    };
    for (size_t i = 0; i < ARRAY_COUNT(same); i++)
        expect_round_trip(same[i], same[i]);
    expect_round_trip(" [ 1 ,\n2 ] ", "[1,2]");
    expect_round_trip("\"\\u20ac\\/\"", "\"\xe2\x82\xac/\"");
    expect_round_trip("100000000000000000000000.0", "1e+23");
}

/* What only msgpack can say: unsigned 64 bits, other keys, NaN, text that is none. */
static void msgpack_specials_have_a_form(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    aiki_mp_array(&w, 7);
    aiki_mp_uint(&w, UINT64_MAX);
    aiki_mp_uint(&w, (uint64_t)INT64_MAX + 1);
    aiki_mp_double(&w, 0.0 / 0.0);
    aiki_mp_double(&w, 1e308 * 10);
    aiki_mp_strn(&w, "a\xff", 2);
    aiki_mp_map(&w, 3);
    aiki_mp_uint(&w, 1);
    aiki_mp_bool(&w, true);
    aiki_mp_nil(&w);
    aiki_mp_nil(&w);
    aiki_mp_bin(&w, "k", 1);
    aiki_mp_int(&w, -5);
    aiki_mp_raw(&w, "\xd4\x07z", 3); /* fixext 1 of type 7 */
    expect_json(aiki_writer_view(&w), 0,
                "[18446744073709551615,9223372036854775808,null,null,{\"$bin\":\"Yf8=\"},"
                "{\"1\":true,\"null\":null,\"{\\\"$bin\\\":\\\"aw==\\\"}\":-5},"
                "{\"$ext\":[7,\"eg==\"]}]");
}

static void indent_is_for_people(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    assert_int_equal(json_to_msgpack(view_of("{\"a\":[1,{}],\"b\":[]}"), &w, NULL), AIKI_OK);
    expect_json(aiki_writer_view(&w), 2,
                "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
}

static void bad_json_is_named_with_its_place(void **state)
{
    (void)state;
    static const char *const syntax[] = {
        "", " ", "{", "[1,]", "{\"a\":}", "{\"a\" 1}", "nul", "[1 2]", "\"", "\"\\x\"", "01", "1.",
        "+1", "NaN", "[1]]", "{} x", "{\"a\":1,\"a\":2}", "{\"\\u0000\":1}", "\"\\ud800\"", "'a'"};
    for (size_t i = 0; i < ARRAY_COUNT(syntax); i++)
        expect_refused(view_of(syntax[i]), AIKI_INVALID, "JSON_SYNTAX", "JSON at line 1 column");
    expect_refused(view_of("{\n  \"a\": 1,\n  \"b\": oops\n}"), AIKI_INVALID, "JSON_SYNTAX",
                   "line 3 column");
    expect_refused(view_of("[\"ab\xff\"]"), AIKI_INVALID, "JSON_SYNTAX", "UTF-8");
    expect_refused((aiki_view){(const uint8_t *)"[1,\0]", 5}, AIKI_INVALID, "JSON_SYNTAX",
                   "line 1 column 4: a NUL byte");
    expect_refused((aiki_view){(const uint8_t *)"\"a\\\0\"", 5}, AIKI_INVALID, "JSON_SYNTAX", "line 1");
    expect_refused((aiki_view){NULL, 0}, AIKI_INVALID, "JSON_SYNTAX", "line 1");
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    expect_refused(view_of("[1,9223372036854775808]"), AIKI_INVALID, "JSON_NUMBER_RANGE",
                   "-2^63 to 2^63-1");
    expect_refused(view_of("-9223372036854775809"), AIKI_INVALID, "JSON_NUMBER_RANGE", "line 1");
    expect_refused(view_of("1e999"), AIKI_INVALID, "JSON_NUMBER_RANGE", "line 1");
}

static void special_objects_are_checked(void **state)
{
    (void)state;
    expect_refused(view_of("{\"$bin\":\"a\"}"), AIKI_INVALID, "JSON_BASE64", "$bin");
    expect_refused(view_of("{\"$bin\":1}"), AIKI_INVALID, "JSON_BASE64", "no text");
    expect_refused(view_of("[{\"$ext\":[1]}]"), AIKI_INVALID, "JSON_EXT", "$ext");
    expect_refused(view_of("{\"$ext\":[128,\"\"]}"), AIKI_INVALID, "JSON_EXT", "128");
    expect_refused(view_of("{\"$ext\":[1,\"?\"]}"), AIKI_INVALID, "JSON_BASE64", "$ext");
}

static char *nested(size_t depth)
{
    char *text = malloc(2 * depth + 1);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
    return text;
}

/* 63 containers are fine both ways, one more is refused before anything is parsed. */
static void depth_has_a_limit(void **state)
{
    (void)state;
    AUTO(free) char *deep = nested(JSON_DEPTH_MAX - 1);
    AUTO(free) char *deeper = nested(JSON_DEPTH_MAX);
    AUTO(free) char *bomb = nested(1000000);
    expect_round_trip(deep, deep);
    expect_refused(view_of(deeper), AIKI_LIMIT, "JSON_TOO_DEEP", "line 1 column 64");
    expect_refused(view_of(bomb), AIKI_LIMIT, "JSON_TOO_DEEP", "JSON_DEPTH_MAX");
    expect_round_trip("[\"[[[[\\\"{{{\"]", "[\"[[[[\\\"{{{\"]"); /* brackets in strings are text */
}

static void size_has_a_limit(void **state)
{
    (void)state;
    size_t n = (size_t)AIKI_MP_NODES_MAX * 2 + 3;
    AUTO(free) char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 2 == 0 ? '0' : ',';
    text[0] = '[';
    text[n - 1] = ']';
    text[n] = '\0';
    expect_refused(view_of(text), AIKI_LIMIT, "JSON_TOO_BIG", "AIKI_MP_NODES_MAX");
}

static void no_room_is_said(void **state)
{
    (void)state;
    expect_refused(view_of("\"0123456789012345678901234567890123456789012345678901234567890123\""),
                   AIKI_LIMIT, "LIMIT", "no room");
}

/* Truncated and lying msgpack is an error, at every length. */
static void bad_msgpack_is_refused(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    AUTO(buf) aiki_writer out;
    aiki_error err = {0};
    buf_init(&w);
    buf_init(&out);
    assert_int_equal(json_to_msgpack(view_of("{\"a\":[1,2.5,\"xyz\",{\"$bin\":\"AAAA\"}]}"), &w, &err),
                     AIKI_OK);
    for (uint64_t n = 0; n < w.size_bytes; n++)
        assert_int_equal(msgpack_to_json((aiki_view){w.data, n}, 0, &out, &err), AIKI_CORRUPT);
    aiki_mp_nil(&w); /* one value too many */
    assert_int_equal(msgpack_to_json(aiki_writer_view(&w), 0, &out, &err), AIKI_CORRUPT);
    static const uint8_t lying[] = {0xdd, 0x10, 0, 0, 0};
    assert_int_equal(msgpack_to_json((aiki_view){lying, sizeof(lying)}, 0, &out, &err), AIKI_CORRUPT);
    assert_int_equal(out.size_bytes, 0);
}

/* A map as the key of a map as the key of a map... must not double its escapes at each level. */
static void keys_do_not_explode(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    AUTO(buf) aiki_writer out;
    aiki_error err = {0};
    buf_init(&w);
    buf_init(&out);
    for (int i = 0; i < 50; i++)
        aiki_mp_map(&w, 1);
    for (int i = 0; i < 51; i++)
        aiki_mp_nil(&w);
    assert_int_equal(msgpack_to_json(aiki_writer_view(&w), 0, &out, &err), AIKI_INVALID);
    assert_string_equal(err.code, "JSON_KEY");
    assert_int_equal(out.size_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_survive_the_round_trip),
        cmocka_unit_test(msgpack_specials_have_a_form),
        cmocka_unit_test(indent_is_for_people),
        cmocka_unit_test(bad_json_is_named_with_its_place),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(special_objects_are_checked),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(size_has_a_limit),
        cmocka_unit_test(no_room_is_said),
        cmocka_unit_test(bad_msgpack_is_refused),
        cmocka_unit_test(keys_do_not_explode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

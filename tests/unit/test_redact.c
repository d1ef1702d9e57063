/* wire/redact.h: what is marked is hidden wherever it stands and whatever shape it has, the rest is
 * byte for byte what it was; what is long is cut and says by how much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <aiki/record.h>

#include "wire/redact.h"

#define PLACE(F, R)                                   \
    F(R, str, street, AIKI_OPTIONAL, AIKI_PII)        \
    F(R, str, zip, AIKI_OPTIONAL)
AIKI_RECORD(place, PLACE);
#define PLAIN(F, R) F(R, i64, n, AIKI_OPTIONAL)
AIKI_RECORD(plain, PLAIN);
#define PERSON(F, R)                                  \
    F(R, str, name, AIKI_OPTIONAL, AIKI_PII)          \
    F(R, i64, born, AIKI_OPTIONAL, AIKI_PII)          \
    F(R, bytes, face, AIKI_OPTIONAL, AIKI_PII)        \
    F(R, list(str), tags, AIKI_OPTIONAL, AIKI_PII)    \
    F(R, str, city, AIKI_OPTIONAL)                    \
    F(R, record(place), home, AIKI_OPTIONAL)          \
    F(R, list(record(place)), trips, AIKI_OPTIONAL)   \
    F(R, record(plain), plain, AIKI_OPTIONAL)         \
    F(R, list(record(plain)), plains, AIKI_OPTIONAL)
AIKI_RECORD(person, PERSON);

enum { BYTES_MAX = 1 << 20 };
static uint8_t given[BYTES_MAX], shown[BYTES_MAX];

static aiki_view hex(const char *text, uint8_t *to)
{
    aiki_view v = {to, 0};
    for (; *text != '\0'; text += 2) {
        char digits[3] = {text[0], text[1], '\0'};
        to[v.size_bytes++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return v;
}

#define R "aa5b72656461637465645d" /* "[redacted]" */

static const struct {
    const char *what, *given, *shown;
    bool unnamed;
} cases[] = {
    {"text", "81a46e616d65a3416461", "81a46e616d65" R, true},
    {"a number", "81a4626f726ecd0714", "81a4626f726e" R, true},
    {"bytes", "81a466616365c40101", "81a466616365" R, true},
    {"a list", "81a47461677392a161a162", "81a474616773" R, true},
    {"a marked field of the wrong type", "81a46e616d6581a161a3416461", "81a46e616d65" R, true},
    {"nil stays", "81a46e616d65c0", "81a46e616d65c0", true},
    {"what is not marked stays", "81a463697479a4526f6d65", "81a463697479a4526f6d65", true},
    {"within a record", "81a4686f6d6582a6737472656574a141a37a6970a139",
     "81a4686f6d6582a6737472656574" R "a37a6970a139", true},
    {"within records of a list", "81a574726970739281a6737472656574a14181a37a6970a139",
     "81a574726970739281a6737472656574" R "81a37a6970a139", true},
    {"a record that is none", "81a4686f6d65a3416461", "81a4686f6d65" R, true},
    {"a list of records that is one record", "81a5747269707381a6737472656574a141", "81a57472697073" R, true},
    {"an element that is no record", "81a5747269707391a3416461", "81a5747269707391" R, true},
    {"a record without marks that is none", "81a5706c61696ea3416461", "81a5706c61696ea3416461", true},
    {"a list without marks that is none", "81a6706c61696e7305", "81a6706c61696e7305", true},
    {"a name the schema has not", "81a46e6f7465a3416461", "81a46e6f7465" R, true},
    {"the same, where that stays", "81a46e6f7465a3416461", "81a46e6f7465a3416461", false},
    {"a key that is no text", "8105a3416461", "8105" R, true},
    {"a field that is there twice", "82a46e616d65a141a46e616d65a142", "82a46e616d65" R "a46e616d65" R, true},
    {"no map at all", "a3416461", R, true},
    {"no value", "c0", "c0", true},
};

static void every_shape_is_hidden(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t expected[256];
        aiki_writer w;
        aiki_writer_init_fixed(&w, shown, sizeof(shown));
        redact_value(&w, &person_record, cases[i].unnamed, hex(cases[i].given, given));
        aiki_view wanted = hex(cases[i].shown, expected);
        if (w.status != AIKI_OK || w.size_bytes != wanted.size_bytes ||
            memcmp(w.data, wanted.data, w.size_bytes) != 0)
            fail_msg("%s is not shown as it should be", cases[i].what);
    }
}

/* As a value; names of fields are shown, whatever they are. */
static bool tells(aiki_reader *r)
{
    aiki_mp_item item;
    bool found = false;
    if (!aiki_mp_next(r, &item))
        return false;
    for (uint64_t i = 0; item.type == AIKI_MP_ARRAY && i < item.as.count; i++)
        found |= tells(r);
    for (uint64_t i = 0; item.type == AIKI_MP_MAP && i < item.as.count; i++) {
        (void)aiki_mp_skip(r);
        found |= tells(r);
    }
    return found || (item.bytes.size_bytes > 0 &&
                     memmem(item.bytes.data, item.bytes.size_bytes, "SECRET", 6) != NULL);
}

/* Whatever is done to the bytes: what comes out is a value, and the secret is not in it. */
static void damaged_values_are_shown_without_it(void **state)
{
    static const char whole[] = "83a46e616d65a6534543524554a57472697073"
                                "9282a6737472656574a6534543524554a37a6970a13980a6706c61696e7381a16e05";
    aiki_view v = hex(whole, given);
    (void)state;
    assert_int_equal(aiki_mp_check(v), AIKI_OK);
    for (uint64_t bit = 0; bit < v.size_bytes * 8; bit++) {
        aiki_writer w;
        aiki_writer_init_fixed(&w, shown, sizeof(shown));
        given[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (aiki_mp_check(v) == AIKI_OK) {
            redact_value(&w, &person_record, true, v);
            assert_int_equal(aiki_mp_check(aiki_writer_view(&w)), AIKI_OK);
            aiki_reader r;
            aiki_reader_init(&r, aiki_writer_view(&w));
            assert_false(tells(&r));
        }
        given[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void marks_are_found_at_any_depth(void **state)
{
    (void)state;
    assert_true(redact_has_marks(&person_record));
    assert_true(redact_has_marks(&place_record));
    assert_false(redact_has_marks(&plain_record));
}

/* Where no record speaks of a value, names decide: of marked fields, and of all below a marked record. */
static void names_are_hidden_at_any_depth(void **state)
{
    static const struct {
        const char *given, *shown;
    } named[] = {
        {"82a46e616d65a3416461a463697479a4526f6d65", "82a46e616d65" R "a463697479a4526f6d65"},
        {"9181a16e81a6737472656574a141", "9181a16e81a6737472656574" R},
        {"81a46e616d6593010203", "81a46e616d65" R},
        {"81a46e616d65c0", "81a46e616d65c0"},
        {"8105a46e616d65", "8105a46e616d65"}, /* a name that is a value, or no text */
        {"a3416461", "a3416461"},
        {"c0", "c0"},
    };
    static const char *const hidden[] = {"name", "born", "face", "tags", "street"};
    struct redact_names names = {.count = 0};
    (void)state;
    assert_int_equal(redact_names_add(&names, &plain_record), AIKI_OK);
    assert_int_equal(names.count, 0);
    for (int twice = 0; twice < 2; twice++)
        assert_int_equal(redact_names_add(&names, &person_record), AIKI_OK);
    assert_int_equal(names.count, sizeof(hidden) / sizeof(hidden[0]));
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        assert_true(redact_names_have(&names, (aiki_view){(const uint8_t *)hidden[i], strlen(hidden[i])}));
    assert_false(redact_names_have(&names, (aiki_view){(const uint8_t *)"nam", 3}));
    assert_false(redact_names_have(&names, (aiki_view){(const uint8_t *)"names", 5}));
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        uint8_t expected[64];
        aiki_view want = hex(named[i].shown, expected);
        aiki_writer w;
        aiki_writer_init_fixed(&w, shown, sizeof(shown));
        redact_named(&w, &names, hex(named[i].given, given));
        assert_int_equal(w.size_bytes, want.size_bytes);
        assert_memory_equal(w.data, want.data, want.size_bytes);
    }
    redact_names_deinit(&names);
}

/* ---- what is long ------------------------------------------------------------------------ */

static aiki_view shorten(aiki_view value, uint64_t bytes_max)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, shown, sizeof(shown));
    redact_shorten(&w, bytes_max, value);
    assert_int_equal(w.status, AIKI_OK);
    assert_int_equal(aiki_mp_check(aiki_writer_view(&w)), AIKI_OK);
    return aiki_writer_view(&w);
}

static aiki_view text_of(uint64_t size)
{
    static uint8_t bytes[BYTES_MAX];
    aiki_writer w;
    memset(bytes, 'x', sizeof(bytes));
    aiki_writer_init_fixed(&w, given, sizeof(given));
    aiki_mp_strn(&w, bytes, size);
    return aiki_writer_view(&w);
}

static void assert_ends(aiki_view v, const char *end)
{
    size_t size = strlen(end);
    assert_true(v.size_bytes >= size);
    assert_memory_equal(v.data + v.size_bytes - size, end, size);
}

static void texts_are_cut_and_say_by_how_much(void **state)
{
    (void)state;
    aiki_view v = text_of(100), same = shorten(v, 200);
    assert_int_equal(same.size_bytes, v.size_bytes);
    assert_ends(shorten(v, 90), "x... 10 bytes more");
    assert_ends(shorten(text_of(61334), 100), "x... 61,234 bytes more");
    assert_ends(shorten(text_of(1000100), 100), "x... 1,000,000 bytes more");
    /* Not within a character: 10 times the two bytes of e with an accent. */
    v = hex("b4c3a9c3a9c3a9c3a9c3a9c3a9c3a9c3a9c3a9c3a9", given);
    v = shorten(v, 5);
    assert_memory_equal(v.data + 1, "\xc3\xa9\xc3\xa9... 16 bytes more", 21);
}

static void lists_and_maps_end_early(void **state)
{
    (void)state;
    aiki_view v = shorten(hex("9a0102030405060708090a", given), 4); /* [1, 2, ... 10] */
    assert_memory_equal(v.data, "\xdd\0\0\0\4\1\2\3", 8);
    assert_ends(v, "... 7 bytes more");
    v = shorten(hex("83a16101a16202a16303", given), 4); /* {a: 1, b: 2, c: 3} */
    assert_memory_equal(v.data, "\xdf\0\0\0\2\xa1" "a\1\xa3...", 12);
    assert_ends(v, "... 6 bytes more");
    v = shorten(hex("c40a00010203040506070809", given), 4); /* bytes are cut as a whole */
    assert_ends(v, "... 10 bytes more");
    (void)shorten(hex("81a16181a16181a16181a161a3787878", given), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_is_hidden),
        cmocka_unit_test(damaged_values_are_shown_without_it),
        cmocka_unit_test(marks_are_found_at_any_depth),
        cmocka_unit_test(names_are_hidden_at_any_depth),
        cmocka_unit_test(texts_are_cut_and_say_by_how_much),
        cmocka_unit_test(lists_and_maps_end_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

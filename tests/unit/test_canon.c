/* test_canon.c - equal values get equal bytes; what is no value gets a reason. */
#include "golden.h"

#include "wire/canon.h"

static aiki_view canonical(aiki_view value, uint8_t *memory, uint64_t room)
{
    aiki_writer w;
    aiki_error err = {0};
    aiki_writer_init_fixed(&w, memory, room);
    if (canon_write(&w, value, &err) != AIKI_OK)
        fail_msg("%s", err.message);
    return aiki_writer_view(&w);
}

/* input, expected: every form that has a shorter or better one. */
static const char *const forms[][2] = {
    {"c0", "c0"},
    {"c2", "c2"},
    {"c3", "c3"},
    {"7f", "7f"},
    {"e0", "e0"},
    {"cc7f", "7f"},
    {"cd00ff", "ccff"},
    {"ce0000ffff", "cdffff"},
    {"cf00000000ffffffff", "ceffffffff"},
    {"cf0000000100000000", "cf0000000100000000"},
    {"cfffffffffffffffff", "cfffffffffffffffff"},
    {"d005", "05"},
    {"d100ff", "ccff"},
    {"d20000ffff", "cdffff"},
    {"d300000000ffffffff", "ceffffffff"},
    {"d0e0", "e0"},
    {"d0df", "d0df"},
    {"d1ff80", "d080"},
    {"d1ff7f", "d1ff7f"},
    {"d2ffff8000", "d18000"},
    {"d3ffffffff80000000", "d280000000"},
    {"d38000000000000000", "d38000000000000000"},
    /* floats: 64 bit, never folded into integers; one NaN; both zeros are kept apart */
    {"ca3f800000", "cb3ff0000000000000"},
    {"cb3ff0000000000000", "cb3ff0000000000000"},
    {"ca7fc00001", "cb7ff8000000000000"},
    {"cbfff8000000000001", "cb7ff8000000000000"},
    {"cb7ff0000000000001", "cb7ff8000000000000"},
    {"ca80000000", "cb8000000000000000"},
    {"ca7f800000", "cb7ff0000000000000"},
    {"d90161", "a161"},
    {"da000161", "a161"},
    {"db0000000161", "a161"},
    {"a0", "a0"},
    {"c5000161", "c40161"},
    {"c60000000161", "c40161"},
    {"c400", "c400"},
    {"c70105aa", "d405aa"},
    {"c8000205aabb", "d505aabb"},
    {"c9000000030501aabb", "c7030501aabb"},
    {"c70005", "c70005"},
    {"d6ff01020304", "d6ff01020304"},
    {"dc0001c0", "91c0"},
    {"dd00000001c0", "91c0"},
    {"90", "90"},
    {"de0001c0c0", "81c0c0"},
    {"df00000000", "80"},
    {"80", "80"},
    /* keys by their canonical bytes, whatever their type and however deep */
    {"82a16201a16102", "82a16102a16201"},
    {"82a16101a16202", "82a16101a16202"},
    {"82a2616101a16202", "82a16202a2616101"},
    {"83c001cc0502a16103", "830502a16103c001"},
    {"8292020101"
     "92010102",
     "82920101029202"
     "0101"},
    {"81a16b82a17a01a16102", "81a16b82a16102a17a01"},
    {"8282a16201a161020182c0c0010203", "82820102c0c00382a16102a1620101"},
};

static void every_form_has_one_canonical_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        uint8_t in[GOLDEN_BYTES_MAX], out[GOLDEN_BYTES_MAX], again[GOLDEN_BYTES_MAX];
        aiki_view value = from_hex(forms[i][0], in);
        aiki_view first = canonical(value, out, sizeof(out));
        check_golden(forms[i][0], first, forms[i][1]);
        assert_int_equal(canon_is(value), strcmp(forms[i][0], forms[i][1]) == 0);
        assert_true(canon_is(first));
        assert_view_equal(canonical(first, again, sizeof(again)), first);
    }
}

static void assert_refused(const char *hex, aiki_status expected)
{
    uint8_t in[GOLDEN_BYTES_MAX], out[64] = "kept";
    uint8_t hash[32], *owned;
    aiki_view value = from_hex(hex, in), view;
    aiki_writer w;
    aiki_error err = {0};
    aiki_writer_init_fixed(&w, out, sizeof(out));
    w.size_bytes = 4;
    assert_int_equal(canon_write(&w, value, &err), expected);
    assert_true(err.message[0] != '\0');
    assert_int_equal(w.size_bytes, 4);
    assert_false(canon_is(value));
    assert_int_equal(canon_hash(value, hash, NULL), expected);
    assert_int_equal(canon_borrow(value, NULL, 0, &view, &owned, NULL), expected);
}

/* A key that stands twice has no one value, also when the two are written differently. */
static void duplicate_keys_are_refused(void **state)
{
    (void)state;
    assert_refused("82a16101a16102", AIKI_INVALID);
    assert_refused("82a16101d9016102", AIKI_INVALID);
    assert_refused("83a1610105c0cc0502", AIKI_INVALID);
    assert_refused("9181a16b820101cc0101", AIKI_INVALID);
}

static void what_is_no_value_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",           "c1",           "92c0",       "cd00",
                                      "a261",       "81a161",       "c0c0",       "ddffffffff",
                                      "dfffffffff", "c6ffffffff00", "81cc0501c0", "dc0001"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i], AIKI_CORRUPT);
}

/* The deepest value the budget allows passes, one level more does not; nothing recurses. */
static void depth_is_bounded(void **state)
{
    (void)state;
    uint8_t deep[AIKI_MP_DEPTH_MAX + 5], out[2 * sizeof(deep)];
    aiki_writer w;
    memset(deep, 0x91, sizeof(deep));
    memcpy(deep + AIKI_MP_DEPTH_MAX - 1, "\xca\0\0\0\0", 5); /* a form that must be rewritten */
    aiki_writer_init_fixed(&w, out, sizeof(out));
    aiki_view fits = {deep, AIKI_MP_DEPTH_MAX + 4};
    assert_int_equal(aiki_mp_check(fits), AIKI_OK);
    assert_int_equal(canon_write(&w, fits, NULL), AIKI_OK);
    assert_true(canon_is(aiki_writer_view(&w)));

    deep[AIKI_MP_DEPTH_MAX - 1] = 0x91;
    deep[AIKI_MP_DEPTH_MAX] = 0xc0;
    aiki_view over = {deep, AIKI_MP_DEPTH_MAX + 1};
    w.size_bytes = 0;
    assert_int_equal(aiki_mp_check(over), AIKI_LIMIT);
    assert_int_equal(canon_write(&w, over, NULL), AIKI_LIMIT);
    assert_false(canon_is(over));
}

/* 100,000 keys the wrong way round are sorted in no time worth noting. */
static void large_maps_are_sorted(void **state)
{
    (void)state;
    enum { COUNT = 100000, ROOM = COUNT * 12 };
    uint8_t *in = test_malloc(ROOM), *out = test_malloc(ROOM);
    aiki_writer w;
    char key[16];
    aiki_writer_init_fixed(&w, in, ROOM);
    aiki_mp_map(&w, COUNT);
    for (unsigned i = COUNT; i-- > 0;) {
        (void)snprintf(key, sizeof(key), "k%06u", i);
        aiki_mp_str(&w, key);
        aiki_mp_uint(&w, i % 100);
    }
    assert_int_equal(w.status, AIKI_OK);
    aiki_view sorted = canonical(aiki_writer_view(&w), out, ROOM);
    assert_int_equal(sorted.size_bytes, w.size_bytes);
    assert_true(canon_is(sorted));
    assert_memory_equal(sorted.data + 5, "\xa7k000000\x00\xa7k000001\x01", 18);
    test_free(in);
    test_free(out);
}

static void too_many_items_are_over_the_limit(void **state)
{
    (void)state;
    uint64_t size = 5 + AIKI_MP_NODES_MAX;
    uint8_t *wide = test_malloc(size), *out = test_malloc(2 * size);
    aiki_writer w;
    memset(wide, 0x01, size);
    wide[0] = 0xdd;
    aiki_mp_be_(wide + 1, AIKI_MP_NODES_MAX, 4);
    aiki_writer_init_fixed(&w, out, 2 * size);
    assert_int_equal(canon_write(&w, (aiki_view){wide, size}, NULL), AIKI_LIMIT);
    assert_int_equal(w.size_bytes, 0);
    test_free(wide);
    test_free(out);
}

/* A writer that is full refuses and keeps what it had. */
static void full_writers_refuse(void **state)
{
    (void)state;
    uint8_t in[GOLDEN_BYTES_MAX], out[16];
    aiki_view value = from_hex("82a16201a16102", in);
    for (uint64_t room = 0; room <= value.size_bytes; room++) {
        aiki_writer w;
        aiki_writer_init_fixed(&w, out, room);
        assert_int_equal(canon_write(&w, value, NULL),
                         room < value.size_bytes ? AIKI_LIMIT : AIKI_OK);
        assert_int_equal(w.size_bytes, room < value.size_bytes ? 0 : room);
    }
}

/* The common case costs no copy; the other one uses the caller's memory if it is enough. */
static void borrowing_copies_only_when_needed(void **state)
{
    (void)state;
    uint8_t in[GOLDEN_BYTES_MAX], memory[16], *owned = in;
    aiki_view view, ordered = BYTES("\x82\xa1"
                                    "a\x01\xa1"
                                    "b\x02");
    assert_int_equal(canon_borrow(ordered, memory, 0, &view, &owned, NULL), AIKI_OK);
    assert_ptr_equal(view.data, ordered.data);
    assert_null(owned);

    aiki_view value = from_hex("82a16201a16102", in);
    assert_int_equal(canon_borrow(value, memory, 14, &view, &owned, NULL), AIKI_OK);
    assert_ptr_equal(view.data, memory);
    assert_null(owned);
    assert_int_equal(canon_borrow(value, memory, 13, &view, &owned, NULL), AIKI_OK);
    assert_ptr_equal(view.data, owned);
    assert_view_equal(view, BYTES("\x82\xa1"
                                  "a\x02\xa1"
                                  "b\x01"));
    free(owned);
}

static void equal_values_hash_alike(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    assert_int_equal(canon_hash(BYTES("\x82\xa1"
                                      "a\x01\xa1"
                                      "b\x02"),
                                a, NULL),
                     AIKI_OK);
    assert_int_equal(canon_hash(BYTES("\x82\xa1"
                                      "b\x02\xd9\x01"
                                      "a\xcc\x01"),
                                b, NULL),
                     AIKI_OK);
    assert_memory_equal(a, b, 32);
    assert_int_equal(canon_hash(BYTES("\x82\xa1"
                                      "a\x01\xa1"
                                      "b\x03"),
                                b, NULL),
                     AIKI_OK);
    assert_memory_not_equal(a, b, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_has_one_canonical_form),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(what_is_no_value_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(large_maps_are_sorted),
        cmocka_unit_test(too_many_items_are_over_the_limit),
        cmocka_unit_test(full_writers_refuse),
        cmocka_unit_test(borrowing_copies_only_when_needed),
        cmocka_unit_test(equal_values_hash_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

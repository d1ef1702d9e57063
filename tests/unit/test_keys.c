/* test_keys.c - stream names and tickets. */
#include "golden.h"
#include "golden_wire.h"

#include "wire/keys.h"

/* The name of a stream is the same in every release: old and new processes share it. */
static void stream_key_is_fixed(void **state)
{
    (void)state;
    char key[STREAM_KEY_SIZE];
    assert_int_equal(stream_key(key, "shop", text_view("order"), text_view("1.0.0")), AIKI_OK);
    assert_string_equal(key, "aiki:{shop}:t:order:1.0.0:default:5");
}

/* Names of full length fit; anything that could be read as another key is refused. */
static void names_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a:b", "a{b", "a}b", "a b", "a/b", "\xc3\xa4", "a\n"};
    char key[STREAM_KEY_SIZE], longest[NAME_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[NAME_BYTES_MAX] = '\0';
    aiki_view full = text_view(longest);
    assert_true(name_is_valid(full));
    assert_int_equal(stream_key(key, longest, full, full), AIKI_OK);
    assert_int_equal(strlen(key), 3 * NAME_BYTES_MAX + strlen("aiki:{}:t:::default:5"));
    assert_false(name_is_valid((aiki_view){full.data, NAME_BYTES_MAX + 1}));
    assert_false(name_is_valid(BYTES("a\0b")));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        aiki_view name = text_view(bad[i]);
        assert_false(name_is_valid(name));
        assert_int_equal(stream_key(key, bad[i], full, full), AIKI_INVALID);
        assert_int_equal(stream_key(key, longest, name, full), AIKI_INVALID);
        assert_int_equal(stream_key(key, longest, full, name), AIKI_INVALID);
    }
}

static void ticket_bytes_are_fixed(void **state)
{
    (void)state;
    struct ticket t = {.epoch = (7ull << 32) + 3}, back;
    uint8_t bytes[TICKET_BYTES_MAX], golden[GOLDEN_BYTES_MAX];
    memcpy(t.run.bytes, "0123456789abcdef", 16);
    aiki_view written = {bytes, ticket_write(bytes, &t)};
    check_golden("TICKET", written, GOLDEN_TICKET);

    aiki_error err = {0};
    assert_int_equal(ticket_read(from_hex(GOLDEN_TICKET, golden), &back, &err), AIKI_OK);
    assert_true(id_equal(&t.run, &back.run));
    assert_int_equal(back.epoch, t.epoch);
    t.epoch = UINT64_MAX;
    assert_in_range(ticket_write(bytes, &t), 1, TICKET_BYTES_MAX);
}

/* Later releases may put more behind the epoch. */
static void ticket_may_grow(void **state)
{
    (void)state;
    uint8_t bytes[64];
    aiki_writer w;
    struct ticket t;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    aiki_mp_array(&w, 4);
    aiki_mp_bin(&w, "0123456789abcdef", 16);
    aiki_mp_uint(&w, 5);
    aiki_mp_str(&w, "trace");
    aiki_mp_map(&w, 0);
    assert_int_equal(ticket_read(aiki_writer_view(&w), &t, NULL), AIKI_OK);
    assert_int_equal(t.epoch, 5);
}

/* Anybody can write to Redis: every other entry is refused, at every length. */
static void bad_tickets_are_refused(void **state)
{
    (void)state;
    uint8_t golden[GOLDEN_BYTES_MAX];
    struct ticket t = {.epoch = 42};
    aiki_view whole = from_hex(GOLDEN_TICKET, golden);
    for (uint64_t n = 0; n < whole.size_bytes; n++)
        assert_int_equal(ticket_read((aiki_view){golden, n}, &t, NULL), AIKI_CORRUPT);
    golden[whole.size_bytes] = 0xc0;
    aiki_error err = {0};
    assert_int_equal(ticket_read((aiki_view){golden, whole.size_bytes + 1}, &t, &err),
                     AIKI_CORRUPT);
    assert_non_null(strstr(err.message, "ticket"));
    assert_int_equal(ticket_read(BYTES("\x92\xc4\x0f"
                                       "0123456789abcde\x05"),
                                 &t, NULL),
                     AIKI_CORRUPT);
    assert_int_equal(ticket_read(BYTES("\x92\xc0\x05"), &t, NULL), AIKI_CORRUPT);
    assert_int_equal(ticket_read(BYTES("\xdd\xff\xff\xff\xff"), &t, NULL), AIKI_CORRUPT);
    assert_int_equal(t.epoch, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_key_is_fixed),     cmocka_unit_test(names_are_checked),
        cmocka_unit_test(ticket_bytes_are_fixed),  cmocka_unit_test(ticket_may_grow),
        cmocka_unit_test(bad_tickets_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

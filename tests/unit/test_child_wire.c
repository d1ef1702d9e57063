/* test_child_wire.c - options and ids of children: what a parent writes, the server finds again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "wire/child.h"

static aiki_view view(const char *text)
{
    return (aiki_view){(const uint8_t *)text, strlen(text)};
}

static aiki_status read_bytes(const char *bytes, size_t size, struct child_options *ret)
{
    return child_options_read((aiki_view){(const uint8_t *)bytes, size}, ret);
}
#define READ(literal, ret) read_bytes(literal, sizeof(literal) - 1, ret)

static void options_survive(void **state)
{
    const struct child_options o = {.version = view("1.2.3"),
                                    .close_policy = CLOSE_ABANDON,
                                    .detached = true,
                                    .key = view("order-7"),
                                    .pass = 3,
                                    .schedule_to_start_ms = 2500,
                                    .shared = true};
    uint8_t memory[CHILD_OPTIONS_BYTES_MAX];
    aiki_writer w;
    struct child_options back;
    (void)state;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    child_options_write(&w, &o);
    assert_int_equal(child_options_read(aiki_writer_view(&w), &back), AIKI_OK);
    assert_int_equal(back.version.size_bytes, 5);
    assert_memory_equal(back.version.data, "1.2.3", 5);
    assert_int_equal(back.close_policy, CLOSE_ABANDON);
    assert_true(back.detached);
    assert_true(back.shared);
    assert_int_equal(back.key.size_bytes, 7);
    assert_int_equal(back.pass, 3);
    assert_int_equal(back.schedule_to_start_ms, 2500);
}

/* Earlier releases wrote three; later ones may write more. */
static void other_releases_are_read(void **state)
{
    struct child_options o;
    (void)state;
    assert_int_equal(READ("\x93\xa1" "1\x01\xc3", &o), AIKI_OK);
    assert_int_equal(o.close_policy, CLOSE_TERMINATE);
    assert_int_equal(o.pass, 0);
    assert_int_equal(o.key.size_bytes, 0);
    assert_int_equal(o.schedule_to_start_ms, 0);
    assert_int_equal(READ("\x98\xa0\x00\xc2\xa0\x01\x05\xc3\x81\x01\x02", &o), AIKI_OK);
    assert_int_equal(o.pass, 1);
    assert_int_equal(o.schedule_to_start_ms, 5);
}

static void nonsense_is_refused(void **state)
{
    struct child_options o = {.pass = 7};
    (void)state;
    assert_int_equal(READ("", &o), AIKI_CORRUPT);
    assert_int_equal(READ("\xc3", &o), AIKI_CORRUPT);
    assert_int_equal(READ("\x93\xa0\x03\xc2", &o), AIKI_CORRUPT);
    assert_int_equal(READ("\x93\xa0\x00", &o), AIKI_CORRUPT);
    assert_int_equal(READ("\x93\x01\x00\xc2", &o), AIKI_CORRUPT);
    assert_int_equal(READ("\x91\xa0\xc0", &o), AIKI_CORRUPT);
    assert_int_equal(READ("\x96\xa0\x00\xc2\xa0\x01\xff", &o), AIKI_CORRUPT);
    assert_int_equal(o.pass, 7);
}

/* Golden: journals of earlier releases name children by it. */
static void ids_are_made_for_ever(void **state)
{
    const struct aiki_id parent = {{1, 2, 3}};
    const struct address a = {{4, 5, 6}};
    struct aiki_id id = child_id(&parent, &a, 0, 0), same = child_id(&parent, &a, 0, 0);
    struct aiki_id next = child_id(&parent, &a, 1, 0), again = child_id(&parent, &a, 0, 1);
    char text[AIKI_ID_TEXT_SIZE];
    (void)state;
    id_text(&id, text);
    assert_string_equal(text, "61TGFJEQZN0RTQ6MXEQHK6BJ8H");
    assert_true(id_equal(&id, &same));
    assert_false(id_equal(&id, &next));
    assert_false(id_equal(&id, &again));
    assert_false(id_equal(&next, &again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_survive),
        cmocka_unit_test(other_releases_are_read),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(ids_are_made_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

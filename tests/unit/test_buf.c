/* test_buf.c - growing buffers and views. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"

/* Nothing is allocated before the first byte, and everything written is there. */
static void grows_from_nothing(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    assert_null(w.data);
    for (int i = 0; i < 100000; i++)
        aiki_mp_raw(&w, &i, sizeof(i));
    assert_int_equal(w.status, AIKI_OK);
    assert_int_equal(w.size_bytes, 100000 * sizeof(int));
    for (int i = 0; i < 100000; i++)
        assert_memory_equal(w.data + (size_t)i * sizeof(int), &i, sizeof(i));
}

/* An absurd size is out of memory, sticks, and leaves what was there. */
static void absurd_size_is_refused(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    aiki_mp_raw(&w, "abc", 3);
    assert_null(aiki_mp_room(&w, UINT64_MAX / 2));
    assert_int_equal(w.status, AIKI_NOMEM);
    assert_int_equal(w.size_bytes, 3);
}

/* Clear keeps small memory for the next round and gives large memory back. */
static void clear_keeps_what_is_small(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    aiki_mp_raw(&w, "abc", 3);
    w.status = AIKI_LIMIT;
    buf_clear(&w, 1024);
    assert_non_null(w.data);
    assert_int_equal(w.size_bytes, 0);
    assert_int_equal(w.status, AIKI_OK);
    (void)aiki_mp_room(&w, 4096);
    buf_clear(&w, 1024);
    assert_null(w.data);
    aiki_mp_raw(&w, "x", 1);
    assert_int_equal(w.status, AIKI_OK);
}

/* What comes in then moves nothing; what is left over can be given back. */
static void reserved_room_is_kept(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    buf_reserve(&w, 3000);
    const uint8_t *room = w.data;
    assert_non_null(room);
    assert_int_equal(w.size_bytes, 0);
    (void)aiki_mp_room(&w, 3000);
    assert_ptr_equal(w.data, room);
    buf_reserve(&w, 100); /* there is more than that */
    assert_ptr_equal(w.data, room);
    assert_int_equal(w.status, AIKI_OK);
    (void)aiki_mp_room(&w, 1);
    buf_fit(&w);
    assert_int_equal(w.capacity_bytes, 3001);
    assert_int_equal(w.size_bytes, 3001);
    buf_reserve(&w, UINT64_MAX);
    assert_int_equal(w.status, AIKI_NOMEM);
}

static void consume_drops_the_front(void **state)
{
    (void)state;
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    buf_consume(&w, 1);
    aiki_mp_raw(&w, "abcdef", 6);
    buf_consume(&w, 2);
    assert_true(view_is(aiki_writer_view(&w), "cdef"));
    buf_consume(&w, 100);
    assert_int_equal(w.size_bytes, 0);
}

static void take_moves_ownership(void **state)
{
    (void)state;
    aiki_writer w;
    uint64_t size = 7;
    buf_init(&w);
    assert_null(buf_take(&w, &size));
    assert_int_equal(size, 0);
    aiki_mp_raw(&w, "abc", 3);
    uint8_t *bytes = buf_take(&w, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "abc", 3);
    assert_null(w.data);
    free(bytes);
    memset(&w, 0, sizeof(w));
    buf_deinit(&w); /* fine on a zeroed struct */
}

static void views_compare_by_content(void **state)
{
    (void)state;
    const aiki_view none = {NULL, 0};
    assert_true(view_equal(none, view_of("")));
    assert_true(view_equal(view_of(NULL), none));
    assert_true(view_is(view_of("abc"), "abc"));
    assert_false(view_is(view_of("abc"), "abd"));
    assert_false(view_is(view_of("abc"), "abcd"));
    char *copy = view_dup(view_of("abc"));
    assert_string_equal(copy, "abc");
    free(copy);
    copy = view_dup(none);
    assert_string_equal(copy, "");
    free(copy);
}

/* RFC 3629: overlong forms, surrogates, cut characters and values beyond U+10FFFF are no text. */
static void utf8_is_strict(void **state)
{
    (void)state;
    static const char *const good[] = {"", "abc", "\xc2\x80", "\xe2\x82\xac", "\xed\x9f\xbf",
                                       "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xff", "ab\xe2\x82"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(utf8_is_valid(view_of(good[i])));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(utf8_is_valid(view_of(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_from_nothing),       cmocka_unit_test(absurd_size_is_refused),
        cmocka_unit_test(clear_keeps_what_is_small), cmocka_unit_test(reserved_room_is_kept),
        cmocka_unit_test(consume_drops_the_front),
        cmocka_unit_test(take_moves_ownership),     cmocka_unit_test(views_compare_by_content),
        cmocka_unit_test(utf8_is_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

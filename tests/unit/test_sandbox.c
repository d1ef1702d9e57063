/* test_sandbox.c - the setting about sandboxes: who gets what, what is no setting, what is explained. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/sandbox.h"
#include "wire/error.h"

/* An entry by name wins wherever it stands; a path counts by its last part. */
static void the_file_decides(void **state)
{
    static const char setting[] = "try network, billing.so = on read:/a%20b write:/c ,old.so=off";
    struct sandbox s;
    (void)state;
    assert_true(sandbox_parse(sandbox_of(setting, "/srv/plugins/billing.so"), &s));
    assert_int_equal(s.mode, SANDBOX_ON);
    assert_false(s.network);
    assert_int_equal(s.path_count, 2);
    assert_string_equal(s.paths[0].text, "/a b");
    assert_false(s.paths[0].write);
    assert_string_equal(s.paths[1].text, "/c");
    assert_true(s.paths[1].write);
    assert_true(sandbox_parse(sandbox_of(setting, "old.so"), &s));
    assert_int_equal(s.mode, SANDBOX_OFF);
    assert_true(sandbox_parse(sandbox_of(setting, "else.so"), &s));
    assert_int_equal(s.mode, SANDBOX_TRY);
    assert_true(s.network);
    assert_int_equal(sandbox_strictest(setting), SANDBOX_ON);
    assert_int_equal(sandbox_strictest("off,a.so=try"), SANDBOX_TRY);
}

/* What is served has the entry of its whole path: one of the same name in a directory is another one. */
static void a_served_plugin_is_named_by_its_whole_path(void **state)
{
    static const char setting[] = "try,a.so=off,shop/a.so=on";
    struct sandbox s;
    (void)state;
    assert_true(sandbox_parse(sandbox_of_plugin(setting, "a.so"), &s));
    assert_int_equal(s.mode, SANDBOX_OFF);
    assert_true(sandbox_parse(sandbox_of_plugin(setting, "shop/a.so"), &s));
    assert_int_equal(s.mode, SANDBOX_ON);
    assert_true(sandbox_parse(sandbox_of_plugin(setting, "else/a.so"), &s));
    assert_int_equal(s.mode, SANDBOX_TRY);
}

static void nothing_said_is_off(void **state)
{
    struct sandbox s;
    (void)state;
    assert_int_equal(sandbox_of(NULL, "a.so").size_bytes, 0);
    assert_int_equal(sandbox_of("b.so=on", "a.so").size_bytes, 0);
    assert_true(sandbox_parse((aiki_view){NULL, 0}, &s));
    assert_int_equal(s.mode, SANDBOX_OFF);
}

static void what_is_no_setting_is_named(void **state)
{
    static const char *const bad[] = {"yes", "on nets", "on read:here", "on read:", "a.so=", "=on,=", "on,,",
                                      " ", "on read:/%zz", "on read:/%00", "a.so=b.so=on"};
    static const char *const good[] = {"", "off", "on", " on ", "on  network  modes", "a.so=on,b.so=try processes",
                                       "a.so = off"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        aiki_error err = AIKI_ERROR_INIT;
        assert_int_equal(sandbox_check(bad[i], &err), AIKI_INVALID);
        assert_non_null(strstr(err.message, "found \""));
    }
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_int_equal(sandbox_check(good[i], NULL), AIKI_OK);
}

static void a_long_path_and_one_too_many_are_refused(void **state)
{
    char text[SANDBOX_PATH_SIZE + 32] = "on read:/";
    char many[SANDBOX_PATHS_MAX * 16 + 32] = "on";
    (void)state;
    memset(text + strlen(text), 'x', SANDBOX_PATH_SIZE);
    assert_int_equal(sandbox_check(text, NULL), AIKI_INVALID);
    for (int i = 0; i < SANDBOX_PATHS_MAX; i++)
        (void)snprintf(many + strlen(many), sizeof(many) - strlen(many), " read:/%d", i);
    assert_int_equal(sandbox_check(many, NULL), AIKI_OK);
    (void)snprintf(many + strlen(many), sizeof(many) - strlen(many), " read:/x");
    assert_int_equal(sandbox_check(many, NULL), AIKI_INVALID);
}

static void calls_are_explained(void **state)
{
    char text[SANDBOX_EXPLAIN_SIZE];
    (void)state;
    assert_non_null(strstr(sandbox_explain(__NR_socket, text), "calls socket, "));
    assert_non_null(strstr(text, "add \"network\""));
    assert_non_null(strstr(sandbox_explain(__NR_bpf, text), "calls bpf, which no sandbox allows"));
    assert_non_null(strstr(sandbox_explain(99999, text), "system call 99999"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_decides),
        cmocka_unit_test(a_served_plugin_is_named_by_its_whole_path),
        cmocka_unit_test(nothing_said_is_off),
        cmocka_unit_test(what_is_no_setting_is_named),
        cmocka_unit_test(a_long_path_and_one_too_many_are_refused),
        cmocka_unit_test(calls_are_explained),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}

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

static void parse(const char *text, struct sandbox *ret)
{
    assert_true(sandbox_parse(view_of(text), ret));
}

/* What a declaration and what the setting makes of it come to, as one text. */
static void declarations_count_where_the_setting_says_so(void **state)
{
    AUTO(buf) aiki_writer w;
    struct sandbox s;
    (void)state;
    buf_init(&w);
    sandbox_write(&w, view_of("declared +modes"), view_of("network read:/a"));
    assert_true(sandbox_parse(aiki_writer_view(&w), &s));
    assert_int_equal(s.mode, SANDBOX_ON);
    assert_true(s.network && s.modes && !s.processes && !s.bounded);
    assert_int_equal(s.path_count, 1);
    assert_true(s.paths[0].declared);
    parse("on modes as network read:/a", &s);
    assert_true(s.modes && !s.network);
    assert_int_equal(s.path_count, 0);
    parse("off as network", &s);
    assert_int_equal(s.mode, SANDBOX_OFF);
    parse("declared", &s);
    assert_int_equal(s.mode, SANDBOX_OFF);
    parse("declared +network", &s);
    assert_int_equal(s.mode, SANDBOX_OFF);
    parse("declared as none", &s);
    assert_int_equal(s.mode, SANDBOX_ON);
    assert_int_equal(sandbox_strictest("try,a.so=declared"), SANDBOX_ON);
}

/* Settings may have changed since the plugin was let in: then it has what both allow. */
static void a_ceiling_holds_whatever_is_declared(void **state)
{
    struct sandbox s;
    (void)state;
    parse("declared network read:/a +write:/b as network processes write:/c", &s);
    assert_true(s.network && !s.processes && s.bounded);
    assert_int_equal(s.path_count, 2);
    assert_int_equal(s.within_count, 2);
    assert_string_equal(s.within[0].text, "/b");
    assert_string_equal(s.within[1].text, "/a");
    parse("declared none as network read:/a", &s);
    assert_true(!s.network && s.bounded);
    assert_int_equal(s.within_count, 0);
    parse("declared network read:/a", &s); /* it declares nothing */
    assert_int_equal(s.mode, SANDBOX_ON);
    assert_true(s.network && !s.bounded);
    assert_string_equal(s.paths[0].text, "/a");
}

static void what_is_beyond_an_entry_is_judged(void **state)
{
    static const struct {
        const char *entry, *needs;
        enum sandbox_verdict verdict;
        const char *need;
    } cases[] = {
        {"off", "network", SANDBOX_GIVES, ""}, {"", "network", SANDBOX_GIVES, ""},
        {"declared", "network", SANDBOX_GIVES, ""}, {"declared", "", SANDBOX_UNDECLARED, ""},
        {"declared +network", "", SANDBOX_UNDECLARED, ""}, {"declared none", "", SANDBOX_GIVES, ""},
        {"declared none", "none", SANDBOX_GIVES, ""}, {"declared none", "modes", SANDBOX_FORBIDS, "modes"},
        {"declared network", "network modes", SANDBOX_FORBIDS, "modes"},
        {"declared none +network", "network", SANDBOX_GIVES, ""},
        {"declared read:/a", "read:/a/b read:/a", SANDBOX_GIVES, ""},
        {"declared read:/a/", "read:/a", SANDBOX_GIVES, ""}, {"declared read:/", "read:/x", SANDBOX_GIVES, ""},
        {"declared read:/a", "read:/ab", SANDBOX_FORBIDS, "read:/ab"},
        {"declared read:/a", "write:/a", SANDBOX_FORBIDS, "write:/a"},
        {"declared write:/a", "read:/a/b", SANDBOX_GIVES, ""},
        {"declared read:/a%20b", "read:/a%20b/c", SANDBOX_GIVES, ""},
        {"on network", "network read:/a", SANDBOX_LACKS, "read:/a"}, {"try", "network", SANDBOX_LACKS, "network"},
        {"on", "", SANDBOX_GIVES, ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        aiki_view need = {NULL, 0};
        assert_int_equal(sandbox_judge(view_of(cases[i].entry), view_of(cases[i].needs), &need), cases[i].verdict);
        assert_true(view_is(need, cases[i].need));
    }
    assert_true(view_is(needs_beyond(view_of("read:/a network"), view_of("write:/")), "network"));
    assert_int_equal(needs_beyond(view_of("read:/a none"), view_of("write:/a")).size_bytes, 0);
}

static void what_is_no_declaration_is_named(void **state)
{
    static const char *const bad[] = {"root", "read:a", "+network", "as", "on", "read:/a/../b", "read:/a/./b",
                                      "read:/..", "read:/.", "read://a", "read:/a//b", "read:/%0a", "read:/%ff",
                                      "network\n", "write:", "read:/%c3("};
    static const char *const good[] = {"", " ", "none", "network  processes modes", "read:/", "read:/a/", "read:/..a/.b",
                                       "write:/a%20b", "read:/%c3%a4"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        aiki_error err = AIKI_ERROR_INIT;
        assert_int_equal(needs_check(view_of(bad[i]), &err), AIKI_INVALID);
        assert_true(err.message[0] != '\0');
    }
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_int_equal(needs_check(view_of(good[i]), NULL), AIKI_OK);
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
        cmocka_unit_test(declarations_count_where_the_setting_says_so),
        cmocka_unit_test(a_ceiling_holds_whatever_is_declared),
        cmocka_unit_test(what_is_beyond_an_entry_is_judged),
        cmocka_unit_test(what_is_no_declaration_is_named),
        cmocka_unit_test(calls_are_explained),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}

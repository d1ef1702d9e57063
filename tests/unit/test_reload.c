/* test_reload.c - settings read again: what changes, what waits for a restart, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/reload.h"
#include "wire/error.h"

static const struct config_key keys[] = {
    {"slots", CONFIG_INT, "512", 1, 1000, "runs at a time"},
    {"mood", CONFIG_TEXT, "calm", 0, 0, "anything but wild"},
    {"listen", CONFIG_TEXT, "here", 0, 0, "where"},
};
static const char *const live[] = {"slots", "mood", NULL};
static char file_path[32];
static char argument[64];
static char *arguments[] = {(char *)"test", argument, (char *)"--listen=flag", NULL};

static aiki_status check(const struct config *fresh, aiki_error *err)
{
    if (strcmp(config_text(fresh, "mood"), "wild") != 0)
        return AIKI_OK;
    return error_set(err, AIKI_INVALID, "mood may not be wild");
}

static const struct reload_rules rules = {keys, ARRAY_COUNT(keys), live, check};

static void write_file(const char *text)
{
    FILE *f = fopen(file_path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    struct config *c = NULL;
    strcpy(file_path, "/tmp/aiki-reload-XXXXXX");
    int fd = mkstemp(file_path);
    if (fd < 0 || close(fd) != 0)
        return -1;
    (void)snprintf(argument, sizeof(argument), "--config=%s", file_path);
    write_file("slots = 5\n");
    aiki_status st = config_load(&c, keys, ARRAY_COUNT(keys), 3, arguments, &err);
    *state = c;
    return st == AIKI_OK ? 0 : -1;
}

static int teardown(void **state)
{
    config_destroy(*state);
    return unlink(file_path);
}

/* What the program named as live is taken over, also back to its default. */
static void live_settings_change(void **state)
{
    struct config *c = *state;
    write_file("slots = 9\nmood = glad\n");
    assert_true(reload_settings(c, &rules));
    assert_int_equal(config_int(c, "slots"), 9);
    assert_string_equal(config_text(c, "mood"), "glad");
    assert_string_equal(config_origin(c, "slots"), "file:1");
    write_file("");
    assert_true(reload_settings(c, &rules));
    assert_int_equal(config_int(c, "slots"), 512);
    assert_string_equal(config_text(c, "mood"), "calm");
}

/* A flag still outranks the file, and what is not live keeps its value. */
static void the_rest_stays(void **state)
{
    struct config *c = *state;
    write_file("listen = elsewhere\n");
    assert_true(reload_settings(c, &rules));
    assert_string_equal(config_text(c, "listen"), "flag");
    arguments[2] = (char *)"--listen=other";
    assert_true(reload_settings(c, &rules));
    arguments[2] = (char *)"--listen=flag";
    assert_string_equal(config_text(c, "listen"), "flag");
}

/* All or nothing: a good line beside a bad one is not used. */
static void a_broken_file_changes_nothing(void **state)
{
    static const char *const broken[] = {"slots = 7\nslots = many\n", "slots = 7\nunheard = 1\n",
                                         "slots = 7\nmood = wild\n", "slots = 7\nwhat\n"};
    struct config *c = *state;
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++) {
        write_file(broken[i]);
        assert_false(reload_settings(c, &rules));
        assert_int_equal(config_int(c, "slots"), 5);
    }
    assert_int_equal(unlink(file_path), 0);
    assert_false(reload_settings(c, &rules));
    assert_int_equal(config_int(c, "slots"), 5);
    write_file("slots = 6\n");
    assert_true(reload_settings(c, &rules));
    assert_int_equal(config_int(c, "slots"), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(live_settings_change, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rest_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_file_changes_nothing, setup, teardown),
    };
    log_init("test", LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

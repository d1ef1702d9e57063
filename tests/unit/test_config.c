/* test_config.c - where a setting comes from, and what is refused. */
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
#include "base/config.h"

static const struct config_key keys[] = {
    {"listen", CONFIG_TEXT, "127.0.0.1:9090", 0, 0, "where to listen"},
    {"lease-ms", CONFIG_INT, "5000", 100, 60000, "lease of a session"},
    {"json", CONFIG_FLAG, NULL, 0, 0, "print JSON"},
    {"note", CONFIG_TEXT, NULL, 0, 0, "anything"},
};

static char file_path[] = "/tmp/aiki-config-XXXXXX";

static aiki_status load(struct config **ret, aiki_error *err, char *a, char *b, char *c)
{
    char *argv[] = {(char *)"test", a, b, c, NULL};
    int argc = 1;
    while (argv[argc] != NULL)
        argc++;
    return config_load(ret, keys, ARRAY_COUNT(keys), argc, argv, err);
}

static void write_file(const char *text)
{
    FILE *f = fopen(file_path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    strcpy(file_path + sizeof(file_path) - 7, "XXXXXX");
    int fd = mkstemp(file_path);
    return fd >= 0 ? close(fd) : -1;
}

static int teardown(void **state)
{
    (void)state;
    (void)unsetenv("AIKI_LEASE_MS");
    (void)unsetenv("AIKI_CONFIG");
    return unlink(file_path);
}

static void expect(const struct config *c, const char *name, const char *value, const char *origin)
{
    assert_string_equal(config_text(c, name), value);
    assert_string_equal(config_origin(c, name), origin);
}

static void expect_refused(char *a, char *b, const char *part)
{
    struct config *c = NULL;
    aiki_error err = {0};
    assert_int_equal(load(&c, &err, a, b, NULL), AIKI_INVALID);
    assert_null(c);
    if (strstr(err.message, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, err.message);
}

static void defaults_stand_alone(void **state)
{
    (void)state;
    struct config *c = NULL;
    assert_int_equal(load(&c, NULL, NULL, NULL, NULL), AIKI_OK);
    expect(c, "listen", "127.0.0.1:9090", "default");
    expect(c, "note", "", "default");
    assert_int_equal(config_int(c, "lease-ms"), 5000);
    assert_false(config_flag(c, "json"));
    assert_int_equal(config_positional_count(c), 0);
    config_destroy(c);
    config_destroy(NULL);
}

/* Flag before environment before file before default. */
static void the_nearest_wins(void **state)
{
    (void)state;
    struct config *c = NULL;
    write_file("# a comment\n\n  listen = unix:/tmp/a b = c  \nlease-ms=200\nnote=#kept\n");
    (void)setenv("AIKI_CONFIG", file_path, 1);
    assert_int_equal(load(&c, NULL, NULL, NULL, NULL), AIKI_OK);
    expect(c, "listen", "unix:/tmp/a b = c", "file:3");
    expect(c, "lease-ms", "200", "file:4");
    expect(c, "note", "#kept", "file:5");
    config_destroy(c);

    (void)setenv("AIKI_LEASE_MS", "300", 1);
    assert_int_equal(load(&c, NULL, NULL, NULL, NULL), AIKI_OK);
    expect(c, "lease-ms", "300", "AIKI_LEASE_MS");
    config_destroy(c);

    assert_int_equal(load(&c, NULL, "--lease-ms", "400", "--json"), AIKI_OK);
    assert_int_equal(config_int(c, "lease-ms"), 400);
    assert_string_equal(config_origin(c, "lease-ms"), "flag");
    assert_true(config_flag(c, "json"));
    config_destroy(c);
}

/* A flag may name another file than the environment does. */
static void config_flag_names_the_file(void **state)
{
    (void)state;
    struct config *c = NULL;
    write_file("lease-ms = 777\n");
    (void)setenv("AIKI_CONFIG", "/nowhere", 1);
    assert_int_equal(load(&c, NULL, "--config", file_path, NULL), AIKI_OK);
    assert_int_equal(config_int(c, "lease-ms"), 777);
    config_destroy(c);
}

static void words_keep_their_order(void **state)
{
    (void)state;
    struct config *c = NULL;
    assert_int_equal(load(&c, NULL, "run", "--lease-ms=150", "-"), AIKI_OK);
    assert_int_equal(config_positional_count(c), 2);
    assert_string_equal(config_positional(c, 0), "run");
    assert_string_equal(config_positional(c, 1), "-");
    config_destroy(c);
    assert_int_equal(load(&c, NULL, "--", "--json", "--"), AIKI_OK);
    assert_int_equal(config_positional_count(c), 2);
    assert_false(config_flag(c, "json"));
    config_destroy(c);
    assert_int_equal(load(&c, NULL, "--json=no", "--note", "--json"), AIKI_OK);
    assert_false(config_flag(c, "json"));
    assert_string_equal(config_text(c, "note"), "--json"); /* a value is a value */
    config_destroy(c);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    expect_refused((char *)"--leese-ms", (char *)"5", "unknown flag --leese-ms");
    expect_refused((char *)"-x", NULL, "unknown flag -x");
    expect_refused((char *)"--note", NULL, "needs a value");
    expect_refused((char *)"--config", NULL, "needs a value");
    expect_refused((char *)"--lease-ms=99", NULL,
                   "--lease-ms: lease-ms must be a whole number from 100 to 60000, found \"99\"");
    expect_refused((char *)"--lease-ms=1e3", NULL, "whole number");
    expect_refused((char *)"--lease-ms=99999999999999999999", NULL, "whole number");
    expect_refused((char *)"--json=maybe", NULL, "true or false, found \"maybe\"");
    expect_refused((char *)"--config=/nowhere/x", NULL, "/nowhere/x: No such file");
    (void)setenv("AIKI_LEASE_MS", "", 1);
    expect_refused(NULL, NULL, "AIKI_LEASE_MS: lease-ms must be");
}

/* A bad line is refused even if a flag would have overruled it. */
static void bad_lines_are_named(void **state)
{
    (void)state;
    char part[100];
    (void)setenv("AIKI_CONFIG", file_path, 1);
    write_file("listen = x\nlease-ms = soon\n");
    (void)snprintf(part, sizeof(part), "%s:2: lease-ms must be", file_path);
    expect_refused((char *)"--lease-ms=200", NULL, part);
    write_file("what is this\n");
    expect_refused(NULL, NULL, ":1: expected \"key = value\"");
    write_file("\nfoo = 1\n");
    expect_refused(NULL, NULL, ":2: unknown key \"foo\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_stand_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(the_nearest_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(config_flag_names_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(words_keep_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_lines_are_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_oom.c - what the kernel's count of kills says of a process that was killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/oom.h"

struct fixture {
    char root[64], path[256], found[OOM_PATH_SIZE];
    struct oom oom;
};

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void count_is(struct fixture *f, unsigned n)
{
    char text[64];
    snprintf(text, sizeof(text), "low 0\noom 7\noom_kill %u\noom_group_kill 9\n", n);
    write_text(f->path, text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->root, "/tmp/aiki-oom-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->path, sizeof(f->path), "%s/count", f->root);
    oom_init(&f->oom, f->path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    static const char *const made[] = {"count", "a/b/memory.events", "memory/a/memory.oom_control"};
    static const char *const folders[] = {"a/b", "a", "memory/a", "memory", ""};
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        snprintf(f->path, sizeof(f->path), "%s/%s", f->root, made[i]);
        (void)unlink(f->path); /* a case makes some of them */
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(f->path, sizeof(f->path), "%s/%s", f->root, folders[i]);
        (void)rmdir(f->path);
    }
    assert_int_not_equal(access(f->root, F_OK), 0);
    free(f);
    return 0;
}

/* What was counted before a process began is not about it. */
static void only_kills_in_its_life_count(void **state)
{
    struct fixture *f = *state;
    count_is(f, 3);
    uint64_t began = oom_count(&f->oom);
    assert_int_equal(began, 3);
    assert_false(oom_ascribe(&f->oom, began));
    count_is(f, 4);
    assert_true(oom_ascribe(&f->oom, began));
}

/* One that was killed by the kernel is no reason for another one that somebody else killed. */
static void each_kill_is_one_process(void **state)
{
    struct fixture *f = *state;
    count_is(f, 3);
    uint64_t began = oom_count(&f->oom);
    count_is(f, 5);
    assert_true(oom_ascribe(&f->oom, began));
    assert_true(oom_ascribe(&f->oom, began));
    assert_false(oom_ascribe(&f->oom, began));
    assert_false(oom_ascribe(&f->oom, oom_count(&f->oom)));
    count_is(f, 6);
    assert_true(oom_ascribe(&f->oom, began));
}

/* Neither is a kill: no file, a file of nonsense, a count that went back (another group). */
static void nothing_known_is_nobody_killed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(oom_count(&f->oom), 0);
    assert_false(oom_ascribe(&f->oom, 0));
    write_text(f->path, "oom 3\nxoom_kill 4\noom_kill_disable 1\n\n");
    assert_false(oom_ascribe(&f->oom, 0));
    write_text(f->path, "oom_kill x");
    assert_false(oom_ascribe(&f->oom, 0));
    count_is(f, 2);
    assert_false(oom_ascribe(&f->oom, 5));
}

static void make(struct fixture *f, const char *folder, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->root, folder);
    assert_int_equal(mkdir(path, 0700), 0);
    if (file == NULL)
        return;
    snprintf(path, sizeof(path), "%s/%s/%s", f->root, folder, file);
    write_text(path, text);
}

/* The own group's file, of either version of control groups; else there is the machine's. */
static void the_own_group_is_found(void **state)
{
    struct fixture *f = *state;
    char expected[256];
    assert_false(oom_find("0::/a/b\n", f->root, f->found, sizeof(f->found)));
    make(f, "a", NULL, NULL);
    make(f, "a/b", "memory.events", "oom_kill 0\n");
    assert_true(oom_find("0::/a/b\n", f->root, f->found, sizeof(f->found)));
    snprintf(expected, sizeof(expected), "%s/a/b/memory.events", f->root);
    assert_string_equal(f->found, expected);
    make(f, "memory", NULL, NULL);
    make(f, "memory/a", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
    assert_true(oom_find("9:cpu:/x\n4:memory:/a\n0::/\n", f->root, f->found, sizeof(f->found)));
    snprintf(expected, sizeof(expected), "%s/memory/a/memory.oom_control", f->root);
    assert_string_equal(f->found, expected);
    assert_false(oom_find("4:memory:/a\n", f->root, f->found, 20));
    assert_false(oom_find("nonsense\n:\n1:2\n", f->root, f->found, sizeof(f->found)));
    oom_init(&f->oom, "");
    assert_int_equal(access(f->oom.path, R_OK), 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(only_kills_in_its_life_count),
        CASE(each_kill_is_one_process),
        CASE(nothing_known_is_nobody_killed),
        CASE(the_own_group_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

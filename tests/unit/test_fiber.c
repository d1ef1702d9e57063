/* test_fiber.c - switching, pooling, dropping and crashing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fiber/checkers.h"
#include "fiber/fiber.h"

struct counter {
    int value, rounds;
};

static void count(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < c->rounds; i++) {
        c->value++;
        fiber_yield();
    }
}

/* Control goes back and forth, and the last return is told apart from a yield. */
static void resume_and_yield_alternate(void **state)
{
    struct fiber_pool *pool = *state;
    struct counter c = {.rounds = 3};
    struct fiber *f = fiber_create(pool, count, &c);

    for (int i = 1; i <= 3; i++) {
        assert_true(fiber_resume(f));
        assert_int_equal(c.value, i);
        assert_null(fiber_current());
    }
    assert_false(fiber_resume(f));
    fiber_destroy(f);
}

/* Many suspended at once keep their own locals. */
static void stacks_are_separate(void **state)
{
    enum { MANY = 500 };
    struct counter counters[MANY];
    struct fiber *fibers[MANY];

    for (int i = 0; i < MANY; i++) {
        counters[i] = (struct counter){.rounds = i % 7};
        fibers[i] = fiber_create(*state, count, &counters[i]);
        assert_non_null(fibers[i]);
    }
    for (int round = 0; round < 8; round++)
        for (int i = 0; i < MANY; i++)
            if (round <= counters[i].rounds)
                assert_int_equal(fiber_resume(fibers[i]), round < counters[i].rounds);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(counters[i].value, i % 7);
        fiber_destroy(fibers[i]);
    }
}

static void go_deep(int levels)
{
    volatile char frame[4096];

    frame[0] = (char)levels;
    if (levels > 0)
        go_deep(levels - 1);
    else
        fiber_yield();
    frame[1] = frame[0];
}

static void deep(void *arg)
{
    go_deep(*(int *)arg);
}

/* A fiber dropped deep in its calls leaves a stack the next one can use. */
static void dropped_stacks_are_reused(void **state)
{
    for (int i = 0; i < 200; i++) {
        int levels = i % 40;
        struct counter c = {.rounds = 1};
        struct fiber *f = fiber_create(*state, deep, &levels);

        assert_true(fiber_resume(f));
        fiber_destroy(f);
        f = fiber_create(*state, count, &c);
        assert_true(fiber_resume(f));
        assert_false(fiber_resume(f));
        fiber_destroy(f);
    }
}

static void round_upward(void *arg)
{
    (void)arg;
    assert_int_equal(fegetround(), FE_TONEAREST);
    (void)fesetround(FE_UPWARD);
    fiber_yield();
    assert_int_equal(fegetround(), FE_UPWARD);
}

/* Rounding chosen by one fiber is nobody else's. */
static void float_control_is_private(void **state)
{
    struct fiber *a = fiber_create(*state, round_upward, NULL);
    struct fiber *b = fiber_create(*state, round_upward, NULL);

    assert_true(fiber_resume(a));
    assert_int_equal(fegetround(), FE_TONEAREST);
    assert_true(fiber_resume(b));
    assert_false(fiber_resume(a));
    assert_false(fiber_resume(b));
    assert_int_equal(fegetround(), FE_TONEAREST);
    fiber_destroy(a);
    fiber_destroy(b);
}

static volatile int *volatile nowhere;

static void overflow(void *arg)
{
    int levels = 1 << 20;
    (void)arg;
    deep(&levels);
}

static void crash(void *arg)
{
    (void)arg;
    *nowhere = 1;
}

/* Run fn on a fiber in a child process; its stderr and the signal it died of come back. */
static int die_of(fiber_fn fn, char *ret_text, size_t size)
{
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);

    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        struct fiber_pool *pool = fiber_pool_create(1);
        if (pool == NULL || fiber_watch_crashes() != AIKI_OK)
            _exit(3);
        struct fiber *f = fiber_create(pool, fn, NULL);
        fiber_set_label(f, "01JD2V7Q8X3M5N7P9R1S3T5V7W", "order");
        (void)fiber_resume(f);
        _exit(4);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], ret_text, size - 1);
    ret_text[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* A stack overflow and a wild pointer both name run and workflow and die by the signal. */
static void crashes_name_the_run(void **state)
{
    char text[2048];
    (void)state;

    if (FIBER_ASAN || FIBER_TSAN)
        skip(); /* the sanitizer's own report comes instead */
    assert_int_equal(die_of(overflow, text, sizeof(text)), SIGSEGV);
    assert_non_null(strstr(text, "STACK OVERFLOW in run 01JD2V7Q8X3M5N7P9R1S3T5V7W (order)"));
    assert_non_null(strstr(text, "bytes below the 256 KiB stack"));
    assert_int_equal(die_of(crash, text, sizeof(text)), SIGSEGV);
    assert_non_null(strstr(text, "CRASH in run 01JD2V7Q8X3M5N7P9R1S3T5V7W (order): signal 11"));
}

static int set_up(void **state)
{
    *state = fiber_pool_create(64);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    fiber_pool_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(resume_and_yield_alternate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stacks_are_separate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(dropped_stacks_are_reused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(float_control_is_private, set_up, tear_down),
        cmocka_unit_test(crashes_name_the_run),
    };
    return cmocka_run_group_tests_name("fiber", tests, NULL, NULL);
}

/* test_fiber.c - switching, pooling, dropping and crashing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
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

static void give_up(void *arg)
{
    (void)arg;
    abort();
}

/* No instruction would fault again: the handler has to send it on. */
static void be_sent_one(void *arg)
{
    (void)arg;
    (void)raise(SIGSEGV); /* comes back only when the handler lost it */
}

static void on_fiber(fiber_fn fn)
{
    struct fiber_pool *pool = fiber_pool_create(1);
    struct fiber *f = pool != NULL ? fiber_create(pool, fn, NULL) : NULL;
    if (f == NULL)
        _exit(3);
    fiber_set_label(f, "01JD2V7Q8X3M5N7P9R1S3T5V7W", "order");
    (void)fiber_resume(f);
}

static fiber_fn task_fn;
static void *task_thread(void *arg)
{
    if (fiber_watch_thread() != AIKI_OK)
        _exit(3);
    fiber_label_thread("01JD2V7Q8X3M5N7P9R1S3T5V7W", "charge");
    task_fn(arg);
    return NULL;
}

static void on_task_thread(fiber_fn fn)
{
    pthread_t thread;
    task_fn = fn;
    if (pthread_create(&thread, NULL, task_thread, NULL) == 0)
        (void)pthread_join(thread, NULL);
}

/* Run fn there in a child process; its stderr and the signal it died of come back. */
static int die_of(void (*there)(fiber_fn fn), fiber_fn fn, char *ret_text, size_t size)
{
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);

    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        if (fiber_watch_crashes() != AIKI_OK)
            _exit(3);
        there(fn);
        _exit(4);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n = 1; n > 0 && length < size - 1; length += n > 0 ? (size_t)n : 0)
        n = read(ends[0], ret_text + length, size - 1 - length); /* a sanitizer may have its say first */
    ret_text[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Whatever kills workflow or task code: run and function are named, and the signal stays what it was. */
static void crashes_name_the_run(void **state)
{
#define RUN_TEXT " in run 01JD2V7Q8X3M5N7P9R1S3T5V7W "
    static const struct {
        void (*there)(fiber_fn fn);
        fiber_fn fn;
        int signal_number;
        const char *text;
    } cases[] = {
        {on_fiber, overflow, SIGSEGV, "STACK OVERFLOW" RUN_TEXT "(workflow order): address 0x"},
        {on_fiber, overflow, SIGSEGV, "bytes below the 256 KiB stack"},
        {on_fiber, crash, SIGSEGV, "CRASH" RUN_TEXT "(workflow order): signal 11 at address 0x0"},
        {on_fiber, be_sent_one, SIGSEGV, "CRASH" RUN_TEXT "(workflow order): signal 11\n"},
        {on_fiber, give_up, SIGABRT, "CRASH" RUN_TEXT "(workflow order): signal 6\n"},
        {on_task_thread, overflow, SIGSEGV, "STACK OVERFLOW" RUN_TEXT "(task charge): the stack"},
        {on_task_thread, crash, SIGSEGV, "CRASH" RUN_TEXT "(task charge): signal 11 at address 0x0"},
        {on_task_thread, give_up, SIGABRT, "CRASH" RUN_TEXT "(task charge): signal 6\n"},
    };
    (void)state;

    if (FIBER_TSAN)
        skip(); /* the sanitizer's own report comes instead */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[2048];
        assert_int_equal(die_of(cases[i].there, cases[i].fn, text, sizeof(text)),
                         cases[i].signal_number);
        if (strstr(text, cases[i].text) == NULL)
            fail_msg("expected \"%s\", found \"%s\"", cases[i].text, text);
    }
}

/* A pipe that is full, and that nobody reads. */
static void print_to_nobody(void)
{
    int ends[2];
    char bytes[4096] = "";
    if (pipe(ends) != 0 || fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0)
        _exit(3);
    while (write(ends[1], bytes, sizeof(bytes)) > 0)
        continue;
    while (write(ends[1], bytes, 1) > 0)
        continue;
    if (fcntl(ends[1], F_SETFL, 0) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        _exit(3);
}

/* What has crashed ends, whatever becomes of the line that says so. */
static void a_crash_ends_though_nobody_reads(void **state)
{
    enum { TEST_S_MAX = 30 };
    void (*const places[])(fiber_fn fn) = {on_fiber, on_task_thread};
    (void)state;

    if (FIBER_TSAN)
        skip(); /* as above */
    (void)alarm(TEST_S_MAX); /* instead of waiting for ever */
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int status = 0;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            print_to_nobody();
            if (fiber_watch_crashes() != AIKI_OK)
                _exit(3);
            places[i](be_sent_one); /* of which no sanitizer speaks before us */
            _exit(4);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    }
    (void)alarm(0);
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
        cmocka_unit_test(a_crash_ends_though_nobody_reads),
    };
    return cmocka_run_group_tests_name("fiber", tests, NULL, NULL);
}

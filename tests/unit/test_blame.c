/* test_blame.c - who says what on the page when a process ends, each case in a process of its own. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gnu/libc-version.h>

#include <cmocka.h>

#include "base/blame.h"

enum { THREADS = 3, LIMIT_S = 30 };

static pthread_barrier_t all_in_code, all_hit; /* the latter: that crash */
static struct blame_page *own_page; /* as the child inherits it */

static void enter(uint8_t run)
{
    const struct blame_code code = {.run = {{run}}, .attempt = 1, .name = "charge"};
    blame_thread();
    blame_enter(&code);
    (void)pthread_barrier_wait(&all_in_code);
}

static void go_on_for_ever(void)
{
    for (;;)
        (void)pause();
}

static void block_all(void)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static void *healthy(void *arg)
{
    enter(*(uint8_t *)arg);
    go_on_for_ever();
    return NULL;
}

/* As in a signal handler that was entered. */
static void *crashing(void *arg)
{
    block_all();
    enter(*(uint8_t *)arg);
    struct blame_death *d = blame_dying(SIGFPE);
    (void)pthread_barrier_wait(&all_hit);
    blame_settle(d);
    _exit(9);
}

static void *exiting(void *arg)
{
    enter(*(uint8_t *)arg);
    exit(7);
}

/* Does not stand still: it calls exit() whatever the others do. */
static void *exiting_deaf(void *arg)
{
    block_all();
    return exiting(arg);
}

static unsigned told_count(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < BLAME_DEATHS_MAX; i++)
        count += own_page->deaths[i].told != 0 && own_page->deaths[i].thread != 0;
    return count;
}

/* From this release on exit() lets one thread at a time in. */
static unsigned exits_at_once(void)
{
    return strverscmp(gnu_get_libc_version(), "2.41") < 0 ? THREADS - 1 : 1;
}

/* Its stack takes longer than the others need for their exit(). */
static void *crashing_long(void *arg)
{
    block_all();
    enter(*(uint8_t *)arg);
    struct blame_death *d = blame_dying(SIGFPE);
    while (told_count() < exits_at_once())
        (void)sched_yield();
    blame_settle(d);
    _exit(9);
}

static void *deaf(void *arg)
{
    block_all();
    return healthy(arg);
}

static void *forking(void *arg)
{
    enter(*(uint8_t *)arg);
    pid_t pid = fork();
    if (pid == 0) {
        blame_settle(blame_dying(SIGSEGV));
        exit(1);
    }
    (void)waitpid(pid, NULL, 0);
    _exit(9);
}

/* Crashes when the process is closed, and would end it. */
static atomic_int may_crash;

static void *late(void *arg)
{
    block_all();
    enter(*(uint8_t *)arg);
    while (atomic_load(&may_crash) == 0)
        (void)sched_yield();
    (void)blame_dying(SIGSEGV);
    _exit(9);
}

/* What exit() does behind the account: the other thread crashes now, and has a place that is given up, or
 * an account. */
static void wait_for_late(void)
{
    const struct timespec moment = {0, 100 * 1000};
    atomic_store(&may_crash, 1);
    while (atomic_load(&own_page->deaths[1].told) == 0 && atomic_load(&own_page->deaths[1].thread) == 0)
        (void)nanosleep(&moment, NULL);
}

/* Never returns. */
static void be_child(int fd, void *(*const bodies[THREADS])(void *arg))
{
    static uint8_t runs[THREADS] = {1, 2, 3};
    pthread_t thread;
    unsigned hit = 0;
    for (int i = 0; i < THREADS; i++)
        hit += bodies[i] == crashing;
    (void)alarm(LIMIT_S);
    for (int i = 0; i < THREADS; i++)
        if (bodies[i] == late && atexit(wait_for_late) != 0) /* before blame_attach: called after its own */
            _exit(1);
    if (blame_attach(fd) != AIKI_OK || pthread_barrier_init(&all_in_code, NULL, THREADS) != 0 ||
        (hit > 0 && pthread_barrier_init(&all_hit, NULL, hit) != 0))
        _exit(1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, bodies[i], &runs[i]) != 0)
            _exit(1);
    go_on_for_ever();
}

static struct blame_page *page_after(void *(*const bodies[THREADS])(void *arg), int exit_code)
{
    int fd, status;
    struct blame_page *page = blame_create(&fd);
    assert_non_null(page);
    own_page = page;
    pid_t pid = fork();
    if (pid == 0)
        be_child(fd, bodies);
    (void)close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), exit_code);
    return page;
}

static struct blame_slot *slot_of(struct blame_page *page, uint8_t run)
{
    for (unsigned i = 0; i < THREADS; i++)
        if (page->slots[i].run.bytes[0] == run)
            return &page->slots[i];
    fail_msg("run %u has no slot", run);
    return NULL;
}

/* NULL: it left none. */
static struct blame_death *death_of(struct blame_page *page, uint8_t run)
{
    for (unsigned i = 0; i < BLAME_DEATHS_MAX; i++)
        if (page->deaths[i].thread == (unsigned)(slot_of(page, run) - page->slots) + 1)
            return &page->deaths[i];
    return NULL;
}

/* Two at once: both have their say before the process ends; the third stands still. */
static void all_who_crash_are_heard(void **state)
{
    void *(*const bodies[])(void *) = {crashing, healthy, crashing};
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct blame_page *page = page_after(bodies, 9);
        assert_int_equal(page->deaths_taken, 2);
        assert_int_equal(death_of(page, 1)->signal, SIGFPE);
        assert_int_equal(death_of(page, 1)->told + death_of(page, 3)->told, 2);
        assert_null(death_of(page, 2));
        assert_int_equal(slot_of(page, 2)->stopped, 1);
        assert_int_equal(slot_of(page, 1)->stopped + slot_of(page, 3)->stopped, 0);
        blame_destroy(page);
    }
}

/* Beside a crash exit() only says so and waits; whichever was first ends the process. */
static void who_exits_is_heard(void **state)
{
    void *(*const bodies[])(void *) = {exiting, healthy, healthy};
    struct blame_page *page = page_after(bodies, 7);
    (void)state;
    assert_non_null(death_of(page, 1));
    assert_int_equal(death_of(page, 1)->signal, 0);
    assert_int_equal(slot_of(page, 2)->stopped + slot_of(page, 3)->stopped, 2);
    blame_destroy(page);
}

/* Several threads that call exit() at once, as they find it: whichever is first waits for the others. */
static void all_who_exit_are_heard(void **state)
{
    void *(*const bodies[])(void *) = {exiting_deaf, exiting_deaf, crashing_long};
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct blame_page *page = page_after(bodies, 7);
        own_page = page;
        assert_int_equal(told_count(), exits_at_once() + 1);
        assert_int_equal(death_of(page, 3)->told, 1);
        blame_destroy(page);
    }
}

/* A thread that cannot be stopped delays the end, and nobody says that it stood still. */
static void who_is_deaf_is_not_waited_for_long(void **state)
{
    void *(*const bodies[])(void *) = {crashing, deaf, healthy};
    struct blame_page *page = page_after(bodies, 9);
    (void)state;
    assert_int_equal(slot_of(page, 2)->stopped, 0);
    assert_int_equal(slot_of(page, 3)->stopped, 1);
    blame_destroy(page);
}

/* Who crashes once everybody was heard has no account that could be cut short, and ends nothing. */
static void who_comes_too_late_is_not_heard(void **state)
{
    void *(*const bodies[])(void *) = {exiting, late, healthy};
    struct blame_page *page = page_after(bodies, 7);
    (void)state;
    assert_int_equal(page->deaths_taken, 2);
    assert_non_null(death_of(page, 1));
    assert_null(death_of(page, 2));
    assert_int_equal(slot_of(page, 2)->stopped, 0); /* a suspect */
    blame_destroy(page);
}

/* What plugin code forks has the page mapped, too. */
static void what_a_fork_does_is_not_on_the_page(void **state)
{
    void *(*const bodies[])(void *) = {forking, healthy, healthy};
    struct blame_page *page = page_after(bodies, 9);
    (void)state;
    assert_int_equal(page->deaths_taken, 0);
    assert_int_equal(slot_of(page, 2)->stopped, 0);
    blame_destroy(page);
}

/* The page is as large as it was made, or it is none. */
static void another_page_is_refused(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(blame_attach(ends[0]), AIKI_INTERNAL);
    (void)close(ends[1]);
    assert_null(blame_dying(SIGSEGV));
    blame_settle(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_page_is_refused),
        cmocka_unit_test(all_who_crash_are_heard),
        cmocka_unit_test(who_exits_is_heard),
        cmocka_unit_test(all_who_exit_are_heard),
        cmocka_unit_test(who_is_deaf_is_not_waited_for_long),
        cmocka_unit_test(who_comes_too_late_is_not_heard),
        cmocka_unit_test(what_a_fork_does_is_not_on_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_blame.c - who says what on the page when a process ends, each case in a process of its own. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* The line of the map of the child's own page with these rights; 0: there is none. */
static uintptr_t page_with(const char *rights)
{
    char line[512], found[8];
    unsigned long from, to;
    uintptr_t at = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && at == 0 && fgets(line, sizeof(line), maps) != NULL)
        if (strstr(line, "memfd:aiki-blame") != NULL && sscanf(line, "%lx-%lx %7s", &from, &to, found) == 3 &&
            strcmp(found, rights) == 0)
            at = from;
    if (maps != NULL)
        (void)fclose(maps);
    return at;
}

static void *enter_and_leave(void *arg)
{
    enter(*(uint8_t *)arg);
    for (int i = 0; i < 2000; i++) {
        const struct blame_code code = {.run = {{*(uint8_t *)arg}}, .attempt = 1, .name = "charge"};
        blame_leave(1);
        blame_enter(&code);
    }
    (void)pthread_barrier_wait(&all_hit);
    return NULL;
}

static void on_hit_here(int signal_number)
{
    _exit(signal_number);
}

/* As code would that writes where it should not, or (before) as one that runs over the end of its memory. */
static void *writing_there(const uint8_t *run, bool before)
{
    (void)enter_and_leave((void *)run);
    (void)signal(SIGSEGV, on_hit_here);
    uintptr_t at = page_with("r--s");
    if (at == 0)
        _exit(1);
    *(volatile uint8_t *)(before ? at - 1 : at) = 0; /* NOLINT(performance-no-int-to-ptr): that is the point */
    _exit(2);
}

static void *writing(void *arg)
{
    return writing_there(arg, false);
}

static void *overrunning(void *arg)
{
    return writing_there(arg, true);
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

static bool is_protected(void *(*body)(void *arg))
{
    return body == writing || body == overrunning || body == enter_and_leave;
}

/* Never returns. */
static void be_child(int fd, void *(*const bodies[THREADS])(void *arg))
{
    static uint8_t runs[THREADS] = {1, 2, 3};
    pthread_t thread;
    unsigned hit = 0;
    for (int i = 0; i < THREADS; i++)
        hit += bodies[i] == crashing || is_protected(bodies[i]);
    (void)alarm(LIMIT_S);
    for (int i = 0; i < THREADS; i++)
        if (bodies[i] == late && atexit(wait_for_late) != 0) /* before blame_attach: called after its own */
            _exit(1);
    if (blame_attach(fd) != AIKI_OK || pthread_barrier_init(&all_in_code, NULL, THREADS) != 0 ||
        (hit > 0 && pthread_barrier_init(&all_hit, NULL, hit) != 0))
        _exit(1);
    if (is_protected(bodies[0]))
        blame_protect();
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

static unsigned stood_still(struct blame_page *page, uint8_t run)
{
    return page->stopped[slot_of(page, run) - page->slots];
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
        assert_int_equal(stood_still(page, 2), 1);
        assert_int_equal(stood_still(page, 1) + stood_still(page, 3), 0);
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
    assert_int_equal(stood_still(page, 2) + stood_still(page, 3), 2);
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
    assert_int_equal(stood_still(page, 2), 0);
    assert_int_equal(stood_still(page, 3), 1);
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
    assert_int_equal(stood_still(page, 2), 0); /* a suspect */
    blame_destroy(page);
}

/* In a process with one run: all of its threads can enter and leave code, and code that writes there is hit. */
static void a_protected_page_cannot_be_written_over(void **state)
{
    void *(*const bodies[][THREADS])(void *) = {{writing, enter_and_leave, enter_and_leave},
                                                {overrunning, enter_and_leave, enter_and_leave}};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct blame_page *page = page_after(bodies[i], SIGSEGV);
        assert_true(blame_is_sound(page));
        for (uint8_t run = 1; run <= THREADS; run++) {
            assert_int_equal(slot_of(page, run)->busy, 1);
            assert_int_equal(slot_of(page, run)->attempts, 2001);
        }
        blame_destroy(page);
    }
}

/* What plugin code forks has the page mapped, too. */
static void what_a_fork_does_is_not_on_the_page(void **state)
{
    void *(*const bodies[])(void *) = {forking, healthy, healthy};
    struct blame_page *page = page_after(bodies, 9);
    (void)state;
    assert_int_equal(page->deaths_taken, 0);
    assert_int_equal(stood_still(page, 2), 0);
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
        cmocka_unit_test(a_protected_page_cannot_be_written_over),
        cmocka_unit_test(what_a_fork_does_is_not_on_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

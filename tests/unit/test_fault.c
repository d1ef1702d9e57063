/* test_fault.c - a child per case passes one point three times; what became of it? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"

enum { SURVIVED = 7, FAILED_ONCE = 8 };

static void pass_three_times(void)
{
    int failures = 0;
    for (int i = 0; i < 3; i++)
        failures += fault_fails(child_acked);
    fault_point(child_assigned);
    _exit(failures == 0 ? SURVIVED : failures == 1 ? FAILED_ONCE : 99);
}

/* The wait status of a process started with variable=value; stopped ones are then killed. */
static int outcome_with(const char *variable, const char *value)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setenv(variable, value, 1);
        (void)!freopen("/dev/null", "w", stderr);
        pass_three_times();
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFSTOPPED(status)) {
        int end = 0;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &end, 0);
    }
    return status;
}

static int outcome(const char *fault) { return outcome_with("AIKI_FAULT", fault); }

#ifdef AIKI_FAULT_INJECTION
static void acts_on_the_named_pass(void **state)
{
    (void)state;
    int status = outcome("child.acked=kill@3");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = outcome("server.commit.after=kill,child.acked=exit@2");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 41);
    status = outcome("child.acked=stop");
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    status = outcome("child.acked=fail@2");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == FAILED_ONCE);
    status = outcome("child.acked=kill@4");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED);
}

/* A typing mistake in a scenario must not look like a fault that was survived. */
static void refuses_what_it_does_not_know(void **state)
{
    (void)state;
    static const char *const bad[] = {"child.acked", "no.such.point=kill", "child.acked=explode",
                                      "child.acked=kill@0", "child.acked=kill@x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int status = outcome(bad[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    }
}

static void refuses_modes_it_does_not_know(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(outcome_with("AIKI_FAULT_MODE", "no-such-mode")), 2);
    assert_int_equal(WEXITSTATUS(outcome_with("AIKI_FAULT_MODE", "duplicate,")), SURVIVED);
}

/* One reply of each type is lost, and none without the mode. */
static void the_first_reply_of_a_type_is_lost(void **state)
{
    (void)state;
    for (int on = 0; on <= 1; on++) {
        pid_t pid = fork();
        int status = 0;
        assert_true(pid >= 0);
        if (pid == 0) {
            if (on)
                (void)setenv("AIKI_FAULT_MODE", "page-of-one,drop-first-reply", 1);
            int lost = fault_drops_reply(7) + fault_drops_reply(7) + fault_drops_reply(8);
            _exit(lost + 10 * fault_mode(page_of_one) + 20 * fault_mode(duplicate));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), on ? 12 : 0);
    }
}

static void once_is_once_for_all_processes(void **state)
{
    (void)state;
    char path[] = "/tmp/aiki-fault-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)unlink(path);
    (void)setenv("AIKI_FAULT_ONCE", path, 1);
    assert_true(WIFSIGNALED(outcome("child.acked=kill")));
    assert_int_equal(WEXITSTATUS(outcome("child.acked=kill")), SURVIVED);
    (void)unsetenv("AIKI_FAULT_ONCE");
    (void)unlink(path);
}

/* Each point is noted once a process, in the order of its first pass. */
static void passes_are_noted(void **state)
{
    (void)state;
    char path[] = "/tmp/aiki-fault-XXXXXX";
    char text[200] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)setenv("AIKI_FAULT_LOG", path, 1);
    assert_int_equal(WEXITSTATUS(outcome("")), SURVIVED);
    (void)unsetenv("AIKI_FAULT_LOG");
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    assert_string_equal(text, "child.acked\nchild.assigned\n");
    (void)close(fd);
    (void)unlink(path);
}
#else
static void points_are_nothing(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(outcome("child.acked=kill")), SURVIVED);
}
#endif

static void names_are_the_dotted_ones(void **state)
{
    (void)state;
    assert_string_equal(fault_name(FAULT_server_commit_after), "server.commit.after");
    assert_string_equal(fault_name(FAULT_child_finish_sent), "child.finish.sent");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef AIKI_FAULT_INJECTION
        cmocka_unit_test(acts_on_the_named_pass),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(refuses_modes_it_does_not_know),
        cmocka_unit_test(the_first_reply_of_a_type_is_lost),
        cmocka_unit_test(once_is_once_for_all_processes),
        cmocka_unit_test(passes_are_noted),
#else
        cmocka_unit_test(points_are_nothing),
#endif
        cmocka_unit_test(names_are_the_dotted_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

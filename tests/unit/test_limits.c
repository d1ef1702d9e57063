/* test_limits.c - settings of limits, what a process uses beside them, and who a line is from. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/blame.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/usage.h"

enum { TASK_THREADS = 8, MIB = 1024 * 1024 };

static struct limits_settings defaults(void)
{
    return (struct limits_settings){.of = {"0", "0", "0", "0", "0", "0"}};
}

static void a_number_for_all_and_others_for_some(void **state)
{
    struct limits_settings s = defaults();
    (void)state;
    s.of[LIMIT_MEMORY] = "2048,billing.so=4096,free.so=0";
    assert_int_equal(limits_check(&s, TASK_THREADS, NULL), AIKI_OK);
    assert_int_equal(limits_for(&s, "hello.so").of[LIMIT_MEMORY], 2048);
    assert_int_equal(limits_for(&s, "billing.so").of[LIMIT_MEMORY], 4096);
    assert_int_equal(limits_for(&s, "free.so").of[LIMIT_MEMORY], 0);
    assert_int_equal(limits_for(&s, "hello.so").of[LIMIT_FILES], 0);
}

static void nonsense_is_refused_by_name(void **state)
{
    static const char *const wrong[] = {"x", "-1", "1", "=5", "a.so=", "5 5", "99999999999", "100,,100x"};
    (void)state;
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        for (unsigned k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
            struct limits_settings s = defaults();
            aiki_error err = AIKI_ERROR_INIT;
            if (k == 2 && i >= LIMIT_CPU)
                continue; /* 1 is a number of these */
            s.of[i] = wrong[k];
            assert_int_equal(limits_check(&s, TASK_THREADS, &err), AIKI_INVALID);
            assert_non_null(strstr(err.message, limit_setting((enum limit)i)));
        }
    }
}

static void a_process_stays_idle_for_so_long(void **state)
{
    static const char *const wrong[] = {"x", "-1", "=5", "a.so=", "5 5", "99999999999", "alway", "always1", "100,,always"};
    (void)state;
    assert_int_equal(idle_check(IDLE_DEFAULT, NULL), AIKI_OK);
    assert_int_equal(idle_check("60,billing.so=always,free.so=0", NULL), AIKI_OK);
    assert_int_equal(idle_seconds("60,billing.so=always,free.so=0", "hello.so"), 60);
    assert_true(idle_seconds("60,billing.so=always,free.so=0", "billing.so") == IDLE_ALWAYS);
    assert_int_equal(idle_seconds("60,billing.so=always,free.so=0", "free.so"), 0);
    assert_true(idle_seconds("always,billing.so=5", "hello.so") == IDLE_ALWAYS);
    assert_int_equal(idle_seconds("billing.so=always", "hello.so"), IDLE_UNSAID_S);
    assert_true(idle_seconds(NULL, "hello.so") == IDLE_ALWAYS);
    for (unsigned k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
        aiki_error err = AIKI_ERROR_INIT;
        assert_int_equal(idle_check(wrong[k], &err), AIKI_INVALID);
        assert_non_null(strstr(err.message, IDLE_SETTING));
        assert_non_null(strstr(err.message, "or always"));
    }
}

static void processes_with_one_run_are_counted_by_file(void **state)
{
    static const char *const wrong[] = {"x", "-1", "=5", "a.so=", "5 5", "100001", "always"};
    (void)state;
    assert_int_equal(alone_check(ALONE_DEFAULT, NULL), AIKI_OK);
    assert_int_equal(alone_check("2,video.so=32,free.so=0", NULL), AIKI_OK);
    assert_int_equal(alone_max("2,video.so=32,free.so=0", "hello.so"), 2);
    assert_int_equal(alone_max("2,video.so=32,free.so=0", "video.so"), 32);
    assert_int_equal(alone_max("2,video.so=32,free.so=0", "free.so"), 0);
    assert_int_equal(alone_max("video.so=32", "hello.so"), ALONE_UNSAID);
    assert_int_equal(alone_max(NULL, "hello.so"), ALONE_UNSAID);
    for (unsigned k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
        aiki_error err = AIKI_ERROR_INIT;
        assert_int_equal(alone_check(wrong[k], &err), AIKI_INVALID);
        assert_non_null(strstr(err.message, ALONE_SETTING));
    }
}

static void threads_leave_room_for_task_threads(void **state)
{
    struct limits_settings s = defaults();
    (void)state;
    s.of[LIMIT_THREADS] = "16";
    assert_int_equal(limits_check(&s, TASK_THREADS, NULL), AIKI_OK);
    assert_int_equal(limits_check(&s, TASK_THREADS + 1, NULL), AIKI_INVALID);
}

/* What the kernel will refuse is not promised: the lower number is in force, and can be told. */
static void descriptors_are_not_more_than_there_are(void **state)
{
    enum { HARD = 200 };
    struct limits_settings s = defaults();
    uint64_t asked, most;
    int status;
    (void)state;
    s.of[LIMIT_FILES] = "128,a.so=200,b.so=0,c.so=1000000";
    pid_t pid = fork(); /* a hard limit that is lowered stays so */
    if (pid == 0) {
        const struct rlimit few = {HARD, HARD};
        bool ok = setrlimit(RLIMIT_NOFILE, &few) == 0 && limits_files_lack(&s, &asked, &most) &&
                  asked == 1000000 && most == HARD && limits_for(&s, "c.so").of[LIMIT_FILES] == HARD &&
                  limits_for(&s, "a.so").of[LIMIT_FILES] == HARD && limits_for(&s, "b.so").of[LIMIT_FILES] == 0 &&
                  limits_for(&s, "x.so").of[LIMIT_FILES] == 128;
        s.of[LIMIT_FILES] = "128,a.so=200";
        _exit(ok && !limits_files_lack(&s, &asked, &most) && asked == HARD ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* This process is the one that is looked at; it computes, so that it is not idle. */
static bool look(struct meter *m, struct limit_hit *ret_hit)
{
    static struct blame_page *page;
    int fd;
    if (page == NULL) {
        page = blame_create(&fd);
        assert_non_null(page);
        page->slots[3].attempts = 7;
        page->slots[5].attempts = 5;
        (void)close(fd);
    }
    return meter_look(m, getpid(), page, ret_hit);
}

static void what_it_uses_is_seen(void **state)
{
    struct meter m = {.since_mono_ms = clock_mono_ms() - 3000, .limits = {.of = {[LIMIT_TASKS] = 100}}};
    struct limit_hit hit;
    static uint8_t own[MIB / 4]; /* at least, however little this program needs */
    (void)state;
    explicit_bzero(own, sizeof(own));
    assert_false(look(&m, &hit));
    struct usage before = m.now;
    assert_in_range(before.memory_bytes, MIB / 4, (uint64_t)1024 * MIB);
    assert_int_equal(before.threads, 1);
    assert_int_equal(before.tasks, 12);
    assert_in_range(before.age_ms, 3000, 60000);
    assert_true(before.cpu_ns > 0 && before.files >= 3);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint8_t *block = malloc((size_t)64 * MIB);
    assert_true(fd >= 0 && block != NULL);
    explicit_bzero(block, (size_t)64 * MIB); /* not left out, as memset may be */
    assert_false(look(&m, &hit));
    assert_int_equal(m.now.files, before.files + 1);
    assert_true(m.now.memory_bytes >= before.memory_bytes + 60 * MIB);
    free(block);
    (void)close(fd);
}

static void the_worst_is_said(void **state)
{
    struct limit_hit hit;
    char text[LIMIT_TEXT_SIZE];
    (void)state;
    struct meter tasks = {.since_mono_ms = clock_mono_ms(), .limits = {.of = {[LIMIT_TASKS] = 12}}};
    assert_true(look(&tasks, &hit));
    assert_true(hit.limit == LIMIT_TASKS && !hit.over);
    assert_string_equal(limit_text(&hit, text), "12 tasks, child-tasks is 12");

    struct meter aged = {.since_mono_ms = clock_mono_ms() - 5000, .limits = {.of = {[LIMIT_AGE] = 5}}};
    assert_true(look(&aged, &hit));
    assert_true(hit.limit == LIMIT_AGE && !hit.over);

    uint8_t *block = malloc((size_t)64 * MIB);
    assert_non_null(block);
    explicit_bzero(block, (size_t)64 * MIB); /* not left out, as memset may be */
    struct meter both = {.since_mono_ms = clock_mono_ms(),
                         .limits = {.of = {[LIMIT_MEMORY] = 32, [LIMIT_TASKS] = 1}}};
    assert_true(look(&both, &hit));
    assert_true(hit.limit == LIMIT_MEMORY && hit.over && hit.allowed == 32 && hit.found > 32);
    free(block);
}

/* It used nothing since: nothing is read of it, and nothing has changed. */
static void who_is_gone_uses_nothing(void **state)
{
    struct meter m = {.since_mono_ms = clock_mono_ms()};
    struct blame_page *page;
    struct limit_hit hit;
    int fd;
    (void)state;
    page = blame_create(&fd);
    assert_non_null(page);
    assert_false(meter_look(&m, INT32_MAX, page, &hit));
    assert_int_equal(m.now.memory_bytes, 0);
    (void)close(fd);
    blame_destroy(page);
}

/* ---- whose a line is ----------------------------------------------------------------------- */

static struct blame_said said(const char *line, size_t size)
{
    return blame_read_tag((aiki_view){(const uint8_t *)line, size});
}

static void a_tag_is_written_and_read(void **state)
{
    int fd;
    char tag[BLAME_TAG_SIZE];
    (void)state;
    assert_int_equal(blame_tag(tag), 0);
    struct blame_page *page = blame_create(&fd);
    assert_non_null(page);
    assert_int_equal(blame_attach(fd), AIKI_OK);
    blame_thread();
    blame_enter(&(struct blame_code){.run = {{1, 2, 3}}, .attempt = 4, .name = "charge"});
    size_t size = blame_tag(tag);
    struct blame_said s = said(tag, size);
    assert_int_equal(s.size_bytes, size);
    assert_int_equal(s.attempt, 4);
    assert_true(view_is(s.name, "charge"));
    for (size_t n = 0; n < size; n++)
        assert_int_equal(said(tag, n).size_bytes, 0); /* a part of it is none */
    assert_int_equal(page->slots[0].attempts, 1);
    blame_leave(1);
    assert_int_equal(blame_tag(tag), 0);
    blame_destroy(page);
}

static void other_bytes_are_no_tag(void **state)
{
    static const char *const lines[] = {"", "x", "\x01", "\x01\x02", "\x01 1 x\x02",
                                        "\x01" "01ARZ3NDEKTSV4RRFFQ69G5FAV x y\x02",
                                        "\x01" "01ARZ3NDEKTSV4RRFFQ69G5FAV 1234567890 y\x02",
                                        "\x01" "01ARZ3NDEKTSV4RRFFQ69G5FAV  y\x02"};
    (void)state;
    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(said(lines[i], strlen(lines[i])).size_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_for_all_and_others_for_some),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(a_process_stays_idle_for_so_long),
        cmocka_unit_test(processes_with_one_run_are_counted_by_file),
        cmocka_unit_test(threads_leave_room_for_task_threads),
        cmocka_unit_test(descriptors_are_not_more_than_there_are),
        cmocka_unit_test(what_it_uses_is_seen),
        cmocka_unit_test(the_worst_is_said),
        cmocka_unit_test(who_is_gone_uses_nothing),
        cmocka_unit_test(a_tag_is_written_and_read),
        cmocka_unit_test(other_bytes_are_no_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

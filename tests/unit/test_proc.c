/* test_proc.c - child processes that load, refuse, hang, shout and die. This program plays the
 * child, too: started with --child it behaves as its label says. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/fake_server.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/output.h"
#include "broker/proc.h"
#include "wire/error.h"

/* ---- the child's side ---------------------------------------------------------------------- */

enum { CHILD_FD = 3, SHOUTED_LINES = 5000 };

static const char *behaviour;

static void say_ready(struct conn *c)
{
    conn_send(c, READY, 0, .descriptor = view_of("\x80"));
}

static void child_loaded(struct conn *c)
{
    if (strcmp(behaviour, "ready") == 0) {
        say_ready(c);
    } else if (strcmp(behaviour, "refuse") == 0) {
        AUTO(buf) aiki_writer w;
        aiki_error e = AIKI_ERROR_INIT;
        buf_init(&w);
        (void)error_code(&e, AIKI_INVALID, "PLAYED", "as the label says");
        error_write(&w, &e);
        conn_send(c, REFUSED, 0, .status = e.status, .error = aiki_writer_view(&w));
    } else if (strcmp(behaviour, "die") == 0) {
        (void)raise(SIGKILL);
    } else if (strcmp(behaviour, "exit") == 0) {
        _exit(7);
    } else if (strcmp(behaviour, "words") == 0) { /* says something and is gone: nothing is lost */
        say_ready(c);
        conn_send(c, DROP, 0, .run = {{1}});
        conn_flush(c);
        _exit(0);
    } else if (strcmp(behaviour, "shout") == 0) {
        for (int i = 0; i < SHOUTED_LINES; i++)
            printf("line %d\n", i);
        (void)fflush(stdout);
        say_ready(c);
    } else if (strcmp(behaviour, "garbage") == 0) {
        say_ready(c);
        conn_flush(c);
        ssize_t n = write(CHILD_FD, "not a frame at all, not a frame", 31);
        for (;;) /* does not see its line end: only a signal ends it */
            (void)(n + pause());
    } else if (strcmp(behaviour, "grandchild") == 0) { /* keeps the socket open after our death */
        if (fork() == 0) {
            (void)prctl(PR_SET_PDEATHSIG, 0);
            (void)alarm(20);
            for (;;)
                (void)pause();
        }
        _exit(0);
    }
}

static void on_child_frame(struct conn *c, const struct frame *f, void *arg)
{
    (void)arg;
    if (f->type == WIRE_LOAD)
        child_loaded(c);
}

static void on_child_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    (void)c;
    (void)status;
    (void)why;
    (void)arg;
    _exit(0);
}

static int play_child(const char *label)
{
    static const struct conn_callbacks callbacks = {.on_frame = on_child_frame,
                                                    .on_closed = on_child_closed};
    uv_loop_t *loop = uv_default_loop();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    behaviour = label;
    if (conn_open_fd(conn_loop_create(loop), CHILD_FD, &callbacks, NULL) == NULL)
        return 1;
    return uv_run(loop, UV_RUN_DEFAULT);
}

/* ---- the broker's side --------------------------------------------------------------------- */

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct proc *proc;
    unsigned readies, refusals, frames, gone, conns_gone;
    struct proc_end end;
    char refusal[AIKI_CODE_SIZE];
    aiki_error err;
};

static void on_ready(struct proc *p, aiki_view descriptor, void *arg)
{
    struct fixture *f = arg;
    assert_non_null(proc_conn(p));
    assert_true(view_is(descriptor, "\x80"));
    f->readies++;
}

static void on_refused(struct proc *p, aiki_view error, void *arg)
{
    struct fixture *f = arg;
    aiki_error e = AIKI_ERROR_INIT;
    (void)p;
    assert_int_equal(error_read(error, &e, NULL, NULL), AIKI_OK);
    snprintf(f->refusal, sizeof(f->refusal), "%s", e.code);
    f->refusals++;
}

static void on_frame(struct proc *p, const struct frame *frame, void *arg)
{
    struct fixture *f = arg;
    (void)p;
    assert_int_equal(frame->type, WIRE_DROP);
    f->frames++;
}

static void on_gone(struct proc *p, const struct proc_end *end, void *arg)
{
    struct fixture *f = arg;
    assert_null(proc_conn(p));
    f->end = *end;
    f->proc = NULL;
    f->gone++;
}

static void on_conns_gone(void *arg)
{
    struct fixture *f = arg;
    f->conns_gone++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->err.struct_size = sizeof(f->err);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->conns = conn_loop_create(&f->loop);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->proc != NULL) {
        proc_kill(f->proc);
        fake_run_until(&f->loop, &f->gone, 1);
    }
    conn_loop_destroy(f->conns, on_conns_gone, f);
    fake_run_until(&f->loop, &f->conns_gone, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

static aiki_status spawn_from(struct fixture *f, const char *executable, const char *label)
{
    static const struct proc_callbacks callbacks = {
        .on_ready = on_ready, .on_refused = on_refused, .on_frame = on_frame, .on_gone = on_gone};
    const struct proc_options options = {.executable = executable,
                                         .label = label,
                                         .path = "/nowhere.so",
                                         .file = "nowhere.so",
                                         .build = view_of("01234567890123456789012345678901"),
                                         .task_threads = 1};
    return proc_spawn(&f->proc, &f->loop, f->conns, &options, &callbacks, f, &f->err);
}

static void spawn(struct fixture *f, const char *label)
{
    assert_int_equal(spawn_from(f, "/proc/self/exe", label), AIKI_OK);
}

static void expect_load_failure(const struct fixture *f, const char *code)
{
    aiki_error e = AIKI_ERROR_INIT;
    assert_false(f->end.was_ready);
    assert_int_equal(proc_load_failure(&f->end, &e), AIKI_CRASHED);
    assert_string_equal(e.code, code);
}

/* It loads, serves, and ends by itself when its line is closed. */
static void it_serves_until_its_line_ends(void **state)
{
    struct fixture *f = *state;
    spawn(f, "ready");
    fake_run_until(&f->loop, &f->readies, 1);
    conn_close(proc_conn(f->proc));
    fake_run_until(&f->loop, &f->gone, 1);
    assert_true(f->end.was_ready);
    assert_int_equal(f->end.signal, 0);
    assert_int_equal(f->end.exit_code, 0);
}

/* Refused: the reason arrives, and then it ends. */
static void a_refusal_has_its_reason(void **state)
{
    struct fixture *f = *state;
    spawn(f, "refuse");
    fake_run_until(&f->loop, &f->gone, 1);
    assert_int_equal(f->refusals, 1);
    assert_string_equal(f->refusal, "PLAYED");
    assert_int_equal(f->readies, 0);
}

/* Deaths while loading are told apart. */
static void a_death_while_loading_is_told(void **state)
{
    struct fixture *f = *state;
    spawn(f, "die");
    fake_run_until(&f->loop, &f->gone, 1);
    assert_int_equal(f->end.signal, SIGKILL);
    expect_load_failure(f, "LOAD_CRASHED");
    spawn(f, "exit");
    fake_run_until(&f->loop, &f->gone, 2);
    assert_int_equal(f->end.exit_code, 7);
    expect_load_failure(f, "LOAD_CRASHED");
}

/* A constructor that hangs does not hang us. */
static void a_hang_while_loading_is_ended(void **state)
{
    struct fixture *f = *state;
    int64_t before = clock_mono_ms();
    spawn(f, "silent");
    fake_run_until(&f->loop, &f->gone, 1);
    assert_true(clock_mono_ms() - before >= PROC_LOAD_MS - 5);
    assert_true(f->end.timed_out);
    expect_load_failure(f, "LOAD_TIMEOUT");
}

/* What it wrote before it died is delivered before the news of its death. */
static void last_words_come_before_the_end(void **state)
{
    struct fixture *f = *state;
    spawn(f, "words");
    fake_run_until(&f->loop, &f->gone, 1);
    assert_int_equal(f->readies, 1);
    assert_int_equal(f->frames, 1);
}

/* Bytes that are no frame cost it its life. */
static void a_broken_line_is_cut(void **state)
{
    struct fixture *f = *state;
    spawn(f, "garbage");
    fake_run_until(&f->loop, &f->gone, 1);
    assert_int_equal(f->end.signal, SIGKILL);
}

/* A process it left behind may hold the socket: waiting has an end. */
static void a_grandchild_does_not_keep_it_alive(void **state)
{
    struct fixture *f = *state;
    spawn(f, "grandchild");
    fake_run_until(&f->loop, &f->gone, 1);
    assert_int_equal(f->end.exit_code, 0);
}

/* Thousands of lines: the log takes OUTPUT_LINES_PER_S of them, and it still gets ready. */
static void shouting_is_bounded(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/aiki-shout-XXXXXX";
    AUTO(close_fd) int log = mkstemp(path);
    AUTO(close_fd) int before = dup(STDERR_FILENO);
    assert_true(log >= 0 && before >= 0);
    assert_int_equal(unlink(path), 0);
    log_init("test", LOG_INFO);
    (void)dup2(log, STDERR_FILENO);
    spawn(f, "shout");
    fake_run_until(&f->loop, &f->readies, 1);
    conn_close(proc_conn(f->proc));
    fake_run_until(&f->loop, &f->gone, 1);
    (void)dup2(before, STDERR_FILENO);
    log_init("test", LOG_ERROR);
    FILE *text = fdopen(dup(log), "r");
    assert_non_null(text);
    rewind(text);
    unsigned lines = 0;
    for (int c = fgetc(text); c != EOF; c = fgetc(text))
        lines += c == '\n';
    (void)fclose(text);
    assert_in_range(lines, OUTPUT_LINES_PER_S, 4 * OUTPUT_LINES_PER_S);
}

/* What cannot be started is said at once, and nothing else follows. */
static void a_missing_program_is_said(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(spawn_from(f, "/nonexistent/program", "x"), AIKI_UNAVAILABLE);
    assert_string_equal(f->err.code, "SPAWN");
    f->proc = NULL;
    for (int turn = 0; turn < 5; turn++)
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->gone, 0);
}

/* Room for none, one, two descriptors, and so on: refused with nothing left open, until there is enough. */
static void without_descriptors_nothing_is_started(void **state)
{
    struct fixture *f = *state;
    struct rlimit before;
    unsigned refused = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (aiki_status st = AIKI_LIMIT; st == AIKI_LIMIT; refused++) {
        int next = dup(STDERR_FILENO);
        assert_int_equal(close(next), 0);
        const struct rlimit some = {.rlim_cur = (rlim_t)next + refused, .rlim_max = before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &some), 0);
        st = spawn_from(f, "/proc/self/exe", "x");
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (st == AIKI_LIMIT) {
            assert_string_equal(f->err.code, "NO_DESCRIPTORS");
            int again = dup(STDERR_FILENO);
            assert_int_equal(again, next);
            assert_int_equal(close(again), 0);
        }
    }
    assert_true(refused > 2); /* the line takes two, the page one more */
    assert_string_equal(f->err.code, "SPAWN"); /* then it is the program that finds no room */
    f->proc = NULL;
    for (int turn = 0; turn < 5; turn++)
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--child") == 0)
        return play_child(argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_serves_until_its_line_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_has_its_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(a_death_while_loading_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hang_while_loading_is_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(last_words_come_before_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_line_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_grandchild_does_not_keep_it_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(shouting_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_program_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(without_descriptors_nothing_is_started, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

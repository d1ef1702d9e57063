/* test_watchdog.c - code that does not come back ends its run and its process, and nobody else's.
 *
 * Each case is a process of its own with a connection to this one, like a child and its broker, and a
 * watchdog that has less patience. The loop of that process never runs.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "child/watchdog.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"

enum { LIMIT_MS = 100, PATIENCE_S = 30, TRIES_MAX = 10, OVERSIZE = WATCHDOG_BYTES_MAX + 1 };

/* In the other process: a run that has appended twice, and what is with it. */
struct stage {
    struct child child;
    struct run run;
    struct watchdog *watchdog;
};

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    (void)c;
    (void)f;
    (void)arg;
}
static void on_closed(struct conn *c, aiki_status st, const char *why, void *arg)
{
    (void)c;
    (void)st;
    (void)why;
    (void)arg;
}

static struct stage *set_stage(int fd)
{
    static const struct conn_callbacks callbacks = {.on_frame = on_frame, .on_closed = on_closed};
    static struct stage s;

    s.child.loop = uv_default_loop();
    s.child.conns = conn_loop_create(s.child.loop);
    s.child.conn = conn_open_fd(s.child.conns, fd, &callbacks, NULL);
    s.run.child = &s.child;
    s.run.workflow_name = "spin";
    s.run.epoch = 7;
    s.run.appends = 2;
    memcpy(s.run.id_text, "the-run", sizeof("the-run"));
    buf_init(&s.run.replay.events);
    s.watchdog = watchdog_start(LIMIT_MS);
    if (s.child.conn == NULL || s.watchdog == NULL)
        _exit(3);
    return &s;
}

/* Whatever the code does must end within this, or the case fails. */
static void for_ever(void)
{
    (void)alarm(PATIENCE_S);
    for (;;)
        (void)pause();
}

/* ---- what the code of a case does -------------------------------------------------------- */

static void workflow_hangs(struct stage *s)
{
    const struct event e = {.kind = EVENT_HEARTBEAT};

    event_write_new(&s->run.replay.events, &e); /* recorded and not sent */
    watchdog_enter(s->watchdog, &s->run, NULL);
    for_ever();
}

static void task_hangs(struct stage *s)
{
    watchdog_enter(s->watchdog, &s->run, "inline-one");
    for_ever();
}

/* What is unsent does not fit: the end of the run is told without it. */
static void much_is_unsent(struct stage *s)
{
    memset(aiki_mp_room(&s->run.replay.events, OVERSIZE), 0xc0, OVERSIZE);
    watchdog_enter(s->watchdog, &s->run, NULL);
    for_ever();
}

/* A frame that waits for the end of the turn leaves before the last words. */
static void a_frame_waits(struct stage *s)
{
    conn_send(s->child.conn, OK, 5, .count = 1);
    watchdog_enter(s->watchdog, &s->run, NULL);
    for_ever();
}

static void wait_ms(int64_t ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

/* Many short turns take longer than the limit together, and so does the pause between two of them. */
static void comes_back(struct stage *s)
{
    int64_t until_mono_ms = clock_mono_ms() + 4 * LIMIT_MS;

    while (clock_mono_ms() < until_mono_ms) {
        watchdog_enter(s->watchdog, &s->run, NULL);
        wait_ms(1);
        watchdog_leave(s->watchdog);
    }
    wait_ms(3 * LIMIT_MS); /* it goes to sleep */
    _exit(0);
}

/* Asleep after a pause, it is woken by the next turn. */
static void hangs_after_a_pause(struct stage *s)
{
    watchdog_enter(s->watchdog, &s->run, NULL);
    watchdog_leave(s->watchdog);
    wait_ms(3 * LIMIT_MS);
    watchdog_enter(s->watchdog, &s->run, NULL);
    for_ever();
}

/* ---- this side --------------------------------------------------------------------------- */

struct outcome {
    int status;
    aiki_writer bytes; /* all that came until its end */
};

static struct outcome play(void (*code)(struct stage *s))
{
    struct outcome o;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC); /* the line it writes for the log */
        (void)dup2(null, STDERR_FILENO);
        (void)close(fds[0]);
        code(set_stage(fds[1]));
    }
    assert_int_equal(close(fds[1]), 0);
    buf_init(&o.bytes);
    for (;;) {
        uint8_t chunk[4096];
        ssize_t n = read(fds[0], chunk, sizeof(chunk));
        if (n <= 0)
            break;
        aiki_mp_raw(&o.bytes, chunk, (uint64_t)n);
    }
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(waitpid(pid, &o.status, 0), pid);
    return o;
}

/* The frame at *at, which moves behind it. */
static struct frame next_frame(const struct outcome *o, uint64_t *at)
{
    struct frame f = {0};
    uint64_t size;
    aiki_view rest = {o->bytes.data + *at, o->bytes.size_bytes - *at};

    assert_int_equal(frame_read(rest, &f, &size, NULL), AIKI_OK);
    *at += size;
    return f;
}

/* The last frame is the end of the run; how many events it has beside that, and its message. */
static unsigned check_end(const struct outcome *o, uint64_t at, aiki_error *ret)
{
    struct frame f = next_frame(o, &at);
    struct msg_APPEND m;
    struct event e = {0};
    aiki_view body;
    aiki_reader r;
    unsigned count = 0;

    assert_int_equal(at, o->bytes.size_bytes);
    assert_int_equal(f.type, WIRE_APPEND);
    assert_int_equal(msg_APPEND_read(f.payload, &m, NULL), AIKI_OK);
    assert_int_equal(m.epoch, 7);
    assert_int_equal(m.number, 3);
    assert_int_equal(m.next, NEXT_FINISH);
    aiki_reader_init(&r, m.events);
    while (event_read_new(&r, &e, &body, NULL) == AIKI_OK)
        count++;
    assert_true(r.at == r.end);
    assert_int_equal(e.kind, EVENT_FAILED);
    assert_int_equal(error_read(e.as.failed.error, ret, NULL, NULL), AIKI_OK);
    assert_string_equal(ret->code, "WORKFLOW_STUCK");
    assert_true(WIFEXITED(o->status));
    assert_int_equal(WEXITSTATUS(o->status), CHILD_EXIT_STUCK);
    return count - 1;
}

/* Its run fails with what it has recorded, in the name of the thread that cannot say it. */
static void a_workflow_that_hangs_is_ended(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    struct outcome o = play(workflow_hangs);
    (void)state;
    assert_int_equal(check_end(&o, 0, &err), 1);
    assert_non_null(strstr(err.message, "workflow spin did not come back within 100 ms"));
    buf_deinit(&o.bytes);
}

static void an_inline_task_that_hangs_is_named(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    struct outcome o = play(task_hangs);
    (void)state;
    assert_int_equal(check_end(&o, 0, &err), 0);
    assert_non_null(strstr(err.message, "inline task inline-one"));
    buf_deinit(&o.bytes);
}

static void too_much_that_is_unsent_is_left_out(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    struct outcome o = play(much_is_unsent);
    (void)state;
    assert_int_equal(check_end(&o, 0, &err), 0);
    buf_deinit(&o.bytes);
}

static void what_waits_leaves_first(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    struct outcome o = play(a_frame_waits);
    uint64_t at = 0;
    (void)state;
    assert_int_equal(next_frame(&o, &at).correlation, 5);
    assert_int_equal(check_end(&o, at, &err), 0);
    buf_deinit(&o.bytes);
}

/* A process that gets no processor for LIMIT_MS looks as if it hung: one of several does not. */
static void code_that_comes_back_is_left_alone(void **state)
{
    struct outcome o = play(comes_back);
    (void)state;
    for (unsigned tries = 1; tries < TRIES_MAX && o.status != 0; tries++) {
        buf_deinit(&o.bytes);
        o = play(comes_back);
    }
    assert_int_equal(o.status, 0);
    assert_int_equal(o.bytes.size_bytes, 0);
    buf_deinit(&o.bytes);
}

static void it_wakes_up_again(void **state)
{
    aiki_error err = AIKI_ERROR_INIT;
    struct outcome o = play(hangs_after_a_pause);
    (void)state;
    assert_int_equal(check_end(&o, 0, &err), 0);
    buf_deinit(&o.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workflow_that_hangs_is_ended),
        cmocka_unit_test(an_inline_task_that_hangs_is_named),
        cmocka_unit_test(too_much_that_is_unsent_is_left_out),
        cmocka_unit_test(what_waits_leaves_first),
        cmocka_unit_test(code_that_comes_back_is_left_alone),
        cmocka_unit_test(it_wakes_up_again),
    };
    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}

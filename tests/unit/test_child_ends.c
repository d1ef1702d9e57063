/* test_child_ends.c - how a child process ends: drained, handing its runs back, or of a signal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fiber/checkers.h"
#include "support/played_broker.h"

/* Draining: what is resident finishes, what comes is handed back, then the process ends. */
static void drain_ends_the_process(void **state)
{
    struct broker b;
    struct book k, late;
    struct frame f;
    int status;
    (void)state;

    broker_start(&b);
    load(&b, "steps");
    open_book_number(&k, "sequence", 2);
    assign(&b, &k);
    assert_true(next_append(&b, &k, ANSWER_MS_MAX));
    broker_send(&b, DRAIN, .grace_ms = 10000);
    open_book_number(&late, "sequence", 2);
    assign(&b, &late);
    assert_true(next_append(&b, &late, ANSWER_MS_MAX));
    assert_int_equal(late.next, NEXT_RELEASE);
    ack(&b, &late);
    ack(&b, &k);
    assert_int_equal(serve(&b, &k), NEXT_FINISH);
    assert_false(receive(&b, &f, ANSWER_MS_MAX));
    assert_int_equal(waitpid(b.pid, &status, 0), b.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(b.fd);
    buf_deinit(&b.in);
    close_book(&k);
    close_book(&late);
}

static void grace_hands_runs_back(void **state)
{
    struct broker b;
    struct book k;
    (void)state;

    broker_start(&b);
    load(&b, "steps");
    open_book_number(&k, "hurried", 60000); /* one task, which has 3 s */
    assign(&b, &k);
    broker_send(&b, DRAIN, .grace_ms = 1);
    assert_int_equal(serve(&b, &k), NEXT_RELEASE);
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

/* A run that is handed back takes along what was done and not yet sent: it is not done again. */
static void grace_keeps_results(void **state)
{
    struct broker b;
    struct book k;
    (void)state;

    broker_start(&b);
    load(&b, "steps");
    open_book_number(&k, "held-up", 0);
    assign(&b, &k);
    /* Not acknowledged, so that what is done after it waits in the child. */
    assert_true(next_append(&b, &k, ANSWER_MS_MAX));
    assert_int_equal(k.next, NEXT_CONTINUE);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 1);
    signal_run(&b, &k, "go", 1);
    broker_send(&b, DRAIN, .grace_ms = 1);
    assert_int_equal(serve(&b, &k), NEXT_RELEASE);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 2);
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

/* In one write, so that the child finds both: it knows that it is to leave when it learns that its append is on
 * record. */
static void tell_to_leave_and_ack(struct broker *b, const struct book *k)
{
    const struct msg_DRAIN drain = {.grace_ms = ANSWER_MS_MAX, .leave = true};
    const struct msg_ACK ack = {.run = k->id, .number = k->number, .now_ms = engine_ms()};
    aiki_writer w;

    buf_init(&w);
    uint64_t at = frame_begin(&w);
    msg_DRAIN_write(&w, &drain);
    assert_int_equal(frame_end(&w, at, WIRE_DRAIN, 0), AIKI_OK);
    at = frame_begin(&w);
    msg_ACK_write(&w, &ack);
    assert_int_equal(frame_end(&w, at, WIRE_ACK, 0), AIKI_OK);
    send_all(b, aiki_writer_view(&w));
    buf_deinit(&w);
}

static void tell_to_leave(struct broker *b, const struct book *k)
{
    (void)k;
    broker_send(b, DRAIN, .grace_ms = ANSWER_MS_MAX, .leave = true);
}

static void end_the_grace(struct broker *b, const struct book *k)
{
    (void)k;
    broker_send(b, DRAIN, .grace_ms = 1);
}

/* A task to be executed at most once is announced, and the process is to end before it begins: it goes on record as
 * not begun, so that the next process begins it, and nobody else has. */
static void what_was_announced_is_taken_back(void **state)
{
    static void (*const ends[])(struct broker *, const struct book *) = {
        tell_to_leave_and_ack, tell_to_leave, end_the_grace};
    (void)state;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct broker b;
        struct book k;
        unsigned lines = log_lines;

        broker_start(&b);
        load(&b, "steps");
        open_book_number(&k, "talk-once", i);
        assign(&b, &k);
        assert_true(next_append(&b, &k, ANSWER_MS_MAX));
        assert_int_equal(k.next, NEXT_CONTINUE);
        assert_int_equal(k.last_kind, EVENT_HEARTBEAT);
        ends[i](&b, &k);
        assert_int_equal(serve(&b, &k), NEXT_RELEASE);
        assert_int_equal(count_events(&k, EVENT_HEARTBEAT), 2);
        assert_int_equal(log_lines, lines);
        assert_int_equal(broker_stop(&b), 0);
        broker_start(&b);
        load(&b, "steps");
        assign(&b, &k);
        assert_int_equal(serve(&b, &k), NEXT_FINISH);
        assert_int_equal(k.last_kind, EVENT_COMPLETED);
        assert_int_equal(log_lines, lines + 1);
        close_book(&k);
        assert_int_equal(broker_stop(&b), 0);
    }
}

/* What the child wrote to stderr before it died of the signal. */
static int die_of(const char *workflow, uint64_t input, char *ret_text, size_t size)
{
    struct broker b;
    struct book k;
    struct frame f;
    int ends[2], status = 0, saved = dup(STDERR_FILENO);

    assert_int_equal(pipe(ends), 0);
    assert_true(saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    broker_start(&b);
    (void)dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    load(&b, "steps");
    open_book_number(&k, workflow, input);
    assign(&b, &k);
    assert_false(receive(&b, &f, ANSWER_MS_MAX));
    status = broker_stop(&b);
    ssize_t n = read(ends[0], ret_text, size - 1);
    ret_text[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    assert_non_null(strstr(ret_text, "in run "));
    id_text(&k.id, ret_text + size - AIKI_ID_TEXT_SIZE);
    assert_non_null(strstr(ret_text, ret_text + size - AIKI_ID_TEXT_SIZE));
    close_book(&k);
    return status;
}

/* Endless recursion and abort() kill this process only, which says who it was. */
static void deaths_name_the_run(void **state)
{
    char text[4096];
    (void)state;

    if (FIBER_ASAN)
        skip(); /* the sanitizer's own report comes instead */
    assert_int_equal(die_of("bottomless", 1 << 20, text, sizeof(text)), -SIGSEGV);
    assert_non_null(strstr(text, "STACK OVERFLOW in run "));
    assert_non_null(strstr(text, "(workflow bottomless)"));
    assert_int_equal(die_of("aborts", 0, text, sizeof(text)), -SIGABRT);
    assert_non_null(strstr(text, "(task aborting)"));
}

/* When the broker is killed, a child that never looks at its socket dies as well. */
static void orphans_die(void **state)
{
    int status = 0, ready[2];
    char byte;
    (void)state;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct broker b;
        struct book k;
        broker_start(&b);
        load(&b, "steps");
        open_book_number(&k, "spins", 0);
        assign(&b, &k);
        (void)!write(ready[1], &b.pid, sizeof(b.pid));
        for (;;)
            (void)pause();
    }
    close(ready[1]);
    pid_t child = 0;
    assert_int_equal(read(ready[0], &child, sizeof(child)), sizeof(child));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* Garbage on the socket ends the process with a status that says so. */
static void bad_frames_end_the_process(void **state)
{
    struct broker b;
    (void)state;

    broker_start(&b);
    broker_send(&b, FAULT, .status = 3);
    struct frame f;
    assert_false(receive(&b, &f, ANSWER_MS_MAX));
    assert_int_equal(broker_stop(&b), 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drain_ends_the_process),
        cmocka_unit_test(grace_hands_runs_back),
        cmocka_unit_test(grace_keeps_results),
        cmocka_unit_test(what_was_announced_is_taken_back),
        cmocka_unit_test(deaths_name_the_run),
        cmocka_unit_test(orphans_die),
        cmocka_unit_test(bad_frames_end_the_process),
    };
    return cmocka_run_group_tests_name("child ends", tests, NULL, NULL);
}

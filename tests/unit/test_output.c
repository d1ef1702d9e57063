/* test_output.c - whose a line is that was written past stdio. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/output.h"

struct fixture {
    uv_loop_t loop;
    struct blame_page *page;
    int page_fd;
    char logged[1024];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->page = blame_create(&f->page_fd);
    assert_non_null(f->page);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    blame_destroy(f->page);
    close(f->page_fd);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

/* A thread executes the task `work` of that run. */
static void executes(struct fixture *f, unsigned thread, uint8_t run)
{
    struct blame_slot *s = &f->page->slots[thread];
    s->run = (struct aiki_id){{run}};
    s->attempt = 1;
    strcpy(s->name, "work");
    atomic_store(&s->busy, 1);
}

static void has_just_left(struct fixture *f, unsigned thread, uint8_t run)
{
    executes(f, thread, run);
    atomic_store(&f->page->slots[thread].busy, 0);
    atomic_store(&f->page->slots[thread].left_mono_ms, clock_mono_ms());
}

/* What the log says of this line. */
static const char *logged(struct fixture *f, const char *line)
{
    struct output o;
    int ends[2];
    AUTO(close_fd) int before = dup(STDERR_FILENO);
    FILE *log = tmpfile();
    assert_true(before >= 0 && log != NULL && pipe(ends) == 0);
    output_init(&o, &f->loop, "orders.so", f->page);
    assert_int_equal(uv_pipe_open(&o.out.pipe, ends[0]), 0);
    assert_int_equal(write(ends[1], line, strlen(line)), strlen(line));
    (void)close(ends[1]);
    log_init("test", LOG_INFO);
    (void)dup2(fileno(log), STDERR_FILENO);
    output_end(&o);
    (void)dup2(before, STDERR_FILENO);
    log_init("test", LOG_ERROR);
    rewind(log);
    f->logged[fread(f->logged, 1, sizeof(f->logged) - 1, log)] = '\0';
    (void)fclose(log);
    uv_close((uv_handle_t *)&o.out.pipe, NULL);
    uv_close((uv_handle_t *)&o.err.pipe, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    return f->logged;
}

static void expect(struct fixture *f, const char *who)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "orders.so: %shello\n", who);
    if (strstr(logged(f, "hello\n"), text) == NULL)
        fail_msg("%s, not %s", f->logged, text);
}

static void of_nobody(void **state)
{
    expect(*state, "");
}

static void of_one_run_whose_code_has_just_been_left(void **state)
{
    struct fixture *f = *state;
    char id[AIKI_ID_TEXT_SIZE], who[128];
    executes(f, 1, 7);
    has_just_left(f, 0, 7);
    id_text(&f->page->slots[1].run, id);
    (void)snprintf(who, sizeof(who), "perhaps run %s task work attempt 1: ", id);
    expect(f, who);
}

/* Each once, however many of its tasks are executed, in whichever threads. */
static void of_several_runs(void **state)
{
    struct fixture *f = *state;
    executes(f, 1, 8);
    executes(f, 2, 7);
    executes(f, 3, 8);
    has_just_left(f, 4, 9);
    has_just_left(f, 0, 7);
    expect(f, "one of 3 runs: ");
}

static void of_more_runs_than_are_counted(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 100; i++)
        executes(f, i, (uint8_t)i);
    expect(f, "one of 64 runs or more: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(of_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(of_one_run_whose_code_has_just_been_left, setup, teardown),
        cmocka_unit_test_setup_teardown(of_several_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(of_more_runs_than_are_counted, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

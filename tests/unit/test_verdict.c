/* test_verdict.c - who is to blame, told from a page that a plugin may have written on. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "broker/verdict.h"
#include "wire/error.h"
#include "wire/message.h"

struct fixture {
    struct blame_page *page;
    struct proc_end end;
    struct verdict verdict;
    struct event event;
    aiki_error text;
    aiki_writer events;
    bool no_memory;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int fd;
    f->page = blame_create(&fd);
    assert_non_null(f->page);
    (void)close(fd);
    f->end = (struct proc_end){.signal = SIGSEGV, .was_ready = true, .page = f->page};
    buf_init(&f->events);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    buf_deinit(&f->events);
    blame_destroy(f->page);
    free(f);
    return 0;
}

static struct blame_slot *executing(struct fixture *f, unsigned slot, uint8_t run, uint32_t attempt)
{
    struct blame_slot *s = &f->page->slots[slot];
    s->run = (struct aiki_id){{run}};
    s->attempt = attempt;
    strcpy(s->name, attempt > 0 ? "charge" : "order");
    s->busy = 1;
    return s;
}

/* The thread of that slot left an account. */
static struct blame_death *account(struct fixture *f, unsigned slot, int signal)
{
    struct blame_death *d = &f->page->deaths[f->page->deaths_taken++];
    d->thread = slot + 1;
    d->signal = (uint32_t)signal;
    d->told = 1;
    return d;
}

static const struct blamed *judged(struct fixture *f, uint8_t run, bool alone)
{
    const struct aiki_id id = {{run}};
    verdict_reach(&f->verdict, &f->end, alone, f->no_memory);
    return verdict_on(&f->verdict, &id);
}

static const char *code_of(struct fixture *f, const struct blamed *s)
{
    aiki_reader r;
    aiki_view body;
    buf_clear(&f->events, 0);
    verdict_write(&f->verdict, s, (aiki_view){(const uint8_t *)"b", 1}, &f->events, &f->text);
    aiki_reader_init(&r, aiki_writer_view(&f->events));
    assert_int_equal(event_read_new(&r, &f->event, &body, NULL), AIKI_OK);
    assert_int_equal(f->event.kind, EVENT_CRASHED);
    return f->text.code;
}

static void *give(void *arg, uint64_t size)
{
    static _Alignas(max_align_t) uint8_t memory[4096];
    (void)arg;
    return size <= sizeof(memory) ? memory : NULL;
}

/* The text with that name in the details of the event, or NULL. */
static const char *detail(struct fixture *f, const char *name)
{
    static char text[64];
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_reader r;
    assert_int_equal(error_read(f->event.as.crashed.error, &err, give, NULL), AIKI_OK);
    aiki_reader_init(&r, err.details);
    for (uint64_t n = aiki_mp_read_map(&r); n > 0; n--) {
        if (!view_is(aiki_mp_read_str(&r), name)) {
            aiki_mp_skip(&r);
            continue;
        }
        aiki_view found = aiki_mp_read_str(&r);
        (void)snprintf(text, sizeof(text), "%.*s", (int)found.size_bytes, (const char *)found.data);
        return text;
    }
    assert_int_equal(r.status, AIKI_OK);
    return NULL;
}

/* The thread whose handler left an account is charged; one that stood still by then is not even a suspect. */
static void who_dies_is_charged(void **state)
{
    struct fixture *f = *state;
    (void)executing(f, 0, 1, 0);
    f->page->stopped[0] = 1;
    const struct blame_slot *s = executing(f, 2, 2, 3);
    struct blame_death *d = account(f, 2, SIGBUS);
    d->has_fault_address = 1;
    d->fault_address = 0xabc;
    f->end.signal = SIGALRM; /* looking at the stack took too long */
    assert_null(judged(f, 1, false));
    const struct blamed *b = judged(f, 2, false);
    assert_ptr_equal(b->slot, s);
    assert_string_equal(code_of(f, b), "CRASH_SIGNAL");
    assert_non_null(strstr(f->text.message, "task charge, attempt 3 ended its process by signal 7"));
    assert_true(f->event.as.crashed.charged);
    assert_int_equal(f->event.as.crashed.attempt, 3);
}

/* Where the account was not at its end when the process was: what ended it. */
static void an_account_that_was_cut_short_says_by_what(void **state)
{
    struct fixture *f = *state;
    (void)executing(f, 2, 2, 1);
    struct blame_death *d = account(f, 2, SIGSEGV);
    (void)code_of(f, judged(f, 2, false));
    assert_null(detail(f, "cut_short")); /* no frame lay in the plugin */
    d->told = 0;
    (void)code_of(f, judged(f, 2, false));
    assert_string_equal(detail(f, "cut_short"), "signal 11");
    f->end.signal = 0;
    f->end.exit_code = 3;
    (void)code_of(f, judged(f, 2, false));
    assert_string_equal(detail(f, "cut_short"), "exit code 3");
    d->stack_bytes = 1; /* all that was to come */
    (void)code_of(f, judged(f, 2, false));
    assert_null(detail(f, "cut_short"));
}

/* Each of those that crash in one instant is charged, with its own signal. */
static void all_who_die_are_charged(void **state)
{
    struct fixture *f = *state;
    (void)executing(f, 0, 1, 0);
    (void)executing(f, 1, 2, 1);
    (void)executing(f, 2, 3, 1);
    (void)executing(f, 3, 4, 1);
    (void)executing(f, 4, 5, 1);
    f->page->stopped[4] = 1;
    (void)account(f, 2, SIGFPE);
    account(f, 0, SIGSEGV)->overflow = 1;
    f->page->deaths_taken++; /* got no further */
    (void)account(f, 3, 0);
    f->end.signal = SIGFPE;
    assert_string_equal(code_of(f, judged(f, 1, false)), "CRASH_STACK_OVERFLOW");
    assert_true(f->event.as.crashed.charged);
    assert_string_equal(code_of(f, judged(f, 3, false)), "CRASH_SIGNAL");
    assert_non_null(strstr(f->text.message, "signal 8"));
    assert_true(f->event.as.crashed.charged);
    assert_string_equal(code_of(f, judged(f, 4, false)), "CRASH_EXIT");
    assert_true(f->event.as.crashed.charged);
    assert_false(judged(f, 2, false)->certain); /* neither crashed nor stood still */
    assert_null(judged(f, 5, false));
    assert_int_equal(f->verdict.count, 4);
    assert_int_equal(f->verdict.certain, 3);
}

/* Nobody named and one executing: that one, unless it was shot from outside. */
static void one_alone_is_charged(void **state)
{
    struct fixture *f = *state;
    const struct blame_slot *slot = executing(f, 0, 1, 0);
    const struct blamed *s = judged(f, 1, false);
    assert_ptr_equal(s->slot, slot);
    assert_string_equal(code_of(f, s), "CRASH_SIGNAL");
    assert_true(f->event.as.crashed.charged);
    assert_int_equal(f->event.as.crashed.attempt, 0);
    f->end.signal = SIGKILL;
    s = judged(f, 1, false);
    assert_string_equal(code_of(f, s), "CRASH_KILLED");
    assert_null(strstr(f->text.message, "MiB"));
    f->end.memory_bytes = 300 << 20;
    assert_string_equal(code_of(f, s), "CRASH_KILLED");
    assert_non_null(strstr(f->text.message, "it had 300 MiB"));
    assert_false(f->event.as.crashed.charged);
    s = judged(f, 1, true);
    assert_string_equal(code_of(f, s), "CRASH_KILLED");
    assert_true(f->event.as.crashed.charged);
    f->no_memory = true;
    s = judged(f, 1, false);
    assert_string_equal(code_of(f, s), "CRASH_NO_MEMORY");
    assert_false(f->event.as.crashed.charged); /* what took the memory may be anybody's */
    s = judged(f, 1, true);
    assert_string_equal(code_of(f, s), "CRASH_NO_MEMORY");
    assert_true(f->event.as.crashed.charged);
}

/* What is left of a page that something wrote over counts for nothing: who did it may be any run of the process, and the
 * only one that is there is charged. */
static void a_page_that_was_written_over_makes_all_suspects(void **state)
{
    static const uint8_t with[] = {0, 0xff, 0x5a};
    struct fixture *f = *state;
    for (unsigned i = 0; i < sizeof(with); i++) {
        (void)executing(f, 1, 1, 1);
        f->page->deaths_taken = 0;
        (void)account(f, 1, SIGABRT);
        memset(f->page, with[i], sizeof(*f->page));
        assert_string_equal(code_of(f, judged(f, 7, false)), "CRASH_UNTOLD");
        assert_non_null(strstr(f->text.message, "killed by signal 11"));
        assert_false(f->event.as.crashed.charged);
        assert_int_equal(f->event.as.crashed.attempt, 0);
        assert_string_equal(detail(f, "thread"), "unknown");
        assert_string_equal(code_of(f, judged(f, 7, true)), "CRASH_UNTOLD");
        assert_true(f->event.as.crashed.charged);
    }
}

static void one_that_was_stopped_says_so(void **state)
{
    struct fixture *f = *state;
    (void)executing(f, 1, 1, 1);
    f->end.signal = SIGKILL;
    f->end.stopped_ms = 15000;
    assert_string_equal(code_of(f, judged(f, 1, false)), "CRASH_STOPPED");
    assert_false(f->event.as.crashed.charged);
    assert_string_equal(code_of(f, judged(f, 1, true)), "CRASH_STOPPED");
    assert_true(f->event.as.crashed.charged);
    struct blame_slot *s = executing(f, 1, 1, 1); /* and was still able to leave the code, long ago by now */
    s->busy = 0;
    s->left_mono_ms = clock_mono_ms() - 10L * VERDICT_LEFT_MS;
    assert_string_equal(code_of(f, judged(f, 1, false)), "CRASH_STOPPED");
    assert_false(f->event.as.crashed.charged);
}

/* Several and nobody named: all are suspects, none is charged. */
static void several_are_suspects(void **state)
{
    struct fixture *f = *state;
    (void)executing(f, 1, 1, 1);
    (void)executing(f, 2, 2, 1);
    f->end.signal = 0;
    f->end.exit_code = 3;
    const struct blamed *s = judged(f, 1, false);
    assert_non_null(s);
    assert_non_null(judged(f, 2, false));
    assert_string_equal(code_of(f, s), "CRASH_EXIT");
    assert_false(f->event.as.crashed.charged);
    f->page->stopped[1] = 1;
    (void)account(f, BLAME_FOREIGN, SIGILL); /* a thread of the plugin's own, begun by either */
    s = judged(f, 1, false);
    assert_string_equal(code_of(f, s), "CRASH_SIGNAL");
    assert_non_null(strstr(f->text.message, "signal 4"));
    assert_non_null(strstr(f->text.message, "in a thread that plugin code had started"));
    assert_string_equal(detail(f, "thread"), "one that plugin code had started");
    assert_false(f->event.as.crashed.charged);
    assert_int_equal(f->verdict.count, 2);
    (void)account(f, 2, SIGFPE);
    assert_false(judged(f, 1, false)->certain);
    assert_true(judged(f, 2, false)->certain);
}

/* Nobody was executing: who just left may have prepared it. */
static void who_left_just_before_is_a_suspect(void **state)
{
    struct fixture *f = *state;
    struct blame_slot *s = executing(f, 1, 1, 1);
    s->busy = 0;
    assert_null(judged(f, 1, false));
    s->left_mono_ms = clock_mono_ms();
    assert_non_null(judged(f, 1, false));
    assert_int_equal(f->verdict.certain, 0);
    assert_string_equal(code_of(f, judged(f, 1, false)), "CRASH_SIGNAL");
    assert_non_null(strstr(f->text.message, "(Segmentation fault) after it had returned"));
    s->left_mono_ms = clock_mono_ms() - 2 * VERDICT_LEFT_MS;
    assert_null(judged(f, 1, false));
    executing(f, 0, 1, 0)->busy = 0;
    f->page->slots[0].left_mono_ms = clock_mono_ms();
    assert_ptr_equal(judged(f, 1, true)->slot, &f->page->slots[0]);
    s->left_mono_ms = clock_mono_ms();
    assert_ptr_equal(judged(f, 1, true)->slot, s);
    assert_int_equal(f->verdict.certain, 1);
}

/* Who closed the descriptors of the process may have returned: who executes is no more than a suspect. */
static void who_is_cut_off_is_a_suspect(void **state)
{
    struct fixture *f = *state;
    struct blame_slot *s = executing(f, 2, 2, 1);
    (void)executing(f, 1, 1, 1);
    s->busy = 0;
    s->left_mono_ms = clock_mono_ms();
    f->end.signal = 0;
    f->end.exit_code = CHILD_EXIT_CUT_OFF;
    const struct blamed *b = judged(f, 1, false);
    assert_non_null(b);
    assert_string_equal(code_of(f, b), "CRASH_EXIT");
    assert_non_null(strstr(f->text.message, "descriptors that are not its own"));
    assert_false(f->event.as.crashed.charged);
    assert_non_null(judged(f, 2, false));
    s->left_mono_ms = 0;
    assert_false(judged(f, 1, false)->certain);
    assert_true(judged(f, 1, true)->certain);
}

/* A page of nonsense gives an event that can be read all the same. */
static void a_page_of_nonsense_is_survived(void **state)
{
    struct fixture *f = *state;
    memset(f->page, 0xdb, sizeof(*f->page));
    for (unsigned i = 0; i < BLAME_SEALED; i++)
        f->page->slots[i].seal = BLAME_SEAL; /* those happen to be whole */
    f->page->slots[5].busy = 1;
    verdict_reach(&f->verdict, &f->end, false, false);
    assert_int_equal(f->verdict.count, 1);
    (void)code_of(f, &f->verdict.of[0]);
    for (unsigned i = 0; i < BLAME_DEATHS_MAX; i++)
        f->page->deaths[i].thread = 6; /* all the same one */
    for (unsigned size = 1; size <= BLAME_STACK_BYTES_MAX; size += 1021) {
        f->page->deaths[0].stack_bytes = size;
        verdict_reach(&f->verdict, &f->end, true, false);
        assert_int_equal(f->verdict.count, 1);
        (void)code_of(f, &f->verdict.of[0]);
    }
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(who_dies_is_charged),
        CASE(an_account_that_was_cut_short_says_by_what),
        CASE(all_who_die_are_charged),
        CASE(one_alone_is_charged),
        CASE(a_page_that_was_written_over_makes_all_suspects),
        CASE(one_that_was_stopped_says_so),
        CASE(several_are_suspects),
        CASE(who_left_just_before_is_a_suspect),
        CASE(who_is_cut_off_is_a_suspect),
        CASE(a_page_of_nonsense_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

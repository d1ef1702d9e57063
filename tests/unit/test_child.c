/* test_child.c - a real child process executes the runs of a plugin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/played_broker.h"

/* The example plugin, typed records and all. */
static void hello_runs(void **state)
{
    struct broker b;
    struct book k;
    uint8_t memory[64];
    aiki_writer w;
    aiki_view out;
    (void)state;

    broker_start(&b);
    load(&b, "hello");
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    aiki_mp_map(&w, 1);
    aiki_mp_str(&w, "name");
    aiki_mp_str(&w, "world");
    open_book(&k, "hello", aiki_writer_view(&w));
    assign(&b, &k);
    assert_int_equal(serve(&b, &k), NEXT_FINISH);
    output_view(&k, &out);
    assert_non_null(memmem(out.data, out.size_bytes, "Hello, world!", 13));
    assert_int_equal(k.appends, 1); /* result and completion share one commit */
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

/* Input that does not fit fails the run and executes nothing. */
static void bad_input_fails_the_run(void **state)
{
    struct broker b;
    struct book k;
    aiki_error err;
    (void)state;

    broker_start(&b);
    load(&b, "hello");
    open_book_number(&k, "hello", 3);
    assign(&b, &k);
    assert_int_equal(serve(&b, &k), NEXT_FINISH);
    end_error(&k, EVENT_FAILED, &err);
    assert_int_equal(err.status, AIKI_SCHEMA);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 0);
    close_book(&k);
    assert_int_equal(broker_stop(&b), 0);
}

static void refusals_are_coded(void **state)
{
    static const struct {
        const char *path, *code;
    } cases[] = {{"/nonexistent/x.so", "DLOPEN_FAILED"},
                 {"/lib/x86_64-linux-gnu/libm.so.6", "ENTRY_MISSING"},
                 {"child_test_undefined.so", "UNDEFINED_SYMBOL"}};
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct broker b;
        struct frame f;
        struct msg_REFUSED m;
        aiki_error err;
        char path[4096];
        if (i == 1 && access(cases[i].path, R_OK) != 0)
            continue;
        bool ours = cases[i].path[0] != '/';
        (void)snprintf(path, sizeof(path), "%s%s%s", ours ? getenv("AIKI_TEST_PLUGINS") : "",
                       ours ? "/" : "", cases[i].path);
        broker_start(&b);
        broker_send(&b, LOAD, .path = view_of(path));
        assert_true(receive(&b, &f, ANSWER_MS_MAX));
        assert_int_equal(f.type, WIRE_REFUSED);
        assert_int_equal(msg_REFUSED_read(f.payload, &m, &err), AIKI_OK);
        assert_int_equal(error_read(m.error, &err, NULL, NULL), AIKI_OK);
        assert_string_equal(err.code, cases[i].code);
        assert_int_equal(broker_stop(&b), 0);
    }
}

/* n steps cost n appends, the last of which carries the completion; replay executes nothing. */
static void sequence_commits_each_step(void **state)
{
    struct book k;

    open_book_number(&k, "sequence", 3);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 14);
    assert_int_equal(k.appends, 3);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 0);
    close_book(&k);

    open_book_number(&k, "sequence-threads", 3);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(k.appends, 3);
    close_book(&k);
}

/* Nothing new starts before the acknowledgement. */
static void side_effects_wait_for_the_commit(void **state)
{
    struct book k;

    open_book_number(&k, "sequence", 3);
    assign(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_false(next_append(*state, &k, 50));
    ack(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_int_equal(k.number, 2);
    broker_send((struct broker *)*state, DROP, .run = k.id);
    close_book(&k);
}

/* Ownership lost in the middle: the next assignment goes on from the record. */
static void dropped_runs_are_replayed(void **state)
{
    struct book k;

    open_book_number(&k, "sequence", 5);
    for (int i = 0; i < 4; i++) {
        assign(*state, &k);
        assert_true(next_append(*state, &k, ANSWER_MS_MAX));
        broker_send((struct broker *)*state, DROP, .run = k.id);
    }
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 62);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 5);
    close_book(&k);
}

/* Side by side: done in any order, announced when something else is recorded meanwhile. */
static void fan_out_completes(void **state)
{
    struct book k;

    open_book_number(&k, "fan", 40);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 40);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 40);
    close_book(&k);
}

/* The first of several is the first on every replay. */
static void race_is_on_record(void **state)
{
    struct book k;

    open_book_number(&k, "race", 0);
    assign(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 1);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 1);
    broker_send((struct broker *)*state, DROP, .run = k.id);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 1);
    close_book(&k);
}

static void sleep_parks_and_wakes(void **state)
{
    struct book k;

    open_book_number(&k, "rest", 3600000);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.appends, 1); /* result, begun and park share one commit */
    assert_true(k.wake_at_ms > engine_ms() && k.wake_at_ms <= engine_ms() + 3600000);
    engine_base_ms += k.wake_at_ms - engine_ms(); /* a time later, by the clock that counts */
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 7);
    close_book(&k);
}

/* What a child is asked for is checked before anything is recorded. */
static void options_of_children_are_checked(void **state)
{
    struct book k;

    open_book_number(&k, "bad-calls", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 0xfff);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 0);
    close_book(&k);
    open_book_number(&k, "short-options", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 1);
    close_book(&k);
}

/* A signal while parked, one that was early, and none at all. */
static void signals_are_consumed(void **state)
{
    struct book k;

    open_book_number(&k, "listen", 60000);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.seen, 0);
    signal_run(NULL, &k, "other", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.seen, 1);
    signal_run(NULL, &k, "go", 42);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 42);
    close_book(&k);

    open_book_number(&k, "listen", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 404);
    close_book(&k);
}

/* Attempts are on record, the idempotency key stays the same, the outcome is that of the last. */
static void attempts_are_retried(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "retried", 3);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 3);
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 2);
    close_book(&k);

    open_book_number(&k, "retried", 9);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    end_error(&k, EVENT_FAILED, &err);
    assert_string_equal(err.code, "FLAKY");
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 2);
    close_book(&k);
}

/* One key a call: the same at each attempt, also in another process; another call has another. */
static void keys_name_the_call(void **state)
{
    enum { KEY_CHARS = 32 };
    struct broker other;
    struct book k;
    aiki_view first, again;
    char key[KEY_CHARS];

    open_book_number(&k, "keys", 2);
    assign(*state, &k);
    assert_true(
        next_append(*state, &k, ANSWER_MS_MAX)); /* the first attempt told its key and failed */
    aiki_view body = k.last;
    assert_int_equal(k.last_kind, EVENT_ATTEMPT_FAILED);
    const uint8_t *at = memmem(body.data, body.size_bytes, "key ", 4);
    assert_non_null(at);
    memcpy(key, at + 4, KEY_CHARS);
    broker_start(&other);
    load(&other, "steps");
    assign(&other, &k);
    assert_int_equal(serve(&other, &k), NEXT_FINISH);
    output_view(&k, &first);
    assert_non_null(memmem(first.data, first.size_bytes, key, KEY_CHARS));
    again = first;
    again.data += 1 + KEY_CHARS;
    again.size_bytes -= 1 + KEY_CHARS;
    assert_null(memmem(again.data, again.size_bytes, key, KEY_CHARS));
    close_book(&k);
    assert_int_equal(broker_stop(&other), 0);
}

/* A host that was stopped learns late what time it is: that is put right, and is no time that an attempt
 * took. */
static void a_late_clock_is_put_right(void **state)
{
    enum { LATE_MS = 60000 };
    struct book k, other;

    open_book_number(&k, "hurried", 1500);
    open_book_number(&other, "patience", 0);
    assign(*state, &k);
    engine_base_ms += LATE_MS;
    assign(*state, &other); /* what time it is comes along */
    broker_send(*state, DROP, .run = other.id);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    engine_base_ms -= LATE_MS;
    assert_int_equal(k.last_kind, EVENT_COMPLETED);
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 0);
    close_book(&k);
    close_book(&other);
}

/* A far retry parks; the next process goes on with the next attempt number. */
static void far_retries_park(void **state)
{
    struct book k;

    open_book_number(&k, "patient", 2);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_true(k.wake_at_ms > engine_ms() + 50000);
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK); /* not due yet: nothing is recorded */
    assert_int_equal(count_events(&k, EVENT_ATTEMPT_FAILED), 1);
    close_book(&k);
}

static void a_final_error_fails_at_once(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "refused", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    end_error(&k, EVENT_FAILED, &err);
    assert_string_equal(err.code, "REFUSED");
    close_book(&k);

}

/* Another build may have what this one does not define. */
static void what_is_not_defined_is_for_another_build(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "missing", 1);
    assign(*state, &k);
    expect_unfit(*state, &k, &err);
    assert_string_equal(err.code, "TASK_UNKNOWN");
    assert_non_null(strstr(err.message, "of plugin steps has no task no-such-task; serve a build"));
    close_book(&k);

    open_book_number(&k, "no-such-workflow", 1);
    assign(*state, &k);
    expect_unfit(*state, &k, &err);
    assert_string_equal(err.code, "WORKFLOW_UNKNOWN");
    close_book(&k);
}

/* What was executed goes on record first; with that the run comes to the same place, and no further. */
static void what_is_not_defined_loses_nothing(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "misspelt", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_RELEASE);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE) + count_events(&k, EVENT_ATTEMPT_DONE), 2);
    uint64_t seq = k.seq;
    assign(*state, &k);
    expect_unfit(*state, &k, &err);
    assert_string_equal(err.code, "TASK_UNKNOWN");
    assert_non_null(strstr(err.message, "has no task tell-kye, is it tell-key; serve a build"));
    assert_int_equal(k.seq, seq);
    close_book(&k);
}

static void side_values_are_recorded(void **state)
{
    struct book k;

    open_book_number(&k, "sides", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 41);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 5);
    assert_true(log_lines >= 2);
    close_book(&k);
}

/* A changed input gives the run back and shows both steps; the process serves on. */
static void divergence_gives_back(void **state)
{
    struct broker other;
    struct book k;
    aiki_error err;

    open_book_number(&k, "moody", 0);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    broker_start(&other);
    load(&other, "steps");
    assign(&other, &k);
    expect_unfit(&other, &k, &err);
    assert_string_equal(err.code, "NONDETERMINISM");
    assert_non_null(strstr(err.message, "recorded: task twice"));
    assert_non_null(strstr(err.message, "asks for: task twice"));
    assert_non_null(strstr(err.message, "the input changed"));
    assert_int_equal(broker_stop(&other), 0);
    /* Back to the build that fits. */
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    close_book(&k);
}

/* A long journal comes in pages; a signal may come between them. */
static void journals_come_in_pages(void **state)
{
    struct book k;
    struct broker *b = *state;
    uint64_t first;

    open_book_number(&k, "listen", 60000);
    first = k.journal.size_bytes;
    signal_run(NULL, &k, "other", 1);
    k.epoch++;
    broker_send(b, ASSIGN, .run = k.id, .workflow = view_of("listen"), .version = view_of("1.0.0"),
                .now_ms = engine_ms(), .journal = {k.journal.data, first}, .seq = k.seq,
                .epoch = k.epoch);
    uint64_t second = k.journal.size_bytes;
    signal_run(b, &k, "go", 5);
    broker_send(b, CLAIMED, .run = k.id, .epoch = k.epoch, .seq = 2,
                .journal = {k.journal.data + first, second - first});
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 5);
    close_book(&k);
}

/* Bytes that are no journal block the run and hurt nobody else. */
static void corrupt_journals_block(void **state)
{
    struct book k;
    aiki_error err;

    open_book_number(&k, "sequence", 1);
    k.journal.data[0] = 0xc1;
    assign(*state, &k);
    assert_true(next_append(*state, &k, ANSWER_MS_MAX));
    assert_int_equal(k.next, NEXT_BLOCK);
    ack(*state, &k);
    end_error(&k, EVENT_BLOCKED, &err);
    assert_int_equal(err.status, AIKI_CORRUPT);
    close_book(&k);
    sequence_commits_each_step(state);
}

/* A plugin that returns nothing, nonsense, or too much gets an answer and hurts nobody. */
static void odd_results_are_answered(void **state)
{
    static const struct {
        const char *workflow;
        uint64_t input;
        uint64_t kind;
        const char *code;
    } cases[] = {
        {"silent", 0, EVENT_COMPLETED, NULL},
        {"strange", 0, EVENT_FAILED, "UNKNOWN"},
        {"oversize", 0, EVENT_COMPLETED, NULL},
        {"oversize", 1, EVENT_FAILED, "PAYLOAD_TOO_LARGE"},
        {"betrayed", 0, EVENT_FAILED, "NOT_IN_WORKFLOW"},
        {"nested", 0, EVENT_FAILED, "INVALID"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct book k;
        aiki_error err;
        open_book_number(&k, cases[i].workflow, cases[i].input);
        assign(*state, &k);
        assert_int_equal(serve(*state, &k), NEXT_FINISH);
        assert_int_equal(k.last_kind, cases[i].kind);
        if (cases[i].code != NULL) {
            end_error(&k, cases[i].kind, &err);
            assert_string_equal(err.code, cases[i].code);
            assert_int_not_equal(err.message[0], '\0');
        }
        close_book(&k);
    }
    sequence_commits_each_step(state);
}

/* The largest payload there may be travels both ways. */
static void large_payloads_fit(void **state)
{
    struct book k;
    struct broker *b = *state;

    open_book_number(&k, "oversize", PAYLOAD_BYTES_MAX);
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(k.last_kind, EVENT_COMPLETED);
    assert_true(k.journal.size_bytes > PAYLOAD_BYTES_MAX);
    close_book(&k);

    aiki_writer w;
    buf_init(&w);
    uint8_t *text = calloc(1, PAYLOAD_BYTES_MAX - 5);
    assert_non_null(text);
    aiki_mp_strn(&w, text, PAYLOAD_BYTES_MAX - 5);
    open_book(&k, "silent", aiki_writer_view(&w));
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(k.last_kind, EVENT_COMPLETED);
    assert_true(k.journal.size_bytes > 2 * (uint64_t)PAYLOAD_BYTES_MAX); /* input, twice */
    free(text);
    buf_deinit(&w);
    close_book(&k);
}

/* Thousands of waits park in one append and come back from the record. */
static void crowds_park(void **state)
{
    enum { WAITS = 3000 };
    struct book k;

    open_book_number(&k, "crowd", WAITS);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(count_events(&k, EVENT_STEP_BEGUN), 2 * WAITS);
    assert_true(k.wake_at_ms > engine_ms());
    signal_run(NULL, &k, "wait-7", 1);
    assign(*state, &k);
    assert_int_equal(serve(*state, &k), NEXT_PARK);
    assert_int_equal(k.seen, 1);
    close_book(&k);
}

/* Ownership ends while tasks are under way: their results are nobody's, also when the same run
 * comes back before they have ended. */
static void late_results_are_dropped(void **state)
{
    struct book k;
    struct broker *b = *state;

    open_book_number(&k, "fan", 5);
    assign(b, &k);
    broker_send(b, NOTIFY, .run = k.id, .epoch = k.epoch + 1,
                .kind = NOTIFY_DROP); /* not this stay */
    broker_send(b, NOTIFY, .run = k.id, .epoch = k.epoch, .kind = NOTIFY_DROP);
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 5);
    close_book(&k);

    /* A task left behind does not hold the completion up, and not the process either. */
    open_book_number(&k, "careless", 0);
    assign(b, &k);
    assert_int_equal(serve(b, &k), NEXT_FINISH);
    assert_int_equal(output_number(&k), 5);
    assert_int_equal(count_events(&k, EVENT_STEP_DONE), 1);
    close_book(&k);
    open_book_number(&k, "patience", 0);
    assign(b, &k);
    sequence_commits_each_step(state);
    close_book(&k);
}

#define STEPS_CASE(name) cmocka_unit_test_setup_teardown(name, start_steps, stop_steps)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_runs),
        cmocka_unit_test(bad_input_fails_the_run),
        cmocka_unit_test(refusals_are_coded),
        STEPS_CASE(sequence_commits_each_step),
        STEPS_CASE(side_effects_wait_for_the_commit),
        STEPS_CASE(dropped_runs_are_replayed),
        STEPS_CASE(fan_out_completes),
        STEPS_CASE(race_is_on_record),
        STEPS_CASE(sleep_parks_and_wakes),
        STEPS_CASE(options_of_children_are_checked),
        STEPS_CASE(signals_are_consumed),
        STEPS_CASE(attempts_are_retried),
        STEPS_CASE(keys_name_the_call),
        STEPS_CASE(far_retries_park),
        STEPS_CASE(a_late_clock_is_put_right),
        STEPS_CASE(a_final_error_fails_at_once),
        STEPS_CASE(what_is_not_defined_is_for_another_build),
        STEPS_CASE(what_is_not_defined_loses_nothing),
        STEPS_CASE(side_values_are_recorded),
        STEPS_CASE(divergence_gives_back),
        STEPS_CASE(journals_come_in_pages),
        STEPS_CASE(corrupt_journals_block),
        STEPS_CASE(odd_results_are_answered),
        STEPS_CASE(large_payloads_fit),
        STEPS_CASE(crowds_park),
        STEPS_CASE(late_results_are_dropped),
    };
    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}

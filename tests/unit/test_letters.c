/* test_letters.c - dead letters, as they are told from rows and journals. */
#include "support/reader_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "wire/event.h"

enum { LETTERS_A_PAGE = 200, BUILDS_A_LETTER = 8, EPOCH = 1 }; /* of reader_letters.c */

static const uint8_t build[HASH_BYTES] = {0xb1}, step_input[] = {0x81, 0xa1, 'n', 7}, run_input[] = {0x81, 0xa1, 'n', 1};

/* ---- runs on record -------------------------------------------------------------------------- */

static void letter_begin(struct fixture *f, struct draft *d)
{
    draft_init(d, ++f->last_no);
    d->events.size_bytes = 0; /* without the event that nobody reads */
    d->write.row.seq = 0;
    memset(d->head, 0, HASH_BYTES);
    d->write.row.state = RUN_FAILED;
}

static void add(struct draft *d, const struct event *e)
{
    struct run_row *row = &d->write.row;
    struct event read;
    aiki_writer w;
    aiki_reader r;
    aiki_view body;
    uint64_t at = d->events.size_bytes;
    buf_init(&w);
    event_write_new(&w, e);
    aiki_reader_init(&r, aiki_writer_view(&w));
    assert_int_equal(event_read_new(&r, &read, &body, NULL), AIKI_OK);
    event_write_stored(&d->events, ++row->seq, row->updated_at_ms, EPOCH, e->kind, body);
    buf_deinit(&w);
    event_chain(d->head, (aiki_view){d->events.data + at, d->events.size_bytes - at});
    memcpy(row->hash, d->head, HASH_BYTES);
    d->write.events = aiki_writer_view(&d->events);
}

static struct aiki_id letter_end(struct fixture *f, struct draft *d)
{
    struct aiki_id id = d->write.row.id;
    draft_save(f->store, d);
    draft_deinit(d);
    return id;
}

static void add_start(struct draft *d)
{
    add(d, &(struct event){.kind = EVENT_STARTED,
                           .as.started = {.workflow = view_of("order"), .version = view_of("1.0.0"),
                                          .input = {run_input, sizeof(run_input)}}});
}

static void add_claim(struct draft *d, const uint8_t *by)
{
    add(d, &(struct event){.kind = EVENT_CLAIMED,
                           .as.claimed = {.session = {{1}}, .build = {by, HASH_BYTES}}});
}

/* Step number n of task `name`: its identity, or its end. */
static struct event of_step(uint64_t kind, uint8_t n, const char *name)
{
    struct event e = {.kind = kind, .as.step = {.address = {{n}}, .attempt = kind == EVENT_STEP_BEGUN ? 0 : 3}};
    if (name != NULL) {
        e.as.step.identity_kind = STEP_TASK;
        e.as.step.name = view_of(name);
        e.as.step.input = (aiki_view){step_input, sizeof(step_input)};
    }
    return e;
}

/* An error map with that code. The view lives until the next call. */
static aiki_view error_of(const char *code)
{
    static uint8_t memory[512];
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    (void)error_code(&err, AIKI_FAILED, code, "said no");
    error_write(&w, &err);
    return aiki_writer_view(&w);
}

static void add_failure(struct draft *d, uint8_t n, const char *name, const char *code)
{
    struct event e = of_step(EVENT_STEP_DONE, n, name);
    e.as.step.outcome = OUTCOME_FAILED;
    e.as.step.error = error_of(code);
    add(d, &e);
}

static void add_crash(struct draft *d, uint8_t n, const uint8_t *in, bool charged)
{
    add(d, &(struct event){.kind = EVENT_CRASHED,
                           .as.crashed = {.address = {{n}}, .attempt = 1, .charged = charged,
                                          .name = view_of("pay"), .build = {in, HASH_BYTES},
                                          .error = error_of("CRASH_SIGNAL")}});
}

static void add_end(struct draft *d, const char *code)
{
    add(d, &(struct event){.kind = EVENT_FAILED, .as.failed = {.error = error_of(code)}});
}

/* Failed because task `name` did. */
static struct aiki_id add_letter(struct fixture *f, const char *name)
{
    struct draft d;
    letter_begin(f, &d);
    add_start(&d);
    add_claim(&d, build);
    add_failure(&d, 1, name, "DECLINED");
    add_end(&d, "DECLINED");
    return letter_end(f, &d);
}

static void assert_says(const char *answer, const char *part)
{
    if (count_of(answer, part) == 0)
        fail_msg("%s does not say %s", answer, part);
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* The last step that failed; its name comes from the event that spoke of it first. */
static void a_letter_says_what_failed(void **state)
{
    struct fixture *f = *state;
    const struct event begun = of_step(EVENT_STEP_BEGUN, 2, "pay");
    static const uint8_t later[HASH_BYTES] = {0xb2};
    struct draft d;
    letter_begin(f, &d);
    add_start(&d);
    add_claim(&d, build);
    add_failure(&d, 1, "reserve", "SOLD_OUT"); /* which the code handled */
    add(&d, &begun);
    add_crash(&d, 2, build, true);
    add_crash(&d, 2, build, false); /* a suspect */
    add_crash(&d, 1, later, true);  /* another step */
    add_failure(&d, 2, NULL, "DECLINED");
    add_claim(&d, later); /* who ended it did not execute the step */
    add_end(&d, "ORDER_LOST");
    const struct aiki_id id = letter_end(f, &d);
    const char *answer = ask_about(f, "letters.get", &id);
    assert_says(answer, "\"step\":\"pay\",\"kind\":\"task\",\"attempts\":3,\"crashes\":1,\"failed_steps\":2,\"input\":{\"n\":7}");
    assert_says(answer, "\"error\":{\"code\":\"DECLINED\"");
    assert_says(answer, "\"build\":\"b100");
    assert_says(answer, "\"crashed_builds\":[\"b100");
    assert_int_equal(count_of(answer, "\"b200"), 0);
    assert_says(answer, "\"redriven\":0");
    assert_int_equal(count_of(ask(f, "letters.list", "{}"), "\"step\":\"pay\""), 1);
}

/* No step failed: the input is the run's, the error how it ended. */
static void a_run_that_failed_by_itself_shows_its_own_input(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    letter_begin(f, &d);
    d.write.row.reason = error_of("ORDER_LOST");
    add_start(&d);
    add_claim(&d, build);
    struct event cancelled = of_step(EVENT_STEP_DONE, 1, "pay");
    cancelled.as.step.outcome = OUTCOME_CANCELLED; /* is no failure */
    add(&d, &cancelled);
    d.write.row.reason = error_of("ORDER_LOST");
    add(&d, &(struct event){.kind = EVENT_FAILED, .as.failed = {.error = d.write.row.reason}});
    const struct aiki_id id = letter_end(f, &d);
    const char *answer = ask_about(f, "letters.get", &id);
    assert_says(answer, "\"step\":null,\"kind\":null,\"attempts\":0,\"crashes\":0,\"failed_steps\":0,\"input\":{\"n\":1}");
    assert_int_equal(count_of(answer, "\"error\":{\"code\":\"ORDER_LOST\""), 1);
    assert_int_equal(count_of(answer, "\"run_error\":{\"code\":\"ORDER_LOST\""), 1);
    assert_says(answer, "\"build\":\"b100");
}

/* What failed before the run was retried is void, and so are its crashes. */
static void a_retried_run_shows_what_failed_since(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    letter_begin(f, &d);
    add_start(&d);
    add_claim(&d, build);
    add_crash(&d, 2, build, true);
    add_failure(&d, 2, "pay", "DECLINED");
    add_failure(&d, 1, "reserve", "SOLD_OUT");
    add_end(&d, "DECLINED");
    add(&d, &(struct event){.kind = EVENT_RUN_RETRIED,
                            .as.run_retried = {.attempt = 2, .next_at_ms = 5}}); /* by its policy */
    add(&d, &(struct event){.kind = EVENT_RUN_RETRIED,
                            .as.run_retried = {.attempt = 3, .reason = view_of("again")}}); /* on request */
    add_failure(&d, 2, NULL, "EXPIRED");
    add_end(&d, "EXPIRED");
    const struct aiki_id id = letter_end(f, &d);
    const char *answer = ask_about(f, "letters.get", &id);
    assert_says(answer, "\"redriven\":1");
    assert_says(answer, "\"step\":\"pay\",\"kind\":\"task\",\"attempts\":3,\"crashes\":0,\"failed_steps\":1");
    assert_says(answer, "\"error\":{\"code\":\"EXPIRED\"");
    assert_says(answer, "\"crashed_builds\":[]");
}

/* All crashes are counted, as many builds are named as there is room for, each once. */
static void builds_beyond_the_limit_are_not_named(void **state)
{
    struct fixture *f = *state;
    struct draft d;
    letter_begin(f, &d);
    add_start(&d);
    add_claim(&d, build);
    for (uint8_t i = 0; i < 2 * BUILDS_A_LETTER; i++)
        add_crash(&d, 1, (uint8_t[HASH_BYTES]){0xc0, i / 2 * 2 == i ? i : (uint8_t)(i - 1)}, true);
    for (uint8_t i = 0; i < 4; i++)
        add_crash(&d, 1, (uint8_t[HASH_BYTES]){0xcc, i}, true);
    add_failure(&d, 1, "pay", "STEP_CRASHED");
    add_end(&d, "STEP_CRASHED");
    const struct aiki_id id = letter_end(f, &d);
    const char *answer = ask_about(f, "letters.get", &id);
    assert_says(answer, "\"crashes\":20");
    assert_int_equal(count_of(answer, "\"c0"), BUILDS_A_LETTER);
    assert_int_equal(count_of(answer, "\"cc"), 0);
}

static void who_has_not_failed_or_was_dropped_is_none(void **state)
{
    struct fixture *f = *state;
    const struct aiki_id completed = add_run(f, NULL, 0, RUN_COMPLETED, 0);
    const struct aiki_id dropped = add_run(f, NULL, 0, RUN_FAILED, RUN_FLAG_DROPPED), nobody = id_new();
    assert_string_equal(ask_about(f, "letters.get", &completed), "NO_DEAD_LETTER");
    assert_string_equal(ask_about(f, "letters.get", &dropped), "NO_DEAD_LETTER");
    assert_string_equal(ask_about(f, "letters.get", &nobody), "RUN_NOT_FOUND");
    assert_string_equal(ask(f, "letters.list", "{}"), "{\"dead_letters\":[],\"next\":null}");
}

/* A journal that does not read is said so, and is no letter without contents. */
static void a_damaged_journal_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct aiki_id id = add_run(f, NULL, 0, RUN_FAILED, 0); /* its event has no body */
    assert_string_equal(ask_about(f, "letters.get", &id), "CORRUPT");
    assert_string_equal(ask(f, "letters.list", "{}"), "CORRUPT");
}

/* The cursor of that page, or 0. */
static uint64_t next_of(const char *answer)
{
    const char *at = strstr(answer, "\"next\":");
    assert_non_null(at);
    return strtoull(at + strlen("\"next\":"), NULL, 10);
}

static const char *ask_page(struct fixture *f, const char *others, uint64_t before, unsigned limit)
{
    char args[128];
    (void)snprintf(args, sizeof(args), "{%s\"before\":%lu,\"limit\":%u}", others, (unsigned long)before, limit);
    return ask(f, "letters.list", args);
}

/* Newest first, every letter once, also of one task among others. */
static void pages_follow_each_other(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++) {
        (void)add_letter(f, i % 2 == 0 ? "pay" : "ship");
        (void)add_run(f, NULL, 0, RUN_COMPLETED, 0);
    }
    static const struct {
        const char *others;
        unsigned count;
    } cases[] = {{"", 10}, {"\"task\":\"pay\",", 5}, {"\"task\":\"none\",", 0}, {"\"workflow\":\"order\",", 10}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        unsigned seen = 0;
        uint64_t before = 0;
        do {
            const char *page = ask_page(f, cases[i].others, before, 3);
            assert_in_range(count_of(page, "\"step\":"), 0, 3);
            seen += count_of(page, "\"step\":");
            assert_true(before == 0 || next_of(page) < before);
            before = next_of(page);
        } while (before != 0);
        assert_int_equal(seen, cases[i].count);
    }
}

/* A page has an end, however many were asked for. */
static void a_page_has_a_limit(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i <= LETTERS_A_PAGE; i++)
        (void)add_letter(f, "pay");
    const char *page = ask_page(f, "", 0, 1000);
    assert_int_equal(count_of(page, "\"step\":"), LETTERS_A_PAGE);
    const uint64_t next = next_of(page);
    assert_int_not_equal(next, 0);
    assert_int_equal(count_of(ask_page(f, "", next, 1000), "\"step\":"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(a_letter_says_what_failed),
        CASE(a_run_that_failed_by_itself_shows_its_own_input),
        CASE(a_retried_run_shows_what_failed_since),
        CASE(builds_beyond_the_limit_are_not_named),
        CASE(who_has_not_failed_or_was_dropped_is_none),
        CASE(a_damaged_journal_is_refused),
        CASE(pages_follow_each_other),
        CASE(a_page_has_a_limit),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

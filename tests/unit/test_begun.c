/* test_begun.c - which task the end of an attempt is counted for, when its event has no name. */
#include "support/pipeline_fixture.h"

#include "begun.h"
#include "tally.h"

enum { STEPS_PER_APPEND = 500 };

/* A run that is being executed, and what the next append says. */
struct stay {
    struct aiki_id run;
    uint64_t epoch, number;
    aiki_writer events;
};

static void begin(struct fixture *f, struct stay *s)
{
    s->run = start(f);
    s->epoch = claim(f, RUNTIME);
    s->number = 0;
    buf_init(&s->events);
}

static struct address address_of(unsigned step)
{
    return (struct address){{(uint8_t)(step >> 16), (uint8_t)(step >> 8), (uint8_t)step}};
}

/* name: NULL leaves out what the step is. */
static struct event of_step(uint64_t kind, unsigned step, const char *name)
{
    struct event e = {.kind = kind, .as.step = {.address = address_of(step)}};
    if (kind != EVENT_STEP_BEGUN)
        e.as.step.attempt = 1;
    if (name != NULL) {
        e.as.step.identity_kind = STEP_TASK;
        e.as.step.name = view_of(name);
    }
    return e;
}

static void add(struct stay *s, struct event e)
{
    event_write_new(&s->events, &e);
}

static void add_end(struct stay *s, unsigned step, uint64_t outcome)
{
    struct event e = of_step(EVENT_STEP_DONE, step, NULL);
    e.as.step.outcome = outcome;
    add(s, e);
}

static void append_with(struct fixture *f, struct stay *s, uint64_t next)
{
    struct msg_ACK ack;
    say(f, RUNTIME, APPEND, 3, .run = s->run, .epoch = s->epoch, .number = ++s->number,
        .next = next, .events = aiki_writer_view(&s->events));
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    forget(f);
    buf_clear(&s->events, 1024 * 1024);
}

static void append(struct fixture *f, struct stay *s)
{
    append_with(f, s, NEXT_CONTINUE);
}

static struct begun_set *known(struct fixture *f, const struct stay *s)
{
    return cache_find(&f->p.cache, &s->run)->begun;
}

/* Of all builds and categories. */
static uint64_t counted(const char *task, const char *outcome)
{
    char line[128];
    uint64_t count = 0;
    aiki_writer w;
    buf_init(&w);
    tally_write(&w);
    aiki_mp_raw(&w, "", 1);
    (void)snprintf(line, sizeof(line), "{task=\"%s\",outcome=\"%s\",", task, outcome);
    for (const char *at = (const char *)w.data; (at = strstr(at, line)) != NULL; at++)
        count += strtoull(strchr(at, ' '), NULL, 10);
    buf_deinit(&w);
    return count;
}

/* The event that ends a step is the first one that speaks of it: nothing is kept. */
static void a_step_that_is_done_at_once_costs_no_memory(void **state)
{
    struct fixture *f = *state;
    struct stay s;
    begin(f, &s);
    add(&s, of_step(EVENT_STEP_DONE, 1, "at-once"));
    append(f, &s);
    assert_int_equal(counted("at-once", "ok"), 1);
    assert_null(known(f, &s));
    buf_deinit(&s.events);
}

/* The name comes from the journal, read once; from then on it is remembered as long as it takes. */
static void names_are_learned_from_the_journal(void **state)
{
    struct fixture *f = *state;
    struct stay s;
    begin(f, &s);
    add(&s, of_step(EVENT_STEP_BEGUN, 1, "learned"));
    add(&s, of_step(EVENT_STEP_BEGUN, 2, "other-one"));
    append(f, &s);
    assert_null(known(f, &s));
    add(&s, of_step(EVENT_ATTEMPT_FAILED, 1, NULL));
    append(f, &s);
    assert_non_null(known(f, &s));
    assert_int_equal(known(f, &s)->count, 2);
    add(&s, of_step(EVENT_STEP_BEGUN, 3, "later"));
    add_end(&s, 1, OUTCOME_TIMEDOUT);
    append(f, &s);
    add_end(&s, 3, OUTCOME_FAILED);
    add_end(&s, 2, OUTCOME_CANCELLED);
    append(f, &s);
    assert_int_equal(counted("learned", "retried"), 1);
    assert_int_equal(counted("learned", "timed_out"), 1);
    assert_int_equal(counted("later", "failed"), 1);
    assert_int_equal(counted("other-one", "cancelled"), 1);
    assert_int_equal(known(f, &s)->count, 0); /* all have ended */
    buf_deinit(&s.events);
}

/* What was remembered is gone, as it is when the run left the memory: it is learned again. */
static void what_was_forgotten_is_learned_again(void **state)
{
    struct fixture *f = *state;
    struct stay s;
    begin(f, &s);
    add(&s, of_step(EVENT_STEP_BEGUN, 1, "again"));
    add(&s, of_step(EVENT_STEP_BEGUN, 2, "again"));
    append(f, &s);
    add_end(&s, 1, OUTCOME_OK);
    append(f, &s);
    entry_forget_begun(cache_find(&f->p.cache, &s.run));
    add_end(&s, 2, OUTCOME_OK);
    append(f, &s);
    assert_int_equal(counted("again", "ok"), 2);
    buf_deinit(&s.events);
}

/* Waits and captured values have no attempts. */
static void what_is_no_task_is_not_counted(void **state)
{
    struct fixture *f = *state;
    struct stay s;
    begin(f, &s);
    uint64_t others = counted("other", "ok");
    struct event side = of_step(EVENT_STEP_DONE, 1, "side"), sleep = of_step(EVENT_STEP_BEGUN, 2, "nap");
    side.as.step.identity_kind = STEP_SIDE;
    sleep.as.step.identity_kind = STEP_SLEEP;
    sleep.as.step.due_at_ms = 1;
    add(&s, side);
    add(&s, sleep);
    append(f, &s);
    add_end(&s, 2, OUTCOME_OK);
    append(f, &s);
    assert_int_equal(counted("side", "ok") + counted("nap", "ok"), 0);
    assert_int_equal(counted("other", "ok"), others);
    buf_deinit(&s.events);
}

static void crash(struct fixture *f, bool charged, uint64_t attempt)
{
    struct stay s;
    begin(f, &s);
    add(&s, (struct event){.kind = EVENT_CRASHED,
                           .as.crashed = {.attempt = attempt, .charged = charged, .name = view_of("crashing"),
                                          .build = {other_build, HASH_BYTES}}});
    append_with(f, &s, NEXT_RELEASE);
    buf_deinit(&s.events);
}

/* Suspects are not charged, and not counted; the workflow's own code is no task. */
static void a_charged_crash_is_counted(void **state)
{
    struct fixture *f = *state;
    crash(f, true, 1);
    crash(f, false, 1);
    crash(f, true, 0);
    assert_int_equal(counted("crashing", "crashed"), 1);
}

static void begin_steps(struct fixture *f, struct stay *s, unsigned from, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        add(s, of_step(EVENT_STEP_BEGUN, from + i, "many"));
        if ((i + 1) % STEPS_PER_APPEND == 0 || i + 1 == count)
            append(f, s);
    }
}

static void end_step(struct fixture *f, struct stay *s, unsigned step)
{
    add_end(s, step, OUTCOME_OK);
    append(f, s);
}

/* BEGUN_STEPS_MAX at a time; a task beyond is "other". Places of those that end are used again. */
static void steps_beyond_the_limit_are_others(void **state)
{
    struct fixture *f = *state;
    struct stay s;
    uint64_t others = counted("other", "ok");
    begin(f, &s);
    begin_steps(f, &s, 0, BEGUN_STEPS_MAX + 1);
    end_step(f, &s, BEGUN_STEPS_MAX); /* from the journal: there was no room for it */
    assert_int_equal(known(f, &s)->count, BEGUN_STEPS_MAX);
    assert_int_equal(counted("other", "ok"), others + 1);
    end_step(f, &s, 7);
    assert_int_equal(counted("many", "ok"), 1);
    begin_steps(f, &s, 20000, 2); /* as they come: one finds the place that is free now */
    assert_int_equal(known(f, &s)->count, BEGUN_STEPS_MAX);
    end_step(f, &s, 20000);
    end_step(f, &s, 20001);
    assert_int_equal(counted("many", "ok"), 2);
    assert_int_equal(counted("other", "ok"), others + 2);
    buf_deinit(&s.events);
}

static void pass_steps(struct fixture *f, struct stay *s, unsigned from, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        add(s, of_step(EVENT_STEP_DONE, from + i, "at-once"));
        if ((i + 1) % STEPS_PER_APPEND == 0 || i + 1 == count)
            append(f, s);
    }
}

/* A run is followed before its journal is long, so that nobody reads that in one go. Where it has to be, what
 * began long ago is "other". */
static void a_long_journal_is_not_read_in_one_go(void **state)
{
    struct fixture *f = *state;
    struct stay s;
    uint64_t before_many = counted("many", "ok"), others = counted("other", "ok");
    begin(f, &s);
    begin_steps(f, &s, 0, 2);
    pass_steps(f, &s, 100000, BEGUN_FOLLOW_EVENTS + 1);
    assert_non_null(known(f, &s));
    assert_int_equal(known(f, &s)->count, 2);
    begin_steps(f, &s, 2, 1);
    pass_steps(f, &s, 200000, BEGUN_LEARN_EVENTS_MAX - 1);
    begin_steps(f, &s, 3, 1);
    end_step(f, &s, 0);
    assert_int_equal(counted("many", "ok"), before_many + 1);
    entry_forget_begun(cache_find(&f->p.cache, &s.run)); /* as a refused commit does */
    end_step(f, &s, 1);
    end_step(f, &s, 2);
    assert_int_equal(counted("other", "ok"), others + 2);
    end_step(f, &s, 3);
    assert_int_equal(counted("many", "ok"), before_many + 2);
    assert_int_equal(known(f, &s)->count, 0);
    buf_deinit(&s.events);
}

/* Whatever order they begin and end in, each is found until it ends. */
static void steps_end_in_any_order(void **state)
{
    enum { COUNT = 997, STRIDE = 313 }; /* prime: all of them come */
    struct fixture *f = *state;
    struct stay s;
    uint64_t before_many = counted("many", "ok"), others = counted("other", "ok");
    begin(f, &s);
    begin_steps(f, &s, 0, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        add_end(&s, i * STRIDE % COUNT, OUTCOME_OK);
        if (i % 7 == 0)
            append(f, &s);
    }
    append(f, &s);
    assert_int_equal(counted("many", "ok"), before_many + COUNT);
    assert_int_equal(counted("other", "ok"), others);
    assert_int_equal(known(f, &s)->count, 0);
    buf_deinit(&s.events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(a_step_that_is_done_at_once_costs_no_memory),
        CASE(names_are_learned_from_the_journal),
        CASE(what_was_forgotten_is_learned_again),
        CASE(what_is_no_task_is_not_counted),
        CASE(a_charged_crash_is_counted),
        CASE(steps_beyond_the_limit_are_others),
        CASE(a_long_journal_is_not_read_in_one_go),
        CASE(steps_end_in_any_order),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

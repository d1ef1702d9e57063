/* test_replay.c - a run from its journal: the same whenever it is interrupted, and never twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/replay_world.h"

/* ---- programs ---------------------------------------------------------------------------- */

static uint64_t fifty(struct world *w)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 50; i++)
        sum += result(w, task(w, "double", i));
    return sum;
}

/* Everything at once: a race, a sleep, a side value, a retry, the same step twice. */
static uint64_t mixture(struct world *w)
{
    uint32_t f[3] = {task(w, "double", 1), task(w, "double", 2), task(w, "double", 1)};
    await(w, f, 3, 1);
    uint64_t first = 0;
    for (uint64_t i = 0; i < 3 && w->fault == AIKI_OK; i++)
        if (shown(w, f[i])->phase == PHASE_SHOWN)
            first = i + 1;
    uint64_t luck = side(w, "luck", w->epoch);
    (void)result(w, timed(w, STEP_SLEEP, "rest", 3600000));
    uint64_t late = result(w, task(w, "flaky", 9));
    await(w, f, 3, 3);
    return 1000 * first + 100 * luck + late + result(w, f[0]) + result(w, f[1]) + result(w, f[2]);
}

static uint64_t tag; /* what differs between two builds of the same workflow */
static uint64_t three_parts(struct world *w)
{
    uint64_t a, b;
    if (tag == 1) { /* the first two swapped */
        b = result(w, task(w, "b", 2));
        a = result(w, task(w, "a", 1));
    } else {
        a = result(w, task(w, "a", tag == 2 ? 7 : 1));
        if (tag == 3)
            a += result(w, task(w, "inserted", 1));
        b = tag == 4 ? 0 : result(w, task(w, tag == 5 ? "renamed" : "b", 2));
    }
    if (tag == 6)
        return a;
    (void)result(w, timed(w, STEP_SLEEP, "night", 3600000));
    return a + b + result(w, task(w, "c", 3));
}

/* What has come by the time a side value was captured, which only the newer build does. */
static uint64_t side_in_between(struct world *w)
{
    uint32_t f[2] = {task(w, "double", 1), task(w, "double", 2)};
    uint32_t night = timed(w, STEP_SLEEP, "night", 3600000);
    await(w, f, 2, 1);
    uint64_t luck = tag == 1 ? side(w, "luck", 5) : 0;
    uint64_t both = shown(w, f[0])->phase == PHASE_SHOWN && shown(w, f[1])->phase == PHASE_SHOWN;
    await(w, f, 2, 2);
    (void)result(w, night);
    return 10 * luck + both;
}

static uint64_t two_signals(struct world *w)
{
    uint32_t a = timed(w, STEP_SIGNAL, "go", -1), b = timed(w, STEP_SIGNAL, "go", -1);
    return 10 * result(w, a) + result(w, b);
}

static uint64_t signal_or_timeout(struct world *w)
{
    uint32_t f = timed(w, STEP_SIGNAL, "go", 60000);
    await(w, &f, 1, 1);
    return shown(w, f)->outcome == OUTCOME_TIMEDOUT ? 404 : number_of(shown(w, f)->value);
}

static uint64_t quick_nap(struct world *w)
{
    (void)result(w, timed(w, STEP_SLEEP, "blink", REPLAY_SHORT_SLEEP_MS - 1));
    return 1;
}

static uint64_t pair(struct world *w)
{
    uint32_t f[2] = {task(w, "double", 1), task(w, "double", 2)};
    await(w, f, 2, 1);
    (void)result(w, task(w, "double", 3));
    await(w, f, 2, 2);
    return 0;
}

static uint64_t endless(struct world *w)
{
    while (w->fault == AIKI_OK)
        (void)timed(w, STEP_SLEEP, "x", 1);
    return 0;
}

/* ---- cases ------------------------------------------------------------------------------- */

/* Cut off behind every single append, a run of fifty steps executes each of them once. */
static void recorded_steps_are_not_repeated(void **state)
{
    struct world *w = *state;
    world_begin(w, fifty);
    run_to_end(w, 1);
    assert_int_equal(w->result, 2 * 49 * 50 / 2);
    assert_int_equal(w->epoch, 50); /* the last result and the completion are one append */
    for (uint64_t i = 0; i < 50; i++)
        assert_int_equal(effects_of(w, "double", i), 1);
    assert_int_equal(count(w, EVENT_STEP_DONE), 50);
    world_end(w);
}

/* The outcome of races, side values and retries is that of the first time, wherever it is cut. */
static void outcomes_stay(void **state)
{
    struct world *w = *state;
    for (unsigned variant = 0; variant < 4; variant++) {
        for (unsigned appends = 1; appends < 8; appends++) {
            world_begin(w, mixture);
            w->last_first = (variant & 1) != 0;
            w->commits_first = (variant & 2) != 0;
            run_to_end(w, appends);
            assert_int_equal(w->result / 1000, w->last_first ? 3 : 1);
            assert_int_equal(w->result % 100, 18 + 2 + 4 + 2);
            assert_int_equal(effects_of(w, "flaky", 9), 3); /* its attempts are on record */
            assert_int_equal(count(w, EVENT_ATTEMPT_FAILED), 2);
            world_end(w);
        }
    }
}

/* A result is shown before it is durable; the next effect is not begun before. */
static void effects_wait_for_the_commit(void **state)
{
    struct world *w = *state;
    struct step *s;
    world_begin(w, three_parts);
    tag = 0;
    replay_init(&w->r, (struct replay_memory){take, w});
    assert_int_equal(journal_load(&w->r.journal, (aiki_view){w->journal, w->journal_bytes}, NULL),
                     AIKI_OK);
    w->fiber = fiber_create(w->fibers, fiber_main, w);
    replay_begin(&w->r);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_RESUME);
    assert_true(fiber_resume(w->fiber));
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_START);
    w->running[w->running_count++] = s;
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_IDLE);
    assert_false(replay_should_append(&w->r));
    end_attempt(w);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_RESUME);
    assert_true(fiber_resume(w->fiber));
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_IDLE); /* b is held */
    assert_true(replay_should_append(&w->r));
    w->appends_left = 2;
    assert_true(append(w, true));
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_IDLE); /* sent is not durable */
    assert_false(replay_should_append(&w->r));
    replay_acked(&w->r);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_START);
    fiber_destroy(w->fiber);
    world_end(w);
}

/* Steps are found by what they are: swapping two does no harm, the rest is found out before
 * anything happens, said in words, and the fitting build goes on. */
static void changes_are_told(void **state)
{
    static const struct {
        uint64_t tag;
        const char *text; /* NULL: the build fits */
    } cases[] = {
        {1, NULL},
        {2, "the input changed"},
        {3, "a step was inserted"},
        {4, "a step was removed"},
        {5, "the name changed"},
        {6, "the code now ends before sleep night"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        aiki_error err = AIKI_ERROR_INIT;
        world_begin(w, three_parts);
        tag = 0;
        assert_int_equal(stay(w), STAY_PARKED);
        unsigned effects = w->effect_count, appends = w->appends;
        tag = cases[i].tag;
        if (cases[i].text != NULL) {
            assert_int_equal(stay(w), STAY_DIVERGED);
            replay_explain(&w->r, &err);
            assert_string_equal(err.code, "NONDETERMINISM");
            if (strstr(err.message, cases[i].text) == NULL)
                fail_msg("expected \"%s\" in \"%s\"", cases[i].text, err.message);
            assert_int_equal(aiki_mp_check(err.details), AIKI_OK);
            assert_int_equal(w->effect_count, effects);
            assert_int_equal(w->appends, appends);
            tag = 0;
        }
        w->now_ms += 3600000;
        run_to_end(w, NEVER);
        assert_int_equal(w->result, 2 + 4 + 6);
        for (uint64_t n = 0; n < 3; n++)
            assert_int_equal(effects_of(w, (const char *[]){"a", "b", "c"}[n], n + 1), 1);
        world_end(w);
    }
}

/* A build that captures a side value in between results on record has seen them all by then, and sees the
 * same when it is replayed itself. */
static void side_values_keep_their_place(void **state)
{
    struct world *w = *state;
    world_begin(w, side_in_between);
    tag = 0;
    assert_int_equal(stay(w), STAY_PARKED);
    tag = 1;
    for (int stays = 0; stays < 2; stays++) {
        assert_int_equal(stay(w), STAY_PARKED);
        assert_int_equal(count(w, EVENT_STEP_DONE), 3);
    }
    w->now_ms += 3600000;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 51);
    world_end(w);
}

/* Signals of one name are taken in order, early or late, each once. */
static void signals_are_taken_in_order(void **state)
{
    struct world *w = *state;
    world_begin(w, two_signals);
    send_signal(w, "other", 9);
    send_signal(w, "go", 1);
    assert_int_equal(stay(w), STAY_PARKED);
    assert_int_equal(w->r.journal.arrival_count, 2);
    assert_int_equal(replay_wake_at_ms(&w->r), 0);
    send_signal(w, "go", 2);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 12);
    world_end(w);

    world_begin(w, signal_or_timeout);
    assert_int_equal(stay(w), STAY_PARKED);
    assert_int_equal(replay_wake_at_ms(&w->r), w->now_ms + 60000);
    send_signal(w, "go", 5);
    w->now_ms += 60000; /* both: what is there wins */
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 5);
    world_end(w);

    world_begin(w, signal_or_timeout);
    assert_int_equal(stay(w), STAY_PARKED);
    w->now_ms += 60000;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 404);
    world_end(w);
}

/* Odd payloads are not expected. */
static aiki_view expects_even(void *arg, struct step *s)
{
    static const uint8_t map[] = {0x80};
    struct world *w = arg;
    assert_ptr_equal(s->expects, w);
    return (aiki_view){map, number_of(s->value) % 2};
}

static uint64_t first_even(struct world *w)
{
    const struct step_call call = {
        .kind = STEP_SIGNAL, .name = view("go"), .duration_ms = -1, .expects = w};
    const struct step *s;
    uint64_t refused = 0;
    w->r.judge = expects_even;
    w->r.judge_arg = w;
    do {
        uint32_t f = begin(w, &call);
        await(w, &f, 1, 1);
        s = shown(w, f);
        refused += s->outcome == OUTCOME_FAILED;
    } while (s->outcome == OUTCOME_FAILED);
    (void)result(w, timed(w, STEP_SLEEP, "wait", 3600000));
    return 10 * refused + number_of(s->value);
}

/* A signal that is not what is expected is a failed step, on every replay, and the next one is taken. */
static void odd_signals_are_refused(void **state)
{
    struct world *w = *state;
    world_begin(w, first_even);
    for (uint8_t payload = 5; payload < 9; payload++)
        send_signal(w, "go", payload);
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 10 + 6);
    assert_int_equal(count(w, EVENT_STEP_DONE), 3);
    world_end(w);
}

static int64_t length_ms; /* of a wait, as the build at hand has it */
static uint64_t long_wait(struct world *w)
{
    (void)result(w, timed(w, tag == 1 ? STEP_SIGNAL : STEP_SLEEP, "wait", length_ms));
    return 1;
}

/* A build that waits longer or shorter changes a wait that is under way by the difference. */
static void lengths_may_change(void **state)
{
    static const struct {
        uint64_t tag;
        int64_t before_ms, after_ms, wake_after_ms; /* wake_after_ms: 0 = never */
    } cases[] = {
        {0, 3600000, 3600000, 3600000}, {0, 3600000, 7200000, 7200000},
        {0, 3600000, 60000, 60000},     {0, INT64_MAX, 60000, 60000},
        {1, 60000, 90000, 90000},       {1, 60000, -1, 0},
        {1, -1, 90000, 90000},          {1, -1, -1, 0},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        world_begin(w, long_wait);
        tag = cases[i].tag;
        length_ms = cases[i].before_ms;
        int64_t began_ms = w->now_ms;
        assert_int_equal(stay(w), STAY_PARKED);
        length_ms = cases[i].after_ms;
        w->now_ms += 1000;
        assert_int_equal(stay(w), STAY_PARKED);
        assert_int_equal(replay_wake_at_ms(&w->r),
                         cases[i].wake_after_ms == 0 ? 0 : began_ms + cases[i].wake_after_ms);
        world_end(w);
    }
}

/* A wait too short to be worth it is neither announced nor parked. */
static void short_sleeps_stay_here(void **state)
{
    struct world *w = *state;
    world_begin(w, quick_nap);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(count(w, EVENT_STEP_BEGUN), 0);
    assert_int_equal(w->appends, 1);
    world_end(w);
}

/* What is under way when something is recorded is recorded with it, once. */
static void tasks_under_way_are_announced(void **state)
{
    struct world *w = *state;
    world_begin(w, pair);
    w->commits_first = true;
    run_to_end(w, NEVER);
    assert_int_equal(count(w, EVENT_STEP_BEGUN),
                     2); /* of the two that were under way while others ended */
    assert_int_equal(count(w, EVENT_STEP_DONE), 3);
    world_end(w);
}

/* What does not fit the rules of a journal is refused, whatever its checksum says. */
static void broken_journals_are_refused(void **state)
{
    struct world *w = *state;
    struct journal j;
    uint8_t memory[16];
    struct event e = {.kind = EVENT_STEP_DONE,
                      .as.step = {.identity_kind = STEP_TASK, .name = view("a")}};
    for (int i = 0; i < 4; i++) {
        aiki_error err = AIKI_ERROR_INIT;
        world_begin(w, fifty);
        if (i == 0)
            w->seq++; /* a gap */
        if (i == 1)
            e.as.step.identity_kind = 0; /* a step without identity */
        if (i == 3) {
            e.as.step.identity_kind = STEP_SIGNAL; /* a signal that never came */
            e.as.step.value = number_view(memory, 1);
        }
        keep_event(w, &e);
        if (i == 2)
            keep_event(w, &e); /* done twice */
        journal_init(&j, (struct replay_memory){take, w});
        assert_int_equal(journal_load(&j, (aiki_view){w->journal, w->journal_bytes}, &err),
                         AIKI_CORRUPT);
        assert_string_equal(err.code, "JOURNAL_CORRUPT");
        e.as.step.identity_kind = STEP_TASK;
        world_end(w);
    }
}

static void steps_are_limited(void **state)
{
    struct world *w = *state;
    world_begin(w, endless);
    assert_int_equal(stay(w), STAY_FAILED);
    assert_int_equal(w->r.status, AIKI_LIMIT);
    assert_int_equal(w->r.journal.step_count, JOURNAL_STEPS_MAX);
    world_end(w);
}

/* Whichever allocation fails, the stay ends with a status, and a later stay goes on. */
static void memory_may_end(void **state)
{
    struct world *w = *state;
    bool enough = false;
    for (unsigned n = 1; !enough; n++) {
        world_begin(w, mixture);
        w->appends_left = NEVER;
        w->fail_at = n;
        enum stay how = stay(w);
        enough = w->allocation_count < n - 1;
        assert_true(how == STAY_FAILED || how == STAY_PARKED);
        w->fail_at = 0;
        w->now_ms += 3600000;
        run_to_end(w, NEVER);
        assert_int_equal(w->result % 100, 18 + 2 + 4 + 2);
        world_end(w);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(recorded_steps_are_not_repeated),
        CASE(outcomes_stay),
        CASE(effects_wait_for_the_commit),
        CASE(changes_are_told),
        CASE(side_values_keep_their_place),
        CASE(signals_are_taken_in_order),
        CASE(odd_signals_are_refused),
        CASE(lengths_may_change),
        CASE(short_sleeps_stay_here),
        CASE(tasks_under_way_are_announced),
        CASE(broken_journals_are_refused),
        CASE(steps_are_limited),
        CASE(memory_may_end),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}

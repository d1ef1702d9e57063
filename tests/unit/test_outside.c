/* test_outside.c - what comes from outside: requests to end, pause and wake, and futures that are given up.
 *
 * Whatever arrives is seen by the code at one place of the record, and there again by every replay.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../support/outside_world.h"

/* To the owner that is executing. */
static void notify(struct world *w, uint64_t kind)
{
    uint64_t before = w->journal_bytes;
    arrive(w, kind);
    assert_int_equal(replay_add_arrival(&w->r,
                                        (aiki_view){w->journal + before, w->journal_bytes - before},
                                        NULL),
                     AIKI_OK);
}

static uint64_t protected_nap(struct world *w)
{
    uint32_t nap = timed(w, STEP_SLEEP, "nap", 3600000);
    replay_protect(&w->r, true);
    assert_int_equal(wait_for(w, &nap, 1, 1), AIKI_OK);
    replay_protect(&w->r, false);
    uint32_t next = timed(w, STEP_SLEEP, "next", 3600000);
    return wait_for(w, &next, 1, 1) == AIKI_CANCELLED ? 1 : 2;
}

/* Two at once; the first result makes the other one unwanted. */
static uint64_t first_of_two(struct world *w)
{
    uint32_t f[2] = {task(w, "a", 1), task(w, "b", 2)};
    assert_int_equal(wait_for(w, f, 2, 1), AIKI_OK);
    unsigned loser = shown(w, f[0])->phase == PHASE_SHOWN;
    assert_true(replay_cancel(&w->r, f[loser]));
    assert_true(replay_cancel(&w->r, f[1 - loser])); /* done: nothing happens */
    assert_int_equal(shown(w, f[loser])->outcome, OUTCOME_CANCELLED);
    return number_of(shown(w, f[1 - loser])->value) * 10 + result(w, task(w, "c", 3));
}

static uint64_t any_of_two(struct world *w)
{
    uint32_t f[2] = {task(w, "a", 1), task(w, "b", 2)};
    assert_int_equal(wait_for(w, f, 2, 1), AIKI_OK);
    assert_int_not_equal(shown(w, f[0])->phase == PHASE_SHOWN, shown(w, f[1])->phase == PHASE_SHOWN);
    return number_of(shown(w, f[shown(w, f[1])->phase == PHASE_SHOWN])->value);
}

/* ---- cancel ------------------------------------------------------------------------------ */

/* A sleeper learns it where it sleeps; cleanup is executed once, wherever the stays are cut off, and a
 * replay sees the request at the same place. */
static void a_sleeper_is_told(void **state)
{
    struct world *w = *state;
    for (unsigned appends = 1; appends < 6; appends++) {
        world_begin(w, nap_between);
        assert_int_equal(stay(w), STAY_PARKED);
        arrive(w, EVENT_CANCEL_REQUESTED);
        run_to_end(w, appends);
        assert_int_equal(w->result, 108);
        assert_int_equal(effects_of(w, "a", 1), 1);
        assert_int_equal(effects_of(w, "b", 2), 0);
        assert_int_equal(effects_of(w, "late", 3), 0);
        assert_true(effects_of(w, "undo", 4) >= 1);
        assert_int_equal(find(w, EVENT_CANCEL_SEEN).count, 1);
        world_end(w);
    }
}

/* While the owner executes: an attempt under way is unwanted, what it brings is dropped. */
static void a_late_result_is_dropped(void **state)
{
    struct world *w = *state;
    struct step *s, *a;
    world_begin(w, nap_between);
    replay_init(&w->r, (struct replay_memory){take, w});
    assert_int_equal(journal_load(&w->r.journal, (aiki_view){w->journal, w->journal_bytes}, NULL),
                     AIKI_OK);
    w->fiber = fiber_create(w->fibers, fiber_main, w);
    replay_begin(&w->r);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_RESUME);
    assert_true(fiber_resume(w->fiber));
    assert_int_equal(replay_next(&w->r, w->now_ms, &a), REPLAY_START);
    notify(w, EVENT_CANCEL_REQUESTED);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_RESUME);
    assert_true(w->r.interrupted);
    assert_int_equal(a->phase, PHASE_SHOWN);
    assert_int_equal(w->r.running, 0);
    replay_attempt_done(&w->r, a, (aiki_view){NULL, 0}, 1);
    replay_attempt_failed(&w->r, a, (aiki_view){NULL, 0}, true, 0, (aiki_view){NULL, 0}, 1, 1);
    assert_int_equal(a->outcome, OUTCOME_CANCELLED);
    assert_int_equal(w->r.running, 0);
    fiber_destroy(w->fiber);
    world_end(w);
}

/* Inside a protected scope nothing is seen; behind it, at once. */
static void a_protected_scope_is_not_disturbed(void **state)
{
    struct world *w = *state;
    world_begin(w, protected_nap);
    arrive(w, EVENT_CANCEL_REQUESTED);
    assert_int_equal(stay(w), STAY_PARKED);
    assert_int_equal(w->r.journal.arrival_count, 1);
    assert_int_equal(find(w, EVENT_CANCEL_SEEN).count, 0);
    w->now_ms += 3600000;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 1);
    world_end(w);
}

/* A build whose code waits elsewhere is told apart. */
static void a_request_seen_elsewhere_diverges(void **state)
{
    struct world *w = *state;
    aiki_error err = AIKI_ERROR_INIT;
    world_begin(w, nap_between);
    assert_int_equal(stay(w), STAY_PARKED);
    arrive(w, EVENT_CANCEL_REQUESTED);
    w->appends_left = 2;
    (void)stay(w);
    assert_int_equal(find(w, EVENT_CANCEL_SEEN).count, 1);
    w->appends_left = NEVER;
    w->fn = protected_nap;
    assert_int_equal(stay(w), STAY_DIVERGED);
    replay_explain(&w->r, &err);
    assert_string_equal(err.code, "NONDETERMINISM");
    world_end(w);
}

/* ---- futures ----------------------------------------------------------------------------- */

static void the_loser_of_a_race_is_cancelled(void **state)
{
    struct world *w = *state;
    for (unsigned appends = 1; appends < 5; appends++)
        for (int last_first = 0; last_first < 2; last_first++) {
            world_begin(w, first_of_two);
            w->last_first = last_first;
            run_to_end(w, appends);
            assert_true(w->result == 26 || w->result == 46);
            world_end(w);
        }
}

/* Four waits for one name, of which the code gives up the second when it has its signal already. */
static uint64_t four_waits(struct world *w)
{
    uint32_t f[4];
    for (unsigned i = 0; i < 4; i++)
        f[i] = timed(w, STEP_SIGNAL, "go", -1);
    assert_int_equal(wait_for(w, f, 4, 1), AIKI_OK);
    assert_true(replay_cancel(&w->r, f[1]));
    uint64_t sum = number_of(shown(w, f[0])->value);
    return (sum * 10 + result(w, f[2])) * 10 + result(w, f[3]);
}

/* The signal it had is the next one's: none is lost, and they are seen in the order they came. */
static void a_signal_given_up_is_there_for_others(void **state)
{
    struct world *w = *state;
    for (unsigned appends = 1; appends < 5; appends++) {
        world_begin(w, four_waits);
        for (uint8_t n = 1; n < 4; n++)
            send_signal(w, "go", n);
        run_to_end(w, appends);
        assert_int_equal(w->result, 123);
        world_end(w);
    }
}

/* A heartbeat was on its way when the code gave up its task. */
static uint64_t beat_of_the_loser(struct world *w)
{
    uint8_t memory[16];
    uint32_t f[2] = {task(w, "a", 1), task(w, "b", 2)};
    assert_int_equal(wait_for(w, f, 2, 1), AIKI_OK);
    unsigned loser = shown(w, f[0])->phase == PHASE_SHOWN;
    assert_true(replay_cancel(&w->r, f[loser]));
    replay_attempt_beat(&w->r, replay_future(&w->r, f[loser]), number_view(memory, 77), w->now_ms);
    return result(w, task(w, "c", 3));
}

/* Nothing follows the outcome of a step. */
static void a_late_sign_of_life_is_dropped(void **state)
{
    struct world *w = *state;
    world_begin(w, beat_of_the_loser);
    run_to_end(w, NEVER);
    assert_int_equal(count(w, EVENT_HEARTBEAT), 0);
    assert_int_equal(w->result, 6);
    world_end(w);
}

/* ---- pause and wake ---------------------------------------------------------------------- */

/* To be cut off wherever the test likes: begins a stay and goes on until something is under way. */
static void begin_stay(struct world *w)
{
    struct step *s;
    drop_memory(w);
    w->running_count = 0;
    replay_init(&w->r, (struct replay_memory){take, w});
    assert_int_equal(journal_load(&w->r.journal, (aiki_view){w->journal, w->journal_bytes}, NULL),
                     AIKI_OK);
    w->fiber = fiber_create(w->fibers, fiber_main, w);
    replay_begin(&w->r);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_RESUME);
    assert_true(fiber_resume(w->fiber));
    while (replay_next(&w->r, w->now_ms, &s) == REPLAY_START) {
        note_effect(w, s);
        w->running[w->running_count++] = s;
    }
}

/* Both tasks end while the run is paused; the code waits for one of them. */
static void pause_a_race(struct world *w, program fn)
{
    struct step *s;
    world_begin(w, fn);
    begin_stay(w);
    assert_int_equal(w->running_count, 2);
    notify(w, EVENT_PAUSED);
    end_attempt(w);
    end_attempt(w);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_PAUSED);
    assert_int_equal(find(w, EVENT_STEP_DONE).count, 0);
    (void)append(w, false);
    fiber_destroy(w->fiber);
    assert_int_equal(find(w, EVENT_STEP_DONE).count, 1);
    assert_int_equal(find(w, EVENT_ATTEMPT_DONE).count, 1);
    assert_int_equal(stay(w), STAY_PAUSED);
    arrive(w, EVENT_RESUMED);
}

/* The loser's result is on record and nobody ever looks at it, or it is cancelled, or looked at later. */
static void results_of_a_pause_are_kept(void **state)
{
    static const struct {
        program fn;
        uint64_t result;
        unsigned done;
    } cases[] = {{any_of_two, 2, 1}, {first_of_two, 26, 3}, {both_one_by_one, 2 + 4, 2}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (unsigned appends = 1; appends < 4; appends++) {
            pause_a_race(w, cases[i].fn);
            run_to_end(w, appends);
            assert_int_equal(w->result, cases[i].result);
            assert_int_equal(find(w, EVENT_STEP_DONE).count, cases[i].done);
            assert_int_equal(find(w, EVENT_ATTEMPT_DONE).count, 1);
            assert_int_equal(effects_of(w, "a", 1), 1);
            assert_int_equal(effects_of(w, "b", 2), 1);
            world_end(w);
        }
}

/* A run that is asked to end before it is resumed, or that is executed again, finds them too. */
static void kept_results_outlive_requests(void **state)
{
    const struct event retried = {.kind = EVENT_RUN_RETRIED, .as.run_retried.attempt = 2};
    struct world *w = *state;
    pause_a_race(w, both_one_by_one);
    arrive(w, EVENT_CANCEL_REQUESTED);
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 2 + 4); /* what is there already is seen first */
    world_end(w);
    pause_a_race(w, any_of_two);
    run_to_end(w, NEVER);
    keep_event(w, &retried);
    w->fn = both_one_by_one;
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 2 + 4);
    assert_int_equal(effects_of(w, "b", 2), 1);
    world_end(w);
}

/* What is under way is recorded, the code does not go on; after the resume it does. */
static void a_paused_run_ends_what_it_began(void **state)
{
    struct world *w = *state;
    struct step *s;
    world_begin(w, nap_between);
    begin_stay(w);
    notify(w, EVENT_PAUSED);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_IDLE);
    assert_int_equal(replay_wake_at_ms(&w->r), 0);
    end_attempt(w);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_PAUSED);
    (void)append(w, false);
    fiber_destroy(w->fiber);
    assert_int_equal(find(w, EVENT_STEP_DONE).count, 1);
    assert_int_equal(stay(w), STAY_PAUSED);
    arrive(w, EVENT_RESUMED);
    assert_int_equal(stay(w), STAY_PARKED);
    arrive(w, EVENT_PAUSED);
    arrive(w, EVENT_CANCEL_REQUESTED); /* its cleanup must run */
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 108);
    assert_int_equal(effects_of(w, "a", 1), 1);
    world_end(w);
}

static uint64_t pay(struct world *w, struct task_policy *policy)
{
    retry_fill(&policy->retry);
    const struct step_call call = {.kind = STEP_TASK, .name = view("pay"), .policy = policy};
    uint32_t f = begin(w, &call);
    await(w, &f, 1, 1);
    return shown(w, f)->outcome;
}

static uint64_t once(struct world *w)
{
    static struct task_policy policy = {.at_most_once = true};
    return pay(w, &policy);
}

static uint64_t once_in_time(struct world *w)
{
    static struct task_policy policy = {.at_most_once = true, .start_to_close_ms = 500};
    return pay(w, &policy);
}

/* Given out and left to another process, with a limit on its time: it does not count as begun here, its
 * time does not pass, and it is executed there. */
static void an_attempt_is_left_to_another_process(void **state)
{
    struct world *w = *state;
    struct step *s;
    world_begin(w, once_in_time);
    begin_stay(w);
    (void)append(w, false);
    replay_acked(&w->r);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_START);
    replay_leave(&w->r, s);
    w->now_ms += 10000;
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_IDLE);
    (void)append(w, false);
    fiber_destroy(w->fiber);
    run_to_end(w, NEVER);
    assert_int_equal(w->result, OUTCOME_OK);
    assert_int_equal(effects_of(w, "pay", 0), 1);
    world_end(w);
}

/* Recorded as begun and not begun when the code fails: the next pass executes it. */
static void another_pass_begins_what_was_announced(void **state)
{
    struct world *w = *state;
    const struct event again = {.kind = EVENT_RUN_RETRIED,
                                .as.run_retried = {.attempt = 2, .next_at_ms = 1}};
    world_begin(w, once);
    begin_stay(w);
    (void)append(w, false);
    replay_write_end(&w->r, &again);
    (void)append(w, false);
    fiber_destroy(w->fiber);
    run_to_end(w, NEVER);
    assert_int_equal(w->result, OUTCOME_OK);
    assert_int_equal(effects_of(w, "pay", 0), 1);
    world_end(w);
}

/* Recorded as begun, a task that is made at most once is given back: it was not, and may be yet. */
static void a_pause_before_an_attempt_at_most_once(void **state)
{
    struct world *w = *state;
    struct step *s;
    world_begin(w, once);
    begin_stay(w);
    assert_int_equal(w->running_count, 0);
    assert_true(replay_is_beginning(&w->r));
    (void)append(w, false);
    notify(w, EVENT_PAUSED);
    replay_acked(&w->r);
    assert_int_equal(replay_next(&w->r, w->now_ms, &s), REPLAY_PAUSED);
    replay_take_back(&w->r);
    assert_false(replay_is_beginning(&w->r));
    (void)append(w, false);
    fiber_destroy(w->fiber);
    arrive(w, EVENT_RESUMED);
    run_to_end(w, NEVER);
    assert_int_equal(w->result, OUTCOME_OK);
    assert_int_equal(effects_of(w, "pay", 0), 1);
    assert_int_equal(count(w, EVENT_HEARTBEAT), 3);
    world_end(w);
}

static void a_sleeper_is_woken(void **state)
{
    struct world *w = *state;
    world_begin(w, nap_between);
    assert_int_equal(stay(w), STAY_PARKED);
    arrive(w, EVENT_WOKEN);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 2 + 4);
    world_end(w);

    /* What begins later is not woken. */
    world_begin(w, nap_between);
    arrive(w, EVENT_WOKEN);
    assert_int_equal(stay(w), STAY_PARKED);
    assert_int_equal(stay(w), STAY_PARKED);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sleeper_is_told),
        cmocka_unit_test(a_late_result_is_dropped),
        cmocka_unit_test(a_protected_scope_is_not_disturbed),
        cmocka_unit_test(a_request_seen_elsewhere_diverges),
        cmocka_unit_test(the_loser_of_a_race_is_cancelled),
        cmocka_unit_test(a_signal_given_up_is_there_for_others),
        cmocka_unit_test(a_late_sign_of_life_is_dropped),
        cmocka_unit_test(a_paused_run_ends_what_it_began),
        cmocka_unit_test(a_pause_before_an_attempt_at_most_once),
        cmocka_unit_test(an_attempt_is_left_to_another_process),
        cmocka_unit_test(another_pass_begins_what_was_announced),
        cmocka_unit_test(results_of_a_pause_are_kept),
        cmocka_unit_test(kept_results_outlive_requests),
        cmocka_unit_test(a_sleeper_is_woken),
    };
    return cmocka_run_group_tests(tests, outside_setup, outside_teardown);
}

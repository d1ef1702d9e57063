/* test_engine_outside.c - what reaches a run from outside: signals, its timer, requests. */
#include "support/engine_fixture.h"

/* ---- signals and time ------------------------------------------------------------------------ */

/* A signal that came while the code decided to wait: it looks again instead of sleeping. */
static void a_park_that_missed_a_signal_goes_on(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    add_event(f, EVENT_STEP_BEGUN);
    struct engine_append a = next_append(f, NEXT_PARK);
    a.wake_at_ms = START_MS + 60000;
    assert_true(signal_run(f, "go"));
    assert_true(f->effects.notify);
    assert_true(send_append(f, &a));
    assert_int_equal(f->run.state, RUN_QUEUED);
    assert_true(f->effects.offer);
}

/* Only the signal that is waited for wakes. */
static void another_signal_does_not_wake(void **state)
{
    struct fixture *f = *state;
    bring_to(f, RUN_AWAITING_SIGNAL);
    assert_true(signal_run(f, "no"));
    assert_int_equal(f->run.state, RUN_AWAITING_SIGNAL);
    assert_true(signal_run(f, "go"));
    assert_int_equal(f->run.state, RUN_QUEUED);
    assert_int_equal(f->run.waits.size_bytes, 0);
}

/* A timer that rings early, or after the run went on, does nothing. */
static void a_timer_wakes_when_due(void **state)
{
    struct fixture *f = *state;
    bring_to(f, RUN_SLEEPING);
    assert_false(engine_wake(&f->run, &f->now, &f->effects));
    f->now.at_ms = f->run.wake_at_ms;
    assert_true(engine_wake(&f->run, &f->now, &f->effects));
    assert_false(engine_wake(&f->run, &f->now, &f->effects));
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Asked twice, recorded once; and a run that is to end is not held up. */
static void a_request_is_recorded_once(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    assert_true(request(f, CONTROL_PAUSE));
    assert_true(f->effects.notify && f->effects.recorded == 1);
    assert_true(request(f, CONTROL_PAUSE));
    assert_int_equal(f->effects.recorded, 0);
    assert_true(request(f, CONTROL_CANCEL));
    assert_int_equal(f->run.flags, RUN_FLAG_CANCEL);
    assert_true(request(f, CONTROL_CANCEL));
    assert_int_equal(f->effects.recorded, 0);
    assert_false(request(f, CONTROL_PAUSE));
    assert_string_equal(f->refusal.code, "RUN_CANCELLING");
    assert_int_equal(f->run.signals, 2);
    struct run before = f->run;
    f->run.signals = RUN_SIGNALS_MAX;
    assert_false(request(f, CONTROL_WAKE));
    assert_int_equal(f->refusal.status, AIKI_LIMIT);
    assert_true(request(f, CONTROL_TERMINATE));
    assert_true(before.owner != 0 && f->effects.drop && !f->effects.notify);
}

/* However the owner gives a run back that is to be paused, it is paused; also when it is lost. */
static void a_pause_waits_for_the_owner(void **state)
{
    (void)state;
    static const enum act ways[] = {PARK, RELEASE, LOSE};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        void *fixture;
        setup(&fixture);
        struct fixture *f = fixture;
        assert_true(claim(f) && request(f, CONTROL_PAUSE));
        assert_int_equal(f->run.state, RUN_RUNNING);
        assert_true(act(f, ways[i]));
        assert_int_equal(f->run.state, RUN_PAUSED);
        assert_false(f->effects.offer);
        assert_true(request(f, CONTROL_RESUME) && f->effects.offer);
        teardown(&fixture);
    }
}

/* What it waited for is there for people who look, until it goes on. */
static void a_paused_run_shows_its_waits(void **state)
{
    struct fixture *f = *state;
    bring_to(f, RUN_AWAITING_SIGNAL);
    assert_true(request(f, CONTROL_PAUSE));
    assert_int_equal(f->run.state, RUN_PAUSED);
    assert_true(f->run.waits.size_bytes > 0);
    assert_true(request(f, CONTROL_RESUME) && f->effects.offer);
    assert_int_equal(f->run.waits.size_bytes, 0);
}

/* A restart finds what was asked: the row alone says that the run is paused. */
static void a_pause_outlives_a_restart(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f) && request(f, CONTROL_PAUSE));
    f->now.epoch_floor = 4ull << 32;
    engine_adopt(&f->run, &f->now);
    assert_int_equal(f->run.state, RUN_PAUSED);
    assert_false(claim(f));
}

/* Paused and resumed before its time, a scheduled run still starts when it was to; woken, at once. */
static void a_scheduled_run_keeps_its_time(void **state)
{
    struct fixture *f = *state;
    schedule(f);
    assert_true(request(f, CONTROL_PAUSE) && request(f, CONTROL_RESUME));
    assert_int_equal(f->run.state, RUN_SCHEDULED);
    assert_int_equal(f->run.wake_at_ms, START_MS + 500);
    assert_false(engine_wake(&f->run, &f->now, &f->effects));
    assert_true(request(f, CONTROL_PAUSE) && request(f, CONTROL_WAKE));
    assert_true(request(f, CONTROL_RESUME));
    assert_int_equal(f->run.state, RUN_QUEUED);
}

/* Nothing of it was executed, so there is nothing that has to clean up. */
static void a_scheduled_run_is_cancelled_at_once_even_paused(void **state)
{
    struct fixture *f = *state;
    schedule(f);
    assert_true(request(f, CONTROL_PAUSE) && request(f, CONTROL_CANCEL));
    assert_int_equal(f->run.state, RUN_CANCELLED);
}

/* A park that did not know of a cancellation looks again. */
static void a_park_that_missed_a_cancellation_goes_on(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    add_event(f, EVENT_STEP_BEGUN);
    struct engine_append a = next_append(f, NEXT_PARK);
    a.wake_at_ms = START_MS + 60000;
    assert_true(request(f, CONTROL_CANCEL) && f->effects.notify);
    assert_true(send_append(f, &a));
    assert_int_equal(f->run.state, RUN_QUEUED);
}

/* Another pass of the workflow by its own policy: the last event, parked until its time. */
static void the_owner_may_try_the_run_again(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    add_event(f, EVENT_RUN_RETRIED);
    struct engine_append a = next_append(f, NEXT_CONTINUE);
    assert_false(send_append(f, &a));
    add_event(f, EVENT_RUN_RETRIED);
    a = next_append(f, NEXT_PARK);
    a.wake_at_ms = START_MS + 1000;
    assert_true(send_append(f, &a));
    assert_int_equal(f->run.state, RUN_AWAITING_RETRY);
}

/* A retried run starts afresh: neither cancelled nor late. */
static void a_retried_run_has_a_clean_slate(void **state)
{
    struct fixture *f = *state;
    f->run.deadline_ms = START_MS + 1;
    assert_true(claim(f) && request(f, CONTROL_CANCEL) && end_with(f, EVENT_CANCELLED));
    assert_true(act(f, RETRY));
    assert_int_equal(f->run.flags, 1u << RUN_FLAG_PASS_SHIFT);
    assert_int_equal(f->run.deadline_ms, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_park_that_missed_a_signal_goes_on),
        CASE(another_signal_does_not_wake),
        CASE(a_timer_wakes_when_due),
        CASE(a_request_is_recorded_once),
        CASE(a_pause_waits_for_the_owner),
        CASE(a_paused_run_shows_its_waits),
        CASE(a_pause_outlives_a_restart),
        CASE(a_scheduled_run_keeps_its_time),
        CASE(a_scheduled_run_is_cancelled_at_once_even_paused),
        CASE(a_park_that_missed_a_cancellation_goes_on),
        CASE(the_owner_may_try_the_run_again),
        CASE(a_retried_run_has_a_clean_slate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

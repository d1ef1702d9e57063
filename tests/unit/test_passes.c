/* test_passes.c - children of a run, and another pass of one that had ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../support/outside_world.h"

static aiki_status how; /* what the wait of one_child answered */

static uint32_t child(struct world *w, const char *workflow, bool detached)
{
    const struct child_options o = {.detached = detached, .close_policy = CLOSE_ABANDON};
    const struct step_call call = {.kind = STEP_CHILD, .name = view(workflow), .child = &o};
    return begin(w, &call);
}

static uint64_t only_a(struct world *w)
{
    return result(w, task(w, "a", 1));
}

static uint64_t one_child(struct world *w)
{
    uint32_t f = child(w, "ship", false);
    how = wait_for(w, &f, 1, 1);
    if (how != AIKI_OK)
        return 77;
    const struct step *s = shown(w, f);
    return s->outcome * 1000 + number_of(s->value) + result(w, task(w, "after", 1));
}

static uint64_t detached_child(struct world *w)
{
    uint32_t f = child(w, "ship", true);
    assert_int_equal(wait_for(w, &f, 1, 1), AIKI_OK);
    return shown(w, f)->value.size_bytes;
}

static uint64_t forgotten_child(struct world *w)
{
    (void)child(w, "ship", true);
    return 5;
}

/* "flaky" gives up at its third attempt when told to. */
static bool gives_up;
static uint64_t saga(struct world *w)
{
    uint64_t a = result(w, task(w, "a", 1));
    uint32_t f = gives_up ? timed(w, STEP_SIGNAL, "go", 10) : timed(w, STEP_SIGNAL, "go", 50);
    assert_int_equal(wait_for(w, &f, 1, 1), AIKI_OK);
    if (shown(w, f)->outcome != OUTCOME_OK)
        return a + result(w, task(w, "undo", 9));
    return a + 1000 + result(w, task(w, "b", 2));
}

/* ---- children ---------------------------------------------------------------------------- */

static void a_child_is_awaited(void **state)
{
    static const struct {
        uint64_t state, outcome;
    } cases[] = {{RUN_COMPLETED, OUTCOME_OK},       {RUN_FAILED, OUTCOME_FAILED},
                 {RUN_TERMINATED, OUTCOME_FAILED},  {RUN_CANCELLED, OUTCOME_CANCELLED},
                 {RUN_TIMED_OUT, OUTCOME_TIMEDOUT}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        world_begin(w, one_child);
        assert_int_equal(stay(w), STAY_PARKED);
        struct found begun = find(w, EVENT_STEP_BEGUN);
        assert_int_equal(begun.count, 1);
        assert_int_equal(stay(w), STAY_PARKED); /* nothing is begun twice */
        assert_int_equal(find(w, EVENT_STEP_BEGUN).count, 1);
        end_child(w, &begun.child, cases[i].state, 7);
        run_to_end(w, 1);
        uint64_t value = cases[i].outcome == OUTCOME_OK ? 7 : 0;
        assert_int_equal(w->result, cases[i].outcome * 1000 + value + 2);
        world_end(w);
    }
}

/* A step that joined another run is over when it is told of that end, by its own id; and who is joined
 * meanwhile sees nothing of it. */
static void a_joined_child_is_awaited(void **state)
{
    struct world *w = *state;
    const struct event joined = {.kind = EVENT_JOINED, .as.joined = {.parent = {{9}}, .child = {{8}}}};
    struct aiki_id holder = {{7}};
    world_begin(w, one_child);
    assert_int_equal(stay(w), STAY_PARKED);
    struct found begun = find(w, EVENT_STEP_BEGUN);
    keep_event(w, &joined);
    end_child(w, &holder, RUN_COMPLETED, 9); /* nobody here asked for that one by this id */
    assert_int_equal(stay(w), STAY_PARKED);
    end_child(w, &begun.child, RUN_COMPLETED, 7);
    end_child(w, &begun.child, RUN_COMPLETED, 7); /* joined twice: told twice, the same */
    keep_event(w, &joined);
    run_to_end(w, 1);
    assert_int_equal(w->result, 7 + 2);
    world_end(w);
}

static void a_detached_child_is_not(void **state)
{
    struct world *w = *state;
    world_begin(w, detached_child);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 1 + 26); /* its id as text */
    assert_int_equal(find(w, EVENT_STEP_BEGUN).count, 1);
    world_end(w);

    world_begin(w, forgotten_child);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(find(w, EVENT_STEP_BEGUN).count, 1);
    assert_int_equal(find(w, EVENT_STEP_DONE).count, 0);
    world_end(w);
}

/* The parent is to end: the open child step gets an outcome, by which the server knows. */
static void a_child_nobody_waits_for_is_recorded(void **state)
{
    struct world *w = *state;
    world_begin(w, one_child);
    assert_int_equal(stay(w), STAY_PARKED);
    arrive(w, EVENT_CANCEL_REQUESTED);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 77);
    assert_int_equal(find(w, EVENT_STEP_DONE).outcome, OUTCOME_CANCELLED);
    world_end(w);
}

/* Parent and child are cancelled together, and the child is faster: the parent learns that it is to end.
 * A child that ended before that has ended as ever. */
static void the_end_of_a_child_and_a_request(void **state)
{
    struct world *w = *state;
    for (unsigned child_first = 0; child_first < 2; child_first++) {
        world_begin(w, one_child);
        assert_int_equal(stay(w), STAY_PARKED);
        struct aiki_id id = find(w, EVENT_STEP_BEGUN).child;
        if (child_first)
            end_child(w, &id, RUN_CANCELLED, 0);
        arrive(w, EVENT_CANCEL_REQUESTED);
        if (!child_first)
            end_child(w, &id, RUN_CANCELLED, 0);
        assert_int_equal(stay(w), STAY_DONE);
        assert_int_equal(how, child_first ? AIKI_OK : AIKI_CANCELLED);
        assert_int_equal(find(w, EVENT_CANCEL_SEEN).count, 1);
        assert_int_equal(stay(w), STAY_DONE); /* and the replay shows the same */
        assert_int_equal(how, child_first ? AIKI_OK : AIKI_CANCELLED);
        world_end(w);
    }
}

/* ---- another pass ------------------------------------------------------------------------ */

/* What did not end well is done again, what the code did because of that need not be. */
static void a_retried_run_keeps_what_is_done(void **state)
{
    const struct event retried = {.kind = EVENT_RUN_RETRIED, .as.run_retried.attempt = 2};
    struct world *w = *state;
    world_begin(w, saga);
    gives_up = true;
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 2 + 18);
    keep_event(w, &retried);
    send_signal(w, "go", 1);
    gives_up = false;
    for (unsigned appends = 1; appends < 3; appends++) {
        run_to_end(w, appends);
        assert_int_equal(w->result, 2 + 1000 + 4);
        keep_event(w, &retried);
    }
    assert_int_equal(effects_of(w, "a", 1), 1);
    assert_int_equal(effects_of(w, "undo", 9), 1);
    assert_int_equal(effects_of(w, "b", 2), 1);
    world_end(w);
}

/* The build that failed did more than the one that goes on: what is left over is not missed. */
static void leftovers_of_a_pass_are_not_missed(void **state)
{
    const struct event retried = {.kind = EVENT_RUN_RETRIED, .as.run_retried.attempt = 2};
    struct world *w = *state;
    world_begin(w, both_one_by_one);
    run_to_end(w, NEVER);
    keep_event(w, &retried);
    w->fn = only_a;
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 2);
    assert_int_equal(effects_of(w, "a", 1), 1);
    world_end(w);
}

static uint64_t without_a(struct world *w)
{
    assert_true(replay_cancel(&w->r, task(w, "a", 1)));
    return result(w, task(w, "b", 2));
}

/* The code of another pass may see other things first, and give up what the one before it waited for. */
static void another_pass_may_give_up_what_is_kept(void **state)
{
    const struct event retried = {.kind = EVENT_RUN_RETRIED, .as.run_retried.attempt = 2};
    struct world *w = *state;
    world_begin(w, only_a);
    run_to_end(w, NEVER);
    keep_event(w, &retried);
    w->fn = without_a;
    run_to_end(w, 1);
    assert_int_equal(w->result, 4);
    assert_int_equal(effects_of(w, "a", 1), 1);
    world_end(w);
}

/* A request to end the run that came while its pass failed holds for the next one; not so when
 * somebody asked for that. */
static void a_request_outlives_a_pass(void **state)
{
    struct event retried = {.kind = EVENT_RUN_RETRIED, .as.run_retried = {.attempt = 2}};
    struct world *w = *state;
    for (int by_policy = 0; by_policy < 2; by_policy++) {
        world_begin(w, nap_between);
        assert_int_equal(stay(w), STAY_PARKED);
        arrive(w, EVENT_CANCEL_REQUESTED);
        retried.as.run_retried.next_at_ms = by_policy != 0 ? w->now_ms : 0;
        keep_event(w, &retried);
        run_to_end(w, NEVER);
        assert_int_equal(w->result, by_policy != 0 ? 108 : 6);
        world_end(w);
    }
}

/* From a step on: everything of that and later is done again, signals are there again. */
static void a_run_is_retried_from_a_step(void **state)
{
    const struct event retried = {.kind = EVENT_RUN_RETRIED,
                                  .as.run_retried = {.from_seq = 3, .attempt = 2}};
    struct world *w = *state;
    world_begin(w, saga);
    gives_up = false;
    send_signal(w, "go", 1); /* event 2; the first outcome is event 3 */
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 2 + 1000 + 4);
    keep_event(w, &retried);
    run_to_end(w, NEVER);
    assert_int_equal(w->result, 2 + 1000 + 4);
    assert_int_equal(effects_of(w, "a", 1), 2);
    assert_int_equal(effects_of(w, "b", 2), 2);
    world_end(w);
}

/* A cancelled run that is retried goes on as if nobody had asked; its child is another run. */
static void a_cancelled_run_is_retried(void **state)
{
    const struct event retried = {.kind = EVENT_RUN_RETRIED, .as.run_retried.attempt = 2};
    struct world *w = *state;
    world_begin(w, one_child);
    assert_int_equal(stay(w), STAY_PARKED);
    struct aiki_id first = find(w, EVENT_STEP_BEGUN).child;
    arrive(w, EVENT_CANCEL_REQUESTED);
    assert_int_equal(stay(w), STAY_DONE);
    keep_event(w, &retried);
    assert_int_equal(stay(w), STAY_PARKED);
    struct found again = find(w, EVENT_STEP_BEGUN);
    assert_int_equal(again.count, 2);
    assert_int_equal(again.pass, 1);
    assert_false(id_equal(&first, &again.child));
    end_child(w, &first, RUN_CANCELLED, 0); /* of the pass before: nothing to this one */
    assert_int_equal(stay(w), STAY_PARKED);
    end_child(w, &again.child, RUN_COMPLETED, 7);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 9);
    world_end(w);
}

/* Not part of what is to end. */
static uint64_t child_in_the_shade(struct world *w)
{
    replay_protect(&w->r, true);
    uint32_t c = child(w, "w", false);
    replay_protect(&w->r, false);
    uint32_t nap = timed(w, STEP_SLEEP, "nap", 3600000);
    assert_int_equal(wait_for(w, &nap, 1, 1), AIKI_CANCELLED);
    replay_protect(&w->r, true);
    assert_int_equal(wait_for(w, &c, 1, 1), AIKI_OK);
    return number_of(shown(w, c)->value);
}

/* It ended behind the request to end its parent; the cleanup that waits for it finds it. */
static void an_end_behind_the_request_is_seen_after_it(void **state)
{
    struct world *w = *state;
    world_begin(w, child_in_the_shade);
    assert_int_equal(stay(w), STAY_PARKED);
    struct aiki_id id = find(w, EVENT_STEP_BEGUN).child;
    arrive(w, EVENT_CANCEL_REQUESTED);
    end_child(w, &id, RUN_COMPLETED, 7);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, 7);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_is_awaited),
        cmocka_unit_test(a_joined_child_is_awaited),
        cmocka_unit_test(a_detached_child_is_not),
        cmocka_unit_test(an_end_behind_the_request_is_seen_after_it),
        cmocka_unit_test(a_child_nobody_waits_for_is_recorded),
        cmocka_unit_test(the_end_of_a_child_and_a_request),
        cmocka_unit_test(a_retried_run_keeps_what_is_done),
        cmocka_unit_test(leftovers_of_a_pass_are_not_missed),
        cmocka_unit_test(another_pass_may_give_up_what_is_kept),
        cmocka_unit_test(a_request_outlives_a_pass),
        cmocka_unit_test(a_run_is_retried_from_a_step),
        cmocka_unit_test(a_cancelled_run_is_retried),
    };
    return cmocka_run_group_tests(tests, outside_setup, outside_teardown);
}

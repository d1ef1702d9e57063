/* test_outside.c - what comes from outside: requests to end, pause and wake, children, another pass.
 *
 * Whatever arrives is seen by the code at one place of the record, and there again by every replay.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../support/replay_world.h"
#include "wire/child.h"

static aiki_status how; /* what the last wait of a program answered */

/* ---- the server's side ------------------------------------------------------------------- */

static void arrive(struct world *w, uint64_t kind)
{
    const struct event e = {.kind = kind, .as.control.reason = {NULL, 0}};
    keep_event(w, &e);
}

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

static void end_child(struct world *w, const struct aiki_id *id, uint64_t state, uint8_t output)
{
    uint8_t memory[256];
    aiki_error err;
    aiki_writer map;
    struct event e = {.kind = EVENT_CHILD_DONE};
    aiki_writer_init_fixed(&map, memory, sizeof(memory));
    (void)error_code(&err, AIKI_CANCELLED, "ENDED", "%s", run_state_name(state));
    error_write(&map, &err);
    e.as.child_done.child = *id;
    e.as.child_done.state = state;
    if (state == RUN_COMPLETED)
        e.as.child_done.output = (aiki_view){&output, 1};
    else
        e.as.child_done.error = aiki_writer_view(&map);
    keep_event(w, &e);
}

/* Events of a kind, and the outcome or id of the last of them. */
struct found {
    unsigned count;
    uint64_t outcome, pass;
    struct aiki_id child;
};
static struct found find(const struct world *w, uint64_t kind)
{
    static const struct aiki_id nobody;
    struct found f = {0};
    struct child_options o;
    aiki_reader r;
    struct event e;
    aiki_reader_init(&r, (aiki_view){w->journal, w->journal_bytes});
    while (event_read_stored(&r, &e, NULL) == AIKI_OK) {
        if (e.kind != kind)
            continue;
        f.count++;
        if (kind == EVENT_STEP_DONE)
            f.outcome = e.as.step.outcome;
        if (kind == EVENT_STEP_BEGUN && e.as.step.identity_kind == STEP_CHILD) {
            assert_int_equal(child_options_read(e.as.step.options, &o), AIKI_OK);
            f.pass = o.pass;
            f.child = child_id(&nobody, &e.as.step.address, e.as.step.nth, o.pass);
        }
    }
    return f;
}

/* ---- the code's side --------------------------------------------------------------------- */

static aiki_status wait_for(struct world *w, const uint32_t *futures, uint32_t n, uint32_t needed)
{
    bool satisfied = true;
    aiki_status st = replay_await(&w->r, futures, n, needed, &satisfied, NULL);
    if (st == AIKI_OK && !satisfied) {
        fiber_yield();
        st = w->r.interrupted ? AIKI_CANCELLED : AIKI_OK;
    }
    return how = st;
}

static uint32_t child(struct world *w, const char *workflow, bool detached)
{
    const struct child_options o = {.detached = detached, .close_policy = CLOSE_ABANDON};
    const struct step_call call = {.kind = STEP_CHILD, .name = view(workflow), .child = &o};
    return begin(w, &call);
}

/* A nap of an hour between two tasks; the second one is the cleanup if it has to be. */
static uint64_t nap_between(struct world *w)
{
    uint64_t sum = result(w, task(w, "a", 1));
    uint32_t nap = timed(w, STEP_SLEEP, "nap", 3600000);
    if (wait_for(w, &nap, 1, 1) == AIKI_OK)
        return sum + result(w, task(w, "b", 2));
    assert_int_equal(replay_future(&w->r, nap)->outcome, OUTCOME_CANCELLED);
    uint32_t late = task(w, "late", 3); /* not in a protected scope: never starts */
    assert_int_equal(wait_for(w, &late, 1, 1), AIKI_OK); /* it is over already */
    assert_int_equal(replay_future(&w->r, late)->outcome, OUTCOME_CANCELLED);
    replay_protect(&w->r, true);
    uint32_t undo = task(w, "undo", 4);
    assert_int_equal(wait_for(w, &undo, 1, 1), AIKI_OK);
    uint32_t breath = timed(w, STEP_SLEEP, "breath", 60000);
    assert_int_equal(wait_for(w, &breath, 1, 1), AIKI_OK);
    replay_protect(&w->r, false);
    return 100 + number_of(replay_future(&w->r, undo)->value);
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

static uint64_t only_a(struct world *w)
{
    return result(w, task(w, "a", 1));
}

static uint64_t both_one_by_one(struct world *w)
{
    uint32_t f[2] = {task(w, "a", 1), task(w, "b", 2)};
    assert_int_equal(wait_for(w, f, 2, 1), AIKI_OK);
    assert_int_equal(wait_for(w, f, 2, 2), AIKI_OK);
    return number_of(shown(w, f[0])->value) + number_of(shown(w, f[1])->value);
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

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    *state = w;
    w->journal = malloc(BUFFER_BYTES);
    return w->journal == NULL;
}

static int teardown(void **state)
{
    struct world *w = *state;
    free(w->journal);
    free(w);
    return 0;
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
    return cmocka_run_group_tests(tests, setup, teardown);
}

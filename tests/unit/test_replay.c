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

static uint64_t retried(struct world *w)
{
    return result(w, task(w, "flaky", 4));
}

/* ---- cases ------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->journal = malloc(BUFFER_BYTES);
    *state = w;
    return w->journal != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    free(w->journal);
    free(w);
    return 0;
}

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
        {6, "a step was removed"},
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

/* Number of the attempt and the time of the next one survive; a far one parks. */
static void retries_continue(void **state)
{
    struct world *w = *state;
    world_begin(w, retried);
    w->appends_left = 1;
    int64_t began_ms = w->now_ms;
    assert_int_equal(stay(w), STAY_CUT); /* the first failure is on record */
    assert_int_equal(count(w, EVENT_ATTEMPT_FAILED), 1);
    w->now_ms += 400;
    w->appends_left = 1;
    assert_int_equal(stay(w), STAY_CUT); /* waited for the rest of the second, failed again */
    assert_int_equal(w->now_ms, began_ms + 1000);
    w->appends_left = NEVER;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->now_ms, began_ms + 1000 + 2000); /* twice the delay */
    assert_int_equal(effects_of(w, "flaky", 4), 3);
    assert_int_equal(w->result, 8);
    world_end(w);
}

/* What was said at the start of the run decides over the definition, and failures say what decided;
 * codes it names end the call at once. */
static void the_start_decides(void **state)
{
    static const int64_t delays[] = {7000};
    static const char *const codes[] = {"FLAKY"};
    const aiki_retry asked[] = {
        {.kind = AIKI_RETRY_LIST, .delays_ms = delays, .delay_count = 1, .attempts_max = 9},
        {.kind = AIKI_RETRY_FIXED, .final_codes = codes, .final_code_count = 1}};
    struct world *w = *state;
    for (int i = 0; i < 2; i++) {
        uint8_t lists_memory[64], memory[128];
        aiki_writer lists, out;
        struct retry r;
        world_begin(w, retried);
        aiki_writer_init_fixed(&lists, lists_memory, sizeof(lists_memory));
        aiki_writer_init_fixed(&out, memory, sizeof(memory));
        assert_int_equal(retry_take(&r, &asked[i], &lists, NULL, NULL), AIKI_OK);
        retry_write(&out, &r);
        w->journal_bytes = w->seq = 0;
        keep_event(w, &(struct event){.kind = EVENT_STARTED, .as.started.retry = aiki_writer_view(&out)});
        int64_t began_ms = w->now_ms;
        assert_int_equal(stay(w), i == 0 ? STAY_PARKED : STAY_DONE);
        assert_int_equal(count(w, EVENT_ATTEMPT_FAILED), 1 - i);
        assert_int_equal(effects_of(w, "flaky", 4), 1);
        if (i == 0)
            assert_int_equal(replay_wake_at_ms(&w->r), began_ms + 7000);
        assert_non_null(memmem(w->journal, w->journal_bytes, memory, 2)); /* array of 8, kind */
        world_end(w);
    }
}

/* One task under the policy of the case, awaited. */
static struct task_policy limits;
static bool barred;
static uint64_t limited(struct world *w)
{
    const struct step_call call = {.kind = STEP_TASK, .name = view("hangs"), .policy = &limits, .barred = barred};
    uint32_t f = begin(w, &call);
    await(w, &f, 1, 1);
    return w->fault == AIKI_OK ? shown(w, f)->outcome : 0;
}

static void assert_error_code(struct world *w, const char *code)
{
    aiki_error err = AIKI_ERROR_INIT;
    assert_int_equal(error_read(shown(w, 1)->error, &err, NULL, NULL), AIKI_OK);
    assert_string_equal(err.code, code);
}

/* Each timeout ends an attempt that hangs, with a code of its own and at its own time; those of the
 * whole call end the call. */
static void timeouts_pass(void **state)
{
    static const struct {
        struct task_policy policy;
        const char *code;
        int64_t took_ms;
        unsigned attempts;
        bool begins;
    } cases[] = {
        {{.start_to_close_ms = 500}, "TIMEOUT_START_TO_CLOSE", 500 + 100 + 500, 2, true},
        {{.heartbeat_ms = 300}, "TIMEOUT_HEARTBEAT", 300 + 100 + 300, 2, true},
        {{.schedule_to_close_ms = 700}, "TIMEOUT_SCHEDULE_TO_CLOSE", 700, 1, true},
        {{.start_to_close_ms = 500, .schedule_to_close_ms = 800}, "TIMEOUT_SCHEDULE_TO_CLOSE", 800, 2,
         true},
        {{.start_to_close_ms = 500, .schedule_to_close_ms = 600}, "TIMEOUT_SCHEDULE_TO_CLOSE", 500, 1,
         true},
        {{.schedule_to_start_ms = 400}, "TIMEOUT_SCHEDULE_TO_START", 400, 1, false},
        {{.start_to_close_ms = 500, .at_most_once = true}, "TIMEOUT_START_TO_CLOSE", 500, 1, true}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        limits = cases[i].policy;
        limits.retry = (struct retry){.kind = AIKI_RETRY_FIXED, .attempts_max = 2, .delay_ms = 100};
        retry_fill(&limits.retry);
        world_begin(w, limited);
        w->hangs = true;
        w->queues = !cases[i].begins;
        int64_t began_ms = w->now_ms;
        assert_int_equal(stay(w), STAY_DONE);
        assert_int_equal(w->result, OUTCOME_FAILED);
        assert_error_code(w, cases[i].code);
        assert_int_equal(w->now_ms - began_ms, cases[i].took_ms);
        assert_int_equal(effects_of(w, "hangs", 0), cases[i].attempts);
        world_end(w);
    }
}

/* The time of a call counts on in another process. */
static void the_whole_call_counts_across_stays(void **state)
{
    struct world *w = *state;
    limits = (struct task_policy){.schedule_to_close_ms = 5000};
    retry_fill(&limits.retry);
    world_begin(w, limited);
    w->hangs = true;
    w->appends_left = 1;
    int64_t began_ms = w->now_ms;
    assert_int_equal(stay(w), STAY_CUT); /* the call is on record */
    w->now_ms += 4000;
    w->appends_left = NEVER;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->now_ms - began_ms, 5000);
    world_end(w);
}

/* A task that is executed at most once begins when that is on record, and never again. */
static void at_most_once_is_at_most_once(void **state)
{
    struct world *w = *state;
    limits = (struct task_policy){.at_most_once = true};
    retry_fill(&limits.retry);
    world_begin(w, limited);
    w->appends_left = 1;
    assert_int_equal(stay(w), STAY_CUT);
    assert_int_equal(effects_of(w, "hangs", 0), 0);
    assert_int_equal(count(w, EVENT_HEARTBEAT), 1);
    w->appends_left = NEVER;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(effects_of(w, "hangs", 0), 0); /* it may have begun behind the cut */
    assert_error_code(w, "OUTCOME_UNKNOWN");
    world_end(w);
    world_begin(w, limited);
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(effects_of(w, "hangs", 0), 1);
    assert_int_equal(w->result, OUTCOME_OK);
    world_end(w);
}

/* The owner will not begin it, so nothing may be on record that says it did. */
static void what_is_barred_is_not_announced(void **state)
{
    struct world *w = *state;
    limits = (struct task_policy){.at_most_once = true};
    retry_fill(&limits.retry);
    barred = true;
    world_begin(w, limited);
    assert_int_equal(stay(w), STAY_DONE); /* this owner begins whatever it is asked to */
    assert_int_equal(effects_of(w, "hangs", 0), 1);
    assert_int_equal(count(w, EVENT_HEARTBEAT), 0);
    world_end(w);
    barred = false;
}

/* One letter an event: c a crash here, o in another build, b l v UNBLOCKED by a build, lifted, in vain,
 * r another pass. */
static void keep_letter(struct world *w, char letter)
{
    static const char here[] = "here", other[] = "other";
    struct event e = {.kind = EVENT_UNBLOCKED};
    switch (letter) {
    case 'c':
    case 'o':
        e = (struct event){.kind = EVENT_CRASHED,
                           .as.crashed = {.attempt = 1, .charged = true, .name = view("hangs"),
                                          .build = view(letter == 'c' ? here : other)}};
        assert_int_equal(address_make(STEP_TASK, view("hangs"), (aiki_view){NULL, 0},
                                      &e.as.crashed.address, NULL), AIKI_OK);
        break;
    case 'b': e.as.unblocked.why = UNBLOCKED_BY_BUILD; break;
    case 'l': e.as.unblocked.why = UNBLOCKED_LIFTED; break;
    case 'v': e.as.unblocked.why = UNBLOCKED_IN_VAIN; break;
    default: e = (struct event){.kind = EVENT_RUN_RETRIED, .as.run_retried.attempt = 2}; break;
    }
    keep_event(w, &e);
}

/* A step is executed, or held for another build, or fails. */
static void a_spent_budget_is_the_builds_until_no_other_came(void **state)
{
    static const struct {
        const char *history;
        bool once, quarantined;
        const char *becomes; /* an error code */
    } cases[] = {{"cc", false, false, "executed"},
                 {"ccc", false, false, "held"},
                 {"cccb", false, false, "held"},
                 {"cccv", false, false, "STEP_CRASHED"},
                 {"cccbv", false, false, "STEP_CRASHED"},
                 {"cccl", false, false, "executed"},
                 {"ccclcc", false, false, "executed"},
                 {"ccclccc", false, false, "held"},
                 {"cccvlc", false, false, "executed"},
                 {"ccvc", false, false, "held"},
                 {"ooo", false, false, "executed"},
                 {"ooov", false, false, "executed"},
                 {"oc", false, false, "STEP_CRASHED"},
                 {"ccco", false, false, "STEP_CRASHED"},
                 {"ccclo", false, false, "STEP_CRASHED"},
                 {"cccr", false, false, "executed"},
                 {"cccor", false, false, "executed"},
                 {"cccv", false, true, "held"},
                 {"oc", false, true, "STEP_CRASHED"},
                 {"ccc", true, false, "held"}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        limits = (struct task_policy){.at_most_once = cases[i].once};
        retry_fill(&limits.retry);
        barred = cases[i].quarantined;
        world_begin(w, limited);
        w->build = view("here");
        for (const char *at = cases[i].history; *at != '\0'; at++)
            keep_letter(w, *at);
        assert_int_equal(stay(w), STAY_DONE); /* what is held is begun by this owner, too */
        bool fails = strcmp(cases[i].becomes, "STEP_CRASHED") == 0;
        assert_int_equal(w->result, fails ? OUTCOME_FAILED : OUTCOME_OK);
        if (fails)
            assert_error_code(w, cases[i].becomes);
        else
            assert_int_equal(shown(w, 1)->barred, strcmp(cases[i].becomes, "held") == 0);
        world_end(w);
    }
    barred = false;
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
        CASE(retries_continue),
        CASE(the_start_decides),
        CASE(timeouts_pass),
        CASE(the_whole_call_counts_across_stays),
        CASE(at_most_once_is_at_most_once),
        CASE(what_is_barred_is_not_announced),
        CASE(a_spent_budget_is_the_builds_until_no_other_came),
        CASE(broken_journals_are_refused),
        CASE(steps_are_limited),
        CASE(memory_may_end),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}

/* test_attempts.c - attempts on record: policies, timeouts, at most once, the budget of crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/replay_world.h"

static uint64_t retried(struct world *w)
{
    return result(w, task(w, "flaky", 4));
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

/* ---- tasks that are not defined ------------------------------------------------------------ */

static bool defined, protects, beside;

/* One that this build may lack, called with others: at once, or when the first of them has ended. */
static uint64_t lacking(struct world *w)
{
    const struct step_call call = {.kind = STEP_TASK, .name = view("chrge"), .undefined = !defined};
    uint32_t f[] = {task(w, "a", 1), task(w, "b", 2), 0};
    if (beside)
        (void)result(w, f[1]);
    replay_protect(&w->r, protects);
    f[2] = begin(w, &call);
    await(w, f, 3, 3);
    return w->fault == AIKI_OK ? shown(w, f[2])->outcome : 0;
}

static void begin_lacking(struct world *w)
{
    defined = protects = beside = false;
    world_begin(w, lacking);
}

/* Nothing begins, not even what was asked for before it. */
static void what_is_undefined_stops_the_run(void **state)
{
    struct world *w = *state;
    begin_lacking(w);
    assert_int_equal(stay(w), STAY_UNDEFINED);
    assert_non_null(replay_undefined(&w->r));
    assert_int_equal(w->effect_count, 0);
    assert_int_equal(w->r.events.size_bytes, 0);
    assert_int_equal(replay_wake_at_ms(&w->r), 0);
    defined = true;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(w->result, OUTCOME_OK);
    defined = false;
    assert_int_equal(stay(w), STAY_DONE); /* a result on record needs nobody */
    world_end(w);
}

/* What is under way ends and is recorded; a build that defines the task goes on from there. */
static void what_is_under_way_is_kept(void **state)
{
    struct world *w = *state;
    begin_lacking(w);
    beside = w->last_first = true;
    assert_int_equal(stay(w), STAY_UNDEFINED);
    assert_int_equal(effects_of(w, "a", 1) + effects_of(w, "b", 2), 2);
    (void)append(w, false); /* as its owner hands it back */
    assert_int_equal(count(w, EVENT_STEP_DONE) + count(w, EVENT_ATTEMPT_DONE), 2);
    assert_int_equal(stay(w), STAY_UNDEFINED);
    defined = true;
    assert_int_equal(stay(w), STAY_DONE);
    assert_int_equal(effects_of(w, "a", 1) + effects_of(w, "b", 2), 2);
    assert_int_equal(effects_of(w, "chrge", 0), 1);
    world_end(w);
}

/* A run that is to end needs no task but in a protected scope. */
static void one_that_is_to_end_does_not_need_it(void **state)
{
    const struct event e = {.kind = EVENT_CANCEL_REQUESTED};
    struct world *w = *state;
    for (int i = 0; i < 2; i++) {
        begin_lacking(w);
        protects = i == 0;
        keep_event(w, &e);
        assert_int_equal(stay(w), protects ? STAY_UNDEFINED : STAY_DONE);
        assert_int_equal(w->effect_count, 0);
        assert_true(protects || w->result == OUTCOME_CANCELLED);
        world_end(w);
    }
}

/* A gate looks on where the record fits: the code is shown outcomes that are made up, and nothing begins. */
static bool stays_in_view; /* the code calls what it calls for ever */
static uint32_t calls;
static uint64_t looked_at(struct world *w)
{
    calls = 0;
    for (uint64_t i = 0; i < 3 || stays_in_view; i++, calls++) {
        uint32_t f = timed(w, STEP_SIGNAL, "go", -1);
        await(w, &f, 1, 1);
        (void)side(w, "luck", 1);
        (void)result(w, task(w, "a", i));
    }
    return 0;
}

static void looking_on_begins_nothing(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 2; i++) {
        stays_in_view = i == 1;
        world_begin(w, looked_at);
        assert_int_equal(stay(w), STAY_PARKED);
        uint64_t bytes = w->journal_bytes;
        w->looks_on = true;
        assert_int_equal(stay(w), STAY_DIVERGED); /* which says nothing here */
        assert_true(w->r.ahead.past);
        assert_int_equal(w->r.ahead.end, stays_in_view ? AHEAD_ASTRAY : AHEAD_RETURNED);
        assert_true(stays_in_view ? calls > 3 && calls < 64 : calls == 3);
        assert_int_equal(w->effect_count, 0);
        assert_int_equal(w->journal_bytes, bytes);
        world_end(w);
    }
}

/* What is to end is shown that next, and not what was made up. */
static void looking_on_ends_before_a_cancellation(void **state)
{
    const struct event e = {.kind = EVENT_CANCEL_REQUESTED};
    struct world *w = *state;
    stays_in_view = false;
    world_begin(w, looked_at);
    assert_int_equal(stay(w), STAY_PARKED);
    keep_event(w, &e);
    replay_init(&w->r, (struct replay_memory){take, w});
    assert_int_equal(journal_load(&w->r.journal, (aiki_view){w->journal, w->journal_bytes}, NULL), AIKI_OK);
    w->r.live = true;
    assert_false(replay_look_on(&w->r));
    world_end(w);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(retries_continue),
        CASE(the_start_decides),
        CASE(timeouts_pass),
        CASE(the_whole_call_counts_across_stays),
        CASE(at_most_once_is_at_most_once),
        CASE(what_is_barred_is_not_announced),
        CASE(a_spent_budget_is_the_builds_until_no_other_came),
        CASE(what_is_undefined_stops_the_run),
        CASE(what_is_under_way_is_kept),
        CASE(one_that_is_to_end_does_not_need_it),
        CASE(looking_on_begins_nothing),
        CASE(looking_on_ends_before_a_cancellation),
    };
    return cmocka_run_group_tests_name("attempts", tests, NULL, NULL);
}

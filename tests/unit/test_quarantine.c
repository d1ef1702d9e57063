/* test_quarantine.c - code of a build that crashes too often: counted, on record, told, lifted. */
#include "support/pipeline_fixture.h"

static int setup_counting(void **state)
{
    int result = setup(state);
    struct fixture *f = *state;
    f->p.quarantine.crashes_max = 2;
    f->p.quarantine.window_ms = 60000;
    return result;
}

/* A charged crash of task "pay", as its broker reports it. */
static void crash(struct fixture *f, struct aiki_id run, uint64_t epoch)
{
    aiki_error why = {.struct_size = sizeof(why)};
    aiki_writer events, error;
    buf_init(&events);
    buf_init(&error);
    (void)error_code(&why, AIKI_CRASHED, "CRASH_SIGNAL", "it is gone");
    error_write(&error, &why);
    event_write_new(&events, &(struct event){.kind = EVENT_CRASHED,
                                             .as.crashed = {.attempt = 1,
                                                            .charged = true,
                                                            .name = view_of("pay"),
                                                            .build = {build, HASH_BYTES},
                                                            .error = aiki_writer_view(&error)}});
    say(f, RUNTIME, APPEND, 3, .run = run, .epoch = epoch, .number = 1, .next = NEXT_RELEASE,
        .events = aiki_writer_view(&events));
    turn(f);
    buf_deinit(&events);
    buf_deinit(&error);
}

static void crash_new(struct fixture *f)
{
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    crash(f, run, epoch);
}

/* What that runtime was pushed about it since the last look: -1 nothing. */
static int told(struct fixture *f, uint32_t who)
{
    int on = -1;
    for (size_t i = 0; i < f->answer_count; i++) {
        const struct answer *a = &f->answers[i];
        struct msg_QUARANTINE m;
        if (a->peer != peer(who) || a->type != WIRE_QUARANTINE)
            continue;
        assert_int_equal(msg_QUARANTINE_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
        assert_true(view_is(m.name, "pay") && !m.workflow);
        on = m.on;
    }
    forget(f);
    return on;
}

static void ask_to_lift(struct fixture *f)
{
    uint8_t memory[32];
    aiki_writer args;
    aiki_writer_init_fixed(&args, memory, sizeof(memory));
    aiki_mp_map(&args, 1);
    aiki_mp_str(&args, "build");
    char digits[9];
    (void)snprintf(digits, sizeof(digits), "%02x%02x%02x%02x", build[0], build[1], build[2], build[3]);
    aiki_mp_str(&args, digits);
    say(f, CLIENT, QUERY, 5, .what = view_of("plugins.unquarantine"), .args = aiki_writer_view(&args));
    turn(f);
}

static void lift(struct fixture *f)
{
    ask_to_lift(f);
    (void)answer_to(f, CLIENT, 5, WIRE_DOCUMENT);
}

/* How much the answer says was lifted. */
static uint64_t lift_counted(struct fixture *f)
{
    struct msg_DOCUMENT m;
    aiki_reader r;
    forget(f);
    ask_to_lift(f);
    const struct answer *a = answer_to(f, CLIENT, 5, WIRE_DOCUMENT);
    assert_int_equal(msg_DOCUMENT_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
    aiki_reader_init(&r, m.value);
    assert_int_equal(aiki_mp_read_map(&r), 1);
    assert_true(view_is(aiki_mp_read_str(&r), "lifted"));
    uint64_t lifted = aiki_mp_read_uint(&r);
    assert_int_equal(r.status, AIKI_OK);
    return lifted;
}

/* Two runs must have crashed; then all who have the build are told, those that come later, too, and a
 * restart does not forget it. */
static void what_crashes_is_quarantined(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    crash(f, run, epoch);
    epoch = claim(f, RUNTIME);
    crash(f, run, epoch);
    assert_int_equal(told(f, RUNTIME), -1); /* one poisoned input */
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
    open_session(f, RIVAL);
    serve(f, RIVAL, build);
    turn(f);
    assert_int_equal(told(f, RIVAL), true);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(told(f, RUNTIME), true);
}

/* A crash that the store refuses to record at first counts once it is on record, and once. */
static void what_is_not_on_record_does_not_count(void **state)
{
    struct fixture *f = *state;
    f->p.quarantine.crashes_max = 3;
    crash_new(f);
    forget(f);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 1); /* behind the start: the crash */
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), -1);
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
}

/* Crashes before and behind a restart count together; what a lift ended does not come back with one. */
static void a_restart_counts_on(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++) {
        crash_new(f);
        restart(f);
        open_session(f, RUNTIME);
        serve(f, RUNTIME, build);
        turn(f);
        assert_int_equal(told(f, RUNTIME), -1);
        crash_new(f);
        assert_int_equal(told(f, RUNTIME), true);
        lift(f);
        assert_int_equal(told(f, RUNTIME), false);
    }
}

/* Killed between the crash that was too much and the verdict: that is made good when it starts. */
static void a_verdict_is_made_good(void **state)
{
    struct fixture *f = *state;
    f->p.quarantine.crashes_max = 0; /* nobody judges */
    crash_new(f);
    forget(f);
    crash_new(f);
    f->p.quarantine.crashes_max = 2;
    restart(f);
    assert_int_equal(f->p.quarantine.count, 1);
    restart(f);
    assert_int_equal(f->p.quarantine.count, 1);
}

/* Only so many within the time, and of the last ones. */
static void old_crashes_are_forgotten(void **state)
{
    struct suspects s = {.count = 0};
    struct culprit of = {.name = "pay"};
    struct aiki_id run = {{1}};
    (void)state;
    for (int i = 0; i < 3 * SUSPECT_CRASHES_MAX; i++)
        suspects_draft(&s, &of, &run, i, 0);
    assert_int_equal(s.drafts[0].count, SUSPECT_CRASHES_MAX);
    suspects_draft(&s, &of, &run, 300, 298);
    assert_int_equal(s.drafts[0].count, 3);
    assert_int_equal(s.drafts[0].crashes[0].at_ms, 298);
    suspects_deinit(&s);
}

static void ignore_suspect(void *arg, const struct suspected *x)
{
    (void)arg;
    (void)x;
}

/* A row that is damaged counts nothing; over the limit who crashed longest ago gives way. */
static void suspects_are_limited(void **state)
{
    struct suspects s = {.count = 0};
    struct culprit of = {.name = "pay"};
    struct culprit_text text;
    (void)state;
    for (int i = 0; i < SUSPECTS_MAX + 1; i++) {
        of.build[0] = (uint8_t)i;
        of.build[1] = (uint8_t)(i >> 8);
        suspects_draft(&s, &of, &(struct aiki_id){{1}}, 1000 + i, 0);
        suspects_adopt(&s, ignore_suspect, NULL);
    }
    assert_int_equal(s.count, SUSPECTS_MAX);
    for (size_t i = 0; i < s.count; i++)
        assert_true(s.all[i].crashes[0].at_ms > 1000);
    struct workflow_row row = culprit_row(&text, &of, "", SUSPECTS_MARK, 1);
    row.descriptor = view_of("\x91\x92\x01\xc4\x02xx");
    struct suspected x;
    assert_false(suspect_read(&row, 1000, &x));
    suspects_deinit(&s);
}

/* A runtime that has no such build at the moment, and may have it again in this session, is told, too. */
static void a_lift_is_told_to_all(void **state)
{
    struct fixture *f = *state;
    crash_new(f);
    forget(f);
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
    say(f, RUNTIME, UNREGISTER, 6, .build = {build, HASH_BYTES});
    turn(f);
    forget(f);
    lift(f);
    assert_int_equal(told(f, RUNTIME), false);
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(told(f, RUNTIME), -1);
}

/* Who asks for a lift that cannot be recorded is told to come again, and nothing is lifted until then. */
static void a_full_store_lifts_nothing(void **state)
{
    struct fixture *f = *state;
    crash_new(f);
    forget(f);
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    ask_to_lift(f);
    expect_fault(f, CLIENT, 5, AIKI_UNAVAILABLE, "STORE_FULL");
    assert_int_equal(told(f, RUNTIME), -1);
    assert_int_equal(f->p.quarantine.count, 1);
    lift(f);
    assert_int_equal(told(f, RUNTIME), false);
}

/* What a run that has spent a crash budget is blocked with. */
static void block(struct fixture *f, struct aiki_id run, uint64_t epoch, const char *code,
                  int64_t crashed_at_ms)
{
    uint8_t memory[32];
    aiki_writer events, error, details;
    aiki_error why = {.struct_size = sizeof(why)};
    buf_init(&events);
    buf_init(&error);
    aiki_writer_init_fixed(&details, memory, sizeof(memory));
    aiki_mp_map(&details, 1);
    aiki_mp_str(&details, "crashed_at_ms");
    aiki_mp_int(&details, crashed_at_ms);
    (void)error_code(&why, AIKI_CRASHED, code, "it crashes");
    why.details = aiki_writer_view(&details);
    error_write(&error, &why);
    event_write_new(&events, &(struct event){.kind = EVENT_BLOCKED,
                                             .as.blocked.error = aiki_writer_view(&error)});
    say(f, RUNTIME, APPEND, 3, .run = run, .epoch = epoch, .number = 1, .next = NEXT_BLOCK,
        .wake_at_ms = 1, .events = aiki_writer_view(&events));
    turn(f);
    buf_deinit(&events);
    buf_deinit(&error);
    forget(f);
}

/* Held from the crash on, however often it is blocked and whatever the runtime says; over a restart, too. */
static void a_run_is_held_for_its_time(void **state)
{
    struct fixture *f = *state;
    f->p.quarantine.hold_ms = 10000;
    struct aiki_id run = start(f);
    int64_t crashed_at_ms = engine_clock_ms(&f->p.clock);
    block(f, run, claim(f, RUNTIME), "TASK_CRASHED", crashed_at_ms);
    pass_ms(f, 6000);
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    serve(f, RUNTIME, other_build); /* which does not fit either */
    turn(f);
    block(f, run, claim(f, RUNTIME), "TASK_CRASHED", crashed_at_ms); /* it was offered again */
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    pass_ms(f, 3000);
    turn(f);
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    pass_ms(f, 1001);
    turn(f);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
}

/* Other reasons have no time. */
static void what_else_is_blocked_stays_so(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    block(f, run, claim(f, RUNTIME), "WORKFLOW_CRASHED", 0);
    pass_ms(f, 3600000);
    turn(f);
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    lift(f);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
}

/* Who did not get the answer asks again, and is told that it is so; over a restart, too. Of what never was
 * lifted there is nothing to say. */
static void a_lift_may_be_asked_for_again(void **state)
{
    struct fixture *f = *state;
    crash_new(f);
    ask_to_lift(f);
    expect_fault(f, CLIENT, 5, AIKI_NOT_FOUND, "NOT_QUARANTINED"); /* one crash is no quarantine */
    forget(f);
    crash_new(f);
    assert_int_equal(lift_counted(f), 1);
    assert_int_equal(lift_counted(f), 0);
    restart(f);
    assert_int_equal(lift_counted(f), 0);
}

/* So it is for runs that were blocked without a quarantine, as one that somebody kills is. */
static void a_lift_of_runs_may_be_asked_for_again(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    block(f, run, claim(f, RUNTIME), "WORKFLOW_CRASHED", 0);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    ask_to_lift(f);
    expect_fault(f, CLIENT, 5, AIKI_UNAVAILABLE, "STORE_FULL");
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    assert_int_equal(lift_counted(f), 1);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
    restart(f);
    assert_int_equal(f->p.quarantine.count, 0); /* the row is no verdict */
    assert_int_equal(lift_counted(f), 0);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(told(f, RUNTIME), -1);
}

/* The lift is on record and what lets its runs go on is refused: who asked is told to come again. */
static void a_lift_of_runs_is_told_when_it_is_on_record(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    block(f, run, claim(f, RUNTIME), "WORKFLOW_CRASHED", 0);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 1);
    ask_to_lift(f);
    expect_fault(f, CLIENT, 5, AIKI_UNAVAILABLE, "UNAVAILABLE");
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    assert_int_equal(lift_counted(f), 1);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
}

/* What is blocked by a quarantine that was lifted while that was on its way need not be lifted again. */
static void a_block_behind_the_lift_does_not_stay(void **state)
{
    struct fixture *f = *state;
    crash_new(f);
    forget(f);
    crash_new(f);
    forget(f);
    struct aiki_id run = start(f);
    block(f, run, claim(f, RUNTIME), "QUARANTINED", 0);
    struct aiki_id late = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    lift(f);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
    block(f, late, epoch, "QUARANTINED", 0);
    turn(f);
    assert_int_equal(state_of(f, late), RUN_QUEUED);
}

/* A verdict that cannot be written holds all the same, and is written with the next commit. */
static void a_verdict_is_written_once_it_can_be(void **state)
{
    struct fixture *f = *state;
    crash_new(f);
    forget(f);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 2); /* behind the start and the crash: the verdict */
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
    assert_false(f->p.quarantine.on[0].on_record);
    (void)start(f);
    assert_true(f->p.quarantine.on[0].on_record);
    assert_int_equal(told(f, RUNTIME), -1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_counting, teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_crashes_is_quarantined),
        CASE(a_lift_is_told_to_all),
        CASE(a_full_store_lifts_nothing),
        CASE(what_is_not_on_record_does_not_count),
        CASE(a_restart_counts_on),
        CASE(a_verdict_is_made_good),
        cmocka_unit_test(old_crashes_are_forgotten),
        cmocka_unit_test(suspects_are_limited),
        CASE(a_run_is_held_for_its_time),
        CASE(what_else_is_blocked_stays_so),
        CASE(a_lift_may_be_asked_for_again),
        CASE(a_lift_of_runs_may_be_asked_for_again),
        CASE(a_lift_of_runs_is_told_when_it_is_on_record),
        CASE(a_block_behind_the_lift_does_not_stay),
        CASE(a_verdict_is_written_once_it_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

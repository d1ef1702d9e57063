/* test_control.c - options of a start, and requests about runs, decided by the store thread. */
#include "support/pipeline_fixture.h"

/* ---- options of a start ---------------------------------------------------------------------- */

/* Not offered before its time, also after a restart; ended at its deadline, whoever owns it. */
static void a_run_starts_later_and_ends_in_time(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED started;
    struct msg_NOTIFY dropped;
    struct msg_RESULT result;
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .delay_ms = 5000,
        .run_timeout_ms = 1000);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &started);
    struct aiki_id run = started.run;
    assert_int_equal(started.state, RUN_SCHEDULED);
    assert_int_equal(f->offer_count, 0);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    pass_ms(f, 5001);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, WAIT, 5, .run = run, .timeout_ms = 60000);
    turn(f);
    pass_ms(f, 1001);
    turn(f);
    expect(f, RUNTIME, 0, NOTIFY, &dropped);
    assert_true(dropped.kind == NOTIFY_DROP && dropped.epoch == epoch);
    expect(f, CLIENT, 5, RESULT, &result);
    assert_int_equal(result.state, RUN_TIMED_OUT);
    forget(f);
    assert_int_equal(timers_first_at_ms(&f->p.timers), 0);
}

/* The deadline of a parked run is not lost when its other timer rings, nor in a restart, nor when
 * the commit that ends it is refused. */
static void a_deadline_is_not_lost(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run_timeout_ms = 10000);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    struct aiki_id run = m.run;
    park(f, run, claim(f, RUNTIME), NULL, 5000);
    pass_ms(f, 5001);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    restart(f);
    pass_ms(f, 5001);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    forget(f);
    assert_int_not_equal(state_of(f, run), RUN_TIMED_OUT);
    pass_ms(f, RETRY_MS + 1);
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_TIMED_OUT);
}

/* A key that is known: what each policy makes of another input. */
static void key_policies(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    const aiki_view other = {other_input, sizeof(other_input)};
    ask_start(f, 1, "k");
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    struct aiki_id first = m.run;
    say(f, CLIENT, START, 2, .workflow = view_of("order"), .input = other, .key = view_of("k"),
        .key_policy = KEY_EXISTING);
    turn(f);
    expect(f, CLIENT, 2, STARTED, &m);
    assert_true(id_equal(&m.run, &first) && !m.created);
    for (uint32_t round = 3; round < 5; round++) { /* the second one finds what the first made */
        say(f, CLIENT, START, round, .workflow = view_of("order"), .input = other,
            .key = view_of("k"), .key_policy = KEY_REPLACE);
        turn(f);
        expect(f, CLIENT, round, STARTED, &m);
        assert_int_equal(m.created, round == 3);
    }
    struct aiki_id second = m.run;
    assert_false(id_equal(&second, &first));
    forget(f);
    assert_int_equal(state_of(f, first), RUN_TERMINATED);
    restart(f);
    say(f, CLIENT, START, 6, .workflow = view_of("order"), .input = other, .key = view_of("k"));
    turn(f);
    expect(f, CLIENT, 6, STARTED, &m);
    assert_true(id_equal(&m.run, &second));
}

/* A key taken over twice in a unit that is refused as a whole, and then decided one by one. */
static void a_key_changes_hands_also_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct aiki_id runs[3];
    static const uint8_t third_input[] = {0x07};
    const aiki_view inputs[] = {{input, sizeof(input)}, {other_input, sizeof(other_input)},
                                {third_input, 1}};
    for (uint32_t i = 0; i < 3; i++)
        say(f, CLIENT, START, 1 + i, .workflow = view_of("order"), .input = inputs[i],
            .key = view_of("k"), .key_policy = KEY_REPLACE);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    for (uint32_t i = 0; i < 3; i++) {
        expect(f, CLIENT, 1 + i, STARTED, &m);
        assert_true(m.created);
        runs[i] = m.run;
    }
    forget(f);
    assert_int_equal(state_of(f, runs[0]), RUN_TERMINATED);
    assert_int_equal(state_of(f, runs[1]), RUN_TERMINATED);
    assert_int_equal(state_of(f, runs[2]), RUN_QUEUED);
}

/* Who was answered with a run that existed is on record, the last few of them. */
static void absorbed_starts_are_remembered(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    for (uint32_t i = 0; i < ABSORBED_MAX + 3; i++) {
        char who[8];
        (void)snprintf(who, sizeof(who), "u%u", i);
        say(f, CLIENT, START, 1 + i, .workflow = view_of("order"),
            .input = {input, sizeof(input)}, .key = view_of("k"), .actor = view_of(who));
        if (i != 1) /* the first two share a unit */
            turn(f);
    }
    expect(f, CLIENT, 1, STARTED, &m);
    struct aiki_id run = m.run;
    pass_ms(f, LAG_MS_MAX + 1);
    turn(f);
    restart(f);
    struct entry *e;
    assert_int_equal(run_load(&f->p, &run, &e, NULL), AIKI_OK);
    assert_int_equal(e->duplicates, ABSORBED_MAX + 2);
    aiki_reader r;
    aiki_reader_init(&r, (aiki_view){e->absorbed, e->absorbed_size_bytes});
    assert_int_equal(aiki_mp_read_array(&r), ABSORBED_MAX);
    assert_int_equal(aiki_mp_read_array(&r), 2);
    assert_true(aiki_mp_read_int(&r) > 0);
    assert_true(view_is(aiki_mp_read_str(&r), "u3"));
    cache_rest(&f->p.cache, e);
}

/* A policy given at the start is recorded in one form, whether it came as a map or as an array. */
static void a_retry_policy_is_recorded(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct event event;
    struct entry *e;
    aiki_reader r;
    static const uint8_t map[] = {0x81, 0xa4, 'k', 'i', 'n', 'd', 0xa5, 'f', 'i', 'x', 'e', 'd'};
    static const uint8_t wrong[] = {0x81, 0xa4, 'k', 'i', 'n', 'd', 0xa1, 'x'};
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .retry = {map, sizeof(map)});
    say(f, CLIENT, START, 2, .workflow = view_of("order"), .retry = {wrong, sizeof(wrong)});
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    expect_fault(f, CLIENT, 2, AIKI_INVALID, "BAD_RETRY");
    assert_int_equal(run_load(&f->p, &m.run, &e, NULL), AIKI_OK);
    aiki_reader_init(&r, aiki_writer_view(&e->journal));
    assert_int_equal(event_read_stored(&r, &event, NULL), AIKI_OK);
    assert_int_equal(event.as.started.retry.data[0] & 0xf0, 0x90);
    cache_rest(&f->p.cache, e);
}

static void options_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    const aiki_view order = view_of("order");
    say(f, CLIENT, START, 1, .workflow = order, .delay_ms = 5, .start_at_ms = 5);
    say(f, CLIENT, START, 2, .workflow = order, .delay_ms = -1);
    say(f, CLIENT, START, 3, .workflow = order, .delay_ms = INT64_MAX);
    say(f, CLIENT, START, 4, .workflow = order, .run_timeout_ms = -1);
    say(f, CLIENT, START, 5, .workflow = order, .key = view_of("k"), .key_policy = 9);
    say(f, CLIENT, START, 6, .workflow = order, .key_policy = KEY_REPLACE);
    say(f, CLIENT, START, 7, .workflow = order, .start_at_ms = INT64_MAX);
    turn(f);
    for (uint32_t i = 1; i <= 7; i++)
        expect_fault(f, CLIENT, i, AIKI_INVALID, "BAD_START");
    assert_int_equal(f->p.cache.count, 0);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void ask_in_vain(struct fixture *f, struct aiki_id run, uint64_t action, const char *code)
{
    say(f, CLIENT, CONTROL, 61, .run = run, .action = action);
    turn(f);
    expect_fault(f, CLIENT, 61, AIKI_STALE, code);
    forget(f);
}

/* A parked run is queued to see it, its owner is shown it, and it is shown as cancelling until the
 * code has ended it; also after a restart. */
static void a_cancellation_reaches_the_code(void **state)
{
    struct fixture *f = *state;
    struct msg_NOTIFY m;
    struct msg_ACK ack;
    struct aiki_id run = start(f);
    park(f, run, claim(f, RUNTIME), "go", 0);
    assert_int_equal(ask(f, run, CONTROL_CANCEL), 1);
    assert_int_equal(f->offer_count, 1);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(ask(f, run, CONTROL_CANCEL), 0);
    assert_int_equal(ask(f, run, CONTROL_WAKE), 1);
    expect(f, RUNTIME, 0, NOTIFY, &m);
    assert_true(m.kind == NOTIFY_EVENT && m.epoch == epoch);
    ask_in_vain(f, run, CONTROL_PAUSE, "RUN_CANCELLING");
    assert_int_equal(state_of(f, run), RUN_CANCELLING);
    pass_ms(f, LAG_MS_MAX + 1);
    turn(f);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(state_of(f, run), RUN_CANCELLING);
    command(f, 0, COMMAND_OFFER, 0, &(struct offer_scan){.stream = NULL},
            sizeof(struct offer_scan));
    turn(f);
    epoch = claim(f, RUNTIME);
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_FINISH, .kind = EVENT_CANCELLED});
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_CANCELLED);
    assert_int_equal(ask(f, run, CONTROL_CANCEL), 0); /* a repeat */
    ask_in_vain(f, run, CONTROL_PAUSE, "RUN_ENDED");
}

/* Its owner drops it, who waits gets the reason, and nothing more is taken from it. */
static void a_terminated_run_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct msg_NOTIFY m;
    struct msg_RESULT result;
    aiki_error err = {.struct_size = sizeof(err)};
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, WAIT, 5, .run = run, .timeout_ms = 60000);
    assert_int_equal(ask(f, run, CONTROL_TERMINATE), 1);
    expect(f, RUNTIME, 0, NOTIFY, &m);
    assert_true(m.kind == NOTIFY_DROP && m.epoch == epoch);
    expect(f, CLIENT, 5, RESULT, &result);
    assert_int_equal(result.state, RUN_TERMINATED);
    assert_int_equal(error_read(result.error, &err, NULL, NULL), AIKI_OK);
    assert_string_equal(err.code, "TERMINATED");
    assert_non_null(strstr(err.message, "why"));
    finish(f, run, epoch);
    turn(f);
    expect_fault(f, RUNTIME, 3, AIKI_FENCED, "FENCED");
    assert_int_equal(ask(f, run, CONTROL_TERMINATE), 0); /* a repeat */
    ask_in_vain(f, run, CONTROL_CANCEL, "RUN_ENDED");
    forget(f);
    ask_in_vain(f, run, CONTROL_RETRY, "RUN_NOT_FAILED");
}

/* A pause outlives the owner and the server; resuming offers the run. */
static void a_paused_run_stays_put(void **state)
{
    struct fixture *f = *state;
    struct msg_ACK ack;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(ask(f, run, CONTROL_PAUSE), 1);
    assert_int_equal(state_of(f, run), RUN_RUNNING);
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_RELEASE});
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    assert_int_equal(f->offer_count, 0);
    restart(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_PAUSED);
    command(f, 0, COMMAND_OFFER, 0, &(struct offer_scan){.stream = NULL},
            sizeof(struct offer_scan));
    turn(f);
    assert_int_equal(f->offer_count, 0);
    assert_int_equal(ask(f, run, CONTROL_RESUME), 1);
    assert_int_equal(f->offer_count, 1);
    assert_int_equal(ask(f, run, CONTROL_RESUME), 0);
}

static void fail_run(struct fixture *f, struct aiki_id run, uint64_t epoch)
{
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_FINISH, .kind = EVENT_FAILED});
    turn(f);
    forget(f);
}

static uint64_t ask_as(struct fixture *f, struct aiki_id run, uint64_t action, const char *ref)
{
    struct msg_OK m;
    forget(f);
    say(f, CLIENT, CONTROL, 62, .run = run, .action = action, .ref = view_of(ref));
    turn(f);
    expect(f, CLIENT, 62, OK, &m);
    return m.count;
}

/* What has changed something is answered as it was then, also when memory or server were lost, when
 * somebody undid it, and behind the end. Another action with the same words is another request. */
static void a_request_with_a_reference_counts_once(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    assert_int_equal(ask_as(f, run, CONTROL_PAUSE, "a"), 1);
    assert_int_equal(ask_as(f, run, CONTROL_RESUME, "a"), 1);
    assert_int_equal(ask_as(f, run, CONTROL_PAUSE, "a"), 1);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
    assert_int_equal(ask_as(f, run, CONTROL_WAKE, "a"), 1);
    restart(f);
    assert_int_equal(ask_as(f, run, CONTROL_WAKE, "a"), 1);
    assert_int_equal(ask_as(f, run, CONTROL_PAUSE, "a"), 1);
    assert_int_equal(state_of(f, run), RUN_STALLED); /* nobody serves it after the restart */
    assert_int_equal(ask_as(f, run, CONTROL_RESUME, "b"), 0); /* changed nothing: not on record */
    assert_int_equal(ask_as(f, run, CONTROL_PAUSE, "b"), 1);
    assert_int_equal(ask_as(f, run, CONTROL_RESUME, "b"), 1);
    assert_int_equal(ask_as(f, run, CONTROL_TERMINATE, "a"), 1);
    restart(f);
    assert_int_equal(ask_as(f, run, CONTROL_TERMINATE, "a"), 1);
    assert_int_equal(ask_as(f, run, CONTROL_TERMINATE, "b"), 0);
    assert_int_equal(ask_as(f, run, CONTROL_WAKE, "a"), 1);
    ask_in_vain(f, run, CONTROL_WAKE, "RUN_ENDED");
}

/* The run failed anew behind a retry whose answer was lost: that one is not another one. */
static void a_retry_with_a_reference_is_one_pass(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    fail_run(f, run, claim(f, RUNTIME));
    assert_int_equal(ask_as(f, run, CONTROL_RETRY, "r"), 1);
    fail_run(f, run, claim(f, RUNTIME));
    assert_int_equal(ask_as(f, run, CONTROL_RETRY, "r"), 1);
    assert_int_equal(state_of(f, run), RUN_FAILED);
    restart(f);
    assert_int_equal(ask_as(f, run, CONTROL_RETRY, "r"), 1);
    assert_int_equal(state_of(f, run), RUN_FAILED);
    assert_int_equal(ask_as(f, run, CONTROL_RETRY, "s"), 1);
    assert_int_equal(state_of(f, run), RUN_STALLED);
}

/* A pause that nobody wrote down but the row: the owner's session ends with the server. */
static void a_pause_of_an_owned_run_outlives_a_restart(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    (void)claim(f, RUNTIME);
    assert_int_equal(ask(f, run, CONTROL_PAUSE), 1);
    restart(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_PAUSED);
}

/* What fails can go on; a step that is named must have ended. */
static void a_failed_run_is_retried(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    ask_in_vain(f, run, CONTROL_RETRY, "RUN_NOT_FAILED");
    fail_run(f, run, epoch);
    assert_int_equal(state_of(f, run), RUN_FAILED);
    say(f, CLIENT, CONTROL, 61, .run = run, .action = CONTROL_RETRY, .step = view_of("no"));
    turn(f);
    expect_fault(f, CLIENT, 61, AIKI_NOT_FOUND, "STEP_NOT_FOUND");
    forget(f);
    restart(f);
    assert_int_equal(ask(f, run, CONTROL_RETRY), 1);
    assert_int_equal(f->offer_count, 1);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_STALLED);
}

/* A step whose first event is no beginning is found by its name, too: a sign of life, when it is executed at
 * most once, or a warning about its value. */
static void retry_from_step_with(struct fixture *f, uint64_t first_kind)
{
    forget(f);
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    const struct event beat = {.kind = first_kind,
                               .as.step = {.address = {{1}}, .identity_kind = STEP_TASK,
                                           .name = view_of("pay"), .attempt = 1}};
    const struct event done = {.kind = EVENT_STEP_DONE,
                               .as.step = {.address = {{1}}, .attempt = 1,
                                           .value = {answer42, sizeof(answer42)}}};
    aiki_writer events;
    buf_init(&events);
    event_write_new(&events, &beat);
    event_write_new(&events, &done);
    say(f, RUNTIME, APPEND, 3, .run = run, .epoch = epoch, .number = 1, .next = NEXT_CONTINUE,
        .events = aiki_writer_view(&events));
    buf_deinit(&events);
    turn(f);
    ask_append(f, RUNTIME, 4, &(struct said){.run = run, .epoch = epoch, .number = 2,
                                             .next = NEXT_FINISH, .kind = EVENT_FAILED});
    turn(f);
    forget(f);
    struct msg_OK ok;
    say(f, CLIENT, CONTROL, 61, .run = run, .action = CONTROL_RETRY, .step = view_of("pay"));
    turn(f);
    expect(f, CLIENT, 61, OK, &ok);
    assert_int_equal(ok.count, 1);
}

static void a_run_is_retried_from_whatever_a_step_began_with(void **state)
{
    retry_from_step_with(*state, EVENT_HEARTBEAT);
    retry_from_step_with(*state, EVENT_WARNED);
}

/* A drop is on record once, outlives a restart, and is over when the run goes on. */
static void a_failed_run_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    ask_in_vain(f, run, CONTROL_DROP, "RUN_NOT_FAILED");
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_FINISH, .kind = EVENT_FAILED});
    turn(f);
    forget(f);
    assert_int_equal(ask(f, run, CONTROL_DROP), 1);
    assert_int_equal(ask(f, run, CONTROL_DROP), 0);
    restart(f);
    forget(f);
    assert_int_equal(ask(f, run, CONTROL_DROP), 0);
    assert_int_equal(state_of(f, run), RUN_FAILED);
    assert_int_equal(ask(f, run, CONTROL_RETRY), 1);
    struct entry *e = cache_find(&f->p.cache, &run);
    assert_true(e != NULL && (e->run.flags & RUN_FLAG_DROPPED) == 0 && run_passes(e->run.flags) == 1);
}

static void requests_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    say(f, CLIENT, CONTROL, 2, .run = run, .action = 0);
    say(f, CLIENT, CONTROL, 3, .run = run, .action = 99);
    say(f, CLIENT, CONTROL, 4, .run = run, .action = CONTROL_PAUSE, .step = view_of("x"));
    say(f, CLIENT, CONTROL, 5, .run = {{1}}, .action = CONTROL_PAUSE);
    turn(f);
    expect_fault(f, CLIENT, 2, AIKI_INVALID, "BAD_ACTION");
    expect_fault(f, CLIENT, 3, AIKI_INVALID, "BAD_ACTION");
    expect_fault(f, CLIENT, 4, AIKI_INVALID, "BAD_ACTION");
    expect_fault(f, CLIENT, 5, AIKI_NOT_FOUND, "RUN_NOT_FOUND");
}

/* A request whose commit fails is refused and leaves the run as it was. */
static void a_refused_request_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, CONTROL, 60, .run = run, .action = CONTROL_TERMINATE);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 0);
    turn(f); /* the unit fails, the command alone does not */
    struct msg_OK ok;
    expect(f, CLIENT, 60, OK, &ok);
    forget(f);
    run = start(f);
    epoch = claim(f, RUNTIME);
    struct aiki_id known = id_new();
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    turn(f);
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &known));
    forget(f);
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    say(f, CLIENT, CONTROL, 60, .run = run, .action = CONTROL_TERMINATE);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 1);
    turn(f);
    expect_fault(f, CLIENT, 60, AIKI_UNAVAILABLE, "UNAVAILABLE");
    assert_false(has_answer(f, RUNTIME, 0));
    forget(f);
    finish(f, run, epoch);
    turn(f);
    struct msg_ACK ack;
    expect(f, RUNTIME, 3, ACK, &ack);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_run_starts_later_and_ends_in_time),
        CASE(a_deadline_is_not_lost),
        CASE(key_policies),
        CASE(a_key_changes_hands_also_one_by_one),
        CASE(absorbed_starts_are_remembered),
        CASE(a_retry_policy_is_recorded),
        CASE(options_that_make_no_sense),
        CASE(a_cancellation_reaches_the_code),
        CASE(a_terminated_run_is_dropped),
        CASE(a_paused_run_stays_put),
        CASE(a_pause_of_an_owned_run_outlives_a_restart),
        CASE(a_request_with_a_reference_counts_once),
        CASE(a_retry_with_a_reference_is_one_pass),
        CASE(a_failed_run_is_retried),
        CASE(a_run_is_retried_from_whatever_a_step_began_with),
        CASE(a_failed_run_is_dropped),
        CASE(requests_that_make_no_sense),
        CASE(a_refused_request_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

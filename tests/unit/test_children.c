/* test_children.c - runs that start runs: begun, told, closed and cancelled in one unit each. */
#include "support/family.h"

/* ---- begin and end --------------------------------------------------------------------------- */

/* By the hundred in the append's own commit; each knows its parent, and ends to its parent. */
static void a_hundred_children_come_and_go(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 100 };
    struct event done;
    struct parent parent = start_parent(f);
    uint64_t commits = f->store->commits;
    begin(f, &parent, &(struct brood){.workflow = "order", .count = COUNT, .next = NEXT_PARK});
    assert_int_equal(f->store->commits, commits + 1);
    assert_int_equal(f->offer_count, COUNT);
    forget(f);
    assert_int_equal(state_of(f, parent.run), RUN_AWAITING_CHILD);
    for (uint64_t n = 1; n <= COUNT; n++)
        finish(f, child_of(&parent, n), claim_run(f, child_of(&parent, n)));
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, parent.run), RUN_QUEUED);
    assert_int_equal(events_of(f, parent.run, EVENT_CHILD_DONE, &done), COUNT);
    struct aiki_id last = child_of(&parent, COUNT);
    assert_true(id_equal(&done.as.child_done.child, &last));
    assert_int_equal(done.as.child_done.state, RUN_COMPLETED);
    assert_true(view_equal(done.as.child_done.output, (aiki_view){answer42, sizeof(answer42)}));
}

/* What cannot be started has ended, and the parent is told why. */
static void a_child_that_cannot_be_started(void **state)
{
    struct fixture *f = *state;
    struct event done;
    aiki_error err = {.struct_size = sizeof(err)};
    struct msg_NOTIFY m;
    struct parent parent = start_parent(f);
    begin(f, &parent, &(struct brood){.workflow = "nobody", .count = 1, .next = NEXT_CONTINUE});
    expect(f, RUNTIME, 0, NOTIFY, &m); /* it still owns the run */
    assert_int_equal(events_of(f, parent.run, EVENT_CHILD_DONE, &done), 1);
    assert_int_equal(done.as.child_done.state, RUN_FAILED);
    assert_int_equal(error_read(done.as.child_done.error, &err, NULL, NULL), AIKI_OK);
    assert_string_equal(err.code, "WORKFLOW_NOT_FOUND");
    struct parent other = start_parent(f);
    begin(f, &other, &(struct brood){.workflow = "nobody", .count = 1, .next = NEXT_PARK});
    forget(f);
    assert_int_equal(state_of(f, other.run), RUN_QUEUED); /* what it parked for is there */
    struct parent last = start_parent(f);
    begin(f, &last, &(struct brood){.workflow = "nobody", .count = 1, .next = NEXT_FINISH,
                                    .then = EVENT_FAILED});
    forget(f);
    assert_int_equal(state_of(f, last.run), RUN_FAILED);
    assert_int_equal(events_of(f, last.run, EVENT_CHILD_DONE, NULL), 0); /* nobody would read it */
}

/* Decided again one by one, after a commit that was refused: as if nothing had been. */
static void a_family_is_decided_again(void **state)
{
    struct fixture *f = *state;
    struct msg_ACK ack;
    struct parent parent = start_parent(f);
    ask_start(f, 1, "");
    ask_begin(f, &parent, &(struct brood){.workflow = "order", .count = 3, .next = NEXT_PARK});
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    assert_int_equal(f->offer_count, 4);
    forget(f);
    struct entry *e;
    assert_int_equal(run_load(&f->p, &parent.run, &e, NULL), AIKI_OK);
    assert_int_equal(e->run.children, 3);
    uint64_t epoch = claim_run(f, child_of(&parent, 2));
    ask_start(f, 1, "");
    finish(f, child_of(&parent, 2), epoch);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    assert_int_equal(events_of(f, parent.run, EVENT_CHILD_DONE, NULL), 1);
}

/* Refused for good: neither the children nor the step that began them are there; the same append
 * is then good, once. */
static void a_refused_family_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED started;
    struct aiki_id known = id_new();
    const struct brood family = {.workflow = "order", .count = 3, .next = NEXT_CONTINUE};
    struct parent parent = start_parent(f);
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    turn(f);
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &known));
    forget(f);
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    ask_begin(f, &parent, &family);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 1);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &started);
    expect_fault(f, RUNTIME, 3, AIKI_UNAVAILABLE, "UNAVAILABLE");
    struct aiki_id child = child_of(&parent, 1);
    assert_null(cache_find(&f->p.cache, &child));
    forget(f);
    parent.number = 0;
    begin(f, &parent, &family);
    assert_int_equal(f->offer_count, 3);
    parent.number = 0;
    begin(f, &parent, &family); /* its answer was lost */
    assert_int_equal(f->offer_count, 3);
}

/* ---- the parent ends ------------------------------------------------------------------------- */

/* Each policy, for children on record and for those that the last append begins. */
static void children_end_with_their_parent(void **state)
{
    struct fixture *f = *state;
    static const struct { uint64_t policy; uint32_t becomes; } cases[] = {
        {CLOSE_CANCEL, RUN_CANCELLING}, {CLOSE_TERMINATE, RUN_TERMINATED},
        {CLOSE_ABANDON, RUN_QUEUED}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int same_append = 0; same_append < 2; same_append++) {
            struct parent parent = start_parent(f);
            struct brood family = {.workflow = "order", .count = 2, .next = NEXT_CONTINUE,
                                    .close_policy = cases[i].policy};
            if (same_append) {
                family.next = NEXT_FINISH;
                family.then = EVENT_COMPLETED;
                begin(f, &parent, &family);
            } else {
                begin(f, &parent, &family);
                if (i == 1)
                    restart(f); /* they are read from the store */
                (void)ask(f, parent.run, CONTROL_TERMINATE);
            }
            forget(f);
            if (i == 1 && !same_append) {
                open_session(f, RUNTIME);
                serve(f, RUNTIME, build);
                turn(f);
                forget(f);
            }
            assert_int_equal(state_of(f, child_of(&parent, 2)), cases[i].becomes);
        }
    }
}

/* Three generations: a request and an end go all the way down in one unit. */
static void a_family_is_cancelled_at_once(void **state)
{
    struct fixture *f = *state;
    struct parent top = start_parent(f);
    begin(f, &top, &(struct brood){.workflow = "order", .count = 2, .next = NEXT_PARK});
    forget(f);
    struct parent middle = {.run = child_of(&top, 1), .epoch = claim_run(f, child_of(&top, 1))};
    begin(f, &middle, &(struct brood){.workflow = "order", .count = 2, .next = NEXT_PARK});
    forget(f);
    uint64_t commits = f->store->commits;
    assert_int_equal(ask(f, top.run, CONTROL_CANCEL), 1);
    assert_int_equal(f->store->commits, commits + 1);
    forget(f);
    struct aiki_id all[] = {child_of(&top, 1), child_of(&top, 2), child_of(&middle, 1),
                            child_of(&middle, 2)};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_int_equal(state_of(f, all[i]), RUN_CANCELLING);
    assert_int_equal(ask(f, middle.run, CONTROL_TERMINATE), 1);
    assert_int_equal(events_of(f, top.run, EVENT_CHILD_DONE, NULL), 1);
}

/* A detached child says nothing to its parent. */
static void a_detached_child_is_on_its_own(void **state)
{
    struct fixture *f = *state;
    struct msg_ACK ack;
    struct parent parent = start_parent(f);
    begin(f, &parent, &(struct brood){.workflow = "order", .count = 1, .next = NEXT_CONTINUE,
                                       .detached = true, .close_policy = CLOSE_ABANDON});
    forget(f);
    uint64_t epoch = claim_run(f, child_of(&parent, 1));
    finish(f, child_of(&parent, 1), epoch);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    assert_int_equal(events_of(f, parent.run, EVENT_CHILD_DONE, NULL), 0);
}

/* A future that the code cancelled: its child is closed, whatever else the step may be. */
static void a_given_up_child_is_closed(void **state)
{
    struct fixture *f = *state;
    struct msg_ACK ack;
    aiki_writer events;
    struct parent parent = start_parent(f);
    begin(f, &parent, &(struct brood){.workflow = "order", .count = 2, .next = NEXT_CONTINUE});
    forget(f);
    buf_init(&events);
    for (uint64_t n = 2; n <= 3; n++) { /* the third is no child */
        const struct event done = {
            .kind = EVENT_STEP_DONE,
            .as.step = {.address = address_of(n), .outcome = OUTCOME_CANCELLED, .attempt = 1}};
        event_write_new(&events, &done);
    }
    say(f, RUNTIME, APPEND, 3, .run = parent.run, .epoch = parent.epoch,
        .number = ++parent.number, .next = NEXT_CONTINUE, .events = aiki_writer_view(&events));
    buf_deinit(&events);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    forget(f);
    assert_int_equal(state_of(f, child_of(&parent, 1)), RUN_QUEUED);
    assert_int_equal(state_of(f, child_of(&parent, 2)), RUN_CANCELLING);
}

/* A deadline is inherited, and the whole family ends with it. */
static void a_deadline_is_inherited(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED started;
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .input = {input, sizeof(input)},
        .run_timeout_ms = 5000);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &started);
    struct parent parent = {.run = started.run, .epoch = claim(f, RUNTIME)};
    begin(f, &parent, &(struct brood){.workflow = "order", .count = 2, .next = NEXT_PARK});
    pass_ms(f, 5001);
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, parent.run), RUN_TIMED_OUT);
    assert_int_equal(state_of(f, child_of(&parent, 1)), RUN_TIMED_OUT);
    assert_int_equal(state_of(f, child_of(&parent, 2)), RUN_TIMED_OUT);
}

/* A pass that failed: its children are closed, those of the next pass are others. */
static void another_pass_has_its_own_children(void **state)
{
    struct fixture *f = *state;
    struct parent parent = start_parent(f);
    begin(f, &parent, &(struct brood){.workflow = "order", .count = 1, .next = NEXT_CONTINUE});
    ask_append(f, RUNTIME, 5, &(struct said){.run = parent.run, .epoch = parent.epoch,
                                             .number = ++parent.number, .next = NEXT_PARK,
                                             .wake_at_ms = f->p.now.at_ms + 1,
                                             .kind = EVENT_RUN_RETRIED});
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, child_of(&parent, 1)), RUN_CANCELLING);
    pass_ms(f, 10);
    turn(f);
    parent = (struct parent){.run = parent.run, .epoch = claim_run(f, parent.run)};
    begin(f, &parent, &(struct brood){.workflow = "order", .count = 1, .next = NEXT_CONTINUE,
                                       .pass = 1});
    struct address a = address_of(1);
    struct aiki_id second = child_id(&parent.run, &a, 0, 1);
    forget(f);
    assert_int_equal(state_of(f, second), RUN_QUEUED);
}

/* Not taken up in time it ends, as served as its workflow may be; the parent is told why. One that
 * was claimed may take its time, and one that is paused too. A restart changes nothing. */
static void a_child_is_taken_up_in_time_or_ends(void **state)
{
    struct fixture *f = *state;
    struct event done;
    struct parent parent = start_parent(f);
    begin(f, &parent, &(struct brood){.workflow = "order", .count = 3, .start_limit_ms = 5000,
                                      .next = NEXT_PARK});
    forget(f);
    (void)claim_run(f, child_of(&parent, 1));
    (void)ask(f, child_of(&parent, 2), CONTROL_PAUSE);
    pass_ms(f, 4900);
    turn(f);
    assert_int_equal(state_of(f, child_of(&parent, 3)), RUN_QUEUED);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    pass_ms(f, 5001);
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, child_of(&parent, 1)), RUN_QUEUED);
    assert_int_equal(state_of(f, child_of(&parent, 2)), RUN_PAUSED);
    assert_int_equal(state_of(f, child_of(&parent, 3)), RUN_TIMED_OUT);
    assert_int_equal(state_of(f, parent.run), RUN_QUEUED);
    assert_int_equal(events_of(f, parent.run, EVENT_CHILD_DONE, &done), 1);
    aiki_error why = AIKI_ERROR_INIT;
    assert_int_equal(done.as.child_done.state, RUN_TIMED_OUT);
    assert_int_equal(error_read(done.as.child_done.error, &why, NULL, NULL), AIKI_OK);
    assert_string_equal(why.code, "TIMEOUT_SCHEDULE_TO_START");
    assert_non_null(strstr(why.message, "order@1.0.0"));
    (void)ask(f, child_of(&parent, 2), CONTROL_RESUME);
    pass_ms(f, 60000);
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, child_of(&parent, 2)), RUN_QUEUED);
}

/* As state_of, but without a turn. */
static uint32_t now_in(struct fixture *f, struct aiki_id run)
{
    struct entry *e;
    assert_int_equal(run_load(&f->p, &run, &e, NULL), AIKI_OK);
    uint32_t state = e->run.state;
    cache_rest(&f->p.cache, e);
    return state;
}

static size_t open_leaves(struct fixture *f, const struct parent *branches, size_t count,
                          uint64_t leaves)
{
    size_t open = 0;
    for (size_t i = 0; i < count; i++)
        for (uint64_t leaf = 1; leaf <= leaves; leaf++)
            open += now_in(f, child_of(&branches[i], leaf)) != RUN_TERMINATED;
    return open;
}

/* A family that is too large for one unit is closed in several, each on record: a restart, and a
 * refused commit, go on where the last one ended. Meanwhile a run of it cannot be retried. */
static void a_large_family_is_closed_in_parts(void **state)
{
    enum { BRANCHES = 4, LEAVES = 5 };
    struct fixture *f = *state;
    struct parent root = start_parent(f), branches[BRANCHES];
    struct brood brood = {.workflow = "order", .count = BRANCHES, .close_policy = CLOSE_TERMINATE,
                          .next = NEXT_PARK};
    begin(f, &root, &brood);
    brood.count = LEAVES;
    for (uint64_t n = 0; n < BRANCHES; n++) {
        struct aiki_id run = child_of(&root, n + 1);
        branches[n] = (struct parent){.run = run, .epoch = claim_run(f, run)};
        begin(f, &branches[n], &brood);
        forget(f);
    }
    f->p.family_unit_runs = 1;
    (void)ask(f, root.run, CONTROL_TERMINATE);
    assert_int_equal(open_leaves(f, branches, BRANCHES, LEAVES), BRANCHES * LEAVES);
    for (size_t left = BRANCHES; left-- > 0;) {
        assert_int_equal(now_in(f, branches[left].run), RUN_TERMINATED);
        restart(f);
        f->p.family_unit_runs = 1;
        if (left == 2)
            memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 0);
        turn(f);
        pass_ms(f, 60000);
        if (left == 2)
            turn(f);
        forget(f);
        assert_true(open_leaves(f, branches, BRANCHES, LEAVES) <= left * LEAVES);
    }
    assert_int_equal(f->p.timers.count, 0);
    for (uint64_t n = 0; n < BRANCHES; n++)
        assert_int_equal(events_of(f, child_of(&branches[n], 1), EVENT_TERMINATED, NULL), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_hundred_children_come_and_go),
        CASE(a_child_that_cannot_be_started),
        CASE(a_family_is_decided_again),
        CASE(a_refused_family_leaves_nothing),
        CASE(children_end_with_their_parent),
        CASE(a_family_is_cancelled_at_once),
        CASE(a_detached_child_is_on_its_own),
        CASE(a_given_up_child_is_closed),
        CASE(a_deadline_is_inherited),
        CASE(another_pass_has_its_own_children),
        CASE(a_child_is_taken_up_in_time_or_ends),
        CASE(a_large_family_is_closed_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

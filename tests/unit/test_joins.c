/* test_joins.c - one run for all who call the same key, and calls that would wait for themselves. */
#include "support/family.h"

/* A run that is claimed calls something shared and parks. */
static void share_as(struct fixture *f, struct parent *parent, const char *key, uint8_t byte)
{
    begin(f, parent, &(struct brood){.workflow = "order", .count = 1, .next = NEXT_PARK,
                                     .close_policy = CLOSE_ABANDON, .key = key, .shared = true,
                                     .input = byte});
    forget(f);
}

static void share(struct fixture *f, struct parent *parent, uint8_t byte)
{
    *parent = start_parent(f);
    share_as(f, parent, ":k", byte);
}

/* The first child, as one that starts others. */
static struct parent claim_child(struct fixture *f, const struct parent *of)
{
    struct aiki_id run = child_of(of, 1);
    return (struct parent){.run = run, .epoch = claim_run(f, run)};
}

/* How the step of that parent ended; its state is 0 when it has not. */
static struct event end_of_share(struct fixture *f, const struct parent *parent)
{
    struct event done = {.kind = EVENT_CHILD_DONE};
    struct aiki_id id = child_of(parent, 1);
    size_t count = events_of(f, parent->run, EVENT_CHILD_DONE, &done);
    assert_true(count <= 1);
    assert_true(count == 0 || id_equal(&done.as.child_done.child, &id));
    return done;
}

/* One run for a key, its end for all who asked, while it is open and after it. */
static void a_shared_child_is_one_run(void **state)
{
    struct fixture *f = *state;
    struct parent first, second, third, other;
    share(f, &first, 0);
    share(f, &second, 0);
    share(f, &other, 5);
    struct aiki_id holder = child_of(&first, 1);
    assert_int_equal(events_of(f, holder, EVENT_JOINED, NULL), 1);
    assert_int_equal(end_of_share(f, &first).as.child_done.state, 0);
    assert_int_equal(end_of_share(f, &second).as.child_done.state, 0);
    assert_int_equal(end_of_share(f, &other).as.child_done.state, RUN_FAILED); /* KEY_TAKEN */
    finish(f, holder, claim_run(f, holder));
    turn(f);
    forget(f);
    share(f, &third, 0);
    const struct parent *all[] = {&first, &second, &third};
    for (size_t i = 0; i < 3; i++) {
        struct event done = end_of_share(f, all[i]);
        assert_int_equal(done.as.child_done.state, RUN_COMPLETED);
        assert_true(view_equal(done.as.child_done.output, (aiki_view){answer42, sizeof(answer42)}));
        assert_int_equal(id_equal(&done.as.child_done.by, &holder), i > 0);
        assert_int_equal(state_of(f, all[i]->run), RUN_QUEUED);
    }
}

/* One that has become long is not joined: the step has failed and says so. */
static void a_long_run_is_not_joined(void **state)
{
    struct fixture *f = *state;
    struct parent first, second;
    struct entry *e;
    aiki_error err = {.struct_size = sizeof(err)};
    share(f, &first, 0);
    struct aiki_id holder = child_of(&first, 1);
    assert_int_equal(run_load(&f->p, &holder, &e, NULL), AIKI_OK);
    uint64_t seq = e->run.seq;
    e->run.seq = RUN_JOIN_EVENTS_MAX;
    share(f, &second, 0);
    e->run.seq = seq;
    cache_rest(&f->p.cache, e);
    struct event done = end_of_share(f, &second);
    assert_int_equal(error_read(done.as.child_done.error, &err, NULL, NULL), AIKI_OK);
    assert_string_equal(err.code, "JOIN_LIMIT");
    assert_int_equal(events_of(f, holder, EVENT_JOINED, NULL), 0);
}

/* The run that a new parent starts by a key; it is claimed. */
static struct parent start_shared(struct fixture *f, const char *key)
{
    struct parent starter = start_parent(f);
    share_as(f, &starter, key, 0);
    struct aiki_id run = child_of(&starter, 1);
    return (struct parent){.run = run, .epoch = claim_run(f, run)};
}

static void finish_with(struct fixture *f, struct parent *parent)
{
    struct msg_ACK ack;
    aiki_writer events;
    buf_init(&events);
    event_write_new(&events, &(struct event){.kind = EVENT_COMPLETED,
                                             .as.completed = {.output = {answer42, sizeof(answer42)}}});
    say(f, RUNTIME, APPEND, 3, .run = parent->run, .epoch = parent->epoch, .number = ++parent->number,
        .next = NEXT_FINISH, .seen = parent->seen, .events = aiki_writer_view(&events));
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    forget(f);
    buf_deinit(&events);
}

static void park_for(struct fixture *f, struct parent *parent, const struct wait *waits, size_t count,
                     int64_t wake_at_ms)
{
    struct msg_ACK ack;
    aiki_writer w;
    buf_init(&w);
    aiki_mp_array(&w, count);
    for (size_t i = 0; i < count; i++)
        wait_write(&w, &waits[i]);
    say(f, RUNTIME, APPEND, 3, .run = parent->run, .epoch = parent->epoch, .number = ++parent->number,
        .next = NEXT_PARK, .seen = parent->seen, .waits = aiki_writer_view(&w), .wake_at_ms = wake_at_ms);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    forget(f);
    buf_deinit(&w);
}

static void assert_circle(struct fixture *f, const struct parent *asks, const struct aiki_id *holder)
{
    aiki_error err = {.struct_size = sizeof(err)};
    char text[AIKI_ID_TEXT_SIZE];
    struct event done = end_of_share(f, asks);
    assert_int_equal(done.as.child_done.state, RUN_FAILED);
    assert_int_equal(error_read(done.as.child_done.error, &err, NULL, NULL), AIKI_OK);
    assert_string_equal(err.code, "JOIN_CIRCLE");
    id_text(holder, text);
    assert_non_null(strstr(err.message, text));
}

/* Of runs that wait for each other in a circle the call that closed it fails; the others do not. */
static void a_circle_is_not_closed(void **state)
{
    struct fixture *f = *state;
    struct parent a = start_shared(f, ":a"), b = start_shared(f, ":b"), c = start_shared(f, ":c");
    share_as(f, &a, ":b", 0);
    share_as(f, &b, ":c", 0);
    assert_int_equal(events_of(f, b.run, EVENT_JOINED, NULL), 1);
    assert_int_equal(events_of(f, c.run, EVENT_JOINED, NULL), 1);
    share_as(f, &c, ":a", 0);
    assert_circle(f, &c, &a.run);
    assert_int_equal(state_of(f, c.run), RUN_QUEUED);
    assert_int_equal(end_of_share(f, &a).as.child_done.state, 0);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, 0);
    finish(f, c.run, claim_run(f, c.run));
    turn(f);
    forget(f);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, RUN_COMPLETED);
}

/* A parent waits for its children: what one of them starts cannot wait for it. */
static void a_circle_through_a_parent_is_not_closed(void **state)
{
    struct fixture *f = *state;
    struct parent a = start_shared(f, ":a");
    share_as(f, &a, ":b", 0);
    struct parent b = claim_child(f, &a);
    share_as(f, &b, ":c", 0);
    struct parent c = claim_child(f, &b);
    share_as(f, &c, ":a", 0);
    assert_circle(f, &c, &a.run);
}

/* A parent that has started a child and goes on does not wait for it. */
static void who_does_not_wait_closes_no_circle(void **state)
{
    struct fixture *f = *state;
    struct parent a = start_shared(f, ":a");
    begin(f, &a, &(struct brood){.workflow = "order", .count = 1, .next = NEXT_CONTINUE,
                                 .close_policy = CLOSE_ABANDON, .key = ":b", .shared = true});
    forget(f);
    struct parent b = claim_child(f, &a);
    share_as(f, &b, ":a", 0);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, 0);
    assert_int_equal(events_of(f, a.run, EVENT_JOINED, NULL), 1);
    finish_with(f, &a);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, RUN_COMPLETED);
}

/* So does one that waits for something else, too, or not for ever; until it does. */
static void who_can_go_on_closes_no_circle(void **state)
{
    struct fixture *f = *state;
    struct parent a = start_shared(f, ":a");
    begin(f, &a, &(struct brood){.workflow = "order", .count = 1, .next = NEXT_CONTINUE,
                                 .close_policy = CLOSE_ABANDON, .key = ":b", .shared = true});
    forget(f);
    struct parent b = claim_child(f, &a);
    share_as(f, &b, ":a", 0);
    const struct wait child = {.kind = STEP_CHILD, .name = view_of("order"), .since_ms = 1, .key = view_of(":b")};
    struct wait sleep = {.kind = STEP_SLEEP, .since_ms = 1, .due_at_ms = f->p.now.at_ms + 1000}, soon = child;
    soon.due_at_ms = sleep.due_at_ms;
    park_for(f, &a, (const struct wait[]){child, sleep}, 2, sleep.due_at_ms);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, 0);
    pass_ms(f, 1001);
    turn(f);
    a.epoch = claim_run(f, a.run);
    a.number = 0;
    park_for(f, &a, &soon, 1, f->p.now.at_ms + 1000);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, 0);
    pass_ms(f, 1001);
    turn(f);
    a.epoch = claim_run(f, a.run);
    a.number = 0;
    park_for(f, &a, &child, 1, 0);
    assert_circle(f, &b, &a.run);
    assert_int_equal(end_of_share(f, &a).as.child_done.state, 0);
}

/* So does one that has an open wait for a signal: it may come, and then all of them end. */
static void who_waits_for_a_signal_closes_no_circle(void **state)
{
    struct fixture *f = *state;
    struct msg_OK ok;
    struct parent a = start_shared(f, ":a");
    begin(f, &a, &(struct brood){.workflow = "order", .count = 1, .next = NEXT_CONTINUE,
                                 .close_policy = CLOSE_ABANDON, .key = ":b", .shared = true});
    forget(f);
    struct parent b = claim_child(f, &a);
    share_as(f, &b, ":a", 0);
    const struct wait child = {.kind = STEP_CHILD, .name = view_of("order"), .since_ms = 1, .key = view_of(":b")};
    const struct wait go = {.kind = STEP_SIGNAL, .name = view_of("go"), .since_ms = 1};
    park_for(f, &a, (const struct wait[]){child, go}, 2, 0);
    assert_int_equal(end_of_share(f, &a).as.child_done.state, 0);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, 0);
    say(f, CLIENT, SIGNAL, 7, .run = a.run, .name = view_of("go"));
    turn(f);
    expect(f, CLIENT, 7, OK, &ok);
    assert_int_equal(state_of(f, a.run), RUN_QUEUED);
    finish(f, a.run, claim_run(f, a.run));
    turn(f);
    forget(f);
    assert_int_equal(end_of_share(f, &b).as.child_done.state, RUN_COMPLETED);
}

/* So long, the first waiting for the last: found up to the limit, and beyond it left alone. */
static void circle_of(struct fixture *f, unsigned count, bool found)
{
    struct parent *all = calloc(count, sizeof(*all));
    for (unsigned i = 0; i < count; i++) {
        char key[24], before[24];
        (void)snprintf(key, sizeof(key), ":%u-%u", count, i);
        (void)snprintf(before, sizeof(before), ":%u-%u", count, i - 1);
        all[i] = start_shared(f, key);
        if (i > 0)
            share_as(f, &all[i], before, 0);
    }
    char last[24];
    (void)snprintf(last, sizeof(last), ":%u-%u", count, count - 1);
    share_as(f, &all[0], last, 0);
    if (found)
        assert_circle(f, &all[0], &all[count - 1].run);
    else
        assert_int_equal(end_of_share(f, &all[0]).as.child_done.state, 0);
    for (unsigned i = 1; i < count; i++)
        assert_int_equal(end_of_share(f, &all[i]).as.child_done.state, 0);
    free(all);
}

static void circles_are_found_up_to_a_limit(void **state)
{
    circle_of(*state, 2, true);
    circle_of(*state, JOIN_WALK_RUNS_MAX / 2, true); /* each has a parent that waits for it, too */
    circle_of(*state, JOIN_WALK_RUNS_MAX / 2 + 1, false);
}

/* A run that joined the same one twice, and waits on after the first of them has failed. */
static void a_call_made_again_fails_again(void **state)
{
    struct fixture *f = *state;
    struct event done = {.kind = 0};
    struct parent a = start_shared(f, ":a"), b = start_shared(f, ":b");
    share_as(f, &a, ":b", 0);
    share_as(f, &b, ":a", 0);
    assert_circle(f, &b, &a.run);
    b.epoch = claim_run(f, b.run);
    b.number = 0;
    b.seen = 1;
    share_as(f, &b, ":a", 0); /* the step of before begins again */
    assert_int_equal(events_of(f, b.run, EVENT_CHILD_DONE, &done), 3); /* once for each time that it joined */
    assert_int_equal(state_of(f, b.run), RUN_QUEUED);
}

/* Who has ended waits for nothing: its key is free, and nobody is in a circle with it. */
static void who_has_ended_closes_no_circle(void **state)
{
    struct fixture *f = *state;
    struct parent a = start_shared(f, ":a"), b = start_shared(f, ":b");
    share_as(f, &a, ":b", 0);
    assert_int_equal(ask(f, a.run, CONTROL_TERMINATE), 1);
    forget(f);
    share_as(f, &b, ":a", 0);
    struct parent again = claim_child(f, &b);
    share_as(f, &again, ":b", 0);
    assert_circle(f, &again, &b.run);
}

/* Who waited learns that it ended; the key is another run's then, whatever its input. */
static void a_shared_child_that_fails_frees_its_key(void **state)
{
    struct fixture *f = *state;
    struct parent first, second, third;
    share(f, &first, 0);
    share(f, &second, 0);
    assert_int_equal(ask(f, child_of(&first, 1), CONTROL_TERMINATE), 1);
    forget(f);
    assert_int_equal(end_of_share(f, &first).as.child_done.state, RUN_TERMINATED);
    assert_int_equal(end_of_share(f, &second).as.child_done.state, RUN_TERMINATED);
    share(f, &third, 5);
    struct aiki_id holder = child_of(&third, 1);
    assert_int_equal(end_of_share(f, &third).as.child_done.state, 0);
    finish(f, holder, claim_run(f, holder));
    turn(f);
    forget(f);
    assert_int_equal(end_of_share(f, &third).as.child_done.state, RUN_COMPLETED);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_shared_child_is_one_run),
        CASE(a_long_run_is_not_joined),
        CASE(a_circle_is_not_closed),
        CASE(a_circle_through_a_parent_is_not_closed),
        CASE(who_has_ended_closes_no_circle),
        CASE(who_does_not_wait_closes_no_circle),
        CASE(who_can_go_on_closes_no_circle),
        CASE(who_waits_for_a_signal_closes_no_circle),
        CASE(circles_are_found_up_to_a_limit),
        CASE(a_call_made_again_fails_again),
        CASE(a_shared_child_that_fails_frees_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

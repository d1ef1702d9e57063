/* test_children.c - runs that start runs: begun, told, closed and cancelled in one unit each. */
#include "support/pipeline_fixture.h"

#include "wire/child.h"

/* What the played runtime appends on behalf of a parent. */
struct parent {
    struct aiki_id run;
    uint64_t epoch, number, seen;
};

struct brood {
    const char *workflow;
    uint64_t count, close_policy, pass;
    bool detached;
    uint64_t next;
    uint64_t then; /* EVENT_*: one more event behind the steps, 0 = none */
    int64_t start_limit_ms;
    const char *key; /* NULL: none */
    bool shared;
    uint8_t input; /* one byte; 0: the usual one */
};

static struct address address_of(uint64_t n)
{
    struct address a = {{0}};
    memcpy(a.bytes, &n, sizeof(n));
    return a;
}

static struct parent start_parent(struct fixture *f)
{
    struct aiki_id run = start(f);
    return (struct parent){.run = run, .epoch = claim(f, RUNTIME)};
}

static void put_child_step(aiki_writer *w, const struct brood *family, uint64_t n)
{
    uint8_t memory[CHILD_OPTIONS_BYTES_MAX];
    aiki_writer options;
    aiki_writer_init_fixed(&options, memory, sizeof(memory));
    child_options_write(&options, &(struct child_options){.close_policy = family->close_policy,
                                                          .detached = family->detached,
                                                          .pass = family->pass,
                                                          .key = view_of(family->key),
                                                          .shared = family->shared,
                                                          .schedule_to_start_ms =
                                                              family->start_limit_ms});
    const struct event begun = {.kind = EVENT_STEP_BEGUN,
                                .as.step = {.address = address_of(n),
                                            .identity_kind = STEP_CHILD,
                                            .name = view_of(family->workflow),
                                            .input = family->input != 0
                                                         ? (aiki_view){&family->input, 1}
                                                         : (aiki_view){input, sizeof(input)},
                                            .options = aiki_writer_view(&options)}};
    event_write_new(w, &begun);
}

static struct aiki_id child_of(const struct parent *parent, uint64_t n)
{
    struct address a = address_of(n);
    return child_id(&parent->run, &a, 0, 0);
}

/* One append that begins that many children. */
static void ask_begin(struct fixture *f, struct parent *parent, const struct brood *family)
{
    aiki_writer events, waits;
    buf_init(&events);
    buf_init(&waits);
    for (uint64_t n = 1; n <= family->count; n++)
        put_child_step(&events, family, n);
    if (family->then != 0)
        event_write_new(&events, &(struct event){.kind = family->then});
    if (family->next == NEXT_PARK) {
        struct wait w = {.kind = STEP_CHILD, .name = view_of(family->workflow), .since_ms = 1};
        if (family->shared)
            w.key = view_of(family->key);
        else
            w.child = child_of(parent, 1);
        aiki_mp_array(&waits, 1);
        wait_write(&waits, &w);
    }
    say(f, RUNTIME, APPEND, 3, .run = parent->run, .epoch = parent->epoch,
        .number = ++parent->number, .next = family->next, .seen = parent->seen,
        .waits = aiki_writer_view(&waits), .events = aiki_writer_view(&events));
    buf_deinit(&events);
    buf_deinit(&waits);
}

static void begin(struct fixture *f, struct parent *parent, const struct brood *family)
{
    struct msg_ACK ack;
    ask_begin(f, parent, family);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
}

/* Claims a run under its present epoch. */
static uint64_t claim_run(struct fixture *f, struct aiki_id run)
{
    struct msg_CLAIMED m;
    struct entry *e;
    assert_int_equal(run_load(&f->p, &run, &e, NULL), AIKI_OK);
    say(f, RUNTIME, CLAIM, 4, .run = run, .epoch = e->run.epoch, .build = {build, HASH_BYTES});
    cache_rest(&f->p.cache, e);
    turn(f);
    expect(f, RUNTIME, 4, CLAIMED, &m);
    forget(f);
    return m.epoch;
}

/* The run's events of a kind; *ret_last: the last one, its views in memory of the fixture. */
static size_t events_of(struct fixture *f, struct aiki_id run, uint64_t kind, struct event *ret_last)
{
    struct entry *e;
    aiki_view journal;
    uint64_t last_seq;
    aiki_reader r;
    struct event event;
    size_t count = 0;
    assert_int_equal(run_load(&f->p, &run, &e, NULL), AIKI_OK);
    assert_int_equal(run_journal(&f->p, e, 0, UINT64_MAX, &journal, &last_seq, NULL), AIKI_OK);
    aiki_reader_init(&r, journal);
    while (aiki_reader_left(&r) > 0) {
        assert_int_equal(event_read_stored(&r, &event, NULL), AIKI_OK);
        if (event.kind != kind)
            continue;
        count++;
        if (ret_last != NULL)
            *ret_last = event;
    }
    cache_rest(&f->p.cache, e);
    return count;
}

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
    struct parent b = {.run = child_of(&a, 1)};
    b.epoch = claim_run(f, b.run);
    share_as(f, &b, ":c", 0);
    struct parent c = {.run = child_of(&b, 1)};
    c.epoch = claim_run(f, c.run);
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
    struct parent b = {.run = child_of(&a, 1)};
    b.epoch = claim_run(f, b.run);
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
    struct parent b = {.run = child_of(&a, 1)};
    b.epoch = claim_run(f, b.run);
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
    struct parent again = {.run = child_of(&b, 1)};
    again.epoch = claim_run(f, again.run);
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
        CASE(a_shared_child_is_one_run),
        CASE(a_long_run_is_not_joined),
        CASE(a_circle_is_not_closed),
        CASE(a_circle_through_a_parent_is_not_closed),
        CASE(who_has_ended_closes_no_circle),
        CASE(who_does_not_wait_closes_no_circle),
        CASE(who_can_go_on_closes_no_circle),
        CASE(circles_are_found_up_to_a_limit),
        CASE(a_call_made_again_fails_again),
        CASE(a_shared_child_that_fails_frees_its_key),
        CASE(a_detached_child_is_on_its_own),
        CASE(a_given_up_child_is_closed),
        CASE(a_deadline_is_inherited),
        CASE(another_pass_has_its_own_children),
        CASE(a_child_is_taken_up_in_time_or_ends),
        CASE(a_large_family_is_closed_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

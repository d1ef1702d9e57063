/* test_pipeline.c - the main road of a run through the store thread, ownership, parked runs. */
#include "support/pipeline_fixture.h"

/* ---- the main road --------------------------------------------------------------------------- */

/* Start, claim, finish; who waits is told, and the count of answered requests is exact. */
static void a_run_from_start_to_result(void **state)
{
    struct fixture *f = *state;
    struct msg_RESULT result;
    struct msg_STARTED started;
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .input = {input, sizeof(input)},
        .want_result = true);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &started);
    assert_true(started.created);
    assert_int_equal(f->answered[CLIENT], 0); /* the result is still owed */
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, WAIT, 5, .run = started.run, .timeout_ms = 60000);
    turn(f);
    assert_false(has_answer(f, CLIENT, 5));
    finish(f, started.run, epoch);
    turn(f);
    struct msg_ACK ack;
    expect(f, RUNTIME, 3, ACK, &ack);
    expect(f, CLIENT, 1, RESULT, &result);
    assert_int_equal(result.state, RUN_COMPLETED);
    assert_int_equal(result.output.size_bytes, 1);
    expect(f, CLIENT, 5, RESULT, &result);
    assert_int_equal(f->answered[CLIENT], 2);
    assert_int_equal(f->answered[RUNTIME], 1);
}

/* All that is ready together shares one commit. */
static void one_turn_is_one_commit(void **state)
{
    struct fixture *f = *state;
    uint64_t before = f->store->commits;
    for (uint32_t i = 0; i < 100; i++)
        ask_start(f, 100 + i, "");
    turn(f);
    assert_int_equal(f->offer_count, 100);
    assert_int_equal(f->store->commits, before + 1);
    turn(f); /* nothing to do: nothing is written */
    assert_int_equal(f->store->commits, before + 1);
}

/* A claim, a wait and a question write nothing. */
static void reading_commits_nothing(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t before = f->store->commits;
    (void)claim(f, RUNTIME);
    assert_int_equal(state_of(f, run), RUN_RUNNING);
    assert_int_equal(f->store->commits, before);
    pass_ms(f, LAG_MS_MAX + 1); /* a claim that lasts is written, so that lists say running */
    turn(f);
    assert_int_equal(f->store->commits, before + 1);
}

/* ---- starts ---------------------------------------------------------------------------------- */

static void one_key_is_one_run(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED first, second;
    ask_start(f, 1, "k");
    ask_start(f, 2, "k"); /* in the same unit */
    turn(f);
    expect(f, CLIENT, 1, STARTED, &first);
    struct aiki_id run = first.run;
    expect(f, CLIENT, 2, STARTED, &second);
    assert_true(id_equal(&run, &second.run) && !second.created);
    forget(f);
    ask_start(f, 3, "k"); /* after its commit */
    say(f, CLIENT, START, 4, .workflow = view_of("order"),
        .input = {other_input, sizeof(other_input)}, .key = view_of("k"));
    turn(f);
    expect(f, CLIENT, 3, STARTED, &second);
    assert_true(id_equal(&run, &second.run));
    expect_fault(f, CLIENT, 4, AIKI_CONFLICT, "KEY_TAKEN");
    assert_int_equal(f->offer_count, 0);
}

/* A start repeated because its answer was lost; the server may know the run from its store only. */
static void a_repeated_start_finds_its_run(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct aiki_id id = id_new();
    for (int round = 0; round < 3; round++) {
        say(f, CLIENT, START, 1, .workflow = view_of("order"), .input = {input, sizeof(input)},
            .run = id);
        ask_start(f, 2, ""); /* in the same unit; must not suffer from it */
        turn(f);
        expect(f, CLIENT, 1, STARTED, &m);
        assert_true(id_equal(&m.run, &id) && m.created);
        expect(f, CLIENT, 2, STARTED, &m);
        assert_true(m.created && !id_equal(&m.run, &id));
        forget(f);
        if (round == 1)
            restart(f);
    }
    say(f, CLIENT, START, 1, .workflow = view_of("order"),
        .input = {other_input, sizeof(other_input)}, .run = id);
    turn(f);
    expect_fault(f, CLIENT, 1, AIKI_CONFLICT, "RUN_ID_TAKEN");
}

static void ask_keyed(struct fixture *f, uint32_t correlation, const struct aiki_id *id, bool other,
                      uint64_t key_policy)
{
    say(f, CLIENT, START, correlation, .workflow = view_of("order"),
        .input = {other ? other_input : input, sizeof(input)}, .key = view_of("k"), .run = *id,
        .key_policy = key_policy);
    turn(f);
}

/* The run has lost its key to another since; whoever repeats its start is told of it all the same, from
 * memory and from the store. */
static void a_repeated_start_finds_a_run_without_its_key(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct aiki_id first = id_new(), second = id_new();
    ask_keyed(f, 1, &first, false, KEY_SAME);
    ask_keyed(f, 2, &second, true, KEY_REPLACE);
    expect(f, CLIENT, 2, STARTED, &m);
    assert_true(id_equal(&m.run, &second) && m.created);
    for (int round = 0; round < 2; round++) {
        forget(f);
        ask_keyed(f, 3, &first, false, KEY_SAME);
        expect(f, CLIENT, 3, STARTED, &m);
        assert_true(id_equal(&m.run, &first) && m.created);
        assert_int_equal(m.state, RUN_TERMINATED);
        restart(f);
    }
    /* It was not started with that key: it is another start. */
    say(f, CLIENT, START, 4, .workflow = view_of("order"), .input = {input, sizeof(input)},
        .key = view_of("another"), .run = first);
    turn(f);
    expect_fault(f, CLIENT, 4, AIKI_CONFLICT, "RUN_ID_TAKEN");
}

static void bad_starts_change_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint8_t junk[] = {0xc1};
    char key[KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    uint64_t before = f->store->commits;
    command(f, CLIENT, WIRE_START, 1, junk, sizeof(junk));
    say(f, CLIENT, START, 2, .workflow = view_of("nobody"));
    say(f, CLIENT, START, 3, .workflow = view_of("order"), .version = view_of("9.9.9"));
    say(f, CLIENT, START, 4, .workflow = view_of("order"), .input = {junk, sizeof(junk)});
    ask_start(f, 5, key);
    turn(f);
    expect_fault(f, CLIENT, 1, AIKI_CORRUPT, "CORRUPT");
    expect_fault(f, CLIENT, 2, AIKI_NOT_FOUND, "WORKFLOW_NOT_FOUND");
    expect_fault(f, CLIENT, 3, AIKI_NOT_FOUND, "VERSION_NOT_FOUND");
    expect_fault(f, CLIENT, 4, AIKI_INVALID, "BAD_PAYLOAD");
    expect_fault(f, CLIENT, 5, AIKI_LIMIT, "LIMIT");
    assert_int_equal(f->store->commits, before);
    assert_int_equal(f->p.cache.count, 0);
}

/* ---- ownership ------------------------------------------------------------------------------- */

/* A lease that ends: a new offer, and the former owner is fenced for good. */
static void an_expired_session_is_fenced(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    command(f, RUNTIME, COMMAND_EXPIRE, 0, NULL, 0);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    assert_true(f->offers[0].ticket.epoch > epoch);
    assert_int_equal(f->orphan_count, 1);
    finish(f, run, epoch);
    turn(f);
    expect_fault(f, RUNTIME, 3, AIKI_FENCED, "FENCED");
    open_session(f, RIVAL);
    serve(f, RIVAL, build);
    uint64_t next = claim(f, RIVAL);
    finish(f, run, epoch); /* still nobody, even though the run is owned again */
    ask_append(f, RIVAL, 4, &(struct said){.run = run, .epoch = next, .number = 1,
                                           .next = NEXT_FINISH, .kind = EVENT_COMPLETED});
    turn(f);
    expect_fault(f, RUNTIME, 3, AIKI_FENCED, "FENCED");
    struct msg_ACK ack;
    expect(f, RIVAL, 4, ACK, &ack);
}

/* After a restart every open run is offered under an epoch that no earlier ticket carries. */
static void a_restart_voids_what_was_handed_out(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    struct ticket old = f->offers[0].ticket;
    uint64_t epoch = claim(f, RUNTIME);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    say(f, RUNTIME, CLAIM, 2, .run = old.run, .epoch = old.epoch, .build = {build, HASH_BYTES});
    finish(f, run, epoch);
    command(f, 0, COMMAND_OFFER, 0, &(struct offer_scan){.stream = NULL},
            sizeof(struct offer_scan));
    turn(f);
    expect_fault(f, RUNTIME, 2, AIKI_STALE, "STALE");
    expect_fault(f, RUNTIME, 3, AIKI_FENCED, "FENCED");
    assert_true(f->scanned && f->scan.after_no == 0);
    assert_int_equal(f->offer_count, 1);
    assert_true(f->offers[0].ticket.epoch >> 32 == 2);
    forget_answers(f);
    epoch = claim(f, RUNTIME);
    finish(f, run, epoch);
    turn(f);
    struct msg_ACK ack;
    expect(f, RUNTIME, 3, ACK, &ack);
}

/* Tickets a dead consumer had read: only those that still stand are offered. */
static void only_valid_tickets_are_offered_again(void **state)
{
    struct fixture *f = *state;
    (void)start(f);
    struct ticket tickets[3] = {f->offers[0].ticket, f->offers[0].ticket, {.epoch = 1}};
    tickets[1].epoch--;
    forget(f);
    command(f, 0, COMMAND_TICKETS, 0, tickets, sizeof(tickets));
    turn(f);
    assert_int_equal(f->offer_count, 1);
    assert_int_equal(f->offers[0].ticket.epoch, tickets[0].epoch);
}

/* More runs than a page: the scan says where it goes on. */
static void a_scan_goes_page_by_page(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < SCAN_PAGE + 10; i++)
        ask_start(f, 1 + i, "");
    turn(f);
    forget(f);
    struct offer_scan scan = {.stream = NULL};
    command(f, 0, COMMAND_OFFER, 0, &scan, sizeof(scan));
    turn(f);
    assert_int_equal(f->offer_count, SCAN_PAGE);
    assert_true(f->scanned && f->scan.after_no > 0);
    scan = f->scan;
    forget(f);
    command(f, 0, COMMAND_OFFER, 0, &scan, sizeof(scan));
    turn(f);
    assert_int_equal(f->offer_count, 10);
    assert_true(f->scanned && f->scan.after_no == 0);
}

/* ---- parked runs ----------------------------------------------------------------------------- */

static void a_timer_wakes_a_parked_run(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    park(f, run, epoch, NULL, 5000);
    assert_int_equal(state_of(f, run), RUN_SLEEPING);
    pass_ms(f, 5001);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    assert_true(f->offers[0].ticket.epoch > epoch);
}

/* A timer outlives a restart, and a commit that the store refused. */
static void a_timer_is_not_lost(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    park(f, run, claim(f, RUNTIME), NULL, 5000);
    restart(f);
    pass_ms(f, 5001);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    assert_int_equal(f->offer_count, 0);
    pass_ms(f, RETRY_MS + 1);
    turn(f);
    assert_int_equal(f->offer_count, 1);
}

/* A timer and a signal in one turn whose commit is refused: the run still wakes. */
static void a_timer_shared_with_a_signal_is_not_lost(void **state)
{
    struct fixture *f = *state;
    struct msg_OK ok;
    struct aiki_id run = start(f);
    park(f, run, claim(f, RUNTIME), "go", 5000);
    pass_ms(f, 5001);
    say(f, CLIENT, SIGNAL, 8, .run = run, .name = view_of("other"), .payload = {input, 1});
    say(f, CLIENT, SIGNAL, 9, .run = run, .name = view_of("go"), .payload = {answer42, 1});
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    expect(f, CLIENT, 9, OK, &ok);
    turn(f);
    pass_ms(f, RETRY_MS + 1);
    turn(f);
    assert_true(f->offer_count >= 1);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
}

/* A signal with a reference counts once, also after a restart. */
static void a_signal_counts_once(void **state)
{
    struct fixture *f = *state;
    struct msg_OK ok;
    struct aiki_id run = start(f);
    park(f, run, claim(f, RUNTIME), "go", 0);
    for (int round = 0; round < 3; round++) {
        say(f, CLIENT, SIGNAL, 8, .run = run, .name = view_of("go"), .payload = {answer42, 1},
            .ref = view_of("r1"));
        turn(f);
        expect(f, CLIENT, 8, OK, &ok);
        assert_int_equal(ok.count, round == 0);
        assert_int_equal(f->offer_count, round == 0);
        forget(f);
        if (round == 1)
            restart(f);
    }
}

/* The owner is shown a signal, once it is on record. */
static void the_owner_is_shown_signals(void **state)
{
    struct fixture *f = *state;
    struct msg_NOTIFY m;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, SIGNAL, 8, .run = run, .name = view_of("go"), .payload = {answer42, 1});
    turn(f);
    expect(f, RUNTIME, 0, NOTIFY, &m);
    assert_int_equal(m.epoch, epoch);
    assert_int_equal(f->answered[RUNTIME], 0);
}

static uint64_t open_of(const struct fixture *f, const uint8_t *of_build)
{
    uint64_t open = 0;
    for (size_t i = 0; i < f->p.registry.flow_count; i++)
        open += flow_build_open(f->p.registry.flows[i], of_build);
    return open;
}

/* A build that blocked a run does not get it again; another one does. */
static void another_build_continues_a_blocked_run(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_BLOCK, .kind = EVENT_BLOCKED});
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    assert_int_equal(open_of(f, build), 0); /* it has executed nothing */
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(f->offer_count, 0);
    serve(f, RUNTIME, other_build);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
}

/* Open runs are counted by the build that executed them last: from its first append on, also
 * after a restart and a refused unit, until the run ends. */
static void open_runs_are_counted_by_build(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(open_of(f, build), 0);
    memory_store_fail_commit(f->store, AIKI_CONFLICT, 0);
    park(f, run, epoch, NULL, 60000);
    assert_int_equal(open_of(f, build), 1);
    assert_int_equal(open_of(f, other_build), 0);
    restart(f);
    assert_int_equal(open_of(f, build), 1);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, other_build);
    turn(f);
    forget(f);
    say(f, CLIENT, CONTROL, 9, .run = run, .action = CONTROL_WAKE);
    turn(f);
    assert_true(f->offer_count > 0);
    const struct ticket t = f->offers[f->offer_count - 1].ticket;
    say(f, RUNTIME, CLAIM, 2, .run = t.run, .epoch = t.epoch, .build = {other_build, HASH_BYTES});
    turn(f);
    assert_int_equal(open_of(f, build), 1);
    park(f, run, t.epoch, NULL, 60000);
    assert_int_equal(open_of(f, build), 0);
    assert_int_equal(open_of(f, other_build), 1);
    say(f, CLIENT, CONTROL, 9, .run = run, .action = CONTROL_TERMINATE);
    turn(f);
    assert_int_equal(open_of(f, other_build), 0);
}

/* A closed connection: its waits go with it and nobody is answered. */
static void a_closed_connection_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, WAIT, 5, .run = run, .timeout_ms = 60000);
    say(f, CLIENT, WAIT, 6, .run = run, .timeout_ms = 60000);
    turn(f);
    assert_int_equal(f->p.waiter_open_count, 2);
    command(f, CLIENT, COMMAND_FORGET, 5, NULL, 0);
    turn(f);
    assert_int_equal(f->p.waiter_open_count, 1);
    command(f, CLIENT, COMMAND_CLOSE, 0, NULL, 0);
    turn(f);
    assert_int_equal(f->p.waiter_open_count, 0);
    finish(f, run, epoch);
    turn(f);
    assert_false(has_answer(f, CLIENT, 5) || has_answer(f, CLIENT, 6));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_run_from_start_to_result),
        CASE(one_turn_is_one_commit),
        CASE(reading_commits_nothing),
        CASE(one_key_is_one_run),
        CASE(a_repeated_start_finds_its_run),
        CASE(a_repeated_start_finds_a_run_without_its_key),
        CASE(bad_starts_change_nothing),
        CASE(an_expired_session_is_fenced),
        CASE(a_restart_voids_what_was_handed_out),
        CASE(only_valid_tickets_are_offered_again),
        CASE(a_scan_goes_page_by_page),
        CASE(a_timer_wakes_a_parked_run),
        CASE(a_timer_is_not_lost),
        CASE(a_timer_shared_with_a_signal_is_not_lost),
        CASE(a_signal_counts_once),
        CASE(the_owner_is_shown_signals),
        CASE(another_build_continues_a_blocked_run),
        CASE(open_runs_are_counted_by_build),
        CASE(a_closed_connection_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

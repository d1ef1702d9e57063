/* test_pipeline_refused.c - commits that the store refuses, and reads that fail. */
#include "support/pipeline_fixture.h"

/* ---- refused commits ------------------------------------------------------------------------- */

/* A commit that fails once: the unit is decided again one by one and everybody gets an answer. */
static void a_refused_unit_is_decided_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    for (uint32_t i = 0; i < 10; i++)
        ask_start(f, 100 + i, "");
    turn(f);
    for (uint32_t i = 0; i < 10; i++)
        expect(f, CLIENT, 100 + i, STARTED, &m);
    assert_int_equal(f->offer_count, 10);
    assert_int_equal(f->answered[CLIENT], 10);
}

/* A full disk: who cannot be recorded is told to come again, and nothing is left of it. */
static void a_full_store_is_told_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct aiki_id known = id_new(), lost = id_new();
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    turn(f);
    restart(f);
    forget(f);
    /* The known id is a conflict for the unit; alone it is found, and the other one fails. */
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    say(f, CLIENT, START, 2, .workflow = view_of("order"), .run = lost, .want_result = true);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 1);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    expect_fault(f, CLIENT, 2, AIKI_UNAVAILABLE, "STORE_FULL");
    assert_int_equal(f->answered[CLIENT], 2);
    assert_int_equal(f->offer_count, 0);
    assert_null(cache_find(&f->p.cache, &lost));
    forget(f);
    say(f, CLIENT, START, 2, .workflow = view_of("order"), .run = lost);
    turn(f);
    expect(f, CLIENT, 2, STARTED, &m);
    assert_true(m.created && f->offer_count == 1);
}

/* So is a runtime whose build cannot be recorded: it does not serve, and does once it has asked again. */
static void a_full_store_registers_nothing(void **state)
{
    struct fixture *f = *state;
    struct msg_OK ok;
    open_session(f, RIVAL);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    serve(f, RIVAL, other_build);
    turn(f);
    expect_fault(f, RIVAL, 90, AIKI_UNAVAILABLE, "STORE_FULL");
    assert_int_equal(party_of(&f->p, peer(RIVAL))->session->plugin_count, 0);
    forget(f);
    uint64_t before = f->store->commits;
    serve(f, RIVAL, other_build);
    turn(f);
    expect(f, RIVAL, 90, OK, &ok);
    assert_int_equal(f->store->commits, before + 1);
    assert_int_equal(party_of(&f->p, peer(RIVAL))->session->plugin_count, 1);
}

/* What a refused registration said of a workflow that is known is forgotten: memory is as the record, which a
 * restart shows. */
static void a_refused_registration_changes_no_description(void **state)
{
    struct fixture *f = *state;
    open_session(f, RIVAL);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    serve(f, RIVAL, other_build);
    turn(f);
    expect_fault(f, RIVAL, 90, AIKI_UNAVAILABLE, "STORE_FULL");
    struct description said = registry_find(&f->p.registry, view_of("order"), view_of("1.0.0"))->said;
    assert_memory_equal(said.build, build, HASH_BYTES);
    restart(f);
    const struct description *again =
        &registry_find(&f->p.registry, view_of("order"), view_of("1.0.0"))->said;
    assert_memory_equal(again->build, said.build, HASH_BYTES);
    assert_int_equal(again->last_seen_at_ms, said.last_seen_at_ms);
    assert_int_equal(again->first_seen_at_ms, said.first_seen_at_ms);
}

/* Nor does a workflow begin that a restart would know nothing about. */
static void what_could_not_be_registered_is_not_started(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct msg_OK ok;
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    serve_workflow(f, RUNTIME, other_build, "refund");
    turn(f);
    expect_fault(f, RUNTIME, 90, AIKI_UNAVAILABLE, "STORE_FULL");
    say(f, CLIENT, START, 1, .workflow = view_of("refund"), .run = id_new());
    say(f, CLIENT, START, 2, .workflow = view_of("refund"), .version = view_of("1.0.0"), .run = id_new());
    turn(f);
    expect_fault(f, CLIENT, 1, AIKI_NOT_FOUND, "WORKFLOW_NOT_FOUND");
    expect_fault(f, CLIENT, 2, AIKI_NOT_FOUND, "WORKFLOW_NOT_FOUND");
    forget(f);
    serve_workflow(f, RUNTIME, other_build, "refund");
    say(f, CLIENT, START, 1, .workflow = view_of("refund"), .run = id_new());
    turn(f);
    expect(f, RUNTIME, 90, OK, &ok);
    expect(f, CLIENT, 1, STARTED, &m);
    assert_true(m.created);
}

/* A run that the store remembers and the cache does not: a second start of it is a conflict for its unit. */
static struct aiki_id start_known(struct fixture *f)
{
    struct aiki_id known = id_new();
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    turn(f);
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &known));
    forget(f);
    return known;
}

/* In one unit a run is terminated and its owner, who does not know, appends. The commit is refused: the run
 * goes on, and the owner must not have been told that it lost it. */
static void a_refusal_waits_for_the_commit_it_rests_on(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct aiki_id known = start_known(f);
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    /* The known id is a conflict for the unit; then the first that is decided alone fails. */
    say(f, CLIENT, START, 4, .workflow = view_of("order"), .run = known);
    say(f, CLIENT, CONTROL, 1, .run = run, .action = CONTROL_TERMINATE);
    finish(f, run, epoch);
    say(f, CLIENT, SIGNAL, 2, .run = run, .name = view_of("go")); /* refused for the same reason */
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 1);
    turn(f);
    expect(f, CLIENT, 4, STARTED, &m);
    expect_fault(f, CLIENT, 1, AIKI_UNAVAILABLE, "UNAVAILABLE");
    struct msg_ACK ack;
    expect(f, RUNTIME, 3, ACK, &ack);
    expect_fault(f, CLIENT, 2, AIKI_STALE, "RUN_ENDED"); /* it is by now, and that is committed */
    forget(f);
    assert_int_equal(state_of(f, run), RUN_COMPLETED);
}

/* ---- failed reads ---------------------------------------------------------------------------- */

static const struct store_ops *sound; /* of the store whose reads fail */
static struct store_ops flaky;
static int reads_left_to_fail;

static bool read_fails(aiki_error *err)
{
    if (reads_left_to_fail == 0)
        return false;
    reads_left_to_fail--;
    (void)error_set(err, AIKI_UNAVAILABLE, "the store is busy");
    return true;
}

static aiki_status flaky_find_run_no(struct store *s, uint64_t no, store_run_fn fn, void *arg,
                                     aiki_error *err)
{
    return read_fails(err) ? AIKI_UNAVAILABLE : sound->find_run_no(s, no, fn, arg, err);
}

static aiki_status flaky_journal(struct store *s, uint64_t no, uint64_t after_seq, uint64_t bytes_max,
                                 aiki_writer *w, uint64_t *ret_last_seq, aiki_error *err)
{
    return read_fails(err) ? AIKI_UNAVAILABLE
                           : sound->journal(s, no, after_seq, bytes_max, w, ret_last_seq, err);
}

static void make_flaky(struct fixture *f, int reads)
{
    sound = f->store->ops;
    flaky = *sound;
    flaky.find_run_no = flaky_find_run_no;
    flaky.journal = flaky_journal;
    f->store->ops = &flaky;
    reads_left_to_fail = reads;
}

/* Due, and its run cannot be read just then: it is not lost. */
static void a_timer_outlives_a_failed_read(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    park(f, run, claim(f, RUNTIME), NULL, 1000);
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &run));
    make_flaky(f, 1);
    forget(f);
    pass_ms(f, 1001);
    turn(f);
    assert_int_equal(f->offer_count, 0);
    assert_int_equal(reads_left_to_fail, 0);
    assert_true(timers_first_at_ms(&f->p.timers) != 0);
    pass_ms(f, RETRY_MS + 1);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    f->store->ops = sound;
}

/* Claimed, and its journal cannot be read just then: nobody owns it, it is not blocked, and the next claim
 * has it. */
static void a_claim_outlives_a_failed_read(void **state)
{
    struct fixture *f = *state;
    struct msg_CLAIMED m;
    struct aiki_id run = start(f);
    const struct ticket t = f->offers[0].ticket;
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &run));
    make_flaky(f, 1);
    say(f, RUNTIME, CLAIM, 2, .run = run, .epoch = t.epoch, .build = {build, HASH_BYTES});
    turn(f);
    expect_fault(f, RUNTIME, 2, AIKI_UNAVAILABLE, "UNAVAILABLE");
    forget(f);
    f->store->ops = sound;
    assert_int_equal(state_of(f, run), RUN_QUEUED);
    say(f, RUNTIME, CLAIM, 2, .run = run, .epoch = t.epoch + 1, .build = {build, HASH_BYTES});
    turn(f);
    expect(f, RUNTIME, 2, CLAIMED, &m);
}

static struct aiki_id never_read; /* the run whose children cannot be read */

static aiki_status flaky_children(struct store *s, const struct aiki_id *parent, uint64_t after_no,
                                  uint32_t limit, store_run_fn fn, void *arg, aiki_error *err)
{
    if (id_equal(parent, &never_read))
        return error_set(err, AIKI_CORRUPT, "their rows are damaged");
    return sound->children(s, parent, after_no, limit, fn, arg, err);
}

static struct aiki_id start_until(struct fixture *f, int64_t timeout_ms)
{
    struct aiki_id run = id_new();
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = run, .run_timeout_ms = timeout_ms);
    turn(f);
    forget(f);
    return run;
}

/* Two are due at the same time, and one of them can never be recorded: the other one is, before long. */
static void a_timer_is_not_held_up_by_another(void **state)
{
    struct fixture *f = *state;
    never_read = start_until(f, 1000);
    struct aiki_id other = start_until(f, 1000);
    cache_find(&f->p.cache, &never_read)->run.children = 1;
    sound = f->store->ops;
    flaky = *sound;
    flaky.children = flaky_children;
    f->store->ops = &flaky;
    pass_ms(f, 1001);
    turn(f);
    assert_int_equal(state_of(f, other), RUN_QUEUED); /* refused with the first */
    for (int i = 0; i < 4 * RETRY_MS && state_of(f, other) == RUN_QUEUED; i++) {
        pass_ms(f, 1);
        turn(f);
    }
    assert_int_equal(state_of(f, other), RUN_TIMED_OUT);
    assert_int_equal(state_of(f, never_read), RUN_QUEUED);
    f->store->ops = sound;
}

/* A build comes that lets a blocked run go on, and the disk is full: it does when there is room again. */
static void a_blocked_run_outlives_a_full_store(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = claim(f, RUNTIME), .number = 1,
                                             .next = NEXT_BLOCK, .kind = EVENT_BLOCKED});
    turn(f);
    forget(f);
    serve(f, RUNTIME, other_build);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 1); /* the build is recorded, that is all */
    turn(f);
    assert_int_equal(f->offer_count, 0);
    assert_int_equal(state_of(f, run), RUN_BLOCKED);
    assert_true(pipeline_deadline(&f->p) != 0);
    pass_ms(f, UNBLOCK_AGAIN_MS + 1);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
}

/* An append that was refused leaves its run as it was; the same append is then good. */
static void a_refused_append_can_be_repeated(void **state)
{
    struct fixture *f = *state;
    struct msg_ACK ack;
    struct msg_STARTED m;
    struct aiki_id known = start_known(f);
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    finish(f, run, epoch);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 1);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    expect_fault(f, RUNTIME, 3, AIKI_UNAVAILABLE, "UNAVAILABLE");
    forget(f);
    assert_int_equal(state_of(f, run), RUN_RUNNING);
    finish(f, run, epoch);
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_COMPLETED);
}

/* A wait that ends in the turn in which the run completes sees the end only if it is on record. */
static void a_wait_never_sees_what_is_not_committed(void **state)
{
    struct fixture *f = *state;
    struct msg_RESULT m;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, WAIT, 5, .run = run, .timeout_ms = 1000);
    turn(f);
    pass_ms(f, 1001);
    finish(f, run, epoch);
    uint64_t before = f->store->commits;
    turn(f);
    assert_true(f->store->commits > before);
    expect(f, CLIENT, 5, RESULT, &m);
    assert_int_equal(m.state, RUN_COMPLETED);
    assert_int_equal(f->answered[CLIENT], 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_refused_unit_is_decided_one_by_one),
        CASE(a_full_store_is_told_and_leaves_nothing),
        CASE(a_full_store_registers_nothing),
        CASE(a_refused_registration_changes_no_description),
        CASE(what_could_not_be_registered_is_not_started),
        CASE(a_refused_append_can_be_repeated),
        CASE(a_refusal_waits_for_the_commit_it_rests_on),
        CASE(a_timer_outlives_a_failed_read),
        CASE(a_claim_outlives_a_failed_read),
        CASE(a_timer_is_not_held_up_by_another),
        CASE(a_blocked_run_outlives_a_full_store),
        CASE(a_wait_never_sees_what_is_not_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

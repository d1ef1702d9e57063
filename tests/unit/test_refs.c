/* test_refs.c - references of signals and requests: what was taken counts once, what was refused may come again. */
#include "support/pipeline_fixture.h"

static void ask_signal(struct fixture *f, struct aiki_id run, uint32_t correlation, const char *ref)
{
    say(f, CLIENT, SIGNAL, correlation, .run = run, .name = view_of("paid"), .ref = view_of(ref));
}

/* 1: it counted; 0: it had come before. */
static uint64_t signal_once(struct fixture *f, struct aiki_id run, const char *ref)
{
    struct msg_OK ok;
    forget(f);
    ask_signal(f, run, 40, ref);
    turn(f);
    expect(f, CLIENT, 40, OK, &ok);
    return ok.count;
}

static const struct ref_set *known(struct fixture *f, struct aiki_id run)
{
    return cache_find(&f->p.cache, &run)->refs;
}

/* A run that the store knows and memory does not: a start of that id is a conflict for its unit. */
static struct aiki_id start_forgotten(struct fixture *f)
{
    struct aiki_id run = id_new();
    say(f, CLIENT, START, 45, .workflow = view_of("order"), .run = run);
    turn(f);
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &run));
    forget(f);
    return run;
}

/* A commit that was refused takes back what it brought and no more: the journal is not read again. */
static void a_refused_commit_takes_back_its_own(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED started;
    struct aiki_id forgotten = start_forgotten(f), run = start(f);
    (void)claim(f, RUNTIME);
    assert_int_equal(signal_once(f, run, "first"), 1);
    const struct ref_set *before = known(f, run);
    assert_int_equal(before->count, 1);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 1); /* of the signal alone */
    forget(f);
    say(f, CLIENT, START, 45, .workflow = view_of("order"), .run = forgotten);
    ask_signal(f, run, 41, "second");
    turn(f);
    expect(f, CLIENT, 45, STARTED, &started);
    expect_fault(f, CLIENT, 41, AIKI_UNAVAILABLE, "STORE_FULL");
    assert_ptr_equal(known(f, run), before);
    assert_int_equal(before->count, 1);
    assert_int_equal(signal_once(f, run, "second"), 1);
    assert_int_equal(signal_once(f, run, "first"), 0);
    assert_int_equal(signal_once(f, run, "second"), 0);
    assert_int_equal(known(f, run)->count, 2);
}

/* Learnt in the unit that is refused, behind something of it: what is known then may not be on record. */
static void what_was_learnt_in_a_refused_unit_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(signal_once(f, run, "first"), 1);
    entry_forget_refs(cache_find(&f->p.cache, &run)); /* as when it comes from the store */
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    forget(f);
    say(f, CLIENT, SIGNAL, 42, .run = run, .name = view_of("paid"));
    ask_signal(f, run, 43, "second");
    ask_signal(f, run, 44, "first");
    turn(f);
    struct msg_OK ok;
    expect(f, CLIENT, 42, OK, &ok);
    expect(f, CLIENT, 43, OK, &ok);
    assert_int_equal(ok.count, 1);
    expect(f, CLIENT, 44, OK, &ok);
    assert_int_equal(ok.count, 0);
    assert_int_equal(signal_once(f, run, "second"), 0);
    assert_int_equal(known(f, run)->count, 2);
    finish(f, run, epoch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(a_refused_commit_takes_back_its_own),
        CASE(what_was_learnt_in_a_refused_unit_is_forgotten),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

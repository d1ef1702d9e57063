/* test_refs.c - references of signals and requests: what was taken counts once, what was refused may come again,
 * and a long history costs no more than a short one. */
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

/* A commit that was refused takes back what it brought and no more. */
static void a_refused_commit_takes_back_its_own(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED started;
    struct aiki_id forgotten = start_forgotten(f), run = start(f);
    (void)claim(f, RUNTIME);
    assert_int_equal(signal_once(f, run, "first"), 1);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 1); /* of the signal alone */
    forget(f);
    say(f, CLIENT, START, 45, .workflow = view_of("order"), .run = forgotten);
    ask_signal(f, run, 41, "second");
    turn(f);
    expect(f, CLIENT, 45, STARTED, &started);
    expect_fault(f, CLIENT, 41, AIKI_UNAVAILABLE, "STORE_FULL");
    assert_int_equal(f->p.work.ref_count, 0);
    assert_int_equal(signal_once(f, run, "second"), 1);
    assert_int_equal(signal_once(f, run, "first"), 0);
    assert_int_equal(signal_once(f, run, "second"), 0);
}

/* Known from the unit at hand, which is refused and decided one by one: each counts once all the same. */
static void a_repeat_in_a_refused_unit_counts_once(void **state)
{
    struct fixture *f = *state;
    struct msg_OK ok;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(signal_once(f, run, "first"), 1);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    forget(f);
    say(f, CLIENT, SIGNAL, 41, .run = run, .name = view_of("paid"));
    ask_signal(f, run, 42, "second");
    ask_signal(f, run, 43, "second");
    ask_signal(f, run, 44, "first");
    turn(f);
    expect(f, CLIENT, 41, OK, &ok);
    expect(f, CLIENT, 42, OK, &ok);
    assert_int_equal(ok.count, 1);
    expect(f, CLIENT, 43, OK, &ok);
    assert_int_equal(ok.count, 0);
    expect(f, CLIENT, 44, OK, &ok);
    assert_int_equal(ok.count, 0);
    assert_int_equal(signal_once(f, run, "second"), 0);
    finish(f, run, epoch);
}

/* The store of the fixture, which counts how often a journal is read. */
static struct store_ops watched;
static size_t journals_read;

static aiki_status count_journal(struct store *s, uint64_t no, uint64_t after_seq, uint64_t bytes_max,
                                 aiki_writer *w, uint64_t *ret_last_seq, aiki_error *err)
{
    journals_read++;
    return store_memory.journal(s, no, after_seq, bytes_max, w, ret_last_seq, err);
}

static void ask_many(struct fixture *f, struct aiki_id run, int count)
{
    char ref[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(ref, sizeof(ref), "r%d", i);
        ask_signal(f, run, 40, ref);
    }
    turn(f);
    forget(f);
}

/* However long the history is, and though memory has forgotten the run: no journal is read for a reference. */
static void a_long_history_is_not_read(void **state)
{
    enum { SIGNALS = 3000 };
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    forget(f);
    ask_many(f, run, SIGNALS);
    assert_int_equal(cache_find(&f->p.cache, &run)->run.signals, SIGNALS);
    restart(f);
    watched = store_memory;
    watched.journal = count_journal;
    f->store->ops = &watched;
    journals_read = 0;
    assert_int_equal(signal_once(f, run, "r0"), 0);
    assert_int_equal(signal_once(f, run, "r2999"), 0);
    assert_int_equal(signal_once(f, run, "new"), 1);
    assert_int_equal(signal_once(f, run, "new"), 0);
    assert_int_equal(cache_find(&f->p.cache, &run)->run.signals, SIGNALS + 1);
    assert_int_equal(journals_read, 0);
    f->store->ops = &store_memory;
}

/* What is looked through by hand is no longer than UNIT_REFS: then it is committed. */
static void a_unit_brings_no_more_than_its_limit(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t before = f->store->commits;
    forget(f);
    ask_many(f, run, 2 * UNIT_REFS + 1);
    assert_int_equal(f->store->commits, before + 3);
    assert_int_equal(f->p.work.ref_count, 0);
    assert_int_equal(signal_once(f, run, "r0"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(a_refused_commit_takes_back_its_own),
        CASE(a_repeat_in_a_refused_unit_counts_once),
        CASE(a_long_history_is_not_read),
        CASE(a_unit_brings_no_more_than_its_limit),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

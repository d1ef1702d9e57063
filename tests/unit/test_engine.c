/* test_engine.c - the rules of a run's life: every transition, and a long random walk. */
#include "support/engine_fixture.h"

/* ---- all transitions ------------------------------------------------------------------------- */

/* The table of the drawing in engine.h: from each state, what each act makes of it; 0 = refused. */
static void every_transition(void **state)
{
    (void)state;
    enum { Q = RUN_QUEUED, R = RUN_RUNNING, S = RUN_SLEEPING, A = RUN_AWAITING_SIGNAL,
           B = RUN_BLOCKED, C = RUN_COMPLETED, H = RUN_AWAITING_CHILD, F = RUN_FAILED,
           X = RUN_CANCELLED, D = RUN_TERMINATED, P = RUN_PAUSED, L = RUN_SCHEDULED,
           O = RUN_TIMED_OUT };
    static const struct { uint32_t from; uint32_t to[ACTS]; } table[] = {
        /*  CLAIM  PARK   SIGNAL  UNBLOCK  PAUSE  CHILD
               CONT   REL    TIMER   CANCEL   RESUME EXPIRE DROP
                  FIN    BLOCK  LOSE    TERM     WAKE   RETRY */
        {Q, {R, 0, 0, 0, 0, 0, Q, 0, 0, 0, Q, D, P, Q, Q, Q, O, 0, 0}},
        {R, {0, R, C, S, Q, B, R, 0, Q, 0, R, D, R, R, R, R, O, 0, 0}},
        {S, {0, 0, 0, 0, 0, 0, S, Q, 0, 0, Q, D, P, S, Q, S, O, 0, 0}},
        {A, {0, 0, 0, 0, 0, 0, Q, 0, 0, 0, Q, D, P, A, Q, A, O, 0, 0}},
        {H, {0, 0, 0, 0, 0, 0, H, 0, 0, 0, Q, D, P, H, Q, Q, O, 0, 0}},
        {B, {0, 0, 0, 0, 0, 0, B, 0, 0, Q, B, D, B, B, B, B, O, 0, 0}},
        {P, {0, 0, 0, 0, 0, 0, P, 0, 0, 0, Q, D, P, Q, P, P, O, 0, 0}},
        {L, {0, 0, 0, 0, 0, 0, L, Q, 0, 0, X, D, P, L, Q, L, O, 0, 0}},
        {C, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
        {F, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, Q, F}},
        {X, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, Q, 0}},
        {O, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, Q, 0}},
        {D, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, D, 0, 0, 0, 0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int what = 0; what < ACTS; what++) {
            void *fixture;
            setup(&fixture);
            struct fixture *f = fixture;
            bring_to(f, table[i].from);
            struct run before = f->run;
            uint64_t journal_before = f->journal.size_bytes;
            f->run.deadline_ms = what == EXPIRE ? START_MS : 0;
            before = f->run;
            bool done = act(f, (enum act)what);
            uint32_t expected = table[i].to[what];
            assert_int_equal(done, expected != 0);
            assert_int_equal(f->run.state, expected != 0 ? expected : table[i].from);
            bool over = run_state_is_terminal(table[i].from);
            if (!done || (over && what != RETRY && what != DROP)) { /* a refusal changes nothing, nor does a repeat */
                assert_memory_equal(&f->run, &before, sizeof(before));
                assert_int_equal(f->journal.size_bytes, journal_before);
            }
            if (f->run.state == RUN_QUEUED && table[i].from != RUN_QUEUED)
                assert_true(f->effects.offer && f->run.epoch > before.epoch);
            if (f->run.state != RUN_QUEUED && what != CLAIM)
                assert_false(done && f->effects.offer);
            if (done && !over && run_state_is_terminal(f->run.state)) {
                assert_true(f->effects.finished && f->run.wake_at_ms == 0);
                assert_int_equal(f->effects.drop, what != FINISH && before.owner != 0);
            }
            teardown(&fixture);
        }
    }
}

/* ---- ownership ------------------------------------------------------------------------------- */

/* Who joined is told in one unit, so a run that is long already is not joined. */
static void a_long_run_is_not_joined(void **state)
{
    const struct engine_now now = {.at_ms = 5};
    const uint8_t empty[] = {0x90};
    struct engine_effects effects;
    aiki_writer events;
    struct run run = {.state = RUN_RUNNING, .seq = RUN_JOIN_EVENTS_MAX - 1};
    (void)state;
    buf_init(&events);
    assert_true(engine_join(&run, &now, (aiki_view){empty, 1}, &events, &effects));
    assert_int_equal(run.flags, RUN_FLAG_JOINED);
    assert_int_equal(run.seq, RUN_JOIN_EVENTS_MAX);
    assert_false(engine_join(&run, &now, (aiki_view){empty, 1}, &events, &effects));
    assert_int_equal(run.seq, RUN_JOIN_EVENTS_MAX);
    buf_deinit(&events);
}

/* Epochs lie above the incarnation and only rise. */
static void epochs_rise_above_the_incarnation(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->run.epoch, (3ull << 32) + 1);
    assert_true(claim(f));
    assert_true(engine_lose(&f->run, &f->now, &f->effects));
    assert_int_equal(f->run.epoch, (3ull << 32) + 2);
    f->now.epoch_floor = 4ull << 32;
    engine_adopt(&f->run, &f->now);
    assert_int_equal(f->run.epoch, (4ull << 32) + 1);
    engine_adopt(&f->run, &f->now); /* reading the same row again changes nothing */
    assert_int_equal(f->run.epoch, (4ull << 32) + 1);
}

/* The second claim of a ticket is refused, and so is one of an older epoch. */
static void a_ticket_is_good_for_one_claim(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = f->run.epoch;
    assert_true(claim(f));
    assert_false(engine_claim(&f->run, OTHER, epoch, &f->refusal));
    assert_int_equal(f->refusal.status, AIKI_STALE);
    assert_true(engine_lose(&f->run, &f->now, &f->effects));
    assert_false(engine_claim(&f->run, OTHER, epoch, &f->refusal));
    assert_true(engine_claim(&f->run, OTHER, f->run.epoch, &f->refusal));
}

/* Who lost the run writes nothing more, neither under the old epoch nor under the new one. */
static void former_owners_are_fenced(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    assert_true(append(f, NEXT_CONTINUE));
    uint64_t old = f->run.epoch;
    assert_true(engine_lose(&f->run, &f->now, &f->effects));
    assert_true(engine_claim(&f->run, OTHER, f->run.epoch, &f->refusal));
    add_event(f, EVENT_STEP_DONE);
    struct engine_append late = next_append(f, NEXT_CONTINUE);
    late.epoch = old;
    assert_false(send_append(f, &late));
    assert_int_equal(f->refusal.status, AIKI_FENCED);
    add_event(f, EVENT_STEP_DONE);
    late = next_append(f, NEXT_CONTINUE);
    late.number = 1;
    assert_false(send_append(f, &late));
    assert_int_equal(f->refusal.status, AIKI_FENCED);
}

/* The last append may be repeated, even when it ended the stay; others are out of order. */
static void a_repeated_append_changes_nothing(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    assert_true(append(f, NEXT_CONTINUE));
    add_event(f, EVENT_COMPLETED);
    struct engine_append last = next_append(f, NEXT_FINISH);
    assert_true(send_append(f, &last));
    uint64_t seq = f->run.seq;
    assert_true(send_append(f, &last));
    assert_true(f->effects.repeated);
    assert_int_equal(f->run.seq, seq);
    last.number = 1;
    assert_false(send_append(f, &last));
}

/* A run that is handed back by the number of an append that let it go on was not: its owner learns that, or
 * nobody would ever offer it again. */
static void a_number_of_another_append_ends_no_stay(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    assert_true(append(f, NEXT_CONTINUE));
    struct engine_append back = next_append(f, NEXT_RELEASE);
    back.number = f->number;
    assert_false(send_append(f, &back));
    assert_false(f->effects.repeated);
    assert_int_equal(f->refusal.status, AIKI_INVALID);
    assert_string_equal(f->refusal.code, "BAD_APPEND");
    back.number = f->number + 1;
    assert_true(send_append(f, &back));
    assert_int_equal(f->run.state, RUN_QUEUED);
    assert_true(f->effects.offer);
    back.number = f->number;
    assert_true(send_append(f, &back));
    assert_true(f->effects.repeated);
}

/* ---- appends --------------------------------------------------------------------------------- */

/* CLAIMED goes in front of the first append of an epoch and of no other. */
static void the_first_append_records_the_claim(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    assert_true(append(f, NEXT_CONTINUE));
    assert_int_equal(f->effects.recorded, 2);
    assert_true(append(f, NEXT_CONTINUE));
    assert_int_equal(f->effects.recorded, 1);
}

/* A stay that is handed back untouched leaves no trace. */
static void an_empty_release_records_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t seq = f->run.seq;
    assert_true(claim(f));
    struct engine_append a = next_append(f, NEXT_RELEASE);
    assert_true(send_append(f, &a));
    assert_int_equal(f->run.seq, seq);
    assert_true(f->effects.offer);
}

/* Events that do not fit the way the run goes on, or that are not the owner's to write. */
static void appends_that_contradict_themselves(void **state)
{
    struct fixture *f = *state;
    static const struct { uint64_t kind, next; } bad[] = {
        {EVENT_COMPLETED, NEXT_CONTINUE}, {EVENT_COMPLETED, NEXT_BLOCK},
        {EVENT_FAILED, NEXT_PARK},        {EVENT_BLOCKED, NEXT_FINISH},
        {EVENT_STEP_DONE, NEXT_FINISH},   {EVENT_STEP_DONE, NEXT_BLOCK},
        {EVENT_STARTED, NEXT_CONTINUE},   {EVENT_CLAIMED, NEXT_CONTINUE},
        {EVENT_SIGNAL, NEXT_CONTINUE},    {EVENT_UNBLOCKED, NEXT_CONTINUE},
        {0, NEXT_FINISH},                 {EVENT_STEP_DONE, 99},
    };
    assert_true(claim(f));
    struct run before = f->run;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (bad[i].kind != 0)
            add_event(f, bad[i].kind);
        struct engine_append a = next_append(f, bad[i].next);
        assert_false(send_append(f, &a));
        assert_int_equal(f->refusal.status, AIKI_INVALID);
        assert_true(strcmp(f->refusal.code, "BAD_APPEND") == 0 ||
                    strcmp(f->refusal.code, "BAD_EVENT") == 0);
        assert_memory_equal(&f->run, &before, sizeof(before));
    }
}

/* Bytes that are no events, and waits that are none. */
static void appends_that_do_not_decode(void **state)
{
    struct fixture *f = *state;
    static const uint8_t junk[][4] = {{0xc1}, {0x92, 0x05, 0xc0}, {0x93, 5, 0x90, 0}, {0xdd, 0xff}};
    assert_true(claim(f));
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        struct engine_append a = next_append(f, NEXT_CONTINUE);
        a.events = (aiki_view){junk[i], sizeof(junk[i])};
        assert_false(send_append(f, &a));
        assert_string_equal(f->refusal.code, "BAD_EVENT");
        a = next_append(f, NEXT_PARK);
        a.waits = (aiki_view){junk[i], sizeof(junk[i])};
        assert_false(send_append(f, &a));
    }
}

/* A park that could never end is refused. */
static void a_park_waits_for_something(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    struct engine_append a = next_append(f, NEXT_PARK);
    assert_false(send_append(f, &a));
    assert_string_equal(f->refusal.code, "BAD_WAITS");
}

/* A journal over the limit takes the event that ends the run, and no other. */
static void limits_leave_a_way_to_end(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    f->run.seq = RUN_EVENTS_MAX;
    assert_false(append(f, NEXT_CONTINUE));
    assert_int_equal(f->refusal.status, AIKI_LIMIT);
    assert_int_equal(f->refusal.limit, RUN_EVENTS_MAX);
    assert_false(signal_run(f, "go"));
    assert_int_equal(f->refusal.status, AIKI_LIMIT);
    assert_true(append(f, NEXT_FINISH));
    assert_int_equal(f->run.state, RUN_COMPLETED);
}

/* ---- property -------------------------------------------------------------------------------- */

/* Whatever is asked in whatever order: epochs and numbers rise, events are gap-free and in order
 * of time, an ended run stays ended, and only the owner of the epoch writes. */
static void random_walks_keep_the_rules(void **state)
{
    (void)state;
    unsigned seed = 20261121;
    for (int walk = 0; walk < 300; walk++) {
        void *fixture;
        setup(&fixture);
        struct fixture *f = fixture;
        for (int step = 0; step < 60; step++) {
            struct run before = f->run;
            f->now.at_ms += rand_r(&seed) % 50 - 5;
            f->number = f->run.appended;
            bool done = act(f, (enum act)(rand_r(&seed) % ACTS));
            assert_true(f->run.epoch >= before.epoch && f->run.seq >= before.seq);
            assert_true(f->run.updated_at_ms >= before.updated_at_ms);
            assert_int_equal(f->run.owner != 0, f->run.state == RUN_RUNNING);
            if (run_state_is_terminal(before.state))
                assert_false(done && f->run.seq != before.seq && f->run.state != RUN_QUEUED);
            if (f->run.state == RUN_QUEUED && before.state != RUN_QUEUED)
                assert_true(f->run.epoch > before.epoch);
        }
        aiki_reader r;
        struct event e;
        uint64_t seq = 0;
        int64_t at_ms = 0;
        aiki_reader_init(&r, aiki_writer_view(&f->journal));
        while (aiki_reader_left(&r) > 0) {
            assert_int_equal(aiki_mp_read_array(&r), 5);
            e.seq = aiki_mp_read_uint(&r);
            e.at_ms = aiki_mp_read_int(&r);
            for (int i = 0; i < 3; i++)
                (void)aiki_mp_skip(&r);
            assert_int_equal(e.seq, ++seq);
            assert_true(e.at_ms >= at_ms);
            at_ms = e.at_ms;
        }
        assert_int_equal(seq, f->run.seq);
        teardown(&fixture);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transition),
        CASE(a_long_run_is_not_joined),
        CASE(epochs_rise_above_the_incarnation),
        CASE(a_ticket_is_good_for_one_claim),
        CASE(former_owners_are_fenced),
        CASE(a_repeated_append_changes_nothing),
        CASE(a_number_of_another_append_ends_no_stay),
        CASE(the_first_append_records_the_claim),
        CASE(an_empty_release_records_nothing),
        CASE(appends_that_contradict_themselves),
        CASE(appends_that_do_not_decode),
        CASE(a_park_waits_for_something),
        CASE(limits_leave_a_way_to_end),
        cmocka_unit_test(random_walks_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

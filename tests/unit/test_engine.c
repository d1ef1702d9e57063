/* test_engine.c - the rules of a run's life: every transition, and a long random walk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "wire/event.h"
#include "wire/message.h"

enum { OWNER = 7, OTHER = 8, START_MS = 1000 };

struct fixture {
    struct run run;
    struct engine_now now;
    struct engine_effects effects;
    struct engine_refusal refusal;
    aiki_writer journal, events, waits;
    uint64_t number; /* of the last append */
};

static const uint8_t body[] = {0x91, 0xc0}; /* [nil] */
static const aiki_view empty_body = {body, sizeof(body)};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->now = (struct engine_now){.at_ms = START_MS, .epoch_floor = 3ull << 32};
    buf_init(&f->journal);
    buf_init(&f->events);
    buf_init(&f->waits);
    engine_start(&f->run, &f->now, empty_body, &f->journal, &f->effects);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    buf_deinit(&f->journal);
    buf_deinit(&f->events);
    buf_deinit(&f->waits);
    free(f);
    return 0;
}

/* ---- what a runtime does --------------------------------------------------------------------- */

static void add_event(struct fixture *f, uint64_t kind)
{
    aiki_mp_array(&f->events, 2);
    aiki_mp_uint(&f->events, kind);
    aiki_mp_raw(&f->events, body, sizeof(body));
}

static bool claim(struct fixture *f)
{
    f->number = 0;
    return engine_claim(&f->run, OWNER, f->run.epoch, &f->refusal);
}

static struct engine_append next_append(struct fixture *f, uint64_t next)
{
    return (struct engine_append){.session = OWNER,
                                  .epoch = f->run.epoch,
                                  .number = f->number + 1,
                                  .next = next,
                                  .seen = f->run.signals,
                                  .waits = aiki_writer_view(&f->waits),
                                  .events = aiki_writer_view(&f->events),
                                  .claim_body = empty_body};
}

static bool send(struct fixture *f, const struct engine_append *a)
{
    bool done = engine_append(&f->run, &f->now, a, &f->journal, &f->effects, &f->refusal);
    if (done && !f->effects.repeated)
        f->number = a->number;
    f->events.size_bytes = f->waits.size_bytes = 0;
    return done;
}

/* One append with the event that `next` asks for. */
static bool append(struct fixture *f, uint64_t next)
{
    add_event(f, next == NEXT_FINISH  ? EVENT_COMPLETED
                 : next == NEXT_BLOCK ? EVENT_BLOCKED
                                      : EVENT_STEP_DONE);
    struct engine_append a = next_append(f, next);
    if (next == NEXT_PARK)
        a.wake_at_ms = f->now.at_ms + 100;
    return send(f, &a);
}

static void add_wait(struct fixture *f, uint64_t kind, const char *name)
{
    const struct wait w = {.kind = kind, .name = view_of(name), .due_at_ms = 0, .since_ms = 1};
    aiki_mp_array(&f->waits, 1);
    wait_write(&f->waits, &w);
}

static bool park_for_signal(struct fixture *f, const char *name)
{
    add_wait(f, STEP_SIGNAL, name);
    struct engine_append a = next_append(f, NEXT_PARK);
    /* The run keeps looking at the waits: they must outlive the append. */
    static uint8_t kept[256];
    assert_true(a.waits.size_bytes <= sizeof(kept));
    memcpy(kept, a.waits.data, a.waits.size_bytes);
    a.waits.data = kept;
    return send(f, &a);
}

static bool signal_run(struct fixture *f, const char *name)
{
    return engine_signal(&f->run, &f->now, view_of(name), empty_body, &f->journal, &f->effects,
                         &f->refusal);
}

/* ---- all transitions ------------------------------------------------------------------------- */

/* Bring a fresh run into that state. */
static void bring_to(struct fixture *f, uint32_t state)
{
    if (state == RUN_QUEUED)
        return;
    assert_true(claim(f));
    if (state == RUN_SLEEPING)
        assert_true(append(f, NEXT_PARK));
    else if (state == RUN_AWAITING_SIGNAL)
        assert_true(park_for_signal(f, "go"));
    else if (state == RUN_BLOCKED)
        assert_true(append(f, NEXT_BLOCK));
    else if (state == RUN_COMPLETED)
        assert_true(append(f, NEXT_FINISH));
    assert_int_equal(f->run.state, state);
}

enum act { CLAIM, CONTINUE, FINISH, PARK, RELEASE, BLOCK, SIGNAL, WAKE, LOSE, UNBLOCK, ACTS };

static bool act(struct fixture *f, enum act what)
{
    static const uint64_t next_of[] = {[CONTINUE] = NEXT_CONTINUE,
                                       [FINISH] = NEXT_FINISH,
                                       [PARK] = NEXT_PARK,
                                       [RELEASE] = NEXT_RELEASE,
                                       [BLOCK] = NEXT_BLOCK};
    switch (what) {
    case CLAIM: return claim(f);
    case SIGNAL: return signal_run(f, "go");
    case WAKE: f->now.at_ms += 1000; return engine_wake(&f->run, &f->now, &f->effects);
    case LOSE: return engine_lose(&f->run, &f->now, &f->effects);
    case UNBLOCK:
        return engine_unblock(&f->run, &f->now, empty_body, &f->journal, &f->effects);
    default: return append(f, next_of[what]);
    }
}

/* The table of the drawing in engine.h: from each state, what each act makes of it; 0 = refused. */
static void every_transition(void **state)
{
    (void)state;
    enum { Q = RUN_QUEUED, R = RUN_RUNNING, S = RUN_SLEEPING, A = RUN_AWAITING_SIGNAL,
           B = RUN_BLOCKED, C = RUN_COMPLETED };
    static const struct { uint32_t from; uint32_t to[ACTS]; } table[] = {
        /*  CLAIM CONT FIN PARK REL BLOCK SIGNAL WAKE LOSE UNBLOCK */
        {Q, {R,   0,   0,  0,   0,  0,    Q,     0,   0,   0}},
        {R, {0,   R,   C,  S,   Q,  B,    R,     0,   Q,   0}},
        {S, {0,   0,   0,  0,   0,  0,    S,     Q,   0,   0}},
        {A, {0,   0,   0,  0,   0,  0,    Q,     0,   0,   0}},
        {B, {0,   0,   0,  0,   0,  0,    B,     0,   0,   Q}},
        {C, {0,   0,   0,  0,   0,  0,    0,     0,   0,   0}},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int what = 0; what < ACTS; what++) {
            void *fixture;
            setup(&fixture);
            struct fixture *f = fixture;
            bring_to(f, table[i].from);
            struct run before = f->run;
            uint64_t journal_before = f->journal.size_bytes;
            bool done = act(f, (enum act)what);
            uint32_t expected = table[i].to[what];
            assert_int_equal(done, expected != 0);
            assert_int_equal(f->run.state, expected != 0 ? expected : table[i].from);
            if (!done) { /* a refusal changes nothing */
                assert_memory_equal(&f->run, &before, sizeof(before));
                assert_int_equal(f->journal.size_bytes, journal_before);
            }
            if (f->run.state == RUN_QUEUED && table[i].from != RUN_QUEUED)
                assert_true(f->effects.offer && f->run.epoch > before.epoch);
            teardown(&fixture);
        }
    }
}

/* ---- ownership ------------------------------------------------------------------------------- */

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
    assert_false(send(f, &late));
    assert_int_equal(f->refusal.status, AIKI_FENCED);
    add_event(f, EVENT_STEP_DONE);
    late = next_append(f, NEXT_CONTINUE);
    late.number = 1;
    assert_false(send(f, &late));
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
    assert_true(send(f, &last));
    uint64_t seq = f->run.seq;
    assert_true(send(f, &last));
    assert_true(f->effects.repeated);
    assert_int_equal(f->run.seq, seq);
    last.number = 1;
    assert_false(send(f, &last));
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
    assert_true(send(f, &a));
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
        assert_false(send(f, &a));
        assert_int_equal(f->refusal.status, AIKI_INVALID);
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
        assert_false(send(f, &a));
        a = next_append(f, NEXT_PARK);
        a.waits = (aiki_view){junk[i], sizeof(junk[i])};
        assert_false(send(f, &a));
    }
}

/* A park that could never end is refused. */
static void a_park_waits_for_something(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    struct engine_append a = next_append(f, NEXT_PARK);
    assert_false(send(f, &a));
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

/* ---- signals and time ------------------------------------------------------------------------ */

/* A signal that came while the code decided to wait: it looks again instead of sleeping. */
static void a_park_that_missed_a_signal_goes_on(void **state)
{
    struct fixture *f = *state;
    assert_true(claim(f));
    add_event(f, EVENT_STEP_BEGUN);
    struct engine_append a = next_append(f, NEXT_PARK);
    a.wake_at_ms = START_MS + 60000;
    assert_true(signal_run(f, "go"));
    assert_true(f->effects.notify);
    assert_true(send(f, &a));
    assert_int_equal(f->run.state, RUN_QUEUED);
    assert_true(f->effects.offer);
}

/* Only the signal that is waited for wakes. */
static void another_signal_does_not_wake(void **state)
{
    struct fixture *f = *state;
    bring_to(f, RUN_AWAITING_SIGNAL);
    assert_true(signal_run(f, "no"));
    assert_int_equal(f->run.state, RUN_AWAITING_SIGNAL);
    assert_true(signal_run(f, "go"));
    assert_int_equal(f->run.state, RUN_QUEUED);
    assert_int_equal(f->run.waits.size_bytes, 0);
}

/* A timer that rings early, or after the run went on, does nothing. */
static void a_timer_wakes_when_due(void **state)
{
    struct fixture *f = *state;
    bring_to(f, RUN_SLEEPING);
    assert_false(engine_wake(&f->run, &f->now, &f->effects));
    f->now.at_ms = f->run.wake_at_ms;
    assert_true(engine_wake(&f->run, &f->now, &f->effects));
    assert_false(engine_wake(&f->run, &f->now, &f->effects));
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
                assert_false(done && f->run.seq != before.seq);
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
        CASE(epochs_rise_above_the_incarnation),
        CASE(a_ticket_is_good_for_one_claim),
        CASE(former_owners_are_fenced),
        CASE(a_repeated_append_changes_nothing),
        CASE(the_first_append_records_the_claim),
        CASE(an_empty_release_records_nothing),
        CASE(appends_that_contradict_themselves),
        CASE(appends_that_do_not_decode),
        CASE(a_park_waits_for_something),
        CASE(limits_leave_a_way_to_end),
        CASE(a_park_that_missed_a_signal_goes_on),
        CASE(another_signal_does_not_wake),
        CASE(a_timer_wakes_when_due),
        cmocka_unit_test(random_walks_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

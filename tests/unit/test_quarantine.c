/* test_quarantine.c - code of a build that crashes too often: counted, on record, told, lifted. */
#include "support/pipeline_fixture.h"

static int setup_counting(void **state)
{
    int result = setup(state);
    struct fixture *f = *state;
    f->p.quarantine.crashes_max = 2;
    f->p.quarantine.window_ms = 60000;
    return result;
}

/* A charged crash of task "pay", as its broker reports it. */
static void crash(struct fixture *f, struct aiki_id run, uint64_t epoch)
{
    aiki_error why = {.struct_size = sizeof(why)};
    aiki_writer events, error;
    buf_init(&events);
    buf_init(&error);
    (void)error_code(&why, AIKI_CRASHED, "CRASH_SIGNAL", "it is gone");
    error_write(&error, &why);
    event_write_new(&events, &(struct event){.kind = EVENT_CRASHED,
                                             .as.crashed = {.attempt = 1,
                                                            .charged = true,
                                                            .name = view_of("pay"),
                                                            .build = {build, HASH_BYTES},
                                                            .error = aiki_writer_view(&error)}});
    say(f, RUNTIME, APPEND, 3, .run = run, .epoch = epoch, .number = 1, .next = NEXT_RELEASE,
        .events = aiki_writer_view(&events));
    turn(f);
    buf_deinit(&events);
    buf_deinit(&error);
}

static void crash_new(struct fixture *f)
{
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    crash(f, run, epoch);
}

/* What that runtime was pushed about it since the last look: -1 nothing. */
static int told(struct fixture *f, uint32_t who)
{
    int on = -1;
    for (size_t i = 0; i < f->answer_count; i++) {
        const struct answer *a = &f->answers[i];
        struct msg_QUARANTINE m;
        if (a->peer != peer(who) || a->type != WIRE_QUARANTINE)
            continue;
        assert_int_equal(msg_QUARANTINE_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), AIKI_OK);
        assert_true(view_is(m.name, "pay") && !m.workflow);
        on = m.on;
    }
    forget(f);
    return on;
}

static void ask_to_lift(struct fixture *f)
{
    uint8_t memory[32];
    aiki_writer args;
    aiki_writer_init_fixed(&args, memory, sizeof(memory));
    aiki_mp_map(&args, 1);
    aiki_mp_str(&args, "build");
    char digits[9];
    (void)snprintf(digits, sizeof(digits), "%02x%02x%02x%02x", build[0], build[1], build[2], build[3]);
    aiki_mp_str(&args, digits);
    say(f, CLIENT, QUERY, 5, .what = view_of("plugins.unquarantine"), .args = aiki_writer_view(&args));
    turn(f);
}

static void lift(struct fixture *f)
{
    ask_to_lift(f);
    (void)answer_to(f, CLIENT, 5, WIRE_DOCUMENT);
}

/* Two runs must have crashed; then all who have the build are told, those that come later, too, and a
 * restart does not forget it. */
static void what_crashes_is_quarantined(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    crash(f, run, epoch);
    epoch = claim(f, RUNTIME);
    crash(f, run, epoch);
    assert_int_equal(told(f, RUNTIME), -1); /* one poisoned input */
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
    open_session(f, RIVAL);
    serve(f, RIVAL, build);
    turn(f);
    assert_int_equal(told(f, RIVAL), true);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(told(f, RUNTIME), true);
}

/* A crash that the store refuses to record at first counts once it is on record, and once. */
static void what_is_not_on_record_does_not_count(void **state)
{
    struct fixture *f = *state;
    f->p.quarantine.crashes_max = 3;
    crash_new(f);
    forget(f);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 1); /* behind the start: the crash */
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), -1);
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
}

/* A runtime that has no such build at the moment, and may have it again in this session, is told, too. */
static void a_lift_is_told_to_all(void **state)
{
    struct fixture *f = *state;
    crash_new(f);
    forget(f);
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
    say(f, RUNTIME, UNREGISTER, 6, .build = {build, HASH_BYTES});
    turn(f);
    forget(f);
    lift(f);
    assert_int_equal(told(f, RUNTIME), false);
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(told(f, RUNTIME), -1);
}

/* Who asks for a lift that cannot be recorded is told to come again, and nothing is lifted until then. */
static void a_full_store_lifts_nothing(void **state)
{
    struct fixture *f = *state;
    crash_new(f);
    forget(f);
    crash_new(f);
    assert_int_equal(told(f, RUNTIME), true);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    ask_to_lift(f);
    expect_fault(f, CLIENT, 5, AIKI_UNAVAILABLE, "STORE_FULL");
    assert_int_equal(told(f, RUNTIME), -1);
    assert_int_equal(f->p.quarantine.count, 1);
    lift(f);
    assert_int_equal(told(f, RUNTIME), false);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_counting, teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_crashes_is_quarantined),
        CASE(a_lift_is_told_to_all),
        CASE(a_full_store_lifts_nothing),
        CASE(what_is_not_on_record_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_pipeline.c - the store thread's turns on the memory store, with a clock the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "pipeline.h"
#include "store/memory.h"
#include "wire/error.h"

enum { ANSWERS_MAX = 8192, CLIENT = 1, RUNTIME = 2, RIVAL = 3 };

struct answer {
    peer_id peer;
    uint32_t type, correlation;
    uint8_t *payload;
    uint64_t size_bytes;
};

struct fixture {
    char url[40];
    uv_loop_t loop;
    struct mailbox mailbox;
    struct store *store;
    struct pipeline p;
    struct batch *batch;
    struct answer answers[ANSWERS_MAX];
    size_t answer_count;
    uint64_t answered[4]; /* requests counted as answered, by peer */
    struct offer offers[ANSWERS_MAX];
    size_t offer_count;
    size_t orphan_count;
    struct offer_scan scan;
    bool scanned;
};

static peer_id peer(uint32_t who) { return peer_make(1, who); }

/* ---- what comes back ------------------------------------------------------------------------- */

static void keep_frames(struct fixture *f, const struct parcel *parcel)
{
    aiki_view bytes = aiki_writer_view(&parcel->frames);
    struct frame frame;
    uint64_t size;
    f->answered[peer_slot(parcel->peer)] += parcel->answered;
    while (frame_read(bytes, &frame, &size, NULL) == AIKI_OK) {
        assert_true(f->answer_count < ANSWERS_MAX);
        struct answer *a = &f->answers[f->answer_count++];
        *a = (struct answer){.peer = parcel->peer,
                             .type = frame.type,
                             .correlation = frame.correlation,
                             .payload = malloc(frame.payload.size_bytes + 1),
                             .size_bytes = frame.payload.size_bytes};
        memcpy(a->payload, frame.payload.data, frame.payload.size_bytes);
        bytes.data += size;
        bytes.size_bytes -= size;
    }
    assert_int_equal(bytes.size_bytes, 0);
}

static void on_outcomes(void *arg, struct mail *list)
{
    struct fixture *f = arg;
    for (struct mail *m = list, *next; m != NULL; m = next) {
        struct outcome *o = container_of(m, struct outcome, mail);
        next = m->next;
        for (size_t i = 0; i < o->parcel_count; i++)
            keep_frames(f, &o->parcels[i]);
        for (size_t i = 0; i < o->offer_count; i++)
            f->offers[f->offer_count++] = o->offers[i];
        f->orphan_count += o->orphan_count;
        if (o->scanned) {
            f->scanned = true;
            f->scan = o->scan;
        }
        outcome_destroy(o);
    }
}

static void forget_answers(struct fixture *f)
{
    for (size_t i = 0; i < f->answer_count; i++)
        free(f->answers[i].payload);
    f->answer_count = 0;
}

static void forget(struct fixture *f)
{
    forget_answers(f);
    f->offer_count = f->orphan_count = 0;
    memset(f->answered, 0, sizeof(f->answered));
    f->scanned = false;
}

/* ---- what goes in ---------------------------------------------------------------------------- */

static void command(struct fixture *f, uint32_t who, uint32_t type, uint32_t correlation,
                    const void *payload, size_t size_bytes)
{
    if (f->batch == NULL)
        f->batch = batch_create();
    batch_add(f->batch, who == 0 ? 0 : peer(who), type, correlation,
              (aiki_view){payload, size_bytes});
}

#define say(f, who, NAME, correlation, ...)                                               \
    do {                                                                                  \
        const struct msg_##NAME m_ = {__VA_ARGS__};                                       \
        aiki_writer w_;                                                                   \
        buf_init(&w_);                                                                    \
        msg_##NAME##_write(&w_, &m_);                                                     \
        command(f, who, WIRE_##NAME, correlation, w_.data, (size_t)w_.size_bytes);        \
        buf_deinit(&w_);                                                                  \
    } while (0)

/* One turn of the store thread; what it posts is delivered. */
static void turn(struct fixture *f)
{
    struct mail *list = f->batch != NULL ? &f->batch->mail : NULL;
    if (list != NULL)
        list->next = NULL;
    f->batch = NULL;
    pipeline_turn(&f->p, list);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void pass_ms(struct fixture *f, int64_t ms)
{
    f->p.clock.base_ms += ms;
}

/* The only answer to that request since the last look, of that type. */
static const struct answer *answer_to(struct fixture *f, uint32_t who, uint32_t correlation,
                                      uint32_t type)
{
    const struct answer *found = NULL;
    for (size_t i = 0; i < f->answer_count; i++) {
        const struct answer *a = &f->answers[i];
        if (a->peer != peer(who) || a->correlation != correlation)
            continue;
        if (a->type == type && found == NULL)
            found = a;
        else if (a->type == WIRE_FAULT && type != WIRE_FAULT) {
            struct msg_FAULT m;
            aiki_error err = {.struct_size = sizeof(err)};
            assert_int_equal(msg_FAULT_read((aiki_view){a->payload, a->size_bytes}, &m, NULL), 0);
            (void)error_read(m.error, &err, NULL, NULL);
            fail_msg("request %u is refused: %s %s", correlation, err.code, err.message);
        }
    }
    if (found == NULL)
        fail_msg("request %u has no answer of type %s", correlation, wire_type_name(type));
    return found;
}

static bool has_answer(const struct fixture *f, uint32_t who, uint32_t correlation)
{
    for (size_t i = 0; i < f->answer_count; i++)
        if (f->answers[i].peer == peer(who) && f->answers[i].correlation == correlation)
            return true;
    return false;
}

#define expect(f, who, correlation, NAME, m)                                             \
    do {                                                                                 \
        const struct answer *a_ = answer_to(f, who, correlation, WIRE_##NAME);           \
        assert_int_equal(                                                                \
            msg_##NAME##_read((aiki_view){a_->payload, a_->size_bytes}, m, NULL), 0);    \
    } while (0)

static void expect_fault(struct fixture *f, uint32_t who, uint32_t correlation,
                         aiki_status status, const char *code)
{
    struct msg_FAULT m;
    aiki_error err = {.struct_size = sizeof(err)};
    expect(f, who, correlation, FAULT, &m);
    assert_int_equal(m.status, status);
    assert_int_equal(error_read(m.error, &err, NULL, NULL), AIKI_OK);
    assert_string_equal(err.code, code);
}

/* ---- fixture --------------------------------------------------------------------------------- */

static const uint8_t build[HASH_BYTES] = {1}, other_build[HASH_BYTES] = {2};
static const uint8_t input[] = {0x81, 0xa1, 'a', 1}, other_input[] = {0x81, 0xa1, 'a', 2};
static const uint8_t answer42[] = {42};

static void put_descriptor(aiki_writer *w)
{
    aiki_mp_map(w, 7);
    aiki_mp_str(w, "name"); aiki_mp_str(w, "plug");
    aiki_mp_str(w, "version"); aiki_mp_str(w, "1.0.0");
    aiki_mp_str(w, "language"); aiki_mp_str(w, "c");
    aiki_mp_str(w, "toolchain"); aiki_mp_str(w, "cc");
    aiki_mp_str(w, "abi"); aiki_mp_array(w, 2); aiki_mp_uint(w, 1); aiki_mp_uint(w, 0);
    aiki_mp_str(w, "tasks"); aiki_mp_array(w, 0);
    aiki_mp_str(w, "workflows"); aiki_mp_array(w, 1);
    aiki_mp_map(w, 5);
    aiki_mp_str(w, "name"); aiki_mp_str(w, "order");
    aiki_mp_str(w, "version"); aiki_mp_str(w, "1.0.0");
    aiki_mp_str(w, "summary"); aiki_mp_str(w, "");
    aiki_mp_str(w, "input"); aiki_mp_nil(w);
    aiki_mp_str(w, "output"); aiki_mp_nil(w);
}

static void serve(struct fixture *f, uint32_t who, const uint8_t *with_build)
{
    aiki_writer d;
    buf_init(&d);
    put_descriptor(&d);
    say(f, who, REGISTER, 90, .build = {with_build, HASH_BYTES}, .file = view_of("order.so"),
        .descriptor = aiki_writer_view(&d));
    buf_deinit(&d);
}

static void open_session(struct fixture *f, uint32_t who)
{
    struct session_open open = {.id = id_new(), .name = "rt", .slots = 10};
    command(f, who, COMMAND_OPEN, 0, &open, sizeof(open));
}

static void start_server(struct fixture *f, const char *url)
{
    assert_int_equal(store_open(&f->store, url, NULL), AIKI_OK);
    pipeline_init(&f->p, f->store, "test", &f->mailbox);
    assert_int_equal(pipeline_restore(&f->p, NULL), AIKI_OK);
}

static void stop_server(struct fixture *f)
{
    pipeline_deinit(&f->p);
    store_close(f->store);
}

static int setup(void **state)
{
    static int count;
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_true(sodium_init() >= 0);
    log_init("test", LOG_ERROR + 1);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(mailbox_init(&f->mailbox, &f->loop, on_outcomes, f), 0);
    (void)snprintf(f->url, sizeof(f->url), "memory:pipeline-%d", ++count);
    start_server(f, f->url);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    struct msg_OK ok;
    expect(f, RUNTIME, 90, OK, &ok);
    forget(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    forget(f);
    batch_destroy(f->batch);
    stop_server(f);
    memory_store_wipe(f->url + sizeof("memory:") - 1);
    mailbox_close(&f->mailbox, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

static void restart(struct fixture *f)
{
    stop_server(f);
    start_server(f, f->url);
}

/* ---- steps that many cases take -------------------------------------------------------------- */

static void ask_start(struct fixture *f, uint32_t correlation, const char *key)
{
    say(f, CLIENT, START, correlation, .workflow = view_of("order"),
        .input = {input, sizeof(input)}, .key = view_of(key));
}

/* A started run and its offer. */
static struct aiki_id start(struct fixture *f)
{
    struct msg_STARTED m;
    ask_start(f, 1, "");
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    assert_int_equal(f->offer_count, 1);
    assert_true(id_equal(&f->offers[0].ticket.run, &m.run));
    return m.run;
}

/* Takes the latest offer. */
static uint64_t claim(struct fixture *f, uint32_t who)
{
    struct msg_CLAIMED m;
    assert_true(f->offer_count > 0);
    const struct ticket t = f->offers[f->offer_count - 1].ticket;
    say(f, who, CLAIM, 2, .run = t.run, .epoch = t.epoch, .build = {build, HASH_BYTES});
    turn(f);
    expect(f, who, 2, CLAIMED, &m);
    assert_true(m.journal.size_bytes > 0);
    forget(f);
    return m.epoch;
}

struct said {
    struct aiki_id run;
    uint64_t epoch, number, next, seen;
    int64_t wake_at_ms;
    uint64_t kind;             /* EVENT_* or 0 */
    const char *wait_signal;   /* parks for it */
};

static void ask_append(struct fixture *f, uint32_t who, uint32_t correlation, const struct said *s)
{
    aiki_writer events, waits, error;
    aiki_error why = {.struct_size = sizeof(why)};
    struct event e = {.kind = s->kind};
    buf_init(&events);
    buf_init(&waits);
    buf_init(&error);
    (void)error_code(&why, AIKI_DIVERGED, "NONDETERMINISM", "other steps");
    error_write(&error, &why);
    if (s->kind == EVENT_COMPLETED)
        e.as.completed.output = (aiki_view){answer42, sizeof(answer42)};
    else if (s->kind == EVENT_BLOCKED || s->kind == EVENT_FAILED || s->kind == EVENT_CANCELLED)
        e.as.blocked.error = aiki_writer_view(&error);
    if (s->kind != 0)
        event_write_new(&events, &e);
    if (s->wait_signal != NULL) {
        const struct wait w = {.kind = STEP_SIGNAL, .name = view_of(s->wait_signal)};
        aiki_mp_array(&waits, 1);
        wait_write(&waits, &w);
    }
    say(f, who, APPEND, correlation, .run = s->run, .epoch = s->epoch, .number = s->number,
        .next = s->next, .seen = s->seen, .wake_at_ms = s->wake_at_ms,
        .waits = aiki_writer_view(&waits), .events = aiki_writer_view(&events));
    buf_deinit(&events);
    buf_deinit(&waits);
    buf_deinit(&error);
}

static void finish(struct fixture *f, struct aiki_id run, uint64_t epoch)
{
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_FINISH, .kind = EVENT_COMPLETED});
}

static uint32_t state_of(struct fixture *f, struct aiki_id run)
{
    struct msg_RESULT m;
    say(f, CLIENT, WAIT, 77, .run = run);
    turn(f);
    expect(f, CLIENT, 77, RESULT, &m);
    forget(f);
    return (uint32_t)m.state;
}

static void park(struct fixture *f, struct aiki_id run, uint64_t epoch, const char *signal,
                 int64_t wake_in_ms)
{
    struct msg_ACK m;
    int64_t wake_at_ms = wake_in_ms > 0 ? engine_clock_ms(&f->p.clock) + wake_in_ms : 0;
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_PARK, .wake_at_ms = wake_at_ms,
                                             .wait_signal = signal});
    turn(f);
    expect(f, RUNTIME, 3, ACK, &m);
    forget(f);
}

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

/* ---- options of a start ---------------------------------------------------------------------- */

/* Not offered before its time, also after a restart; ended at its deadline, whoever owns it. */
static void a_run_starts_later_and_ends_in_time(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED started;
    struct msg_NOTIFY dropped;
    struct msg_RESULT result;
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .delay_ms = 5000,
        .run_timeout_ms = 1000);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &started);
    struct aiki_id run = started.run;
    assert_int_equal(started.state, RUN_SCHEDULED);
    assert_int_equal(f->offer_count, 0);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    pass_ms(f, 5001);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, WAIT, 5, .run = run, .timeout_ms = 60000);
    turn(f);
    pass_ms(f, 1001);
    turn(f);
    expect(f, RUNTIME, 0, NOTIFY, &dropped);
    assert_true(dropped.kind == NOTIFY_DROP && dropped.epoch == epoch);
    expect(f, CLIENT, 5, RESULT, &result);
    assert_int_equal(result.state, RUN_TIMED_OUT);
    forget(f);
    assert_int_equal(timers_first_at_ms(&f->p.timers), 0);
}

/* The deadline of a parked run is not lost when its other timer rings, nor in a restart, nor when
 * the commit that ends it is refused. */
static void a_deadline_is_not_lost(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run_timeout_ms = 10000);
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    struct aiki_id run = m.run;
    park(f, run, claim(f, RUNTIME), NULL, 5000);
    pass_ms(f, 5001);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    restart(f);
    pass_ms(f, 5001);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    forget(f);
    assert_int_not_equal(state_of(f, run), RUN_TIMED_OUT);
    pass_ms(f, RETRY_MS + 1);
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_TIMED_OUT);
}

/* A key that is known: what each policy makes of another input. */
static void key_policies(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    const aiki_view other = {other_input, sizeof(other_input)};
    ask_start(f, 1, "k");
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    struct aiki_id first = m.run;
    say(f, CLIENT, START, 2, .workflow = view_of("order"), .input = other, .key = view_of("k"),
        .key_policy = KEY_EXISTING);
    turn(f);
    expect(f, CLIENT, 2, STARTED, &m);
    assert_true(id_equal(&m.run, &first) && !m.created);
    for (uint32_t round = 3; round < 5; round++) { /* the second one finds what the first made */
        say(f, CLIENT, START, round, .workflow = view_of("order"), .input = other,
            .key = view_of("k"), .key_policy = KEY_REPLACE);
        turn(f);
        expect(f, CLIENT, round, STARTED, &m);
        assert_int_equal(m.created, round == 3);
    }
    struct aiki_id second = m.run;
    assert_false(id_equal(&second, &first));
    forget(f);
    assert_int_equal(state_of(f, first), RUN_TERMINATED);
    restart(f);
    say(f, CLIENT, START, 6, .workflow = view_of("order"), .input = other, .key = view_of("k"));
    turn(f);
    expect(f, CLIENT, 6, STARTED, &m);
    assert_true(id_equal(&m.run, &second));
}

/* A key taken over twice in a unit that is refused as a whole, and then decided one by one. */
static void a_key_changes_hands_also_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct aiki_id runs[3];
    static const uint8_t third_input[] = {0x07};
    const aiki_view inputs[] = {{input, sizeof(input)}, {other_input, sizeof(other_input)},
                                {third_input, 1}};
    for (uint32_t i = 0; i < 3; i++)
        say(f, CLIENT, START, 1 + i, .workflow = view_of("order"), .input = inputs[i],
            .key = view_of("k"), .key_policy = KEY_REPLACE);
    memory_store_fail_commit(f->store, AIKI_LIMIT, 0);
    turn(f);
    for (uint32_t i = 0; i < 3; i++) {
        expect(f, CLIENT, 1 + i, STARTED, &m);
        assert_true(m.created);
        runs[i] = m.run;
    }
    forget(f);
    assert_int_equal(state_of(f, runs[0]), RUN_TERMINATED);
    assert_int_equal(state_of(f, runs[1]), RUN_TERMINATED);
    assert_int_equal(state_of(f, runs[2]), RUN_QUEUED);
}

/* Who was answered with a run that existed is on record, the last few of them. */
static void absorbed_starts_are_remembered(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    for (uint32_t i = 0; i < ABSORBED_MAX + 3; i++) {
        char who[8];
        (void)snprintf(who, sizeof(who), "u%u", i);
        say(f, CLIENT, START, 1 + i, .workflow = view_of("order"),
            .input = {input, sizeof(input)}, .key = view_of("k"), .actor = view_of(who));
        if (i != 1) /* the first two share a unit */
            turn(f);
    }
    expect(f, CLIENT, 1, STARTED, &m);
    struct aiki_id run = m.run;
    pass_ms(f, LAG_MS_MAX + 1);
    turn(f);
    restart(f);
    struct entry *e;
    assert_int_equal(run_load(&f->p, &run, &e, NULL), AIKI_OK);
    assert_int_equal(e->duplicates, ABSORBED_MAX + 2);
    aiki_reader r;
    aiki_reader_init(&r, (aiki_view){e->absorbed, e->absorbed_size_bytes});
    assert_int_equal(aiki_mp_read_array(&r), ABSORBED_MAX);
    assert_int_equal(aiki_mp_read_array(&r), 2);
    assert_true(aiki_mp_read_int(&r) > 0);
    assert_true(view_is(aiki_mp_read_str(&r), "u3"));
    cache_rest(&f->p.cache, e);
}

/* A policy given at the start is recorded in one form, whether it came as a map or as an array. */
static void a_retry_policy_is_recorded(void **state)
{
    struct fixture *f = *state;
    struct msg_STARTED m;
    struct event event;
    struct entry *e;
    aiki_reader r;
    static const uint8_t map[] = {0x81, 0xa4, 'k', 'i', 'n', 'd', 0xa5, 'f', 'i', 'x', 'e', 'd'};
    static const uint8_t wrong[] = {0x81, 0xa4, 'k', 'i', 'n', 'd', 0xa1, 'x'};
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .retry = {map, sizeof(map)});
    say(f, CLIENT, START, 2, .workflow = view_of("order"), .retry = {wrong, sizeof(wrong)});
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    expect_fault(f, CLIENT, 2, AIKI_INVALID, "BAD_RETRY");
    assert_int_equal(run_load(&f->p, &m.run, &e, NULL), AIKI_OK);
    aiki_reader_init(&r, aiki_writer_view(&e->journal));
    assert_int_equal(event_read_stored(&r, &event, NULL), AIKI_OK);
    assert_int_equal(event.as.started.retry.data[0] & 0xf0, 0x90);
    cache_rest(&f->p.cache, e);
}

static void options_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    const aiki_view order = view_of("order");
    say(f, CLIENT, START, 1, .workflow = order, .delay_ms = 5, .start_at_ms = 5);
    say(f, CLIENT, START, 2, .workflow = order, .delay_ms = -1);
    say(f, CLIENT, START, 3, .workflow = order, .delay_ms = INT64_MAX);
    say(f, CLIENT, START, 4, .workflow = order, .run_timeout_ms = -1);
    say(f, CLIENT, START, 5, .workflow = order, .key = view_of("k"), .key_policy = 9);
    say(f, CLIENT, START, 6, .workflow = order, .key_policy = KEY_REPLACE);
    say(f, CLIENT, START, 7, .workflow = order, .start_at_ms = INT64_MAX);
    turn(f);
    for (uint32_t i = 1; i <= 7; i++)
        expect_fault(f, CLIENT, i, AIKI_INVALID, "BAD_START");
    assert_int_equal(f->p.cache.count, 0);
}

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

/* An append that was refused leaves its run as it was; the same append is then good. */
static void a_refused_append_can_be_repeated(void **state)
{
    struct fixture *f = *state;
    struct msg_ACK ack;
    struct msg_STARTED m;
    struct aiki_id known = id_new();
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    turn(f);
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &known));
    forget(f);
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

/* ---- requests -------------------------------------------------------------------------------- */

static uint64_t ask(struct fixture *f, struct aiki_id run, uint64_t action)
{
    static uint32_t correlation = 1000;
    struct msg_OK ok;
    say(f, CLIENT, CONTROL, ++correlation, .run = run, .action = action,
        .reason = view_of("why"), .actor = view_of("me"));
    turn(f);
    expect(f, CLIENT, correlation, OK, &ok);
    return ok.count;
}

static void ask_in_vain(struct fixture *f, struct aiki_id run, uint64_t action, const char *code)
{
    say(f, CLIENT, CONTROL, 61, .run = run, .action = action);
    turn(f);
    expect_fault(f, CLIENT, 61, AIKI_STALE, code);
    forget(f);
}

/* A parked run is queued to see it, its owner is shown it, and it is shown as cancelling until the
 * code has ended it; also after a restart. */
static void a_cancellation_reaches_the_code(void **state)
{
    struct fixture *f = *state;
    struct msg_NOTIFY m;
    struct msg_ACK ack;
    struct aiki_id run = start(f);
    park(f, run, claim(f, RUNTIME), "go", 0);
    assert_int_equal(ask(f, run, CONTROL_CANCEL), 1);
    assert_int_equal(f->offer_count, 1);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(ask(f, run, CONTROL_CANCEL), 0);
    assert_int_equal(ask(f, run, CONTROL_WAKE), 1);
    expect(f, RUNTIME, 0, NOTIFY, &m);
    assert_true(m.kind == NOTIFY_EVENT && m.epoch == epoch);
    ask_in_vain(f, run, CONTROL_PAUSE, "RUN_CANCELLING");
    assert_int_equal(state_of(f, run), RUN_CANCELLING);
    pass_ms(f, LAG_MS_MAX + 1);
    turn(f);
    restart(f);
    open_session(f, RUNTIME);
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(state_of(f, run), RUN_CANCELLING);
    command(f, 0, COMMAND_OFFER, 0, &(struct offer_scan){.stream = NULL},
            sizeof(struct offer_scan));
    turn(f);
    epoch = claim(f, RUNTIME);
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_FINISH, .kind = EVENT_CANCELLED});
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_CANCELLED);
    ask_in_vain(f, run, CONTROL_CANCEL, "RUN_ENDED");
}

/* Its owner drops it, who waits gets the reason, and nothing more is taken from it. */
static void a_terminated_run_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct msg_NOTIFY m;
    struct msg_RESULT result;
    aiki_error err = {.struct_size = sizeof(err)};
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, WAIT, 5, .run = run, .timeout_ms = 60000);
    assert_int_equal(ask(f, run, CONTROL_TERMINATE), 1);
    expect(f, RUNTIME, 0, NOTIFY, &m);
    assert_true(m.kind == NOTIFY_DROP && m.epoch == epoch);
    expect(f, CLIENT, 5, RESULT, &result);
    assert_int_equal(result.state, RUN_TERMINATED);
    assert_int_equal(error_read(result.error, &err, NULL, NULL), AIKI_OK);
    assert_string_equal(err.code, "TERMINATED");
    assert_non_null(strstr(err.message, "why"));
    finish(f, run, epoch);
    turn(f);
    expect_fault(f, RUNTIME, 3, AIKI_FENCED, "FENCED");
    forget(f);
    ask_in_vain(f, run, CONTROL_RETRY, "RUN_NOT_FAILED");
}

/* A pause outlives the owner and the server; resuming offers the run. */
static void a_paused_run_stays_put(void **state)
{
    struct fixture *f = *state;
    struct msg_ACK ack;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    assert_int_equal(ask(f, run, CONTROL_PAUSE), 1);
    assert_int_equal(state_of(f, run), RUN_RUNNING);
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_RELEASE});
    turn(f);
    expect(f, RUNTIME, 3, ACK, &ack);
    assert_int_equal(f->offer_count, 0);
    restart(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_PAUSED);
    command(f, 0, COMMAND_OFFER, 0, &(struct offer_scan){.stream = NULL},
            sizeof(struct offer_scan));
    turn(f);
    assert_int_equal(f->offer_count, 0);
    assert_int_equal(ask(f, run, CONTROL_RESUME), 1);
    assert_int_equal(f->offer_count, 1);
    assert_int_equal(ask(f, run, CONTROL_RESUME), 0);
}

/* A pause that nobody wrote down but the row: the owner's session ends with the server. */
static void a_pause_of_an_owned_run_outlives_a_restart(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    (void)claim(f, RUNTIME);
    assert_int_equal(ask(f, run, CONTROL_PAUSE), 1);
    restart(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_PAUSED);
}

/* What fails can go on; a step that is named must have ended. */
static void a_failed_run_is_retried(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    ask_in_vain(f, run, CONTROL_RETRY, "RUN_NOT_FAILED");
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_FINISH, .kind = EVENT_FAILED});
    turn(f);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_FAILED);
    say(f, CLIENT, CONTROL, 61, .run = run, .action = CONTROL_RETRY, .step = view_of("no"));
    turn(f);
    expect_fault(f, CLIENT, 61, AIKI_NOT_FOUND, "STEP_NOT_FOUND");
    forget(f);
    restart(f);
    assert_int_equal(ask(f, run, CONTROL_RETRY), 1);
    assert_int_equal(f->offer_count, 1);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_STALLED);
}

static void requests_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    say(f, CLIENT, CONTROL, 2, .run = run, .action = 0);
    say(f, CLIENT, CONTROL, 3, .run = run, .action = 99);
    say(f, CLIENT, CONTROL, 4, .run = run, .action = CONTROL_PAUSE, .step = view_of("x"));
    say(f, CLIENT, CONTROL, 5, .run = {{1}}, .action = CONTROL_PAUSE);
    turn(f);
    expect_fault(f, CLIENT, 2, AIKI_INVALID, "BAD_ACTION");
    expect_fault(f, CLIENT, 3, AIKI_INVALID, "BAD_ACTION");
    expect_fault(f, CLIENT, 4, AIKI_INVALID, "BAD_ACTION");
    expect_fault(f, CLIENT, 5, AIKI_NOT_FOUND, "RUN_NOT_FOUND");
}

/* A request whose commit fails is refused and leaves the run as it was. */
static void a_refused_request_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    say(f, CLIENT, CONTROL, 60, .run = run, .action = CONTROL_TERMINATE);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 0);
    turn(f); /* the unit fails, the command alone does not */
    struct msg_OK ok;
    expect(f, CLIENT, 60, OK, &ok);
    forget(f);
    run = start(f);
    epoch = claim(f, RUNTIME);
    struct aiki_id known = id_new();
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    turn(f);
    cache_remove(&f->p.cache, cache_find(&f->p.cache, &known));
    forget(f);
    say(f, CLIENT, START, 1, .workflow = view_of("order"), .run = known);
    say(f, CLIENT, CONTROL, 60, .run = run, .action = CONTROL_TERMINATE);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 1);
    turn(f);
    expect_fault(f, CLIENT, 60, AIKI_UNAVAILABLE, "UNAVAILABLE");
    assert_false(has_answer(f, RUNTIME, 0));
    forget(f);
    finish(f, run, epoch);
    turn(f);
    struct msg_ACK ack;
    expect(f, RUNTIME, 3, ACK, &ack);
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
    serve(f, RUNTIME, build);
    turn(f);
    assert_int_equal(f->offer_count, 0);
    serve(f, RUNTIME, other_build);
    turn(f);
    assert_int_equal(f->offer_count, 1);
    forget(f);
    assert_int_equal(state_of(f, run), RUN_QUEUED);
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
        CASE(bad_starts_change_nothing),
        CASE(a_run_starts_later_and_ends_in_time),
        CASE(a_deadline_is_not_lost),
        CASE(key_policies),
        CASE(a_key_changes_hands_also_one_by_one),
        CASE(absorbed_starts_are_remembered),
        CASE(a_retry_policy_is_recorded),
        CASE(options_that_make_no_sense),
        CASE(a_refused_unit_is_decided_one_by_one),
        CASE(a_full_store_is_told_and_leaves_nothing),
        CASE(a_refused_append_can_be_repeated),
        CASE(a_wait_never_sees_what_is_not_committed),
        CASE(an_expired_session_is_fenced),
        CASE(a_restart_voids_what_was_handed_out),
        CASE(only_valid_tickets_are_offered_again),
        CASE(a_scan_goes_page_by_page),
        CASE(a_timer_wakes_a_parked_run),
        CASE(a_timer_is_not_lost),
        CASE(a_timer_shared_with_a_signal_is_not_lost),
        CASE(a_signal_counts_once),
        CASE(the_owner_is_shown_signals),
        CASE(a_cancellation_reaches_the_code),
        CASE(a_terminated_run_is_dropped),
        CASE(a_paused_run_stays_put),
        CASE(a_pause_of_an_owned_run_outlives_a_restart),
        CASE(a_failed_run_is_retried),
        CASE(requests_that_make_no_sense),
        CASE(a_refused_request_changes_nothing),
        CASE(another_build_continues_a_blocked_run),
        CASE(a_closed_connection_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

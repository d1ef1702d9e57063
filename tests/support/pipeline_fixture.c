/* pipeline_fixture.c - see pipeline_fixture.h. */
#include "support/pipeline_fixture.h"

#include <sodium.h>

#include "base/cleanup.h"
#include "base/log.h"

peer_id peer(uint32_t who) { return peer_make(1, who); }

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

void forget_answers(struct fixture *f)
{
    for (size_t i = 0; i < f->answer_count; i++)
        free(f->answers[i].payload);
    f->answer_count = 0;
}

void forget(struct fixture *f)
{
    forget_answers(f);
    f->offer_count = f->orphan_count = 0;
    memset(f->answered, 0, sizeof(f->answered));
    f->scanned = false;
}

/* ---- what goes in ---------------------------------------------------------------------------- */

void command(struct fixture *f, uint32_t who, uint32_t type, uint32_t correlation,
                    const void *payload, size_t size_bytes)
{
    if (f->batch == NULL)
        f->batch = batch_create();
    batch_add(f->batch, who == 0 ? 0 : peer(who), type, correlation,
              (aiki_view){payload, size_bytes});
}

void turn(struct fixture *f)
{
    struct mail *list = f->batch != NULL ? &f->batch->mail : NULL;
    if (list != NULL)
        list->next = NULL;
    f->batch = NULL;
    pipeline_turn(&f->p, list);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

void pass_ms(struct fixture *f, int64_t ms)
{
    f->p.clock.base_ms += ms;
}

const struct answer *answer_to(struct fixture *f, uint32_t who, uint32_t correlation,
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

bool has_answer(const struct fixture *f, uint32_t who, uint32_t correlation)
{
    for (size_t i = 0; i < f->answer_count; i++)
        if (f->answers[i].peer == peer(who) && f->answers[i].correlation == correlation)
            return true;
    return false;
}

void expect_fault(struct fixture *f, uint32_t who, uint32_t correlation,
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

const uint8_t build[HASH_BYTES] = {1}, other_build[HASH_BYTES] = {2};
const uint8_t input[] = {0x81, 0xa1, 'a', 1}, other_input[] = {0x81, 0xa1, 'a', 2};
const uint8_t answer42[] = {42};

static void put_descriptor(aiki_writer *w, const char *workflow)
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
    aiki_mp_str(w, "name"); aiki_mp_str(w, workflow);
    aiki_mp_str(w, "version"); aiki_mp_str(w, "1.0.0");
    aiki_mp_str(w, "summary"); aiki_mp_str(w, "");
    aiki_mp_str(w, "input"); aiki_mp_nil(w);
    aiki_mp_str(w, "output"); aiki_mp_nil(w);
}

void serve(struct fixture *f, uint32_t who, const uint8_t *with_build)
{
    serve_workflow(f, who, with_build, "order");
}

void serve_workflow(struct fixture *f, uint32_t who, const uint8_t *with_build, const char *workflow)
{
    aiki_writer d;
    buf_init(&d);
    put_descriptor(&d, workflow);
    say(f, who, REGISTER, 90, .build = {with_build, HASH_BYTES}, .file = view_of("order.so"),
        .descriptor = aiki_writer_view(&d));
    buf_deinit(&d);
}

void open_session(struct fixture *f, uint32_t who)
{
    struct session_open open = {.id = id_new(), .name = "rt", .slots = 10};
    command(f, who, COMMAND_OPEN, 0, &open, sizeof(open));
}

static void start_server(struct fixture *f, const char *url)
{
    assert_int_equal(store_open(&f->store, url, NULL), AIKI_OK);
    const struct quarantine before = f->p.quarantine; /* its settings outlive a restart */
    pipeline_init(&f->p, f->store, "test", &f->mailbox);
    f->p.quarantine.crashes_max = before.crashes_max;
    f->p.quarantine.window_ms = before.window_ms;
    f->p.quarantine.hold_ms = before.hold_ms;
    assert_int_equal(pipeline_restore(&f->p, NULL), AIKI_OK);
}

static void stop_server(struct fixture *f)
{
    pipeline_deinit(&f->p);
    store_close(f->store);
}

int setup(void **state)
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

int teardown(void **state)
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

void restart(struct fixture *f)
{
    stop_server(f);
    start_server(f, f->url);
}

/* ---- steps that many cases take -------------------------------------------------------------- */

void ask_start(struct fixture *f, uint32_t correlation, const char *key)
{
    say(f, CLIENT, START, correlation, .workflow = view_of("order"),
        .input = {input, sizeof(input)}, .key = view_of(key));
}

struct aiki_id start(struct fixture *f)
{
    struct msg_STARTED m;
    ask_start(f, 1, "");
    turn(f);
    expect(f, CLIENT, 1, STARTED, &m);
    assert_int_equal(f->offer_count, 1);
    assert_true(id_equal(&f->offers[0].ticket.run, &m.run));
    return m.run;
}

uint64_t claim(struct fixture *f, uint32_t who)
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

void ask_append(struct fixture *f, uint32_t who, uint32_t correlation, const struct said *s)
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

void finish(struct fixture *f, struct aiki_id run, uint64_t epoch)
{
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_FINISH, .kind = EVENT_COMPLETED});
}

uint32_t state_of(struct fixture *f, struct aiki_id run)
{
    struct msg_RESULT m;
    say(f, CLIENT, WAIT, 77, .run = run);
    turn(f);
    expect(f, CLIENT, 77, RESULT, &m);
    forget(f);
    return (uint32_t)m.state;
}

void park(struct fixture *f, struct aiki_id run, uint64_t epoch, const char *signal,
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

uint64_t ask(struct fixture *f, struct aiki_id run, uint64_t action)
{
    static uint32_t correlation = 1000;
    struct msg_OK ok;
    say(f, CLIENT, CONTROL, ++correlation, .run = run, .action = action,
        .reason = view_of("why"), .actor = view_of("me"));
    turn(f);
    expect(f, CLIENT, correlation, OK, &ok);
    return ok.count;
}

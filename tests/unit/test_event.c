/* test_event.c - the journal's bytes are for ever; addresses find steps in any release. */
#include "golden.h"
#include "golden_wire.h"

#include "wire/event.h"

/* ---- one event of each kind -------------------------------------------------------------- */

static void fill_start(struct event *e)
{
    if (e->kind == EVENT_STARTED) {
        e->as.started.workflow = text_view("order");
        e->as.started.version = text_view("1.0.0");
        e->as.started.input = BYTES("\x81\xa2id\x07");
        e->as.started.key = text_view("order-7");
        e->as.started.actor = text_view("shop");
    } else {
        memcpy(e->as.claimed.session.bytes, "0123456789abcdef", 16);
        e->as.claimed.build = BYTES("\x01\x02\x03\x04");
        e->as.claimed.runtime = text_view("host-1");
    }
}

static void fill_identity(struct event *e, uint64_t kind, const char *name)
{
    e->as.step.identity_kind = kind;
    e->as.step.name = text_view(name);
}

static void fill_outcome(struct event *e, uint64_t attempt, aiki_view value, int64_t duration_us)
{
    e->as.step.attempt = attempt;
    e->as.step.outcome = OUTCOME_OK;
    e->as.step.value = value;
    e->as.step.duration_us = duration_us;
}

static void fill_step(struct event *e)
{
    memcpy(e->as.step.address.bytes, "fedcba9876543210", ADDRESS_BYTES);
    e->as.step.nth = 2;
    switch (e->kind) {
    case EVENT_STEP_BEGUN:
        fill_identity(e, STEP_TASK, "charge");
        e->as.step.input = BYTES("\x92\x01\xa3"
                                 "eur");
        e->as.step.due_at_ms = 1732174262114;
        e->as.step.duration_ms = 60000;
        break;
    case EVENT_ATTEMPT_FAILED:
        e->as.step.attempt = 3;
        e->as.step.next_at_ms = 1732174263114;
        e->as.step.error = BYTES("\x81\xa4"
                                 "code\xa4"
                                 "GONE");
        e->as.step.duration_us = 1500;
        break;
    case EVENT_STEP_DONE:
        fill_identity(e, STEP_SIDE, "now");
        fill_outcome(e, 1, BYTES("\xce\x01\x02\x03\x04"), 12);
        break;
    case EVENT_ATTEMPT_DONE: fill_outcome(e, 2, BYTES("\xcd\x01\x2c"), 1500); break;
    case EVENT_WARNED:
        e->as.step.warned = WARNED_OUTPUT;
        e->as.step.error = BYTES("\x81\xa4"
                                 "code\xa1Y");
        break;
    default: /* EVENT_HEARTBEAT */
        e->as.step.attempt = 2;
        e->as.step.value = BYTES("\xcd\x01\x2c");
    }
}

static void fill_retried(struct event *e)
{
    e->as.run_retried.from_seq = 300;
    e->as.run_retried.attempt = 2;
    e->as.run_retried.next_at_ms = 1732174263114;
    e->as.run_retried.error = BYTES("\x81\xa4"
                                    "code\xa1Z");
    e->as.run_retried.reason = text_view("bank is back");
    e->as.run_retried.actor = text_view("ada");
}

static void fill_crashed(struct event *e)
{
    memcpy(e->as.crashed.address.bytes, "fedcba9876543210", ADDRESS_BYTES);
    e->as.crashed.nth = 2;
    e->as.crashed.attempt = 1;
    e->as.crashed.charged = true;
    e->as.crashed.name = text_view("charge");
    e->as.crashed.build = BYTES("\x01\x02\x03\x04");
    e->as.crashed.error = BYTES("\x81\xa4"
                                "code\xa1Q");
}

/* What comes from outside but for requests. */
static void fill_arrival(struct event *e)
{
    if (e->kind == EVENT_SIGNAL) {
        e->as.signal.name = text_view("paid");
        e->as.signal.payload = BYTES("\xc3");
        e->as.signal.ref = text_view("ref-1");
    } else {
        memcpy(e->as.child_done.child.bytes, "0123456789abcdef", 16);
        e->as.child_done.state = RUN_COMPLETED;
        e->as.child_done.output = BYTES("\xc3");
    }
}

static const struct event *sample(uint64_t kind)
{
    static struct event e;
    e = (struct event){.kind = kind};
    switch (kind) {
    case EVENT_STARTED:
    case EVENT_CLAIMED: fill_start(&e); break;
    case EVENT_STEP_BEGUN:
    case EVENT_ATTEMPT_FAILED:
    case EVENT_STEP_DONE:
    case EVENT_ATTEMPT_DONE:
    case EVENT_WARNED:
    case EVENT_HEARTBEAT: fill_step(&e); break;
    case EVENT_SIGNAL:
    case EVENT_CHILD_DONE: fill_arrival(&e); break;
    case EVENT_CANCEL_REQUESTED:
    case EVENT_WOKEN:
    case EVENT_PAUSED:
    case EVENT_RESUMED:
    case EVENT_DROPPED:
    case EVENT_TERMINATED:
        e.as.control.reason = text_view("customer called");
        e.as.control.actor = text_view("ada");
        break;
    case EVENT_RUN_RETRIED: fill_retried(&e); break;
    case EVENT_JOINED:
        memcpy(e.as.joined.parent.bytes, "0123456789abcdef", 16);
        memcpy(e.as.joined.child.bytes, "fedcba9876543210", 16);
        break;
    case EVENT_CRASHED: fill_crashed(&e); break;
    case EVENT_COMPLETED: e.as.completed.output = BYTES("\x93\x01\x02\x03"); break;
    case EVENT_CANCELLED:
    case EVENT_TIMED_OUT:
    case EVENT_FAILED:
        e.as.failed.error = BYTES("\x81\xa4"
                                  "code\xa1X");
        break;
    case EVENT_BLOCKED:
        e.as.blocked.error = BYTES("\x81\xa4"
                                   "code\xa1Y");
        break;
    default: break;
    }
    return &e;
}

/* The same kinds with what only some of their events carry. */
static const struct event *sample_with_options(uint64_t kind)
{
    static struct event e;
    e = *sample(kind);
    if (kind == EVENT_STARTED) {
        memcpy(e.as.started.parent.bytes, "0123456789abcdef", 16);
        memcpy(e.as.started.parent_address.bytes, "fedcba9876543210", ADDRESS_BYTES);
        e.as.started.parent_nth = 2;
        e.as.started.close_policy = CLOSE_ABANDON;
        e.as.started.start_at_ms = 1732174262114;
        e.as.started.deadline_ms = 1732174263114;
        e.as.started.retry = BYTES("\x91\x01");
    } else {
        e.as.step.options = BYTES("\x93\xa1"
                                  "1\x00\xc2");
    }
    return &e;
}

static const struct event *sample_with_ref(uint64_t kind)
{
    static struct event e;
    e = *sample(kind);
    if (kind == EVENT_RUN_RETRIED)
        e.as.run_retried.ref = text_view("again");
    else
        e.as.control.ref = text_view("again");
    return &e;
}

/* Its build had no process yet. */
static const struct event *sample_with_load(void)
{
    static struct event e;
    e = *sample(EVENT_CLAIMED);
    e.as.claimed.load_ms = 12;
    return &e;
}

/* And of what waits, since when. */
static const struct event *sample_with_since(uint64_t kind)
{
    static struct event e;
    e = kind == EVENT_STEP_BEGUN ? *sample(kind) : *sample_with_options(kind);
    e.as.step.since_ms = 1732174200000;
    return &e;
}

/* ---- bytes ------------------------------------------------------------------------------- */

static void check_event(const struct event *e, const char *name, const char *golden_hex)
{
    uint8_t bytes[GOLDEN_BYTES_MAX], golden[GOLDEN_BYTES_MAX];
    aiki_writer w;
    aiki_reader r;
    aiki_view body;
    struct event back;
    aiki_error err = {0};
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    event_write_new(&w, e);
    check_golden(name, aiki_writer_view(&w), golden_hex);

    aiki_view old = from_hex(golden_hex, golden);
    aiki_reader_init(&r, old);
    assert_int_equal(event_read_new(&r, &back, &body, &err), AIKI_OK);
    assert_view_equal(back.encoded, old);
    assert_view_equal(body, (aiki_view){golden + 2, old.size_bytes - 2});
    assert_int_equal(event_read_new(&r, &back, &body, &err), AIKI_NOT_FOUND);
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    event_write_new(&w, &back);
    check_golden(name, aiki_writer_view(&w), golden_hex);
}

static void every_kind_keeps_its_bytes(void **state)
{
    (void)state;
#define CHECK_KIND(name, number, text)                                                             \
    check_event(sample(number), "EVENT_" #name, GOLDEN_EVENT_##name);
    EVENT_KIND_MAP(CHECK_KIND)
    check_event(sample_with_options(EVENT_STARTED), "EVENT_STARTED_OPTIONS",
                GOLDEN_EVENT_STARTED_OPTIONS);
    check_event(sample_with_options(EVENT_ATTEMPT_FAILED), "EVENT_ATTEMPT_FAILED_OPTIONS",
                GOLDEN_EVENT_ATTEMPT_FAILED_OPTIONS);
    check_event(sample_with_options(EVENT_STEP_DONE), "EVENT_STEP_DONE_OPTIONS",
                GOLDEN_EVENT_STEP_DONE_OPTIONS);
    check_event(sample_with_options(EVENT_STEP_BEGUN), "EVENT_STEP_BEGUN_OPTIONS",
                GOLDEN_EVENT_STEP_BEGUN_OPTIONS);
    check_event(sample_with_since(EVENT_STEP_BEGUN), "EVENT_STEP_BEGUN_SINCE",
                GOLDEN_EVENT_STEP_BEGUN_SINCE);
    check_event(sample_with_since(EVENT_ATTEMPT_FAILED), "EVENT_ATTEMPT_FAILED_SINCE",
                GOLDEN_EVENT_ATTEMPT_FAILED_SINCE);
    check_event(sample_with_load(), "EVENT_CLAIMED_LOAD", GOLDEN_EVENT_CLAIMED_LOAD);
    check_event(&(struct event){.kind = EVENT_UNBLOCKED, .as.unblocked.why = UNBLOCKED_IN_VAIN},
                "EVENT_UNBLOCKED_WHY", GOLDEN_EVENT_UNBLOCKED_WHY);
    check_event(sample_with_ref(EVENT_WOKEN), "EVENT_WOKEN_REF", GOLDEN_EVENT_WOKEN_REF);
    check_event(sample_with_ref(EVENT_RUN_RETRIED), "EVENT_RUN_RETRIED_REF",
                GOLDEN_EVENT_RUN_RETRIED_REF);
}

/* What the server stores around a body reads back with both halves. */
static void stored_events_keep_their_bytes(void **state)
{
    (void)state;
    uint8_t bytes[GOLDEN_BYTES_MAX], golden[GOLDEN_BYTES_MAX];
    aiki_writer w;
    aiki_reader r;
    struct event e;
    aiki_view new_event = from_hex(GOLDEN_EVENT_STEP_DONE, golden);
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    event_write_stored(&w, 300, 1732174262114, (5ull << 32) + 1, EVENT_STEP_DONE,
                       (aiki_view){golden + 2, new_event.size_bytes - 2});
    event_write_stored(&w, 301, 1732174262115, (5ull << 32) + 1, EVENT_UNBLOCKED, BYTES("\x90"));
    check_golden("STORED", aiki_writer_view(&w), GOLDEN_STORED);

    aiki_reader_init(&r, from_hex(GOLDEN_STORED, golden));
    assert_int_equal(event_read_stored(&r, &e, NULL), AIKI_OK);
    assert_int_equal(e.seq, 300);
    assert_int_equal(e.at_ms, 1732174262114);
    assert_int_equal(e.epoch, (5ull << 32) + 1);
    assert_int_equal(e.kind, EVENT_STEP_DONE);
    assert_int_equal(e.as.step.identity_kind, STEP_SIDE);
    assert_view_equal(e.as.step.name, text_view("now"));
    assert_view_equal(e.as.step.value, BYTES("\xce\x01\x02\x03\x04"));
    assert_int_equal(e.as.step.input.size_bytes, 0);
    assert_int_equal(event_read_stored(&r, &e, NULL), AIKI_OK);
    assert_int_equal(e.seq, 301);
    assert_int_equal(event_read_stored(&r, &e, NULL), AIKI_NOT_FOUND);
    assert_int_equal(e.seq, 301);
}

/* A step's address decides whether recorded work is found again: it may never change. */
static void addresses_are_fixed(void **state)
{
    (void)state;
    struct address a;
    assert_int_equal(address_make(STEP_TASK, text_view("charge"),
                                  BYTES("\x82\xa1"
                                        "b\x01\xa1"
                                        "a\x02"),
                                  &a, NULL),
                     AIKI_OK);
    check_golden("ADDRESS_TASK", (aiki_view){a.bytes, ADDRESS_BYTES}, GOLDEN_ADDRESS_TASK);
    assert_int_equal(address_make(STEP_SLEEP, text_view("sleep"), (aiki_view){NULL, 0}, &a, NULL),
                     AIKI_OK);
    check_golden("ADDRESS_SLEEP", (aiki_view){a.bytes, ADDRESS_BYTES}, GOLDEN_ADDRESS_SLEEP);
}

static void the_chain_is_fixed(void **state)
{
    (void)state;
    uint8_t hash[HASH_BYTES] = {0}, first[HASH_BYTES];
    event_chain(hash, text_view("one"));
    memcpy(first, hash, sizeof(hash));
    event_chain(hash, text_view("two"));
    check_golden("CHAIN", (aiki_view){hash, HASH_BYTES}, GOLDEN_CHAIN);
    assert_memory_not_equal(hash, first, sizeof(hash));
}

/* ---- addresses --------------------------------------------------------------------------- */

static struct address address_of(uint64_t kind, const char *name, aiki_view input)
{
    struct address a;
    assert_int_equal(address_make(kind, text_view(name), input, &a, NULL), AIKI_OK);
    return a;
}

static void assert_differ(struct address a, struct address b)
{
    assert_memory_not_equal(a.bytes, b.bytes, ADDRESS_BYTES);
}

/* The same value written otherwise is the same step; anything else is another one. */
static void equal_values_have_equal_addresses(void **state)
{
    (void)state;
    struct address a = address_of(STEP_TASK, "t",
                                  BYTES("\x82\xa1"
                                        "a\x02\xa1"
                                        "b\x01"));
    struct address b = address_of(STEP_TASK, "t",
                                  BYTES("\xde\x00\x02\xd9\x01"
                                        "b\xcc\x01\xa1"
                                        "a\xd0\x02"));
    assert_memory_equal(a.bytes, b.bytes, ADDRESS_BYTES);
    assert_differ(a, address_of(STEP_TASK, "t",
                                BYTES("\x82\xa1"
                                      "a\x02\xa1"
                                      "b\x03")));
    assert_differ(a, address_of(STEP_TASK, "u",
                                BYTES("\x82\xa1"
                                      "a\x02\xa1"
                                      "b\x01")));
    assert_differ(a, address_of(STEP_SIGNAL, "t",
                                BYTES("\x82\xa1"
                                      "a\x02\xa1"
                                      "b\x01")));
    /* what ends the name cannot begin the input */
    assert_differ(address_of(STEP_TASK, "t", BYTES("\x01")),
                  address_of(STEP_TASK, "t\x01", BYTES("")));
    assert_differ(address_of(STEP_TASK, "t", BYTES("\xc0")), address_of(STEP_TASK, "t", BYTES("")));
}

/* Inputs too large for the stack go the same way. */
static void large_inputs_have_addresses(void **state)
{
    (void)state;
    enum { COUNT = 60000 };
    uint8_t *memory = test_malloc(2 * 6 * COUNT + 16);
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, 6 * COUNT + 8);
    aiki_mp_map(&w, COUNT);
    for (uint64_t i = COUNT; i-- > 0;) {
        aiki_mp_uint(&w, i);
        aiki_mp_nil(&w);
    }
    assert_int_equal(w.status, AIKI_OK);
    struct address down = address_of(STEP_TASK, "t", aiki_writer_view(&w));
    aiki_writer_init_fixed(&w, memory, 6 * COUNT + 8);
    aiki_mp_map(&w, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        aiki_mp_uint(&w, i);
        aiki_mp_nil(&w);
    }
    struct address up = address_of(STEP_TASK, "t", aiki_writer_view(&w));
    assert_memory_equal(up.bytes, down.bytes, ADDRESS_BYTES);
    test_free(memory);
}

static void bad_inputs_have_no_address(void **state)
{
    (void)state;
    struct address a = {{9}};
    aiki_error err = {0};
    assert_int_equal(address_make(STEP_TASK, text_view("t"), BYTES("\x92\x01"), &a, &err),
                     AIKI_CORRUPT);
    assert_int_equal(address_make(STEP_TASK, text_view("t"), BYTES("\x01\x01"), &a, &err),
                     AIKI_CORRUPT);
    assert_int_equal(
        address_make(STEP_TASK, text_view("t"), BYTES("\x82\x01\x01\x01\x01"), &a, &err),
        AIKI_INVALID);
    assert_int_equal(a.bytes[0], 9);
}

/* ---- tolerance and damage ---------------------------------------------------------------- */

static aiki_status read_one(aiki_view bytes, struct event *e, aiki_error *err)
{
    aiki_reader r;
    aiki_view body;
    aiki_reader_init(&r, bytes);
    return event_read_new(&r, e, &body, err);
}

/* A later release appends to bodies, to identities and to the event itself. */
static void longer_bodies_are_understood(void **state)
{
    (void)state;
    struct event e;
    assert_int_equal(read_one(BYTES("\x92\x06\x94\xa1n\xc0\xa1r\x81\x01\x02"), &e, NULL), AIKI_OK);
    assert_view_equal(e.as.signal.name, text_view("n"));
    assert_view_equal(e.as.signal.ref, text_view("r"));
    assert_int_equal(read_one(BYTES("\x92\x0a\x91\x01"), &e, NULL), AIKI_OK);
    assert_int_equal(read_one(BYTES("\x93\x0a\x90\xa1z"), &e, NULL), AIKI_OK);
    assert_int_equal(e.encoded.size_bytes, 5);
    assert_int_equal(read_one(BYTES("\x92\x03\x96\xc4\x10"
                                    "0123456789abcdef"
                                    "\x00"
                                    "\x94\x01\xa1t\xc0\x07"
                                    "\x05\x06\xa1z"),
                              &e, NULL),
                     AIKI_OK);
    assert_int_equal(e.as.step.identity_kind, STEP_TASK);
    assert_int_equal(e.as.step.due_at_ms, 5);
    assert_int_equal(e.as.step.duration_ms, 6);
}

/* Kinds and outcomes that are not known are never guessed at. */
static void later_kinds_are_refused(void **state)
{
    (void)state;
    struct event e;
    aiki_error err = {0};
    assert_int_equal(read_one(BYTES("\x92\x63\x90"), &e, &err), AIKI_UNSUPPORTED);
    assert_non_null(strstr(err.message, "later release"));
    assert_int_equal(read_one(BYTES("\x92\x05\x98\xc4\x10"
                                    "0123456789abcdef"
                                    "\x00\xc0\x01\x04\xc0\xc0\x00"),
                              &e, &err),
                     AIKI_UNSUPPORTED);
    assert_int_equal(read_one(BYTES("\x92\x00\x90"), &e, &err), AIKI_UNSUPPORTED);
}

static void damaged_events_are_refused(void **state)
{
    (void)state;
    struct event e;
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
#define BAD(literal) {literal, sizeof(literal) - 1}
        BAD("\x92\x06\x92\xa1n\xc0"), /* a field is missing */
        BAD("\x91\x0a"),
        BAD("\x92\xa1x\x90"),        /* no body; kind is text */
        BAD("\x92\x08\x91\x05"),     /* an error that is no map */
        BAD("\x92\x08\x91\x81\x05"), /* a map that ends early */
        BAD("\x92\x07\x91\xa1x"),    /* a payload that is text */
        BAD("\x92\x03\x94\xc4\x0f"
            "0123456789abcde"
            "\x00\xc0\x00"),                 /* short address */
        BAD("\x92\x03\x94\xc0\x00\xc0\x00"), /* none */
        BAD("\x92\x03\x94\xc4\x10"
            "0123456789abcdef"
            "\x00\x93\x00\xa1t\xc0\x00"), /* kind 0 */
        BAD("\x92\x03\x94\xc4\x10"
            "0123456789abcdef"
            "\x00\x92\x01\xa1t\x00"),
        BAD("\x92\x02\x93\xc0\xc0\xc0"), /* no session */
        BAD("\xdd\xff\xff\xff\xff"),
        BAD("\xc1"),
        BAD("\x80"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        aiki_error err = {0};
        aiki_view bytes = {(const uint8_t *)bad[i].bytes, bad[i].size};
        assert_int_equal(read_one(bytes, &e, &err), AIKI_CORRUPT);
        assert_non_null(strstr(err.message, "event of kind"));
    }
}

/* A journal cut anywhere but between events is corrupt, never short. */
static void truncated_journals_are_refused(void **state)
{
    (void)state;
    uint8_t golden[GOLDEN_BYTES_MAX];
    aiki_view whole = from_hex(GOLDEN_STORED, golden);
    struct event e;
    uint64_t first = 0;
    for (uint64_t n = 1; n < whole.size_bytes; n++) {
        aiki_reader r;
        aiki_reader_init(&r, (aiki_view){golden, n});
        aiki_status status = event_read_stored(&r, &e, NULL);
        if (status == AIKI_OK) {
            first = first == 0 ? n : first;
            status = event_read_stored(&r, &e, NULL);
        }
        assert_int_equal(status, n == first ? AIKI_NOT_FOUND : AIKI_CORRUPT);
        if (status == AIKI_CORRUPT) /* and it stays so */
            assert_int_equal(event_read_stored(&r, &e, NULL), AIKI_CORRUPT);
    }
    assert_int_not_equal(first, 0);
}

static void deep_errors_are_over_the_limit(void **state)
{
    (void)state;
    uint8_t deep[128] = {0x92, 0x08, 0x91, 0x81, 0x01};
    struct event e;
    aiki_error err = {0};
    memset(deep + 5, 0x91, 100);
    deep[105] = 0xc0;
    assert_int_equal(read_one((aiki_view){deep, 106}, &e, &err), AIKI_LIMIT);
    assert_non_null(strstr(err.message, "64 levels"));
}

/* ---- waits and names --------------------------------------------------------------------- */

static void waits_keep_their_bytes(void **state)
{
    (void)state;
    uint8_t bytes[64], golden[GOLDEN_BYTES_MAX];
    const struct wait wait = {.kind = STEP_SIGNAL, .name = text_view("paid"),
                              .due_at_ms = 1732174262114, .since_ms = 1732174200000};
    struct wait back = {.kind = 99};
    aiki_writer w;
    aiki_reader r;
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    wait_write(&w, &wait);
    check_golden("WAIT_ENTRY", aiki_writer_view(&w), GOLDEN_WAIT_ENTRY);
    aiki_view old = from_hex(GOLDEN_WAIT_ENTRY, golden);
    for (uint64_t n = 0; n < old.size_bytes; n++) {
        aiki_reader_init(&r, (aiki_view){golden, n});
        assert_int_equal(wait_read(&r, &back), AIKI_CORRUPT);
        assert_int_equal(back.kind, 99);
    }
    aiki_reader_init(&r, old);
    assert_int_equal(wait_read(&r, &back), AIKI_OK);
    assert_int_equal(back.kind, STEP_SIGNAL);
    assert_view_equal(back.name, text_view("paid"));
    assert_int_equal(back.due_at_ms, wait.due_at_ms);
    assert_int_equal(back.since_ms, wait.since_ms);
}

/* A wait for a run says which: by its id, or by the key under which it is found. */
static void waits_for_children_say_whose_end_it_is(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct wait wait = {.kind = STEP_CHILD, .name = text_view("leaf"), .since_ms = 1732174200000};
    struct wait back;
    aiki_writer w;
    aiki_reader r;
    memcpy(wait.child.bytes, "0123456789abcdef", sizeof(wait.child.bytes));
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    wait_write(&w, &wait);
    check_golden("WAIT_CHILD", aiki_writer_view(&w), GOLDEN_WAIT_CHILD);
    aiki_reader_init(&r, aiki_writer_view(&w));
    assert_int_equal(wait_read(&r, &back), AIKI_OK);
    assert_true(id_equal(&back.child, &wait.child));
    assert_int_equal(back.key.size_bytes, 0);

    wait.key = text_view("0123456789abcdef"); /* as long as an id */
    aiki_writer_init_fixed(&w, bytes, sizeof(bytes));
    wait_write(&w, &wait);
    check_golden("WAIT_SHARED", aiki_writer_view(&w), GOLDEN_WAIT_SHARED);
    aiki_reader_init(&r, aiki_writer_view(&w));
    assert_int_equal(wait_read(&r, &back), AIKI_OK);
    assert_true(id_is_zero(&back.child));
    assert_view_equal(back.key, wait.key);

    bytes[0] = 0x95; /* and neither of the two is a number */
    bytes[w.size_bytes - wait.key.size_bytes - 1] = 0x07;
    aiki_reader_init(&r, aiki_writer_view(&w));
    assert_int_equal(wait_read(&r, &back), AIKI_CORRUPT);
}

static void names_are_those_of_the_tables(void **state)
{
    (void)state;
    assert_string_equal(event_kind_name(EVENT_STEP_DONE), "step_done");
    assert_string_equal(event_kind_name(0), "unknown");
    assert_string_equal(step_kind_name(STEP_SIDE), "side");
    assert_string_equal(step_kind_name(77), "unknown");
    for (uint64_t state_number = 1; state_number <= RUN_CANCELLING; state_number++)
        assert_int_equal(run_state_parse(run_state_name(state_number)), state_number);
    assert_int_equal(run_state_parse("unknown"), 0);
    assert_string_equal(run_state_name(0), "unknown");
    assert_true(run_state_is_terminal(RUN_COMPLETED));
    assert_true(run_state_is_terminal(RUN_TERMINATED));
    assert_false(run_state_is_terminal(RUN_BLOCKED));
    assert_false(run_state_is_terminal(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_keeps_its_bytes),
        cmocka_unit_test(stored_events_keep_their_bytes),
        cmocka_unit_test(addresses_are_fixed),
        cmocka_unit_test(the_chain_is_fixed),
        cmocka_unit_test(equal_values_have_equal_addresses),
        cmocka_unit_test(large_inputs_have_addresses),
        cmocka_unit_test(bad_inputs_have_no_address),
        cmocka_unit_test(longer_bodies_are_understood),
        cmocka_unit_test(later_kinds_are_refused),
        cmocka_unit_test(damaged_events_are_refused),
        cmocka_unit_test(truncated_journals_are_refused),
        cmocka_unit_test(deep_errors_are_over_the_limit),
        cmocka_unit_test(waits_keep_their_bytes),
        cmocka_unit_test(waits_for_children_say_whose_end_it_is),
        cmocka_unit_test(names_are_those_of_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

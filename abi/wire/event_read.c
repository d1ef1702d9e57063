/* event_read.c - events and waits as they are read: every byte is doubted. */
#include "wire/event.h"

#include <string.h>

#include "wire/error.h"
#include "wire/event_impl.h"

/* An array of at least `known` elements; returns how many unknown ones follow those. */
static uint64_t open_array(aiki_reader *r, uint64_t known)
{
    uint64_t count = aiki_mp_read_array(r);
    if (count < known && r->status == AIKI_OK)
        r->status = AIKI_CORRUPT;
    return r->status == AIKI_OK ? count - known : 0;
}

static void close_array(aiki_reader *r, uint64_t unknown)
{
    for (; unknown > 0 && r->status == AIKI_OK; unknown--)
        (void)aiki_mp_skip(r); /* its failure sticks in r */
}

static void get_fixed(aiki_reader *r, uint8_t *to, uint64_t size_bytes)
{
    aiki_view bytes = aiki_mp_read_bin(r);
    if (bytes.size_bytes == size_bytes)
        memcpy(to, bytes.data, size_bytes);
    else
        r->status = AIKI_CORRUPT;
}

/* nil, or a map whose inside error_read checks when somebody looks. */
static aiki_view get_error(aiki_reader *r)
{
    aiki_mp_item item;
    const uint8_t *at = r->at;
    if (!aiki_mp_peek(r, &item) || (item.type != AIKI_MP_MAP && item.type != AIKI_MP_NIL) ||
        aiki_mp_skip(r) != AIKI_OK) {
        r->status = r->status == AIKI_OK ? AIKI_CORRUPT : r->status;
        return (aiki_view){NULL, 0};
    }
    return item.type == AIKI_MP_NIL ? (aiki_view){NULL, 0}
                                    : (aiki_view){at, (uint64_t)(r->at - at)};
}

static void get_identity(aiki_reader *r, struct event *e)
{
    if (aiki_reader_left(r) > 0 && r->at[0] == 0xc0) {
        r->at++;
        return;
    }
    uint64_t unknown = open_array(r, IDENTITY_FIELDS);
    e->as.step.identity_kind = aiki_mp_read_uint(r);
    e->as.step.name = aiki_mp_read_str(r);
    e->as.step.input = aiki_mp_read_bin(r);
    close_array(r, unknown);
    if (e->as.step.identity_kind == 0 && r->status == AIKI_OK)
        r->status = AIKI_CORRUPT;
}

static uint64_t get_step(aiki_reader *r, struct event *e, uint64_t known)
{
    uint64_t unknown = open_array(r, known);
    get_fixed(r, e->as.step.address.bytes, ADDRESS_BYTES);
    e->as.step.nth = aiki_mp_read_uint(r);
    get_identity(r, e);
    return unknown;
}

/* One value of any kind, empty when it is nil. */
static aiki_view get_raw(aiki_reader *r)
{
    aiki_view v = aiki_mp_value(r);
    return v.size_bytes == 1 && v.data[0] == 0xc0 ? (aiki_view){NULL, 0} : v;
}

static void get_start_options(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, START_OPTION_FIELDS);
    get_fixed(r, e->as.started.parent.bytes, sizeof(e->as.started.parent.bytes));
    get_fixed(r, e->as.started.parent_address.bytes, ADDRESS_BYTES);
    e->as.started.parent_nth = aiki_mp_read_uint(r);
    e->as.started.close_policy = aiki_mp_read_uint(r);
    e->as.started.start_at_ms = aiki_mp_read_int(r);
    e->as.started.deadline_ms = aiki_mp_read_int(r);
    e->as.started.retry = get_raw(r);
    close_array(r, unknown);
    if (e->as.started.close_policy > CLOSE_ABANDON && r->status == AIKI_OK)
        r->status = AIKI_UNSUPPORTED;
}

static uint64_t get_started(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, STARTED_FIELDS);
    e->as.started.workflow = aiki_mp_read_str(r);
    e->as.started.version = aiki_mp_read_str(r);
    e->as.started.input = aiki_mp_read_bin(r);
    e->as.started.key = aiki_mp_read_str(r);
    e->as.started.actor = aiki_mp_read_str(r);
    if (unknown == 0)
        return 0;
    get_start_options(r, e);
    return unknown - 1;
}

static uint64_t get_claimed(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, CLAIMED_FIELDS);
    get_fixed(r, e->as.claimed.session.bytes, sizeof(e->as.claimed.session.bytes));
    e->as.claimed.build = aiki_mp_read_bin(r);
    e->as.claimed.runtime = aiki_mp_read_str(r);
    if (unknown == 0)
        return 0;
    e->as.claimed.load_ms = aiki_mp_read_uint(r);
    return unknown - 1;
}

/* The last field of three step bodies, which most events go without. */
static uint64_t get_options(aiki_reader *r, struct event *e, uint64_t unknown)
{
    if (unknown == 0)
        return 0;
    e->as.step.options = get_raw(r);
    return unknown - 1;
}

static uint64_t get_tail(aiki_reader *r, struct event *e, uint64_t unknown)
{
    unknown = get_options(r, e, unknown);
    if (unknown == 0)
        return 0;
    e->as.step.since_ms = aiki_mp_read_int(r);
    return unknown - 1;
}

static uint64_t get_attempt_failed(aiki_reader *r, struct event *e)
{
    uint64_t unknown = get_step(r, e, ATTEMPT_FAILED_FIELDS);
    e->as.step.attempt = aiki_mp_read_uint(r);
    e->as.step.next_at_ms = aiki_mp_read_int(r);
    e->as.step.error = get_error(r);
    e->as.step.duration_us = aiki_mp_read_int(r);
    return get_tail(r, e, unknown);
}

static uint64_t get_step_done(aiki_reader *r, struct event *e)
{
    uint64_t unknown = get_step(r, e, STEP_DONE_FIELDS);
    e->as.step.attempt = aiki_mp_read_uint(r);
    e->as.step.outcome = aiki_mp_read_uint(r);
    e->as.step.value = aiki_mp_read_bin(r);
    e->as.step.error = get_error(r);
    e->as.step.duration_us = aiki_mp_read_int(r);
    return get_options(r, e, unknown);
}

static uint64_t get_signal(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, SIGNAL_FIELDS);
    e->as.signal.name = aiki_mp_read_str(r);
    e->as.signal.payload = aiki_mp_read_bin(r);
    e->as.signal.ref = aiki_mp_read_str(r);
    return unknown;
}

static uint64_t get_step_begun(aiki_reader *r, struct event *e)
{
    uint64_t unknown = get_step(r, e, STEP_BEGUN_FIELDS);
    e->as.step.due_at_ms = aiki_mp_read_int(r);
    e->as.step.duration_ms = aiki_mp_read_int(r);
    return get_tail(r, e, unknown);
}

/* The last field of what was asked for under a reference. */
static uint64_t get_ref(aiki_reader *r, uint64_t unknown, aiki_view *ret_ref)
{
    if (unknown == 0)
        return 0;
    *ret_ref = aiki_mp_read_str(r);
    return unknown - 1;
}

static uint64_t get_control(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, CONTROL_FIELDS);
    e->as.control.reason = aiki_mp_read_str(r);
    e->as.control.actor = aiki_mp_read_str(r);
    return get_ref(r, unknown, &e->as.control.ref);
}

static uint64_t get_unblocked(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, 0);
    if (unknown == 0)
        return 0;
    e->as.unblocked.why = aiki_mp_read_uint(r);
    return unknown - 1;
}

static uint64_t get_child_done(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, CHILD_DONE_FIELDS);
    get_fixed(r, e->as.child_done.child.bytes, sizeof(e->as.child_done.child.bytes));
    e->as.child_done.state = aiki_mp_read_uint(r);
    e->as.child_done.output = aiki_mp_read_bin(r);
    e->as.child_done.error = get_error(r);
    if (unknown == 0)
        return 0;
    get_fixed(r, e->as.child_done.by.bytes, sizeof(e->as.child_done.by.bytes));
    return unknown - 1;
}

static uint64_t get_joined(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, JOINED_FIELDS);
    get_fixed(r, e->as.joined.parent.bytes, sizeof(e->as.joined.parent.bytes));
    get_fixed(r, e->as.joined.child.bytes, sizeof(e->as.joined.child.bytes));
    return unknown;
}

static uint64_t get_run_retried(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, RUN_RETRIED_FIELDS);
    e->as.run_retried.from_seq = aiki_mp_read_uint(r);
    e->as.run_retried.attempt = aiki_mp_read_uint(r);
    e->as.run_retried.next_at_ms = aiki_mp_read_int(r);
    e->as.run_retried.error = get_error(r);
    e->as.run_retried.reason = aiki_mp_read_str(r);
    e->as.run_retried.actor = aiki_mp_read_str(r);
    return get_ref(r, unknown, &e->as.run_retried.ref);
}

static uint64_t get_heartbeat(aiki_reader *r, struct event *e)
{
    uint64_t unknown = get_step(r, e, HEARTBEAT_FIELDS);
    e->as.step.attempt = aiki_mp_read_uint(r);
    e->as.step.value = aiki_mp_read_bin(r);
    return unknown;
}

static uint64_t get_crashed(aiki_reader *r, struct event *e)
{
    uint64_t unknown = open_array(r, CRASHED_FIELDS);
    get_fixed(r, e->as.crashed.address.bytes, ADDRESS_BYTES);
    e->as.crashed.nth = aiki_mp_read_uint(r);
    e->as.crashed.name = aiki_mp_read_str(r);
    e->as.crashed.attempt = aiki_mp_read_uint(r);
    e->as.crashed.charged = aiki_mp_read_bool(r);
    e->as.crashed.build = aiki_mp_read_bin(r);
    e->as.crashed.error = get_error(r);
    return unknown;
}

static uint64_t get_warned(aiki_reader *r, struct event *e)
{
    uint64_t unknown = get_step(r, e, WARNED_FIELDS);
    e->as.step.warned = aiki_mp_read_uint(r);
    e->as.step.error = get_error(r);
    return unknown;
}

/* Kinds and values of a later release may mean anything: they are refused, never guessed. */
static aiki_status get_body(aiki_reader *r, struct event *e)
{
    uint64_t unknown = 0;
    switch (e->kind) {
    case EVENT_STARTED: unknown = get_started(r, e); break;
    case EVENT_CLAIMED: unknown = get_claimed(r, e); break;
    case EVENT_STEP_BEGUN: unknown = get_step_begun(r, e); break;
    case EVENT_ATTEMPT_FAILED: unknown = get_attempt_failed(r, e); break;
    case EVENT_STEP_DONE:
    case EVENT_ATTEMPT_DONE:
        unknown = get_step_done(r, e);
        if (e->as.step.outcome > OUTCOME_CANCELLED)
            return AIKI_UNSUPPORTED;
        break;
    case EVENT_SIGNAL: unknown = get_signal(r, e); break;
    case EVENT_COMPLETED:
        unknown = open_array(r, 1);
        e->as.completed.output = aiki_mp_read_bin(r);
        break;
    case EVENT_FAILED:
    case EVENT_CANCELLED:
    case EVENT_TIMED_OUT:
        unknown = open_array(r, 1);
        e->as.failed.error = get_error(r);
        break;
    case EVENT_BLOCKED:
        unknown = open_array(r, 1);
        e->as.blocked.error = get_error(r);
        break;
    case EVENT_UNBLOCKED: unknown = get_unblocked(r, e); break;
    case EVENT_CANCEL_SEEN: unknown = open_array(r, 0); break;
    case EVENT_CANCEL_REQUESTED:
    case EVENT_WOKEN:
    case EVENT_PAUSED:
    case EVENT_RESUMED:
    case EVENT_DROPPED:
    case EVENT_TERMINATED: unknown = get_control(r, e); break;
    case EVENT_CHILD_DONE: unknown = get_child_done(r, e); break;
    case EVENT_JOINED: unknown = get_joined(r, e); break;
    case EVENT_RUN_RETRIED: unknown = get_run_retried(r, e); break;
    case EVENT_HEARTBEAT: unknown = get_heartbeat(r, e); break;
    case EVENT_CRASHED: unknown = get_crashed(r, e); break;
    case EVENT_WARNED: unknown = get_warned(r, e); break;
    default: return AIKI_UNSUPPORTED;
    }
    close_array(r, unknown);
    return r->status;
}

/* Read the body and what may follow it in the outer array. */
static aiki_status finish(aiki_reader *r, uint64_t unknown, const uint8_t *begin, struct event *e,
                          aiki_view *ret_body, aiki_error *err)
{
    const uint8_t *body = r->at;
    aiki_status status = r->status == AIKI_OK ? get_body(r, e) : r->status;
    *ret_body = (aiki_view){body, (uint64_t)(r->at - body)};
    if (status == AIKI_OK) {
        close_array(r, unknown);
        status = r->status;
    }
    e->encoded = (aiki_view){begin, (uint64_t)(r->at - begin)};
    if (status == AIKI_OK)
        return AIKI_OK;
    r->status = status; /* the rest cannot be trusted either */
    unsigned long long kind = (unsigned long long)e->kind,
                       at = (unsigned long long)e->encoded.size_bytes;
    if (status == AIKI_UNSUPPORTED)
        return error_set(err, status, "event %llu of kind %llu (%s) is of a later release",
                         (unsigned long long)e->seq, kind, event_kind_name(e->kind));
    if (status == AIKI_LIMIT)
        return error_set(err, status, "event of kind %llu (%s) is over %d levels or %d items", kind,
                         event_kind_name(e->kind), AIKI_MP_DEPTH_MAX, AIKI_MP_NODES_MAX);
    return error_set(err, status, "event of kind %llu (%s) does not decode at its byte %llu", kind,
                     event_kind_name(e->kind), at);
}

aiki_status event_read_new(aiki_reader *r, struct event *ret, aiki_view *ret_body, aiki_error *err)
{
    struct event e;
    aiki_view body;
    const uint8_t *begin = r->at;
    if (r->status == AIKI_OK && r->at == r->end)
        return AIKI_NOT_FOUND;
    memset(&e, 0, sizeof(e));
    uint64_t unknown = open_array(r, NEW_FIELDS);
    e.kind = aiki_mp_read_uint(r);
    aiki_status status = finish(r, unknown, begin, &e, &body, err);
    if (status == AIKI_OK) {
        *ret = e;
        *ret_body = body;
    }
    return status;
}

aiki_status event_read_stored(aiki_reader *r, struct event *ret, aiki_error *err)
{
    struct event e;
    aiki_view body;
    const uint8_t *begin = r->at;
    if (r->status == AIKI_OK && r->at == r->end)
        return AIKI_NOT_FOUND;
    memset(&e, 0, sizeof(e));
    uint64_t unknown = open_array(r, STORED_FIELDS);
    e.seq = aiki_mp_read_uint(r);
    e.at_ms = aiki_mp_read_int(r);
    e.epoch = aiki_mp_read_uint(r);
    e.kind = aiki_mp_read_uint(r);
    aiki_status status = finish(r, unknown, begin, &e, &body, err);
    if (status == AIKI_OK)
        *ret = e;
    return status;
}

/* Whose end it is: an id is bytes, a key is text. */
static uint64_t get_wait_ref(aiki_reader *r, struct wait *wait, uint64_t unknown)
{
    aiki_mp_item head;
    if (unknown == 0 || !aiki_mp_peek(r, &head))
        return unknown;
    if (head.type == AIKI_MP_BIN)
        get_fixed(r, wait->child.bytes, sizeof(wait->child.bytes));
    else
        wait->key = aiki_mp_read_str(r);
    return unknown - 1;
}

aiki_status wait_read(aiki_reader *r, struct wait *ret)
{
    struct wait wait = {.kind = 0};
    uint64_t unknown = open_array(r, WAIT_FIELDS);
    wait.kind = aiki_mp_read_uint(r);
    wait.name = aiki_mp_read_str(r);
    wait.due_at_ms = aiki_mp_read_int(r);
    wait.since_ms = aiki_mp_read_int(r);
    close_array(r, get_wait_ref(r, &wait, unknown));
    if (r->status == AIKI_OK)
        *ret = wait;
    return r->status;
}

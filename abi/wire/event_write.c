/* event_write.c - events and waits as they are written; event_impl.h has their fields. */
#include "wire/event.h"

#include <stdlib.h>

#include "wire/event_impl.h"

static void put_text(aiki_writer *w, aiki_view text)
{
    aiki_mp_strn(w, text.data, text.size_bytes);
}

static void put_payload(aiki_writer *w, aiki_view payload)
{
    if (payload.size_bytes == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_bin(w, payload.data, payload.size_bytes);
}

/* One msgpack value, nil when empty. */
static void put_raw(aiki_writer *w, aiki_view map)
{
    if (map.size_bytes == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_raw(w, map.data, map.size_bytes);
}

static bool has_options(const struct event *e)
{
    return e->as.step.options.size_bytes > 0;
}

/* How many fields of `[options, since_ms]` there are: as many as it takes, at the end of a body. */
static uint64_t tail_fields(const struct event *e)
{
    return e->as.step.since_ms != 0 ? 2 : has_options(e);
}

static void put_tail(aiki_writer *w, const struct event *e)
{
    if (tail_fields(e) > 0)
        put_raw(w, e->as.step.options);
    if (e->as.step.since_ms != 0)
        aiki_mp_int(w, e->as.step.since_ms);
}

/* Head of the step bodies: the array and [address, nth, identity]. */
static void put_step(aiki_writer *w, const struct event *e, uint64_t field_count)
{
    aiki_mp_array(w, field_count);
    aiki_mp_bin(w, e->as.step.address.bytes, ADDRESS_BYTES);
    aiki_mp_uint(w, e->as.step.nth);
    if (e->as.step.identity_kind == 0) {
        aiki_mp_nil(w);
        return;
    }
    aiki_mp_array(w, IDENTITY_FIELDS);
    aiki_mp_uint(w, e->as.step.identity_kind);
    put_text(w, e->as.step.name);
    put_payload(w, e->as.step.input);
}

static bool is_plain_start(const struct event *e)
{
    return id_is_zero(&e->as.started.parent) && e->as.started.start_at_ms == 0 &&
           e->as.started.deadline_ms == 0 && e->as.started.retry.size_bytes == 0;
}

static void put_start_options(aiki_writer *w, const struct event *e)
{
    aiki_mp_array(w, START_OPTION_FIELDS);
    aiki_mp_bin(w, e->as.started.parent.bytes, sizeof(e->as.started.parent.bytes));
    aiki_mp_bin(w, e->as.started.parent_address.bytes, ADDRESS_BYTES);
    aiki_mp_uint(w, e->as.started.parent_nth);
    aiki_mp_uint(w, e->as.started.close_policy);
    aiki_mp_int(w, e->as.started.start_at_ms);
    aiki_mp_int(w, e->as.started.deadline_ms);
    put_raw(w, e->as.started.retry);
}

static void put_started(aiki_writer *w, const struct event *e)
{
    bool plain = is_plain_start(e);
    aiki_mp_array(w, plain ? STARTED_FIELDS : STARTED_FIELDS + 1);
    put_text(w, e->as.started.workflow);
    put_text(w, e->as.started.version);
    put_payload(w, e->as.started.input);
    put_text(w, e->as.started.key);
    put_text(w, e->as.started.actor);
    if (!plain)
        put_start_options(w, e);
}

static void put_claimed(aiki_writer *w, const struct event *e)
{
    bool waited = e->as.claimed.load_ms > 0;
    aiki_mp_array(w, CLAIMED_FIELDS + (waited ? 1 : 0));
    aiki_mp_bin(w, e->as.claimed.session.bytes, sizeof(e->as.claimed.session.bytes));
    aiki_mp_bin(w, e->as.claimed.build.data, e->as.claimed.build.size_bytes);
    put_text(w, e->as.claimed.runtime);
    if (waited)
        aiki_mp_uint(w, e->as.claimed.load_ms);
}

static void put_attempt_failed(aiki_writer *w, const struct event *e)
{
    put_step(w, e, ATTEMPT_FAILED_FIELDS + tail_fields(e));
    aiki_mp_uint(w, e->as.step.attempt);
    aiki_mp_int(w, e->as.step.next_at_ms);
    put_raw(w, e->as.step.error);
    aiki_mp_int(w, e->as.step.duration_us);
    put_tail(w, e);
}

static void put_step_done(aiki_writer *w, const struct event *e)
{
    put_step(w, e, STEP_DONE_FIELDS + has_options(e));
    aiki_mp_uint(w, e->as.step.attempt);
    aiki_mp_uint(w, e->as.step.outcome);
    put_payload(w, e->as.step.value);
    put_raw(w, e->as.step.error);
    aiki_mp_int(w, e->as.step.duration_us);
    if (has_options(e))
        put_raw(w, e->as.step.options);
}

static void put_step_begun(aiki_writer *w, const struct event *e)
{
    put_step(w, e, STEP_BEGUN_FIELDS + tail_fields(e));
    aiki_mp_int(w, e->as.step.due_at_ms);
    aiki_mp_int(w, e->as.step.duration_ms);
    put_tail(w, e);
}

static void put_child_done(aiki_writer *w, const struct event *e)
{
    bool joined = !id_is_zero(&e->as.child_done.by);
    aiki_mp_array(w, CHILD_DONE_FIELDS + joined);
    aiki_mp_bin(w, e->as.child_done.child.bytes, sizeof(e->as.child_done.child.bytes));
    aiki_mp_uint(w, e->as.child_done.state);
    put_payload(w, e->as.child_done.output);
    put_raw(w, e->as.child_done.error);
    if (joined)
        aiki_mp_bin(w, e->as.child_done.by.bytes, sizeof(e->as.child_done.by.bytes));
}

static void put_run_retried(aiki_writer *w, const struct event *e)
{
    aiki_mp_array(w, RUN_RETRIED_FIELDS + (e->as.run_retried.ref.size_bytes > 0));
    aiki_mp_uint(w, e->as.run_retried.from_seq);
    aiki_mp_uint(w, e->as.run_retried.attempt);
    aiki_mp_int(w, e->as.run_retried.next_at_ms);
    put_raw(w, e->as.run_retried.error);
    put_text(w, e->as.run_retried.reason);
    put_text(w, e->as.run_retried.actor);
    if (e->as.run_retried.ref.size_bytes > 0)
        put_text(w, e->as.run_retried.ref);
}

static void put_crashed(aiki_writer *w, const struct event *e)
{
    aiki_mp_array(w, CRASHED_FIELDS);
    aiki_mp_bin(w, e->as.crashed.address.bytes, ADDRESS_BYTES);
    aiki_mp_uint(w, e->as.crashed.nth);
    put_text(w, e->as.crashed.name);
    aiki_mp_uint(w, e->as.crashed.attempt);
    aiki_mp_bool(w, e->as.crashed.charged);
    aiki_mp_bin(w, e->as.crashed.build.data, e->as.crashed.build.size_bytes);
    put_raw(w, e->as.crashed.error);
}

static void put_body(aiki_writer *w, const struct event *e)
{
    switch (e->kind) {
    case EVENT_STARTED: put_started(w, e); break;
    case EVENT_CLAIMED: put_claimed(w, e); break;
    case EVENT_STEP_BEGUN: put_step_begun(w, e); break;
    case EVENT_ATTEMPT_FAILED: put_attempt_failed(w, e); break;
    case EVENT_STEP_DONE:
    case EVENT_ATTEMPT_DONE: put_step_done(w, e); break;
    case EVENT_SIGNAL:
        aiki_mp_array(w, SIGNAL_FIELDS);
        put_text(w, e->as.signal.name);
        put_payload(w, e->as.signal.payload);
        put_text(w, e->as.signal.ref);
        break;
    case EVENT_COMPLETED:
        aiki_mp_array(w, 1);
        put_payload(w, e->as.completed.output);
        break;
    case EVENT_FAILED:
    case EVENT_CANCELLED:
    case EVENT_TIMED_OUT:
        aiki_mp_array(w, 1);
        put_raw(w, e->as.failed.error);
        break;
    case EVENT_BLOCKED:
        aiki_mp_array(w, 1);
        put_raw(w, e->as.blocked.error);
        break;
    case EVENT_UNBLOCKED:
        aiki_mp_array(w, e->as.unblocked.why != UNBLOCKED_BY_BUILD);
        if (e->as.unblocked.why != UNBLOCKED_BY_BUILD)
            aiki_mp_uint(w, e->as.unblocked.why);
        break;
    case EVENT_CANCEL_SEEN: aiki_mp_array(w, 0); break;
    case EVENT_CANCEL_REQUESTED:
    case EVENT_WOKEN:
    case EVENT_PAUSED:
    case EVENT_RESUMED:
    case EVENT_DROPPED:
    case EVENT_TERMINATED:
        aiki_mp_array(w, CONTROL_FIELDS + (e->as.control.ref.size_bytes > 0));
        put_text(w, e->as.control.reason);
        put_text(w, e->as.control.actor);
        if (e->as.control.ref.size_bytes > 0)
            put_text(w, e->as.control.ref);
        break;
    case EVENT_CHILD_DONE: put_child_done(w, e); break;
    case EVENT_JOINED:
        aiki_mp_array(w, JOINED_FIELDS);
        aiki_mp_bin(w, e->as.joined.parent.bytes, sizeof(e->as.joined.parent.bytes));
        aiki_mp_bin(w, e->as.joined.child.bytes, sizeof(e->as.joined.child.bytes));
        break;
    case EVENT_RUN_RETRIED: put_run_retried(w, e); break;
    case EVENT_HEARTBEAT:
        put_step(w, e, HEARTBEAT_FIELDS);
        aiki_mp_uint(w, e->as.step.attempt);
        put_payload(w, e->as.step.value);
        break;
    case EVENT_CRASHED: put_crashed(w, e); break;
    case EVENT_WARNED:
        put_step(w, e, WARNED_FIELDS);
        aiki_mp_uint(w, e->as.step.warned);
        put_raw(w, e->as.step.error);
        break;
    default: abort(); /* a kind of our own making that is not in the table */
    }
}

void event_write_new(aiki_writer *w, const struct event *e)
{
    aiki_mp_array(w, NEW_FIELDS);
    aiki_mp_uint(w, e->kind);
    put_body(w, e);
}

void event_write_stored(aiki_writer *w, uint64_t seq, int64_t at_ms, uint64_t epoch, uint64_t kind,
                        aiki_view body)
{
    aiki_mp_array(w, STORED_FIELDS);
    aiki_mp_uint(w, seq);
    aiki_mp_int(w, at_ms);
    aiki_mp_uint(w, epoch);
    aiki_mp_uint(w, kind);
    aiki_mp_raw(w, body.data, body.size_bytes);
}

void wait_write(aiki_writer *w, const struct wait *wait)
{
    bool shared = wait->key.size_bytes > 0, child = !id_is_zero(&wait->child);
    aiki_mp_array(w, WAIT_FIELDS + (shared || child));
    aiki_mp_uint(w, wait->kind);
    put_text(w, wait->name);
    aiki_mp_int(w, wait->due_at_ms);
    aiki_mp_int(w, wait->since_ms);
    if (shared)
        put_text(w, wait->key);
    else if (child)
        aiki_mp_bin(w, wait->child.bytes, sizeof(wait->child.bytes));
}

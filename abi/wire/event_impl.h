/* wire/event_impl.h - the journal's encoding: what writer and reader agree on.
 *
 *   new     [kind, body]                     stored  [seq, at_ms, epoch, kind, body]
 *
 *   STARTED         [workflow, version, input, key, actor] or, not a plain one,
 *                   [..., [parent, address, nth, close_policy, start_at_ms, deadline_ms, retry]]
 *   CLAIMED         [session, build, runtime] or [..., load_ms]
 *   STEP_BEGUN      [address, nth, identity, due_at_ms, duration_ms] or [..., options]
 *                   or [..., options, since_ms]
 *   ATTEMPT_FAILED  [address, nth, identity, attempt, next_at_ms, error, duration_us]
 *                   or [..., retry] or [..., retry, since_ms]
 *   STEP_DONE, ATTEMPT_DONE
 *                   [address, nth, identity, attempt, outcome, value, error, duration_us]
 *                   or [..., retry]
 *   SIGNAL          [name, payload, ref]
 *   COMPLETED       [output]
 *   FAILED, BLOCKED, CANCELLED, TIMED_OUT                             [error]
 *   CANCEL_SEEN                                                       []
 *   UNBLOCKED       [] or [why]
 *   CANCEL_REQUESTED, WOKEN, PAUSED, RESUMED, TERMINATED, DROPPED     [reason, actor] or [..., ref]
 *   CHILD_DONE      [child, state, output, error] or [..., by]
 *   JOINED          [parent, child]
 *   RUN_RETRIED     [from_seq, attempt, next_at_ms, error, reason, actor] or [..., ref]
 *   HEARTBEAT       [address, nth, identity, attempt, details]
 *   CRASHED         [address, nth, name, attempt, charged, build, error]
 *   WARNED          [address, nth, identity, warned, error]
 *   identity        nil, or [kind, name, input]
 *
 * Payloads (input, output, value, payload) are bin, nil when empty: an event stays readable
 * whatever is in them, and they are not walked to get past them. Errors are maps, or nil.
 * Fields of later releases follow these and are skipped; none of these may be missing.
 */
#ifndef WIRE_EVENT_IMPL_H
#define WIRE_EVENT_IMPL_H

enum {
    STARTED_FIELDS = 5,
    CLAIMED_FIELDS = 3,
    STEP_BEGUN_FIELDS = 5,
    ATTEMPT_FAILED_FIELDS = 7,
    STEP_DONE_FIELDS = 8,
    SIGNAL_FIELDS = 3,
    START_OPTION_FIELDS = 7,
    CONTROL_FIELDS = 2,
    CHILD_DONE_FIELDS = 4,
    JOINED_FIELDS = 2,
    RUN_RETRIED_FIELDS = 6,
    HEARTBEAT_FIELDS = 5,
    CRASHED_FIELDS = 7,
    WARNED_FIELDS = 5,
    IDENTITY_FIELDS = 3,
    NEW_FIELDS = 2,
    STORED_FIELDS = 5,
    WAIT_FIELDS = 4
};

#endif

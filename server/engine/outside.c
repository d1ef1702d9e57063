/* outside.c - what comes to a run while nobody, or somebody else, executes it: signals, requests,
 * ends of children, time, and the loss of its owner. */
#include <string.h>

#include "engine/engine_impl.h"
#include "base/planted.h"
#include "wire/event.h"
#include "wire/message.h"

static bool has_room(const struct run *run, uint64_t size_bytes, struct engine_refusal *refusal)
{
    if (run->signals >= RUN_SIGNALS_MAX)
        return engine_refuse_limit(refusal,
                                   "RUN_SIGNALS_MAX: too many signals and requests for one run",
                                   run->signals + 1, RUN_SIGNALS_MAX);
    if (run->seq >= RUN_EVENTS_MAX)
        return engine_refuse_limit(refusal, "RUN_EVENTS_MAX: too many events in one run",
                                   run->seq + 1, RUN_EVENTS_MAX);
    if (run->journal_bytes + size_bytes > RUN_JOURNAL_BYTES_MAX)
        return engine_refuse_limit(refusal, "RUN_JOURNAL_BYTES_MAX: the run's journal is too large",
                                   run->journal_bytes + size_bytes, RUN_JOURNAL_BYTES_MAX);
    return true;
}

/* An event that the owner has to be shown, and to have seen before it parks. */
static void arrive(struct run *run, const struct engine_now *now, uint64_t kind, aiki_view body,
                   aiki_writer *events, struct engine_effects *effects)
{
    engine_touch(run, now);
    engine_record(run, kind, body, events, effects);
    run->signals++;
    effects->notify = run->owner != 0;
}

bool engine_signal(struct run *run, const struct engine_now *now, aiki_view name,
                   aiki_view signal_body, aiki_writer *events, struct engine_effects *ret_effects,
                   struct engine_refusal *ret_refusal)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    uint8_t outcome = engine_outcome(CHANGE_SIGNAL, run->state);
    if (outcome == 0)
        return engine_refuse(ret_refusal, AIKI_STALE, "RUN_ENDED",
                             "the run has ended; signals reach open runs only");
    if (!has_room(run, signal_body.size_bytes, ret_refusal))
        return false;
    arrive(run, now, EVENT_SIGNAL, signal_body, events, ret_effects);
    if (outcome == PARKED && engine_waits_for(run->waits, STEP_SIGNAL, name))
        engine_queue(run, now, ret_effects);
    return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

static const struct {
    enum engine_change change;
    uint64_t event;
    const char *refused;
} requests[] = {
    [CONTROL_CANCEL] = {CHANGE_CANCEL, EVENT_CANCEL_REQUESTED,
                        "the run has ended; open runs can be cancelled"},
    [CONTROL_TERMINATE] = {CHANGE_TERMINATE, EVENT_TERMINATED,
                           "the run has ended; open runs can be terminated"},
    [CONTROL_PAUSE] = {CHANGE_PAUSE, EVENT_PAUSED, "the run has ended; open runs can be paused"},
    [CONTROL_RESUME] = {CHANGE_RESUME, EVENT_RESUMED,
                        "the run has ended; paused runs can be resumed"},
    [CONTROL_WAKE] = {CHANGE_WAKE, EVENT_WOKEN, "the run has ended; open runs can be woken"},
};

/* The request asks for what is so already; a repeat of one whose answer was lost must not be told
 * that it comes too late. */
static bool is_so(const struct run *run, uint64_t action)
{
    bool open = engine_outcome(CHANGE_TERMINATE, run->state) != 0;
    switch (action) {
    case CONTROL_CANCEL: return (run->flags & RUN_FLAG_CANCEL) != 0;
    case CONTROL_TERMINATE: return run->state == RUN_TERMINATED;
    case CONTROL_PAUSE: return open && (run->flags & RUN_FLAG_PAUSE) != 0;
    case CONTROL_RESUME: return open && (run->flags & RUN_FLAG_PAUSE) == 0;
    default: return false;
    }
}

static bool may_request(const struct run *run, const struct engine_request *q,
                        struct engine_refusal *refusal)
{
    if (engine_outcome(CHANGE_TERMINATE, run->state) == 0)
        return engine_refuse(refusal, AIKI_STALE, "RUN_ENDED", requests[q->action].refused);
    if (q->action == CONTROL_PAUSE && (run->flags & RUN_FLAG_CANCEL) != 0)
        return engine_refuse(
            refusal, AIKI_STALE, "RUN_CANCELLING",
            "the run is being cancelled and has to clean up; terminate it to stop that");
    /* These two must always be possible, and each comes once. */
    return q->action == CONTROL_CANCEL || q->action == CONTROL_TERMINATE ||
           has_room(run, q->body.size_bytes, refusal);
}

static void set_flags(struct run *run, uint64_t action)
{
    if (action == CONTROL_CANCEL)
        run->flags = (run->flags | RUN_FLAG_CANCEL) & ~(uint64_t)RUN_FLAG_PAUSE;
    else if (action == CONTROL_PAUSE)
        run->flags |= RUN_FLAG_PAUSE;
    else if (action == CONTROL_RESUME)
        run->flags &= ~(uint64_t)RUN_FLAG_PAUSE;
}

/* A scheduled run that was paused still starts no earlier than it was to. */
static void pause_or_resume(struct run *run, const struct engine_now *now, uint32_t outcome,
                            struct engine_effects *effects)
{
    int64_t start_at_ms =
        run->state == RUN_SCHEDULED || run->state == RUN_PAUSED ? run->wake_at_ms : 0;
    engine_queue(run, now, effects);
    if (outcome == RUN_PAUSED) {
        run->wake_at_ms = start_at_ms;
    } else if (start_at_ms > now->at_ms) {
        run->state = RUN_SCHEDULED;
        run->wake_at_ms = start_at_ms;
        effects->offer = false;
    }
}

static void end_at_once(struct run *run, uint32_t outcome, const struct engine_request *q,
                        aiki_writer *events, struct engine_effects *effects)
{
    effects->drop = run->owner != 0;
    effects->notify = false;
    effects->reason = q->error;
    engine_end(run, outcome, effects);
    if (outcome == RUN_CANCELLED)
        engine_record(run, EVENT_CANCELLED, q->end_body, events, effects);
}

bool engine_request(struct run *run, const struct engine_now *now, const struct engine_request *q,
                    aiki_writer *events, struct engine_effects *ret_effects,
                    struct engine_refusal *ret_refusal)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (is_so(run, q->action))
        return true;
    if (!may_request(run, q, ret_refusal))
        return false;
    uint32_t outcome = engine_outcome(requests[q->action].change, run->state);
    if (q->action == CONTROL_CANCEL && run->state == RUN_PAUSED && run->wake_at_ms != 0)
        outcome = RUN_CANCELLED; /* paused while scheduled: there is nothing to clean up */
    if (q->action == CONTROL_TERMINATE) {
        engine_touch(run, now);
        engine_record(run, EVENT_TERMINATED, q->body, events, ret_effects);
    } else {
        arrive(run, now, requests[q->action].event, q->body, events, ret_effects);
    }
    set_flags(run, q->action);
    if (run->state == RUN_PAUSED && q->action == CONTROL_WAKE)
        run->wake_at_ms = 0; /* once it is resumed it starts at once */
    if (outcome == RUN_TERMINATED || outcome == RUN_CANCELLED)
        end_at_once(run, outcome, q, events, ret_effects);
    else if (q->action == CONTROL_PAUSE || q->action == CONTROL_RESUME) {
        if (outcome != STAY)
            pause_or_resume(run, now, outcome, ret_effects);
    } else if (outcome == RUN_QUEUED && !BUG(cancel_lost)) {
        engine_queue(run, now, ret_effects);
    }
    return true;
}

bool engine_child_done(struct run *run, const struct engine_now *now, aiki_view done_body,
                       aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    uint8_t outcome = engine_outcome(CHANGE_CHILD, run->state);
    if (outcome == 0)
        return false;
    arrive(run, now, EVENT_CHILD_DONE, done_body, events, ret_effects);
    if (outcome == PARKED && engine_waits_for(run->waits, STEP_CHILD, (aiki_view){NULL, 0}))
        engine_queue(run, now, ret_effects);
    return true;
}

bool engine_join(struct run *run, const struct engine_now *now, aiki_view joined_body,
                 aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (run->seq >= RUN_JOIN_EVENTS_MAX)
        return false;
    run->flags |= RUN_FLAG_JOINED;
    engine_touch(run, now);
    engine_record(run, EVENT_JOINED, joined_body, events, ret_effects);
    return true;
}

bool engine_retry(struct run *run, const struct engine_now *now, aiki_view retried_body,
                  aiki_writer *events, struct engine_effects *ret_effects,
                  struct engine_refusal *ret_refusal)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (engine_outcome(CHANGE_RETRY, run->state) == 0)
        return engine_refuse(ret_refusal, AIKI_STALE, "RUN_NOT_FAILED",
                             "only a failed, cancelled or timed out run can be retried");
    if (!has_room(run, retried_body.size_bytes, ret_refusal))
        return false;
    run->flags &= ~(RUN_FLAG_CANCEL | RUN_FLAG_PAUSE | RUN_FLAG_DROPPED);
    run->deadline_ms = 0; /* it is over, or no longer what was promised */
    engine_queue(run, now, ret_effects);
    engine_touch(run, now);
    engine_record(run, EVENT_RUN_RETRIED, retried_body, events, ret_effects);
    return true;
}

/* Each failure is dropped once, so that there is always room for it. */
bool engine_drop(struct run *run, const struct engine_now *now, aiki_view dropped_body,
                 aiki_writer *events, struct engine_effects *ret_effects,
                 struct engine_refusal *ret_refusal)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (engine_outcome(CHANGE_DROP, run->state) == 0)
        return engine_refuse(ret_refusal, AIKI_STALE, "RUN_NOT_FAILED",
                             "only a failed run is a dead letter that can be dropped");
    if ((run->flags & RUN_FLAG_DROPPED) != 0)
        return true;
    run->flags |= RUN_FLAG_DROPPED;
    engine_touch(run, now);
    engine_record(run, EVENT_DROPPED, dropped_body, events, ret_effects);
    return true;
}

/* ---- time and loss --------------------------------------------------------------------------- */

static void time_out(struct run *run, const struct engine_now *now, aiki_view body, aiki_view error,
                     aiki_writer *events, struct engine_effects *effects)
{
    effects->drop = run->owner != 0;
    effects->reason = error;
    engine_touch(run, now);
    engine_end(run, RUN_TIMED_OUT, effects);
    engine_record(run, EVENT_TIMED_OUT, body, events, effects);
}

bool engine_unclaimed(struct run *run, const struct engine_now *now, aiki_view timed_out_body,
                      aiki_view error, aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (run->state != RUN_QUEUED || run->wake_at_ms == 0 || run->wake_at_ms > now->at_ms)
        return false;
    time_out(run, now, timed_out_body, error, events, ret_effects);
    return true;
}

bool engine_expire(struct run *run, const struct engine_now *now, aiki_view timed_out_body,
                   aiki_view error, aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (run->deadline_ms == 0 || run->deadline_ms > now->at_ms ||
        engine_outcome(CHANGE_EXPIRE, run->state) == 0)
        return false;
    time_out(run, now, timed_out_body, error, events, ret_effects);
    return true;
}

bool engine_wake(struct run *run, const struct engine_now *now, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (!BUG(woken_twice) && (engine_outcome(CHANGE_TIMER, run->state) == 0 ||
                              run->wake_at_ms == 0 || run->wake_at_ms > now->at_ms))
        return false;
    engine_queue(run, now, ret_effects);
    engine_touch(run, now);
    return true;
}

bool engine_lose(struct run *run, const struct engine_now *now, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (engine_outcome(CHANGE_LOSE, run->state) == 0)
        return false;
    engine_queue(run, now, ret_effects);
    engine_touch(run, now);
    return true;
}

bool engine_unblock(struct run *run, const struct engine_now *now, aiki_view unblocked_body,
                    aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (engine_outcome(CHANGE_UNBLOCK, run->state) == 0)
        return false;
    engine_queue(run, now, ret_effects);
    engine_touch(run, now);
    engine_record(run, EVENT_UNBLOCKED, unblocked_body, events, ret_effects);
    return true;
}

bool engine_hold_over(struct run *run, const struct engine_now *now, aiki_view unblocked_body,
                      aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    return run->wake_at_ms != 0 && run->wake_at_ms <= now->at_ms &&
           engine_unblock(run, now, unblocked_body, events, ret_effects);
}

void engine_condemn(struct run *run, const struct engine_now *now)
{
    engine_disown(run);
    run->wake_at_ms = 0;
    run->state = RUN_BLOCKED;
    run->epoch = engine_epoch_next(run->epoch, now);
    engine_touch(run, now);
}

void engine_adopt(struct run *run, const struct engine_now *now)
{
    run->owner = 0;
    if (BUG(deadline_forgotten))
        run->deadline_ms = 0;
    if (run->state != RUN_QUEUED && (run->state != RUN_RUNNING || BUG(outbox_forgotten)))
        return;
    bool paused = (run->flags & RUN_FLAG_PAUSE) != 0;
    /* The offers of an earlier incarnation are void. A function of the row alone, so that a run
     * may be forgotten and read again without a trace. */
    run->state = paused ? RUN_PAUSED : RUN_QUEUED;
    if (run->epoch < now->epoch_floor)
        run->epoch = engine_epoch_next(run->epoch, now);
}

/* engine.c - the rules of a run's life: its start, who owns it, what an owner may record. */
#include <string.h>

#include "engine/engine_impl.h"
#include "base/planted.h"
#include "wire/event.h"
#include "wire/message.h"

/* One new event as the owner sent it. */
struct fresh {
    uint64_t kind;
    aiki_view body;
};

void engine_start(struct run *run, const struct engine_now *now, aiki_view started_body,
                  aiki_writer *events, struct engine_effects *ret_effects)
{
    int64_t start_at_ms = run->wake_at_ms;
    memset(ret_effects, 0, sizeof(*ret_effects));
    engine_queue(run, now, ret_effects);
    if (start_at_ms > now->at_ms && !BUG(start_early)) {
        run->state = RUN_SCHEDULED;
        run->wake_at_ms = start_at_ms;
        ret_effects->offer = false;
    }
    engine_touch(run, now);
    engine_record(run, EVENT_STARTED, started_body, events, ret_effects);
}

void engine_start_by(struct run *run, int64_t at_ms)
{
    if (run->state == RUN_QUEUED && !BUG(start_by_forgotten))
        run->wake_at_ms = at_ms;
}

bool engine_claim(struct run *run, uint64_t session, uint64_t epoch,
                  struct engine_refusal *ret_refusal)
{
    if (run->epoch != epoch)
        return engine_refuse(ret_refusal, AIKI_STALE, "STALE", "the ticket is of another epoch");
    if (engine_outcome(CHANGE_CLAIM, run->state) == 0)
        return engine_refuse(ret_refusal, AIKI_STALE, "STALE",
                             "the run is not waiting for an owner");
    run->state = engine_outcome(CHANGE_CLAIM, run->state);
    run->owner = session;
    run->claim_recorded = false;
    run->wake_at_ms = 0; /* a limit until the claim, if anything */
    run->appended = 0;
    run->last_epoch = epoch;
    run->last_owner = session;
    return true;
}

/* ---- waits -------------------------------------------------------------------------------- */

/* [kind, name, due_at_ms, since_ms], see wait_write. */
static bool read_wait(aiki_reader *r, uint64_t *ret_kind, aiki_view *ret_name)
{
    uint64_t fields = aiki_mp_read_array(r);
    if (fields < 4)
        return false;
    *ret_kind = aiki_mp_read_uint(r);
    *ret_name = aiki_mp_read_str(r);
    (void)aiki_mp_read_int(r); /* times are for people; the timer is wake_at_ms */
    (void)aiki_mp_read_int(r);
    for (; fields > 4; fields--)
        (void)aiki_mp_skip(r); /* a failure sticks in r->status */
    return r->status == AIKI_OK;
}

/* The state that a park with these waits is shown as, 0 when they are not waits. */
static uint32_t parked_state(aiki_view waits, uint64_t *ret_count)
{
    bool signal = false, child = false, sleep = false;
    aiki_reader r;
    *ret_count = 0;
    if (waits.size_bytes == 0)
        return RUN_SLEEPING;
    aiki_reader_init(&r, waits);
    uint64_t count = aiki_mp_read_array(&r);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t kind;
        aiki_view name;
        if (!read_wait(&r, &kind, &name))
            return 0;
        signal |= kind == STEP_SIGNAL;
        child |= kind == STEP_CHILD;
        sleep |= kind == STEP_SLEEP;
    }
    if (r.status != AIKI_OK || r.at != r.end)
        return 0;
    *ret_count = count;
    if (signal || child)
        return signal ? RUN_AWAITING_SIGNAL : RUN_AWAITING_CHILD;
    return sleep || count == 0 ? RUN_SLEEPING : RUN_AWAITING_RETRY;
}

bool engine_waits_for(aiki_view waits, uint64_t wanted, aiki_view wanted_name)
{
    aiki_reader r;
    if (waits.size_bytes == 0)
        return false;
    aiki_reader_init(&r, waits);
    uint64_t count = aiki_mp_read_array(&r);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t kind;
        aiki_view name;
        if (!read_wait(&r, &kind, &name))
            return false;
        if (kind == wanted && (wanted_name.size_bytes == 0 ||
                               (name.size_bytes == wanted_name.size_bytes &&
                                memcmp(name.data, wanted_name.data, name.size_bytes) == 0)))
            return true;
    }
    return false;
}

/* ---- append ------------------------------------------------------------------------------- */

static bool owner_may_write(uint64_t kind)
{
    return kind == EVENT_STEP_BEGUN || kind == EVENT_ATTEMPT_FAILED || kind == EVENT_STEP_DONE ||
           kind == EVENT_COMPLETED || kind == EVENT_FAILED || kind == EVENT_BLOCKED ||
           kind == EVENT_CANCELLED || kind == EVENT_CANCEL_SEEN || kind == EVENT_RUN_RETRIED ||
           kind == EVENT_HEARTBEAT || kind == EVENT_ATTEMPT_DONE || kind == EVENT_CRASHED ||
           kind == EVENT_WARNED;
}

/* How a run must go on after an event of this kind, if that is not free. */
static bool kind_fits_next(uint64_t kind, uint64_t next, bool last)
{
    if (kind == EVENT_COMPLETED || kind == EVENT_FAILED || kind == EVENT_CANCELLED)
        return last && next == NEXT_FINISH;
    if (kind == EVENT_RUN_RETRIED)
        return last && next == NEXT_PARK;
    if (kind == EVENT_BLOCKED)
        return last && next == NEXT_BLOCK;
    if (kind == EVENT_CRASHED)
        return last && next == NEXT_RELEASE;
    return !last || (next != NEXT_FINISH && next != NEXT_BLOCK);
}

static bool read_fresh(aiki_reader *r, struct fresh *ret)
{
    aiki_mp_item head;
    if (aiki_mp_read_array(r) != 2)
        return false;
    ret->kind = aiki_mp_read_uint(r);
    if (!aiki_mp_peek(r, &head) || head.type != AIKI_MP_ARRAY)
        return false;
    ret->body = aiki_mp_value(r);
    return r->status == AIKI_OK;
}

/* First element of the body: the error map of FAILED, CANCELLED and BLOCKED. */
static aiki_view error_of(const struct fresh *event)
{
    aiki_reader r;
    aiki_reader_init(&r, event->body);
    if (aiki_mp_read_array(&r) == 0)
        return (aiki_view){NULL, 0};
    return aiki_mp_value(&r);
}

static bool record_fresh(struct run *run, const struct engine_append *a, aiki_writer *events,
                         struct engine_effects *effects, uint64_t *ret_last_kind,
                         struct engine_refusal *refusal)
{
    aiki_reader r;
    aiki_reader_init(&r, a->events);
    *ret_last_kind = 0;
    while (aiki_reader_left(&r) > 0) {
        struct fresh event;
        if (!read_fresh(&r, &event))
            return engine_refuse(
                refusal, r.status == AIKI_LIMIT ? AIKI_LIMIT : AIKI_INVALID, "BAD_EVENT",
                "an appended event is not [kind, body] within depth and node limits");
        if (!owner_may_write(event.kind))
            return engine_refuse(refusal, AIKI_INVALID, "BAD_EVENT",
                                 "an appended event is of a kind the owner may not write");
        if (!kind_fits_next(event.kind, a->next, aiki_reader_left(&r) == 0))
            return engine_refuse(refusal, AIKI_INVALID, "BAD_APPEND",
                                 "the way the run goes on does not fit its last event");
        if (event.kind == EVENT_FAILED || event.kind == EVENT_CANCELLED ||
            event.kind == EVENT_BLOCKED)
            effects->reason = error_of(&event);
        if (event.kind == EVENT_CRASHED && !BUG(suspect_forgotten))
            run->flags |= RUN_FLAG_ALONE;
        engine_record(run, event.kind, event.body, events, effects);
        *ret_last_kind = event.kind;
    }
    if (*ret_last_kind == 0 && (a->next == NEXT_FINISH || a->next == NEXT_BLOCK))
        return engine_refuse(refusal, AIKI_INVALID, "BAD_APPEND",
                             "an end of the run needs the event that says how");
    return true;
}

/* What a broker has to say about a process that died is not refused either: there are few of those,
 * and nobody could say it in another way. */
static bool within_limits(const struct run *run, const struct engine_append *a, uint64_t last_kind,
                          struct engine_refusal *refusal)
{
    if (a->next == NEXT_FINISH || a->next == NEXT_BLOCK || last_kind == EVENT_CRASHED)
        return true;
    if (run->seq > RUN_EVENTS_MAX)
        return engine_refuse_limit(refusal, "RUN_EVENTS_MAX: too many events in one run", run->seq,
                                   RUN_EVENTS_MAX);
    if (run->journal_bytes > RUN_JOURNAL_BYTES_MAX)
        return engine_refuse_limit(refusal, "RUN_JOURNAL_BYTES_MAX: the run's journal is too large",
                                   run->journal_bytes, RUN_JOURNAL_BYTES_MAX);
    return true;
}

static bool park(struct run *run, const struct engine_now *now, const struct engine_append *a,
                 uint64_t last_kind, struct engine_effects *effects, struct engine_refusal *refusal)
{
    uint64_t count;
    uint32_t state = parked_state(a->waits, &count);
    if (state == 0)
        return engine_refuse(refusal, AIKI_INVALID, "BAD_WAITS",
                             "the waits of a park do not decode");
    if (count > RUN_WAITS_MAX)
        return engine_refuse_limit(refusal, "RUN_WAITS_MAX: too many waits at once", count,
                                   RUN_WAITS_MAX);
    if (a->wake_at_ms < 0 || (count == 0 && a->wake_at_ms == 0))
        return engine_refuse(refusal, AIKI_INVALID, "BAD_WAITS",
                             "a park needs something to wait for: waits or a time to wake");
    /* Something arrived that the code was not shown when it decided to wait: let it look. And a
     * run that is to be paused waits for nothing but to be resumed. */
    if ((run->signals > a->seen && !BUG(seen_ignored)) || (run->flags & RUN_FLAG_PAUSE) != 0) {
        run->waits = a->waits; /* shown if it is paused */
        engine_queue(run, now, effects);
        return true;
    }
    engine_disown(run);
    run->flags &= ~(uint64_t)RUN_FLAG_ALONE;
    run->state = last_kind == EVENT_RUN_RETRIED ? RUN_AWAITING_RETRY : state;
    run->wake_at_ms = BUG(wake_lost) ? 0 : a->wake_at_ms;
    run->waits = a->waits;
    return true;
}

static bool go_on(struct run *run, const struct engine_now *now, const struct engine_append *a,
                  uint64_t last_kind, struct engine_effects *effects,
                  struct engine_refusal *refusal)
{
    static const enum engine_change change_of[] = {[NEXT_CONTINUE] = CHANGE_CONTINUE,
                                                   [NEXT_FINISH] = CHANGE_FINISH,
                                                   [NEXT_PARK] = CHANGE_PARK,
                                                   [NEXT_RELEASE] = CHANGE_RELEASE,
                                                   [NEXT_BLOCK] = CHANGE_BLOCK,
                                                   [NEXT_ALONE] = CHANGE_RELEASE};
    if (a->next > NEXT_ALONE)
        return engine_refuse(refusal, AIKI_INVALID, "BAD_APPEND",
                             "unknown way for the run to go on");
    uint8_t outcome = engine_outcome(change_of[a->next], run->state);
    switch (outcome) {
    case STAY: return true;
    case PARKED: return park(run, now, a, last_kind, effects, refusal);
    case RUN_QUEUED:
        if (a->next == NEXT_ALONE && !BUG(alone_forgotten))
            run->flags |= RUN_FLAG_ALONE;
        engine_queue(run, now, effects);
        return true;
    case RUN_BLOCKED:
        engine_disown(run);
        run->flags &= ~(uint64_t)RUN_FLAG_ALONE;
        run->state = outcome;
        run->wake_at_ms = a->wake_at_ms;
        return true;
    case ENDED:
        engine_end(run,
                   last_kind == EVENT_COMPLETED   ? RUN_COMPLETED
                   : last_kind == EVENT_CANCELLED ? RUN_CANCELLED
                                                  : RUN_FAILED,
                   effects);
        return true;
    default: return engine_refuse(refusal, AIKI_FENCED, "FENCED", "the run is not executing");
    }
}

static bool is_owner(const struct run *run, const struct engine_append *a)
{
    return run->owner != 0 && run->owner == a->session && run->epoch == a->epoch;
}

/* The one on record with that number was this one. A stay that goes on was not ended by it: whoever hands
 * a run back over the number of another append must not be told that it was taken, as nobody else will. */
static bool is_repeat(const struct run *run, const struct engine_append *a)
{
    return a->session != 0 && run->last_owner == a->session && run->last_epoch == a->epoch &&
           a->number != 0 && run->appended == a->number &&
           (a->next == NEXT_CONTINUE || !is_owner(run, a)) && !BUG(append_repeated);
}

/* True: go on. False with *ret_repeated: seen before. */
static bool may_append(const struct run *run, const struct engine_append *a, bool *ret_repeated,
                       struct engine_refusal *refusal)
{
    *ret_repeated = is_repeat(run, a);
    if (*ret_repeated)
        return false;
    if (!is_owner(run, a) && !BUG(epoch_unchecked))
        return engine_refuse(refusal, AIKI_FENCED, "FENCED",
                             "the writer no longer owns the run; drop it");
    if (a->number != run->appended + 1 && !BUG(append_repeated))
        return engine_refuse(refusal, AIKI_INVALID, "BAD_APPEND",
                             "the append number is out of order");
    return true;
}

bool engine_append(struct run *run, const struct engine_now *now,
                   const struct engine_append *append, aiki_writer *events,
                   struct engine_effects *ret_effects, struct engine_refusal *ret_refusal)
{
    struct run work = *run; /* becomes the run only when nothing was refused */
    uint64_t events_before = events->size_bytes;
    uint64_t last_kind = 0;
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (!may_append(run, append, &ret_effects->repeated, ret_refusal))
        return ret_effects->repeated;

    engine_touch(&work, now);
    bool nothing = append->events.size_bytes == 0 && append->next == NEXT_RELEASE;
    if (!work.claim_recorded && !nothing) {
        engine_record(&work, EVENT_CLAIMED, append->claim_body, events, ret_effects);
        work.claim_recorded = true;
    }
    work.appended = append->number;
    if (!record_fresh(&work, append, events, ret_effects, &last_kind, ret_refusal) ||
        !within_limits(&work, append, last_kind, ret_refusal) ||
        !go_on(&work, now, append, last_kind, ret_effects, ret_refusal)) {
        events->size_bytes = events_before;
        return false;
    }
    *run = work;
    return true;
}

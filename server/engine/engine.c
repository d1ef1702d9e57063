/* engine.c - the rules of a run's life. */
#include "engine/engine.h"

#include <string.h>

#include "wire/event.h"
#include "wire/message.h"

/* One new event as the owner sent it. */
struct fresh {
    uint64_t kind;
    aiki_view body;
};

enum change { CLAIM, CONTINUE, FINISH, PARK, RELEASE, BLOCK, SIGNAL, WAKE, LOSE, UNBLOCK };

/* What a change makes of a state. 0: refused. STAY: unchanged. ENDED, PARKED: decided by the
 * last event and by the waits. */
enum { STAY = 100, ENDED = 101, PARKED = 102 };
static const uint8_t transition[][RUN_CANCELLING + 1] = {
    [CLAIM] = {[RUN_QUEUED] = RUN_RUNNING},
    [CONTINUE] = {[RUN_RUNNING] = STAY},
    [FINISH] = {[RUN_RUNNING] = ENDED},
    [PARK] = {[RUN_RUNNING] = PARKED},
    [RELEASE] = {[RUN_RUNNING] = RUN_QUEUED},
    [BLOCK] = {[RUN_RUNNING] = RUN_BLOCKED},
    [SIGNAL] = {[RUN_QUEUED] = STAY,
                [RUN_RUNNING] = STAY,
                [RUN_BLOCKED] = STAY,
                [RUN_SLEEPING] = PARKED,
                [RUN_AWAITING_SIGNAL] = PARKED,
                [RUN_AWAITING_RETRY] = PARKED},
    [WAKE] = {[RUN_SLEEPING] = RUN_QUEUED,
              [RUN_AWAITING_SIGNAL] = RUN_QUEUED,
              [RUN_AWAITING_RETRY] = RUN_QUEUED},
    [LOSE] = {[RUN_RUNNING] = RUN_QUEUED},
    [UNBLOCK] = {[RUN_BLOCKED] = RUN_QUEUED},
};

static uint8_t outcome_of(enum change change, uint32_t state)
{
    return state <= RUN_CANCELLING ? transition[change][state] : 0;
}

static bool refuse(struct engine_refusal *ret, aiki_status status, const char *code,
                   const char *text)
{
    *ret = (struct engine_refusal){.status = status, .code = code, .text = text};
    return false;
}

static bool refuse_limit(struct engine_refusal *ret, const char *text, uint64_t value,
                         uint64_t limit)
{
    *ret = (struct engine_refusal){
        .status = AIKI_LIMIT, .code = "LIMIT", .text = text, .value = value, .limit = limit};
    return false;
}

uint64_t engine_epoch_next(uint64_t epoch, const struct engine_now *now)
{
    return (epoch > now->epoch_floor ? epoch : now->epoch_floor) + 1;
}

/* Runnable again under a new epoch: whoever held an older one can no longer write. */
static void queue(struct run *run, const struct engine_now *now, struct engine_effects *effects)
{
    run->state = RUN_QUEUED;
    run->epoch = engine_epoch_next(run->epoch, now);
    run->owner = 0;
    run->claim_recorded = false;
    run->wake_at_ms = 0;
    run->waits = (aiki_view){NULL, 0};
    effects->offer = true;
}

static void disown(struct run *run)
{
    run->owner = 0;
    run->claim_recorded = false;
}

static void touch(struct run *run, const struct engine_now *now)
{
    if (run->updated_at_ms < now->at_ms)
        run->updated_at_ms = now->at_ms;
}

/* [seq, at_ms, epoch, kind, body], see wire/event.h. */
static void record(struct run *run, uint64_t kind, aiki_view body, aiki_writer *events,
                   struct engine_effects *effects)
{
    uint64_t before = events->size_bytes;
    aiki_mp_array(events, 5);
    aiki_mp_uint(events, ++run->seq);
    aiki_mp_int(events, run->updated_at_ms);
    aiki_mp_uint(events, run->epoch);
    aiki_mp_uint(events, kind);
    aiki_mp_raw(events, body.data, body.size_bytes);
    run->journal_bytes += events->size_bytes - before;
    effects->recorded++;
}

void engine_start(struct run *run, const struct engine_now *now, aiki_view started_body,
                  aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    queue(run, now, ret_effects);
    touch(run, now);
    record(run, EVENT_STARTED, started_body, events, ret_effects);
}

bool engine_claim(struct run *run, uint64_t session, uint64_t epoch,
                  struct engine_refusal *ret_refusal)
{
    if (run->epoch != epoch)
        return refuse(ret_refusal, AIKI_STALE, "STALE", "the ticket is of another epoch");
    if (outcome_of(CLAIM, run->state) == 0)
        return refuse(ret_refusal, AIKI_STALE, "STALE", "the run is not waiting for an owner");
    run->state = outcome_of(CLAIM, run->state);
    run->owner = session;
    run->claim_recorded = false;
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
    bool signal = false, sleep = false;
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
        sleep |= kind == STEP_SLEEP;
    }
    if (r.status != AIKI_OK || r.at != r.end)
        return 0;
    *ret_count = count;
    return signal ? RUN_AWAITING_SIGNAL : sleep || count == 0 ? RUN_SLEEPING : RUN_AWAITING_RETRY;
}

static bool waits_for_signal(aiki_view waits, aiki_view signal)
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
        if (kind == STEP_SIGNAL && name.size_bytes == signal.size_bytes &&
            memcmp(name.data, signal.data, name.size_bytes) == 0)
            return true;
    }
    return false;
}

/* ---- append ------------------------------------------------------------------------------- */

static bool owner_may_write(uint64_t kind)
{
    return kind == EVENT_STEP_BEGUN || kind == EVENT_ATTEMPT_FAILED || kind == EVENT_STEP_DONE ||
           kind == EVENT_COMPLETED || kind == EVENT_FAILED || kind == EVENT_BLOCKED;
}

/* How a run must go on after an event of this kind, if that is not free. */
static bool kind_fits_next(uint64_t kind, uint64_t next, bool last)
{
    if (kind == EVENT_COMPLETED || kind == EVENT_FAILED)
        return last && next == NEXT_FINISH;
    if (kind == EVENT_BLOCKED)
        return last && next == NEXT_BLOCK;
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

/* First element of the body: the error map of FAILED and BLOCKED. */
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
            return refuse(refusal, r.status == AIKI_LIMIT ? AIKI_LIMIT : AIKI_INVALID, "BAD_EVENT",
                          "an appended event is not [kind, body] within depth and node limits");
        if (!owner_may_write(event.kind))
            return refuse(refusal, AIKI_INVALID, "BAD_EVENT",
                          "an appended event is of a kind the owner may not write");
        if (!kind_fits_next(event.kind, a->next, aiki_reader_left(&r) == 0))
            return refuse(refusal, AIKI_INVALID, "BAD_APPEND",
                          "the way the run goes on does not fit its last event");
        if (event.kind == EVENT_FAILED || event.kind == EVENT_BLOCKED)
            effects->reason = error_of(&event);
        record(run, event.kind, event.body, events, effects);
        *ret_last_kind = event.kind;
    }
    if (*ret_last_kind == 0 && (a->next == NEXT_FINISH || a->next == NEXT_BLOCK))
        return refuse(refusal, AIKI_INVALID, "BAD_APPEND",
                      "an end of the run needs the event that says how");
    return true;
}

static bool within_limits(const struct run *run, const struct engine_append *a,
                          struct engine_refusal *refusal)
{
    if (a->next == NEXT_FINISH || a->next == NEXT_BLOCK)
        return true;
    if (run->seq > RUN_EVENTS_MAX)
        return refuse_limit(refusal, "RUN_EVENTS_MAX: too many events in one run", run->seq,
                            RUN_EVENTS_MAX);
    if (run->journal_bytes > RUN_JOURNAL_BYTES_MAX)
        return refuse_limit(refusal, "RUN_JOURNAL_BYTES_MAX: the run's journal is too large",
                            run->journal_bytes, RUN_JOURNAL_BYTES_MAX);
    return true;
}

static bool park(struct run *run, const struct engine_now *now, const struct engine_append *a,
                 struct engine_effects *effects, struct engine_refusal *refusal)
{
    uint64_t count;
    uint32_t state = parked_state(a->waits, &count);
    if (state == 0)
        return refuse(refusal, AIKI_INVALID, "BAD_WAITS", "the waits of a park do not decode");
    if (count > RUN_WAITS_MAX)
        return refuse_limit(refusal, "RUN_WAITS_MAX: too many waits at once", count,
                            RUN_WAITS_MAX);
    if (a->wake_at_ms < 0 || (count == 0 && a->wake_at_ms == 0))
        return refuse(refusal, AIKI_INVALID, "BAD_WAITS",
                      "a park needs something to wait for: waits or a time to wake");
    /* A signal arrived that the code was not shown when it decided to wait: let it look. */
    if (run->signals > a->seen) {
        queue(run, now, effects);
        return true;
    }
    disown(run);
    run->state = state;
    run->wake_at_ms = a->wake_at_ms;
    run->waits = a->waits;
    return true;
}

static bool go_on(struct run *run, const struct engine_now *now, const struct engine_append *a,
                  uint64_t last_kind, struct engine_effects *effects,
                  struct engine_refusal *refusal)
{
    static const enum change change_of[] = {[NEXT_CONTINUE] = CONTINUE,
                                            [NEXT_FINISH] = FINISH,
                                            [NEXT_PARK] = PARK,
                                            [NEXT_RELEASE] = RELEASE,
                                            [NEXT_BLOCK] = BLOCK};
    if (a->next > NEXT_BLOCK)
        return refuse(refusal, AIKI_INVALID, "BAD_APPEND", "unknown way for the run to go on");
    uint8_t outcome = outcome_of(change_of[a->next], run->state);
    switch (outcome) {
    case STAY: return true;
    case PARKED: return park(run, now, a, effects, refusal);
    case RUN_QUEUED: queue(run, now, effects); return true;
    case RUN_BLOCKED:
        disown(run);
        run->state = outcome;
        return true;
    case ENDED:
        disown(run);
        run->state = last_kind == EVENT_COMPLETED ? RUN_COMPLETED : RUN_FAILED;
        effects->finished = true;
        return true;
    default: return refuse(refusal, AIKI_FENCED, "FENCED", "the run is not executing");
    }
}

/* True: go on. False with *ret_repeated: seen before. */
static bool may_append(const struct run *run, const struct engine_append *a, bool *ret_repeated,
                       struct engine_refusal *refusal)
{
    *ret_repeated = false;
    if (a->session != 0 && run->last_owner == a->session && run->last_epoch == a->epoch &&
        a->number != 0 && run->appended == a->number) {
        *ret_repeated = true;
        return false;
    }
    if (run->owner == 0 || run->owner != a->session || run->epoch != a->epoch)
        return refuse(refusal, AIKI_FENCED, "FENCED",
                      "the writer no longer owns the run; drop it");
    if (a->number != run->appended + 1)
        return refuse(refusal, AIKI_INVALID, "BAD_APPEND", "the append number is out of order");
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

    touch(&work, now);
    bool nothing = append->events.size_bytes == 0 && append->next == NEXT_RELEASE;
    if (!work.claim_recorded && !nothing) {
        record(&work, EVENT_CLAIMED, append->claim_body, events, ret_effects);
        work.claim_recorded = true;
    }
    work.appended = append->number;
    if (!record_fresh(&work, append, events, ret_effects, &last_kind, ret_refusal) ||
        !within_limits(&work, append, ret_refusal) ||
        !go_on(&work, now, append, last_kind, ret_effects, ret_refusal)) {
        events->size_bytes = events_before;
        return false;
    }
    *run = work;
    return true;
}

/* ---- what comes from outside --------------------------------------------------------------- */

bool engine_signal(struct run *run, const struct engine_now *now, aiki_view name,
                   aiki_view signal_body, aiki_writer *events,
                   struct engine_effects *ret_effects, struct engine_refusal *ret_refusal)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    uint8_t outcome = outcome_of(SIGNAL, run->state);
    if (outcome == 0)
        return refuse(ret_refusal, AIKI_STALE, "RUN_ENDED",
                      "the run has ended; signals reach open runs only");
    if (run->signals >= RUN_SIGNALS_MAX)
        return refuse_limit(ret_refusal, "RUN_SIGNALS_MAX: too many signals for one run",
                            run->signals + 1, RUN_SIGNALS_MAX);
    if (run->seq >= RUN_EVENTS_MAX)
        return refuse_limit(ret_refusal, "RUN_EVENTS_MAX: too many events in one run",
                            run->seq + 1, RUN_EVENTS_MAX);
    if (run->journal_bytes + signal_body.size_bytes > RUN_JOURNAL_BYTES_MAX)
        return refuse_limit(ret_refusal, "RUN_JOURNAL_BYTES_MAX: the run's journal is too large",
                            run->journal_bytes + signal_body.size_bytes, RUN_JOURNAL_BYTES_MAX);
    touch(run, now);
    record(run, EVENT_SIGNAL, signal_body, events, ret_effects);
    run->signals++;
    ret_effects->notify = run->owner != 0;
    if (outcome == PARKED && waits_for_signal(run->waits, name))
        queue(run, now, ret_effects);
    return true;
}

bool engine_wake(struct run *run, const struct engine_now *now,
                 struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (outcome_of(WAKE, run->state) == 0 || run->wake_at_ms == 0 ||
        run->wake_at_ms > now->at_ms)
        return false;
    queue(run, now, ret_effects);
    touch(run, now);
    return true;
}

bool engine_lose(struct run *run, const struct engine_now *now,
                 struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (outcome_of(LOSE, run->state) == 0)
        return false;
    queue(run, now, ret_effects);
    touch(run, now);
    return true;
}

bool engine_unblock(struct run *run, const struct engine_now *now, aiki_view unblocked_body,
                    aiki_writer *events, struct engine_effects *ret_effects)
{
    memset(ret_effects, 0, sizeof(*ret_effects));
    if (outcome_of(UNBLOCK, run->state) == 0)
        return false;
    queue(run, now, ret_effects);
    touch(run, now);
    record(run, EVENT_UNBLOCKED, unblocked_body, events, ret_effects);
    return true;
}

void engine_condemn(struct run *run, const struct engine_now *now)
{
    disown(run);
    run->state = RUN_BLOCKED;
    run->epoch = engine_epoch_next(run->epoch, now);
    touch(run, now);
}

void engine_adopt(struct run *run, const struct engine_now *now)
{
    run->owner = 0;
    if (run->state != RUN_QUEUED && run->state != RUN_RUNNING)
        return;
    /* The offers of an earlier incarnation are void. A function of the row alone, so that a run
     * may be forgotten and read again without a trace. */
    run->state = RUN_QUEUED;
    if (run->epoch < now->epoch_floor)
        run->epoch = engine_epoch_next(run->epoch, now);
}

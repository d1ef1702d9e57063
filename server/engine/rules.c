/* rules.c - the one table of a run's states, and what every change of them shares. */
#include <string.h>

#include "engine/engine_impl.h"
#include "wire/event.h"

/* clang-format off: the table keeps its columns */
static const uint8_t transition[CHANGES][RUN_CANCELLING + 1] = {
    [CHANGE_CLAIM] = {[RUN_QUEUED] = RUN_RUNNING},
    [CHANGE_CONTINUE] = {[RUN_RUNNING] = STAY},
    [CHANGE_FINISH] = {[RUN_RUNNING] = ENDED},
    [CHANGE_PARK] = {[RUN_RUNNING] = PARKED},
    [CHANGE_RELEASE] = {[RUN_RUNNING] = RUN_QUEUED},
    [CHANGE_BLOCK] = {[RUN_RUNNING] = RUN_BLOCKED},
#define PARKED_AND(to)                                                                             \
    [RUN_SLEEPING] = (to), [RUN_AWAITING_SIGNAL] = (to), [RUN_AWAITING_RETRY] = (to),              \
    [RUN_AWAITING_CHILD] = (to)
#define ARRIVAL(parked)                                                                            \
    {                                                                                              \
        [RUN_QUEUED] = STAY, [RUN_RUNNING] = STAY, [RUN_BLOCKED] = STAY, [RUN_PAUSED] = STAY,      \
        [RUN_SCHEDULED] = STAY, PARKED_AND(parked)                                                 \
    }
    [CHANGE_SIGNAL] = ARRIVAL(PARKED),
    [CHANGE_CHILD] = ARRIVAL(PARKED),
    [CHANGE_TIMER] = {PARKED_AND(RUN_QUEUED), [RUN_SCHEDULED] = RUN_QUEUED},
    [CHANGE_LOSE] = {[RUN_RUNNING] = RUN_QUEUED},
    [CHANGE_UNBLOCK] = {[RUN_BLOCKED] = RUN_QUEUED},
    [CHANGE_CANCEL] = {[RUN_QUEUED] = STAY,
                       [RUN_RUNNING] = STAY,
                       [RUN_BLOCKED] = STAY,
                       [RUN_PAUSED] = RUN_QUEUED,
                       [RUN_SCHEDULED] = RUN_CANCELLED,
                       PARKED_AND(RUN_QUEUED)},
#define ANY_OPEN(to)                                                                               \
    {                                                                                              \
        [RUN_QUEUED] = (to), [RUN_RUNNING] = (to), [RUN_BLOCKED] = (to), [RUN_PAUSED] = (to),      \
        [RUN_SCHEDULED] = (to), PARKED_AND(to)                                                     \
    }
    [CHANGE_TERMINATE] = ANY_OPEN(RUN_TERMINATED),
    [CHANGE_EXPIRE] = ANY_OPEN(RUN_TIMED_OUT),
    [CHANGE_PAUSE] = {[RUN_QUEUED] = RUN_PAUSED,
                      [RUN_RUNNING] = STAY,
                      [RUN_BLOCKED] = STAY,
                      [RUN_SCHEDULED] = RUN_PAUSED,
                      PARKED_AND(RUN_PAUSED)},
    [CHANGE_RESUME] = {[RUN_RUNNING] = STAY, [RUN_BLOCKED] = STAY, [RUN_PAUSED] = RUN_QUEUED},
    [CHANGE_WAKE] = {[RUN_QUEUED] = STAY,
                     [RUN_RUNNING] = STAY,
                     [RUN_BLOCKED] = STAY,
                     [RUN_PAUSED] = STAY,
                     [RUN_SCHEDULED] = RUN_QUEUED,
                     PARKED_AND(RUN_QUEUED)},
    [CHANGE_RETRY] =
        {[RUN_FAILED] = RUN_QUEUED, [RUN_CANCELLED] = RUN_QUEUED, [RUN_TIMED_OUT] = RUN_QUEUED},
    [CHANGE_DROP] = {[RUN_FAILED] = STAY},
};
/* clang-format on */

uint8_t engine_outcome(enum engine_change change, uint32_t state)
{
    return state <= RUN_CANCELLING ? transition[change][state] : 0;
}

bool engine_refuse(struct engine_refusal *ret, aiki_status status, const char *code,
                   const char *text)
{
    *ret = (struct engine_refusal){.status = status, .code = code, .text = text};
    return false;
}

bool engine_refuse_limit(struct engine_refusal *ret, const char *text, uint64_t value,
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

void engine_queue(struct run *run, const struct engine_now *now, struct engine_effects *effects)
{
    bool paused = (run->flags & RUN_FLAG_PAUSE) != 0;
    run->state = paused ? RUN_PAUSED : RUN_QUEUED;
    run->epoch = engine_epoch_next(run->epoch, now);
    run->owner = 0;
    run->claim_recorded = false;
    run->wake_at_ms = 0;
    if (!paused) /* else they are shown: it goes on to wait for them when it is resumed */
        run->waits = (aiki_view){NULL, 0};
    effects->offer = !paused;
}

void engine_disown(struct run *run)
{
    run->owner = 0;
    run->claim_recorded = false;
}

void engine_end(struct run *run, uint32_t state, struct engine_effects *effects)
{
    engine_disown(run);
    run->flags &= ~(uint64_t)RUN_FLAG_ALONE;
    run->state = state;
    run->wake_at_ms = 0;
    run->waits = (aiki_view){NULL, 0};
    effects->finished = true;
}

void engine_touch(struct run *run, const struct engine_now *now)
{
    if (run->updated_at_ms < now->at_ms)
        run->updated_at_ms = now->at_ms;
}

void engine_record(struct run *run, uint64_t kind, aiki_view body, aiki_writer *events,
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
    effects->retried |= kind == EVENT_RUN_RETRIED;
    if (kind == EVENT_RUN_RETRIED)
        run->flags += UINT64_C(1) << RUN_FLAG_PASS_SHIFT;
}

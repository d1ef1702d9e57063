/* engine.h - decides: (run, command, now) to (events, changed run, effects). Pure.
 *
 * Calls nothing beyond string.h; a test checks the undefined symbols of engine.o. Every change of
 * a run's state goes through one table in rules.c. On a refusal neither the run nor the
 * writer has changed.
 *
 *               claim                   park
 *     QUEUED ---------> RUNNING --+----------> SLEEPING / AWAITING_SIGNAL / _CHILD / _RETRY
 *      ^ ^ ^              | |     |                 | timer, matching signal, child's end,
 *      | | +-- lose, -----+ |     | finish          | cancel, wake
 *      | |     release      |     +--> COMPLETED / FAILED / CANCELLED --retry--> QUEUED
 *      | +- unblock, timer-- BLOCKED                |
 *      +--------------------------------------------+
 *
 *     start later: SCHEDULED --timer, wake--> QUEUED          SCHEDULED --cancel--> CANCELLED
 *     pause: what would be QUEUED, SCHEDULED or parked is PAUSED --resume, cancel--> QUEUED
 *     any open state --terminate--> TERMINATED, --deadline--> TIMED_OUT --retry--> QUEUED
 *     FAILED --drop--> FAILED, a dead letter no more until it fails again
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

#include "engine/run.h"

/* When a decision is taken, and the number below which every epoch is of the past: the
 * server's incarnation << 32. */
struct engine_now {
    int64_t at_ms;
    uint64_t epoch_floor;
};

struct engine_effects {
    bool offer;          /* publish a ticket with the run's epoch */
    bool finished;       /* terminal now: answer who waits for it */
    bool notify;         /* the owner must be shown the event just written */
    bool retried;        /* another pass of the run begins */
    bool drop;           /* who owned the run must forget it */
    bool repeated;       /* an append seen before: answer as then, nothing was changed */
    uint32_t recorded;   /* events written */
    aiki_view reason;    /* error map of the event that blocked or ended it, borrowed from the
                          * command */
};

/* Why a command was refused. text is constant; value and limit only when limit > 0. */
struct engine_refusal {
    aiki_status status;
    const char *code;
    const char *text;
    uint64_t value, limit;
};

struct engine_append {
    uint64_t session;     /* who writes */
    uint64_t epoch;
    uint64_t number;
    uint64_t next;        /* NEXT_* */
    uint64_t seen;
    int64_t wake_at_ms;   /* NEXT_PARK: of the waits. NEXT_BLOCK: until when it is held; 0 = for ever */
    aiki_view waits;
    aiki_view events;     /* new events, concatenated */
    aiki_view claim_body; /* body of the CLAIMED event that goes in front of the first append */
};

/* CONTROL_* (message.h) but for CONTROL_RETRY and CONTROL_DROP. */
struct engine_request {
    uint64_t action;
    aiki_view body;       /* of the event that records the request */
    aiki_view error;      /* error map of a run that this ends */
    aiki_view end_body;   /* CONTROL_CANCEL: body of the CANCELLED event of a scheduled run */
};

/* The epoch after `epoch`: above it and above every earlier incarnation. */
uint64_t engine_epoch_next(uint64_t epoch, const struct engine_now *now);

/* A new run from a struct that is zero but for wake_at_ms (when it starts, 0 = at once),
 * deadline_ms and flags. started_body: body of its STARTED event. */
void engine_start(struct run *run, const struct engine_now *now, aiki_view started_body,
                  aiki_writer *events, struct engine_effects *ret_effects);
/* The run, just started, ends unless somebody claims it until then. A pause lifts that. */
void engine_start_by(struct run *run, int64_t at_ms);
/* Ownership for a session that presents the epoch of the current offer. */
bool engine_claim(struct run *run, uint64_t session, uint64_t epoch,
                  struct engine_refusal *ret_refusal);
bool engine_append(struct run *run, const struct engine_now *now,
                   const struct engine_append *append, aiki_writer *events,
                   struct engine_effects *ret_effects, struct engine_refusal *ret_refusal);
/* name: the signal's, as in signal_body. */
bool engine_signal(struct run *run, const struct engine_now *now, aiki_view name,
                   aiki_view signal_body, aiki_writer *events,
                   struct engine_effects *ret_effects, struct engine_refusal *ret_refusal);
/* AIKI_STALE when the run's state does not allow it. effects->recorded 0: it was so already. */
bool engine_request(struct run *run, const struct engine_now *now, const struct engine_request *q,
                    aiki_writer *events, struct engine_effects *ret_effects,
                    struct engine_refusal *ret_refusal);
/* Another run waits for the end of this one, which is open. False: it is too long to be joined. */
bool engine_join(struct run *run, const struct engine_now *now, aiki_view joined_body,
                 aiki_writer *events, struct engine_effects *ret_effects);
/* A child ended. False: the run has ended and nothing is recorded. */
bool engine_child_done(struct run *run, const struct engine_now *now, aiki_view done_body,
                       aiki_writer *events, struct engine_effects *ret_effects);
/* A run that ended without success goes on. */
bool engine_retry(struct run *run, const struct engine_now *now, aiki_view retried_body,
                  aiki_writer *events, struct engine_effects *ret_effects,
                  struct engine_refusal *ret_refusal);
/* A failed run is taken from the dead letters. effects->recorded 0: it was so already. */
bool engine_drop(struct run *run, const struct engine_now *now, aiki_view dropped_body,
                 aiki_writer *events, struct engine_effects *ret_effects,
                 struct engine_refusal *ret_refusal);
/* The deadline passed. error: map in timed_out_body. False: it did not, or the run has ended. */
bool engine_expire(struct run *run, const struct engine_now *now, aiki_view timed_out_body,
                   aiki_view error, aiki_writer *events, struct engine_effects *ret_effects);
/* Nobody claimed it until the time of engine_start_by; as engine_expire otherwise. */
bool engine_unclaimed(struct run *run, const struct engine_now *now, aiki_view timed_out_body,
                      aiki_view error, aiki_writer *events, struct engine_effects *ret_effects);
/* The timer of a parked or scheduled run is due. False: it no longer is. */
bool engine_wake(struct run *run, const struct engine_now *now,
                 struct engine_effects *ret_effects);
/* The owner is gone: a new epoch and a new offer. False: nobody owned it. */
bool engine_lose(struct run *run, const struct engine_now *now,
                 struct engine_effects *ret_effects);
/* A blocked run may go on, for the reason in the body. False: it is not blocked. */
bool engine_unblock(struct run *run, const struct engine_now *now, aiki_view unblocked_body,
                    aiki_writer *events, struct engine_effects *ret_effects);
/* The time is over that a blocked run was held for another build. False: it is not, or there is none. */
bool engine_hold_over(struct run *run, const struct engine_now *now, aiki_view unblocked_body,
                      aiki_writer *events, struct engine_effects *ret_effects);
/* The journal cannot be read: nobody shall execute the run until somebody has looked at it. */
void engine_condemn(struct run *run, const struct engine_now *now);
/* A row read from the store: nobody owns it in this incarnation. */
void engine_adopt(struct run *run, const struct engine_now *now);

#endif

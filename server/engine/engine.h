/* engine.h - decides: (run, command, now) to (events, changed run, effects). Pure.
 *
 * Calls nothing beyond string.h; a test checks the undefined symbols of engine.o. Every change of
 * a run's state goes through one table in engine.c. On a refusal neither the run nor the
 * writer has changed.
 *
 *              claim                    park
 *     QUEUED ---------> RUNNING --+-----------> SLEEPING / AWAITING_SIGNAL / AWAITING_RETRY
 *       ^ ^               |  |    | finish          | wake, matching signal
 *       | +-- lose, release  |    +------> COMPLETED / FAILED
 *       |                    | block                |
 *       +---- unblock --- BLOCKED                   |
 *       +-------------------------------------------+
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
    bool notify;         /* the owner must be shown the events just written */
    bool repeated;       /* an append seen before: answer as then, nothing was changed */
    uint32_t recorded;   /* events written */
    aiki_view reason;    /* error map of a BLOCKED or FAILED event, borrowed from the command */
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
    int64_t wake_at_ms;
    aiki_view waits;
    aiki_view events;     /* new events, concatenated */
    aiki_view claim_body; /* body of the CLAIMED event that goes in front of the first append */
};

/* The epoch after `epoch`: above it and above every earlier incarnation. */
uint64_t engine_epoch_next(uint64_t epoch, const struct engine_now *now);

/* A new run from a zeroed struct. started_body: body of its STARTED event. */
void engine_start(struct run *run, const struct engine_now *now, aiki_view started_body,
                  aiki_writer *events, struct engine_effects *ret_effects);
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
/* The timer of a parked run is due. False: it no longer is. */
bool engine_wake(struct run *run, const struct engine_now *now,
                 struct engine_effects *ret_effects);
/* The owner is gone: a new epoch and a new offer. False: nobody owned it. */
bool engine_lose(struct run *run, const struct engine_now *now,
                 struct engine_effects *ret_effects);
/* A build appeared that may continue a blocked run. False: it is not blocked. */
bool engine_unblock(struct run *run, const struct engine_now *now, aiki_view unblocked_body,
                    aiki_writer *events, struct engine_effects *ret_effects);
/* The journal cannot be read: nobody shall execute the run until somebody has looked at it. */
void engine_condemn(struct run *run, const struct engine_now *now);
/* A row read from the store: nobody owns it in this incarnation. */
void engine_adopt(struct run *run, const struct engine_now *now);

#endif

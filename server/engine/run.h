/* engine/run.h - what the engine knows about one run. [the thread that owns the run]
 *
 * Plain data. Views are owned by whoever holds the struct and stay valid while it does.
 */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include <aiki/msgpack.h>

/* Refused with their name. FINISH and BLOCK are exempt: a run can always say how it ended. */
enum {
    RUN_EVENTS_MAX = 200000,
    RUN_JOURNAL_BYTES_MAX = 64 * 1024 * 1024,
    RUN_SIGNALS_MAX = 10000,
    RUN_WAITS_MAX = 10000,
    RUN_CHILDREN_MAX = 10000,
    RUN_JOIN_EVENTS_MAX = 10000 /* a longer run is not joined: who joined is told in one unit */
};

/* What was asked of a run and outlives its owner, and how it stands to its parent. */
enum {
    RUN_FLAG_CANCEL = 1,      /* cancellation was requested; shown as cancelling while open */
    RUN_FLAG_PAUSE = 2,       /* whoever owns it gives it back; then it is PAUSED */
    RUN_FLAG_DETACHED = 4,    /* its end is not told to its parent */
    RUN_FLAG_CLOSE_SHIFT = 3, /* CLOSE_* (event.h) in two bits: when its parent ends */
    RUN_FLAG_CLOSE_MASK = 3,
    RUN_FLAG_ALONE = 32,      /* a process died around its code: a process of its own, until it parks */
    RUN_FLAG_FOLLOW = 64,     /* its family is large: children of it are still to be closed */
    RUN_FLAG_JOINED = 128,    /* other runs wait for its end: JOINED events on record */
    RUN_FLAG_PASS_SHIFT = 8   /* from here up: RUN_RETRIED events on record */
};
/* Above the passes, the highest bits that a row keeps: somebody dropped it from the dead letters; it may be
 * part of a circle of runs that wait for each other (joins.c). */
#define RUN_FLAG_DROPPED (UINT64_C(1) << 62)
#define RUN_FLAG_RING (UINT64_C(1) << 61)

static inline uint64_t run_passes(uint64_t flags)
{
    return (flags & ~(RUN_FLAG_DROPPED | RUN_FLAG_RING)) >> RUN_FLAG_PASS_SHIFT;
}

struct run {
    uint32_t state;         /* RUN_* */
    bool claim_recorded;    /* the CLAIMED event of this epoch is on record */
    uint64_t epoch;         /* names the current offer or ownership; only rises */
    uint64_t seq;           /* number of the last event */
    uint64_t flags;         /* RUN_FLAG_* */
    uint64_t signals;       /* arrivals (event.h) on record */
    uint64_t journal_bytes; /* of the stored events, as far as they were counted */
    int64_t wake_at_ms;     /* parked or scheduled: when to wake; queued: when to end if nobody has
                             * claimed it; blocked: until when it is held; 0 = no timer */
    int64_t deadline_ms;    /* when it ends TIMED_OUT; 0 = never */
    uint64_t children;      /* runs it started as its children, however they ended */
    int64_t updated_at_ms;  /* of the last event or change; events never go back behind it */
    uint64_t owner;         /* session number, 0 = nobody */
    uint64_t appended;      /* number of the last append under last_epoch */
    uint64_t last_epoch;    /* who appended last, so that a repeat is recognised even */
    uint64_t last_owner;    /* after that append ended the ownership */
    aiki_view waits;        /* parked: msgpack array of waits */
};

#endif

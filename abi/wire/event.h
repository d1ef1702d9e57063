/* wire/event.h - the journal: what is recorded about a run and how it is encoded. [any]
 *
 * New event (runtime to server):   [kind, body]
 * Stored event (store, replay):    [seq, at_ms, epoch, kind, body]
 * body is a positional msgpack array, fields only ever appended. Journals are concatenations.
 *
 * A step is (address, nth): address = first 16 bytes of BLAKE2b-256 over kind, name and
 * canonical input; nth counts equal addresses within a run from 0. The first event that speaks
 * of a step carries its identity (kind, name, input); later ones carry nil there.
 *
 * Chain: hash(n) = BLAKE2b-256(hash(n-1), stored event n); hash(0) is 32 zero bytes.
 */
#ifndef WIRE_EVENT_H
#define WIRE_EVENT_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

#include "wire/id.h"

/* kind, number, name. Numbers are never reused. Who writes it: s = server, r = runtime. */
#define EVENT_KIND_MAP(X)                                                                    \
    X(STARTED, 1, "started")               /* s */                                           \
    X(CLAIMED, 2, "claimed")               /* s: with the first append of an epoch */        \
    X(STEP_BEGUN, 3, "step_begun")         /* r: under way, waiting, or timed */             \
    X(ATTEMPT_FAILED, 4, "attempt_failed") /* r */                                           \
    X(STEP_DONE, 5, "step_done")           /* r */                                           \
    X(SIGNAL, 6, "signal")                 /* s */                                           \
    X(COMPLETED, 7, "completed")           /* r */                                           \
    X(FAILED, 8, "failed")                 /* r */                                           \
    X(BLOCKED, 9, "blocked")               /* r */                                           \
    X(UNBLOCKED, 10, "unblocked")          /* s */                                           \
    X(CANCEL_REQUESTED, 11, "cancel_requested") /* s */                                      \
    X(CANCEL_SEEN, 12, "cancel_seen")      /* r: from here on the code knows */              \
    X(CHILD_DONE, 13, "child_done")        /* s: on the parent */                            \
    X(WOKEN, 14, "woken")                  /* s: sleeps begun before it are due */           \
    X(PAUSED, 15, "paused")                /* s */                                           \
    X(RESUMED, 16, "resumed")              /* s */                                           \
    X(CANCELLED, 17, "cancelled")          /* r */                                           \
    X(TIMED_OUT, 18, "timed_out")          /* s: the deadline of the run passed */           \
    X(TERMINATED, 19, "terminated")        /* s */                                           \
    X(RUN_RETRIED, 20, "run_retried")      /* r by its policy, s on request */               \
    X(HEARTBEAT, 21, "heartbeat")          /* r: details for the attempt after this one */ \
    X(ATTEMPT_DONE, 22, "attempt_done")    /* r: ended while the code could not see it */ \
    X(CRASHED, 23, "crashed")              /* r: its broker, when the process has died */ \
    X(WARNED, 24, "warned")                /* r: a value passed that does not fit its schema */ \
    X(JOINED, 25, "joined")                /* s: another run waits for the end of this one */ \
    X(DROPPED, 26, "dropped")              /* s: a failed run is no dead letter any more */

enum {
#define EVENT_KIND_ENUM(name, number, text) EVENT_##name = number,
    EVENT_KIND_MAP(EVENT_KIND_ENUM)
#undef EVENT_KIND_ENUM
};

#define STEP_KIND_MAP(X)   \
    X(TASK, 1, "task")     \
    X(SLEEP, 2, "sleep")   \
    X(SIGNAL, 3, "signal") \
    X(SIDE, 4, "side")     \
    X(CHILD, 5, "child")
enum {
#define STEP_KIND_ENUM(name, number, text) STEP_##name = number,
    STEP_KIND_MAP(STEP_KIND_ENUM)
#undef STEP_KIND_ENUM
};

/* Which value of a step, or of the run, it was. */
enum { WARNED_INPUT = 1, WARNED_OUTPUT = 2, WARNED_RECORD = 4 };

enum { OUTCOME_OK = 0, OUTCOME_FAILED = 1, OUTCOME_TIMEDOUT = 2, OUTCOME_CANCELLED = 3 };

/* Why a blocked run goes on: a build appeared; somebody lets the build that crashed try again; nothing came in
 * the time that a crash is held (docs/decisions/0011). */
enum { UNBLOCKED_BY_BUILD = 0, UNBLOCKED_LIFTED = 1, UNBLOCKED_IN_VAIN = 2 };

/* The name in a CRASHED event of code that nobody can tell; none that code can have. */
#define CRASHED_BY_UNKNOWN "?"

/* What becomes of a child when its parent ends, and on request when it is cancelled. */
enum { CLOSE_CANCEL = 0, CLOSE_TERMINATE = 1, CLOSE_ABANDON = 2 };

/* Events that come to a run from outside while it is open, in whatever order: material for the
 * owner, who records what the code saw of it. Their number is the run's `signals`. */
static inline bool event_is_arrival(uint64_t kind)
{
    return kind == EVENT_SIGNAL || kind == EVENT_CANCEL_REQUESTED || kind == EVENT_CHILD_DONE ||
           kind == EVENT_WOKEN || kind == EVENT_PAUSED || kind == EVENT_RESUMED;
}

const char *event_kind_name(uint64_t kind);
const char *step_kind_name(uint64_t kind);

enum { ADDRESS_BYTES = 16, HASH_BYTES = 32 };
struct address {
    uint8_t bytes[ADDRESS_BYTES];
};
/* input is canonicalised here (canon.h). AIKI_CORRUPT or AIKI_LIMIT when it is not msgpack. */
aiki_status address_make(uint64_t step_kind, aiki_view name, aiki_view input,
                         struct address *ret_address, aiki_error *err);

/* Bodies, by kind. Views borrow. `identity_kind` 0 = identity not repeated here. */
struct event {
    uint64_t seq; /* 0 in new events */
    int64_t at_ms;
    uint64_t epoch;
    uint64_t kind;
    aiki_view encoded; /* the whole event as read */
    union {
        struct {
            aiki_view workflow, version, input, key, actor;
            /* all zero in most starts */
            struct aiki_id parent;        /* zero: nobody's child */
            struct address parent_address; /* the parent's step */
            uint64_t parent_nth;
            uint64_t close_policy;        /* CLOSE_* */
            int64_t start_at_ms;          /* 0 = at once */
            int64_t deadline_ms;          /* 0 = none */
            aiki_view retry;              /* retry_write in retry.h: overrides every task's policy */
        } started;
        /* claimed: which session and build executed from here on, after waiting load_ms for its process */
        struct { struct aiki_id session; aiki_view build, runtime; uint64_t load_ms; } claimed;
        struct {
            struct address address;
            uint64_t nth;
            uint64_t identity_kind; /* STEP_*, 0 = identity given before */
            aiki_view name, input;
            /* STEP_BEGUN: when a sleep ends or a signal wait gives up; 0 = never */
            int64_t due_at_ms;
            /* and how long the code asked to wait; negative = for ever */
            int64_t duration_ms;
            /* STEP_BEGUN of a child: [version, close_policy, detached]. ATTEMPT_FAILED, and STEP_DONE
             * and ATTEMPT_DONE of a task that failed: the retry policy in force (retry.h). Else empty */
            aiki_view options;
            /* STEP_BEGUN of what waits, ATTEMPT_FAILED: when that wait began, by the owner's clock. It is
             * shown with the wait, the same after every replay. 0: not said, the event's own time */
            int64_t since_ms;
            /* HEARTBEAT: attempt, and its details in value */
            uint64_t warned; /* WARNED: WARNED_*; error says why. Address zero: of the run itself */
            /* ATTEMPT_FAILED, ATTEMPT_DONE, STEP_DONE: number of the attempt this ends, from 1 */
            uint64_t attempt;
            /* ATTEMPT_FAILED: when the next one may begin */
            int64_t next_at_ms;
            /* STEP_DONE, ATTEMPT_DONE: OUTCOME_*; value: output (task), seq of the SIGNAL event as uint (signal),
             * captured value (side), nil (sleep) */
            uint64_t outcome;
            aiki_view value;
            aiki_view error; /* error map (error.h), empty when none */
            int64_t duration_us; /* of the attempt */
        } step;
        struct { aiki_view name, payload, ref; } signal;
        struct { aiki_view output; } completed;
        struct { aiki_view error; } failed;  /* error map; also CANCELLED and TIMED_OUT */
        struct { aiki_view error; } blocked; /* error map */
        struct { uint64_t why; } unblocked;  /* UNBLOCKED_* */
        /* CANCEL_REQUESTED, WOKEN, PAUSED, RESUMED, TERMINATED, DROPPED */
        struct { aiki_view reason, actor, ref; } control;
        /* state: RUN_* it ended in; error map unless completed */
        /* by: the run whose end it is, when the step joined that one and has no run of its own */
        struct { struct aiki_id child; uint64_t state; aiki_view output, error; struct aiki_id by; } child_done;
        /* parent: who waits; child: what its step expects in CHILD_DONE */
        struct { struct aiki_id parent, child; } joined;
        /* The run goes on although it had failed: outcomes other than OK are void, and so is every
         * outcome from event from_seq on (0 = none). attempt: of the run, from 2. */
        struct {
            uint64_t from_seq, attempt;
            int64_t next_at_ms;
            aiki_view error, reason, actor, ref;
        } run_retried;
        /* Code of the run was executing when its process died. attempt 0, address zero: the
         * workflow's own; else the step's, which need not be on record. charged: it counts against
         * the crash budget, the run was certainly the cause; otherwise it may have been another.
         * name: of task or workflow. */
        struct {
            struct address address;
            uint64_t nth, attempt;
            bool charged;
            aiki_view name, build, error; /* error map with signal, stack and so on */
        } crashed;
    } as;
};

/* Append [kind, body] for a new event. */
void event_write_new(aiki_writer *w, const struct event *e);
/* Append [seq, at_ms, epoch, kind, body] around a new event's bytes. */
void event_write_stored(aiki_writer *w, uint64_t seq, int64_t at_ms, uint64_t epoch, uint64_t kind,
                        aiki_view body);
/* Read the next event from a concatenation; AIKI_NOT_FOUND at its clean end. */
aiki_status event_read_new(aiki_reader *r, struct event *ret, aiki_view *ret_body,
                           aiki_error *err);
aiki_status event_read_stored(aiki_reader *r, struct event *ret, aiki_error *err);
/* hash = BLAKE2b-256(hash, stored event); in place. */
void event_chain(uint8_t hash[HASH_BYTES], aiki_view stored);

/* One entry of the waits of a parked run: [kind, name, due_at_ms, since_ms], of a child [..., ref]. */
struct wait {
    uint64_t kind; /* STEP_SLEEP, STEP_SIGNAL, STEP_CHILD, STEP_TASK (retry) */
    aiki_view name;
    int64_t due_at_ms; /* 0 = no limit */
    int64_t since_ms;
    /* Whose end it is, one of the two, when it is a child's: */
    struct aiki_id child; /* its id */
    aiki_view key;        /* of a shared one its start key: another run may have it */
};
void wait_write(aiki_writer *w, const struct wait *wait);
aiki_status wait_read(aiki_reader *r, struct wait *ret);

/* Run states; text is what the API shows. terminal: final for ever. */
#define RUN_STATE_MAP(X)                            \
    X(QUEUED, 1, "queued", false)                   \
    X(RUNNING, 2, "running", false)                 \
    X(SLEEPING, 3, "sleeping", false)               \
    X(AWAITING_SIGNAL, 4, "awaiting_signal", false) \
    X(AWAITING_RETRY, 5, "awaiting_retry", false)   \
    X(BLOCKED, 6, "blocked", false)                 \
    X(STALLED, 7, "stalled", false)                 \
    X(COMPLETED, 8, "completed", true)              \
    X(FAILED, 9, "failed", true)                    \
    X(CANCELLED, 10, "cancelled", true)             \
    X(TIMED_OUT, 11, "timed_out", true)             \
    X(TERMINATED, 12, "terminated", true)           \
    X(SCHEDULED, 13, "scheduled", false)            \
    X(AWAITING_CHILD, 14, "awaiting_child", false)  \
    X(PAUSED, 15, "paused", false)                  \
    X(CANCELLING, 16, "cancelling", false)
enum {
#define RUN_STATE_ENUM(name, number, text, terminal) RUN_##name = number,
    RUN_STATE_MAP(RUN_STATE_ENUM)
#undef RUN_STATE_ENUM
};
const char *run_state_name(uint64_t state);
/* 0 when the text names no state. */
uint64_t run_state_parse(const char *text);
bool run_state_is_terminal(uint64_t state);

#endif

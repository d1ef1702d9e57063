/* replay.h - what a run does next: from its journal first, then for real. [one thread]
 *
 *   code calls     replay_call / replay_await          --> answered, or the code must wait
 *   the owner asks replay_next(now)                    --> RESUME the code, START an attempt,
 *                                                          IDLE, or DIVERGED
 *   the owner says replay_attempt_done / _failed, replay_add_arrival, replay_acked
 *   events to record gather inside; replay_append_begin hands them out with how the run goes on
 *
 * It decides, the owner acts: no I/O, no clock, no fiber, no plugin. docs/architecture.md section 4
 * is its specification:
 *   - a call finds its step by (address, nth) wherever it stands in the journal, else it is new
 *   - recorded outcomes are shown in journal order, one at a time, only while the code waits
 *   - once all are shown and every recorded step was called, the run is live: new steps start
 *   - the code waits or returned, nothing is left to show, a recorded step was not called: diverged
 *   - live, a task starts only when every event that stood before its call is acknowledged
 *   - the run is to end: the code learns it while it waits outside of a protected scope, and open
 *     steps end with it; it stands in the journal between the outcomes and is shown like one
 *
 * Names and inputs of new steps are copied; values given to replay_attempt_* are borrowed and
 * must live as long as the replay. One append is under way at a time.
 */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include "replay/journal.h"
#include "wire/child.h"

enum {
    /* Beyond this nothing more is shown before an append has left: with the largest step and the
     * largest output behind it the append still fits one frame. */
    REPLAY_UNSENT_BYTES_MAX = 2 * 1024 * 1024,
    CALL_KEY_BYTES_MAX = 100,  /* of a call's idempotency key */
    REPLAY_SHORT_SLEEP_MS = 5,  /* shorter ones are waited for in place, never announced or parked */
    REPLAY_RETRY_HERE_MS = 5000 /* retries due by then are waited for in place */
};

enum replay_verdict {
    REPLAY_IDLE,    /* nothing until something arrives or replay_wake_at_ms comes */
    REPLAY_RESUME,  /* the code's wait is over */
    REPLAY_START,   /* run attempt step->attempt + 1 of the task step */
    REPLAY_PAUSED,  /* nothing is under way and nothing may begin: give the run back */
    REPLAY_OVERDUE, /* a timeout of the attempt may have passed: call replay_attempt_overdue */
    REPLAY_UNDEFINED, /* the code asks for a task that this build does not define; nothing is under way */
    REPLAY_DIVERGED /* nothing new was executed; see replay_explain */
};

/* How the code ended, for who tells why it diverged. */
enum ahead_end {
    AHEAD_GOES_ON = 0,
    AHEAD_RETURNED,
    AHEAD_ASTRAY /* an outcome that was made up may have misled it */
};

struct redact_names;

struct queue {
    struct step *first, **last;
};

struct replay {
    struct journal journal;
    struct aiki_id run; /* the owner's to fill in: what jitter and ids of children are made from */
    /* The owner's too: whether a signal that a step is about to take fits what it expects. Empty, or
     * the error map it fails with. NULL: nobody expects anything. */
    aiki_view (*judge)(void *arg, struct step *s);
    void *judge_arg;
    const struct redact_names *hidden; /* the owner's: names whose values people are not shown; NULL: all are */
    aiki_status status; /* AIKI_NOMEM or AIKI_LIMIT for ever after the first failure */
    bool live;
    int64_t now_ms; /* as last told */
    /* futures, from 1 */
    struct step **futures;
    uint32_t future_count, future_capacity;
    /* the recorded part */
    uint32_t next_delivery;
    uint64_t uncalled; /* steps on record the code has to ask for and has not */
    struct step *disputed; /* recorded with an outcome, which the code now does without */
    struct { /* in a gate, behind a divergence, or behind all that is on record */
        bool on, past;
        uint8_t end;       /* AHEAD_* */
        uint32_t from;     /* futures there were when it diverged */
        uint32_t invented; /* outcomes that were made up */
        struct step *stop; /* what the code waited for when it diverged */
    } ahead;
    /* the code's wait */
    const uint32_t *awaited; /* borrowed while it lasts */
    uint32_t awaited_count, missing;
    uint32_t turn; /* how often it has waited */
    bool for_live, for_room; /* waits for the end of replay; for an append to leave */
    bool cancel_seen; /* the code knows that the run is to end */
    bool interrupted; /* the last wait ended with that */
    uint32_t protections; /* scopes the code is in where it does not learn it */
    /* the live part */
    struct queue held, ready, waiting;
    struct step *first_unannounced;
    uint32_t running;
    struct step *timed;     /* attempts with a timeout; some may have ended */
    struct step **timed_at; /* as far as a look at all of them has come; NULL between looks */
    int64_t check_at_ms;    /* when to look next; 0 = never */
    int64_t start_to_close_ms; /* the owner's to fill in: of tasks that have none of their own; 0 = none */
    bool waiting_dirty;   /* look at the waiting steps whatever the time */
    bool queues_dirty;    /* cancelled steps stand in them */
    bool lacks_task;      /* an undefined step was to begin; it may have been cancelled since */
    int64_t wake_at_ms;   /* earliest due time of the waiting steps; 0 = none */
    /* events */
    aiki_writer events; /* not yet sent */
    uint64_t events_written, events_sent, events_acked;
    uint64_t events_seen; /* of the written ones, up to the last that the code could observe */
    bool append_open; /* sent and not acknowledged */
};

void replay_init(struct replay *r, struct replay_memory memory);
/* After journal_load(&r->journal) of the last page, before the first replay_next. */
void replay_begin(struct replay *r);

/* ---- from the code ----------------------------------------------------------------------- */

struct step_call {
    uint64_t kind; /* STEP_* */
    aiki_view name, input;
    int64_t duration_ms; /* sleep; signal: negative waits for ever */
    bool duration_is_setting; /* of the host, not of the code: a wait that has begun keeps its own */
    int64_t until_ms;    /* sleep: when it ends, if until */
    bool until;
    const struct child_options *child; /* child; copied, pass is filled in */
    bool once;           /* side value: a second call of that name is the same step */
    aiki_view key;       /* task, with once: the identity instead of the input; empty = none */
    const struct task_policy *policy; /* task; borrowed as long as the replay, NULL: all defaults */
    const void *task;
    bool barred;         /* task: not to begin here. It is not announced; asked to begin it, the owner leaves it */
    bool undefined;      /* task: nobody here can execute it. Once it is to begin the code does not go on */
    const void *expects; /* signal: what judge is to look for; NULL = any payload */
};
/* AIKI_OK: *ret is the step, its future numbered. AIKI_CORRUPT (input is not msgpack),
 * AIKI_LIMIT, AIKI_NOMEM. */
aiki_status replay_call(struct replay *r, const struct step_call *call, struct step **ret,
                        aiki_error *err);
/* NULL: no such future. */
struct step *replay_future(const struct replay *r, uint32_t future);
/* True: go on at once. False: suspend until REPLAY_RESUME, then ask replay_interrupted; futures are
 * borrowed until then. AIKI_INVALID names what is wrong; AIKI_CANCELLED: the run is to end. */
aiki_status replay_await(struct replay *r, const uint32_t *futures, uint32_t count,
                         uint32_t needed, bool *ret_satisfied, aiki_error *err);
/* Fill *err, AIKI_CANCELLED: what an interrupted wait answers. */
aiki_status replay_why_cancelled(const struct replay *r, aiki_error *err);
/* Nobody wants the result of a future any more; false: no such future. Attempts of steps that are
 * not in PHASE_RUNNING are the owner's to stop. */
bool replay_cancel(struct replay *r, uint32_t future);
/* Enter or leave a protected scope. */
void replay_protect(struct replay *r, bool on);
/* Whether the code may capture a new side value now. False: suspend until REPLAY_RESUME, ask again. */
bool replay_side_ready(struct replay *r);
/* Whether a child may be called: its input is recorded at once. False: as above. */
bool replay_has_room(struct replay *r);
/* Record what capturing a side step gave and show it: a value, or the error map of a failure.
 * Both are copied. */
aiki_status replay_side(struct replay *r, struct step *s, aiki_view value, aiki_view error);
/* Record, once, that a value of s (NULL: of the run itself) does not fit its schema and passed:
 * WARNED_*, error map. */
void replay_warn(struct replay *r, struct step *s, uint64_t what, aiki_view error);
/* The step of an undefined task that is to begin; NULL: there is none. The code must not go on, and nothing more
 * begins. Code that is about to learn that the run is to end may go on: the step ends with that. */
struct step *replay_undefined(const struct replay *r);
/* Whether the code may return: false is a divergence. */
bool replay_may_return(struct replay *r);

/* ---- from the owner ---------------------------------------------------------------------- */

/* Ask again after acting, until it answers IDLE (or the run ended). The code is suspended. */
enum replay_verdict replay_next(struct replay *r, int64_t now_ms, struct step **ret_step);
/* When to call replay_next although nothing happened; 0 = never. */
int64_t replay_wake_at_ms(const struct replay *r);

/* Outcome of the attempt of a step that was given out by REPLAY_START; nothing if the step has been
 * cancelled since. */
void replay_attempt_done(struct replay *r, struct step *s, aiki_view value, int64_t duration_us);
/* error: map (wire/error.h). final: no further attempt whatever the policy says. retry_after_ms > 0
 * overrides the policy's delay. value: kept beside the error if it was the last attempt. */
void replay_attempt_failed(struct replay *r, struct step *s, aiki_view error, bool final,
                           int64_t retry_after_ms, aiki_view value, int64_t duration_us,
                           int64_t now_ms);
/* Answer to REPLAY_OVERDUE: when the attempt really began (0: it has not), and when it last showed a
 * sign of life (0: never). True: a timeout has passed and the attempt has failed; the owner stops it,
 * drops what it still brings, and calls replay_attempt_gone when its thread is back. */
bool replay_attempt_overdue(struct replay *r, struct step *s, int64_t began_at_ms,
                            int64_t beat_at_ms, int64_t now_ms);
/* An attempt that was not waited for has ended: the next one of its step may begin. */
void replay_attempt_gone(struct replay *r, struct step *s);
/* Details of a heartbeat; copied, recorded now and then. */
void replay_attempt_beat(struct replay *r, struct step *s, aiki_view details, int64_t now_ms);
/* What earlier attempts left with their heartbeats; borrowed until the next one. */
aiki_view replay_last_details(const struct step *s);
/* Whether this build has spent the crash budget of a task: given out by REPLAY_START it is as if barred. */
bool replay_is_spent(const struct replay *r, const struct step *s);
/* When the attempt that is about to begin is stopped at the latest, timeouts that count from its
 * beginning apart; 0 = never. */
int64_t replay_attempt_limit_ms(const struct replay *r, const struct step *s);
/* How long an attempt may take; 0 = no limit. */
int64_t replay_start_to_close_ms(const struct replay *r, const struct step *s);
/* An arrival (event.h), stored form; borrowed for ever. */
aiki_status replay_add_arrival(struct replay *r, aiki_view stored, aiki_error *err);

/* ---- appends ----------------------------------------------------------------------------- */

/* Whether an attempt that is made at most once is recorded and not yet given out: should the process
 * die now, nobody can tell that it was not executed. */
bool replay_is_beginning(const struct replay *r);
/* The run is given back in good order: such attempts go on record as not begun. */
void replay_take_back(struct replay *r);
/* The attempt that was given out is not begun here: another stay, or another process, is to do that.
 * Nothing more comes of the step in this one. */
void replay_leave(struct replay *r, struct step *s);
/* Whether everything the run waits for is passive, so that it should be parked now. */
bool replay_should_park(const struct replay *r, int64_t now_ms);
/* Whether something that comes from outside may end the wait, and not time alone, and the run waits for no
 * more than so many things. */
bool replay_awaits_arrival(const struct replay *r, uint32_t waits_max);
/* Whether there is something to send (NEXT_CONTINUE) and nothing under way. */
bool replay_should_append(const struct replay *r);
/* The last event of a stay whose code has returned: COMPLETED, FAILED, CANCELLED or RUN_RETRIED. */
void replay_write_end(struct replay *r, const struct event *e);
/* New events in order; with announce, tasks under way are announced behind them. Valid until
 * replay_append_end, which counts them as sent. */
aiki_view replay_append_begin(struct replay *r, bool announce);
void replay_append_end(struct replay *r);
/* The append under way is durable. */
void replay_acked(struct replay *r);
/* The waits of a parked run as a msgpack array (event.h), appended to w. */
void replay_write_waits(const struct replay *r, aiki_writer *w);

/* ---- divergence -------------------------------------------------------------------------- */

/* In a gate, behind REPLAY_DIVERGED: the code goes on with outcomes that are made up, so that replay_explain
 * can tell what was changed. Nothing is executed or recorded any more; replay_next answers REPLAY_RESUME,
 * and REPLAY_DIVERGED at the end. False: there is nothing more to be seen. */
bool replay_look_ahead(struct replay *r);
/* In a gate, once the run is live: the code goes on with outcomes that are made up, so that one sees which steps it
 * will ask for. As above, and REPLAY_DIVERGED at the end says nothing. False: it would not go on like that. */
bool replay_look_on(struct replay *r);
/* The code has returned what it does not fit; or cannot go on. well: with success. Before replay_explain. */
void replay_code_ended(struct replay *r, bool well);
/* Fill *err (code NONDETERMINISM, details in the replay's memory): the recorded and the new step
 * side by side, the likely cause and a remedy. */
void replay_explain(const struct replay *r, aiki_error *err);

#endif

/* sim/facts.h - what is on record about runs, as the oracle sees it: built from the events as they are
 * committed, and from nothing else. */
#ifndef SIM_FACTS_H
#define SIM_FACTS_H

#include "pipeline.h"
#include "program.h"
#include "replay/replay.h"

#define NOBODY UINT32_MAX

struct fact_step {
    struct address address;
    uint64_t nth, kind, input;
    uint32_t name;
    bool gone;                /* void since a retry of the run */
    bool required;            /* spoken of since then: the program asks for it */
    bool older;               /* begun in a pass before: in this one another operation may have taken it */
    bool begun, done, cut;    /* cut: cancelled without an error */
    bool kept;                /* what its last attempt brought is on record, and the code has not seen it */
    uint64_t failed;          /* attempts on record */
    uint64_t first_seq, begun_seq, done_seq;
    int64_t due_at_ms, next_at_ms, since_ms, done_at_ms;
    uint64_t outcome, kept_outcome, value;
    bool with_error;
    uint64_t warned;          /* WARNED_* */
    uint64_t signal;          /* index + 1 in signals */
    uint64_t begun_attempt, begun_epoch; /* of the last HEARTBEAT */
    bool beat;                /* which had details */
    /* child */
    struct aiki_id child;
    uint64_t close_policy;
    bool detached, keyed, shared;
    char key[24];
    int64_t start_by_ms;
};
struct fact_signal {
    uint64_t seq;
    uint32_t name;
    uint64_t number, value;
    bool taken;
};
/* A crash that is charged to a step. */
struct fact_crash {
    struct address address;
    uint64_t nth, pass, seq;
    int64_t at_ms;
    uint32_t build;
};
/* The end of a child, as its parent was told. */
struct fact_end {
    struct aiki_id child;
    uint64_t seq, state, value;
    struct aiki_id by;        /* zero, or the run that the step joined */
    bool key_taken, circle;   /* why it failed: KEY_TAKEN, JOIN_CIRCLE */
};
/* Another run waits for the end of this one, which it did not start. */
struct fact_join {
    uint32_t parent;
    struct aiki_id child;     /* what its step expects */
};
/* A retry policy given at a start: it holds for all tasks of the run. */
struct start_retry {
    bool given, as_map, no_is_final; /* NO: what all tasks fail with */
    int32_t kind;             /* AIKI_RETRY_* */
    uint32_t attempts_max;
    int64_t delays_ms[2];     /* but for a list the first alone */
};
struct sim_run {
    struct aiki_id id;
    uint32_t workflow;
    uint64_t input;
    char key[40];
    /* as clients know it */
    bool acked;
    uint64_t final_result;     /* RUN_* of a RESULT that is for ever; 0 = none yet */
    uint32_t signals_sent, signals_acked;
    uint32_t redos;            /* retries asked for */
    int64_t delay_ms, run_timeout_ms;
    int64_t wanted_at_ms;      /* when it is to start, in place of a delay; 0 = not said */
    uint64_t key_policy;       /* KEY_* */
    struct start_retry retry;
    bool absorbed;             /* its start was answered with another run, or refused for one */
    /* as it is on record */
    bool on_record, ended;
    bool has_key;              /* and nobody has taken it over */
    uint32_t key_from;         /* NOBODY, or whose key it took in the unit at hand */
    bool follow, follow_before; /* its row says that children of it are left to be closed */
    int64_t follow_at_ms;
    int64_t start_by_ms;       /* it ends unless it is claimed until then; 0 = it waits */
    uint64_t ended_as;         /* states it has ever ended in, as bits */
    uint64_t seq, epoch, claimed_epoch, output;
    uint64_t claimed_seq;      /* of the last CLAIMED */
    uint64_t told_epoch, told_seq; /* journal that the latest owner was given */
    uint32_t build;            /* of the last CLAIMED */
    uint32_t state;
    int64_t start_at_ms, deadline_ms, started_at_ms;
    uint64_t end_kind;         /* EVENT_* it ended with last */
    uint64_t passes;           /* RUN_RETRIED on record */
    int64_t next_pass_at_ms;
    uint64_t pass_told_seq;    /* what its owner had been told when that was decided */
    bool cancel_requested, cancel_seen, paused, dropped;
    uint64_t woken, paused_ever, cancelled_ever, retried_ever, dropped_ever; /* how often */
    uint64_t woken_seq, paused_seq, cancel_seq, arrival_seq;
    int64_t woken_at_ms, woken_told_ms; /* on record; to an owner */
    uint64_t first_done_seq[NAMES]; /* of a step of that name, of whatever kind */
    struct aiki_id session;
    uint8_t hash[HASH_BYTES];
    int64_t wake_at_ms;
    /* its family */
    uint32_t parent;           /* NOBODY */
    struct address parent_address;
    uint64_t parent_nth, close_policy;
    bool detached, keyed;
    uint32_t first_child, next_child; /* NOBODY */
    struct fact_end *ends;
    uint32_t end_count, end_capacity;
    uint64_t *refs;            /* of the requests that changed something */
    uint32_t ref_count, ref_capacity;
    struct fact_join *joins;
    uint32_t join_count, join_capacity;
    uint64_t crashed_seq;      /* of its last CRASHED event */
    uint64_t left_epoch;       /* whose owner handed it back in good order, last */
    uint64_t flags;            /* RUN_FLAG_* of its row */
    uint32_t code_crashes[BUILDS]; /* charged to its own code since it was unblocked or tried again */
    struct fact_crash *crashes;
    uint32_t crash_count, crash_capacity;
    uint64_t lifted_seq, vain_seq; /* UNBLOCKED: a build may try again, none came in time */
    /* what the unit at hand did to it, for family.c */
    uint64_t seq_before;
    uint32_t ends_before, joins_before;
    bool ended_before, ended_now, cancelled_now, retried_now;
    uint64_t commit;           /* the last one that wrote it */
    struct fact_step *steps;
    uint32_t step_count, step_capacity;
    struct fact_signal *signals;
    uint32_t signal_count, signal_capacity;
    uint32_t *deliveries;      /* steps in the order of their STEP_DONE; NOBODY: CANCEL_SEEN */
    uint32_t delivery_count, delivery_capacity;
};
/* An attempt that was given out. */
struct execution {
    uint32_t run, runtime, future;
    uint64_t stay;             /* serial */
    uint64_t epoch, attempt, pass;
    struct address address;
    uint64_t nth;
    uint32_t next;             /* of its stay, index + 1 */
    int64_t began_ms, beat_ms; /* ours; 0 = not yet */
    int64_t began_host_ms;     /* by the clock of its host */
    bool abandoned, over, in_calm;
};

/* facts.c: events as they are committed. */
void fact_event(struct sim_run *r, const struct event *e);
struct fact_step *fact_find(struct sim_run *r, const struct address *a, uint64_t nth);
uint64_t fact_number(aiki_view value, uint64_t *ret_second);
uint64_t fact_first_number(aiki_view value);
/* Of a step: tasks, sleeps, signals and side values are "a", "b"...; children "w0", "w1"... */
uint32_t fact_name_number(aiki_view name, uint64_t kind);
uint32_t fact_run_number(const struct sim_run *r);
/* This event must not be. */
__attribute__((noreturn)) void fact_wrong(const struct sim_run *r, const struct event *e, const char *what);
bool fact_was_woken(const struct sim_run *r, int64_t since_ms);
#define FACT_GROW(items, count, capacity)                                                \
    do {                                                                                 \
        size_t room_ = (capacity);                                                       \
        (items) = array_grow((items), &room_, (count), sizeof(*(items)));                \
        (capacity) = (uint32_t)room_;                                                    \
    } while (0)
/* The reference of a request that is on record, if it has one: once. */
void fact_note_ref(struct sim_run *r, const struct event *e, aiki_view text);
/* life.c: events of the run as a whole. */
void fact_started(struct sim_run *r, const struct event *e);
void fact_claimed(struct sim_run *r, const struct event *e);
void fact_retried(struct sim_run *r, const struct event *e);
void fact_cancel_seen(struct sim_run *r, const struct event *e);
/* Whether there is a task that one of the builds does not define; which of them says so depends on who was asked
 * first. */
bool fact_has_lack(const struct sim_run *r);
void fact_blocked(const struct sim_run *r, const struct event *e);
void fact_ended(struct sim_run *r, const struct event *e);
void fact_dropped(struct sim_run *r, const struct event *e);
/* tasks.c: what becomes of attempts. */
void fact_task_done(struct sim_run *r, const struct event *e, struct fact_step *s);
void fact_attempt_done(struct sim_run *r, const struct event *e, struct fact_step *s);
void fact_attempt_failed(struct sim_run *r, const struct event *e, struct fact_step *s);
void fact_crashed(struct sim_run *r, const struct event *e);
void fact_check_schema(const struct sim_run *r, const struct event *e, const struct fact_step *s, uint64_t what);
/* How often a step has crashed under a build in this pass, and whether that is too often. */
void fact_unblocked(struct sim_run *r, const struct event *e);
bool fact_is_crashed_out(const struct sim_run *r, const struct address *a, uint64_t nth, uint32_t name,
                         uint32_t build);
bool fact_has_ref(const struct sim_run *r, uint64_t ref);
void fact_heartbeat(struct sim_run *r, const struct event *e, struct fact_step *s);
/* joins.c: children that runs have in common, as family_after. */
void join_noted(struct sim_run *r, const struct event *e);
void join_after(struct sim_run *r);
bool join_has(const struct aiki_id *child);
/* keys.c: who has a start key. A run starts; then, when the whole unit has been taken: rightly so. */
void key_born(struct sim_run *r);
void key_check(struct sim_run *r);
/* Whether the start of r may be answered with that run; whether it may be refused. */
bool key_absorbs(const struct sim_run *r, const struct sim_run *other);
bool key_refuses(const struct sim_run *r);
/* The step is told that its key is another run's. */
void key_check_taken(const struct sim_run *r, const struct fact_step *s);
/* family.c: parents and children. A run that is inserted and is none of a client's: who it is; then, when
 * the whole unit has been taken, what it did to its family. */
uint32_t family_born(const struct event *started, const struct aiki_id *id);
void family_check_birth(struct sim_run *r);
void family_after(struct sim_run *r);
/* NULL: no step of the parent has that child. The last time the parent was told of its end, or NULL. */
struct fact_step *family_step(struct sim_run *parent, const struct aiki_id *child);
const struct fact_end *family_last_end(const struct sim_run *parent, const struct aiki_id *child);

/* model.c: the program of a run on its journal. */
struct model_view {
    enum interp_status status;
    enum interp_end end;
    uint64_t sum;
    bool protected;
    uint32_t uncalled;
    const char *wrong;         /* NULL: it fits */
};
struct model_view model_run(struct sim_run *r);

#endif

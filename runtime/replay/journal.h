/* journal.h - what is on record about one run, in the form replay asks for. [one thread]
 *
 *   stored events --journal_load--> steps by (address, nth)      journal_find
 *                                   deliveries in journal order  (STEP_DONE events)
 *                                   arrivals: signals, ends of children, requests
 *
 * Pure: no I/O, no clock. Memory comes from the caller's allocator and is never given back
 * singly; names, inputs, values and errors are views into the pages handed to journal_load, which
 * the caller keeps as long as the journal.
 * Limits: JOURNAL_STEPS_MAX steps a run.
 */
#ifndef REPLAY_JOURNAL_H
#define REPLAY_JOURNAL_H

#include "replay/retry.h"
#include "wire/event.h"

enum { JOURNAL_STEPS_MAX = 100000 };

/* Zeroed memory that lives as long as the journal; NULL: out of memory. */
struct replay_memory {
    void *(*alloc)(void *arg, uint64_t size_bytes);
    void *arg;
};
/* More room for a writer in such memory, which is what grow of a writer is asked for; the room it had stays
 * behind. False: out of memory. */
bool replay_memory_grow(const struct replay_memory *m, aiki_writer *w, uint64_t capacity_min_bytes);

/* Where a step is on its way. */
enum step_phase {
    PHASE_NEW = 0, /* on record and not asked for, or asked for during replay */
    PHASE_HELD,    /* a task that may start once its barrier is acknowledged */
    PHASE_RUNNING, /* a task attempt is under way */
    PHASE_WAITING, /* for time, a signal, or the next attempt's time */
    PHASE_READY,   /* outcome known, not yet shown to the code */
    PHASE_SHOWN    /* delivered */
};

/* Of steps whose attempts have timeouts or heartbeats only. */
struct timing {
    struct step *next; /* in the list of timed attempts */
    bool listed;
    int64_t began_at_ms, beat_at_ms; /* of the attempt; 0 = not yet */
    int64_t ask_at_ms;               /* when to ask the owner for these; 0 = not */
    uint8_t *details;                /* of the last heartbeat; kept for the next ones */
    uint64_t details_bytes, details_capacity;
    bool details_unrecorded;
    int64_t recorded_at_ms; /* when a heartbeat of this attempt was last recorded; 0 = never */
};

/* Charged to a step in one pass of the run. */
struct crashes {
    uint64_t pass;
    uint64_t count, lifts; /* under this build, since somebody last let it try again */
    bool here, elsewhere;  /* under this build, under others */
    uint64_t seq;          /* of the last one under this build: event, time, error */
    int64_t at_ms;
    aiki_view error;
};

struct step {
    struct step *chain;         /* in its hash bucket */
    struct step *next;          /* in the queue of its phase */
    struct step *next_recorded; /* journal order of first mention */
    struct step *next_unannounced;
    struct address address;
    uint64_t nth;
    uint64_t calls; /* kept in nth 0: calls with this address so far */
    uint64_t kind;
    aiki_view name, input;
    bool on_record;     /* some event has carried its identity */
    bool done_on_record; /* and one its outcome: it never executes again */
    bool kept; /* and one what its last attempt brought, which the code has not seen: neither does it */
    bool called;
    uint8_t phase;
    bool required;  /* spoken of since the run was last retried: the code must ask for it */
    bool shielded;  /* called in a protected scope: a request to end the run leaves it alone */
    bool unrecorded; /* cancelled while replaying; to be recorded once live */
    bool until;     /* a sleep that ends at due_at_ms whatever its duration */
    bool detached;  /* a child nobody waits for */
    bool invented;  /* its outcome was made up by a gate that looks ahead */
    uint8_t warned; /* WARNED_* on record */
    uint32_t future;  /* number of its call, from 1 */
    uint32_t turn;    /* of the code: how often it had waited when it called */
    uint32_t awaited; /* how often the current wait lists it */
    /* time */
    int64_t duration_ms; /* as called: sleep, or signal timeout (negative: none) */
    int64_t recorded_ms; /* the same when the wait began, as the journal has it */
    int64_t since_ms, due_at_ms;
    uint64_t first_seq, begun_seq; /* events: first of the step, and that which began its wait */
    /* child */
    aiki_view options; /* child_options_write in child.h */
    uint64_t pass;
    struct child_end *child; /* NULL before it is called */
    /* attempts */
    uint64_t attempt; /* failed ones on record */
    uint64_t begun_attempt; /* the last one that was recorded before it began, or while it went on */
    bool barred, undefined; /* see struct step_call */
    bool lingering;         /* an attempt that has failed by a timeout has not returned yet */
    int64_t called_at_ms;   /* 0 = not known to be called */
    struct timing *timing;  /* NULL: no timeouts, no heartbeats */
    const struct task_policy *policy;
    struct crashes *crashes; /* NULL: none was charged to it */
    uint64_t barrier; /* events that must be acknowledged before it may start */
    const void *task;    /* the caller's, untouched here */
    const void *expects; /* signal: so is this; NULL: any payload */
    /* outcome */
    uint64_t outcome;
    aiki_view value; /* of a signal step: its payload */
    aiki_view error;
    struct signal *signal;
    uint64_t done_seq; /* event of the outcome on record */
    uint64_t done_attempt;
    int64_t duration_us;
};

struct signal {
    struct signal *next;
    uint64_t seq;
    aiki_view name, payload;
    bool taken;
};

/* What became of a child, or will. */
struct child_end {
    struct child_end *chain;
    struct aiki_id id;
    bool known;
    bool behind_cancel; /* it ended when the run had been asked to end */
    uint64_t outcome;   /* OUTCOME_* */
    aiki_view output, error;
};

enum { CHILD_BUCKETS = 256 };

struct journal {
    struct replay_memory memory;
    struct step **buckets;
    uint32_t bucket_count, step_count;
    struct step *first_recorded, **last_recorded;
    struct step **deliveries; /* NULL: the code learnt that the run is to end */
    uint32_t delivery_count, delivery_capacity;
    struct signal *oldest_signal, **last_signal; /* taken ones fall off the front */
    struct child_end **children;                 /* by id; NULL before the first */
    uint64_t arrival_count, arrival_seq;         /* ever seen; number of the newest */
    bool cancel_requested, paused;
    aiki_view cancel_reason;
    uint64_t woken_seq; /* of the last WOKEN; 0 = none */
    int64_t woken_at_ms;
    uint64_t seq;       /* of the last event loaded */
    uint64_t recorded;  /* steps on record */
    uint64_t required;  /* of these, steps the code must ask for */
    uint64_t passes;    /* RUN_RETRIED events */
    bool ended;         /* by its last event */
    aiki_view build;    /* the owner's to fill in: which build is executing; crashes of others are theirs */
    uint64_t crashes;   /* of the workflow's own code under this build, since it was last unblocked */
    aiki_view crash_error; /* of the last one */
    uint64_t lifts;     /* UNBLOCKED because somebody lets the build that crashed try again */
    uint64_t vain_seq;  /* of the last UNBLOCKED because nothing came in time; 0 = none */
    uint8_t warned;     /* WARNED_* of the run itself on record */
    struct event start; /* the STARTED event; kind 0 before it was loaded */
    struct retry start_retry; /* what it says about retries, with defaults filled in */
    bool has_start_retry;
};

void journal_init(struct journal *j, struct replay_memory memory);
/* Append a page of stored events. AIKI_CORRUPT, AIKI_LIMIT, AIKI_NOMEM with the event in err. */
aiki_status journal_load(struct journal *j, aiki_view page, aiki_error *err);
/* An arrival (event.h) that came after the journal was read; a known one is ignored. The bytes are
 * kept by the caller as long as the journal. *ret_kind: 0 when it was known. */
aiki_status journal_add_arrival(struct journal *j, aiki_view stored, uint64_t *ret_kind,
                                aiki_error *err);
/* NULL: no such step. */
struct step *journal_find(const struct journal *j, const struct address *a, uint64_t nth);
/* A step that is not on record yet. NULL: out of memory or over JOURNAL_STEPS_MAX. */
struct step *journal_add(struct journal *j, const struct address *a, uint64_t nth);
/* Made when first asked for. NULL: out of memory. */
struct timing *journal_timing(struct journal *j, struct step *s);
/* The oldest signal of that name nobody has taken, or NULL. */
struct signal *journal_signal(struct journal *j, aiki_view name);
void journal_take_signal(struct journal *j, struct step *s, struct signal *signal);
/* As if s had never taken the signal it has. */
void journal_give_back(struct journal *j, struct step *s);
/* What is known of the end of a child. NULL: out of memory. */
struct child_end *journal_child(struct journal *j, const struct aiki_id *id);

/* ---- outside.c, for journal.c ------------------------------------------------------------ */

/* An event that is an arrival. AIKI_NOMEM. */
aiki_status outside_arrive(struct journal *j, const struct event *e);
/* The signal of that number if nobody has taken it. */
struct signal *outside_signal_by_seq(struct journal *j, uint64_t seq);
/* RUN_RETRIED: what is void is forgotten. */
void outside_retried(struct journal *j, const struct event *e);

#endif

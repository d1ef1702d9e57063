/* sim/sim.h - a whole Aiki in one thread: real decisions, simulated surroundings. [one thread]
 *
 *   clients --frames--> server: the real pipeline on a simulated store --offers--> streams
 *      ^                   |  ^                                                      |
 *      +------replies------+  +---CLAIM, APPEND---- runtimes: the real replay <---tickets
 *
 * Everything that could differ between two executions is drawn from the seed: time is virtual and
 * moves from event to event, randomness comes from named generators, and nothing sleeps. So a seed is a
 * history, and its trace hash says whether two executions were the same.
 *
 * What may go wrong is in FAULTS; a seed switches some of them on. oracle.c looks at every commit and
 * every answer; the first thing that must not be ends the seed with `violation`.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <setjmp.h>

#include "pipeline.h"
#include "replay/replay.h"

enum {
    RUNTIMES_MAX = 4,
    CLIENTS_MAX = 4,
    PEERS = RUNTIMES_MAX + CLIENTS_MAX,
    ROOTS_MAX = 400,   /* runs that clients start */
    RUNS_MAX = 8000,   /* with their children */
    WORKFLOWS_MAX = 3, /* each may have children of those behind it */
    BUILDS = 2,
    OPS_MAX = 32,
    CLEANUP_MAX = 5,
    FUTURES_MAX = OPS_MAX + CLEANUP_MAX,
    NAMES = 4,         /* of tasks, signals, sleeps, side values */
    LEASE_MS = 1000,
    SKEW_MS = 150,     /* a host's clock and what it knows are behind by the way of a message or two */
    STEP_INPUTS = 3,
    FAULT_PHASE_MS = 20000, /* faults are over after that */
    CALM_MS_MAX = 3600 * 1000 /* and every run has ended after that */
};

#define NOBODY UINT32_MAX
#define SIM_VERSION "1.0.0"

/* What a seed may switch on; the shrinker switches off what a failure does not need. */
#define SIM_FAULTS(X)                                                    \
    X(SERVER_CRASH, "server-crash")     /* in a commit, or between */    \
    X(STORE_REFUSES, "store-refuses")   /* full, locked */               \
    X(STORE_READS, "store-reads")       /* fail now and then */          \
    X(STORE_DIES, "store-dies")         /* an fsync that fails */        \
    X(TICKET_LOST, "ticket-lost")                                        \
    X(TICKET_TWICE, "ticket-twice")                                      \
    X(TICKET_ORDER, "ticket-order")                                      \
    X(STREAM_TRIM, "stream-trim")                                        \
    X(STREAM_FLUSH, "stream-flush")                                      \
    X(RUNTIME_CRASH, "runtime-crash")                                    \
    X(RUNTIME_PAUSE, "runtime-pause")   /* longer than its lease */      \
    X(CHILD_HANGS, "child-hangs")       /* handed back, and writes on */ \
    X(CHILD_CRASH, "child-crash")       /* its process is gone, its runs are handed back */ \
    X(CUT, "cut")                       /* a connection ends */          \
    X(REPLY_LOST, "reply-lost")         /* clients ask again */          \
    X(APPEND_TWICE, "append-twice")                                      \
    X(HAND_BACK, "hand-back")           /* runs are given back in order */ \
    X(OTHER_BUILD, "other-build")       /* whose code differs */         \
    X(BUILD_KEPT, "build-kept")         /* the one before is asked, too */ \
    X(TASKS_FAIL, "tasks-fail")                                          \
    X(SLOW_NET, "slow-net")                                              \
    X(SMALL_CACHE, "small-cache")       /* runs are read from the store */
enum {
#define SIM_FAULT_ENUM(name, text) FAULT_BIT_##name,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
    FAULT_BITS
};
#define HAS(name) ((sim.config.faults >> FAULT_BIT_##name & 1) != 0)
#define USES(name) ((sim.config.primitives >> PRIMITIVE_##name & 1) != 0)

/* What programs are made of, and what is asked of their runs. */
#define SIM_PRIMITIVES(X)                                                   \
    X(RETRY, "retry")                                                       \
    X(SLEEP, "sleep")                                                       \
    X(SIGNAL, "signal")                                                     \
    X(TIMEOUT, "timeout")                                                   \
    X(SIDE, "side")                                                         \
    X(ANY, "any")                                                           \
    X(PEEK, "peek")                                                         \
    X(BRANCH, "branch")                                                     \
    X(LONG, "long")             /* waits that park */                       \
    X(CHILD, "child")                                                       \
    X(DETACHED, "detached")                                                 \
    X(CHILD_KEY, "child-key")                                               \
    X(DROP, "drop")             /* a future is cancelled */                 \
    X(PROTECT, "protect")                                                   \
    X(PASSES, "passes")         /* a workflow's retry policy */             \
    X(LIMITS, "limits")         /* timeouts of attempts */                  \
    X(BEATS, "beats")                                                       \
    X(ONCE, "once")             /* tasks executed at most once */           \
    X(PAUSE, "pause")                                                       \
    X(WAKE, "wake")                                                         \
    X(CANCEL, "cancel")                                                     \
    X(TERMINATE, "terminate")                                               \
    X(REDO, "redo")             /* a run that failed is tried again */      \
    X(DELAY, "delay")           /* starts later */                          \
    X(DEADLINE, "deadline")                                                 \
    X(PAGES, "pages")           /* journals of many */
enum {
#define SIM_PRIMITIVE_ENUM(name, text) PRIMITIVE_##name,
    SIM_PRIMITIVES(SIM_PRIMITIVE_ENUM)
#undef SIM_PRIMITIVE_ENUM
    PRIMITIVE_COUNT
};

struct config {
    uint64_t seed;
    uint64_t faults;     /* bits FAULT_BIT_* */
    uint64_t primitives; /* bits PRIMITIVE_* */
    uint32_t runs, ops, runtimes, clients, workflows;
    uint32_t fault_percent; /* how often what is on happens, relative to its usual rate */
    uint32_t request_permille; /* how often a client asks something of a run */
    uint64_t page_bytes;    /* of a journal */
    bool verbose;
};

struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);
bool rng_permille(struct rng *r, uint64_t permille);
uint64_t mix64(uint64_t a, uint64_t b);

/* ---- events ---------------------------------------------------------------------------------- */

struct sim_event {
    int64_t at_ms;
    uint64_t serial;          /* order among equals */
    void (*fn)(struct sim_event *e);
    uint32_t who;             /* peer, or what fn makes of it */
    uint32_t type, correlation;
    uint64_t generation, number;
    uint8_t *bytes;           /* owned */
    uint64_t size_bytes;
};
struct sim_event *event_at(int64_t at_ms, void (*fn)(struct sim_event *e));
/* Again later, in the order it would have had. */
void event_again(const struct sim_event *e, int64_t at_ms);
void event_bytes(struct sim_event *e, aiki_view bytes);

/* ---- programs -------------------------------------------------------------------------------- */

enum op_kind {
    OP_TASK, OP_SLEEP, OP_SIGNAL, OP_SIDE, OP_CHILD, /* these begin a step */
    OP_ALL, OP_ANY, OP_LAST, OP_PEEK, OP_SKIP, OP_FAIL, OP_DROP, OP_PROTECT, OP_EXPOSE
};
struct op {
    enum op_kind kind;
    uint32_t name, input; /* child: its workflow */
    bool once;            /* side */
    int64_t ms;
    uint32_t skip;        /* drop: which of the open futures */
    uint32_t attempts_max;
    int64_t delay_ms;
    uint64_t close_policy;
    bool detached, keyed;
};
/* What holds for all calls of a task in a program; 0 = no limit. */
struct task_limits {
    int64_t start_to_close_ms, schedule_to_start_ms, schedule_to_close_ms, heartbeat_ms;
    uint32_t crashes_max;
    bool once;
};
/* What it does when it learns that the run is to end. */
enum on_cancel { ON_CANCEL_CLEAN, ON_CANCEL_LEAVE, ON_CANCEL_IGNORE };
struct program {
    struct op ops[OPS_MAX];
    uint32_t count;
    struct op cleanup[CLEANUP_MAX]; /* protected */
    uint32_t cleanup_count;
    enum on_cancel on_cancel;
    struct task_limits tasks[NAMES];
    uint32_t passes_max;
    int64_t pass_delay_ms, run_timeout_ms;
};
void programs_make(void);
/* Signal names that it may wait for, as bits. */
uint32_t program_signals(const struct program *p);
/* Operation n of all there are, cleanup included; NULL behind the last. */
const struct op *program_op(const struct program *p, uint32_t n);

/* CUT: the program itself gave it up, or was told to end. STOPPED: a child that was cancelled. */
enum step_status { STEP_PENDING, STEP_GOOD, STEP_BAD, STEP_LATE, STEP_CUT, STEP_STOPPED };
enum step_status step_status_of(uint64_t outcome, bool with_error);
enum await_status { AWAIT_OVER, AWAIT_SUSPENDS, AWAIT_CANCELLED };

/* What a program runs on: the real replay, or the oracle's model. */
struct machine {
    void *arg;
    /* The future, or 0: nothing can go on. */
    uint32_t (*call)(void *arg, const struct op *op);
    enum await_status (*await)(void *arg, const uint32_t *futures, uint32_t count, uint32_t needed);
    /* How the await that was suspended has ended. */
    enum await_status (*awaited)(void *arg);
    enum step_status (*look)(void *arg, uint32_t future, uint64_t *ret_value);
    /* False: suspend, and ask again. */
    bool (*side)(void *arg, uint32_t future);
    void (*cancel)(void *arg, uint32_t future);
    void (*protect)(void *arg, bool on);
};
enum interp_end { END_GOOD, END_FAILED, END_CANCELLED };
enum { SEEN_CANCEL = 0 }; /* in place of a future */
struct interp {
    const struct program *program;
    uint32_t pc;
    uint64_t sum;         /* of all that was seen, in order */
    uint32_t futures[FUTURES_MAX], open[FUTURES_MAX];
    uint32_t future_count, open_count;
    uint32_t seen[FUTURES_MAX + 1]; /* futures whose outcome went into the sum */
    uint32_t seen_count;
    uint32_t awaited[FUTURES_MAX];
    uint32_t depth;       /* of protected scopes */
    bool waiting, cancelled, cleaning;
    enum interp_end end;
};
enum interp_status { INTERP_WAITS, INTERP_RETURNED, INTERP_BROKEN };
enum interp_status interp_go(struct interp *i, uint64_t input, const struct machine *m);

const char *task_name(uint32_t name);
const char *workflow_name(uint32_t workflow);
/* Outcome of attempt n (from 1) of a task step in a pass (from 0) of a run: the same wherever it is
 * executed. */
struct outcome_of {
    bool good, final;
    int64_t retry_after_ms;
    uint64_t value;
    int64_t waits_ms, takes_ms; /* for a thread; on it */
    int64_t beat_ms;            /* between signs of life; 0: none */
};
struct attempt_of {
    uint32_t run, name;
    uint64_t pass, input, nth, attempt;
};
struct outcome_of attempt_outcome(const struct attempt_of *a);

/* ---- facts: what is on record, as the oracle sees it ------------------------------------------- */

struct fact_step {
    struct address address;
    uint64_t nth, kind, input;
    uint32_t name;
    bool gone;                /* void since a retry of the run */
    bool required;            /* spoken of since then: the program asks for it */
    bool begun, done, cut;    /* cut: cancelled without an error */
    bool kept;                /* what its last attempt brought is on record, and the code has not seen it */
    uint64_t failed;          /* attempts on record */
    uint64_t first_seq, begun_seq, done_seq;
    int64_t due_at_ms, next_at_ms, since_ms;
    uint64_t outcome, kept_outcome, value;
    bool with_error;
    uint64_t signal;          /* index + 1 in signals */
    uint64_t begun_attempt, begun_epoch; /* of the last HEARTBEAT */
    bool beat;                /* which had details */
    /* child */
    struct aiki_id child;
    uint64_t close_policy;
    bool detached, keyed;
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
    uint64_t nth, pass;
    uint32_t build;
};
/* The end of a child, as its parent was told. */
struct fact_end {
    struct aiki_id child;
    uint64_t seq, state, value;
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
    /* as it is on record */
    bool on_record, ended;
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
    bool cancel_requested, cancel_seen, paused;
    uint64_t woken, paused_ever, cancelled_ever, retried_ever; /* how often */
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
    struct fact_crash *crashes;
    uint32_t crash_count, crash_capacity;
    /* what the unit at hand did to it, for family.c */
    uint64_t seq_before;
    uint32_t ends_before;
    bool ended_now, cancelled_now, retried_now;
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
    bool abandoned, over, in_calm;
};

__attribute__((noreturn, format(printf, 1, 2))) void violation(const char *format, ...);

/* facts.c: events as they are committed. */
void fact_event(struct sim_run *r, const struct event *e);
struct fact_step *fact_find(struct sim_run *r, const struct address *a, uint64_t nth);
uint64_t fact_number(aiki_view value, uint64_t *ret_second);
uint32_t fact_run_number(const struct sim_run *r);
bool fact_was_woken(const struct sim_run *r, int64_t since_ms);
#define FACT_GROW(items, count, capacity)                                                \
    do {                                                                                 \
        size_t room_ = (capacity);                                                       \
        (items) = array_grow((items), &room_, (count), sizeof(*(items)));                \
        (capacity) = (uint32_t)room_;                                                    \
    } while (0)
/* tasks.c: what becomes of attempts. */
void fact_task_done(struct sim_run *r, const struct event *e, struct fact_step *s);
void fact_attempt_done(struct sim_run *r, const struct event *e, struct fact_step *s);
void fact_attempt_failed(struct sim_run *r, const struct event *e, struct fact_step *s);
void fact_crashed(struct sim_run *r, const struct event *e);
/* How often a step has crashed under a build in this pass, and whether that is too often. */
bool fact_is_crashed_out(const struct sim_run *r, const struct address *a, uint64_t nth, uint32_t name,
                         uint32_t build);
void fact_heartbeat(struct sim_run *r, const struct event *e, struct fact_step *s);
/* family.c: parents and children. A run that is inserted and is none of a client's: who it is; then, when
 * the whole unit has been taken, what it did to its family. */
uint32_t family_born(const struct event *started, const struct aiki_id *id);
void family_check_birth(struct sim_run *r);
void family_after(struct sim_run *r);

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

/* ---- the oracle ------------------------------------------------------------------------------ */

void oracle_committed(const struct unit *u);
/* An attempt begins in a stay that is not a zombie's. */
struct beginning {
    uint32_t run;
    uint64_t epoch;
    uint32_t build;
    const struct step *step;
    const struct interp *interp;
    uint32_t seen_at_call;
    bool shielded;             /* called in a protected scope */
    const struct replay *replay;
};
void oracle_begins(const struct beginning *b);
/* The journal a runtime was given is what is on record. */
void oracle_claimed(uint32_t run, uint64_t epoch, aiki_view journal, uint64_t seq);
/* And the next page of it. */
void oracle_page(uint32_t run, uint64_t epoch, uint64_t seq);
/* Waits of a live stay end when the record says. */
void oracle_waits(uint32_t run, const struct replay *r);
void oracle_result(uint32_t run, const struct msg_RESULT *m);
/* A request was answered with OK, or refused. */
void oracle_requested(uint32_t run, uint64_t action, uint64_t count);
void oracle_refused(uint32_t run, uint64_t action, const char *code);
/* Nothing was disturbed for a while: who waits has a reason to. */
void oracle_quiet(void);
void oracle_end(void);

/* ---- the rest of the world ------------------------------------------------------------------- */

struct sim_server {
    bool up, in_turn;
    struct store *store;
    struct pipeline p;
    struct batch *batch;
    bool turn_due;
    int64_t wake_at_ms;
    uint64_t generation;       /* of the process */
    jmp_buf died;
};

struct stream_entry {
    struct ticket ticket;
    struct aiki_id reader;     /* zero: nobody has read it */
};
struct sim_stream {
    struct stream_entry *entries;
    size_t count, capacity;
    bool reset;                /* its group is to be created by a reader */
};

/* A connection as both ends see it. */
struct line {
    bool open;
    uint64_t serial;
    int64_t to_server_ms, to_peer_ms; /* of the last thing sent: order is kept */
    /* the server's end */
    struct aiki_id session;
    bool leased;
    int64_t lease_until_ms;
};

struct world {
    struct config config;
    int64_t now_ms, faults_end_ms;
    bool calm;
    uint64_t trace, serial, handled;
    struct rng faults, net, work, program_rng;
    struct sim_event *heap;
    size_t heap_count, heap_capacity;
    struct program programs[BUILDS][WORKFLOWS_MAX];
    struct sim_server server;
    struct sim_stream streams[WORKFLOWS_MAX];
    struct line lines[PEERS];
    uint64_t line_serial;
    struct sim_run *runs;      /* of RUNS_MAX */
    uint32_t run_count;
    uint32_t *run_places;      /* by id: number + 1 */
    struct execution *executions;
    size_t execution_count, execution_capacity;
    uint64_t commits, zombie_writes, fenced, diverged, pages, moved, crashed;
    char why[600];
};
extern struct world sim;

/* Whether something of that kind happens now: permille, scaled by the seed's rate. */
bool fault_strikes(uint32_t bit, uint64_t permille);
void trace_add(uint64_t value);
void trace_bytes(aiki_view bytes);
/* runs.c: NOBODY when there is none; run_of_id: that must not be. */
void runs_make(void);
void runs_free(void);
uint32_t run_find(const struct aiki_id *id);
uint32_t run_of_id(const struct aiki_id *id);
uint32_t run_add(const struct aiki_id *id);
void sim_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

aiki_status sim_store_open(struct store **ret, aiki_error *err);
void sim_store_wipe(void);
/* The record itself, for the oracle. */
struct store *sim_store_disk(void);

void server_start(void);
void server_stop(void);
_Noreturn void server_crash_here(void);
void server_take(uint32_t peer, uint32_t type, uint32_t correlation, aiki_view payload);

void stream_add(uint32_t workflow, const struct ticket *t);
bool stream_read(uint32_t workflow, const struct aiki_id *reader, struct ticket *ret);
void stream_ack(uint32_t workflow, const struct aiki_id *reader, const struct ticket *t);
void stream_flush(uint32_t workflow);

peer_id line_peer(uint32_t peer);
void line_open(uint32_t peer);
void line_close(uint32_t peer);
void line_send(uint32_t peer, uint32_t type, uint32_t correlation, aiki_view payload);
void line_deliver(uint32_t peer, uint64_t serial, aiki_view frames);
int64_t line_delay_ms(void);
#define line_say(peer, NAME, correlation, ...)                                             \
    do {                                                                                   \
        const struct msg_##NAME m_ = {__VA_ARGS__};                                        \
        aiki_writer w_;                                                                    \
        buf_init(&w_);                                                                     \
        msg_##NAME##_write(&w_, &m_);                                                      \
        line_send(peer, WIRE_##NAME, correlation, aiki_writer_view(&w_));                  \
        buf_deinit(&w_);                                                                   \
    } while (0)

void runtimes_start(void);
void runtimes_stop(void);
void runtime_frame(uint32_t peer, const struct frame *f);
void runtime_cut(uint32_t peer);
bool runtime_frozen_until(uint32_t peer, int64_t *ret_until_ms);
void runtimes_calm(uint32_t build);

void clients_start(void);
void clients_stop(void);
void client_frame(uint32_t peer, const struct frame *f);
void client_cut(uint32_t peer);
/* Signals for whoever still waits for one, and an end of pauses. */
void clients_help(void);
bool clients_done(void);

/* Play one seed. False: sim.why says what must not be. */
bool world_play(const struct config *config, uint64_t *ret_trace);

#endif

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

#include "facts.h"
#include "pipeline.h"
#include "program.h"
#include "replay/replay.h"

enum {
    RUNTIMES_MAX = 4,
    CLIENTS_MAX = 4,
    PEERS = RUNTIMES_MAX + CLIENTS_MAX,
    ROOTS_MAX = 400,   /* runs that clients start */
    RUNS_MAX = 8000,   /* with their children */
    LEASE_MS = 1000,
    QUARANTINE_MS = 8000, /* in which that many crashes are too many */
    HISTORY_EVENTS_MAX = 3000, /* of a run; programs are small */
    SHARED_KEYS = 4,   /* for many starts, by workflow */
    SKEW_MS = 150,     /* a host's clock and what it knows are behind by the way of a message or two */
    FAULT_PHASE_MS = 20000, /* faults are over after that */
    CALM_MS_MAX = 3600 * 1000 /* and every run has ended after that */
};

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
    X(CODE_CRASH, "code-crash")         /* with the workflow's own code as the cause */ \
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
    X(REFERENCE, "reference")   /* with which a repeated request counts once */ \
    X(REDO, "redo")             /* a run that failed is tried again */      \
    X(DELAY, "delay")           /* starts later */                          \
    X(UNTIL, "until")           /* sleeps that end at a time */             \
    X(START_RETRY, "start-retry") /* a retry policy given at the start */   \
    X(START_BY, "start-by")     /* children that nobody takes up end */     \
    X(KEYS, "keys")             /* starts that share keys, of all policies */ \
    X(SHARED, "shared")         /* children that runs have in common */     \
    X(ISOLATED, "isolated")     /* tasks with a process of their own */     \
    X(QUARANTINE, "quarantine") /* of code that crashes */                  \
    X(SCHEMAS, "schemas")       /* strict, warn or off */                   \
    X(SMALL_UNITS, "small-units") /* families closed in several */          \
    X(DEADLINE, "deadline")                                                 \
    X(PAGES, "pages")           /* journals of many */                      \
    X(LACKS, "lacks")           /* a task that the other build does not define */
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
    uint32_t quarantine_crashes; /* before code is quarantined */
    int64_t hold_ms;        /* of a run whose task has spent its crash budget */
    uint32_t unit_runs;     /* from how many on a family is closed in several units */
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

__attribute__((noreturn, format(printf, 1, 2))) void violation(const char *format, ...);

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
void oracle_claimed(uint32_t run, const struct msg_CLAIMED *m);
/* Its owner handed it back to be executed alone, and that was taken. */
void oracle_asked_alone(uint32_t run, uint64_t epoch);
/* A live stay executes code of the run. */
void oracle_executes(uint32_t run, uint64_t epoch, uint32_t build);
/* And the next page of it. */
void oracle_page(uint32_t run, uint64_t epoch, uint64_t seq);
/* Waits of a live stay end when the record says. */
void oracle_waits(uint32_t run, const struct replay *r);
void oracle_result(uint32_t run, const struct msg_RESULT *m);
/* A request was answered with OK, or refused. */
void oracle_requested(uint32_t run, uint64_t action, uint64_t ref, uint64_t count);
void oracle_refused(uint32_t run, uint64_t action, uint64_t ref, const char *code);
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
    uint64_t trace, serial, handled, requests;
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
    uint64_t commits, zombie_writes, fenced, diverged, pages, moved, crashed, undefined;
    char why[600];
};
extern struct world sim;

/* Whether something of that kind happens now: permille, scaled by the seed's rate. */
bool fault_strikes(uint32_t bit, uint64_t permille);
void trace_add(uint64_t value);
void trace_bytes(aiki_view bytes);
/* runs.c: NOBODY when there is none; run_of_id: that must not be. */
void runs_make(void);
/* As a START carries it; nothing if there is none. */
void start_retry_write(aiki_writer *w, const struct start_retry *retry);
void runs_free(void);
uint32_t run_find(const struct aiki_id *id);
uint32_t run_of_id(const struct aiki_id *id);
uint32_t run_add(const struct aiki_id *id);
/* So many were started by each other that it calls nobody back. */
bool run_is_deep(const struct sim_run *r);
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
/* What the runtime was told is quarantined of that build, and whether it serves that. */
uint32_t runtime_quarantined(uint32_t peer, uint32_t build, bool *ret_registered);

/* schemas.c: a value that is not what is expected. How long ago builds came that take what is on record
 * nevertheless; negative: not yet. */
bool schema_misfit(uint64_t value);
int64_t schema_mended_ms(void);

/* quarantines.c: what is quarantined, by what is on record. One bit for each task and workflow. */
void quarantine_begin(void);
uint32_t quarantine_bit(aiki_view name, bool workflow);
void quarantine_counts(const struct sim_run *r, const struct event *crashed);
void quarantine_rows(const struct unit *u);
void quarantine_quiet(void);
bool quarantine_was(uint32_t build);

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

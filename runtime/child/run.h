/* run.h - one run in this process: its fiber, its replay, its memory. [loop]
 *
 *               all pages          suspended          FINISH PARK BLOCK RELEASE sent
 *   LOADING ---------------> ACTIVE <-------> fiber ---------------------------------> LEAVING
 *      |                       |                                                          |
 *      +--------- DROP --------+---------------------> (gone) <-------- ACK, DROP --------+
 *
 * A run that is gone leaves the table at once; its memory goes when its last attempt has ended.
 * Limits: RUN_BYTES_MAX for workflow code, RUN_HOST_BYTES_MAX for journal, steps and results beside
 * it, RUNS_MAX resident runs.
 */
#ifndef CHILD_RUN_H
#define CHILD_RUN_H

#include <uv.h>

#include "base/conn.h"
#include "child/arena.h"
#include "child/plugin.h"
#include "child/task.h"
#include "fiber/fiber.h"
#include "replay/replay.h"
#include "wire/message.h"

enum {
    RUN_BYTES_MAX = 64 * 1024 * 1024,
    RUN_HOST_BYTES_MAX = 256 * 1024 * 1024,
    RUNS_MAX = 100000,
    RUNS_WARM_MAX = 1024, /* kept with their first chunk of memory for the next runs */
    RUN_BUCKETS = 4096,
    INLINE_TASKS_A_TURN_MAX = 32, /* then other runs get the thread */
    LINGER_EVENTS_MIN = 200,     /* a run of fewer parks at once: to replay it costs next to nothing */
    LINGER_EVENTS_PER_MS = 40,   /* others wait here about ten times as long as a replay of them takes */
    LINGER_MS_MAX = 500,
    LINGER_WAITS_MAX = 100,      /* more are recorded as one with the park, and looked through at each turn */
    ATTEMPT_GRACE_MS = 1000, /* from a timeout until an attempt that does not return costs the process */
    LOG_UNSENT_BYTES_MAX = 8 * 1024 * 1024 /* log lines are lost while more than this waits to leave */
};

struct child {
    uv_loop_t *loop;
    struct conn_loop *conns;
    struct conn *conn;
    struct plugin plugin;
    uint8_t build[HASH_BYTES]; /* of the plugin */
    bool loaded, draining;
    bool leaving; /* draining, and no run begins another task here */
    bool alone; /* the process is for one run */
    int64_t wait_timeout_ms; /* of waits for signals that take the default; 0 = none */
    bool gating; /* CHILD_GATE: nothing is executed, each run ends in a verdict */
    bool brief;  /* CHILD_GATE_BRIEF: without a look ahead */
    aiki_view lacks; /* owned: array of names, as LOAD has it; empty: none */
    int exit_code;
    struct fiber_pool *fibers;
    struct task_pool *tasks; /* NULL before LOAD */
    struct watchdog *watchdog;
    uv_timer_t grace;        /* ends a drain */
    uv_timer_t stuck;        /* attempts that were told to stop should be back */
    struct attempt *flagged; /* those, the latest first */
    uv_idle_t again;         /* active while runs wait for another turn */
    struct run *again_first, **again_last;
    struct run *runs[RUN_BUCKETS];
    uint32_t run_count; /* in the table */
    struct run *free;
    uint32_t free_count;
    int64_t engine_offset_ms, engine_last_ms;
};

enum run_state { RUN_STATE_LOADING, RUN_STATE_ACTIVE, RUN_STATE_LEAVING, RUN_STATE_GONE };

struct early_arrival { /* came while pages were still missing */
    struct early_arrival *next;
    aiki_view event;
};

struct run {
    aiki_run handle; /* what workflow code holds; first */
    struct child *child;
    struct run *next; /* in its bucket, or free */
    struct run *again_next;
    bool again_queued;
    enum run_state state;
    struct aiki_id id;
    char id_text[AIKI_ID_TEXT_SIZE];
    struct arena arena;
    uint64_t user_bytes;
    struct replay replay;
    uint64_t journal_seq; /* last event that was on record when the run came */
    struct early_arrival *early_first, **early_last;
    const char *workflow_name, *workflow_version; /* in the arena */
    const struct plugin_workflow *workflow;
    int64_t wait_timeout_ms; /* of signals, where the code leaves it to us; 0 = none */
    bool wait_is_setting;    /* and that is how this runtime is set */
    struct fiber *fiber;
    const struct step *lacking; /* in a gate: a call of a task that this build lacks, ahead of the run */
    aiki_error *mismatch; /* in the arena: what is on record does not fit this build */
    int64_t linger_until_ms; /* it waits here until then, and parks; 0 = it does not wait, or not here */
    bool capturing; /* inside the function of a side value */
    bool held_back; /* a task of it may not be executed here: it leaves when the others have ended */
    bool acted;     /* something was executed in this stay: an attempt, a side value */
    aiki_view input, output;
    aiki_view fail_error; /* error map given to fail() */
    aiki_status status;   /* what the function returned */
    aiki_error error;
    uint64_t epoch;            /* of this stay; repeated in each append */
    uint64_t appends;          /* number of the last one sent */
    int64_t next_pass_at_ms;   /* the function failed and is executed again; 0 = not */
    struct attempt *attempts;  /* under way */
    uv_timer_t timer;          /* initialised once, kept with the struct */
};

/* ---- child.c: what runs need of the process ---------------------------------------------- */

/* The engine's clock as far as the last message told; never goes back. */
int64_t child_now_ms(struct child *c);
/* A line for the log, unless too much waits already. run may be NULL. */
void child_log(struct child *c, int32_t level, const struct aiki_id *run, aiki_view task,
               uint32_t attempt, const char *text);
/* The attempt was told to stop: watch that it does. */
void child_watch_attempt(struct child *c, struct attempt *a);
/* It has ended. */
void child_unwatch_attempt(struct child *c, struct attempt *a);
/* End the process once a drain has nothing left to wait for. */
void child_settle(struct child *c);

/* ---- run.c, drive.c: what the process does with runs ------------------------------------- */

struct run *run_find(const struct child *c, const struct aiki_id *id);
void run_assign(struct child *c, const struct msg_ASSIGN *m);
/* A further page of the journal of a run that is LOADING. */
void run_add_page(struct run *r, aiki_view page);
void run_add_arrival(struct run *r, aiki_view event);
void run_acked(struct run *r, uint64_t number);
/* Forget the run; what it still produces is discarded. */
void run_drop(struct run *r);
/* Details of a heartbeat came. */
void run_attempt_beat(struct attempt *a);
/* Give the run back to be offered again. */
void run_give_back(struct run *r);
/* An attempt ended: its result, or nothing if the run is gone. Takes the attempt. */
void run_attempt_ended(struct attempt *a);
/* Tell attempts whose step has been cancelled that nobody waits for them. */
void run_stop_unwanted(struct run *r);
/* Go on as far as possible: now, or with the other queued runs. */
void run_pump(struct run *r);
void run_pump_soon(struct run *r);
/* Give every queued run a turn; those that want another get it in the next turn of the loop. */
void run_pump_queued(struct child *c);
void run_turns_init(struct child *c);

/* ---- memory and values, for api.c -------------------------------------------------------- */

void *run_alloc(void *run, uint64_t size_bytes); /* the host's share */
aiki_writer run_writer(struct run *r);
aiki_view run_copy(struct run *r, aiki_view v, bool *ret_ok);
/* In a gate that looks on: whether the code has called a task that this build lacks. It must not go on then. */
bool run_calls_ahead(struct run *r, const struct step *s);
/* An error map in the run's memory; empty when out of memory. */
aiki_view run_error_map(struct run *r, const aiki_error *e);
aiki_view value_or_nil(aiki_view v);
extern const aiki_run_api run_api;

#endif

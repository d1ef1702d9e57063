/* sim/program.h - random workflow programs, what executes them, and what their attempts come to. */
#ifndef SIM_PROGRAM_H
#define SIM_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WORKFLOWS_MAX = 3, /* each may have children of those behind it */
    BUILDS = 2,
    OPS_MAX = 32,
    CLEANUP_MAX = 5,
    FUTURES_MAX = OPS_MAX + CLEANUP_MAX,
    NAMES = 4,         /* of tasks, signals, sleeps, side values */
    STEP_INPUTS = 3
};

enum op_kind {
    OP_TASK, OP_SLEEP, OP_SIGNAL, OP_SIDE, OP_CHILD, /* these begin a step */
    OP_ALL, OP_ANY, OP_LAST, OP_PEEK, OP_SKIP, OP_FAIL, OP_DROP, OP_PROTECT, OP_EXPOSE
};
struct op {
    enum op_kind kind;
    uint32_t name, input; /* child: its workflow */
    bool once;            /* side */
    bool until;           /* sleep: ms behind the start of the run, else behind the call */
    int64_t ms;
    uint32_t skip;        /* drop: which of the open futures */
    uint32_t attempts_max;
    int64_t delay_ms;
    uint64_t close_policy;
    bool detached, keyed, shared;
    bool back;            /* child: of its own workflow or one before, which may call this one again */
    int64_t start_by_ms;  /* child: ends unless somebody takes it up until then; 0 = it waits */
};
/* What holds for all calls of a task in a program; 0 = no limit. */
struct task_limits {
    int64_t start_to_close_ms, schedule_to_start_ms, schedule_to_close_ms, heartbeat_ms;
    uint32_t crashes_max;
    bool once, isolated;
    bool undefined; /* its build does not have it */
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
    uint32_t schema_modes[NAMES]; /* AIKI_SCHEMA_*, of signals and tasks */
    uint32_t passes_max;
    int64_t pass_delay_ms, run_timeout_ms;
};
void programs_make(void);
/* Whether its build does not define that task. */
bool program_lacks(const struct program *p, uint32_t name);
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
    bool deep;            /* calls nobody back: programs that call each other have to end */
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

#endif

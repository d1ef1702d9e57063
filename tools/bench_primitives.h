/* bench_primitives.h - what each thing a workflow may ask for costs. [main thread]
 *
 * Runs of bench-each that ask for PRIMITIVE_TIMES of one thing are compared with runs that ask for
 * nothing: first one run at a time, which tells the commits that follow each other, the events and
 * the bytes on record; then many at once, which tells the CPU time when commits are shared.
 */
#ifndef TOOLS_BENCH_PRIMITIVES_H
#define TOOLS_BENCH_PRIMITIVES_H

#include "cli.h"
#include "usage.h"

enum {
    PRIMITIVE_TIMES = 10, /* in a run */
    PRIMITIVE_INFLIGHT = 64,
    PRIMITIVE_RUNS_MAX = 100000
};

#define EACH_WORKFLOW "bench-each"

/* X(name, key in the input, title, from outside) */
/* clang-format off */
#define PRIMITIVES(X)                                                 \
    X(task,   "a task, inline",               NOBODY)                 \
    X(pool,   "a task in a thread",           NOBODY)                 \
    X(retry,  "a task that fails once",       NOBODY)                 \
    X(side,   "a side value",                 NOBODY)                 \
    X(sleep,  "a sleep of 1 ms",              NOBODY)                 \
    X(child,  "a child that does nothing",    NOBODY)                 \
    X(shared, "a child shared with others",   NOBODY)                 \
    X(group,  "one of ten tasks at once",     NOBODY)                 \
    X(signal, "a signal that is waited for",  SIGNALS)                \
    X(cancel, "a request to end a waiting run", CANCELS)
/* clang-format on */

enum primitive {
#define PRIMITIVE_ENUM(name, title, from_outside) PRIMITIVE_##name,
    PRIMITIVES(PRIMITIVE_ENUM)
#undef PRIMITIVE_ENUM
        PRIMITIVE_COUNT
};

struct cost {
    double commits, events, store_bytes; /* of one of them; store_bytes 0 = cannot be seen */
    double alone_us, shared_us;          /* CPU of all processes; shared_us 0 = not measured */
};

struct primitives {
    uint32_t runs;   /* 0 = left out */
    struct cost run; /* that asks for nothing */
    struct cost each[PRIMITIVE_COUNT];
};

/* runs: one at a time of each kind; ten times as many at once. The answer is the exit code. */
int primitives_measure(struct cli *cli, const struct usage_pids *pids, uint32_t runs,
                       struct primitives *ret);
const char *primitive_name(int primitive);  /* "task" */
const char *primitive_title(int primitive); /* "a task, inline" */

#endif

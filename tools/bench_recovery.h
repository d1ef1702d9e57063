/* bench_recovery.h - how fast runs go on when the process that executes them is killed. [main
 * thread]
 *
 * Some runs of bench-hold hang in a task; their child is killed, and they complete in the next one.
 * The same again with the whole runtime. Only for a stack of one's own.
 */
#ifndef TOOLS_BENCH_RECOVERY_H
#define TOOLS_BENCH_RECOVERY_H

#include "cli.h"
#include "usage.h"

enum { RECOVERY_RUNS_MAX = 256 };

#define HOLD_WORKFLOW "bench-hold"

struct recovery {
    uint32_t runs;               /* 0 = left out */
    double child_ms, runtime_ms; /* from the kill to the last result */
};

/* The answer is the exit code. The pids of children and runtime are not the same after it. */
int recovery_measure(struct cli *cli, const struct usage_pids *pids, uint32_t runs,
                     struct recovery *ret);

#endif

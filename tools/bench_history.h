/* bench_history.h - how fast a run with a long history goes on. [main thread]
 *
 * One run of bench-history makes the given number of steps and waits for a signal, so that no
 * runtime holds it; then it is signalled: its whole journal is read, sent and replayed before it
 * completes. In the end that signal is repeated: its reference must be found without reading all that.
 */
#ifndef TOOLS_BENCH_HISTORY_H
#define TOOLS_BENCH_HISTORY_H

#include "cli.h"
#include "usage.h"

enum { HISTORY_STEPS_MAX = 99999, HISTORY_REPEATS = 100 };

#define HISTORY_WORKFLOW "bench-history"

struct history {
    uint32_t steps;     /* 0 = left out */
    uint64_t events;    /* on record when it was signalled */
    double record_s;    /* start to wait */
    double resume_ms;   /* signal to result */
    double repeat_ms;   /* the same signal once more, acknowledged: mean of HISTORY_REPEATS */
    struct peaks peaks; /* meanwhile */
};

/* The answer is the exit code. */
int history_measure(struct cli *cli, const struct usage_pids *pids, uint32_t steps,
                    struct history *ret);

#endif

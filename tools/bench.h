/* bench.h - what `aiki bench` measures, for the sources that measure it and tell it. [main thread]
 */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include "bench_history.h"
#include "bench_primitives.h"
#include "bench_recovery.h"
#include "cli.h"
#include "load.h"
#include "parked.h"
#include "usage.h"

enum { BENCH_STEPS = 3 }; /* of workflow bench */

enum phase_kind { LOAD, SINGLE, FANOUT, PHASE_COUNT };

struct counters {
    uint64_t commits, batches, commands, events;
};

struct phase {
    const char *key, *title; /* in JSON, in the table */
    struct load_plan plan;   /* runs 0 = left out */
    uint64_t steps;          /* of one run */
    struct load_result result;
    struct usage used;
    struct counters counted;
};

struct bench {
    struct cli *cli;
    aiki_writer payload, fanout_input; /* owned */
    struct phase phases[PHASE_COUNT];
    struct parked parked;         /* runs 0 = left out */
    struct history history;       /* steps 0 = left out */
    struct primitives primitives; /* runs 0 = left out */
    struct recovery recovery;     /* runs 0 = left out */
    struct usage_pids pids;
    struct machine machine;
    char fanout_title[32];
};

/* What the server has counted so far. server: its process on this host, or 0. The answer is the
 * exit code. */
int bench_count(struct cli *cli, struct counters *ret, pid_t *ret_server);

/* ---- bench_report.c -------------------------------------------------------------------------- */

void bench_print(const struct bench *b);
/* All of it as one JSON object. */
aiki_status bench_print_json(const struct bench *b, aiki_error *err);

#endif

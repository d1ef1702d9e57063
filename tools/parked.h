/* parked.h - what a run that waits costs, and how fast it goes on. [main thread]
 *
 * Starts runs of bench-wait, waits until all of them wait for their signal, and compares the
 * server's own memory and the size of its database with before. Then some are signalled one after
 * the other, from the signal to the result; in the end all are, so that none is left behind.
 */
#ifndef TOOLS_PARKED_H
#define TOOLS_PARKED_H

#include <sys/types.h>

#include "cli.h"

enum { PARKED_RUNS_MAX = 1000000, PARKED_SAMPLES_MAX = 1000 };

#define PARKED_WORKFLOW "bench-wait"

struct parked {
    uint32_t runs, samples;
    /* A server on another host cannot be looked at: 0. */
    double memory_bytes, store_bytes; /* a run */
    double resume_p50_ms, resume_p99_ms;
};

/* Until the run waits for its signal; a run that cannot is an error. The answer is the exit code. */
int parked_await(struct cli *cli, const char *id);
/* Signals it and waits for its result. ref: of the signal, or NULL. The answer is the exit code. */
int parked_resume(struct cli *cli, const char *id, const char *ref);
/* Sends the signal of parked_resume again, as after a lost answer. The answer is the exit code. */
int parked_repeat(struct cli *cli, const char *id, const char *ref);

/* Bytes of the server's database, log included; 0 = not on this host. */
uint64_t parked_store_bytes(pid_t server);

/* server: its process, 0 = not on this host. The answer is the exit code. */
int parked_measure(struct cli *cli, pid_t server, uint32_t runs, aiki_view input,
                   struct parked *ret);

#endif

/* load.h - start runs, a given number in flight, and note how long each takes. [main thread]
 *
 * Runs are started and counted on the client's own thread, so that the measuring program adds
 * no switches of its own between an answer and the next start.
 */
#ifndef TOOLS_LOAD_H
#define TOOLS_LOAD_H

#include <aiki/client.h>

enum { LOAD_RUNS_MAX = 10000000, LOAD_INFLIGHT_MAX = 32768 };

struct load_plan {
    const char *workflow; /* "bench" */
    aiki_view input;      /* borrowed until load_run returns */
    uint32_t runs, inflight;
};

struct load_result {
    double seconds;
    uint32_t completed, failed;
    double p50_ms, p95_ms, p99_ms, max_ms, mean_ms; /* start to result, of completed runs */
};

/* Returns when every run has ended. AIKI_OK even if some failed; the first failure is in err.
 * Anything else: the load could not be put on. */
aiki_status load_run(aiki_client *client, const struct load_plan *plan, struct load_result *ret,
                     aiki_error *err);

#endif

/* bench_recovery.c - see bench_recovery.h. */
#include "bench_recovery.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "doc.h"

/* STARTED, CLAIMED and the first STEP_DONE are on record: then the next task begins. */
enum { EVENTS_BEFORE_HOLD = 3, POLL_MS = 2, RESULT_MS_MAX = 60000 };

typedef char run_name[AIKI_RUN_ID_SIZE];

static int await_hold(struct cli *cli, const char *id)
{
    for (int64_t events = 0; events < EVENTS_BEFORE_HOLD;) {
        aiki_view run;
        int code = cli_query_one(cli, "runs.get", "id", id, &run);
        if (code != EXIT_OK)
            return code;
        events = doc_int(run, "seq");
        aiki_client_free(run.data);
        if (events < EVENTS_BEFORE_HOLD)
            (void)usleep(POLL_MS * 1000);
    }
    return EXIT_OK;
}

static int start_all(struct cli *cli, uint32_t runs, run_name *ids)
{
    const aiki_view nil = {(const uint8_t *)"\xc0", 1};
    const aiki_start start = {
        .struct_size = sizeof(start), .workflow = HOLD_WORKFLOW, .input = nil};
    int code = EXIT_OK;
    for (uint32_t i = 0; i < runs && code == EXIT_OK; i++) {
        aiki_status st = aiki_client_start(cli->client, &start, ids[i], NULL, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    }
    for (uint32_t i = 0; i < runs && code == EXIT_OK; i++)
        code = await_hold(cli, ids[i]);
    return code;
}

static int await_all(struct cli *cli, uint32_t runs, run_name *ids)
{
    for (uint32_t i = 0; i < runs; i++) {
        const aiki_outcome *outcome;
        aiki_status st = aiki_client_wait(cli->client, ids[i], RESULT_MS_MAX, &outcome, &cli->err);
        if (st != AIKI_OK)
            return cli_fail(cli, st, &cli->err);
        aiki_client_free(outcome);
    }
    return EXIT_OK;
}

static void kill_process(void *unused, pid_t pid)
{
    (void)unused;
    (void)kill(pid, SIGKILL); /* fails if it is gone, which is as well */
}

static int measure(struct cli *cli, const struct usage_pids *pids, bool runtime, uint32_t runs,
                   double *ret_ms)
{
    AUTO(free) run_name *ids = calloc(runs, sizeof(*ids));
    if (ids == NULL)
        return cli_fail(cli, AIKI_NOMEM, NULL);
    int code = start_all(cli, runs, ids);
    if (code != EXIT_OK)
        return code;
    int64_t began_ns = clock_mono_ns();
    for (unsigned i = 0; i < pids->runtime_count; i++)
        if (runtime)
            kill_process(NULL, pids->runtimes[i]);
        else
            usage_each_child(pids->runtimes[i], kill_process, NULL);
    code = await_all(cli, runs, ids);
    *ret_ms = (double)(clock_mono_ns() - began_ns) / 1e6;
    return code;
}

int recovery_measure(struct cli *cli, const struct usage_pids *pids, uint32_t runs,
                     struct recovery *ret)
{
    *ret = (struct recovery){.runs = runs};
    int code = measure(cli, pids, false, runs, &ret->child_ms);
    if (code == EXIT_OK)
        code = measure(cli, pids, true, runs, &ret->runtime_ms);
    return code;
}

/* bench_history.c - see bench_history.h. */
#include "bench_history.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "doc.h"
#include "parked.h"

#define REF "bench" /* of the signal that is repeated */

static int start(struct cli *cli, uint32_t steps, char id[AIKI_RUN_ID_SIZE])
{
    AUTO(buf) aiki_writer input;
    buf_init(&input);
    aiki_mp_map(&input, 1);
    aiki_mp_str(&input, "steps");
    aiki_mp_uint(&input, steps);
    const aiki_start start = {.struct_size = sizeof(start),
                              .workflow = HISTORY_WORKFLOW,
                              .input = aiki_writer_view(&input)};
    aiki_status st = input.status;
    if (st == AIKI_OK)
        st = aiki_client_start(cli->client, &start, id, NULL, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

static int count_events(struct cli *cli, const char *id, uint64_t *ret)
{
    aiki_view run;
    int code = cli_query_one(cli, "runs.get", "id", id, &run);
    if (code != EXIT_OK)
        return code;
    *ret = (uint64_t)doc_int(run, "seq");
    aiki_client_free(run.data);
    return EXIT_OK;
}

static int repeat(struct cli *cli, const char *id, double *ret_ms)
{
    int code = EXIT_OK;
    int64_t began_ns = clock_mono_ns();
    for (int i = 0; i < HISTORY_REPEATS && code == EXIT_OK; i++)
        code = parked_repeat(cli, id, REF);
    *ret_ms = (double)(clock_mono_ns() - began_ns) / 1e6 / HISTORY_REPEATS;
    return code;
}

int history_measure(struct cli *cli, const struct usage_pids *pids, uint32_t steps,
                    struct history *ret)
{
    char id[AIKI_RUN_ID_SIZE];
    *ret = (struct history){.steps = steps};
    int64_t began_ns = clock_mono_ns();
    int code = start(cli, steps, id);
    if (code == EXIT_OK)
        code = parked_await(cli, id);
    ret->record_s = (double)(clock_mono_ns() - began_ns) / 1e9;
    if (code == EXIT_OK)
        code = count_events(cli, id, &ret->events);
    if (code != EXIT_OK)
        return code;
    usage_forget_peaks(pids);
    began_ns = clock_mono_ns();
    code = parked_resume(cli, id, REF);
    ret->resume_ms = (double)(clock_mono_ns() - began_ns) / 1e6;
    usage_read_peaks(pids, &ret->peaks);
    if (code == EXIT_OK)
        code = repeat(cli, id, &ret->repeat_ms);
    return code;
}

/* cmd_bench.c - `aiki bench`: how fast this stack is, and where the time goes.
 *
 *   warm up --> runs that wait (parked.h) --> a long one (bench_history.h)
 *           --> LOAD: many runs in flight --> SINGLE: one at a time --> FANOUT: many tasks each
 *           --> what each primitive costs (bench_primitives.h) --> kills (bench_recovery.h)
 *
 * Each measurement reads the counters of the server and the CPU time of the processes before and
 * after. Runs are started and awaited on the client's own thread (load.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "bench.h"
#include "commands.h"
#include "doc.h"
#include "private_stack.h"
#include "wire/error.h"

enum {
    WARM_UP_RUNS_MAX = 1024,
    RECOVERY_RUNS = 32,
    PAYLOAD_BYTES_LIMIT = 1000000,
    WIDTH_LIMIT = 10000
};

/* ---- what to do --------------------------------------------------------------------------- */

/* A msgpack text of size_bytes in all. */
static void write_payload(aiki_writer *w, uint64_t size_bytes)
{
    uint64_t head_bytes = size_bytes <= 32      ? 1
                          : size_bytes <= 257   ? 2
                          : size_bytes <= 65538 ? 3
                                                : 5;
    AUTO(free) char *text = malloc(size_bytes);
    if (text == NULL) {
        w->status = AIKI_NOMEM;
        return;
    }
    memset(text, 'x', size_bytes);
    aiki_mp_strn(w, text, size_bytes - head_bytes);
}

static void write_fanout_input(aiki_writer *w, int64_t width)
{
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "width");
    aiki_mp_int(w, width);
}

static void plan_phases(struct bench *b)
{
    const struct args *a = &b->cli->args;
    const char *workflow = args_has(a, "pool") ? "bench-pool" : "bench";
    uint32_t inflight = (uint32_t)args_int(a, "in-flight");
    int64_t width = args_int(a, "width");
    write_payload(&b->payload, (uint64_t)args_int(a, "payload"));
    write_fanout_input(&b->fanout_input, width);
    snprintf(b->fanout_title, sizeof(b->fanout_title), "fan-out of %lld", (long long)width);
    aiki_view payload = aiki_writer_view(&b->payload);
    b->phases[LOAD] = (struct phase){.title = "load",
                                     .steps = BENCH_STEPS,
                                     .plan = {.workflow = workflow,
                                              .input = payload,
                                              .runs = (uint32_t)args_int(a, "runs"),
                                              .inflight = inflight}};
    b->phases[SINGLE] =
        (struct phase){.key = "one_at_a_time",
                       .title = "one at a time",
                       .steps = BENCH_STEPS,
                       .plan = {.workflow = workflow,
                                .input = payload,
                                .runs = inflight > 1 ? (uint32_t)args_int(a, "single") : 0,
                                .inflight = 1}};
    b->phases[FANOUT] = (struct phase){.key = "fan_out",
                                       .title = b->fanout_title,
                                       .steps = (uint64_t)width,
                                       .plan = {.workflow = "bench-fanout",
                                                .input = aiki_writer_view(&b->fanout_input),
                                                .runs = (uint32_t)args_int(a, "fan-out"),
                                                .inflight = 1}};
}

/* ---- looking at the stack ----------------------------------------------------------------- */

int bench_count(struct cli *cli, struct counters *ret, pid_t *ret_server)
{
    aiki_view document;
    int code = cli_query(cli, "server.stats", NULL, &document);
    if (code != EXIT_OK)
        return code;
    aiki_view counters = doc_get(document, "counters");
    *ret = (struct counters){.commits = (uint64_t)doc_int(counters, "store_commits"),
                             .batches = (uint64_t)doc_int(counters, "batches"),
                             .commands = (uint64_t)doc_int(counters, "commands"),
                             .events = (uint64_t)doc_int(counters, "events")};
    pid_t server = (pid_t)doc_int(document, "pid");
    *ret_server = usage_is_program(server, "aiki-server") ? server : 0;
    aiki_client_free(document.data);
    return EXIT_OK;
}

static int find_processes(struct bench *b)
{
    struct counters unused;
    aiki_view document;
    int code = bench_count(b->cli, &unused, &b->pids.server);
    if (code == EXIT_OK)
        code = cli_query(b->cli, "workers.list", NULL, &document);
    if (code != EXIT_OK)
        return code;
    for (struct doc_list l = doc_list(document, "workers"); doc_next(&l);) {
        pid_t pid = (pid_t)doc_int(l.item, "pid");
        if (usage_is_program(pid, "aiki-runtime") && b->pids.runtime_count < USAGE_RUNTIMES_MAX)
            b->pids.runtimes[b->pids.runtime_count++] = pid;
    }
    aiki_client_free(document.data);
    b->pids.redis = usage_find_redis(b->pids.server);
    machine_read(&b->machine, args_text(&b->cli->args, "data"));
    return EXIT_OK;
}

/* A run that nobody serves would be waited for without end. */
static int check_served(struct cli *cli, const char *workflow)
{
    AUTO(buf) aiki_writer args;
    aiki_view document;
    bool served = false;
    buf_init(&args);
    aiki_mp_map(&args, 1);
    aiki_mp_str(&args, "name");
    aiki_mp_str(&args, workflow);
    aiki_status st = aiki_client_query(cli->client, "workflows.get", aiki_writer_view(&args),
                                       &document, &cli->err);
    if (st == AIKI_OK) {
        served = doc_bool(doc_get(document, "workflow"), "served");
        aiki_client_free(document.data);
    }
    if (st == AIKI_NOT_FOUND || (st == AIKI_OK && !served))
        st = error_code(&cli->err, AIKI_NOT_FOUND, "NOT_SERVED",
                        "no runtime serves workflow %s; put bench.so into its plugins folder, or "
                        "measure a private stack with --dev",
                        workflow);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

/* ---- measuring ---------------------------------------------------------------------------- */

static int put_on_load(struct bench *b, const struct load_plan *plan, struct load_result *ret)
{
    struct cli *cli = b->cli;
    aiki_status st = load_run(cli->client, plan, ret, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    if (ret->failed == 0)
        return EXIT_OK;
    (void)cli_fail(cli, cli->err.status, &cli->err);
    fprintf(stderr, "  %u of %u runs of %s did not complete\n", ret->failed, plan->runs,
            plan->workflow);
    return EXIT_INCOMPLETE;
}

static int measure(struct bench *b, struct phase *p)
{
    struct counters before, after;
    struct usage used_before, used_after;
    int code = bench_count(b->cli, &before, &b->pids.server);
    if (code != EXIT_OK)
        return code;
    usage_read(&b->pids, &used_before);
    code = put_on_load(b, &p->plan, &p->result);
    usage_read(&b->pids, &used_after);
    if (code == EXIT_OK)
        code = bench_count(b->cli, &after, &b->pids.server);
    if (code != EXIT_OK)
        return code;
    p->used = usage_between(&used_before, &used_after);
    p->counted = (struct counters){.commits = after.commits - before.commits,
                                   .batches = after.batches - before.batches,
                                   .commands = after.commands - before.commands,
                                   .events = after.events - before.events};
    return EXIT_OK;
}

/* So that processes, pools and caches that appear with the first runs are not measured. */
static int warm_up(struct bench *b)
{
    struct load_plan plan = b->phases[LOAD].plan;
    struct load_result unused;
    if (plan.runs > 2 * plan.inflight)
        plan.runs = 2 * plan.inflight;
    if (plan.runs > WARM_UP_RUNS_MAX)
        plan.runs = WARM_UP_RUNS_MAX;
    return put_on_load(b, &plan, &unused);
}

static int measure_all(struct bench *b)
{
    uint32_t parked = (uint32_t)args_int(&b->cli->args, "parked");
    uint32_t steps = (uint32_t)args_int(&b->cli->args, "history");
    uint32_t primitives = (uint32_t)args_int(&b->cli->args, "primitives");
    int code = cli_connect(b->cli);
    for (int i = 0; i < PHASE_COUNT && code == EXIT_OK; i++)
        if (b->phases[i].plan.runs > 0)
            code = check_served(b->cli, b->phases[i].plan.workflow);
    if (code == EXIT_OK)
        code = find_processes(b);
    if (code == EXIT_OK)
        code = warm_up(b);
    if (code == EXIT_OK && parked > 0)
        code = check_served(b->cli, PARKED_WORKFLOW);
    if (code == EXIT_OK && parked > 0)
        code =
            parked_measure(b->cli, b->pids.server, parked, b->phases[LOAD].plan.input, &b->parked);
    if (code == EXIT_OK && steps > 0)
        code = check_served(b->cli, HISTORY_WORKFLOW);
    if (code == EXIT_OK && steps > 0)
        code = history_measure(b->cli, &b->pids, steps, &b->history);
    for (int i = 0; i < PHASE_COUNT && code == EXIT_OK; i++)
        if (b->phases[i].plan.runs > 0)
            code = measure(b, &b->phases[i]);
    if (code == EXIT_OK && primitives > 0)
        code = check_served(b->cli, EACH_WORKFLOW);
    if (code == EXIT_OK && primitives > 0)
        code = primitives_measure(b->cli, &b->pids, primitives, &b->primitives);
    if (code == EXIT_OK && args_has(&b->cli->args, "dev"))
        code = recovery_measure(b->cli, &b->pids, RECOVERY_RUNS, &b->recovery);
    return code;
}

/* ---- the command -------------------------------------------------------------------------- */

static int bench_server(struct cli *cli)
{
    struct bench b = {.cli = cli};
    buf_init(&b.payload);
    buf_init(&b.fanout_input);
    plan_phases(&b);
    int code = EXIT_OK;
    if (b.payload.status != AIKI_OK || b.fanout_input.status != AIKI_OK)
        code = cli_fail(cli, AIKI_NOMEM, NULL);
    if (code == EXIT_OK)
        code = measure_all(&b);
    if (code == EXIT_OK && cli->json) {
        aiki_status st = bench_print_json(&b, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else if (code == EXIT_OK) {
        bench_print(&b);
    }
    buf_deinit(&b.payload);
    buf_deinit(&b.fanout_input);
    return code;
}

static int run_bench(struct cli *cli)
{
    const char *folder = args_text(&cli->args, "data");
    if (args_has(&cli->args, "dev") && args_is_given(&cli->args, "server"))
        return cli_usage(cli, "--dev measures a stack of its own, not --server");
    if (args_has(&cli->args, "dev"))
        return private_stack_run(cli, folder, bench_server);
    if (folder != NULL)
        return cli_usage(cli, "--data goes with --dev");
    return bench_server(cli);
}

/* clang-format off */
static const struct arg bench_args[] = {
    {ARG_INT, "runs", "N", "20000", NULL, "runs under load", 1, LOAD_RUNS_MAX},
    {ARG_INT, "in-flight", "N", "256", NULL, "that many at the same time", 1, LOAD_INFLIGHT_MAX},
    {ARG_INT, "payload", "BYTES", "200", NULL,
     "input of a run and of its tasks", 1, PAYLOAD_BYTES_LIMIT},
    {ARG_FLAG, "pool", NULL, NULL, NULL, "through the task threads instead of inline", 0, 0},
    {ARG_INT, "single", "N", "500", NULL, "then so many one at a time; 0 = none", 0, LOAD_RUNS_MAX},
    {ARG_INT, "fan-out", "N", "50", NULL, "then so many that fan out; 0 = none", 0, LOAD_RUNS_MAX},
    {ARG_INT, "width", "N", "100", NULL, "tasks at once in each of those", 1, WIDTH_LIMIT},
    {ARG_INT, "parked", "N", "1000", NULL,
     "before that so many that wait for a signal; 0 = none", 0, PARKED_RUNS_MAX},
    {ARG_INT, "history", "N", "1000", NULL,
     "and one of so many steps that goes on after a wait; 0 = none", 0, HISTORY_STEPS_MAX},
    {ARG_INT, "primitives", "N", "0", NULL,
     "then so many runs of each thing a workflow may ask for; 0 = none", 0, PRIMITIVE_RUNS_MAX},
    {ARG_FLAG, "dev", NULL, NULL, NULL, "against a stack of its own, gone afterwards", 0, 0},
    {ARG_TEXT, "data", "DIR", NULL, NULL,
     "where that stack is put (default the temporary folder)", 0, 0},
    {.type = ARG_END}};

const struct command cmd_bench = {
    .name = "bench", .operands = "", .args = bench_args,
    .summary = "how many runs a second, how long each, and where the time goes",
    .examples = "aiki bench --dev --data .\n"
                "aiki bench --runs 50000 --in-flight 256 --json\n"
                "aiki bench --runs 1000 --in-flight 1 --fan-out 0",
    .run = run_bench};
/* clang-format on */

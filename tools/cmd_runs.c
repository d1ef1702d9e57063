/* cmd_runs.c - `aiki runs list | wait | result | signal`. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "commands.h"
#include "doc.h"
#include "pages.h"
#include "report.h"
#include "text.h"
#include "wire/error.h"

/* ---- list --------------------------------------------------------------------------------- */

static void run_row_cells(struct table *t, aiki_view run, int64_t now_ms)
{
    char age[HUMAN_SIZE], idle[HUMAN_SIZE];
    table_view(t, doc_text(run, "id"));
    table_view(t, doc_text(run, "workflow"));
    table_view(t, doc_text(run, "version"));
    table_view(t, doc_text(run, "state"));
    table_cell(t, "%s", human_age(age, doc_time_ms(run, "created_at"), now_ms));
    table_cell(t, "%s", human_age(idle, doc_time_ms(run, "updated_at"), now_ms));
    table_view(t, doc_text(run, "key"));
}

static int run_list(struct cli *cli)
{
    static const char *const headers[] = {"RUN", "WORKFLOW", "VERSION", "STATE",
                                          "AGE", "CHANGED",  "KEY",     NULL};
    static const char *const texts[] = {"workflow", "version", "state", "key", "build"};
    struct table t;
    struct pages p;
    pages_init(&p, "runs.list", "runs");
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        pages_text(&p, texts[i], args_text(&cli->args, texts[i]));
    pages_ago(&p, "since", &cli->args);
    pages_ago(&p, "until", &cli->args);
    table_init(&t, headers, 1u << 4 | 1u << 5);
    int code = pages_print(cli, &p, &t, run_row_cells,
                           "no runs; `aiki workflows trigger NAME` starts one");
    pages_deinit(&p);
    return code;
}

/* clang-format off */
static const struct arg list_args[] = {
    {ARG_TEXT, "workflow", "NAME", NULL, NULL, "only runs of this workflow", 0, 0},
    {ARG_TEXT, "version", "VERSION", NULL, NULL, "only runs of this version", 0, 0},
    {ARG_TEXT, "state", "STATE", NULL, NULL,
     "only runs in this state, e.g. running, failed, blocked", 0, 0},
    {ARG_TEXT, "key", "TEXT", NULL, NULL, "only the run started with this key", 0, 0},
    {ARG_TEXT, "build", "HEX", NULL, NULL, "only runs last executed by this build of a plugin", 0, 0},
    {ARG_DURATION, "since", "TIME", NULL, NULL, "only runs started at most so long ago, e.g. 2h", 0, 0},
    {ARG_DURATION, "until", "TIME", NULL, NULL, "only runs started at least so long ago", 0, 0},
    {ARG_INT, "limit", "N", "50", NULL, "at most so many, newest first", 1, 1000000},
    {.type = ARG_END}};

const struct command cmd_runs_list = {
    .group = "runs", .name = "list", .operands = "", .args = list_args,
    .summary = "runs, newest first",
    .examples = "aiki runs list\naiki runs list --state blocked\n"
                "aiki runs list --since 2h --build 6161bea4efb3\n"
                "aiki runs list --workflow process-order --limit 500 --json",
    .run = run_list};
/* clang-format on */

/* ---- wait, result ------------------------------------------------------------------------- */

static int run_wait(struct cli *cli)
{
    int code = cli_connect(cli);
    if (code != EXIT_OK)
        return code;
    const struct report report = {.run_id = cli->args.operands[0]};
    bool limited = args_has(&cli->args, "timeout");
    return report_wait(cli, &report, limited ? args_ms(&cli->args, "timeout") : -1);
}

/* clang-format off */
static const struct arg wait_args[] = {
    {ARG_DURATION, "timeout", "TIME", NULL, NULL, "give up then, with exit code 124", 0, 0},
    REVEAL_ARG,
    {.type = ARG_END}};

const struct command cmd_runs_wait = {
    .group = "runs", .name = "wait", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = wait_args, .summary = "wait for the end of a run and print its output",
    .examples = "aiki runs wait 01JD2V7Q8X3M5N7P9R1S3T5V7W\n"
                "aiki runs wait 01JD2V7Q8X3M5N7P9R1S3T5V7W --timeout 30s --json",
    .run = run_wait};
/* clang-format on */

static int run_result(struct cli *cli)
{
    int code = cli_connect(cli);
    if (code != EXIT_OK)
        return code;
    const struct report report = {.run_id = cli->args.operands[0]};
    return report_wait(cli, &report, args_ms(&cli->args, "wait"));
}

/* clang-format off */
static const struct arg result_args[] = {
    {ARG_DURATION_MAYBE, "wait", "TIME", NULL, NULL, "wait for the end first", 0, 0},
    REVEAL_ARG,
    {.type = ARG_END}};

const struct command cmd_runs_result = {
    .group = "runs", .name = "result", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = result_args, .summary = "the output of a run that has ended, or its error",
    .examples = "aiki runs result 01JD2V7Q8X3M5N7P9R1S3T5V7W | jq .\n"
                "aiki runs result 01JD2V7Q8X3M5N7P9R1S3T5V7W --wait=30s --json",
    .run = run_result};
/* clang-format on */

/* ---- signal ------------------------------------------------------------------------------- */

static int run_signal(struct cli *cli)
{
    const char *run_id = cli->args.operands[0], *name = cli->args.operands[1];
    bool is_new = false;
    AUTO(buf) aiki_writer payload;
    buf_init(&payload);
    aiki_status st = AIKI_OK;
    if (args_has(&cli->args, "payload"))
        st = cli_read_json(args_text(&cli->args, "payload"), &payload, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    int code = cli_connect(cli);
    if (code != EXIT_OK)
        return code;
    st = aiki_client_signal(cli->client, run_id, name, aiki_writer_view(&payload),
                            args_text(&cli->args, "ref"), &is_new, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    if (cli->json)
        printf("{\"new\":%s}\n", is_new ? "true" : "false");
    else
        printf("%s\n", is_new ? "signalled" : "already signalled with this reference");
    return EXIT_OK;
}

/* clang-format off */
static const struct arg signal_args[] = {
    {ARG_TEXT, "payload", "JSON|@FILE|-", NULL, NULL, "what the waiting code receives", 0, 0},
    {ARG_TEXT, "ref", "TEXT", NULL, NULL,
     "signals of a run with the same reference count once", 0, 0},
    {.type = ARG_END}};

const struct command cmd_runs_signal = {
    .group = "runs", .name = "signal", .operands = "RUN NAME", .operand_min = 2, .operand_max = 2,
    .args = signal_args, .summary = "give a run a signal",
    .examples = "aiki runs signal 01JD2V7Q8X3M5N7P9R1S3T5V7W approved\n"
                "aiki runs signal 01JD2V7Q8X3M5N7P9R1S3T5V7W paid "
                "--payload '{\"cents\":900}' --ref inv-7",
    .run = run_signal};
/* clang-format on */

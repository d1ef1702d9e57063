/* cmd_runs.c - `aiki runs list | wait | result | signal`. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "commands.h"
#include "doc.h"
#include "report.h"
#include "text.h"
#include "wire/error.h"

/* ---- list --------------------------------------------------------------------------------- */

enum { PAGE_RUNS_MAX = 500 };

/* The filters that were given, as pairs. */
struct filters {
    aiki_writer pairs;
    uint64_t count;
};

static void add_text(struct filters *f, const char *name, const char *text)
{
    if (text == NULL)
        return;
    aiki_mp_str(&f->pairs, name);
    aiki_mp_str(&f->pairs, text);
    f->count++;
}

/* A duration before now, as a time. */
static void add_ago(struct filters *f, const char *name, const struct args *a)
{
    if (!args_has(a, name))
        return;
    aiki_mp_str(&f->pairs, name);
    aiki_mp_int(&f->pairs, clock_wall_ms() - args_ms(a, name));
    f->count++;
}

static void collect_filters(struct filters *f, const struct args *a)
{
    buf_init(&f->pairs);
    add_text(f, "workflow", args_text(a, "workflow"));
    add_text(f, "version", args_text(a, "version"));
    add_text(f, "state", args_text(a, "state"));
    add_text(f, "key", args_text(a, "key"));
    add_text(f, "build", args_text(a, "build"));
    add_ago(f, "since", a);
    add_ago(f, "until", a);
}

/* One page; before: the cursor the page before ended with, or empty. */
static int query_page(struct cli *cli, const struct filters *f, int64_t limit, aiki_view before,
                      aiki_view *ret_document)
{
    AUTO(buf) aiki_writer args;
    buf_init(&args);
    aiki_mp_map(&args, f->count + 1 + (before.size_bytes > 0));
    aiki_mp_raw(&args, f->pairs.data, f->pairs.size_bytes);
    aiki_mp_str(&args, "limit");
    aiki_mp_int(&args, limit < PAGE_RUNS_MAX ? limit : PAGE_RUNS_MAX);
    if (before.size_bytes > 0) {
        aiki_mp_str(&args, "before");
        aiki_mp_raw(&args, before.data, before.size_bytes);
    }
    return cli_query(cli, "runs.list", &args, ret_document);
}

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

/* Pages until `limit` runs were seen: into the table, or into an array of raw values. */
static int collect_runs(struct cli *cli, const struct filters *f, struct table *t,
                        aiki_writer *runs, uint64_t *ret_count)
{
    AUTO(buf) aiki_writer cursor;
    buf_init(&cursor);
    int64_t left = args_int(&cli->args, "limit");
    int64_t now_ms = clock_wall_ms();
    while (left > 0) {
        aiki_view document;
        int code = query_page(cli, f, left, aiki_writer_view(&cursor), &document);
        if (code != EXIT_OK)
            return code;
        for (struct doc_list l = doc_list(document, "runs"); left > 0 && doc_next(&l); left--) {
            if (cli->json)
                aiki_mp_raw(runs, l.item.data, l.item.size_bytes);
            else
                run_row_cells(t, l.item, now_ms);
            ++*ret_count;
        }
        aiki_view next = doc_get(document, "next");
        buf_clear(&cursor, 64);
        aiki_mp_raw(&cursor, next.data, next.size_bytes);
        if (next.size_bytes == 0)
            left = 0;
        aiki_client_free(document.data);
    }
    return EXIT_OK;
}

static int print_runs(struct cli *cli, const aiki_writer *runs, uint64_t count)
{
    AUTO(buf) aiki_writer array;
    buf_init(&array);
    aiki_mp_array(&array, count);
    aiki_mp_raw(&array, runs->data, runs->size_bytes);
    aiki_status st = print_json(aiki_writer_view(&array), 0, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

static int run_list(struct cli *cli)
{
    static const char *const headers[] = {"RUN", "WORKFLOW", "VERSION", "STATE",
                                          "AGE", "CHANGED",  "KEY",     NULL};
    struct filters f = {.count = 0};
    struct table t;
    uint64_t count = 0;
    AUTO(buf) aiki_writer runs;
    buf_init(&runs);
    collect_filters(&f, &cli->args);
    table_init(&t, headers, 1u << 4 | 1u << 5);
    int code = collect_runs(cli, &f, &t, &runs, &count);
    buf_deinit(&f.pairs);
    if (code == EXIT_OK && cli->json)
        code = print_runs(cli, &runs, count);
    else if (code == EXIT_OK)
        table_print(&t, "no runs; `aiki workflows trigger NAME` starts one");
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

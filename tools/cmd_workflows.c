/* cmd_workflows.c - `aiki workflows list | show | trigger`. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "commands.h"
#include "doc.h"
#include "report.h"
#include "text.h"
#include "wire/error.h"

enum {
    NAME_SIZE = 256,
    BUILD_SHOWN = 12,
    LOOK_EVERY_MS = 50,
    APPEAR_MS_MAX = 1500 /* a plugin that was just dropped in is served by then */
};

/* "NAME@VERSION" in two; version is empty when none was given. */
static int split_name(struct cli *cli, char name[NAME_SIZE], const char **ret_version)
{
    if (snprintf(name, NAME_SIZE, "%s", cli->args.operands[0]) >= NAME_SIZE)
        return cli_usage(cli, "the workflow's name is too long");
    char *at = strchr(name, '@');
    if (at != NULL)
        *at = '\0';
    *ret_version = at != NULL ? at + 1 : "";
    return EXIT_OK;
}

/* ---- list --------------------------------------------------------------------------------- */

/* Runs of this version that have not ended, whatever they wait for. */
static long long open_runs(aiki_view workflow)
{
    long long count = 0;
    aiki_reader r;
    aiki_view runs = doc_get(workflow, "runs");
    aiki_reader_init(&r, runs);
    uint64_t states = runs.size_bytes > 0 ? aiki_mp_read_map(&r) : 0;
    for (; states > 0 && r.status == AIKI_OK; states--) {
        (void)aiki_mp_skip(&r); /* the state; its failure sticks in r */
        count += (long long)aiki_mp_read_uint(&r);
    }
    return count;
}

static void list_row(struct table *t, aiki_view workflow)
{
    table_view(t, doc_text(workflow, "name"));
    table_view(t, doc_text(workflow, "version"));
    table_cell(t, "%s", doc_bool(workflow, "served") ? "yes" : "no");
    table_cell(t, "%lld", open_runs(workflow));
    table_view(t, doc_text(workflow, "plugin"));
    table_view(t, doc_text(workflow, "summary"));
}

static int run_list(struct cli *cli)
{
    static const char *const headers[] = {"WORKFLOW", "VERSION", "SERVED", "OPEN",
                                          "PLUGIN",   "SUMMARY", NULL};
    aiki_view document;
    int code = cli_query(cli, "workflows.list", NULL, &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(doc_get(document, "workflows"), 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        struct table t;
        table_init(&t, headers, 1u << 3);
        for (struct doc_list l = doc_list(document, "workflows"); doc_next(&l);)
            list_row(&t, l.item);
        table_print(&t, "no workflows yet; drop a plugin into the runtime's plugins folder");
    }
    aiki_client_free(document.data);
    return code;
}

/* clang-format off */
const struct command cmd_workflows_list = {
    .group = "workflows", .name = "list", .operands = "",
    .summary = "what can be started, and whether a runtime serves it",
    .examples = "aiki workflows list\naiki workflows list --json", .run = run_list};
/* clang-format on */

/* ---- show --------------------------------------------------------------------------------- */

static void show_value(const char *title, aiki_view value)
{
    if (value.size_bytes == 0)
        return;
    printf("%s%s%s\n", out_bold(), title, out_plain());
    (void)print_json(value, 2, NULL); /* it came from our own reader */
}

static void show_line(const char *title, aiki_view text)
{
    if (text.size_bytes == 0)
        return;
    printf("%-12s ", title);
    print_clean(text);
    printf("\n");
}

static void show_workflow(aiki_view workflow)
{
    show_line("workflow", doc_text(workflow, "name"));
    show_line("version", doc_text(workflow, "version"));
    show_line("summary", doc_text(workflow, "summary"));
    show_line("plugin", doc_text(workflow, "plugin"));
    show_line("build", doc_text(workflow, "build"));
    printf("%-12s %s\n", "served", doc_bool(workflow, "served") ? "yes" : "no");
    show_value("input", doc_get(workflow, "input"));
    show_value("output", doc_get(workflow, "output"));
}

/* Versions side by side: which are served, and how many runs still need each. */
static void show_versions(aiki_view document)
{
    static const char *const headers[] = {"VERSION", "SERVED", "OPEN", "BUILD", NULL};
    struct table t;
    table_init(&t, headers, 1u << 2);
    for (struct doc_list l = doc_list(document, "versions"); doc_next(&l);) {
        aiki_view build = doc_text(l.item, "build");
        table_view(&t, doc_text(l.item, "version"));
        table_cell(&t, "%s", doc_bool(l.item, "served") ? "yes" : "no");
        table_cell(&t, "%lld", open_runs(l.item));
        table_cell(&t, "%.*s", build.size_bytes < BUILD_SHOWN ? (int)build.size_bytes : BUILD_SHOWN,
                   build.data != NULL ? (const char *)build.data : "");
    }
    printf("\n");
    table_print(&t, "");
}

static void pause_ms(int64_t ms)
{
    const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&ts, NULL);
}

static aiki_status get_workflow(struct cli *cli, const char *name, const char *version,
                                aiki_view *ret_document)
{
    AUTO(buf) aiki_writer args;
    buf_init(&args);
    aiki_mp_map(&args, 2);
    aiki_mp_str(&args, "name");
    aiki_mp_str(&args, name);
    aiki_mp_str(&args, "version");
    aiki_mp_str(&args, version);
    return aiki_client_query(cli->client, "workflows.get", aiki_writer_view(&args), ret_document,
                             &cli->err);
}

/* The document, once it says served when that is to be waited for. The protocol has no push for
 * this, so the server is asked now and then. */
static aiki_status await_workflow(struct cli *cli, const char *name, const char *version,
                                  aiki_view *ret_document)
{
    int64_t wait_ms = args_ms(&cli->args, "wait");
    int64_t deadline_ms = clock_mono_ms() + wait_ms;
    for (;;) {
        aiki_view document;
        aiki_status st = get_workflow(cli, name, version, &document);
        bool served = st == AIKI_OK && doc_bool(doc_get(document, "workflow"), "served");
        if (wait_ms == 0 || served || (st != AIKI_OK && st != AIKI_NOT_FOUND)) {
            *ret_document = document;
            return st;
        }
        if (st == AIKI_OK)
            aiki_client_free(document.data);
        if (clock_mono_ms() >= deadline_ms)
            return error_set(&cli->err, AIKI_TIMEDOUT, "no runtime serves workflow %s yet", name);
        pause_ms(LOOK_EVERY_MS);
    }
}

static int run_show(struct cli *cli)
{
    char name[NAME_SIZE];
    const char *version = "";
    aiki_view document;
    int code = split_name(cli, name, &version);
    if (code == EXIT_OK)
        code = cli_connect(cli);
    if (code != EXIT_OK)
        return code;
    aiki_status st = await_workflow(cli, name, version, &document);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    if (!cli->json) {
        show_workflow(doc_get(document, "workflow"));
        show_versions(document);
    } else {
        st = print_json(document, 0, &cli->err);
    }
    aiki_client_free(document.data);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

/* clang-format off */
static const struct arg show_args[] = {
    {ARG_DURATION, "wait", "TIME", NULL, NULL, "wait that long for a runtime to serve it", 0, 0},
    {.type = ARG_END}};

const struct command cmd_workflows_show = {
    .group = "workflows", .name = "show", .operands = "NAME[@VERSION]", .operand_min = 1,
    .operand_max = 1, .args = show_args,
    .summary = "one workflow with the schema of its input and output",
    .examples = "aiki workflows show hello\naiki workflows show orders@1.2.0 --json\n"
                "aiki workflows show hello --wait 10s",
    .run = run_show};
/* clang-format on */

/* ---- trigger ------------------------------------------------------------------------------ */

/* Whoever copies a plugin and starts its workflow in one go is faster than the runtime. */
static aiki_status start_patiently(struct cli *cli, const aiki_start *start,
                                   char ret_run_id[AIKI_RUN_ID_SIZE], bool *ret_created)
{
    int64_t deadline_ms = clock_mono_ms() + APPEAR_MS_MAX;
    for (;;) {
        aiki_status st = aiki_client_start(cli->client, start, ret_run_id, ret_created, &cli->err);
        if (st != AIKI_NOT_FOUND || clock_mono_ms() >= deadline_ms)
            return st;
        pause_ms(LOOK_EVERY_MS);
    }
}

static aiki_status read_policy(struct cli *cli, int32_t *ret)
{
    static const char *const names[] = {
        [AIKI_KEY_SAME] = "same", [AIKI_KEY_EXISTING] = "existing", [AIKI_KEY_REPLACE] = "replace"};
    const char *policy = args_text(&cli->args, "if-exists");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (strcmp(policy, names[i]) == 0) {
            *ret = (int32_t)i;
            return AIKI_OK;
        }
    return error_set(&cli->err, AIKI_INVALID,
                     "--if-exists: expected same, existing or replace, found '%s'", policy);
}

/* When, until when and how persistently; retry keeps what start then borrows. */
static aiki_status read_start_options(struct cli *cli, aiki_start *start, aiki_writer *retry)
{
    const char *at = args_text(&cli->args, "at");
    aiki_status st = read_policy(cli, &start->key_policy);
    start->delay_ms = args_ms(&cli->args, "delay");
    start->run_timeout_ms = args_ms(&cli->args, "timeout");
    if (st == AIKI_OK && at != NULL && args_has(&cli->args, "delay"))
        return error_set(&cli->err, AIKI_INVALID, "--delay or --at, not both");
    if (st == AIKI_OK && at != NULL && (start->start_at_ms = clock_parse_ms(at)) == 0)
        return error_set(&cli->err, AIKI_INVALID,
                         "--at: expected a time such as 2026-11-21T07:31:02Z, found '%s'", at);
    if (st == AIKI_OK && args_has(&cli->args, "retry"))
        st = cli_read_json(args_text(&cli->args, "retry"), retry, &cli->err);
    start->retry = aiki_writer_view(retry);
    return st;
}

static int run_trigger(struct cli *cli)
{
    char name[NAME_SIZE], run_id[AIKI_RUN_ID_SIZE];
    const char *version = "";
    AUTO(buf) aiki_writer input;
    AUTO(buf) aiki_writer retry;
    buf_init(&input);
    buf_init(&retry);
    int code = split_name(cli, name, &version);
    if (code != EXIT_OK)
        return code;
    aiki_start start = {.struct_size = sizeof(start),
                        .workflow = name,
                        .version = version,
                        .key = args_text(&cli->args, "key"),
                        .run_id = args_text(&cli->args, "id")};
    aiki_status st = read_start_options(cli, &start, &retry);
    if (st == AIKI_OK && args_has(&cli->args, "input"))
        st = cli_read_json(args_text(&cli->args, "input"), &input, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    code = cli_connect(cli);
    if (code != EXIT_OK)
        return code;

    start.input = aiki_writer_view(&input);
    struct report report = {.run_id = run_id, .workflow = name, .has_created = true};
    st = start_patiently(cli, &start, run_id, &report.created);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    if (!args_has(&cli->args, "wait"))
        return report_started(cli, &report);
    if (!cli->json)
        fprintf(stderr, "run %s\n", run_id);
    return report_wait(cli, &report, args_ms(&cli->args, "wait"));
}

/* clang-format off */
static const struct arg trigger_args[] = {
    {ARG_TEXT, "input", "JSON|@FILE|-", NULL, NULL,
     "the input: text, a file, or standard input", 0, 0},
    {ARG_TEXT, "key", "TEXT", NULL, NULL, "at most one run per workflow and key", 0, 0},
    {ARG_TEXT, "if-exists", "POLICY", "same", NULL,
     "what the key does when it names a run with another input: same (a conflict), existing "
     "(that run), replace (that run is terminated)", 0, 0},
    {ARG_DURATION, "delay", "TIME", NULL, NULL, "start it then", 0, 0},
    {ARG_TEXT, "at", "TIME", NULL, NULL, "start it at this moment, e.g. 2026-11-21T07:30:00Z", 0, 0},
    {ARG_DURATION, "timeout", "TIME", NULL, NULL, "the run ends timed_out if it takes longer", 0, 0},
    {ARG_TEXT, "retry", "JSON|@FILE|-", NULL, NULL,
     "how failed tasks are repeated, instead of what they say themselves", 0, 0},
    {ARG_TEXT, "id", "RUN", NULL, NULL,
     "the id the run shall have, to repeat the very same start", 0, 0},
    {ARG_DURATION_MAYBE, "wait", "TIME", NULL, NULL, "wait for the end and print the output", 0, 0},
    REVEAL_ARG,
    {.type = ARG_END}};

const struct command cmd_workflows_trigger = {
    .group = "workflows", .name = "trigger", .operands = "NAME[@VERSION]", .operand_min = 1,
    .operand_max = 1, .args = trigger_args, .summary = "start a run",
    .examples = "aiki workflows trigger hello --input '{\"name\":\"world\"}' --wait\n"
                "aiki workflows trigger process-order --key order-1042 --input @order.json\n"
                "aiki workflows trigger hello --delay 5s --timeout 1m --input '{\"name\":\"later\"}'\n"
                "aiki workflows trigger process-order --key order-1042 --if-exists existing\n"
                "aiki workflows trigger process-order --input @order.json "
                "--retry '{\"kind\":\"fixed\",\"attempts_max\":3,\"delay_ms\":500}'\n"
                "run=$(cat order.json | aiki workflows trigger process-order --input -)",
    .run = run_trigger};
/* clang-format on */

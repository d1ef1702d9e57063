/* cmd_letters.c - `aiki dead-letters list | show`. */
#include <stdio.h>

#include "base/clock.h"
#include "commands.h"
#include "doc.h"
#include "pages.h"
#include "text.h"

enum { SHORT_BUILD = 12 };

static aiki_view short_build(aiki_view build)
{
    if (build.size_bytes > SHORT_BUILD)
        build.size_bytes = SHORT_BUILD;
    return build;
}

static void letter_row(struct table *t, aiki_view letter, int64_t now_ms)
{
    char age[HUMAN_SIZE];
    table_view(t, doc_text(letter, "id"));
    table_view(t, doc_text(letter, "workflow"));
    table_view(t, doc_text(letter, "step"));
    table_cell(t, "%lld", (long long)doc_int(letter, "attempts"));
    table_cell(t, "%lld", (long long)doc_int(letter, "crashes"));
    table_view(t, short_build(doc_text(letter, "build")));
    table_cell(t, "%s", human_age(age, doc_time_ms(letter, "failed_at"), now_ms));
    table_view(t, doc_text(doc_get(letter, "error"), "code"));
}

static int letters_list(struct cli *cli)
{
    static const char *const headers[] = {"RUN",   "WORKFLOW", "STEP",  "ATTEMPTS", "CRASHES",
                                          "BUILD", "FAILED",   "ERROR", NULL};
    struct table t;
    struct pages p;
    pages_init(&p, "letters.list", "dead_letters");
    pages_text(&p, "workflow", args_text(&cli->args, "workflow"));
    pages_text(&p, "task", args_text(&cli->args, "task"));
    cli_put_shown(cli, &p.pairs);
    p.pair_count += CLI_SHOWN_PAIRS;
    table_init(&t, headers, 1u << 3 | 1u << 4 | 1u << 6);
    int code = pages_print(cli, &p, &t, letter_row, "no dead letters");
    pages_deinit(&p);
    return code;
}

/* clang-format off */
static const struct arg list_args[] = {
    {ARG_TEXT, "workflow", "NAME", NULL, NULL, "only runs of this workflow", 0, 0},
    {ARG_TEXT, "task", "NAME", NULL, NULL, "only runs in which this task failed last", 0, 0},
    {ARG_INT, "limit", "N", "50", NULL, "at most so many, newest first", 1, 1000000},
    SHOWN_ARGS, {.type = ARG_END}};

const struct command cmd_letters_list = {
    .group = "dead-letters", .name = "list", .operands = "", .args = list_args,
    .summary = "failed runs that nobody has redriven or dropped, newest first",
    .examples = "aiki dead-letters list\naiki dead-letters list --task charge-payment --json",
    .run = letters_list};
/* clang-format on */

/* ---- show --------------------------------------------------------------------------------- */

static void print_text(const char *name, aiki_view text)
{
    if (text.size_bytes == 0)
        return;
    printf("%-10s ", name);
    print_clean(text);
    printf("\n");
}

/* Down to its first cause. */
static void print_error(const char *name, aiki_view error)
{
    for (; error.size_bytes > 0; error = doc_get(error, "cause"), name = "  cause") {
        printf("%-10s ", name);
        print_clean(doc_text(error, "code"));
        printf(": ");
        print_clean(doc_text(error, "message"));
        printf("\n");
    }
}

static void print_letter(struct cli *cli, aiki_view letter)
{
    char at[HUMAN_SIZE];
    print_text("run", doc_text(letter, "id"));
    print_text("workflow", doc_text(letter, "workflow"));
    print_text("version", doc_text(letter, "version"));
    print_text("key", doc_text(letter, "key"));
    print_text("parent", doc_text(letter, "parent"));
    printf("%-10s %s\n", "failed", human_time(at, doc_time_ms(letter, "failed_at")));
    print_text("step", doc_text(letter, "step"));
    printf("%-10s %lld, crashes %lld, redriven %lld\n", "attempts",
           (long long)doc_int(letter, "attempts"), (long long)doc_int(letter, "crashes"),
           (long long)doc_int(letter, "redriven"));
    print_text("build", doc_text(letter, "build"));
    for (struct doc_list l = doc_list(letter, "crashed_builds"); doc_next(&l);) {
        aiki_reader r;
        aiki_reader_init(&r, l.item);
        print_text("crashed", aiki_mp_read_str(&r));
    }
    print_error("error", doc_get(letter, "error"));
    if (doc_text(letter, "step").size_bytes > 0)
        print_error("run error", doc_get(letter, "run_error"));
    printf("%-10s ", "input");
    (void)print_json(doc_get(letter, "input"), 0, &cli->err); /* it came from our own server */
}

static int letters_show(struct cli *cli)
{
    aiki_view letter;
    int code = cli_query_shown(cli, "letters.get", cli->args.operands[0], &letter);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(letter, 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        print_letter(cli, letter);
    }
    aiki_client_free(letter.data);
    return code;
}

/* clang-format off */
static const struct arg show_args[] = {SHOWN_ARGS, {.type = ARG_END}};

const struct command cmd_letters_show = {
    .group = "dead-letters", .name = "show", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .args = show_args, .summary = "what failed in a run: step, input, attempts, error, builds",
    .examples = "aiki dead-letters show 01JD2V7Q8X3M5N7P9R1S3T5V7W", .run = letters_show};
/* clang-format on */

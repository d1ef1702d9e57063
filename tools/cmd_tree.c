/* cmd_tree.c - `aiki runs tree`: a run with its children, theirs, and so on. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "commands.h"
#include "doc.h"
#include "text.h"

enum { DEPTH_SHOWN_MAX = 30, INDENT_SIZE = 2 * DEPTH_SHOWN_MAX + 1 };

static void tree_row(struct table *t, aiki_view run, int64_t now_ms)
{
    char indent[INDENT_SIZE] = "", age[HUMAN_SIZE], took[HUMAN_SIZE];
    int64_t depth = doc_int(run, "depth");
    int64_t from_ms = doc_time_ms(run, "created_at"), to_ms = doc_time_ms(run, "updated_at");
    if (depth > DEPTH_SHOWN_MAX)
        depth = DEPTH_SHOWN_MAX;
    memset(indent, ' ', (size_t)(2 * depth));
    aiki_view id = doc_text(run, "id");
    table_cell(t, "%s%.*s", indent, (int)id.size_bytes,
               id.data != NULL ? (const char *)id.data : "");
    aiki_view workflow = doc_text(run, "workflow");
    table_cell(t, "%.*s%s", (int)workflow.size_bytes,
               workflow.data != NULL ? (const char *)workflow.data : "",
               doc_bool(run, "joined") ? " (joined)" : "");
    table_view(t, doc_text(run, "version"));
    table_view(t, doc_text(run, "state"));
    table_cell(t, "%s", human_age(age, from_ms, now_ms));
    table_cell(t, "%s", human_ms(took, to_ms - from_ms));
    table_view(t, doc_text(doc_get(run, "error"), "code"));
}

static void print_tree(aiki_view document)
{
    static const char *const headers[] = {"RUN", "WORKFLOW", "VERSION", "STATE",
                                          "AGE", "TOOK",     "ERROR",   NULL};
    struct table t;
    int64_t now_ms = clock_wall_ms();
    table_init(&t, headers, 1u << 4 | 1u << 5);
    for (struct doc_list l = doc_list(document, "runs"); doc_next(&l);)
        tree_row(&t, l.item, now_ms);
    table_print(&t, "");
    if (doc_bool(document, "truncated"))
        fprintf(stderr, "there are more; `aiki runs tree` of a child shows what is below it\n");
    if (doc_bool(document, "unread"))
        fprintf(stderr, "not all journals were read for what was joined; `aiki runs inspect` shows one\n");
}

static int run_tree(struct cli *cli)
{
    aiki_view document;
    aiki_status st = AIKI_OK;
    int code = cli_query_one(cli, "runs.tree", "id", cli->args.operands[0], &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json)
        st = print_json(document, 0, &cli->err);
    else
        print_tree(document);
    aiki_client_free(document.data);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

/* clang-format off */
const struct command cmd_runs_tree = {
    .group = "runs", .name = "tree", .operands = "RUN", .operand_min = 1, .operand_max = 1,
    .summary = "a run with its children and theirs, and the shared runs they joined",
    .examples = "aiki runs tree 01JD2V7Q8X3M5N7P9R1S3T5V7W\n"
                "aiki runs tree 01JD2V7Q8X3M5N7P9R1S3T5V7W --json | jq '.runs[].state'",
    .run = run_tree};
/* clang-format on */

/* cmd_tasks.c - `aiki tasks list | show`. */
#include <stdio.h>

#include "base/buf.h"
#include "commands.h"
#include "doc.h"
#include "text.h"

enum { BUILD_SHOWN = 12 };

static void task_row(struct table *t, aiki_view task)
{
    long long serving = 0;
    aiki_view first = {NULL, 0};
    for (struct doc_list l = doc_list(task, "served_by"); doc_next(&l);) {
        if (first.size_bytes == 0)
            first = l.item;
        serving += view_is(doc_text(l.item, "state"), "serving");
    }
    table_view(t, doc_text(task, "name"));
    table_view(t, doc_text(first, "plugin"));
    table_view(t, doc_text(first, "version"));
    table_cell(t, "%lld", serving);
    table_view(t, doc_text(task, "summary"));
}

static int tasks_list(struct cli *cli)
{
    static const char *const headers[] = {"TASK", "PLUGIN", "VERSION", "WORKERS", "SUMMARY", NULL};
    aiki_view document;
    int code = cli_query(cli, "tasks.list", NULL, &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(doc_get(document, "tasks"), 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        struct table t;
        table_init(&t, headers, 1u << 3);
        for (struct doc_list l = doc_list(document, "tasks"); doc_next(&l);)
            task_row(&t, l.item);
        table_print(&t, "no tasks; no runtime with plugins is connected");
    }
    aiki_client_free(document.data);
    return code;
}

/* clang-format off */
const struct command cmd_tasks_list = {
    .group = "tasks", .name = "list", .operands = "",
    .summary = "the tasks that connected runtimes can execute, and how many serve each",
    .examples = "aiki tasks list\naiki tasks list --json", .run = tasks_list};
/* clang-format on */

static void show_value(const char *name, aiki_view value)
{
    if (value.size_bytes == 0 || value.data[0] == 0xc0)
        return;
    printf("%-22s ", name);
    (void)print_json(value, 0, NULL); /* it came from our own reader */
}

static void show_task(aiki_view task)
{
    static const char *const values[] = {"name", "summary", "retry", "start_to_close_ms",
                                         "schedule_to_start_ms", "schedule_to_close_ms",
                                         "heartbeat_ms", "input", "output", NULL};
    static const char *const headers[] = {"WORKER", "STATE", "PLUGIN", "VERSION", "BUILD", "FILE",
                                          NULL};
    struct table t;
    for (const char *const *name = values; *name != NULL; name++)
        show_value(*name, doc_get(task, *name));
    printf("\n");
    table_init(&t, headers, 0);
    for (struct doc_list l = doc_list(task, "served_by"); doc_next(&l);) {
        aiki_view build = doc_text(l.item, "build");
        if (build.size_bytes > BUILD_SHOWN)
            build.size_bytes = BUILD_SHOWN;
        table_view(&t, doc_text(l.item, "worker"));
        table_view(&t, doc_text(l.item, "state"));
        table_view(&t, doc_text(l.item, "plugin"));
        table_view(&t, doc_text(l.item, "version"));
        table_view(&t, build);
        table_view(&t, doc_text(l.item, "file"));
    }
    table_print(&t, "");
}

static int tasks_show(struct cli *cli)
{
    aiki_view task;
    int code = cli_query_one(cli, "tasks.get", "name", cli->args.operands[0], &task);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(task, 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        show_task(task);
    }
    aiki_client_free(task.data);
    return code;
}

/* clang-format off */
const struct command cmd_tasks_show = {
    .group = "tasks", .name = "show", .operands = "NAME", .operand_min = 1, .operand_max = 1,
    .summary = "one task: retries, limits, schemas, and which runtimes serve it",
    .examples = "aiki tasks show charge-payment\naiki tasks show charge-payment --json", .run = tasks_show};
/* clang-format on */

/* cmd_workers.c - `aiki workers list`. */
#include <stdio.h>

#include "base/clock.h"
#include "commands.h"
#include "doc.h"
#include "text.h"

static void worker_row(struct table *t, aiki_view worker, int64_t now_ms)
{
    char age[HUMAN_SIZE], beat[HUMAN_SIZE];
    table_view(t, doc_text(worker, "name"));
    table_cell(t, "%lld", (long long)doc_int(worker, "pid"));
    table_cell(t, "%lld/%lld", (long long)doc_int(worker, "busy"),
               (long long)doc_int(worker, "slots"));
    table_cell(t, "%lld", (long long)doc_int(worker, "runs"));
    table_cell(t, "%lld+%lld", (long long)doc_int(worker, "serving"), (long long)doc_int(worker, "kept"));
    table_cell(t, "%lld", (long long)doc_int(worker, "processes"));
    table_cell(t, "%.1f MiB", (double)doc_int(worker, "memory_bytes") / (1024 * 1024));
    table_cell(t, "%s", human_age(age, doc_time_ms(worker, "connected_at"), now_ms));
    table_cell(t, "%s", human_ms(beat, doc_int(worker, "last_beat_ms")));
    table_view(t, doc_text(worker, "id"));
}

static int run_list(struct cli *cli)
{
    static const char *const headers[] = {"WORKER", "PID",       "BUSY",  "RUNS",    "BUILDS", "CHILDREN",
                                          "MEMORY", "CONNECTED", "HEARD", "SESSION", NULL};
    aiki_view document;
    int code = cli_query(cli, "workers.list", NULL, &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(doc_get(document, "workers"), 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        struct table t;
        table_init(&t, headers, 0x1feu);
        for (struct doc_list l = doc_list(document, "workers"); doc_next(&l);)
            worker_row(&t, l.item, clock_wall_ms());
        table_print(&t, "no runtime is connected; start one with `aiki-runtime --plugins DIR`");
    }
    aiki_client_free(document.data);
    return code;
}

/* clang-format off */
const struct command cmd_workers_list = {
    .group = "workers", .name = "list", .operands = "",
    .summary = "the runtimes that are connected",
    .examples = "aiki workers list\naiki workers list --json", .run = run_list};
/* clang-format on */

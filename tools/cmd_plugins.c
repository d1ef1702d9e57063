/* cmd_plugins.c - `aiki plugins list | check`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "doc.h"
#include "text.h"
#include "wire/error.h"

/* ---- list --------------------------------------------------------------------------------- */

static void plugin_row(struct table *t, aiki_view plugin)
{
    aiki_view error = doc_get(plugin, "error"), build = doc_text(plugin, "build");
    enum { SHORT_BUILD = 12 };
    if (build.size_bytes > SHORT_BUILD)
        build.size_bytes = SHORT_BUILD;
    table_view(t, doc_text(plugin, "name"));
    table_view(t, doc_text(plugin, "version"));
    table_cell(t, "%s", error.size_bytes > 0 ? "refused" : "serving");
    table_view(t, build);
    table_view(t, doc_text(plugin, "worker"));
    table_view(t, doc_text(plugin, "file"));
    if (error.size_bytes > 0) {
        aiki_view code = doc_text(error, "code"), message = doc_text(error, "message");
        table_cell(t, "%.*s: %.*s", (int)code.size_bytes, (const char *)code.data,
                   (int)message.size_bytes, (const char *)message.data);
    } else {
        table_cell(t, "%s", "");
    }
}

static int run_list(struct cli *cli)
{
    static const char *const headers[] = {"PLUGIN", "VERSION", "STATE", "BUILD",
                                          "WORKER", "FILE",    "ERROR", NULL};
    aiki_view document;
    int code = cli_query(cli, "plugins.list", NULL, &document);
    if (code != EXIT_OK)
        return code;
    if (cli->json) {
        aiki_status st = print_json(doc_get(document, "plugins"), 0, &cli->err);
        code = st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
    } else {
        struct table t;
        table_init(&t, headers, 0);
        for (struct doc_list l = doc_list(document, "plugins"); doc_next(&l);)
            plugin_row(&t, l.item);
        table_print(&t, "no plugins; drop .so files into a runtime's plugins folder");
    }
    aiki_client_free(document.data);
    return code;
}

/* clang-format off */
const struct command cmd_plugins_list = {
    .group = "plugins", .name = "list", .operands = "",
    .summary = "builds that are served, and files that were refused and why",
    .examples = "aiki plugins list\naiki plugins list --json", .run = run_list};
/* clang-format on */

/* ---- check -------------------------------------------------------------------------------- */

/* The runtime does this itself, in a process of its own: this program never loads plugins. */
static int run_check(struct cli *cli)
{
    char path[CLI_PATH_SIZE];
    const char *runtime = cli_sibling("aiki-runtime", "runtime", path);
    const char *argv[] = {"aiki-runtime", "--check", cli->args.operands[0],
                          cli->json ? "--json" : NULL, NULL};
    if (runtime[0] != '\0')
        execv(runtime, (char *const *)(uintptr_t)argv);
    else
        execvp(argv[0], (char *const *)(uintptr_t)argv);
    aiki_status st =
        error_set(&cli->err, AIKI_UNSUPPORTED,
                  "cannot run aiki-runtime: %s; install it beside this program", strerror(errno));
    return cli_fail(cli, st, &cli->err);
}

/* clang-format off */
const struct command cmd_plugins_check = {
    .group = "plugins", .name = "check", .operands = "FILE", .operand_min = 1, .operand_max = 1,
    .is_local = true, .summary = "whether a runtime would serve this file, and what it offers",
    .examples = "aiki plugins check ./hello.so\naiki plugins check ./hello.so --json",
    .run = run_check};
/* clang-format on */

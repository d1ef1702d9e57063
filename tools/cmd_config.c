/* cmd_config.c - `aiki config show`: what a server or a runtime would be set to, and by what.
 *
 * The program itself is asked: it knows its settings, their defaults and its environment.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "wire/error.h"

enum { WORDS_MAX = 6 };

static int run_show(struct cli *cli)
{
    const char *which = cli->args.operands[0], *file = args_text(&cli->args, "config");
    bool is_server = strcmp(which, "server") == 0;
    const char *name = is_server ? "aiki-server" : "aiki-runtime";
    const char *argv[WORDS_MAX] = {
        name, "--show-config",
        cli->json ? "json" : args_has(&cli->args, "origin") ? "origins" : "values",
        file != NULL ? "--config" : NULL, file, NULL};
    char path[CLI_PATH_SIZE];
    if (!is_server && strcmp(which, "runtime") != 0)
        return cli_usage(cli, "expected server or runtime, found \"%.40s\"", which);
    const char *program = cli_sibling(name, is_server ? "server" : "runtime", path);
    if (program[0] != '\0')
        execv(program, (char *const *)(uintptr_t)argv);
    else
        execvp(argv[0], (char *const *)(uintptr_t)argv);
    aiki_status st = error_set(&cli->err, AIKI_UNSUPPORTED,
                               "cannot run %s: %s; install it beside this program", name,
                               strerror(errno));
    return cli_fail(cli, st, &cli->err);
}

/* clang-format off */
static const struct arg show_args[] = {
    {ARG_FLAG, "origin", NULL, NULL, NULL, "where each value comes from: flag, variable, file, default", 0, 0},
    {ARG_TEXT, "config", "FILE", NULL, NULL, "the settings file it is started with", 0, 0},
    {.type = ARG_END}};

const struct command cmd_config_show = {
    .group = "config", .name = "show", .operands = "server|runtime", .operand_min = 1, .operand_max = 1,
    .is_local = true, .args = show_args,
    .summary = "the settings that a server or a runtime would have here",
    .examples = "aiki config show runtime --origin\n"
                "aiki config show server --config /etc/aiki/server.conf",
    .run = run_show};
/* clang-format on */

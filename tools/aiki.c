/* aiki.c - the `aiki` command: find the command, parse its flags, run it.
 *
 *   aiki GROUP NAME [OPERANDS] [FLAGS]      aiki runs inspect 01JD... --json
 *   aiki NAME [FLAGS]                       aiki dev --plugins build
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "version.h"

/* clang-format off */
static const struct arg help_args[] = {
    {ARG_FLAG, "json", NULL, NULL, NULL, "one JSON object or array on stdout", 0, 0},
    {ARG_FLAG, "help", NULL, NULL, NULL, "show this", 0, 0},
    {.type = ARG_END}};

static const struct arg common_args[] = {
    {ARG_TEXT, "server", "HOST:PORT", "127.0.0.1:9090", "AIKI_SERVER",
     "which server, or tls:HOST:PORT, or unix:PATH", 0, 0},
    {ARG_TEXT, "tls-ca", "PATH", NULL, "AIKI_TLS_CA", "whose certificate a tls: server must have", 0, 0},
    {ARG_TEXT, "tls-cert", "PATH", NULL, "AIKI_TLS_CERT", "own certificate, if the server asks", 0, 0},
    {ARG_TEXT, "tls-key", "PATH", NULL, "AIKI_TLS_KEY", "its key", 0, 0},
    {ARG_TEXT, "token", "TEXT", NULL, "AIKI_TOKEN", "credential; everybody sees arguments", 0, 0},
    {ARG_TEXT, "token-file", "PATH", NULL, "AIKI_TOKEN_FILE", "file that the credential is in", 0, 0},
    {ARG_TEXT, "namespace", "NAME", "default", "AIKI_NAMESPACE", "whose runs and workflows", 0, 0},
    {ARG_FLAG, "json", NULL, NULL, NULL, "one JSON object or array on stdout", 0, 0},
    {ARG_FLAG, "help", NULL, NULL, NULL, "show this", 0, 0},
    {.type = ARG_END}};
/* clang-format on */

static int run_help(struct cli *cli);
static int run_version(struct cli *cli);

/* clang-format off */
static const struct command cmd_help = {
    .name = "help", .operands = "[COMMAND]", .operand_max = 2, .is_local = true,
    .summary = "what there is, or one command with examples",
    .examples = "aiki help runs inspect", .run = run_help};
static const struct command cmd_version = {
    .name = "version", .operands = "", .is_local = true, .summary = "the version of this program",
    .examples = "aiki version --json", .run = run_version};

const struct command *const commands[] = {
    &cmd_dev,          &cmd_workflows_list, &cmd_workflows_show, &cmd_workflows_trigger,
    &cmd_runs_list,    &cmd_runs_inspect,   &cmd_runs_watch,     &cmd_runs_wait,
    &cmd_runs_result,  &cmd_runs_tree,      &cmd_runs_signal,    &cmd_runs_cancel,
    &cmd_runs_terminate, &cmd_runs_pause,   &cmd_runs_resume,    &cmd_runs_wake,
    &cmd_runs_retry,   &cmd_letters_list,   &cmd_letters_show,   &cmd_letters_redrive,
    &cmd_letters_drop, &cmd_tasks_list,    &cmd_tasks_show,     &cmd_workers_list,   &cmd_plugins_list,   &cmd_plugins_show,
    &cmd_plugins_check, &cmd_plugins_gate,  &cmd_plugins_unquarantine,
    &cmd_plugins_keygen, &cmd_plugins_sign,
    &cmd_config_show,  &cmd_bench,          &cmd_help,           &cmd_version,
    NULL};
/* clang-format on */

static bool in_group(const struct command *c, const char *group)
{
    return c->group != NULL && strcmp(c->group, group) == 0;
}

/* The command that the words name, and how many words that took; NULL when there is none. */
static const struct command *find_command(int count, char **words, int *ret_used)
{
    for (const struct command *const *c = commands; *c != NULL; c++) {
        const char *name = (*c)->name;
        *ret_used = (*c)->group != NULL ? 2 : 1;
        if ((*c)->group == NULL && count >= 1 && strcmp(words[0], name) == 0)
            return *c;
        if (count >= 2 && in_group(*c, words[0]) && strcmp(words[1], name) == 0)
            return *c;
    }
    return NULL;
}

/* ---- help --------------------------------------------------------------------------------- */

static void print_title(const struct command *c)
{
    char left[64];
    snprintf(left, sizeof(left), "%s%s%s %s", c->group != NULL ? c->group : "",
             c->group != NULL ? " " : "", c->name, c->operands);
    printf("  aiki %-34s %s\n", left, c->summary);
}

void command_print_usage(const struct command *c)
{
    print_title(c);
    printf("\n");
    if (c->args != NULL)
        args_print_help(c->args);
    args_print_help(c->is_local ? help_args : common_args);
    printf("\nExamples:\n");
    for (const char *line = c->examples; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        printf("  %.*s\n", (int)size, line);
        line += size + (line[size] == '\n');
    }
}

/* All commands, or those of one group; false when the group has none. */
static bool print_commands(const char *group)
{
    bool any = false;
    for (const struct command *const *c = commands; *c != NULL; c++)
        if (group == NULL || in_group(*c, group)) {
            print_title(*c);
            any = true;
        }
    return any;
}

static void print_overview(void)
{
    printf("aiki - start, follow and serve durable workflows\n\n");
    (void)print_commands(NULL);
    printf("\n`aiki COMMAND --help` shows flags and examples.\n"
           "Exit codes: 0 ok, 1 the run did not complete, 2 usage, 3 server unreachable,\n"
           "            4 not found, 5 conflict, 124 the wait timed out.\n"
           "Variables:  AIKI_SERVER, AIKI_TOKEN, AIKI_TOKEN_FILE, AIKI_NAMESPACE; a flag wins over its variable.\n");
}

static int run_help(struct cli *cli)
{
    int used;
    char *words[2] = {(char *)(uintptr_t)cli->args.operands[0],
                      (char *)(uintptr_t)cli->args.operands[1]};
    if (cli->args.operand_count == 0) {
        print_overview();
        return EXIT_OK;
    }
    const struct command *c = find_command((int)cli->args.operand_count, words, &used);
    if (c != NULL)
        command_print_usage(c);
    else if (cli->args.operand_count > 1 || !print_commands(words[0]))
        return cli_usage(cli, "there is no command '%s'", words[0]);
    return EXIT_OK;
}

static int run_version(struct cli *cli)
{
    printf(cli->json ? "{\"version\":\"%s\"}\n" : "aiki %s\n", AIKI_VERSION);
    return EXIT_OK;
}

/* ---- main --------------------------------------------------------------------------------- */

static int no_such_command(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview();
        return argc < 2 ? EXIT_USAGE : EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("aiki %s\n", AIKI_VERSION);
        return EXIT_OK;
    }
    if (argc == 2 || strcmp(argv[2], "--help") == 0)
        if (print_commands(argv[1]))
            return argc == 2 ? EXIT_USAGE : EXIT_OK;
    fprintf(stderr, "aiki: INVALID: there is no command '%s%s%s'\n  `aiki help` lists them\n",
            argv[1], argc > 2 ? " " : "", argc > 2 ? argv[2] : "");
    return EXIT_USAGE;
}

static int run_command(const struct command *c, int argc, char **argv)
{
    struct cli cli = {.command = c, .err = {.struct_size = sizeof(aiki_error)}};
    cli.args.tables[0] = c->is_local ? help_args : common_args;
    cli.args.tables[1] = c->args;
    aiki_status st = args_parse(&cli.args, argc, argv, &cli.err);
    if (st == AIKI_OK && args_has(&cli.args, "help")) {
        command_print_usage(c);
        return EXIT_OK;
    }
    if (st != AIKI_OK)
        return cli_usage(&cli, "%s", cli.err.message);
    if (cli.args.operand_count < c->operand_min)
        return cli_usage(&cli, "something is missing");
    if (cli.args.operand_count > c->operand_max)
        return cli_usage(&cli, "'%s' is one word too many", cli.args.operands[c->operand_max]);
    cli.json = args_has(&cli.args, "json");
    int code = c->run(&cli);
    aiki_client_close(cli.client);
    /* A full disk or a closed pipe must not look like success. */
    if (fflush(stdout) != 0 && code == EXIT_OK)
        code = EXIT_INCOMPLETE;
    return code;
}

int main(int argc, char **argv)
{
    int used;
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    const struct command *c = find_command(argc - 1, argv + 1, &used);
    if (c == NULL)
        return no_such_command(argc, argv);
    return run_command(c, argc - 1 - used, argv + 1 + used);
}

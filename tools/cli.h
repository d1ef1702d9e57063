/* cli.h - what every command of `aiki` shares: its description, the connection, errors.
 *
 * A command is a table entry and one function that returns the exit code. [main thread]
 */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <aiki/client.h>

#include "args.h"

/* Scripts rely on these numbers. */
enum {
    EXIT_OK = 0,
    EXIT_INCOMPLETE = 1, /* the run did not complete, or any other failure */
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3,
    EXIT_NOT_FOUND = 4,
    EXIT_CONFLICT = 5,
    EXIT_WAIT_TIMED_OUT = 124
};

struct cli;
struct command {
    const char *group;    /* "runs"; NULL for commands of one word */
    const char *name;     /* "list" */
    const char *operands; /* "ID NAME", for help; "" = none */
    unsigned operand_min, operand_max;
    const char *summary;
    const struct arg *args; /* its own flags, or NULL */
    bool is_local;          /* talks to no server: no connection flags */
    const char *examples;   /* one per line */
    int (*run)(struct cli *cli);
};

struct cli {
    const struct command *command;
    struct args args;
    bool json;
    const char *server;
    aiki_client *client; /* owned; NULL until cli_connect */
    aiki_error err;      /* scratch for the command */
};

/* Every command there is; NULL-terminated. In aiki.c. */
extern const struct command *const commands[];
void command_print_usage(const struct command *c);

/* Connect as the flags and variables say. EXIT_OK, or the exit code with the error printed. */
int cli_connect(struct cli *cli);
/* "aiki: CODE: message", what to do next, and the exit code for the status. */
int cli_fail(const struct cli *cli, aiki_status st, const aiki_error *err);
int cli_usage(const struct cli *cli, const char *format, ...) AIKI_PRINTF(2, 3);
int exit_code_of(aiki_status st);

/* Query with a map of pairs in args (may be empty). The document's bytes are the caller's, who
 * gives data to aiki_client_free. EXIT_OK, or the exit code with the error printed. */
int cli_query(struct cli *cli, const char *what, const aiki_writer *args, aiki_view *ret_document);
/* The same for documents about one thing: map {key: text}. */
int cli_query_one(struct cli *cli, const char *what, const char *key, const char *text,
                  aiki_view *ret_document);
/* The same about what has payloads, which are shown as the flags of SHOWN_ARGS say. */
int cli_query_shown(struct cli *cli, const char *what, const char *id, aiki_view *ret_document);
/* What these flags say: CLI_SHOWN_PAIRS pairs of a query's arguments. */
enum { CLI_SHOWN_PAIRS = 2 };
void cli_put_shown(const struct cli *cli, aiki_writer *w);
/* In the table of a command that shows payloads. */
#define REVEAL_ARG                                                                              \
    {ARG_FLAG, "reveal", NULL, NULL, NULL,                                                      \
     "with what schemas mark as personal data; a server with tokens asks for one of an admin", 0, 0}
#define SHOWN_ARGS                                                                              \
    REVEAL_ARG, {ARG_FLAG, "full", NULL, NULL, NULL, "inputs and outputs of any length", 0, 0}
/* Text from a flag value: itself, @FILE, or - for stdin; at most 4 MiB. */
aiki_status cli_read_input(const char *value, aiki_writer *w, aiki_error *err);
/* The same parsed as JSON and appended to w as msgpack. */
aiki_status cli_read_json(const char *value, aiki_writer *w, aiki_error *err);
/* Path of an installed or built sibling program ("aiki-server") or "" when there is none. */
enum { CLI_PATH_SIZE = 4096 };
const char *cli_sibling(const char *program, const char *build_folder, char buffer[CLI_PATH_SIZE]);

#endif

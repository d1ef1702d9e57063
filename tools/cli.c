/* cli.c - see cli.h. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "wire/error.h"
#include "wire/frame.h"

enum { CONNECT_MS_MAX = 1500 }; /* a person waits; a server that starts is there by then */

int exit_code_of(aiki_status st)
{
    switch (st) {
    case AIKI_OK: return EXIT_OK;
    case AIKI_INVALID:
    case AIKI_SCHEMA:
    case AIKI_LIMIT:
    case AIKI_UNSUPPORTED: return EXIT_USAGE;
    case AIKI_UNAVAILABLE: return EXIT_UNREACHABLE;
    case AIKI_NOT_FOUND: return EXIT_NOT_FOUND;
    case AIKI_CONFLICT:
    case AIKI_STALE: return EXIT_CONFLICT;
    case AIKI_TIMEDOUT: return EXIT_WAIT_TIMED_OUT;
    default: return EXIT_INCOMPLETE;
    }
}

static const char *next_step(const struct cli *cli, aiki_status st)
{
    const char *group =
        cli->command != NULL && cli->command->group != NULL ? cli->command->group : "";
    bool about_runs = strcmp(group, "runs") == 0;
    switch (st) {
    case AIKI_UNAVAILABLE:
        return "start one with `aiki dev --plugins DIR --data DIR`, or name a running one with "
               "--server HOST:PORT or AIKI_SERVER";
    case AIKI_DENIED: return "give a token with --token-file PATH, AIKI_TOKEN_FILE or AIKI_TOKEN";
    case AIKI_NOT_FOUND:
        return about_runs ? "`aiki runs list` shows the runs there are"
                          : "`aiki workflows list` shows what there is";
    case AIKI_SCHEMA: return "`aiki workflows show NAME` shows the schema of the input";
    case AIKI_CONFLICT:
        return about_runs ? NULL : "use another --key, or the same input to get the existing run";
    default: return NULL;
    }
}

int cli_fail(const struct cli *cli, aiki_status st, const aiki_error *err)
{
    const char *code = err != NULL && err->code[0] != '\0' ? err->code : aiki_status_name(st);
    const char *message =
        err != NULL && err->message[0] != '\0' ? err->message : aiki_status_text(st);
    const char *next = next_step(cli, st);
    fflush(stdout);
    fprintf(stderr, "aiki: %s: %s\n", code, message);
    for (const aiki_error *cause = err != NULL ? err->cause : NULL; cause != NULL;
         cause = cause->cause)
        fprintf(stderr, "  because %s: %s\n", cause->code, cause->message);
    if (next != NULL)
        fprintf(stderr, "  %s\n", next);
    return exit_code_of(st);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("aiki: INVALID: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    const struct command *c = cli->command;
    fprintf(stderr, "\n  usage: aiki %s%s%s%s%s   (--help shows examples)\n",
            c->group != NULL ? c->group : "", c->group != NULL ? " " : "", c->name,
            c->operands[0] != '\0' ? " " : "", c->operands);
    return EXIT_USAGE;
}

int cli_connect(struct cli *cli)
{
    const struct args *args = &cli->args; /* a flag wins over the other's variable */
    bool from_file = args_is_given(args, "token-file") && !args_is_given(args, "token");
    const aiki_client_options options = {.struct_size = sizeof(options),
                                         .name = "aiki",
                                         .token = from_file ? NULL : args_text(args, "token"),
                                         .token_file = args_text(args, "token-file"),
                                         .tls_ca = args_text(args, "tls-ca"),
                                         .tls_cert = args_text(args, "tls-cert"),
                                         .tls_key = args_text(args, "tls-key"),
                                         .space = args_text(&cli->args, "namespace"),
                                         .connect_timeout_ms = CONNECT_MS_MAX};
    cli->server = args_text(&cli->args, "server");
    aiki_status st = aiki_client_open(cli->server, &options, &cli->client, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

int cli_query(struct cli *cli, const char *what, const aiki_writer *args, aiki_view *ret_document)
{
    aiki_view none = {NULL, 0};
    int code = cli->client == NULL ? cli_connect(cli) : EXIT_OK;
    if (code != EXIT_OK)
        return code;
    aiki_status st = aiki_client_query(
        cli->client, what, args != NULL ? aiki_writer_view(args) : none, ret_document, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

int cli_query_one(struct cli *cli, const char *what, const char *key, const char *text,
                  aiki_view *ret_document)
{
    AUTO(buf) aiki_writer args;
    buf_init(&args);
    aiki_mp_map(&args, 1);
    aiki_mp_str(&args, key);
    aiki_mp_str(&args, text);
    return cli_query(cli, what, &args, ret_document);
}

void cli_put_shown(const struct cli *cli, aiki_writer *w)
{
    aiki_mp_str(w, "reveal");
    aiki_mp_bool(w, args_is_given(&cli->args, "reveal"));
    aiki_mp_str(w, "full");
    aiki_mp_bool(w, args_is_given(&cli->args, "full"));
}

int cli_query_shown(struct cli *cli, const char *what, const char *id, aiki_view *ret_document)
{
    AUTO(buf) aiki_writer args;
    buf_init(&args);
    aiki_mp_map(&args, 1 + CLI_SHOWN_PAIRS);
    aiki_mp_str(&args, "id");
    aiki_mp_str(&args, id);
    cli_put_shown(cli, &args);
    return cli_query(cli, what, &args, ret_document);
}

/* ---- input -------------------------------------------------------------------------------- */

static aiki_status read_all(int fd, const char *name, aiki_writer *w, aiki_error *err)
{
    uint8_t chunk[16384];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        aiki_mp_raw(w, chunk, (uint64_t)n);
        if (w->size_bytes > PAYLOAD_BYTES_MAX)
            return error_set(err, AIKI_LIMIT, "%s is over PAYLOAD_BYTES_MAX, %d bytes", name,
                             PAYLOAD_BYTES_MAX);
    }
    if (n < 0)
        return error_set(err, AIKI_INVALID, "%s: %s", name, strerror(errno));
    return w->status;
}

aiki_status cli_read_input(const char *value, aiki_writer *w, aiki_error *err)
{
    if (strcmp(value, "-") == 0)
        return read_all(STDIN_FILENO, "stdin", w, err);
    if (value[0] != '@') {
        aiki_mp_raw(w, value, strlen(value));
        return w->status;
    }
    AUTO(close_fd) int fd = open(value + 1, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, AIKI_INVALID, "%s: %s", value + 1, strerror(errno));
    return read_all(fd, value + 1, w, err);
}

aiki_status cli_read_json(const char *value, aiki_writer *w, aiki_error *err)
{
    AUTO(buf) aiki_writer text;
    buf_init(&text);
    aiki_status st = cli_read_input(value, &text, err);
    if (st != AIKI_OK)
        return st;
    return json_to_msgpack(aiki_writer_view(&text), w, err);
}

/* ---- siblings ----------------------------------------------------------------------------- */

/* Beside this program (installed), in the build tree's folder, or installed for internal use. */
const char *cli_sibling(const char *program, const char *build_folder, char buffer[CLI_PATH_SIZE])
{
    char self[CLI_PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0)
        n = 0;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL)
        *slash = '\0';

    const char *const folders[] = {"", "/../", "/../libexec/aiki"};
    for (size_t i = 0; i < ARRAY_COUNT(folders); i++) {
        int size = snprintf(buffer, CLI_PATH_SIZE, "%s%s%s/%s", self, folders[i],
                            i == 1 ? build_folder : "", program);
        if (size < CLI_PATH_SIZE && access(buffer, X_OK) == 0)
            return buffer;
    }
    buffer[0] = '\0';
    return buffer;
}

/* main.c - aiki-server: settings, start, signals, orderly end.
 *
 *   settings --> store, threads, RPC --> HTTP --> ready --SIGTERM, SIGINT--> HTTP --> core --> 0
 *
 * Exit codes: 0 ended as asked, 1 could not start or could not trust its store, 2 usage.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/reload.h"
#include "base/tls.h"
#include "core.h"
#include "http/http.h"
#include "quarantine.h"
#include "store/store.h"
#include "tokens.h"
#include "version.h"
#include "wire/error.h"
#include "wire/keys.h"

enum { EXIT_ENDED = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const struct config_key keys[] = {
    {"listen", CONFIG_TEXT, "127.0.0.1:9090", 0, 0, "where clients and runtimes connect"},
    {"http", CONFIG_TEXT, "127.0.0.1:9091", 0, 0, "where the HTTP API listens"},
    {"http-host", CONFIG_TEXT, "", 0, 0, "further name that browsers may know it by"},
    {"store", CONFIG_TEXT, "sqlite:aiki.db", 0, 0, "sqlite:PATH, the record of every run"},
    {"redis", CONFIG_TEXT, "redis://127.0.0.1:6379", 0, 0, "where runtimes read their tickets"},
    {"quarantine-crashes", CONFIG_INT, "5", 0, SUSPECT_CRASHES_MAX,
     "crashes of one task of a build until no runtime executes it any more; 0: never"},
    {"quarantine-window-ms", CONFIG_INT, "60000", 1000, 86400000, "within how long they count"},
    {"crash-hold-ms", CONFIG_INT, "300000", 0, 86400000,
     "how long a run waits for another build when a task has spent its crash budget with one"},
    {"lease-ms", CONFIG_INT, "5000", 100, 3600 * 1000,
     "silence after which a runtime loses its runs"},
    {"tls-cert", CONFIG_TEXT, "", 0, 0, "certificate chain (PEM): RPC and HTTP speak TLS only"},
    {"tls-key", CONFIG_TEXT, "", 0, 0, "its key, in a file that others cannot read"},
    {"tls-client-ca", CONFIG_TEXT, "", 0, 0, "clients need a certificate of this CA"},
    {"token-file", CONFIG_TEXT, "", 0, 0, "accepted tokens, one a line; without it all are let in"},
    {"namespace", CONFIG_TEXT, "default", 0, 0, "whose runs these are"},
    {"log", CONFIG_TEXT, "info", 0, 0, "debug, info, warn or error"},
    {"show-config", CONFIG_TEXT, "", 0, 0,
     "only print the settings: values, origins with where each comes from, or json"},
    {"migrate", CONFIG_FLAG, NULL, 0, 0, "only bring the store to the schema of this release"},
    {"dry-run", CONFIG_FLAG, NULL, 0, 0, "with --migrate: try it and take it back"},
    {"ready-fd", CONFIG_INT, "-1", -1, 1 << 20, "descriptor told in JSON where it serves"},
};

struct server {
    uv_loop_t loop;
    struct config *config;
    uv_signal_t on_int, on_term, on_hangup;
    struct tokens *tokens; /* NULL: all are let in */
    struct tls *tls;       /* NULL: none */
    struct core *core;
    struct http *http;
    bool stopping;
};

static void print_help(void)
{
    printf("aiki-server - keeps the record of every run and hands work out\n\n"
           "  aiki-server --store sqlite:/var/lib/aiki/aiki.db --redis redis://127.0.0.1:6379\n"
           "  aiki-server --config /etc/aiki/server.conf\n"
           "  aiki-server --migrate --dry-run --store sqlite:/var/lib/aiki/aiki.db\n\n"
           "Settings, also as variables (AIKI_LEASE_MS) and lines of a file (lease-ms = 5000):\n");
    config_print_help(keys, ARRAY_COUNT(keys));
    printf("  %-26s %s\n  %-26s %s\n", "--help", "print this and exit", "--version",
           "print the version and exit");
    printf("\nSIGHUP, with --config, --token-file or --tls-cert: reads those files again; log, the\n"
           "accepted tokens and the certificate change at once.\n");
}

/* ---- end ------------------------------------------------------------------------------------- */

static void on_core_stopped(void *arg)
{
    struct server *s = arg;
    uv_close((uv_handle_t *)&s->on_int, NULL);
    uv_close((uv_handle_t *)&s->on_term, NULL);
    uv_close((uv_handle_t *)&s->on_hangup, NULL);
}

static void on_http_stopped(void *arg)
{
    struct server *s = arg;
    core_stop(s->core, on_core_stopped, s);
}

static void stop(struct server *s)
{
    s->stopping = true;
    notify_manager("STOPPING=1");
    if (s->http != NULL)
        http_stop(s->http, on_http_stopped, s);
    else if (s->core != NULL)
        core_stop(s->core, on_core_stopped, s);
    else
        on_core_stopped(s);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    if (s->stopping) /* asked twice: at once, which costs no more than a kill */
        _exit(EXIT_FAILED);
    log_info("server", "%s: ending", number == SIGINT ? "SIGINT" : "SIGTERM");
    stop(s);
}

/* ---- start ----------------------------------------------------------------------------------- */

static aiki_status check_settings(const struct config *c, aiki_error *err)
{
    int level;
    const char *space = config_text(c, "namespace");
    if (config_positional_count(c) > 0)
        return error_set(err, AIKI_INVALID, "unexpected argument \"%.100s\"; --help lists settings",
                         config_positional(c, 0));
    if (config_flag(c, "dry-run") && !config_flag(c, "migrate"))
        return error_set(err, AIKI_INVALID, "dry-run goes with migrate (%s)", config_origin(c, "dry-run"));
    if (!log_level_parse(config_text(c, "log"), &level))
        return error_set(err, AIKI_INVALID,
                         "log must be debug, info, warn or error, found \"%.60s\" (%s)",
                         config_text(c, "log"), config_origin(c, "log"));
    if (!name_is_valid((aiki_view){(const uint8_t *)space, strlen(space)}))
        return error_set(err, AIKI_INVALID,
                         "namespace must be 1 to %d of a-z A-Z 0-9 . _ -, found \"%.60s\" (%s)",
                         NAME_BYTES_MAX, space, config_origin(c, "namespace"));
    return AIKI_OK;
}

static void set_log_level(const struct config *c)
{
    int level;
    if (log_level_parse(config_text(c, "log"), &level))
        log_set_level(level);
}

static void reload_tokens(const struct server *s)
{
    aiki_error err = AIKI_ERROR_INIT;
    if (tokens_reload(s->tokens, &err) != AIKI_OK) {
        log_error("tokens", "%s; the tokens from before stay accepted", err.message);
        return;
    }
    log_info("tokens", "the accepted tokens are read again");
    core_check_tokens(s->core);
}

static struct tls_files tls_files(const struct config *c)
{
    return (struct tls_files){.cert = config_text(c, "tls-cert"),
                              .key = config_text(c, "tls-key"),
                              .ca = config_text(c, "tls-client-ca")};
}

/* A renewed certificate. Connections keep what they began with. */
static void reload_tls(struct server *s)
{
    const struct tls_files files = tls_files(s->config);
    struct tls *fresh = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    if (tls_server_create(&fresh, &files, &err) != AIKI_OK) {
        log_error("tls", "%s; the certificate from before stays in use", err.message);
        return;
    }
    core_set_tls(s->core, fresh);
    http_set_tls(s->http, fresh);
    tls_unref(s->tls);
    s->tls = fresh;
    log_info("tls", "certificate and key are read again");
}

static void on_hangup(uv_signal_t *handle, int number)
{
    static const char *const live[] = {"log", NULL};
    static const struct reload_rules rules = {keys, ARRAY_COUNT(keys), live, check_settings};
    struct server *s = handle->data;
    (void)number;
    if (config_file(s->config)[0] != '\0' && reload_settings(s->config, &rules))
        set_log_level(s->config);
    if (s->tokens != NULL && s->core != NULL && !s->stopping)
        reload_tokens(s);
    if (s->tls != NULL && s->core != NULL && s->http != NULL && !s->stopping)
        reload_tls(s);
}

/* CONNECTIONS_MAX needs more descriptors than the usual soft limit. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* without it: fewer connections */
}

/* One JSON line, so that whoever started this process knows ports chosen by the system. */
static void tell_ready(const struct server *s, int fd)
{
    char line[600];
    notify_manager("READY=1");
    log_info("server", "serving RPC on %s, HTTP on %s%s", core_address(s->core),
             http_address(s->http), s->tls != NULL ? ", with TLS" : "");
    if (fd < 0)
        return;
    int n = snprintf(line, sizeof(line), "{\"rpc\":\"%s\",\"http\":\"%s\"}\n",
                     core_address(s->core), http_address(s->http));
    if (write(fd, line, (size_t)n) != n)
        log_warn("server", "--ready-fd %d: %s", fd, strerror(errno));
    (void)close(fd);
}

/* Who may connect, and how. */
static aiki_status read_credentials(struct server *s, const struct config *c, aiki_error *err)
{
    const struct tls_files tls = tls_files(c);
    const char *token_file = config_text(c, "token-file");
    aiki_status status = AIKI_OK;
    if (tls.cert[0] != '\0' || tls.key[0] != '\0' || tls.ca[0] != '\0')
        status = tls_server_create(&s->tls, &tls, err);
    if (status == AIKI_OK && token_file[0] != '\0')
        status = tokens_open(&s->tokens, token_file, err);
    return status;
}

static aiki_status start(struct server *s, const struct config *c, aiki_error *err)
{
    aiki_status status = read_credentials(s, c, err);
    if (status != AIKI_OK)
        return status;
    const struct core_options options = {.listen = config_text(c, "listen"),
                                         .store = config_text(c, "store"),
                                         .redis = config_text(c, "redis"),
                                         .space = config_text(c, "namespace"),
                                         .tokens = s->tokens,
                                         .tls = s->tls,
                                         .lease_ms = (uint64_t)config_int(c, "lease-ms"),
                                         .quarantine_crashes =
                                             (unsigned)config_int(c, "quarantine-crashes"),
                                         .quarantine_window_ms =
                                             config_int(c, "quarantine-window-ms"),
                                         .crash_hold_ms = config_int(c, "crash-hold-ms")};
    const char *host = config_text(c, "http-host");
    status = core_start(&s->core, &s->loop, &options, err);
    const struct http_options http = {
        .listen = config_text(c, "http"), .core = s->core, .tokens = s->tokens, .tls = s->tls};
    if (status == AIKI_OK)
        status = http_start(&s->http, &s->loop, &http, err);
    if (status == AIKI_OK && host[0] != '\0')
        status = http_allow_host(s->http, host, err);
    return status;
}

static void watch_signals(struct server *s)
{
    s->on_int.data = s->on_term.data = s->on_hangup.data = s;
    (void)uv_signal_init(&s->loop, &s->on_int); /* with a fresh loop none of these fails */
    (void)uv_signal_init(&s->loop, &s->on_term);
    (void)uv_signal_init(&s->loop, &s->on_hangup);
    (void)uv_signal_start(&s->on_int, on_signal, SIGINT);
    (void)uv_signal_start(&s->on_term, on_signal, SIGTERM);
    if (config_file(s->config)[0] != '\0' || config_text(s->config, "token-file")[0] != '\0' ||
        config_text(s->config, "tls-cert")[0] != '\0')
        (void)uv_signal_start(&s->on_hangup, on_hangup, SIGHUP);
}

static int fail(const aiki_error *err, int exit_code)
{
    log_error("server", "%s: %s", err->code, err->message);
    return exit_code;
}

static int run(struct config *c)
{
    struct server s = {.config = c};
    aiki_error err = {.struct_size = sizeof(err)};
    set_log_level(c);
    int fd = (int)config_int(c, "ready-fd");
    if (fd >= 0)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* write(2) names a descriptor that is none */
    if (sodium_init() < 0 || uv_loop_init(&s.loop) != 0) {
        (void)error_set(&err, AIKI_NOMEM, "no source of random numbers, or no event loop");
        return fail(&err, EXIT_FAILED);
    }
    allow_descriptors();
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(2): disk full */
    watch_signals(&s);
    int code = EXIT_ENDED;
    if (start(&s, c, &err) == AIKI_OK) {
        tell_ready(&s, fd);
    } else {
        code = fail(&err, EXIT_FAILED);
        stop(&s);
    }
    (void)uv_run(&s.loop, UV_RUN_DEFAULT);
    tokens_close(s.tokens);
    tls_unref(s.tls);
    int left = uv_loop_close(&s.loop);
    assert(left == 0);
    (void)left;
    if (code == EXIT_ENDED)
        log_info("server", "ended");
    return code;
}

/* A server does the same when it opens the store; this tells before, and does it while none runs. */
static int migrate(const struct config *c)
{
    const char *url = config_text(c, "store");
    bool dry_run = config_flag(c, "dry-run");
    struct store_migration m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (store_migrate(url, dry_run, &m, &err) != AIKI_OK)
        return fail(&err, EXIT_FAILED);
    if (m.from == m.to)
        printf("%s: schema %lld, nothing to do\n", url, (long long)m.to);
    else
        printf("%s: schema %lld, %s schema %lld\n", url, (long long)m.from,
               dry_run ? "can be brought to" : "is now", (long long)m.to);
    return fflush(stdout) == 0 ? EXIT_ENDED : EXIT_FAILED;
}

int main(int argc, char *argv[])
{
    struct config *c;
    aiki_error err = {.struct_size = sizeof(err)};
    log_init("server", LOG_INFO);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_ENDED;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("aiki-server %s\n", AIKI_VERSION);
            return EXIT_ENDED;
        }
    }
    if (config_load(&c, keys, ARRAY_COUNT(keys), argc, argv, &err) != AIKI_OK)
        return fail(&err, EXIT_USAGE);
    const char *show = config_text(c, "show-config");
    int code = check_settings(c, &err) == AIKI_OK ? EXIT_ENDED : fail(&err, EXIT_USAGE);
    if (code == EXIT_ENDED && show[0] != '\0')
        code = config_show(c, show, &err) == AIKI_OK ? EXIT_ENDED : fail(&err, EXIT_USAGE);
    else if (code == EXIT_ENDED)
        code = config_flag(c, "migrate") ? migrate(c) : run(c);
    config_destroy(c);
    return code;
}

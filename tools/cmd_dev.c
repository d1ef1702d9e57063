/* cmd_dev.c - `aiki dev`: everything on one machine, for one directory of plugins.
 *
 *   lock DATA --> redis-server --(says it accepts)--> aiki-server --(ready line)-->
 *                 aiki-runtime --(ready line)--> READY
 *
 *   STARTING --> READY --SIGINT, SIGTERM--> STOPPING: runtime, then server, then redis --> end
 *
 * Crash-only: a part that dies is started again on the same addresses and the others reconnect.
 * A part that dies before it was ready once is a mistake in the set-up and ends everything.
 * All parts die with this process, however it ends (process.h). DATA keeps aiki.db, the
 * runtime's cache and, while running, the Redis socket and the lock.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "builder.h"
#include "commands.h"
#include "doc.h"
#include "part.h"
#include "text.h"
#include "wire/error.h"

/* clang-format off */
#define DEFAULT_RPC "127.0.0.1:9090"
#define DEFAULT_HTTP "127.0.0.1:9091"
/* clang-format on */

enum { GRACE_MS = 5000, ADDRESS_SIZE = 128 };

enum dev_state { STARTING, READY, STOPPING };

struct dev {
    struct cli *cli;
    uv_loop_t loop;
    uv_signal_t on_child, on_int, on_term;
    enum dev_state state;
    struct part redis, server, runtime;
    struct builder *builder; /* NULL without --sources */
    bool own_redis;
    int64_t began_mono_ms;
    int exit_code;
    int lock_fd;
    char plugins[PATH_MAX];
    char data[PATH_MAX];
    char socket[PATH_MAX];        /* of the private Redis */
    char socket_folder[PATH_MAX]; /* made for it when DATA's path is too long; else "" */
    char redis_url[PATH_MAX + 8];
    char rpc[ADDRESS_SIZE], http[ADDRESS_SIZE];
    aiki_error err;
};

/* ---- preparing ---------------------------------------------------------------------------- */

static aiki_status make_folders(const char *path, aiki_error *err)
{
    char partial[PATH_MAX];
    if (snprintf(partial, sizeof(partial), "%s", path) >= PATH_MAX)
        return error_set(err, AIKI_LIMIT, "the path is too long: %.100s", path);
    for (char *slash = strchr(partial + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(partial, 0777); /* the last one tells */
        *slash = '/';
    }
    if (mkdir(partial, 0700) != 0 && errno != EEXIST)
        return error_set(err, AIKI_INVALID, "cannot make folder %s: %s", path, strerror(errno));
    return AIKI_OK;
}

/* Two stacks on one folder would take each other's sockets away. */
static aiki_status lock_data(struct dev *d, aiki_error *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/dev.lock", d->data) >= PATH_MAX)
        return error_set(err, AIKI_LIMIT, "the path is too long: %.100s", d->data);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return error_set(err, AIKI_INVALID, "cannot open %s: %s", path, strerror(errno));
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, AIKI_CONFLICT,
                         "another `aiki dev` uses %s; stop it or give another --data", d->data);
    return AIKI_OK;
}

static aiki_status choose_socket(struct dev *d, aiki_error *err)
{
    struct sockaddr_un at;
    int size = snprintf(d->socket, sizeof(d->socket), "%s/redis.sock", d->data);
    if (size >= (int)sizeof(at.sun_path)) {
        snprintf(d->socket_folder, sizeof(d->socket_folder), "/tmp/aiki-dev-XXXXXX");
        if (mkdtemp(d->socket_folder) == NULL)
            return error_set(err, AIKI_INVALID, "cannot make a folder in /tmp: %s",
                             strerror(errno));
        snprintf(d->socket, sizeof(d->socket), "%.100s/redis.sock", d->socket_folder);
    }
    snprintf(d->redis_url, sizeof(d->redis_url), "unix:%s", d->socket);
    return AIKI_OK;
}

static bool port_is_free(const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    AUTO(close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
}

/* As asked (":0" means this machine); unasked: the default, or a free port when that is taken. */
static void choose_address(char ret[ADDRESS_SIZE], const char *asked, const char *usual,
                           const char *what)
{
    if (asked != NULL) {
        snprintf(ret, ADDRESS_SIZE, "%s%s", asked[0] == ':' ? "127.0.0.1" : "", asked);
    } else if (port_is_free(usual)) {
        snprintf(ret, ADDRESS_SIZE, "%s", usual);
    } else {
        snprintf(ret, ADDRESS_SIZE, "127.0.0.1:0");
        log_warn("addresses", "%s is taken by another program: %s gets a free port instead", usual,
                 what);
    }
}

static aiki_status prepare(struct dev *d, aiki_error *err)
{
    const struct args *a = &d->cli->args;
    const char *redis_url = args_text(a, "redis");
    char given[PATH_MAX];
    snprintf(given, sizeof(given), "%s", args_text(a, "data"));
    d->own_redis = redis_url == NULL;
    if (realpath(args_text(a, "plugins"), d->plugins) == NULL ||
        access(d->plugins, R_OK | X_OK) != 0)
        return error_set(err, AIKI_INVALID,
                         "plugins folder %s: %s; make it, or name one with --plugins",
                         args_text(a, "plugins"), strerror(errno));
    aiki_status st = make_folders(given, err);
    if (st == AIKI_OK && realpath(given, d->data) == NULL)
        st = error_set(err, AIKI_INVALID, "%s: %s", given, strerror(errno));
    if (st == AIKI_OK)
        st = lock_data(d, err);
    if (st == AIKI_OK && d->own_redis)
        st = choose_socket(d, err);
    if (st == AIKI_OK && !d->own_redis)
        snprintf(d->redis_url, sizeof(d->redis_url), "%s", redis_url);
    choose_address(d->rpc, args_text(a, "listen"), DEFAULT_RPC, "the server");
    choose_address(d->http, args_text(a, "http"), DEFAULT_HTTP, "HTTP");
    return st;
}

/* ---- command lines ------------------------------------------------------------------------ */

static void redis_words(struct dev *d)
{
    struct words *w = &d->redis.words;
    words_clear(w);
    words_add(w, "redis-server", "--port", "0", "--unixsocket", d->socket, "--unixsocketperm",
              "700", "--save", "", "--appendonly", "no", "--dir", d->data, "--daemonize", "no",
              "--logfile", "", NULL);
}

/* After the first start with the addresses it really got, so that the others find it again. */
static void server_words(struct dev *d)
{
    char path[CLI_PATH_SIZE], store[PATH_MAX + 32];
    struct words *w = &d->server.words;
    snprintf(store, sizeof(store), "sqlite:%s/aiki.db", d->data);
    (void)cli_sibling("aiki-server", "server", path);
    words_clear(w);
    words_add(w, path[0] != '\0' ? path : "aiki-server", "--listen", d->rpc, "--http", d->http,
              "--store", store, "--redis", d->redis_url, "--ready-fd", "3", NULL);
}

static void runtime_words(struct dev *d)
{
    char path[CLI_PATH_SIZE], state[PATH_MAX + 32];
    struct words *w = &d->runtime.words;
    snprintf(state, sizeof(state), "%s/runtime", d->data);
    (void)cli_sibling("aiki-runtime", "runtime", path);
    words_clear(w);
    words_add(w, path[0] != '\0' ? path : "aiki-runtime", "--plugins", d->plugins, "--server",
              d->rpc, "--redis", d->redis_url, "--state", state, "--ready-fd", "3", NULL);
    if (args_has(&d->cli->args, "slots"))
        words_add(w, "--slots", args_text(&d->cli->args, "slots"), NULL);
}

/* ---- running ------------------------------------------------------------------------------ */

static void stop_next(struct dev *d);

static void stop(struct dev *d, int exit_code)
{
    if (d->state == STOPPING)
        return;
    d->state = STOPPING;
    d->exit_code = exit_code;
    builder_stop(d->builder);
    stop_next(d);
}

static void start_part(struct dev *d, struct part *p)
{
    if (part_start(p, &d->err) != AIKI_OK)
        stop(d, cli_fail(d->cli, d->err.status, &d->err));
}

static void tell_parent(struct dev *d, int fd)
{
    char line[512];
    int size = snprintf(line, sizeof(line),
                        "{\"rpc\":\"%s\",\"http\":\"%s\",\"pid\":{\"server\":%d,\"runtime\":%d,"
                        "\"redis\":%d}}\n",
                        d->rpc, d->http, d->server.pid, d->runtime.pid, d->redis.pid);
    if (write(fd, line, (size_t)size) != size)
        log_warn("ready", "nobody reads --ready-fd %d", fd);
    close(fd);
}

static void tell_user(const struct dev *d)
{
    if (d->cli->json) {
        printf("{\"rpc\":\"%s\",\"http\":\"%s\",\"redis\":\"%s\",\"ready_ms\":%lld}\n", d->rpc,
               d->http, d->redis_url, (long long)(clock_mono_ms() - d->began_mono_ms));
    } else {
        printf("%saiki dev%s is ready after %lld ms; Ctrl-C stops it\n", out_bold(), out_plain(),
               (long long)(clock_mono_ms() - d->began_mono_ms));
        printf("  plugins   %s   drop .so files here\n", d->plugins);
        if (d->builder != NULL)
            printf("  sources   %s   each .c is built into a plugin when it changes\n",
                   args_text(&d->cli->args, "sources"));
        bool usual = strcmp(d->rpc, DEFAULT_RPC) == 0;
        printf("  commands  %s%s%saiki workflows list\n",
               usual ? "" : "AIKI_SERVER=", usual ? "" : d->rpc, usual ? "" : " ");
        printf("  clients   aiki://%s\n  dashboard http://%s/\n  HTTP API  http://%s/v1\n"
               "  data      %s\n",
               d->rpc, d->http, d->http, d->data);
    }
    fflush(stdout);
}

/* Restarted parts find each other by themselves; only the first time there is an order. */
static void on_redis_ready(struct part *p, const char *line, void *arg)
{
    struct dev *d = arg;
    (void)p;
    (void)line;
    if (d->state == STARTING && d->server.pid == 0)
        start_part(d, &d->server);
}

static void copy_address(char ret[ADDRESS_SIZE], aiki_view document, const char *key)
{
    aiki_view text = doc_text(document, key);
    if (text.size_bytes > 0 && text.size_bytes < ADDRESS_SIZE)
        snprintf(ret, ADDRESS_SIZE, "%.*s", (int)text.size_bytes, (const char *)text.data);
}

static void on_server_ready(struct part *p, const char *line, void *arg)
{
    struct dev *d = arg;
    AUTO(buf) aiki_writer w;
    (void)p;
    buf_init(&w);
    if (json_to_msgpack(view_of(line), &w, &d->err) != AIKI_OK) {
        log_error("server", "its ready line is no JSON: %s", d->err.message);
        stop(d, EXIT_INCOMPLETE);
        return;
    }
    copy_address(d->rpc, aiki_writer_view(&w), "rpc");
    copy_address(d->http, aiki_writer_view(&w), "http");
    server_words(d);
    if (d->state == STARTING && d->runtime.pid == 0) {
        runtime_words(d);
        start_part(d, &d->runtime);
    }
}

static void on_runtime_ready(struct part *p, const char *line, void *arg)
{
    struct dev *d = arg;
    (void)p;
    (void)line;
    if (d->state != STARTING)
        return;
    d->state = READY;
    tell_user(d);
    if (args_has(&d->cli->args, "ready-fd"))
        tell_parent(d, (int)args_int(&d->cli->args, "ready-fd"));
}

static void on_ended(struct part *p, int wait_status, bool may_restart, void *arg)
{
    struct dev *d = arg;
    char how[128];
    (void)process_end_text(wait_status, how, sizeof(how));
    if (d->state == STOPPING) {
        stop_next(d);
    } else if (may_restart) {
        log_warn(p->name, "ended (%s) and is started again", how);
    } else {
        log_error(p->name, "ended before it was ready: %s%s%s", how,
                  p->ready_phrase != NULL ? "; its last line: " : "",
                  p->ready_phrase != NULL ? p->last_line : "");
        stop(d, EXIT_INCOMPLETE);
    }
}

/* ---- stopping ----------------------------------------------------------------------------- */

static void close_all(struct dev *d)
{
    part_close(&d->redis);
    part_close(&d->server);
    part_close(&d->runtime);
    builder_close(d->builder);
    uv_close((uv_handle_t *)&d->on_child, NULL);
    uv_close((uv_handle_t *)&d->on_int, NULL);
    uv_close((uv_handle_t *)&d->on_term, NULL);
}

/* Called again each time a part has ended. */
static void stop_next(struct dev *d)
{
    struct part *const order[] = {&d->runtime, &d->server, &d->redis};
    for (size_t i = 0; i < ARRAY_COUNT(order); i++)
        if (part_stop(order[i], GRACE_MS))
            return;
    close_all(d);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct dev *d = handle->data;
    (void)number;
    if (d->state != STOPPING) {
        stop(d, EXIT_OK);
        return;
    }
    (void)part_stop(&d->runtime, 0); /* a second Ctrl-C is impatience */
    (void)part_stop(&d->server, 0);
    (void)part_stop(&d->redis, 0);
}

static void on_child_signal(uv_signal_t *handle, int number)
{
    struct dev *d = handle->data;
    (void)number;
    part_reap(&d->redis);
    part_reap(&d->server);
    part_reap(&d->runtime);
}

static void watch_signal(struct dev *d, uv_signal_t *handle, uv_signal_cb cb, int number)
{
    uv_signal_init(&d->loop, handle);
    handle->data = d;
    uv_signal_start(handle, cb, number);
}

static void init_part(struct dev *d, struct part *p, const char *name,
                      void (*on_ready)(struct part *p, const char *line, void *arg))
{
    p->name = name;
    p->on_ready = on_ready;
    p->on_ended = on_ended;
    p->arg = d;
    part_init(p, &d->loop);
}

static void run(struct dev *d)
{
    uv_loop_init(&d->loop);
    watch_signal(d, &d->on_child, on_child_signal, SIGCHLD);
    watch_signal(d, &d->on_int, on_signal, SIGINT);
    watch_signal(d, &d->on_term, on_signal, SIGTERM);
    init_part(d, &d->redis, "redis", on_redis_ready);
    init_part(d, &d->server, "server", on_server_ready);
    init_part(d, &d->runtime, "runtime", on_runtime_ready);
    d->redis.ready_phrase = "eady to accept connections";
    server_words(d);
    if (d->own_redis)
        redis_words(d);
    start_part(d, d->own_redis ? &d->redis : &d->server);
    const char *sources = args_text(&d->cli->args, "sources");
    if (sources != NULL &&
        builder_start(&d->builder, &d->loop, sources, d->plugins, &d->err) != AIKI_OK)
        stop(d, cli_fail(d->cli, d->err.status, &d->err));
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
}

static void clean_up(struct dev *d)
{
    if (d->own_redis && d->socket[0] != '\0')
        (void)unlink(d->socket);
    if (d->socket_folder[0] != '\0')
        (void)rmdir(d->socket_folder);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
}

static int run_dev(struct cli *cli)
{
    struct dev *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return cli_fail(cli, AIKI_NOMEM, NULL);
    d->cli = cli;
    d->lock_fd = -1;
    d->began_mono_ms = clock_mono_ms();
    d->err.struct_size = sizeof(d->err);
    log_init("dev", LOG_INFO);
    if (args_has(&cli->args, "ready-fd")) /* the parts must not keep it open */
        (void)fcntl((int)args_int(&cli->args, "ready-fd"), F_SETFD, FD_CLOEXEC);
    aiki_status st = prepare(d, &d->err);
    if (st == AIKI_OK)
        run(d);
    else
        d->exit_code = cli_fail(cli, st, &d->err);
    clean_up(d);
    int code = d->exit_code;
    free(d);
    return code;
}

/* clang-format off */
static const struct arg dev_args[] = {
    {ARG_TEXT, "plugins", "DIR", "plugins", NULL, "the folder of .so files to serve", 0, 0},
    {ARG_TEXT, "sources", "DIR", NULL, NULL, "build each .c file of this folder into a plugin, again when it changes",
     0, 0},
    {ARG_TEXT, "data", "DIR", ".aiki", NULL, "where runs are kept", 0, 0},
    {ARG_TEXT, "redis", "URL", NULL, NULL, "use this Redis instead of a private one", 0, 0},
    {ARG_TEXT, "listen", "HOST:PORT", NULL, NULL,
     "for clients; :0 takes a free port (default " DEFAULT_RPC ")", 0, 0},
    {ARG_TEXT, "http", "HOST:PORT", NULL, NULL,
     "for curl; :0 takes a free port (default " DEFAULT_HTTP ")", 0, 0},
    {ARG_INT, "slots", "N", NULL, NULL, "runs that execute at the same time", 1, 1000000},
    {ARG_INT, "ready-fd", "N", NULL, NULL,
     "write one line of JSON there once everything serves", 3, 65535},
    {.type = ARG_END}};

const struct command cmd_dev = {
    .name = "dev", .operands = "", .args = dev_args, .is_local = true,
    .summary = "run everything on this machine until Ctrl-C",
    .examples = "aiki dev --plugins build/plugins --data .aiki\n"
                "aiki dev --plugins /tmp/plugins --sources src\n"
                "aiki dev --plugins DIR --data DIR --listen :0 --http :0 --json",
    .run = run_dev};
/* clang-format on */

/* private_stack.c - see private_stack.h.
 *
 *   this process: folder --> aiki dev (its own process group) --ready line--> child: fn
 *                 wait for the child --> SIGTERM to aiki dev --> remove the folder
 *
 * Ctrl-C reaches this process and the child; the child dies of it and this one cleans up.
 */
#include "private_stack.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "doc.h"
#include "process.h"
#include "version.h"
#include "wire/error.h"

enum { READY_MS_MAX = 20000, PATH_SIZE = CLI_PATH_SIZE, TREE_DEPTH = 16 };

struct stack {
    char folder[PATH_SIZE]; /* "" until made */
    char plugins[PATH_SIZE];
    char log[PATH_SIZE];
    char server[128]; /* HOST:PORT */
    struct words words;
    pid_t pid;       /* of aiki dev; 0 = not running */
    int signal_fd;   /* SIGINT, SIGTERM and SIGCHLD; -1 until open */
    int interrupted; /* by this signal; 0 = not */
};

/* ---- signals ------------------------------------------------------------------------------ */

/* They are read rather than handled, so that none falls between a look and a wait. */
static aiki_status open_signals(struct stack *s, aiki_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL); /* fails for a bad argument only */
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (s->signal_fd < 0)
        return error_set(err, AIKI_NOMEM, "signalfd: %s", strerror(errno));
    return AIKI_OK;
}

/* Blocks until there is one. */
static void take_signal(struct stack *s)
{
    struct signalfd_siginfo info;
    if (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
        info.ssi_signo != SIGCHLD)
        s->interrupted = (int)info.ssi_signo;
}

/* ---- the folder --------------------------------------------------------------------------- */

static aiki_status copy_file(const char *from, const char *to, aiki_error *err)
{
    char chunk[65536];
    ssize_t n;
    AUTO(close_fd) int in = open(from, O_RDONLY | O_CLOEXEC);
    AUTO(close_fd) int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (in < 0 || out < 0)
        return error_set(err, AIKI_INVALID, "%s: %s", in < 0 ? from : to, strerror(errno));
    while ((n = read(in, chunk, sizeof(chunk))) > 0)
        if (write(out, chunk, (size_t)n) != n)
            return error_set(err, AIKI_INVALID, "%s: %s", to, strerror(errno));
    return n == 0 ? AIKI_OK : error_set(err, AIKI_INVALID, "%s: %s", from, strerror(errno));
}

/* Installed, or in the build tree. */
static aiki_status copy_plugin(const struct stack *s, aiki_error *err)
{
    char from[CLI_PATH_SIZE], to[PATH_SIZE + 16];
    const char *path = cli_sibling("bench.so", "plugins/bench", from);
    if (path[0] == '\0')
        path = AIKI_PLUGIN_DIR "/bench.so";
    if (access(path, R_OK) != 0)
        return error_set(err, AIKI_NOT_FOUND, "plugin bench is not installed: %s: %s", path,
                         strerror(errno));
    snprintf(to, sizeof(to), "%s/bench.so", s->plugins);
    return copy_file(path, to, err);
}

static aiki_status make_folder(struct stack *s, const char *under, aiki_error *err)
{
    const char *temporary = getenv("TMPDIR");
    if (under == NULL)
        under = temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp";
    if (snprintf(s->folder, sizeof(s->folder), "%s/aiki-bench-XXXXXX", under) >= PATH_SIZE - 32)
        return error_set(err, AIKI_LIMIT, "the path is too long: %.100s", under);
    if (mkdtemp(s->folder) == NULL) {
        s->folder[0] = '\0';
        return error_set(err, AIKI_INVALID, "cannot make a folder in %s: %s", under,
                         strerror(errno));
    }
    snprintf(s->plugins, sizeof(s->plugins), "%.*s/plugins", PATH_SIZE - 32, s->folder);
    snprintf(s->log, sizeof(s->log), "%.*s/log", PATH_SIZE - 32, s->folder);
    if (mkdir(s->plugins, 0700) != 0)
        return error_set(err, AIKI_INVALID, "%s: %s", s->plugins, strerror(errno));
    return copy_plugin(s, err);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path); /* what stays is seen by the folder above */
    return 0;
}

static void remove_folder(const struct stack *s)
{
    if (s->folder[0] == '\0')
        return;
    (void)nftw(s->folder, remove_entry, TREE_DEPTH, FTW_DEPTH | FTW_PHYS);
    if (access(s->folder, F_OK) == 0)
        fprintf(stderr, "aiki: %s could not be removed\n", s->folder);
}

/* ---- the stack ---------------------------------------------------------------------------- */

static aiki_status start_stack(struct stack *s, int ready_fd, aiki_error *err)
{
    char self[PATH_SIZE], data[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return error_set(err, AIKI_INTERNAL, "/proc/self/exe: %s", strerror(errno));
    self[n] = '\0';
    snprintf(data, sizeof(data), "%.*s/data", PATH_SIZE - 32, s->folder);
    AUTO(close_fd) int log_fd = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return error_set(err, AIKI_INVALID, "%s: %s", s->log, strerror(errno));
    words_add(&s->words, self, "dev", "--plugins", s->plugins, "--data", data, "--listen",
              "127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-fd", "3", NULL);
    return process_start(
        &s->words, &(struct process_io){.ready_fd = ready_fd, .out_fd = log_fd, .err_fd = log_fd},
        &s->pid, err);
}

/* Reads the ready line; false when the stack ended or is late, or a signal came. */
static bool read_ready_line(struct stack *s, int fd, char *line, size_t size)
{
    int64_t deadline_ms = clock_mono_ms() + READY_MS_MAX;
    size_t used = 0;
    while (used < size - 1 && s->interrupted == 0) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = s->signal_fd, .events = POLLIN}};
        if (left_ms <= 0 || poll(p, ARRAY_COUNT(p), (int)left_ms) <= 0)
            return false;
        if (p[1].revents != 0)
            take_signal(s);
        if (p[0].revents == 0)
            continue;
        ssize_t n = read(fd, line + used, size - 1 - used);
        if (n <= 0)
            return false;
        used += (size_t)n;
        line[used] = '\0';
        if (line[used - 1] == '\n')
            return true;
    }
    return false;
}

static void show_log(const struct stack *s)
{
    char line[1024];
    FILE *f = fopen(s->log, "re");
    if (f == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL)
        fprintf(stderr, "  %s", line);
    fclose(f);
}

static aiki_status await_stack(struct stack *s, int fd, aiki_error *err)
{
    char line[1024];
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    bool ready = read_ready_line(s, fd, line, sizeof(line));
    if (s->interrupted != 0)
        return error_set(err, AIKI_CANCELLED, "interrupted");
    if (!ready) {
        show_log(s);
        return error_code(err, AIKI_FAILED, "STACK_FAILED",
                          "the private stack did not start; its log is above");
    }
    aiki_status st = json_to_msgpack(view_of(line), &w, err);
    aiki_view rpc = st == AIKI_OK ? doc_text(aiki_writer_view(&w), "rpc") : (aiki_view){NULL, 0};
    snprintf(s->server, sizeof(s->server), "%.*s", (int)rpc.size_bytes,
             rpc.data != NULL ? (const char *)rpc.data : "");
    return st;
}

static void stop_stack(struct stack *s)
{
    if (s->pid > 0) {
        (void)kill(s->pid, SIGTERM);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    words_clear(&s->words);
}

/* ---- the work ----------------------------------------------------------------------------- */

static int child_main(struct cli *cli, const struct stack *s, int (*fn)(struct cli *cli))
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setenv("AIKI_SERVER", s->server, 1);
    int code = fn(cli);
    aiki_client_close(cli->client);
    return fflush(stdout) == 0 ? code : EXIT_INCOMPLETE;
}

static int run_in_child(struct cli *cli, struct stack *s, int (*fn)(struct cli *cli))
{
    int wait_status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(child_main(cli, s, fn));
    if (pid < 0)
        return cli_fail(cli, error_set(&cli->err, AIKI_NOMEM, "fork: %s", strerror(errno)),
                        &cli->err);
    while (waitpid(pid, &wait_status, WNOHANG) != pid) {
        take_signal(s);
        if (s->interrupted != 0)
            (void)kill(pid, SIGTERM);
    }
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : EXIT_INCOMPLETE;
}

static aiki_status bring_up(struct stack *s, const char *under, aiki_error *err)
{
    int ends[2];
    aiki_status st = open_signals(s, err);
    if (st == AIKI_OK)
        st = make_folder(s, under, err);
    if (st != AIKI_OK)
        return st;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, AIKI_NOMEM, "no pipe: %s", strerror(errno));
    AUTO(close_fd) int read_end = ends[0];
    {
        AUTO(close_fd) int write_end = ends[1]; /* closed before reading: an end must show */
        st = start_stack(s, write_end, err);
    }
    return st == AIKI_OK ? await_stack(s, read_end, err) : st;
}

int private_stack_run(struct cli *cli, const char *under, int (*fn)(struct cli *cli))
{
    struct stack *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return cli_fail(cli, AIKI_NOMEM, NULL);
    s->signal_fd = -1;
    aiki_status st = bring_up(s, under, &cli->err);
    int code = EXIT_OK;
    if (st == AIKI_OK)
        code = run_in_child(cli, s, fn);
    else if (s->interrupted == 0)
        code = cli_fail(cli, st, &cli->err);
    stop_stack(s);
    remove_folder(s);
    if (s->interrupted != 0)
        code = 128 + s->interrupted;
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    free(s);
    return code;
}

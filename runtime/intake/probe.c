/* probe.c - start the process, ask, listen to answer and output until one of them decides, end it.
 *
 *   spawn --> PROBE --> poll: answer? end of file? too much output? PROBE_MS over? --> kill --> wait
 *
 * Killed in any case, with its process group: what a constructor started is not to outlive the verdict.
 * A process that has begun to exit keeps the status it exits with, so killing it late changes nothing.
 */
#include "intake/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/child_env.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/reach.h"
#include "base/sandbox.h"
#include "base/sibling.h"
#include "base/usage.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/message.h"

enum { TOKEN_BYTES = 16, TAIL_BYTES = 120, READ_BYTES = 16 * 1024, PROBE_FD = 3 };

enum ending { ANSWERED, ENDED, SPOKE_NONSENSE, PRINTED_TOO_MUCH, TOOK_TOO_LONG, USED_TOO_MUCH };

struct probe {
    pid_t pid;
    int line, output;          /* ours; -1 once at its end */
    uint8_t token[TOKEN_BYTES];
    uint64_t step;             /* PROBE_*, as it said last */
    uint64_t refused;          /* 1 + the system call that was its end; 0: none */
    bool reaches;              /* ... as it is about other processes */
    int64_t cpu_s;             /* used, once it is dead */
    struct meter meter;
    struct limit_hit hit;      /* of USED_TOO_MUCH */
    uint64_t printed_bytes;
    char tail[TAIL_BYTES + 1]; /* the last that it printed */
    size_t tail_bytes;
    aiki_writer in;            /* a frame in the making */
    aiki_status refusal;       /* REFUSED came, its reason is in *err */
    struct probe_answer *answer;
    aiki_error *err;
};

void probe_answer_init(struct probe_answer *a)
{
    *a = (struct probe_answer){.descriptor = {NULL, 0}};
    buf_init(&a->bytes);
}

void probe_answer_deinit(struct probe_answer *a)
{
    buf_deinit(&a->bytes);
}

/* ---- starting ------------------------------------------------------------------------------ */

/* Its standard input has a few bytes to read, so that reading it shows. */
static int open_input(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    ssize_t n = write(ends[1], "\n\n\n\n", 4);
    close(ends[1]);
    if (n == 4)
        return ends[0];
    close(ends[0]);
    return -1;
}

static int spawn(struct probe *p, const char *executable, const int ends[3])
{
    char *args[] = {"aiki-child", "--probe", "3", (char *)sibling_release(), NULL};
    AUTO(free) char **env = child_environment();
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    if (env == NULL || posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    int rc = posix_spawnattr_init(&attributes);
    if (rc != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGXFSZ); /* which the runtime ignores; here it ends who writes without end */
    (void)posix_spawnattr_setsigdefault(&attributes, &usual);
    (void)posix_spawnattr_setflags(&attributes,
                                   POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if ((rc = posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&actions, ends[2], PROBE_FD)) == 0)
        rc = posix_spawn(&p->pid, executable, &actions, &attributes, args, env);
    if (rc == 0)
        child_give_way(p->pid);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Not one of 0 to 3, which the file actions fill one after the other. */
static bool above_fixed(int *fd)
{
    if (*fd < 0 || *fd > PROBE_FD)
        return *fd >= 0;
    int higher = fcntl(*fd, F_DUPFD_CLOEXEC, PROBE_FD + 1);
    close(*fd);
    *fd = higher;
    return higher >= 0;
}

static aiki_status start(struct probe *p, const char *executable, aiki_error *err)
{
    AUTO(close_fd) int input = open_input();
    AUTO(close_fd) int output = -1;
    AUTO(close_fd) int line = -1;
    int pipe_ends[2], line_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) == 0) {
        p->output = pipe_ends[0];
        output = pipe_ends[1];
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line_ends) == 0) {
        p->line = line_ends[0];
        line = line_ends[1];
    }
    if (!above_fixed(&input) || !above_fixed(&output) || !above_fixed(&line))
        return error_code(err, AIKI_LIMIT, "NO_DESCRIPTORS", "probe: %s; raise ulimit -n",
                          strerror(errno));
    int rc = spawn(p, executable, (int[]){input, output, line});
    if (rc != 0)
        return error_code(err, AIKI_UNAVAILABLE, "SPAWN", "cannot start a process to probe it: %s",
                          strerror(rc));
    return AIKI_OK;
}

static bool ask(struct probe *p, const struct probe_options *o)
{
    AUTO(buf) aiki_writer w;
    const struct msg_PROBE m = {.path = view_of(o->path),
                                .token = {p->token, TOKEN_BYTES},
                                .cpu_s = PROBE_CPU_S,
                                .sandbox = o->sandbox,
                                .files_max = o->limits.of[LIMIT_FILES]};
    buf_init(&w);
    uint64_t at = frame_begin(&w);
    msg_PROBE_write(&w, &m);
    if (frame_end(&w, at, WIRE_PROBE, 0) != AIKI_OK)
        return false;
    aiki_view v = aiki_writer_view(&w); /* far smaller than a socket's buffer */
    return send(p->line, v.data, v.size_bytes, MSG_NOSIGNAL) == (ssize_t)v.size_bytes;
}

/* ---- listening ----------------------------------------------------------------------------- */

static bool take_answer(struct probe *p, const struct frame *f)
{
    struct msg_PROBED m;
    struct probe_answer *a = p->answer;
    aiki_mp_raw(&a->bytes, f->payload.data, f->payload.size_bytes);
    if (msg_PROBED_read(aiki_writer_view(&a->bytes), &m, p->err) != AIKI_OK ||
        !view_equal(m.token, (aiki_view){p->token, TOKEN_BYTES}))
        return false;
    a->descriptor = m.descriptor;
    a->entries = m.entries;
    return true;
}

static bool take_refusal(struct probe *p, const struct frame *f)
{
    struct msg_REFUSED m;
    if (msg_REFUSED_read(f->payload, &m, p->err) != AIKI_OK ||
        error_read(m.error, p->err, NULL, NULL) != AIKI_OK)
        return false;
    p->refusal = p->err->status;
    return p->refusal != AIKI_OK;
}

static bool take_step(struct probe *p, const struct frame *f)
{
    struct msg_PROBE_STEP m;
    if (msg_PROBE_STEP_read(f->payload, &m, p->err) != AIKI_OK)
        return false;
    p->step = m.step;
    p->refused = m.refused;
    p->reaches = m.reaches;
    return true;
}

/* False when listening goes on. */
static bool take_frames(struct probe *p, enum ending *ret)
{
    struct frame f;
    uint64_t size;
    aiki_status st;
    while ((st = frame_read(aiki_writer_view(&p->in), &f, &size, p->err)) == AIKI_OK) {
        bool last = f.type == WIRE_PROBED || f.type == WIRE_REFUSED, sound = false;
        if (f.type == WIRE_PROBED)
            sound = take_answer(p, &f);
        else if (f.type == WIRE_REFUSED)
            sound = take_refusal(p, &f);
        else if (f.type == WIRE_PROBE_STEP)
            sound = take_step(p, &f);
        *ret = sound ? ANSWERED : SPOKE_NONSENSE;
        if (last || !sound)
            return true;
        buf_consume(&p->in, size);
    }
    *ret = SPOKE_NONSENSE;
    return st != AIKI_PENDING || p->in.size_bytes > PROBE_ANSWER_BYTES_MAX;
}

static bool hear(struct probe *p, enum ending *ret)
{
    char chunk[READ_BYTES];
    ssize_t n = read(p->line, chunk, sizeof(chunk));
    *ret = ENDED;
    if (n == 0 || (n < 0 && errno != EINTR))
        return true;
    if (n > 0)
        aiki_mp_raw(&p->in, chunk, (uint64_t)n);
    return take_frames(p, ret);
}

static void keep_tail(struct probe *p, const char *text, size_t size)
{
    if (size > TAIL_BYTES) {
        text += size - TAIL_BYTES;
        size = TAIL_BYTES;
    }
    size_t keep = p->tail_bytes + size > TAIL_BYTES ? TAIL_BYTES - size : p->tail_bytes;
    memmove(p->tail, p->tail + p->tail_bytes - keep, keep);
    memcpy(p->tail + keep, text, size);
    p->tail_bytes = keep + size;
}

/* True when it has printed too much. */
static bool overhear(struct probe *p)
{
    char chunk[READ_BYTES];
    ssize_t n = read(p->output, chunk, sizeof(chunk));
    if (n <= 0) {
        if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            close(p->output);
            p->output = -1;
        }
        return false;
    }
    keep_tail(p, chunk, (size_t)n);
    p->printed_bytes += (uint64_t)n;
    return p->printed_bytes > PROBE_OUTPUT_BYTES_MAX;
}

static bool uses_too_much(struct probe *p)
{
    return meter_look(&p->meter, p->pid, NULL, &p->hit) && p->hit.over;
}

static enum ending listen_to(struct probe *p)
{
    int64_t now_ms = clock_mono_ms(), until_ms = now_ms + PROBE_MS, look_ms = now_ms + PROBE_LOOK_MS;
    enum ending ending;
    for (;; now_ms = clock_mono_ms()) {
        struct pollfd fds[2] = {{.fd = p->line, .events = POLLIN},
                                {.fd = p->output, .events = POLLIN}};
        if (now_ms >= until_ms)
            return TOOK_TOO_LONG;
        if (now_ms >= look_ms && uses_too_much(p))
            return USED_TOO_MUCH;
        if (now_ms >= look_ms)
            look_ms = now_ms + PROBE_LOOK_MS;
        if (poll(fds, 2, (int)((look_ms < until_ms ? look_ms : until_ms) - now_ms)) < 0 && errno != EINTR)
            return ENDED;
        if (fds[1].revents != 0 && overhear(p))
            return PRINTED_TOO_MUCH;
        if (fds[0].revents != 0 && hear(p, &ending))
            return ending == ANSWERED && p->refusal == AIKI_OK && uses_too_much(p) ? USED_TOO_MUCH : ending;
    }
}

/* ---- the verdict --------------------------------------------------------------------------- */

static int end_process(struct probe *p)
{
    int status = 0;
    (void)kill(-p->pid, SIGKILL); /* ESRCH: it has not come to setsid yet */
    (void)kill(p->pid, SIGKILL);
    struct rusage used = {.ru_nvcsw = 0};
    while (wait4(p->pid, &status, 0, &used) < 0 && errno == EINTR)
        continue;
    p->cpu_s = used.ru_utime.tv_sec + used.ru_stime.tv_sec;
    /* Dead: what it printed last is all there. Somebody else may still hold the pipe. */
    (void)fcntl(p->output, F_SETFL, O_NONBLOCK);
    while (p->output >= 0 && p->printed_bytes <= PROBE_OUTPUT_BYTES_MAX) {
        uint64_t before = p->printed_bytes;
        (void)overhear(p);
        if (p->printed_bytes == before)
            break;
    }
    return status;
}

/* "; it printed: ..." of the last line. */
static const char *last_words(struct probe *p, char buffer[TAIL_BYTES + 32])
{
    while (p->tail_bytes > 0 && p->tail[p->tail_bytes - 1] == '\n')
        p->tail_bytes--;
    p->tail[p->tail_bytes] = '\0';
    const char *line = strrchr(p->tail, '\n');
    line = line != NULL ? line + 1 : p->tail;
    snprintf(buffer, TAIL_BYTES + 32, "%s%s", line[0] != '\0' ? "; it printed: " : "", line);
    return buffer;
}

static aiki_status blame_use(struct probe *p)
{
    char text[LIMIT_TEXT_SIZE];
    return error_code(p->err, AIKI_LIMIT, "LOAD_LIMIT",
                      "it has %s, when it is only loaded; let it take less, or raise that setting for its file",
                      limit_text(&p->hit, text));
}

static aiki_status blame_reach(struct probe *p, uint32_t system_call, const char *when)
{
    const char *name = reach_call_name(system_call);
    return error_code(p->err, AIKI_CRASHED, "LOAD_REACHES_OUT",
                      "it does something to another process (%s) while %s; leave the others alone there",
                      name != NULL ? name : "?", when);
}

static aiki_status blame_death(struct probe *p, int status, const char *when)
{
    char said[TAIL_BYTES + 32], explained[SANDBOX_EXPLAIN_SIZE];
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal == SIGXCPU || (signal == SIGKILL && p->cpu_s >= PROBE_CPU_S))
        return error_code(p->err, AIKI_CRASHED, "LOAD_TIMEOUT",
                          "it used up the time of a probe (PROBE_CPU_S) while %s; look for a loop "
                          "there",
                          when);
    if (signal == SIGSYS && p->reaches && p->refused <= UINT32_MAX)
        return blame_reach(p, (uint32_t)p->refused - 1, when);
    if (signal == SIGSYS && p->refused != 0 && p->refused <= UINT32_MAX)
        return error_code(p->err, AIKI_CRASHED, "SANDBOX_REFUSED", "it %s; that was while %s",
                          sandbox_explain((uint32_t)p->refused - 1, explained), when);
    if (signal == SIGSYS)
        return error_code(p->err, AIKI_CRASHED, "LOAD_STARTS_PROCESS",
                          "it starts a process (fork, exec), or does something to another one with its signals blocked, "
                          "while %s; leave that to its tasks", when);
    if (signal == 0)
        return error_code(p->err, AIKI_CRASHED, "LOAD_EXITED",
                          "it ended its process with code %d while %s; let it return instead%s",
                          WEXITSTATUS(status), when, last_words(p, said));
    return error_code(p->err, AIKI_CRASHED, "LOAD_CRASHED",
                      "its process was killed by signal %d (%s) while %s; look there%s", signal,
                      strsignal(signal), when, last_words(p, said));
}

static aiki_status blame(struct probe *p, enum ending ending, int status)
{
    static const char *const whens[] = {
        [PROBE_STARTS] = "the probe started",
        [PROBE_OPENS] = "its constructors ran",
        [PROBE_ASKS] = "its entry function ran",
        [PROBE_READS] = "its tables were read",
    };
    const char *when = whens[p->step < ARRAY_COUNT(whens) ? p->step : PROBE_STARTS];
    switch (ending) {
    case TOOK_TOO_LONG:
        return error_code(p->err, AIKI_CRASHED, "LOAD_TIMEOUT",
                          "it took longer than PROBE_MS (%d ms) while %s; look for what waits there",
                          PROBE_MS, when);
    case PRINTED_TOO_MUCH:
        return error_code(p->err, AIKI_CRASHED, "LOAD_PRINTS",
                          "it printed over PROBE_OUTPUT_BYTES_MAX (%d bytes) while %s; let it be "
                          "quiet then",
                          PROBE_OUTPUT_BYTES_MAX, when);
    case SPOKE_NONSENSE:
        return error_code(p->err, AIKI_CRASHED, "LOAD_CRASHED",
                          "it wrote to a descriptor that is not its own while %s; look there", when);
    case USED_TOO_MUCH: return blame_use(p);
    case ANSWERED:
    case ENDED: break;
    }
    return blame_death(p, status, when);
}

aiki_status probe_run(const struct probe_options *o, struct probe_answer *ret, aiki_error *err)
{
    aiki_error unwanted = AIKI_ERROR_INIT;
    struct probe p = {.line = -1, .output = -1, .answer = ret,
                      .meter = {.since_mono_ms = clock_mono_ms(), .limits = o->limits},
                      .err = err != NULL ? err : &unwanted};
    /* Of time and work it has limits of its own. */
    p.meter.limits.of[LIMIT_CPU] = p.meter.limits.of[LIMIT_TASKS] = p.meter.limits.of[LIMIT_AGE] = 0;
    buf_init(&p.in);
    aiki_status st = AIKI_OK;
    if (getrandom(p.token, TOKEN_BYTES, 0) != TOKEN_BYTES)
        st = error_set(err, AIKI_INTERNAL, "no random token: %s", strerror(errno));
    if (st == AIKI_OK)
        st = start(&p, o->executable, err);
    if (st == AIKI_OK) {
        enum ending ending = ask(&p, o) ? listen_to(&p) : ENDED;
        int status = end_process(&p);
        if (ending != ANSWERED)
            st = blame(&p, ending, status);
        else
            st = p.refusal;
    }
    buf_deinit(&p.in);
    cleanup_close_fd(&p.line);
    cleanup_close_fd(&p.output);
    return st;
}

/* proc.c - spawn, load, watch and bury one child process.
 *
 *   spawn --> LOADING --READY--> SERVING --socket or process ends--> ENDING --> on_gone
 *                |                                                     ^
 *                +--REFUSED, PROC_LOAD_MS, socket or process ends------+
 *
 * A death shows twice: as the end of its socket and as its exit status, in any order. on_gone
 * waits for both, so that the last APPEND it wrote is relayed before its runs are given back.
 * If one of the two does not come (a forked grandchild holds the socket, the process ignores
 * the loss of it) PROC_EXIT_MS ends the wait.
 */
#include "broker/proc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/child_env.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/error.h"
#include "wire/message.h"

enum state { LOADING, SERVING, ENDING };

/* stdout or stderr, cut into lines. */
struct output {
    struct proc *proc;
    uv_pipe_t pipe;
    char line[PROC_LINE_BYTES_MAX];
    size_t size_bytes;
};

struct proc {
    uv_loop_t *loop;
    struct proc_callbacks cb;
    void *arg;
    char label[128];
    enum state state;
    struct conn *conn; /* NULL once closed */
    uv_process_t process;
    uv_timer_t timer; /* load limit, then exit limit */
    struct output out, err;
    unsigned open_handles;
    bool exited;
    bool stillborn; /* proc_spawn failed and has said so; nobody waits for on_gone */
    struct proc_end end;
    struct blame_page *page; /* owned; end borrows it */
    int64_t since_mono_ms;
    /* log rate: lines in the second that began at window_mono_ms */
    int64_t window_mono_ms;
    unsigned window_lines, dropped_lines;
};

const char *proc_end_text(const struct proc_end *end, char *buffer, size_t size_bytes)
{
    if (end->timed_out)
        snprintf(buffer, size_bytes, "did not load within PROC_LOAD_MS (%d ms)", PROC_LOAD_MS);
    else if (end->signal != 0)
        snprintf(buffer, size_bytes, "killed by signal %d (%s)", end->signal,
                 strsignal(end->signal));
    else
        snprintf(buffer, size_bytes, "exited with code %" PRId64, end->exit_code);
    return buffer;
}

aiki_status proc_load_failure(const struct proc_end *end, aiki_error *err)
{
    char text[128];
    return error_code(err, AIKI_CRASHED, end->timed_out ? "LOAD_TIMEOUT" : "LOAD_CRASHED",
                      "its process %s while loading it; look at its constructors",
                      proc_end_text(end, text, sizeof(text)));
}

struct conn *proc_conn(struct proc *p)
{
    return p->state != ENDING && p->conn != NULL && conn_is_open(p->conn) ? p->conn : NULL;
}

int proc_pid(const struct proc *p)
{
    return p->process.pid;
}

/* ---- log ----------------------------------------------------------------------------------- */

static bool may_log(struct proc *p)
{
    int64_t now_ms = clock_mono_ms();
    if (now_ms - p->window_mono_ms >= 1000) {
        if (p->dropped_lines > 0)
            log_warn(p->label, "%u lines dropped: over PROC_LINES_PER_S (%d)", p->dropped_lines,
                     PROC_LINES_PER_S);
        p->window_mono_ms = now_ms;
        p->window_lines = p->dropped_lines = 0;
    }
    if (p->window_lines++ < PROC_LINES_PER_S)
        return true;
    p->dropped_lines++;
    return false;
}

static void log_line(struct output *o)
{
    if (o->size_bytes > 0 && may_log(o->proc))
        log_info(o->proc->label, "%.*s", (int)o->size_bytes, o->line);
    o->size_bytes = 0;
}

static void on_log(struct proc *p, const struct frame *f)
{
    struct msg_LOG m;
    aiki_error err;
    char run[AIKI_ID_TEXT_SIZE];
    if (msg_LOG_read(f->payload, &m, &err) != AIKI_OK || !may_log(p))
        return; /* a child's log line is worth no more than that */
    int level = m.level <= LOG_ERROR ? (int)m.level : LOG_ERROR;
    int text_bytes =
        m.text.size_bytes < PROC_LINE_BYTES_MAX ? (int)m.text.size_bytes : PROC_LINE_BYTES_MAX;
    if (id_is_zero(&m.run)) {
        log_at(level, p->label, "%.*s", text_bytes, (const char *)m.text.data);
        return;
    }
    id_text(&m.run, run);
    if (m.task.size_bytes == 0)
        log_at(level, p->label, "run %s: %.*s", run, text_bytes, (const char *)m.text.data);
    else
        log_at(level, p->label, "run %s task %.*s attempt %" PRIu64 ": %.*s", run,
               (int)(m.task.size_bytes < 128 ? m.task.size_bytes : 128), (const char *)m.task.data,
               m.attempt, text_bytes, (const char *)m.text.data);
}

/* ---- ending -------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *h)
{
    struct proc *p = h->data;
    if (--p->open_handles > 0)
        return;
    p->end.lived_ms = clock_mono_ms() - p->since_mono_ms;
    if (!p->stillborn)
        p->cb.on_gone(p, &p->end, p->arg);
    blame_destroy(p->page);
    free(p);
}

static void close_handle(struct proc *p, uv_handle_t *h)
{
    h->data = p;
    if (!uv_is_closing(h))
        uv_close(h, on_handle_closed);
}

static void on_exit_limit(uv_timer_t *t)
{
    struct proc *p = container_of(t, struct proc, timer);
    if (!p->exited)
        proc_kill(p);
    else if (p->conn != NULL)
        conn_close(p->conn);
}

/* Socket or process has ended: wait for the other, then take the handles down. */
static void ending(struct proc *p)
{
    p->state = ENDING;
    if (!p->exited || p->conn != NULL) {
        uv_timer_start(&p->timer, on_exit_limit, PROC_EXIT_MS, PROC_EXIT_MS);
        return;
    }
    log_line(&p->out);
    log_line(&p->err);
    close_handle(p, (uv_handle_t *)&p->process);
    close_handle(p, (uv_handle_t *)&p->timer);
    close_handle(p, (uv_handle_t *)&p->out.pipe);
    close_handle(p, (uv_handle_t *)&p->err.pipe);
}

static void drain_output(struct output *o);

static void on_exited(uv_process_t *process, int64_t exit_code, int signal)
{
    struct proc *p = container_of(process, struct proc, process);
    p->exited = true;
    p->end.exit_code = exit_code;
    p->end.signal = signal;
    drain_output(&p->out);
    drain_output(&p->err);
    ending(p);
}

static void on_conn_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct proc *p = arg;
    (void)c;
    if (status == AIKI_CORRUPT || status == AIKI_LIMIT) {
        log_error(p->label, "cut off: %s", why);
        proc_kill(p);
    }
    p->conn = NULL;
    ending(p);
}

void proc_kill(struct proc *p)
{
    if (!p->exited)
        (void)uv_process_kill(&p->process, SIGKILL); /* ESRCH: on_exited is on its way */
}

/* ---- frames -------------------------------------------------------------------------------- */

static void on_ready(struct proc *p, const struct frame *f)
{
    struct msg_READY m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (p->state != LOADING || msg_READY_read(f->payload, &m, &err) != AIKI_OK) {
        log_error(p->label, "unexpected or damaged READY; it is killed");
        proc_kill(p);
        return;
    }
    p->state = SERVING;
    p->end.was_ready = true;
    p->since_mono_ms = clock_mono_ms();
    uv_timer_stop(&p->timer);
    p->cb.on_ready(p, m.descriptor, p->arg);
}

static void on_refused(struct proc *p, const struct frame *f)
{
    struct msg_REFUSED m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (p->state != LOADING || msg_REFUSED_read(f->payload, &m, &err) != AIKI_OK) {
        proc_kill(p);
        return;
    }
    p->cb.on_refused(p, m.error, p->arg);
    conn_close(p->conn); /* it ends when it sees that; else the exit limit comes */
}

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct proc *p = arg;
    (void)c;
    if (f->type == WIRE_READY)
        on_ready(p, f);
    else if (f->type == WIRE_REFUSED)
        on_refused(p, f);
    else if (f->type == WIRE_LOG)
        on_log(p, f);
    else if (p->end.was_ready)
        p->cb.on_frame(p, f, p->arg);
}

/* ---- output -------------------------------------------------------------------------------- */

static void take_output(struct output *o, const char *text, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++) {
        if (text[i] != '\n')
            o->line[o->size_bytes++] = text[i];
        if (text[i] == '\n' || o->size_bytes == sizeof(o->line))
            log_line(o);
    }
}

/* The exit may be known before the last words were read. */
static void drain_output(struct output *o)
{
    char buffer[4096];
    int fd;
    ssize_t n;
    if (uv_fileno((uv_handle_t *)&o->pipe, &fd) != 0)
        return;
    for (int i = 0; i < 16 && (n = read(fd, buffer, sizeof(buffer))) > 0; i++)
        take_output(o, buffer, (size_t)n);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    static char shared[16 * 1024]; /* one loop thread; consumed before the next read */
    (void)h;
    (void)suggested;
    *buf = uv_buf_init(shared, sizeof(shared));
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct output *o = container_of((uv_pipe_t *)s, struct output, pipe);
    if (n > 0)
        take_output(o, buf->base, (size_t)n);
    else if (n < 0)
        uv_read_stop(s);
}

/* ---- spawning ------------------------------------------------------------------------------ */

static void on_load_limit(uv_timer_t *t)
{
    struct proc *p = container_of(t, struct proc, timer);
    p->end.timed_out = true;
    proc_kill(p);
}

static int spawn(struct proc *p, const char *executable, int child_fd, int page_fd)
{
    char *args[] = {"aiki-runtime", "--child", "3", p->label, NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->out.pipe},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->err.pipe},
        {.flags = UV_INHERIT_FD, .data.fd = child_fd},
        {.flags = UV_INHERIT_FD, .data.fd = page_fd},
    };
    char **env = child_environment();
    if (env == NULL)
        return UV_ENOMEM;
    uv_process_options_t options = {.exit_cb = on_exited,
                                    .file = executable,
                                    .args = args,
                                    .env = env,
                                    .stdio = stdio,
                                    .stdio_count = ARRAY_COUNT(stdio)};
    int rc = uv_spawn(p->loop, &p->process, &options);
    free(env);
    return rc;
}

/* The handles exist whether or not the process does (uv_spawn), so they are closed as ever. */
static void bury_stillborn(struct proc *p, bool runs)
{
    p->stillborn = true;
    p->exited = !runs;
    if (p->conn != NULL)
        conn_close(p->conn); /* on_conn_closed goes on */
    else
        ending(p);
}

static const struct conn_callbacks conn_callbacks = {.on_frame = on_frame,
                                                     .on_closed = on_conn_closed};

aiki_status proc_spawn(struct proc **ret, uv_loop_t *loop, struct conn_loop *conns,
                       const struct proc_options *options, const struct proc_callbacks *cb,
                       void *arg, aiki_error *err)
{
    int fds[2];
    struct proc *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return error_set(err, AIKI_NOMEM, "child for %s", options->label);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        free(p);
        return error_code(err, AIKI_LIMIT, "NO_DESCRIPTORS", "child for %s: %s; raise ulimit -n",
                          options->label, strerror(errno));
    }
    AUTO(close_fd) int child_fd = fds[1], page_fd = -1;
    p->page = blame_create(&page_fd);
    if (p->page == NULL) {
        (void)close(fds[0]);
        free(p);
        return error_code(err, AIKI_LIMIT, "NO_DESCRIPTORS", "page of a child for %s: %s; raise ulimit -n",
                          options->label, strerror(errno));
    }
    p->end.page = p->page;
    p->loop = loop;
    p->cb = *cb;
    p->arg = arg;
    p->out.proc = p->err.proc = p;
    p->since_mono_ms = clock_mono_ms();
    snprintf(p->label, sizeof(p->label), "%s", options->label);
    uv_timer_init(loop, &p->timer);
    uv_pipe_init(loop, &p->out.pipe, 0);
    uv_pipe_init(loop, &p->err.pipe, 0);
    p->open_handles = 4;
    p->conn = conn_open_fd(conns, fds[0], &conn_callbacks, p);
    int rc = spawn(p, options->executable, child_fd, page_fd);
    if (rc != 0 || p->conn == NULL) {
        bury_stillborn(p, rc == 0);
        return error_code(err, AIKI_UNAVAILABLE, "SPAWN", "cannot start a child for %s: %s",
                          options->label, rc != 0 ? uv_strerror(rc) : "out of memory");
    }
    if (options->mode == CHILD_GATE)
        child_give_way(p->process.pid);
    uv_read_start((uv_stream_t *)&p->out.pipe, on_alloc, on_output);
    uv_read_start((uv_stream_t *)&p->err.pipe, on_alloc, on_output);
    uv_timer_start(&p->timer, on_load_limit, PROC_LOAD_MS, 0);
    conn_send(p->conn, LOAD, 0, .path = {(const uint8_t *)options->path, strlen(options->path)},
              .build = options->build,
              .file = {(const uint8_t *)options->file, strlen(options->file)},
              .task_threads_max = options->task_threads, .alone = options->alone,
              .wait_timeout_ms = options->wait_timeout_ms, .mode = options->mode,
              .sandbox = options->sandbox);
    *ret = p;
    return AIKI_OK;
}

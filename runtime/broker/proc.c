/* proc.c - spawn, load, watch and bury one child process.
 *
 *   spawn --> LOADING --READY--> SERVING --socket or process ends--> ENDING --> on_gone
 *                |                                                     ^
 *                +--REFUSED, PROC_LOAD_MS, socket or process ends------+
 *
 * A death shows twice: as the end of its socket and as its exit status, in any order. on_gone
 * waits for both, so that the last APPEND it wrote is relayed before its runs are given back.
 * If one of the two does not come (a forked grandchild holds the socket, the process ignores
 * the loss of it) PROC_EXIT_MS ends the wait. Whoever was traced is waited for here (reap.h).
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
#include "base/sibling.h"
#include "broker/output.h"
#include "broker/reap.h"
#include "wire/error.h"
#include "wire/message.h"

enum state { LOADING, SERVING, ENDING };

struct proc {
    uv_loop_t *loop;
    struct proc_callbacks cb;
    void *arg;
    char label[128];
    enum state state;
    struct conn *conn; /* NULL once closed */
    uv_process_t process;
    uv_timer_t timer; /* load limit, then exit limit */
    uv_timer_t look;  /* at what it uses and prints */
    struct output output;
    struct meter meter;
    struct limit_hit limit; /* end.limit points here once it was ended for that */
    unsigned open_handles;
    bool exited;
    bool unwatched; /* libuv takes it for ended, and it is not: reap.h */
    int64_t kill_mono_ms; /* how long its end is waited for */
    bool stillborn; /* proc_spawn failed and has said so; nobody waits for on_gone */
    struct proc_end end;
    struct blame_page *page; /* owned; end borrows it */
    int64_t since_mono_ms;
    int64_t stopped_ms;      /* how long it may be stopped; 0: for ever */
    unsigned still_looks;    /* in a row that found no processor time used */
    int64_t stopped_mono_ms; /* when it was first seen to be stopped; 0: it is not */
};

const char *proc_end_text(const struct proc_end *end, char *buffer, size_t size_bytes)
{
    char limit[LIMIT_TEXT_SIZE];
    if (end->limit != NULL)
        snprintf(buffer, size_bytes, "was ended: %s", limit_text(end->limit, limit));
    else if (end->timed_out)
        snprintf(buffer, size_bytes, "did not load within PROC_LOAD_MS (%d ms)", PROC_LOAD_MS);
    else if (end->stopped_ms > 0)
        snprintf(buffer, size_bytes, "was stopped by a signal for %" PRId64 " ms, and ended", end->stopped_ms);
    else if (end->signal != 0)
        snprintf(buffer, size_bytes, "killed by signal %d (%s)", end->signal,
                 strsignal(end->signal));
    else
        snprintf(buffer, size_bytes, "exited with code %" PRId64, end->exit_code);
    return buffer;
}

aiki_status proc_load_failure(const struct proc_end *end, aiki_error *err)
{
    char text[PROC_END_TEXT_SIZE];
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

/* ---- ending -------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *h)
{
    struct proc *p = h->data;
    if (--p->open_handles > 0)
        return;
    p->end.memory_bytes = p->meter.now.memory_bytes;
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

static void ending(struct proc *p);

static void on_exit_look(uv_timer_t *t)
{
    struct proc *p = container_of(t, struct proc, timer);
    bool over = clock_mono_ms() >= p->kill_mono_ms;
    if (!p->exited) {
        if (over)
            (void)uv_process_kill(&p->process, SIGKILL);
        reap_threads(p->process.pid);
    } else if (over && p->conn != NULL) {
        conn_close(p->conn);
    }
    if (p->unwatched && !p->exited && reap_ended(p->process.pid)) {
        p->exited = true;
        p->end.signal = SIGKILL;
        ending(p);
    }
}

static void await_end(struct proc *p)
{
    p->kill_mono_ms = clock_mono_ms() + PROC_EXIT_MS;
    uv_timer_start(&p->timer, on_exit_look, PROC_REAP_MS, PROC_REAP_MS);
}

/* Socket or process has ended: wait for the other, then take the handles down. */
static void ending(struct proc *p)
{
    p->state = ENDING;
    if (!p->exited || p->conn != NULL) {
        await_end(p);
        return;
    }
    output_end(&p->output);
    close_handle(p, (uv_handle_t *)&p->process);
    close_handle(p, (uv_handle_t *)&p->timer);
    close_handle(p, (uv_handle_t *)&p->look);
    close_handle(p, (uv_handle_t *)&p->output.out.pipe);
    close_handle(p, (uv_handle_t *)&p->output.err.pipe);
}

static void on_exited(uv_process_t *process, int64_t exit_code, int signal)
{
    struct proc *p = container_of(process, struct proc, process);
    p->unwatched = reap_goes_on(process->pid);
    p->exited = !p->unwatched;
    if (p->unwatched) {
        log_error(p->label, "stopped, and asked to be traced before (ptrace); it is killed");
        (void)uv_process_kill(&p->process, SIGKILL); /* and waited for below */
    }
    p->end.exit_code = exit_code;
    p->end.signal = signal;
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
    if (p->exited)
        return;
    (void)uv_process_kill(&p->process, SIGKILL); /* ESRCH: on_exited is on its way */
    if (p->state != ENDING)
        await_end(p); /* its socket may be held, and its end, too */
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
        output_frame(&p->output, f);
    else if (p->end.was_ready)
        p->cb.on_frame(p, f, p->arg);
}

/* ---- limits -------------------------------------------------------------------------------- */

static void end_over_limit(struct proc *p, const struct limit_hit *hit)
{
    p->limit = *hit;
    p->end.limit = &p->limit;
    proc_kill(p);
}

/* Most processes execute nothing most of the time, and only now and then cost more than the look at their clock. */
static bool is_due(const struct proc *p)
{
    return p->stopped_mono_ms != 0 || (p->still_looks > 0 && p->still_looks % PROC_STILL_LOOKS == 0);
}

/* No limit of time inside ends what stands still as a whole. */
static void look_why_still(struct proc *p)
{
    int64_t now_ms = clock_mono_ms();
    char state = p->state == SERVING && is_due(p) ? reap_state(p->process.pid) : '\0';
    if (state == 'Z' || state == 'D')
        reap_threads(p->process.pid);
    if (state != 'T' || p->stopped_ms == 0) {
        p->stopped_mono_ms = 0;
        return;
    }
    if (p->stopped_mono_ms == 0) {
        p->stopped_mono_ms = now_ms;
        log_warn(p->label, "process %d is stopped by a signal; kill -CONT it within %" PRId64 " ms", p->process.pid,
                 p->stopped_ms);
    } else if (now_ms - p->stopped_mono_ms >= p->stopped_ms) {
        p->end.stopped_ms = p->stopped_ms;
        proc_kill(p);
    }
}

static void on_look(uv_timer_t *t)
{
    struct proc *p = container_of(t, struct proc, look);
    struct limit_hit hit;
    output_look(&p->output);
    if (p->exited || p->end.limit != NULL)
        return; /* its number may be another's */
    int64_t cpu_ns = p->meter.now.cpu_ns;
    bool any = meter_look(&p->meter, p->process.pid, p->page, &hit);
    p->still_looks = p->meter.now.cpu_ns == cpu_ns ? p->still_looks + 1 : 0;
    look_why_still(p);
    if (any && hit.over)
        end_over_limit(p, &hit);
    else if (p->state == SERVING && p->cb.on_usage != NULL)
        p->cb.on_usage(p, &p->meter.now, any ? &hit : NULL, p->arg);
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
    char *args[] = {"aiki-child", "--child", "3", p->label, (char *)sibling_release(), NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->output.out.pipe},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->output.err.pipe},
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
                                    .flags = UV_PROCESS_DETACHED, /* a session of its own: child/stray.h */
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
    p->since_mono_ms = p->meter.since_mono_ms = clock_mono_ms();
    p->meter.limits = options->limits;
    p->stopped_ms = options->stopped_ms;
    snprintf(p->label, sizeof(p->label), "%s", options->label);
    uv_timer_init(loop, &p->timer);
    uv_timer_init(loop, &p->look);
    output_init(&p->output, loop, p->label, p->page);
    p->open_handles = 5;
    p->conn = conn_open_fd(conns, fds[0], &conn_callbacks, p);
    int rc = spawn(p, options->executable, child_fd, page_fd);
    if (rc != 0 || p->conn == NULL) {
        bury_stillborn(p, rc == 0);
        return error_code(err, AIKI_UNAVAILABLE, "SPAWN", "cannot start a child for %s: %s",
                          options->label, rc != 0 ? uv_strerror(rc) : "out of memory");
    }
    if (options->mode != CHILD_SERVE)
        child_give_way(p->process.pid);
    output_start(&p->output);
    uv_timer_start(&p->timer, on_load_limit, PROC_LOAD_MS, 0);
    uv_timer_start(&p->look, on_look, USAGE_LOOK_MS, USAGE_LOOK_MS);
    conn_send(p->conn, LOAD, 0, .path = {(const uint8_t *)options->path, strlen(options->path)},
              .build = options->build,
              .file = {(const uint8_t *)options->file, strlen(options->file)},
              .task_threads_max = options->task_threads, .alone = options->alone,
              .wait_timeout_ms = options->wait_timeout_ms, .mode = options->mode,
              .sandbox = options->sandbox, .files_max = options->limits.of[LIMIT_FILES],
              .lacks = options->lacks);
    *ret = p;
    return AIKI_OK;
}

/* part.c - see part.h. */
#include "part.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/error.h"

enum { PAUSE_MS_MIN = 50, PAUSE_MS_MAX = 5000 };

/* The reading end of a pipe to one life of a part. Outlives that life until its end is read. */
struct feed {
    uv_pipe_t pipe;
    struct part *part; /* NULL once the part has moved on */
    size_t used;
    char line[PART_LINE_SIZE];
};

static void on_feed_closed(uv_handle_t *handle)
{
    free(container_of((uv_pipe_t *)handle, struct feed, pipe));
}

static void drop_feed(struct feed *f)
{
    if (f->part != NULL)
        f->part->feed = NULL;
    f->part = NULL;
    if (!uv_is_closing((uv_handle_t *)&f->pipe))
        uv_close((uv_handle_t *)&f->pipe, on_feed_closed);
}

static void on_line(struct part *p, const char *line)
{
    memcpy(p->last_line, line, strlen(line) + 1);
    if (p->state != PART_STARTING ||
        (p->ready_phrase != NULL && strstr(line, p->ready_phrase) == NULL))
        return;
    p->state = PART_SERVING;
    p->was_ready = true;
    p->on_ready(p, line, p->arg);
}

/* A line longer than the buffer is cut: its rest reads as another line. */
static void take_bytes(struct feed *f, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size && f->part != NULL; i++) {
        if (bytes[i] != '\n' && f->used < sizeof(f->line) - 1) {
            f->line[f->used++] = bytes[i];
            continue;
        }
        f->line[f->used] = '\0';
        f->used = 0;
        on_line(f->part, f->line);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char chunk[16384]; /* consumed before the next read */
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(chunk, sizeof(chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct feed *f = container_of((uv_pipe_t *)stream, struct feed, pipe);
    if (n > 0)
        take_bytes(f, buf->base, (size_t)n);
    else if (n < 0)
        drop_feed(f);
}

static aiki_status open_feed(struct part *p, int fd, aiki_error *err)
{
    struct feed *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        close(fd);
        return error_set(err, AIKI_NOMEM, "no memory to watch %s", p->name);
    }
    uv_pipe_init(p->loop, &f->pipe, 0);
    f->part = p;
    int failed = uv_pipe_open(&f->pipe, fd);
    if (failed != 0)
        close(fd);
    else
        failed = uv_read_start((uv_stream_t *)&f->pipe, on_alloc, on_read);
    if (failed != 0) {
        drop_feed(f);
        return error_set(err, AIKI_NOMEM, "cannot watch %s: %s", p->name, uv_strerror(failed));
    }
    p->feed = f;
    return AIKI_OK;
}

/* What it wrote last is often why it ended. */
static void drain_feed(struct feed *f)
{
    char chunk[4096];
    uv_os_fd_t fd;
    ssize_t n;
    if (uv_fileno((uv_handle_t *)&f->pipe, &fd) != 0)
        return;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        take_bytes(f, chunk, (size_t)n);
}

void part_init(struct part *p, uv_loop_t *loop)
{
    p->loop = loop;
    uv_timer_init(loop, &p->timer);
}

aiki_status part_start(struct part *p, aiki_error *err)
{
    int ends[2];
    assert(p->state == PART_DOWN);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, AIKI_NOMEM, "no pipe to %s: %s", p->name, strerror(errno));
    AUTO(close_fd) int write_end = ends[1];
    bool by_phrase = p->ready_phrase != NULL;
    aiki_status st = open_feed(p, ends[0], err);
    const struct process_io io = {
        .ready_fd = by_phrase ? -1 : write_end, .out_fd = by_phrase ? write_end : -1, .err_fd = -1};
    if (st == AIKI_OK)
        st = process_start(&p->words, &io, &p->pid, err);
    if (st != AIKI_OK)
        return st;
    p->state = PART_STARTING;
    p->started_mono_ms = clock_mono_ms();
    return AIKI_OK;
}

static void pause_then_start(struct part *p);

static void on_pause_over(uv_timer_t *t)
{
    struct part *p = container_of(t, struct part, timer);
    aiki_error err = {.struct_size = sizeof(err)};
    if (p->stopping || part_start(p, &err) == AIKI_OK)
        return;
    log_error(p->name, "%s", err.message);
    pause_then_start(p);
}

static void pause_then_start(struct part *p)
{
    bool steady = clock_mono_ms() - p->started_mono_ms >= PART_STEADY_MS;
    p->quick_ends = steady ? 0 : p->quick_ends + 1;
    uint64_t pause_ms = 0;
    if (p->quick_ends > 1)
        pause_ms = p->quick_ends < 9 ? (uint64_t)PAUSE_MS_MIN << (p->quick_ends - 2) : PAUSE_MS_MAX;
    uv_timer_start(&p->timer, on_pause_over, pause_ms, 0);
}

void part_reap(struct part *p)
{
    int wait_status;
    if (p->pid == 0 || waitpid(p->pid, &wait_status, WNOHANG) != p->pid)
        return;
    p->pid = 0;
    p->state = PART_DOWN;
    uv_timer_stop(&p->timer);
    if (p->feed != NULL) {
        drain_feed(p->feed);
        drop_feed(p->feed);
    }
    bool may_restart = p->was_ready && !p->stopping;
    if (may_restart)
        pause_then_start(p);
    p->on_ended(p, wait_status, may_restart, p->arg);
}

static void on_grace_over(uv_timer_t *t)
{
    struct part *p = container_of(t, struct part, timer);
    if (p->pid == 0)
        return;
    log_warn(p->name, "did not stop in time: killed");
    (void)kill(p->pid, SIGKILL);
}

bool part_stop(struct part *p, uint64_t grace_ms)
{
    p->stopping = true;
    uv_timer_stop(&p->timer);
    if (p->pid == 0)
        return false;
    (void)kill(p->pid, grace_ms > 0 ? SIGTERM : SIGKILL);
    if (grace_ms > 0)
        uv_timer_start(&p->timer, on_grace_over, grace_ms, 0);
    return true;
}

void part_close(struct part *p)
{
    assert(p->pid == 0);
    if (p->feed != NULL)
        drop_feed(p->feed);
    uv_close((uv_handle_t *)&p->timer, NULL);
    words_clear(&p->words);
}

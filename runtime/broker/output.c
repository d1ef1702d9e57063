/* output.c - see output.h. */
#include "broker/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/message.h"

enum { READ_BYTES = 16 * 1024, LAST_READS_MAX = 16, WINDOW_MS = 1000, WHO_SIZE = 192, RUNS_LISTED_MAX = 64 };

/* ---- rate ---------------------------------------------------------------------------------- */

static void say_dropped(struct output *o)
{
    if (o->dropped_lines > 0)
        log_warn(o->label, "%u lines dropped: over OUTPUT_LINES_PER_S (%d)", o->dropped_lines,
                 OUTPUT_LINES_PER_S);
    o->dropped_lines = 0;
}

static void begin_window(struct output *o)
{
    int64_t now_ms = clock_mono_ms();
    if (now_ms - o->window_mono_ms < WINDOW_MS)
        return;
    say_dropped(o);
    o->window_mono_ms = now_ms;
    o->lines = 0;
    o->bytes = 0;
}

static bool may_log(struct output *o)
{
    begin_window(o);
    if (o->lines++ < OUTPUT_LINES_PER_S)
        return true;
    o->dropped_lines++;
    return false;
}

/* ---- who ----------------------------------------------------------------------------------- */

static bool may_have_printed(const struct blame_slot *s, int64_t now_ms)
{
    int64_t left_ms = atomic_load_explicit(&s->left_mono_ms, memory_order_relaxed);
    return atomic_load_explicit(&s->busy, memory_order_acquire) == 1 ||
           (left_ms != 0 && now_ms - left_ms <= OUTPUT_LEFT_MS);
}

static void describe(aiki_view run, aiki_view name, uint32_t attempt, char who[WHO_SIZE])
{
    char text[BLAME_NAME_SIZE], id[AIKI_ID_TEXT_SIZE];
    (void)log_clean(name, text, sizeof(text));
    (void)log_clean(run, id, sizeof(id));
    if (attempt > 0)
        (void)snprintf(who, WHO_SIZE, "run %s task %s attempt %u: ", id, text, attempt);
    else
        (void)snprintf(who, WHO_SIZE, "run %s workflow %s: ", id, text);
}

static bool is_listed(const struct blame_slot *const listed[], unsigned count, const struct aiki_id *run)
{
    for (unsigned i = 0; i < count; i++)
        if (id_equal(&listed[i]->run, run))
            return true;
    return false;
}

/* One slot of each run, however many of its tasks are executed: those before the loop's thread. */
static unsigned list_runs(const struct output *o, const struct blame_slot *ret[RUNS_LISTED_MAX])
{
    int64_t now_ms = clock_mono_ms();
    unsigned count = 0;
    for (unsigned i = 1; i <= BLAME_SLOTS && count < RUNS_LISTED_MAX; i++) {
        const struct blame_slot *s = &o->page->slots[i % BLAME_SLOTS];
        if (may_have_printed(s, now_ms) && !is_listed(ret, count, &s->run))
            ret[count++] = s;
    }
    return count;
}

/* The page is the plugin's to write: nothing in it is believed beyond being bytes. */
static void guess(const struct output *o, char who[WHO_SIZE])
{
    char id[AIKI_ID_TEXT_SIZE], sure[WHO_SIZE];
    const struct blame_slot *listed[RUNS_LISTED_MAX];
    unsigned count = list_runs(o, listed);
    who[0] = '\0';
    if (count > 1)
        (void)snprintf(who, WHO_SIZE, "one of %u runs%s: ", count, count == RUNS_LISTED_MAX ? " or more" : "");
    if (count != 1)
        return;
    id_text(&listed[0]->run, id);
    describe(view_of(id), (aiki_view){(const uint8_t *)listed[0]->name, strnlen(listed[0]->name, BLAME_NAME_SIZE - 1)},
             listed[0]->attempt, sure);
    (void)snprintf(who, WHO_SIZE, "perhaps %.*s", WHO_SIZE - 16, sure);
}

/* ---- lines --------------------------------------------------------------------------------- */

static void log_line(struct output_stream *s)
{
    char text[LOG_LINE_BYTES_MAX], who[WHO_SIZE];
    aiki_view line = {(const uint8_t *)s->line, s->size_bytes};
    s->size_bytes = 0;
    struct blame_said said = blame_read_tag(line);
    if (line.size_bytes == said.size_bytes || !may_log(s->of))
        return; /* nothing was said, or too much */
    if (said.size_bytes > 0)
        describe(said.run, said.name, said.attempt, who);
    else
        guess(s->of, who);
    line.data += said.size_bytes;
    line.size_bytes -= said.size_bytes;
    log_info(s->of->label, "%s%s", who, log_clean(line, text, sizeof(text)));
}

static void take(struct output_stream *s, const char *text, size_t size_bytes)
{
    s->of->bytes += size_bytes;
    while (size_bytes > 0) {
        const char *end = memchr(text, '\n', size_bytes);
        size_t size = end != NULL ? (size_t)(end - text) : size_bytes;
        size_t room = sizeof(s->line) - s->size_bytes;
        size_t now = size < room ? size : room;
        memcpy(s->line + s->size_bytes, text, now);
        s->size_bytes += now;
        bool whole = now == size && end != NULL;
        if (whole || s->size_bytes == sizeof(s->line))
            log_line(s);
        text += now + whole;
        size_bytes -= now + whole;
    }
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    static char shared[READ_BYTES]; /* one loop thread; consumed before the next read */
    (void)h;
    (void)suggested;
    *buf = uv_buf_init(shared, sizeof(shared));
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct output_stream *s = container_of((uv_pipe_t *)stream, struct output_stream, pipe);
    struct output *o = s->of;
    if (n > 0)
        take(s, buf->base, (size_t)n);
    if (n < 0)
        (void)uv_read_stop(stream); /* always 0, as below */
    if (o->bytes < OUTPUT_BYTES_PER_S)
        return;
    o->paused = true; /* others are read meanwhile */
    (void)uv_read_stop((uv_stream_t *)&o->out.pipe);
    (void)uv_read_stop((uv_stream_t *)&o->err.pipe);
}

static void read_output(struct output *o)
{
    o->paused = false;
    (void)uv_read_start((uv_stream_t *)&o->out.pipe, on_alloc, on_output); /* ended: on_output is told */
    (void)uv_read_start((uv_stream_t *)&o->err.pipe, on_alloc, on_output);
}

void output_frame(struct output *o, const struct frame *f)
{
    struct msg_LOG m;
    aiki_error err;
    char run[AIKI_ID_TEXT_SIZE], text[LOG_LINE_BYTES_MAX], who[WHO_SIZE] = "";
    if (msg_LOG_read(f->payload, &m, &err) != AIKI_OK || !may_log(o))
        return; /* a child's log line is worth no more than that */
    if (m.text.size_bytes > OUTPUT_LINE_BYTES_MAX)
        m.text.size_bytes = OUTPUT_LINE_BYTES_MAX;
    id_text(&m.run, run);
    if (!id_is_zero(&m.run) && m.task.size_bytes == 0)
        (void)snprintf(who, sizeof(who), "run %s: ", run);
    else if (!id_is_zero(&m.run))
        describe(view_of(run), m.task, (uint32_t)m.attempt, who);
    log_at(m.level <= LOG_ERROR ? (int)m.level : LOG_ERROR, o->label, "%s%s", who,
           log_clean(m.text, text, sizeof(text)));
}

/* ---- its life ------------------------------------------------------------------------------ */

void output_init(struct output *o, uv_loop_t *loop, const char *label, const struct blame_page *page)
{
    *o = (struct output){.label = label, .page = page};
    o->out.of = o->err.of = o;
    (void)uv_pipe_init(loop, &o->out.pipe, 0); /* cannot fail */
    (void)uv_pipe_init(loop, &o->err.pipe, 0);
}

void output_start(struct output *o)
{
    read_output(o);
}

void output_look(struct output *o)
{
    begin_window(o);
    if (o->paused && o->bytes == 0)
        read_output(o);
}

static void drain(struct output_stream *s)
{
    char buffer[READ_BYTES];
    int fd;
    ssize_t n;
    if (uv_fileno((uv_handle_t *)&s->pipe, &fd) != 0)
        return;
    for (int i = 0; i < LAST_READS_MAX && (n = read(fd, buffer, sizeof(buffer))) > 0; i++)
        take(s, buffer, (size_t)n);
    log_line(s);
}

void output_end(struct output *o)
{
    drain(&o->out);
    drain(&o->err);
    say_dropped(o);
}

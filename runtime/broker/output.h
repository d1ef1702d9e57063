/* broker/output.h - what a child prints, a line at a time into the log. [loop]
 *
 *   stdout, stderr --> lines --> "run R task T attempt N: text"       the thread said so (child/print.h)
 *                                "perhaps run R task T ...: text"     written past stdio, by who was executing
 *                                "one of N runs: text"                the same, and several were
 *
 * Binary is escaped, long lines are broken up. Limits: OUTPUT_LINES_PER_S lines of log, then a count
 * of those dropped; OUTPUT_LINE_BYTES_MAX a line; OUTPUT_BYTES_PER_S are read, then the child waits.
 */
#ifndef BROKER_OUTPUT_H
#define BROKER_OUTPUT_H

#include <aiki/status.h>
#include <uv.h>

#include "base/blame.h"
#include "wire/frame.h"

enum {
    OUTPUT_LINES_PER_S = 200,
    OUTPUT_LINE_BYTES_MAX = 2048,
    OUTPUT_BYTES_PER_S = 32 * 1024 * 1024,
    OUTPUT_LEFT_MS = 200 /* who left code that long ago may have printed what is read now */
};

struct output;

struct output_stream {
    struct output *of;
    uv_pipe_t pipe;
    char line[OUTPUT_LINE_BYTES_MAX + BLAME_TAG_SIZE];
    size_t size_bytes;
};

struct output {
    const char *label;             /* borrowed, as the next */
    const struct blame_page *page;
    struct output_stream out, err;
    int64_t window_mono_ms; /* when the second began that these count */
    unsigned lines, dropped_lines;
    uint64_t bytes;
    bool paused; /* OUTPUT_BYTES_PER_S were read */
};

/* Two handles to be closed by the owner: out.pipe and err.pipe. */
void output_init(struct output *o, uv_loop_t *loop, const char *label, const struct blame_page *page);
void output_start(struct output *o);
/* A LOG frame. */
void output_frame(struct output *o, const struct frame *f);
/* Now and then: says what was dropped, reads on. */
void output_look(struct output *o);
/* The process has ended: its last words, as far as they fit. */
void output_end(struct output *o);

#endif

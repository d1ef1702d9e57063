/* part.h - one program that `aiki dev` keeps running. [loop]
 *
 *            start           its line          part_stop, SIGCHLD
 *   DOWN ----------> STARTING -------> SERVING ------------------> DOWN
 *     ^                 | ended           | ended
 *     +---- pause ------+-----------------+     (after the first SERVING; before it: on_ended)
 *
 * A part is ready when it writes a line to the descriptor it got, or, for programs that know no
 * such thing, when its output contains a phrase. Restarts: at once after a life of
 * PART_STEADY_MS, else after a pause that doubles from 50 ms to 5 s.
 */
#ifndef TOOLS_PART_H
#define TOOLS_PART_H

#include <uv.h>

#include "process.h"

enum { PART_LINE_SIZE = 4096, PART_STEADY_MS = 5000 };

enum part_state { PART_DOWN, PART_STARTING, PART_SERVING };

struct feed;
struct part {
    const char *name;         /* "server"; for messages */
    const char *ready_phrase; /* NULL: a line on PROCESS_READY_FD */
    struct words words;       /* owned; the command line of the next start */
    /* Every time it is ready. line is borrowed. */
    void (*on_ready)(struct part *p, const char *line, void *arg);
    /* It ended. may_restart: it had been ready once, and will be started again by itself. */
    void (*on_ended)(struct part *p, int wait_status, bool may_restart, void *arg);
    void *arg;

    /* private */
    uv_loop_t *loop;
    uv_timer_t timer;  /* pause before a start, or grace before SIGKILL */
    struct feed *feed; /* what it writes; NULL once read to its end */
    enum part_state state;
    pid_t pid; /* 0 while DOWN */
    bool was_ready, stopping;
    unsigned quick_ends; /* in a row */
    int64_t started_mono_ms;
    char last_line[PART_LINE_SIZE]; /* of a program that is watched by its output */
};

/* The public members are set. */
void part_init(struct part *p, uv_loop_t *loop);
aiki_status part_start(struct part *p, aiki_error *err);
/* SIGTERM, and SIGKILL after grace_ms; on_ended follows. False when it is not running. */
bool part_stop(struct part *p, uint64_t grace_ms);
/* After SIGCHLD: look whether it ended. */
void part_reap(struct part *p);
/* Not running. The loop must turn once more before the memory goes. */
void part_close(struct part *p);

#endif

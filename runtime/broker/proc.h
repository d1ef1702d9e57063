/* broker/proc.h - one child process: one plugin build, loaded. [loop]
 *
 * The broker never runs plugin code; a proc does, and may die at any moment. It gets a
 * socketpair, no credentials (environment cleaned of AIKI_*, no descriptor but 0..3, and 4, the page of
 * blame.h, until it has mapped that), no core
 * dump, and dies with the broker. What it prints goes to the log (output.h). What it may use is
 * limited (base/limit.h): over that it is ended, and before that it is said to be worn.
 * Limit: PROC_LOAD_MS until it says READY.
 */
#ifndef BROKER_PROC_H
#define BROKER_PROC_H

#include <aiki/status.h>
#include <uv.h>

#include "base/blame.h"
#include "base/conn.h"
#include "base/usage.h"

enum {
    PROC_LOAD_MS = 5000,
    PROC_EXIT_MS = 2000, /* from the end of its socket to SIGKILL, and the reverse */
    PROC_REAP_MS = 50,   /* between two looks at one that ends */
    PROC_STILL_LOOKS = 4 /* in a row that found no processor time used, until one whether it is stopped */
};

struct proc;

/* How it ended. */
struct proc_end {
    int64_t exit_code;
    int signal;     /* 0 = it exited */
    bool timed_out; /* did not load within PROC_LOAD_MS */
    bool was_ready;
    int64_t stopped_ms; /* it was stopped by a signal for so long, and killed for that; 0: it was not */
    uint64_t memory_bytes; /* at the last look; 0: nobody has looked */
    int64_t lived_ms; /* since it was ready, or spawned */
    const struct limit_hit *limit; /* what it was ended for, or NULL; borrowed as the next */
    const struct blame_page *page; /* who was executing; borrowed until on_gone returns */
};

struct proc_callbacks {
    void (*on_ready)(struct proc *p, aiki_view descriptor, void *arg);
    /* It will not serve: error map. It ends by itself or is made to. */
    void (*on_refused)(struct proc *p, aiki_view error, void *arg);
    /* APPEND and what else it asks for, once ready. */
    void (*on_frame)(struct proc *p, const struct frame *f, void *arg);
    /* Serving, and looked at: hit is NULL, or what says that it is time for another process. May
     * be NULL. */
    void (*on_usage)(struct proc *p, const struct usage *u, const struct limit_hit *hit, void *arg);
    /* Exactly once, last: it is dead and everything it wrote has been delivered. p is gone. */
    void (*on_gone)(struct proc *p, const struct proc_end *end, void *arg);
};

struct proc_options {
    const char *executable; /* started with "--child 3 LABEL RELEASE"; the label is for ps */
    const char *label;      /* for the log, e.g. "hello.so@1f3a9c" */
    const char *path;       /* the private copy */
    const char *file;
    aiki_view build;
    uint64_t task_threads;
    bool alone; /* it will have one run */
    int64_t wait_timeout_ms;
    uint64_t mode; /* CHILD_* */
    aiki_view lacks; /* in a gate: see LOAD; empty: nothing */
    aiki_view sandbox; /* what it may do: base/sandbox.h */
    int64_t stopped_ms; /* stopped by a signal for so long it is ended; 0: never */
    struct limits limits;
};

enum { PROC_END_TEXT_SIZE = 256 };
/* Text of an end for log and users: "killed by signal 11 (Segmentation fault)". */
const char *proc_end_text(const struct proc_end *end, char *buffer, size_t size_bytes);
/* It ended before it said READY or REFUSED: LOAD_TIMEOUT or LOAD_CRASHED. */
aiki_status proc_load_failure(const struct proc_end *end, aiki_error *err);

aiki_status proc_spawn(struct proc **ret, uv_loop_t *loop, struct conn_loop *conns,
                       const struct proc_options *options, const struct proc_callbacks *cb,
                       void *arg, aiki_error *err);
/* The line to it, or NULL when it cannot be told anything any more. */
struct conn *proc_conn(struct proc *p);
int proc_pid(const struct proc *p);
/* SIGKILL; on_gone follows. */
void proc_kill(struct proc *p);

#endif

/* broker/builds.h - which plugin builds serve here, and the processes that run them. [loop]
 *
 * Owns the way of a file from the watched directory to a serving child process and back out:
 *
 *   watch --> admit (pool thread) --> child loads it --> server registers it --> it serves
 *                                                        the build before it drains
 *
 * The build before it drains, and is kept aside (kept.c) for runs that the new one does not fit, as
 * long as the server knows open runs that it executed last.
 * A file refused on that way leaves the build before it serving; the refusal is kept and told to
 * every session. Two files may not offer the same workflow version: the later one is refused.
 * A build serves with or without a process (demand.c): it has one while runs need it.
 * A serving child that dies is replaced at once, with growing pauses when it keeps dying with
 * nobody to blame.
 */
#ifndef BROKER_BUILDS_H
#define BROKER_BUILDS_H

#include <aiki/status.h>
#include <uv.h>

#include "base/limit.h"
#include "broker/session.h"
#include "intake/admit.h"
#include "intake/cache.h"

enum {
    BUILD_QUICK_CRASH_MS = 10000, /* dying younger than this counts as a repeated crash */
    BUILD_CRASHES_FREE = 3,       /* replaced at once this often */
    BUILD_LOAD_TRIES = 3,         /* processes that may die while loading a new build */
    BUILD_RESTART_MS_MIN = 100,
    BUILD_RESTART_MS_MAX = 10000,
    BUILD_END_MS = 1000, /* beyond drain_ms until a process that still runs is killed */
    BUILD_TRIES_MAX = 16, /* builds a run is tried with, one after the other */
    KEPT_PER_FILE_MAX = 8, /* older builds of a file; beyond that the oldest goes */
    KEPT_LOOK_MS = 1000,   /* between looks at what kept builds are needed for */
    KEPT_ASK_MS_MAX = 30000, /* the server is asked less and less often, down to this */
    RECYCLE_MS_MIN = 1000,   /* between two replacements of a worn process, as long as they help */
    RECYCLE_MS_MAX = 300000, /* and when they do not */
    RECYCLE_QUICK_MS = 1000, /* worn younger than this: it did not help */
    USAGE_TELL_MS = 2000      /* between two reports to the server on one process */
};

struct builds;
struct build;

/* Which other build may execute a run that one does not fit. */
struct build_wanted {
    aiki_view workflow, version; /* empty: any */
    uint8_t last[BUILD_BYTES];   /* the one that executed it last, asked first; zero = unknown */
    uint8_t tried[BUILD_TRIES_MAX][BUILD_BYTES]; /* these do not fit */
    unsigned tried_count;
};

struct builds_callbacks {
    /* What builds_each_route shows has changed. */
    void (*on_routes)(void *arg);
    /* A frame from the build's process. */
    void (*on_frame)(struct build *b, const struct frame *f, void *arg);
    /* The process is dead: no run that was assigned to it is there any more. b may be gone
     * after this call. */
    void (*on_lost)(struct build *b, void *arg);
    /* A kept build is kept no longer; b is gone after this call. */
    void (*on_dropped)(struct build *b, void *arg);
    /* What runs wait for takes them now; NULL: more builds are known than before. */
    void (*on_ready)(struct build *b, void *arg);
    /* Who waits for its process is not to wait any more: it does not load, or the build serves no
     * longer. b may be gone after this call. */
    void (*on_given_up)(struct build *b, void *arg);
    /* Another process of the same build took its place; b drains. */
    void (*on_replaced)(struct build *b, struct build *by, void *arg);
    /* Whether runs are with it, or on their way to it. */
    bool (*is_used)(struct build *b, void *arg);
    /* Whether runs are with it. */
    bool (*has_run)(struct build *b, void *arg);
    /* There may be room for another process with one run in it. */
    void (*on_solo_free)(void *arg);
    /* Every file that was being taken in serves, waits for the server, or is refused. */
    void (*on_settled)(void *arg);
    /* After builds_drain: the last process has ended. */
    void (*on_drained)(void *arg);
    void (*on_closed)(void *arg);
};

/* Borrowed for the object's life. */
struct builds_options {
    const char *plugins_dir, *state_dir, *executable, *space, *gate;
    const char *ignore; /* patterns of watch_ignore */
    uint64_t task_threads;
    struct limits_settings child_limits;
    const char *idle; /* child-idle; NULL: always */
    int64_t stopped_ms;      /* a process that a signal stopped is ended after it */
    const char *alone; /* child-alone; NULL: ALONE_UNSAID for each file */
    int64_t wait_timeout_ms; /* of waits for signals that take the default; 0 = none */
    struct admit_options admit; /* without known */
    const char *oom_events; /* oom_init */
    uint64_t drain_ms; /* how long a process that is to end may go on with resident runs */
    uint64_t keep_previous_ms; /* how long what a file was before is kept though no run needs it */
};

aiki_status builds_create(struct builds **ret, uv_loop_t *loop, struct conn_loop *conns,
                          struct session *session, const struct builds_options *options,
                          const struct builds_callbacks *cb, void *arg, aiki_error *err);
void builds_start(struct builds *bs);
/* Register everything with a new session. */
void builds_session_up(struct builds *bs);
/* Nothing is on its way from a file to registration or refusal. */
bool builds_is_settled(const struct builds *bs);
void builds_count(const struct builds *bs, unsigned *ret_serving, unsigned *ret_refused);

/* Prometheus text about files, builds and processes. */
void builds_write_metrics(const struct builds *bs, aiki_writer *w);
/* One metric of a runtime without labels, HELP and TYPE before it. */
void stats_put(aiki_writer *w, const char *name, const char *type, const char *help, uint64_t value);

/* Each workflow version that can be executed now, with the build that does. */
void builds_each_route(struct builds *bs,
                       void (*fn)(void *arg, struct build *b, aiki_view workflow,
                                  aiki_view version),
                       void *arg);
/* Connection of a build that takes new runs, or NULL. */
struct conn *build_assignable(struct build *b);
/* Start the process of a build that has none until somebody needs it: on_ready, on_given_up or, of a kept
 * one, on_dropped follow. False: nobody is to wait for it. */
bool build_wake(struct build *b);
/* A kept build that has not been tried: the one that executed the run last, then the newest. NULL:
 * none, and with *ret_later: not yet. */
struct build *builds_find_other(struct builds *bs, const struct build_wanted *w, bool *ret_later);
/* A new process of that build for one run; on_ready or on_dropped follow. NULL: its bytes are gone,
 * or with *ret_later: there are as many as child-alone says, on_solo_free tells. */
struct build *builds_find_alone(struct builds *bs, const uint8_t *hash, bool *ret_later);
/* Code of a build is not to be executed any more, or again: told to its processes now and later. */
void builds_quarantine(struct builds *bs, const struct frame *f);
/* A run has left it; a process for one run ends. True: and there may be room for another one. */
bool build_left(struct build *b);
/* Connection of its process, serving or draining, or NULL. */
struct conn *build_conn(struct build *b);
const uint8_t *build_hash(const struct build *b); /* BUILD_BYTES */
const char *build_label(const struct build *b);   /* "hello.so@1f3a9c12" */
/* Who took its process down; for on_lost. NULL: it was to end, or nobody's code is the cause. */
const struct verdict *build_verdict(const struct build *b);
/* It takes part no more, and is gone when its process is. */
bool build_is_leaving(const struct build *b);
/* It broke the protocol: its process is killed, on_lost follows. */
void build_kill(struct build *b);

/* From now on, for new files and processes; with keys, every build is checked anew. All texts are borrowed
 * until the next call. */
void builds_set_policy(struct builds *bs, const char *gate, const struct admit_options *admit);
/* Whether a build is not started any more because its signature is good no longer, and why. hash NULL: any. */
bool builds_is_revoked(struct builds *bs, const uint8_t *hash, aiki_error *ret);
/* child-idle (base/limit.h), from now on. Borrowed until the next call. */
void builds_set_idle(struct builds *bs, const char *idle);
/* child-alone (limits.h), from now on. Borrowed until the next call. */
void builds_set_alone(struct builds *bs, const char *alone);
/* For processes that are told to end from now on. */
void builds_set_drain_ms(struct builds *bs, uint64_t drain_ms);
/* No new files, no restarts; every process drains. on_drained follows. */
void builds_drain(struct builds *bs);
void builds_kill_all(struct builds *bs);
/* Only after on_drained. */
void builds_close(struct builds *bs);

#endif

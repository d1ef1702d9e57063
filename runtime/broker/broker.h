/* broker/broker.h - one worker host: session, tickets, children and plugins put together. [loop]
 *
 * Holds nothing that matters: killed at any moment, its runs go on elsewhere and its children
 * die with it.
 * Limit: BROKER_END_MS beyond drain_ms, then it ends without the server's answers.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <aiki/status.h>

#include "base/limit.h"
#include "base/tls.h"
#include "intake/admit.h"

enum { BROKER_END_MS = 2000 };

/* What may change while it serves. Texts: borrowed until the next change. */
struct broker_limits {
    uint64_t slots, drain_ms;
    const char *gate; /* policies of replay gates; see gate.h */
    const char *idle, *alone; /* child-idle, child-alone; see base/limit.h */
    struct admit_options admit;
};

/* Borrowed for the length of broker_run. */
struct broker_options {
    const char *plugins_dir, *state_dir;
    const char *ignore;  /* files that are no plugins; watch_ignore */
    const char *server, *redis_url;
    const char *name, *token, *token_file, *space;
    const char *metrics; /* IP:PORT of GET /metrics; empty = off */
    struct tls_files tls; /* for a server at tls:HOST:PORT */
    const char *executable; /* aiki-child: processes of plugins */
    uint64_t task_threads;
    const char *oom_events;  /* file with the kernel's count of kills for want of memory; empty = found */
    struct limits_settings child_limits; /* what plugins' processes may use */
    int64_t stopped_ms;        /* see struct builds_options */
    uint64_t keep_previous_ms; /* see struct builds_options */
    int64_t wait_timeout_ms; /* of waits for signals that take the default; 0 = none */
    struct broker_limits limits;
    int ready_fd; /* gets one JSON line when the session is up and the plugins found at start
                   * serve or are refused; -1 = nobody asks */
    /* Asked on SIGHUP for new limits; false: they stay. NULL: SIGHUP ends the process. */
    bool (*on_hangup)(struct broker_limits *ret_limits, void *arg);
    void *arg; /* of on_hangup */
};

/* Serves until SIGTERM or SIGINT, then finishes or gives back what it holds; a second signal
 * ends it at once. AIKI_OK after that; else the settings cannot work and nothing was begun. */
aiki_status broker_run(const struct broker_options *options, aiki_error *err);

#endif

/* broker/gate.h - before a new build serves: do the open runs there are fit it? [loop]
 *
 *   for each workflow version it offers:  runs.sample --> open runs that other builds executed last
 *   if there are any:  plugins.tasks --> tasks that other builds of the plugin have and it lacks
 *   runs.journal, a few ahead --> a process of its own, one run at a time --> VERDICT
 *                                   +-- it dies: that is the verdict; another process goes on
 *   all seen, or GATE_MS_MAX over and the last verdict there --> report
 *
 * Nothing is executed: workflow code is taken through what is on record and no further. The gate
 * predicts; which build executes a run is found out when it is executed (moves.h).
 * Limits: GATE_RUNS_MAX runs a workflow version, chosen by lot beyond that; GATE_JOURNAL_BYTES_MAX a
 * run; GATE_MS_MAX until the last run begins, which may take GATE_RUN_MS_MAX; GATE_CRASHES_MAX
 * processes that die.
 */
#ifndef BROKER_GATE_H
#define BROKER_GATE_H

#include "broker/builds.h"

enum {
    GATE_RUNS_MAX = 200,
    GATE_AHEAD_MAX = 8,
    GATE_JOURNAL_BYTES_MAX = 16 * 1024 * 1024,
    GATE_MS_MAX = 3000,
    GATE_CRASHES_MAX = 3,
    GATE_RUN_MS_MAX = 5000, /* the last journal may take this long; else it will never end */
    GATE_FINDINGS_MAX = 20 /* runs that are shown one by one */
};

/* What becomes of a build that open runs do not fit. */
enum gate_policy {
    GATE_SAFE,   /* it serves; they stay with older builds. One that crashes in replay is refused */
    GATE_STRICT, /* it is refused */
    GATE_OFF     /* nobody looks */
};
/* setting: "safe", or that of all files and of some: "safe,billing.so=strict". */
aiki_status gate_policy_check(const char *setting, aiki_error *err);
enum gate_policy gate_policy_of(const char *setting, const char *file);
const char *gate_policy_name(enum gate_policy policy);

struct gate_route {
    aiki_view workflow, version; /* borrowed until the gate is over */
};

/* Borrowed until the gate is over. */
struct gate_options {
    const char *executable, *label, *path, *file;
    aiki_view sandbox; /* base/sandbox.h; copied */
    uint8_t build[BUILD_BYTES];
    enum gate_policy policy;
    aiki_view descriptor; /* of the new build */
    const struct gate_route *routes;
    size_t route_count;
    uint64_t ms_max;
    struct limits limits; /* of its process */
};

struct gate_result {
    bool lost; /* the session ended: nothing is known; start again with the next one */
    uint64_t open, replayed, move, stay, crashed, unknown;
    int64_t took_ms;
    aiki_view report; /* msgpack map of all this with findings, borrowed during the callback */
    aiki_view worst;  /* error map of the first finding, empty = none */
};

struct gate;
/* Called once, not from inside gate_start. After it the gate cleans up by itself; pointers in the
 * options are not used any more. */
typedef void (*gate_done_fn)(const struct gate_result *result, void *arg);
aiki_status gate_start(struct gate **ret, uv_loop_t *loop, struct conn_loop *conns,
                       struct session *session, const struct gate_options *options,
                       gate_done_fn on_done, void *arg, aiki_error *err);
/* Nobody wants the result any more; on_done is not called. NULL is a no-op. */
void gate_stop(struct gate *g);

#endif

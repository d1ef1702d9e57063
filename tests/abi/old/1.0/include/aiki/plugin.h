/* aiki/plugin.h - what a plugin gives the host and what the host offers plugin code.
 *
 * A plugin exports one function, aiki_plugin_v1, which hands out a table of definitions. The
 * host calls workflow and task functions through it and passes them tables of host functions.
 * Nothing else crosses the boundary; a plugin links nothing of aiki.
 *
 * Either side may be older. Every struct begins with struct_size, members are only appended,
 * an unknown tail is ignored, a missing tail reads as zero, `reserved` is zero.
 *
 * The raw layer is in this file: payloads are views of msgpack bytes. It brings aiki/define.h
 * (macros that fill the tables) and aiki/run.h (one-line calls over the tables), so a plugin
 * includes this file alone. aiki/record.h adds the typed layer on top of it.
 */
#ifndef AIKI_PLUGIN_H
#define AIKI_PLUGIN_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AIKI_ABI_MAJOR 1
#define AIKI_ABI_MINOR 0

/* True when a struct filled by the other side reaches far enough to hold a member. */
#define AIKI_HAS(ptr, member) \
    ((ptr)->struct_size >= (size_t)((const char *)(&(ptr)->member + 1) - (const char *)(ptr)))

#define AIKI_SECONDS_MS(n) ((int64_t)(n)*1000)
#define AIKI_MINUTES_MS(n) ((int64_t)(n)*60000)
#define AIKI_HOURS_MS(n) ((int64_t)(n)*3600000)
#define AIKI_DAYS_MS(n) ((int64_t)(n)*86400000)
#define AIKI_FOREVER_MS ((int64_t)-1)

struct aiki_record_def; /* aiki/record.h: a schema; NULL where any msgpack is accepted */

/* ---- retry ------------------------------------------------------------------------------- */

enum {
    AIKI_RETRY_DEFAULT = 0, /* exponential, 10 attempts, 200 ms, factor 2, ceiling 60 s */
    AIKI_RETRY_NEVER = 1,
    AIKI_RETRY_FIXED = 2,
    AIKI_RETRY_EXPONENTIAL = 3
};

/* How a failed attempt is repeated. Zero members take the values of AIKI_RETRY_DEFAULT. Never
 * longer than this, because aiki_task_def contains one: what is to come takes from `reserved`.
 * since 1.0 */
typedef struct aiki_retry {
    uint32_t struct_size;
    int32_t kind;             /* AIKI_RETRY_* */
    uint32_t attempts_max;    /* including the first; at most 1000 */
    uint32_t factor_percent;  /* exponential growth: 200 doubles */
    int64_t delay_ms;         /* before the second attempt */
    int64_t delay_ms_max;     /* ceiling for exponential growth */
    int64_t reserved[4];      /* 0 */
} aiki_retry;

/* ---- task side --------------------------------------------------------------------------- */

typedef struct aiki_task_api aiki_task_api;

/* One attempt of one task call. The host owns it; it ends when the task function returns. */
typedef struct aiki_call {
    const aiki_task_api *api;
} aiki_call;

enum { AIKI_LOG_DEBUG = 0, AIKI_LOG_INFO = 1, AIKI_LOG_WARN = 2, AIKI_LOG_ERROR = 3 };

/* What task code may ask of the host. Every function: [task], that is, from the thread the
 * task function was called on. since 1.0 */
struct aiki_task_api {
    uint32_t struct_size;
    uint32_t reserved;

    /* Number of this attempt, from 1. */
    uint32_t (*attempt)(const aiki_call *call);
    /* Same text on every attempt of this call, different for every other call of any run.
     * Lives as long as the attempt. Hand it to payment providers and the like. */
    const char *(*idempotency_key)(const aiki_call *call);
    /* Ids for logs; live as long as the attempt. */
    const char *(*run_id)(const aiki_call *call);
    const char *(*task_name)(const aiki_call *call);
    /* True once the attempt's result is no longer wanted; return soon, with any status. */
    bool (*cancelled)(const aiki_call *call);
    /* Memory that lives as long as the attempt; zeroed, 16-byte aligned. NULL: out of memory
     * or over the attempt's limit of 64 MiB. */
    void *(*alloc)(aiki_call *call, uint64_t size_bytes);
    /* Set the output: one msgpack value, copied before the call returns. The last one counts.
     * AIKI_INVALID when it is not msgpack, AIKI_LIMIT over 4 MiB. */
    aiki_status (*output)(aiki_call *call, aiki_view value);
    /* Report why the attempt failed; copied, cause chain and details included. Always answers
     * AIKI_FAILED, so that `return call->api->fail(...)` ends the task. */
    aiki_status (*fail)(aiki_call *call, const aiki_error *error);
    /* One line into the runtime's log with run, task and attempt beside it. */
    void (*log)(aiki_call *call, int32_t level, const char *text);
    /* ---- members added in 1.1 go below this line ---- */
};

/* Task code: does real work, may block, may run on any thread.
 * input: one msgpack value, borrowed until the function returns.
 * AIKI_OK records the output set through the table (nil when none was set). Any other status
 * fails the attempt; the error is the one given to fail(), else the status alone.
 * [task] since 1.0 */
typedef aiki_status (*aiki_task_fn)(aiki_call *call, aiki_view input);

enum {
    /* Runs on the thread that runs workflows: no hop, but it must return within a millisecond
     * and never block. */
    AIKI_TASK_INLINE = 1u << 0
};

typedef struct aiki_task_def {
    uint32_t struct_size;
    uint32_t flags;         /* AIKI_TASK_* */
    const char *name;       /* [a-zA-Z0-9._-], 1 to 100 bytes, unique in the plugin */
    aiki_task_fn fn;
    aiki_retry retry;
    const struct aiki_record_def *input;  /* NULL: any value */
    const struct aiki_record_def *output; /* NULL: any value */
    const char *summary;    /* one line for people, or NULL */
} aiki_task_def;

/* ---- workflow side ----------------------------------------------------------------------- */

typedef struct aiki_run_api aiki_run_api;

/* One execution of a workflow. The host owns it; it ends when the workflow function returns
 * or is dropped while suspended (its stack and arena are freed, nothing is unwound). */
typedef struct aiki_run {
    const aiki_run_api *api;
} aiki_run;

/* A step that was started and not yet awaited. Numbered from 1 within the run; 0 is none. */
typedef uint32_t aiki_future;

/* Changes to a task call. Zero members mean: as the task's definition says. since 1.0 */
typedef struct aiki_task_options {
    uint32_t struct_size;
    uint32_t reserved;
    const aiki_retry *retry; /* borrowed until the call returns, or NULL */
} aiki_task_options;

/* What workflow code may ask of the host. Every function: [fiber]; those marked "suspends" may
 * give the thread to other runs and come back much later, in another process, by replay:
 * nothing but the arena and the stack survives, no lock or file may be held across them.
 * Names are [a-zA-Z0-9._-], 1 to 100 bytes, borrowed until the call returns.
 * Input views: one msgpack value, borrowed until the call returns.
 * Output views: owned by the host, valid until the workflow function returns; set on AIKI_OK.
 * Errors: AIKI_INVALID for a bad argument. since 1.0 */
struct aiki_run_api {
    uint32_t struct_size;
    uint32_t reserved;

    /* Id of the run as text; lives as long as the run. */
    const char *(*id)(const aiki_run *run);
    /* Memory that lives as long as the run's stay in this process; zeroed, 16-byte aligned.
     * NULL: out of memory or over the run's limit of 64 MiB. */
    void *(*alloc)(aiki_run *run, uint64_t size_bytes);
    /* Set the workflow's output: one msgpack value, copied. The last one before return counts. */
    aiki_status (*output)(aiki_run *run, aiki_view value);
    /* Fail the run with a full error when the function returns; answers AIKI_FAILED. */
    aiki_status (*fail)(aiki_run *run, const aiki_error *error);

    /* Start a task: identity is (task name, canonical input); the same pair twice is a queue.
     * options may be NULL. Does not suspend. */
    aiki_status (*task_start)(aiki_run *run, const char *name, aiki_view input,
                              const aiki_task_options *options, aiki_future *ret_future,
                              aiki_error *err);
    /* Start waiting for time. Identity is the name. A negative duration counts as 0. */
    aiki_status (*sleep_start)(aiki_run *run, const char *name, int64_t duration_ms,
                               aiki_future *ret_future, aiki_error *err);
    /* Start waiting for the next signal of that name; AIKI_FOREVER_MS waits without limit. */
    aiki_status (*signal_start)(aiki_run *run, const char *name, int64_t timeout_ms,
                                aiki_future *ret_future, aiki_error *err);

    /* Wait until `needed` of the futures are done (1 = any, count = all). Suspends.
     * Answers AIKI_OK whatever their outcomes are; ask result() for each. */
    aiki_status (*await)(aiki_run *run, const aiki_future *futures, uint32_t count,
                         uint32_t needed, aiki_error *err);
    /* Outcome of one future: AIKI_PENDING before it is done; AIKI_OK with the task's output or
     * the signal's payload (nil after a sleep); AIKI_TIMEDOUT for a signal that did not come;
     * AIKI_FAILED with the task's last error. Never suspends. */
    aiki_status (*result)(aiki_run *run, aiki_future future, aiki_view *ret_output,
                          aiki_error *err);

    /* Side values, recorded when first asked for and the same ever after. Suspends only in so
     * far as a replay may be under way. now: ms since 1970 UTC. */
    aiki_status (*now)(aiki_run *run, int64_t *ret_at_ms, aiki_error *err);
    aiki_status (*random)(aiki_run *run, uint64_t *ret_value, aiki_error *err);
    /* Version 4 UUID, 36 characters and NUL. */
    aiki_status (*uuid)(aiki_run *run, char ret_text[37], aiki_error *err);
    /* Any captured value: fn is called once per run and name, its output (set through the
     * writer) is recorded. fn must be short and must not block. arg is passed through. */
    aiki_status (*record_once)(aiki_run *run, const char *name,
                               aiki_status (*fn)(void *arg, aiki_writer *output), void *arg,
                               aiki_view *ret_value, aiki_error *err);

    /* True while recorded steps are being answered from the journal. For logging only. */
    bool (*replaying)(const aiki_run *run);
    /* One line into the runtime's log; silent while replaying. */
    void (*log)(aiki_run *run, int32_t level, const char *text);
    /* ---- members added in 1.1 go below this line ---- */
};

/* Workflow code: re-run from the top after every suspension; steps on record answer at once.
 * Between two steps it must be pure: no clock, random source, file, socket or thread.
 * input: one msgpack value, borrowed until the function returns.
 * AIKI_OK completes the run with the output set through the table (nil when none was set).
 * Any other status fails it with err, or with what fail() was given.
 * [fiber] since 1.0 */
typedef aiki_status (*aiki_workflow_fn)(aiki_run *run, aiki_view input, aiki_error *err);

typedef struct aiki_workflow_def {
    uint32_t struct_size;
    uint32_t flags;         /* 0 */
    const char *name;       /* [a-zA-Z0-9._-], 1 to 100 bytes */
    const char *version;    /* semantic: MAJOR.MINOR.PATCH */
    aiki_workflow_fn fn;
    const struct aiki_record_def *input;  /* NULL: any value */
    const struct aiki_record_def *output; /* NULL: any value */
    const char *summary;    /* one line for people, or NULL */
} aiki_workflow_def;

/* ---- the plugin -------------------------------------------------------------------------- */

/* The table of definitions. Owned by the plugin, constant, lives until the process ends.
 * Arrays carry their stride so that entries may grow. since 1.0 */
typedef struct aiki_plugin_def {
    uint32_t struct_size;
    uint32_t abi_major;     /* AIKI_ABI_MAJOR the plugin was compiled with */
    uint32_t abi_minor;
    uint32_t reserved;
    const char *name;       /* [a-zA-Z0-9._-], 1 to 100 bytes */
    const char *version;
    const char *language;   /* "c", "c++", "rust"... */
    const char *toolchain;  /* e.g. __VERSION__, or NULL */
    const aiki_workflow_def *workflows;
    uint32_t workflow_count; /* at most 256 */
    uint32_t workflow_stride;
    const aiki_task_def *tasks;
    uint32_t task_count;    /* at most 1024 */
    uint32_t task_stride;
} aiki_plugin_def;

/* The one exported symbol. host_abi_minor lets a plugin see what the host offers. Called once,
 * on the child's main thread, before anything else. NULL refuses to load. since 1.0 */
#define AIKI_PLUGIN_SYMBOL "aiki_plugin_v1"
typedef const aiki_plugin_def *(*aiki_plugin_fn)(uint32_t host_abi_major, uint32_t host_abi_minor);

#if defined(__GNUC__) || defined(__clang__)
#define AIKI_EXPORT __attribute__((visibility("default")))
#else
#define AIKI_EXPORT
#endif

#ifdef __cplusplus
}
#endif

#include <aiki/define.h>
#include <aiki/run.h>

#endif

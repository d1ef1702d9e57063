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
#define AIKI_ABI_MINOR 1

/* True when a struct filled by the other side reaches far enough to hold a member. */
#define AIKI_HAS(ptr, member) \
    ((ptr)->struct_size >= (size_t)((const char *)(&(ptr)->member + 1) - (const char *)(ptr)))

#define AIKI_SECONDS_MS(n) ((int64_t)(n)*1000)
#define AIKI_MINUTES_MS(n) ((int64_t)(n)*60000)
#define AIKI_HOURS_MS(n) ((int64_t)(n)*3600000)
#define AIKI_DAYS_MS(n) ((int64_t)(n)*86400000)
#define AIKI_FOREVER_MS ((int64_t)-1)
/* As the workflow's definition says, else as the runtime is set, 7 days unless it is. For signals.
 * since 1.1; to a host of 1.0 it is AIKI_FOREVER_MS. */
#define AIKI_DEFAULT_MS ((int64_t)-2)

struct aiki_record_def; /* aiki/record.h: a schema; NULL where any msgpack is accepted */

/* What becomes of a value that does not fit its schema. since 1.1 */
enum {
    AIKI_SCHEMA_STRICT = 0, /* it fails the task or run; one on record blocks the run */
    AIKI_SCHEMA_WARN = 1,   /* it passes and the history has an entry about it */
    AIKI_SCHEMA_OFF = 2     /* nobody looks */
};

/* ---- retry ------------------------------------------------------------------------------- */

enum {
    AIKI_RETRY_DEFAULT = 0, /* exponential, 10 attempts, 200 ms, factor 2, ceiling 60 s */
    AIKI_RETRY_NEVER = 1,
    AIKI_RETRY_FIXED = 2,
    AIKI_RETRY_EXPONENTIAL = 3,
    AIKI_RETRY_LIST = 4     /* the delays of delays_ms, one after the other; since 1.1 */
};

enum { AIKI_RETRY_DELAYS_MAX = 64, AIKI_RETRY_CODES_MAX = 32 };

/* How a failed attempt is repeated. Zero members take the values of AIKI_RETRY_DEFAULT. A task that
 * fails with a retry_after_ms of its own chooses that one delay itself; attempts still count.
 *
 * Always of this size, because aiki_task_def contains one. In 1.0 the members from jitter_percent
 * on were reserved and zero. since 1.0 */
typedef struct aiki_retry {
    uint32_t struct_size;
    int32_t kind;              /* AIKI_RETRY_* */
    uint32_t attempts_max;     /* including the first; at most 1000. 0 with a list: one more than it
                                * has delays */
    uint32_t factor_percent;   /* exponential growth: 200 doubles */
    int64_t delay_ms;          /* before the second attempt */
    int64_t delay_ms_max;      /* ceiling for exponential growth */
    /* since 1.1: */
    uint32_t jitter_percent;   /* 0 to 100: how much of each delay is left to chance. With 30 a
                                * delay of 1000 ms becomes one of 700 to 1000. The same run, step
                                * and attempt always draw the same number */
    uint32_t delay_count;      /* at most AIKI_RETRY_DELAYS_MAX */
    uint32_t final_code_count; /* at most AIKI_RETRY_CODES_MAX */
    uint32_t reserved;         /* 0 */
    /* AIKI_RETRY_LIST: before the second attempt, the third... The last one repeats itself. In a
     * definition it lives as long as the plugin, in options until the call returns. */
    const int64_t *delays_ms;
    /* Codes of errors after which no further attempt can help. Lives as delays_ms does. */
    const char *const *final_codes;
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

    /* Still alive and getting on: restarts heartbeat_ms of the task. details: one msgpack value of
     * at most 64 KiB for the next attempt if this one fails, or empty; copied, the last one counts,
     * recorded now and then. AIKI_CANCELLED once the result is no longer wanted, else AIKI_OK,
     * AIKI_INVALID, AIKI_LIMIT, AIKI_NOMEM. since 1.1 */
    aiki_status (*heartbeat)(aiki_call *call, aiki_view details);
    /* What the attempt before this one left with heartbeat(); empty when nothing. Lives as long as
     * the attempt. since 1.1 */
    aiki_view (*last_details)(const aiki_call *call);
    /* When the attempt is going to be stopped: the earliest of its own timeouts and the run's
     * deadline, in ms since 1970 UTC by the server's clock; 0: never. since 1.1 */
    int64_t (*deadline_ms)(const aiki_call *call);
    /* schema_mode of the task: AIKI_SCHEMA_*. since 1.1 */
    uint32_t (*schema_mode)(const aiki_call *call);
    /* ---- members added in 1.2 go below this line ---- */
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
    AIKI_TASK_INLINE = 1u << 0,
    /* An attempt that was under way when its process or host died is not repeated: the step fails
     * with code OUTCOME_UNKNOWN, and the workflow finds out what happened. Its start is recorded
     * before it begins, which costs one more commit. Failures are retried as ever. since 1.1 */
    AIKI_TASK_AT_MOST_ONCE = 1u << 1,
    /* Only for the definition: executed in a process that has no other run in it. A run that comes to
     * such a task moves there, which costs one claim and the start of a process. since 1.1 */
    AIKI_TASK_ISOLATED = 1u << 2
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
    /* ---- members added in 1.1 go below this line; durations in ms, 0 = no limit ---- */
    /* One attempt, from its start. When it passes, cancelled() answers true, the attempt counts as
     * failed (TIMEOUT_START_TO_CLOSE), and one that has not returned 1 s later is ended together
     * with its process: its other runs go on elsewhere. since 1.1 */
    int64_t start_to_close_ms;
    /* From the call to the start of the first attempt (TIMEOUT_SCHEDULE_TO_START, final). */
    int64_t schedule_to_start_ms;
    /* The whole call, further attempts and the delays between them included
     * (TIMEOUT_SCHEDULE_TO_CLOSE, final). */
    int64_t schedule_to_close_ms;
    /* Longest silence between two calls of heartbeat() (TIMEOUT_HEARTBEAT). */
    int64_t heartbeat_ms;
    /* How often one call may end the process it is executed in (a signal, exit(), no memory) in one
     * build; then another build goes on, or the step fails with STEP_CRASHED. No attempt of the retry policy is charged for it. At most
     * 1000; 0: 3. since 1.1 */
    uint32_t crashes_max;
    uint32_t schema_mode;   /* AIKI_SCHEMA_*, for input and output. since 1.1 */
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
    uint32_t flags;          /* AIKI_TASK_AT_MOST_ONCE, since 1.1; in 1.0 it was reserved and 0 */
    const aiki_retry *retry; /* borrowed until the call returns, or NULL */
    /* ---- members added in 1.1 go below this line; those of aiki_task_def, for this call ---- */
    int64_t start_to_close_ms;
    int64_t schedule_to_start_ms;
    int64_t schedule_to_close_ms;
    int64_t heartbeat_ms;
    /* Calls of the same run with the same task and key are one call: the second gets the recorded
     * result of the first, whatever its input. 1 to 100 bytes of UTF-8; NULL: the input decides and
     * every call is executed. since 1.1 */
    const char *key;
    uint32_t crashes_max;    /* as in aiki_task_def. since 1.1 */
    uint32_t reserved;       /* 0 */
} aiki_task_options;

/* What becomes of a child when its parent ends, and when its future is cancelled. since 1.1 */
enum {
    AIKI_CLOSE_CANCEL = 0,    /* asked to end; its cleanup runs */
    AIKI_CLOSE_TERMINATE = 1, /* ended at once, without any code of it being run */
    AIKI_CLOSE_ABANDON = 2    /* goes on by itself */
};

/* How a child is started. Zero members: awaited, AIKI_CLOSE_CANCEL, no key. since 1.1 */
typedef struct aiki_child_options {
    uint32_t struct_size;
    int32_t close_policy; /* AIKI_CLOSE_* */
    uint32_t detached;    /* 1: the future is done as soon as the child is started, with its run id */
    /* 1, with a key: when a run has the key already, this step follows that one: the result of one
     * that completed, the end of one that is open. One that ended otherwise loses the key to a new
     * run. With another input it is a failed start, KEY_TAKEN. Implies AIKI_CLOSE_ABANDON. In 1.0 it
     * was reserved. since 1.1 */
    uint32_t shared;
    const char *key;      /* start key of the run (aiki/client.h), borrowed; NULL: none */
    /* A child that no runtime has taken up so long after its start ends as timed out, with
     * TIMEOUT_SCHEDULE_TO_START and the workflow@version that nobody serves. 0: it waits. since 1.1 */
    int64_t schedule_to_start_ms;
} aiki_child_options;

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
     * options may be NULL. Does not suspend, unless the plugin defines no task of that name and the record has no
     * result of it: then it does not return, and the run goes on with a build that does (since 1.1). */
    aiki_status (*task_start)(aiki_run *run, const char *name, aiki_view input,
                              const aiki_task_options *options, aiki_future *ret_future,
                              aiki_error *err);
    /* Start waiting for time. Identity is the name. A negative duration counts as 0. */
    aiki_status (*sleep_start)(aiki_run *run, const char *name, int64_t duration_ms,
                               aiki_future *ret_future, aiki_error *err);
    /* Start waiting for the next signal of that name; AIKI_FOREVER_MS waits without limit,
     * AIKI_DEFAULT_MS as long as definition and setting say. Anything less counts as 0. Time that is
     * left is best bounded before it is given here: -1 and -2 have their meaning. */
    aiki_status (*signal_start)(aiki_run *run, const char *name, int64_t timeout_ms,
                                aiki_future *ret_future, aiki_error *err);

    /* Wait until `needed` of the futures are done (1 = any, count = all). Suspends.
     * Answers AIKI_OK whatever their outcomes are; ask result() for each. AIKI_CANCELLED: the run is
     * to end and they are not done, see cancelled(). */
    aiki_status (*await)(aiki_run *run, const aiki_future *futures, uint32_t count,
                         uint32_t needed, aiki_error *err);
    /* Outcome of one future: AIKI_PENDING before it is done; AIKI_OK with the task's output or
     * the signal's payload (nil after a sleep); AIKI_TIMEDOUT for a signal that did not come;
     * AIKI_FAILED with the task's last error; AIKI_CANCELLED when nobody wanted it any more. Of a
     * child see child_start. Never suspends. */
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

    /* Start a run of a workflow of any plugin, served anywhere, as a child of this one. Identity is
     * (workflow, canonical input). version NULL or "": the newest served when it starts. options may
     * be NULL. The child's end is the future's: AIKI_OK with its output, AIKI_FAILED, AIKI_CANCELLED
     * or AIKI_TIMEDOUT with its error; a child that cannot be started is a failed one. Detached: its
     * run id, 26 characters as msgpack text. Suspends only while an append makes room. */
    aiki_status (*child_start)(aiki_run *run, const char *workflow, const char *version,
                               aiki_view input, const aiki_child_options *options,
                               aiki_future *ret_future, aiki_error *err);
    /* Start waiting until a time, in ms since 1970 UTC; one that has passed is due at once. A step
     * like that of sleep_start: identity is the name. */
    aiki_status (*sleep_until_start)(aiki_run *run, const char *name, int64_t at_ms,
                                     aiki_future *ret_future, aiki_error *err);
    /* The result of a future is no longer wanted: a step that is not done ends with AIKI_CANCELLED,
     * an attempt under way is told and what it still brings is dropped, a child is treated by its
     * close policy. Nothing happens to a step that is done. Never suspends. */
    aiki_status (*future_cancel)(aiki_run *run, aiki_future future, aiki_error *err);
    /* True once this code has learnt that the run is to end: an await outside of a protected scope
     * that had to wait answered AIKI_CANCELLED, and every other one that has to will. Steps open then,
     * and steps started later, end with AIKI_CANCELLED; those of protected scopes do not. A function
     * that returns AIKI_CANCELLED ends the run as cancelled; AIKI_OK completes it. */
    bool (*cancelled)(const aiki_run *run);
    /* Enter (true) or leave (false) a protected scope; they nest. Inside, a request to end the run is
     * not seen and steps work as ever: the place for cleanup. */
    void (*protect)(aiki_run *run, bool on);
    /* schema_mode of the workflow: AIKI_SCHEMA_*. since 1.1 */
    uint32_t (*schema_mode)(const aiki_run *run);
    /* result() for code that decodes a record from it. A value on record that does not fit it blocks
     * the run with SCHEMA_MISMATCH and the field: this does not return then, and a build that fits
     * goes on from here. ret_mode: in which mode to decode, that of the task or of this workflow.
     * since 1.1 */
    aiki_status (*result_as)(aiki_run *run, aiki_future future, const struct aiki_record_def *record,
                             aiki_view *ret_output, uint32_t *ret_mode, aiki_error *err);
    /* signal_start() for code that decodes a record from the payload. A signal that does not fit it
     * when it is taken fails the step with SCHEMA_MISMATCH: the next wait takes the next one.
     * since 1.1 */
    aiki_status (*signal_start_as)(aiki_run *run, const char *name, int64_t timeout_ms,
                                   const struct aiki_record_def *record, aiki_future *ret_future,
                                   aiki_error *err);
    /* Of a future that answers AIKI_FAILED: the output that its task set and asked to keep with
     * AIKI_ERROR_KEEP_OUTPUT when it failed for the last time. AIKI_NOT_FOUND: there is none;
     * AIKI_PENDING before it is done. since 1.1 */
    aiki_status (*kept_output)(aiki_run *run, aiki_future future, aiki_view *ret_output,
                               aiki_error *err);
    /* ---- members added in 1.2 go below this line ---- */
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
    /* ---- members added in 1.1 go below this line ---- */
    /* When the function fails, the run is executed again by this policy; completed steps keep their
     * results. AIKI_RETRY_DEFAULT means never here. since 1.1 */
    aiki_retry retry;
    /* From the start of the run to its end, in ms; 0 = no limit. What a start asks for wins. */
    int64_t run_timeout_ms;
    /* start_to_close_ms of its tasks that set none themselves. */
    int64_t task_start_to_close_ms;
    /* AIKI_SCHEMA_*, for input and output, for results of children and for payloads of signals. */
    uint32_t schema_mode;
    uint32_t reserved;      /* 0 */
    /* Of its waits for signals that are given AIKI_DEFAULT_MS; 0 = as the runtime is set. */
    int64_t wait_timeout_ms;
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
/* A constant text, if it is there: AIKI_NEEDS of aiki/define.h. since 1.1 */
#define AIKI_NEEDS_SYMBOL "aiki_needs_v1"
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

/* aiki/client.h - start workflow runs and follow them, from an application.
 *
 *   aiki_client *client;
 *   aiki_client_open("127.0.0.1:9090", NULL, &client, &err);
 *   aiki_client_start(client, &(aiki_start){.struct_size = sizeof(aiki_start),
 *                     .workflow = "hello", .input = input}, run_id, NULL, &err);
 *   aiki_client_wait(client, run_id, 60000, &outcome, &err);
 *
 * One client is one connection, served by one thread of its own that reconnects by itself. A
 * request whose answer was lost with a connection is repeated on the next one; the server
 * recognises the repeat (a start by its run id, a signal or a control by its reference), so nothing
 * happens twice.
 *
 * Threads: every function may be called from any thread at any time, except that the blocking
 * forms and aiki_client_close must not be called from a callback. Callbacks (the _async forms)
 * run on the client's thread: be short, do not block. A client does not survive fork().
 *
 * Arguments are borrowed until the call returns. Options and request structs begin with
 * struct_size; an unknown tail is ignored, a missing tail reads as zero.
 *
 * Limits per client: AIKI_CLIENT_REQUESTS_MAX requests and AIKI_CLIENT_BYTES_MAX bytes of them
 * without an answer, then AIKI_LIMIT. A payload is at most 4 MiB.
 */
#ifndef AIKI_CLIENT_H
#define AIKI_CLIENT_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define AIKI_CLIENT_API __attribute__((visibility("default")))
#else
#define AIKI_CLIENT_API
#endif

enum {
    AIKI_RUN_ID_SIZE = 27, /* 26 characters and NUL */
    AIKI_CLIENT_REQUESTS_MAX = 65536,
    AIKI_CLIENT_BYTES_MAX = 128 * 1024 * 1024
};

/* Where a run stands. Numbers are never reused. since 1.0 */
enum {
    AIKI_RUN_QUEUED = 1,
    AIKI_RUN_RUNNING = 2,
    AIKI_RUN_SLEEPING = 3,
    AIKI_RUN_AWAITING_SIGNAL = 4,
    AIKI_RUN_AWAITING_RETRY = 5,
    AIKI_RUN_BLOCKED = 6, /* waits for a person; `aiki runs inspect` says why */
    AIKI_RUN_STALLED = 7, /* nobody serves this workflow version */
    AIKI_RUN_COMPLETED = 8,
    AIKI_RUN_FAILED = 9,
    AIKI_RUN_CANCELLED = 10,
    AIKI_RUN_TIMED_OUT = 11,
    AIKI_RUN_TERMINATED = 12,
    AIKI_RUN_SCHEDULED = 13,
    AIKI_RUN_AWAITING_CHILD = 14,
    AIKI_RUN_PAUSED = 15,
    AIKI_RUN_CANCELLING = 16
};

/* "completed"; "unknown" for a number not above. The text is constant. since 1.0 */
AIKI_CLIENT_API const char *aiki_run_state_name(int32_t state);
/* True once the run has ended, whichever way. since 1.0 */
AIKI_CLIENT_API bool aiki_run_state_is_final(int32_t state);

/* A new run id, time-ordered and unique. For aiki_start.run_id. since 1.0 */
AIKI_CLIENT_API void aiki_run_id_new(char ret_run_id[AIKI_RUN_ID_SIZE]);

/* ---- the client --------------------------------------------------------------------------- */

typedef struct aiki_client aiki_client;

/* Zero members take the stated defaults. since 1.0 */
typedef struct aiki_client_options {
    uint32_t struct_size;
    uint32_t reserved;
    const char *name;           /* who connects, for people; NULL: "c-client" */
    const char *token;          /* credential; NULL: see token_file; "": none */
    const char *space;          /* namespace; NULL: "default" */
    int64_t connect_timeout_ms; /* limit of aiki_client_open; 0: 5000 */
    /* How long a request may stay without an answer, and how long the server may be out of
     * reach before waiting requests give up; 0: 30000. */
    int64_t request_timeout_ms;
    /* since 1.1. When token is NULL: path of the file with the credential in its first line that
     * is no # comment, read whenever the client connects. When both are NULL: the environment
     * variable AIKI_TOKEN, else the file that AIKI_TOKEN_FILE names, else none. Nobody but owner
     * and group may be able to read the file. */
    const char *token_file;
    /* since 1.1. For urls with TLS, paths of PEM files: whose certificate the server must have
     * (NULL: AIKI_TLS_CA, else what the system trusts); the own certificate and its key, for
     * servers that ask for one (both NULL: AIKI_TLS_CERT and AIKI_TLS_KEY, else none). */
    const char *tls_ca, *tls_cert, *tls_key;
} aiki_client_options;

/* Connect. url: "aiki://HOST:PORT", "HOST:PORT", "HOST" (port 9090) or "unix:PATH"; with TLS
 * "tls:HOST:PORT" or "tls:HOST", whose certificate must be for that name.
 * options: NULL for the defaults. *ret_client is the caller's; give it to aiki_client_close.
 * AIKI_UNAVAILABLE, naming the address and the reason, when nobody answered in time;
 * AIKI_DENIED or AIKI_UNSUPPORTED when the server turned the client away; AIKI_INVALID for a
 * bad url, a certificate file that cannot be read, or a token file that is missing or open to others. since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_open(const char *url,
                                                            const aiki_client_options *options,
                                                            aiki_client **ret_client,
                                                            aiki_error *err);
/* Disconnect and free. Requests without an answer end with AIKI_CANCELLED; their runs go on.
 * Returns when the last callback has returned. NULL is a no-op. since 1.0 */
AIKI_CLIENT_API void aiki_client_close(aiki_client *client);
/* Free an outcome or the bytes of a document that a blocking form handed out. NULL is a
 * no-op. since 1.0 */
AIKI_CLIENT_API void aiki_client_free(const void *memory);

/* ---- starting ----------------------------------------------------------------------------- */

/* What to start. since 1.0 */
typedef struct aiki_start {
    uint32_t struct_size;
    uint32_t reserved;
    const char *workflow;
    const char *version; /* NULL: the newest that is served */
    aiki_view input;     /* one msgpack value; empty: nil */
    /* At most one run per workflow and key: the same key and input name the existing run, the
     * same key with another input is AIKI_CONFLICT unless key_policy says otherwise. NULL: no
     * key; an empty one is AIKI_INVALID. */
    const char *key;
    /* The id the run shall have, from aiki_run_id_new. Lets a program that died or got
     * AIKI_UNAVAILABLE repeat the very same start. NULL: the client makes one. */
    const char *run_id;
    const char *actor;   /* who asks, for the record; NULL: the client's name */
    /* since 1.1. The run stays `scheduled` until then: delay_ms after the server took the start,
     * or at start_at_ms, milliseconds since 1970. Both 0: at once. */
    int64_t delay_ms;
    int64_t start_at_ms;
    /* since 1.1. A run that is still open this long after it was taken on (or after start_at_ms)
     * ends `timed_out`. 0: as the workflow's definition says. */
    int64_t run_timeout_ms;
    /* since 1.1. A msgpack map of a retry policy that wins over those of the tasks, with the
     * members of "retry" in the HTTP API; empty: each task's own. */
    aiki_view retry;
    int32_t key_policy; /* since 1.1. AIKI_KEY_* */
    uint32_t reserved_2; /* 0 */
} aiki_start;

/* What a start does whose key names a run that exists. since 1.1 */
enum {
    AIKI_KEY_SAME = 0,     /* the same input: that run; another input: AIKI_CONFLICT */
    AIKI_KEY_EXISTING = 1, /* that run, whatever its input */
    AIKI_KEY_REPLACE = 2   /* the same input: that run; another: it is terminated, a new one starts */
};

/* Start a run. On AIKI_OK the start is durable. ret_created (may be NULL): false when the key
 * named a run that existed.
 * AIKI_NOT_FOUND: no such workflow or version. AIKI_SCHEMA: the input does not fit; the message
 * names path, rule and value. AIKI_CONFLICT: see key. AIKI_INVALID, AIKI_LIMIT: bad argument.
 * AIKI_UNAVAILABLE: no answer in time; the run may exist, repeat with the same key or run id.
 * since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_start(aiki_client *client,
                                                             const aiki_start *start,
                                                             char ret_run_id[AIKI_RUN_ID_SIZE],
                                                             bool *ret_created, aiki_error *err);

/* ---- following ---------------------------------------------------------------------------- */

/* How a run ended (or, from a callback with AIKI_TIMEDOUT, nothing). since 1.0 */
typedef struct aiki_outcome {
    uint32_t struct_size;    /* filled by the library */
    int32_t state;           /* AIKI_RUN_* */
    aiki_view output;        /* one msgpack value when completed, else empty */
    const aiki_error *error; /* why it did not complete, causes and details included, or NULL */
} aiki_outcome;

/* Where the run stands now. AIKI_NOT_FOUND, AIKI_INVALID (not a run id), AIKI_UNAVAILABLE.
 * since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_status(aiki_client *client,
                                                              const char *run_id,
                                                              int32_t *ret_state,
                                                              aiki_error *err);
/* Wait until the run has ended, at most timeout_ms (negative: without limit, 0: only look).
 * AIKI_OK: completed. AIKI_FAILED: ended otherwise; err says why. In both cases
 * *ret_outcome (may be NULL) is the caller's, who gives it to aiki_client_free; details and
 * cause of err point into it. AIKI_TIMEDOUT: not finished yet; the run goes on untouched.
 * AIKI_NOT_FOUND, AIKI_INVALID, AIKI_UNAVAILABLE as above. since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_wait(aiki_client *client,
                                                            const char *run_id,
                                                            int64_t timeout_ms,
                                                            const aiki_outcome **ret_outcome,
                                                            aiki_error *err);
/* Give a run a signal. On AIKI_OK it is durable and will be seen by the run's next wait for
 * that name. payload: one msgpack value, empty for nil. ref: signals of a run with the same
 * reference count once; NULL makes every call a new signal. ret_new (may be NULL): false when
 * the reference had been seen. AIKI_NOT_FOUND, AIKI_STALE (the run has ended), AIKI_INVALID,
 * AIKI_LIMIT, AIKI_UNAVAILABLE. since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_signal(aiki_client *client,
                                                              const char *run_id,
                                                              const char *name,
                                                              aiki_view payload, const char *ref,
                                                              bool *ret_new, aiki_error *err);
/* What may be asked of a run from outside. Numbers are never reused. since 1.1 */
enum {
    AIKI_CONTROL_CANCEL = 1,    /* tell its code, which cleans up and returns; its children too */
    AIKI_CONTROL_TERMINATE = 2, /* end it now; none of its code is executed any more */
    AIKI_CONTROL_PAUSE = 3,     /* attempts under way end and are recorded, nothing new starts */
    AIKI_CONTROL_RESUME = 4,
    AIKI_CONTROL_WAKE = 5,      /* its sleeps and retry delays are over now */
    AIKI_CONTROL_RETRY = 6,     /* a failed, cancelled or timed out run goes on from its record */
    AIKI_CONTROL_DROP = 7       /* a failed run is no dead letter any more. since 1.2 */
};

/* since 1.1 */
typedef struct aiki_control {
    uint32_t struct_size;
    int32_t action;        /* AIKI_CONTROL_* */
    const char *reason;    /* for the record, or NULL */
    const char *actor;     /* who asks, for the record; NULL: the client's name */
    /* AIKI_CONTROL_RETRY: everything from the first outcome of the step with this name on is
     * executed again. NULL: only what did not succeed. */
    const char *from_step;
    /* Requests for the same action of a run with the same reference count once: a repeat is answered
     * as the first one that changed something was. NULL: every call is one of its own. since 1.1 */
    const char *ref;
} aiki_control;

/* Ask that of a run. On AIKI_OK it is durable. ret_changed (may be NULL): false when it was so
 * already. AIKI_NOT_FOUND; AIKI_STALE: the state of the run does not allow it, which the message
 * names; AIKI_INVALID, AIKI_LIMIT: bad argument. AIKI_UNAVAILABLE: no answer in time; ask again,
 * with a reference when it must not count twice. since 1.1 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_control(aiki_client *client,
                                                               const char *run_id,
                                                               const aiki_control *control,
                                                               bool *ret_changed,
                                                               aiki_error *err);

static inline aiki_status aiki_client_control_(aiki_client *client, const char *run_id,
                                               int32_t action, const char *reason,
                                               const char *from_step, aiki_error *err)
{
    aiki_control control;
    control.struct_size = (uint32_t)sizeof(control);
    control.action = action;
    control.reason = reason;
    control.actor = NULL;
    control.from_step = from_step;
    control.ref = NULL;
    return aiki_client_control(client, run_id, &control, NULL, err);
}

/* aiki_client_control by name; reason and from_step may be NULL. since 1.1 */
static inline aiki_status aiki_client_cancel(aiki_client *client, const char *run_id,
                                             const char *reason, aiki_error *err)
{
    return aiki_client_control_(client, run_id, AIKI_CONTROL_CANCEL, reason, NULL, err);
}
static inline aiki_status aiki_client_terminate(aiki_client *client, const char *run_id,
                                                const char *reason, aiki_error *err)
{
    return aiki_client_control_(client, run_id, AIKI_CONTROL_TERMINATE, reason, NULL, err);
}
static inline aiki_status aiki_client_pause(aiki_client *client, const char *run_id,
                                            const char *reason, aiki_error *err)
{
    return aiki_client_control_(client, run_id, AIKI_CONTROL_PAUSE, reason, NULL, err);
}
static inline aiki_status aiki_client_resume(aiki_client *client, const char *run_id,
                                             const char *reason, aiki_error *err)
{
    return aiki_client_control_(client, run_id, AIKI_CONTROL_RESUME, reason, NULL, err);
}
static inline aiki_status aiki_client_wake(aiki_client *client, const char *run_id,
                                           const char *reason, aiki_error *err)
{
    return aiki_client_control_(client, run_id, AIKI_CONTROL_WAKE, reason, NULL, err);
}
static inline aiki_status aiki_client_retry(aiki_client *client, const char *run_id,
                                            const char *from_step, aiki_error *err)
{
    return aiki_client_control_(client, run_id, AIKI_CONTROL_RETRY, NULL, from_step, err);
}
/* since 1.2 */
static inline aiki_status aiki_client_drop(aiki_client *client, const char *run_id,
                                           const char *reason, aiki_error *err)
{
    return aiki_client_control_(client, run_id, AIKI_CONTROL_DROP, reason, NULL, err);
}

/* Ask for a document, e.g. "runs.list" with a map of filters (see the HTTP API for its fields).
 * args: a msgpack map, or empty. ret_document's bytes are the caller's, who gives
 * ret_document->data to aiki_client_free. AIKI_INVALID for an unknown name. since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_query(aiki_client *client,
                                                             const char *what, aiki_view args,
                                                             aiki_view *ret_document,
                                                             aiki_error *err);

/* ---- the same with callbacks -------------------------------------------------------------- */

/* An accepted start. since 1.0 */
typedef struct aiki_started {
    uint32_t struct_size; /* filled by the library */
    int32_t state;        /* AIKI_RUN_* */
    const char *run_id;
    aiki_view version;
    bool created;
} aiki_started;

/* Each is called exactly once per accepted request, on the client's thread. status and err are
 * those of the blocking form. Pointers are borrowed until the callback returns; the first one
 * is NULL unless the blocking form would have set it. since 1.0 */
typedef void (*aiki_on_started)(void *arg, aiki_status status, const aiki_started *started,
                                const aiki_error *err);
typedef void (*aiki_on_outcome)(void *arg, aiki_status status, const aiki_outcome *outcome,
                                const aiki_error *err);
typedef void (*aiki_on_signalled)(void *arg, aiki_status status, bool is_new,
                                  const aiki_error *err);
typedef void (*aiki_on_controlled)(void *arg, aiki_status status, bool changed,
                                   const aiki_error *err); /* since 1.1 */
typedef void (*aiki_on_document)(void *arg, aiki_status status, aiki_view document,
                                 const aiki_error *err);

/* Start, and when on_outcome is given, wait for the end as well, in one request. Either
 * callback may be NULL. A start that fails is reported to on_started, or to on_outcome when
 * there is no on_started; the other one is not called then.
 * A result other than AIKI_OK: nothing was sent and no callback will come. since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status
aiki_client_start_async(aiki_client *client, const aiki_start *start, aiki_on_started on_started,
                        aiki_on_outcome on_outcome, void *arg, aiki_error *err);
/* since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_wait_async(aiki_client *client,
                                                                  const char *run_id,
                                                                  int64_t timeout_ms,
                                                                  aiki_on_outcome on_outcome,
                                                                  void *arg, aiki_error *err);
/* since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status
aiki_client_signal_async(aiki_client *client, const char *run_id, const char *name,
                         aiki_view payload, const char *ref, aiki_on_signalled on_signalled,
                         void *arg, aiki_error *err);
/* since 1.1 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status
aiki_client_control_async(aiki_client *client, const char *run_id, const aiki_control *control,
                          aiki_on_controlled on_controlled, void *arg, aiki_error *err);
/* since 1.0 */
AIKI_CLIENT_API AIKI_NODISCARD aiki_status aiki_client_query_async(aiki_client *client,
                                                                   const char *what,
                                                                   aiki_view args,
                                                                   aiki_on_document on_document,
                                                                   void *arg, aiki_error *err);

#ifdef __cplusplus
}
#endif
#endif

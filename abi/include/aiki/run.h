/* aiki/run.h - what workflow and task code writes in one line, over the host's tables.
 *
 * Everything here is inline code of the plugin: it calls the tables and links nothing but libc.
 * Functions that take a run are for workflow code [fiber], those that take a call are for task
 * code [task]. Included by aiki/plugin.h. `(api->fail)` is in parentheses because testing
 * libraries like to have a macro of that name. since 1.0
 */
#ifndef AIKI_RUN_H
#define AIKI_RUN_H

#include <aiki/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Go on, or return the status of what failed: AIKI_TRY(aiki_sleep(run, "rest", 500, err)); */
#define AIKI_TRY(expression)                   \
    do {                                       \
        aiki_status try_status_ = (expression); \
        if (try_status_ != AIKI_OK)            \
            return try_status_;                \
    } while (0)

/* ---- errors and text --------------------------------------------------------------------- */

AIKI_PRINTF(4, 0)
static inline void aiki_error_vset_(aiki_error *err, aiki_status status, const char *code,
                                    const char *format, __builtin_va_list args)
{
    /* Member by member: the host's struct may be shorter than the one compiled in here. */
    err->status = status;
    err->category = 0;
    err->flags = 0;
    err->retry_after_ms = 0;
    err->details.data = NULL;
    err->details.size_bytes = 0;
    err->cause = NULL;
    __builtin_snprintf(err->code, sizeof(err->code), "%s", code);
    __builtin_vsnprintf(err->message, sizeof(err->message), format, args);
}

/* Fill *err (NULL is fine) and answer the status: return aiki_error_set(err, AIKI_FAILED,
 * "NO_STOCK", "%s is sold out", sku); Too long a code or message is cut. */
AIKI_PRINTF(4, 5)
static inline aiki_status aiki_error_set(aiki_error *err, aiki_status status, const char *code,
                                         const char *format, ...)
{
    if (err != NULL) {
        __builtin_va_list args;
        __builtin_va_start(args, format);
        aiki_error_vset_(err, status, code, format, args);
        __builtin_va_end(args);
    }
    return status;
}

/* Memory from a run's or an attempt's arena, for code that serves both. */
typedef struct aiki_memory {
    void *(*alloc)(void *arg, uint64_t size_bytes); /* zeroed; NULL when out of memory */
    void *arg;
} aiki_memory;

enum { AIKI_TEXT_BYTES_MAX = 1024 * 1024 }; /* longest text the format functions make */

AIKI_PRINTF(2, 0)
static inline char *aiki_memory_vformat_(const aiki_memory *memory, const char *format,
                                         __builtin_va_list args)
{
    __builtin_va_list again;
    char *text = NULL;
    int size;
    __builtin_va_copy(again, args);
    size = __builtin_vsnprintf(NULL, 0, format, args);
    if (size >= 0 && size < AIKI_TEXT_BYTES_MAX)
        text = (char *)memory->alloc(memory->arg, (uint64_t)size + 1);
    if (text != NULL)
        __builtin_vsnprintf(text, (size_t)size + 1, format, again);
    __builtin_va_end(again);
    return text;
}

/* ---- memory, writers, log ---------------------------------------------------------------- */

/* Zeroed memory that lives as long as the run's stay in this process. NULL: out of memory. */
static inline void *aiki_alloc(aiki_run *run, uint64_t size_bytes)
{
    return run->api->alloc(run, size_bytes);
}

/* Zeroed memory that lives as long as the attempt. NULL: out of memory. */
static inline void *aiki_call_alloc(aiki_call *call, uint64_t size_bytes)
{
    return call->api->alloc(call, size_bytes);
}

static inline void *aiki_run_alloc_(void *run, uint64_t size_bytes)
{
    return aiki_alloc((aiki_run *)run, size_bytes);
}

static inline void *aiki_call_alloc_(void *call, uint64_t size_bytes)
{
    return aiki_call_alloc((aiki_call *)call, size_bytes);
}

static inline aiki_memory aiki_run_memory(aiki_run *run)
{
    aiki_memory m;
    m.alloc = aiki_run_alloc_;
    m.arg = run;
    return m;
}

static inline aiki_memory aiki_call_memory(aiki_call *call)
{
    aiki_memory m;
    m.alloc = aiki_call_alloc_;
    m.arg = call;
    return m;
}

/* An arena takes nothing back: doubling keeps what growth leaves behind below the final size. */
static inline bool aiki_writer_grow_(aiki_writer *w, uint64_t capacity_min_bytes,
                                     const aiki_memory *memory)
{
    uint64_t capacity = w->capacity_bytes < 128 ? 256 : w->capacity_bytes * 2;
    uint8_t *data;
    if (capacity < capacity_min_bytes)
        capacity = capacity_min_bytes;
    data = (uint8_t *)memory->alloc(memory->arg, capacity);
    if (data == NULL)
        return false;
    aiki_mp_copy_(data, w->data, w->size_bytes);
    w->data = data;
    w->capacity_bytes = capacity;
    return true;
}

static inline bool aiki_writer_grow_run_(aiki_writer *w, uint64_t capacity_min_bytes)
{
    const aiki_memory memory = aiki_run_memory((aiki_run *)w->arg);
    return aiki_writer_grow_(w, capacity_min_bytes, &memory);
}

static inline bool aiki_writer_grow_call_(aiki_writer *w, uint64_t capacity_min_bytes)
{
    const aiki_memory memory = aiki_call_memory((aiki_call *)w->arg);
    return aiki_writer_grow_(w, capacity_min_bytes, &memory);
}

/* A writer that grows in the arena of the run. */
static inline aiki_writer aiki_run_writer(aiki_run *run)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, NULL, 0);
    w.grow = aiki_writer_grow_run_;
    w.arg = run;
    return w;
}

/* A writer that grows in the arena of the attempt. */
static inline aiki_writer aiki_call_writer(aiki_call *call)
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, NULL, 0);
    w.grow = aiki_writer_grow_call_;
    w.arg = call;
    return w;
}

/* Formatted text in the arena of the run; NULL: out of memory or over AIKI_TEXT_BYTES_MAX. */
AIKI_PRINTF(2, 3)
static inline char *aiki_format(aiki_run *run, const char *format, ...)
{
    const aiki_memory memory = aiki_run_memory(run);
    __builtin_va_list args;
    char *text;
    __builtin_va_start(args, format);
    text = aiki_memory_vformat_(&memory, format, args);
    __builtin_va_end(args);
    return text;
}

/* Formatted text in the arena of the attempt. */
AIKI_PRINTF(2, 3)
static inline char *aiki_call_format(aiki_call *call, const char *format, ...)
{
    const aiki_memory memory = aiki_call_memory(call);
    __builtin_va_list args;
    char *text;
    __builtin_va_start(args, format);
    text = aiki_memory_vformat_(&memory, format, args);
    __builtin_va_end(args);
    return text;
}

enum { AIKI_LOG_LINE_SIZE = 512 }; /* longer lines are cut */

/* One line into the runtime's log: aiki_log(run, AIKI_LOG_INFO, "%u items", n). */
AIKI_PRINTF(3, 4)
static inline void aiki_log(aiki_run *run, int32_t level, const char *format, ...)
{
    char line[AIKI_LOG_LINE_SIZE];
    __builtin_va_list args;
    __builtin_va_start(args, format);
    __builtin_vsnprintf(line, sizeof(line), format, args);
    __builtin_va_end(args);
    run->api->log(run, level, line);
}

AIKI_PRINTF(3, 4)
static inline void aiki_call_log(aiki_call *call, int32_t level, const char *format, ...)
{
    char line[AIKI_LOG_LINE_SIZE];
    __builtin_va_list args;
    __builtin_va_start(args, format);
    __builtin_vsnprintf(line, sizeof(line), format, args);
    __builtin_va_end(args);
    call->api->log(call, level, line);
}

/* ---- workflow: steps --------------------------------------------------------------------- */

/* Wait for one future and hand out its outcome. ret_output may be NULL. */
static inline aiki_status aiki_await(aiki_run *run, aiki_future future, aiki_view *ret_output,
                                     aiki_error *err)
{
    aiki_view output;
    AIKI_TRY(run->api->await(run, &future, 1, 1, err));
    return run->api->result(run, future, ret_output != NULL ? ret_output : &output, err);
}

/* Start a task without waiting; any number may be under way at once. */
static inline aiki_status aiki_task_start(aiki_run *run, const char *name, aiki_view input,
                                          aiki_future *ret_future, aiki_error *err)
{
    return run->api->task_start(run, name, input, NULL, ret_future, err);
}

/* Run a task and wait for its result. ret_output may be NULL. */
static inline aiki_status aiki_task(aiki_run *run, const char *name, aiki_view input,
                                    aiki_view *ret_output, aiki_error *err)
{
    aiki_future future;
    AIKI_TRY(run->api->task_start(run, name, input, NULL, &future, err));
    return aiki_await(run, future, ret_output, err);
}

/* The same two with options for this call: &(aiki_task_options){.struct_size =
 * sizeof(aiki_task_options), .start_to_close_ms = 500}. */
static inline aiki_status aiki_task_start_with(aiki_run *run, const char *name, aiki_view input,
                                               const aiki_task_options *options,
                                               aiki_future *ret_future, aiki_error *err)
{
    return run->api->task_start(run, name, input, options, ret_future, err);
}

static inline aiki_status aiki_task_with(aiki_run *run, const char *name, aiki_view input,
                                         const aiki_task_options *options, aiki_view *ret_output,
                                         aiki_error *err)
{
    aiki_future future;
    AIKI_TRY(run->api->task_start(run, name, input, options, &future, err));
    return aiki_await(run, future, ret_output, err);
}

/* Start waiting for time, to race it against something else. */
static inline aiki_status aiki_sleep_start(aiki_run *run, const char *name, int64_t duration_ms,
                                           aiki_future *ret_future, aiki_error *err)
{
    return run->api->sleep_start(run, name, duration_ms, ret_future, err);
}

/* Wait; the run holds no process meanwhile. */
static inline aiki_status aiki_sleep(aiki_run *run, const char *name, int64_t duration_ms,
                                     aiki_error *err)
{
    aiki_future future;
    AIKI_TRY(aiki_sleep_start(run, name, duration_ms, &future, err));
    return aiki_await(run, future, NULL, err);
}

/* Start waiting for the next signal of that name. */
static inline aiki_status aiki_signal_start(aiki_run *run, const char *name, int64_t timeout_ms,
                                            aiki_future *ret_future, aiki_error *err)
{
    return run->api->signal_start(run, name, timeout_ms, ret_future, err);
}

/* Wait for the next signal of that name. AIKI_TIMEDOUT when none came in time; with
 * AIKI_FOREVER_MS there is no limit, with AIKI_DEFAULT_MS the default one. ret_payload may be NULL. */
static inline aiki_status aiki_wait_signal(aiki_run *run, const char *name, int64_t timeout_ms,
                                           aiki_view *ret_payload, aiki_error *err)
{
    aiki_future future;
    AIKI_TRY(aiki_signal_start(run, name, timeout_ms, &future, err));
    return aiki_await(run, future, ret_payload, err);
}

/* Wait until every future is done, however it ended; ask aiki_result for each. */
static inline aiki_status aiki_await_settled(aiki_run *run, const aiki_future *futures,
                                             uint32_t count, aiki_error *err)
{
    return count == 0 ? AIKI_OK : run->api->await(run, futures, count, count, err);
}

/* Outcome of a future that is done; AIKI_PENDING before. Never waits. */
static inline aiki_status aiki_result(aiki_run *run, aiki_future future, aiki_view *ret_output,
                                      aiki_error *err)
{
    aiki_view output;
    return run->api->result(run, future, ret_output != NULL ? ret_output : &output, err);
}

/* Wait until every future is done; AIKI_OK when all went well, else the first one (in the
 * order given) that did not. */
static inline aiki_status aiki_await_all(aiki_run *run, const aiki_future *futures, uint32_t count,
                                         aiki_error *err)
{
    uint32_t i;
    AIKI_TRY(aiki_await_settled(run, futures, count, err));
    for (i = 0; i < count; i++)
        AIKI_TRY(aiki_result(run, futures[i], NULL, err));
    return AIKI_OK;
}

/* Wait until one future is done, however it ended, and tell which (index into futures). */
static inline aiki_status aiki_await_any(aiki_run *run, const aiki_future *futures, uint32_t count,
                                         uint32_t *ret_index, aiki_error *err)
{
    uint32_t i;
    AIKI_TRY(run->api->await(run, futures, count, 1, err));
    for (i = 0; i < count; i++) {
        if (aiki_result(run, futures[i], NULL, NULL) != AIKI_PENDING) {
            *ret_index = i;
            return AIKI_OK;
        }
    }
    (void)aiki_error_set(err, AIKI_INTERNAL, "INTERNAL", "await ended with nothing done");
    return AIKI_INTERNAL; /* a constant, so that compilers see when *ret_index is set */
}

/* ---- workflow: groups, since 1.1 --------------------------------------------------------- */

static inline aiki_status aiki_too_old_(const char *what, aiki_error *err)
{
    return aiki_error_set(err, AIKI_UNSUPPORTED, "RUNTIME_TOO_OLD",
                          "%s needs a runtime of ABI 1.1 or later", what);
}

/* The result of a future is no longer wanted; its result is AIKI_CANCELLED unless it was done. */
static inline aiki_status aiki_future_cancel(aiki_run *run, aiki_future future, aiki_error *err)
{
    if (!AIKI_HAS(run->api, future_cancel))
        return aiki_too_old_("aiki_future_cancel", err);
    return run->api->future_cancel(run, future, err);
}

/* Cancel those of the futures that are not done. */
static inline aiki_status aiki_cancel_all(aiki_run *run, const aiki_future *futures,
                                          uint32_t count, aiki_error *err)
{
    uint32_t i;
    for (i = 0; i < count; i++)
        AIKI_TRY(aiki_future_cancel(run, futures[i], err));
    return AIKI_OK;
}

/* How many of the futures ended well and how many otherwise; the rest is not done. */
static inline void aiki_count_results(aiki_run *run, const aiki_future *futures, uint32_t count,
                                      uint32_t *ret_ok, uint32_t *ret_failed)
{
    uint32_t i;
    *ret_ok = *ret_failed = 0;
    for (i = 0; i < count; i++) {
        aiki_status st = aiki_result(run, futures[i], NULL, NULL);
        *ret_ok += st == AIKI_OK;
        *ret_failed += st != AIKI_OK && st != AIKI_PENDING;
    }
}

/* The first failure among those done, in the order given. */
static inline aiki_status aiki_first_failure_(aiki_run *run, const aiki_future *futures,
                                              uint32_t count, aiki_error *err)
{
    uint32_t i;
    for (i = 0; i < count; i++) {
        aiki_status st = aiki_result(run, futures[i], NULL, NULL);
        if (st != AIKI_OK && st != AIKI_PENDING)
            return aiki_result(run, futures[i], NULL, err);
    }
    return AIKI_OK;
}

/* Wait until `quorum` futures ended well. AIKI_OK as soon as they did: the others go on, and
 * aiki_result tells of each. When too many failed for that: the first failure. */
static inline aiki_status aiki_await_quorum(aiki_run *run, const aiki_future *futures,
                                            uint32_t count, uint32_t quorum, aiki_error *err)
{
    uint32_t ok = 0, failed = 0;
    if (quorum > count)
        return aiki_error_set(err, AIKI_INVALID, "INVALID", "a quorum of %u out of %u", quorum,
                              count);
    while (ok < quorum) {
        AIKI_TRY(run->api->await(run, futures, count, failed + quorum, err));
        aiki_count_results(run, futures, count, &ok, &failed);
        if (count - failed < quorum)
            return aiki_first_failure_(run, futures, count, err);
    }
    return AIKI_OK;
}

/* Fail-fast: wait until every future ended well, or one did not; then the others are cancelled and
 * that failure is the answer. aiki_await_all is the group that continues on error. */
static inline aiki_status aiki_await_all_or_cancel(aiki_run *run, const aiki_future *futures,
                                                   uint32_t count, aiki_error *err)
{
    uint32_t ok = 0, failed = 0;
    while (ok < count) {
        AIKI_TRY(run->api->await(run, futures, count, ok + 1, err));
        aiki_count_results(run, futures, count, &ok, &failed);
        if (failed > 0) { /* told apart before the others end, which is a failure too */
            aiki_status st = aiki_first_failure_(run, futures, count, err);
            aiki_status cancelled = aiki_cancel_all(run, futures, count, NULL);
            return st != AIKI_OK ? st : cancelled;
        }
    }
    return AIKI_OK;
}

/* What a failed task had set as its output and asked to keep; AIKI_NOT_FOUND when nothing. since 1.1 */
static inline aiki_status aiki_kept_output(aiki_run *run, aiki_future future, aiki_view *ret_output,
                                           aiki_error *err)
{
    if (!AIKI_HAS(run->api, kept_output))
        return aiki_too_old_("aiki_kept_output", err);
    return run->api->kept_output(run, future, ret_output, err);
}

/* ---- workflow: a time, since 1.1 --------------------------------------------------------- */

/* Start waiting until a time, in ms since 1970 UTC. */
static inline aiki_status aiki_sleep_until_start(aiki_run *run, const char *name, int64_t at_ms,
                                                 aiki_future *ret_future, aiki_error *err)
{
    if (!AIKI_HAS(run->api, sleep_until_start))
        return aiki_too_old_("aiki_sleep_until", err);
    return run->api->sleep_until_start(run, name, at_ms, ret_future, err);
}

static inline aiki_status aiki_sleep_until(aiki_run *run, const char *name, int64_t at_ms,
                                           aiki_error *err)
{
    aiki_future future;
    AIKI_TRY(aiki_sleep_until_start(run, name, at_ms, &future, err));
    return aiki_await(run, future, NULL, err);
}

/* ---- workflow: children, since 1.1 ------------------------------------------------------- */

/* Start a run of another workflow as a child of this one, without waiting. version "" or NULL: the
 * newest served. options may be NULL. */
static inline aiki_status aiki_child_start(aiki_run *run, const char *workflow,
                                           const char *version, aiki_view input,
                                           const aiki_child_options *options,
                                           aiki_future *ret_future, aiki_error *err)
{
    if (!AIKI_HAS(run->api, child_start))
        return aiki_too_old_("aiki_child", err);
    return run->api->child_start(run, workflow, version, input, options, ret_future, err);
}

/* Run another workflow as a child and wait for its end. ret_output may be NULL. */
static inline aiki_status aiki_child(aiki_run *run, const char *workflow, const char *version,
                                     aiki_view input, aiki_view *ret_output, aiki_error *err)
{
    aiki_future future;
    AIKI_TRY(aiki_child_start(run, workflow, version, input, NULL, &future, err));
    return aiki_await(run, future, ret_output, err);
}

enum { AIKI_CHILD_ID_SIZE = 27 }; /* 26 characters and NUL */

/* Start a run of another workflow that is on its own from then on: it outlives this one. key: a
 * start key, or NULL. ret_id: its run id, of AIKI_CHILD_ID_SIZE bytes; NULL when nobody asks for it. */
static inline aiki_status aiki_child_detach(aiki_run *run, const char *workflow,
                                            const char *version, aiki_view input, const char *key,
                                            char *ret_id, aiki_error *err)
{
    aiki_child_options options;
    aiki_future future;
    aiki_reader r;
    aiki_view value;
    __builtin_memset(&options, 0, sizeof(options));
    options.struct_size = (uint32_t)sizeof(options);
    options.close_policy = AIKI_CLOSE_ABANDON;
    options.detached = 1;
    options.key = key;
    AIKI_TRY(aiki_child_start(run, workflow, version, input, &options, &future, err));
    AIKI_TRY(aiki_await(run, future, &value, err));
    aiki_reader_init(&r, value);
    value = aiki_mp_read_str(&r);
    if (r.status != AIKI_OK || value.size_bytes >= AIKI_CHILD_ID_SIZE)
        return aiki_error_set(err, AIKI_CORRUPT, "CORRUPT", "the child's id is not an id");
    if (ret_id != NULL) {
        __builtin_memset(ret_id, 0, AIKI_CHILD_ID_SIZE);
        __builtin_memcpy(ret_id, value.data, value.size_bytes);
    }
    return AIKI_OK;
}

/* ---- workflow: being asked to end, since 1.1 --------------------------------------------- */

/* True once this code has learnt that the run is to end. */
static inline bool aiki_run_cancelled(const aiki_run *run)
{
    return AIKI_HAS(run->api, cancelled) && run->api->cancelled(run);
}

static inline void aiki_protect_(aiki_run *run, bool on)
{
    if (AIKI_HAS(run->api, protect))
        run->api->protect(run, on);
}

typedef struct aiki_protection_ {
    aiki_run *run;
    bool on;
} aiki_protection_;

static inline aiki_protection_ aiki_protection_begin_(aiki_run *run)
{
    aiki_protection_ p;
    p.run = run;
    p.on = true;
    aiki_protect_(run, true);
    return p;
}

static inline void aiki_protection_end_(aiki_protection_ *p) { aiki_protect_(p->run, false); }

/* A block in which a request to end the run is not seen; left in any way, `return` and `break`
 * included, the scope is over:
 *
 *   if (st == AIKI_CANCELLED)
 *       aiki_protected(run)
 *           AIKI_TRY(aiki_task(run, "release-stock", order, NULL, err));
 */
#define aiki_protected(run)                                                              \
    for (aiki_protection_ aiki_protection_scope_                                         \
             __attribute__((cleanup(aiki_protection_end_))) = aiki_protection_begin_(run); \
         aiki_protection_scope_.on; aiki_protection_scope_.on = false)

/* ---- workflow: side values --------------------------------------------------------------- */

/* Milliseconds since 1970 UTC, recorded: the same on every replay. */
static inline aiki_status aiki_now(aiki_run *run, int64_t *ret_at_ms, aiki_error *err)
{
    return run->api->now(run, ret_at_ms, err);
}

static inline aiki_status aiki_random(aiki_run *run, uint64_t *ret_value, aiki_error *err)
{
    return run->api->random(run, ret_value, err);
}

/* 36 characters and NUL. */
static inline aiki_status aiki_uuid(aiki_run *run, char ret_text[37], aiki_error *err)
{
    return run->api->uuid(run, ret_text, err);
}

/* Whatever fn writes is recorded under the name and answered ever after. */
static inline aiki_status aiki_record_once(aiki_run *run, const char *name,
                                           aiki_status (*fn)(void *arg, aiki_writer *output),
                                           void *arg, aiki_view *ret_value, aiki_error *err)
{
    return run->api->record_once(run, name, fn, arg, ret_value, err);
}

/* ---- workflow: outcome ------------------------------------------------------------------- */

static inline const char *aiki_run_id(const aiki_run *run) { return run->api->id(run); }

static inline aiki_status aiki_writer_failed_(const aiki_writer *w, aiki_error *err)
{
    return aiki_error_set(err, w->status, aiki_status_name(w->status), "writing a value: %s",
                          aiki_status_text(w->status));
}

/* Set the run's output from a writer; a failure of any write before is answered here. */
static inline aiki_status aiki_output(aiki_run *run, const aiki_writer *w, aiki_error *err)
{
    if (w->status != AIKI_OK)
        return aiki_writer_failed_(w, err);
    return run->api->output(run, aiki_writer_view(w));
}

/* Fail the run: return aiki_run_fail(run, "REFUSED", "%s said no", who); */
AIKI_PRINTF(3, 4)
static inline aiki_status aiki_run_fail(aiki_run *run, const char *code, const char *format, ...)
{
    aiki_error error = AIKI_ERROR_INIT;
    __builtin_va_list args;
    __builtin_va_start(args, format);
    aiki_error_vset_(&error, AIKI_FAILED, code, format, args);
    __builtin_va_end(args);
    return (run->api->fail)(run, &error);
}

/* ---- task -------------------------------------------------------------------------------- */

/* Number of this attempt, from 1. */
static inline uint32_t aiki_attempt(const aiki_call *call) { return call->api->attempt(call); }

/* Same text on every attempt of this call, different for every other call of any run. */
static inline const char *aiki_idempotency_key(const aiki_call *call)
{
    return call->api->idempotency_key(call);
}

/* Id of the run the attempt belongs to, for logs; lives as long as the attempt. */
static inline const char *aiki_call_run_id(const aiki_call *call)
{
    return call->api->run_id(call);
}

/* True once nobody wants the result any more. Long tasks ask now and then. */
static inline bool aiki_cancelled(const aiki_call *call) { return call->api->cancelled(call); }

/* Still alive, with details for the next attempt (empty: none); AIKI_CANCELLED when it is time to
 * return. A host of 1.0 keeps no heartbeats. since 1.1 */
static inline aiki_status aiki_heartbeat(aiki_call *call, aiki_view details)
{
    if (AIKI_HAS(call->api, heartbeat))
        return call->api->heartbeat(call, details);
    return aiki_cancelled(call) ? AIKI_CANCELLED : AIKI_OK;
}

/* What the attempt before this one left with its heartbeats; empty when nothing. since 1.1 */
static inline aiki_view aiki_last_details(const aiki_call *call)
{
    aiki_view none = {NULL, 0};
    return AIKI_HAS(call->api, last_details) ? call->api->last_details(call) : none;
}

/* When the attempt will be stopped, ms since 1970 UTC by the server's clock; 0: never. since 1.1 */
static inline int64_t aiki_deadline_ms(const aiki_call *call)
{
    return AIKI_HAS(call->api, deadline_ms) ? call->api->deadline_ms(call) : 0;
}

/* Set the task's output from a writer; a failure of any write before is answered here. */
static inline aiki_status aiki_call_output(aiki_call *call, const aiki_writer *w)
{
    if (w->status != AIKI_OK) {
        aiki_error error = AIKI_ERROR_INIT;
        (void)aiki_writer_failed_(w, &error); /* fail() answers AIKI_FAILED */
        return (call->api->fail)(call, &error);
    }
    return call->api->output(call, aiki_writer_view(w));
}

AIKI_PRINTF(5, 0)
static inline aiki_status aiki_vfail_(aiki_call *call, uint32_t flags, int64_t retry_after_ms,
                                      const char *code, const char *format,
                                      __builtin_va_list args)
{
    aiki_error error = AIKI_ERROR_INIT;
    aiki_error_vset_(&error, AIKI_FAILED, code, format, args);
    error.flags = flags;
    error.retry_after_ms = retry_after_ms;
    return (call->api->fail)(call, &error);
}

/* Fail the attempt: return aiki_fail(call, "BANK_DOWN", "%s does not answer", bank); The retry
 * policy decides whether and when there is another one. */
AIKI_PRINTF(3, 4)
static inline aiki_status aiki_fail(aiki_call *call, const char *code, const char *format, ...)
{
    aiki_status st;
    __builtin_va_list args;
    __builtin_va_start(args, format);
    st = aiki_vfail_(call, 0, 0, code, format, args);
    __builtin_va_end(args);
    return st;
}

/* Fail the task for good: no further attempt, whatever the policy says. */
AIKI_PRINTF(3, 4)
static inline aiki_status aiki_fail_final(aiki_call *call, const char *code, const char *format,
                                          ...)
{
    aiki_status st;
    __builtin_va_list args;
    __builtin_va_start(args, format);
    st = aiki_vfail_(call, AIKI_ERROR_FINAL, 0, code, format, args);
    __builtin_va_end(args);
    return st;
}

/* Fail the attempt and keep the output that was set before, if it is the last one: the half of the work
 * that is done. Workflow code gets it from aiki_kept_output. since 1.1 */
AIKI_PRINTF(3, 4)
static inline aiki_status aiki_fail_keep(aiki_call *call, const char *code, const char *format, ...)
{
    aiki_status st;
    __builtin_va_list args;
    __builtin_va_start(args, format);
    st = aiki_vfail_(call, AIKI_ERROR_KEEP_OUTPUT, 0, code, format, args);
    __builtin_va_end(args);
    return st;
}

/* Fail the attempt and say when the next one makes sense; attempts still count. */
AIKI_PRINTF(4, 5)
static inline aiki_status aiki_fail_retry_after(aiki_call *call, int64_t retry_after_ms,
                                                const char *code, const char *format, ...)
{
    aiki_status st;
    __builtin_va_list args;
    __builtin_va_start(args, format);
    st = aiki_vfail_(call, 0, retry_after_ms, code, format, args);
    __builtin_va_end(args);
    return st;
}

#ifdef __cplusplus
}
#endif
#endif

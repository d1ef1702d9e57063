/* task.c - threads, attempts and the table that task code calls. */
#include "child/task.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/blame.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "fiber/fiber.h"
#include "child/stack.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/hash.h"

struct task_pool {
    struct mailbox notes;
    uint32_t threads_max;
    struct attempt *free; /* [loop] */
    uint32_t free_count;  /* [loop] */
    atomic_uint logs_pending;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct attempt *first, **last;
    uint32_t threads, idle;
    bool coming; /* a thread was woken or made and has not looked at the queue yet */
};

static const uint8_t nil_byte = 0xc0;
static const aiki_task_api task_api;

/* ---- the table task code calls [task] ---------------------------------------------------- */

static struct attempt *attempt_of(const aiki_call *call)
{
    return container_of(call, struct attempt, call);
}

static uint32_t api_attempt(const aiki_call *call)
{
    return attempt_of(call)->number;
}

static const char *api_idempotency_key(const aiki_call *call)
{
    return attempt_of(call)->key;
}

static const char *api_run_id(const aiki_call *call)
{
    return attempt_of(call)->run_text;
}

static const char *api_task_name(const aiki_call *call)
{
    return attempt_of(call)->task->def.name;
}

static bool api_cancelled(const aiki_call *call)
{
    return atomic_load_explicit(&attempt_of(call)->cancelled, memory_order_relaxed);
}

static void *api_alloc(aiki_call *call, uint64_t size_bytes)
{
    struct attempt *a = attempt_of(call);

    if (size_bytes > ATTEMPT_BYTES_MAX - a->user_bytes)
        return NULL;
    void *p = arena_alloc(&a->arena, size_bytes);
    if (p != NULL)
        a->user_bytes += size_bytes;
    return p;
}

/* The kernel refuses one more, and code seldom says that this is why it failed. */
static bool lacks_files(aiki_error *ret_why)
{
    struct rlimit l = {0};
    int fd = dup(STDERR_FILENO);

    if (fd >= 0)
        (void)close(fd);
    if (fd >= 0 || errno != EMFILE)
        return false;
    (void)getrlimit(RLIMIT_NOFILE, &l); /* its own: cannot fail */
    (void)error_code(ret_why, AIKI_LIMIT, "CHILD_FILES",
                     "the process of the plugin has no descriptor left: child-files is %llu",
                     (unsigned long long)l.rlim_cur);
    return true;
}

static void keep_error(struct attempt *a, const aiki_error *error)
{
    aiki_writer w = arena_writer(&a->arena), stack = w;
    aiki_error with_cause = *error, why = AIKI_ERROR_INIT;
    const aiki_error *e = &with_cause;

    if (error->cause == NULL && lacks_files(&why))
        with_cause.cause = &why;
    stack_write(&stack, (void (*)(void))a->task->def.fn);
    error_write_stack(&w, e, aiki_writer_view(&stack));
    a->error = w.status == AIKI_OK ? aiki_writer_view(&w) : (aiki_view){NULL, 0};
    a->final = (e->flags & AIKI_ERROR_FINAL) != 0;
    a->keep_output = (e->flags & AIKI_ERROR_KEEP_OUTPUT) != 0;
    a->retry_after_ms = e->retry_after_ms;
}

/* What the attempt fails with if its task hands the status on; the next one would be no smaller. */
static aiki_status refuse_output(struct attempt *a, uint64_t size_bytes)
{
    aiki_error e = AIKI_ERROR_INIT;

    (void)error_code(&e, AIKI_LIMIT, "PAYLOAD_TOO_LARGE",
                     "output of task %s has %llu bytes, PAYLOAD_BYTES_MAX is %d",
                     a->task->def.name, (unsigned long long)size_bytes, PAYLOAD_BYTES_MAX);
    e.flags |= AIKI_ERROR_FINAL;
    keep_error(a, &e);
    return AIKI_LIMIT;
}

static aiki_status api_output(aiki_call *call, aiki_view value)
{
    struct attempt *a = attempt_of(call);

    if (value.size_bytes > PAYLOAD_BYTES_MAX)
        return refuse_output(a, value.size_bytes);
    if (aiki_mp_check(value) != AIKI_OK)
        return AIKI_INVALID;
    uint8_t *copy = arena_alloc(&a->arena, value.size_bytes);
    if (copy == NULL)
        return AIKI_NOMEM;
    memcpy(copy, value.data, value.size_bytes);
    a->output = (aiki_view){copy, value.size_bytes};
    return AIKI_OK;
}

static aiki_status api_fail(aiki_call *call, const aiki_error *error)
{
    if (error != NULL) {
        aiki_error e = *error;
        e.status = e.status == AIKI_OK ? AIKI_FAILED : e.status;
        keep_error(attempt_of(call), &e);
    }
    return AIKI_FAILED;
}

static void api_log(aiki_call *call, int32_t level, const char *text)
{
    struct attempt *a = attempt_of(call);
    struct task_pool *pool = a->pool;
    size_t size = text != NULL ? strnlen(text, LOG_TEXT_BYTES_MAX) : 0;

    /* A task that logs in a tight loop must not fill the memory: lines over the bound are lost. */
    if (atomic_fetch_add(&pool->logs_pending, 1) >= LOG_PENDING_MAX) {
        atomic_fetch_sub(&pool->logs_pending, 1);
        return;
    }
    struct log_note *n = malloc(sizeof(*n) + size + 1);
    if (n == NULL) {
        atomic_fetch_sub(&pool->logs_pending, 1);
        return;
    }
    *n = (struct log_note){.note.kind = NOTE_LOG,
                           .level = level,
                           .attempt = a->number,
                           .run = a->run_id,
                           .task = a->task->def.name};
    if (size > 0)
        memcpy(n->text, text, size);
    n->text[size] = '\0';
    mailbox_post(&pool->notes, &n->note.mail);
}

/* Details that the loop has not taken yet are replaced: the last ones count. */
static aiki_status leave_details(struct attempt *a, aiki_view details)
{
    uint8_t *copy = malloc(details.size_bytes);

    if (copy == NULL)
        return AIKI_NOMEM;
    memcpy(copy, details.data, details.size_bytes);
    pthread_mutex_lock(&a->pool->lock);
    uint8_t *before = a->details;
    a->details = copy;
    a->details_bytes = details.size_bytes;
    pthread_mutex_unlock(&a->pool->lock);
    free(before);
    if (before == NULL)
        mailbox_post(&a->pool->notes, &a->beat_note.mail);
    return AIKI_OK;
}

static aiki_status api_heartbeat(aiki_call *call, aiki_view details)
{
    struct attempt *a = attempt_of(call);
    aiki_status st = AIKI_OK;

    atomic_store_explicit(&a->beat_mono_ms, clock_mono_ms(), memory_order_relaxed);
    if (api_cancelled(call))
        return AIKI_CANCELLED;
    if (details.size_bytes > HEARTBEAT_BYTES_MAX)
        return AIKI_LIMIT;
    if (details.size_bytes > 0)
        st = aiki_mp_check(details) == AIKI_OK ? leave_details(a, details) : AIKI_INVALID;
    return st;
}

static aiki_view api_last_details(const aiki_call *call)
{
    return attempt_of(call)->last_details;
}

static int64_t api_deadline_ms(const aiki_call *call)
{
    const struct attempt *a = attempt_of(call);
    int64_t end_ms = atomic_load_explicit(&a->began_mono_ms, memory_order_relaxed) +
                     a->engine_offset_ms + a->start_to_close_ms;

    if (a->start_to_close_ms == 0)
        return a->limit_ms;
    return a->limit_ms == 0 || end_ms < a->limit_ms ? end_ms : a->limit_ms;
}

static uint32_t api_schema_mode(const aiki_call *call)
{
    return attempt_of(call)->task->def.schema_mode;
}

static const aiki_task_api task_api = {
    .struct_size = sizeof(task_api),
    .attempt = api_attempt,
    .idempotency_key = api_idempotency_key,
    .run_id = api_run_id,
    .task_name = api_task_name,
    .cancelled = api_cancelled,
    .alloc = api_alloc,
    .output = api_output,
    .fail = api_fail,
    .log = api_log,
    .heartbeat = api_heartbeat,
    .last_details = api_last_details,
    .deadline_ms = api_deadline_ms,
    .schema_mode = api_schema_mode,
};

void task_pool_free_log(struct task_pool *pool, struct log_note *n)
{
    atomic_fetch_sub(&pool->logs_pending, 1);
    free(n);
}

/* ---- execution --------------------------------------------------------------------------- */

/* A success whose output does not fit its schema is a bug that no retry mends. */
static void judge_output(struct attempt *a)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_view value = a->output.size_bytes > 0 ? a->output : (aiki_view){&nil_byte, 1};

    if (a->task->output == NULL || a->task->def.schema_mode == AIKI_SCHEMA_OFF)
        return;
    aiki_status st = schema_validate(a->task->output, value, &err);
    if (st == AIKI_OK)
        return;
    err.flags |= AIKI_ERROR_FINAL;
    keep_error(a, &err);
    a->misfit = a->task->def.schema_mode == AIKI_SCHEMA_WARN;
    a->status = a->misfit ? AIKI_OK : st;
}

static void judge_failure(struct attempt *a)
{
    aiki_error err = AIKI_ERROR_INIT;

    if (a->error.size_bytes > 0)
        return;
    (void)error_set(&err, a->status, "task %s returned %s: %s", a->task->def.name,
                    aiki_status_name(a->status), aiki_status_text(a->status));
    keep_error(a, &err);
}

void attempt_execute(struct attempt *a)
{
    int64_t began_ns = clock_mono_ns();

    atomic_store_explicit(&a->began_mono_ms, began_ns / 1000000, memory_order_relaxed);
    fiber_label_thread(a->run_text, a->task->def.name);
    blame_enter(&(struct blame_code){.run = a->run_id,
                                     .address = &a->address,
                                     .nth = a->nth,
                                     .attempt = a->number,
                                     .name = a->task->def.name});
    fault_point(child_task_before);
    a->status = a->task->def.fn(&a->call, a->input);
    fault_point(child_task_after);
    int64_t ended_ns = clock_mono_ns();
    blame_leave(ended_ns / 1000000);
    fiber_label_thread(NULL, NULL);
    a->duration_us = (ended_ns - began_ns) / 1000;
    if (a->status == AIKI_OK)
        judge_output(a);
    else
        judge_failure(a);
}

/* ---- threads ----------------------------------------------------------------------------- */

/* Whether somebody should be woken or made for what is queued: one at a time, who wakes the next.
 * So a short task is done by a thread that is awake anyway, and a hundred long ones still get a
 * hundred threads. [under the lock] */
enum hand { HAND_NONE, HAND_WAKE, HAND_MAKE };
static enum hand call_hand(struct task_pool *pool)
{
    if (pool->first == NULL || pool->coming)
        return HAND_NONE;
    if (pool->idle > 0) {
        pool->coming = true;
        return HAND_WAKE;
    }
    if (pool->threads == pool->threads_max)
        return HAND_NONE;
    pool->coming = true;
    pool->threads++;
    return HAND_MAKE;
}

static void *thread_main(void *arg);

static void add_thread(struct task_pool *pool)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, thread_main, pool) == 0) {
        (void)pthread_detach(thread); /* joinable and ours: cannot fail */
        return;
    }
    pthread_mutex_lock(&pool->lock); /* those there are will have to do */
    pool->threads--;
    pool->coming = false;
    pthread_mutex_unlock(&pool->lock);
}

/* After the lock was given back: the woken thread does not run into it. */
static void bring_hand(struct task_pool *pool, enum hand hand)
{
    if (hand == HAND_WAKE)
        pthread_cond_signal(&pool->filled);
    else if (hand == HAND_MAKE)
        add_thread(pool);
}

static struct attempt *take(struct task_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->idle++;
    while (pool->first == NULL) {
        pthread_cond_wait(&pool->filled, &pool->lock);
        pool->coming = false;
    }
    pool->idle--;
    struct attempt *a = pool->first;
    pool->first = a->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    enum hand hand = call_hand(pool);
    pthread_mutex_unlock(&pool->lock);
    bring_hand(pool, hand);
    return a;
}

/* Threads live as long as the process: there is nothing to give back before it ends. */
static void *thread_main(void *arg)
{
    struct task_pool *pool = arg;

    blame_thread();
    if (fiber_watch_thread() != AIKI_OK)
        log_warn("child", "a stack overflow on one task thread will not be named: out of memory");
    pthread_mutex_lock(&pool->lock);
    pool->coming = false;
    pthread_mutex_unlock(&pool->lock);
    for (;;) {
        struct attempt *a = take(pool);
        if (atomic_load_explicit(&a->cancelled, memory_order_relaxed))
            a->status = AIKI_CANCELLED; /* nobody wants it any more: do not even begin */
        else
            attempt_execute(a);
        mailbox_post(&pool->notes, &a->note.mail);
    }
    return NULL;
}

aiki_status task_pool_submit(struct task_pool *pool, struct attempt *a)
{
    aiki_status st = AIKI_OK;

    a->next = NULL;
    pthread_mutex_lock(&pool->lock);
    *pool->last = a;
    pool->last = &a->next;
    enum hand hand = call_hand(pool);
    pthread_mutex_unlock(&pool->lock);
    bring_hand(pool, hand);
    if (hand != HAND_MAKE)
        return AIKI_OK;

    pthread_mutex_lock(&pool->lock);
    if (pool->threads == 0) {
        pool->first = NULL; /* only the loop submits and nobody takes: a stands alone */
        pool->last = &pool->first;
        st = AIKI_UNAVAILABLE;
    }
    pthread_mutex_unlock(&pool->lock);
    return st;
}

/* ---- attempts ---------------------------------------------------------------------------- */

/* Text from the run and the step: the same on every attempt, in every process. */
static void make_key(struct attempt *a, const struct step *s)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t nth[8], hash[HASH_BYTES];

    aiki_mp_be_(nth, s->nth, sizeof(nth));
    const aiki_view parts[] = {{a->run_id.bytes, sizeof(a->run_id.bytes)},
                               {s->address.bytes, ADDRESS_BYTES},
                               {nth, sizeof(nth)}};
    hash_parts(hash, parts, ARRAY_COUNT(parts));
    for (int i = 0; i < IDEMPOTENCY_KEY_SIZE / 2; i++) {
        a->key[2 * i] = digits[hash[i] >> 4];
        a->key[2 * i + 1] = digits[hash[i] & 15];
    }
    a->key[IDEMPOTENCY_KEY_SIZE - 1] = '\0';
}

struct attempt *attempt_create(struct task_pool *pool, struct run *run, struct step *step,
                               const struct plugin_task *task, const struct aiki_id *run_id)
{
    struct attempt *a = pool->free;
    struct arena arena;

    if (a != NULL) {
        pool->free = a->next;
        pool->free_count--;
        arena = a->arena;
    } else {
        a = malloc(sizeof(*a));
        if (a == NULL)
            return NULL;
        arena_init(&arena, (uint64_t)ATTEMPT_BYTES_MAX + ATTEMPT_HOST_BYTES_MAX);
    }
    *a = (struct attempt){.call.api = &task_api,
                          .note.kind = NOTE_ATTEMPT,
                          .beat_note.kind = NOTE_BEAT,
                          .pool = pool,
                          .run = run,
                          .step = step,
                          .task = task,
                          .input = step->input,
                          .number = (uint32_t)step->attempt + 1,
                          .address = step->address,
                          .nth = step->nth,
                          .run_id = *run_id,
                          .arena = arena};
    id_text(run_id, a->run_text);
    make_key(a, step);
    return a;
}

void attempt_flag(struct attempt *a)
{
    atomic_store_explicit(&a->cancelled, true, memory_order_relaxed);
}

uint8_t *attempt_take_details(struct attempt *a, uint64_t *ret_bytes)
{
    pthread_mutex_lock(&a->pool->lock);
    uint8_t *details = a->details;
    *ret_bytes = a->details_bytes;
    a->details = NULL;
    pthread_mutex_unlock(&a->pool->lock);
    return details;
}

void attempt_destroy(struct attempt *a)
{
    struct task_pool *pool = a->pool;

    free(a->details);
    arena_reset(&a->arena);
    if (pool->free_count >= ATTEMPTS_WARM_MAX) {
        arena_deinit(&a->arena);
        free(a);
        return;
    }
    a->next = pool->free;
    pool->free = a;
    pool->free_count++;
}

struct task_pool *task_pool_create(uv_loop_t *loop, uint32_t threads_max, mailbox_fn on_notes,
                                   void *arg)
{
    struct task_pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL)
        return NULL;
    pool->threads_max = threads_max;
    pool->last = &pool->first;
    if (mailbox_init(&pool->notes, loop, on_notes, arg) != 0) {
        free(pool);
        return NULL;
    }
    (void)pthread_mutex_init(&pool->lock, NULL); /* defaults: cannot fail with glibc */
    (void)pthread_cond_init(&pool->filled, NULL);
    return pool;
}

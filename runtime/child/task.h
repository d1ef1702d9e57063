/* task.h - attempts of tasks and the threads that execute them.
 *
 *   attempt_create --> task_pool_submit --> a thread: task function --> mailbox --> on_done [loop]
 *                  \-> attempt_execute (inline tasks, on the loop thread)
 *
 * Threads are made when an attempt finds none idle, up to a maximum; more attempts queue. Threads
 * are woken or made one after the other, each by the one before, so that short tasks cost few
 * wake-ups. An attempt's memory is its own arena: it outlives a run that was dropped meanwhile.
 * Limits: ATTEMPT_BYTES_MAX of memory, PAYLOAD_BYTES_MAX of output, LOG_PENDING_MAX unread lines.
 */
#ifndef CHILD_TASK_H
#define CHILD_TASK_H

#include <stdatomic.h>

#include "base/mailbox.h"
#include "child/arena.h"
#include "child/plugin.h"
#include "replay/journal.h"

enum {
    ATTEMPT_BYTES_MAX = 64 * 1024 * 1024,
    ATTEMPT_HOST_BYTES_MAX = 64 * 1024 * 1024, /* outputs and errors the host keeps beside */
    ATTEMPTS_WARM_MAX = 256,
    TASK_THREADS_DEFAULT = 64,
    TASK_THREADS_MAX = 1024,
    LOG_PENDING_MAX = 4096,
    LOG_TEXT_BYTES_MAX = 4096,
    IDEMPOTENCY_KEY_SIZE = 33,
    HEARTBEAT_BYTES_MAX = 64 * 1024
};

struct task_pool;
struct run;

/* What reaches the loop from task threads. */
enum note_kind { NOTE_ATTEMPT, NOTE_LOG, NOTE_BEAT };
struct note {
    struct mail mail;
    enum note_kind kind;
};

struct attempt {
    aiki_call call; /* what task code holds; first */
    struct note note;
    struct note beat_note;    /* details of a heartbeat are there; at most one under way */
    struct attempt *next;     /* in the pool's queue, or free */
    struct attempt *run_next, **run_at; /* of the same run */
    struct task_pool *pool;
    struct run *run;   /* [loop] */
    struct step *step; /* [loop] */
    const struct plugin_task *task;
    aiki_view input; /* in the run's arena */
    uint32_t number;
    struct address address; /* of the step; as the next, for whoever looks from another thread */
    uint64_t nth;
    atomic_bool cancelled;
    bool abandoned;           /* [loop] its step goes on without it */
    int64_t flagged_mono_ms;  /* [loop] when it was told to stop because of a timeout; 0 = not */
    struct attempt *flagged_next;
    /* when, by the monotonic clock; 0 = not yet */
    atomic_int_fast64_t began_mono_ms, beat_mono_ms;
    int64_t engine_offset_ms; /* from that clock to the engine's */
    int64_t limit_ms, start_to_close_ms; /* 0 = none; the first by the engine's clock */
    aiki_view last_details;
    uint8_t *details;         /* owned, under the pool's lock; NULL: taken */
    uint64_t details_bytes;
    struct aiki_id run_id;
    char run_text[AIKI_ID_TEXT_SIZE], key[IDEMPOTENCY_KEY_SIZE];
    struct arena arena;
    uint64_t user_bytes;
    /* outcome */
    aiki_status status;
    aiki_view output, error; /* error: map */
    bool final, keep_output;
    bool misfit; /* the output does not fit its schema and passes: error says why */
    int64_t retry_after_ms, duration_us;
};

/* A line on its way to the log. */
struct log_note {
    struct note note;
    int32_t level;
    uint32_t attempt;
    struct aiki_id run;
    const char *task; /* the plugin's own text */
    char text[];
};

/* on_notes gets attempts that ended and log lines, on the loop. NULL: out of memory. */
struct task_pool *task_pool_create(uv_loop_t *loop, uint32_t threads_max, mailbox_fn on_notes,
                                   void *arg);
/* NULL: out of memory. [loop] */
struct attempt *attempt_create(struct task_pool *pool, struct run *run, struct step *step,
                               const struct plugin_task *task, const struct aiki_id *run_id);
/* Its memory may serve another attempt from here on. [loop] */
void attempt_destroy(struct attempt *a);
/* The attempt is the pool's until its note arrives. AIKI_UNAVAILABLE: there is no thread and none
 * can be made. [loop] */
aiki_status task_pool_submit(struct task_pool *pool, struct attempt *a);
/* Details of its heartbeats, if there are new ones: the caller's to free. [loop] */
uint8_t *attempt_take_details(struct attempt *a, uint64_t *ret_bytes);
/* Tell it to stop; one that no thread has taken is not executed any more. [loop] */
void attempt_flag(struct attempt *a);
/* Call the task function here and judge what it did. [any] */
void attempt_execute(struct attempt *a);
/* A log note was consumed: its place in the bound is free. */
void task_pool_free_log(struct task_pool *pool, struct log_note *n);

#endif

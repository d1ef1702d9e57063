/* watchdog.c - a thread that looks at what the loop thread is in.
 *
 * When it acts, the loop thread is inside plugin code and has been for seconds; it may hold any lock
 * of the C library, so nothing here allocates or logs. Should it come back at that very instant, the
 * frames of both get mixed up on the socket: their checksum is wrong, the broker kills the process
 * and gives all runs back, as after any crash.
 */
#include "child/watchdog.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/frame.h"

struct watchdog {
    /* written by the loop thread */
    _Atomic(struct run *) run; /* NULL: the loop itself */
    _Atomic(const char *) task;
    atomic_ulong turn;
    /* between both */
    atomic_bool asleep;
    int64_t limit_ms;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    uint8_t events[WATCHDOG_BYTES_MAX], frame[WATCHDOG_BYTES_MAX + 1024];
};

/* ---- acting ------------------------------------------------------------------------------ */

/* What the run has recorded and not sent, and its end. */
static aiki_view last_events(struct watchdog *w, const struct run *r, const aiki_error *err)
{
    uint8_t memory[1024];
    aiki_writer map, all;
    struct event e = {.kind = EVENT_FAILED};

    aiki_writer_init_fixed(&map, memory, sizeof(memory));
    error_write(&map, err);
    e.as.failed.error = aiki_writer_view(&map);
    aiki_writer_init_fixed(&all, w->events, sizeof(w->events));
    if (r->replay.events.size_bytes < WATCHDOG_BYTES_MAX - sizeof(memory))
        aiki_mp_raw(&all, r->replay.events.data, r->replay.events.size_bytes);
    event_write_new(&all, &e);
    return aiki_writer_view(&all);
}

static void fail_run(struct watchdog *w, const struct run *r, const char *task)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_writer frame;

    (void)error_code(&err, AIKI_FAILED, "WORKFLOW_STUCK",
                     "%s %s did not come back within %lld ms and was ended with its process; no loop "
                     "without an end, nothing that blocks there",
                     task != NULL ? "inline task" : "workflow",
                     task != NULL ? task : r->workflow_name, (long long)w->limit_ms);
    static const char begin[] = "STUCK in run ";
    aiki_writer_init_fixed(&frame, w->frame, sizeof(w->frame));
    uint64_t at = frame_begin(&frame);
    const struct msg_APPEND m = {.run = r->id,
                                 .epoch = r->epoch,
                                 .number = r->appends + 1,
                                 .next = NEXT_FINISH,
                                 .events = last_events(w, r, &err)};
    msg_APPEND_write(&frame, &m);
    if (frame_end(&frame, at, WIRE_APPEND, 0) == AIKI_OK && frame.status == AIKI_OK)
        conn_last_words(r->child->conn, aiki_writer_view(&frame), WATCHDOG_WRITE_MS_MAX);
    /* One line for the log; a process that ends has nobody to tell that it did not get out. */
    ssize_t n = write(STDERR_FILENO, begin, sizeof(begin) - 1);
    n = n < 0 ? n : write(STDERR_FILENO, r->id_text, strlen(r->id_text));
    n = n < 0 ? n : write(STDERR_FILENO, ": ", 2);
    n = n < 0 ? n : write(STDERR_FILENO, err.message, strlen(err.message));
    n = n < 0 ? n : write(STDERR_FILENO, "\n", 1);
    (void)n;
}

/* ---- looking ----------------------------------------------------------------------------- */

static void rest(struct watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->asleep, true);
    /* Between the last look and the line above something may have been entered. */
    while (atomic_load(&w->asleep) && atomic_load(&w->run) == NULL)
        pthread_cond_wait(&w->woken, &w->lock);
    atomic_store(&w->asleep, false);
    pthread_mutex_unlock(&w->lock);
}

static void *watch(void *arg)
{
    struct watchdog *w = arg;
    const int64_t look_ms = w->limit_ms / WATCHDOG_LOOKS;
    const struct timespec pause = {look_ms / 1000, look_ms % 1000 * 1000000};
    unsigned long turn = 0;
    int looks = 0;

    for (;;) {
        unsigned long now = atomic_load(&w->turn);
        struct run *r = atomic_load(&w->run);
        if (now != turn)
            looks = 0;
        else if (r == NULL)
            rest(w);
        else if (++looks >= WATCHDOG_LOOKS) {
            fail_run(w, r, atomic_load(&w->task));
            _exit(CHILD_EXIT_STUCK);
        }
        turn = now;
        (void)nanosleep(&pause, NULL); /* woken early by a signal it only looks early */
    }
    return NULL;
}

struct watchdog *watchdog_start(int64_t limit_ms)
{
    struct watchdog *w = calloc(1, sizeof(*w));
    pthread_attr_t attr;
    pthread_t thread;

    if (w == NULL)
        return NULL;
    w->limit_ms = limit_ms;
    (void)pthread_mutex_init(&w->lock, NULL); /* defaults: cannot fail with glibc, as below */
    (void)pthread_cond_init(&w->woken, NULL);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, WATCHDOG_STACK_BYTES);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, watch, w);
    (void)pthread_attr_destroy(&attr);
    if (rc == 0)
        return w;
    free(w);
    return NULL;
}

void watchdog_enter(struct watchdog *w, struct run *r, const char *task)
{
    atomic_fetch_add_explicit(&w->turn, 1, memory_order_relaxed);
    atomic_store_explicit(&w->task, task, memory_order_relaxed);
    atomic_store(&w->run, r); /* in one order with asleep: one of both sides sees the other */
    if (!atomic_load(&w->asleep))
        return;
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->asleep, false);
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->woken);
}

void watchdog_leave(struct watchdog *w)
{
    atomic_store_explicit(&w->run, NULL, memory_order_release);
}

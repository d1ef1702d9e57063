/* mailbox.c - hand owned messages to a thread.
 *
 *   any thread --post--> locked queue --(first one wakes)--> loop: whole list at once
 */
#include "base/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"

/* Append under the lock; answers whether the receiver has to be woken. */
static bool append(pthread_mutex_t *lock, struct mail **first, struct mail ***last,
                   struct mail *mail)
{
    mail->next = NULL;
    (void)pthread_mutex_lock(lock);
    bool was_empty = *first == NULL;
    **last = mail;
    *last = &mail->next;
    (void)pthread_mutex_unlock(lock);
    return was_empty;
}

static struct mail *take_all(struct mail **first, struct mail ***last)
{
    struct mail *list = *first;
    *first = NULL;
    *last = first;
    return list;
}

static void deliver(struct mailbox *m)
{
    (void)pthread_mutex_lock(&m->lock);
    struct mail *list = take_all(&m->first, &m->last);
    (void)pthread_mutex_unlock(&m->lock);
    if (list != NULL)
        m->fn(m->arg, list);
}

static void on_woken(uv_async_t *async) { deliver(container_of(async, struct mailbox, async)); }

int mailbox_init(struct mailbox *m, uv_loop_t *loop, mailbox_fn fn, void *arg)
{
    *m = (struct mailbox){.fn = fn, .arg = arg};
    m->last = &m->first;
    int error = pthread_mutex_init(&m->lock, NULL);
    if (error != 0)
        return uv_translate_sys_error(error);
    error = uv_async_init(loop, &m->async, on_woken);
    if (error != 0)
        (void)pthread_mutex_destroy(&m->lock);
    return error;
}

void mailbox_post(struct mailbox *m, struct mail *mail)
{
    if (append(&m->lock, &m->first, &m->last, mail))
        (void)uv_async_send(&m->async); /* fails only on a handle that is not an async */
}

static void on_async_closed(uv_handle_t *handle)
{
    struct mailbox *m = container_of((uv_async_t *)handle, struct mailbox, async);
    (void)pthread_mutex_destroy(&m->lock);
    if (m->on_closed != NULL)
        m->on_closed(m->arg);
}

void mailbox_close(struct mailbox *m, void (*on_closed)(void *arg))
{
    m->on_closed = on_closed;
    deliver(m);
    uv_close((uv_handle_t *)&m->async, on_async_closed);
}

void postbox_init(struct postbox *p)
{
    pthread_condattr_t attr;
    *p = (struct postbox){0};
    p->last = &p->first;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_condattr_init(&attr);
    /* Deadlines are monotonic: a jump of the wall clock must not wake or hold the receiver. */
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&p->filled, &attr);
    (void)pthread_condattr_destroy(&attr);
}

void postbox_deinit(struct postbox *p)
{
    (void)pthread_cond_destroy(&p->filled);
    (void)pthread_mutex_destroy(&p->lock);
}

void postbox_post(struct postbox *p, struct mail *mail)
{
    if (append(&p->lock, &p->first, &p->last, mail))
        (void)pthread_cond_signal(&p->filled);
}

struct mail *postbox_take(struct postbox *p, int64_t deadline_mono_ms)
{
    const struct timespec until = {.tv_sec = deadline_mono_ms / 1000,
                                   .tv_nsec = deadline_mono_ms % 1000 * 1000000};
    int error = 0;
    (void)pthread_mutex_lock(&p->lock);
    while (p->first == NULL && error != ETIMEDOUT) {
        if (deadline_mono_ms == 0)
            error = pthread_cond_wait(&p->filled, &p->lock);
        else
            error = pthread_cond_timedwait(&p->filled, &p->lock, &until);
    }
    struct mail *list = take_all(&p->first, &p->last);
    (void)pthread_mutex_unlock(&p->lock);
    return list;
}

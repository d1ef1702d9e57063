/* crew.c - see crew.h. */
#include "intake/crew.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"


static void *work(void *arg)
{
    struct crew_job *job = arg;
    job->fn(job);
    mailbox_post(job->done, &job->mail);
    return NULL;
}

/* Signals are for the loop's thread. */
static bool start_thread(struct crew_job *job)
{
    pthread_t thread;
    sigset_t all, before;
    (void)sigfillset(&all); /* these two cannot fail with what they are given */
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = pthread_create(&thread, NULL, work, job);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        log_warn("intake", "no thread to look at a plugin with: %s; trying again", strerror(rc));
        return false;
    }
    (void)pthread_detach(thread); /* joinable and ours */
    return true;
}

static bool is_quick(const struct crew_job *job)
{
    return clock_mono_ms() - job->since_mono_ms < CREW_QUICK_MS;
}

static bool has_room(const struct crew *c)
{
    unsigned quick = 0;
    for (const struct crew_job *job = c->under_way; job != NULL; job = job->next)
        quick += is_quick(job);
    return quick < CREW_QUICK_MAX && c->count < CREW_MAX;
}

static void on_timer(uv_timer_t *t);

static void go_on(struct crew *c)
{
    while (c->waiting != NULL && has_room(c)) {
        struct crew_job *job = c->waiting;
        if (!start_thread(job))
            break;
        c->waiting = job->next;
        if (c->waiting == NULL)
            c->last = &c->waiting;
        job->since_mono_ms = clock_mono_ms();
        job->next = c->under_way;
        c->under_way = job;
        c->count++;
    }
    if (c->waiting != NULL)
        (void)uv_timer_start(&c->timer, on_timer, CREW_QUICK_MS, 0); /* 0 with a callback */
}

static void on_timer(uv_timer_t *t)
{
    go_on(container_of(t, struct crew, timer));
}

static void on_mail(void *arg, struct mail *list)
{
    struct crew *c = arg;
    while (list != NULL) {
        struct crew_job *job = container_of(list, struct crew_job, mail), **at = &c->under_way;
        list = list->next;
        while (*at != job)
            at = &(*at)->next;
        *at = job->next;
        c->count--;
        job->on_done(job); /* it may be gone */
    }
    go_on(c);
}

int crew_init(struct crew *c, uv_loop_t *loop)
{
    *c = (struct crew){.loop = loop};
    c->last = &c->waiting;
    int rc = mailbox_init(&c->done, loop, on_mail, c);
    return rc != 0 ? rc : uv_timer_init(loop, &c->timer); /* the latter is always 0 */
}

void crew_run(struct crew *c, struct crew_job *job, crew_fn fn, crew_fn on_done)
{
    *job = (struct crew_job){.fn = fn, .on_done = on_done, .done = &c->done};
    *c->last = job;
    c->last = &job->next;
    go_on(c);
}

static void on_mailbox_closed(void *arg)
{
    struct crew *c = arg;
    c->on_closed(c->arg);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct crew *c = container_of((uv_timer_t *)h, struct crew, timer);
    mailbox_close(&c->done, on_mailbox_closed);
}

void crew_close(struct crew *c, void (*on_closed)(void *arg), void *arg)
{
    assert(c->count == 0 && c->waiting == NULL);
    c->on_closed = on_closed;
    c->arg = arg;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

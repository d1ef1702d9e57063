/* base/mailbox.h - hand owned messages to a loop thread. post: [any], the rest: [loop]
 *
 * A locked queue and one uv_async_t. After mailbox_post the sender's pointer is gone. The
 * receiver gets everything that waited as one list, in order.
 */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <pthread.h>
#include <uv.h>

struct mail {
    struct mail *next;
};
/* list: first of a NULL-terminated chain, owned by the callee now. */
typedef void (*mailbox_fn)(void *arg, struct mail *list);

struct mailbox {
    uv_async_t async;
    pthread_mutex_t lock;
    struct mail *first, **last;
    mailbox_fn fn;
    void *arg;
    void (*on_closed)(void *arg);
};
int mailbox_init(struct mailbox *m, uv_loop_t *loop, mailbox_fn fn, void *arg);
void mailbox_post(struct mailbox *m, struct mail *mail);
/* No posts may come any more; undelivered mail is delivered first. */
void mailbox_close(struct mailbox *m, void (*on_closed)(void *arg));

/* The same for a plain thread: blocking receive. [any] */
struct postbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct mail *first, **last;
};
void postbox_init(struct postbox *p);
void postbox_deinit(struct postbox *p);
void postbox_post(struct postbox *p, struct mail *mail);
/* Everything that waits, in order; blocks while there is nothing, at most until the monotonic
 * deadline (0 = for ever; then NULL is never returned). */
struct mail *postbox_take(struct postbox *p, int64_t deadline_mono_ms);

#endif

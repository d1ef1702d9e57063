/* test_mailbox.c - messages between threads: none lost, none twice, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mailbox.h"

enum { SENDERS = 3, LETTERS = 20000 };

struct letter {
    struct mail mail;
    unsigned sender, number;
};
struct receiver {
    struct mailbox mailbox;
    struct postbox postbox;
    unsigned next[SENDERS]; /* number expected next from each */
    unsigned received;
    bool closed;
};
struct sender {
    struct receiver *to;
    unsigned id;
    bool by_mailbox;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *l = calloc(1, sizeof(*l));
        l->sender = s->id;
        l->number = i;
        if (s->by_mailbox)
            mailbox_post(&s->to->mailbox, &l->mail);
        else
            postbox_post(&s->to->postbox, &l->mail);
    }
    return NULL;
}

static void on_mailbox_closed(void *arg) { ((struct receiver *)arg)->closed = true; }

static void take_list(struct receiver *r, struct mail *list)
{
    while (list != NULL) {
        struct letter *l = container_of(list, struct letter, mail);
        list = list->next;
        assert_int_equal(l->number, r->next[l->sender]);
        r->next[l->sender]++;
        r->received++;
        free(l);
    }
}

static void on_mail(void *arg, struct mail *list)
{
    struct receiver *r = arg;
    take_list(r, list);
    if (r->received == SENDERS * LETTERS)
        mailbox_close(&r->mailbox, on_mailbox_closed);
}

static void start(struct receiver *r, struct sender *senders, pthread_t *threads, bool by_mailbox)
{
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.to = r, .id = i, .by_mailbox = by_mailbox};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
}

static void join(pthread_t *threads)
{
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void mailbox_keeps_order_of_each_sender(void **state)
{
    (void)state;
    struct receiver r = {0};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_init(&r.mailbox, &loop, on_mail, &r), 0);
    start(&r, senders, threads, true);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    join(threads);
    assert_int_equal(r.received, SENDERS * LETTERS);
    assert_true(r.closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void on_last_mail(void *arg, struct mail *list) { take_list(arg, list); }

/* Mail posted before the close is delivered although the loop never ran. */
static void close_delivers_what_waits(void **state)
{
    (void)state;
    struct receiver r = {0};
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_init(&r.mailbox, &loop, on_last_mail, &r), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct letter *l = calloc(1, sizeof(*l));
        l->number = i;
        mailbox_post(&r.mailbox, &l->mail);
    }
    mailbox_close(&r.mailbox, on_mailbox_closed);
    assert_int_equal(r.received, 3);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_true(r.closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void postbox_keeps_order_of_each_sender(void **state)
{
    (void)state;
    struct receiver r = {0};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    postbox_init(&r.postbox);
    start(&r, senders, threads, false);
    while (r.received < SENDERS * LETTERS)
        take_list(&r, postbox_take(&r.postbox, 0));
    join(threads);
    postbox_deinit(&r.postbox);
}

/* A deadline in the past answers what is there, or nothing, at once. */
static void postbox_deadline_passes(void **state)
{
    (void)state;
    struct receiver r = {0};
    struct letter *l = calloc(1, sizeof(*l));
    postbox_init(&r.postbox);
    assert_null(postbox_take(&r.postbox, clock_mono_ms() + 5));
    assert_null(postbox_take(&r.postbox, 1));
    postbox_post(&r.postbox, &l->mail);
    take_list(&r, postbox_take(&r.postbox, 1));
    assert_int_equal(r.received, 1);
    postbox_deinit(&r.postbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mailbox_keeps_order_of_each_sender),
        cmocka_unit_test(close_delivers_what_waits),
        cmocka_unit_test(postbox_keeps_order_of_each_sender),
        cmocka_unit_test(postbox_deadline_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_publisher.c - tickets into a real redis-server that loses them, keeps junk and is killed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "../support/private_redis.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "metrics.h"
#include "publisher.h"

enum { PATIENCE_MS = 20000, COMMANDS_MAX = 256 };

struct fixture {
    struct private_redis redis;
    uv_loop_t loop;
    uv_timer_t patience;
    struct postbox inbox;
    struct gather gather;
    struct publisher *publisher;
    struct stream stream, other;
    struct aiki_id alive;
    struct offer_scan scans[COMMANDS_MAX];
    size_t scan_count;
    struct ticket tickets[COMMANDS_MAX];
    size_t ticket_count;
    int closed;
};

/* ---- redis ----------------------------------------------------------------------------------- */

/* An integer reply, or how many elements an array has. */
static long long ask(struct fixture *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = private_redis_reply(&f->redis, format, args);
    va_end(args);
    long long answer = r->type == REDIS_REPLY_ARRAY ? (long long)r->elements : r->integer;
    freeReplyObject(r);
    return answer;
}

/* ---- fixture --------------------------------------------------------------------------------- */

static struct aiki_id *sessions(void *arg, size_t *ret_count)
{
    const struct fixture *f = arg;
    struct aiki_id *ids = malloc(sizeof(*ids));
    assert_non_null(ids);
    ids[0] = f->alive;
    *ret_count = 1;
    return ids;
}

/* What the store thread would be asked. */
static void take_commands(struct fixture *f)
{
    gather_post(&f->gather); /* what a timer added at the end of a turn */
    struct mail *list = f->inbox.first;
    f->inbox.first = NULL;
    f->inbox.last = &f->inbox.first;
    for (struct mail *m = list; m != NULL; m = m->next) {
        const struct batch *b = container_of(m, struct batch, mail);
        for (size_t i = 0; i < b->count; i++) {
            aiki_view payload = batch_payload(b, &b->commands[i]);
            if (b->commands[i].type == COMMAND_OFFER) {
                memcpy(&f->scans[f->scan_count++], payload.data, sizeof(f->scans[0]));
            } else {
                assert_int_equal(b->commands[i].type, COMMAND_TICKETS);
                memcpy(&f->tickets[f->ticket_count], payload.data, payload.size_bytes);
                f->ticket_count += payload.size_bytes / sizeof(f->tickets[0]);
            }
        }
    }
    gather_take_back(&f->gather, list);
}

static void on_patience_over(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("waited for too long");
}

#define until(f, condition)                                                                  \
    do {                                                                                     \
        (void)uv_timer_start(&(f)->patience, on_patience_over, PATIENCE_MS, 0);              \
        for (take_commands(f); !(condition); take_commands(f))                               \
            (void)uv_run(&(f)->loop, UV_RUN_ONCE);                                           \
        (void)uv_timer_stop(&(f)->patience);                                                 \
    } while (0)

/* Wait for something only Redis knows. */
#define until_redis(f, condition)                                                            \
    do {                                                                                     \
        (void)uv_timer_start(&(f)->patience, on_patience_over, PATIENCE_MS, 0);              \
        for (take_commands(f); !(condition); take_commands(f))                               \
            (void)uv_run(&(f)->loop, UV_RUN_NOWAIT);                                         \
        (void)uv_timer_stop(&(f)->patience);                                                 \
    } while (0)

static void make_stream(struct stream *s, uint32_t index, const char *key)
{
    *s = (struct stream){.index = index, .key_size_bytes = (uint32_t)strlen(key)};
    memcpy(s->key, key, strlen(key) + 1);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_true(sodium_init() >= 0);
    log_init("test", LOG_ERROR + 1);
    private_redis_init(&f->redis);
    private_redis_start(&f->redis);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    (void)uv_timer_init(&f->loop, &f->patience);
    postbox_init(&f->inbox);
    gather_init(&f->gather, &f->loop, &f->inbox);
    make_stream(&f->stream, 0, "orders");
    make_stream(&f->other, 200, "bills");
    f->alive = id_new();
    assert_int_equal(publisher_create(&f->publisher, &f->loop, f->redis.url, &f->gather, sessions, f,
                                      NULL), AIKI_OK);
    until(f, f->scan_count == 1); /* it came up and wants everything offered */
    assert_null(f->scans[0].stream);
    f->scan_count = 0;
    *state = f;
    return 0;
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;
    f->closed++;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    publisher_close(f->publisher, on_closed, f);
    until(f, f->closed == 1);
    gather_close(&f->gather, on_closed, f);
    uv_close((uv_handle_t *)&f->patience, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->closed, 2);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    postbox_deinit(&f->inbox);
    private_redis_kill(&f->redis);
    (void)snprintf(command, sizeof(command), "rm -r %s", f->redis.dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void offer(struct fixture *f, const struct stream *s, uint64_t first, uint64_t count,
                  const struct offer_scan *scan)
{
    struct outcome *o = outcome_create();
    for (uint64_t i = 0; i < count; i++) {
        struct offer *one = outcome_add_offer(o);
        one->stream = s;
        one->ticket = (struct ticket){.run = {{9}}, .epoch = first + i};
    }
    if (scan != NULL) {
        o->scanned = true;
        o->scan = *scan;
    }
    publisher_take(f->publisher, o);
    outcome_destroy(o);
}

static void audit(struct fixture *f, uint64_t queued)
{
    struct outcome *o = outcome_create();
    struct audit *a = outcome_add_audit(o);
    a->stream = &f->stream;
    a->queued = queued;
    publisher_take(f->publisher, o);
    outcome_destroy(o);
}

/* A consumer of that name reads everything and acknowledges nothing. */
static void read_as(struct fixture *f, const struct aiki_id *id)
{
    char name[AIKI_ID_TEXT_SIZE];
    id_text(id, name);
    redisReply *r = redisCommand(f->redis.direct, "XGROUP CREATE orders aiki 0 MKSTREAM");
    freeReplyObject(r); /* BUSYGROUP the second time */
    (void)ask(f, "XREADGROUP GROUP aiki %s COUNT 5000 STREAMS orders >", name);
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* What is offered is an entry that reads as the ticket it was. */
static void an_offer_is_a_ticket(void **state)
{
    struct fixture *f = *state;
    struct ticket t;
    offer(f, &f->stream, 77, 1, NULL);
    until_redis(f, ask(f, "XLEN orders") == 1);
    redisReply *r = redisCommand(f->redis.direct, "XRANGE orders - +");
    const redisReply *fields = r->element[0]->element[1];
    assert_string_equal(fields->element[0]->str, TICKET_FIELD);
    assert_int_equal(ticket_read((aiki_view){(const uint8_t *)fields->element[1]->str,
                                             (uint64_t)fields->element[1]->len}, &t, NULL),
                     AIKI_OK);
    assert_int_equal(t.epoch, 77);
    freeReplyObject(r);
}

/* The next page of a scan is asked for when Redis has this one. */
static void pages_follow_each_other(void **state)
{
    struct fixture *f = *state;
    offer(f, &f->stream, 1, 1000, &(struct offer_scan){.after_no = 1000});
    take_commands(f);
    assert_int_equal(f->scan_count, 0);
    until(f, f->scan_count == 1);
    assert_int_equal(f->scans[0].after_no, 1000);
    assert_int_equal(ask(f, "XLEN orders"), 1000);
    offer(f, &f->stream, 1, 10, &(struct offer_scan){.after_no = 0});
    until_redis(f, ask(f, "XLEN orders") == 1010);
    assert_int_equal(f->scan_count, 1); /* that was the last one */
}

/* A stream with fewer entries than queued runs is offered again, once at a time. */
static void missing_tickets_are_noticed(void **state)
{
    struct fixture *f = *state;
    offer(f, &f->stream, 1, 3, NULL);
    audit(f, 3);
    until_redis(f, ask(f, "XLEN orders") == 3);
    /* One question about a stream at a time: an audit may be passed over, the next one comes. */
    until_redis(f, (audit(f, 4), f->scan_count == 1));
    assert_ptr_equal(f->scans[0].stream, &f->stream);
    assert_int_equal(f->scans[0].min_age_ms, AUDIT_AGE_MS);
    audit(f, 4); /* the scan is under way */
    offer(f, &f->other, 1, 1, NULL);
    until_redis(f, ask(f, "XLEN bills") == 1);
    assert_int_equal(f->scan_count, 1);
    offer(f, &f->stream, 4, 1, &(struct offer_scan){.stream = &f->stream});
    until_redis(f, ask(f, "XLEN orders") == 4);
    assert_int_equal(f->scan_count, 1);
}

/* What an ended session had read comes back as tickets, and nothing of it stays in Redis. */
static void tickets_of_an_ended_session_come_back(void **state)
{
    struct fixture *f = *state;
    struct aiki_id dead = id_new();
    enum { COUNT = PUBLISHER_PAGE / 5 };
    offer(f, &f->stream, 1, COUNT, NULL);
    until_redis(f, ask(f, "XLEN orders") == COUNT);
    read_as(f, &dead);
    (void)ask(f, "XADD orders * t junk"); /* and something that is no ticket */
    read_as(f, &dead);
    struct outcome *o = outcome_create();
    struct orphan *orphan = outcome_add_orphan(o);
    orphan->stream = &f->stream;
    orphan->session = dead;
    publisher_take(f->publisher, o);
    outcome_destroy(o);
    until(f, f->ticket_count == COUNT);
    assert_int_equal(f->tickets[0].epoch, 1);
    assert_int_equal(f->tickets[COUNT - 1].epoch, COUNT);
    until_redis(f, ask(f, "XINFO CONSUMERS orders aiki") == 1); /* the server's own, empty */
    assert_int_equal(ask(f, "XLEN orders"), 0);
}

/* Consumers that an earlier server left behind are found at the first use of their stream; one
 * whose session lives is left alone. */
static void left_consumers_are_found(void **state)
{
    struct fixture *f = *state;
    struct aiki_id dead = id_new();
    (void)ask(f, "XADD orders * t junk");
    read_as(f, &dead);
    (void)ask(f, "XADD orders * t junk");
    read_as(f, &f->alive);
    offer(f, &f->stream, 5, 1, NULL);
    until_redis(f, ask(f, "XLEN orders") == 2);
    until_redis(f, ask(f, "XINFO CONSUMERS orders aiki") == 2); /* the living one and our own */
    char name[AIKI_ID_TEXT_SIZE];
    id_text(&f->alive, name);
    assert_int_equal(ask(f, "XPENDING orders aiki - + 10 %s", name), 1);
}

/* The link broke when the server had taken tickets over and not yet out: the next one does. */
static void what_was_taken_over_is_taken_out(void **state)
{
    struct fixture *f = *state;
    struct aiki_id dead = id_new();
    offer(f, &f->stream, 1, 3, NULL);
    until_redis(f, ask(f, "XLEN orders") == 3);
    read_as(f, &dead);
    (void)ask(f, "XAUTOCLAIM orders aiki server 0 0 COUNT 2");
    (void)ask(f, "CLIENT KILL TYPE normal SKIPME yes");
    until(f, f->scan_count == 1);
    offer(f, &f->stream, 9, 1, NULL);
    until(f, f->ticket_count == 3);
    until_redis(f, ask(f, "XPENDING orders aiki - + 10") == 0);
    assert_int_equal(ask(f, "XLEN orders"), 1);
}

/* What Redis refuses to hand over is asked for once, not all the time; when it allows that, the next audit
 * brings it. */
static void a_refused_takeover_is_not_repeated_at_once(void **state)
{
    struct fixture *f = *state;
    struct aiki_id dead = id_new();
    (void)ask(f, "XADD orders * t junk");
    read_as(f, &dead);
    (void)ask(f, "ACL SETUSER default -xclaim -xack");
    offer(f, &f->stream, 1, 1, NULL);
    for (int i = 1; i <= 50; i++) {
        offer(f, &f->other, 1, 1, NULL);
        until_redis(f, ask(f, "XLEN bills") == i);
    }
    redisReply *r = redisCommand(f->redis.direct, "INFO commandstats");
    assert_non_null(strstr(r->str, "cmdstat_xclaim:"));
    const char *refused = strstr(strstr(r->str, "cmdstat_xclaim:"), "rejected_calls=");
    assert_int_equal(atoi(refused + strlen("rejected_calls=")), 1);
    freeReplyObject(r);
    (void)ask(f, "ACL SETUSER default +xclaim +xack");
    until_redis(f, (audit(f, 0), ask(f, "XPENDING orders aiki - + 10") == 0));
}

/* Killed and started empty: everything is to be offered again, and offers arrive. */
static void a_new_redis_gets_everything(void **state)
{
    struct fixture *f = *state;
    offer(f, &f->stream, 1, 5, NULL);
    until_redis(f, ask(f, "XLEN orders") == 5);
    private_redis_kill(&f->redis);
    until(f, !publisher_is_up(f->publisher));
    offer(f, &f->stream, 6, 5, &(struct offer_scan){.after_no = 9}); /* dropped, not kept */
    audit(f, 5);
    private_redis_start(&f->redis);
    until(f, f->scan_count == 1);
    assert_null(f->scans[0].stream);
    assert_int_equal(f->scans[0].after_no, 0);
    offer(f, &f->stream, 1, 10, NULL);
    until_redis(f, ask(f, "XLEN orders") == 10);
}

/* A Redis that stands still: what is over the limit waits in the store, not in memory, and all
 * is offered when it goes on. */
static void a_stopped_redis_is_not_buried(void **state)
{
    struct fixture *f = *state;
    (void)kill(f->redis.pid, SIGSTOP);
    for (uint64_t at = 0; at < PUBLISHER_UNANSWERED_MAX + 1000; at += 1000)
        offer(f, &f->stream, at + 1, 1000, NULL);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    (void)kill(f->redis.pid, SIGCONT);
    until(f, f->scan_count == 1);
    assert_null(f->scans[0].stream);
    assert_int_equal(ask(f, "XLEN orders"), PUBLISHER_UNANSWERED_MAX);
}

/* More scans than may wait become one of everything; a stream whose scan that ended is audited as before. */
static void a_scan_that_gave_way_is_not_under_way(void **state)
{
    struct fixture *f = *state;
    const struct offer_scan page = {.stream = &f->stream, .after_no = 7}, rest = {.after_no = 9};
    offer(f, &f->stream, 1, 1, NULL);
    until_redis(f, ask(f, "XLEN orders") == 1);
    until_redis(f, (audit(f, 2), f->scan_count == 1));
    (void)kill(f->redis.pid, SIGSTOP);
    offer(f, &f->stream, 2, 1, &page);
    for (int i = 0; i < PUBLISHER_SCANS_MAX; i++)
        offer(f, &f->other, 1, 1, &rest);
    take_commands(f);
    assert_int_equal(f->scan_count, 2);
    assert_null(f->scans[1].stream);
    assert_int_equal(f->scans[1].after_no, 0);
    (void)kill(f->redis.pid, SIGCONT);
    until_redis(f, (audit(f, 9), f->scan_count == 3));
    assert_ptr_equal(f->scans[2].stream, &f->stream);
    assert_int_equal(f->scans[2].after_no, 0);
}

/* A key that is no stream costs its own tickets only, and each is counted. */
static void a_key_that_is_no_stream(void **state)
{
    struct fixture *f = *state;
    uint64_t failed = metric_read(tickets_failed);
    (void)ask(f, "SET orders x");
    offer(f, &f->stream, 1, 3, NULL);
    audit(f, 3);
    offer(f, &f->other, 1, 3, NULL);
    until_redis(f, ask(f, "XLEN bills") == 3);
    until(f, metric_read(tickets_failed) == failed + 3);
    assert_true(publisher_is_up(f->publisher));
}

/* An address that is none is refused with the forms there are. */
static void a_bad_url_is_refused(void **state)
{
    struct fixture *f = *state;
    struct publisher *p;
    aiki_error err = {.struct_size = sizeof(err)};
    assert_int_equal(publisher_create(&p, &f->loop, "http://x", &f->gather, sessions, f, &err),
                     AIKI_INVALID);
    assert_non_null(strstr(err.message, "redis://"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_offer_is_a_ticket),
        CASE(pages_follow_each_other),
        CASE(missing_tickets_are_noticed),
        CASE(tickets_of_an_ended_session_come_back),
        CASE(left_consumers_are_found),
        CASE(what_was_taken_over_is_taken_out),
        CASE(a_refused_takeover_is_not_repeated_at_once),
        CASE(a_new_redis_gets_everything),
        CASE(a_stopped_redis_is_not_buried),
        CASE(a_scan_that_gave_way_is_not_under_way),
        CASE(a_key_that_is_no_stream),
        CASE(a_bad_url_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

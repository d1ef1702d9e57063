/* test_consumer.c - tickets from a real redis-server that is flushed, filled with junk and killed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/private_redis.h"

#include "../support/fake_server.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/consumer.h"

enum { TICKETS_MAX = 64 };

static const struct aiki_id session = {{5, 5, 5}};

struct fixture {
    struct private_redis redis;
    uv_loop_t loop;
    struct consumer *consumer;
    uint64_t slots;
    unsigned tickets, resets, closed;
    struct ticket got[TICKETS_MAX];
    struct entry_id entries[TICKETS_MAX];
    struct stream *streams[TICKETS_MAX];
};

/* ---- redis --------------------------------------------------------------------------------- */

static long long ask(struct fixture *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = private_redis_reply(&f->redis, format, args);
    va_end(args);
    long long answer = r->type == REDIS_REPLY_ARRAY && r->elements > 0 &&
                               r->element[0]->type == REDIS_REPLY_INTEGER
                           ? r->element[0]->integer
                           : r->integer;
    freeReplyObject(r);
    return answer;
}

static void key_of(const char *workflow, char key[STREAM_KEY_SIZE])
{
    assert_int_equal(stream_key(key, "default", view_of(workflow), view_of("1.0.0")), AIKI_OK);
}

static void add_ticket(struct fixture *f, const char *workflow, uint64_t epoch)
{
    uint8_t bytes[TICKET_BYTES_MAX];
    char key[STREAM_KEY_SIZE];
    key_of(workflow, key);
    uint64_t size = ticket_write(bytes, &(struct ticket){.run = {{1}}, .epoch = epoch});
    (void)ask(f, "XADD %s * t %b", key, bytes, (size_t)size);
}

/* ---- fixture ------------------------------------------------------------------------------- */

static void on_ticket(struct stream *s, struct entry_id entry, const struct ticket *t, void *arg)
{
    struct fixture *f = arg;
    assert_true(f->tickets < TICKETS_MAX);
    f->streams[f->tickets] = s;
    f->entries[f->tickets] = entry;
    f->got[f->tickets++] = *t;
    f->slots -= f->slots > 0;
}

static void on_reset(const struct stream *s, void *arg)
{
    struct fixture *f = arg;
    (void)s;
    f->resets++;
}

static uint64_t free_slots(void *arg)
{
    struct fixture *f = arg;
    return f->slots;
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;
    f->closed++;
}

static int setup(void **state)
{
    static const struct consumer_callbacks callbacks = {.on_ticket = on_ticket,
                                                        .on_reset = on_reset,
                                                        .free_slots = free_slots,
                                                        .on_closed = on_closed};
    struct fixture *f = calloc(1, sizeof(*f));
    aiki_error err = AIKI_ERROR_INIT;
    assert_non_null(f);
    private_redis_init(&f->redis);
    private_redis_start(&f->redis);
    f->slots = TICKETS_MAX;
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(
        consumer_create(&f->consumer, &f->loop, f->redis.url, "default", &callbacks, f, &err), AIKI_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    consumer_close(f->consumer);
    fake_run_until(&f->loop, &f->closed, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    private_redis_kill(&f->redis);
    (void)rmdir(f->redis.dir);
    free(f);
    return 0;
}

static void serve(struct fixture *f, const char *const *workflows, unsigned count)
{
    consumer_routes_begin(f->consumer);
    for (unsigned i = 0; i < count; i++)
        consumer_routes_add(f->consumer, view_of(workflows[i]), view_of("1.0.0"), f);
    consumer_routes_end(f->consumer);
}

/* Reading from these streams, their groups made. */
static void begin(struct fixture *f, const char *const *workflows, unsigned count)
{
    serve(f, workflows, count);
    consumer_set_session(f->consumer, &session);
    fake_run_until(&f->loop, &f->resets, count);
}

static const char *const one[] = {"a"}, *const two[] = {"a", "b"};

/* Runs the loop until the command's integer answer is that. */
static void await_answer(struct fixture *f, long long wanted, const char *command, const char *key)
{
    int64_t deadline_mono_ms = clock_mono_ms() + 10000;
    while (ask(f, command, key) != wanted) {
        assert_true(clock_mono_ms() < deadline_mono_ms);
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

/* Runs the loop until no read is blocked in Redis. */
static void await_no_read(struct fixture *f)
{
    int64_t deadline_mono_ms = clock_mono_ms() + 10000;
    for (bool blocked = true; blocked;) {
        assert_true(clock_mono_ms() < deadline_mono_ms);
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        redisReply *r = redisCommand(f->redis.direct, "INFO clients");
        assert_non_null(r);
        blocked = strstr(r->str, "blocked_clients:0") == NULL;
        freeReplyObject(r);
    }
}

/* ---- cases --------------------------------------------------------------------------------- */

/* A ticket that was there before the group is read, and so is one that comes later. */
static void tickets_arrive(void **state)
{
    struct fixture *f = *state;
    add_ticket(f, "a", 7);
    begin(f, one, 1);
    fake_run_until(&f->loop, &f->tickets, 1);
    assert_int_equal(f->got[0].epoch, 7);
    assert_string_equal(f->streams[0]->workflow, "a");
    add_ticket(f, "a", 8);
    fake_run_until(&f->loop, &f->tickets, 2);
    assert_int_equal(f->got[1].epoch, 8);
}

/* Acknowledged entries leave the pending list and the stream, many with two commands. */
static void acknowledged_entries_are_gone(void **state)
{
    struct fixture *f = *state;
    char key[STREAM_KEY_SIZE];
    key_of("a", key);
    begin(f, one, 1);
    for (uint64_t i = 0; i < 40; i++)
        add_ticket(f, "a", i);
    fake_run_until(&f->loop, &f->tickets, 40);
    assert_int_equal(ask(f, "XPENDING %s aiki", key), 40);
    for (unsigned i = 0; i < 40; i++)
        consumer_ack(f->consumer, f->streams[i], f->entries[i]);
    await_answer(f, 0, "XLEN %s", key);
    assert_int_equal(ask(f, "XPENDING %s aiki", key), 0);
}

/* What is no ticket is taken out and hinders nobody. */
static void junk_is_removed(void **state)
{
    struct fixture *f = *state;
    char key[STREAM_KEY_SIZE];
    key_of("a", key);
    (void)ask(f, "XADD %s * t %s", key, "junk");
    (void)ask(f, "XADD %s * other field", key);
    (void)ask(f, "XADD %s * t %b", key, "\x92\xdd\xff\xff", (size_t)4);
    begin(f, one, 1);
    add_ticket(f, "a", 3);
    fake_run_until(&f->loop, &f->tickets, 1);
    assert_int_equal(f->got[0].epoch, 3);
    consumer_ack(f->consumer, f->streams[0], f->entries[0]);
    await_answer(f, 0, "XLEN %s", key);
}

/* FLUSHALL under a blocked read: the group is made anew and the server is asked to offer again. */
static void a_flush_is_noticed(void **state)
{
    struct fixture *f = *state;
    begin(f, one, 1);
    add_ticket(f, "a", 1);
    fake_run_until(&f->loop, &f->tickets, 1);
    (void)ask(f, "FLUSHALL");
    add_ticket(f, "a", 2);
    fake_run_until(&f->loop, &f->resets, 2);
    fake_run_until(&f->loop, &f->tickets, 2);
    assert_int_equal(f->got[1].epoch, 2);
}

/* No free slot, no reading; a slot, a ticket. */
static void no_slot_no_ticket(void **state)
{
    struct fixture *f = *state;
    f->slots = 2;
    for (uint64_t i = 0; i < 5; i++)
        add_ticket(f, "a", i);
    begin(f, one, 1);
    fake_run_until(&f->loop, &f->tickets, 2);
    for (int turn = 0; turn < 5; turn++)
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->tickets, 2);
    f->slots = 1;
    consumer_kick(f->consumer);
    fake_run_until(&f->loop, &f->tickets, 3);
    assert_int_equal(f->got[2].epoch, 2);
}

/* A stream added while a read is blocked is read at once, not after the block. */
static void a_new_stream_interrupts_the_read(void **state)
{
    struct fixture *f = *state;
    begin(f, one, 1);
    add_ticket(f, "a", 1);
    fake_run_until(&f->loop, &f->tickets, 1);
    int64_t before = clock_mono_ms();
    serve(f, two, 2);
    add_ticket(f, "b", 2);
    fake_run_until(&f->loop, &f->tickets, 2);
    assert_string_equal(f->streams[1]->workflow, "b");
    assert_true(clock_mono_ms() - before < CONSUMER_BLOCK_MS / 2);
    serve(f, one, 1);
    assert_null(f->streams[1]->user);
}

/* One key of another type silences its own workflow only. */
static void a_key_that_is_no_stream_is_left_out(void **state)
{
    struct fixture *f = *state;
    char key[STREAM_KEY_SIZE];
    key_of("b", key);
    (void)ask(f, "SET %s text", key);
    serve(f, two, 2);
    consumer_set_session(f->consumer, &session);
    add_ticket(f, "a", 1);
    fake_run_until(&f->loop, &f->tickets, 1);
    assert_string_equal(f->streams[0]->workflow, "a");
}

/* Redis killed and started empty: groups are made again, reading goes on. */
static void it_survives_redis(void **state)
{
    struct fixture *f = *state;
    begin(f, one, 1);
    private_redis_kill(&f->redis);
    private_redis_start(&f->redis);
    add_ticket(f, "a", 9);
    fake_run_until(&f->loop, &f->resets, 2);
    fake_run_until(&f->loop, &f->tickets, 1);
    assert_int_equal(f->got[0].epoch, 9);
}

/* Without a session nothing is read; another session reads under its own name. */
static void it_reads_for_a_session_only(void **state)
{
    struct fixture *f = *state;
    char key[STREAM_KEY_SIZE];
    const struct aiki_id other = {{6}};
    key_of("a", key);
    begin(f, one, 1);
    add_ticket(f, "a", 1);
    fake_run_until(&f->loop, &f->tickets, 1);
    consumer_set_session(f->consumer, NULL);
    await_no_read(f);
    add_ticket(f, "a", 2);
    for (int turn = 0; turn < 5; turn++)
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->tickets, 1);
    consumer_set_session(f->consumer, &other);
    fake_run_until(&f->loop, &f->tickets, 2);
    redisReply *r = redisCommand(f->redis.direct, "XINFO CONSUMERS %s aiki", key);
    assert_non_null(r);
    assert_int_equal(r->elements, 2);
    freeReplyObject(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tickets_arrive, setup, teardown),
        cmocka_unit_test_setup_teardown(acknowledged_entries_are_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(junk_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flush_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(no_slot_no_ticket, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_stream_interrupts_the_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_is_no_stream_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(it_survives_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(it_reads_for_a_session_only, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_watchers.c - histories that are asked for before they go on. */
#include "support/pipeline_fixture.h"

#include "base/json.h"
#include "reader.h"

enum { ASK = 500 };

/* As pipeline_fixture.c's, with a reader thread. */
static int set_up(void **state)
{
    int rc = setup(state);
    struct fixture *f = *state;
    assert_int_equal(reader_start(&f->p.reader, f->store, "test", f->p.now.epoch_floor, f->p.schemas, &f->mailbox,
                                  NULL),
                     AIKI_OK);
    return rc;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    reader_stop(f->p.reader);
    return teardown(state);
}

static void ask_history(struct fixture *f, uint32_t correlation, const struct aiki_id *run,
                        uint64_t after, uint64_t wait_ms)
{
    char id[AIKI_ID_TEXT_SIZE], args[160];
    aiki_writer map;
    buf_init(&map);
    id_text(run, id);
    (void)snprintf(args, sizeof(args), "{\"id\":\"%s\",\"after\":%llu,\"limit\":50,\"wait_ms\":%llu}",
                   id, (unsigned long long)after, (unsigned long long)wait_ms);
    assert_int_equal(json_to_msgpack(view_of(args), &map, NULL), AIKI_OK);
    say(f, CLIENT, QUERY, correlation, .what = view_of("runs.history"),
        .args = aiki_writer_view(&map));
    buf_deinit(&map);
    turn(f);
}

/* The answer as JSON, once the reader thread has given it. The caller's. */
static char *shown(struct fixture *f, uint32_t correlation)
{
    struct msg_DOCUMENT m;
    aiki_writer text;
    buf_init(&text);
    while (!has_answer(f, CLIENT, correlation))
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    expect(f, CLIENT, correlation, DOCUMENT, &m);
    assert_int_equal(msgpack_to_json(m.value, 0, &text, NULL), AIKI_OK);
    aiki_mp_raw(&text, "", 1);
    return (char *)text.data;
}

#define SHOWN(f, correlation, has, has_not)                                                        \
    do {                                                                                           \
        char *text_ = shown(f, correlation);                                                       \
        if (strstr(text_, has) == NULL || strstr(text_, has_not) != NULL)                          \
            fail_msg("%s", text_);                                                                 \
        free(text_);                                                                               \
    } while (0)

/* What is there already is no reason to wait, and neither is a run that has ended. */
static void what_is_there_is_answered_at_once(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    ask_history(f, ASK, &run, 0, 60000);
    SHOWN(f, ASK, "\"started\"", "\"events\":[]");
    uint64_t epoch = claim(f, RUNTIME);
    finish(f, run, epoch);
    turn(f);
    forget(f);
    ask_history(f, ASK, &run, 99, 60000);
    SHOWN(f, ASK, "\"state\":\"completed\",\"events\":[]", "\"started\"");
    assert_int_equal(f->p.watcher_open_count, 0);
}

/* Everybody is answered by the commit that appends, not before, with the events behind those they
 * have seen. Who waits for the end goes on waiting. */
static void the_commit_that_appends_answers(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    uint64_t epoch = claim(f, RUNTIME);
    ask_history(f, ASK, &run, 1, 60000);
    ask_history(f, ASK + 1, &run, 1, 60000);
    ask_history(f, ASK + 2, &run, 3, 60000);
    say(f, CLIENT, WAIT, 8, .run = run, .timeout_ms = 60000);
    turn(f);
    assert_int_equal(f->p.watcher_open_count, 3);
    assert_int_equal(f->p.waiter_open_count, 4);
    memory_store_fail_commit(f->store, AIKI_UNAVAILABLE, 0);
    /* Not park(): it forgets the answers that the reader thread may have given by then. */
    ask_append(f, RUNTIME, 3, &(struct said){.run = run, .epoch = epoch, .number = 1,
                                             .next = NEXT_PARK, .wait_signal = "go"});
    turn(f);
    SHOWN(f, ASK, "\"claimed\"", "\"started\"");
    SHOWN(f, ASK + 1, "\"claimed\"", "\"started\"");
    assert_int_equal(f->p.watcher_open_count, 1);
    assert_false(has_answer(f, CLIENT, ASK + 2) || has_answer(f, CLIENT, 8));
    say(f, CLIENT, SIGNAL, 9, .run = run, .name = view_of("go"), .payload = {answer42, 1});
    turn(f);
    assert_int_equal(f->p.watcher_open_count, 1);
    (void)ask(f, run, CONTROL_TERMINATE);
    SHOWN(f, ASK + 2, "\"terminated\"", "\"signal\"");
    assert_true(has_answer(f, CLIENT, 8));
    assert_int_equal(f->p.waiter_open_count, 0);
}

/* Nothing came: an empty page when the time is up. */
static void an_empty_page_when_the_time_is_up(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    ask_history(f, ASK, &run, 1, 5000);
    pass_ms(f, 4000);
    turn(f);
    assert_false(has_answer(f, CLIENT, ASK));
    pass_ms(f, 2000);
    turn(f);
    SHOWN(f, ASK, "\"state\":\"queued\",\"events\":[]", "\"started\"");
}

/* A limit, told by name; who has hung up no longer counts. */
static void watchers_are_limited(void **state)
{
    struct fixture *f = *state;
    struct aiki_id run = start(f);
    for (uint32_t i = 0; i < WATCHERS_MAX; i++)
        ask_history(f, ASK + i, &run, 1, 60000);
    assert_int_equal(f->p.watcher_open_count, WATCHERS_MAX);
    ask_history(f, 7, &run, 1, 60000);
    expect_fault(f, CLIENT, 7, AIKI_UNAVAILABLE, "OVERLOADED");
    command(f, CLIENT, COMMAND_FORGET, ASK, NULL, 0);
    turn(f);
    assert_int_equal(f->p.watcher_open_count, WATCHERS_MAX - 1);
    command(f, CLIENT, COMMAND_CLOSE, 0, NULL, 0);
    turn(f);
    assert_int_equal(f->p.watcher_open_count, 0);
    assert_int_equal(f->p.waiter_open_count, 0);
}

static void nobody_to_watch(void **state)
{
    struct fixture *f = *state;
    struct aiki_id nobody = id_new();
    ask_history(f, ASK, &nobody, 0, 60000);
    expect_fault(f, CLIENT, ASK, AIKI_NOT_FOUND, "RUN_NOT_FOUND");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(what_is_there_is_answered_at_once),
        CASE(the_commit_that_appends_answers),
        CASE(an_empty_page_when_the_time_is_up),
        CASE(watchers_are_limited),
        CASE(nobody_to_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

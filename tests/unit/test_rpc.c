/* test_rpc.c - connections as a hostile or tired peer sees them; the test is the store thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "metrics.h"
#include "rpc/rpc.h"
#include "support/token_file.h"
#include "wire/error.h"

enum { PATIENCE_MS = 20000, LEASE_MS = 800, COMMANDS_MAX = 256 };

/* A peer on the same loop. */
struct caller {
    struct conn *conn;
    bool closed;
    uint32_t type, correlation; /* of the last frame */
    unsigned frames;
    int64_t status;             /* of the last FAULT */
    char code[AIKI_CODE_SIZE];
    struct msg_WELCOME welcome;
};

struct seen {
    uint32_t type, correlation;
    peer_id peer;
};

struct fixture {
    uv_loop_t loop;
    uv_timer_t patience;
    struct postbox inbox;
    struct gather gather;
    struct conn_loop *conns;
    struct rpc *rpc;
    struct token_file file;
    struct tokens *tokens; /* NULL: none are asked for */
    struct seen seen[COMMANDS_MAX];
    size_t seen_count;
    int closed;
};

/* ---- peers ----------------------------------------------------------------------------------- */

static void on_frame(struct conn *c, const struct frame *f, void *arg)
{
    struct caller *caller = arg;
    struct msg_FAULT m;
    aiki_error err = {.struct_size = sizeof(err)};
    (void)c;
    caller->type = f->type;
    caller->correlation = f->correlation;
    caller->frames++;
    if (f->type == WIRE_WELCOME)
        assert_int_equal(msg_WELCOME_read(f->payload, &caller->welcome, NULL), AIKI_OK);
    if (f->type != WIRE_FAULT)
        return;
    assert_int_equal(msg_FAULT_read(f->payload, &m, NULL), AIKI_OK);
    assert_int_equal(error_read(m.error, &err, NULL, NULL), AIKI_OK);
    caller->status = m.status;
    memcpy(caller->code, err.code, sizeof(err.code));
}

static void on_conn_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    struct caller *caller = arg;
    (void)c;
    (void)status;
    (void)why;
    caller->conn = NULL;
    caller->closed = true;
}

static void dial(struct fixture *f, struct caller *caller)
{
    static const struct conn_callbacks callbacks = {.on_frame = on_frame,
                                                    .on_closed = on_conn_closed};
    memset(caller, 0, sizeof(*caller));
    caller->conn = conn_open(f->conns, rpc_address(f->rpc), &callbacks, caller);
    assert_non_null(caller->conn);
}

static void take_commands(struct fixture *f)
{
    gather_post(&f->gather); /* what a timer added at the end of a turn */
    struct mail *list = f->inbox.first;
    f->inbox.first = NULL;
    f->inbox.last = &f->inbox.first;
    for (struct mail *m = list; m != NULL; m = m->next) {
        const struct batch *b = container_of(m, struct batch, mail);
        for (size_t i = 0; i < b->count && f->seen_count < COMMANDS_MAX; i++)
            f->seen[f->seen_count++] = (struct seen){.type = b->commands[i].type,
                                                     .correlation = b->commands[i].correlation,
                                                     .peer = b->commands[i].peer};
    }
    gather_take_back(&f->gather, list);
}

static const struct seen *seen(const struct fixture *f, uint32_t type)
{
    for (size_t i = 0; i < f->seen_count; i++)
        if (f->seen[i].type == type)
            return &f->seen[i];
    return NULL;
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

#define HELLO_FIELDS(role_)                                                                  \
    .magic = view_of(WIRE_MAGIC), .major = WIRE_MAJOR, .role = (role_), .name = view_of("me"), \
    .space = view_of("test"), .pid = 1, .slots = 4

static void greet(struct fixture *f, struct caller *c, uint64_t role)
{
    dial(f, c);
    conn_send(c->conn, HELLO, 1, HELLO_FIELDS(role));
    until(f, c->type == WIRE_WELCOME);
    c->type = 0;
}

/* ---- fixture --------------------------------------------------------------------------------- */

static int setup_with(void **state, const char *token_lines)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct rpc_options options = {.listen = "127.0.0.1:0", .space = "test", .lease_ms = LEASE_MS,
                                  .incarnation = 3};
    assert_non_null(f);
    assert_true(sodium_init() >= 0);
    log_init("test", LOG_ERROR + 1);
    engine_clock_init(&options.clock, 0);
    if (token_lines != NULL) {
        token_file_init(&f->file, token_lines);
        assert_int_equal(tokens_open(&f->tokens, f->file.path, NULL), AIKI_OK);
        options.tokens = f->tokens;
    }
    assert_int_equal(uv_loop_init(&f->loop), 0);
    (void)uv_timer_init(&f->loop, &f->patience);
    postbox_init(&f->inbox);
    gather_init(&f->gather, &f->loop, &f->inbox);
    f->conns = conn_loop_create(&f->loop);
    assert_non_null(f->conns);
    assert_int_equal(rpc_start(&f->rpc, &f->loop, f->conns, &f->gather, &options, NULL), AIKI_OK);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, NULL);
}

static int setup_tokens(void **state)
{
    return setup_with(state, TOKEN_LINES);
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;
    f->closed++;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rpc_close(f->rpc, on_closed, f);
    until(f, f->closed == 1);
    conn_loop_destroy(f->conns, on_closed, f);
    until(f, f->closed == 2);
    gather_close(&f->gather, on_closed, f);
    uv_close((uv_handle_t *)&f->patience, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->closed, 3);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    postbox_deinit(&f->inbox);
    if (f->tokens != NULL)
        token_file_deinit(&f->file);
    tokens_close(f->tokens);
    free(f);
    return 0;
}

/* ---- greeting -------------------------------------------------------------------------------- */

/* A client is welcome and has no session; a runtime gets one, and the store thread hears of it. */
static void both_roles_are_welcome(void **state)
{
    struct fixture *f = *state;
    struct caller client, runtime;
    size_t count;
    greet(f, &client, WIRE_ROLE_CLIENT);
    assert_true(id_is_zero(&client.welcome.session));
    assert_null(seen(f, COMMAND_OPEN));
    greet(f, &runtime, WIRE_ROLE_RUNTIME);
    assert_false(id_is_zero(&runtime.welcome.session));
    assert_int_equal(runtime.welcome.lease_ms, LEASE_MS);
    assert_int_equal(runtime.welcome.incarnation, 3);
    until(f, seen(f, COMMAND_OPEN) != NULL);
    AUTO(free) struct aiki_id *ids = rpc_sessions(f->rpc, &count);
    assert_int_equal(count, 1);
    assert_true(id_equal(ids, &runtime.welcome.session));
    conn_close(client.conn);
    conn_close(runtime.conn);
    until(f, rpc_connection_count(f->rpc) == 0);
    assert_int_equal(rpc_session_count(f->rpc), 0);
}

/* Each way to say HELLO wrong is answered with its reason, and then cut. */
static void wrong_greetings_are_refused(void **state)
{
    struct fixture *f = *state;
    char long_name[RPC_HELLO_BYTES_MAX];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    struct msg_HELLO hellos[] = {
        {HELLO_FIELDS(WIRE_ROLE_CLIENT)}, {HELLO_FIELDS(WIRE_ROLE_CLIENT)}, {HELLO_FIELDS(9)},
        {HELLO_FIELDS(WIRE_ROLE_RUNTIME)}, {HELLO_FIELDS(WIRE_ROLE_CLIENT)},
    };
    static const aiki_status expected[] = {AIKI_INVALID, AIKI_UNSUPPORTED, AIKI_INVALID,
                                           AIKI_DENIED, AIKI_LIMIT};
    hellos[0].magic = view_of("http");
    hellos[1].major = WIRE_MAJOR + 1;
    hellos[3].space = view_of("other");
    hellos[4].token = view_of(long_name);
    for (size_t i = 0; i < ARRAY_COUNT(hellos); i++) {
        struct caller c;
        dial(f, &c);
        uint64_t at = frame_begin(conn_out(c.conn));
        msg_HELLO_write(conn_out(c.conn), &hellos[i]);
        conn_end_frame(c.conn, at, WIRE_HELLO, 1);
        until(f, c.closed);
        assert_int_equal(c.type, WIRE_FAULT);
        assert_int_equal(c.status, expected[i]);
    }
    assert_null(seen(f, COMMAND_OPEN));
}

static void greet_with(struct fixture *f, struct caller *c, uint64_t role, const char *token,
                       const char *space)
{
    struct msg_HELLO m = {HELLO_FIELDS(role)};
    m.token = view_of(token);
    m.space = view_of(space);
    dial(f, c);
    uint64_t at = frame_begin(conn_out(c->conn));
    msg_HELLO_write(conn_out(c->conn), &m);
    conn_end_frame(c->conn, at, WIRE_HELLO, 1);
    until(f, c->type == WIRE_WELCOME || c->closed);
}

/* With a list of tokens each role needs one of its own, and learns nothing without it. */
static void tokens_are_asked_for(void **state)
{
    struct fixture *f = *state;
    struct caller c;
    static const struct {
        uint64_t role;
        const char *token, *space, *code;
    } cases[] = {{WIRE_ROLE_CLIENT, "", "test", "TOKEN_REFUSED"},
                 {WIRE_ROLE_CLIENT, RUNTIME_TOKEN, "test", "TOKEN_REFUSED"},
                 {WIRE_ROLE_RUNTIME, CLIENT_TOKEN, "test", "TOKEN_REFUSED"},
                 {WIRE_ROLE_CLIENT, "guessed-0123456789", "other", "TOKEN_REFUSED"},
                 {WIRE_ROLE_CLIENT, CLIENT_TOKEN, "other", "WRONG_NAMESPACE"},
                 {WIRE_ROLE_CLIENT, CLIENT_TOKEN, "test", ""},
                 {WIRE_ROLE_RUNTIME, RUNTIME_TOKEN, "test", ""},
                 {WIRE_ROLE_RUNTIME, ANY_TOKEN, "test", ""}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        greet_with(f, &c, cases[i].role, cases[i].token, cases[i].space);
        assert_string_equal(c.code, cases[i].code);
        assert_int_equal(c.closed, cases[i].code[0] != '\0');
        if (c.closed)
            assert_int_equal(c.status, AIKI_DENIED);
        else
            conn_close(c.conn);
        until(f, c.closed);
    }
    assert_int_equal(tokens_refused(f->tokens), 4);
}

/* A token taken off the list ends its connections, and no others. */
static void withdrawn_tokens_cut(void **state)
{
    struct fixture *f = *state;
    struct caller kept, cut, waiting;
    greet_with(f, &kept, WIRE_ROLE_CLIENT, CLIENT_TOKEN, "test");
    greet_with(f, &cut, WIRE_ROLE_RUNTIME, ANY_TOKEN, "test");
    dial(f, &waiting);
    until(f, rpc_connection_count(f->rpc) == 3);
    token_file_write(&f->file, CLIENT_TOKEN " client\n" ANY_TOKEN " client\n");
    assert_int_equal(tokens_reload(f->tokens, NULL), AIKI_OK);
    rpc_check_tokens(f->rpc);
    until(f, cut.closed);
    assert_false(kept.closed || waiting.closed);
    conn_close(kept.conn);
    conn_close(waiting.conn);
    until(f, kept.closed && waiting.closed);
}

/* Anything before HELLO ends the connection; so do bytes that are no frame, which are counted. */
static void strangers_are_cut_off(void **state)
{
    struct fixture *f = *state;
    struct caller c;
    uint64_t damaged = metric_read(frames_damaged);
    dial(f, &c);
    conn_send(c.conn, START, 1, .workflow = view_of("w"));
    until(f, c.closed);
    assert_string_equal(c.code, "HELLO_EXPECTED");
    dial(f, &c);
    conn_send_bytes(c.conn, view_of("GET / HTTP/1.1\r\nHost: here\r\n\r\n"));
    until(f, c.closed);
    until(f, metric_read(frames_damaged) == damaged + 1);
    assert_null(seen(f, WIRE_START));
}

/* ---- requests -------------------------------------------------------------------------------- */

/* A request goes to the store thread under its peer; what is not the role's to ask does not. */
static void requests_go_by_role(void **state)
{
    struct fixture *f = *state;
    struct caller client, runtime;
    greet(f, &client, WIRE_ROLE_CLIENT);
    greet(f, &runtime, WIRE_ROLE_RUNTIME);
    conn_send(client.conn, START, 7, .workflow = view_of("w"));
    conn_send(client.conn, CLAIM, 8, .epoch = 1);
    until(f, client.type == WIRE_FAULT);
    assert_string_equal(client.code, "BAD_REQUEST");
    assert_int_equal(client.correlation, 8);
    conn_send(runtime.conn, START, 9, .workflow = view_of("w"));
    conn_send(runtime.conn, HELLO, 10, HELLO_FIELDS(WIRE_ROLE_RUNTIME));
    until(f, runtime.correlation == 10);
    assert_string_equal(runtime.code, "BAD_REQUEST");
    until(f, seen(f, WIRE_START) != NULL);
    assert_int_equal(seen(f, WIRE_START)->correlation, 7);
    assert_null(seen(f, WIRE_CLAIM));
    conn_close(client.conn);
    conn_close(runtime.conn);
}

/* Frames reach the connection they are for, and nobody who has its slot later. */
static void answers_find_their_connection(void **state)
{
    struct fixture *f = *state;
    struct caller first, second;
    struct parcel parcel = {.answered = 1};
    buf_init(&parcel.frames);
    greet(f, &first, WIRE_ROLE_CLIENT);
    conn_send(first.conn, START, 7, .workflow = view_of("w"));
    until(f, seen(f, WIRE_START) != NULL);
    parcel.peer = seen(f, WIRE_START)->peer;
    frame_add(&parcel.frames, OK, 7, .count = 5);
    rpc_deliver(f->rpc, &parcel);
    until(f, first.type == WIRE_OK && first.correlation == 7);
    conn_close(first.conn);
    until(f, seen(f, COMMAND_CLOSE) != NULL);
    assert_true(seen(f, COMMAND_CLOSE)->peer == parcel.peer);
    greet(f, &second, WIRE_ROLE_CLIENT);
    unsigned frames = second.frames;
    rpc_deliver(f->rpc, &parcel); /* late */
    conn_send(second.conn, CLAIM, 8, .epoch = 1);
    until(f, second.correlation == 8);
    assert_int_equal(second.frames, frames + 1);
    conn_close(second.conn);
    buf_deinit(&parcel.frames);
}

/* One more than the limit of a connection is refused by name; an answer makes room. */
static void open_requests_are_limited(void **state)
{
    struct fixture *f = *state;
    struct caller c;
    struct parcel parcel = {.answered = 1};
    greet(f, &c, WIRE_ROLE_CLIENT);
    for (uint32_t i = 0; i <= CONNECTION_REQUESTS_MAX; i++)
        conn_send(c.conn, WAIT, i + 2, .timeout_ms = 1);
    until(f, c.type == WIRE_FAULT);
    assert_int_equal(c.status, AIKI_LIMIT);
    assert_int_equal(c.correlation, CONNECTION_REQUESTS_MAX + 2);
    parcel.peer = seen(f, WIRE_WAIT)->peer;
    buf_init(&parcel.frames);
    rpc_deliver(f->rpc, &parcel);
    f->seen_count = 0;
    conn_send(c.conn, QUERY, 1, .what = view_of("x"));
    until(f, seen(f, WIRE_QUERY) != NULL);
    conn_close(c.conn);
}

/* Starts are refused while too much waits for the store thread; what is under way goes on. */
static void starts_wait_for_room(void **state)
{
    struct fixture *f = *state;
    struct caller client, runtime;
    greet(f, &client, WIRE_ROLE_CLIENT);
    greet(f, &runtime, WIRE_ROLE_RUNTIME);
    f->gather.waiting_bytes += COMMAND_BYTES_WAITING_MAX; /* as if that much were queued */
    conn_send(client.conn, START, 7, .workflow = view_of("w"));
    conn_send(runtime.conn, APPEND, 8, .epoch = 1);
    until(f, client.type == WIRE_FAULT && seen(f, WIRE_APPEND) != NULL);
    assert_string_equal(client.code, "OVERLOADED");
    assert_int_equal(client.status, AIKI_UNAVAILABLE);
    f->gather.waiting_bytes -= COMMAND_BYTES_WAITING_MAX;
    conn_send(client.conn, START, 9, .workflow = view_of("w"));
    until(f, seen(f, WIRE_START) != NULL);
    assert_int_equal(seen(f, WIRE_START)->correlation, 9);
    conn_close(client.conn);
    conn_close(runtime.conn);
}

/* ---- leases ---------------------------------------------------------------------------------- */

/* Silence for the length of the lease ends the session, not the connection. A heartbeat then is
 * FENCED at once; other requests go to the store thread, which counts and fences them. */
static void silence_ends_the_lease(void **state)
{
    struct fixture *f = *state;
    struct caller c;
    greet(f, &c, WIRE_ROLE_RUNTIME);
    until(f, seen(f, COMMAND_EXPIRE) != NULL);
    assert_false(c.closed);
    assert_int_equal(rpc_session_count(f->rpc), 0);
    conn_send(c.conn, HEARTBEAT, 5, .busy = 0);
    until(f, c.type == WIRE_FAULT);
    assert_int_equal(c.status, AIKI_FENCED);
    conn_send(c.conn, APPEND, 6, .epoch = 1);
    until(f, seen(f, WIRE_APPEND) != NULL);
    conn_close(c.conn);
}

/* Heartbeats are answered although the store thread takes nothing, and keep the lease. */
static void heartbeats_need_no_store(void **state)
{
    struct fixture *f = *state;
    struct caller c;
    greet(f, &c, WIRE_ROLE_RUNTIME);
    uint64_t until_ms = uv_now(&f->loop) + 3 * LEASE_MS;
    for (uint32_t n = 2; uv_now(&f->loop) < until_ms; n++) {
        conn_send(c.conn, HEARTBEAT, n, .busy = 1, .slots = 4);
        (void)uv_timer_start(&f->patience, on_patience_over, PATIENCE_MS, 0);
        while (c.correlation != n)
            (void)uv_run(&f->loop, UV_RUN_ONCE);
        (void)uv_timer_stop(&f->patience);
        assert_int_equal(c.type, WIRE_OK);
    }
    take_commands(f);
    assert_non_null(seen(f, COMMAND_BEAT));
    assert_null(seen(f, COMMAND_EXPIRE));
    conn_close(c.conn);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(both_roles_are_welcome),
        CASE(wrong_greetings_are_refused),
        cmocka_unit_test_setup_teardown(tokens_are_asked_for, setup_tokens, teardown),
        cmocka_unit_test_setup_teardown(withdrawn_tokens_cut, setup_tokens, teardown),
        CASE(strangers_are_cut_off),
        CASE(requests_go_by_role),
        CASE(answers_find_their_connection),
        CASE(open_requests_are_limited),
        CASE(starts_wait_for_room),
        CASE(silence_ends_the_lease),
        CASE(heartbeats_need_no_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

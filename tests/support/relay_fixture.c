/* support/relay_fixture.c - the relay's neighbours, played, and the steps of its cases. */
#include "relay_fixture.h"

#include <sys/socket.h>

unsigned acked, kicks;

struct conn *build_conn(struct build *b)
{
    return b->line;
}
struct conn *build_assignable(struct build *b)
{
    return b->assignable ? b->line : NULL;
}
const uint8_t *build_hash(const struct build *b)
{
    static const uint8_t hash[32] = {0xb1};
    (void)b;
    return hash;
}
const char *build_label(const struct build *b)
{
    (void)b;
    return "played.so@b1";
}
const struct verdict *build_verdict(const struct build *b)
{
    return b->verdict;
}
bool build_left(struct build *b)
{
    b->left++;
    return false;
}
void build_kill(struct build *b)
{
    b->kills++;
}
bool build_is_leaving(const struct build *b)
{
    return !b->assignable;
}

bool build_wake(struct build *b)
{
    return b->kept;
}
void consumer_kick(struct consumer *c)
{
    (void)c;
    kicks++;
}
void consumer_ack(struct consumer *c, struct stream *s, struct entry_id entry)
{
    (void)c;
    (void)s;
    assert_int_equal(entry.seq, 5);
    acked++;
}

/* ---- the session's and the child's callbacks ----------------------------------------------- */

static void on_up(void *arg)
{
    struct fixture *f = arg;
    f->ups++;
    relay_session_up(f->relay);
}

static void on_push(const struct frame *frame, void *arg)
{
    struct fixture *f = arg;
    relay_push(f->relay, frame);
}

static void on_ending(void *arg)
{
    struct fixture *f = arg;
    f->endings++;
    relay_session_ending(f->relay);
}

static uint64_t busy(void *arg)
{
    struct fixture *f = arg;
    return relay_held(f->relay);
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;
    f->closed++;
}

static void on_conns_gone(void *arg)
{
    struct fixture *f = arg;
    f->conns_gone++;
}

static struct build *find_other(const struct build_wanted *w, bool *ret_later, void *arg)
{
    struct fixture *f = arg;
    assert_true(w->tried_count > 0);
    memcpy(f->last, w->last, sizeof(f->last));
    *ret_later = false;
    return f->other;
}

static struct build *find_alone(const uint8_t *hash, bool *ret_later, void *arg)
{
    struct fixture *f = arg;
    assert_memory_equal(hash, build_hash(&f->build), 32);
    *ret_later = false;
    return f->alone;
}

static void on_left(uint64_t held, void *arg)
{
    struct fixture *f = arg;
    (void)held;
    f->lefts++;
}

static void on_child_line(struct conn *c, const struct frame *frame, void *arg)
{
    struct fixture *f = arg;
    (void)c;
    relay_child_frame(f->relay, &f->build, frame);
}

void on_line_closed(struct conn *c, aiki_status status, const char *why, void *arg)
{
    (void)c;
    (void)status;
    (void)why;
    (void)arg;
}

/* Frames for the child are kept where the fake server keeps its own. */
static void on_in_child(struct conn *c, const struct frame *frame, void *arg)
{
    struct fixture *f = arg;
    (void)c;
    struct fake_frame *kept = &f->child.frames[f->child.frame_count++];
    kept->type = frame->type;
    kept->correlation = frame->correlation;
    kept->bytes = malloc(frame->payload.size_bytes + 1);
    assert_non_null(kept->bytes);
    memcpy(kept->bytes, frame->payload.data, frame->payload.size_bytes);
    kept->payload = (aiki_view){kept->bytes, frame->payload.size_bytes};
}

static void open_child(struct fixture *f)
{
    static const struct conn_callbacks line = {.on_frame = on_child_line,
                                               .on_closed = on_line_closed};
    static const struct conn_callbacks child = {.on_frame = on_in_child,
                                                .on_closed = on_line_closed};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    f->build.line = conn_open_fd(f->conns, fds[0], &line, f);
    f->build.child = conn_open_fd(f->conns, fds[1], &child, f);
    f->build.assignable = true;
}

int setup(void **state)
{
    static const struct session_callbacks session_callbacks = {.on_up = on_up,
                                                               .on_push = on_push,
                                                               .on_ending = on_ending,
                                                               .busy = busy,
                                                               .on_closed = on_closed};
    static const struct relay_callbacks relay_callbacks = {
        .find_other = find_other, .find_alone = find_alone, .on_left = on_left, .on_closed = on_closed};
    struct fixture *f = calloc(1, sizeof(*f));
    aiki_error err = AIKI_ERROR_INIT;
    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->conns = conn_loop_create(&f->loop);
    fake_server_start(&f->server, &f->loop, f->conns);
    f->child.loop = &f->loop;
    const struct session_options options = {.server = f->server.address,
                                            .name = "worker",
                                            .token = "",
                                            .space = "default",
                                            .slots = SLOTS};
    assert_int_equal(
        session_create(&f->session, &f->loop, f->conns, &options, &session_callbacks, f, &err),
        AIKI_OK);
    assert_int_equal(
        relay_create(&f->relay, &f->loop, SLOTS, f->session, &relay_callbacks, f, &err), AIKI_OK);
    f->stream.user = &f->build;
    f->run.bytes[0] = f->run.bytes[15] = 9;
    acked = kicks = 0;
    open_child(f);
    session_start(f->session);
    fake_run_until(&f->loop, &f->ups, 1);
    *state = f;
    return 0;
}

int teardown(void **state)
{
    struct fixture *f = *state;
    relay_stop(f->relay);
    session_close(f->session);
    fake_run_until(&f->loop, &f->closed, 1);
    relay_close(f->relay);
    fake_run_until(&f->loop, &f->closed, 2);
    fake_server_stop(&f->server);
    for (unsigned i = 0; i < f->child.frame_count; i++)
        free(f->child.frames[i].bytes);
    conn_loop_destroy(f->conns, on_conns_gone, f);
    fake_run_until(&f->loop, &f->conns_gone, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

/* ---- steps --------------------------------------------------------------------------------- */

void ticket(struct fixture *f, uint64_t epoch)
{
    const struct ticket t = {.run = f->run, .epoch = epoch};
    relay_ticket(f->relay, &f->stream, (struct entry_id){1, 5}, &t);
}

uint32_t await_claim(struct fixture *f, uint64_t epoch)
{
    struct msg_CLAIM m;
    const struct fake_frame *claim = fake_server_await(&f->server, WIRE_CLAIM);
    assert_int_equal(msg_CLAIM_read(claim->payload, &m, NULL), AIKI_OK);
    assert_true(id_equal(&m.run, &f->run));
    assert_int_equal(m.epoch, epoch);
    return claim->correlation;
}

struct msg_ASSIGN await_assign(struct fixture *f)
{
    struct msg_ASSIGN m = {.epoch = 0};
    assert_int_equal(msg_ASSIGN_read(fake_server_await(&f->child, WIRE_ASSIGN)->payload, &m, NULL),
                     AIKI_OK);
    assert_true(id_equal(&m.run, &f->run));
    return m;
}

void grant(struct fixture *f, uint32_t correlation, uint64_t epoch, bool more, aiki_view journal)
{
    conn_send(f->server.conn, CLAIMED, correlation, .run = f->run, .epoch = epoch,
              .workflow = view_of("hello"), .version = view_of("1.0.0"), .seq = 3, .now_ms = 1000,
              .more = more, .journal = journal);
}

void begin_stay(struct fixture *f, uint64_t epoch)
{
    ticket(f, epoch);
    grant(f, await_claim(f, epoch), epoch, false, view_of("journal"));
    struct msg_ASSIGN m = await_assign(f);
    assert_int_equal(m.epoch, epoch);
    assert_true(view_is(m.journal, "journal"));
}

void child_appends(struct fixture *f, uint64_t epoch, uint64_t number, uint64_t next)
{
    conn_send(f->build.child, APPEND, 100 + number, .run = f->run, .epoch = epoch, .number = number,
              .next = next, .events = view_of("events"));
}

uint32_t await_append(struct fixture *f, uint64_t number, uint64_t next)
{
    struct msg_APPEND m;
    const struct fake_frame *frame = fake_server_await(&f->server, WIRE_APPEND);
    assert_int_equal(msg_APPEND_read(frame->payload, &m, NULL), AIKI_OK);
    assert_true(id_equal(&m.run, &f->run));
    assert_int_equal(m.epoch, EPOCH);
    assert_int_equal(m.number, number);
    assert_int_equal(m.next, next);
    return frame->correlation;
}

void server_acks(struct fixture *f, uint32_t correlation, uint64_t number)
{
    conn_send(f->server.conn, ACK, correlation, .run = f->run, .number = number, .now_ms = 1001);
}

void await_drop(struct fixture *f)
{
    struct aiki_id run;
    assert_int_equal(msg_run(fake_server_await(&f->child, WIRE_DROP)->payload, &run), AIKI_OK);
    assert_true(id_equal(&run, &f->run));
}

void await_held(struct fixture *f, uint64_t held)
{
    while (relay_held(f->relay) != held)
        fake_run_until(&f->loop, &f->lefts, f->lefts + 1);
}

uint32_t await_page_request(struct fixture *f, uint64_t after_seq)
{
    struct msg_JOURNAL asked;
    const struct fake_frame *request = fake_server_await(&f->server, WIRE_JOURNAL);
    assert_int_equal(msg_JOURNAL_read(request->payload, &asked, NULL), AIKI_OK);
    assert_int_equal(asked.after_seq, after_seq);
    f->run = asked.run;
    return request->correlation;
}

void notify(struct fixture *f, uint64_t epoch, uint64_t kind)
{
    conn_send(f->server.conn, NOTIFY, 0, .run = f->run, .epoch = epoch, .kind = kind,
              .event = view_of("event"));
}

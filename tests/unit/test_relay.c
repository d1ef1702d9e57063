/* test_relay.c - tickets to runs to appends, between a played server, a played child and no Redis.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "../support/fake_server.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/relay.h"
#include "broker/verdict.h"
#include "wire/error.h"
#include "wire/event.h"

enum { SLOTS = 8, EPOCH = 41 };

/* The relay's neighbours, played: a build whose process is a socketpair's other end. */
struct build {
    struct conn *line;  /* the broker's end; NULL = no process */
    struct conn *child; /* the other end */
    bool assignable, kept;
    unsigned kills;
    const struct verdict *verdict;
};
static unsigned acked, kicks;

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
    (void)b;
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

struct fixture {
    uv_loop_t loop;
    struct conn_loop *conns;
    struct fake_server server;
    struct fake_server child; /* only its memory for frames is used */
    struct session *session;
    struct relay *relay;
    struct build build;
    struct stream stream;
    struct aiki_id run;
    struct build *other; /* that fits a run that the first does not */
    unsigned ups, endings, closed, lefts, conns_gone;
};

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
    *ret_later = false;
    return f->other;
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

static void on_line_closed(struct conn *c, aiki_status status, const char *why, void *arg)
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

static int setup(void **state)
{
    static const struct session_callbacks session_callbacks = {.on_up = on_up,
                                                               .on_push = on_push,
                                                               .on_ending = on_ending,
                                                               .busy = busy,
                                                               .on_closed = on_closed};
    static const struct relay_callbacks relay_callbacks = {.find_other = find_other,
                                                           .on_left = on_left,
                                                           .on_closed = on_closed};
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

static int teardown(void **state)
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

static void ticket(struct fixture *f, uint64_t epoch)
{
    const struct ticket t = {.run = f->run, .epoch = epoch};
    relay_ticket(f->relay, &f->stream, (struct entry_id){1, 5}, &t);
}

/* The claim for the fixture's run, in this epoch. */
static uint32_t await_claim(struct fixture *f, uint64_t epoch)
{
    struct msg_CLAIM m;
    const struct fake_frame *claim = fake_server_await(&f->server, WIRE_CLAIM);
    assert_int_equal(msg_CLAIM_read(claim->payload, &m, NULL), AIKI_OK);
    assert_true(id_equal(&m.run, &f->run));
    assert_int_equal(m.epoch, epoch);
    return claim->correlation;
}

static struct msg_ASSIGN await_assign(struct fixture *f)
{
    struct msg_ASSIGN m = {.epoch = 0};
    assert_int_equal(msg_ASSIGN_read(fake_server_await(&f->child, WIRE_ASSIGN)->payload, &m, NULL),
                     AIKI_OK);
    assert_true(id_equal(&m.run, &f->run));
    return m;
}

static void grant(struct fixture *f, uint32_t correlation, uint64_t epoch, bool more,
                  aiki_view journal)
{
    conn_send(f->server.conn, CLAIMED, correlation, .run = f->run, .epoch = epoch,
              .workflow = view_of("hello"), .version = view_of("1.0.0"), .seq = 3, .now_ms = 1000,
              .more = more, .journal = journal);
}

/* From the ticket to the child. */
static void begin_stay(struct fixture *f, uint64_t epoch)
{
    ticket(f, epoch);
    grant(f, await_claim(f, epoch), epoch, false, view_of("journal"));
    struct msg_ASSIGN m = await_assign(f);
    assert_int_equal(m.epoch, epoch);
    assert_true(view_is(m.journal, "journal"));
}

static void child_appends(struct fixture *f, uint64_t epoch, uint64_t number, uint64_t next)
{
    conn_send(f->build.child, APPEND, 100 + number, .run = f->run, .epoch = epoch, .number = number,
              .next = next, .events = view_of("events"));
}

static uint32_t await_append(struct fixture *f, uint64_t number, uint64_t next)
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

static void server_acks(struct fixture *f, uint32_t correlation, uint64_t number)
{
    conn_send(f->server.conn, ACK, correlation, .run = f->run, .number = number, .now_ms = 1001);
}

static void await_drop(struct fixture *f)
{
    struct aiki_id run;
    assert_int_equal(msg_run(fake_server_await(&f->child, WIRE_DROP)->payload, &run), AIKI_OK);
    assert_true(id_equal(&run, &f->run));
}

static void await_held(struct fixture *f, uint64_t held)
{
    while (relay_held(f->relay) != held)
        fake_run_until(&f->loop, &f->lefts, f->lefts + 1);
}

/* ---- cases --------------------------------------------------------------------------------- */

/* A whole stay: claimed, assigned, an append and its ACK, the end. */
static void a_run_comes_and_goes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(relay_free_slots(f->relay), SLOTS);
    begin_stay(f, EPOCH);
    assert_int_equal(acked, 1);
    assert_int_equal(relay_free_slots(f->relay), SLOTS - 1);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    server_acks(f, await_append(f, 1, NEXT_CONTINUE), 1);
    const struct fake_frame *ack = fake_server_await(&f->child, WIRE_ACK);
    assert_int_equal(ack->correlation, 101);
    child_appends(f, EPOCH, 2, NEXT_FINISH);
    server_acks(f, await_append(f, 2, NEXT_FINISH), 2);
    await_held(f, 0);
    assert_int_equal(fake_server_await(&f->child, WIRE_ACK)->correlation, 102);
    assert_int_equal(relay_free_slots(f->relay), SLOTS);
}

/* A claim that is refused for good ends the ticket. */
static void a_refused_claim_ends_the_ticket(void **state)
{
    struct fixture *f = *state;
    ticket(f, EPOCH);
    fake_server_fault(&f->server, await_claim(f, EPOCH), AIKI_STALE);
    await_held(f, 0);
    assert_int_equal(acked, 1);
    assert_int_equal(fake_server_waiting(&f->child, WIRE_ASSIGN), 0);
}

/* A claim that could not be decided is asked again, its ticket not yet acknowledged. */
static void an_undecided_claim_is_repeated(void **state)
{
    struct fixture *f = *state;
    ticket(f, EPOCH);
    fake_server_fault(&f->server, await_claim(f, EPOCH), AIKI_UNAVAILABLE);
    uint32_t again = await_claim(f, EPOCH);
    assert_int_equal(acked, 0);
    grant(f, again, EPOCH, false, view_of("journal"));
    (void)await_assign(f);
    assert_int_equal(acked, 1);
}

/* A journal that came in pages is handed on in pages. */
static void pages_are_fetched_and_handed_on(void **state)
{
    struct fixture *f = *state;
    struct msg_JOURNAL asked;
    struct msg_CLAIMED page;
    aiki_writer first;
    buf_init(&first);
    event_write_stored(&first, 2, 5, EPOCH, EVENT_UNBLOCKED, view_of("\x90"));
    ticket(f, EPOCH);
    grant(f, await_claim(f, EPOCH), EPOCH, true, aiki_writer_view(&first));
    const struct fake_frame *request = fake_server_await(&f->server, WIRE_JOURNAL);
    assert_int_equal(msg_JOURNAL_read(request->payload, &asked, NULL), AIKI_OK);
    assert_int_equal(asked.after_seq, 2);
    assert_int_equal(fake_server_waiting(&f->child, WIRE_ASSIGN), 0);
    grant(f, request->correlation, EPOCH, false, view_of("second"));
    struct msg_ASSIGN m = await_assign(f);
    assert_true(view_equal(m.journal, aiki_writer_view(&first)));
    assert_int_equal(
        msg_CLAIMED_read(fake_server_await(&f->child, WIRE_CLAIMED)->payload, &page, NULL),
        AIKI_OK);
    assert_true(view_is(page.journal, "second"));
    buf_deinit(&first);
}

/* The next request for a page. */
static uint32_t await_page_request(struct fixture *f, uint64_t after_seq)
{
    struct msg_JOURNAL asked;
    const struct fake_frame *request = fake_server_await(&f->server, WIRE_JOURNAL);
    assert_int_equal(msg_JOURNAL_read(request->payload, &asked, NULL), AIKI_OK);
    assert_int_equal(asked.after_seq, after_seq);
    f->run = asked.run;
    return request->correlation;
}

/* An append that is too large for a first page comes as a page of its own; long journals are read
 * on a few at a time, also when the session changes. */
static void long_journals_take_turns(void **state)
{
    struct fixture *f = *state;
    uint32_t request = 0;
    for (int i = 0; i < RELAY_PAGING_MAX + 2; i++) {
        f->run.bytes[15] = (uint8_t)i;
        ticket(f, EPOCH);
        grant(f, await_claim(f, EPOCH), EPOCH, true, (aiki_view){NULL, 0});
    }
    for (int i = 0; i < RELAY_PAGING_MAX; i++)
        request = await_page_request(f, 0);
    await_held(f, RELAY_PAGING_MAX + 2);
    assert_int_equal(fake_server_waiting(&f->server, WIRE_JOURNAL), 0);
    grant(f, request, EPOCH, false, view_of("large"));
    assert_true(view_is(await_assign(f).journal, "large"));
    (void)await_page_request(f, 0);
    fake_server_drop(&f->server);
    await_held(f, 0);
    assert_int_equal(fake_server_waiting(&f->server, WIRE_JOURNAL), 0);
}

/* FENCED: the child forgets the run, and the lease is asked about. */
static void a_fenced_append_drops_the_run(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    fake_server_fault(&f->server, await_append(f, 1, NEXT_CONTINUE), AIKI_FENCED);
    await_drop(f);
    await_held(f, 0);
    (void)fake_server_await(&f->server, WIRE_HEARTBEAT);
    assert_int_equal(f->endings, 0);
}

/* What an earlier stay left in the socket is not written under the epoch of the present one. */
static void frames_of_an_earlier_stay_are_dropped(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    child_appends(f, EPOCH - 1, 7, NEXT_FINISH);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    (void)await_append(f, 1, NEXT_CONTINUE);
    assert_int_equal(fake_server_waiting(&f->server, WIRE_APPEND), 0);
}

/* A process that died: its runs are given back after what it still wrote. */
static void a_dead_process_gives_its_runs_back(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    (void)await_append(f, 1, NEXT_CONTINUE);
    f->build.assignable = false;
    relay_build_lost(f->relay, &f->build);
    server_acks(f, await_append(f, 2, NEXT_RELEASE), 2);
    await_held(f, 0);
}

/* A process that a run of it took down: the run goes back with what is known of that. */
static void a_crash_is_told_with_the_run(void **state)
{
    static struct blame_page page;
    struct proc_end end = {.signal = 11, .was_ready = true, .page = &page};
    struct verdict verdict = {
        .end = &end, .of = {{.slot = &page.slots[1], .certain = true}}, .count = 1, .certain = 1};
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    page.slots[1].run = f->run;
    page.slots[1].attempt = 1;
    strcpy(page.slots[1].name, "charge");
    f->build.assignable = false;
    f->build.verdict = &verdict;
    relay_build_lost(f->relay, &f->build);
    struct msg_APPEND m;
    struct event e;
    aiki_view body;
    aiki_reader r;
    const struct fake_frame *append = fake_server_await(&f->server, WIRE_APPEND);
    assert_int_equal(msg_APPEND_read(append->payload, &m, NULL), AIKI_OK);
    assert_int_equal(m.next, NEXT_RELEASE);
    aiki_reader_init(&r, m.events);
    assert_int_equal(event_read_new(&r, &e, &body, NULL), AIKI_OK);
    assert_int_equal(e.kind, EVENT_CRASHED);
    assert_true(e.as.crashed.charged);
    assert_int_equal(e.as.crashed.attempt, 1);
    server_acks(f, append->correlation, 1);
    await_held(f, 0);
}

/* Granted to a build that has no process now: handed back at once. */
static void a_run_nobody_can_take_is_handed_back(void **state)
{
    struct fixture *f = *state;
    ticket(f, EPOCH);
    f->build.assignable = false;
    grant(f, await_claim(f, EPOCH), EPOCH, false, view_of("journal"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
    assert_int_equal(acked, 1);
}

/* Nothing survives the session: runs are dropped, undecided claims asked again by the next one. */
static void the_session_takes_everything_along(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    struct aiki_id first = f->run;
    f->run.bytes[1] = 1;
    ticket(f, EPOCH + 1);
    (void)await_claim(f, EPOCH + 1);
    fake_server_drop(&f->server);
    fake_run_until(&f->loop, &f->endings, 1);
    f->run = first;
    await_drop(f);
    f->run.bytes[1] = 1;
    (void)await_claim(f, EPOCH + 1);
    assert_int_equal(f->ups, 2);
    assert_int_equal(acked, 1);
    assert_int_equal(relay_held(f->relay), 1);
}

/* A session that this side ends still says which runs it gives back. */
static void last_words_give_runs_back(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    session_renew(f->session, "test");
    (void)await_append(f, 1, NEXT_RELEASE);
    await_drop(f);
}

static void notify(struct fixture *f, uint64_t epoch, uint64_t kind)
{
    conn_send(f->server.conn, NOTIFY, 0, .run = f->run, .epoch = epoch, .kind = kind,
              .event = view_of("event"));
}

/* Signals go to the child; a DROP ends the stay; news of an earlier stay is no news. */
static void notifications_reach_the_child(void **state)
{
    struct fixture *f = *state;
    struct msg_NOTIFY m;
    begin_stay(f, EPOCH);
    notify(f, EPOCH - 1, NOTIFY_DROP);
    notify(f, EPOCH, NOTIFY_EVENT);
    assert_int_equal(msg_NOTIFY_read(fake_server_await(&f->child, WIRE_NOTIFY)->payload, &m, NULL),
                     AIKI_OK);
    assert_int_equal(m.kind, NOTIFY_EVENT);
    assert_int_equal(relay_held(f->relay), 1);
    notify(f, EPOCH, NOTIFY_DROP);
    await_drop(f);
    await_held(f, 0);
}

/* The server cannot write: the run waits here without its child, and is given back when it can. */
static void a_server_that_cannot_write_gets_the_run_back_later(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    fake_server_fault(&f->server, await_append(f, 1, NEXT_CONTINUE), AIKI_UNAVAILABLE);
    await_drop(f);
    assert_int_equal(relay_held(f->relay), 1);
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
}

/* An append the server will never take: the run is blocked with the reason. */
static void an_unacceptable_append_blocks_the_run(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    fake_server_fault(&f->server, await_append(f, 1, NEXT_CONTINUE), AIKI_LIMIT);
    server_acks(f, await_append(f, 1, NEXT_BLOCK), 1);
    await_held(f, 0);
}

/* A child that speaks nonsense is killed; the server hears nothing of it. */
static void a_damaged_append_costs_the_process(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    uint64_t at = frame_begin(conn_out(f->build.child));
    aiki_mp_raw(conn_out(f->build.child), "\x93\xc4", 2);
    conn_end_frame(f->build.child, at, WIRE_APPEND, 1);
    fake_run_until(&f->loop, &f->build.kills, 1);
    assert_int_equal(fake_server_waiting(&f->server, WIRE_APPEND), 0);
}

static void does_not_fit(struct fixture *f)
{
    AUTO(buf) aiki_writer map;
    aiki_error err = AIKI_ERROR_INIT;
    buf_init(&map);
    (void)error_code(&err, AIKI_DIVERGED, "NONDETERMINISM", "other steps");
    error_write(&map, &err);
    conn_send(f->build.child, UNFIT, 0, .run = f->run, .epoch = EPOCH,
              .error = aiki_writer_view(&map));
}

/* No other build is held: blocked, with what the child said. */
static void a_run_that_fits_nowhere_is_blocked(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    does_not_fit(f);
    server_acks(f, await_append(f, 1, NEXT_BLOCK), 1);
    await_held(f, 0);
}

/* Another is held: it gets the journal, read once more, and the server learns who executes. */
static void a_run_goes_on_with_the_build_it_fits(void **state)
{
    struct fixture *f = *state;
    struct msg_JOURNAL asked;
    struct msg_MOVED moved;
    begin_stay(f, EPOCH);
    f->other = &f->build; /* whose process is as good as another's */
    does_not_fit(f);
    const struct fake_frame *frame = fake_server_await(&f->server, WIRE_JOURNAL);
    assert_int_equal(msg_JOURNAL_read(frame->payload, &asked, NULL), AIKI_OK);
    assert_int_equal(asked.epoch, EPOCH);
    assert_int_equal(asked.after_seq, 0);
    grant(f, frame->correlation, EPOCH, false, view_of("again"));
    assert_true(view_is(await_assign(f).journal, "again"));
    assert_int_equal(
        msg_MOVED_read(fake_server_await(&f->server, WIRE_MOVED)->payload, &moved, NULL), AIKI_OK);
    assert_true(id_equal(&moved.run, &f->run));
    child_appends(f, EPOCH, 1, NEXT_FINISH);
    server_acks(f, await_append(f, 1, NEXT_FINISH), 1);
    await_held(f, 0);
}

static void ignore_frame(struct conn *c, const struct frame *frame, void *arg)
{
    (void)c;
    (void)frame;
    (void)arg;
}

/* More than a child is to have unread, for one that does not read. */
static void congest(struct build *b, const struct aiki_id *run)
{
    enum { PIECE_BYTES = 1024 * 1024, SOCKET_BYTES_MAX = 16 * PIECE_BYTES };
    AUTO(free) uint8_t *piece = calloc(1, PIECE_BYTES);
    assert_non_null(piece);
    while (conn_unsent_bytes(b->line) <= RELAY_UNREAD_BYTES_MAX + SOCKET_BYTES_MAX)
        conn_send(b->line, NOTIFY, 0, .run = *run, .epoch = EPOCH, .event = {piece, PIECE_BYTES});
}

/* Its long journal is read on once the process that is going to have it has read what it has. */
static void a_run_that_moves_waits_for_a_child_that_reads(void **state)
{
    static const struct conn_callbacks line = {.on_frame = ignore_frame, .on_closed = on_line_closed};
    struct fixture *f = *state;
    struct build other = {.assignable = true};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    other.line = conn_open_fd(f->conns, fds[0], &line, f);
    struct aiki_id moves = f->run;
    begin_stay(f, EPOCH);
    f->run.bytes[1] = 7; /* beside it: news of its end come behind the journal */
    begin_stay(f, EPOCH);
    struct aiki_id stays = f->run;
    f->run = moves;
    congest(&other, &f->run);
    f->other = &other;
    does_not_fit(f);
    grant(f, await_page_request(f, 0), EPOCH, true, (aiki_view){NULL, 0});
    conn_send(f->server.conn, NOTIFY, 0, .run = stays, .epoch = EPOCH, .kind = NOTIFY_DROP);
    f->run = stays;
    await_drop(f);
    assert_int_equal(fake_server_waiting(&f->server, WIRE_JOURNAL), 0);
    assert_true(conn_unsent_bytes(other.line) > RELAY_UNREAD_BYTES_MAX);
    (void)conn_open_fd(f->conns, fds[1], &line, f); /* now it reads */
    uint32_t request = await_page_request(f, 0);
    assert_true(id_equal(&f->run, &moves));
    grant(f, request, EPOCH, false, view_of("again"));
    (void)fake_server_await(&f->server, WIRE_MOVED);
    fake_server_drop(&f->server);
    await_held(f, 0); /* while `other` is there */
}

/* A build that is dropped while a claim for it is under way is not looked at again. */
static void a_claim_forgets_a_build_that_is_dropped(void **state)
{
    struct fixture *f = *state;
    ticket(f, EPOCH);
    uint32_t claim = await_claim(f, EPOCH);
    relay_build_dropped(f->relay, &f->build); /* what is there of it now would still take runs */
    grant(f, claim, EPOCH, false, view_of("journal"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
    assert_int_equal(fake_server_waiting(&f->child, WIRE_ASSIGN), 0);
}

/* The same while its journal is being read, for a claim and for a run that moves there. */
static void a_journal_under_way_forgets_a_build_that_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct build *gone = calloc(1, sizeof(*gone));
    assert_non_null(gone);
    gone->kept = true;
    f->stream.user = gone;
    ticket(f, EPOCH);
    grant(f, await_claim(f, EPOCH), EPOCH, true, (aiki_view){NULL, 0});
    uint32_t request = await_page_request(f, 0);
    struct aiki_id claimed = f->run;
    f->stream.user = &f->build;
    f->run.bytes[1] = 7;
    begin_stay(f, EPOCH);
    f->other = gone;
    does_not_fit(f);
    uint32_t again = await_page_request(f, 0);
    f->other = NULL;
    relay_build_dropped(f->relay, gone);
    free(gone); /* a look at it is an error under the address sanitizer */
    struct aiki_id moves = f->run;
    grant(f, again, EPOCH, true, (aiki_view){NULL, 0});
    again = await_page_request(f, 0);
    grant(f, again, EPOCH, false, view_of("again"));
    server_acks(f, await_append(f, 1, NEXT_BLOCK), 1);
    assert_true(id_equal(&f->run, &moves));
    f->run = claimed;
    grant(f, request, EPOCH, false, view_of("journal"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
}

/* ---- a build whose process is started when somebody needs it ------------------------------ */

static void sleep_until_needed(struct fixture *f)
{
    f->build.assignable = false;
    f->build.kept = true;
}

/* Granted, and with a build that has no process yet. */
static void wait_for_process(struct fixture *f)
{
    sleep_until_needed(f);
    ticket(f, EPOCH);
    grant(f, await_claim(f, EPOCH), EPOCH, false, view_of("journal"));
    while (!relay_uses_build(f->relay, &f->build))
        uv_run(&f->loop, UV_RUN_ONCE);
}

/* The journal is read when there is somebody to have it, and the server is told of the wait. */
static void a_run_waits_for_a_process(void **state)
{
    struct fixture *f = *state;
    struct msg_MOVED moved;
    wait_for_process(f);
    int64_t began_mono_ms = clock_mono_ms();
    while (clock_mono_ms() - began_mono_ms < 5)
        continue; /* at least that long */
    f->build.assignable = true;
    relay_build_ready(f->relay, &f->build);
    grant(f, await_page_request(f, 0), EPOCH, false, view_of("again"));
    assert_int_equal(
        msg_MOVED_read(fake_server_await(&f->server, WIRE_MOVED)->payload, &moved, NULL), AIKI_OK);
    assert_in_range(moved.load_ms, 5, 3600000);
    assert_true(view_is(await_assign(f).journal, "again"));
    conn_send(f->server.conn, NOTIFY, 0, .run = f->run, .epoch = EPOCH, .kind = NOTIFY_DROP);
    await_held(f, 0);
}

/* It does not load, or is not to: the server offers the run again. */
static void a_run_that_waits_in_vain_is_given_back(void **state)
{
    struct fixture *f = *state;
    wait_for_process(f);
    relay_build_given_up(f->relay, &f->build);
    assert_false(relay_uses_build(f->relay, &f->build));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
}

/* The same when its journal is already being read: what comes of that is nobody's. */
static void a_journal_for_a_process_that_went_is_dropped(void **state)
{
    struct fixture *f = *state;
    wait_for_process(f);
    f->build.assignable = true;
    relay_build_ready(f->relay, &f->build);
    uint32_t request = await_page_request(f, 0);
    relay_build_given_up(f->relay, &f->build);
    uint32_t append = await_append(f, 1, NEXT_RELEASE);
    grant(f, request, EPOCH, false, view_of("again"));
    server_acks(f, append, 1);
    await_held(f, 0);
    assert_int_equal(fake_server_waiting(&f->child, WIRE_ASSIGN), 0);
}

/* Nobody is to wait for it any more when the claim that names it is answered. */
static void a_claim_comes_to_a_build_that_was_given_up(void **state)
{
    struct fixture *f = *state;
    sleep_until_needed(f);
    ticket(f, EPOCH);
    uint32_t claim = await_claim(f, EPOCH);
    relay_build_given_up(f->relay, &f->build);
    grant(f, claim, EPOCH, false, view_of("journal"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
}

/* Another process of the same build took its place while the journal was read. */
static void who_waits_goes_to_the_process_that_took_the_place(void **state)
{
    struct fixture *f = *state;
    struct build *worn = calloc(1, sizeof(*worn));
    assert_non_null(worn);
    worn->kept = true;
    f->stream.user = worn;
    ticket(f, EPOCH);
    grant(f, await_claim(f, EPOCH), EPOCH, false, view_of("journal"));
    while (!relay_uses_build(f->relay, worn))
        uv_run(&f->loop, UV_RUN_ONCE);
    relay_build_ready(f->relay, worn);
    uint32_t request = await_page_request(f, 0);
    relay_build_replaced(f->relay, worn, &f->build);
    free(worn); /* a look at it is an error under the address sanitizer */
    grant(f, request, EPOCH, false, view_of("again"));
    assert_true(view_is(await_assign(f).journal, "again"));
    conn_send(f->server.conn, NOTIFY, 0, .run = f->run, .epoch = EPOCH, .kind = NOTIFY_DROP);
    await_held(f, 0);
}

/* Its process was there when the journal was asked for, is not when it comes, and nobody is to wait. */
static void a_run_whose_process_went_meanwhile_is_given_back(void **state)
{
    struct fixture *f = *state;
    wait_for_process(f);
    f->build.assignable = true;
    relay_build_ready(f->relay, &f->build);
    uint32_t request = await_page_request(f, 0);
    f->build.assignable = f->build.kept = false;
    grant(f, request, EPOCH, false, view_of("again"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
}

/* Taken away on its way from one build to another. */
static void a_run_that_is_taken_away_meanwhile_is_forgotten(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    f->other = &f->build;
    does_not_fit(f);
    const struct fake_frame *frame = fake_server_await(&f->server, WIRE_JOURNAL);
    conn_send(f->server.conn, NOTIFY, 0, .run = f->run, .epoch = EPOCH, .kind = NOTIFY_DROP);
    grant(f, frame->correlation, EPOCH, false, view_of("again"));
    await_held(f, 0);
    assert_int_equal(relay_free_slots(f->relay), SLOTS);
}

/* Draining: no tickets, and what is granted late goes back. */
static void a_stopping_relay_takes_nothing(void **state)
{
    struct fixture *f = *state;
    ticket(f, EPOCH);
    uint32_t claim = await_claim(f, EPOCH);
    relay_stop(f->relay);
    assert_int_equal(relay_free_slots(f->relay), 0);
    grant(f, claim, EPOCH, false, view_of("journal"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
    ticket(f, EPOCH + 1);
    assert_int_equal(relay_held(f->relay), 0);
}

/* No slot: the ticket waits in hand, without a claim, until a run has left. */
static void a_ticket_too_many_waits_for_a_slot(void **state)
{
    struct fixture *f = *state;
    relay_set_slots(f->relay, 1);
    begin_stay(f, EPOCH);
    f->run.bytes[1] = 7;
    ticket(f, EPOCH);
    assert_int_equal(relay_held(f->relay), 1);
    f->run.bytes[1] = 0;
    child_appends(f, EPOCH, 1, NEXT_FINISH);
    server_acks(f, await_append(f, 1, NEXT_FINISH), 1);
    f->run.bytes[1] = 7;
    grant(f, await_claim(f, EPOCH), EPOCH, false, view_of("journal"));
    assert_int_equal(await_assign(f).epoch, EPOCH);
    assert_int_equal(relay_free_slots(f->relay), 0);
}

/* No run leaves: the one too many is claimed and handed back, for somebody else to take. */
static void a_ticket_too_many_is_handed_back_in_time(void **state)
{
    struct fixture *f = *state;
    relay_set_slots(f->relay, 1);
    begin_stay(f, EPOCH);
    f->run.bytes[1] = 7;
    ticket(f, EPOCH);
    grant(f, await_claim(f, EPOCH), EPOCH, false, view_of("journal"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 1);
}

/* Lowered below what is held: nothing is dropped, and nothing comes until there is room. */
static void fewer_slots_drop_nothing(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    f->run.bytes[1] = 7;
    begin_stay(f, EPOCH);
    relay_set_slots(f->relay, 1);
    assert_int_equal(relay_held(f->relay), 2);
    assert_int_equal(relay_free_slots(f->relay), 0);
    child_appends(f, EPOCH, 1, NEXT_FINISH);
    server_acks(f, await_append(f, 1, NEXT_FINISH), 1);
    await_held(f, 1);
    assert_int_equal(relay_free_slots(f->relay), 0);
    relay_set_slots(f->relay, 3);
    assert_int_equal(relay_free_slots(f->relay), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_comes_and_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_claim_ends_the_ticket, setup, teardown),
        cmocka_unit_test_setup_teardown(an_undecided_claim_is_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_are_fetched_and_handed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(long_journals_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_append_drops_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_of_an_earlier_stay_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_process_gives_its_runs_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_is_told_with_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_nobody_can_take_is_handed_back, setup, teardown),
        cmocka_unit_test_setup_teardown(the_session_takes_everything_along, setup, teardown),
        cmocka_unit_test_setup_teardown(last_words_give_runs_back, setup, teardown),
        cmocka_unit_test_setup_teardown(notifications_reach_the_child, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_cannot_write_gets_the_run_back_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_unacceptable_append_blocks_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_append_costs_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_fits_nowhere_is_blocked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_goes_on_with_the_build_it_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_moves_waits_for_a_child_that_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_forgets_a_build_that_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_journal_under_way_forgets_a_build_that_is_dropped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_that_is_taken_away_meanwhile_is_forgotten, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_waits_for_a_process, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_waits_in_vain_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_journal_for_a_process_that_went_is_dropped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_claim_comes_to_a_build_that_was_given_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_waits_goes_to_the_process_that_took_the_place, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_whose_process_went_meanwhile_is_given_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_stopping_relay_takes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ticket_too_many_waits_for_a_slot, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ticket_too_many_is_handed_back_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(fewer_slots_drop_nothing, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_relay_moves.c - runs on their way to another build, or to one whose process has yet to start.
 */
#include "../support/relay_fixture.h"

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

/* One event of a journal; build_number: of a CLAIMED. */
static void record(aiki_writer *w, uint64_t seq, uint64_t kind, uint8_t build_number)
{
    AUTO(buf) aiki_writer event;
    const uint8_t build[32] = {build_number};
    struct event e = {.kind = kind};
    buf_init(&event);
    if (kind == EVENT_CLAIMED)
        e.as.claimed.build = (aiki_view){build, sizeof(build)};
    if (kind == EVENT_SIGNAL)
        e.as.signal.name = view_of("go");
    event_write_new(&event, &e); /* [kind, body] */
    event_write_stored(w, seq, 1000, EPOCH, kind, (aiki_view){event.data + 2, event.size_bytes - 2});
}

/* The journal of a run comes in two pages; then there is no build that it fits. */
static uint8_t last_build_of(struct fixture *f, aiki_view journal, uint64_t first_bytes)
{
    memset(f->last, 0, sizeof(f->last));
    begin_stay(f, EPOCH);
    f->other = &f->build;
    does_not_fit(f);
    const struct fake_frame *frame = fake_server_await(&f->server, WIRE_JOURNAL);
    f->other = NULL; /* gone meanwhile */
    grant(f, frame->correlation, EPOCH, true, (aiki_view){journal.data, first_bytes});
    frame = fake_server_await(&f->server, WIRE_JOURNAL);
    grant(f, frame->correlation, EPOCH, false,
          (aiki_view){journal.data + first_bytes, journal.size_bytes - first_bytes});
    server_acks(f, await_append(f, 1, NEXT_BLOCK), 1);
    await_held(f, 0);
    return f->last[0];
}

/* Who executed it last is looked for first. A stay that did nothing but block it does not count, and it may be
 * on the page behind the one that ends with its CLAIMED: wherever the page ends, the answer is the same. */
static void who_executed_a_run_last_is_found_across_pages(void **state)
{
    static const struct {
        uint64_t kind;
        uint8_t build, last; /* after this event */
    } events[] = {{EVENT_CLAIMED, 1, 0},   {EVENT_SIGNAL, 0, 1},   {EVENT_CLAIMED, 2, 1}, {EVENT_BLOCKED, 0, 1},
                  {EVENT_UNBLOCKED, 0, 1}, {EVENT_CLAIMED, 3, 1},  {EVENT_SIGNAL, 0, 3},  {EVENT_CLAIMED, 4, 3},
                  {EVENT_BLOCKED, 0, 3}};
    enum { EVENTS = sizeof(events) / sizeof(events[0]) };
    struct fixture *f = *state;
    AUTO(buf) aiki_writer journal;
    uint64_t ends[EVENTS];
    buf_init(&journal);
    for (size_t i = 0; i < EVENTS; i++) {
        record(&journal, i + 1, events[i].kind, events[i].build);
        ends[i] = journal.size_bytes;
        for (size_t cut = 0; cut < i; cut++)
            assert_int_equal(last_build_of(f, (aiki_view){journal.data, journal.size_bytes}, ends[cut]),
                             events[i].last);
    }
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

static void wait_as(struct fixture *f, uint8_t number)
{
    f->run.bytes[1] = number;
    ticket(f, EPOCH);
    grant(f, await_claim(f, EPOCH), EPOCH, false, view_of("journal"));
}

/* Of runs that wait for one process none overtakes another; one that has left leaves no hole. */
static void runs_that_wait_go_on_in_their_order(void **state)
{
    struct fixture *f = *state;
    const uint8_t all[] = {3, 200, 14, 91, 5, 77}, stay[] = {3, 14, 91, 5};
    sleep_until_needed(f);
    for (unsigned i = 0; i < sizeof(all); i++)
        wait_as(f, all[i]);
    for (unsigned i = 1; i < sizeof(all); i += 4) { /* one in the middle, and the last */
        f->run.bytes[1] = all[i];
        notify(f, EPOCH, NOTIFY_DROP);
    }
    await_held(f, sizeof(stay));
    f->build.assignable = true;
    relay_build_ready(f->relay, &f->build);
    for (unsigned i = 0; i < sizeof(stay); i++) {
        grant(f, await_page_request(f, 0), EPOCH, false, view_of("again"));
        assert_int_equal(f->run.bytes[1], stay[i]);
        assert_true(view_is(await_assign(f).journal, "again"));
    }
    wait_as(f, 9); /* which finds the process */
    assert_true(view_is(await_assign(f).journal, "journal"));
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

/* ---- a run in a process of its own ----------------------------------------------------------- */

/* The process is there, and the journal for it is being read: the request for that. */
static uint32_t come_to_own_process(struct fixture *f, struct build *alone)
{
    f->alone = alone;
    ticket(f, EPOCH);
    conn_send(f->server.conn, CLAIMED, await_claim(f, EPOCH), .run = f->run, .epoch = EPOCH, .workflow = view_of("hello"),
              .version = view_of("1.0.0"), .seq = 3, .now_ms = 1000, .journal = view_of("journal"), .alone = true);
    while (!relay_uses_build(f->relay, alone))
        uv_run(&f->loop, UV_RUN_ONCE);
    *alone = (struct build){.line = f->build.line, .assignable = true};
    relay_build_ready(f->relay, alone);
    uint32_t request = await_page_request(f, 0);
    assert_int_equal(alone->left, 0);
    return request;
}

/* Whatever takes a run from its process before it came there, the process hears of it, and ends. */
static void a_session_ends_before_a_run_came_to_its_own_process(void **state)
{
    struct fixture *f = *state;
    struct build alone = {.left = 0};
    (void)come_to_own_process(f, &alone);
    fake_server_drop(&f->server);
    await_held(f, 0);
    assert_int_equal(alone.left, 1);
}

static void a_run_is_taken_away_before_it_came_to_its_own_process(void **state)
{
    struct fixture *f = *state;
    struct build alone = {.left = 0};
    uint32_t request = come_to_own_process(f, &alone);
    notify(f, EPOCH, NOTIFY_DROP);
    grant(f, request, EPOCH, false, view_of("again"));
    await_held(f, 0);
    assert_int_equal(alone.left, 1);
}

static void the_journal_for_a_run_of_its_own_process_is_refused(void **state)
{
    struct fixture *f = *state;
    struct build alone = {.left = 0};
    fake_server_fault(&f->server, come_to_own_process(f, &alone), AIKI_UNAVAILABLE);
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
    assert_int_equal(alone.left, 1);
}

static void the_runtime_stops_before_a_run_came_to_its_own_process(void **state)
{
    struct fixture *f = *state;
    struct build *alone = calloc(1, sizeof(*alone));
    assert_non_null(alone);
    uint32_t request = come_to_own_process(f, alone);
    relay_stop(f->relay);
    assert_int_equal(alone->left, 1);
    free(alone); /* a look at it is an error under the address sanitizer */
    grant(f, request, EPOCH, false, view_of("again"));
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_that_fits_nowhere_is_blocked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_goes_on_with_the_build_it_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(who_executed_a_run_last_is_found_across_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_moves_waits_for_a_child_that_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_forgets_a_build_that_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_journal_under_way_forgets_a_build_that_is_dropped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_that_is_taken_away_meanwhile_is_forgotten, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_waits_for_a_process, setup, teardown),
        cmocka_unit_test_setup_teardown(runs_that_wait_go_on_in_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_waits_in_vain_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_journal_for_a_process_that_went_is_dropped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_claim_comes_to_a_build_that_was_given_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_waits_goes_to_the_process_that_took_the_place, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_whose_process_went_meanwhile_is_given_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_session_ends_before_a_run_came_to_its_own_process, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_run_is_taken_away_before_it_came_to_its_own_process, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_journal_for_a_run_of_its_own_process_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_runtime_stops_before_a_run_came_to_its_own_process, setup,
                                        teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_relay.c - tickets to runs to appends, between a played server, a played child and no Redis.
 */
#include "../support/relay_fixture.h"

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

/* So is one that found no correlation number: it needs no new session for that. */
static void a_claim_without_a_number_is_repeated(void **state)
{
    static uint32_t numbers[SESSION_REQUESTS_MAX];
    static struct request nobody;
    struct fixture *f = *state;
    uint32_t count = 0;
    while ((numbers[count] = session_expect(f->session, &nobody)) != 0)
        count++;
    ticket(f, EPOCH);
    assert_int_equal(relay_held(f->relay), 0);
    while (count > 0)
        session_forget(f->session, numbers[--count]);
    (void)await_claim(f, EPOCH);
    assert_int_equal(f->ups, 1);
}

static void on_elapsed(uv_timer_t *t)
{
    ++*(unsigned *)t->data;
}

static void let_pass(struct fixture *f, uint64_t ms)
{
    unsigned elapsed = 0;
    uv_timer_t timer = {.data = &elapsed};
    (void)uv_timer_init(&f->loop, &timer);
    (void)uv_timer_start(&timer, on_elapsed, ms, 0);
    fake_run_until(&f->loop, &elapsed, 1);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* Its time comes while others are refused all the time. */
static void refusals_do_not_put_each_other_off(void **state)
{
    struct fixture *f = *state;
    const struct aiki_id first = f->run;
    unsigned claimed = 0;
    for (uint8_t i = 0; claimed < 2 && i < 20; i++) {
        struct msg_CLAIM m;
        f->run.bytes[1] = i;
        ticket(f, EPOCH);
        do {
            const struct fake_frame *claim = fake_server_await(&f->server, WIRE_CLAIM);
            assert_int_equal(msg_CLAIM_read(claim->payload, &m, NULL), AIKI_OK);
            claimed += id_equal(&m.run, &first);
            fake_server_fault(&f->server, claim->correlation, AIKI_UNAVAILABLE);
        } while (!id_equal(&m.run, &f->run));
        let_pass(f, RELAY_RETRY_MS / 5);
    }
    assert_int_equal(claimed, 2);
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

/* It died after its last append, which the server then could not write: the run is given back all the same. */
static void a_last_append_that_is_refused_after_its_process_died(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    server_acks(f, await_append(f, 1, NEXT_CONTINUE), 1);
    child_appends(f, EPOCH, 2, NEXT_FINISH);
    uint32_t last = await_append(f, 2, NEXT_FINISH);
    f->build.assignable = false;
    relay_build_lost(f->relay, &f->build);
    fake_server_fault(&f->server, last, AIKI_UNAVAILABLE);
    server_acks(f, await_append(f, 2, NEXT_RELEASE), 2);
    await_held(f, 0);
}

/* What followed the refused one was never in its turn, and says nothing of its own: the session goes on. */
static void what_follows_a_refused_append_counts_no_more(void **state)
{
    struct fixture *f = *state;
    begin_stay(f, EPOCH);
    child_appends(f, EPOCH, 1, NEXT_CONTINUE);
    uint32_t first = await_append(f, 1, NEXT_CONTINUE);
    f->build.assignable = false;
    relay_build_lost(f->relay, &f->build);
    uint32_t second = await_append(f, 2, NEXT_RELEASE);
    fake_server_fault(&f->server, first, AIKI_UNAVAILABLE);
    fake_server_fault(&f->server, second, AIKI_INVALID);
    server_acks(f, await_append(f, 1, NEXT_RELEASE), 1);
    await_held(f, 0);
    assert_int_equal(f->endings, 0);
}

/* The run is given back for the first attempt of its task. */
static uint32_t await_crash(struct fixture *f)
{
    struct msg_APPEND m;
    struct event e;
    aiki_view body;
    aiki_reader r;
    const struct fake_frame *append = fake_server_await(&f->server, WIRE_APPEND);
    assert_int_equal(msg_APPEND_read(append->payload, &m, NULL), AIKI_OK);
    assert_int_equal(m.number, 1);
    assert_int_equal(m.next, NEXT_RELEASE);
    aiki_reader_init(&r, m.events);
    assert_int_equal(event_read_new(&r, &e, &body, NULL), AIKI_OK);
    assert_int_equal(e.kind, EVENT_CRASHED);
    assert_true(e.as.crashed.charged);
    assert_int_equal(e.as.crashed.attempt, 1);
    return append->correlation;
}

/* A process that a run of it took down: the run goes back with what is known of that, until it is on record. */
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
    fake_server_fault(&f->server, await_crash(f), AIKI_UNAVAILABLE);
    server_acks(f, await_crash(f), 1); /* as well when the server can write again */
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
        cmocka_unit_test_setup_teardown(a_claim_without_a_number_is_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_do_not_put_each_other_off, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_are_fetched_and_handed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(long_journals_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_append_drops_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_of_an_earlier_stay_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_process_gives_its_runs_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_last_append_that_is_refused_after_its_process_died, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_follows_a_refused_append_counts_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_is_told_with_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_nobody_can_take_is_handed_back, setup, teardown),
        cmocka_unit_test_setup_teardown(the_session_takes_everything_along, setup, teardown),
        cmocka_unit_test_setup_teardown(last_words_give_runs_back, setup, teardown),
        cmocka_unit_test_setup_teardown(notifications_reach_the_child, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_cannot_write_gets_the_run_back_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_unacceptable_append_blocks_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_append_costs_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stopping_relay_takes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ticket_too_many_waits_for_a_slot, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ticket_too_many_is_handed_back_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(fewer_slots_drop_nothing, setup, teardown),
    };
    log_init("test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

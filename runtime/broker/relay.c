/* relay.c - stays: runs in children, and their appends.
 *
 *   claim granted --> ASSIGN --> APPEND(continue) -> ACK ... APPEND(the last one) -> ACK --> over
 *                       |            |                           ^
 *                       |            +-- FENCED, STALE: DROP, over
 *                       +-- process dead, drained: APPEND(release)
 *
 * The last one of a stay finishes, parks, blocks or releases the run. What a child wrote before
 * it learned of a DROP arrives here later: it carries the epoch of its stay, finds no stay of that
 * epoch, and is dropped.
 */
#include "broker/relay_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "broker/moves.h"
#include "broker/verdict.h"
#include "wire/error.h"
#include "wire/event.h"

/* An APPEND on its way to the server. */
struct passed {
    struct request request;
    struct passed *next_spare;
    struct relay *relay;
    struct aiki_id run;
    uint64_t epoch, number;
    uint32_t correlation; /* the child's */
    bool own;             /* written here, not by the child */
    bool ends;            /* the stay, once acknowledged */
};

uint64_t relay_held(const struct relay *r)
{
    return r->runs.count + r->active_count;
}

uint64_t relay_free_slots(const struct relay *r)
{
    uint64_t used = relay_held(r) + r->waiting_count + r->crowd_count;
    return r->stopping || used >= r->slots ? 0 : r->slots - used;
}

void relay_set_slots(struct relay *r, uint64_t slots)
{
    r->slots = slots;
    claims_send_crowd(r);
}

void relay_left(struct relay *r)
{
    claims_send_crowd(r);
    consumer_kick(r->consumer);
    r->cb.on_left(relay_held(r), r->arg);
}

/* ---- appends to the server ----------------------------------------------------------------- */

static void drop_in_child(struct run *run)
{
    struct conn *c = run->build != NULL ? build_conn(run->build) : NULL;
    if (c != NULL)
        conn_send(c, DROP, 0, .run = run->id);
    if (run->build != NULL)
        (void)build_left(run->build); /* who waits for its place is told when it has ended */
}

static void end_stay(struct relay *r, struct run *run)
{
    bool made_room = run->build != NULL && build_left(run->build);
    runs_remove(&r->runs, run);
    if (made_room)
        moves_solo_free(r);
    relay_left(r);
}

static void pass_to_child(struct run *run, const struct frame *f, uint32_t correlation)
{
    struct conn *c = run->build != NULL ? build_conn(run->build) : NULL;
    if (c == NULL)
        return;
    aiki_writer *out = conn_out(c);
    uint64_t at = frame_begin(out);
    aiki_mp_raw(out, f->payload.data, f->payload.size_bytes);
    conn_end_frame(c, at, f->type, correlation);
}

static void append_last(struct relay *r, struct conn *c, struct run *run, uint64_t next,
                        aiki_view events);

static void on_retry(uv_timer_t *t);

void relay_retry_later(struct relay *r)
{
    if (!uv_is_active((uv_handle_t *)&r->retry))
        uv_timer_start(&r->retry, on_retry, RELAY_RETRY_MS, 0);
}

void relay_overrun(struct relay *r)
{
    r->overrun = true;
    uv_timer_start(&r->retry, on_retry, 0, 0);
}

static void on_crowd(uv_timer_t *t)
{
    claims_give_crowd_back(container_of(t, struct relay, crowd_timer));
}

void relay_crowd_later(struct relay *r)
{
    if (!uv_is_active((uv_handle_t *)&r->crowd_timer))
        uv_timer_start(&r->crowd_timer, on_crowd, RELAY_CROWD_MS, 0);
}

/* The server will never take what this build records: stop here, with the reason on record. */
void relay_block(struct relay *r, struct run *run, aiki_view error)
{
    AUTO(buf) aiki_writer events;
    buf_init(&events);
    struct conn *c = session_conn(r->session);
    if (c == NULL)
        return; /* given back with everything else */
    event_write_new(&events, &(struct event){.kind = EVENT_BLOCKED, .as.blocked.error = error});
    append_last(r, c, run, NEXT_BLOCK, aiki_writer_view(&events));
}

static bool may_pass(aiki_status status)
{
    return aiki_status_category(status) == AIKI_CATEGORY_TRANSIENT || status == AIKI_NOMEM ||
           status == AIKI_INTERNAL;
}

/* An APPEND was not recorded, for another reason than lost ownership. The child, if it is still there,
 * cannot go on: it loses the run, which is given back, now or when the server can write again, or blocked. */
static void cannot_record(struct relay *r, struct run *run, const struct passed *p,
                          aiki_status status, aiki_view error)
{
    if (p->number > run->number)
        return; /* a later one of those that followed the first refused */
    if (p->own && !may_pass(status)) {
        session_renew(r->session, "the server refused to take a run back"); /* takes them all */
        return;
    }
    drop_in_child(run);
    run->build = NULL;
    run->leaving = false;
    run->number = p->number - 1;
    if (!p->own)
        buf_clear(&run->crash, 0); /* what it crashed in is perhaps not on record either */
    if (may_pass(status))
        relay_retry_later(r);
    else
        relay_block(r, run, error);
}

static void refused(struct relay *r, struct run *run, const struct passed *p, const struct frame *f)
{
    struct msg_FAULT fault = {.status = AIKI_INTERNAL};
    aiki_error err = {.struct_size = sizeof(err)};
    char id[AIKI_ID_TEXT_SIZE];
    if (msg_FAULT_read(f->payload, &fault, &err) != AIKI_OK) {
        session_renew(r->session, "a damaged FAULT");
        return;
    }
    (void)error_read(fault.error, &err, NULL, NULL);
    log_info("relay", "append %" PRIu64 " of run %s refused: %s; dropped here", p->number,
             text_of(&run->id, id), err.message);
    aiki_status status = (aiki_status)fault.status;
    if (status != AIKI_FENCED && status != AIKI_STALE) {
        cannot_record(r, run, p, status, fault.error);
        return;
    }
    drop_in_child(run);
    end_stay(r, run);
    if (status == AIKI_FENCED)
        session_suspect(r->session); /* this run, or all of them? */
}

static void on_append_answer(struct request *request, const struct frame *f)
{
    struct passed *p = container_of(request, struct passed, request);
    struct relay *r = p->relay;
    struct run *run = f != NULL ? runs_find(&r->runs, &p->run) : NULL;
    if (run != NULL && run->epoch != p->epoch)
        run = NULL;
    if (run != NULL && f->type != WIRE_ACK) {
        refused(r, run, p, f);
    } else if (run != NULL) {
        if (!p->own)
            pass_to_child(run, f, p->correlation);
        fault_point(runtime_acked_relayed);
        if (p->ends)
            end_stay(r, run);
    }
    p->next_spare = r->spare_passed;
    r->spare_passed = p;
}

/* 0 when there is no memory or the session is full: the stay cannot go on. */
static uint32_t expect_append(struct relay *r, const struct run *run, struct passed as)
{
    struct passed *p = r->spare_passed;
    if (p != NULL)
        r->spare_passed = p->next_spare;
    else
        p = malloc(sizeof(*p));
    if (p == NULL)
        return 0;
    *p = as;
    p->request.on_answer = on_append_answer;
    p->relay = r;
    p->run = run->id;
    p->epoch = run->epoch;
    uint32_t number = session_expect(r->session, &p->request);
    if (number == 0) {
        p->next_spare = r->spare_passed;
        r->spare_passed = p;
    }
    return number;
}

/* The broker's own last append of a stay. events: a BLOCKED event, or empty. */
static void append_last(struct relay *r, struct conn *c, struct run *run, uint64_t next,
                        aiki_view events)
{
    run->leaving = true;
    run->build = NULL;
    run->number++;
    uint32_t correlation =
        expect_append(r, run, (struct passed){.number = run->number, .own = true, .ends = true});
    if (correlation == 0) {
        relay_overrun(r); /* not here: the caller goes through all runs */
        return;
    }
    conn_send(c, APPEND, correlation, .run = run->id, .epoch = run->epoch, .number = run->number,
              .next = next, .events = events);
}

void relay_release(struct relay *r, struct conn *c, struct run *run)
{
    append_last(r, c, run, NEXT_RELEASE, aiki_writer_view(&run->crash));
}

/* ---- appends from children ----------------------------------------------------------------- */

struct append_head {
    struct aiki_id run;
    uint64_t epoch, number, next;
};

/* The first four fields of an APPEND; the rest is none of the broker's business. */
static aiki_status read_head(aiki_view payload, struct append_head *ret)
{
    aiki_reader reader;
    aiki_reader_init(&reader, payload);
    aiki_status st = msg_run(payload, &ret->run);
    if (st != AIKI_OK)
        return st;
    if (aiki_mp_read_array(&reader) < 4)
        return AIKI_CORRUPT;
    (void)aiki_mp_read_bin(&reader);
    ret->epoch = aiki_mp_read_uint(&reader);
    ret->number = aiki_mp_read_uint(&reader);
    ret->next = aiki_mp_read_uint(&reader);
    return reader.status;
}

static void note_late(struct relay *r, const struct build *b)
{
    r->late_frames++;
    if ((r->late_frames & (r->late_frames - 1)) == 0)
        log_info("relay", "%" PRIu64 " appends of stays that are over dropped, the last from %s",
                 r->late_frames, build_label(b));
}

static void on_append(struct relay *r, struct build *b, const struct frame *f)
{
    struct append_head head;
    if (read_head(f->payload, &head) != AIKI_OK) {
        log_error("relay", "%s sent a damaged APPEND; its process is killed", build_label(b));
        build_kill(b);
        return;
    }
    struct conn *c = session_conn(r->session); /* may end the session, so before the look-up */
    struct run *run = c != NULL ? runs_find(&r->runs, &head.run) : NULL;
    if (run == NULL || run->build != b || run->leaving || head.epoch != run->epoch) {
        note_late(r, b);
        return;
    }
    bool ends = head.next != NEXT_CONTINUE;
    uint32_t correlation = expect_append(
        r, run,
        (struct passed){.number = head.number, .correlation = f->correlation, .ends = ends});
    if (correlation == 0) {
        session_renew(r->session, "out of memory or over SESSION_REQUESTS_MAX");
        return;
    }
    run->number = head.number;
    run->leaving = ends;
    aiki_writer *out = conn_out(c);
    uint64_t at = frame_begin(out);
    aiki_mp_raw(out, f->payload.data, f->payload.size_bytes);
    conn_end_frame(c, at, WIRE_APPEND, correlation);
    fault_point(runtime_append_relayed);
}

void relay_child_frame(struct relay *r, struct build *b, const struct frame *f)
{
    if (r->unread != NULL)
        claims_read_on(r); /* a child that writes has read */
    if (f->type == WIRE_APPEND)
        on_append(r, b, f);
    else if (f->type == WIRE_UNFIT)
        moves_unfit(r, b, f);
    else
        log_warn("relay", "%s sent an unexpected %s; ignored", build_label(b),
                 wire_type_name(f->type));
}

/* ---- stays --------------------------------------------------------------------------------- */

void relay_assign(struct conn *child, const struct msg_CLAIMED *m, aiki_view pages)
{
    aiki_reader reader;
    aiki_reader_init(&reader, pages);
    aiki_view first = pages.size_bytes > 0 ? aiki_mp_read_bin(&reader) : m->journal;
    conn_send(child, ASSIGN, 0, .run = m->run, .workflow = m->workflow, .version = m->version,
              .now_ms = m->now_ms, .journal = first, .seq = m->seq, .epoch = m->epoch);
    while (aiki_reader_left(&reader) > 0) {
        aiki_view page = aiki_mp_read_bin(&reader);
        conn_send(child, CLAIMED, 0, .run = m->run, .epoch = m->epoch, .seq = m->seq,
                  .now_ms = m->now_ms, .journal = page);
    }
}

void relay_begin_stay(struct relay *r, struct build *build, const struct msg_CLAIMED *m,
                      aiki_view pages)
{
    struct conn *server = session_conn(r->session);
    if (server == NULL)
        return; /* lost on the spot: the server takes the run back with the session */
    struct run *run = runs_find(&r->runs, &m->run);
    if (run != NULL) { /* an earlier stay whose end was not heard of */
        drop_in_child(run);
        runs_remove(&r->runs, run);
    }
    run = runs_add(&r->runs, &m->run, m->epoch);
    if (run == NULL) {
        session_renew(r->session, "out of memory"); /* gives everything back */
        return;
    }
    if (m->alone && build != NULL && !r->stopping && r->runs.count <= r->slots) {
        moves_wait_alone(r, run, build);
        return;
    }
    struct conn *child = build != NULL ? build_assignable(build) : NULL;
    int64_t began_mono_ms = child == NULL ? clock_mono_ms() : 0; /* to start a process is the longer part of the wait for it */
    if (r->stopping || r->runs.count > r->slots ||
        (child == NULL && (build == NULL || !build_wake(build)))) {
        relay_release(r, server, run);
        return;
    }
    if (child == NULL) {
        moves_wait_for(r, run, build, began_mono_ms);
        return;
    }
    run->build = build;
    relay_assign(child, m, pages);
    fault_point(runtime_assign_sent);
}

static void on_notify(struct relay *r, const struct frame *f)
{
    struct msg_NOTIFY m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_NOTIFY_read(f->payload, &m, &err) != AIKI_OK) {
        session_renew(r->session, err.message);
        return;
    }
    struct run *run = runs_find(&r->runs, &m.run);
    if (run == NULL || run->epoch != m.epoch)
        return; /* about a stay that is over */
    if (m.kind != NOTIFY_DROP) {
        pass_to_child(run, f, 0);
        return;
    }
    drop_in_child(run);
    end_stay(r, run);
}

void relay_push(struct relay *r, const struct frame *f)
{
    if (f->type == WIRE_NOTIFY)
        on_notify(r, f);
    else
        log_debug("relay", "%s from the server is not understood; ignored",
                  wire_type_name(f->type));
}

/* ---- the whole ----------------------------------------------------------------------------- */

void relay_session_up(struct relay *r)
{
    claims_send_waiting(r);
}

static void release_homeless(struct run *run, void *arg)
{
    struct relay *r = arg;
    struct conn *c = session_conn(r->session);
    if (c != NULL && run->build == NULL && !run->leaving && !run->moving)
        relay_release(r, c, run);
}

static void on_retry(uv_timer_t *t)
{
    struct relay *r = container_of(t, struct relay, retry);
    if (r->overrun)
        session_renew(r->session, "out of memory or over SESSION_REQUESTS_MAX");
    r->overrun = false;
    claims_send_waiting(r);
    claims_read_on(r);
    if (session_conn(r->session) != NULL)
        runs_each(&r->runs, release_homeless, r);
}

static void give_back(struct run *run, void *arg)
{
    struct relay *r = arg;
    struct conn *c = session_last_words(r->session);
    drop_in_child(run);
    if (c != NULL && !run->leaving)
        conn_send(c, APPEND, 0, .run = run->id, .epoch = run->epoch, .number = run->number + 1,
                  .next = NEXT_RELEASE, .events = aiki_writer_view(&run->crash));
    runs_remove(&r->runs, run);
}

void relay_session_ending(struct relay *r)
{
    if (r->runs.count > 0)
        log_warn("relay", "the session has ended: %" PRIu64 " runs dropped", r->runs.count);
    runs_each(&r->runs, give_back, r);
    claims_drop_unread(r);
    relay_left(r);
}

struct loss {
    struct relay *relay;
    struct build *build;
    struct conn *conn;
    const struct verdict *verdict;
};

/* Given back with what is known of the end of its process. */
static void report_crash(const struct loss *loss, struct run *run, const struct blamed *code)
{
    aiki_error text;
    char id[AIKI_ID_TEXT_SIZE];
    const aiki_view build = {build_hash(loss->build), BUILD_BYTES};
    buf_init(&run->crash);
    verdict_write(loss->verdict, code, build, &run->crash, &text);
    log_error("relay", "run %s: %s: %s%s", text_of(&run->id, id), text.code, text.message,
              code->certain ? "" : "; it is one of several suspects and not charged");
    relay_release(loss->relay, loss->conn, run);
    fault_point(runtime_crash_sent);
}

static void lose(struct run *run, void *arg)
{
    const struct loss *loss = arg;
    if (run->build != loss->build)
        return;
    const struct blamed *code =
        loss->verdict != NULL ? verdict_on(loss->verdict, &run->id) : NULL;
    run->build = NULL;
    if (run->leaving)
        return;
    if (code != NULL)
        report_crash(loss, run, code);
    else
        relay_release(loss->relay, loss->conn, run);
}

void relay_build_lost(struct relay *r, struct build *b)
{
    struct loss loss = {r, b, session_conn(r->session), build_verdict(b)};
    if (build_is_leaving(b))
        claims_change_build(r, b, NULL);
    if (loss.conn != NULL) /* otherwise nothing is held */
        runs_each(&r->runs, lose, &loss);
}

void relay_build_ready(struct relay *r, struct build *b)
{
    moves_build_ready(r, b);
}

void relay_build_given_up(struct relay *r, struct build *b)
{
    claims_change_build(r, b, NULL);
    moves_build_given_up(r, b);
}

void relay_build_replaced(struct relay *r, struct build *b, struct build *by)
{
    claims_change_build(r, b, by);
    moves_build_replaced(r, b, by);
}

void relay_build_dropped(struct relay *r, struct build *b)
{
    claims_change_build(r, b, NULL); /* it had no process to lose, perhaps */
    moves_build_dropped(r, b);
}

void relay_solo_free(struct relay *r)
{
    moves_solo_free(r);
}

struct use {
    const struct build *build;
    bool found;
};

static void look_for_run(struct run *run, void *arg)
{
    struct use *use = arg;
    use->found |= run->build == use->build;
}

static void look_for_use(struct run *run, void *arg)
{
    struct use *use = arg;
    look_for_run(run, arg);
    use->found |= moves_want(run, use->build);
}

bool relay_build_has_run(struct relay *r, const struct build *b)
{
    struct use use = {.build = b};
    runs_each(&r->runs, look_for_run, &use);
    return use.found;
}

bool relay_uses_build(struct relay *r, const struct build *b)
{
    struct use use = {.build = b};
    runs_each(&r->runs, look_for_use, &use);
    return use.found;
}

void relay_stop(struct relay *r)
{
    r->stopping = true;
    moves_stop(r);
    claims_drop_waiting(r);
}

aiki_status relay_create(struct relay **ret, uv_loop_t *loop, uint64_t slots,
                         struct session *session, const struct relay_callbacks *cb, void *arg,
                         aiki_error *err)
{
    struct relay *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return error_set(err, AIKI_NOMEM, "relay");
    r->loop = loop;
    r->slots = slots;
    r->session = session;
    r->cb = *cb;
    r->arg = arg;
    moves_list_init(&r->moves);
    r->waiting_tail = &r->waiting;
    r->crowd_tail = &r->crowd;
    r->unread_tail = &r->unread;
    uv_timer_init(loop, &r->retry);
    uv_timer_init(loop, &r->crowd_timer);
    r->handles_open = 2;
    *ret = r;
    return AIKI_OK;
}

void relay_set_consumer(struct relay *r, struct consumer *c)
{
    r->consumer = c;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct relay *r = h->data;
    if (--r->handles_open > 0)
        return;
    while (r->spare_passed != NULL) {
        struct passed *p = r->spare_passed;
        r->spare_passed = p->next_spare;
        free(p);
    }
    claims_deinit(r);
    runs_deinit(&r->runs);
    void (*on_closed)(void *arg) = r->cb.on_closed;
    void *arg = r->arg;
    free(r);
    on_closed(arg);
}

void relay_close(struct relay *r)
{
    assert(r->runs.count == 0 && r->active == NULL && r->waiting == NULL && r->crowd == NULL);
    r->retry.data = r->crowd_timer.data = r;
    uv_close((uv_handle_t *)&r->retry, on_handle_closed);
    uv_close((uv_handle_t *)&r->crowd_timer, on_handle_closed);
}

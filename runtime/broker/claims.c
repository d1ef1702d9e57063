/* claims.c - from a ticket to a granted claim.
 *
 *   ticket --> WAITING --session--> CLAIMING --CLAIMED, more--> UNREAD --a place--> PAGING
 *     |           ^                  ^ | | refused: XACK, forgotten            last page |
 *     |           +-- session lost, -|-+ +-- CLAIMED ------------> stay begins <---------+
 *     |               passing failure|
 *     +--no free slot--> CROWD ------+ a slot, or RELAY_CROWD_MS are over
 *
 * Long journals are read on a few at a time: a thousand runs that wake at once must not fill the
 * memory, nor the link to a child that does not read just then.
 *
 * Also reads the journal of a run once more that goes from one build to another (moves.h).
 *
 * A ticket is acknowledged to Redis when the server has answered its claim, one way or the
 * other.
 */
#include "broker/moves.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "wire/error.h"
#include "wire/event.h"

/* A ticket in hand. */
struct claim {
    struct claim *next; /* while it waits, or is UNREAD */
    struct request request;
    struct relay *relay;
    struct stream *stream;
    struct entry_id entry;
    struct ticket ticket;
    struct build *build; /* borrowed; named in the CLAIM, or where it will go; NULL when it was lost meanwhile */
    struct claim *next_active, **active_link;
    bool acked;
    bool again;         /* for a run that is held: only its journal is read */
    bool paging;        /* has one of the RELAY_PAGING_MAX places */
    uint64_t after_seq; /* last event of the pages so far */
    aiki_writer pages;  /* of a journal that did not come in one: each as one msgpack bin */
};

static struct claim *claim_new(struct relay *r)
{
    struct claim *claim = r->spare_claims;
    if (claim != NULL)
        r->spare_claims = claim->next;
    else if ((claim = malloc(sizeof(*claim))) == NULL)
        return NULL;
    *claim = (struct claim){.relay = r};
    buf_init(&claim->pages);
    return claim;
}

static void claim_free(struct claim *claim)
{
    struct relay *r = claim->relay;
    r->paging_count -= claim->paging;
    buf_deinit(&claim->pages);
    claim->next = r->spare_claims;
    r->spare_claims = claim;
}

static void activate(struct relay *r, struct claim *claim)
{
    claim->next_active = r->active;
    claim->active_link = &r->active;
    if (r->active != NULL)
        r->active->active_link = &claim->next_active;
    r->active = claim;
    r->active_count++;
}

static void deactivate(struct relay *r, struct claim *claim)
{
    *claim->active_link = claim->next_active;
    if (claim->next_active != NULL)
        claim->next_active->active_link = claim->active_link;
    r->active_count--;
}

static void postpone(struct relay *r, struct claim *claim)
{
    buf_clear(&claim->pages, 0);
    claim->next = NULL;
    *r->waiting_tail = claim;
    r->waiting_tail = &claim->next;
    r->waiting_count++;
}

static void join_crowd(struct relay *r, struct claim *claim)
{
    claim->next = NULL;
    *r->crowd_tail = claim;
    r->crowd_tail = &claim->next;
    r->crowd_count++;
    relay_crowd_later(r);
}

static struct claim *leave_crowd(struct relay *r)
{
    struct claim *claim = r->crowd;
    r->crowd = claim->next;
    r->crowd_count--;
    if (r->crowd == NULL)
        r->crowd_tail = &r->crowd;
    return claim;
}

static struct claim *take_waiting(struct relay *r)
{
    struct claim *first = r->waiting;
    r->waiting = NULL;
    r->waiting_tail = &r->waiting;
    r->waiting_count = 0;
    return first;
}

/* The server has decided about the ticket. */
static void acknowledge(struct relay *r, struct claim *claim)
{
    if (!claim->acked)
        consumer_ack(r->consumer, claim->stream, claim->entry);
    claim->acked = true;
}

/* The server cannot read it just now, or it is no longer ours; the next session gets it. */
static void read_refused(struct relay *r, const struct claim *claim)
{
    struct run *run = runs_find(&r->runs, &claim->ticket.run);
    struct conn *c = session_conn(r->session);
    if (c == NULL || run == NULL || !run->moving || run->epoch != claim->ticket.epoch)
        return;
    moves_hand_back(r, c, run);
}

static void claim_refused(struct relay *r, struct claim *claim, const struct frame *f)
{
    struct msg_FAULT fault = {.status = AIKI_INTERNAL};
    aiki_error err = {.struct_size = sizeof(err)};
    char id[AIKI_ID_TEXT_SIZE];
    (void)msg_FAULT_read(f->payload, &fault, &err);
    (void)error_read(fault.error, &err, NULL, NULL);
    log_debug("relay", "claim of run %s refused: %s", text_of(&claim->ticket.run, id), err.message);
    if (claim->again) {
        read_refused(r, claim);
        claim_free(claim);
        return;
    }
    if (aiki_status_category((aiki_status)fault.status) == AIKI_CATEGORY_TRANSIENT &&
        !r->stopping) {
        postpone(r, claim);
        relay_retry_later(r);
        return;
    }
    acknowledge(r, claim);
    claim_free(claim);
    if (fault.status == AIKI_FENCED)
        session_suspect(r->session);
}

/* seq of the last event in a page; 0 when there is none that reads. */
static uint64_t last_seq(aiki_view page)
{
    aiki_reader reader;
    struct event e = {.seq = 0};
    uint64_t seq = 0;
    for (aiki_reader_init(&reader, page); event_read_stored(&reader, &e, NULL) == AIKI_OK;)
        seq = e.seq;
    return seq;
}

/* ---- long journals ------------------------------------------------------------------------- */

/* False: it cannot be asked for, and everything is given back. */
static bool ask_page(struct relay *r, struct conn *c, struct claim *claim)
{
    uint32_t correlation = session_expect(r->session, &claim->request);
    if (correlation == 0) {
        relay_overrun(r);
        return false;
    }
    conn_send(c, JOURNAL, correlation, .run = claim->ticket.run, .epoch = claim->ticket.epoch,
              .after_seq = claim->after_seq);
    return true;
}

/* The child has too much to read already. */
static bool is_congested(struct build *b)
{
    const struct conn *c = b != NULL ? build_conn(b) : NULL;
    return c != NULL && conn_unsent_bytes(c) > RELAY_UNREAD_BYTES_MAX;
}

static struct claim *take_unread(struct relay *r, struct claim **at)
{
    struct claim *claim = *at;
    *at = claim->next;
    if (*at == NULL)
        r->unread_tail = at;
    return claim;
}

void claims_read_on(struct relay *r)
{
    struct conn *c = r->unread != NULL ? session_conn(r->session) : NULL;
    struct claim **at = &r->unread;
    while (c != NULL && *at != NULL && r->paging_count < RELAY_PAGING_MAX) {
        if (is_congested((*at)->build)) {
            relay_retry_later(r);
            at = &(*at)->next;
            continue;
        }
        if (!ask_page(r, c, *at))
            return;
        take_unread(r, at)->paging = true;
        r->paging_count++;
    }
}

void claims_drop_unread(struct relay *r)
{
    while (r->unread != NULL) {
        struct claim *claim = take_unread(r, &r->unread);
        deactivate(r, claim);
        claim_free(claim);
    }
}

/* Ask for what follows this page, now or in its turn. False: the claim is lost, and with it the
 * session. */
static bool next_page(struct relay *r, struct claim *claim, const struct msg_CLAIMED *m)
{
    struct conn *c = session_conn(r->session);
    uint64_t after_seq = last_seq(m->journal);
    bool empty = m->journal.size_bytes == 0 && !claim->paging; /* too large for a first page */
    if (c == NULL)
        return false;
    if (claim->pages.status != AIKI_OK || (after_seq == 0 && !empty)) {
        session_renew(r->session, "a journal page that cannot be kept");
        return false;
    }
    claim->after_seq = after_seq;
    if (claim->paging && !ask_page(r, c, claim))
        return false;
    activate(r, claim);
    if (claim->paging)
        return true;
    claim->next = NULL;
    *r->unread_tail = claim;
    r->unread_tail = &claim->next;
    return true;
}

/* The run may have been taken away since. */
static void go_on(struct relay *r, const struct msg_CLAIMED *m, aiki_view pages)
{
    struct run *run = runs_find(&r->runs, &m->run);
    if (run != NULL && run->moving && run->epoch == m->epoch)
        moves_go_on(r, run, m, pages);
}

/* The journal, or a page of it. True: there is another one to come. */
static bool take_page(struct relay *r, struct claim *claim, const struct frame *f)
{
    struct msg_CLAIMED m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_CLAIMED_read(f->payload, &m, &err) != AIKI_OK ||
        !id_equal(&m.run, &claim->ticket.run)) {
        session_renew(r->session, "a damaged CLAIMED");
        return false;
    }
    fault_point(runtime_claim_granted);
    acknowledge(r, claim);
    bool nothing = m.more && m.journal.size_bytes == 0;
    if (!nothing && (m.more || claim->pages.size_bytes > 0 || claim->again))
        aiki_mp_bin(&claim->pages, m.journal.data, m.journal.size_bytes);
    if (m.more)
        return next_page(r, claim, &m);
    if (claim->again)
        go_on(r, &m, aiki_writer_view(&claim->pages));
    else
        relay_begin_stay(r, claim->build, &m, aiki_writer_view(&claim->pages));
    return false;
}

static void on_claim_answer(struct request *request, const struct frame *f)
{
    struct claim *claim = container_of(request, struct claim, request);
    struct relay *r = claim->relay;
    deactivate(r, claim);
    if (f == NULL && !claim->acked && !r->stopping)
        postpone(r, claim); /* never known to have been decided: asked again by the next session */
    else if (f != NULL && f->type == WIRE_FAULT)
        claim_refused(r, claim, f);
    else if (f == NULL || !take_page(r, claim, f))
        claim_free(claim);
    claims_read_on(r);
    relay_left(r);
}

static void send_claim(struct relay *r, struct claim *claim)
{
    struct build *b = claim->stream->user;
    struct conn *c = session_conn(r->session);
    static const uint8_t no_build[BUILD_BYTES];
    uint32_t correlation = c != NULL ? session_expect(r->session, &claim->request) : 0;
    if (correlation == 0) {
        postpone(r, claim);
        if (c != NULL) /* else the next session sends it */
            relay_retry_later(r);
        return;
    }
    claim->build = b;
    activate(r, claim);
    conn_send(c, CLAIM, correlation, .run = claim->ticket.run, .epoch = claim->ticket.epoch,
              .build = {b != NULL ? build_hash(b) : no_build, BUILD_BYTES});
    fault_point(runtime_claim_sent);
}

bool claims_read_again(struct relay *r, const struct run *run, struct build *to)
{
    struct conn *c = session_conn(r->session);
    struct claim *claim = c != NULL ? claim_new(r) : NULL;
    if (claim == NULL) {
        relay_overrun(r);
        return false;
    }
    claim->request.on_answer = on_claim_answer;
    claim->ticket = (struct ticket){.run = run->id, .epoch = run->epoch};
    claim->build = to;
    claim->acked = claim->again = true;
    uint32_t correlation = session_expect(r->session, &claim->request);
    if (correlation == 0) {
        claim_free(claim);
        relay_overrun(r);
        return false;
    }
    activate(r, claim);
    conn_send(c, JOURNAL, correlation, .run = run->id, .epoch = run->epoch);
    return true;
}

static void send_or_crowd(struct relay *r, struct claim *claim)
{
    if (relay_held(r) < r->slots)
        send_claim(r, claim);
    else
        join_crowd(r, claim);
}

void relay_ticket(struct relay *r, struct stream *s, struct entry_id entry, const struct ticket *t)
{
    struct claim *claim = r->stopping ? NULL : claim_new(r);
    if (claim == NULL)
        return; /* stays pending; the server offers it again when this session ends */
    claim->request.on_answer = on_claim_answer;
    claim->stream = s;
    claim->entry = entry;
    claim->ticket = *t;
    send_or_crowd(r, claim);
}

void claims_send_waiting(struct relay *r)
{
    for (struct claim *c = take_waiting(r), *next; c != NULL; c = next) {
        next = c->next;
        send_or_crowd(r, c);
    }
}

void claims_send_crowd(struct relay *r)
{
    while (r->crowd != NULL && relay_held(r) < r->slots)
        send_claim(r, leave_crowd(r));
}

void claims_give_crowd_back(struct relay *r)
{
    while (r->crowd != NULL)
        send_claim(r, leave_crowd(r));
}

void claims_change_build(struct relay *r, const struct build *b, struct build *to)
{
    for (struct claim *c = r->active; c != NULL; c = c->next_active)
        if (c->build == b)
            c->build = to;
}

void claims_drop_waiting(struct relay *r)
{
    for (struct claim *c = take_waiting(r), *next; c != NULL; c = next) {
        next = c->next;
        claim_free(c);
    }
    while (r->crowd != NULL)
        claim_free(leave_crowd(r));
}

void claims_deinit(struct relay *r)
{
    while (r->spare_claims != NULL) {
        struct claim *claim = r->spare_claims;
        r->spare_claims = claim->next;
        free(claim);
    }
}

/* waiters.c - requests that wait for a run; answered after a commit, or when their time is up.
 *
 * A waiter is in two chains: of its run, which stays in memory meanwhile, and of its connection,
 * with which it goes. It has a timer. Freed ones are used again. Limit: WAITERS_MAX.
 */
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "pipeline.h"
#include "views.h"
#include "wire/error.h"

struct party *party_of(struct pipeline *p, peer_id peer)
{
    struct party *party = &p->parties[peer_slot(peer)];
    if (party->peer != peer) {
        party->peer = peer;
        party->session = NULL;
        chain_init(&party->waiters);
    }
    return party;
}

static struct waiter *waiter_new(struct pipeline *p)
{
    struct waiter *w;
    if (p->waiter_free != 0) {
        w = p->waiters[p->waiter_free - 1];
        p->waiter_free = w->next_free;
        return w;
    }
    p->waiters = array_grow(p->waiters, &p->waiter_capacity, p->waiter_count,
                            sizeof(struct waiter *));
    w = memory_need(sizeof(*w));
    w->number = (uint32_t)p->waiter_count;
    p->waiters[p->waiter_count++] = w;
    return w;
}

static uint64_t timer_key(const struct waiter *w)
{
    return (uint64_t)w->number * 2 + WAITER_TIMER;
}

static void waiter_free(struct pipeline *p, struct waiter *w)
{
    timers_set(&p->timers, timer_key(w), 0);
    chain_remove(&w->of_run);
    chain_remove(&w->of_party);
    w->entry = NULL;
    p->watcher_open_count -= w->watches;
    w->next_free = p->waiter_free;
    p->waiter_free = w->number + 1;
    p->waiter_open_count--;
}

static aiki_status add(struct pipeline *p, struct entry *e, peer_id peer, uint32_t correlation,
                       int64_t timeout_ms, struct waiter **ret, aiki_error *err)
{
    if (p->waiter_open_count >= WAITERS_MAX)
        return error_set(err, AIKI_LIMIT, "WAITERS_MAX: %d requests wait for runs already",
                         WAITERS_MAX);
    struct waiter *w = waiter_new(p);
    w->entry = e;
    w->peer = peer;
    w->correlation = correlation;
    w->watches = w->reveal = w->full = false;
    cache_hold(&p->cache, e);
    chain_append(&e->waiters, &w->of_run);
    chain_append(&party_of(p, peer)->waiters, &w->of_party);
    timers_set(&p->timers, timer_key(w), p->now.at_ms + timeout_ms);
    p->waiter_open_count++;
    *ret = w;
    return AIKI_OK;
}

aiki_status waiter_add(struct pipeline *p, struct entry *e, peer_id peer, uint32_t correlation,
                       bool shown, int64_t timeout_ms, aiki_error *err)
{
    struct waiter *w = NULL;
    aiki_status status = add(p, e, peer, correlation, timeout_ms, &w, err);
    if (status == AIKI_OK)
        w->reveal = !shown;
    return status;
}

aiki_status watcher_add(struct pipeline *p, struct entry *e, const struct command *c,
                        const struct query_args *args, int64_t timeout_ms, aiki_error *err)
{
    struct waiter *w = NULL;
    if (p->watcher_open_count >= WATCHERS_MAX)
        return error_code(err, AIKI_UNAVAILABLE, "OVERLOADED",
                          "WATCHERS_MAX: %d requests watch histories already; ask without wait",
                          WATCHERS_MAX);
    aiki_status status = add(p, e, c->peer, c->correlation, timeout_ms, &w, err);
    if (status != AIKI_OK)
        return status;
    w->watches = true;
    w->after_seq = args->after;
    w->limit = args->limit;
    w->reveal = args->reveal;
    w->full = args->full;
    p->watcher_open_count++;
    return AIKI_OK;
}

/* Frees w. What is on record now is the answer, whether it was waited for or not. */
static void answer_waiter(struct pipeline *p, struct waiter *w)
{
    struct entry *e = w->entry;
    const struct command c = {.peer = w->peer, .correlation = w->correlation};
    if (!w->watches) {
        bool shown = !w->reveal;
        waiter_free(p, w);
        answer_result(p, e, c.peer, c.correlation, shown);
        return;
    }
    char id[AIKI_ID_TEXT_SIZE];
    AUTO(buf) aiki_writer args;
    buf_init(&args);
    id_text(&e->id, id);
    aiki_mp_map(&args, 5);
    aiki_mp_str(&args, "reveal");
    aiki_mp_bool(&args, w->reveal);
    aiki_mp_str(&args, "full");
    aiki_mp_bool(&args, w->full);
    aiki_mp_str(&args, "id");
    aiki_mp_str(&args, id);
    aiki_mp_str(&args, "after");
    aiki_mp_uint(&args, w->after_seq);
    aiki_mp_str(&args, "limit");
    aiki_mp_uint(&args, w->limit);
    waiter_free(p, w);
    ask_reader(p, &c, e->flow, view_of("runs.history"), aiki_writer_view(&args));
}

void waiter_timed_out(struct pipeline *p, uint32_t number)
{
    struct waiter *w = p->waiters[number];
    struct entry *e = w->entry;
    peer_id peer = w->peer;
    uint32_t correlation = w->correlation;
    /* What is not committed must not be seen. The commit may be what it waited for. */
    if (unit_barrier(p, e) &&
        (w->entry == NULL || w->peer != peer || w->correlation != correlation))
        return;
    answer_waiter(p, w);
    cache_rest(&p->cache, e);
}

void waiters_answer(struct pipeline *p, struct entry *e)
{
    bool ended = run_state_is_terminal(e->run.state);
    for (struct chain *m = e->waiters.next, *next; m != &e->waiters; m = next) {
        struct waiter *w = container_of(m, struct waiter, of_run);
        next = m->next;
        if (ended || (w->watches && e->run.seq > w->after_seq))
            answer_waiter(p, w);
    }
}

/* correlation NULL: all of the connection's. */
void waiters_forget(struct pipeline *p, peer_id peer, const uint32_t *correlation)
{
    struct party *party = party_of(p, peer);
    for (struct chain *m = party->waiters.next, *next; m != &party->waiters; m = next) {
        struct waiter *w = container_of(m, struct waiter, of_party);
        next = m->next;
        if (correlation != NULL && w->correlation != *correlation)
            continue;
        struct entry *e = w->entry;
        waiter_free(p, w);
        cache_rest(&p->cache, e);
    }
}

/* outside.c - what comes to a run from outside: signals, ends of children, requests of people.
 *
 * All of it is material. What the code saw, and when, stands in the deliveries.
 */
#include <string.h>

#include "base/planted.h"
#include "replay/journal.h"
#include "wire/error.h"

static bool same(aiki_view a, aiki_view b)
{
    return a.size_bytes == b.size_bytes &&
           (a.size_bytes == 0 || memcmp(a.data, b.data, a.size_bytes) == 0);
}

/* ---- signals ----------------------------------------------------------------------------- */

/* Signals are taken roughly in order: what is looked for stands near the front. */
static void drop_taken(struct journal *j)
{
    while (j->oldest_signal != NULL && j->oldest_signal->taken)
        j->oldest_signal = j->oldest_signal->next;
    if (j->oldest_signal == NULL)
        j->last_signal = &j->oldest_signal;
}

struct signal *journal_signal(struct journal *j, aiki_view name)
{
    drop_taken(j);
    for (struct signal *s = j->oldest_signal; s != NULL; s = s->next)
        if (!s->taken && same(s->name, name) && (!BUG(signal_order) || s->next == NULL))
            return s;
    return NULL;
}

struct signal *outside_signal_by_seq(struct journal *j, uint64_t seq)
{
    drop_taken(j);
    for (struct signal *s = j->oldest_signal; s != NULL; s = s->next)
        if (s->seq == seq)
            return s->taken ? NULL : s;
    return NULL;
}

void journal_take_signal(struct journal *j, struct step *s, struct signal *signal)
{
    signal->taken = true;
    s->signal = signal;
    s->value = signal->payload;
    drop_taken(j);
}

/* Back to where it stood, unless it never left the list. */
void journal_give_back(struct journal *j, struct step *s)
{
    struct signal **at = &j->oldest_signal, *signal = s->signal;

    s->signal = NULL;
    s->value = (aiki_view){NULL, 0};
    signal->taken = false;
    while (*at != NULL && (*at)->seq < signal->seq)
        at = &(*at)->next;
    if (*at == signal)
        return;
    signal->next = *at;
    *at = signal;
    if (signal->next == NULL)
        j->last_signal = &signal->next;
}

static aiki_status add_signal(struct journal *j, const struct event *e)
{
    struct signal *s = j->memory.alloc(j->memory.arg, sizeof(*s));

    if (s == NULL)
        return AIKI_NOMEM;
    s->seq = e->seq;
    s->name = e->as.signal.name;
    s->payload = e->as.signal.payload;
    *j->last_signal = s;
    j->last_signal = &s->next;
    return AIKI_OK;
}

/* ---- children ---------------------------------------------------------------------------- */

struct child_end *journal_child(struct journal *j, const struct aiki_id *id)
{
    if (j->children == NULL)
        j->children = j->memory.alloc(j->memory.arg, CHILD_BUCKETS * sizeof(*j->children));
    if (j->children == NULL)
        return NULL;
    struct child_end **bucket = &j->children[id_hash(id) % CHILD_BUCKETS];
    for (struct child_end *c = *bucket; c != NULL; c = c->chain)
        if (id_equal(&c->id, id))
            return c;

    struct child_end *c = j->memory.alloc(j->memory.arg, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->id = *id;
    c->chain = *bucket;
    *bucket = c;
    return c;
}

static uint64_t outcome_of_state(uint64_t state)
{
    switch (state) {
    case RUN_COMPLETED: return OUTCOME_OK;
    case RUN_CANCELLED: return OUTCOME_CANCELLED;
    case RUN_TIMED_OUT: return OUTCOME_TIMEDOUT;
    default: return OUTCOME_FAILED;
    }
}

static aiki_status add_child_end(struct journal *j, const struct event *e)
{
    struct child_end *c = journal_child(j, &e->as.child_done.child);

    if (c == NULL)
        return AIKI_NOMEM;
    c->known = true;
    c->behind_cancel = j->cancel_requested;
    c->outcome = outcome_of_state(e->as.child_done.state);
    c->output = e->as.child_done.output;
    c->error = e->as.child_done.error;
    if (c->outcome == OUTCOME_CANCELLED && c->error.size_bytes == 0)
        c->outcome = OUTCOME_FAILED; /* cancelled without an error is what the code itself does */
    return AIKI_OK;
}

/* ---- arrivals ---------------------------------------------------------------------------- */

aiki_status outside_arrive(struct journal *j, const struct event *e)
{
    j->arrival_seq = e->seq;
    j->arrival_count++;
    switch (e->kind) {
    case EVENT_SIGNAL: return add_signal(j, e);
    case EVENT_CHILD_DONE: return add_child_end(j, e);
    case EVENT_CANCEL_REQUESTED:
        j->cancel_requested = true;
        j->cancel_reason = e->as.control.reason;
        return AIKI_OK;
    case EVENT_WOKEN:
        j->woken_seq = e->seq;
        j->woken_at_ms = e->at_ms;
        return AIKI_OK;
    case EVENT_PAUSED: j->paused = true; return AIKI_OK;
    default: j->paused = false; return AIKI_OK; /* EVENT_RESUMED, the last one there is */
    }
}

aiki_status journal_add_arrival(struct journal *j, aiki_view stored, uint64_t *ret_kind,
                                aiki_error *err)
{
    aiki_reader r;
    struct event e;

    *ret_kind = 0;
    aiki_reader_init(&r, stored);
    aiki_status st = event_read_stored(&r, &e, err);
    if (st != AIKI_OK)
        return st == AIKI_NOT_FOUND ? error_set(err, AIKI_CORRUPT, "empty arrival") : st;
    if (!event_is_arrival(e.kind))
        return error_set(err, AIKI_CORRUPT, "a %s event came where an arrival was expected",
                         event_kind_name(e.kind));
    if (e.seq <= j->seq || e.seq <= j->arrival_seq)
        return AIKI_OK;
    if (outside_arrive(j, &e) != AIKI_OK)
        return error_set(err, AIKI_NOMEM, "no memory for event %llu", (unsigned long long)e.seq);
    *ret_kind = e.kind;
    return AIKI_OK;
}

/* ---- another pass ------------------------------------------------------------------------ */

static bool is_void(const struct step *s, uint64_t from_seq)
{
    if (from_seq > 0 && (s->first_seq >= from_seq || s->done_seq >= from_seq))
        return true;
    /* A child without an outcome may have been ended together with its parent. */
    bool has_outcome = s->done_on_record || s->kept;
    return has_outcome ? s->outcome != OUTCOME_OK && !BUG(failure_kept) : s->kind == STEP_CHILD;
}

/* As if never begun; it keeps its place among the addresses. */
static void forget(struct journal *j, struct step *s)
{
    struct step fresh = {.chain = s->chain, .address = s->address, .nth = s->nth, .kind = s->kind,
                         .name = s->name, .input = s->input};

    if (s->signal != NULL)
        journal_give_back(j, s);
    *s = fresh;
    j->recorded--;
}

static void filter_deliveries(struct journal *j)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < j->delivery_count; i++)
        if (j->deliveries[i] != NULL && j->deliveries[i]->done_on_record)
            j->deliveries[kept++] = j->deliveries[i];
    j->delivery_count = kept;
}

/* What stays on record need not be asked for again: a failure that is gone takes with it what the
 * code did because of it. */
void outside_retried(struct journal *j, const struct event *e)
{
    struct step **at = &j->first_recorded;

    while (*at != NULL) {
        struct step *s = *at;
        s->required = false;
        if (is_void(s, e->as.run_retried.from_seq)) {
            *at = s->next_recorded;
            forget(j, s);
        } else {
            at = &s->next_recorded;
        }
    }
    j->last_recorded = at;
    j->required = 0;
    filter_deliveries(j);
    j->ended = false;
    if (e->as.run_retried.next_at_ms == 0) { /* on request, behind others: the server holds them void too */
        j->cancel_requested = j->paused = false;
        j->start.as.started.deadline_ms = 0;
    }
    j->crashes = 0;
    j->passes += BUG(passes_unlimited) ? 0 : 1;
}

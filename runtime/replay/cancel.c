/* cancel.c - steps nobody wants any more: one by one, or all because the run is to end.
 *
 * The code learns of a request to end the run while it waits outside of a protected scope: the event
 * CANCEL_SEEN stands where it learnt it, a replay shows it there. Open steps end with it, but for those
 * of protected scopes. A step that was on record gets an outcome, so that the record is complete.
 */
#include "replay/live.h"

#include <string.h>

#include "base/planted.h"
#include "wire/error.h"

static bool ended_by_code(const struct step *s)
{
    return s->outcome == OUTCOME_CANCELLED && s->error.size_bytes == 0;
}

bool cancel_is_on_record(const struct step *s)
{
    return s->done_on_record && ended_by_code(s);
}

/* s had a signal the code has not seen: it is there for others. Those that took later ones of that
 * name take theirs again, so that the code sees them in the order they came. */
static void give_signal_back(struct replay *r, struct step *s)
{
    struct step **at = &r->ready.first, *again = NULL, **last = &again;
    aiki_view name = s->name;

    journal_give_back(&r->journal, s);
    while (*at != NULL) {
        struct step *other = *at;
        bool same = other->signal != NULL && other->phase == PHASE_READY && other != s &&
                    other->name.size_bytes == name.size_bytes &&
                    memcmp(other->name.data, name.data, name.size_bytes) == 0;
        if (!same) {
            at = &other->next;
            continue;
        }
        journal_give_back(&r->journal, other);
        other->phase = PHASE_WAITING;
        *at = other->next;
        *last = other;
        last = &other->next;
    }
    r->ready.last = at;
    if (again == NULL)
        return;
    *last = r->waiting.first;
    if (r->waiting.first == NULL)
        r->waiting.last = last;
    r->waiting.first = again;
}

void cancel_step(struct replay *r, struct step *s)
{
    bool was_running = s->phase == PHASE_RUNNING, recorded = cancel_is_on_record(s);

    if (s->phase == PHASE_SHOWN)
        return;
    /* Its outcome was seen when the record was made; unless that was in an earlier pass of the run. */
    if (s->done_on_record && !recorded && s->required) {
        r->disputed = s;
        return;
    }
    r->running -= was_running;
    r->queues_dirty = true;
    if (s->signal != NULL && s->phase == PHASE_READY && !BUG(signal_with_wait))
        give_signal_back(r, s);
    s->outcome = OUTCOME_CANCELLED;
    s->done_attempt = was_running ? s->attempt + 1 : 0; /* whose result is not wanted */
    s->value = s->error = (aiki_view){NULL, 0};
    replay_show(r, s);
    if (s->done_on_record || (!s->on_record && !was_running))
        return;
    if (r->live)
        live_record_done(r, s);
    else
        s->unrecorded = true;
}

static void purge(struct queue *q)
{
    struct step **at = &q->first;

    while (*at != NULL) {
        if ((*at)->phase == PHASE_SHOWN)
            *at = (*at)->next;
        else
            at = &(*at)->next;
    }
    q->last = at;
}

void cancel_purge(struct replay *r)
{
    if (!r->queues_dirty)
        return;
    r->queues_dirty = false;
    r->waiting_dirty = true; /* the next time to wake up may be another one */
    purge(&r->held);
    purge(&r->ready);
    purge(&r->waiting);
}

/* ---- the whole run ----------------------------------------------------------------------- */

bool cancel_may_be_seen(const struct replay *r)
{
    return r->missing > 0 && r->protections == 0;
}

bool cancel_is_coming(const struct replay *r)
{
    return r->journal.cancel_requested && !r->cancel_seen && r->protections == 0;
}

bool cancel_is_due(const struct replay *r)
{
    return r->missing > 0 && cancel_is_coming(r);
}

void cancel_see(struct replay *r)
{
    r->cancel_seen = true;
    if (r->live && !BUG(cancel_seen_lost))
        live_record_cancel_seen(r);
    for (uint32_t i = 0; i < r->future_count; i++) {
        struct step *s = r->futures[i];
        bool spared = s->shielded && !BUG(protection_ignored);
        if (!spared && !(BUG(late_result) && s->phase == PHASE_RUNNING))
            cancel_step(r, s);
    }
    r->waiting_dirty = true; /* children that ended behind the request may be looked at now */
    replay_end_wait(r);
    r->interrupted = true;
}

void replay_protect(struct replay *r, bool on)
{
    if (on)
        r->protections++;
    else if (r->protections > 0)
        r->protections--;
}

aiki_status replay_why_cancelled(const struct replay *r, aiki_error *err)
{
    aiki_view reason = r->journal.cancel_reason;

    return error_code(err, AIKI_CANCELLED, "CANCELLED", "the run was asked to end%s%.*s",
                      reason.size_bytes > 0 ? ": " : "",
                      reason.size_bytes > 0 ? (int)reason.size_bytes : 0,
                      reason.size_bytes > 0 ? (const char *)reason.data : "");
}

bool replay_cancel(struct replay *r, uint32_t future)
{
    struct step *s = replay_future(r, future);

    if (s != NULL)
        cancel_step(r, s);
    return s != NULL;
}

/* ahead.c - a gate looks on: what does the code ask for behind the step at which it diverged?
 *
 * An inserted step and a renamed one look the same up to there; whether the code asks for the recorded
 * step next tells them apart. What it waits for gets an outcome: the one on record, else that of the
 * recorded step in whose place it most likely is, else success with nothing.
 *
 * Where the record fits, the same tells which steps the code will ask for: replay_look_on.
 *
 *   DIVERGED --replay_look_ahead--> RESUME, RESUME... --all that is on record was asked for--> DIVERGED
 *                                      +-- the function returns, or AHEAD_INVENTED_MAX
 *
 * Nothing of this is executed or recorded: the run never becomes live, or nothing of that begins.
 */
#include "replay/diverge.h"

/* The recorded step, not asked for so far, that is most like s. */
static const struct step *stand_in(const struct replay *r, const struct step *s)
{
    const struct step *found = NULL;
    enum likeness best = NOT_ALIKE;

    for (const struct step *o = r->journal.first_recorded; o != NULL; o = o->next_recorded) {
        enum likeness l = likeness(o, s);
        if (o->called || !o->required || !o->done_on_record || l <= best ||
            (o->outcome != OUTCOME_OK && l == SAME_KIND))
            continue;
        found = o;
        best = l;
    }
    return found;
}

void ahead_invent(struct replay *r, struct step *s)
{
    const struct step *like = s->on_record ? NULL : stand_in(r, s);

    if (!s->done_on_record && !s->kept) {
        s->outcome = like != NULL ? like->outcome : OUTCOME_OK;
        s->value = like != NULL ? like->value : (aiki_view){NULL, 0};
        s->error = like != NULL ? like->error : (aiki_view){NULL, 0};
        s->invented = true;
        r->ahead.invented++;
    }
    replay_show(r, s);
}

static struct step *first_awaited(const struct replay *r)
{
    for (uint32_t i = 0; i < r->awaited_count; i++) {
        struct step *s = replay_future(r, r->awaited[i]);
        if (s->phase != PHASE_SHOWN)
            return s;
    }
    return r->future_count > 0 ? r->futures[r->future_count - 1] : NULL; /* a side value */
}

bool replay_look_ahead(struct replay *r)
{
    if (r->ahead.on || r->ahead.end != AHEAD_GOES_ON || diverge_by_cancel(r) ||
        (r->missing == 0 && !r->for_live))
        return false;
    r->ahead.on = true;
    r->ahead.from = r->future_count;
    r->ahead.stop = first_awaited(r);
    return true;
}

bool replay_look_on(struct replay *r)
{
    if (!r->live || r->ahead.on || r->journal.cancel_requested)
        return false;
    r->ahead.on = r->ahead.past = true;
    return true;
}

/* A side value that the code waits to capture. */
static struct step *uncaptured(const struct replay *r)
{
    struct step *s = r->future_count > 0 ? r->futures[r->future_count - 1] : NULL;

    return s != NULL && s->kind == STEP_SIDE && s->phase != PHASE_SHOWN ? s : NULL;
}

void replay_code_ended(struct replay *r, bool well)
{
    r->ahead.end = well || !r->ahead.on ? AHEAD_RETURNED : AHEAD_ASTRAY;
}

enum replay_verdict ahead_next(struct replay *r)
{
    bool waits = r->missing > 0 || r->for_live;
    struct step *side = uncaptured(r);

    if (waits && r->uncalled == 0 && !r->ahead.past)
        return REPLAY_DIVERGED;
    if (r->ahead.invented >= AHEAD_INVENTED_MAX)
        r->ahead.end = AHEAD_ASTRAY;
    if (r->ahead.end != AHEAD_GOES_ON)
        return REPLAY_DIVERGED;
    if (side != NULL)
        ahead_invent(r, side);
    for (uint32_t i = 0; i < r->awaited_count && r->missing > 0; i++) {
        struct step *s = replay_future(r, r->awaited[i]);
        if (s->phase != PHASE_SHOWN)
            ahead_invent(r, s);
    }
    replay_end_wait(r);
    return REPLAY_RESUME;
}

/* diverge.c - say why the code no longer fits the journal, so that a person can act on it.
 *
 * Two steps are shown: the first one on record that the code did not ask for, and the new one that
 * resembles it most. Behind a look ahead (ahead.c), or when the code has returned, what was changed is
 * known (changes.c); otherwise which part differs tells the likely cause.
 */
#include "replay/diverge.h"

#include <stdio.h>
#include <string.h>

#include "wire/error.h"

enum {
    INPUT_TEXT_BYTES = 400, /* of an input in the details */
    DETAILS_BYTES = 2048
};

#define REMEDY "serve a build that takes the recorded steps"

/* ---- which two steps --------------------------------------------------------------------- */

enum likeness likeness(const struct step *a, const struct step *b)
{
    if (a->kind != b->kind)
        return NOT_ALIKE;
    if (view_same(a->name, b->name))
        return SAME_NAME;
    return a->input.size_bytes > 0 && view_same(a->input, b->input) ? SAME_INPUT : SAME_KIND;
}

struct pair {
    const struct step *recorded, *taken; /* either may be NULL */
    enum likeness likeness;
};

/* How many calls had been made when it diverged. */
static uint32_t calls_then(const struct replay *r)
{
    return r->ahead.on ? r->ahead.from : r->future_count;
}

const struct step *first_unasked(const struct replay *r)
{
    const struct step *s = r->journal.first_recorded;

    while (s != NULL && (!s->required || (s->called && s->future <= calls_then(r))))
        s = s->next_recorded;
    return s;
}

static struct pair find_pair(const struct replay *r)
{
    struct pair p = {first_unasked(r), NULL, NOT_ALIKE};

    for (uint32_t i = 0; i < calls_then(r); i++) {
        const struct step *s = r->futures[i];
        if (s->on_record)
            continue;
        enum likeness l = p.recorded != NULL ? likeness(p.recorded, s) : NOT_ALIKE;
        if (p.taken == NULL || l > p.likeness) {
            p.taken = s;
            p.likeness = l;
        }
    }
    return p;
}

/* Whether the journal has calls of that name with more than one input: then another one is as likely. */
static bool has_several_inputs(const struct replay *r, const struct step *s)
{
    for (const struct step *o = r->journal.first_recorded; o != NULL; o = o->next_recorded)
        if (o->kind == s->kind && view_same(o->name, s->name) && !view_same(o->input, s->input))
            return true;
    return false;
}

static const char *likely_cause(const struct replay *r, const struct pair *p)
{
    if (p->recorded == NULL)
        return "the code returned before it saw a recorded result";
    if (p->taken == NULL)
        return "a step was removed";
    switch (p->likeness) {
    case SAME_NAME:
        if (p->recorded->nth != p->taken->nth)
            return "a step was added";
        return has_several_inputs(r, p->recorded) ? "a step was inserted, or the input changed"
                                                  : "the input changed";
    case SAME_INPUT: return "the name changed";
    case SAME_KIND: return p->recorded->input.size_bytes == 0 ? "the name changed"
                                                              : "a step was inserted or replaced";
    case NOT_ALIKE: break;
    }
    return "a step was inserted or replaced";
}

/* ---- the report -------------------------------------------------------------------------- */

static void write_step(const struct replay *r, aiki_writer *w, const char *key, const struct step *s)
{
    char text[INPUT_TEXT_BYTES];

    aiki_mp_str(w, key);
    if (s == NULL) {
        aiki_mp_nil(w);
        return;
    }
    text_of_value(r, s->input, text, sizeof(text));
    aiki_mp_map(w, 4);
    aiki_mp_str(w, "kind");
    aiki_mp_str(w, step_kind_name(s->kind));
    aiki_mp_str(w, "name");
    aiki_mp_strn(w, s->name.data, s->name.size_bytes);
    aiki_mp_str(w, "nth");
    aiki_mp_uint(w, s->nth);
    aiki_mp_str(w, "input");
    aiki_mp_str(w, text);
}

static void write_details(const struct replay *r, const struct pair *p, const char *cause,
                          aiki_error *err)
{
    uint8_t *memory = r->journal.memory.alloc(r->journal.memory.arg, DETAILS_BYTES);
    aiki_writer w;

    if (memory == NULL)
        return; /* the message says it all in short */
    aiki_writer_init_fixed(&w, memory, DETAILS_BYTES);
    aiki_mp_map(&w, 4);
    write_step(r, &w, "recorded", p->recorded);
    write_step(r, &w, "code", p->taken);
    aiki_mp_str(&w, "cause");
    aiki_mp_str(&w, cause);
    aiki_mp_str(&w, "remedy");
    aiki_mp_str(&w, REMEDY ", or start new runs under a new workflow version");
    if (w.status == AIKI_OK)
        err->details = aiki_writer_view(&w);
}

/* The cancelled step that the journal says next, if so. */
static const struct step *cancelled_next(const struct replay *r)
{
    bool more = r->next_delivery < r->journal.delivery_count;

    if (r->disputed != NULL)
        return r->disputed;
    return more && cancel_is_on_record(r->journal.deliveries[r->next_delivery])
               ? r->journal.deliveries[r->next_delivery]
               : NULL;
}

static bool end_is_next(const struct replay *r)
{
    return r->disputed == NULL && r->next_delivery < r->journal.delivery_count &&
           r->journal.deliveries[r->next_delivery] == NULL;
}

bool diverge_by_cancel(const struct replay *r)
{
    return end_is_next(r) || cancelled_next(r) != NULL;
}

static void explain_cancel(const struct replay *r, aiki_error *err)
{
    char text[STEP_TEXT_BYTES];

    if (end_is_next(r)) {
        (void)error_code(err, AIKI_DIVERGED, "NONDETERMINISM",
                         "recorded: the code learnt that the run is to end; it now does not wait "
                         "there outside of a protected scope. To continue, " REMEDY);
        return;
    }
    const struct step *s = cancelled_next(r);
    text_of_step(r, s, "", s->input, text);
    (void)error_code(err, AIKI_DIVERGED, "NONDETERMINISM",
                     "recorded: %s, %s. To continue, " REMEDY, text,
                     r->disputed != NULL ? "with its outcome; the code now cancels it"
                                         : "cancelled by the code, which now does not cancel it");
}

/* Changes and remedy are in the details, too: here as far as there is room for them. */
static void write_message(const struct replay *r, const struct pair *p, const char *recorded,
                          const char *taken, aiki_error *err)
{
    static const char remedy[] = ". To continue, " REMEDY;
    char room[sizeof(err->message)];
    int size = snprintf(room, sizeof(room), "recorded: %s; the code now asks for: %s; ", recorded, taken);
    char *at = room + size; /* two steps leave room */
    size_t left = sizeof(room) - (size_t)size;

    if (!changes_text(r, at, left))
        (void)snprintf(at, left, "likely %s", likely_cause(r, p));
    bool fits = strlen(room) + sizeof(remedy) <= sizeof(room);
    (void)error_code(err, AIKI_DIVERGED, "NONDETERMINISM", "%s%s", room, fits ? remedy : "");
}

void replay_explain(const struct replay *r, aiki_error *err)
{
    static const aiki_view none = {NULL, 0};
    struct pair p = find_pair(r);
    struct difference d = {.recorded = p.recorded != NULL ? p.recorded->input : none,
                           .taken = p.taken != NULL ? p.taken->input : none};
    const struct step *recorded = p.recorded;
    char recorded_text[STEP_TEXT_BYTES], taken_text[STEP_TEXT_BYTES], changes[CHANGES_TEXT_BYTES];

    if (!r->ahead.on && diverge_by_cancel(r)) {
        explain_cancel(r, err);
        return;
    }
    if (recorded == NULL && r->next_delivery < r->journal.delivery_count) {
        recorded = r->journal.deliveries[r->next_delivery];
        d.recorded = recorded->input;
    }
    if (p.likeness == SAME_NAME)
        find_difference(r, d.recorded, d.taken, &d);
    text_of_step(r, recorded, d.path, d.recorded, recorded_text);
    text_of_step(r, p.taken, d.path, d.taken, taken_text);
    bool known = changes_text(r, changes, sizeof(changes));
    write_message(r, &p, recorded_text, taken_text, err);
    write_details(r, &p, known ? changes : likely_cause(r, &p), err);
}

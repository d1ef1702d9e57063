/* changes.c - what was changed in the code: the steps of the journal beside those it asked for.
 *
 *   recorded:  a     b  c  go         gone:  c           between b and go
 *   asked for: a  x  b     go         fresh: x           between a and b
 *
 * Steps that both sides have are anchors. A step of one side alone that stands between the same anchors as
 * one of the other side became that one; what is left was removed, or inserted.
 * Limits: CHANGES_MAX steps of either side are looked at, the first ones.
 */
#include "replay/diverge.h"

#include <stdio.h>
#include <string.h>

enum { CHANGES_MAX = 64, NAMED_MAX = 2, CHANGE_BYTES = 200, COUNT_BYTES = 28 };

/* A step that one side alone has, and the anchors around it; NULL: there is none. */
struct odd {
    const struct step *step, *behind, *before;
    const struct odd *partner;
};

struct odds {
    struct odd all[CHANGES_MAX];
    uint32_t count, open; /* those from open on have no anchor behind them yet */
    const struct step *anchor;
};

static void add_anchor(struct odds *o, const struct step *s)
{
    for (; o->open < o->count; o->open++)
        o->all[o->open].before = s;
    o->anchor = s;
}

static void add_odd(struct odds *o, const struct step *s)
{
    if (o->count < CHANGES_MAX)
        o->all[o->count++] = (struct odd){.step = s, .behind = o->anchor};
}

/* What the code has not asked for. When it went astray nobody knows what it would have asked for behind
 * the last anchor. */
static void find_gone(const struct replay *r, struct odds *gone)
{
    for (const struct step *s = r->journal.first_recorded; s != NULL; s = s->next_recorded) {
        if (s->required && s->called)
            add_anchor(gone, s);
        else if (s->required)
            add_odd(gone, s);
    }
    if (r->ahead.end == AHEAD_ASTRAY)
        gone->count = gone->open;
}

static void find_fresh(const struct replay *r, struct odds *fresh)
{
    for (uint32_t i = 0; i < r->future_count; i++) {
        const struct step *s = r->futures[i];
        if (s->on_record && s->required)
            add_anchor(fresh, s);
        else if (!s->on_record)
            add_odd(fresh, s);
    }
}

/* Steps that are under way at once are on record in any order. */
static bool is_beside(const struct step *anchor, const struct odd *fresh)
{
    return anchor != NULL && anchor->turn == fresh->step->turn;
}

/* Between the same anchors; or beside one of them, which is enough for steps of one kind. What was begun and
 * not waited for stands in no order. */
static unsigned nearness(const struct odd *gone, const struct odd *fresh)
{
    enum likeness l = likeness(gone->step, fresh->step);
    bool behind = gone->behind == fresh->behind, before = gone->before == fresh->before;

    if (l == NOT_ALIKE) /* something has to follow, or it need not be its successor */
        return behind && before && gone->before != NULL ? SAME_KIND : NOT_ALIKE;
    if (behind || before || is_beside(gone->behind, fresh) || is_beside(gone->before, fresh))
        return l + 1;
    return !fresh->step->invented && l > SAME_KIND ? SAME_KIND : NOT_ALIKE;
}

static void find_partners(struct odds *gone, struct odds *fresh)
{
    for (uint32_t i = 0; i < gone->count; i++) {
        struct odd *best = NULL;
        unsigned best_near = NOT_ALIKE;
        for (uint32_t k = 0; k < fresh->count; k++) {
            unsigned near = nearness(&gone->all[i], &fresh->all[k]);
            if (fresh->all[k].partner != NULL || near <= best_near)
                continue;
            best = &fresh->all[k];
            best_near = near;
        }
        if (best == NULL)
            continue;
        best->partner = &gone->all[i];
        gone->all[i].partner = best;
    }
}

/* ---- in words ---------------------------------------------------------------------------- */

struct changes {
    const struct replay *r;
    struct text text;
    uint32_t left_out;
    char *first; /* where the text begins */
};

static bool same_name_other_input(const struct step *a, const struct step *b)
{
    return a->kind == b->kind && view_same(a->name, b->name) && !view_same(a->input, b->input);
}

/* Whether a name alone does not tell which step is meant. Apart from one other step: what it became. */
static bool is_ambiguous(const struct replay *r, const struct step *s, const struct step *apart)
{
    for (const struct step *o = r->journal.first_recorded; o != NULL; o = o->next_recorded)
        if (o != apart && same_name_other_input(o, s))
            return true;
    for (uint32_t i = 0; i < r->future_count; i++)
        if (r->futures[i] != apart && same_name_other_input(r->futures[i], s))
            return true;
    return false;
}

static void put_step(struct text *t, const struct replay *r, const struct step *s,
                     const struct step *apart)
{
    char words[STEP_TEXT_BYTES], call[32];

    text_of_step(r, s, "", is_ambiguous(r, s, apart) ? s->input : (aiki_view){NULL, 0}, words);
    text_word(t, words);
    if (s->nth == 0)
        return;
    (void)snprintf(call, sizeof(call), " (call %llu)", (unsigned long long)s->nth + 1);
    text_word(t, call);
}

/* order.amount was "1", is "2" */
static void put_difference(struct text *t, const struct replay *r, const struct step *gone,
                           const struct step *fresh)
{
    struct difference d;

    find_difference(r, gone->input, fresh->input, &d);
    text_word(t, ": ");
    text_word(t, d.path);
    text_word(t, d.path[0] != '\0' ? " " : "");
    text_word(t, d.recorded.size_bytes > 0 ? "was " : "is new, ");
    text_put_value(t, d.recorded.size_bytes > 0 ? d.recorded : d.taken);
    if (d.recorded.size_bytes == 0)
        return;
    text_word(t, d.taken.size_bytes > 0 ? ", is " : ", is gone");
    if (d.taken.size_bytes > 0)
        text_put_value(t, d.taken);
}

/* As a whole, or counted. */
static void add_change(struct changes *c, const char *words)
{
    size_t size = strlen(words) + 2;
    bool is_first = c->text.at == c->first;

    if (c->left_out > 0 ||
        (!is_first && (size_t)(c->text.end - c->text.at) < size + COUNT_BYTES)) {
        c->left_out++;
        return;
    }
    text_word(&c->text, is_first ? "" : "; ");
    text_word(&c->text, words);
}

static void say_became(struct changes *c, const struct odd *gone)
{
    const struct step *from = gone->step, *to = gone->partner->step;
    char words[CHANGE_BYTES];
    struct text t = text_in(c->r, words, sizeof(words));
    bool same_input = view_same(from->input, to->input);

    if (likeness(from, to) == SAME_NAME) {
        text_word(&t, same_input ? "the key of " : "the input of ");
        put_step(&t, c->r, from, to);
        text_word(&t, " changed");
        if (!same_input)
            put_difference(&t, c->r, from, to);
    } else if (from->kind == to->kind && same_input) {
        put_step(&t, c->r, from, to);
        text_word(&t, " was renamed to ");
        text_put(&t, (const char *)to->name.data, to->name.size_bytes);
    } else {
        put_step(&t, c->r, from, to);
        text_word(&t, " became ");
        put_step(&t, c->r, to, from);
        if (from->kind == to->kind) {
            text_word(&t, " with another input");
            put_difference(&t, c->r, from, to);
        }
    }
    text_end(&t);
    add_change(c, words);
}

static bool stand_together(const struct odd *a, const struct odd *b)
{
    return b->partner == NULL && a->behind == b->behind && a->before == b->before;
}

/* Those from `at` on that stand together, in one sentence. Returns how many they are. */
static uint32_t say_odd(struct changes *c, const struct odds *odds, uint32_t at, const char *what)
{
    const struct odd *first = &odds->all[at];
    char words[CHANGE_BYTES], more[32];
    struct text t = text_in(c->r, words, sizeof(words));
    uint32_t n = 1;

    while (at + n < odds->count && stand_together(first, first + n))
        n++;
    uint32_t named = n <= NAMED_MAX + 1 ? n : NAMED_MAX;
    for (uint32_t i = 0; i < named; i++) {
        text_word(&t, i == 0 ? "" : i + 1 == n ? " and " : ", ");
        put_step(&t, c->r, first[i].step, NULL);
    }
    if (n > named) {
        (void)snprintf(more, sizeof(more), " and %u more steps", n - named);
        text_word(&t, more);
    }
    text_word(&t, n > 1 ? " were " : " was ");
    text_word(&t, what);
    if (what[0] == 'i') {
        text_word(&t, " before ");
        put_step(&t, c->r, first->before, NULL);
    }
    text_end(&t);
    add_change(c, words);
    return n;
}

/* The function returned, and asked for nothing behind the last anchor. */
static bool say_ends(struct changes *c, const struct odds *gone, const struct odds *fresh)
{
    char words[CHANGE_BYTES];
    struct text t = text_in(c->r, words, sizeof(words));

    if (c->r->ahead.end != AHEAD_RETURNED || gone->open == gone->count ||
        fresh->open < fresh->count)
        return false;
    for (uint32_t i = gone->open; i < gone->count; i++)
        if (gone->all[i].partner != NULL)
            return false;
    text_word(&t, "the code now ends before ");
    put_step(&t, c->r, gone->all[gone->open].step, NULL);
    text_end(&t);
    add_change(c, words);
    return true;
}

/* The code waits for what is on record and has not happened yet, and asks only then for what has. */
static void say_order(struct changes *c)
{
    const struct step *first = first_unasked(c->r);
    char words[CHANGE_BYTES];
    struct text t = text_in(c->r, words, sizeof(words));

    if (!c->r->ahead.on || first == NULL || !first->called || c->r->ahead.stop == NULL ||
        !c->r->ahead.stop->on_record)
        return;
    put_step(&t, c->r, first, NULL);
    text_word(&t, " and ");
    put_step(&t, c->r, c->r->ahead.stop, NULL);
    text_word(&t, " are in another order");
    text_end(&t);
    add_change(c, words);
}

static void say_all(struct changes *c, const struct odds *gone, const struct odds *fresh)
{
    say_order(c);
    for (uint32_t i = 0; i < fresh->count;) {
        const struct odd *o = &fresh->all[i];
        bool inserted = o->partner == NULL && o->before != NULL && o->step->invented;
        i += inserted ? say_odd(c, fresh, i, "inserted") : 1;
    }
    for (uint32_t i = 0; i < gone->count; i++)
        if (gone->all[i].partner != NULL)
            say_became(c, &gone->all[i]);
    bool ends = say_ends(c, gone, fresh);
    for (uint32_t i = 0; i < (ends ? gone->open : gone->count);)
        i += gone->all[i].partner == NULL ? say_odd(c, gone, i, "removed") : 1;
}

bool changes_text(const struct replay *r, char *ret, size_t size)
{
    struct odds gone = {.count = 0}, fresh = {.count = 0};
    struct changes c = {.r = r, .text = text_in(r, ret, size), .first = ret};
    char more[COUNT_BYTES];

    if (!r->ahead.on && r->ahead.end == AHEAD_GOES_ON)
        return false;
    find_gone(r, &gone);
    find_fresh(r, &fresh);
    find_partners(&gone, &fresh);
    say_all(&c, &gone, &fresh);
    if (c.left_out > 0) {
        (void)snprintf(more, sizeof(more), "; %u more change%s", c.left_out,
                       c.left_out > 1 ? "s" : "");
        text_word(&c.text, more);
    }
    text_end(&c.text);
    return ret[0] != '\0';
}

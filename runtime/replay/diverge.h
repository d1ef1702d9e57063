/* diverge.h - between the sources that tell why the code does not fit the journal. */
#ifndef REPLAY_DIVERGE_H
#define REPLAY_DIVERGE_H

#include "replay/live.h"

enum {
    STEP_TEXT_BYTES = 80,     /* of a step in the message */
    PATH_BYTES = 40,          /* of the field that differs, "customer.address.city" */
    CHANGES_TEXT_BYTES = 400, /* of what was changed, in the details */
    AHEAD_INVENTED_MAX = 64   /* outcomes that are made up for one look ahead */
};

/* ---- words.c ---- */

struct text {
    char *at, *end; /* end keeps room for the NUL */
    bool cut;
    const struct redact_names *hidden; /* names whose values are not shown; NULL: none */
};
struct text text_in(const struct replay *r, char *memory, size_t size);
void text_put(struct text *t, const char *bytes, size_t n);
void text_word(struct text *t, const char *word);
/* The NUL; "..." where it was cut. */
void text_end(struct text *t);
void text_put_value(struct text *t, aiki_view value);
/* A value as short text; nothing for none. */
void text_of_value(const struct replay *r, aiki_view value, char *ret, size_t size);
/* A step, and of its input the field at path ("": all of it). NULL: nothing. */
void text_of_step(const struct replay *r, const struct step *s, const char *path, aiki_view value,
                  char ret[STEP_TEXT_BYTES]);

struct difference {
    char path[PATH_BYTES];     /* "" = the inputs as a whole */
    aiki_view recorded, taken; /* the field's values, or what stands for them; empty = not there */
};
/* Down to the innermost field that is not the same on both sides. */
void find_difference(const struct replay *r, aiki_view recorded, aiki_view taken, struct difference *ret);
bool view_same(aiki_view a, aiki_view b);

/* ---- diverge.c ---- */

enum likeness { NOT_ALIKE, SAME_KIND, SAME_INPUT, SAME_NAME };
enum likeness likeness(const struct step *a, const struct step *b);
/* Whether it is about a cancellation: then no step was changed. */
bool diverge_by_cancel(const struct replay *r);
/* The first step on record that the code had not asked for when it diverged. */
const struct step *first_unasked(const struct replay *r);

/* ---- ahead.c, behind a divergence in a gate ---- */

/* The step has been asked for and has no outcome: it gets one. */
void ahead_invent(struct replay *r, struct step *s);
enum replay_verdict ahead_next(struct replay *r);

/* ---- changes.c ---- */

/* What was changed, as far as what is on record and what the code asked for show it for certain; changes
 * that do not fit are counted. False: they do not show it. */
bool changes_text(const struct replay *r, char *ret, size_t size);

#endif

/* steps.h - what the steps of a run are, where its history is shown a page at a time. [reader thread]
 *
 * Only the first event that speaks of a step names it; how a later one's payload is shown depends on that
 * name, and on the build that executed the run then. So what pages before said is kept for the runs that
 * are being read, and read once where it is not. Limits: STEPS_MAX of all these runs together,
 * STEPS_RUNS_MAX of them; a step beyond that is not known, and its payloads are hidden.
 */
#ifndef SERVER_STEPS_H
#define SERVER_STEPS_H

#include "schemas.h"
#include "wire/event.h"

enum { STEPS_MAX = 500 * 1000, STEPS_RUNS_MAX = 64 };

struct steps;
/* Zeroed is empty. */
struct steps_shelf {
    struct steps *runs[STEPS_RUNS_MAX]; /* owned */
    uint64_t count, turn;               /* steps in all of them; rises */
};
void steps_shelf_deinit(struct steps_shelf *shelf);
/* Of that run, empty at first; until the next call. */
struct steps *steps_of(struct steps_shelf *shelf, const struct aiki_id *run);

/* Up to which event it knows the run. */
uint64_t steps_seq(const struct steps *s);
/* The event behind that; others are passed over. */
void steps_note(struct steps_shelf *shelf, struct steps *s, const struct event *e);

/* Whose the payloads of the event are; of what it takes, or gives. kind 0: it is not known. Borrowed until
 * the next steps_note. */
struct value_of steps_value(const struct steps *s, const struct event *e, bool output);

#endif

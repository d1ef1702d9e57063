/* steps.h - the steps of a run, gathered from its events. [main thread]
 *
 * An event names a step in full only the first time; these remember. Found by hash, so that a
 * history of 100,000 events is shown in one pass.
 */
#ifndef TOOLS_STEPS_H
#define TOOLS_STEPS_H

#include <aiki/msgpack.h>

enum { STEP_TEXT_SIZE = 160, STEP_ADDRESS_SIZE = 33, STEP_CODE_SIZE = 64, STEP_OUTCOME_SIZE = 16 };

struct step {
    char address[STEP_ADDRESS_SIZE]; /* hex */
    int64_t nth;
    char text[STEP_TEXT_SIZE];       /* "task charge-payment" */
    char *input;                     /* owned: short JSON until the step is done, then NULL */
    int64_t begun_at_ms, done_at_ms; /* 0 = not yet */
    int64_t attempts;
    char outcome[STEP_OUTCOME_SIZE]; /* "" while it is open */
    char code[STEP_CODE_SIZE];       /* of its last error */
    bool policy_shown;
    uint32_t next; /* in its bucket: index + 1 */
};

struct steps {
    struct step *of; /* owned, in the order they were first spoken of */
    size_t count, room;
    uint32_t *buckets; /* owned: index + 1 */
    size_t bucket_count;
    int64_t from_ms, to_ms; /* of the first and the last event */
};

void steps_deinit(struct steps *s);
/* Takes note of an event; the step it speaks of, or NULL when it is about none or memory is short.
 * Borrowed until the next call. */
struct step *steps_add(struct steps *s, aiki_view event);
/* One line a step: when it began, how long it took, attempts, outcome, and a bar on the run's time.
 * At most STEPS_DRAWN_MAX lines. Nothing when there was no step. */
enum { STEPS_DRAWN_MAX = 500 };
void steps_draw(const struct steps *s);

#endif

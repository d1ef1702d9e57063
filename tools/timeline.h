/* timeline.h - a run's history as lines for people, one event at a time. [main thread] */
#ifndef TOOLS_TIMELINE_H
#define TOOLS_TIMELINE_H

#include "steps.h"

struct timeline {
    bool brief;         /* without inputs and outputs */
    struct steps steps; /* owned: what was seen so far */
};

void timeline_deinit(struct timeline *t);
/* event: one map of a history document. */
void timeline_print(struct timeline *t, aiki_view event);

#endif

/* timeline.h - a run's history as lines for people, one event at a time. [main thread]
 *
 * Events name a step in full only once; a timeline remembers what it was told.
 */
#ifndef TOOLS_TIMELINE_H
#define TOOLS_TIMELINE_H

#include <aiki/msgpack.h>

struct step_name;
struct timeline {
    int64_t started_at_ms;   /* of the first event */
    bool brief;              /* without inputs and outputs */
    struct step_name *steps; /* owned */
    size_t step_count, step_room;
};

void timeline_deinit(struct timeline *t);
/* event: one map of a history document. */
void timeline_print(struct timeline *t, aiki_view event);

#endif

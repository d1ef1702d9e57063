/* broker/verdict.h - who took a child down, as far as its page tells, and what the history of a run
 * says about it. [loop]
 *
 *   its handler, or exit(), named the thread          that thread's run is charged
 *   one thread was executing, and nobody shot it      that one's is
 *   several were executing, or SIGKILL (no memory)    all of them are suspects: not charged, executed
 *                                                     alone from here on; alone again, it is charged
 *   none was executing                                as before, those that left code just before
 */
#ifndef BROKER_VERDICT_H
#define BROKER_VERDICT_H

#include "broker/proc.h"

enum { VERDICT_LEFT_MS = 1000, VERDICT_DETAILS_BYTES_MAX = 512 };

struct verdict {
    const struct proc_end *end; /* borrowed, as its page is */
    const struct blame_slot *of[BLAME_SLOTS];
    unsigned count;
    bool certain; /* then there is one */
};

/* alone: no other run was in the process. */
void verdict_reach(struct verdict *v, const struct proc_end *end, bool alone);
/* What of that run was executing, or NULL: it had no part in it. */
const struct blame_slot *verdict_on(const struct verdict *v, const struct aiki_id *run);
/* The CRASHED event for it. ret_text: for the log. */
void verdict_write(const struct verdict *v, const struct blame_slot *s, aiki_view build,
                   aiki_writer *events, aiki_error *ret_text);

#endif

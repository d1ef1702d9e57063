/* broker/verdict.h - who took a child down, as far as its page tells, and what the history of a run
 * says about it. [loop]
 *
 *   a thread's handler, or exit(), left an account    that thread's run is charged: several may
 *   it stood still before the process ended           it did not crash: not even a suspect
 *   neither, beside such an account                   a suspect: it may have crashed a moment later, or
 *                                                     have ended the process with _exit()
 *   there is no account (or one of a thread of the plugin's own, which nobody is known by):
 *   one thread was executing, and nobody shot it      that one's is charged
 *   several were executing, or SIGKILL                all of them are suspects
 *   none was executing                                as before, those that left code just before
 *   its descriptors were closed under it              both: who closed them may have returned
 *
 *   something has written over the page               all runs that were in the process are suspects
 *
 * Suspects are not charged but executed alone from here on; alone again, they are charged.
 */
#ifndef BROKER_VERDICT_H
#define BROKER_VERDICT_H

#include "broker/proc.h"

enum { VERDICT_LEFT_MS = 1000, VERDICT_DETAILS_BYTES_MAX = 512 };

struct blamed {
    const struct blame_slot *slot;
    const struct blame_death *death; /* its own account, or that of a thread without a run, or NULL */
    bool certain;
};

struct verdict {
    const struct proc_end *end; /* borrowed, as its page is */
    struct blamed of[BLAME_SLOTS];
    unsigned count;
    unsigned certain; /* the first of them */
    bool no_memory;
    bool untold; /* the page tells nothing: of[0] stands for each run that was in the process */
    const struct blame_death *anonymous; /* of a thread without a run, where nobody left another account; or NULL */
    struct blame_slot nobody;
};

/* alone: no other run was in the process. no_memory: its SIGKILL was the kernel's (oom.h). */
void verdict_reach(struct verdict *v, const struct proc_end *end, bool alone, bool no_memory);
/* What of that run was executing, or NULL: it had no part in it. */
const struct blamed *verdict_on(const struct verdict *v, const struct aiki_id *run);
/* A process that died while no code of a run was executed: what is known goes to the log. */
void verdict_log_stray(const struct verdict *v, const char *label);
/* The CRASHED event for it. ret_text: for the log. */
void verdict_write(const struct verdict *v, const struct blamed *b, aiki_view build,
                   aiki_writer *events, aiki_error *ret_text);

#endif

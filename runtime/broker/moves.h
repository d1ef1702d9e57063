/* broker/moves.h - a run that a build does not fit goes to another one that is held here. [loop]
 *
 *   UNFIT --> is another build held? --no--> BLOCKED, with what the newest build said
 *               | yes: its journal is read again, it was not kept
 *               v
 *             choose: the build that executed it last, then the others, newest first; none: BLOCKED
 *               | its process is there      | not started
 *               v                           v
 *             MOVED, ASSIGN               wait; --READY--> read the journal again, MOVED, ASSIGN
 *                                               --it does not load--> choose again
 *
 * A run whose build has no process until somebody needs it (demand.c) waits in the same way, and MOVED
 * says how long. Runs that wait for the same process go on in the order in which they came.
 *
 * The journal is read when it can be handed over at once: what arrives for the run meanwhile is in
 * it. Nothing was executed and nothing recorded by a build that does not fit.
 */
#ifndef BROKER_MOVES_H
#define BROKER_MOVES_H

#include "broker/relay_impl.h"

void moves_list_init(struct moves_list *list);
/* NULL is a no-op. */
void move_destroy(struct move *move);
/* A run that nobody executes just now goes to the server, which offers it again. */
void moves_hand_back(struct relay *r, struct conn *c, struct run *run);
/* The child's UNFIT. */
void moves_unfit(struct relay *r, struct build *b, const struct frame *f);
/* A granted run is served by a build whose process has yet to start. */
void moves_wait_for(struct relay *r, struct run *run, struct build *b, int64_t since_mono_ms);
/* It is to be executed in a process of that build that has no other run in it. */
void moves_wait_alone(struct relay *r, struct run *run, struct build *of);
/* There is room for such a process. */
void moves_solo_free(struct relay *r);
/* The journal that was asked for is complete; pages as in relay_begin_stay. */
void moves_go_on(struct relay *r, struct run *run, const struct msg_CLAIMED *m, aiki_view pages);
/* The build takes runs now; NULL: more builds are known than before. */
void moves_build_ready(struct relay *r, struct build *b);
/* Nobody is to wait for it: who does goes back to the server, which offers it again. */
void moves_build_given_up(struct relay *r, struct build *b);
/* Who waits for it, or is on the way to it, goes to another process of the same build. */
void moves_build_replaced(struct relay *r, struct build *b, struct build *by);
/* It is not to be had any more. */
void moves_build_dropped(struct relay *r, struct build *b);
/* Runs that nobody executes just now are handed back. */
void moves_stop(struct relay *r);
/* Whether a run waits for it. */
bool moves_want(const struct run *run, const struct build *b);

#endif

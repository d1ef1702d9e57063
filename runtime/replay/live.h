/* live.h - between replay.c and live.c only: the part of a run that really happens. */
#ifndef REPLAY_LIVE_H
#define REPLAY_LIVE_H

#include "replay/replay.h"

/* A called step of a live run begins, or goes on from where the journal left it. */
void live_start(struct replay *r, struct step *s);
/* Write the step's STEP_DONE; the code is about to see it. */
void live_record_done(struct replay *r, struct step *s);
void live_record_cancel_seen(struct replay *r);
enum replay_verdict live_next(struct replay *r, struct step **ret_step);

/* replay.c: the outcome of s becomes visible to the code; the code's wait is over. */
void replay_show(struct replay *r, struct step *s);
void replay_end_wait(struct replay *r);

/* cancel.c: s is over and nobody wants its result, unless it was over before. */
void cancel_step(struct replay *r, struct step *s);
/* The code itself cancelled s, by the journal. */
bool cancel_is_on_record(const struct step *s);
/* Cancelled steps leave their queues before these are looked at. */
void cancel_purge(struct replay *r);
/* The code waits where it may learn that the run is to end; and should, by now. */
bool cancel_may_be_seen(const struct replay *r);
bool cancel_is_due(const struct replay *r);
/* It learns it: its wait is over. */
void cancel_see(struct replay *r);

/* children.c: a call of a child; whether it is over, and how. */
aiki_status children_call(struct replay *r, struct step *s, const struct child_options *asked);
bool children_is_over(struct replay *r, struct step *s);

#endif

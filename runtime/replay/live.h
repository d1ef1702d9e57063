/* live.h - between replay.c and live.c only: the part of a run that really happens. */
#ifndef REPLAY_LIVE_H
#define REPLAY_LIVE_H

#include "replay/replay.h"

/* A called step of a live run begins, or goes on from where the journal left it. */
void live_start(struct replay *r, struct step *s);
/* Write the step's STEP_DONE; the code is about to see it. */
void live_record_done(struct replay *r, struct step *s);
enum replay_verdict live_next(struct replay *r, struct step **ret_step);

/* replay.c: the outcome of s becomes visible to the code; the code's wait is over. */
void replay_show(struct replay *r, struct step *s);
void replay_end_wait(struct replay *r);

#endif

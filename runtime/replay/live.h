/* live.h - between replay.c, live.c and attempts.c only: the part of a run that really happens. */
#ifndef REPLAY_LIVE_H
#define REPLAY_LIVE_H

#include "replay/replay.h"

/* A called step of a live run begins, or goes on from where the journal left it. */
void live_start(struct replay *r, struct step *s);
/* Write the step's STEP_DONE; the code is about to see it. */
void live_record_done(struct replay *r, struct step *s);
void live_record_cancel_seen(struct replay *r);
enum replay_verdict live_next(struct replay *r, struct step **ret_step);

/* An event about s; its identity comes along the first time. */
struct event live_step_event(struct step *s, uint64_t kind);
void live_write_event(struct replay *r, const struct event *e);
void live_record_begun(struct replay *r, struct step *s);
void live_push(struct queue *q, struct step *s, enum step_phase phase);
/* When a wait of that length that begins now is over. */
int64_t live_due_after(const struct replay *r, int64_t duration_ms);

/* ---- attempts.c ---- */

/* A task was called, or goes on from where the journal left it. False: it waits for the time of its
 * next attempt. */
bool attempt_begin_call(struct replay *r, struct step *s);
/* False: something has to be on record first. */
bool attempt_may_start(struct replay *r, struct step *s);
/* Its next attempt is given to the owner. */
void attempt_begin(struct replay *r, struct step *s);
/* Whether some attempt is to be looked at by the owner, because a timeout of it may have passed. */
bool attempt_is_overdue(struct replay *r, struct step **ret);
/* Write the event, with the policy that decided what comes of the failure; people look for it there. */
void attempt_write_failure(struct replay *r, const struct step *s, struct event *e);

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
/* It will, where it waits next. */
bool cancel_is_coming(const struct replay *r);
/* It learns it: its wait is over. */
void cancel_see(struct replay *r);

/* children.c: a call of a child; whether it is over, and how. */
aiki_status children_call(struct replay *r, struct step *s, const struct child_options *asked);
bool children_is_over(struct replay *r, struct step *s);
/* Whose end a step that waits for a child waits for. */
void children_name(const struct step *s, struct wait *wait);

#endif

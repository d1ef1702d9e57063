/* child/run_impl.h - between run.c, drive.c and barred.c only. [loop] */
#ifndef CHILD_RUN_IMPL_H
#define CHILD_RUN_IMPL_H

#include "base/cleanup.h"
#include "child/run.h"

static const aiki_view no_bytes = {NULL, 0};

/* waits: empty unless the run parks. With any next but NEXT_CONTINUE the run is leaving after it. */
void run_send_append(struct run *r, uint64_t next, aiki_view events, aiki_view waits);
/* Block the run with this error, in place of anything not yet sent. */
void run_block(struct run *r, const aiki_error *err);
/* In a gate: what became of the run. err: NULL when its journal fits. */
void run_verdict(struct run *r, const aiki_error *err);
/* The code does not ask for what is on record. In a gate it goes on, to explain it better; unless it has
 * done so, or looked on behind a record that fits. */
void run_diverged(struct run *r);
/* In a gate: all that is on record was asked for and shown. */
void run_fits(struct run *r);
/* In a gate: r->lacking is what the code will ask for. */
void run_lacks(struct run *r);
/* What is on record does not fit this build: tell the broker, who may know one that it fits. */
void run_unfit(struct run *r, const aiki_error *err);
/* Why this build may not execute that code: QUARANTINED. Borrows from memory of the run. */
void run_quarantine_error(struct run *r, bool workflow, aiki_view name, aiki_error *ret);
/* Why it may not execute that step any more: TASK_CRASHED. Borrows from memory of the run. */
void run_spent_error(struct run *r, const struct step *s, aiki_error *ret);
/* TASK_UNKNOWN: this build does not define the task of that step; then these words. Borrows from memory of the
 * run. */
void run_undefined_error(struct run *r, const struct step *s, const char *words, aiki_error *ret);
/* True: the code asks for a task that this build does not define, and the run has left: to another build, or
 * to come again when something of this stay has to be on record first. */
bool run_undefined(struct run *r);
/* False: its own code ended the process too often, or is quarantined; the run has left. */
bool run_check_crashes(struct run *r);
/* True: an append of that size, or what replay keeps, is over a limit, and the run was blocked. */
bool run_block_if_too_large(struct run *r, uint64_t append_bytes);
/* This process cannot go on with the run, and that is not the run's fault: hand it back. */
void run_give_up(struct run *r, const char *why);
/* The workflow function has returned. */
void run_finish(struct run *r);
/* A run that is gone: keep its memory for the next one, unless attempts still use it. */
void run_free_if_unused(struct run *r);

#endif

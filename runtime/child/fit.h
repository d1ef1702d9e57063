/* fit.h - values and the schemas they have to fit, in the mode the task or workflow asks for.
 *
 *              an input, an output now        a value on record          a signal that is taken
 *   strict     fails the step or run          blocks the run             fails the step
 *   warn       passes, WARNED is recorded     passes, WARNED             passes, WARNED
 *   off        nobody looks                   nobody looks               nobody looks
 *
 * [fiber] where workflow code is asking, else [loop].
 */
#ifndef CHILD_FIT_H
#define CHILD_FIT_H

#include "child/run.h"

/* Of a task that is about to be attempted. Not AIKI_OK: it must not be, *err says why. */
aiki_status fit_task_input(struct run *r, struct step *s, aiki_error *err);
/* Of the run. Not AIKI_OK: it does not fit. */
aiki_status fit_run_input(struct run *r, aiki_error *err);
aiki_status fit_run_output(struct run *r, aiki_error *err);
/* The output of a task that another process recorded. False: the code must not see it; r->mismatch
 * is set, and run_pump gives the run up. */
bool fit_recorded(struct run *r, struct step *s);
/* The same for what the code is about to decode as a record. */
bool fit_result(struct run *r, struct step *s, const aiki_record_def *record, uint32_t mode);
/* The mode for results of that step. */
uint32_t fit_mode(const struct run *r, const struct step *s);
/* struct replay, judge: a signal that is about to be taken. arg: the run. */
aiki_view fit_signal(void *arg, struct step *s);

#endif

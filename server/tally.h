/* tally.h - how attempts of tasks end, by task, outcome, category of the error and build, so that a bad
 * new build is a series of its own. [any] Written by the store thread, read by the loop.
 *
 * Limits: TALLY_TASKS_MAX names and TALLY_SERIES_MAX series. Names beyond the limit are counted as
 * "other". A new series takes the place of the one that has been idle longest, whose count goes to task
 * and build "other": the sum over all series never falls.
 */
#ifndef SERVER_TALLY_H
#define SERVER_TALLY_H

#include <aiki/msgpack.h>

enum { TALLY_TASKS_MAX = 1000, TALLY_SERIES_MAX = 1000 };

/* X(NAME, label). retried: the attempt failed and another one follows. crashed: the process died
 * and the attempt is charged with it. */
#define TALLY_OUTCOMES(X)     \
    X(OK, "ok")               \
    X(RETRIED, "retried")     \
    X(FAILED, "failed")       \
    X(TIMED_OUT, "timed_out") \
    X(CANCELLED, "cancelled") \
    X(CRASHED, "crashed")
enum tally_outcome {
#define TALLY_OUTCOME(name, label) TALLY_##name,
    TALLY_OUTCOMES(TALLY_OUTCOME)
#undef TALLY_OUTCOME
};

/* The number of a task's name; 0 is "other". [store] */
uint16_t tally_task(aiki_view name);
/* category: AIKI_CATEGORY_*, 0 without an error. build: HASH_BYTES; zeros: not known. [store] */
void tally_add(uint16_t task, enum tally_outcome outcome, int32_t category, const uint8_t *build);
/* Prometheus text: aiki_task_attempts_total. */
void tally_write(aiki_writer *w);

#endif

/* store/checks.h - what every backend refuses and verifies in the same way. [any] */
#ifndef STORE_CHECKS_H
#define STORE_CHECKS_H

#include "store/store.h"

/* Limits and shape of a unit, before a backend touches anything. AIKI_LIMIT, AIKI_INVALID. */
aiki_status unit_check(const struct unit *u, aiki_error *err);
/* Whether this answer of commit() means that the process must not go on (store.h). */
bool commit_failure_is_fatal(aiki_status status);
/* Latest moment written down in u (not wake_at_ms, which lies ahead). */
int64_t unit_clock_ms(const struct unit *u);
/* AIKI_INVALID without a namespace. */
aiki_status list_filter_check(const struct list_filter *filter, aiki_error *err);

/* Reading a journal row by row: the chain so far. Starts with the row before the first one read,
 * or with seq 0 and a zero hash. */
struct journal_check {
    struct aiki_id run_id;
    uint64_t seq;
    uint8_t hash[HASH_BYTES];
    uint8_t hash_before[HASH_BYTES]; /* of the event in front of the first one appended */
};
/* One journal row whose last event is row_seq: verifies that it continues the chain without a gap
 * and appends its events with seq > after_seq to w. */
aiki_status journal_check_row(struct journal_check *c, uint64_t row_seq,
                              const uint8_t row_hash[HASH_BYTES], aiki_view events,
                              uint64_t after_seq, aiki_writer *w, aiki_error *err);
/* All rows were read: the chain must have arrived at the head of the run. */
aiki_status journal_check_end(const struct journal_check *c, uint64_t head_seq,
                              const uint8_t head_hash[HASH_BYTES], aiki_error *err);

#endif

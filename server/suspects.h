/* suspects.h - who took processes down of late: charged crashes by build and task or workflow. [store]
 *
 *   CRASHED --suspects_draft--> draft --its row is in the unit--> committed: suspects_adopt, it counts
 *                                                             rolled back: suspects_forget_drafts
 *
 * A count is a row of the workflows table, under a space of its own, written with the crash: a restart
 * finds what counted, and only that. Nothing here is touched by runs that do not crash.
 * Limits: SUSPECTS_MAX of them at a time, the one that crashed longest ago gives way; of each the last
 * SUSPECT_CRASHES_MAX crashes within the window.
 */
#ifndef SERVER_SUSPECTS_H
#define SERVER_SUSPECTS_H

#include "store/store.h"
#include "wire/event.h"
#include "wire/keys.h"

enum { SUSPECTS_MAX = 256, SUSPECT_CRASHES_MAX = 100 };
#define SUSPECTS_MARK "!crashes"

/* Which code of which build. */
struct culprit {
    uint8_t build[HASH_BYTES];
    bool workflow; /* the workflow's own code, else a task */
    char name[NAME_BYTES_MAX + 1];
};
bool culprit_equal(const struct culprit *a, const struct culprit *b);

/* Names of a row about a culprit; the row borrows them. */
struct culprit_text {
    char space[NAME_BYTES_MAX + 16], name[NAME_BYTES_MAX + 2], build[2 * HASH_BYTES + 1];
};
/* The row of culprit `of` under SPACE followed by mark, without a descriptor. */
struct workflow_row culprit_row(struct culprit_text *text, const struct culprit *of,
                                const char *space, const char *mark, int64_t at_ms);
/* False: it is not about a culprit. */
bool culprit_read(const struct workflow_row *row, struct culprit *ret);

struct suspected {
    struct culprit of;
    uint32_t count;
    struct {
        int64_t at_ms;
        struct aiki_id run;
    } crashes[SUSPECT_CRASHES_MAX]; /* the oldest first */
};

struct suspects {
    struct suspected *all;
    size_t count;
    struct suspected *drafts; /* of the unit at hand */
    size_t draft_count, draft_capacity;
    struct suspect_row *rows; /* of the drafts */
    size_t row_capacity;
    struct workflow_row *written;
    size_t written_capacity;
};

void suspects_deinit(struct suspects *s);
/* What a row says, as far as it lies within that time of the last crash. False: nothing, or it is damaged. */
bool suspect_read(const struct workflow_row *row, int64_t window_ms, struct suspected *ret);
void suspects_keep(struct suspects *s, const struct suspected *x);
/* Crashes before since_ms are forgotten. */
void suspects_draft(struct suspects *s, const struct culprit *of, const struct aiki_id *run,
                    int64_t at_ms, int64_t since_ms);
/* Rows of all drafts, for the unit; borrowed until the next call. */
const struct workflow_row *suspects_rows(struct suspects *s, const char *space, size_t *ret_count);
/* The drafts are on record: fn for each. */
void suspects_adopt(struct suspects *s, void (*fn)(void *arg, const struct suspected *x), void *arg);
void suspects_forget_drafts(struct suspects *s);
/* Nothing counts against it any more; its row is the caller's to write. */
void suspects_clear(struct suspects *s, const struct culprit *of);
bool suspect_of_several_runs(const struct suspected *x);

#endif

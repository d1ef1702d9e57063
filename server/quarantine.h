/* quarantine.h - code of a build that takes its processes down too often is not executed by it any
 * more, anywhere, until somebody lifts that. [store]
 *
 * And one run that it did that to, as often as the crash budget of the step allows (TASK_CRASHED), is
 * blocked for a while: another build may come, or the quarantine. When neither does the step fails.
 *
 *   CRASHED, charged --> counted by (build, task) --> CRASHES_MAX of them in WINDOW_MS, of two runs or
 *   more --> on record --> every session that has the build is told --> its runs try an older build,
 *   or are blocked (QUARANTINED)
 *
 * Both are on record: as rows of the workflows table under spaces of their own (SPACE followed by
 * SUSPECTS_MARK, QUARANTINE_MARK, which no namespace contains), name and version being the code's name
 * and the build. A kill between the last crash and the verdict is made good at the start.
 * Limits: QUARANTINES_MAX; those of suspects.h.
 */
#ifndef SERVER_QUARANTINE_H
#define SERVER_QUARANTINE_H

#include "suspects.h"

enum { QUARANTINES_MAX = 1000 };
#define QUARANTINE_MARK "!quarantine"

struct pipeline;

struct quarantined {
    struct culprit of;
    int64_t at_ms;
    bool on_record; /* else it is to be written behind the next commit */
    bool told;
};

struct quarantine {
    unsigned crashes_max; /* 0: nothing is quarantined by itself */
    int64_t window_ms;
    int64_t hold_ms; /* how long a run waits for another build when one has spent a crash budget */
    struct quarantined *on;
    size_t count, capacity;
    struct suspects suspects;
    uint64_t crashes_drafted; /* of the unit at hand, for the counter: kills, too */
    bool changed; /* something is to be written */
};

void quarantine_deinit(struct quarantine *q);
/* What is on record. */
aiki_status quarantine_restore(struct pipeline *p, aiki_error *err);
/* An event of a run is in the unit at hand; only CRASHED ones are looked at. */
void quarantine_draft(struct pipeline *p, const struct aiki_id *run, const struct event *e);
/* The unit is committed, with the rows of the drafts; or it is rolled back. */
void quarantine_count(struct pipeline *p);
void quarantine_forget_drafts(struct quarantine *q);
/* Behind a commit: write and tell what quarantine_count decided. */
void quarantine_settle(struct pipeline *p);
/* A session has registered the build. */
struct session;
void quarantine_tell(struct pipeline *p, struct session *s, const uint8_t build[HASH_BYTES]);
/* build_hex: its first digits; name empty: all of that build. *ret_lifted 0: it was lifted before, so
 * that it may be asked for again. AIKI_NOT_FOUND: it never was quarantined, and no run was blocked because
 * of that build. */
aiki_status quarantine_lift(struct pipeline *p, aiki_view build_hex, aiki_view name,
                            uint64_t *ret_lifted, aiki_error *err);
/* Before runs go on that this build has blocked: that they were let go on. */
aiki_status quarantine_record_lift(struct pipeline *p, const uint8_t build[HASH_BYTES],
                                   aiki_error *err);
/* Until when a run is held that this build blocks with this error; 0: until somebody does something. */
int64_t quarantine_hold_until_ms(const struct pipeline *p, const uint8_t *build, aiki_view error);
/* UNBLOCKED_*: why it is to go on when that time is over. */
uint64_t quarantine_why_over(aiki_view error);
/* An array of maps. */
void quarantine_write(const struct pipeline *p, aiki_writer *w);

#endif

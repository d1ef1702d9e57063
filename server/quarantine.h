/* quarantine.h - code of a build that takes its processes down too often is not executed by it any
 * more, anywhere, until somebody lifts that. [store]
 *
 *   CRASHED, charged --> counted by (build, task) --> CRASHES_MAX of them in WINDOW_MS, of two runs or
 *   more --> on record --> every session that has the build is told --> its runs try an older build,
 *   or are blocked (QUARANTINED)
 *
 * The counts are memory, the quarantines are on record: as rows of the workflows table under a space
 * of their own (SPACE followed by QUARANTINE_MARK, which no namespace contains), name and version
 * being the code's name and the build. Limits: QUARANTINES_MAX; SUSPECTS_MAX counts at a time, the
 * oldest gives way.
 */
#ifndef SERVER_QUARANTINE_H
#define SERVER_QUARANTINE_H

#include "store/store.h"
#include "wire/keys.h"

enum { QUARANTINES_MAX = 1000, SUSPECTS_MAX = 256, QUARANTINE_CRASHES_MAX = 100 };
#define QUARANTINE_MARK "!quarantine"

struct pipeline;

/* Which code of which build. */
struct culprit {
    uint8_t build[HASH_BYTES];
    bool workflow; /* the workflow's own code, else a task */
    char name[NAME_BYTES_MAX + 1];
};

struct quarantined {
    struct culprit of;
    int64_t at_ms;
    bool on_record; /* else it is to be written at the end of the command */
};

struct suspected {
    struct culprit of;
    int64_t at_ms[QUARANTINE_CRASHES_MAX]; /* of the last crashes, a ring */
    uint64_t count;
    struct aiki_id first_run;
    bool several_runs;
};

struct quarantine {
    unsigned crashes_max; /* 0: nothing is quarantined by itself */
    int64_t window_ms;
    struct quarantined *on;
    size_t count, capacity;
    struct suspected *suspected;
    size_t suspected_count;
    bool changed; /* something is to be written */
};

void quarantine_deinit(struct quarantine *q);
/* What is on record. */
aiki_status quarantine_restore(struct pipeline *p, aiki_error *err);
/* An event of a run was committed; only CRASHED ones are looked at. */
void quarantine_note(struct pipeline *p, const struct aiki_id *run, const struct event *e);
/* Behind a commit: write and tell what quarantine_note decided. */
void quarantine_settle(struct pipeline *p);
/* A session has registered the build. */
struct session;
void quarantine_tell(struct pipeline *p, struct session *s, const uint8_t build[HASH_BYTES]);
/* build_hex: its first digits; name empty: all of that build. AIKI_NOT_FOUND: there is none, and no run
 * is blocked because of that build. */
aiki_status quarantine_lift(struct pipeline *p, aiki_view build_hex, aiki_view name,
                            uint64_t *ret_lifted, aiki_error *err);
/* An array of maps. */
void quarantine_write(const struct pipeline *p, aiki_writer *w);

#endif

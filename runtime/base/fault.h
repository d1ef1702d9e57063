/* base/fault.h - named points where a test may kill, stop or fail a process. [any]
 *
 *   fault_point(server_commit_after);                in code: the name from fault.def, no quotes
 *   if (fault_fails(server_publish_before)) ...      a point that can also report failure
 *
 *   AIKI_FAULT="server.commit.after=kill@3,child.acked=exit"
 *       on the 3rd pass (default: the 1st) of that point in a process:
 *       kill (SIGKILL), stop (SIGSTOP), exit (_exit 41), fail (fault_fails answers true)
 *   AIKI_FAULT_ONCE=FILE   only the first process to get there acts; it creates FILE first
 *   AIKI_FAULT_MODE="page-of-one,duplicate"
 *       conditions that last: every name of FAULT_MODES below
 *   AIKI_FAULT_LOG=FILE    each point passed is appended once a process, so that the suite can
 *                          prove that every point is reached
 *
 * Besides the points of fault.def there are two for each kind of event: the server is about to commit, or
 * has just committed, a unit that records one ("server.before.signal", "server.after.signal"). A new kind
 * has them without further ado, and tests/fault/edges.py insists on a row for it.
 *
 * Compiled in with -Dfault_injection=true; otherwise a point costs nothing. A name that is not in
 * fault.def does not compile in either build.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.def"
#include "wire/event.h"

/* Conditions under which everything has to work as ever; tests/modes runs all tests in each. */
#define FAULT_MODES(X)                                                                      \
    X(always_replay, "always-replay")       /* a run leaves its process after every append */ \
    X(page_of_one, "page-of-one")           /* journals come one event a page, families run by run */ \
    X(duplicate, "duplicate")               /* each ticket and each NOTIFY is sent twice */   \
    X(drop_first_reply, "drop-first-reply") /* and the connection with it; of each type */

enum fault {
#define FAULT_ENUM(name, text) FAULT_##name,
    FAULT_POINTS(FAULT_ENUM)
#undef FAULT_ENUM
#define FAULT_EDGE_ENUM(name, number, text) FAULT_before_##name, FAULT_after_##name,
    EVENT_KIND_MAP(FAULT_EDGE_ENUM)
#undef FAULT_EDGE_ENUM
    FAULT_COUNT
};

enum fault_mode {
#define FAULT_MODE_ENUM(name, text) FAULT_MODE_##name,
    FAULT_MODES(FAULT_MODE_ENUM)
#undef FAULT_MODE_ENUM
    FAULT_MODE_COUNT
};

/* "server.commit.after"; for tools that list the points. */
const char *fault_name(enum fault point);

#ifdef AIKI_FAULT_INJECTION
/* True when the point should report failure ("fail"). kill and exit do not return. A process
 * started with an AIKI_FAULT that does not parse says so and ends with status 2. */
bool fault_hit(enum fault point);
#define fault_point(name) ((void)fault_hit(FAULT_##name))
/* The edges of stored events: `committed` or about to be. */
void fault_edges(aiki_view events, bool committed);
#define fault_fails(name) fault_hit(FAULT_##name)
bool fault_mode_on(enum fault_mode mode);
#define fault_mode(name) fault_mode_on(FAULT_MODE_##name)
/* drop-first-reply: whether to lose this reply, the first one of its WIRE_ type in the process. */
bool fault_drops_reply(uint32_t type);
#else
#define fault_point(name) ((void)FAULT_##name)
#define fault_edges(events, committed) ((void)(events), (void)(committed))
#define fault_fails(name) ((void)FAULT_##name, false)
#define fault_mode(name) ((void)FAULT_MODE_##name, false)
#define fault_drops_reply(type) ((void)(type), false)
#endif

#endif

/* base/fault.h - named points where a test may kill, stop or fail a process. [any]
 *
 *   AIKI_FAULT="server.commit.after=kill@3"   on the 3rd pass: kill, stop, exit, fail
 *
 * Compiled in with -Dfault_injection=true; otherwise fault_point(x) is nothing. The names live
 * in one table (fault.def) so that the fault suite can prove each has a scenario.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#ifdef AIKI_FAULT_INJECTION
/* True when the point should report failure ("fail"); kill and stop do not return at once. */
bool fault_hit(const char *name);
#define fault_point(name) ((void)fault_hit(name))
#define fault_fails(name) fault_hit(name)
#else
#define fault_point(name) ((void)0)
#define fault_fails(name) false
#endif

#endif

/* child/reach.h - which other processes plugin code can reach: the runtime is none of them.
 *
 *   probe    starts no process, and does nothing to any other one (base/reach_calls.def): that is its end, by name
 *   child    starts programs and ends them as it likes; what would end its broker fails with EPERM
 *
 * Filters of system calls, for this process and all that it starts. A probe also enters a domain of landlock, outside
 * of which no memory can be looked at or written, by whatever way.
 */
#ifndef CHILD_REACH_H
#define CHILD_REACH_H

#include <sys/types.h>

/* What SIGSYS says (si_errno) when it is one of these calls that ends a probe. */
enum { REACH_REFUSED = 0x4f };

/* Before the sandbox and before there are other threads. Where the kernel has no filters it says so in the log, and the
 * intake still ends the whole process group. */
void reach_limit_probe(void);
/* After the sandbox, before there are other threads. For a process that has no more rights to get (no_new_privs), or has
 * them all; a filter would take them from the programs that tasks start, so others have child/stray.c alone. */
void reach_limit_child(pid_t broker);

#endif

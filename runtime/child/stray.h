/* child/stray.h - a signal of plugin code that would end the runtime, or everybody, is refused. [any]
 *
 *   fork() failed, kill(pid) with its -1        all processes of the user
 *   kill(getppid(), ...)                        written for a program that its own parent started
 *
 * kill() and killpg() of this program are found before those of the C library. They answer EPERM to that, and say so
 * in the log with the run and task. Who makes the system call by itself is not asked here: child/reach.h. A process is
 * in a session of its own, so kill(0) is about it and the programs that it started.
 */
#ifndef CHILD_STRAY_H
#define CHILD_STRAY_H

#include <sys/types.h>

/* Whose runtime it is. Before any plugin code. */
void stray_protect(pid_t broker);

#endif

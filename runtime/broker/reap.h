/* broker/reap.h - children that are stopped, and the ends of those that have asked to be traced. [loop]
 *
 * Plugin code may call ptrace(PTRACE_TRACEME), and then it is us who trace it. A stop of the process's first thread is told as
 * an end would be, and libuv takes it for one: the process would stay, and nobody look at it again. Another thread that was traced
 * and has ended keeps its process from ending until we have waited for that thread.
 */
#ifndef BROKER_REAP_H
#define BROKER_REAP_H

#include <stdbool.h>

/* It was said to have ended: it has not. */
bool reap_goes_on(int pid);
/* It was killed: waits for those of its threads that we trace, never for long. */
void reap_threads(int pid);
/* Of one that goes on, and was killed: whether it has ended by now. */
bool reap_ended(int pid);
/* By SIGSTOP, or for want of a terminal: it executes nothing, and its own limits of time do not count. A debugger's
 * stops are none. */
bool reap_is_stopped(int pid);

#endif

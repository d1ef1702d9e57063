/* broker/reap.h - children that are stopped, and the ends of those that have asked to be traced. [loop]
 *
 * Plugin code may call ptrace(PTRACE_TRACEME), and then it is us who trace it. A stop of the process's first thread is told as
 * an end would be, and libuv takes it for one: the process would stay, and nobody look at it again. Another thread that was traced
 * and has ended keeps its process from ending, or from becoming another program, until we have waited for that thread.
 */
#ifndef BROKER_REAP_H
#define BROKER_REAP_H

#include <stdbool.h>

/* It was said to have ended: it has not. */
bool reap_goes_on(int pid);
/* Waits for those of its threads that we trace and that have ended, never for long. */
void reap_threads(int pid);
/* Of one that goes on, and was killed: whether it has ended by now. */
bool reap_ended(int pid);
/* Of its first thread, as ps shows it: 'T' is stopped by SIGSTOP or for want of a terminal, so that it executes nothing, and its own
 * limits of time do not count (a debugger's stop is 't'); 'Z' or 'D' may be one that becomes another program and waits for
 * a thread that we trace, to end. 0: it is gone. */
char reap_state(int pid);

#endif

/* child/probe.h - the process that loads a plugin only to see whether it can be loaded.
 *
 * What plugin code does here is limited: the processor time and the descriptors that PROBE names, PROBE_FILE_BYTES_MAX
 * a file; starting a process, or doing something to another one (child/reach.h), ends this one. Threads may be started:
 * some languages bring a runtime of their own. How many there are, and its memory, is looked at from outside.
 */
#ifndef CHILD_PROBE_H
#define CHILD_PROBE_H

enum { PROBE_FILE_BYTES_MAX = 1024 * 1024 };

/* Answer one PROBE on fd and end when fd does; the exit status means nothing. */
int probe_main(int fd);

#endif

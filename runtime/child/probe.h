/* child/probe.h - the process that loads a plugin only to see whether it can be loaded.
 *
 * What plugin code does here is limited: the processor time that PROBE names,
 * PROBE_DATA_BYTES_MAX of memory it writes to, PROBE_FILE_BYTES_MAX a file, PROBE_DESCRIPTORS_MAX; starting a process ends this one (SIGSYS).
 * Threads may be started: some languages bring a runtime of their own.
 */
#ifndef CHILD_PROBE_H
#define CHILD_PROBE_H

enum {
    PROBE_FILE_BYTES_MAX = 1024 * 1024,
    PROBE_DESCRIPTORS_MAX = 64
};
#define PROBE_DATA_BYTES_MAX (UINT64_C(1) << 30)

/* Answer one PROBE on fd and end; the exit status means nothing. */
int probe_main(int fd);

#endif

/* broker/oom.h - whether the kernel killed a process for want of memory, or somebody else did. [loop]
 *
 * SIGKILL says neither. The kernel counts those that it kills ("oom_kill N", before it sends the signal),
 * so a count that went up while a process lived means that one was killed: each kill is put down to one
 * process. The count of the own control group is precise; that of the machine (/proc/vmstat) also has
 * kills of strangers, so only what was counted since the process began is looked at. Without a file
 * nothing is ever taken for a kill by the kernel.
 */
#ifndef BROKER_OOM_H
#define BROKER_OOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OOM_PATH_SIZE = 512 };

struct oom {
    char path[OOM_PATH_SIZE];
    uint64_t ascribed; /* kills up to this count were put down to a process */
};

/* path: the file with the count; empty or NULL: found. */
void oom_init(struct oom *o, const char *path);
/* The file of the control groups in the text of /proc/self/cgroup; false: they have none that is there,
 * or not at that place. root: "/sys/fs/cgroup". */
bool oom_find(const char *cgroups, const char *root, char *ret, size_t size_bytes);
/* To be kept from the start of a process. */
uint64_t oom_count(const struct oom *o);
/* A process that began at `count` was killed: was it the kernel? */
bool oom_ascribe(struct oom *o, uint64_t count);

#endif

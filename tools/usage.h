/* usage.h - CPU time of the processes of a stack, and what machine this is. [main thread]
 *
 * Only what runs on this host can be seen; a process elsewhere counts as zero.
 */
#ifndef TOOLS_USAGE_H
#define TOOLS_USAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Seconds of CPU so far, user and system. */
struct usage {
    double server_s, runtime_s, children_s, redis_s, bench_s;
};

enum { USAGE_RUNTIMES_MAX = 64 };
struct usage_pids {
    pid_t server, redis; /* 0 = unknown */
    pid_t runtimes[USAGE_RUNTIMES_MAX];
    unsigned runtime_count;
};

void usage_read(const struct usage_pids *pids, struct usage *ret);
/* after - before, per process. */
struct usage usage_between(const struct usage *before, const struct usage *after);
double usage_total_s(const struct usage *u);
/* The only redis-server on this host; 0 when there is none or more than one. */
pid_t usage_find_redis(void);
/* Whether pid is a process of this host running that program. */
bool usage_is_program(pid_t pid, const char *program);

struct machine {
    char cpu[96];
    long cores;
    char kernel[96];
    char filesystem[32]; /* of a path */
};
/* path: whose file system counts; NULL = unknown. */
void machine_read(struct machine *ret, const char *path);

#endif

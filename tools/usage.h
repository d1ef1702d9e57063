/* usage.h - CPU time of the processes of a stack, and what machine this is. [main thread]
 *
 * Only what runs on this host can be seen; a process elsewhere counts as zero.
 */
#ifndef TOOLS_USAGE_H
#define TOOLS_USAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Who uses CPU, in the order of reports. store: the server's store thread, part of server. */
/* clang-format off */
#define USAGE_MAP(X)                  \
    X(server, "server")               \
    X(store, "  its store thread")    \
    X(broker, "runtime: broker")      \
    X(children, "runtime: children")  \
    X(redis, "redis")                 \
    X(bench, "this program")
/* clang-format on */

/* Seconds of CPU so far, user and system. */
struct usage {
#define USAGE_FIELD(name, text) double name##_s;
    USAGE_MAP(USAGE_FIELD)
#undef USAGE_FIELD
};

enum { USAGE_RUNTIMES_MAX = 64 };
struct usage_pids {
    pid_t server, redis; /* 0 = unknown */
    pid_t runtimes[USAGE_RUNTIMES_MAX];
    unsigned runtime_count;
};

/* fn is called for each child process there is. */
void usage_each_child(pid_t parent, void (*fn)(void *arg, pid_t child), void *arg);
void usage_read(const struct usage_pids *pids, struct usage *ret);
/* after - before, per process; a process that ended in between counts as zero. */
struct usage usage_between(const struct usage *before, const struct usage *after);
double usage_total_s(const struct usage *u);
/* The most memory that a process of each kind has had since usage_forget_peaks, in bytes; 0 =
 * unknown. Of brokers and children the largest. */
struct peaks {
    uint64_t server_bytes, broker_bytes, child_bytes;
};
void usage_forget_peaks(const struct usage_pids *pids);
void usage_read_peaks(const struct usage_pids *pids, struct peaks *ret);
/* The redis-server with the same parent as the server (`aiki dev`), else the only one on this
 * host; 0 when that is not clear. */
pid_t usage_find_redis(pid_t server);
/* Whether pid is a process of this host running that program. */
bool usage_is_program(pid_t pid, const char *program);

struct machine {
    char cpu[96];
    long cores;
    char kernel[96];
    char filesystem[32]; /* of a path; "" = unknown */
};
/* path: whose file system counts; NULL = unknown. */
void machine_read(struct machine *ret, const char *path);

#endif

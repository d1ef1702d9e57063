/* base/usage.h - what a child uses, as the kernel says, beside what it may. [any, one thread]
 *
 * Memory is what the process has to itself: anonymous and shared memory, in RAM or swapped out. Files that
 * it maps do not count, the kernel drops their pages when it must. Processor time is looked at over
 * USAGE_WINDOW_MS. A process that has used no processor time since the last look has not grown: that
 * is all an idle one costs.
 */
#ifndef BASE_USAGE_H
#define BASE_USAGE_H

#include "base/blame.h"
#include "base/limit.h"

enum { USAGE_LOOK_MS = 250, USAGE_WINDOW_MS = 10000 };

struct usage {
    uint64_t memory_bytes, files, threads, tasks;
    int64_t cpu_ns, age_ms;
};

/* Zeroed but for the first two, before the first look. */
struct meter {
    struct limits limits;
    int64_t since_mono_ms; /* it is that old */
    struct usage now;      /* at the last look */
    int64_t window_mono_ms, window_cpu_ns;
    uint64_t cpu_percent; /* in the last whole window */
};

/* page: of a child; NULL when no limit of tasks is asked about. True: *ret_hit is what it has come to, the worst of it. A process that is gone uses nothing. */
bool meter_look(struct meter *m, int pid, const struct blame_page *page, struct limit_hit *ret_hit);

#endif

/* usage.c - see usage.h. */
#include "base/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

enum { STATUS_BYTES_MAX = 4096, PATH_SIZE = 64, NS_PER_MS = 1000000, MIB = 1024 * 1024 };

static void cleanup_close_dir(DIR **dir)
{
    if (*dir != NULL)
        (void)closedir(*dir); /* only read from */
}

static int64_t cpu_ns_of(int pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * 1000 * NS_PER_MS + t.tv_nsec;
}

/* "Name: 12 kB" */
static uint64_t field(const char *status, const char *name)
{
    const char *at = strstr(status, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static uint64_t count_files(int pid)
{
    char path[PATH_SIZE];
    uint64_t count = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    AUTO(close_dir) DIR *dir = opendir(path);
    for (const struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir))
        count += e->d_name[0] != '.';
    return count;
}

static void read_status(struct meter *m, int pid)
{
    char path[PATH_SIZE], status[STATUS_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, status, sizeof(status) - 1) : -1;
    if (n <= 0)
        return;
    status[n] = '\0';
    m->now.memory_bytes = 1024 * (field(status, "\nRssAnon:") + field(status, "\nRssShmem:") +
                                  field(status, "\nVmSwap:"));
    m->now.threads = field(status, "\nThreads:");
    m->now.files = count_files(pid);
}

static uint64_t count_tasks(const struct blame_page *page)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < BLAME_SLOTS; i++)
        count += atomic_load_explicit(&page->slots[i].attempts, memory_order_relaxed);
    return count;
}

static void look_at_cpu(struct meter *m, int64_t now_ms)
{
    int64_t past_ms = now_ms - m->window_mono_ms;
    if (m->window_mono_ms != 0 && past_ms < USAGE_WINDOW_MS)
        return;
    if (m->window_mono_ms != 0)
        m->cpu_percent = (uint64_t)((m->now.cpu_ns - m->window_cpu_ns) * 100 / NS_PER_MS / past_ms);
    m->window_mono_ms = now_ms;
    m->window_cpu_ns = m->now.cpu_ns;
}

/* Descriptors beyond the limit are refused by the kernel: it never is over that. */
static bool judge(const struct meter *m, struct limit_hit *ret)
{
    const uint64_t found[LIMIT_COUNT] = {[LIMIT_MEMORY] = m->now.memory_bytes / MIB,
                                         [LIMIT_FILES] = m->now.files,
                                         [LIMIT_THREADS] = m->now.threads,
                                         [LIMIT_CPU] = m->cpu_percent,
                                         [LIMIT_TASKS] = m->now.tasks,
                                         [LIMIT_AGE] = (uint64_t)m->now.age_ms / 1000};
    bool any = false;
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        uint64_t allowed = m->limits.of[i];
        bool is_budget = i == LIMIT_TASKS || i == LIMIT_AGE;
        bool over = found[i] > allowed && !is_budget && i != LIMIT_FILES;
        bool worn = is_budget ? found[i] >= allowed
                              : i != LIMIT_CPU && found[i] * 100 >= allowed * LIMIT_SOFT_PERCENT;
        if (allowed == 0 || !(over || worn) || (any && (ret->over || !over)))
            continue;
        *ret = (struct limit_hit){.limit = (enum limit)i, .found = found[i], .allowed = allowed, .over = over};
        any = true;
    }
    return any;
}

bool meter_look(struct meter *m, int pid, const struct blame_page *page, struct limit_hit *ret_hit)
{
    int64_t now_ms = clock_mono_ms(), cpu_ns = cpu_ns_of(pid);
    bool idle = cpu_ns == m->now.cpu_ns;
    m->now.cpu_ns = cpu_ns;
    m->now.age_ms = now_ms - m->since_mono_ms;
    look_at_cpu(m, now_ms);
    if (!idle)
        read_status(m, pid);
    if (!idle && m->limits.of[LIMIT_TASKS] > 0)
        m->now.tasks = count_tasks(page);
    return judge(m, ret_hit);
}

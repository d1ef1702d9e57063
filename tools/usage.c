/* usage.c - see usage.h. Everything is read from /proc, whose resolution is 10 ms. */
#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* proc(5): the fields of a stat file after the name in parentheses, which may hold anything. */
struct stat_line {
    pid_t parent;
    double cpu_s;
    char name[32];
};

static bool read_stat(const char *path, struct stat_line *ret)
{
    char text[1024];
    unsigned long user, system;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *name = strchr(text, '('), *rest = strrchr(text, ')');
    if (name == NULL || rest == NULL ||
        sscanf(rest, ") %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ret->parent, &user,
               &system) != 3)
        return false;
    snprintf(ret->name, sizeof(ret->name), "%.*s", (int)(rest - name - 1), name + 1);
    ret->cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

static bool read_process(pid_t pid, struct stat_line *ret)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    return pid > 0 && read_stat(path, ret);
}

static double cpu_s(pid_t pid)
{
    struct stat_line line;
    return read_process(pid, &line) ? line.cpu_s : 0;
}

/* Calls fn for each entry of a folder in /proc that is a number. */
static void each_number(const char *folder, void (*fn)(void *arg, pid_t number), void *arg)
{
    DIR *d = opendir(folder);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (isdigit((unsigned char)e->d_name[0]))
            fn(arg, (pid_t)atoi(e->d_name));
    closedir(d);
}

struct thread_sum {
    pid_t pid;
    const char *name;
    double cpu_s;
};

static void add_thread(void *arg, pid_t tid)
{
    struct thread_sum *sum = arg;
    struct stat_line line;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", sum->pid, tid);
    if (read_stat(path, &line) && strcmp(line.name, sum->name) == 0)
        sum->cpu_s += line.cpu_s;
}

static double thread_cpu_s(pid_t pid, const char *name)
{
    struct thread_sum sum = {.pid = pid, .name = name};
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    if (pid > 0)
        each_number(path, add_thread, &sum);
    return sum.cpu_s;
}

void usage_each_child(pid_t parent, void (*fn)(void *arg, pid_t child), void *arg)
{
    char path[80];
    int child;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    while (fscanf(f, "%d", &child) == 1)
        fn(arg, child);
    fclose(f);
}

static void add_cpu(void *sum_s, pid_t pid)
{
    *(double *)sum_s += cpu_s(pid);
}

void usage_read(const struct usage_pids *pids, struct usage *ret)
{
    struct timespec own;
    *ret = (struct usage){.server_s = cpu_s(pids->server),
                          .store_s = thread_cpu_s(pids->server, "store"),
                          .redis_s = cpu_s(pids->redis)};
    for (unsigned i = 0; i < pids->runtime_count; i++) {
        ret->broker_s += cpu_s(pids->runtimes[i]);
        usage_each_child(pids->runtimes[i], add_cpu, &ret->children_s);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    ret->bench_s = (double)own.tv_sec + (double)own.tv_nsec / 1e9;
}

struct usage usage_between(const struct usage *before, const struct usage *after)
{
    struct usage used;
#define USAGE_BETWEEN(name, text)                                                                  \
    used.name##_s = after->name##_s > before->name##_s ? after->name##_s - before->name##_s : 0;
    USAGE_MAP(USAGE_BETWEEN)
#undef USAGE_BETWEEN
    return used;
}

double usage_total_s(const struct usage *u)
{
    return u->server_s + u->broker_s + u->children_s + u->redis_s + u->bench_s;
}

/* ---- memory ------------------------------------------------------------------------------- */

/* proc(5): the high-water mark of resident memory starts over. */
static void forget_peak(void *unused, pid_t pid)
{
    char path[64];
    (void)unused;
    snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
    FILE *f = pid > 0 ? fopen(path, "we") : NULL;
    if (f == NULL)
        return; /* then the mark is from an earlier time, and the figure too high */
    (void)fputs("5", f);
    fclose(f);
}

static void read_peak(void *max_bytes, pid_t pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    uint64_t *max = max_bytes;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    if (f == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL && kib == 0)
        (void)sscanf(line, "VmHWM: %llu kB", &kib); /* no other line matches */
    fclose(f);
    if (kib * 1024 > *max)
        *max = kib * 1024;
}

void usage_forget_peaks(const struct usage_pids *pids)
{
    forget_peak(NULL, pids->server);
    for (unsigned i = 0; i < pids->runtime_count; i++) {
        forget_peak(NULL, pids->runtimes[i]);
        usage_each_child(pids->runtimes[i], forget_peak, NULL);
    }
}

void usage_read_peaks(const struct usage_pids *pids, struct peaks *ret)
{
    *ret = (struct peaks){0};
    read_peak(&ret->server_bytes, pids->server);
    for (unsigned i = 0; i < pids->runtime_count; i++) {
        read_peak(&ret->broker_bytes, pids->runtimes[i]);
        usage_each_child(pids->runtimes[i], read_peak, &ret->child_bytes);
    }
}

/* ---- which process is which --------------------------------------------------------------- */

bool usage_is_program(pid_t pid, const char *program)
{
    struct stat_line line;
    return read_process(pid, &line) && strcmp(line.name, program) == 0;
}

struct redis_search {
    pid_t parent; /* of the server; 0 = unknown */
    pid_t sibling, any;
    unsigned count;
};

static void look_at_process(void *arg, pid_t pid)
{
    struct redis_search *search = arg;
    struct stat_line line;
    if (!read_process(pid, &line) || strcmp(line.name, "redis-server") != 0)
        return;
    search->any = pid;
    search->count++;
    if (search->parent > 1 && line.parent == search->parent)
        search->sibling = pid;
}

pid_t usage_find_redis(pid_t server)
{
    struct redis_search search = {.count = 0};
    struct stat_line line;
    if (read_process(server, &line))
        search.parent = line.parent;
    each_number("/proc", look_at_process, &search);
    if (search.sibling > 0)
        return search.sibling;
    return search.count == 1 ? search.any : 0;
}

/* ---- machine ------------------------------------------------------------------------------ */

static void read_cpu(struct machine *m)
{
    char line[256];
    snprintf(m->cpu, sizeof(m->cpu), "unknown");
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (f == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "model name", 10) != 0 || strchr(line, ':') == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(m->cpu, sizeof(m->cpu), "%.90s", strchr(line, ':') + 2);
        break;
    }
    fclose(f);
}

/* The type of the mount with the longest prefix of the path; /proc/self/mounts. */
static void read_filesystem(struct machine *m, const char *path)
{
    char real[PATH_MAX], mount[PATH_MAX], type[32], line[3 * PATH_MAX];
    size_t best = 0;
    FILE *f =
        path != NULL && realpath(path, real) != NULL ? fopen("/proc/self/mounts", "re") : NULL;
    if (f == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%*s %4095s %31s", mount, type) != 2)
            continue;
        size_t size = strlen(mount);
        bool inside = strncmp(real, mount, size) == 0 &&
                      (size == 1 || real[size] == '/' || real[size] == '\0');
        if (inside && size >= best) {
            best = size;
            snprintf(m->filesystem, sizeof(m->filesystem), "%s", type);
        }
    }
    fclose(f);
}

void machine_read(struct machine *ret, const char *path)
{
    struct utsname os;
    memset(ret, 0, sizeof(*ret));
    read_cpu(ret);
    read_filesystem(ret, path);
    ret->cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (uname(&os) == 0)
        snprintf(ret->kernel, sizeof(ret->kernel), "%.20s %.70s", os.sysname, os.release);
}

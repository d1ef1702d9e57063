/* usage.c - see usage.h. Everything is read from /proc, whose resolution is one clock tick. */
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

/* proc(5): the fields after the name in parentheses, which may hold anything. */
static double cpu_s(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user, system;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    if (f == NULL)
        return 0;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *rest = strrchr(text, ')');
    if (rest == NULL ||
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double children_cpu_s(pid_t parent)
{
    char path[80];
    double sum = 0;
    int child;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    while (fscanf(f, "%d", &child) == 1)
        sum += cpu_s(child);
    fclose(f);
    return sum;
}

void usage_read(const struct usage_pids *pids, struct usage *ret)
{
    struct timespec own;
    *ret = (struct usage){.server_s = cpu_s(pids->server), .redis_s = cpu_s(pids->redis)};
    for (unsigned i = 0; i < pids->runtime_count; i++) {
        ret->runtime_s += cpu_s(pids->runtimes[i]);
        ret->children_s += children_cpu_s(pids->runtimes[i]);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    ret->bench_s = (double)own.tv_sec + (double)own.tv_nsec / 1e9;
}

struct usage usage_between(const struct usage *before, const struct usage *after)
{
    return (struct usage){.server_s = after->server_s - before->server_s,
                          .runtime_s = after->runtime_s - before->runtime_s,
                          .children_s = after->children_s - before->children_s,
                          .redis_s = after->redis_s - before->redis_s,
                          .bench_s = after->bench_s - before->bench_s};
}

double usage_total_s(const struct usage *u)
{
    return u->server_s + u->runtime_s + u->children_s + u->redis_s + u->bench_s;
}

bool usage_is_program(pid_t pid, const char *program)
{
    char path[64], name[64] = "";
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    if (f == NULL)
        return false;
    if (fgets(name, sizeof(name), f) != NULL)
        name[strcspn(name, "\n")] = '\0';
    fclose(f);
    return strcmp(name, program) == 0;
}

pid_t usage_find_redis(void)
{
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    unsigned count = 0;
    if (proc == NULL)
        return 0;
    for (struct dirent *e; (e = readdir(proc)) != NULL;) {
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)atoi(e->d_name) : 0;
        if (pid > 0 && usage_is_program(pid, "redis-server")) {
            found = pid;
            count++;
        }
    }
    closedir(proc);
    return count == 1 ? found : 0;
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
    snprintf(m->filesystem, sizeof(m->filesystem), "unknown");
    FILE *f = path != NULL && realpath(path, real) != NULL ? fopen("/proc/self/mounts", "re") : NULL;
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

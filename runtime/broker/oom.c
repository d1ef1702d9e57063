/* oom.c - see oom.h. */
#include "broker/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { FILE_BYTES_MAX = 32 * 1024 }; /* /proc/vmstat has a tenth */

#define COUNT_LINE "oom_kill "

/* All of a small file as text; false: it cannot be read. */
static bool read_text(const char *path, char text[FILE_BYTES_MAX])
{
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t n = fd >= 0 ? 1 : -1;
    while (n > 0 && size < FILE_BYTES_MAX - 1) {
        n = read(fd, text + size, FILE_BYTES_MAX - 1 - size);
        size += n > 0 ? (size_t)n : 0;
    }
    text[size] = '\0';
    return n >= 0;
}

/* The beginning of each line is looked at. */
static const char *find_line(const char *text, const char *begin)
{
    while (text != NULL && strncmp(text, begin, strlen(begin)) != 0) {
        text = strchr(text, '\n');
        text = text != NULL ? text + 1 : NULL;
    }
    return text;
}

static bool has_count(const char *path)
{
    char text[FILE_BYTES_MAX];
    return read_text(path, text) && find_line(text, COUNT_LINE) != NULL;
}

/* "0::/PATH" of the second version, "N:memory:/PATH" of the first; cgroups(7). */
static bool find_in_line(const char *line, const char *root, char *ret, size_t size_bytes)
{
    const char *controllers = strchr(line, ':');
    const char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL)
        return false;
    bool second = group == controllers + 1;
    int group_bytes = (int)strcspn(group + 1, "\n");
    if (!second && strncmp(controllers, ":memory:", 8) != 0)
        return false;
    int n = snprintf(ret, size_bytes, "%s%s%.*s/%s", root, second ? "" : "/memory", group_bytes, group + 1,
                     second ? "memory.events" : "memory.oom_control");
    return n > 0 && (size_t)n < size_bytes && has_count(ret);
}

bool oom_find(const char *cgroups, const char *root, char *ret, size_t size_bytes)
{
    for (const char *line = cgroups; line != NULL && *line != '\0';) {
        if (find_in_line(line, root, ret, size_bytes))
            return true;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

void oom_init(struct oom *o, const char *path)
{
    char cgroups[FILE_BYTES_MAX];
    *o = (struct oom){.ascribed = 0};
    if (path != NULL && path[0] != '\0')
        (void)snprintf(o->path, sizeof(o->path), "%s", path);
    else if (!read_text("/proc/self/cgroup", cgroups) ||
             !oom_find(cgroups, "/sys/fs/cgroup", o->path, sizeof(o->path)))
        (void)snprintf(o->path, sizeof(o->path), "/proc/vmstat");
}

uint64_t oom_count(const struct oom *o)
{
    char text[FILE_BYTES_MAX];
    const char *line = read_text(o->path, text) ? find_line(text, COUNT_LINE) : NULL;
    return line != NULL ? strtoull(line + strlen(COUNT_LINE), NULL, 10) : 0;
}

bool oom_ascribe(struct oom *o, uint64_t count)
{
    uint64_t before = count > o->ascribed ? count : o->ascribed;
    if (oom_count(o) <= before)
        return false;
    o->ascribed = before + 1;
    return true;
}

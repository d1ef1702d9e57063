/* trace.h - test plugins leave marks in a file and count on them. [task] */
#ifndef TRACE_H
#define TRACE_H

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <aiki/plugin.h>

/* One whole line with one O_APPEND write. */
static inline bool trace_append(const char *path, const char *line, size_t size_bytes)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write(fd, line, size_bytes) == (ssize_t)size_bytes;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* A gate is a file that the test makes once it has seen what it wanted to see; none, "", is open. */
static inline bool trace_open(const char *gate)
{
    return gate[0] == '\0' || access(gate, F_OK) == 0;
}

/* Until the gate is open, or nobody wants this attempt any more. */
static inline void trace_await(const aiki_call *call, const char *gate)
{
    static const struct timespec look = {.tv_nsec = 5000000};
    while (!trace_open(gate) && !aiki_cancelled(call))
        (void)nanosleep(&look, NULL); /* an early end only looks sooner */
}

/* Bytes in the file, 0 when there is none: with one-byte marks, how many were made. */
static inline int64_t trace_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* How many of these marks are in the file, as far as its first 4 KiB. */
static inline int64_t trace_count(const char *path, char mark)
{
    char marks[4096];
    int64_t count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size_bytes = fd >= 0 ? read(fd, marks, sizeof(marks)) : 0;
    for (ssize_t i = 0; i < size_bytes; i++)
        count += marks[i] == mark;
    if (fd >= 0)
        close(fd);
    return count;
}

#endif

/* print.c - see print.h. */
#include "child/print.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/blame.h"

/* One write a line, so that those of several threads do not mix. */
static int put_line(int fd, const char *text, size_t size_bytes)
{
    char line[BLAME_TAG_SIZE + PRINT_LINE_BYTES_MAX + 1];
    size_t size = blame_tag(line);
    memcpy(line + size, text, size_bytes);
    size += size_bytes;
    line[size++] = '\n';
    for (size_t at = 0; at < size;) {
        ssize_t n = write(fd, line + at, size - at);
        if (n < 0 && errno != EINTR)
            return -1;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* What was flushed without an end of line is a line, too. */
static ssize_t put_lines(int fd, const char *text, size_t size_bytes)
{
    for (size_t at = 0; at < size_bytes;) {
        const char *end = memchr(text + at, '\n', size_bytes - at);
        size_t size = end != NULL ? (size_t)(end - text) - at : size_bytes - at;
        size_t now = size < PRINT_LINE_BYTES_MAX ? size : PRINT_LINE_BYTES_MAX;
        if (put_line(fd, text + at, now) != 0)
            return 0; /* an error, to fopencookie */
        at += now + (now == size && end != NULL);
    }
    return (ssize_t)size_bytes;
}

static ssize_t write_out(void *cookie, const char *text, size_t size_bytes)
{
    (void)cookie;
    return put_lines(STDOUT_FILENO, text, size_bytes);
}

static ssize_t write_err(void *cookie, const char *text, size_t size_bytes)
{
    (void)cookie;
    return put_lines(STDERR_FILENO, text, size_bytes);
}

static FILE *open_tagged(cookie_write_function_t *write_fn, int fd)
{
    FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_fn});
    if (f == NULL)
        return NULL;
    (void)setvbuf(f, NULL, _IOLBF, BUFSIZ); /* also stderr: a line is one, however many calls made it */
    f->_fileno = fd; /* for code that asks fileno(stdout); these streams have none of their own */
    return f;
}

void print_tagged(void)
{
    FILE *out = open_tagged(write_out, STDOUT_FILENO), *err = open_tagged(write_err, STDERR_FILENO);
    stdout = out != NULL ? out : stdout;
    stderr = err != NULL ? err : stderr;
}

void print_note(const char *text)
{
    size_t size = strnlen(text, PRINT_LINE_BYTES_MAX);
    (void)put_line(STDERR_FILENO, text, size); /* nobody listens any more, then */
}

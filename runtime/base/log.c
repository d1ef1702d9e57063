/* log.c - one line per fact to stderr. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/utf8.h"

static char process_name[32]; /* written once by log_init before threads start, read by all */
static atomic_int level_min = LOG_INFO;
static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
enum { LEVEL_COUNT = sizeof(level_names) / sizeof(level_names[0]) };

void log_init(const char *name, int level)
{
    (void)snprintf(process_name, sizeof(process_name), "%s", name != NULL ? name : "");
    log_set_level(level);
}

void log_set_level(int level) { atomic_store_explicit(&level_min, level, memory_order_relaxed); }

bool log_enabled(int level)
{
    return level >= atomic_load_explicit(&level_min, memory_order_relaxed);
}

bool log_level_parse(const char *text, int *ret_level)
{
    for (int level = 0; level < LEVEL_COUNT; level++) {
        if (strcasecmp(text, level_names[level]) == 0) {
            *ret_level = level;
            return true;
        }
    }
    return false;
}

/* Bytes of the printable character at the front of text, or 0. */
static unsigned printable(const uint8_t *text, uint64_t left)
{
    bool is_control = text[0] < 0x20 || text[0] == 0x7f ||
                      (text[0] == 0xc2 && left > 1 && text[1] < 0xa0); /* C1: some terminals obey */
    return is_control ? 0 : utf8_size(text, left);
}

/* Cleans into to (at least 5 bytes) and answers the length; sets *ret_cut when it did not fit. */
static size_t clean(aiki_view text, char *to, size_t size_bytes, bool *ret_cut)
{
    static const char hex[] = "0123456789abcdef";
    uint64_t at = 0;
    size_t out = 0;
    while (at < text.size_bytes) {
        unsigned n = printable(text.data + at, text.size_bytes - at);
        if (out + (n > 0 ? n : 4) >= size_bytes)
            break;
        if (n > 0) {
            memcpy(to + out, text.data + at, n);
            out += n;
            at += n;
        } else {
            uint8_t byte = text.data[at++];
            const char escape[4] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
            memcpy(to + out, escape, sizeof(escape));
            out += sizeof(escape);
        }
    }
    to[out] = '\0';
    *ret_cut = at < text.size_bytes;
    return out;
}

const char *log_clean(aiki_view text, char *buffer, size_t size_bytes)
{
    bool cut = false;
    if (size_bytes < 5) {
        if (size_bytes > 0)
            buffer[0] = '\0';
        return buffer;
    }
    size_t size = clean(text, buffer, size_bytes, &cut);
    if (cut && size >= 3) {
        size -= 3;
        while (size > 0 && ((uint8_t)buffer[size] & 0xc0) == 0x80) /* no half characters */
            size--;
        memcpy(buffer + size, "...", 4);
    }
    return buffer;
}

static size_t write_prefix(char *line, size_t size_bytes, int level, const char *component)
{
    struct timespec t = {0};
    struct tm utc = {0};
    (void)clock_gettime(CLOCK_REALTIME, &t);
    (void)gmtime_r(&t.tv_sec, &utc);
    size_t n = strftime(line, size_bytes, "%Y-%m-%dT%H:%M:%S", &utc);
    int more = snprintf(line + n, size_bytes - n, ".%03ldZ %-5s %s%s%.64s: ", t.tv_nsec / 1000000,
                        level_names[level], process_name, process_name[0] != '\0' ? "/" : "",
                        component);
    return n + (more > 0 ? (size_t)more : 0);
}

void log_at(int level, const char *component, const char *format, ...)
{
    char message[LOG_LINE_BYTES_MAX];
    char line[LOG_LINE_BYTES_MAX + 256];
    if (level < LOG_DEBUG || level > LOG_ERROR || !log_enabled(level))
        return;

    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (wanted < 0)
        return;

    bool cut = false;
    size_t at = write_prefix(line, sizeof(line), level, component);
    at += clean(view_of(message), line + at, LOG_LINE_BYTES_MAX - at, &cut);
    if (cut || (size_t)wanted >= sizeof(message)) {
        memcpy(line + at, "...", 3);
        at += 3;
    }
    line[at++] = '\n';
    /* A log that cannot be written must not stop the work; there is nobody else to tell. */
    ssize_t written = write(STDERR_FILENO, line, at);
    (void)written;
}

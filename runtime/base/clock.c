/* clock.c - the two clocks. */
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { NS_PER_MS = 1000 * 1000, MS_PER_S = 1000 };

static struct timespec now(clockid_t id)
{
    struct timespec t = {0};
    (void)clock_gettime(id, &t); /* cannot fail for the two clocks used here */
    return t;
}

int64_t clock_wall_ms(void)
{
    struct timespec t = now(CLOCK_REALTIME);
    return (int64_t)t.tv_sec * MS_PER_S + t.tv_nsec / NS_PER_MS;
}

int64_t clock_mono_ms(void)
{
    return clock_mono_ns() / NS_PER_MS;
}

int64_t clock_mono_ns(void)
{
    struct timespec t = now(CLOCK_MONOTONIC);
    return (int64_t)t.tv_sec * MS_PER_S * NS_PER_MS + t.tv_nsec;
}

/* The fraction of a second at *text, which moves behind it. */
static int read_fraction_ms(const char **text)
{
    int ms = 0;
    if (**text != '.')
        return 0;
    ++*text;
    for (int scale = 100; **text >= '0' && **text <= '9'; scale /= 10, ++*text)
        ms += (**text - '0') * scale;
    return ms;
}

/* "Z", or an offset in minutes. False: neither. */
static bool read_offset(const char *text, int *ret_minutes)
{
    int hours, minutes, size = 0;
    *ret_minutes = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    if ((*text != '+' && *text != '-') || strspn(text + 1, "0123456789:") != 5 ||
        sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &size) != 2 || size != 5 || hours > 23 ||
        minutes > 59 || text[6] != '\0')
        return false;
    *ret_minutes = (*text == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

int64_t clock_parse_ms(const char *text)
{
    struct tm tm = {.tm_isdst = 0};
    int offset;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    int ms = read_fraction_ms(&rest);
    if (!read_offset(rest, &offset))
        return 0;
    int64_t at_ms = ((int64_t)timegm(&tm) - offset * 60) * 1000 + ms;
    return at_ms > 0 ? at_ms : 0;
}

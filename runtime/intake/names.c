/* names.c - see names.h. */
#include "intake/names.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "wire/error.h"

const char *name_last_part(const char *text)
{
    const char *slash = strrchr(text, '/');
    return slash != NULL ? slash + 1 : text;
}

bool name_is_plugin(const char *text)
{
    const char *last = name_last_part(text);
    size_t n = strlen(last);
    return last[0] != '.' && n > 3 && strcmp(last + n - 3, ".so") == 0;
}

bool name_of_signed(const char *text, char ret_plugin[WATCH_NAME_SIZE])
{
    size_t n = strlen(text);
    if (n < 4 || n - 4 >= WATCH_NAME_SIZE || strcmp(text + n - 4, ".sig") != 0)
        return false;
    memcpy(ret_plugin, text, n - 4);
    ret_plugin[n - 4] = '\0';
    return name_is_plugin(ret_plugin);
}

bool name_join(const char *folder, const char *name, char ret[2 * WATCH_NAME_SIZE])
{
    return snprintf(ret, 2 * WATCH_NAME_SIZE, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name) <
           2 * WATCH_NAME_SIZE;
}

/* C0, DEL, and what begins a C1 character in UTF-8. */
static bool has_controls(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
            return true;
    return false;
}

aiki_status name_check(const char *text, aiki_error *err)
{
    size_t size = strlen(text);
    if (size >= WATCH_NAME_SIZE)
        return error_code(err, AIKI_LIMIT, "BAD_FILE_NAME",
                          "its path below the plugins directory has %zu bytes, which is over %d; give it a shorter one",
                          size, WATCH_NAME_SIZE - 1);
    if (has_controls(text) || !utf8_is_valid(view_of(text)))
        return error_code(err, AIKI_INVALID, "BAD_FILE_NAME",
                          "its name has control characters or is no UTF-8; rename it");
    return AIKI_OK;
}

/* The next pattern of a list; false at its end. *at moves behind it. */
static bool next_pattern(const char **at, char ret[WATCH_NAME_SIZE])
{
    *at += strspn(*at, ", ");
    size_t n = strcspn(*at, ", ");
    if (n == 0 || n >= WATCH_NAME_SIZE)
        return false;
    memcpy(ret, *at, n);
    ret[n] = '\0';
    *at += n;
    return true;
}

bool name_matches(const char *patterns, const char *text)
{
    char pattern[WATCH_NAME_SIZE];
    for (const char *at = patterns; at != NULL && next_pattern(&at, pattern);)
        if (fnmatch(pattern, text, 0) == 0 || fnmatch(pattern, name_last_part(text), 0) == 0)
            return true;
    return false;
}

aiki_status name_check_patterns(const char *patterns, aiki_error *err)
{
    const char *at = patterns;
    char pattern[WATCH_NAME_SIZE];
    while (next_pattern(&at, pattern))
        continue;
    if (*at != '\0')
        return error_set(err, AIKI_INVALID, "plugins-ignore: a pattern is longer than %d bytes: %.40s...",
                         WATCH_NAME_SIZE - 1, at);
    return AIKI_OK;
}

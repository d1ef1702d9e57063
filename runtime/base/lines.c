/* lines.c - see lines.h. */
#include "base/lines.h"

#include <stdio.h>
#include <string.h>

bool lines_path(const char *copy, char *ret, size_t size_bytes)
{
    const char *name = strrchr(copy, '/'), *dot = name != NULL ? strchr(name, '.') : NULL;
    int size = dot != NULL ? snprintf(ret, size_bytes, "%.*s.lines", (int)(dot - copy), copy) : -1;
    return size > 0 && (size_t)size < size_bytes;
}

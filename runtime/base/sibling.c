/* sibling.c - see sibling.h. */
#include "base/sibling.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool sibling_path(const char *name, char *ret, size_t size_bytes)
{
    ssize_t size = readlink("/proc/self/exe", ret, size_bytes - 1);
    if (size <= 0)
        return false;
    ret[size] = '\0';
    char *slash = strrchr(ret, '/');
    if (slash == NULL)
        return false;
    size_t room = size_bytes - (size_t)(slash + 1 - ret);
    return (size_t)snprintf(slash + 1, room, "%s", name) < room;
}

const char *sibling_release(void)
{
    return AIKI_VERSION;
}

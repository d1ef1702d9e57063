/* child_env.c - what of our environment is for plugin code, and how much of the processor. */
#include "base/child_env.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static bool is_for_children(const char *variable)
{
#ifdef AIKI_FAULT_INJECTION
    if (strncmp(variable, "AIKI_FAULT", strlen("AIKI_FAULT")) == 0)
        return true; /* its points are reached there too */
#endif
    return strncmp(variable, "AIKI_", strlen("AIKI_")) != 0;
}

char **child_environment(void)
{
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    char **env = calloc(count + 1, sizeof(*env));
    for (size_t i = 0; env != NULL && i < count; i++)
        if (is_for_children(environ[i]))
            env[kept++] = environ[i];
    return env;
}

void child_give_way(pid_t pid)
{
    (void)setpriority(PRIO_PROCESS, (id_t)pid, CHILD_LOOK_NICE); /* what is missing then is only haste */
}

/* stray.c - see stray.h. Of the program, not of the library: what is linked with that has its own kill. */
#include "child/stray.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/print.h"

static pid_t runtime, runtime_group; /* 0: of a probe, whose filter refuses more than this */

void stray_protect(pid_t broker)
{
    runtime = broker;
    runtime_group = getpgid(broker);
}

/* Signal 0 only asks whether it is there. */
static bool hits_the_runtime(pid_t pid, int number)
{
    return runtime != 0 && number != 0 && (pid == -1 || pid == runtime || pid == -runtime_group);
}

static int refuse(pid_t pid, int number)
{
    char text[160];
    (void)snprintf(text, sizeof(text), "kill(%d, %d) is refused: that would reach the runtime%s; look at where that "
                   "number comes from", (int)pid, number, pid == -1 ? " and every other process of its user" : "");
    print_note(text);
    errno = EPERM;
    return -1;
}

#define FOUND_BY_PLUGINS __attribute__((visibility("default")))

FOUND_BY_PLUGINS int kill(pid_t pid, int number)
{
    if (hits_the_runtime(pid, number))
        return refuse(pid, number);
    return (int)syscall(__NR_kill, pid, number);
}

FOUND_BY_PLUGINS int killpg(pid_t group, int number)
{
    if (group >= 0)
        return kill(-group, number);
    errno = EINVAL;
    return -1;
}

/* base/child_env.h - the surroundings of processes that run plugin code. [any] */
#ifndef BASE_CHILD_ENV_H
#define BASE_CHILD_ENV_H

#include <sys/types.h>

/* Ours without AIKI_*: plugin code has no use for our tokens and addresses. The caller frees the
 * array, not the texts; NULL when out of memory. */
char **child_environment(void);

/* A process in which new code is only looked at gives way to those that serve, by so much on nice's
 * scale: enough to be seen in their latency, not so much that a new build waits long on a busy host. */
enum { CHILD_LOOK_NICE = 5 };
void child_give_way(pid_t pid);

#endif

/* base/child_env.h - the environment of processes that run plugin code. [any] */
#ifndef BASE_CHILD_ENV_H
#define BASE_CHILD_ENV_H

/* Ours without AIKI_*: plugin code has no use for our tokens and addresses. The caller frees the
 * array, not the texts; NULL when out of memory. */
char **child_environment(void);

#endif

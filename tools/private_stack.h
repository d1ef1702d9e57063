/* private_stack.h - an `aiki dev` of one's own, for as long as something is measured. [main thread]
 *
 * It lives in a new folder on free ports and is gone afterwards, folder included, also after
 * Ctrl-C. Killed by force, this program leaves the folder behind and no process.
 */
#ifndef TOOLS_PRIVATE_STACK_H
#define TOOLS_PRIVATE_STACK_H

#include "cli.h"

/* Starts a stack that serves the bench plugin, runs fn in a child process with AIKI_SERVER naming
 * it, and takes it down. under: the folder to put it in; NULL = TMPDIR or /tmp. The answer is
 * fn's exit code, or that of a failure that was told. */
int private_stack_run(struct cli *cli, const char *under, int (*fn)(struct cli *cli));

#endif

/* child/sandbox.h - what this process may not do any more, from before plugin code is loaded.
 *
 *   landlock: files by path      seccomp: system calls (base/sandbox_calls.def)
 *
 * Both hold for threads and processes that are started later, and nothing takes them back. Memory,
 * threads, timers and descriptors that are open already are as ever. Files that are readable besides
 * those declared: system libraries and data under /usr, a few below /etc, /dev and /proc, the plugin.
 */
#ifndef CHILD_SANDBOX_H
#define CHILD_SANDBOX_H

#include <aiki/status.h>

#include "base/sandbox.h"

enum { SANDBOX_LANDLOCK_MIN = 3 /* of its ABI: before that files could be truncated */ };

/* What of a sandbox this kernel has. AIKI_UNSUPPORTED, SANDBOX_UNAVAILABLE: which part it lacks. */
aiki_status sandbox_support(aiki_error *err);
/* Before there are other threads. plugin: path that is readable in any case. Mode off does nothing; on
 * refuses with SANDBOX_UNAVAILABLE or SANDBOX_PATH where try leaves out what is not to be had. */
aiki_status sandbox_enter(const struct sandbox *s, const char *plugin, aiki_error *err);

#endif

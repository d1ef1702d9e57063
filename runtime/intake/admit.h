/* intake/admit.h - take one plugin file in: copy aside, hash, check. [any, blocks]
 *
 *   open once -> regular file? size? -> private copy -> unchanged meanwhile? -> hash = build
 *             -> ELF checks over the copy -> BUILD.COUNTER.so
 *
 * Everything after the copy looks at the copy, so what was checked is what will run.
 * Limit: PLUGIN_BYTES_MAX.
 */
#ifndef INTAKE_ADMIT_H
#define INTAKE_ADMIT_H

#include <aiki/status.h>

#include "intake/cache.h"

enum { PLUGIN_BYTES_MAX = 256 * 1024 * 1024 };

struct admission {
    uint8_t build[BUILD_BYTES]; /* zero when the file could not be read */
    char copy[CACHE_PATH_SIZE]; /* the caller unlinks it when its last user has ended */
};

/* draft_path: from cache_draft_path; the copy gets its final name beside it. On failure nothing
 * is left behind and ret->build is still set when the bytes were read. AIKI_STALE: the file
 * changed while it was read; look again later. Anything else refuses the file: codes
 * UNREADABLE, NOT_A_FILE, TOO_LARGE, CACHE_WRITE and those of elf.h. */
aiki_status admit_file(const char *path, const char *draft_path, struct admission *ret,
                       aiki_error *err);

#endif

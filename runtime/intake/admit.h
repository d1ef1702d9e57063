/* intake/admit.h - take one plugin file in: copy aside, hash, check, probe. [any, blocks]
 *
 *   open once -> regular file? size? -> private copy -> unchanged meanwhile? -> hash = build
 *             -> known? then that was all -> ELF checks over the copy -> BUILD.COUNTER.so -> probe
 *
 * Everything after the copy looks at the copy, so what was checked is what will run.
 * Limit: PLUGIN_BYTES_MAX.
 */
#ifndef INTAKE_ADMIT_H
#define INTAKE_ADMIT_H

#include <aiki/status.h>

#include "intake/cache.h"
#include "intake/probe.h"

enum { PLUGIN_BYTES_MAX = 256 * 1024 * 1024 };

/* Borrowed for the call. */
struct admit_options {
    const char *executable; /* this program, for the probe */
};

struct admission {
    uint8_t build[BUILD_BYTES]; /* zero when the file could not be read */
    char copy[CACHE_PATH_SIZE]; /* the caller unlinks it when its last user has ended */
    struct probe_answer answer;
};

void admission_init(struct admission *a);
void admission_deinit(struct admission *a);

/* draft_path: from cache_draft_path; the copy gets its final name beside it. On failure nothing
 * is left behind and ret->build is still set when the bytes were read. AIKI_STALE: the file
 * changed while it was read; look again later. Anything else refuses the file: codes
 * UNREADABLE, NOT_A_FILE, TOO_LARGE, CACHE_WRITE, those of elf.h and those of probe.h. */
aiki_status admit_file(const char *path, const char *draft_path,
                       const struct admit_options *options, struct admission *ret, aiki_error *err);
/* The first half of it: all but the probe. */
aiki_status admit_copy(const char *path, const char *draft_path, struct admission *ret,
                       aiki_error *err);

#endif

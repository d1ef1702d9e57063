/* intake/note.h - what the probe said of a build, kept beside its copy so that nobody asks again. [any]
 *
 *   STATE/kept/SCOPE/BUILD/.probed    array [format, program, build, sandbox, descriptor, entries],
 *                                     behind it the BLAKE2b-256 of that
 *
 * It counts for the same bytes, probed by the same program in the same sandbox. Whatever else is there, a
 * note that is damaged, of another release, or one that others could write, is none: the build is
 * probed anew. The directory is this user's alone, as are the copies that are executed.
 * Limit: NOTE_BYTES_MAX.
 */
#ifndef INTAKE_NOTE_H
#define INTAKE_NOTE_H

#include "intake/cache.h"
#include "intake/probe.h"

enum { NOTE_BYTES_MAX = PROBE_ANSWER_BYTES_MAX + 64 * 1024 };

/* directory: of the build, see keep.h. program: what the probe is executed from. sandbox: as in probe_run. False: there is none that counts, and
 * ret is as it was. */
bool note_read(const char *directory, const char *program,
               const uint8_t build[BUILD_BYTES], aiki_view sandbox,
               struct probe_answer *ret);
/* Whole or not there, in place of the one before. False: errno says why; the next start probes it. */
bool note_write(const char *directory, const char *program,
                const uint8_t build[BUILD_BYTES], aiki_view sandbox,
                const struct probe_answer *answer);

#endif

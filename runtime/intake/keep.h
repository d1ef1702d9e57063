/* intake/keep.h - copies of builds that outlive this process. [loop]
 *
 *   STATE/kept/SCOPE/BUILD/FILE         a second name of the copy that is executed; a slash in it as %2F,
 *                                       a % as %25
 *   STATE/kept/SCOPE/BUILD/.signature   what it was signed with, as it is
 *   STATE/kept/SCOPE/BUILD/.probed      what the probe said of it (note.h)
 *   STATE/kept/SCOPE/BUILD/.lines       its source lines (base/lines.h), if it has debug information
 *
 * A build is kept from the moment it serves until the server knows no open run that it executed
 * last, so that a runtime that is killed in between still has it. SCOPE stands for the plugins
 * directory and the namespace: runtimes that share both share what is kept; all of this is
 * content-addressed, so they may add and remove at the same time.
 */
#ifndef INTAKE_KEEP_H
#define INTAKE_KEEP_H

#include "intake/cache.h"
#include "intake/keys.h"
#include "intake/note.h"

struct keep;
aiki_status keep_create(struct keep **ret, const char *state_dir, const char *plugins_dir,
                        const char *space, aiki_error *err);
void keep_destroy(struct keep *k);
/* copy: of that build, under the same STATE; signature: it came with, if any. Known already: nothing
 * happens. */
aiki_status keep_add(struct keep *k, const uint8_t build[BUILD_BYTES], const char *file,
                     const char *copy, const struct build_signature *signature, aiki_error *err);
/* What it came with. path: as keep_each tells it. [any] */
void keep_read_signature(const char *path, struct build_signature *ret);
/* What the probe said of that build when it was kept, in the same sandbox, by the
 * program that is at that path now. False: it has to be probed. [any] */
bool keep_read_note(const struct keep *k, const char *program,
                    const uint8_t build[BUILD_BYTES], aiki_view sandbox,
                    struct probe_answer *ret);
/* Of a build that was added; without it the next start probes. */
aiki_status keep_write_note(struct keep *k, const char *program,
                            const uint8_t build[BUILD_BYTES], aiki_view sandbox,
                            const struct probe_answer *answer, aiki_error *err);
/* What lines_make made for a copy of that build, or nothing; before its note, which says that all is there. */
void keep_write_lines(struct keep *k, const uint8_t build[BUILD_BYTES], const char *copy);
/* A second name of it beside another copy, of a build with a note. None: it has to be made. [any] */
void keep_lend_lines(const struct keep *k, const uint8_t build[BUILD_BYTES], const char *copy);
/* A second name for the bytes kept of a build. False: there are none, or it cannot be made. [any] */
bool keep_lend_copy(const struct keep *k, const uint8_t build[BUILD_BYTES], const char *as);
/* They are not what they should be: another copy takes their place when the build serves. [any] */
void keep_forget_copy(const struct keep *k, const uint8_t build[BUILD_BYTES]);
/* Its age counts from now on: another build serves since. */
void keep_touch(struct keep *k, const uint8_t build[BUILD_BYTES]);
void keep_remove(struct keep *k, const uint8_t build[BUILD_BYTES]);
/* Everything that is kept; age_ms: since it was added or touched. fn may not add or remove. */
void keep_each(struct keep *k,
               void (*fn)(const uint8_t build[BUILD_BYTES], const char *file, const char *path,
                          int64_t age_ms, void *arg),
               void *arg);

#endif

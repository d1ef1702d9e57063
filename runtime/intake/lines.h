/* intake/lines.h - have the debug information of a plugin read, so that errors can name source lines.
 * [any, blocks]
 *
 *   DIR/BUILD.1.so --aiki-lines, a process of its own--> DIR/BUILD.lines (base/lines.h)
 *
 * Once a build, before its first process starts; a plugin without debug information costs a look at its
 * section headers. Nothing depends on it: what goes wrong is a line in the log, and errors have functions
 * and offsets as without. Limit: LINES_MS.
 */
#ifndef INTAKE_LINES_H
#define INTAKE_LINES_H

enum { LINES_MS = 10 * 1000 };

/* copy: as intake/cache.h names it. */
void lines_make(const char *copy);
/* No process of that build will start any more. */
void lines_forget(const char *copy);

#endif

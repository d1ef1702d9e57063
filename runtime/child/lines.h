/* child/lines.h - source lines of the plugin that this process has, from the file beside its copy
 * (base/lines.h). [any, also in a signal handler: looking up takes no lock and no memory]
 */
#ifndef CHILD_LINES_H
#define CHILD_LINES_H

#include <stdint.h>

/* Map the file, if there is one; before the process is confined and has threads. */
void lines_open(const char *copy);
/* The line that an instruction comes from, and the last two parts of its file's path; NULL when that is
 * not known. Borrowed for ever. */
const char *lines_find(uint64_t address, uint32_t *ret_line);

#endif

/* intake/needs.h - what a plugin declares that it needs, out of its bytes. [any]
 *
 * AIKI_NEEDS of aiki/define.h is an exported constant, `aiki_needs_v1`. It is read here, before anything of the
 * plugin is mapped or run: so its constructors are confined by it already, and what it hands out later
 * cannot change it.
 */
#ifndef INTAKE_NEEDS_H
#define INTAKE_NEEDS_H

#include <aiki/status.h>

#include "base/sandbox.h"

/* file: passed by elf_check. ret: "" when it declares nothing, "none" when it declares that it needs nothing.
 * AIKI_INVALID, BAD_NEEDS. */
aiki_status needs_read(aiki_view file, char ret[NEEDS_SIZE], aiki_error *err);

#endif

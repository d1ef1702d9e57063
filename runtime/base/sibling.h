/* base/sibling.h - programs that are installed together: beside each other, and of one release. [any] */
#ifndef BASE_SIBLING_H
#define BASE_SIBLING_H

#include <stdbool.h>
#include <stddef.h>

/* The file `name` beside the one this program was started from, whether there is one or not. False: nobody
 * knows where that is, or it is too long. */
bool sibling_path(const char *name, char *ret, size_t size_bytes);
/* Which release this program is of. */
const char *sibling_release(void);

#endif

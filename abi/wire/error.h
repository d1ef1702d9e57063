/* wire/error.h - set, copy and carry errors. [any]
 *
 * On the wire and in the journal an error is a map with text keys: code, category, message,
 * and when present details, cause (such a map), retry_after_ms, final. Same error, same bytes.
 */
#ifndef WIRE_ERROR_H
#define WIRE_ERROR_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

/* Fill *err (NULL is fine), code = the status name, and return the status. */
aiki_status error_set(aiki_error *err, aiki_status status, const char *format, ...)
    AIKI_PRINTF(3, 4);
/* The same with a code of its own, e.g. "SCHEMA_MISMATCH". */
aiki_status error_code(aiki_error *err, aiki_status status, const char *code, const char *format,
                       ...) AIKI_PRINTF(4, 5);
void error_write(aiki_writer *w, const aiki_error *e);
/* alloc (NULL: details and cause are left out) gives memory for details and causes; views and
 * pointers in *ret live as long as that memory. Unknown keys are skipped. */
aiki_status error_read(aiki_view map, aiki_error *ret, void *(*alloc)(void *arg, uint64_t size),
                       void *arg);
const char *category_name(int32_t category); /* "caller", "conflict", ... */

#endif

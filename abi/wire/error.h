/* wire/error.h - set, copy and carry errors. [any]
 *
 * On the wire and in the journal an error is a map with text keys: code, category, message,
 * and when present details, cause (such a map), retry_after_ms, final; status (its name) when it
 * does not follow from code and category; stack (texts, see child/stack.h) of what failed in task
 * code, for people: error_read leaves it out. Same error, same bytes.
 */
#ifndef WIRE_ERROR_H
#define WIRE_ERROR_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

/* Details that are larger, deeper or no msgpack are replaced by a text that says so. */
enum { ERROR_DETAILS_BYTES_MAX = 64 * 1024, ERROR_DETAILS_DEPTH_MAX = 32 };

/* Fill *err (NULL is fine), code = the status name, and return the status. The message is cut
 * to its field; control characters and broken UTF-8 in it become '?', so any text may be quoted. */
aiki_status error_set(aiki_error *err, aiki_status status, const char *format, ...)
    AIKI_PRINTF(3, 4);
/* The same with a code of its own, e.g. "SCHEMA_MISMATCH". */
aiki_status error_code(aiki_error *err, aiki_status status, const char *code, const char *format,
                       ...) AIKI_PRINTF(4, 5);
void error_write(aiki_writer *w, const aiki_error *e);
/* stack: a msgpack array of texts, or empty. since 1.1 */
void error_write_stack(aiki_writer *w, const aiki_error *e, aiki_view stack);
/* alloc (NULL: details and cause are left out) gives memory for details and causes; views and
 * pointers in *ret live as long as that memory. Unknown keys are skipped. */
aiki_status error_read(aiki_view map, aiki_error *ret, void *(*alloc)(void *arg, uint64_t size),
                       void *arg);
/* The value of a key of such a map, or of its details, as msgpack; empty: there is none. */
aiki_view error_value(aiki_view map, const char *key);
const char *category_name(int32_t category); /* "caller", "conflict", ... */

#endif

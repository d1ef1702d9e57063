/* base/percent.h - percent-encoded text of URLs (RFC 3986 2.1). [any] */
#ifndef BASE_PERCENT_H
#define BASE_PERCENT_H

#include <aiki/status.h>

/* Decode into ret_text, with a NUL behind it. False when it does not fit, an escape is cut off or no
 * hexadecimal, or a NUL is hidden in it. "+" is itself. */
bool percent_decode(const char *from, size_t size_bytes, char *ret_text, size_t capacity_bytes);

#endif

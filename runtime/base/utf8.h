/* base/utf8.h - is this text? [any] */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <aiki/status.h>

/* Bytes of the well-formed character at the front (RFC 3629 4), 0 when there is none. */
unsigned utf8_size(const uint8_t *s, uint64_t left);
bool utf8_is_valid(aiki_view text);

#endif

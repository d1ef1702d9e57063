/* base/json.h - JSON text to msgpack and back. [any]
 *
 * msgpack to JSON: bin becomes {"$bin": "<base64>"}, ext {"$ext": [type, "<base64>"]}, NaN and
 * infinities become null, map keys that are not text are written as their JSON text. A str that is
 * not UTF-8 is shown as $bin. Integers keep all 64 bits, signed and unsigned.
 * JSON to msgpack: the reverse of $bin and $ext; integers beyond int64, duplicate keys and broken
 * UTF-8 are refused.
 * Budgets: JSON_DEPTH_MAX levels, and those of aiki/msgpack.h, checked before memory is taken.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <aiki/msgpack.h>

enum { JSON_DEPTH_MAX = 64 };

/* Both append to w, and cut it back when they fail. AIKI_INVALID with line and column in err
 * (codes JSON_SYNTAX, JSON_NUMBER_RANGE, JSON_BASE64, JSON_EXT), AIKI_LIMIT (JSON_TOO_DEEP,
 * JSON_TOO_BIG). */
aiki_status json_to_msgpack(aiki_view text, aiki_writer *w, aiki_error *err);
/* indent 0 = one line. */
aiki_status msgpack_to_json(aiki_view value, unsigned indent, aiki_writer *w, aiki_error *err);

#endif

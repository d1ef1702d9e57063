/* wire/canon.h - canonical msgpack, so that equal values have equal bytes and hashes. [any]
 *
 * Shortest integers, map keys sorted by their canonical bytes, duplicate keys refused, floats as
 * 64 bit (integers are not folded into floats), NaN as one pattern, shortest str/bin headers.
 * Iterative; budgets of aiki/msgpack.h apply.
 */
#ifndef WIRE_CANON_H
#define WIRE_CANON_H

#include <aiki/msgpack.h>

enum { CANON_BYTES_MAX = 256 * 1024 * 1024 };

/* Append the canonical form of exactly one value. AIKI_CORRUPT, AIKI_LIMIT, AIKI_INVALID
 * (duplicate key). w is cut back on failure. */
aiki_status canon_write(aiki_writer *w, aiki_view value, aiki_error *err);
/* True when the bytes already are canonical (the common case, no copy needed). */
bool canon_is(aiki_view value);
/* The canonical form where it costs least: `value` itself when it is canonical, else written to
 * `memory` when that is at least twice as long as `value`, else to memory that the caller frees
 * (*ret_owned, otherwise NULL). */
aiki_status canon_borrow(aiki_view value, uint8_t *memory, uint64_t memory_bytes,
                         aiki_view *ret_view, uint8_t **ret_owned, aiki_error *err);
/* BLAKE2b-256 of the canonical form. */
aiki_status canon_hash(aiki_view value, uint8_t ret_hash[32], aiki_error *err);

#endif

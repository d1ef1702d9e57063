/* wire/id.h - time-ordered 128-bit ids for runs and sessions. [any]
 *
 *   48 bits milliseconds since 1970 | 80 bits random, big endian: sorts by creation time
 *   text: 26 characters of Crockford base32, upper case, e.g. 01JD2V7Q8X3M5N7P9R1S3T5V7W
 */
#ifndef WIRE_ID_H
#define WIRE_ID_H

#include <aiki/status.h>

enum { AIKI_ID_TEXT_SIZE = 27 };
struct aiki_id {
    uint8_t bytes[16];
};

bool id_is_zero(const struct aiki_id *id);
bool id_equal(const struct aiki_id *a, const struct aiki_id *b);
int id_compare(const struct aiki_id *a, const struct aiki_id *b);
/* For hash tables: every bit depends on the whole id. Ids made within one millisecond differ in their
 * last bytes alone, so no part of an id would do. */
uint64_t id_hash(const struct aiki_id *id);
/* From a time and 10 random bytes that the caller brings. */
struct aiki_id id_make(int64_t at_ms, const uint8_t random[10]);
/* From the clock and libsodium's generator; ids made in one process rise strictly. */
struct aiki_id id_new(void);
int64_t id_at_ms(const struct aiki_id *id);
void id_text(const struct aiki_id *id, char ret_text[AIKI_ID_TEXT_SIZE]);
/* Lower case and the look-alikes I L O are accepted. AIKI_INVALID names the text. */
aiki_status id_parse(const char *text, size_t size_bytes, struct aiki_id *ret_id, aiki_error *err);

#endif

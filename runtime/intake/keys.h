/* intake/keys.h - whose signatures are good here: a directory of public keys. [any, blocks]
 *
 * KEYS/NAME.pub, one key each (wire/signature.h), read for each file that is taken in: to add a key is
 * to put a file there, to revoke one is to remove it. The directory and the keys have to pass the rule
 * of trust.h, whatever the override for plugins says. Limit: KEYS_MAX.
 */
#ifndef INTAKE_KEYS_H
#define INTAKE_KEYS_H

#include <aiki/status.h>

#include "wire/signature.h"

enum { KEYS_MAX = 64 };

/* What came with a file, kept with its copy. */
struct build_signature {
    uint8_t bytes[SIGNATURE_BYTES];
    bool known;
};

/* `path`.sig. AIKI_DENIED: UNSIGNED, BAD_SIGNATURE. */
aiki_status keys_read_signature(const char *path, struct build_signature *ret, aiki_error *err);
/* Is it a signature of these bytes by one of the keys? AIKI_DENIED: UNSIGNED (it is not known),
 * BAD_SIGNATURE, KEYS_UNUSABLE. */
aiki_status keys_check(const char *keys_dir, const struct build_signature *signature, aiki_view bytes,
                       aiki_error *err);
/* The same for a private copy. AIKI_UNAVAILABLE: it cannot be read. */
aiki_status keys_check_copy(const char *keys_dir, const char *copy,
                            const struct build_signature *signature, aiki_error *err);

#endif

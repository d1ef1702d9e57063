/* intake/keys.h - whose signatures are good here: a directory of public keys. [any, blocks]
 *
 * KEYS/NAME.pub, one key each (wire/signature.h), read for each file that is taken in: to add a key is
 * to put a file there, to revoke one is to remove it. The directory and the keys have to pass the rule
 * of trust.h, whatever the override for plugins says. Limit: KEYS_MAX.
 */
#ifndef INTAKE_KEYS_H
#define INTAKE_KEYS_H

#include <aiki/status.h>

enum { KEYS_MAX = 64 };

/* Is `path`.sig a signature of these bytes by one of the keys? AIKI_DENIED: UNSIGNED, BAD_SIGNATURE,
 * KEYS_UNUSABLE. */
aiki_status keys_check(const char *keys_dir, const char *path, aiki_view bytes, aiki_error *err);

#endif

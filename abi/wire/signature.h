/* wire/signature.h - Ed25519 signatures of plugin files, as `aiki plugins sign` and the intake agree. [any]
 *
 * FILE.so.sig, NAME.pub and NAME.key hold one line of base64: 64 bytes of signature over all bytes of
 * FILE.so, 32 of public key, 64 of secret key (seed, public key). RFC 8032, so other tools can make them.
 */
#ifndef WIRE_SIGNATURE_H
#define WIRE_SIGNATURE_H

#include <aiki/status.h>

enum {
    SIGNATURE_BYTES = 64,
    SIGNATURE_PUBLIC_BYTES = 32,
    SIGNATURE_SECRET_BYTES = 64,
    SIGNATURE_TEXT_SIZE = 92, /* of 64 bytes: 88 characters, newline, NUL */
    SIGNATURE_FILE_BYTES_MAX = 256
};

void signature_make_keys(uint8_t ret_public[SIGNATURE_PUBLIC_BYTES],
                         uint8_t ret_secret[SIGNATURE_SECRET_BYTES]);
void signature_sign(uint8_t ret_signature[SIGNATURE_BYTES], aiki_view file,
                    const uint8_t secret[SIGNATURE_SECRET_BYTES]);
bool signature_is_valid(const uint8_t signature[SIGNATURE_BYTES], aiki_view file,
                        const uint8_t public_key[SIGNATURE_PUBLIC_BYTES]);
/* At most 64 bytes as a line. */
void signature_write_text(const uint8_t *bytes, size_t size_bytes,
                          char ret_text[SIGNATURE_TEXT_SIZE]);
/* False when the text is not one line of exactly that many bytes. */
bool signature_read_text(aiki_view text, uint8_t *ret_bytes, size_t size_bytes);

#endif

/* signature.c - libsodium's Ed25519 and base64 under the names of this project. */
#include "wire/signature.h"

#include <sodium.h>
#include <string.h>

#include "wire/hash.h"

_Static_assert(SIGNATURE_BYTES == crypto_sign_BYTES, "RFC 8032");
_Static_assert(SIGNATURE_PUBLIC_BYTES == crypto_sign_PUBLICKEYBYTES, "RFC 8032");
_Static_assert(SIGNATURE_SECRET_BYTES == crypto_sign_SECRETKEYBYTES, "libsodium's layout");

void signature_make_keys(uint8_t ret_public[SIGNATURE_PUBLIC_BYTES],
                         uint8_t ret_secret[SIGNATURE_SECRET_BYTES])
{
    hash_setup();
    (void)crypto_sign_keypair(ret_public, ret_secret); /* always 0 */
}

void signature_sign(uint8_t ret_signature[SIGNATURE_BYTES], aiki_view file,
                    const uint8_t secret[SIGNATURE_SECRET_BYTES])
{
    hash_setup();
    (void)crypto_sign_detached(ret_signature, NULL, file.data, file.size_bytes, secret);
}

bool signature_is_valid(const uint8_t signature[SIGNATURE_BYTES], aiki_view file,
                        const uint8_t public_key[SIGNATURE_PUBLIC_BYTES])
{
    return crypto_sign_verify_detached(signature, file.data, file.size_bytes, public_key) == 0;
}

void signature_write_text(const uint8_t *bytes, size_t size_bytes,
                          char ret_text[SIGNATURE_TEXT_SIZE])
{
    (void)sodium_bin2base64(ret_text, SIGNATURE_TEXT_SIZE - 1, bytes, size_bytes,
                            sodium_base64_VARIANT_ORIGINAL);
    strcat(ret_text, "\n"); /* there is room: SIGNATURE_TEXT_SIZE */
}

bool signature_read_text(aiki_view text, uint8_t *ret_bytes, size_t size_bytes)
{
    size_t size = 0;
    return sodium_base642bin(ret_bytes, size_bytes, (const char *)text.data,
                             (size_t)text.size_bytes, " \r\n", &size, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           size == size_bytes;
}

/* base/secret.h - files that hold credentials: read whole, checked for who may read them. [any]
 *
 *   # comment
 *   TOKEN [whatever the reader knows]
 *
 * Limits: SECRET_FILE_BYTES_MAX; a token has TOKEN_BYTES_MIN to TOKEN_BYTES_MAX printable
 * characters, none of them a space.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <aiki/status.h>

enum {
    SECRET_FILE_BYTES_MAX = 1024 * 1024,
    TOKEN_BYTES_MIN = 16,
    TOKEN_BYTES_MAX = 1024,
    TOKEN_SIZE = TOKEN_BYTES_MAX + 1
};

/* The text of a regular file that only its owner and its group may read, and only its owner write.
 * *ret_text is the caller's; give it to secret_free. AIKI_INVALID names the path and the reason,
 * never what is in it. */
aiki_status secret_read(const char *path, char **ret_text, size_t *ret_size, aiki_error *err);
/* Wipes all size bytes. */
void secret_free(char *text, size_t size);

/* AIKI_INVALID when it could be no token; where: what the message begins with. */
aiki_status token_check(const char *token, const char *where, aiki_error *err);
/* The first token of a file, for whoever presents one. */
aiki_status token_read(const char *path, char ret_token[TOKEN_SIZE], aiki_error *err);
/* What to present: token when it is not empty, else what the file at path holds now, else "". */
aiki_status token_find(const char *token, const char *path, char ret_token[TOKEN_SIZE],
                       aiki_error *err);

#endif

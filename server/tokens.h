/* tokens.h - who may connect: the file of accepted tokens. [loop]
 *
 *   # one a line: TOKEN [ROLE [NAME]]; the role is any, client, admin or runtime
 *   q7Vd0mJcW1yXn2tR8bKs4A  runtime  host-7
 *
 * Tokens are kept as keyed hashes, and one that is presented is compared with all of them in
 * constant time: neither a core file nor the time an answer takes says anything about them. A token
 * with the role client is for clients and HTTP, one with the role runtime for runtimes, any is for both. An
 * admin is a client who may also see personal data that is hidden from others (docs/decisions/0015).
 *
 * Limits: TOKENS_MAX; those of base/secret.h; refusals are logged every TOKENS_LOG_MS at most.
 */
#ifndef SERVER_TOKENS_H
#define SERVER_TOKENS_H

#include <aiki/msgpack.h>

enum { TOKENS_MAX = 1000, TOKENS_LOG_MS = 10 * 1000, TOKEN_ID_SIZE = 32 };
enum { TOKEN_CLIENT = 1, TOKEN_RUNTIME = 2, TOKEN_ADMIN = 4 };

struct tokens;
/* Which token it was, as long as this process lives. */
struct token_id {
    uint8_t bytes[TOKEN_ID_SIZE];
};

/* AIKI_INVALID or AIKI_LIMIT names file, line and what is wrong, never a token. path is copied. */
aiki_status tokens_open(struct tokens **ret, const char *path, aiki_error *err);
void tokens_close(struct tokens *t);
/* Read the file again. After an error the tokens from before stay accepted. */
aiki_status tokens_reload(struct tokens *t, aiki_error *err);
/* AIKI_OK, or AIKI_DENIED (TOKEN_REFUSED), which does not say whether the token was missing, unknown
 * or for another role, and is logged with `from`. t NULL: there is no such file, all are let in.
 * ret_id may be NULL. */
aiki_status tokens_check(struct tokens *t, aiki_view token, unsigned role, const char *from,
                         struct token_id *ret_id, aiki_error *err);
/* Whether it may see personal data: TOKEN_ADMIN. AIKI_DENIED (REVEAL_DENIED), logged with `from`. */
aiki_status tokens_check_reveal(struct tokens *t, aiki_view token, const char *from, aiki_error *err);
/* The same about one that was let in before. */
aiki_status tokens_check_reveal_id(struct tokens *t, const struct token_id *id, const char *from,
                                   aiki_error *err);
/* Whether that token is still accepted; true when t is NULL. */
bool tokens_has(const struct tokens *t, const struct token_id *id, unsigned role);
uint64_t tokens_refused(const struct tokens *t);

#endif

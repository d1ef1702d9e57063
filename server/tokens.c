/* tokens.c - see tokens.h. */
#include "tokens.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "wire/error.h"

_Static_assert(TOKEN_ID_SIZE == crypto_generichash_BYTES, "an id is one hash");

struct entry {
    struct token_id id;
    unsigned roles;
};

struct list {
    struct entry *entries;
    size_t count;
};

struct tokens {
    char *path; /* owned */
    uint8_t key[crypto_generichash_KEYBYTES];
    struct list list;
    uint64_t refused, refused_logged;
    int64_t log_mono_ms; /* of the last line; 0 = none yet */
};

static struct token_id id_of(const struct tokens *t, const void *token, size_t size)
{
    struct token_id id;
    (void)crypto_generichash(id.bytes, sizeof(id.bytes), token, size, t->key, sizeof(t->key));
    return id;
}

/* All are looked at, whichever it is. 0 = unknown. */
static unsigned roles_of(const struct list *list, const struct token_id *id)
{
    unsigned roles = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct entry *e = &list->entries[i];
        unsigned mask = (unsigned)sodium_memcmp(e->id.bytes, id->bytes, sizeof(id->bytes));
        roles |= ~mask & e->roles; /* sodium_memcmp: 0 when equal, else all ones */
    }
    return roles;
}

/* ---- the file ------------------------------------------------------------------------------- */

static char *next_word(char **rest)
{
    char *word;
    do
        word = strsep(rest, " \t\r");
    while (word != NULL && *word == '\0');
    return word;
}

static bool parse_role(const char *word, unsigned *ret_roles)
{
    *ret_roles = TOKEN_CLIENT | TOKEN_RUNTIME;
    if (word == NULL || strcmp(word, "any") == 0)
        return true;
    *ret_roles = TOKEN_CLIENT;
    if (strcmp(word, "client") == 0)
        return true;
    *ret_roles = TOKEN_CLIENT | TOKEN_ADMIN;
    if (strcmp(word, "admin") == 0)
        return true;
    *ret_roles = TOKEN_RUNTIME;
    return strcmp(word, "runtime") == 0;
}

static aiki_status take_line(struct tokens *t, struct list *list, char *line, const char *where,
                             aiki_error *err)
{
    unsigned roles;
    char *token = next_word(&line);
    if (token == NULL || token[0] == '#')
        return AIKI_OK;
    aiki_status status = token_check(token, where, err);
    if (status != AIKI_OK)
        return status;
    if (!parse_role(next_word(&line), &roles))
        return error_set(err, AIKI_INVALID,
                         "%s: behind a token comes its role: any, client, admin or runtime", where);
    (void)next_word(&line); /* the name, for people */
    if (next_word(&line) != NULL)
        return error_set(err, AIKI_INVALID, "%s: expected TOKEN [ROLE [NAME]]", where);
    if (list->count == TOKENS_MAX)
        return error_set(err, AIKI_LIMIT, "%s: TOKENS_MAX is %d", where, TOKENS_MAX);
    struct entry *e = &list->entries[list->count];
    e->id = id_of(t, token, strlen(token));
    e->roles = roles;
    if (roles_of(list, &e->id) != 0)
        return error_set(err, AIKI_INVALID, "%s: this token is there twice", where);
    list->count++;
    return AIKI_OK;
}

static aiki_status take_text(struct tokens *t, struct list *list, char *text, aiki_error *err)
{
    aiki_status status = AIKI_OK;
    char *line, *rest = text;
    for (unsigned number = 1; status == AIKI_OK && (line = strsep(&rest, "\n")) != NULL; number++) {
        char where[200];
        (void)snprintf(where, sizeof(where), "%.150s:%u", t->path, number);
        status = take_line(t, list, line, where, err);
    }
    if (status == AIKI_OK && list->count == 0)
        status = error_set(err, AIKI_INVALID, "%.150s: there is no token in it", t->path);
    return status;
}

aiki_status tokens_reload(struct tokens *t, aiki_error *err)
{
    char *text = NULL;
    size_t size;
    aiki_status status = secret_read(t->path, &text, &size, err);
    if (status != AIKI_OK)
        return status;
    struct list fresh = {.entries = calloc(TOKENS_MAX, sizeof(struct entry))};
    if (fresh.entries == NULL)
        status = error_set(err, AIKI_NOMEM, "%.150s", t->path);
    else
        status = take_text(t, &fresh, text, err);
    secret_free(text, size);
    if (status != AIKI_OK) {
        free(fresh.entries);
        return status;
    }
    free(t->list.entries);
    t->list = fresh;
    return AIKI_OK;
}

aiki_status tokens_open(struct tokens **ret, const char *path, aiki_error *err)
{
    struct tokens *t = calloc(1, sizeof(*t));
    if (t == NULL || (t->path = strdup(path)) == NULL) {
        free(t);
        return error_set(err, AIKI_NOMEM, "%.150s", path);
    }
    randombytes_buf(t->key, sizeof(t->key));
    aiki_status status = tokens_reload(t, err);
    if (status == AIKI_OK)
        *ret = t;
    else
        tokens_close(t);
    return status;
}

void tokens_close(struct tokens *t)
{
    if (t == NULL)
        return;
    free(t->list.entries);
    free(t->path);
    sodium_memzero(t->key, sizeof(t->key));
    free(t);
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* Whoever guesses does not fill the disk with it. */
static void log_refusal(struct tokens *t, const char *from)
{
    int64_t now_ms = clock_mono_ms();
    t->refused++;
    if (t->log_mono_ms != 0 && now_ms - t->log_mono_ms < TOKENS_LOG_MS)
        return;
    log_warn("tokens", "%s is refused for want of a token that is accepted (%llu since the last "
             "such line); tokens are in %s",
             from, (unsigned long long)(t->refused - t->refused_logged), t->path);
    t->log_mono_ms = now_ms;
    t->refused_logged = t->refused;
}

aiki_status tokens_check(struct tokens *t, aiki_view token, unsigned role, const char *from,
                         struct token_id *ret_id, aiki_error *err)
{
    if (t == NULL)
        return AIKI_OK;
    const struct token_id id = id_of(t, token.data, token.size_bytes);
    if ((roles_of(&t->list, &id) & role) == 0) {
        log_refusal(t, from);
        return error_code(err, AIKI_DENIED, "TOKEN_REFUSED",
                          "this server asks for a token; present one that it accepts for this "
                          "purpose (--token-file, AIKI_TOKEN_FILE, or Authorization: Bearer)");
    }
    if (ret_id != NULL)
        *ret_id = id;
    return AIKI_OK;
}

aiki_status tokens_check_reveal_id(struct tokens *t, const struct token_id *id, const char *from,
                                   aiki_error *err)
{
    if (tokens_has(t, id, TOKEN_ADMIN))
        return AIKI_OK;
    log_warn("tokens", "%s asks for personal data and is no admin", from);
    return error_code(err, AIKI_DENIED, "REVEAL_DENIED",
                      "only a token with the role admin may see what schemas mark as personal data; ask "
                      "without reveal, or with such a token");
}

aiki_status tokens_check_reveal(struct tokens *t, aiki_view token, const char *from, aiki_error *err)
{
    const struct token_id none = {{0}};
    const struct token_id id = t != NULL ? id_of(t, token.data, token.size_bytes) : none;
    return tokens_check_reveal_id(t, &id, from, err);
}

bool tokens_has(const struct tokens *t, const struct token_id *id, unsigned role)
{
    return t == NULL || (roles_of(&t->list, id) & role) != 0;
}

uint64_t tokens_refused(const struct tokens *t)
{
    return t->refused;
}

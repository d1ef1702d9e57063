/* link_url.c - where Redis is and how to sign in. */
#include "base/link_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/percent.h"
#include "wire/error.h"

static aiki_status parse_credentials(const char *text, size_t size, struct link_url *u,
                                     aiki_error *err)
{
    const char *colon = memchr(text, ':', size);
    size_t user_size = colon != NULL ? (size_t)(colon - text) : 0;
    if (colon == NULL || !percent_decode(text, user_size, u->user, sizeof(u->user)) ||
        !percent_decode(colon + 1, size - user_size - 1, u->password, sizeof(u->password)) ||
        u->password[0] == '\0')
        return error_set(err, AIKI_INVALID,
                         "redis url: expected [USER]:PASSWORD before \"@\", each under %d bytes, "
                         "special characters as %%XX",
                         LINK_SECRET_SIZE);
    return AIKI_OK;
}

static aiki_status parse_db(const char *text, struct link_url *u, aiki_error *err)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 && text[0] == '\0')
        return AIKI_OK;
    long db = digits > 0 && digits < 6 && text[digits] == '\0' ? strtol(text, NULL, 10) : -1;
    if (db < 0 || db > LINK_DB_MAX)
        return error_set(err, AIKI_INVALID,
                         "redis url: database after \"/\" must be a number from 0 to %d",
                         LINK_DB_MAX);
    u->db = (int)db;
    return AIKI_OK;
}

/* HOST, HOST:PORT or [V6]:PORT; 6379 when no port is given. */
static aiki_status parse_address(const char *text, size_t size, struct link_url *u,
                                 aiki_error *err)
{
    const char *after_v6 = memchr(text, ']', size);
    const char *host_end = after_v6 != NULL ? after_v6 : text;
    bool has_port = memchr(host_end, ':', size - (size_t)(host_end - text)) != NULL;
    if (size + sizeof(":6379") > sizeof(u->text))
        return error_set(err, AIKI_INVALID, "redis url: host of %zu bytes is too long", size);
    (void)snprintf(u->text, sizeof(u->text), "%.*s%s", (int)size, text, has_port ? "" : ":6379");
    aiki_status st = endpoint_parse(u->text, &u->endpoint, err);
    if (st == AIKI_OK && u->endpoint.is_tls)
        st = error_set(err, AIKI_INVALID, "redis url: Redis is spoken to without TLS");
    return st;
}

aiki_status link_url_parse(const char *url, struct link_url *ret, aiki_error *err)
{
    static const char scheme[] = "redis://";
    struct link_url u = {0};
    aiki_status st = AIKI_OK;
    if (strncmp(url, "unix:", 5) == 0) {
        (void)snprintf(u.text, sizeof(u.text), "%s", url);
        st = endpoint_parse(url, &u.endpoint, err);
    } else if (strncmp(url, scheme, sizeof(scheme) - 1) == 0) {
        const char *rest = url + sizeof(scheme) - 1;
        const char *at = strrchr(rest, '@');
        if (at != NULL) {
            st = parse_credentials(rest, (size_t)(at - rest), &u, err);
            rest = at + 1;
        }
        size_t size = strcspn(rest, "/");
        if (st == AIKI_OK)
            st = parse_address(rest, size, &u, err);
        if (st == AIKI_OK && rest[size] == '/')
            st = parse_db(rest + size + 1, &u, err);
    } else {
        st = error_set(err, AIKI_INVALID,
                       "redis url: expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or unix:PATH");
    }
    if (st == AIKI_OK)
        *ret = u;
    return st;
}

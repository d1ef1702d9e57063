/* base/link_url.h - where Redis is and how to sign in. [any] */
#ifndef BASE_LINK_URL_H
#define BASE_LINK_URL_H

#include <aiki/status.h>

#include "base/endpoint.h"

enum { LINK_SECRET_SIZE = 256, LINK_DB_MAX = 65535 };

struct link_url {
    struct endpoint endpoint;
    char user[LINK_SECRET_SIZE]; /* empty = the default user */
    char password[LINK_SECRET_SIZE];
    int db;
    char text[ENDPOINT_TEXT_SIZE]; /* for logs: the address without the password */
};
/* redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or unix:PATH. %XX in USER and PASSWORD is decoded.
 * The error never shows the url itself: it may hold a password. */
aiki_status link_url_parse(const char *url, struct link_url *ret, aiki_error *err);

#endif

/* base/endpoint.h - addresses as people write them. [any] */
#ifndef BASE_ENDPOINT_H
#define BASE_ENDPOINT_H

#include <aiki/status.h>
#include <sys/un.h>
#include <uv.h>

enum { ENDPOINT_HOST_SIZE = 256, ENDPOINT_TEXT_SIZE = ENDPOINT_HOST_SIZE + 16 };

struct endpoint {
    bool is_unix, is_tls;
    uint16_t port;
    char host[ENDPOINT_HOST_SIZE];
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};
/* "HOST:PORT", "[V6]:PORT", either behind "tls:", or "unix:PATH". AIKI_INVALID names the text and the forms. */
aiki_status endpoint_parse(const char *text, struct endpoint *ret, aiki_error *err);
/* The socket address when host is numeric; false for names. */
bool endpoint_numeric(const struct endpoint *e, struct sockaddr_storage *ret_address);
/* "127.0.0.1:9090" or "[::1]:9090". */
void endpoint_text(const struct sockaddr *address, char ret_text[ENDPOINT_TEXT_SIZE]);

#endif

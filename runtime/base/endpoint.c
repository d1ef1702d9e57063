/* endpoint.c - addresses as people write them. */
#include "base/endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "wire/error.h"

static bool parse_port(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    port = strtoul(text, NULL, 10);
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static aiki_status parse_unix(const char *path, struct endpoint *e, aiki_error *err)
{
    size_t size = strlen(path);
    if (size == 0)
        return error_set(err, AIKI_INVALID, "address \"unix:\" has no path");
    if (size >= sizeof(e->path))
        return error_set(err, AIKI_INVALID,
                         "socket path of %zu bytes is over the system's limit of %zu: %.100s", size,
                         sizeof(e->path) - 1, path);
    e->is_unix = true;
    memcpy(e->path, path, size + 1);
    return AIKI_OK;
}

aiki_status endpoint_parse(const char *text, struct endpoint *ret, aiki_error *err)
{
    struct endpoint e = {0};
    if (strncmp(text, "unix:", 5) == 0) {
        aiki_status st = parse_unix(text + 5, &e, err);
        if (st == AIKI_OK)
            *ret = e;
        return st;
    }

    e.is_tls = strncmp(text, "tls:", 4) == 0 && strchr(text + 4, ':') != NULL; /* or a host tls */
    const char *host = e.is_tls ? text + 4 : text;
    const char *colon = strrchr(host, ':');
    size_t size = colon != NULL ? (size_t)(colon - host) : 0;
    bool bracketed = size > 2 && host[0] == '[' && host[size - 1] == ']';
    if (bracketed) {
        host++;
        size -= 2;
    }
    bool is_odd = !bracketed && size > 0 && strcspn(host, ":[]") < size;
    if (size == 0 || size >= sizeof(e.host) || is_odd || !parse_port(colon + 1, &e.port))
        return error_set(err, AIKI_INVALID,
                         "address \"%.100s\": expected HOST:PORT, [IPV6]:PORT, tls:HOST:PORT or "
                         "unix:PATH",
                         text);
    memcpy(e.host, host, size);
    *ret = e;
    return AIKI_OK;
}

bool endpoint_numeric(const struct endpoint *e, struct sockaddr_storage *ret_address)
{
    struct sockaddr_storage address = {0};
    if (uv_ip4_addr(e->host, e->port, (struct sockaddr_in *)&address) != 0 &&
        uv_ip6_addr(e->host, e->port, (struct sockaddr_in6 *)&address) != 0)
        return false;
    *ret_address = address;
    return true;
}

void endpoint_text(const struct sockaddr *address, char ret_text[ENDPOINT_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN] = "?";
    bool is_v6 = address->sa_family == AF_INET6;
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (is_v6)
        (void)uv_ip6_name(v6, host, sizeof(host));
    else
        (void)uv_ip4_name(v4, host, sizeof(host));
    (void)snprintf(ret_text, ENDPOINT_TEXT_SIZE, is_v6 ? "[%s]:%u" : "%s:%u", host,
                   (unsigned)ntohs(is_v6 ? v6->sin6_port : v4->sin_port));
}

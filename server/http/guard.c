/* guard.c - see guard.h. */
#include "http/guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "wire/error.h"

static bool is_host_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-_";
    size_t length = strlen(name);
    return length > 0 && length < ENDPOINT_HOST_SIZE && strspn(name, letters) == length;
}

aiki_status hosts_add(struct hosts *hosts, const char *name, aiki_error *err)
{
    if (!is_host_name(name))
        return error_set(err, AIKI_INVALID, "\"%.80s\" is no host name", name);
    if (hosts->count == HTTP_HOSTS_MAX)
        return error_set(err, AIKI_LIMIT, "host %.80s: HTTP_HOSTS_MAX is %d", name, HTTP_HOSTS_MAX);
    memcpy(hosts->names[hosts->count++], name, strlen(name) + 1);
    return AIKI_OK;
}

void head_add(struct head *head, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **value;
        unsigned *count;
    } wanted[] = {
        {"host", &head->host, &head->host_count},
        {"origin", &head->origin, &head->origin_count},
        {"content-length", &head->content_length, &head->content_length_count},
        {"transfer-encoding", &head->transfer_encoding, &head->transfer_encoding_count},
        {"content-encoding", &head->content_encoding, NULL},
        {"expect", &head->expect, NULL},
        {"last-event-id", &head->last_event_id, NULL},
        {"authorization", &head->authorization, &head->authorization_count},
    };
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++)
        if (strcasecmp(wanted[i].name, name) == 0) {
            *wanted[i].value = value != NULL ? value : "";
            if (wanted[i].count != NULL)
                ++*wanted[i].count;
        }
}

/* "HOST" of "HOST", "HOST:PORT", "[V6]" or "[V6]:PORT"; false for anything else. */
static bool split_host(const char *text, char ret_host[ENDPOINT_HOST_SIZE], bool *ret_is_v6)
{
    bool is_v6 = text[0] == '[';
    const char *host = text + is_v6;
    size_t length = strcspn(host, is_v6 ? "]" : ":");
    const char *rest = host + length;
    if (is_v6 && *rest++ != ']')
        return false;
    size_t digits = *rest == ':' ? strspn(rest + 1, "0123456789") : 0;
    if (length == 0 || length >= ENDPOINT_HOST_SIZE || digits > 5 ||
        (*rest != '\0' && (*rest != ':' || rest[1 + digits] != '\0')))
        return false;
    memcpy(ret_host, host, length);
    ret_host[length] = '\0';
    *ret_is_v6 = is_v6;
    return true;
}

static bool host_is_allowed(const char *text, const struct hosts *hosts)
{
    char host[ENDPOINT_HOST_SIZE];
    uint8_t number[sizeof(struct in6_addr)];
    bool is_v6;
    if (!split_host(text, host, &is_v6))
        return false;
    if (is_v6)
        return inet_pton(AF_INET6, host, number) == 1;
    if (inet_pton(AF_INET, host, number) == 1 || strcasecmp(host, "localhost") == 0)
        return true;
    for (unsigned i = 0; i < hosts->count; i++)
        if (strcasecmp(host, hosts->names[i]) == 0)
            return true;
    return false;
}

/* "http://HOST:PORT" of the same HOST:PORT; the scheme may be that of a proxy. */
static bool origin_agrees(const char *origin, const char *host)
{
    const char *authority = strstr(origin, "://");
    return authority != NULL && host != NULL && strcasecmp(authority + 3, host) == 0;
}

static aiki_status check_framing(const struct head *h, aiki_error *err)
{
    const char *why = NULL;
    if (h->host_count > 1 || h->origin_count > 1)
        why = "Host or Origin is there twice";
    else if (h->host_count == 0 && strcmp(h->version, "HTTP/1.0") != 0)
        why = "HTTP/1.1 needs a Host header";
    else if (h->content_length_count + h->transfer_encoding_count > 1)
        why = "more than one Content-Length or Transfer-Encoding";
    else if (h->transfer_encoding != NULL && strcasecmp(h->transfer_encoding, "chunked") != 0)
        why = "the only Transfer-Encoding is chunked";
    else if (h->expect != NULL && strcasecmp(h->expect, "100-continue") != 0)
        why = "the only Expect is 100-continue";
    return why == NULL ? AIKI_OK : error_code(err, AIKI_INVALID, "BAD_HEADERS", "%s", why);
}

aiki_status guard_check(const struct head *head, const struct hosts *hosts, aiki_error *err)
{
    if (head->size_bytes > HTTP_HEADER_BYTES_MAX)
        return error_code(err, AIKI_LIMIT, "HEADERS_TOO_LARGE",
                          "request line and headers have %zu bytes, HTTP_HEADER_BYTES_MAX is %d",
                          head->size_bytes, HTTP_HEADER_BYTES_MAX);
    aiki_status status = check_framing(head, err);
    if (status != AIKI_OK)
        return status;
    if (head->content_encoding != NULL && strcasecmp(head->content_encoding, "identity") != 0)
        return error_code(err, AIKI_UNSUPPORTED, "CONTENT_ENCODING",
                          "Content-Encoding %.40s is not understood; send plain JSON",
                          head->content_encoding);
    if (head->host != NULL && !host_is_allowed(head->host, hosts))
        return error_code(err, AIKI_DENIED, "HOST_NOT_ALLOWED",
                          "this server does not go by the name %.80s; use its address or "
                          "localhost, or allow it with --http-host NAME",
                          head->host);
    if (head->origin != NULL && !origin_agrees(head->origin, head->host))
        return error_code(err, AIKI_DENIED, "ORIGIN_NOT_ALLOWED",
                          "requests from pages of %.80s are not taken", head->origin);
    return AIKI_OK;
}

aiki_view head_token(const struct head *head)
{
    static const char scheme[] = "Bearer ";
    if (head->authorization_count != 1 ||
        strncasecmp(head->authorization, scheme, sizeof(scheme) - 1) != 0)
        return (aiki_view){NULL, 0};
    const char *token = head->authorization + sizeof(scheme) - 1;
    token += strspn(token, " ");
    return (aiki_view){(const uint8_t *)token, strcspn(token, " ")};
}

bool head_is_framed(const struct head *head)
{
    return head->content_length_count + head->transfer_encoding_count <= 1 &&
           (head->transfer_encoding == NULL || strcasecmp(head->transfer_encoding, "chunked") == 0);
}

/* http/guard.h - who may be talked to: framing that has two readings, Host, Origin. [any]
 *
 * A page in a local browser can send requests here. It cannot choose the Host header, so a name
 * that points here by DNS rebinding is recognised by not being on the list; and it cannot leave
 * out the Origin header of a cross-site POST.
 */
#ifndef SERVER_HTTP_GUARD_H
#define SERVER_HTTP_GUARD_H

#include <aiki/msgpack.h>

#include "base/endpoint.h"
#include "http/http.h"

/* Names accepted in Host besides numbers and localhost. */
struct hosts {
    char names[HTTP_HOSTS_MAX][ENDPOINT_HOST_SIZE];
    unsigned count;
};
aiki_status hosts_add(struct hosts *hosts, const char *name, aiki_error *err);

/* The headers that decide; NULL when absent. counts: how often each came. */
struct head {
    const char *version; /* "HTTP/1.1" */
    const char *host, *origin, *content_length, *transfer_encoding, *content_encoding, *expect,
        *authorization, *last_event_id;
    unsigned host_count, origin_count, content_length_count, transfer_encoding_count,
        authorization_count;
    size_t size_bytes; /* request line and headers */
};
/* Note one header. */
void head_add(struct head *head, const char *name, const char *value);
/* AIKI_INVALID (BAD_HEADERS), AIKI_LIMIT (HEADERS_TOO_LARGE), AIKI_UNSUPPORTED
 * (CONTENT_ENCODING), AIKI_DENIED (HOST_NOT_ALLOWED, ORIGIN_NOT_ALLOWED). */
aiki_status guard_check(const struct head *head, const struct hosts *hosts, aiki_error *err);
/* TOKEN of "Authorization: Bearer TOKEN"; empty when there is none, or more than one. */
aiki_view head_token(const struct head *head);
/* Whether the end of the body is known and the connection can serve further requests. */
bool head_is_framed(const struct head *head);

#endif

/* http/http.h - JSON over HTTP on the loop; talks to the rest through server/core.h. [loop]
 *
 * Runs, workflows, workers, plugins, health and metrics; routes.c lists them all. A request that
 * waits (for the core, or ?wait=) is suspended and costs no thread. Bad input is answered with
 * {"error": {"code", "category", "message", ...}} and changes nothing.
 *
 * Limits: HTTP_CONNECTIONS_MAX connections, further ones wait in the backlog; HTTP_HEADER_BYTES_MAX
 * of request line and headers; HTTP_BODY_BYTES_MAX of body; HTTP_IDLE_MS to send the next
 * request's headers, HTTP_BODY_MS for its body, HTTP_WRITE_MS for reading the answer;
 * HTTP_WAIT_MS_MAX for ?wait=; HTTP_CORE_MS for the core to answer otherwise. Bodies and answers
 * held at one time: HTTP_HELD_BYTES_MAX, beyond that 503. JSON over HTTP_INLINE_BYTES_MAX is
 * converted on a thread of the pool. A body that is refused is read to its end, so that the answer
 * arrives, if it says it has no more than HTTP_DRAIN_BYTES_MAX. HTTP_STREAMS_MAX streams of events;
 * who does not read HTTP_STREAM_BLOCK_BYTES of one in HTTP_WRITE_MS is cut off.
 *
 * What is no HTTP at all is answered by libmicrohttpd itself, in HTML, and the connection ends: it asks nobody and has no way to
 * put another answer in place of its own.
 *
 * With tokens every request but /healthz carries one that clients may have, as "Authorization:
 * Bearer TOKEN", else it is answered with 401 before anything else about it. Against web pages in a local browser: the Host header must be a
 * number, localhost, the listening host or an allowed name (DNS rebinding), and an Origin header
 * must agree with it (cross-site requests).
 */
#ifndef SERVER_HTTP_HTTP_H
#define SERVER_HTTP_HTTP_H

#include <aiki/status.h>
#include <uv.h>

#include "wire/frame.h"

enum {
    HTTP_CONNECTIONS_MAX = 1024,
    HTTP_HEADER_BYTES_MAX = 32 * 1024,
    HTTP_BODY_SLACK_BYTES = 1024 * 1024, /* JSON is longer than the payload it becomes */
    HTTP_BODY_BYTES_MAX = PAYLOAD_BYTES_MAX + HTTP_BODY_SLACK_BYTES,
    HTTP_IDLE_MS = 30 * 1000,
    HTTP_BODY_MS = 30 * 1000,
    HTTP_WRITE_MS = 60 * 1000,
    HTTP_WAIT_MS_MAX = 300 * 1000,
    HTTP_CORE_MS = 60 * 1000,
    HTTP_STOP_MS = 2 * 1000, /* for answers under way to be read when the listener stops */
    HTTP_HELD_BYTES_MAX = 256 * 1024 * 1024,
    HTTP_DRAIN_BYTES_MAX = 16 * 1024 * 1024,
    HTTP_INLINE_BYTES_MAX = 32 * 1024,
    HTTP_HOSTS_MAX = 16,
    HTTP_STREAMS_MAX = 512,
    HTTP_STREAM_WAIT_MS = 15 * 1000, /* a sign of life when nothing happens so long */
    HTTP_STREAM_BLOCK_BYTES = 32 * 1024
};

struct core;
struct http;
struct tls;
struct tokens;

/* Borrowed while the listener lives, but for the address. */
struct http_options {
    const char *listen; /* HOST:PORT or [V6]:PORT, port 0 for any */
    struct core *core;
    struct tokens *tokens; /* NULL: all are let in */
    struct tls *tls;       /* NULL: HTTP; else HTTPS with its certificate; a reference is taken */
};
aiki_status http_start(struct http **ret, uv_loop_t *loop, const struct http_options *options,
                       aiki_error *err);
/* "127.0.0.1:41873"; borrowed until http_stop. */
const char *http_address(const struct http *h);
/* Accept this name in Host too, e.g. the one a proxy or a container goes by. AIKI_LIMIT beyond
 * HTTP_HOSTS_MAX, AIKI_INVALID when it is no host name. */
aiki_status http_allow_host(struct http *h, const char *name, aiki_error *err);
/* For connections from now on, in place of what it was started with; takes a reference. */
void http_set_tls(struct http *h, struct tls *tls);
/* Waiting requests are answered with 503. h is gone when on_stopped is called. */
void http_stop(struct http *h, void (*on_stopped)(void *arg), void *arg);

#endif

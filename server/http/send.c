/* send.c - an answer on its way to MHD. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"
#include "http/request_impl.h"

static bool add_header(struct MHD_Response *response, const char *name, const char *value)
{
    return value[0] == '\0' || MHD_add_response_header(response, name, value) == MHD_YES;
}

/* The page runs its own script and talks to us; nothing else, and nobody frames it. */
#define PAGE_POLICY                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "                \
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "                                \
    "require-trusted-types-for 'script'"

/* The bytes belong to MHD now. */
static struct MHD_Response *whole_body(struct request *r)
{
    uint64_t size_bytes;
    uint8_t *bytes = buf_take(&r->answer.body, &size_bytes);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size_bytes, bytes, MHD_RESPMEM_MUST_FREE);
    if (response == NULL)
        free(bytes);
    return response;
}

static struct MHD_Response *make_response(struct request *r)
{
    const struct answer *a = &r->answer;
    struct MHD_Response *response =
        r->call.streams && a->status == 200
            ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_STREAM_BLOCK_BYTES,
                                                stream_read, r, NULL)
            : whole_body(r);
    if (response == NULL)
        return NULL;
    if (add_header(response, "Content-Type", a->type != NULL ? a->type : "application/json") &&
        add_header(response, "Cache-Control", "no-store") &&
        add_header(response, "X-Content-Type-Options", "nosniff") &&
        add_header(response, "Content-Security-Policy", PAGE_POLICY) &&
        add_header(response, "Referrer-Policy", "no-referrer") &&
        add_header(response, "Cross-Origin-Opener-Policy", "same-origin") &&
        add_header(response, "Location", a->location) && add_header(response, "Allow", a->allow) &&
        add_header(response, "WWW-Authenticate",
                   a->status == 401 ? "Bearer realm=\"aiki\"" : "") &&
        add_header(response, "Retry-After", a->status == 503 ? "1" : "") &&
        add_header(response, "Connection", a->close || r->http->stopping ? "close" : ""))
        return response;
    MHD_destroy_response(response);
    return NULL;
}

/* What is our fault is where it stops travelling; what is the caller's they are told. */
static void log_answer(const struct request *r)
{
    const aiki_writer *body = &r->answer.body;
    if (r->answer.status == 500 || r->answer.status == 504)
        log_error("http", "%s %s: %u %.*s", call_method(&r->call), call_path(&r->call),
                  r->answer.status, body->size_bytes > 0 ? (int)body->size_bytes - 1 : 0,
                  body->data != NULL ? (const char *)body->data : "");
    else
        log_debug("http", "%s %s: %u, %llu bytes", call_method(&r->call), call_path(&r->call),
                  r->answer.status, (unsigned long long)body->size_bytes);
}

enum MHD_Result request_send(struct request *r)
{
    unsigned status = r->answer.status;
    r->http->refused += status >= 400;
    log_answer(r);
    struct MHD_Response *response = make_response(r);
    if (response == NULL)
        return MHD_NO;
    r->state = SENDING;
    peer_enter(&r->http->peers, r->peer, PHASE_WRITE);
    enum MHD_Result result = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

size_t request_raw_answer(unsigned status, const char *reason, const aiki_error *err, char *ret,
                          size_t capacity_bytes)
{
    struct answer a;
    answer_init(&a);
    answer_error(&a, status, err);
    int n = snprintf(ret, capacity_bytes,
                     "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %llu\r\n"
                     "Connection: close\r\n\r\n%.*s",
                     status, reason, (unsigned long long)a.body.size_bytes, (int)a.body.size_bytes,
                     a.body.data != NULL ? (const char *)a.body.data : "");
    answer_deinit(&a);
    return n > 0 && (size_t)n < capacity_bytes ? (size_t)n : 0;
}


/* http/request_impl.h - a request as request.c, send.c and stream.c see it. [loop] */
#ifndef SERVER_HTTP_REQUEST_IMPL_H
#define SERVER_HTTP_REQUEST_IMPL_H

#include "http/http_impl.h"

enum state { NEW, READING, PARSING, ASKING, SHOWING, READY, SENDING, GONE };

struct request {
    struct http *http;
    struct peer *peer;
    struct MHD_Connection *connection; /* from the first step on */
    enum state state;
    struct call call;
    struct answer answer; /* its status is set once it is known */
    aiki_error err;
    aiki_status status;  /* of PARSING */
    uint64_t held_bytes; /* part of http->held_bytes */
    uint64_t body_bytes; /* received, kept or not */
    uint64_t token;      /* in the core; 0 = none */
    uint32_t reply_type; /* SHOWING: the core's answer and a copy of it */
    aiki_writer reply;
    bool streams;        /* one of HTTP_STREAMS_MAX */
    uint64_t told_bytes; /* of a stream: of answer.body */
    uv_work_t work;
};

/* Ask the core what r->call says; the connection is suspended. */
void request_ask(struct request *r);

/* send.c. MHD_NO ends the connection. */
enum MHD_Result request_send(struct request *r);

/* stream.c. The body of an answer that goes on: what has been shown, then what is asked for next.
 * A struct MHD_ContentReaderCallback. */
ssize_t stream_read(void *arg, uint64_t offset, char *to, size_t capacity_bytes);

#endif

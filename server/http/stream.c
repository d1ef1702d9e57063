/* stream.c - an answer that goes on until what it tells is over.
 *
 *   MHD has sent what it had --stream_read--> more there: take it
 *                                        \--> all told: suspend, ask the core with a wait,
 *                                             resumed with the next page
 *
 * So a client that reads slowly is asked for nothing meanwhile, and one page is all that is held
 * for it.
 */
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "http/request_impl.h"

/* What went wrong in the middle is an event of its own, and the last. */
static void tell_error(struct request *r)
{
    static const char head[] = "event: error\ndata: ";
    AUTO(buf) aiki_writer json = r->answer.body;
    buf_init(&r->answer.body);
    aiki_mp_raw(&r->answer.body, head, sizeof(head) - 1);
    aiki_mp_raw(&r->answer.body, json.data, json.size_bytes); /* ends with a newline */
    aiki_mp_raw(&r->answer.body, "\n", 1);
    r->call.ended = true;
    r->answer.status = 200;
}

static void ask_on(struct request *r)
{
    buf_clear(&r->answer.body, HTTP_INLINE_BYTES_MAX);
    r->told_bytes = 0;
    r->answer.status = 0;
    MHD_suspend_connection(r->connection);
    call_ask_events(&r->call, HTTP_STREAM_WAIT_MS);
    request_ask(r);
}

ssize_t stream_read(void *arg, uint64_t offset, char *to, size_t capacity_bytes)
{
    struct request *r = arg;
    (void)offset;
    if (r->state == GONE)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (r->answer.status != 200)
        tell_error(r);
    uint64_t left_bytes = r->answer.body.size_bytes - r->told_bytes;
    if (left_bytes > 0) {
        size_t size = left_bytes < capacity_bytes ? (size_t)left_bytes : capacity_bytes;
        memcpy(to, r->answer.body.data + r->told_bytes, size);
        r->told_bytes += size;
        peer_enter(&r->http->peers, r->peer, PHASE_WRITE);
        return (ssize_t)size;
    }
    if (r->call.ended || r->http->stopping)
        return MHD_CONTENT_READER_END_OF_STREAM;
    ask_on(r);
    return 0;
}

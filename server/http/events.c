/* events.c - a run's history as a stream of server-sent events (the WHATWG's HTML, 9.2). [any]
 *
 *   id: 7                      the event's seq: a client that lost the connection sends it back as
 *   event: step_done           Last-Event-ID and misses nothing
 *   data: {...}                as in the history
 *
 * "end" comes behind the last event of a run that is over. A client that connects again then gets
 * 204, which tells it to stop. A page has EVENTS_PAGE_MAX events.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "http/routes_impl.h"
#include "wire/error.h"
#include "wire/event.h"
#include "wire/message.h"

enum { EVENTS_PAGE_MAX = 100 };

void call_ask_events(struct call *c, uint64_t wait_ms)
{
    aiki_writer args;
    buf_init(&args);
    aiki_mp_map(&args, 6);
    aiki_mp_str(&args, "reveal");
    aiki_mp_bool(&args, c->reveal);
    aiki_mp_str(&args, "full");
    aiki_mp_bool(&args, c->full);
    aiki_mp_str(&args, "id");
    aiki_mp_str(&args, c->variables[0]);
    aiki_mp_str(&args, "after");
    aiki_mp_uint(&args, c->after);
    aiki_mp_str(&args, "limit");
    aiki_mp_uint(&args, EVENTS_PAGE_MAX);
    aiki_mp_str(&args, "wait_ms");
    aiki_mp_uint(&args, wait_ms);
    const struct msg_QUERY m = {.what = view_of("runs.history"), .args = aiki_writer_view(&args)};
    c->type = WIRE_QUERY;
    c->wait_ms = wait_ms;
    msg_QUERY_write(&c->message, &m);
    if (args.status != AIKI_OK)
        c->message.status = args.status;
    buf_deinit(&args);
}

/* Where a client was interrupted is later than where it began. */
aiki_status prepare_events(struct call *c, aiki_error *err)
{
    const char *after = target_param(&c->target, "after");
    struct aiki_id id;
    aiki_status status = call_check_params(c, err);
    if (status == AIKI_OK)
        status = call_read_id(c, &id, err);
    if (status == AIKI_OK && c->last_event_id != NULL)
        status = read_number("Last-Event-ID", c->last_event_id, 0, &c->after, err);
    else if (status == AIKI_OK && after != NULL)
        status = read_number("after", after, 0, &c->after, err);
    if (status == AIKI_OK)
        status = read_flag("reveal", target_param(&c->target, "reveal"), &c->reveal, err);
    if (status == AIKI_OK)
        status = read_flag("full", target_param(&c->target, "full"), &c->full, err);
    if (status != AIKI_OK)
        return status;
    c->streams = true;
    call_ask_events(c, 0);
    return AIKI_OK;
}

static void put(aiki_writer *w, const char *text)
{
    aiki_mp_raw(w, text, strlen(text));
}

/* Remembers where it stands, so that the next question begins behind it. */
static aiki_status put_event(struct call *c, aiki_view event, aiki_writer *w, aiki_error *err)
{
    char id[32];
    aiki_reader r;
    aiki_view kind = {NULL, 0};
    aiki_reader_init(&r, event);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        if (view_is(name, "seq"))
            c->after = aiki_mp_read_uint(&r);
        else if (view_is(name, "kind"))
            kind = aiki_mp_read_str(&r);
        else
            (void)aiki_mp_skip(&r); /* our own bytes, as the rest */
    }
    (void)snprintf(id, sizeof(id), "id: %llu\nevent: ", (unsigned long long)c->after);
    put(w, id);
    aiki_mp_raw(w, kind.data, kind.size_bytes);
    put(w, "\ndata: ");
    aiki_status status = msgpack_to_json(event, 0, w, err);
    put(w, "\n\n");
    return status;
}

static void put_end(aiki_view state, aiki_writer *w)
{
    put(w, "event: end\ndata: {\"state\":\"");
    aiki_mp_raw(w, state.data, state.size_bytes);
    put(w, "\"}\n\n");
}

struct page {
    aiki_view state, events;
    bool more;
};

static struct page read_page(aiki_view document)
{
    struct page p = {.more = false};
    aiki_reader r;
    aiki_reader_init(&r, document);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        aiki_view value = aiki_mp_value(&r);
        if (view_is(name, "state")) {
            aiki_reader text;
            aiki_reader_init(&text, value);
            p.state = aiki_mp_read_str(&text);
        } else if (view_is(name, "events")) {
            p.events = value;
        } else if (view_is(name, "next")) {
            p.more = value.size_bytes > 0 && value.data[0] != 0xc0; /* nil */
        }
    }
    return p;
}

static bool is_over(aiki_view state)
{
    bool over = false;
#define STATE_TERMINAL(name, number, text, terminal) over |= (terminal) && view_is(state, text);
    RUN_STATE_MAP(STATE_TERMINAL)
#undef STATE_TERMINAL
    return over;
}

aiki_status show_events(struct call *c, aiki_view document, struct answer *ret, aiki_error *err)
{
    const struct page p = read_page(document);
    bool first = ret->type == NULL;
    aiki_status status = AIKI_OK;
    aiki_reader r;
    aiki_reader_init(&r, p.events);
    uint64_t count = aiki_mp_read_array(&r);
    c->ended = !p.more && is_over(p.state);
    if (first && c->ended && count == 0) {
        ret->status = 204;
        return AIKI_OK;
    }
    if (first)
        put(&ret->body, "retry: 1000\n\n");
    else if (count == 0)
        put(&ret->body, ":\n\n");
    for (uint64_t i = 0; status == AIKI_OK && i < count; i++)
        status = put_event(c, aiki_mp_value(&r), &ret->body, err);
    if (status != AIKI_OK)
        return status;
    if (c->ended)
        put_end(p.state, &ret->body);
    ret->status = 200;
    ret->type = "text/event-stream";
    return ret->body.status;
}

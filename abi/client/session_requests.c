/* session_requests.c - the list of requests that wait for an answer.
 *
 * One timer stands for the earliest moment any of them needs attention. Most are answered before
 * theirs, so the list is walked about once per request_timeout_ms.
 */
#include "session_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "wire/error.h"

enum {
    WAIT_GRACE_MS = 250 /* for the server's own "not yet" to arrive; it knows the state */
};

struct request *request_create(uint32_t type, request_fn fn, void *arg)
{
    struct request *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    buf_init(&r->payload);
    r->type = type;
    r->fn = fn;
    r->arg = arg;
    r->submitted_mono_ms = clock_mono_ms();
    return r;
}

void request_destroy(struct request *r)
{
    if (r == NULL)
        return;
    buf_deinit(&r->payload);
    free(r);
}

uint64_t request_bytes(const struct request *r)
{
    return sizeof(*r) + r->payload.size_bytes;
}

void session_link(struct session *s, struct request *r)
{
    do
        r->correlation = ++s->correlation_last;
    while (r->correlation <= HELLO_CORRELATION); /* 0 is for pushes */
    r->link = s->last;
    *s->last = r;
    s->last = &r->next;
    struct request **bucket = &s->hash[r->correlation % HASH_SIZE];
    r->hash_next = *bucket;
    *bucket = r;
}

static void unlink_request(struct session *s, struct request *r)
{
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    else
        s->last = r->link;
    struct request **at = &s->hash[r->correlation % HASH_SIZE];
    while (*at != r)
        at = &(*at)->hash_next;
    *at = r->hash_next;
}

struct request *session_find(struct session *s, uint32_t correlation)
{
    struct request *r = s->hash[correlation % HASH_SIZE];
    while (r != NULL && r->correlation != correlation)
        r = r->hash_next;
    return r;
}

void session_uncount(struct session *s, const struct request *r)
{
    atomic_fetch_sub(&s->count, 1);
    atomic_fetch_sub(&s->bytes, request_bytes(r));
}

/* The last word on r. fn may submit new requests. */
void session_finish(struct session *s, struct request *r, aiki_status st, struct answer *a,
                   const aiki_error *err)
{
    unlink_request(s, r);
    session_uncount(s, r);
    r->fn(r, st, a, err);
    request_destroy(r);
}

void session_fail(struct session *s, struct request *r, aiki_status st, const char *message)
{
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_set(&err, st, "%s", message);
    session_finish(s, r, st, NULL, &err);
}

/* Ends what is open now; requests that callbacks add meanwhile are not touched. */
void session_fail_all(struct session *s, const aiki_error *err)
{
    struct request *stop = s->first == NULL ? NULL : container_of(s->last, struct request, next);
    for (struct request *r = s->first, *next; r != NULL; r = next) {
        next = r == stop ? NULL : r->next;
        session_finish(s, r, err->status, NULL, err);
    }
}

void session_send(struct session *s, struct request *r)
{
    aiki_writer *w = conn_out(s->conn);
    uint64_t at = frame_begin(w);
    aiki_mp_raw(w, r->payload.data, r->payload.size_bytes);
    (void)frame_end(w, at, r->type, r->correlation); /* the size was checked at submission */
    conn_dirty(s->conn);
}

/* ---- time --------------------------------------------------------------------------------- */

/* When the server has been out of reach for too long as far as r is concerned. */
static int64_t lost_mono_ms(const struct session *s, const struct request *r)
{
    if (s->down_since_mono_ms == 0 || r->type == 0)
        return INT64_MAX;
    int64_t since =
        s->down_since_mono_ms > r->submitted_mono_ms ? s->down_since_mono_ms : r->submitted_mono_ms;
    return since + s->request_timeout_ms;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When r ends without an answer. */
static int64_t expiry_mono_ms(const struct session *s, const struct request *r)
{
    int64_t grace_ms = r->type == WIRE_WAIT ? WAIT_GRACE_MS : 0;
    int64_t own = r->deadline_mono_ms > 0 ? r->deadline_mono_ms + grace_ms : INT64_MAX;
    return earlier(own, lost_mono_ms(s, r));
}

int64_t request_due_mono_ms(const struct session *s, const struct request *r)
{
    int64_t due = expiry_mono_ms(s, r);
    return r->resend_mono_ms > 0 ? earlier(due, r->resend_mono_ms) : due;
}

static void on_due(uv_timer_t *t);

void session_arm_due(struct session *s, int64_t due_mono_ms)
{
    if (due_mono_ms >= s->due_mono_ms || s->state == CLOSING)
        return;
    s->due_mono_ms = due_mono_ms;
    int64_t left_ms = due_mono_ms - clock_mono_ms();
    uv_update_time(&s->loop);
    uv_timer_start(&s->due, on_due, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
}

static void expire(struct session *s, struct request *r)
{
    char message[2 * AIKI_MESSAGE_SIZE];
    if (s->state != UP) {
        snprintf(message, sizeof(message), "server %s cannot be reached: %s", s->address, s->why);
        session_fail(s, r, AIKI_UNAVAILABLE, message);
    } else if (r->type == WIRE_WAIT) {
        session_fail(s, r, AIKI_TIMEDOUT, "the run has not finished yet");
    } else if (r->was_busy) {
        snprintf(message, sizeof(message), "server %s could not for %lld ms: %s", s->address,
                 (long long)s->request_timeout_ms, s->why_busy);
        session_fail(s, r, AIKI_UNAVAILABLE, message);
    } else {
        snprintf(message, sizeof(message), "server %s did not answer within %lld ms", s->address,
                 (long long)s->request_timeout_ms);
        session_fail(s, r, AIKI_UNAVAILABLE, message);
    }
}

static void on_due(uv_timer_t *t)
{
    struct session *s = container_of(t, struct session, due);
    int64_t now = clock_mono_ms();
    bool silent = false;

    s->due_mono_ms = INT64_MAX;
    for (struct request *r = s->first, *next; r != NULL; r = next) {
        next = r->next;
        if (r->resend_mono_ms > 0 && r->resend_mono_ms <= now) {
            r->resend_mono_ms = 0;
            if (s->state == UP)
                session_send(s, r);
        }
        if (expiry_mono_ms(s, r) <= now) {
            silent = silent || (s->state == UP && r->type != WIRE_WAIT && !r->was_busy);
            expire(s, r);
        } else {
            session_arm_due(s, request_due_mono_ms(s, r));
        }
    }
    /* A peer that owes an answer for that long is gone, whatever its socket says. */
    if (silent && s->state == UP)
        conn_close(s->conn);
}

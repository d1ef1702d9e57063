/* session.h - the client's connection to the server and the requests on it.
 *
 * One thread with one loop. Requests come in through a mailbox from any thread and stay on a
 * list until their answer is complete, so that whatever is unanswered can be sent again on the
 * next connection. Requests are built so that a repeat is harmless.
 *
 * Limits: AIKI_CLIENT_REQUESTS_MAX and AIKI_CLIENT_BYTES_MAX, counted from submission to the
 * end of a request. session_*: [any] unless stated; a request's fn runs on the session's thread.
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include <aiki/client.h>

#include "base/mailbox.h"
#include "wire/message.h"

struct request;

/* What the server said to a request. */
struct answer {
    uint32_t type; /* WIRE_STARTED, WIRE_RESULT, WIRE_OK or WIRE_DOCUMENT; picks the member */
    union {
        struct msg_STARTED started;
        struct msg_OK ok;
        aiki_view document;
    } as;
    aiki_outcome *outcome; /* RESULT: freed after fn unless fn took it and left NULL */
};

/* AIKI_OK with an answer; anything else with err, and an answer only for AIKI_FAILED (a run
 * that ended otherwise). A START that wants its result is told twice. */
typedef void (*request_fn)(struct request *r, aiki_status st, struct answer *a,
                           const aiki_error *err);

/* Owned by the session from session_submit until fn was called for the last time. */
struct request {
    struct mail mail;             /* on the way to the session's thread */
    struct request *next, **link; /* the list of open requests, oldest first */
    struct request *hash_next;
    uint32_t type; /* WIRE_*; 0: only wait until the session is up */
    uint32_t correlation;
    struct aiki_id run; /* START and WAIT */
    bool want_result;   /* START */
    bool look;          /* WAIT: one answer is enough, whatever the state */
    bool started;        /* START: STARTED was delivered, RESULT is outstanding */
    aiki_writer payload; /* owned; kept for repeats */
    int64_t submitted_mono_ms;
    int64_t deadline_mono_ms; /* 0 = none */
    int64_t resend_mono_ms;   /* > 0: the server was busy; send again then */
    bool was_busy;            /* the server's last word was UNAVAILABLE */
    request_fn fn;
    void (*callback)(void); /* the caller's functions, cast by fn */
    void (*callback_2)(void);
    void *arg;
};

struct session;

/* Starts the thread; the first request makes it connect. */
aiki_status session_create(struct session **ret, const char *url,
                           const aiki_client_options *options, aiki_error *err);
/* Ends open requests with AIKI_CANCELLED and joins the thread. NULL is a no-op. Not from the
 * session's thread. */
void session_destroy(struct session *s);

/* A zeroed request with an empty payload to be written; NULL when out of memory. */
struct request *request_create(uint32_t type, request_fn fn, void *arg);
void request_destroy(struct request *r);
/* Takes r on AIKI_OK. AIKI_LIMIT when too much is unanswered, or the payload too large. */
aiki_status session_submit(struct session *s, struct request *r, aiki_error *err);

const char *session_name(const struct session *s);
int64_t session_request_timeout_ms(const struct session *s);
/* Whether this is the session's own thread, where blocking would never end. */
bool session_is_own_thread(const struct session *s);

#endif

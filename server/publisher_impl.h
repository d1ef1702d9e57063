/* publisher_impl.h - what publisher.c and publisher_ended.c share. Private. [loop] */
#ifndef SERVER_PUBLISHER_IMPL_H
#define SERVER_PUBLISHER_IMPL_H

#include "base/link.h"
#include "publisher.h"

/* What is remembered about a stream. */
struct outlet {
    bool known; /* its consumers were looked at since the link came up */
    bool asked; /* an XLEN or XINFO is under way */
    bool scanning;
    uint64_t scan_loop_ms;   /* when the scan began */
    uint64_t rested_loop_ms; /* no scan for an audit before */
};

/* A page is published; the next one is asked for when Redis has it. */
struct scan_wait {
    uint64_t at; /* number of the last XADD of the page */
    struct offer_scan next;
};

struct publisher {
    uv_loop_t *loop;
    struct link *link;
    struct gather *gather;
    publisher_sessions_fn sessions;
    void *sessions_arg;
    bool up;
    uint64_t sent, answered; /* XADDs on this connection */
    bool behind;             /* some were left out; all is offered when the rest is answered */
    struct scan_wait scans[PUBLISHER_SCANS_MAX];
    size_t scan_count;
    struct outlet *outlets; /* by stream.index */
    size_t outlet_count;
    size_t orphan_count;
    char last_error[128]; /* so that a lasting error is said once */
    void (*on_closed)(void *arg);
    void *arg;
};

/* A command's way back: who asked about what. */
struct ask {
    struct publisher *publisher;
    const struct stream *stream;
    uint64_t queued;                  /* of an audit */
    char consumer[AIKI_ID_TEXT_SIZE]; /* being cleared */
    char first[48];                   /* entry of the last page that was taken over; "" = none yet */
};
struct ask *ask_create(struct publisher *p, const struct stream *s);
/* fn is called in any case and frees a. */
void ask_send(struct ask *a, redisCallbackFn *fn, int argc, const char **argv);

struct outlet *publisher_outlet(struct publisher *p, const struct stream *s);
bool reply_is_error(const redisReply *r, const char *prefix);
/* Once for each reason. */
void publisher_complain(struct publisher *p, const char *error);
/* Ask for the stream's runnable runs, unless they are being offered. */
void publisher_offer_stream(struct publisher *p, const struct stream *s, int64_t min_age_ms);

/* publisher_ended.c: find consumers whose session is no more, and clear one. */
void publisher_look_at_consumers(struct publisher *p, const struct stream *s);
void publisher_clear_consumer(struct publisher *p, const struct stream *s,
                              const struct aiki_id *id);

#endif

/* publisher.h - tickets of runnable runs into Redis streams, and those that got lost again. [loop]
 *
 *   outcome: offers --XADD--> stream --XREADGROUP--> runtimes
 *            audits --XLEN--> fewer entries than runs queued? offer the stream's runs again
 *            orphans: what an ended session had read and not acknowledged is offered again
 *
 * Redis holds hints only: what it does not take is offered again when it is back. Nothing is sent
 * while nothing is queued. Runtimes remove the entries they claimed, so streams stay as long as
 * the queues they stand for. Limits: PUBLISHER_UNANSWERED_MAX, PUBLISHER_SCANS_MAX,
 * PUBLISHER_ORPHANS_MAX.
 */
#ifndef SERVER_PUBLISHER_H
#define SERVER_PUBLISHER_H

#include <uv.h>

#include "gather.h"

enum {
    PUBLISHER_UNANSWERED_MAX = 200000, /* XADDs; more wait in the store until Redis caught up */
    PUBLISHER_SCANS_MAX = 64,       /* offer scans under way; more become one of everything */
    PUBLISHER_ORPHANS_MAX = 100000, /* ended consumers being cleared; more are found later */
    PUBLISHER_PAGE = 500            /* entries of an ended consumer taken at once */
};

struct publisher;
/* Ids of the sessions that are alive, sorted: a malloc'ed array. */
typedef struct aiki_id *(*publisher_sessions_fn)(void *arg, size_t *ret_count);

/* AIKI_INVALID when the url is not usable. */
aiki_status publisher_create(struct publisher **ret, uv_loop_t *loop, const char *redis_url,
                             struct gather *gather, publisher_sessions_fn sessions, void *arg,
                             aiki_error *err);
bool publisher_is_up(const struct publisher *p);
/* Offers, audits, orphans and the end of a scan page. Borrowed. */
void publisher_take(struct publisher *p, const struct outcome *o);
/* p is gone when on_closed is called. */
void publisher_close(struct publisher *p, void (*on_closed)(void *arg), void *arg);

#endif

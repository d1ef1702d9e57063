/* broker/relay_impl.h - what relay.c and claims.c share. Private. [loop]
 *
 * claims.c: from a ticket to a granted claim with its journal. relay.c: the stay that follows.
 */
#ifndef BROKER_RELAY_IMPL_H
#define BROKER_RELAY_IMPL_H

#include "broker/relay.h"
#include "broker/runs.h"
#include "wire/message.h"

struct claim;
struct move;

/* Runs that wait for a process, or did in this stay, in the order in which they began (moves.c). */
struct moves_list {
    struct move *first, **last;
    uint64_t begun, ended;
};

struct relay {
    uv_loop_t *loop;
    struct session *session;
    struct consumer *consumer;
    struct relay_callbacks cb;
    void *arg;
    uint64_t slots;
    struct runs runs;
    struct moves_list moves;
    struct claim *active; /* CLAIMING, UNREAD and PAGING */
    struct claim *unread, **unread_tail; /* granted, to be read on */
    uint64_t paging_count;
    uint64_t active_count, waiting_count;
    struct claim *waiting, **waiting_tail;
    struct claim *crowd, **crowd_tail; /* tickets that found no free slot */
    uint64_t crowd_count;
    struct claim *spare_claims; /* no allocation a ticket, none an append */
    struct passed *spare_passed;
    uv_timer_t retry, crowd_timer;
    unsigned handles_open;
    uint64_t late_frames; /* of stays that are over; logged in powers of two */
    bool overrun; /* a run could not be given back: the session goes, and all runs with it */
    bool stopping;
};

static inline const char *text_of(const struct aiki_id *id, char text[AIKI_ID_TEXT_SIZE])
{
    id_text(id, text);
    return text;
}

/* ---- relay.c ---- */

/* A claim is not under way any more, or a stay is over. */
void relay_left(struct relay *r);
/* Look again at what waits, RELAY_RETRY_MS after the first of it came. */
void relay_retry_later(struct relay *r);
/* RELAY_CROWD_MS after the first of the crowd came. */
void relay_crowd_later(struct relay *r);
/* ASSIGN and what follows it; pages: empty, or as in relay_begin_stay. */
void relay_assign(struct conn *child, const struct msg_CLAIMED *m, aiki_view pages);
/* The broker's own last append of a stay: offer it again, or wait for a build that fits. */
void relay_release(struct relay *r, struct conn *c, struct run *run);
void relay_block(struct relay *r, struct run *run, aiki_view error);
/* What cannot be done while all runs are looked at: give the session up, a moment later. */
void relay_overrun(struct relay *r);
/* A claim was granted and its journal is complete. build: named in the claim; NULL when it was
 * lost meanwhile. pages: empty, or the journal's pages, each as one msgpack bin. */
void relay_begin_stay(struct relay *r, struct build *build, const struct msg_CLAIMED *m,
                      aiki_view pages);

/* ---- claims.c ---- */

/* Claims that wait for a session or for time are sent. */
void claims_send_waiting(struct relay *r);
/* As many of the crowd as there are slots. */
void claims_send_crowd(struct relay *r);
/* All of them: what is granted without a free slot is handed back. */
void claims_give_crowd_back(struct relay *r);
/* The journal of a run that is held, once more; moves_go_on gets it. to: the build it will go to, as far
 * as is known by now, or NULL; a long one is not read on while that has too much to read. False: it cannot
 * be asked for, and everything is given back. */
bool claims_read_again(struct relay *r, const struct run *run, struct build *to);
/* Read on as many long journals as may be. */
void claims_read_on(struct relay *r);
/* The session has ended, and with it their stay. */
void claims_drop_unread(struct relay *r);
/* What was claimed for one process goes to another; NULL: it is gone, or its process is. */
void claims_change_build(struct relay *r, const struct build *b, struct build *to);
/* Waiting ones are dropped: still pending in Redis, the server offers them again. */
void claims_drop_waiting(struct relay *r);
void claims_deinit(struct relay *r);

#endif

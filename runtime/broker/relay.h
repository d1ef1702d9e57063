/* broker/relay.h - from a ticket to a run in a child, and its appends to the server. [loop]
 *
 * Keeps who holds which run in which epoch. Passes frames on without decoding more than their
 * first fields. Fences on this side: what a stay that is over still produces goes nowhere.
 * Limits: slots runs at once, exactly. Tickets beyond that (a read may bring one a stream more, see
 * consumer.h) wait here for a slot; after RELAY_CROWD_MS they are claimed and handed back, so that
 * an idle worker elsewhere gets them. RELAY_PAGING_MAX journals of several pages are read at the
 * same time, and none for a child that has RELAY_UNREAD_BYTES_MAX or more to read.
 */
#ifndef BROKER_RELAY_H
#define BROKER_RELAY_H

#include "broker/builds.h"
#include "broker/consumer.h"
#include "broker/session.h"

enum { RELAY_PAGING_MAX = 2, RELAY_UNREAD_BYTES_MAX = 64 * 1024 * 1024 };
/* Before a claim or a hand-back that failed for a passing reason is repeated. */
enum { RELAY_RETRY_MS = 500, RELAY_CROWD_MS = 1000 };

struct relay;
struct relay_callbacks {
    /* NULL: there is none, or *ret_later: more builds are about to be known; relay_build_ready with
     * NULL tells. The callback may be NULL. */
    struct build *(*find_other)(const struct build_wanted *w, bool *ret_later, void *arg);
    /* A process for one run alone, see builds_find_alone. May be NULL, then no run asks for that. */
    struct build *(*find_alone)(const uint8_t *hash, bool *ret_later, void *arg);
    /* Whether a build (NULL: any) is not started any more, and why. May be NULL: none is. */
    bool (*is_revoked)(const uint8_t *hash, aiki_error *ret, void *arg);
    /* A stay has ended; nothing is held or being claimed any more when `held` is 0. */
    void (*on_left)(uint64_t held, void *arg);
    void (*on_closed)(void *arg);
};

aiki_status relay_create(struct relay **ret, uv_loop_t *loop, uint64_t slots,
                         struct session *session, const struct relay_callbacks *cb, void *arg,
                         aiki_error *err);
/* Before anything below is called. */
void relay_set_consumer(struct relay *r, struct consumer *c);
/* From now on. Runs held beyond it stay until they leave by themselves. */
void relay_set_slots(struct relay *r, uint64_t slots);
uint64_t relay_free_slots(const struct relay *r);
uint64_t relay_held(const struct relay *r); /* runs here, and claims under way */

/* s->user of a stream is the build that serves it, or NULL. */
void relay_ticket(struct relay *r, struct stream *s, struct entry_id entry, const struct ticket *t);
void relay_session_up(struct relay *r);
/* Give back what is held as far as the connection still carries it, and forget everything. */
void relay_session_ending(struct relay *r);
void relay_push(struct relay *r, const struct frame *f);
void relay_child_frame(struct relay *r, struct build *b, const struct frame *f);
/* The build's process is dead: its runs go back to the server. */
void relay_build_lost(struct relay *r, struct build *b);
/* Its process takes runs now; NULL: more builds are held than before. */
void relay_build_ready(struct relay *r, struct build *b);
/* Who waits for its process goes back to the server. */
void relay_build_given_up(struct relay *r, struct build *b);
/* Another process of the same build takes what was claimed for it from now on. */
void relay_build_replaced(struct relay *r, struct build *b, struct build *by);
/* It is not to be had any more. */
void relay_build_dropped(struct relay *r, struct build *b);
/* Another run may be executed alone. */
void relay_solo_free(struct relay *r);
/* Whether runs are with it, or on their way to it. Looks at all of them. */
bool relay_uses_build(struct relay *r, const struct build *b);
/* Whether runs are with it. The same. */
bool relay_build_has_run(struct relay *r, const struct build *b);
/* No new tickets from now on. */
void relay_stop(struct relay *r);
void relay_close(struct relay *r);

#endif

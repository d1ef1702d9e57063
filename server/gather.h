/* gather.h - collects the commands of one turn of the loop for the store thread. [loop]
 *
 *   connections, HTTP, publisher --gather_add--> batch --once a turn--> inbox of the store thread
 *                                                  ^------- used batches come back with outcomes
 *
 * While the store thread commits, the next batches wait in its inbox and are taken together; there
 * is no timer. Limit: COMMAND_BYTES_WAITING_MAX.
 */
#ifndef SERVER_GATHER_H
#define SERVER_GATHER_H

#include <uv.h>

#include "batch.h"

struct gather {
    struct postbox *inbox;
    struct batch *batch;    /* owned; the one being filled, or NULL */
    struct mail *spare;     /* owned; empty batches for reuse */
    unsigned spare_count;
    uint64_t waiting_bytes; /* handed over and not yet back */
    uv_check_t check;       /* after input was handled */
    uv_prepare_t prepare;   /* after timers and closed connections were */
    int open_handles;
    void (*on_closed)(void *arg);
    void *arg;
};

void gather_init(struct gather *g, uv_loop_t *loop, struct postbox *inbox);
/* What was gathered and not handed over is dropped; gather_post first. */
void gather_close(struct gather *g, void (*on_closed)(void *arg), void *arg);
/* payload is copied. It leaves before the loop waits again. */
void gather_add(struct gather *g, peer_id peer, uint32_t type, uint32_t correlation,
                aiki_view payload);
/* Hand over now. */
void gather_post(struct gather *g);
/* Batches that came back. */
void gather_take_back(struct gather *g, struct mail *used);
/* Whether a request of that size may still join. AIKI_UNAVAILABLE names the limit. */
aiki_status gather_room(const struct gather *g, uint64_t size_bytes, aiki_error *err);
/* Of all commands that are not decided yet. */
uint64_t gather_waiting_bytes(const struct gather *g);

#endif

/* gather.c - see gather.h. */
#include "gather.h"

#include <string.h>

#include "base/cleanup.h"
#include "wire/error.h"

enum { SPARE_MAX = 8 };

static void on_check(uv_check_t *h)
{
    gather_post(container_of(h, struct gather, check));
}
static void on_prepare(uv_prepare_t *h)
{
    gather_post(container_of(h, struct gather, prepare));
}

void gather_init(struct gather *g, uv_loop_t *loop, struct postbox *inbox)
{
    memset(g, 0, sizeof(*g));
    g->inbox = inbox;
    (void)uv_check_init(loop, &g->check); /* none of the four can fail */
    (void)uv_prepare_init(loop, &g->prepare);
    (void)uv_check_start(&g->check, on_check);
    (void)uv_prepare_start(&g->prepare, on_prepare);
    uv_unref((uv_handle_t *)&g->check);
    uv_unref((uv_handle_t *)&g->prepare);
    g->open_handles = 2;
}

static void drop_all(struct gather *g)
{
    batch_destroy(g->batch);
    g->batch = NULL;
    while (g->spare != NULL) {
        struct batch *b = container_of(g->spare, struct batch, mail);
        g->spare = g->spare->next;
        batch_destroy(b);
    }
    g->spare_count = 0;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct gather *g = h->data;
    if (--g->open_handles > 0)
        return;
    drop_all(g);
    g->on_closed(g->arg);
}

void gather_close(struct gather *g, void (*on_closed)(void *arg), void *arg)
{
    g->on_closed = on_closed;
    g->arg = arg;
    g->check.data = g->prepare.data = g;
    uv_close((uv_handle_t *)&g->check, on_handle_closed);
    uv_close((uv_handle_t *)&g->prepare, on_handle_closed);
}

static struct batch *empty_batch(struct gather *g)
{
    if (g->spare == NULL)
        return batch_create();
    struct batch *b = container_of(g->spare, struct batch, mail);
    g->spare = g->spare->next;
    g->spare_count--;
    return b;
}

void gather_add(struct gather *g, peer_id peer, uint32_t type, uint32_t correlation,
                aiki_view payload)
{
    if (g->batch == NULL)
        g->batch = empty_batch(g);
    batch_add(g->batch, peer, type, correlation, payload);
}

void gather_post(struct gather *g)
{
    struct batch *b = g->batch;
    if (b == NULL)
        return;
    g->batch = NULL;
    g->waiting_bytes += b->bytes.size_bytes;
    postbox_post(g->inbox, &b->mail);
}

void gather_take_back(struct gather *g, struct mail *used)
{
    for (struct mail *next; used != NULL; used = next) {
        struct batch *b = container_of(used, struct batch, mail);
        next = used->next;
        g->waiting_bytes -= b->bytes.size_bytes;
        if (g->spare_count >= SPARE_MAX) {
            batch_destroy(b);
            continue;
        }
        batch_clear(b);
        used->next = g->spare;
        g->spare = used;
        g->spare_count++;
    }
}

uint64_t gather_waiting_bytes(const struct gather *g)
{
    return g->waiting_bytes + (g->batch != NULL ? g->batch->bytes.size_bytes : 0);
}

aiki_status gather_room(const struct gather *g, uint64_t size_bytes, aiki_error *err)
{
    uint64_t waiting_bytes = gather_waiting_bytes(g);
    if (waiting_bytes + size_bytes <= COMMAND_BYTES_WAITING_MAX)
        return AIKI_OK;
    return error_code(err, AIKI_UNAVAILABLE, "OVERLOADED",
                      "COMMAND_BYTES_WAITING_MAX: %llu bytes of requests wait for the store, at "
                      "most %d may; try again",
                      (unsigned long long)waiting_bytes, COMMAND_BYTES_WAITING_MAX);
}

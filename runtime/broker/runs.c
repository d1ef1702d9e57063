/* runs.c - chained hash table over the hash of the id. */
#include "broker/runs.h"

#include "broker/moves.h"

#include <stdlib.h>

#include "base/buf.h"

static struct run **bucket(struct runs *rs, const struct aiki_id *id)
{
    return &rs->buckets[id_hash(id) % RUN_BUCKETS];
}

struct run *runs_find(struct runs *rs, const struct aiki_id *id)
{
    for (struct run *r = *bucket(rs, id); r != NULL; r = r->next)
        if (id_equal(&r->id, id))
            return r;
    return NULL;
}

struct run *runs_add(struct runs *rs, const struct aiki_id *id, uint64_t epoch)
{
    struct run *r = rs->spare;
    if (r != NULL)
        rs->spare = r->next;
    else if ((r = malloc(sizeof(*r))) == NULL)
        return NULL;
    struct run **head = bucket(rs, id);
    *r = (struct run){.next = *head, .id = *id, .epoch = epoch};
    *head = r;
    rs->count++;
    return r;
}

void runs_remove(struct runs *rs, struct run *run)
{
    for (struct run **at = bucket(rs, &run->id); *at != NULL; at = &(*at)->next) {
        if (*at == run) {
            *at = run->next;
            rs->count--;
            struct move *move = run->move;
            run->move = NULL;
            buf_deinit(&run->crash);
            run->moving = false;
            run->next = rs->spare;
            rs->spare = run;
            move_destroy(move); /* a build may hear of it */
            return;
        }
    }
}

void runs_each(struct runs *rs, void (*fn)(struct run *run, void *arg), void *arg)
{
    for (size_t i = 0; i < RUN_BUCKETS; i++) {
        for (struct run *r = rs->buckets[i], *next; r != NULL; r = next) {
            next = r->next;
            fn(r, arg);
        }
    }
}

static void give_up(struct run *run, void *arg)
{
    runs_remove(arg, run);
}

void runs_deinit(struct runs *rs)
{
    runs_each(rs, give_up, rs);
    while (rs->spare != NULL) {
        struct run *r = rs->spare;
        rs->spare = r->next;
        free(r);
    }
}

/* joins.c - who waits for a run's end by a shared key, and whether a join would close a circle.
 *
 *   A --joins--> B --started--> C --would join--> A        C's end is waited for by B, B's by A: refused
 *
 * Who waits for a run is its parent, unless it is detached, and those who joined it, whom its JOINED events
 * name. So the walk goes from the run that asks to those who wait for it, and on: the run with the key
 * among them is a circle. Every circle is closed by a join, for a new run is waited for by nobody else
 * and waits for nobody; so nothing is looked at but here. Limit: JOIN_WALK_RUNS_MAX runs; what is further
 * is not found, and waits until somebody ends one of them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pipeline.h"
#include "wire/error.h"

enum { JOINED_PAGE_BYTES = 256 * 1024, JOIN_WALK_RUNS_MAX = 256, CIRCLE_NAMED_MAX = 3 };

struct waiting {
    struct aiki_id id;
    unsigned waits_for; /* index of another one; the first one is the run that asks */
};

struct walk {
    struct pipeline *p;
    const struct aiki_id *sought;
    unsigned count;
    int found; /* index; -1: not yet */
    struct waiting all[JOIN_WALK_RUNS_MAX];
};

aiki_status joins_of(struct pipeline *p, struct entry *e, struct joined **ret, size_t *ret_count,
                     aiki_error *err)
{
    size_t capacity = 0;
    aiki_status status = AIKI_OK;
    aiki_view events;
    *ret = NULL;
    *ret_count = 0;
    /* A longer run is not joined: what is behind need not be read. */
    for (uint64_t seq = 0, last_seq; seq < e->run.seq && seq < RUN_JOIN_EVENTS_MAX; seq = last_seq) {
        aiki_reader r;
        struct event event;
        status = run_journal(p, e, seq, JOINED_PAGE_BYTES, &events, &last_seq, err);
        if (status == AIKI_OK && last_seq == seq)
            status = error_set(err, AIKI_CORRUPT, "a run has no event %llu",
                               (unsigned long long)seq + 1);
        if (status != AIKI_OK)
            break;
        aiki_reader_init(&r, events);
        while (event_read_stored(&r, &event, NULL) == AIKI_OK) {
            if (event.kind != EVENT_JOINED)
                continue;
            *ret = array_grow(*ret, &capacity, *ret_count, sizeof(**ret));
            (*ret)[(*ret_count)++] = (struct joined){event.as.joined.parent, event.as.joined.child};
        }
    }
    return status;
}

static void note(struct walk *w, const struct aiki_id *id, unsigned waits_for)
{
    for (unsigned i = 0; i < w->count; i++)
        if (id_equal(&w->all[i].id, id))
            return;
    if (w->count == JOIN_WALK_RUNS_MAX || w->found >= 0)
        return;
    if (id_equal(id, w->sought))
        w->found = (int)waits_for;
    w->all[w->count++] = (struct waiting){*id, waits_for};
}

static aiki_status note_waiters(struct walk *w, struct entry *e, unsigned index, aiki_error *err)
{
    struct joined *joined = NULL;
    size_t count = 0;
    aiki_status status = AIKI_OK;
    if (run_state_is_terminal(e->run.state))
        return AIKI_OK;
    if (!id_is_zero(&e->parent) && (e->run.flags & RUN_FLAG_DETACHED) == 0)
        note(w, &e->parent, index);
    if ((e->run.flags & RUN_FLAG_JOINED) != 0)
        status = joins_of(w->p, e, &joined, &count, err);
    for (size_t i = 0; i < count; i++)
        note(w, &joined[i].parent, index);
    free(joined);
    return status;
}

static aiki_status name_circle(const struct walk *w, aiki_error *err)
{
    char chain[CIRCLE_NAMED_MAX * (AIKI_ID_TEXT_SIZE + 20) + 20] = "", text[AIKI_ID_TEXT_SIZE];
    int size = 0;
    unsigned at = (unsigned)w->found;
    for (unsigned named = 0; at != 0 && named < CIRCLE_NAMED_MAX; named++, at = w->all[at].waits_for) {
        id_text(&w->all[at].id, text);
        size += snprintf(chain + size, sizeof(chain) - (size_t)size, "%s, that for ", text);
    }
    id_text(w->sought, text);
    return error_code(err, AIKI_CONFLICT, "JOIN_CIRCLE",
                      "the key belongs to run %s, which waits for %s%sthis run: neither would end", text,
                      chain, at != 0 ? "others, those for " : "");
}

aiki_status joins_check(struct pipeline *p, struct entry *asks, const struct aiki_id *holder,
                        bool *ret_unread, aiki_error *err)
{
    struct walk w = {.p = p, .sought = holder, .count = 1, .found = -1};
    aiki_status status = AIKI_OK;
    w.all[0].id = asks->id;
    *ret_unread = false;
    for (unsigned i = 0; status == AIKI_OK && i < w.count && w.found < 0; i++) {
        struct entry *e = asks;
        if (i > 0 && (status = run_load(p, &w.all[i].id, &e, err)) == AIKI_NOT_FOUND) {
            status = AIKI_OK;
            continue;
        }
        if (status == AIKI_OK)
            status = note_waiters(&w, e, i, err);
        if (i > 0 && status == AIKI_OK)
            cache_rest(&p->cache, e);
    }
    *ret_unread = status != AIKI_OK;
    if (status == AIKI_OK && w.found >= 0)
        status = name_circle(&w, err);
    return status;
}

/* joins.c - who waits for a run's end by a shared key, and circles of runs that wait for each other.
 *
 *   A --joins--> B --started--> C --joins--> A        none of them ends
 *
 * Who may wait for a run is its parent, unless it is detached, and those who joined it, whom its JOINED
 * events name. The walk goes from a run to those, and on. Every circle is closed by a join, for a new run is
 * waited for by nobody else and waits for nobody; so it is looked for there. But who may wait need not: a
 * parent goes on beside its child, a wait has a limit, or another wait ends first. Whoever could be part of
 * a circle is marked (RUN_FLAG_RING) and looked at again whenever it parks for children:
 *
 *   stuck: it is parked, all that it waits for are ends of runs, without a limit, and all of them are stuck
 *
 * When the last one parks, none can go on by itself: one of the calls that joined fails (JOIN_CIRCLE). Limit:
 * JOIN_WALK_RUNS_MAX runs; what is further is not found, and waits until somebody ends one of them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/planted.h"
#include "pipeline.h"
#include "wire/error.h"

enum { JOINED_PAGE_BYTES = 256 * 1024, CIRCLE_NAMED_MAX = 4, NOBODY = -1 };

/* Entries are held until the walk ends. */
struct walk {
    struct pipeline *p;
    unsigned count;
    struct {
        struct entry *entry;
        bool stuck;
    } all[JOIN_WALK_RUNS_MAX];
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

/* ---- the walk -------------------------------------------------------------------------------- */

/* False: there are too many. */
static bool note(struct walk *w, struct entry *e)
{
    for (unsigned i = 0; i < w->count; i++)
        if (w->all[i].entry == e)
            return true;
    if (w->count == JOIN_WALK_RUNS_MAX)
        return false;
    cache_hold(&w->p->cache, e);
    w->all[w->count++].entry = e;
    return true;
}

/* Who has ended waits for nobody; who is gone from the store has. */
static aiki_status note_run(struct walk *w, const struct aiki_id *id, aiki_error *err)
{
    struct entry *e;
    aiki_status status = run_load(w->p, id, &e, err);
    if (status != AIKI_OK)
        return status == AIKI_NOT_FOUND ? AIKI_OK : status;
    if (run_state_is_terminal(e->run.state) || !note(w, e))
        cache_rest(&w->p->cache, e);
    return AIKI_OK;
}

static aiki_status note_waiters(struct walk *w, struct entry *e, aiki_error *err)
{
    struct joined *joined = NULL;
    size_t count = 0;
    aiki_status status = AIKI_OK;
    if (!id_is_zero(&e->parent) && (e->run.flags & RUN_FLAG_DETACHED) == 0)
        status = note_run(w, &e->parent, err);
    if (status == AIKI_OK && (e->run.flags & RUN_FLAG_JOINED) != 0)
        status = joins_of(w->p, e, &joined, &count, err);
    for (size_t i = 0; i < count && status == AIKI_OK; i++)
        status = note_run(w, &joined[i].parent, err);
    free(joined);
    return status;
}

/* All who may wait for `from`, and it. */
static aiki_status walk_from(struct walk *w, struct pipeline *p, struct entry *from, aiki_error *err)
{
    aiki_status status = AIKI_OK;
    w->p = p;
    w->count = 0;
    (void)note(w, from);
    for (unsigned i = 0; status == AIKI_OK && i < w->count; i++)
        status = note_waiters(w, w->all[i].entry, err);
    return status;
}

/* The first one is the caller's. */
static void walk_end(struct walk *w)
{
    for (unsigned i = 1; i < w->count; i++)
        cache_rest(&w->p->cache, w->all[i].entry);
}

aiki_status joins_mark(struct pipeline *p, struct entry *asks, struct entry *holder, aiki_error *err)
{
    struct walk w;
    bool closes = false;
    aiki_status status = walk_from(&w, p, asks, err);
    for (unsigned i = 0; i < w.count && status == AIKI_OK; i++)
        closes |= w.all[i].entry == holder;
    for (unsigned i = 0; i < w.count && closes; i++) {
        (void)unit_touch(p, w.all[i].entry);
        w.all[i].entry->run.flags |= RUN_FLAG_RING;
    }
    walk_end(&w);
    return status;
}

/* ---- who is stuck ---------------------------------------------------------------------------- */

static bool is_meant(const struct entry *e, const struct wait *wait)
{
    if (wait->key.size_bytes == 0)
        return id_equal(&e->id, &wait->child);
    return !e->key_dropped && view_equal(e->key, wait->key) && view_is(wait->name, e->flow->name);
}

/* Whose end that is; NOBODY: of none of them. */
static int target_of(const struct walk *w, const struct wait *wait)
{
    for (unsigned i = 0; i < w->count; i++)
        if (is_meant(w->all[i].entry, wait))
            return (int)i;
    return NOBODY;
}

/* The waits of a parked run, of which each has to be read. */
static uint64_t open_waits(const struct entry *e, aiki_reader *ret)
{
    aiki_reader_init(ret, e->run.waits);
    return e->run.waits.size_bytes > 0 ? aiki_mp_read_array(ret) : 0;
}

static bool is_stuck(const struct walk *w, const struct entry *e)
{
    struct wait wait;
    aiki_reader r;
    uint64_t count = open_waits(e, &r);
    bool stuck = e->run.state == RUN_AWAITING_CHILD && count > 0 && count < JOIN_WALK_RUNS_MAX;
    for (; count > 0 && stuck; count--) {
        stuck = wait_read(&r, &wait) == AIKI_OK && wait.kind == STEP_CHILD && wait.due_at_ms == 0;
        int target = stuck ? target_of(w, &wait) : NOBODY;
        stuck = target != NOBODY && w->all[target].stuck;
    }
    return stuck;
}

/* Whoever waits for one that can go on can go on. */
static void find_stuck(struct walk *w)
{
    bool changed = true;
    for (unsigned i = 0; i < w->count; i++)
        w->all[i].stuck = true;
    while (changed) {
        changed = false;
        for (unsigned i = 0; i < w->count; i++) {
            if (!w->all[i].stuck || is_stuck(w, w->all[i].entry))
                continue;
            w->all[i].stuck = false;
            changed = true;
        }
    }
}

/* ---- untying --------------------------------------------------------------------------------- */

/* Of one that is stuck: what it waits for first. */
static unsigned next_of(const struct walk *w, unsigned i, struct wait *ret)
{
    aiki_reader r;
    (void)open_waits(w->all[i].entry, &r);
    (void)wait_read(&r, ret); /* all of them were read */
    return (unsigned)target_of(w, ret);
}

static void name_circle(const struct walk *w, unsigned holder, unsigned caller, aiki_error *err)
{
    char chain[CIRCLE_NAMED_MAX * (AIKI_ID_TEXT_SIZE + 20) + 20] = "", text[AIKI_ID_TEXT_SIZE];
    int size = 0;
    struct wait wait;
    unsigned at = next_of(w, holder, &wait);
    for (unsigned named = 0; at != caller && named < CIRCLE_NAMED_MAX; named++, at = next_of(w, at, &wait)) {
        id_text(&w->all[at].entry->id, text);
        size += snprintf(chain + size, sizeof(chain) - (size_t)size, "%s, that for ", text);
    }
    id_text(&w->all[holder].entry->id, text);
    (void)error_code(err, AIKI_CONFLICT, "JOIN_CIRCLE",
                     "the key belongs to run %s, which waits for %s%sthis run: none of them would end", text,
                     chain, at != caller ? "others, those for " : "");
}

/* Every time that it has joined that run: what it knows by now, it ignores. */
static aiki_status fail_joins(struct walk *w, unsigned caller, unsigned holder, aiki_error *err)
{
    struct joined *joined;
    size_t count;
    aiki_error why = {.struct_size = sizeof(why)};
    struct entry *e = w->all[caller].entry;
    name_circle(w, holder, caller, &why);
    aiki_status status = joins_of(w->p, w->all[holder].entry, &joined, &count, err);
    for (size_t i = 0; i < count && status == AIKI_OK; i++)
        if (id_equal(&joined[i].parent, &e->id))
            child_record_failed(w->p, e, &joined[i].child, &why);
    free(joined);
    return status;
}

/* From one that is stuck to what it waits for, and on, one comes round; from there, or rather from the one that
 * has just parked, to the first call that joined. */
static aiki_status untie(struct walk *w, aiki_error *err)
{
    struct wait wait;
    unsigned at = 0;
    for (unsigned steps = 0; steps < w->count; steps++)
        at = next_of(w, at, &wait);
    for (unsigned steps = 0; steps < w->count && at != 0; steps++)
        at = next_of(w, at, &wait);
    for (unsigned steps = 0; steps < w->count; steps++) {
        unsigned next = next_of(w, at, &wait);
        if (wait.key.size_bytes > 0 && !id_equal(&w->all[next].entry->parent, &w->all[at].entry->id))
            return fail_joins(w, at, next, err);
        at = next;
    }
    return error_set(err, AIKI_INTERNAL, "runs wait for each other, and none has joined another");
}

aiki_status joins_untie(struct pipeline *p, struct entry *parked, aiki_error *err)
{
    struct walk w;
    aiki_status status = walk_from(&w, p, parked, err);
    if (status == AIKI_OK) {
        find_stuck(&w);
        if (w.all[0].stuck && !BUG(circle_left))
            status = untie(&w, err);
    }
    walk_end(&w);
    return status;
}

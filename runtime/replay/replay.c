/* replay.c - calls, waits and the recorded part of a run. live.c goes on where this ends.
 *
 *   replay_call: journal_find --found--> the step is called (consumed)
 *                             --absent-> a new step, PHASE_NEW until the run is live
 *   replay_next, not live: show the next delivery; the wait is over? RESUME.
 *                          none left: all called? live. else DIVERGED.
 *
 * Why deliveries are shown only while the code waits: what the code can see between two waits
 * must not depend on how fast results came. Why one at a time: await(any) must see on replay
 * exactly the first one, although the journal already knows the second.
 */
#include "replay/replay.h"

#include <string.h>

#include "base/planted.h"
#include "replay/diverge.h"
#include "wire/error.h"

enum { FUTURES_FIRST = 16, KEYED_KIND = 0x80 };

static bool show_next(struct replay *r);

static const struct task_policy default_policy = {
    .retry = {.attempts_max = RETRY_ATTEMPTS_DEFAULT,
              .factor_percent = RETRY_FACTOR_PERCENT_DEFAULT,
              .delay_ms = RETRY_DELAY_MS_DEFAULT,
              .delay_ms_max = RETRY_DELAY_MS_MAX_DEFAULT}};

/* ---- life -------------------------------------------------------------------------------- */

static bool grow_events(aiki_writer *w, uint64_t capacity_min_bytes)
{
    struct replay *r = w->arg;

    return replay_memory_grow(&r->journal.memory, w, capacity_min_bytes);
}

static void queue_init(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
}

void replay_init(struct replay *r, struct replay_memory memory)
{
    memset(r, 0, sizeof(*r));
    journal_init(&r->journal, memory);
    queue_init(&r->held);
    queue_init(&r->ready);
    queue_init(&r->waiting);
    r->events = (aiki_writer){.grow = grow_events, .arg = r};
}

/* All recorded outcomes shown and all recorded steps called: from here on things are real. */
static void settle(struct replay *r)
{
    const struct journal *j = &r->journal;

    if (r->live || r->ahead.on)
        return;
    while (r->next_delivery < j->delivery_count && j->deliveries[r->next_delivery] != NULL &&
           j->deliveries[r->next_delivery]->phase == PHASE_SHOWN)
        r->next_delivery++;
    if (r->next_delivery < j->delivery_count || r->uncalled > 0)
        return;
    r->live = true;
    for (uint32_t i = 0; i < r->future_count; i++) {
        if (r->futures[i]->phase == PHASE_NEW)
            live_start(r, r->futures[i]);
        else if (r->futures[i]->unrecorded)
            live_record_done(r, r->futures[i]);
    }
}

void replay_begin(struct replay *r)
{
    r->uncalled = r->journal.required;
    settle(r);
}

/* ---- calls ------------------------------------------------------------------------------- */

static aiki_status copy(struct replay *r, aiki_view v, aiki_view *ret)
{
    uint8_t *bytes = NULL;

    if (v.size_bytes > 0) {
        bytes = r->journal.memory.alloc(r->journal.memory.arg, v.size_bytes);
        if (bytes == NULL)
            return AIKI_NOMEM;
        memcpy(bytes, v.data, v.size_bytes);
    }
    *ret = (aiki_view){bytes, v.size_bytes};
    return AIKI_OK;
}

static aiki_status add_future(struct replay *r, struct step *s)
{
    if (r->future_count == r->future_capacity) {
        uint32_t capacity = r->future_capacity == 0 ? FUTURES_FIRST : r->future_capacity * 2;
        struct step **list = r->journal.memory.alloc(r->journal.memory.arg, capacity * sizeof(*list));
        if (list == NULL)
            return AIKI_NOMEM;
        if (r->future_count > 0)
            memcpy(list, r->futures, r->future_count * sizeof(*list));
        r->futures = list;
        r->future_capacity = capacity;
    }
    r->futures[r->future_count++] = s;
    s->future = r->future_count;
    return AIKI_OK;
}

/* s: the step, NULL unless a crash in it is all that the journal has of it. */
static aiki_status add_step(struct replay *r, const struct step_call *call,
                            const struct address *a, uint64_t nth, struct step *s,
                            struct step **ret)
{
    if (s == NULL)
        s = journal_add(&r->journal, a, nth);
    if (s == NULL)
        return r->journal.step_count >= JOURNAL_STEPS_MAX ? AIKI_LIMIT : AIKI_NOMEM;
    s->kind = call->kind;
    aiki_status st = copy(r, call->name, &s->name);
    if (st == AIKI_OK)
        st = copy(r, call->input, &s->input);
    *ret = s;
    return st;
}

static aiki_status take_step(struct replay *r, const struct step_call *call,
                             const struct address *a, struct step **ret)
{
    struct step *first = journal_find(&r->journal, a, 0);
    uint64_t nth = first != NULL ? first->calls : 0;
    struct step *s = nth == 0 ? first : journal_find(&r->journal, a, nth);
    aiki_status st = AIKI_OK;

    if (s == NULL || s->kind == 0)
        st = add_step(r, call, a, nth, s, &s);
    if (st == AIKI_OK)
        st = add_future(r, s);
    if (st != AIKI_OK)
        return st;
    if (nth == 0)
        first = s;
    first->calls++;
    s->called = true;
    s->turn = r->turn;
    s->duration_ms =
        s->on_record && call->duration_is_setting ? s->recorded_ms : call->duration_ms;
    s->policy = call->policy != NULL ? call->policy : &default_policy;
    s->task = call->task;
    s->barred = call->barred;
    s->undefined = call->undefined;
    s->expects = call->expects;
    s->barrier = r->events_seen;
    s->shielded = r->protections > 0;
    s->until = call->until;
    if (call->until && !BUG(until_forgotten))
        s->due_at_ms = call->until_ms;
    r->uncalled -= s->required;
    *ret = s;
    return call->kind == STEP_CHILD ? children_call(r, s, call->child) : AIKI_OK;
}

/* A side value was shown the moment it was captured, not when the code next waited: behind what is
 * on record before it. A build that takes it earlier than it was captured sees it so too, and the
 * same on every further replay. */
static void show_side(struct replay *r, struct step *s)
{
    while (s->phase != PHASE_SHOWN && show_next(r))
        ;
    s->phase = PHASE_SHOWN;
}

/* A key stands for the input; the kind keeps it apart from an input that looks the same. */
static aiki_status make_address(const struct step_call *call, struct address *ret, aiki_error *err)
{
    uint8_t memory[CALL_KEY_BYTES_MAX + 8];
    aiki_writer key;

    if (call->key.size_bytes == 0)
        return address_make(call->kind, call->name, call->input, ret, err);
    aiki_writer_init_fixed(&key, memory, sizeof(memory));
    aiki_mp_strn(&key, call->key.data, call->key.size_bytes);
    return address_make(call->kind | KEYED_KIND, call->name, aiki_writer_view(&key), ret, err);
}

aiki_status replay_call(struct replay *r, const struct step_call *call, struct step **ret,
                        aiki_error *err)
{
    struct address a;
    struct step *s;
    aiki_status st = make_address(call, &a, err);

    if (st != AIKI_OK)
        return st;
    if (call->once && (s = journal_find(&r->journal, &a, 0)) != NULL && s->called) {
        *ret = s;
        return AIKI_OK;
    }
    st = take_step(r, call, &a, &s);
    if (st != AIKI_OK) {
        r->status = st; /* depends on this process, so the code must not act on it */
        if (st == AIKI_LIMIT)
            return error_set(err, st, "the run has over %d steps; split it up", JOURNAL_STEPS_MAX);
        return error_set(err, st, "no memory for step %u of the run", r->future_count + 1);
    }
    *ret = s;
    if (s->kind == STEP_SIDE && s->done_on_record)
        show_side(r, s);
    if (r->cancel_seen && !s->shielded && s->kind != STEP_SIDE)
        cancel_step(r, s);
    if (r->ahead.on && s->kind == STEP_SIDE && s->phase != PHASE_SHOWN)
        ahead_invent(r, s);
    bool was_live = r->live;
    settle(r);
    if (was_live && !r->ahead.on && s->phase == PHASE_NEW)
        live_start(r, s);
    return AIKI_OK;
}

struct step *replay_future(const struct replay *r, uint32_t future)
{
    return future == 0 || future > r->future_count ? NULL : r->futures[future - 1];
}

/* ---- waits ------------------------------------------------------------------------------- */

aiki_status replay_await(struct replay *r, const uint32_t *futures, uint32_t count,
                         uint32_t needed, bool *ret_satisfied, aiki_error *err)
{
    uint32_t shown = 0;

    if (needed > count || (count > 0 && futures == NULL))
        return error_set(err, AIKI_INVALID, "await of %u out of %u futures", needed, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct step *s = replay_future(r, futures[i]);
        if (s == NULL)
            return error_set(err, AIKI_INVALID, "await: future %u does not exist, the last is %u",
                             futures[i], r->future_count);
        shown += s->phase == PHASE_SHOWN;
    }
    *ret_satisfied = shown >= needed;
    r->interrupted = false;
    if (*ret_satisfied)
        return AIKI_OK;
    if (r->cancel_seen && r->protections == 0)
        return replay_why_cancelled(r, err);
    r->awaited = futures;
    r->awaited_count = count;
    r->missing = needed - shown;
    r->turn++;
    for (uint32_t i = 0; i < count; i++)
        replay_future(r, futures[i])->awaited++;
    return AIKI_OK;
}

void replay_end_wait(struct replay *r)
{
    for (uint32_t i = 0; i < r->awaited_count; i++)
        replay_future(r, r->awaited[i])->awaited = 0;
    r->awaited = NULL;
    r->awaited_count = r->missing = 0;
    r->for_live = r->for_room = false;
}

void replay_show(struct replay *r, struct step *s)
{
    s->phase = PHASE_SHOWN;
    r->missing -= s->awaited < r->missing ? s->awaited : r->missing;
}

bool replay_has_room(struct replay *r)
{
    r->for_room = r->live && r->events.size_bytes >= REPLAY_UNSENT_BYTES_MAX;
    return !r->for_room;
}

bool replay_side_ready(struct replay *r)
{
    r->for_live = !r->live;
    return !r->for_live && replay_undefined(r) == NULL && replay_has_room(r);
}

aiki_status replay_side(struct replay *r, struct step *s, aiki_view value, aiki_view error)
{
    aiki_status st = copy(r, value, &s->value);

    if (st == AIKI_OK)
        st = copy(r, error, &s->error);
    if (st != AIKI_OK) {
        r->status = st;
        return st;
    }
    s->outcome = error.size_bytes > 0 ? OUTCOME_FAILED : OUTCOME_OK;
    live_record_done(r, s);
    s->phase = PHASE_SHOWN;
    return r->events.status;
}

bool replay_may_return(struct replay *r)
{
    const struct journal *j = &r->journal;

    /* What an earlier pass left behind need not be looked at by this one. */
    while (r->next_delivery < j->delivery_count && j->deliveries[r->next_delivery] != NULL &&
           !j->deliveries[r->next_delivery]->required)
        replay_show(r, j->deliveries[r->next_delivery++]);
    settle(r);
    return (r->live && r->disputed == NULL) || BUG(divergence_unseen);
}

/* ---- what next --------------------------------------------------------------------------- */

/* Show the next delivery. False: it does not fit what the code does now. */
static bool show_next(struct replay *r)
{
    struct step *s;

    if (r->disputed != NULL || r->next_delivery == r->journal.delivery_count)
        return false;
    s = r->journal.deliveries[r->next_delivery];
    if (s == NULL ? !cancel_may_be_seen(r) : s->phase != PHASE_SHOWN && cancel_is_on_record(s))
        return false;
    r->next_delivery++;
    if (s == NULL)
        cancel_see(r);
    else if (s->phase != PHASE_SHOWN)
        replay_show(r, s);
    return r->disputed == NULL;
}

enum replay_verdict replay_next(struct replay *r, int64_t now_ms, struct step **ret_step)
{
    *ret_step = NULL;
    r->now_ms = now_ms;
    if (r->ahead.on)
        return ahead_next(r);
    bool waits = r->missing > 0 || r->for_live || r->for_room;
    while (waits && !r->live) {
        if (!show_next(r))
            return REPLAY_DIVERGED;
        waits = r->missing > 0 || r->for_live;
        settle(r);
    }
    if (r->disputed != NULL)
        return REPLAY_DIVERGED;
    if (r->live)
        return live_next(r, ret_step);
    replay_end_wait(r);
    return REPLAY_RESUME;
}

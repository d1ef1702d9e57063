/* outside_world.h - what comes from outside to a run of replay_world.h, and programs that wait for it.
 * Include it behind cmocka.h.
 */
#ifndef SUPPORT_OUTSIDE_WORLD_H
#define SUPPORT_OUTSIDE_WORLD_H

#include "replay_world.h"
#include "wire/child.h"

/* ---- the server's side ------------------------------------------------------------------- */

static inline void arrive(struct world *w, uint64_t kind)
{
    const struct event e = {.kind = kind, .as.control.reason = {NULL, 0}};
    keep_event(w, &e);
}

static inline void end_child(struct world *w, const struct aiki_id *id, uint64_t state, uint8_t output)
{
    uint8_t memory[256];
    aiki_error err;
    aiki_writer map;
    struct event e = {.kind = EVENT_CHILD_DONE};
    aiki_writer_init_fixed(&map, memory, sizeof(memory));
    (void)error_code(&err, AIKI_CANCELLED, "ENDED", "%s", run_state_name(state));
    error_write(&map, &err);
    e.as.child_done.child = *id;
    e.as.child_done.state = state;
    if (state == RUN_COMPLETED)
        e.as.child_done.output = (aiki_view){&output, 1};
    else
        e.as.child_done.error = aiki_writer_view(&map);
    keep_event(w, &e);
}

/* Events of a kind, and the outcome or id of the last of them. */
struct found {
    unsigned count;
    uint64_t outcome, pass;
    struct aiki_id child;
};
static inline struct found find(const struct world *w, uint64_t kind)
{
    static const struct aiki_id nobody;
    struct found f = {0};
    struct child_options o;
    aiki_reader r;
    struct event e;
    aiki_reader_init(&r, (aiki_view){w->journal, w->journal_bytes});
    while (event_read_stored(&r, &e, NULL) == AIKI_OK) {
        if (e.kind != kind)
            continue;
        f.count++;
        if (kind == EVENT_STEP_DONE)
            f.outcome = e.as.step.outcome;
        if (kind == EVENT_STEP_BEGUN && e.as.step.identity_kind == STEP_CHILD) {
            assert_int_equal(child_options_read(e.as.step.options, &o), AIKI_OK);
            f.pass = o.pass;
            f.child = child_id(&nobody, &e.as.step.address, e.as.step.nth, o.pass);
        }
    }
    return f;
}

/* ---- the code's side --------------------------------------------------------------------- */

static inline aiki_status wait_for(struct world *w, const uint32_t *futures, uint32_t n, uint32_t needed)
{
    bool satisfied = true;
    aiki_status st = replay_await(&w->r, futures, n, needed, &satisfied, NULL);
    if (st == AIKI_OK && !satisfied) {
        fiber_yield();
        st = w->r.interrupted ? AIKI_CANCELLED : AIKI_OK;
    }
    return st;
}

/* A nap of an hour between two tasks; the second one is the cleanup if it has to be. */
static inline uint64_t nap_between(struct world *w)
{
    uint64_t sum = result(w, task(w, "a", 1));
    uint32_t nap = timed(w, STEP_SLEEP, "nap", 3600000);
    if (wait_for(w, &nap, 1, 1) == AIKI_OK)
        return sum + result(w, task(w, "b", 2));
    assert_int_equal(replay_future(&w->r, nap)->outcome, OUTCOME_CANCELLED);
    uint32_t late = task(w, "late", 3); /* not in a protected scope: never starts */
    assert_int_equal(wait_for(w, &late, 1, 1), AIKI_OK); /* it is over already */
    assert_int_equal(replay_future(&w->r, late)->outcome, OUTCOME_CANCELLED);
    replay_protect(&w->r, true);
    uint32_t undo = task(w, "undo", 4);
    assert_int_equal(wait_for(w, &undo, 1, 1), AIKI_OK);
    uint32_t breath = timed(w, STEP_SLEEP, "breath", 60000);
    assert_int_equal(wait_for(w, &breath, 1, 1), AIKI_OK);
    replay_protect(&w->r, false);
    return 100 + number_of(replay_future(&w->r, undo)->value);
}

static inline uint64_t both_one_by_one(struct world *w)
{
    uint32_t f[2] = {task(w, "a", 1), task(w, "b", 2)};
    assert_int_equal(wait_for(w, f, 2, 1), AIKI_OK);
    assert_int_equal(wait_for(w, f, 2, 2), AIKI_OK);
    return number_of(shown(w, f[0])->value) + number_of(shown(w, f[1])->value);
}

/* ---- around each case -------------------------------------------------------------------- */

static inline int outside_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    *state = w;
    w->journal = malloc(BUFFER_BYTES);
    return w->journal == NULL;
}

static inline int outside_teardown(void **state)
{
    struct world *w = *state;
    free(w->journal);
    free(w);
    return 0;
}

#endif

/* replay_world.h - an owner, a server and a clock around the real replay, for unit tests of it.
 *
 * A workflow is a function on a fiber here, its owner a loop that acts on replay's verdicts, the
 * server a buffer that numbers and keeps events. Time is a number. A stay may be cut off behind
 * any append; the next one begins from the buffer. Include it behind cmocka.h.
 */
#ifndef SUPPORT_REPLAY_WORLD_H
#define SUPPORT_REPLAY_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fiber/fiber.h"
#include "replay/replay.h"
#include "wire/error.h"

enum {
    STEPS_MAX = 64,
    TEXT_BYTES = 64,
    NEVER = 1000000,
    ALLOCATIONS_MAX = 400000,
    BUFFER_BYTES = 40 * 1024 * 1024
};

struct effect { /* attempts of one task and input */
    char name[TEXT_BYTES];
    uint64_t input;
    unsigned count;
};

struct world;
typedef uint64_t (*program)(struct world *w);

struct world {
    /* the server */
    uint8_t *journal;
    uint64_t journal_bytes, seq, epoch;
    int64_t now_ms;
    unsigned appends;
    /* the owner */
    aiki_view build; /* empty: all builds are one */
    struct replay r;
    struct fiber_pool *fibers;
    struct fiber *fiber;
    void *allocations[ALLOCATIONS_MAX];
    unsigned allocation_count, fail_at; /* fail_at: number of the allocation that fails; 0 = none */
    struct step *running[STEPS_MAX];
    unsigned running_count;
    int64_t began_ms; /* the newest attempt */
    bool hangs;            /* attempts do not end by themselves */
    bool queues;           /* nor do they begin */
    bool last_first;       /* finish the newest attempt first */
    bool commits_first;    /* a commit is faster than any task */
    bool looks_ahead;      /* as a gate does, behind a divergence */
    bool looks_on;         /* and behind all that is on record */
    unsigned appends_left; /* then the stay is cut off */
    /* the code and its effects */
    program fn;
    uint64_t result;
    aiki_status fault; /* of a call, for the code's return */
    struct effect effects[STEPS_MAX];
    unsigned effect_count;
};

/* ---- memory ------------------------------------------------------------------------------ */

static inline void *take(void *arg, uint64_t size_bytes)
{
    struct world *w = arg;
    if (w->allocation_count + 1 == w->fail_at || w->allocation_count == ALLOCATIONS_MAX)
        return NULL;
    return w->allocations[w->allocation_count++] = calloc(1, size_bytes + 1);
}

static inline void drop_memory(struct world *w)
{
    while (w->allocation_count > 0)
        free(w->allocations[--w->allocation_count]);
}

/* ---- the server -------------------------------------------------------------------------- */

static inline void keep(struct world *w, uint64_t kind, aiki_view body)
{
    aiki_writer out;
    aiki_writer_init_fixed(&out, w->journal + w->journal_bytes, BUFFER_BYTES - w->journal_bytes);
    event_write_stored(&out, ++w->seq, w->now_ms, w->epoch, kind, body);
    assert_int_equal(out.status, AIKI_OK);
    w->journal_bytes += out.size_bytes;
}

static inline void keep_events(struct world *w, aiki_view events)
{
    aiki_reader r;
    struct event e;
    aiki_view body;
    aiki_reader_init(&r, events);
    while (event_read_new(&r, &e, &body, NULL) == AIKI_OK)
        keep(w, e.kind, body);
    assert_true(r.at == r.end);
}

static inline void keep_event(struct world *w, const struct event *e)
{
    uint8_t memory[1024];
    aiki_writer out;
    aiki_writer_init_fixed(&out, memory, sizeof(memory));
    event_write_new(&out, e);
    keep_events(w, aiki_writer_view(&out));
}

static inline aiki_view view(const char *text)
{
    return (aiki_view){(const uint8_t *)text, strlen(text)};
}

static inline void send_signal(struct world *w, const char *name, uint8_t payload)
{
    const struct event e = {.kind = EVENT_SIGNAL,
                            .as.signal = {.name = view(name), .payload = {&payload, 1}}};
    keep_event(w, &e);
}

static inline unsigned count(const struct world *w, uint64_t kind)
{
    aiki_reader r;
    struct event e;
    unsigned n = 0;
    aiki_reader_init(&r, (aiki_view){w->journal, w->journal_bytes});
    while (event_read_stored(&r, &e, NULL) == AIKI_OK)
        n += e.kind == kind;
    return n;
}

static inline void world_begin(struct world *w, program fn)
{
    const struct event e = {.kind = EVENT_STARTED};
    uint8_t *journal = w->journal;
    memset(w, 0, sizeof(*w));
    w->journal = journal;
    w->fn = fn;
    w->now_ms = 1000000;
    w->appends_left = NEVER;
    w->fibers = fiber_pool_create(4);
    assert_non_null(w->fibers);
    keep_event(w, &e);
}

static inline void world_end(struct world *w)
{
    fiber_pool_destroy(w->fibers);
    drop_memory(w);
}

/* ---- the code's side --------------------------------------------------------------------- */

static inline aiki_view number_view(uint8_t memory[16], uint64_t n)
{
    aiki_writer out;
    aiki_writer_init_fixed(&out, memory, 16);
    aiki_mp_uint(&out, n);
    return aiki_writer_view(&out);
}

static inline uint64_t number_of(aiki_view v)
{
    aiki_reader r;
    aiki_reader_init(&r, v);
    return v.size_bytes > 0 ? aiki_mp_read_uint(&r) : 0;
}

static inline uint32_t begin(struct world *w, const struct step_call *call)
{
    struct step *s;
    aiki_error err = AIKI_ERROR_INIT;
    aiki_status st = replay_call(&w->r, call, &s, &err);
    if (st != AIKI_OK) {
        assert_int_not_equal(err.message[0], '\0');
        w->fault = st;
        return 0;
    }
    return s->future;
}

static inline uint32_t task(struct world *w, const char *name, uint64_t input)
{
    static const struct task_policy policy = {
        .retry = {.kind = AIKI_RETRY_EXPONENTIAL, .attempts_max = 3, .factor_percent = 200,
                  .delay_ms = 1000, .delay_ms_max = 60000}};
    uint8_t memory[16];
    const struct step_call call = {.kind = STEP_TASK,
                                   .name = view(name),
                                   .input = number_view(memory, input),
                                   .policy = &policy};
    return begin(w, &call);
}

static inline uint32_t timed(struct world *w, uint64_t kind, const char *name, int64_t duration_ms)
{
    const struct step_call call = {.kind = kind, .name = view(name), .duration_ms = duration_ms};
    return begin(w, &call);
}

static inline void await(struct world *w, const uint32_t *futures, uint32_t n, uint32_t needed)
{
    bool satisfied = true;
    if (w->fault == AIKI_OK)
        assert_int_equal(replay_await(&w->r, futures, n, needed, &satisfied, NULL), AIKI_OK);
    if (!satisfied)
        fiber_yield();
}

static const struct step *shown(struct world *w, uint32_t future)
{
    return replay_future(&w->r, future);
}

static inline uint64_t result(struct world *w, uint32_t future)
{
    await(w, &future, 1, 1);
    return w->fault == AIKI_OK ? number_of(shown(w, future)->value) : 0;
}

static inline uint64_t side(struct world *w, const char *name, uint64_t value)
{
    uint8_t memory[16];
    struct step *s;
    const struct step_call call = {.kind = STEP_SIDE, .name = view(name)};
    w->fault = w->fault != AIKI_OK ? w->fault : replay_call(&w->r, &call, &s, NULL);
    if (w->fault != AIKI_OK)
        return 0;
    while (s->phase != PHASE_SHOWN && !replay_side_ready(&w->r))
        fiber_yield();
    if (s->phase != PHASE_SHOWN)
        w->fault = replay_side(&w->r, s, number_view(memory, value), (aiki_view){NULL, 0});
    return w->fault == AIKI_OK ? number_of(s->value) : 0;
}

static inline void fiber_main(void *arg)
{
    struct world *w = arg;
    w->result = w->fn(w);
}

/* ---- the owner --------------------------------------------------------------------------- */

static inline void note_effect(struct world *w, const struct step *s)
{
    struct effect *e = w->effects;
    uint64_t input = number_of(s->input);
    while (e < w->effects + w->effect_count &&
           (e->input != input || strlen(e->name) != s->name.size_bytes ||
            memcmp(e->name, s->name.data, s->name.size_bytes) != 0))
        e++;
    if (e == w->effects + w->effect_count) {
        assert_true(w->effect_count++ < STEPS_MAX && s->name.size_bytes < TEXT_BYTES);
        memcpy(e->name, s->name.data, s->name.size_bytes);
        e->input = input;
    }
    e->count++;
}

static inline unsigned effects_of(const struct world *w, const char *name, uint64_t input)
{
    for (unsigned i = 0; i < w->effect_count; i++)
        if (strcmp(w->effects[i].name, name) == 0 && w->effects[i].input == input)
            return w->effects[i].count;
    return 0;
}

/* The task "flaky" fails until its third attempt, any other one gives twice its input. */
static inline void end_attempt(struct world *w)
{
    unsigned at = w->last_first ? w->running_count - 1 : 0;
    struct step *s = w->running[at];
    uint8_t *value = take(w, 16), *map = take(w, 512);
    aiki_error err;
    aiki_writer out;

    memmove(w->running + at, w->running + at + 1, (w->running_count - at - 1) * sizeof(s));
    w->running_count--;
    if (value == NULL || map == NULL) {
        w->r.status = AIKI_NOMEM;
        return;
    }
    bool is_flaky = s->name.size_bytes == 5 && memcmp(s->name.data, "flaky", 5) == 0;
    if (!is_flaky || s->attempt >= 2) {
        replay_attempt_done(&w->r, s, number_view(value, 2 * number_of(s->input)), 5);
        return;
    }
    aiki_writer_init_fixed(&out, map, 512);
    (void)error_code(&err, AIKI_FAILED, "FLAKY", "not yet");
    error_write(&out, &err);
    replay_attempt_failed(&w->r, s, aiki_writer_view(&out), false, 0, (aiki_view){NULL, 0}, 5,
                          w->now_ms);
}

enum stay { STAY_DONE, STAY_CUT, STAY_PARKED, STAY_PAUSED, STAY_DIVERGED, STAY_UNDEFINED, STAY_FAILED, STAY_STUCK };

/* False: the stay is cut off, behind the commit and before anybody here heard of it. */
static inline bool append(struct world *w, bool announce)
{
    keep_events(w, replay_append_begin(&w->r, announce));
    replay_append_end(&w->r);
    w->appends++;
    return w->appends_left != 0 && --w->appends_left > 0;
}

static inline enum stay returned(struct world *w)
{
    const struct event e = {.kind = EVENT_COMPLETED};
    if (w->r.ahead.on || !replay_may_return(&w->r))
        replay_code_ended(&w->r, w->r.status == AIKI_OK && w->fault == AIKI_OK);
    if (w->r.ahead.on)
        return STAY_DIVERGED;
    if (w->r.status != AIKI_OK)
        return STAY_FAILED;
    if (!replay_may_return(&w->r))
        return STAY_DIVERGED;
    if (w->fault != AIKI_OK)
        return STAY_FAILED;
    replay_write_end(&w->r, &e);
    (void)append(w, false); /* the end either way */
    return w->r.status == AIKI_OK ? STAY_DONE : STAY_FAILED;
}

/* Nothing to do at this moment: let something happen. */
static inline bool let_happen(struct world *w, enum stay *ret)
{
    int64_t wake = replay_wake_at_ms(&w->r);
    bool commits = replay_should_append(&w->r) &&
                   (w->commits_first || w->hangs || w->running_count == 0);
    if (!commits && !w->hangs && w->running_count > 0) {
        end_attempt(w);
    } else if (replay_should_park(&w->r, w->now_ms)) {
        (void)append(w, false); /* the stay ends here either way */
        *ret = STAY_PARKED;
        return false;
    } else if (commits) {
        *ret = STAY_CUT;
        if (!append(w, true))
            return false;
        replay_acked(&w->r);
    } else if (wake > w->now_ms) {
        w->now_ms = wake;
    } else {
        *ret = STAY_STUCK;
        return false;
    }
    return true;
}

/* The attempt began when it was given out; one that has failed returns at once. */
static inline void look_at(struct world *w, struct step *s)
{
    unsigned at = 0;
    if (!replay_attempt_overdue(&w->r, s, w->queues ? 0 : w->began_ms, 0, w->now_ms))
        return;
    while (w->running[at] != s)
        at++;
    memmove(w->running + at, w->running + at + 1, (w->running_count - at - 1) * sizeof(s));
    w->running_count--;
    replay_attempt_gone(&w->r, s);
}

static inline enum stay act(struct world *w)
{
    enum stay stay = STAY_FAILED;
    for (;;) {
        struct step *s;
        if (w->r.status != AIKI_OK)
            return STAY_FAILED;
        if (w->looks_on && w->r.live)
            (void)replay_look_on(&w->r); /* once */
        switch (replay_next(&w->r, w->now_ms, &s)) {
        case REPLAY_RESUME:
            if (!fiber_resume(w->fiber))
                return returned(w);
            break;
        case REPLAY_START:
            note_effect(w, s);
            w->began_ms = w->now_ms;
            assert_true(w->running_count < STEPS_MAX);
            w->running[w->running_count++] = s;
            break;
        case REPLAY_OVERDUE: look_at(w, s); break;
        case REPLAY_PAUSED: return STAY_PAUSED;
        case REPLAY_UNDEFINED: return STAY_UNDEFINED;
        case REPLAY_DIVERGED:
            if (!w->looks_ahead || !replay_look_ahead(&w->r))
                return STAY_DIVERGED;
            break;
        case REPLAY_IDLE:
            if (!let_happen(w, &stay))
                return stay;
        }
    }
}

/* One stay: from the journal to its end. Replay's memory lives until the next one begins. */
static inline enum stay stay(struct world *w)
{
    aiki_error err = AIKI_ERROR_INIT;
    enum stay how = STAY_FAILED;

    drop_memory(w);
    w->epoch++;
    w->running_count = 0;
    w->fault = AIKI_OK;
    replay_init(&w->r, (struct replay_memory){take, w});
    w->r.journal.build = w->build;
    if (journal_load(&w->r.journal, (aiki_view){w->journal, w->journal_bytes}, &err) != AIKI_OK) {
        assert_int_not_equal(err.message[0], '\0');
        return STAY_FAILED;
    }
    w->fiber = fiber_create(w->fibers, fiber_main, w);
    assert_non_null(w->fiber);
    replay_begin(&w->r);
    how = act(w);
    fiber_destroy(w->fiber);
    return how;
}

/* Stays, each cut off behind `appends` appends, until the run is over. */
static inline void run_to_end(struct world *w, unsigned appends)
{
    enum stay how;
    unsigned stays = 0;
    do {
        w->appends_left = appends;
        how = stay(w);
        if (how == STAY_PARKED)
            w->now_ms += 24 * 3600 * 1000;
        assert_true(how == STAY_DONE || how == STAY_CUT || how == STAY_PARKED);
        assert_true(++stays < 500);
    } while (how != STAY_DONE);
}

static inline int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    w->journal = malloc(BUFFER_BYTES);
    *state = w;
    return w->journal != NULL ? 0 : -1;
}

static inline int tear_down(void **state)
{
    struct world *w = *state;
    free(w->journal);
    free(w);
    return 0;
}

#endif

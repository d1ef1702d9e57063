/* drive.c - go on with a run until it has to wait.
 *
 * run_pump asks replay what is next and does it until it answers IDLE; then what has to be
 * recorded leaves in one append, or the run parks. Runs that have had their share of a turn queue
 * for another one.
 */
#include "child/run_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/blame.h"
#include "base/clock.h"
#include "base/fault.h"
#include "child/fit.h"
#include "child/watchdog.h"
#include "wire/error.h"

/* ---- attempts ---------------------------------------------------------------------------- */

/* Nothing was called and nothing would be different at a further attempt. */
static void fail_at_once(struct run *r, struct step *s, const aiki_error *err)
{
    replay_attempt_failed(&r->replay, s, run_error_map(r, err), true, 0, no_bytes, 0,
                          child_now_ms(r->child));
}

/* Copy what the attempt left into the run and tell replay. */
static void take_result(struct run *r, struct attempt *a)
{
    bool output_ok = true, error_ok = true;
    bool keeps = a->status == AIKI_OK || a->keep_output;
    aiki_view output = keeps ? run_copy(r, a->output, &output_ok) : no_bytes;
    aiki_view error = a->status != AIKI_OK ? run_copy(r, a->error, &error_ok) : no_bytes;

    if (!output_ok || !error_ok)
        r->replay.status = AIKI_NOMEM;
    if (a->misfit)
        replay_warn(&r->replay, a->step, WARNED_OUTPUT, a->error);
    if (a->status == AIKI_OK)
        replay_attempt_done(&r->replay, a->step, output, a->duration_us);
    else
        replay_attempt_failed(&r->replay, a->step, error, a->final, a->retry_after_ms, output,
                              a->duration_us, child_now_ms(r->child));
}

static void link_attempt(struct run *r, struct attempt *a)
{
    a->run_next = r->attempts;
    a->run_at = &r->attempts;
    if (a->run_next != NULL)
        a->run_next->run_at = &a->run_next;
    r->attempts = a;
}

static void unlink_attempt(struct attempt *a)
{
    *a->run_at = a->run_next;
    if (a->run_next != NULL)
        a->run_next->run_at = a->run_at;
}

void run_attempt_ended(struct attempt *a)
{
    struct run *r = a->run;

    unlink_attempt(a);
    if (a->flagged_mono_ms != 0)
        child_unwatch_attempt(r->child, a);
    if (r->state == RUN_STATE_ACTIVE && a->abandoned)
        replay_attempt_gone(&r->replay, a->step);
    else if (r->state == RUN_STATE_ACTIVE && a->step->phase == PHASE_RUNNING)
        take_result(r, a);
    attempt_destroy(a);
    if (r->state == RUN_STATE_GONE)
        run_free_if_unused(r);
}

void run_stop_unwanted(struct run *r)
{
    for (struct attempt *a = r->attempts; a != NULL; a = a->run_next)
        if (a->step->phase != PHASE_RUNNING)
            attempt_flag(a);
}

void run_attempt_beat(struct attempt *a)
{
    struct run *r = a->run;
    uint64_t bytes;
    uint8_t *details = attempt_take_details(a, &bytes);

    if (details != NULL && r->state == RUN_STATE_ACTIVE && !a->abandoned)
        replay_attempt_beat(&r->replay, a->step, (aiki_view){details, bytes},
                            child_now_ms(r->child));
    free(details);
}

/* What replay cannot know: when a thread took the attempt, and when that last gave a sign of life. */
static void check_attempt(struct run *r, struct step *s)
{
    struct attempt *a = r->attempts;

    while (a->step != s || a->abandoned)
        a = a->run_next;
    int64_t began = atomic_load_explicit(&a->began_mono_ms, memory_order_relaxed);
    int64_t beat = atomic_load_explicit(&a->beat_mono_ms, memory_order_relaxed);
    /* By the clock as it is now: one that was learnt late, of a process that was stopped, is put right
     * later, and must not count as time that the attempt took. */
    int64_t offset = child_now_ms(r->child) - clock_mono_ms();
    if (!replay_attempt_overdue(&r->replay, s, began != 0 ? began + offset : 0,
                                beat != 0 ? beat + offset : 0, child_now_ms(r->child)))
        return;
    a->abandoned = true;
    attempt_flag(a);
    child_watch_attempt(r->child, a);
}

/* What the attempt may tell its task. False: out of memory. */
static bool prepare_attempt(struct run *r, struct attempt *a)
{
    aiki_view details = replay_last_details(a->step);

    a->engine_offset_ms = child_now_ms(r->child) - clock_mono_ms();
    a->limit_ms = replay_attempt_limit_ms(&r->replay, a->step);
    a->start_to_close_ms = replay_start_to_close_ms(&r->replay, a->step);
    if (details.size_bytes == 0)
        return true;
    /* A copy: heartbeats of this attempt write over the original. */
    uint8_t *copy = arena_alloc(&a->arena, details.size_bytes);
    if (copy == NULL)
        return false;
    memcpy(copy, details.data, details.size_bytes);
    a->last_details = (aiki_view){copy, details.size_bytes};
    return true;
}

/* Another build may do it, if nothing was done here. Else the run comes again once what is under
 * way has ended: with that on record it begins with this step. */
static void hold_back(struct run *r, struct step *s)
{
    aiki_error err;
    bool quarantined = ((const struct plugin_task *)s->task)->quarantined;

    /* Barred when it was called, and lifted since: it was not announced, so it begins in the next
     * stay. */
    bool lifted = !quarantined && !replay_is_spent(&r->replay, s);

    r->held_back = lifted || r->acted || r->appends > 0;
    if (r->held_back) {
        replay_leave(&r->replay, s);
        return;
    }
    if (quarantined)
        run_quarantine_error(r, false, s->name, &err);
    else
        run_spent_error(r, s, &err);
    run_unfit(r, &err);
}

/* What is recorded goes along; the run comes back in a process that has no other. */
static void move_to_own_process(struct run *r, struct step *s)
{
    replay_leave(&r->replay, s);
    replay_take_back(&r->replay);
    aiki_view events = replay_append_begin(&r->replay, false);

    if (!run_block_if_too_large(r, events.size_bytes))
        run_send_append(r, NEXT_ALONE, events, no_bytes);
}

static void start_attempt(struct run *r, struct step *s)
{
    const struct plugin_task *task = s->task;
    aiki_error err = AIKI_ERROR_INIT;

    if (task->quarantined || s->barred) {
        hold_back(r, s);
        return;
    }
    if (r->child->leaving) {
        r->held_back = true; /* another process of the build begins it */
        replay_leave(&r->replay, s);
        return;
    }
    if ((task->def.flags & AIKI_TASK_ISOLATED) != 0 && !r->child->alone) {
        move_to_own_process(r, s);
        return;
    }
    if (fit_task_input(r, s, &err) != AIKI_OK) {
        fail_at_once(r, s, &err);
        return;
    }
    r->acted = true;
    struct attempt *a = attempt_create(r->child->tasks, r, s, task, &r->id);
    if (a == NULL) {
        run_give_up(r, "no memory for an attempt");
        return;
    }
    if (!prepare_attempt(r, a)) {
        attempt_destroy(a);
        run_give_up(r, "no memory for an attempt");
        return;
    }
    link_attempt(r, a);
    if ((task->def.flags & AIKI_TASK_INLINE) != 0) {
        watchdog_enter(r->child->watchdog, r, task->def.name);
        attempt_execute(a);
        watchdog_leave(r->child->watchdog);
        run_attempt_ended(a);
    } else if (task_pool_submit(r->child->tasks, a) != AIKI_OK) {
        unlink_attempt(a);
        attempt_destroy(a);
        run_give_up(r, "no task thread can be made");
    }
}

/* ---- going on ---------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *t)
{
    run_pump(container_of(t, struct run, timer));
}

static void arm_timer(struct run *r)
{
    int64_t wake = replay_wake_at_ms(&r->replay);
    int64_t linger = r->linger_until_ms;

    /* Once that is over the run parks; if not now, because an append is under way, when it is back. */
    if (linger > child_now_ms(r->child) && (wake == 0 || wake > linger))
        wake = linger;
    if (wake == 0) {
        (void)uv_timer_stop(&r->timer);
        return;
    }
    int64_t left = wake - child_now_ms(r->child);
    /* The loop's clock is that of the beginning of the turn; uv_timer_start counts from there. */
    uv_update_time(r->child->loop);
    (void)uv_timer_start(&r->timer, on_timer, left > 0 ? (uint64_t)left : 0, 0);
}

static void park(struct run *r)
{
    aiki_writer waits = run_writer(r);

    replay_write_waits(&r->replay, &waits);
    if (waits.status != AIKI_OK)
        r->replay.status = AIKI_NOMEM;
    aiki_view events = replay_append_begin(&r->replay, false);
    if (!run_block_if_too_large(r, events.size_bytes + waits.size_bytes))
        run_send_append(r, NEXT_PARK, events, aiki_writer_view(&waits));
}

/* Nothing of it is executed, and it is to go on elsewhere; what only waits is parked instead. */
static bool may_leave(const struct run *r)
{
    return r->attempts == NULL &&
           (r->held_back || (r->child->leaving && !replay_should_park(&r->replay, child_now_ms(r->child))));
}

/* A long run that waits for something from outside stays a while: what comes then, as one of many
 * signals does, need not pay for a replay of all that was before it. */
static bool lingers(struct run *r, int64_t now_ms)
{
    uint64_t events = r->journal_seq + r->replay.events_acked;

    if (events < LINGER_EVENTS_MIN || r->child->draining || r->child->leaving ||
        !replay_awaits_arrival(&r->replay, LINGER_WAITS_MAX))
        return false;
    if (r->linger_until_ms == 0) {
        uint64_t linger_ms = events / LINGER_EVENTS_PER_MS;
        r->linger_until_ms = now_ms + (int64_t)(linger_ms < LINGER_MS_MAX ? linger_ms : LINGER_MS_MAX);
    }
    return now_ms < r->linger_until_ms;
}

/* Nothing more to do for now: record what has to be, park if everything left is passive. */
static void settle(struct run *r)
{
    int64_t now_ms = child_now_ms(r->child);

    if (replay_should_park(&r->replay, now_ms) && !lingers(r, now_ms)) {
        park(r);
        return;
    }
    if (replay_should_append(&r->replay)) {
        aiki_view events = replay_append_begin(&r->replay, true);
        if (run_block_if_too_large(r, events.size_bytes))
            return;
        run_send_append(r, NEXT_CONTINUE, events, no_bytes);
    }
    arm_timer(r);
}

static void on_turn(uv_idle_t *h)
{
    run_pump_queued(container_of(h, struct child, again));
}

void run_turns_init(struct child *c)
{
    c->again_last = &c->again_first;
    (void)uv_idle_init(c->loop, &c->again); /* always 0 */
}

void run_pump_soon(struct run *r)
{
    struct child *c = r->child;

    if (r->again_queued)
        return;
    r->again_queued = true;
    r->again_next = NULL;
    *c->again_last = r;
    c->again_last = &r->again_next;
    (void)uv_idle_start(&c->again, on_turn); /* 0 with a callback */
}

void run_pump_queued(struct child *c)
{
    struct run *r = c->again_first;

    c->again_first = NULL;
    c->again_last = &c->again_first;
    while (r != NULL) {
        struct run *next = r->again_next;
        r->again_queued = false;
        if (r->state == RUN_STATE_GONE)
            run_free_if_unused(r);
        else
            run_pump(r);
        r = next;
    }
    if (c->again_first == NULL)
        (void)uv_idle_stop(&c->again);
}

/* Looking ahead ends where an outcome of ours was of no use. */
static void go_astray(struct run *r)
{
    replay_code_ended(&r->replay, false);
    run_diverged(r);
}

/* A value does not fit its schema: the code does not go on. */
static void leave_unfit(struct run *r)
{
    if (r->replay.ahead.on)
        go_astray(r);
    else
        run_unfit(r, r->mismatch);
}

/* In a gate: all that is on record was asked for and shown, and there has been no look at what follows. */
static bool is_through(const struct run *r)
{
    return r->child->gating && r->replay.live && !r->replay.ahead.on;
}

void run_pump(struct run *r)
{
    int inline_left = INLINE_TASKS_A_TURN_MAX;
    bool going_on;

    while (r->state == RUN_STATE_ACTIVE) {
        struct step *s;
        if (r->replay.status != AIKI_OK && r->replay.ahead.on) {
            go_astray(r);
            return;
        }
        if (r->replay.status != AIKI_OK) {
            (void)run_block_if_too_large(r, 0);
            return;
        }
        if (is_through(r)) {
            run_fits(r);
            continue;
        }
        enum replay_verdict verdict = replay_next(&r->replay, child_now_ms(r->child), &s);
        if (is_through(r) && verdict != REPLAY_RESUME && verdict != REPLAY_DIVERGED) {
            run_fits(r); /* it came to its end only now, and nothing begins here */
            continue;
        }
        switch (verdict) {
        case REPLAY_RESUME:
            r->linger_until_ms = 0;
            if (r->replay.interrupted)
                run_stop_unwanted(r);
            watchdog_enter(r->child->watchdog, r, NULL);
            blame_enter(&(struct blame_code){.run = r->id, .name = r->workflow_name});
            going_on = fiber_resume(r->fiber);
            blame_leave((int64_t)uv_now(r->child->loop));
            watchdog_leave(r->child->watchdog);
            if (!going_on)
                run_finish(r);
            else if (r->mismatch != NULL)
                leave_unfit(r);
            else if (r->lacking != NULL)
                run_lacks(r);
            break;
        case REPLAY_START:
            start_attempt(r, s);
            if (r->state != RUN_STATE_ACTIVE)
                return; /* and s may be gone */
            if (s->phase == PHASE_READY && --inline_left == 0) {
                run_pump_soon(r);
                return;
            }
            break;
        case REPLAY_OVERDUE: check_attempt(r, s); break;
        case REPLAY_DIVERGED: run_diverged(r); break;
        case REPLAY_UNDEFINED: (void)run_undefined(r); return;
        case REPLAY_PAUSED: run_give_back(r); return;
        case REPLAY_IDLE:
            if (!may_leave(r)) {
                settle(r);
                return;
            }
            run_give_back(r);
            fault_point(child_leave_sent);
            return;
        }
    }
}

/* demand.c - a build that serves has a process while runs need it.
 *
 *           a run for it, or it takes the place of a build in use
 *   ASLEEP -----------------------------------------> WAKING --READY--> AWAKE --no run for child-idle--> ENDING
 *      ^                                                |                | ^                             | |
 *      |          does not load: who waits goes back    v                v | died: replaced by build.c    | |
 *      |                                              AWAKE, with no process                              | |
 *      +--------------------------------------- it has ended ---------------------------------------------+ |
 *                                               WAKING <--it has ended, and a run came meanwhile------------+
 *
 * But for AWAKE tickets are read for it whether there is a process or not: a run is claimed and waits for
 * it (moves.h), so that its journal shows the wait. AWAKE without a process is what a crash leaves: then tickets
 * are left to others until there is one, as growing pauses may lie between the attempts.
 * With child-idle = always a build is never anything but AWAKE, once it has loaded.
 */
#include "broker/builds_impl.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

bool demand_is_warm(const struct build *b)
{
    const struct build *before = b->file->serving;
    bool in_use = before != NULL && before->proc != NULL && before->demand.state != ENDING;
    return in_use || b->demand.idle_s == IDLE_ALWAYS;
}

bool demand_claims(const struct build *b)
{
    return b->state == SERVING && !b->rejected && b->demand.state != AWAKE;
}

static void wake(struct build *b)
{
    b->demand.state = WAKING;
    b->demand.wanted = false;
    b->demand.asked_mono_ms = clock_mono_ms();
    build_start_process(b); /* demand_failed, if it cannot be */
    fault_point(runtime_demand_started);
}

void demand_begin(struct build *b, bool in_use)
{
    b->demand.used_ms = uv_now(b->owner->loop); /* somebody may come for as long as after a run */
    if (b->proc != NULL || uv_is_active((uv_handle_t *)&b->timer))
        return; /* there, or about to be again */
    b->demand.state = ASLEEP;
    if (in_use || b->demand.idle_s == IDLE_ALWAYS)
        wake(b);
}

bool demand_wake(struct build *b)
{
    if (!demand_claims(b) || b->owner->draining)
        return false;
    if (b->demand.state == ASLEEP)
        wake(b);
    else if (b->demand.state == ENDING)
        b->demand.wanted = true;
    return b->demand.state != AWAKE;
}

void demand_ready(struct build *b)
{
    struct builds *bs = b->owner;
    struct demand *d = &b->demand;
    bool was_waited_for = d->state == WAKING;
    d->state = AWAKE;
    d->used_ms = uv_now(bs->loop);
    if (was_waited_for) {
        d->load_ms = (uint64_t)(d->ready_mono_ms - d->asked_mono_ms);
        d->loads++;
        bs->stats.loads++;
        bs->stats.load_ms += d->load_ms;
        log_info("child", "plugin %s loaded on demand in %" PRIu64 " ms", b->label, d->load_ms);
    }
    recycle_tell_now(b);
    if (was_waited_for)
        bs->cb.on_ready(b, bs->arg); /* tickets were read all the time */
    else
        bs->cb.on_routes(bs->arg);
}

void demand_failed(struct build *b)
{
    if (b->state != SERVING || b->demand.state != WAKING)
        return;
    b->demand.state = AWAKE;
    b->owner->cb.on_given_up(b, b->owner->arg);
    b->owner->cb.on_routes(b->owner->arg);
}

bool demand_gone(struct build *b)
{
    struct demand *d = &b->demand;
    demand_failed(b);
    if (d->state != ENDING)
        return false;
    uv_timer_stop(&b->timer);
    d->state = ASLEEP;
    b->owner->stats.unloads++;
    log_info("child", "%s has ended: no run needs it; the next one starts it again", b->label);
    if (d->wanted || d->idle_s == IDLE_ALWAYS)
        wake(b);
    recycle_tell_now(b);
    return true;
}

static void let_go(struct build *b)
{
    b->demand.state = ENDING;
    b->demand.wanted = false;
    build_end_process(b, 0);
    fault_point(runtime_demand_ending);
}

void demand_look(struct build *b)
{
    struct builds *bs = b->owner;
    struct demand *d = &b->demand;
    uint64_t now_ms = uv_now(bs->loop);
    bool may_end = b->state == SERVING && d->state == AWAKE && b->ready && b->wear.spare == NULL;
    if (!may_end || bs->draining || d->idle_s == IDLE_ALWAYS || now_ms - d->used_ms < d->idle_s * 1000)
        return;
    if (bs->cb.is_used(b, bs->arg))
        d->used_ms = now_ms; /* looked for again after as long */
    else
        let_go(b);
}

void builds_set_idle(struct builds *bs, const char *idle)
{
    bs->options.idle = idle;
    for (struct build *b = bs->all; b != NULL; b = b->next) {
        b->demand.idle_s = idle_seconds(idle, b->file_name);
        if (b->demand.idle_s == IDLE_ALWAYS && demand_claims(b))
            (void)demand_wake(b); /* nobody waits yet */
    }
}

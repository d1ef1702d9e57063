/* live.c - starting, waiting, parking: steps that are not on record yet. attempts.c has what goes on
 * while a task is attempted.
 *
 *               barrier acknowledged          done, or failed for good
 *   task   HELD ----------------> RUNNING -----------------------------> READY --code waits--> SHOWN
 *            ^                       | failed: ATTEMPT_FAILED              ^    STEP_DONE        ^
 *            +------- WAITING <------+                                     |                     |
 *              due     sleep, signal, child: WAITING ----due or there------+   any --cancelled---+
 *
 * The barrier of a step is the last event the code could have seen when it asked for the step: a
 * side effect starts only when nothing it may depend on can be lost. The barrier of a further
 * attempt is the event that recorded the failed one.
 */
#include "replay/live.h"

#include <string.h>

#include "base/planted.h"

/* Longest time a step may wait, so that sums with clock times cannot overflow. */
#define WAIT_MS_MAX AIKI_DAYS_MS(36500)

void live_push(struct queue *q, struct step *s, enum step_phase phase)
{
    s->phase = (uint8_t)phase;
    s->next = NULL;
    *q->last = s;
    q->last = &s->next;
}

static struct step *unlink_at(struct queue *q, struct step **at)
{
    struct step *s = *at;

    *at = s->next;
    if (s->next == NULL)
        q->last = at;
    s->next = NULL;
    return s;
}

/* ---- events ------------------------------------------------------------------------------ */

/* An event about s; its identity comes along the first time. */
struct event live_step_event(struct step *s, uint64_t kind)
{
    struct event e;

    memset(&e, 0, sizeof(e));
    e.kind = kind;
    e.as.step.address = s->address;
    e.as.step.nth = s->nth;
    if (!s->on_record) {
        e.as.step.identity_kind = s->kind;
        e.as.step.name = s->name;
        e.as.step.input = s->input;
        s->on_record = true;
    }
    return e;
}

void live_write_event(struct replay *r, const struct event *e)
{
    event_write_new(&r->events, e);
    r->events_written++;
    if (r->events.status != AIKI_OK && r->status == AIKI_OK)
        r->status = r->events.status;
}

void live_record_begun(struct replay *r, struct step *s)
{
    struct event e = live_step_event(s, EVENT_STEP_BEGUN);

    if (s->kind != STEP_TASK) {
        e.as.step.due_at_ms = s->due_at_ms;
        e.as.step.duration_ms = s->duration_ms;
        e.as.step.options = s->options;
        e.as.step.since_ms = s->since_ms;
    }
    live_write_event(r, &e);
}

static struct event outcome_event(struct step *s, uint64_t kind)
{
    struct event e = live_step_event(s, kind);

    e.as.step.attempt = s->done_attempt;
    e.as.step.outcome = s->outcome;
    e.as.step.value = s->value;
    e.as.step.error = s->error;
    e.as.step.duration_us = s->duration_us;
    return e;
}

static void write_outcome(struct replay *r, const struct step *s, struct event *e)
{
    if (s->kind == STEP_TASK && s->outcome == OUTCOME_FAILED)
        attempt_write_failure(r, s, e);
    else
        live_write_event(r, e);
}

void live_record_done(struct replay *r, struct step *s)
{
    struct event e = outcome_event(s, EVENT_STEP_DONE);
    uint8_t memory[16];
    aiki_writer number;

    if (s->kind == STEP_SIGNAL) {
        aiki_writer_init_fixed(&number, memory, sizeof(memory));
        aiki_mp_uint(&number, s->signal != NULL ? s->signal->seq : 0);
        e.as.step.value = s->signal != NULL ? aiki_writer_view(&number) : (aiki_view){NULL, 0};
    }
    write_outcome(r, s, &e);
    r->events_seen = r->events_written;
}

void live_record_cancel_seen(struct replay *r)
{
    const struct event e = {.kind = EVENT_CANCEL_SEEN};

    live_write_event(r, &e);
    r->events_seen = r->events_written;
}

void replay_warn(struct replay *r, struct step *s, uint64_t what, aiki_view error)
{
    uint8_t *warned = s != NULL ? &s->warned : &r->journal.warned;
    bool known = (*warned & what) != 0 || (what == WARNED_RECORD && *warned >= WARNED_OUTPUT);

    if (known || r->events.size_bytes >= REPLAY_UNSENT_BYTES_MAX) /* the next replay has room */
        return;
    *warned |= (uint8_t)what;
    struct event e = s != NULL ? live_step_event(s, EVENT_WARNED)
                               : (struct event){.kind = EVENT_WARNED};
    e.as.step.warned = what;
    e.as.step.error = error;
    live_write_event(r, &e);
}

/* What was announced and never begun may be in another pass. */
void replay_write_end(struct replay *r, const struct event *e)
{
    if (e->kind != EVENT_COMPLETED)
        replay_take_back(r);
    live_write_event(r, e);
}

/* ---- beginning --------------------------------------------------------------------------- */

static int64_t bounded(int64_t duration_ms)
{
    if (duration_ms < 0)
        return 0;
    return duration_ms < WAIT_MS_MAX ? duration_ms : WAIT_MS_MAX;
}

int64_t live_due_after(const struct replay *r, int64_t duration_ms)
{
    return r->now_ms + bounded(duration_ms);
}

static bool is_for_ever(const struct step *s, int64_t duration_ms)
{
    return s->kind == STEP_SIGNAL && duration_ms < 0;
}

/* A wait goes on; the code may meanwhile ask for another length of it. */
static void adjust_due(struct step *s)
{
    if ((s->until && !BUG(until_moved)) || s->duration_ms == s->recorded_ms)
        return;
    if (is_for_ever(s, s->duration_ms))
        s->due_at_ms = 0;
    else if (is_for_ever(s, s->recorded_ms))
        s->due_at_ms = s->since_ms + bounded(s->duration_ms);
    else
        s->due_at_ms += bounded(s->duration_ms) - bounded(s->recorded_ms);
}

static void begin_wait(struct replay *r, struct step *s)
{
    s->since_ms = r->now_ms;
    if (s->kind == STEP_CHILD || is_for_ever(s, s->duration_ms))
        s->due_at_ms = 0;
    else if (s->until)
        s->duration_ms = bounded(s->due_at_ms - r->now_ms);
    else
        s->due_at_ms = live_due_after(r, s->duration_ms);
    if (s->kind == STEP_CHILD && r->events.size_bytes < REPLAY_UNSENT_BYTES_MAX)
        live_record_begun(r, s); /* whatever the code does next, the child was asked for */
}

/* Somebody ended the sleeps and delays of the run early. */
static void wake(const struct replay *r, struct step *s)
{
    if ((s->kind == STEP_SLEEP || s->kind == STEP_TASK) && s->due_at_ms > r->journal.woken_at_ms)
        s->due_at_ms = r->journal.woken_at_ms;
}

void live_start(struct replay *r, struct step *s)
{
    if (s->kind == STEP_SIDE)
        return;
    if (BUG(attempt_charged) && s->kind == STEP_TASK && s->on_record)
        s->attempt++;
    if (s->kind == STEP_TASK && attempt_begin_call(r, s))
        return;
    if (!s->on_record || (BUG(sleep_restarted) && s->kind == STEP_SLEEP)) {
        begin_wait(r, s);
    } else {
        if (s->kind != STEP_TASK && s->kind != STEP_CHILD)
            adjust_due(s);
        else if (BUG(retry_restarted) && s->kind == STEP_TASK)
            s->due_at_ms = live_due_after(r, s->policy->retry.delay_ms);
        if (s->begun_seq < r->journal.woken_seq || (BUG(wake_later) && r->journal.woken_seq > 0))
            wake(r, s);
    }
    live_push(&r->waiting, s, PHASE_WAITING);
    r->waiting_dirty = true;
}

static struct step *take_startable(struct replay *r)
{
    for (struct step **at = &r->held.first; *at != NULL; at = &(*at)->next) {
        if (((*at)->barrier > r->events_acked && !BUG(barrier_ignored)) || !attempt_may_start(r, *at))
            continue;
        struct step *s = unlink_at(&r->held, at);
        s->phase = PHASE_RUNNING;
        r->running++;
        attempt_begin(r, s);
        if (!s->on_record) {
            s->next_unannounced = r->first_unannounced;
            r->first_unannounced = s;
        }
        return s;
    }
    return NULL;
}

/* ---- waiting ----------------------------------------------------------------------------- */

/* What is not as expected is taken too: the next wait takes the one behind it. */
static void take_signal(struct replay *r, struct step *s, struct signal *signal)
{
    journal_take_signal(&r->journal, s, signal);
    s->outcome = OUTCOME_OK;
    if (s->expects == NULL || r->judge == NULL || BUG(judge_ignored))
        return;
    s->error = r->judge(r->judge_arg, s);
    if (s->error.size_bytes > 0)
        s->outcome = OUTCOME_FAILED;
}

/* Whether s is over, and how: a signal that is there wins over a timeout. */
static bool wait_is_over(struct replay *r, struct step *s)
{
    if (s->kind == STEP_CHILD)
        return children_is_over(r, s);
    if (s->kind == STEP_SIGNAL) {
        struct signal *signal = journal_signal(&r->journal, s->name);
        if (signal != NULL) {
            take_signal(r, s, signal);
            return true;
        }
        if (s->due_at_ms == 0)
            return false;
        s->outcome = OUTCOME_TIMEDOUT;
    }
    return s->due_at_ms <= r->now_ms;
}

static bool wants_announcement(const struct step *s)
{
    return !s->on_record && (s->kind != STEP_SLEEP || s->duration_ms >= REPLAY_SHORT_SLEEP_MS);
}

static void announce(struct replay *r, struct step *s)
{
    if (r->events.size_bytes < REPLAY_UNSENT_BYTES_MAX)
        live_record_begun(r, s);
    /* What found no room comes next time; a detached child is over once it is on record. */
    if (!s->on_record || s->detached)
        r->waiting_dirty = true;
}

static void scan_waiting(struct replay *r)
{
    struct step **at = &r->waiting.first;
    bool ending = cancel_is_due(r); /* then what is not over will not be waited for */

    r->waiting_dirty = false;
    r->wake_at_ms = 0;
    while (*at != NULL) {
        struct step *s = *at;
        if (wait_is_over(r, s)) {
            (void)unlink_at(&r->waiting, at);
            if (s->kind == STEP_TASK)
                live_push(&r->held, s, PHASE_HELD);
            else
                live_push(&r->ready, s, PHASE_READY);
            continue;
        }
        if (wants_announcement(s) && !ending)
            announce(r, s);
        if (s->due_at_ms != 0 && (r->wake_at_ms == 0 || s->due_at_ms < r->wake_at_ms))
            r->wake_at_ms = s->due_at_ms;
        at = &s->next;
    }
}

static bool scan_is_due(const struct replay *r)
{
    return r->waiting_dirty || (r->wake_at_ms != 0 && r->now_ms >= r->wake_at_ms);
}

/* ---- what next --------------------------------------------------------------------------- */

/* A paused run that is to end goes on: its cleanup must run. */
static bool is_paused(const struct replay *r)
{
    return r->journal.paused && !r->journal.cancel_requested && !BUG(pause_ignored);
}

static void show_ready(struct replay *r)
{
    struct step *s = unlink_at(&r->ready, &r->ready.first);

    live_record_done(r, s);
    replay_show(r, s);
}

/* Record what attempts brought without showing it. False: not all of it has room. */
static bool keep_ready(struct replay *r)
{
    for (struct step *s = r->ready.first; s != NULL; s = s->next) {
        if (s->kind != STEP_TASK || s->kept)
            continue; /* the next owner finds it as this one did */
        if (r->events.size_bytes >= REPLAY_UNSENT_BYTES_MAX)
            return false;
        struct event e = outcome_event(s, EVENT_ATTEMPT_DONE);
        write_outcome(r, s, &e);
        s->kept = true;
    }
    return true;
}

struct step *replay_undefined(const struct replay *r)
{
    if (!r->lacks_task || cancel_is_coming(r) || BUG(undefined_begun))
        return NULL;
    struct step *s = r->held.first;
    while (s != NULL && (!s->undefined || s->phase != PHASE_HELD))
        s = s->next;
    return s;
}

/* Nothing begins, and what is under way ends and is recorded. Once the code's wait is over it is shown nothing
 * more: it does not go on, and a replay would not show it there either. True: nothing is under way any more. */
static bool come_to_rest(struct replay *r)
{
    while (r->missing > 0 && r->ready.first != NULL &&
           r->events.size_bytes < REPLAY_UNSENT_BYTES_MAX)
        show_ready(r);
    return keep_ready(r) && r->running == 0;
}

enum replay_verdict live_next(struct replay *r, struct step **ret_step)
{
    bool room = r->events.size_bytes < REPLAY_UNSENT_BYTES_MAX;

    cancel_purge(r);
    if (r->for_room && !room)
        return REPLAY_IDLE;
    if (attempt_is_overdue(r, ret_step))
        return REPLAY_OVERDUE;
    if (is_paused(r))
        return come_to_rest(r) ? REPLAY_PAUSED : REPLAY_IDLE;
    *ret_step = replay_undefined(r);
    if (*ret_step != NULL)
        return come_to_rest(r) ? REPLAY_UNDEFINED : REPLAY_IDLE;
    for (;;) {
        if (r->missing == 0) {
            replay_end_wait(r);
            return REPLAY_RESUME;
        }
        bool ending = cancel_is_due(r);
        *ret_step = ending ? NULL : take_startable(r);
        if (*ret_step != NULL)
            return REPLAY_START;
        if (r->events.size_bytes >= REPLAY_UNSENT_BYTES_MAX)
            return REPLAY_IDLE;
        if (r->ready.first != NULL)
            show_ready(r);
        else if (scan_is_due(r))
            scan_waiting(r);
        else if (ending)
            cancel_see(r);
        else
            return REPLAY_IDLE;
    }
}

int64_t replay_wake_at_ms(const struct replay *r)
{
    bool attempts_first = r->check_at_ms != 0 &&
                          (r->wake_at_ms == 0 || r->check_at_ms < r->wake_at_ms);

    if (attempts_first)
        return r->check_at_ms;
    return is_paused(r) || replay_undefined(r) != NULL ? 0 : r->wake_at_ms;
}

/* ---- arrivals ---------------------------------------------------------------------------- */

aiki_status replay_add_arrival(struct replay *r, aiki_view stored, aiki_error *err)
{
    uint64_t kind;
    aiki_status st = journal_add_arrival(&r->journal, stored, &kind, err);

    for (struct step *s = r->waiting.first; s != NULL && kind == EVENT_WOKEN; s = s->next)
        wake(r, s);
    r->waiting_dirty = true;
    return st;
}

/* ---- appends ----------------------------------------------------------------------------- */

bool replay_should_append(const struct replay *r)
{
    return r->events.size_bytes > 0 && !r->append_open;
}

bool replay_should_park(const struct replay *r, int64_t now_ms)
{
    bool busy = r->running > 0 || r->held.first != NULL || r->ready.first != NULL ||
                r->waiting_dirty || r->append_open;

    if (!r->live || busy || r->missing == 0 || r->waiting.first == NULL)
        return false;
    if (r->wake_at_ms != 0 && r->wake_at_ms - now_ms < REPLAY_SHORT_SLEEP_MS)
        return false;
    for (const struct step *s = r->waiting.first; s != NULL; s = s->next)
        if (s->kind == STEP_TASK && s->due_at_ms - now_ms <= REPLAY_RETRY_HERE_MS)
            return false;
    return true;
}

bool replay_awaits_arrival(const struct replay *r, uint32_t waits_max)
{
    bool found = false;
    uint32_t count = 0;

    for (const struct step *s = r->waiting.first; s != NULL; s = s->next) {
        found |= s->kind == STEP_SIGNAL || s->kind == STEP_CHILD;
        if (++count > waits_max)
            return false;
    }
    return found;
}

/* What is under way when something else is recorded is recorded with it: after a crash it is
 * matched, not taken for new. What does not fit any more waits for the next append. */
static void announce_running(struct replay *r)
{
    while (r->first_unannounced != NULL && r->events.size_bytes < REPLAY_UNSENT_BYTES_MAX) {
        struct step *s = r->first_unannounced;
        r->first_unannounced = s->next_unannounced;
        if (s->phase == PHASE_RUNNING && !s->on_record)
            live_record_begun(r, s);
    }
}

aiki_view replay_append_begin(struct replay *r, bool announce)
{
    if (announce)
        announce_running(r);
    return aiki_writer_view(&r->events);
}

void replay_append_end(struct replay *r)
{
    r->events.size_bytes = 0;
    r->events_sent = r->events_written;
    r->append_open = true;
}

void replay_acked(struct replay *r)
{
    r->events_acked = r->events_sent;
    r->append_open = false;
}

static void write_wait(const struct step *s, aiki_writer *w)
{
    struct wait wait = {.kind = s->kind, .name = s->name, .due_at_ms = s->due_at_ms,
                        .since_ms = s->since_ms};

    if (s->kind == STEP_CHILD)
        children_name(s, &wait);
    wait_write(w, &wait);
}

void replay_write_waits(const struct replay *r, aiki_writer *w)
{
    uint64_t count = 0;

    for (const struct step *s = r->waiting.first; s != NULL; s = s->next)
        count++;
    aiki_mp_array(w, count);
    for (const struct step *s = r->waiting.first; s != NULL; s = s->next)
        write_wait(s, w);
}

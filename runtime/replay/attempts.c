/* attempts.c - attempts of tasks: their ends, their timeouts, their heartbeats.
 *
 *   HELD --attempt_may_start--> RUNNING --done--------------------------> READY
 *     ^                          | | failed, or a timeout passed            ^
 *     |                          | +-- more attempts: ATTEMPT_FAILED        |
 *     +-------- WAITING <--------+ +-- none: --------------------------------+
 *
 * The owner does not tell when a thread took an attempt, because most attempts have no timeout: it is
 * asked when one may have passed (REPLAY_OVERDUE). An attempt that failed by a timeout lingers until
 * its thread is back; no other one of its step begins before that.
 *
 * Limits: HEARTBEAT_BYTES_MAX of details; they are recorded at most once in HEARTBEAT_RECORD_MS_MIN.
 */
#include <string.h>

#include "base/planted.h"
#include "replay/live.h"
#include "wire/error.h"

enum {
    HEARTBEAT_RECORD_MS = 30000, /* between two records, when the task has no heartbeat timeout */
    HEARTBEAT_RECORD_MS_MIN = 1000,
    HEARTBEAT_RECORD_MS_MAX = 60000,
    ASK_AGAIN_MS_MIN = 10,
    DETAILS_FIRST = 256,
    ERROR_BYTES = 1024, /* of a timeout, beside its cause */
    NAME_SHOWN_BYTES_MAX = 100
};

/* ---- the policy -------------------------------------------------------------------------- */

/* A start's holds for all tasks of the run. */
static const struct retry *retry_of(const struct replay *r, const struct step *s)
{
    return r->journal.has_start_retry && !BUG(start_retry_ignored) ? &r->journal.start_retry : &s->policy->retry;
}

void attempt_write_failure(struct replay *r, const struct step *s, struct event *e)
{
    uint8_t memory[RETRY_ARRAY_BYTES_MAX];
    aiki_writer policy;

    aiki_writer_init_fixed(&policy, memory, sizeof(memory));
    retry_write(&policy, retry_of(r, s));
    e->as.step.options = aiki_writer_view(&policy);
    live_write_event(r, e);
}

int64_t replay_start_to_close_ms(const struct replay *r, const struct step *s)
{
    return s->policy->start_to_close_ms > 0 ? s->policy->start_to_close_ms : r->start_to_close_ms;
}

static bool has_timeouts(const struct replay *r, const struct step *s)
{
    const struct task_policy *p = s->policy;

    return p->start_to_close_ms > 0 || p->schedule_to_start_ms > 0 ||
           p->schedule_to_close_ms > 0 || p->heartbeat_ms > 0 || r->start_to_close_ms > 0;
}

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
    return a_ms == 0 || (b_ms != 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static int64_t after(int64_t at_ms, int64_t duration_ms)
{
    return duration_ms > 0 ? at_ms + duration_ms : 0;
}

int64_t replay_attempt_limit_ms(const struct replay *r, const struct step *s)
{
    return earlier(r->journal.start.as.started.deadline_ms,
                   after(s->called_at_ms, s->policy->schedule_to_close_ms));
}

/* ---- beginning --------------------------------------------------------------------------- */

static void fail_for_good(struct replay *r, struct step *s, aiki_view error)
{
    s->error = error;
    s->done_attempt = s->attempt + 1;
    s->outcome = OUTCOME_FAILED;
    live_push(&r->ready, s, PHASE_READY);
}

/* An error map in replay's memory, with the error of the attempt before as its cause. */
static aiki_view make_error(struct replay *r, struct step *s, aiki_error *e)
{
    const struct replay_memory *m = &r->journal.memory;
    aiki_error cause = AIKI_ERROR_INIT;
    aiki_writer w;

    if (s->error.size_bytes > 0 && error_read(s->error, &cause, m->alloc, m->arg) == AIKI_OK)
        e->cause = &cause;
    uint64_t size = ERROR_BYTES + s->error.size_bytes;
    uint8_t *memory = m->alloc(m->arg, size);
    aiki_writer_init_fixed(&w, memory, memory != NULL ? size : 0);
    error_write(&w, e);
    if (w.status != AIKI_OK && r->status == AIKI_OK)
        r->status = AIKI_NOMEM;
    return w.status == AIKI_OK ? aiki_writer_view(&w) : (aiki_view){NULL, 0};
}

static void fail_unknown(struct replay *r, struct step *s)
{
    aiki_error e = AIKI_ERROR_INIT;

    (void)error_code(&e, AIKI_CRASHED, "OUTCOME_UNKNOWN",
                     "attempt %llu of task %.*s was under way when its process ended; it is executed "
                     "at most once, so find out what it did",
                     (unsigned long long)(s->attempt + 1), (int)s->name.size_bytes,
                     (const char *)s->name.data);
    fail_for_good(r, s, make_error(r, s, &e));
}

static const struct crashes *crashes_of(const struct replay *r, const struct step *s)
{
    const struct crashes *c = s->crashes;

    return c != NULL && c->pass == r->journal.passes ? c : NULL;
}

/* What crashes two builds is in the input, not in a build: a third one is not tried with it, unless
 * somebody asks (docs/decisions/0012). */
static bool of_two_builds(const struct replay *r, const struct step *s)
{
    const struct crashes *c = crashes_of(r, s);

    return c != NULL && c->here && c->elsewhere && !BUG(two_builds_unseen);
}

bool replay_is_spent(const struct replay *r, const struct step *s)
{
    uint64_t max = s->policy->crashes_max > 0 ? s->policy->crashes_max : CRASHES_DEFAULT;
    const struct crashes *c = crashes_of(r, s);

    return c != NULL && c->lifts == r->journal.lifts && c->count >= max && !BUG(crash_uncounted);
}

static bool is_unknown(const struct step *s)
{
    return s->policy->at_most_once && s->begun_attempt > s->attempt && !BUG(once_repeated);
}

/* The crash budget is none of the retry policy's business: a process that dies is replaced and the
 * attempt executed again, but not for ever. Where the budget of one build is spent another one may do,
 * and the run is held for that; this is what is left when none came in time. */
static bool is_crashed_out(const struct replay *r, const struct step *s)
{
    if (of_two_builds(r, s))
        return true;
    if (!replay_is_spent(r, s) || s->barred)
        return false;
    return is_unknown(s) || s->crashes->seq < r->journal.vain_seq || BUG(hold_unawaited);
}

static void fail_crashed(struct replay *r, struct step *s)
{
    aiki_error e = AIKI_ERROR_INIT;

    (void)error_code(&e, AIKI_CRASHED, "STEP_CRASHED",
                     "task %.*s ended its process %llu times with this input, %s; the crashed events "
                     "of the run say where",
                     s->name.size_bytes < NAME_SHOWN_BYTES_MAX ? (int)s->name.size_bytes
                                                               : NAME_SHOWN_BYTES_MAX,
                     (const char *)s->name.data, (unsigned long long)s->crashes->count,
                     of_two_builds(r, s) ? "and that of another build" : "its crash budget");
    s->error = s->crashes->error; /* its cause */
    fail_for_good(r, s, make_error(r, s, &e));
}

bool attempt_begin_call(struct replay *r, struct step *s)
{
    if (s->kept) {
        live_push(&r->ready, s, PHASE_READY);
        return true;
    }
    if (s->called_at_ms == 0)
        s->called_at_ms = r->now_ms;
    if (is_crashed_out(r, s)) {
        fail_crashed(r, s);
        return true;
    }
    if (is_unknown(s)) {
        fail_unknown(r, s);
        return true;
    }
    if (s->undefined) {
        r->lacks_task = true;
        live_push(&r->held, s, PHASE_HELD);
        return true;
    }
    if (replay_is_spent(r, s))
        s->barred = true;
    else if (s->attempt > 0)
        return false;
    /* These count from the call, and go on counting in another process. */
    if (!s->on_record &&
        (s->policy->schedule_to_start_ms > 0 || s->policy->schedule_to_close_ms > 0))
        live_record_begun(r, s);
    live_push(&r->held, s, PHASE_HELD);
    return true;
}

static void record_beat(struct replay *r, struct step *s, uint64_t attempt, aiki_view details)
{
    struct event e = live_step_event(s, EVENT_HEARTBEAT);

    e.as.step.attempt = attempt;
    e.as.step.value = details;
    live_write_event(r, &e);
    s->begun_attempt = attempt;
}

bool attempt_may_start(struct replay *r, struct step *s)
{
    if (s->lingering || (s->undefined && !BUG(undefined_begun)))
        return false;
    if (!s->policy->at_most_once || s->barred || s->begun_attempt > s->attempt)
        return true;
    record_beat(r, s, s->attempt + 1, (aiki_view){NULL, 0});
    s->barrier = r->events_written;
    return false;
}

static bool is_announced(const struct step *s)
{
    return s->policy->at_most_once && s->begun_attempt > s->attempt;
}

/* Recorded as begun, and not begun yet. Cancelled ones may still stand in the queue. */
static struct step *next_announced(struct step *s)
{
    while (s != NULL && (s->phase != PHASE_HELD || !is_announced(s)))
        s = s->next;
    return s;
}

bool replay_is_beginning(const struct replay *r)
{
    return next_announced(r->held.first) != NULL;
}

void replay_take_back(struct replay *r)
{
    for (struct step *s = r->held.first; (s = next_announced(s)) != NULL; s = s->next)
        record_beat(r, s, s->attempt, (aiki_view){NULL, 0});
}

void replay_leave(struct replay *r, struct step *s)
{
    s->phase = PHASE_NEW;
    r->running--;
    if (is_announced(s) && !BUG(left_as_begun))
        record_beat(r, s, s->attempt, (aiki_view){NULL, 0});
}

/* ---- timeouts ---------------------------------------------------------------------------- */

/* As far as is known the attempt waits for a thread: ask often enough for its timeouts to be a quarter late at
 * most. */
static int64_t ask_again_at_ms(const struct replay *r, const struct step *s)
{
    int64_t limit_ms = earlier(replay_start_to_close_ms(r, s), s->policy->heartbeat_ms);

    if (limit_ms == 0)
        return 0;
    return r->now_ms + (limit_ms / 4 > ASK_AGAIN_MS_MIN ? limit_ms / 4 : ASK_AGAIN_MS_MIN);
}

static int64_t due_at_ms(const struct replay *r, const struct step *s)
{
    const struct timing *t = s->timing;
    const struct task_policy *p = s->policy;
    int64_t at_ms = after(s->called_at_ms, p->schedule_to_close_ms);

    if (t->began_at_ms == 0) {
        if (s->attempt == 0)
            at_ms = earlier(at_ms, after(s->called_at_ms, p->schedule_to_start_ms));
        return earlier(at_ms, t->ask_at_ms);
    }
    if (BUG(timeout_ignored))
        return at_ms;
    int64_t alive_at_ms = t->beat_at_ms > t->began_at_ms ? t->beat_at_ms : t->began_at_ms;
    at_ms = earlier(at_ms, after(t->began_at_ms, replay_start_to_close_ms(r, s)));
    return earlier(at_ms, after(alive_at_ms, p->heartbeat_ms));
}

void attempt_begin(struct replay *r, struct step *s)
{
    struct timing *t = s->timing;

    if (t == NULL && !has_timeouts(r, s))
        return;
    t = journal_timing(&r->journal, s);
    if (t == NULL) {
        r->status = AIKI_NOMEM;
        return;
    }
    t->began_at_ms = t->beat_at_ms = t->recorded_at_ms = 0;
    t->ask_at_ms = ask_again_at_ms(r, s);
    if (!t->listed) {
        t->next = r->timed;
        r->timed = s;
        t->listed = true;
    }
    r->check_at_ms = earlier(r->check_at_ms, due_at_ms(r, s));
}

bool attempt_is_overdue(struct replay *r, struct step **ret)
{
    if (r->timed_at == NULL) {
        if (r->check_at_ms == 0 || r->now_ms < r->check_at_ms)
            return false;
        r->timed_at = &r->timed;
        r->check_at_ms = 0;
    }
    while (*r->timed_at != NULL) {
        struct step *s = *r->timed_at;
        struct timing *t = s->timing;
        if (s->phase != PHASE_RUNNING) {
            *r->timed_at = t->next;
            t->listed = false;
            continue;
        }
        int64_t at_ms = due_at_ms(r, s);
        if (at_ms != 0 && at_ms <= r->now_ms) {
            *ret = s;
            return true;
        }
        r->check_at_ms = earlier(r->check_at_ms, at_ms);
        r->timed_at = &t->next;
    }
    r->timed_at = NULL;
    return false;
}

struct passed {
    const char *code, *what;
    int64_t limit_ms;
    bool final;
};

/* Which timeout of the attempt has passed; code NULL: none. */
static struct passed which(const struct replay *r, const struct step *s)
{
    const struct task_policy *p = s->policy;
    const struct timing *t = s->timing;
    int64_t alive_at_ms = t->beat_at_ms > t->began_at_ms ? t->beat_at_ms : t->began_at_ms;
    const struct {
        int64_t since_ms;
        struct passed as;
    } all[] = {
        {s->called_at_ms,
         {"TIMEOUT_SCHEDULE_TO_CLOSE", "all attempts together took", p->schedule_to_close_ms, true}},
        {t->began_at_ms == 0 && s->attempt == 0 ? s->called_at_ms : 0,
         {"TIMEOUT_SCHEDULE_TO_START", "no thread was free for", p->schedule_to_start_ms, true}},
        {t->began_at_ms,
         {"TIMEOUT_START_TO_CLOSE", "it took", replay_start_to_close_ms(r, s), false}},
        {t->began_at_ms == 0 ? 0 : alive_at_ms,
         {"TIMEOUT_HEARTBEAT", "it was silent for", p->heartbeat_ms, false}}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].since_ms != 0 && all[i].as.limit_ms > 0 &&
            all[i].since_ms + all[i].as.limit_ms <= r->now_ms)
            return all[i].as;
    return (struct passed){NULL, NULL, 0, false};
}

static aiki_view timeout_error(struct replay *r, struct step *s, const struct passed *p)
{
    aiki_error e = AIKI_ERROR_INIT;
    int name_bytes = s->name.size_bytes < NAME_SHOWN_BYTES_MAX ? (int)s->name.size_bytes
                                                               : NAME_SHOWN_BYTES_MAX;

    (void)error_code(&e, AIKI_TIMEDOUT, p->code, "attempt %llu of task %.*s: %s over %lld ms",
                     (unsigned long long)(s->attempt + 1), name_bytes, (const char *)s->name.data,
                     p->what, (long long)p->limit_ms);
    return make_error(r, s, &e);
}

bool replay_attempt_overdue(struct replay *r, struct step *s, int64_t began_at_ms,
                            int64_t beat_at_ms, int64_t now_ms)
{
    static const aiki_view none = {NULL, 0};

    r->now_ms = now_ms;
    s->timing->began_at_ms = began_at_ms;
    s->timing->beat_at_ms = beat_at_ms;
    s->timing->ask_at_ms = ask_again_at_ms(r, s);
    struct passed p = which(r, s);
    if (p.code == NULL)
        return false;
    s->lingering = true;
    int64_t duration_us = began_at_ms != 0 ? (now_ms - began_at_ms) * 1000 : 0;
    replay_attempt_failed(r, s, timeout_error(r, s, &p), p.final || s->policy->at_most_once, 0, none,
                          duration_us, now_ms);
    return true;
}

void replay_attempt_gone(struct replay *r, struct step *s)
{
    (void)r;
    s->lingering = false;
}

/* ---- heartbeats -------------------------------------------------------------------------- */

static int64_t record_interval_ms(const struct step *s)
{
    int64_t ms = s->policy->heartbeat_ms > 0 ? s->policy->heartbeat_ms / 10 * 8 : HEARTBEAT_RECORD_MS;

    if (ms < HEARTBEAT_RECORD_MS_MIN)
        return HEARTBEAT_RECORD_MS_MIN;
    return ms < HEARTBEAT_RECORD_MS_MAX ? ms : HEARTBEAT_RECORD_MS_MAX;
}

static bool keep_details(struct replay *r, struct timing *t, aiki_view details)
{
    if (details.size_bytes > t->details_capacity) {
        uint64_t capacity = DETAILS_FIRST;
        while (capacity < details.size_bytes)
            capacity *= 2;
        uint8_t *memory = r->journal.memory.alloc(r->journal.memory.arg, capacity);
        if (memory == NULL)
            return false;
        t->details = memory;
        t->details_capacity = capacity;
    }
    memcpy(t->details, details.data, details.size_bytes);
    t->details_bytes = details.size_bytes;
    return true;
}

static void record_details(struct replay *r, struct step *s)
{
    s->timing->details_unrecorded = false;
    s->timing->recorded_at_ms = r->now_ms;
    record_beat(r, s, s->attempt + 1, replay_last_details(s));
}

void replay_attempt_beat(struct replay *r, struct step *s, aiki_view details, int64_t now_ms)
{
    struct timing *t = journal_timing(&r->journal, s);

    r->now_ms = now_ms;
    if (details.size_bytes == 0 || (s->phase != PHASE_RUNNING && !BUG(beat_behind_end)))
        return; /* a step that was cancelled has its last event */
    if (t == NULL || !keep_details(r, t, details)) {
        r->status = AIKI_NOMEM;
        return;
    }
    t->details_unrecorded = true;
    bool due = t->recorded_at_ms == 0 || now_ms - t->recorded_at_ms >= record_interval_ms(s);
    if (due && r->events.size_bytes < REPLAY_UNSENT_BYTES_MAX)
        record_details(r, s);
}

aiki_view replay_last_details(const struct step *s)
{
    const struct timing *t = s->timing;

    return t != NULL ? (aiki_view){t->details, t->details_bytes} : (aiki_view){NULL, 0};
}

/* ---- ends -------------------------------------------------------------------------------- */

/* False: the step has been cancelled, what it brings is dropped. */
static bool end_attempt(struct replay *r, struct step *s, int64_t duration_us)
{
    if (s->phase != PHASE_RUNNING)
        return false;
    r->running--;
    s->done_attempt = s->attempt + 1;
    s->duration_us = duration_us;
    return true;
}

void replay_attempt_done(struct replay *r, struct step *s, aiki_view value, int64_t duration_us)
{
    if (!end_attempt(r, s, duration_us))
        return;
    s->outcome = OUTCOME_OK;
    s->value = value;
    s->error = (aiki_view){NULL, 0};
    live_push(&r->ready, s, PHASE_READY);
}

static void record_attempt_failed(struct replay *r, struct step *s)
{
    struct event e = live_step_event(s, EVENT_ATTEMPT_FAILED);

    e.as.step.attempt = s->attempt;
    e.as.step.next_at_ms = s->due_at_ms;
    e.as.step.since_ms = s->since_ms;
    e.as.step.error = s->error;
    e.as.step.duration_us = s->duration_us;
    attempt_write_failure(r, s, &e);
    s->barrier = r->events_written;
}

static int64_t next_delay_ms(const struct replay *r, const struct step *s, int64_t retry_after_ms)
{
    const struct retry *policy = retry_of(r, s);

    if (retry_after_ms > 0)
        return retry_after_ms;
    uint64_t draw = policy->jitter_percent > 0
                        ? retry_draw(&r->run, &s->address, s->nth, s->done_attempt)
                        : 0;
    return retry_delay_ms(policy, s->done_attempt, draw);
}

/* A next attempt that would begin when the whole call is over is none. */
static bool is_too_late(const struct step *s, int64_t due_at)
{
    int64_t end_ms = after(s->called_at_ms, s->policy->schedule_to_close_ms);

    return end_ms != 0 && due_at >= end_ms;
}

void replay_attempt_failed(struct replay *r, struct step *s, aiki_view error, bool final,
                           int64_t retry_after_ms, aiki_view value, int64_t duration_us,
                           int64_t now_ms)
{
    const struct retry *policy = retry_of(r, s);

    r->now_ms = now_ms;
    if (!end_attempt(r, s, duration_us))
        return;
    s->error = error;
    final = final || s->done_attempt >= policy->attempts_max || retry_is_final(policy, error);
    int64_t due_at = final ? 0 : live_due_after(r, next_delay_ms(r, s, retry_after_ms));
    if (!final && is_too_late(s, due_at)) {
        s->error = timeout_error(r, s, &(struct passed){"TIMEOUT_SCHEDULE_TO_CLOSE",
                                                        "another one would begin behind the limit,",
                                                        s->policy->schedule_to_close_ms, true});
        final = true;
    }
    if (final) {
        s->outcome = OUTCOME_FAILED;
        s->value = value;
        live_push(&r->ready, s, PHASE_READY);
        return;
    }
    if (s->timing != NULL && s->timing->details_unrecorded)
        record_details(r, s);
    s->attempt = s->done_attempt;
    s->since_ms = now_ms;
    s->due_at_ms = due_at;
    record_attempt_failed(r, s);
    live_push(&r->waiting, s, PHASE_WAITING);
    r->waiting_dirty = true;
}

/* life.c - what is on record about a run as a whole: how it begins, is taken up, tries again, and ends.
 *
 *   times     no start before its time, no end by a deadline that has not passed
 *   passes    as many as its policy allows; a retry voids what it says and no more
 *   end       what its program on its journal returns
 */
#include <string.h>

#include "base/buf.h"
#include "sim.h"
#include "wire/error.h"
#include "wire/retry.h"

/* ---- another pass ---------------------------------------------------------------------------- */

static bool is_void(const struct fact_step *s, uint64_t from_seq)
{
    if (from_seq != 0 && (s->first_seq >= from_seq || s->done_seq >= from_seq))
        return true;
    if (s->done || s->kept)
        return (s->done ? s->outcome : s->kept_outcome) != OUTCOME_OK;
    return s->kind == STEP_CHILD;
}

static void forget_void(struct sim_run *r, uint64_t from_seq)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->step_count; i++) {
        struct fact_step *s = &r->steps[i];
        s->required = false;
        s->older = true;
        if (s->gone || !is_void(s, from_seq))
            continue;
        s->gone = true;
        if (s->signal != 0)
            r->signals[s->signal - 1].taken = false;
    }
    for (uint32_t i = 0; i < r->delivery_count; i++)
        if (r->deliveries[i] != NOBODY && !r->steps[r->deliveries[i]].gone)
            r->deliveries[kept++] = r->deliveries[i];
    r->delivery_count = kept;
}

/* By policy: its owner wrote it, the program has failed, and the policy allows one more. */
static void check_policy(struct sim_run *r, const struct event *e)
{
    const struct program *p = &sim.programs[r->build][r->workflow];
    struct model_view v = model_run(r);
    if (v.wrong != NULL || v.status != INTERP_RETURNED || v.end != END_FAILED)
        violation("run %u: another pass begins, its program on its journal %s", fact_run_number(r),
                  v.wrong != NULL ? v.wrong : "has not failed");
    if (r->passes + 1 >= p->passes_max)
        fact_wrong(r, e, "more passes than its policy allows");
    if (r->cancel_seen)
        fact_wrong(r, e, "another pass begins of a run that knows it is to end");
    r->next_pass_at_ms = e->as.run_retried.next_at_ms;
    r->pass_told_seq = r->told_epoch == e->epoch ? r->told_seq : r->claimed_seq;
}

/* On request: from the first outcome of the step that was named as the reason, too. */
static void check_request(struct sim_run *r, const struct event *e)
{
    aiki_view step = e->as.run_retried.reason;
    uint64_t from_seq = step.size_bytes == 0 ? 0 : r->first_done_seq[fact_name_number(step, STEP_TASK)];
    if (from_seq != e->as.run_retried.from_seq)
        fact_wrong(r, e, "a retry from another event than the first outcome of its step");
    r->ended = r->cancel_requested = r->cancel_seen = r->paused = r->dropped = false;
    r->deadline_ms = r->next_pass_at_ms = 0;
    r->retried_ever++;
}

void fact_retried(struct sim_run *r, const struct event *e)
{
    bool by_policy = e->as.run_retried.next_at_ms != 0;
    fact_note_ref(r, e, e->as.run_retried.ref);
    if (by_policy)
        check_policy(r, e);
    else
        check_request(r, e);
    if (e->as.run_retried.attempt != r->passes + 2)
        fact_wrong(r, e, "passes are not counted one by one");
    forget_void(r, e->as.run_retried.from_seq);
    memset(r->code_crashes, 0, sizeof(r->code_crashes));
    r->passes++;
    r->retried_now = by_policy;
}

/* ---- begin and end --------------------------------------------------------------------------- */

static void check_times(const struct sim_run *r, const struct event *e)
{
    int64_t own_ms = r->run_timeout_ms != 0 ? r->run_timeout_ms : sim.programs[0][r->workflow].run_timeout_ms;
    int64_t start_ms = r->delay_ms != 0             ? e->at_ms + r->delay_ms
                       : r->wanted_at_ms > e->at_ms ? r->wanted_at_ms
                                                    : 0;
    int64_t from_ms = start_ms != 0 ? start_ms : e->at_ms;
    if (r->start_at_ms != start_ms)
        fact_wrong(r, e, "it starts at another time than asked for");
    if (r->deadline_ms != (own_ms != 0 ? from_ms + own_ms : 0))
        fact_wrong(r, e, "its deadline is another than asked for");
}

static void check_retry(const struct sim_run *r, const struct event *e)
{
    uint8_t memory[RETRY_ARRAY_BYTES_MAX];
    aiki_writer asked;
    struct start_retry as_array = r->retry;
    as_array.as_map = false;
    aiki_writer_init_fixed(&asked, memory, sizeof(memory));
    start_retry_write(&asked, &as_array);
    if (!view_equal(e->as.started.retry, aiki_writer_view(&asked)))
        fact_wrong(r, e, "it has another retry policy than asked for");
}

void fact_started(struct sim_run *r, const struct event *e)
{
    r->started_at_ms = e->at_ms;
    r->start_at_ms = e->as.started.start_at_ms;
    r->deadline_ms = e->as.started.deadline_ms;
    key_born(r);
    if (r->parent != NOBODY)
        return; /* family.c compares it with what its parent asked for */
    if (!view_equal(e->as.started.workflow, view_of(workflow_name(r->workflow))) ||
        fact_first_number(e->as.started.input) != r->input || !view_equal(e->as.started.key, view_of(r->key)))
        fact_wrong(r, e, "it was started otherwise than asked for");
    check_times(r, e);
    check_retry(r, e);
}

void fact_claimed(struct sim_run *r, const struct event *e)
{
    bool early = r->woken > 0 || r->retried_ever > 0;
    if (r->claimed_epoch == e->epoch)
        fact_wrong(r, e, "its epoch is claimed twice");
    if (e->at_ms < r->start_at_ms && !early)
        fact_wrong(r, e, "it begins before it was to start");
    /* Whatever arrived behind what the last owner was told lets it go on at once. */
    if (e->at_ms < r->next_pass_at_ms && r->arrival_seq <= r->pass_told_seq)
        fact_wrong(r, e, "another pass begins before its time");
    if (r->state == RUN_PAUSED)
        fact_wrong(r, e, "it is executed although it is paused");
    r->next_pass_at_ms = 0;
    r->claimed_epoch = e->epoch;
    r->claimed_seq = e->seq;
    r->session = e->as.claimed.session;
    r->build = e->as.claimed.build.size_bytes > 0 ? e->as.claimed.build.data[0] - 1u : 0;
}

static void check_model(struct sim_run *r, enum interp_end end)
{
    struct model_view v = model_run(r);
    bool same = v.status == INTERP_RETURNED && v.end == end && (end != END_GOOD || v.sum == r->output);
    if (v.wrong == NULL && same && v.uncalled == 0)
        return;
    violation("run %u: its program on its journal %s, and %u recorded steps were never asked for",
              fact_run_number(r),
              v.wrong != NULL                  ? v.wrong
              : same                           ? "gives the same"
              : v.status == INTERP_RETURNED    ? "gives another end"
                                               : "does not return",
              v.uncalled);
}

/* Its deadline, or nobody took it up in time. */
static void check_time_out(const struct sim_run *r, const struct event *e)
{
    aiki_error err = {.struct_size = sizeof(err)};
    bool unclaimed = error_read(e->as.failed.error, &err, NULL, NULL) == AIKI_OK &&
                     strcmp(err.code, "TIMEOUT_SCHEDULE_TO_START") == 0;
    int64_t limit_ms = unclaimed ? r->start_by_ms : r->deadline_ms;
    if (limit_ms == 0 || e->at_ms < limit_ms)
        fact_wrong(r, e, "its time has not passed");
    if (unclaimed && (r->claimed_seq != 0 || r->paused_ever > 0))
        fact_wrong(r, e, "it ends as if nobody had taken it up");
}

void fact_ended(struct sim_run *r, const struct event *e)
{
    static const uint32_t states[] = {[EVENT_COMPLETED] = RUN_COMPLETED,
                                      [EVENT_FAILED] = RUN_FAILED,
                                      [EVENT_CANCELLED] = RUN_CANCELLED,
                                      [EVENT_TIMED_OUT] = RUN_TIMED_OUT,
                                      [EVENT_TERMINATED] = RUN_TERMINATED};
    r->ended = r->ended_now = true;
    r->end_kind = e->kind;
    r->ended_as |= UINT64_C(1) << states[e->kind];
    switch (e->kind) {
    case EVENT_COMPLETED:
        r->output = fact_first_number(e->as.completed.output);
        check_model(r, END_GOOD);
        return;
    case EVENT_FAILED: check_model(r, END_FAILED); return;
    case EVENT_CANCELLED:
        if (!r->cancel_requested)
            fact_wrong(r, e, "it is cancelled and nobody asked for that");
        if (r->claimed_epoch == e->epoch)
            check_model(r, END_CANCELLED);
        else if (r->claimed_seq != 0)
            fact_wrong(r, e, "it is cancelled as if it had not started");
        return;
    case EVENT_TIMED_OUT:
        check_time_out(r, e);
        return;
    default: return;
    }
}

/* A result on record that one of the builds does not take; which of them says so, depends on who was asked
 * first. One that took it itself does. */
static bool has_misfit(const struct sim_run *r)
{
    bool found = false;
    for (uint32_t i = 0; i < r->step_count && HAS(OTHER_BUILD) && USES(SCHEMAS); i++) {
        const struct fact_step *s = &r->steps[i];
        bool shown = !s->gone && s->done && s->kind == STEP_TASK && s->outcome == OUTCOME_OK;
        for (uint32_t build = 0; build < BUILDS && shown && schema_misfit(s->value); build++)
            found |= sim.programs[build][r->workflow].schema_modes[s->name] == AIKI_SCHEMA_STRICT;
    }
    return found;
}

bool fact_has_lack(const struct sim_run *r)
{
    bool found = false;
    for (uint32_t i = 0; i < BUILDS * NAMES && HAS(OTHER_BUILD); i++)
        found |= sim.programs[i / NAMES][r->workflow].tasks[i % NAMES].undefined;
    return found;
}

void fact_blocked(const struct sim_run *r, const struct event *e)
{
    enum { BLOCKING_MS_MAX = 5000 }; /* from what its code saw to the record, once nothing is disturbed */
    aiki_error err = {.struct_size = sizeof(err)};
    if (error_read(e->as.blocked.error, &err, NULL, NULL) != AIKI_OK)
        fact_wrong(r, e, "its reason does not decode");
    if (strcmp(err.code, "WORKFLOW_CRASHED") == 0 && r->code_crashes[r->build] < CRASHES_DEFAULT)
        fact_wrong(r, e, "its crash budget is not used up");
    if (strcmp(err.code, "SCHEMA_MISMATCH") == 0 && (!has_misfit(r) || schema_mended_ms() > BLOCKING_MS_MAX))
        fact_wrong(r, e, "all that is on record fits");
    if (strcmp(err.code, "TASK_UNKNOWN") == 0 && (!fact_has_lack(r) || schema_mended_ms() > BLOCKING_MS_MAX))
        fact_wrong(r, e, "all tasks are defined");
    if (strcmp(err.code, "QUARANTINED") == 0 && !quarantine_was(r->build))
        fact_wrong(r, e, "nothing of its build was ever quarantined");
}

void fact_cancel_seen(struct sim_run *r, const struct event *e)
{
    if (!r->cancel_requested || r->cancel_seen)
        fact_wrong(r, e, "the code learns that it is to end, and is not, or knows it");
    r->cancel_seen = true;
    FACT_GROW(r->deliveries, r->delivery_count, r->delivery_capacity);
    r->deliveries[r->delivery_count++] = NOBODY;
}

void fact_dropped(struct sim_run *r, const struct event *e)
{
    if (r->end_kind != EVENT_FAILED || r->dropped)
        fact_wrong(r, e, "it is no dead letter");
    r->dropped = true;
    r->dropped_ever++;
}

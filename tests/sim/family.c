/* family.c - what must hold between parents and children after every unit.
 *
 *   a child is started by the step that asked for it, once, as it asked; a step that asked has a child
 *   or an answer that says why not
 *   the end of a child is told its open parent in the same unit, as it was
 *   the end of a parent, a request to end it, a step that is given up and another pass reach the open
 *   children in the same unit, by their close policy and not otherwise
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "sim.h"

/* ---- birth ----------------------------------------------------------------------------------- */

/* The policy and the options belong to the step; family_after compares. */
uint32_t family_born(const struct event *e, const struct aiki_id *id)
{
    uint32_t parent = run_find(&e->as.started.parent);
    uint64_t none;
    if (parent == NOBODY)
        violation("a run that nobody has asked for");
    uint32_t run = run_add(id);
    struct sim_run *r = &sim.runs[run];
    r->parent = parent;
    r->parent_address = e->as.started.parent_address;
    r->parent_nth = e->as.started.parent_nth;
    r->close_policy = e->as.started.close_policy;
    r->input = fact_number(e->as.started.input, &none);
    r->workflow = e->as.started.workflow.size_bytes == 2 ? (uint32_t)(e->as.started.workflow.data[1] - '0')
                                                         : WORKFLOWS_MAX;
    (void)snprintf(r->key, sizeof(r->key), "%.*s", (int)e->as.started.key.size_bytes,
                   (const char *)e->as.started.key.data);
    r->acked = true; /* by its parent */
    r->next_child = sim.runs[parent].first_child;
    sim.runs[parent].first_child = run;
    sim_note("run %u is a child of run %u", run, parent);
    return run;
}

struct fact_step *family_step(struct sim_run *parent, const struct aiki_id *child)
{
    for (uint32_t i = 0; i < parent->step_count; i++)
        if (parent->steps[i].kind == STEP_CHILD && id_equal(&parent->steps[i].child, child))
            return &parent->steps[i];
    return NULL;
}

static void check_deadline(const struct sim_run *r, const struct sim_run *parent, const struct fact_step *s)
{
    int64_t own_ms = sim.programs[0][r->workflow].run_timeout_ms;
    int64_t deadline_ms = own_ms != 0 ? r->started_at_ms + own_ms : 0;
    int64_t of_parent_ms = s->close_policy == CLOSE_ABANDON ? 0 : parent->deadline_ms;
    if (of_parent_ms != 0 && (deadline_ms == 0 || of_parent_ms < deadline_ms))
        deadline_ms = of_parent_ms;
    if (r->deadline_ms != deadline_ms)
        violation("run %u: its deadline is %lld, by its parent and its workflow it is %lld",
                  fact_run_number(r), (long long)r->deadline_ms, (long long)deadline_ms);
}

void family_check_birth(struct sim_run *r)
{
    if (r->parent == NOBODY || r->seq_before != 0)
        return;
    struct sim_run *parent = &sim.runs[r->parent];
    const struct fact_step *s = family_step(parent, &r->id);
    if (s == NULL || !s->begun)
        violation("run %u: it is a child of run %u, which has not asked for it", fact_run_number(r), r->parent);
    if (s->name != r->workflow || s->input != r->input || s->close_policy != r->close_policy ||
        s->nth != r->parent_nth || memcmp(&s->address, &r->parent_address, sizeof(s->address)) != 0 ||
        strcmp(s->key, r->key) != 0)
        violation("run %u: it is started otherwise than its parent asked for", fact_run_number(r));
    r->detached = s->detached;
    r->start_by_ms = s->start_by_ms != 0 ? r->started_at_ms + s->start_by_ms : 0;
    check_deadline(r, parent, s);
    if (r->seq == 1 && r->wake_at_ms != r->start_by_ms)
        violation("run %u: it is to be taken up until %lld, its timer says %lld", fact_run_number(r),
                  (long long)r->start_by_ms, (long long)r->wake_at_ms);
}

/* ---- to the parent --------------------------------------------------------------------------- */

const struct fact_end *family_last_end(const struct sim_run *parent, const struct aiki_id *child)
{
    for (uint32_t i = parent->end_count; i-- > 0;)
        if (id_equal(&parent->ends[i].child, child))
            return &parent->ends[i];
    return NULL;
}

static void check_told(const struct sim_run *r)
{
    const struct sim_run *parent = &sim.runs[r->parent];
    if (r->detached || parent->ended)
        return;
    const struct fact_end *end = family_last_end(parent, &r->id);
    bool new = end != NULL && (uint32_t)(end - parent->ends) >= parent->ends_before;
    if (!new)
        violation("run %u: it ended and its parent, run %u, was not told", fact_run_number(r), r->parent);
}

/* What a parent is told of a child is so. */
static void check_end(const struct sim_run *r, const struct fact_end *end)
{
    uint32_t child = run_find(id_is_zero(&end->by) ? &end->child : &end->by);
    if (child == NOBODY && end->state != RUN_FAILED)
        violation("run %u: it is told how a child ended that there never was", fact_run_number(r));
    if (child == NOBODY)
        return; /* could not be started: see key_check_taken */
    const struct sim_run *c = &sim.runs[child];
    if ((c->ended_as >> end->state & 1) == 0 || (end->state == RUN_COMPLETED && end->value != c->output))
        violation("run %u: it is told that its child, run %u, is %s, and that is not so", fact_run_number(r),
                  child, run_state_name(end->state));
}

/* ---- to the children ------------------------------------------------------------------------- */

enum cause { CAUSE_ENDED, CAUSE_CANCELLED, CAUSE_RETRIED };

static void check_closed(const struct sim_run *r, const struct sim_run *child, enum cause cause)
{
    static const char *const causes[] = {"ended", "is to end", "begins another pass"};
    bool terminates = child->close_policy == CLOSE_TERMINATE;
    if (child->ended || child->close_policy == CLOSE_ABANDON ||
        (cause == CAUSE_RETRIED && child->detached) || (cause == CAUSE_CANCELLED && terminates))
        return;
    if (terminates || !child->cancel_requested)
        violation("run %u %s, and its child, run %u, goes on", fact_run_number(r), causes[cause],
                  fact_run_number(child));
}

/* Children asked for behind the request end when the code learns of it. What is left for another unit is
 * looked at with that. */
static void check_children(struct sim_run *r, enum cause cause)
{
    if (r->follow && !USES(SMALL_UNITS))
        violation("run %u: its family is small, and not closed in one commit", fact_run_number(r));
    if (r->follow && cause != CAUSE_RETRIED)
        return;
    for (uint32_t c = r->first_child; c != NOBODY; c = sim.runs[c].next_child) {
        const struct fact_step *s = family_step(r, &sim.runs[c].id);
        if (cause != CAUSE_CANCELLED || s->begun_seq < r->cancel_seq)
            check_closed(r, &sim.runs[c], cause);
    }
}

/* A step that was given up in this unit. */
static void check_given_up(struct sim_run *r, const struct fact_step *s)
{
    uint32_t child = run_find(&s->child);
    if (child != NOBODY)
        check_closed(r, &sim.runs[child], CAUSE_ENDED);
}

static void check_begun(const struct sim_run *r, const struct fact_step *s)
{
    /* Nobody would read why the append that ends a run could not start a child. */
    if (run_find(&s->child) == NOBODY && family_last_end(r, &s->child) == NULL && !join_has(&s->child) &&
        !r->ended)
        violation("run %u: it asked for a child and has none", fact_run_number(r));
}

void family_after(struct sim_run *r)
{
    for (uint32_t i = 0; i < r->step_count; i++) {
        const struct fact_step *s = &r->steps[i];
        if (s->kind != STEP_CHILD)
            continue;
        if (s->begun_seq > r->seq_before)
            check_begun(r, s);
        if (s->cut && s->done_seq > r->seq_before)
            check_given_up(r, s);
    }
    for (uint32_t i = r->ends_before; i < r->end_count; i++) {
        const struct fact_step *s = family_step(r, &r->ends[i].child);
        check_end(r, &r->ends[i]);
        if (s != NULL && r->ends[i].key_taken)
            key_check_taken(r, s);
    }
    if (r->ended_now && r->parent != NOBODY && r->ended)
        check_told(r);
    if (r->ended_now || (r->follow_before && r->ended))
        check_children(r, CAUSE_ENDED);
    else if (r->follow_before)
        check_children(r, CAUSE_CANCELLED);
    if (r->cancelled_now)
        check_children(r, CAUSE_CANCELLED);
    if (r->retried_now)
        check_children(r, CAUSE_RETRIED);
}

/* joins.c - children that runs have in common: one run executes, the others wait for its end.
 *
 *   who joins has asked for just that: workflow, key and input; and the run that is joined is open
 *   the end of a run is told with its commit to all open runs that joined it, as it was
 *   a run that did not join another is told of its end only when that had completed before
 *   a call fails because of a circle when all its run waits for, and they wait for, is parked for ends of
 *   runs among them, and for nothing else; that such a circle is left shows by its runs, which do not end
 */
#include <string.h>

#include "sim.h"

void join_noted(struct sim_run *r, const struct event *e)
{
    if (r->ended)
        violation("run %u: it is joined though it has ended", fact_run_number(r));
    FACT_GROW(r->joins, r->join_count, r->join_capacity);
    r->joins[r->join_count++] =
        (struct fact_join){.parent = run_of_id(&e->as.joined.parent), .child = e->as.joined.child};
}

static bool has_joined(const struct sim_run *r, const struct aiki_id *child)
{
    for (uint32_t n = 0; n < r->join_count; n++)
        if (id_equal(&r->joins[n].child, child))
            return true;
    return false;
}

bool join_has(const struct aiki_id *child)
{
    bool found = false;
    for (uint32_t i = 0; i < sim.run_count && !found; i++)
        found = has_joined(&sim.runs[i], child);
    return found;
}

static bool fits(const struct sim_run *r, const struct fact_step *s)
{
    return s != NULL && s->shared && s->name == r->workflow && s->input == r->input &&
           strcmp(s->key, r->key) == 0;
}

/* What a run was told of another that it did not start. */
static void check_by(struct sim_run *r, const struct fact_end *end)
{
    const struct sim_run *by = &sim.runs[run_of_id(&end->by)];
    if (!fits(by, family_step(r, &end->child)))
        violation("run %u: it is told the end of run %u, for which it did not ask", fact_run_number(r),
                  fact_run_number(by));
    if (end->state != RUN_COMPLETED && !has_joined(by, &end->child))
        violation("run %u: it has part in the end of run %u, which had no result", fact_run_number(r),
                  fact_run_number(by));
}

static void check_told(const struct sim_run *r, const struct fact_join *j)
{
    const struct sim_run *parent = &sim.runs[j->parent];
    const struct fact_end *end = family_last_end(parent, &j->child);
    bool now = end != NULL && (uint32_t)(end - parent->ends) >= parent->ends_before;
    if (!parent->ended && (!now || !id_equal(&end->by, &r->id)))
        violation("run %u: it ended, and run %u, which had joined it, was not told", fact_run_number(r),
                  j->parent);
}

/* ---- circles --------------------------------------------------------------------------------- */

static uint32_t holder_of(const struct fact_step *s)
{
    if (!s->shared)
        return run_find(&s->child);
    for (uint32_t i = 0; i < sim.run_count; i++)
        if (sim.runs[i].has_key && sim.runs[i].workflow == s->name && strcmp(sim.runs[i].key, s->key) == 0)
            return i;
    return NOBODY;
}

/* It is parked for children, or was when the unit at hand came to it. */
static bool was_parked(const struct sim_run *r)
{
    bool now = r->commit == sim.commits && (r->arrival_seq > r->seq_before || r->ended_now);
    return r->on_record && (r->state == RUN_AWAITING_CHILD || now);
}

static bool is_open(const struct fact_step *s)
{
    return s->required && !s->gone && !s->done && (s->begun || s->failed > 0);
}

static void check_circle(const struct sim_run *r)
{
    static uint32_t all[RUNS_MAX];
    static bool known[RUNS_MAX];
    uint32_t count = 0;
    memset(known, 0, sizeof(known));
    all[count++] = fact_run_number(r);
    known[all[0]] = true;
    for (uint32_t i = 0; i < count; i++) {
        const struct sim_run *at = &sim.runs[all[i]];
        bool waits = false;
        for (uint32_t n = 0; n < at->step_count; n++) {
            const struct fact_step *s = &at->steps[n];
            if (!is_open(s))
                continue;
            uint32_t target = s->kind == STEP_CHILD ? holder_of(s) : NOBODY;
            if (target == NOBODY)
                violation("run %u: a call fails because of a circle, and run %u may go on by a %s",
                          fact_run_number(r), all[i], step_kind_name(s->kind));
            waits = true;
            if (!known[target])
                all[count++] = target;
            known[target] = true;
        }
        if (!waits || !was_parked(at))
            violation("run %u: a call fails because of a circle, and run %u does not wait", fact_run_number(r),
                      all[i]);
    }
}

void join_after(struct sim_run *r)
{
    for (uint32_t i = r->ends_before; i < r->end_count; i++)
        if (r->ends[i].circle)
            check_circle(r);
    for (uint32_t i = r->joins_before; i < r->join_count; i++)
        if (!fits(r, family_step(&sim.runs[r->joins[i].parent], &r->joins[i].child)))
            violation("run %u: it is joined by run %u, which asked for something else", fact_run_number(r),
                      r->joins[i].parent);
    for (uint32_t i = r->ends_before; i < r->end_count; i++)
        if (!id_is_zero(&r->ends[i].by))
            check_by(r, &r->ends[i]);
    for (uint32_t i = 0; i < r->join_count && r->ended_now && r->ended; i++)
        check_told(r, &r->joins[i]);
}

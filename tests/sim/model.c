/* model.c - a small sequential model of a run: its program on its journal, in the plainest way.
 *
 * Outcomes are shown in the order they were recorded, one at a time and only while the program waits;
 * that it is to end, where it learnt it. No time, no memory of its own, no second thought.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sim.h"

struct call {
    uint64_t kind, input;
    uint32_t name, step;         /* index into run->steps; NOBODY: not on record */
    bool counts;                 /* makes the next equal call another step */
    bool shielded, cut;          /* called in a protected scope; nobody wants it any more */
};
struct model {
    struct sim_run *run;
    struct call calls[FUTURES_MAX + 1]; /* by future */
    uint32_t future_count;
    bool *shown, *called, *cut;  /* by step */
    uint32_t next;               /* delivery */
    uint32_t depth;              /* of protected scopes */
    bool cancelled;              /* the program knows that the run is to end */
    const char *wrong;
};

static uint32_t find(const struct model *m, const struct call *c, uint64_t nth)
{
    for (uint32_t i = 0; i < m->run->step_count; i++) {
        const struct fact_step *s = &m->run->steps[i];
        bool by_input = s->kind == STEP_TASK || s->kind == STEP_CHILD;
        if (!s->gone && s->kind == c->kind && s->name == c->name && s->nth == nth &&
            (!by_input || s->input == c->input))
            return i;
    }
    return NOBODY;
}

static void cut(struct model *m, struct call *c)
{
    if (c->cut || (c->step != NOBODY && m->shown[c->step]))
        return;
    c->cut = true;
    if (c->step != NOBODY)
        m->cut[c->step] = true;
}

/* False: nothing is left, or it does not fit. */
static bool show_next(struct model *m)
{
    const struct sim_run *r = m->run;
    if (m->wrong != NULL || m->next == r->delivery_count || r->deliveries[m->next] == NOBODY)
        return false;
    uint32_t step = r->deliveries[m->next++];
    /* What is kept of an earlier pass need not be wanted in this. */
    if (m->cut[step] && !r->steps[step].cut && r->steps[step].required)
        m->wrong = "gives up a step that has an outcome on record";
    else if (!m->cut[step] && r->steps[step].cut)
        m->wrong = "waits for a step that is on record as given up";
    m->shown[step] = !m->cut[step];
    return m->wrong == NULL;
}

/* On record the next one is given up: the program does that later, or waits in vain. */
static bool next_is_given_up(const struct model *m)
{
    const struct sim_run *r = m->run;
    uint32_t step = m->next < r->delivery_count ? r->deliveries[m->next] : NOBODY;
    return step != NOBODY && r->steps[step].cut && !m->cut[step];
}

/* Seen at once, behind what was recorded before it; a build that takes it earlier than it was captured,
 * before it learnt that it is to end or gave up a step, sees it there ever after. */
static void show_side(struct model *m, uint32_t step)
{
    while (!m->shown[step] && !next_is_given_up(m) && show_next(m))
        ;
    m->shown[step] = true;
}

/* What a sleep until a time has to do with the record. A kept step may be of another operation. */
static void check_until(struct model *m, const struct op *op, uint32_t step)
{
    const struct sim_run *r = m->run;
    if (step == NOBODY || op->kind != OP_SLEEP || !op->until || HAS(OTHER_BUILD) || r->passes > 0 ||
        r->woken > 0)
        return;
    const struct fact_step *s = &r->steps[step];
    int64_t until_ms = r->started_at_ms + op->ms;
    if (s->begun && s->due_at_ms != until_ms)
        m->wrong = "sleeps until another time than was asked for";
    if (s->done && !s->cut && s->done_at_ms < until_ms)
        m->wrong = "wakes before the time it sleeps until";
}

static uint32_t on_call(void *arg, const struct op *op)
{
    static const uint64_t kinds[] = {[OP_TASK] = STEP_TASK,
                                     [OP_SLEEP] = STEP_SLEEP,
                                     [OP_SIGNAL] = STEP_SIGNAL,
                                     [OP_SIDE] = STEP_SIDE,
                                     [OP_CHILD] = STEP_CHILD};
    struct model *m = arg;
    struct call c = {.kind = kinds[op->kind],
                     .input = op->kind == OP_TASK || op->kind == OP_CHILD ? op->input : 0,
                     .name = op->name,
                     .counts = true,
                     .shielded = m->depth > 0};
    uint64_t nth = 0;
    for (uint32_t f = 1; f <= m->future_count; f++) {
        const struct call *o = &m->calls[f];
        nth += o->counts && o->kind == c.kind && o->name == c.name && o->input == c.input;
    }
    if (op->kind == OP_SIDE && op->once && nth > 0) {
        nth = 0; /* the same value again */
        c.counts = false;
    }
    c.step = find(m, &c, nth);
    check_until(m, op, c.step);
    m->calls[++m->future_count] = c;
    if (c.step != NOBODY)
        m->called[c.step] = true;
    if (m->cancelled && !c.shielded && c.kind != STEP_SIDE)
        cut(m, &m->calls[m->future_count]);
    if (c.step != NOBODY && c.kind == STEP_SIDE)
        show_side(m, c.step);
    return m->future_count;
}

static bool is_over(const struct model *m, uint32_t future)
{
    const struct call *c = &m->calls[future];
    return c->cut || (c->step != NOBODY && m->shown[c->step]);
}

/* The next in the journal is where it learnt that it is to end. */
static bool learns_cancel(const struct model *m)
{
    return m->next < m->run->delivery_count && m->run->deliveries[m->next] == NOBODY && m->depth == 0;
}

static void learn_cancel(struct model *m)
{
    m->next++;
    m->cancelled = true;
    for (uint32_t f = 1; f <= m->future_count; f++)
        if (!m->calls[f].shielded)
            cut(m, &m->calls[f]);
}

static enum await_status on_await(void *arg, const uint32_t *futures, uint32_t count, uint32_t needed)
{
    struct model *m = arg;
    for (;;) {
        uint32_t over = 0;
        for (uint32_t i = 0; i < count; i++)
            over += is_over(m, futures[i]);
        if (over >= needed)
            return AWAIT_OVER;
        if (m->cancelled && m->depth == 0)
            return AWAIT_CANCELLED;
        if (learns_cancel(m)) {
            learn_cancel(m);
            return AWAIT_CANCELLED;
        }
        if (!show_next(m))
            return AWAIT_SUSPENDS;
    }
}

/* A wait that suspends ends the model: the journal has no more. */
static enum await_status on_awaited(void *arg)
{
    (void)arg;
    return AWAIT_SUSPENDS;
}

static enum step_status on_look(void *arg, uint32_t future, uint64_t *ret_value)
{
    const struct model *m = arg;
    if (!is_over(m, future))
        return STEP_PENDING;
    if (m->calls[future].cut)
        return STEP_CUT;
    const struct fact_step *s = &m->run->steps[m->calls[future].step];
    *ret_value = s->value;
    return step_status_of(s->outcome, s->with_error);
}

static bool on_side(void *arg, uint32_t future)
{
    return is_over(arg, future);
}

static void on_cancel(void *arg, uint32_t future)
{
    struct model *m = arg;
    cut(m, &m->calls[future]);
}

static void on_protect(void *arg, bool on)
{
    struct model *m = arg;
    m->depth += on ? 1 : UINT32_MAX;
}

struct model_view model_run(struct sim_run *r)
{
    struct model m = {.run = r};
    struct interp i = {.program = &sim.programs[r->build][r->workflow], .deep = run_is_deep(r)};
    const struct machine machine = {&m,      on_call,   on_await,  on_awaited,
                                    on_look, on_side, on_cancel, on_protect};
    AUTO(free) bool *flags = memory_need(3 * (size_t)r->step_count + 1);
    m.shown = flags;
    m.called = flags + r->step_count;
    m.cut = flags + 2 * (size_t)r->step_count;
    struct model_view v = {.status = interp_go(&i, r->input, &machine)};
    for (uint32_t s = 0; s < r->step_count; s++)
        v.uncalled += r->steps[s].required && !r->steps[s].gone && !m.called[s];
    v.end = i.end;
    v.sum = i.sum;
    v.protected = m.depth > 0;
    v.wrong = m.wrong;
    return v;
}

/* program.c - random workflow programs and the one way to execute them.
 *
 * A program is a straight list of operations that may skip forward. All it sees goes into `sum`, and `sum`
 * decides inputs and branches: a result that is lost, repeated or swapped shows in everything behind
 * it and at last in the run's output.
 */
#include <stdio.h>
#include <string.h>

#include "sim.h"

enum { OPEN_MAX = 6 }; /* futures under way at once, then the program waits for all */

/* ---- making them ----------------------------------------------------------------------------- */

static bool on(uint32_t primitive)
{
    return (sim.config.primitives >> primitive & 1) != 0;
}

static int64_t some_wait_ms(struct rng *g)
{
    switch (rng_below(g, on(PRIMITIVE_LONG) ? 5 : 3)) {
    case 0: return (int64_t)rng_below(g, 5);
    case 1: return (int64_t)rng_below(g, 50);
    case 2: return (int64_t)rng_below(g, 800);
    case 3: return (int64_t)rng_below(g, 4000);
    default: return (int64_t)rng_below(g, 15000);
    }
}

static void make_task(struct rng *g, struct op *op)
{
    op->kind = OP_TASK;
    op->input = (uint32_t)rng_below(g, STEP_INPUTS + 1); /* the last: depends on what was seen */
    op->attempts_max = on(PRIMITIVE_RETRY) ? 1 + (uint32_t)rng_below(g, 5) : 1;
    op->delay_ms = 1 + some_wait_ms(g);
}

static struct op make_op(struct rng *g)
{
    struct op op = {.name = (uint32_t)rng_below(g, NAMES)};
    switch (rng_below(g, 16)) {
    case 6:
    case 7:
        if (!on(PRIMITIVE_SLEEP))
            break;
        op.kind = OP_SLEEP;
        op.ms = some_wait_ms(g);
        return op;
    case 8:
    case 9:
        if (!on(PRIMITIVE_SIGNAL))
            break;
        op.kind = OP_SIGNAL;
        op.name = (uint32_t)rng_below(g, 2);
        op.ms = on(PRIMITIVE_TIMEOUT) && rng_permille(g, 600) ? some_wait_ms(g) : -1;
        return op;
    case 10:
        if (!on(PRIMITIVE_SIDE))
            break;
        op.kind = OP_SIDE;
        op.once = rng_permille(g, 500);
        return op;
    case 11: op.kind = OP_ALL; return op;
    case 12: op.kind = on(PRIMITIVE_ANY) ? OP_ANY : OP_ALL; return op;
    case 13: op.kind = on(PRIMITIVE_PEEK) ? OP_PEEK : OP_LAST; return op;
    case 14: op.kind = OP_LAST; return op;
    case 15:
        if (!on(PRIMITIVE_BRANCH))
            break;
        op.kind = rng_permille(g, 850) ? OP_SKIP : OP_FAIL;
        op.skip = 1 + (uint32_t)rng_below(g, 3);
        return op;
    default: break;
    }
    make_task(g, &op);
    return op;
}

/* The same program with one operation replaced, left out or put in: what a new build may do. */
static void mutate(struct rng *g, struct program *p)
{
    uint32_t at = (uint32_t)rng_below(g, p->count);
    uint64_t how = rng_below(g, 3);
    if (how == 0 && p->count > 1) {
        memmove(&p->ops[at], &p->ops[at + 1], (p->count - at - 1) * sizeof(p->ops[0]));
        p->count--;
    } else if (how == 1 && p->count < OPS_MAX) {
        memmove(&p->ops[at + 1], &p->ops[at], (p->count - at) * sizeof(p->ops[0]));
        p->count++;
        p->ops[at] = make_op(g);
    } else {
        p->ops[at] = make_op(g);
    }
}

static void tell(uint32_t build, uint32_t workflow)
{
    static const char *const kinds[] = {"task", "sleep", "signal", "side", "all",
                                        "any",  "last",  "peek",   "skip", "fail"};
    const struct program *p = &sim.programs[build][workflow];
    for (uint32_t i = 0; i < p->count; i++) {
        const struct op *op = &p->ops[i];
        sim_note("workflow %u build %u op %u: %s %s input %u ms %lld attempts %u skip %u%s", workflow,
                 build, i, kinds[op->kind], task_name(op->name), op->input, (long long)op->ms,
                 op->attempts_max, op->skip, op->once ? " once" : "");
    }
}

void programs_make(void)
{
    for (uint32_t w = 0; w < WORKFLOWS_MAX; w++) {
        struct rng g = {rng_next(&sim.program_rng)};
        struct program *p = &sim.programs[0][w];
        p->count = 1 + (uint32_t)rng_below(&g, OPS_MAX);
        for (uint32_t i = 0; i < p->count; i++)
            p->ops[i] = make_op(&g);
        if (p->count > sim.config.ops)
            p->count = sim.config.ops;
        sim.programs[1][w] = *p;
        mutate(&g, &sim.programs[1][w]);
        for (uint32_t build = 0; build < BUILDS && w < sim.config.workflows; build++)
            tell(build, w);
    }
}

uint32_t program_signals(const struct program *p)
{
    uint32_t names = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->ops[i].kind == OP_SIGNAL)
            names |= 1u << p->ops[i].name;
    return names;
}

const char *task_name(uint32_t name)
{
    static const char *const names[NAMES] = {"a", "b", "c", "d"};
    return names[name];
}

struct outcome_of attempt_outcome(uint32_t run, uint32_t name, uint64_t input, uint64_t nth,
                                  uint64_t attempt)
{
    uint64_t step = mix64(mix64(sim.config.seed, run), mix64(name + NAMES * nth, input));
    struct rng g = {mix64(step, attempt)};
    struct outcome_of o = {.good = !HAS(TASKS_FAIL) || rng_permille(&g, 650)};
    o.final = !o.good && rng_permille(&g, 60);
    o.retry_after_ms = !o.good && rng_permille(&g, 150) ? 1 + (int64_t)rng_below(&g, 6000) : 0;
    o.value = rng_next(&g) >> 20;
    o.takes_ms = rng_permille(&g, 700) ? (int64_t)rng_below(&g, 3) : (int64_t)rng_below(&g, 1500);
    return o;
}

/* ---- executing them -------------------------------------------------------------------------- */

static void see(struct interp *i, uint32_t at, enum step_status status, uint64_t value)
{
    i->sum = mix64(i->sum, mix64(at * 8 + (uint64_t)status, status == STEP_GOOD ? value : 0)) >> 1;
    if (status != STEP_PENDING)
        i->seen[i->seen_count++] = i->futures[at];
}

static void close_at(struct interp *i, uint32_t place)
{
    memmove(&i->open[place], &i->open[place + 1],
            (i->open_count - place - 1) * sizeof(i->open[0]));
    i->open_count--;
}

/* Look at what is open: fold what is done. `all`: the rest as well, as pending. */
static void look(struct interp *i, const struct machine *m, bool pending_too)
{
    for (uint32_t place = 0; place < i->open_count;) {
        uint64_t value = 0;
        enum step_status status = m->look(m->arg, i->futures[i->open[place]], &value);
        if (status != STEP_PENDING || pending_too)
            see(i, i->open[place], status, value);
        if (status != STEP_PENDING)
            close_at(i, place);
        else
            place++;
    }
}

/* False: suspended. Otherwise what is done has been seen. */
static bool await(struct interp *i, const struct machine *m, bool last_only, bool any)
{
    uint32_t count = 0;
    if (!i->waiting) {
        for (uint32_t p = last_only ? i->open_count - 1 : 0; p < i->open_count; p++)
            i->awaited[count++] = i->futures[i->open[p]];
        if (!m->await(m->arg, i->awaited, count, any ? 1 : count)) {
            i->waiting = true;
            return false;
        }
    }
    i->waiting = false;
    if (!last_only) {
        look(i, m, false);
        return true;
    }
    uint64_t value = 0;
    uint32_t at = i->open[i->open_count - 1];
    see(i, at, m->look(m->arg, i->futures[at], &value), value);
    i->open_count--;
    return true;
}

static enum interp_status begin(struct interp *i, const struct machine *m, const struct op *op,
                                uint64_t input)
{
    struct op call = *op;
    if (op->kind == OP_TASK)
        call.input = op->input < STEP_INPUTS ? op->input + (uint32_t)input * 10
                                             : (uint32_t)(i->sum & 0xffff) + 1000;
    uint32_t future = m->call(m->arg, &call);
    if (future == 0)
        return INTERP_BROKEN;
    i->futures[i->future_count] = future;
    i->open[i->open_count++] = i->future_count++;
    return INTERP_RETURNED;
}

/* INTERP_RETURNED: the operation is done. */
static enum interp_status go(struct interp *i, uint64_t input, const struct machine *m,
                             const struct op *op)
{
    switch (op->kind) {
    case OP_TASK:
    case OP_SLEEP:
    case OP_SIGNAL:
        if (i->open_count == OPEN_MAX && !await(i, m, false, false))
            return INTERP_WAITS;
        return begin(i, m, op, input);
    case OP_SIDE:
        if (!i->waiting && begin(i, m, op, input) == INTERP_BROKEN)
            return INTERP_BROKEN;
        i->waiting = !m->side(m->arg, i->futures[i->future_count - 1]);
        if (i->waiting)
            return INTERP_WAITS;
        return await(i, m, true, false) ? INTERP_RETURNED : INTERP_BROKEN;
    case OP_ALL:
    case OP_ANY:
    case OP_LAST:
        if (i->open_count > 0 && !await(i, m, op->kind == OP_LAST, op->kind == OP_ANY))
            return INTERP_WAITS;
        return INTERP_RETURNED;
    case OP_PEEK: look(i, m, true); return INTERP_RETURNED;
    case OP_SKIP:
        if ((i->sum & 1) != 0)
            i->pc += op->skip;
        return INTERP_RETURNED;
    case OP_FAIL:
        i->failed = i->sum % 5 == 0;
        return INTERP_RETURNED;
    }
    return INTERP_BROKEN;
}

enum interp_status interp_go(struct interp *i, uint64_t input, const struct machine *m)
{
    while (i->pc < i->program->count && !i->failed) {
        enum interp_status status = go(i, input, m, &i->program->ops[i->pc]);
        if (status != INTERP_RETURNED)
            return status;
        i->pc++;
    }
    /* Half of all programs leave what they started behind; the others wait for it. */
    if (!i->failed && (i->program->count & 1) != 0 && i->open_count > 0 && !await(i, m, false, false))
        return INTERP_WAITS;
    return INTERP_RETURNED;
}

/* program.c - random workflow programs; interp.c executes them.
 *
 * A program is a straight list of operations that may skip forward, and a second one for when its run is
 * to end. All it sees goes into `sum`, and `sum` decides inputs and branches: a result that is lost,
 * repeated or swapped shows in everything behind it and at last in the run's output.
 */
#include <string.h>

#include "sim.h"

enum { CHILDREN_MAX = 2 }; /* calls of children in a program: they have children, too */

struct maker {
    struct rng g;
    uint32_t workflow, children_left;
    bool cleanup;
};

static int64_t some_wait_ms(struct rng *g)
{
    switch (rng_below(g, USES(LONG) ? 5 : 3)) {
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
    op->attempts_max = USES(RETRY) ? 1 + (uint32_t)rng_below(g, 5) : 1;
    op->delay_ms = 1 + some_wait_ms(g);
}

static bool make_child(struct maker *m, struct op *op)
{
    if (!USES(CHILD) || m->children_left == 0 || m->workflow + 1 >= sim.config.workflows)
        return false;
    m->children_left--;
    op->kind = OP_CHILD;
    op->name = m->workflow + 1 + (uint32_t)rng_below(&m->g, sim.config.workflows - m->workflow - 1);
    op->input = (uint32_t)rng_below(&m->g, STEP_INPUTS + 1);
    op->close_policy = rng_below(&m->g, 3);
    op->detached = USES(DETACHED) && rng_permille(&m->g, 250);
    op->keyed = USES(CHILD_KEY) && rng_permille(&m->g, 300);
    op->skip = (uint32_t)rng_below(&m->g, SHARED_KEYS); /* which key; and whether a version is named */
    op->shared = USES(SHARED) && rng_permille(&m->g, 400);
    if (op->shared) {
        op->close_policy = CLOSE_ABANDON;
        op->detached = op->keyed = false;
        if (rng_permille(&m->g, 400)) /* or of one before: it may wait for the caller */
            op->name = (uint32_t)rng_below(&m->g, sim.config.workflows);
        op->back = op->name <= m->workflow;
    }
    op->start_by_ms = USES(START_BY) && rng_permille(&m->g, 500) ? 1 + (int64_t)rng_below(&m->g, 400) : 0;
    return true;
}

static bool make_wait(struct maker *m, struct op *op)
{
    struct rng *g = &m->g;
    switch (rng_below(g, 5)) {
    case 0:
    case 1:
        op->kind = OP_SLEEP;
        op->ms = some_wait_ms(g);
        op->until = USES(UNTIL) && rng_permille(g, 300);
        return USES(SLEEP);
    case 2:
    case 3:
        op->kind = OP_SIGNAL;
        op->name = (uint32_t)rng_below(g, 2);
        op->ms = USES(TIMEOUT) && rng_permille(g, 600) ? some_wait_ms(g) : -1;
        return USES(SIGNAL);
    default:
        op->kind = OP_SIDE;
        op->once = rng_permille(g, 500);
        return USES(SIDE);
    }
}

static bool make_turn(struct maker *m, struct op *op)
{
    switch (rng_below(&m->g, 8)) {
    case 0: op->kind = OP_ALL; return true;
    case 1: op->kind = USES(ANY) ? OP_ANY : OP_ALL; return true;
    case 2: op->kind = USES(PEEK) ? OP_PEEK : OP_LAST; return true;
    case 3: op->kind = OP_LAST; return true;
    case 4:
        op->kind = rng_permille(&m->g, 850) ? OP_SKIP : OP_FAIL;
        op->skip = 1 + (uint32_t)rng_below(&m->g, 3);
        return USES(BRANCH);
    case 5:
        op->kind = OP_DROP;
        op->skip = (uint32_t)rng_below(&m->g, 8);
        return USES(DROP);
    default:
        op->kind = rng_permille(&m->g, 500) ? OP_PROTECT : OP_EXPOSE;
        return USES(PROTECT) && !m->cleanup;
    }
}

static struct op make_op(struct maker *m)
{
    struct op op = {.name = (uint32_t)rng_below(&m->g, NAMES)};
    uint64_t what = rng_below(&m->g, 18);
    if (what < 5 ? make_wait(m, &op) : what < 11 ? make_turn(m, &op) : what == 11 && make_child(m, &op))
        return op;
    op = (struct op){.name = op.name < NAMES ? op.name : 0};
    make_task(&m->g, &op);
    return op;
}

/* In some seeds each workflow calls the next one by the same key, the last one the first, and mostly waits for
 * it: whoever comes round waits for himself. */
static void make_ring(struct maker *m, struct program *p)
{
    bool has_rings = USES(CHILD) && USES(SHARED) && mix64(sim.config.seed, 'r') % 4 == 0;
    uint32_t at = (uint32_t)(mix64(sim.config.seed, m->workflow) % p->count);
    if (!has_rings || sim.config.workflows < 2 || at + 2 > p->count)
        return;
    uint32_t next = (m->workflow + 1) % sim.config.workflows;
    p->ops[at] = (struct op){.kind = OP_CHILD, .name = next, .close_policy = CLOSE_ABANDON, .shared = true,
                             .back = next <= m->workflow};
    if (mix64(sim.config.seed, at) % 4 != 0)
        p->ops[at + 1] = (struct op){.kind = OP_LAST};
}

/* What people write and an even mix seldom has: waits of one kind, the first of them, the others given up, and
 * a signal of theirs waited for again. */
static void make_race(struct maker *m, struct program *p)
{
    struct rng *g = &m->g;
    uint32_t racers = 2 + (uint32_t)rng_below(g, 3), drops = 1 + (uint32_t)rng_below(g, 2);
    uint32_t at = (uint32_t)rng_below(g, p->count), name = (uint32_t)rng_below(g, 2);
    bool signals = rng_permille(g, 600);
    uint32_t again = racers + drops + 1, count = again + signals;
    if (!USES(ANY) || !USES(DROP) || !USES(SIGNAL) || at + count > p->count)
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct op *op = &p->ops[at + i];
        *op = (struct op){.name = name};
        if (i == again)
            *op = (struct op){.kind = OP_SIGNAL, .name = name, .ms = USES(TIMEOUT) ? some_wait_ms(g) : -1};
        else if (i < racers && signals)
            *op = (struct op){.kind = OP_SIGNAL, .name = name, .ms = -1};
        else if (i < racers)
            make_task(g, op);
        else
            op->kind = i == racers ? OP_ANY : OP_DROP;
    }
}

static int64_t some_limit_ms(struct rng *g, uint64_t permille)
{
    return rng_permille(g, permille) ? 20 + (int64_t)rng_below(g, 1500) : 0;
}

static void make_limits(struct rng *g, struct program *p)
{
    for (uint32_t name = 0; name < NAMES; name++) {
        struct task_limits *t = &p->tasks[name];
        if (USES(LIMITS)) {
            t->start_to_close_ms = some_limit_ms(g, 400);
            t->schedule_to_start_ms = some_limit_ms(g, 250);
            t->schedule_to_close_ms = 4 * some_limit_ms(g, 250);
        }
        if (USES(BEATS))
            t->heartbeat_ms = some_limit_ms(g, 500);
        t->once = USES(ONCE) && name >= NAMES / 2;
        t->isolated = USES(ISOLATED) && rng_permille(g, 300);
        t->crashes_max = HAS(CHILD_CRASH) ? (uint32_t)rng_below(g, 4) : 0;
    }
    if (USES(PASSES)) {
        p->passes_max = 1 + (uint32_t)rng_below(g, 3);
        p->pass_delay_ms = 1 + some_wait_ms(g);
    }
    if (USES(DEADLINE) && rng_permille(g, 300))
        p->run_timeout_ms = 500 + (int64_t)rng_below(g, 15000);
    p->on_cancel = (enum on_cancel)rng_below(g, 3);
}

/* What the second build lets pass the first does not refuse: else nobody could go on with some runs. */
static void make_modes(struct rng *g, struct program *p, const struct program *first)
{
    for (uint32_t name = 0; name < NAMES && USES(SCHEMAS); name++) {
        p->schema_modes[name] = (uint32_t)rng_below(g, 3);
        if (first != NULL && first->schema_modes[name] == AIKI_SCHEMA_STRICT)
            p->schema_modes[name] = AIKI_SCHEMA_STRICT;
    }
}

/* All waits take another time. */
static void make_others_long(struct rng *g, struct program *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->ops[i].kind == OP_SLEEP || p->ops[i].kind == OP_SIGNAL)
            p->ops[i].ms = p->ops[i].ms < 0 && rng_permille(g, 500) ? -1 : some_wait_ms(g);
}

/* The same program with one operation replaced, left out or put in, or with other times: what a new build
 * may do. */
static void mutate(struct maker *m, struct program *p)
{
    struct rng *g = &m->g;
    uint32_t at = (uint32_t)rng_below(g, p->count);
    uint64_t how = rng_below(g, 4);
    if (how == 0 && p->count > 1) {
        memmove(&p->ops[at], &p->ops[at + 1], (p->count - at - 1) * sizeof(p->ops[0]));
        p->count--;
    } else if (how == 1 && p->count < OPS_MAX) {
        memmove(&p->ops[at + 1], &p->ops[at], (p->count - at) * sizeof(p->ops[0]));
        p->count++;
        p->ops[at] = make_op(m);
    } else if (how == 2) {
        p->ops[at] = make_op(m);
    } else {
        make_others_long(g, p);
    }
}

static void tell_op(const char *where, uint32_t n, const struct op *op)
{
    static const char *const kinds[] = {"task", "sleep", "signal", "side", "child", "all",     "any",
                                        "last", "peek",  "skip",   "fail", "drop",  "protect", "expose"};
    sim_note("%s %u: %s %u input %u ms %lld attempts %u delay %lld skip %u close %llu start by %lld%s%s%s%s%s",
             where, n,
             kinds[op->kind], op->name, op->input, (long long)op->ms, op->attempts_max,
             (long long)op->delay_ms, op->skip, (unsigned long long)op->close_policy,
             (long long)op->start_by_ms, op->once ? " once" : "", op->until ? " until" : "",
             op->detached ? " detached" : "", op->keyed ? " keyed" : "", op->shared ? " shared" : "");
}

static void tell(uint32_t build, uint32_t workflow)
{
    static const char *const ways[] = {"cleans up", "leaves", "goes on"};
    const struct program *p = &sim.programs[build][workflow];
    sim_note("workflow %u build %u: %u passes, %lld ms apart, at most %lld ms; cancelled it %s", workflow,
             build, p->passes_max, (long long)p->pass_delay_ms, (long long)p->run_timeout_ms,
             ways[p->on_cancel]);
    for (uint32_t i = 0; i < NAMES; i++)
        sim_note("  task %s: start-to-close %lld schedule-to-start %lld schedule-to-close %lld "
                 "heartbeat %lld crashes %u schema %u%s%s%s", task_name(i), (long long)p->tasks[i].start_to_close_ms,
                 (long long)p->tasks[i].schedule_to_start_ms,
                 (long long)p->tasks[i].schedule_to_close_ms, (long long)p->tasks[i].heartbeat_ms,
                 p->tasks[i].crashes_max, p->schema_modes[i], p->tasks[i].once ? " once" : "",
                 p->tasks[i].isolated ? " isolated" : "", p->tasks[i].undefined ? " undefined" : "");
    for (uint32_t i = 0; i < p->count; i++)
        tell_op("  op", i, &p->ops[i]);
    for (uint32_t i = 0; i < p->cleanup_count; i++)
        tell_op("  cleanup", i, &p->cleanup[i]);
}

static void make_program(struct maker *m, struct program *p)
{
    p->count = 1 + (uint32_t)rng_below(&m->g, OPS_MAX);
    for (uint32_t i = 0; i < p->count; i++)
        p->ops[i] = make_op(m);
    if (rng_permille(&m->g, 250))
        make_race(m, p);
    make_ring(m, p);
    if (p->count > sim.config.ops)
        p->count = sim.config.ops;
    m->cleanup = true;
    p->cleanup_count = (uint32_t)rng_below(&m->g, CLEANUP_MAX + 1);
    for (uint32_t i = 0; i < p->cleanup_count; i++)
        p->cleanup[i] = make_op(m);
    m->cleanup = false;
    make_limits(&m->g, p);
}

void programs_make(void)
{
    for (uint32_t w = 0; w < WORKFLOWS_MAX; w++) {
        struct maker m = {.g = {rng_next(&sim.program_rng)}, .workflow = w, .children_left = CHILDREN_MAX};
        make_program(&m, &sim.programs[0][w]);
        sim.programs[1][w] = sim.programs[0][w];
        make_modes(&m.g, &sim.programs[0][w], NULL);
        mutate(&m, &sim.programs[1][w]);
        make_modes(&m.g, &sim.programs[1][w], &sim.programs[0][w]);
        if (USES(LACKS))
            sim.programs[1][w].tasks[rng_below(&m.g, NAMES)].undefined = true;
        for (uint32_t build = 0; build < BUILDS && w < sim.config.workflows; build++)
            tell(build, w);
    }
}

/* A run may have come to where one build diverges and the other lacks the task: see schema_mended_ms. */
bool program_lacks(const struct program *p, uint32_t name)
{
    return p->tasks[name].undefined && schema_mended_ms() <= 0;
}

const struct op *program_op(const struct program *p, uint32_t n)
{
    if (n < p->count)
        return &p->ops[n];
    return n - p->count < p->cleanup_count ? &p->cleanup[n - p->count] : NULL;
}

uint32_t program_signals(const struct program *p)
{
    uint32_t names = 0;
    const struct op *op;
    for (uint32_t n = 0; (op = program_op(p, n)) != NULL; n++)
        if (op->kind == OP_SIGNAL)
            names |= 1u << op->name;
    return names;
}

const char *task_name(uint32_t name)
{
    static const char *const names[NAMES] = {"a", "b", "c", "d"};
    return names[name];
}

const char *workflow_name(uint32_t workflow)
{
    static const char *const names[WORKFLOWS_MAX] = {"w0", "w1", "w2"};
    return names[workflow];
}

struct outcome_of attempt_outcome(const struct attempt_of *a)
{
    uint64_t step = mix64(mix64(mix64(sim.config.seed, a->run), a->pass),
                          mix64(a->name + NAMES * a->nth, a->input));
    struct rng g = {mix64(step, a->attempt)};
    struct outcome_of o = {.good = !HAS(TASKS_FAIL) || rng_permille(&g, 650)};
    o.final = !o.good && rng_permille(&g, 60);
    o.retry_after_ms = !o.good && rng_permille(&g, 150) ? 1 + (int64_t)rng_below(&g, 6000) : 0;
    o.value = rng_next(&g) >> 20;
    o.takes_ms = rng_permille(&g, 700) ? (int64_t)rng_below(&g, 3) : (int64_t)rng_below(&g, 1500);
    if (USES(LIMITS) && rng_permille(&g, 80))
        o.waits_ms = (int64_t)rng_below(&g, 1500);
    if (USES(BEATS) && rng_permille(&g, 700))
        o.beat_ms = 5 + (int64_t)rng_below(&g, 600);
    return o;
}

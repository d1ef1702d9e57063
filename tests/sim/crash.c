/* crash.c - processes of a runtime that hang or die, and what their broker says and does then. */
#include "base/buf.h"
#include "runtime_impl.h"
#include "wire/error.h"

/* What the broker does about a run whose child does not answer any more. events: what it knows about it. */
static void hand_back(struct runtime *rt, uint32_t run, uint64_t epoch, uint64_t appends, aiki_view events)
{
    struct stay *last = stay_new(rt, run, epoch);
    last->leaving = last->brokers = true;
    last->appends = appends + 1;
    runtime_release(last, events);
}

void crash_hang(struct runtime *rt)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++) {
        struct stay *s = &rt->stays[i];
        if (!s->used || s->zombie || s->leaving || s->loading || s->replay.append_open)
            continue;
        s->zombie = true;
        hand_back(rt, s->run, s->epoch, s->appends, (aiki_view){NULL, 0});
    }
}

/* What is said about the process that died. x NULL: the workflow's own code was executing. */
static void write_crash(aiki_writer *w, struct stay *s, const struct execution *x, bool charged, bool killed)
{
    aiki_error err = {.struct_size = sizeof(err)};
    uint8_t memory[256], build[HASH_BYTES];
    aiki_writer map;
    struct event e = {.kind = EVENT_CRASHED,
                      .as.crashed = {.charged = charged,
                                     .name = view_of(workflow_name(sim.runs[s->run].workflow)),
                                     .build = {build, HASH_BYTES}}};
    build_hash(s->build, build);
    if (x != NULL) {
        e.as.crashed.address = x->address;
        e.as.crashed.nth = x->nth;
        e.as.crashed.attempt = x->attempt;
        e.as.crashed.name = replay_future(&s->replay, x->future)->name;
    }
    aiki_writer_init_fixed(&map, memory, sizeof(memory));
    (void)error_code(&err, AIKI_CRASHED, killed ? "CRASH_KILLED" : "CRASH_SIGNAL", "the simulated process died");
    error_write(&map, &err);
    e.as.crashed.error = aiki_writer_view(&map);
    event_write_new(w, &e);
    sim.crashed++;
}

bool crash_is_in_child(const struct stay *s)
{
    return s->used && !s->zombie && !s->leaving && !s->loading;
}

/* How a process ends: who is in it, and what is known of the cause. */
struct death {
    uint32_t alone;   /* the run it was for; NOBODY: all that have none of their own */
    uint32_t culprit; /* NOBODY: it is not certain */
    bool code;        /* the workflow's own code was executing, and is the cause */
    bool killed;      /* certain only when nobody else was there */
};

static bool dies(const struct stay *s, const struct death *d)
{
    return crash_is_in_child(s) && (d->alone == NOBODY ? !s->alone : s->run == d->alone);
}

/* Crashes come from the same places again: some runs have bad code, and one task is bad. */
static bool is_bad(const struct stay *s, const struct execution *x)
{
    enum { EVERY_BAD = 3 };
    if (x == NULL)
        return s->run % EVERY_BAD == 0;
    return replay_future(&s->replay, x->future)->name.data[0] == 'a';
}

/* From a random one on: a run that satisfies it, a bad one if there is, or NOBODY. */
static uint32_t some_run(const struct runtime *rt, const struct death *d)
{
    uint32_t first = (uint32_t)rng_below(&sim.faults, STAYS_MAX), found = NOBODY;
    for (uint32_t i = 0; i < STAYS_MAX; i++) {
        const struct stay *s = &rt->stays[(first + i) % STAYS_MAX];
        const struct execution *x = d->code || !dies(s, d) ? NULL : attempt_under_way(s);
        if (!dies(s, d) || (!d->code && x == NULL))
            continue;
        found = s->run;
        if (is_bad(s, x))
            break;
    }
    return found;
}

static uint32_t some_alone(const struct runtime *rt)
{
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (crash_is_in_child(&rt->stays[i]) && rt->stays[i].alone)
            return rt->stays[i].run;
    return NOBODY;
}

static struct death make_death(const struct runtime *rt)
{
    struct death d = {.alone = rng_permille(&sim.faults, 500) ? some_alone(rt) : NOBODY,
                      .code = HAS(CODE_CRASH) && rng_permille(&sim.faults, 500),
                      .killed = rng_permille(&sim.faults, 250)};
    d.culprit = some_run(rt, &d);
    if (d.alone == NOBODY && (d.killed || rng_permille(&sim.faults, 400)))
        d.culprit = NOBODY;
    d.code &= d.culprit != NOBODY;
    return d;
}

/* What the broker says of one of the runs, which it hands back. */
static void crash_run(struct runtime *rt, struct stay *s, const struct death *d)
{
    uint32_t run = s->run;
    uint64_t epoch = s->epoch, appends = s->appends;
    const struct execution *x = attempt_under_way(s);
    bool culprit = d->culprit == run;
    aiki_writer events;
    buf_init(&events);
    if (culprit && d->code)
        write_crash(&events, s, NULL, true, d->killed);
    else if (x != NULL && (culprit || d->culprit == NOBODY))
        write_crash(&events, s, x, culprit, d->killed);
    stay_drop(s);
    hand_back(rt, run, epoch, appends, aiki_writer_view(&events));
    buf_deinit(&events);
}

void crash_child(struct runtime *rt)
{
    struct death d = make_death(rt);
    sim_note("a child of runtime %u dies", rt->number);
    for (uint32_t i = 0; i < STAYS_MAX; i++)
        if (dies(&rt->stays[i], &d) && !rt->stays[i].given_up)
            crash_run(rt, &rt->stays[i], &d);
}

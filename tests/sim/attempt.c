/* attempt.c - what tasks do: wait for a thread, show signs of life, end; instead of task threads. */
#include <string.h>

#include "base/buf.h"
#include "runtime_impl.h"
#include "wire/error.h"

enum { LINGERS_MS_MAX = 1000 }; /* an attempt that was told to stop */

static const struct task_limits *limits_of(const struct stay *s, uint32_t name)
{
    return &s->interp.program->tasks[name];
}

const struct task_policy *attempt_policy(struct stay *s, const struct op *op)
{
    const struct task_limits *t = limits_of(s, op->name);
    struct task_policy *p = memcpy(stay_alloc(s, sizeof(*p)),
                                   &(struct task_policy){
                                       .retry = {.kind = AIKI_RETRY_EXPONENTIAL,
                                                 .attempts_max = op->attempts_max,
                                                 .factor_percent = 200,
                                                 .jitter_percent = op->input == 0 ? 20 : 0,
                                                 .delay_ms = op->delay_ms,
                                                 .delay_ms_max = 10000},
                                       .start_to_close_ms = t->start_to_close_ms,
                                       .schedule_to_start_ms = t->schedule_to_start_ms,
                                       .schedule_to_close_ms = t->schedule_to_close_ms,
                                       .heartbeat_ms = t->heartbeat_ms,
                                       .crashes_max = t->crashes_max,
                                       .at_most_once = t->once},
                                   sizeof(*p));
    retry_fill(&p->retry);
    return p;
}

static struct outcome_of outcome(const struct execution *x, const struct step *step)
{
    const struct attempt_of a = {.run = x->run,
                                 .name = (uint32_t)(step->name.data[0] - 'a'),
                                 .pass = x->pass,
                                 .input = number_in(step->input),
                                 .nth = step->nth,
                                 .attempt = x->attempt};
    return attempt_outcome(&a);
}

/* The stay whose attempt this event is about; NULL: it is over, or will be looked at later. */
static struct stay *stay_of(const struct sim_event *e, struct execution **ret)
{
    struct runtime *rt = &runtimes[e->who];
    if (later(e, rt))
        return NULL;
    *ret = &sim.executions[e->number];
    struct stay *s = stay_find(rt, e->generation);
    return s == NULL || s->leaving || (*ret)->over ? NULL : s;
}

static void event_of(const struct execution *x, int64_t in_ms, void (*fn)(struct sim_event *e))
{
    struct sim_event *e = event_at(sim.now_ms + in_ms, fn);
    e->who = x->runtime;
    e->generation = x->stay;
    e->number = (uint64_t)(x - sim.executions);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void leave_result(struct stay *s, struct step *step, const struct execution *x)
{
    uint8_t memory[512];
    aiki_writer w;
    aiki_error err = {.struct_size = sizeof(err)};
    uint64_t number = (uint64_t)(x - sim.executions);
    struct outcome_of o = outcome(x, step);
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    if (o.good && !schema_output_passes(s, step, o.value)) {
        (void)error_code(&err, AIKI_SCHEMA, "SCHEMA", "%llu", (unsigned long long)number);
        error_write(&w, &err);
        replay_attempt_failed(&s->replay, step, stay_copy(s, aiki_writer_view(&w)), true, 0,
                              (aiki_view){NULL, 0}, 0, host_now_ms(host_of(s)));
        return;
    }
    if (o.good) {
        aiki_mp_array(&w, 2);
        aiki_mp_uint(&w, o.value);
        aiki_mp_uint(&w, number);
        replay_attempt_done(&s->replay, step, stay_copy(s, aiki_writer_view(&w)), 0);
        return;
    }
    (void)error_code(&err, AIKI_FAILED, "NO", "%llu", (unsigned long long)number);
    error_write(&w, &err);
    replay_attempt_failed(&s->replay, step, stay_copy(s, aiki_writer_view(&w)), o.final, o.retry_after_ms,
                          (aiki_view){NULL, 0}, 0, host_now_ms(host_of(s)));
}

static void on_end(struct sim_event *e)
{
    struct execution *x;
    struct stay *s = stay_of(e, &x);
    if (s == NULL)
        return;
    struct step *step = replay_future(&s->replay, x->future);
    x->over = true;
    if (x->abandoned)
        replay_attempt_gone(&s->replay, step);
    else if (step->phase == PHASE_RUNNING)
        leave_result(s, step, x);
    stay_pump(s);
}

/* ---- between --------------------------------------------------------------------------------- */

static void on_beat(struct sim_event *e)
{
    struct execution *x;
    uint8_t memory[16];
    aiki_writer w;
    struct stay *s = stay_of(e, &x);
    if (s == NULL || x->abandoned)
        return;
    struct step *step = replay_future(&s->replay, x->future);
    x->beat_ms = sim.now_ms;
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    if (rng_permille(&sim.work, 700)) { /* the others come without details */
        aiki_mp_uint(&w, e->number);
        replay_attempt_beat(&s->replay, step, aiki_writer_view(&w), host_now_ms(host_of(s)));
    }
    event_of(x, outcome(x, step).beat_ms, on_beat);
    stay_pump(s);
}

static void begin(struct stay *s, struct execution *x)
{
    struct outcome_of o = outcome(x, replay_future(&s->replay, x->future));
    x->began_ms = sim.now_ms;
    x->began_host_ms = host_now_ms(host_of(s));
    event_of(x, o.takes_ms, on_end);
    if (o.beat_ms > 0)
        event_of(x, o.beat_ms, on_beat);
}

static void on_begin(struct sim_event *e)
{
    struct execution *x;
    struct stay *s = stay_of(e, &x);
    if (s != NULL && !x->abandoned)
        begin(s, x);
}

const struct execution *attempt_under_way(const struct stay *s)
{
    for (uint32_t n = s->attempts; n != 0; n = sim.executions[n - 1].next)
        if (!sim.executions[n - 1].over && sim.executions[n - 1].began_ms != 0)
            return &sim.executions[n - 1];
    return NULL;
}

bool attempt_is_open(const struct stay *s)
{
    for (uint32_t n = s->attempts; n != 0; n = sim.executions[n - 1].next)
        if (!sim.executions[n - 1].over)
            return true;
    return false;
}

void attempt_check(struct stay *s, struct step *step)
{
    struct execution *x = NULL;
    for (uint32_t n = s->attempts; n != 0; n = x->next) {
        x = &sim.executions[n - 1];
        if (x->future == step->future && !x->abandoned && !x->over)
            break;
    }
    if (x == NULL || x->future != step->future || x->abandoned || x->over)
        violation("run %u: an attempt is overdue that is not under way", s->run);
    int64_t now_ms = host_now_ms(host_of(s)), offset_ms = now_ms - sim.now_ms;
    if (!replay_attempt_overdue(&s->replay, step, x->began_ms != 0 ? x->began_ms + offset_ms : 0,
                                x->beat_ms != 0 ? x->beat_ms + offset_ms : 0, now_ms))
        return;
    x->abandoned = true;
    event_of(x, (int64_t)rng_below(&sim.work, LINGERS_MS_MAX), on_end);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void tell_oracle(const struct stay *s, const struct step *step)
{
    if (s->zombie)
        return;
    oracle_begins(&(struct beginning){.run = s->run,
                                      .epoch = s->epoch,
                                      .build = s->build,
                                      .step = step,
                                      .interp = &s->interp,
                                      .seen_at_call = s->seen_at_call[step->future],
                                      .shielded = s->shielded[step->future],
                                      .replay = &s->replay});
}

void attempt_start(struct stay *s, struct step *step)
{
    if (program_lacks(s->interp.program, (uint32_t)(step->name.data[0] - 'a')))
        violation("run %u: build %u executes a task that it does not define", s->run, s->build);
    tell_oracle(s, step);
    s->acted = true;
    sim.executions = array_grow(sim.executions, &sim.execution_capacity, sim.execution_count,
                                sizeof(*sim.executions));
    struct execution *x = &sim.executions[sim.execution_count++];
    *x = (struct execution){.run = s->run,
                            .runtime = s->runtime,
                            .future = step->future,
                            .stay = s->serial,
                            .epoch = s->epoch,
                            .attempt = step->attempt + 1,
                            .pass = s->replay.journal.passes,
                            .address = step->address,
                            .nth = step->nth,
                            .next = s->attempts,
                            .in_calm = sim.calm};
    s->attempts = (uint32_t)sim.execution_count;
    sim_note("runtime %u: run %u begins %.*s nth %llu attempt %llu as execution %zu", s->runtime, s->run,
             (int)step->name.size_bytes, (const char *)step->name.data, (unsigned long long)step->nth,
             (unsigned long long)step->attempt + 1, sim.execution_count - 1);
    int64_t waits_ms = outcome(x, step).waits_ms;
    if (waits_ms == 0)
        begin(s, x);
    else
        event_of(x, waits_ms, on_begin);
}

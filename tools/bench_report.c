/* bench_report.c - what was measured, as tables and as JSON. */
#include <stdio.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "bench.h"
#include "text.h"
#include "wire/error.h"

/* ---- tables ------------------------------------------------------------------------------- */

static double runs_per_s(const struct phase *p)
{
    return p->result.seconds > 0 ? p->result.completed / p->result.seconds : 0;
}

static double per_run_us(const struct phase *p, double seconds)
{
    return p->result.completed > 0 ? seconds * 1e6 / p->result.completed : 0;
}

static void phase_row(struct table *t, const struct phase *p)
{
    const struct load_result *r = &p->result;
    table_cell(t, "%s", p->title);
    table_cell(t, "%u", r->completed);
    table_cell(t, "%u", p->plan.inflight);
    table_cell(t, "%.0f", runs_per_s(p));
    table_cell(t, "%.0f", runs_per_s(p) * (double)p->steps);
    table_cell(t, "%.2f", r->p50_ms);
    table_cell(t, "%.2f", r->p95_ms);
    table_cell(t, "%.2f", r->p99_ms);
    table_cell(t, "%.2f", r->max_ms);
    table_cell(t, "%llu", (unsigned long long)p->counted.commits);
    table_cell(t, "%.1f", per_run_us(p, usage_total_s(&p->used)));
}

static void print_phases(const struct bench *b)
{
    static const char *const headers[] = {"MEASURED", "RUNS",   "IN FLIGHT",  "RUNS/S",
                                          "STEPS/S",  "P50 MS", "P95 MS",     "P99 MS",
                                          "MAX MS",   "FSYNCS", "CPU US/RUN", NULL};
    struct table t;
    table_init(&t, headers, ~1u);
    for (int i = 0; i < PHASE_COUNT; i++)
        if (b->phases[i].plan.runs > 0)
            phase_row(&t, &b->phases[i]);
    table_print(&t, "");
}

static void cpu_row(struct table *t, const struct phase *p, const char *name, double seconds)
{
    table_cell(t, "%s", name);
    table_cell(t, "%.2f", seconds);
    table_cell(t, "%.1f", per_run_us(p, seconds));
    table_cell(t, "%.0f%%", p->result.seconds > 0 ? 100 * seconds / p->result.seconds : 0);
}

static void print_cpu(const struct phase *p)
{
    static const char *const headers[] = {"CPU OF LOAD", "SECONDS", "US/RUN", "OF A CORE", NULL};
    struct table t;
    table_init(&t, headers, ~1u);
#define CPU_ROW(name, text) cpu_row(&t, p, text, p->used.name##_s);
    USAGE_MAP(CPU_ROW)
#undef CPU_ROW
    cpu_row(&t, p, "all", usage_total_s(&p->used));
    table_print(&t, "");
}

static void print_parked(const struct parked *p)
{
    static const char *const headers[] = {"PARKED",        "SERVER BYTES/RUN", "STORE BYTES/RUN",
                                          "RESUME P50 MS", "P99 MS",           NULL};
    struct table t;
    table_init(&t, headers, ~1u);
    table_cell(&t, "%u runs", p->runs);
    table_cell(&t, "%.0f", p->memory_bytes);
    table_cell(&t, "%.0f", p->store_bytes);
    table_cell(&t, "%.2f", p->resume_p50_ms);
    table_cell(&t, "%.2f", p->resume_p99_ms);
    table_print(&t, "");
    printf("\n");
}

static double mib(uint64_t size_bytes)
{
    return (double)size_bytes / 1024 / 1024;
}

static void print_history(const struct history *h)
{
    static const char *const headers[] = {"HISTORY",    "RECORDED S", "RESUME MS", "REPEAT MS",
                                          "SERVER MIB", "BROKER MIB", "CHILD MIB", NULL};
    struct table t;
    table_init(&t, headers, ~1u);
    table_cell(&t, "%llu events", (unsigned long long)h->events);
    table_cell(&t, "%.2f", h->record_s);
    table_cell(&t, "%.1f", h->resume_ms);
    table_cell(&t, "%.2f", h->repeat_ms);
    table_cell(&t, "%.1f", mib(h->peaks.server_bytes));
    table_cell(&t, "%.1f", mib(h->peaks.broker_bytes));
    table_cell(&t, "%.1f", mib(h->peaks.child_bytes));
    table_print(&t, "");
    printf("\n");
}

static void cost_row(struct table *t, const char *title, const struct cost *c)
{
    table_cell(t, "%s", title);
    table_cell(t, "%.1f", c->commits);
    table_cell(t, "%.1f", c->events);
    table_cell(t, "%.0f", c->store_bytes);
    table_cell(t, "%.0f", c->alone_us);
    if (c->shared_us > 0)
        table_cell(t, "%.1f", c->shared_us);
    else
        table_cell(t, "-");
}

static void print_primitives(const struct primitives *p)
{
    static const char *const headers[] = {"COST OF",      "COMMITS",       "EVENTS", "STORE BYTES",
                                          "CPU US ALONE", "CPU US SHARED", NULL};
    struct table t;
    table_init(&t, headers, ~1u);
    cost_row(&t, "a run of nothing", &p->run);
    for (int i = 0; i < PRIMITIVE_COUNT; i++)
        cost_row(&t, primitive_title(i), &p->each[i]);
    printf("\n");
    table_print(&t, "");
}

void bench_print(const struct bench *b)
{
    const struct phase *load = &b->phases[LOAD];
    const struct machine *m = &b->machine;
    printf("workflow %s: %d steps, %llu bytes of payload\n", load->plan.workflow, BENCH_STEPS,
           (unsigned long long)load->plan.input.size_bytes);
    printf("machine  %ld x %s, %s%s%s\n\n", m->cores, m->cpu, m->kernel,
           m->filesystem[0] != '\0' ? ", store on " : "", m->filesystem);
    print_phases(b);
    printf("\n");
    if (b->parked.runs > 0)
        print_parked(&b->parked);
    if (b->history.steps > 0)
        print_history(&b->history);
    print_cpu(load);
    if (load->counted.commits > 0)
        printf("\n%.1f runs and %.1f commands a commit\n",
               (double)load->result.completed / (double)load->counted.commits,
               (double)load->counted.commands / (double)load->counted.commits);
    if (b->primitives.runs > 0)
        print_primitives(&b->primitives);
    if (b->recovery.runs > 0)
        printf("\n%u runs that were being executed completed %.0f ms after a kill of their child, "
               "%.0f ms after one of their runtime\n",
               b->recovery.runs, b->recovery.child_ms, b->recovery.runtime_ms);
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void put_double(aiki_writer *w, const char *name, double value)
{
    aiki_mp_str(w, name);
    aiki_mp_double(w, value);
}

static void put_uint(aiki_writer *w, const char *name, uint64_t value)
{
    aiki_mp_str(w, name);
    aiki_mp_uint(w, value);
}

static void put_text(aiki_writer *w, const char *name, const char *text)
{
    aiki_mp_str(w, name);
    aiki_mp_str(w, text);
}

static void put_cpu(aiki_writer *w, const struct usage *u)
{
    enum {
        USAGE_COUNT = 0
#define USAGE_ONE(name, text) +1
        USAGE_MAP(USAGE_ONE)
#undef USAGE_ONE
    };
    aiki_mp_str(w, "cpu_s");
    aiki_mp_map(w, USAGE_COUNT + 1);
#define PUT_USAGE(name, text) put_double(w, #name, u->name##_s);
    USAGE_MAP(PUT_USAGE)
#undef PUT_USAGE
    put_double(w, "total", usage_total_s(u));
}

enum { PHASE_PAIRS = 20 };

static void put_phase_pairs(aiki_writer *w, const struct phase *p)
{
    const struct load_result *r = &p->result;
    put_text(w, "workflow", p->plan.workflow);
    put_uint(w, "runs", p->plan.runs);
    put_uint(w, "in_flight", p->plan.inflight);
    put_uint(w, "steps", p->steps);
    put_uint(w, "payload_bytes", p->plan.input.size_bytes);
    put_uint(w, "completed", r->completed);
    put_uint(w, "failed", r->failed);
    put_double(w, "seconds", r->seconds);
    put_double(w, "runs_per_s", runs_per_s(p));
    put_double(w, "steps_per_s", runs_per_s(p) * (double)p->steps);
    put_double(w, "p50_ms", r->p50_ms);
    put_double(w, "p95_ms", r->p95_ms);
    put_double(w, "p99_ms", r->p99_ms);
    put_double(w, "max_ms", r->max_ms);
    put_double(w, "mean_ms", r->mean_ms);
    put_uint(w, "fsyncs", p->counted.commits);
    put_uint(w, "batches", p->counted.batches);
    put_uint(w, "commands", p->counted.commands);
    put_double(w, "cpu_us_per_run", per_run_us(p, usage_total_s(&p->used)));
    put_cpu(w, &p->used);
}

static void put_parked(aiki_writer *w, const struct parked *p)
{
    aiki_mp_str(w, "parked");
    aiki_mp_map(w, 6);
    put_text(w, "workflow", PARKED_WORKFLOW);
    put_uint(w, "runs", p->runs);
    put_double(w, "memory_bytes_per_run", p->memory_bytes);
    put_double(w, "store_bytes_per_run", p->store_bytes);
    put_double(w, "resume_p50_ms", p->resume_p50_ms);
    put_double(w, "resume_p99_ms", p->resume_p99_ms);
}

static void put_history(aiki_writer *w, const struct history *h)
{
    aiki_mp_str(w, "history");
    aiki_mp_map(w, 9);
    put_text(w, "workflow", HISTORY_WORKFLOW);
    put_uint(w, "steps", h->steps);
    put_uint(w, "events", h->events);
    put_double(w, "record_s", h->record_s);
    put_double(w, "resume_ms", h->resume_ms);
    put_double(w, "repeat_ms", h->repeat_ms);
    put_uint(w, "server_peak_bytes", h->peaks.server_bytes);
    put_uint(w, "broker_peak_bytes", h->peaks.broker_bytes);
    put_uint(w, "child_peak_bytes", h->peaks.child_bytes);
}

static void put_cost(aiki_writer *w, const char *name, const struct cost *c)
{
    aiki_mp_str(w, name);
    aiki_mp_map(w, 5);
    put_double(w, "commits", c->commits);
    put_double(w, "events", c->events);
    put_double(w, "store_bytes", c->store_bytes);
    put_double(w, "cpu_us_alone", c->alone_us);
    put_double(w, "cpu_us_shared", c->shared_us);
}

static void put_primitives(aiki_writer *w, const struct primitives *p)
{
    aiki_mp_str(w, "primitives");
    aiki_mp_map(w, PRIMITIVE_COUNT + 1);
    put_cost(w, "run", &p->run);
    for (int i = 0; i < PRIMITIVE_COUNT; i++)
        put_cost(w, primitive_name(i), &p->each[i]);
}

static void put_recovery(aiki_writer *w, const struct recovery *r)
{
    aiki_mp_str(w, "recovery");
    aiki_mp_map(w, 4);
    put_text(w, "workflow", HOLD_WORKFLOW);
    put_uint(w, "runs", r->runs);
    put_double(w, "killed_child_ms", r->child_ms);
    put_double(w, "killed_runtime_ms", r->runtime_ms);
}

static void put_machine(aiki_writer *w, const struct machine *m)
{
    aiki_mp_str(w, "machine");
    aiki_mp_map(w, 4);
    put_uint(w, "cores", (uint64_t)m->cores);
    put_text(w, "cpu", m->cpu);
    put_text(w, "kernel", m->kernel);
    put_text(w, "filesystem", m->filesystem);
}

aiki_status bench_print_json(const struct bench *b, aiki_error *err)
{
    AUTO(buf) aiki_writer w;
    uint64_t further = (b->parked.runs > 0 ? 1U : 0U) + (b->history.steps > 0 ? 1U : 0U) +
                       (b->primitives.runs > 0 ? 1U : 0U) + (b->recovery.runs > 0 ? 1U : 0U);
    buf_init(&w);
    for (int i = SINGLE; i < PHASE_COUNT; i++)
        further += b->phases[i].plan.runs > 0;
    aiki_mp_map(&w, PHASE_PAIRS + further + 1);
    put_phase_pairs(&w, &b->phases[LOAD]);
    for (int i = SINGLE; i < PHASE_COUNT; i++) {
        if (b->phases[i].plan.runs == 0)
            continue;
        aiki_mp_str(&w, b->phases[i].key);
        aiki_mp_map(&w, PHASE_PAIRS);
        put_phase_pairs(&w, &b->phases[i]);
    }
    if (b->parked.runs > 0)
        put_parked(&w, &b->parked);
    if (b->history.steps > 0)
        put_history(&w, &b->history);
    if (b->primitives.runs > 0)
        put_primitives(&w, &b->primitives);
    if (b->recovery.runs > 0)
        put_recovery(&w, &b->recovery);
    put_machine(&w, &b->machine);
    return w.status == AIKI_OK ? print_json(aiki_writer_view(&w), 0, err)
                               : error_set(err, w.status, "no memory for the report");
}

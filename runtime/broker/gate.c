/* gate.c - see gate.h.
 *
 *   ASKING (all runs.sample) --nobody--> over
 *      +--> LOADING --READY--> REPLAYING <--VERDICT, ASSIGN--> child
 *              ^                  | died
 *              +------------------+
 *
 * Journals are asked for a few runs ahead; the child gets one run at a time, so that its death is
 * that run's verdict; unless the run is known to stay and the child only looks ahead to say why.
 */
#include "broker/gate_report.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "broker/gate_lacks.h"
#include "broker/proc.h"
#include "wire/error.h"
#include "wire/message.h"

enum { GATE_MISFIT_BYTES_KEPT = 4096 };

/* A runs.sample under way. */
struct asked {
    struct request request;
    struct gate *gate;
    uint32_t correlation;
};

struct candidate {
    struct candidate *next;
    struct request request; /* of its journal */
    struct gate *gate;
    uint32_t correlation;
    struct aiki_id id;
    uint8_t last_build[BUILD_BYTES];
    const struct gate_route *route;
    uint64_t seq, read_seq;
    aiki_writer journal;
    bool complete, useless; /* all of it is here; it cannot be read */
};

struct gate {
    uv_loop_t *loop;
    struct conn_loop *conns;
    struct session *session;
    struct gate_options options;
    char *sandbox; /* owned: settings may change meanwhile */
    gate_done_fn on_done;
    void *arg;
    uv_timer_t limit;
    struct asked *asked; /* owned array, one a route */
    size_t samples_left;
    struct candidate *first, **last; /* to be replayed, in order; the first ones have journals */
    struct candidate *executing;     /* with the child; owned */
    bool told;                       /* its verdict is known, and it only looks ahead */
    aiki_writer misfit;              /* that verdict: why its journal does not fit; empty: it does */
    uint64_t misfit_steps;
    bool brief; /* looking ahead has ended a process */
    struct asked tables; /* plugins.tasks */
    bool tables_asked;
    aiki_writer lacks;   /* names of tasks that others have and this build does not: array, or nothing */
    int64_t assigned_mono_ms;        /* when it got there */
    struct proc *proc;
    bool proc_ready;
    bool proc_stuck; /* its watchdog has said so: it ends */
    unsigned crashes;
    int64_t began_mono_ms;
    struct gate_result result;
    aiki_writer findings; /* maps */
    uint64_t finding_count;
    aiki_writer worst;
    bool time_over; /* the run that the child has is the last one */
    bool over, timer_closed;
};

static void go_on(struct gate *g);

/* ---- its end ------------------------------------------------------------------------------- */

static void candidate_free(struct candidate *c)
{
    if (c->correlation != 0)
        session_forget(c->gate->session, c->correlation);
    buf_deinit(&c->journal);
    free(c);
}

/* Timer and process go by themselves; then the rest. */
static void free_if_unused(struct gate *g)
{
    if (g->proc != NULL || !g->timer_closed)
        return;
    buf_deinit(&g->findings);
    buf_deinit(&g->worst);
    buf_deinit(&g->misfit);
    buf_deinit(&g->lacks);
    free(g->asked);
    free(g->sandbox);
    free(g);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct gate *g = container_of((uv_timer_t *)h, struct gate, limit);
    g->timer_closed = true;
    free_if_unused(g);
}

static void take_down(struct gate *g)
{
    g->over = true;
    for (size_t i = 0; i < g->options.route_count; i++)
        if (g->asked[i].correlation != 0)
            session_forget(g->session, g->asked[i].correlation);
    if (g->tables.correlation != 0)
        session_forget(g->session, g->tables.correlation);
    for (struct candidate *c = g->first, *next; c != NULL; c = next) {
        next = c->next;
        candidate_free(c);
    }
    g->first = NULL;
    if (g->executing != NULL)
        candidate_free(g->executing);
    g->executing = NULL;
    if (g->proc != NULL)
        proc_kill(g->proc);
    uv_close((uv_handle_t *)&g->limit, on_timer_closed);
}

void gate_stop(struct gate *g)
{
    if (g != NULL)
        take_down(g);
}

static void finish(struct gate *g)
{
    AUTO(buf) aiki_writer report;
    gate_done_fn on_done = g->on_done;
    void *arg = g->arg;
    buf_init(&report);
    for (const struct candidate *c = g->first; c != NULL; c = c->next)
        g->result.unknown++;
    g->result.took_ms = clock_mono_ms() - g->began_mono_ms;
    gate_report_write(&report, g->options.policy, &g->result, aiki_writer_view(&g->findings),
                      g->finding_count);
    g->result.report = aiki_writer_view(&report);
    g->result.worst = aiki_writer_view(&g->worst);
    const struct gate_result result = g->result;
    g->over = true;
    on_done(&result, arg);
    take_down(g);
}

/* The session is gone: who asks again starts from the beginning. */
static void lose(struct gate *g)
{
    const struct gate_result lost = {.lost = true};
    if (g->over)
        return;
    g->over = true;
    g->on_done(&lost, g->arg);
    take_down(g);
}

/* ---- verdicts ------------------------------------------------------------------------------ */

static void find_fault(struct gate *g, const struct candidate *c, uint64_t steps, aiki_view error)
{
    struct finding found = {.run = c->id,
                            .workflow = c->route->workflow,
                            .version = c->route->version,
                            .steps = steps,
                            .error = error};
    memcpy(found.last_build, c->last_build, BUILD_BYTES);
    if (g->worst.size_bytes == 0)
        aiki_mp_raw(&g->worst, error.data, error.size_bytes);
    if (g->finding_count == GATE_FINDINGS_MAX)
        return;
    g->finding_count++;
    finding_write(&g->findings, &found);
}

/* Of the run that the child has. error: why it keeps its build; empty: it moves. */
static void conclude(struct gate *g, uint64_t steps, aiki_view error)
{
    struct candidate *c = g->executing;
    g->executing = NULL;
    g->result.replayed++;
    g->result.stay += error.size_bytes > 0;
    g->result.move += error.size_bytes == 0;
    if (error.size_bytes > 0)
        find_fault(g, c, steps, error);
    buf_clear(&g->misfit, GATE_MISFIT_BYTES_KEPT);
    g->told = false;
    candidate_free(c);
}

/* The child that looks ahead ends, or takes too long: what it said before stands. */
static bool was_told(struct gate *g)
{
    if (!g->told)
        return false;
    g->brief = true;
    conclude(g, g->misfit_steps, aiki_writer_view(&g->misfit));
    return true;
}

/* The run that the child has is one that this build must never get. */
static void give_verdict(struct gate *g, const aiki_writer *error)
{
    struct candidate *c = g->executing;
    g->executing = NULL;
    g->result.replayed++;
    g->result.crashed++;
    find_fault(g, c, 0, aiki_writer_view(error));
    candidate_free(c);
}

static void crashed(struct gate *g, const struct proc_end *end)
{
    AUTO(buf) aiki_writer map;
    char text[PROC_END_TEXT_SIZE], id[AIKI_ID_TEXT_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    buf_init(&map);
    id_text(&g->executing->id, id);
    (void)error_code(&err, AIKI_CRASHED, "GATE_CRASHED",
                     "its process %s while the journal of run %s was replayed; look at the workflow "
                     "function",
                     proc_end_text(end, text, sizeof(text)), id);
    error_write(&map, &err);
    give_verdict(g, &map);
}

static void on_verdict(struct gate *g, const struct frame *f)
{
    struct msg_VERDICT m;
    struct candidate *c = g->executing;
    if (f->type == WIRE_APPEND && c != NULL && !g->proc_stuck) {
        g->proc_stuck = true; /* nothing else appends in a gate; its end follows, or the limit */
        return;
    }
    if (f->type != WIRE_VERDICT || msg_VERDICT_read(f->payload, &m, NULL) != AIKI_OK ||
        c == NULL || !id_equal(&m.run, &c->id)) {
        proc_kill(g->proc); /* it broke the protocol: a verdict like any other death */
        return;
    }
    if (m.more) {
        buf_clear(&g->misfit, GATE_MISFIT_BYTES_KEPT);
        aiki_mp_raw(&g->misfit, m.error.data, m.error.size_bytes);
        g->misfit_steps = m.steps;
        g->told = true;
        return;
    }
    conclude(g, m.steps, m.error);
    go_on(g);
}

static void stuck(struct gate *g)
{
    AUTO(buf) aiki_writer map;
    aiki_error err = {.struct_size = sizeof(err)};
    buf_init(&map);
    (void)error_code(&err, AIKI_CRASHED, "GATE_STUCK",
                     "it takes longer than GATE_RUN_MS_MAX (%d ms) to replay; look for an endless "
                     "loop in the workflow function",
                     GATE_RUN_MS_MAX);
    error_write(&map, &err);
    give_verdict(g, &map);
}

/* What the child has at the end gets the time of a run, however late it got there: slow is told
 * from stuck. */
static void on_limit(uv_timer_t *t)
{
    struct gate *g = container_of(t, struct gate, limit);
    if (g->over)
        return;
    int64_t taken_ms = g->executing != NULL ? clock_mono_ms() - g->assigned_mono_ms : 0;
    g->time_over = true;
    if (g->executing != NULL && taken_ms < GATE_RUN_MS_MAX) {
        uv_timer_start(&g->limit, on_limit, (uint64_t)(GATE_RUN_MS_MAX - taken_ms), 0);
        return;
    }
    if (g->executing != NULL && !was_told(g))
        stuck(g);
    finish(g);
}

/* ---- the child ----------------------------------------------------------------------------- */

static void on_ready(struct proc *p, aiki_view descriptor, void *arg)
{
    struct gate *g = arg;
    (void)p;
    (void)descriptor;
    g->proc_ready = true;
    if (!g->over)
        go_on(g);
}

static void on_refused(struct proc *p, aiki_view error, void *arg)
{
    (void)p; /* it loaded a moment ago; on_gone comes */
    (void)error;
    (void)arg;
}

static void on_frame(struct proc *p, const struct frame *f, void *arg)
{
    struct gate *g = arg;
    (void)p;
    if (!g->over)
        on_verdict(g, f);
}

static void on_gone(struct proc *p, const struct proc_end *end, void *arg)
{
    struct gate *g = arg;
    /* Its watchdog comes before the limit of a gate that has time for more than one run. */
    bool was_stuck = g->proc_stuck && end->signal == 0 && end->exit_code == CHILD_EXIT_STUCK;
    (void)p;
    g->proc = NULL;
    g->proc_ready = g->proc_stuck = false;
    if (g->over) {
        free_if_unused(g);
        return;
    }
    if (!was_told(g)) {
        g->crashes++;
        if (g->executing != NULL && was_stuck)
            stuck(g);
        else if (g->executing != NULL)
            crashed(g, end);
    }
    go_on(g);
}

static aiki_status start_child(struct gate *g, aiki_error *err)
{
    static const struct proc_callbacks callbacks = {
        .on_ready = on_ready, .on_refused = on_refused, .on_frame = on_frame, .on_gone = on_gone};
    const struct proc_options options = {.executable = g->options.executable,
                                         .label = g->options.label,
                                         .path = g->options.path,
                                         .file = g->options.file,
                                         .build = {g->options.build, BUILD_BYTES},
                                         .task_threads = 1,
                                         .sandbox = g->options.sandbox,
                                         .mode = g->brief ? CHILD_GATE_BRIEF : CHILD_GATE,
                                         .lacks = aiki_writer_view(&g->lacks),
                                         .limits = g->options.limits};
    return proc_spawn(&g->proc, g->loop, g->conns, &options, &callbacks, g, err);
}

/* ---- journals ------------------------------------------------------------------------------ */

/* Reads the fields of a document's map; those it does not know are skipped. */
struct page {
    uint64_t last, seq;
    aiki_view events;
};

static bool read_page(const struct frame *f, struct page *ret)
{
    struct msg_DOCUMENT m;
    aiki_reader r;
    memset(ret, 0, sizeof(*ret));
    if (f->type != WIRE_DOCUMENT || msg_DOCUMENT_read(f->payload, &m, NULL) != AIKI_OK)
        return false;
    aiki_reader_init(&r, m.value);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        if (view_is(name, "last"))
            ret->last = aiki_mp_read_uint(&r);
        else if (view_is(name, "seq"))
            ret->seq = aiki_mp_read_uint(&r);
        else if (view_is(name, "events"))
            ret->events = aiki_mp_read_bin(&r);
        else
            (void)aiki_mp_skip(&r); /* its failure ends the loop */
    }
    return r.status == AIKI_OK;
}

static uint32_t ask(struct gate *g, struct request *request, const char *what, aiki_view args)
{
    struct conn *c = session_conn(g->session);
    uint32_t correlation = c != NULL ? session_expect(g->session, request) : 0;
    if (correlation != 0)
        conn_send(c, QUERY, correlation, .what = view_of(what), .args = args);
    return correlation;
}

static void on_journal(struct request *request, const struct frame *f);

static void ask_journal(struct gate *g, struct candidate *c)
{
    AUTO(buf) aiki_writer args;
    char id[AIKI_ID_TEXT_SIZE];
    buf_init(&args);
    id_text(&c->id, id);
    aiki_mp_map(&args, 2);
    aiki_mp_str(&args, "id");
    aiki_mp_str(&args, id);
    aiki_mp_str(&args, "after");
    aiki_mp_uint(&args, c->read_seq);
    c->request.on_answer = on_journal;
    c->correlation = ask(g, &c->request, "runs.journal", aiki_writer_view(&args));
    c->useless |= c->correlation == 0;
}

/* What was recorded after the sample was drawn is left out: as far as seq is enough. */
static void on_journal(struct request *request, const struct frame *f)
{
    struct candidate *c = container_of(request, struct candidate, request);
    struct gate *g = c->gate;
    struct page page;
    c->correlation = 0;
    if (f == NULL || session_conn(g->session) == NULL) { /* it may end just now, and c with it */
        lose(g);
        return;
    }
    bool fits = read_page(f, &page) && page.last > c->read_seq &&
                c->journal.size_bytes + page.events.size_bytes <= GATE_JOURNAL_BYTES_MAX;
    if (fits)
        aiki_mp_raw(&c->journal, page.events.data, page.events.size_bytes);
    c->read_seq = page.last;
    c->seq = page.seq;
    c->useless = !fits || c->journal.status != AIKI_OK;
    c->complete = !c->useless && c->read_seq >= c->seq;
    if (!c->useless && !c->complete)
        ask_journal(g, c);
    go_on(g);
}

/* ---- samples ------------------------------------------------------------------------------- */

static bool add_candidate(struct gate *g, const struct gate_route *route, aiki_reader *r)
{
    struct candidate *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return false;
    buf_init(&c->journal);
    c->gate = g;
    c->route = route;
    aiki_status st = AIKI_CORRUPT;
    for (uint64_t pairs = aiki_mp_read_map(r); pairs > 0 && r->status == AIKI_OK; pairs--) {
        aiki_view name = aiki_mp_read_str(r);
        if (view_is(name, "id")) {
            aiki_view id = aiki_mp_read_str(r);
            st = id_parse((const char *)id.data, id.size_bytes, &c->id, NULL);
        } else if (view_is(name, "build")) {
            aiki_view hex = aiki_mp_read_str(r);
            (void)sodium_hex2bin(c->last_build, BUILD_BYTES, (const char *)hex.data,
                                 (size_t)hex.size_bytes, NULL, NULL, NULL); /* for eyes only */
        } else {
            (void)aiki_mp_skip(r); /* its failure ends the loop */
        }
    }
    if (st != AIKI_OK || r->status != AIKI_OK) {
        candidate_free(c);
        return false;
    }
    *g->last = c;
    g->last = &c->next;
    return true;
}

static void read_sample(struct gate *g, const struct gate_route *route, aiki_view document)
{
    aiki_reader r;
    uint64_t total = 0, count = 0, added = 0;
    aiki_reader_init(&r, document);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        if (view_is(name, "total")) {
            total = aiki_mp_read_uint(&r);
        } else if (view_is(name, "runs")) {
            count = aiki_mp_read_array(&r);
            while (added < count && r.status == AIKI_OK && add_candidate(g, route, &r))
                added++;
        } else {
            (void)aiki_mp_skip(&r); /* its failure ends the loop */
        }
    }
    g->result.open += total;
    g->result.unknown += total > added ? total - added : 0;
}

/* False: the session has ended. ret: empty when it is no document. */
static bool take_answer(struct asked *a, const struct frame *f, aiki_view *ret)
{
    struct msg_DOCUMENT m;
    a->correlation = 0;
    *ret = (aiki_view){NULL, 0};
    if (f == NULL) {
        lose(a->gate);
        return false;
    }
    if (f->type == WIRE_DOCUMENT && msg_DOCUMENT_read(f->payload, &m, NULL) == AIKI_OK)
        *ret = m.value;
    return true;
}

static void on_sample(struct request *request, const struct frame *f)
{
    struct asked *a = container_of(request, struct asked, request);
    struct gate *g = a->gate;
    aiki_view document;
    if (!take_answer(a, f, &document))
        return;
    if (document.size_bytes > 0)
        read_sample(g, &g->options.routes[a - g->asked], document);
    else
        log_warn("gate", "%s: the server does not tell which runs are open", g->options.label);
    if (--g->samples_left == 0)
        go_on(g);
}

static aiki_status ask_sample(struct gate *g, size_t index)
{
    AUTO(buf) aiki_writer args;
    char hex[BUILD_HEX_SIZE];
    const struct gate_route *route = &g->options.routes[index];
    struct asked *a = &g->asked[index];
    buf_init(&args);
    build_hex(g->options.build, hex);
    aiki_mp_map(&args, 4);
    aiki_mp_str(&args, "workflow");
    aiki_mp_strn(&args, route->workflow.data, route->workflow.size_bytes);
    aiki_mp_str(&args, "version");
    aiki_mp_strn(&args, route->version.data, route->version.size_bytes);
    aiki_mp_str(&args, "build");
    aiki_mp_str(&args, hex);
    aiki_mp_str(&args, "limit");
    aiki_mp_uint(&args, GATE_RUNS_MAX);
    a->gate = g;
    a->request.on_answer = on_sample;
    a->correlation = ask(g, &a->request, "runs.sample", aiki_writer_view(&args));
    return a->correlation != 0 ? AIKI_OK : AIKI_UNAVAILABLE;
}

/* ---- tables -------------------------------------------------------------------------------- */

/* A server that does not know the question: nobody looks for what is gone. */
static void on_tables(struct request *request, const struct frame *f)
{
    struct asked *a = container_of(request, struct asked, request);
    struct gate *g = a->gate;
    aiki_view document;
    if (!take_answer(a, f, &document))
        return;
    if (document.size_bytes > 0)
        gate_lacks_write(&g->lacks, g->options.descriptor, document);
    go_on(g);
}

static void ask_tables(struct gate *g)
{
    AUTO(buf) aiki_writer args;
    struct descriptor d;
    buf_init(&args);
    g->tables_asked = true;
    if (descriptor_read(g->options.descriptor, &d, NULL) != AIKI_OK)
        return;
    aiki_mp_map(&args, 1);
    aiki_mp_str(&args, "name");
    aiki_mp_strn(&args, (const char *)d.name.data, (size_t)d.name.size_bytes);
    g->tables.gate = g;
    g->tables.request.on_answer = on_tables;
    g->tables.correlation = ask(g, &g->tables.request, "plugins.tasks", aiki_writer_view(&args));
}

/* ---- on ------------------------------------------------------------------------------------ */

static void read_ahead(struct gate *g)
{
    unsigned ahead = 0;
    for (struct candidate *c = g->first; c != NULL && ahead < GATE_AHEAD_MAX; c = c->next, ahead++)
        if (c->correlation == 0 && c->read_seq == 0 && !c->useless)
            ask_journal(g, c);
}

static struct candidate *take_first(struct gate *g)
{
    struct candidate *c = g->first;
    g->first = c->next;
    if (g->first == NULL)
        g->last = &g->first;
    return c;
}

static void assign(struct gate *g)
{
    struct candidate *c = g->executing = take_first(g);
    g->assigned_mono_ms = clock_mono_ms();
    conn_send(proc_conn(g->proc), ASSIGN, 0, .run = c->id, .workflow = c->route->workflow,
              .version = c->route->version, .journal = aiki_writer_view(&c->journal),
              .seq = c->seq, .epoch = 1);
    fault_point(runtime_gate_assigned);
}

static void drop_useless(struct gate *g)
{
    while (g->first != NULL && g->first->useless) {
        g->result.unknown++;
        candidate_free(take_first(g));
    }
}

static void go_on(struct gate *g)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (g->samples_left > 0 || g->executing != NULL || g->over)
        return;
    drop_useless(g);
    if (g->first == NULL || g->crashes == GATE_CRASHES_MAX || g->time_over) {
        finish(g);
        return;
    }
    if (session_conn(g->session) == NULL) { /* it may end just now, and all candidates with it */
        lose(g);
        return;
    }
    read_ahead(g);
    if (!g->tables_asked)
        ask_tables(g);
    if (g->tables.correlation != 0)
        return;
    if (g->proc == NULL && start_child(g, &err) != AIKI_OK) {
        log_warn("gate", "%s", err.message);
        finish(g);
        return;
    }
    if (g->proc_ready && proc_conn(g->proc) != NULL && g->first->complete)
        assign(g);
}

aiki_status gate_start(struct gate **ret, uv_loop_t *loop, struct conn_loop *conns,
                       struct session *session, const struct gate_options *options,
                       gate_done_fn on_done, void *arg, aiki_error *err)
{
    struct gate *g = calloc(1, sizeof(*g));
    if (g == NULL || (g->asked = calloc(options->route_count + 1, sizeof(*g->asked))) == NULL ||
        (g->sandbox = view_dup(options->sandbox)) == NULL) {
        if (g != NULL)
            free(g->asked);
        free(g);
        return error_set(err, AIKI_NOMEM, "gate of %s", options->label);
    }
    g->loop = loop;
    g->conns = conns;
    g->session = session;
    g->options = *options;
    g->options.sandbox = view_of(g->sandbox);
    g->on_done = on_done;
    g->arg = arg;
    g->last = &g->first;
    g->began_mono_ms = clock_mono_ms();
    buf_init(&g->findings);
    buf_init(&g->worst);
    buf_init(&g->misfit);
    buf_init(&g->lacks);
    uv_timer_init(loop, &g->limit);
    uv_update_time(loop); /* the timer counts from here */
    uv_timer_start(&g->limit, on_limit, options->route_count > 0 ? options->ms_max : 0, 0);
    aiki_status st = AIKI_OK;
    for (size_t i = 0; i < options->route_count && st == AIKI_OK; i++) {
        g->samples_left++;
        st = ask_sample(g, i);
    }
    if (st != AIKI_OK) {
        take_down(g);
        return error_set(err, st, "gate of %s: there is no session", options->label);
    }
    *ret = g;
    return AIKI_OK;
}

/* build.c - one build: its process, its registration, its end.
 *
 *                  READY, or
 *         spawn    what its probe said   gate                OK from server       newer build, file gone
 *   -----> LOADING ---> GATING ---------> REGISTERING ---------> SERVING ----------> DRAINING
 *            |  ^          |                  |                    | ^                  |
 *            |  |          |       newer file: killed              v | died: replaced   |
 *            v refused,    v refused          v refused            +-+                  v
 *          GONE <--- died, late --------------+--------- process has ended -------------+
 *
 * GATING (gating.c) and REGISTERING wait as long as there is no session. Beside a build that another took the place of,
 * kept.c keeps one in state KEPT.
 */
#include "broker/builds_impl.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "broker/verdict.h"
#include "intake/lines.h"
#include "wire/descriptor.h"
#include "wire/error.h"
#include "wire/message.h"

const uint8_t *build_hash(const struct build *b)
{
    return b->hash;
}
const char *build_label(const struct build *b)
{
    return b->label;
}

struct conn *build_conn(struct build *b)
{
    return b->proc != NULL && b->ready ? proc_conn(b->proc) : NULL;
}

struct conn *build_assignable(struct build *b)
{
    bool takes = b->state == KEPT ? !b->kept.ending
                                  : b->state == SERVING && !b->rejected && b->demand.state != ENDING;
    return takes || b->state == SOLO ? build_conn(b) : NULL;
}

bool build_is_leaving(const struct build *b)
{
    return b->state == DRAINING;
}

const struct verdict *build_verdict(const struct build *b)
{
    return b->verdict;
}

void build_kill(struct build *b)
{
    if (b->proc != NULL)
        proc_kill(b->proc);
}

/* ---- its end ---------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *h)
{
    struct build *b = container_of((uv_timer_t *)h, struct build, timer);
    if (unlink(b->copy) != 0)
        log_warn("intake", "cannot remove the copy %s", b->copy);
    buf_deinit(&b->descriptor);
    buf_deinit(&b->gate_report);
    buf_deinit(&b->warnings);
    probe_answer_deinit(&b->answer);
    free(b->routes);
    free(b->copy);
    free(b);
}

/* Another process of the same build has use for them. */
static void forget_lines(const struct build *b)
{
    for (const struct build *o = b->owner->all; o != NULL; o = o->next)
        if (o != b && memcmp(o->hash, b->hash, BUILD_BYTES) == 0)
            return;
    lines_forget(b->copy);
}

/* The server knows builds by their hash. */
static bool is_registered_twice(const struct build *b)
{
    for (const struct build *o = b->owner->all; o != NULL; o = o->next)
        if (o != b && o->registered && memcmp(o->hash, b->hash, BUILD_BYTES) == 0)
            return true;
    return false;
}

void build_unregister(struct build *b)
{
    struct conn *c = session_conn(b->owner->session);
    if (c != NULL && b->registered && !is_registered_twice(b))
        conn_send(c, UNREGISTER, 0, .build = hash_view(b->hash));
    b->registered = false;
}

/* Out of every list; memory goes when the timer is closed. */
void build_bury(struct build *b)
{
    struct builds *bs = b->owner;
    struct build *kept = b->state == DRAINING && !b->solo ? kept_find(bs, b->hash) : NULL;
    bool solo = b->solo;
    for (struct build **at = &bs->all; *at != NULL; at = &(*at)->next) {
        if (*at == b) {
            *at = b->next;
            break;
        }
    }
    if (b->file != NULL && b->file->serving == b)
        b->file->serving = NULL;
    if (b->file != NULL && b->file->candidate == b)
        b->file->candidate = NULL;
    if (b->correlation != 0)
        session_forget(bs->session, b->correlation);
    if (b->kept.correlation != 0)
        session_forget(bs->session, b->kept.correlation);
    recycle_stop(b);
    forget_lines(b);
    if (bs->draining || b->state == KEPT)
        build_unregister(b);
    if (kept != NULL && !bs->draining)
        kept_register(kept); /* which is not draining any more */
    uv_close((uv_handle_t *)&b->timer, on_timer_closed);
    if (solo && !bs->draining)
        bs->cb.on_solo_free(bs->arg);
    builds_check_drained(bs);
}

static void on_end_limit(uv_timer_t *t)
{
    struct build *b = container_of(t, struct build, timer);
    log_warn("child", "%s does not end; killed", b->label);
    b->ended = true;
    build_kill(b);
}

static void tell_to_end(struct build *b, struct conn *c, uint64_t grace_ms, bool leave)
{
    conn_send(c, DRAIN, 0, .grace_ms = grace_ms > 0 ? grace_ms : 1, .leave = leave); /* 0 would be: without limit */
    uv_timer_start(&b->timer, on_end_limit, grace_ms + BUILD_END_MS, 0);
}

void build_end_process(struct build *b, uint64_t grace_ms)
{
    struct conn *c = build_conn(b);
    if (c != NULL)
        tell_to_end(b, c, grace_ms, true);
}

/* Nothing new for it; what is resident finishes, or is given back after drain_ms. */
void build_drain(struct build *b)
{
    uint64_t grace_ms = b->owner->options.drain_ms;
    if (b->state == DRAINING)
        return;
    gate_stop(b->gate);
    b->gate = NULL;
    recycle_stop(b);
    bool served = b->state == SERVING;
    b->state = DRAINING;
    b->since_mono_ms = clock_mono_ms();
    if (served) /* who waits for its process is offered again, to the build that serves now */
        b->owner->cb.on_given_up(b, b->owner->arg);
    struct conn *c = build_conn(b);
    if (c != NULL) {
        tell_to_end(b, c, grace_ms, b->wear.worn_mono_ms != 0);
    } else if (b->proc != NULL) {
        proc_kill(b->proc); /* not loaded yet, or dying */
    } else {
        build_bury(b);
    }
}

void file_drop_candidate(struct plugin_file *f)
{
    struct build *b = f->candidate;
    if (b == NULL)
        return;
    f->candidate = NULL;
    b->file = NULL;
    build_unregister(b);
    build_drain(b);
}

/* ---- registration -------------------------------------------------------------------------- */

/* Who looks after the host is to hear of it, whatever the setting makes of it. */
static void compare_needs(const struct build *before, const struct build *b)
{
    aiki_view more = needs_beyond(view_of(b->needs), view_of(before->needs));
    if (before->needs[0] == '\0')
        return; /* it has never said what it needs */
    if (b->needs[0] == '\0')
        log_warn("intake", "plugin %s does not declare any more what it needs; the build before it: %s",
                 b->label, before->needs);
    else if (more.size_bytes > 0)
        log_warn("intake", "plugin %s declares that it needs %.*s, which the build before it did not",
                 b->label, (int)more.size_bytes, (const char *)more.data);
}

static void promote(struct build *b)
{
    struct builds *bs = b->owner;
    struct build *before = b->file->serving;
    bool in_use = before != NULL && before->proc != NULL && before->demand.state != ENDING;
    b->state = SERVING;
    b->file->serving = b;
    b->file->candidate = NULL;
    file_forget_refusal(b->file);
    log_info("intake", "plugin %s serves %zu workflow%s", b->label, b->route_count,
             b->route_count == 1 ? "" : "s");
    if (before != NULL) {
        compare_needs(before, b);
        build_unregister(before);
        before->file = NULL;
        kept_add(before);
        solo_drain(bs, before->hash);
        build_drain(before);
        builds_reconsider(bs);
    } else {
        kept_file_changed(bs, b->file_name);
    }
    kept_begin(b);
    struct build *same = kept_find(bs, b->hash);
    if (same != NULL)
        kept_drop(same); /* an older build came back */
    demand_begin(b, in_use);
    bs->cb.on_routes(bs->arg);
    builds_settle(bs);
}

/* It could not be recorded, which says nothing about the file: it is looked at again, and asked for again. */
static void refuse_registration(struct build *b, const struct msg_FAULT *fault)
{
    file_refuse_with(b->owner, b->file, b->hash, fault->error);
    if (fault->status == AIKI_UNAVAILABLE)
        watch_doubt(b->owner->watch, b->file->name);
}

static void on_registered(struct request *r, const struct frame *answer)
{
    struct build *b = container_of(r, struct build, registration);
    struct msg_FAULT fault;
    aiki_error err = {.struct_size = sizeof(err)};
    struct builds *bs = b->owner;
    b->correlation = 0;
    b->registered = answer != NULL && answer->type == WIRE_OK;
    if (answer == NULL)
        return; /* builds_session_up repeats it */
    if (answer->type == WIRE_OK) {
        if (b->state == REGISTERING)
            promote(b);
        else
            bs->cb.on_routes(bs->arg); /* it may have been refused before */
        return;
    }
    if (answer->type != WIRE_FAULT || msg_FAULT_read(answer->payload, &fault, &err) != AIKI_OK)
        fault = (struct msg_FAULT){.status = AIKI_CORRUPT};
    if (b->state == REGISTERING) {
        refuse_registration(b, &fault);
        file_drop_candidate(b->file);
        builds_settle(bs);
    } else if (b->state == SERVING) {
        b->rejected = true;
        refuse_registration(b, &fault);
        bs->cb.on_routes(bs->arg);
    }
}

void build_register(struct build *b)
{
    struct conn *c = session_conn(b->owner->session);
    if (c == NULL || b->correlation != 0)
        return;
    b->registration.on_answer = on_registered;
    b->correlation = session_expect(b->owner->session, &b->registration);
    if (b->correlation == 0)
        return;           /* SESSION_REQUESTS_MAX: the next session gets it */
    b->registered = true; /* from here on it takes an UNREGISTER */
    b->rejected = false;
    conn_send(c, REGISTER, b->correlation, .build = hash_view(b->hash),
              .file = view_of(b->file->name), .descriptor = aiki_writer_view(&b->descriptor),
              .gate = aiki_writer_view(&b->gate_report));
    recycle_tell_now(b);
}

/* ---- a process's news ---------------------------------------------------------------------- */

aiki_status build_take_descriptor(struct build *b, aiki_view bytes, aiki_error *err)
{
    struct descriptor d;
    struct descriptor_workflow w;
    aiki_reader r;
    buf_clear(&b->descriptor, 0);
    aiki_status st =
        descriptor_complete(&b->descriptor, bytes, aiki_writer_view(&b->warnings), view_of(b->needs));
    if (st != AIKI_OK)
        return error_set(err, st, "descriptor of %" PRIu64 " bytes", bytes.size_bytes);
    st = descriptor_read(aiki_writer_view(&b->descriptor), &d, err);
    if (st != AIKI_OK)
        return st;
    free(b->routes);
    b->route_count = 0;
    b->routes = calloc(d.workflow_count + 1, sizeof(*b->routes));
    if (b->routes == NULL)
        return error_set(err, AIKI_NOMEM, "descriptor");
    for (descriptor_workflows(&d, &r);
         b->route_count < d.workflow_count && descriptor_next_workflow(&r, &w);)
        b->routes[b->route_count++] = (struct gate_route){w.name, w.version};
    return AIKI_OK;
}

bool build_offers(const struct build *b, aiki_view workflow, aiki_view version)
{
    for (size_t i = 0; i < b->route_count; i++)
        if (view_equal(b->routes[i].workflow, workflow) &&
            view_equal(b->routes[i].version, version))
            return true;
    return false;
}

/* AIKI_CONFLICT when another file's build serves, or is about to, what this one offers. */
static aiki_status check_conflicts(const struct build *b, aiki_error *err)
{
    for (const struct build *o = b->owner->all; o != NULL; o = o->next) {
        if (o->file == b->file || o->file == NULL || o->state == LOADING || o->state == DRAINING)
            continue;
        for (size_t i = 0; i < b->route_count; i++)
            if (build_offers(o, b->routes[i].workflow, b->routes[i].version))
                return error_code(err, AIKI_CONFLICT, "WORKFLOW_TAKEN",
                                  "workflow %.*s %.*s is already offered by %s; give one of them "
                                  "another version, or remove one file",
                                  (int)b->routes[i].workflow.size_bytes,
                                  (const char *)b->routes[i].workflow.data,
                                  (int)b->routes[i].version.size_bytes,
                                  (const char *)b->routes[i].version.data, o->file->name);
    }
    return AIKI_OK;
}

void build_refuse(struct build *b, const aiki_error *err)
{
    struct plugin_file *f = b->file;
    if (f != NULL) {
        file_refuse(b->owner, f, b->hash, err);
        f->conflicted = err->status == AIKI_CONFLICT;
        file_drop_candidate(f);
    }
    builds_settle(b->owner);
}

/* What it offers is known: may it serve that? */
static void offer(struct build *b, aiki_view descriptor)
{
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_status st = build_take_descriptor(b, descriptor, &err);
    if (st == AIKI_OK)
        st = check_conflicts(b, &err);
    if (st == AIKI_OK)
        build_gate(b);
    else
        build_refuse(b, &err);
}

static void on_proc_ready(struct proc *p, aiki_view descriptor, void *arg)
{
    struct build *b = arg;
    (void)p;
    b->ready = true;
    b->demand.ready_mono_ms = clock_mono_ms();
    quarantine_tell(b);
    if (b->state == KEPT) {
        kept_ready(b, descriptor);
        return;
    }
    if (b->state == SOLO) {
        solo_ready(b);
        return;
    }
    if (b->state == SPARE) {
        recycle_ready(b);
        return;
    }
    if (b->state == LOADING)
        offer(b, descriptor);
    else
        demand_ready(b); /* same bytes, same descriptor */
}

/* It was let in, and does not load now: a library went, perhaps. */
static void note_refusal(struct build *b, aiki_view error)
{
    aiki_error err = AIKI_ERROR_INIT;
    if (error_read(error, &err, NULL, NULL) == AIKI_OK)
        (void)snprintf(b->refusal, sizeof(b->refusal), "does not load: %s: %.150s", err.code, err.message);
}

static void on_proc_refused(struct proc *p, aiki_view error, void *arg)
{
    struct build *b = arg;
    struct plugin_file *f = b->file;
    (void)p;
    if (b->state != LOADING || f == NULL) {
        note_refusal(b, error);
        return; /* a replacement that does not load counts as a crash */
    }
    file_refuse_with(b->owner, f, b->hash, error);
    b->state = DRAINING;
    b->file = NULL;
    f->candidate = NULL;
    builds_settle(b->owner);
}

static void on_proc_frame(struct proc *p, const struct frame *f, void *arg)
{
    struct build *b = arg;
    (void)p;
    b->owner->cb.on_frame(b, f, b->owner->arg);
}

static void on_proc_usage(struct proc *p, const struct usage *u, const struct limit_hit *hit,
                          void *arg)
{
    struct build *b = arg;
    (void)p;
    recycle_tell(b, u);
    if (hit != NULL)
        recycle_worn(b, hit);
    else
        demand_look(b);
}

static void on_restart(uv_timer_t *t)
{
    struct build *b = container_of(t, struct build, timer);
    if (b->state != DRAINING && b->proc == NULL)
        build_start_process(b);
}

static uint64_t restart_delay_ms(const struct build *b)
{
    uint64_t ms = BUILD_RESTART_MS_MIN;
    if (b->crashes <= BUILD_CRASHES_FREE)
        return 0;
    for (unsigned i = BUILD_CRASHES_FREE + 1; i < b->crashes && ms < BUILD_RESTART_MS_MAX; i++)
        ms *= 2;
    return ms < BUILD_RESTART_MS_MAX ? ms : BUILD_RESTART_MS_MAX;
}

void build_restart(struct build *b)
{
    uint64_t delay_ms = restart_delay_ms(b);
    if (delay_ms == 0)
        build_start_process(b);
    else
        uv_timer_start(&b->timer, on_restart, delay_ms, 0);
}

static void replace_process(struct build *b, const struct proc_end *end, const char *text)
{
    b->owner->stats.restarts++;
    b->wear.processes++;
    (void)snprintf(b->wear.why, sizeof(b->wear.why), "%s", text);
    if (end->was_ready && end->exit_code == CHILD_EXIT_STUCK) {
        log_warn("child", "%s ended because of code that did not stop; replaced at once", b->label);
        b->owner->cb.on_routes(b->owner->arg);
        build_start_process(b);
        return;
    }
    if (b->blamed) { /* whoever did it is executed alone from here on */
        log_error("child", "%s %s; its runs are given back, it is replaced at once", b->label, text);
        b->owner->cb.on_routes(b->owner->arg);
        build_start_process(b);
        return;
    }
    b->crashes = end->was_ready && end->lived_ms >= BUILD_QUICK_CRASH_MS ? 1 : b->crashes + 1;
    uint64_t delay_ms = restart_delay_ms(b);
    log_error("child", "%s %s; its runs are given back; crash %u, replaced in %" PRIu64 " ms",
              b->label, text, b->crashes, delay_ms);
    b->owner->cb.on_routes(b->owner->arg);
    build_restart(b);
}

/* Neither how it was to end, which it does when no run is left in it, nor what it does to get rid of code that does not stop. */
static bool is_crash(struct build *b, const struct proc_end *end)
{
    if (!end->was_ready || b->ended || (end->signal == 0 && end->exit_code == CHILD_EXIT_STUCK))
        return false;
    bool leaves = b->state == DRAINING || (b->state == KEPT && b->kept.ending) ||
                  (b->state == SERVING && b->demand.state == ENDING);
    return !leaves || end->signal != 0 || end->exit_code != 0 || b->owner->cb.has_run(b, b->owner->arg);
}

static void tell_lost(struct build *b, const struct proc_end *end)
{
    struct verdict verdict;
    b->blamed = false;
    if (is_crash(b, end)) {
        bool no_memory = end->signal == SIGKILL && oom_ascribe(&b->owner->oom, b->oom_count);
        verdict_reach(&verdict, end, b->solo, no_memory);
        b->verdict = &verdict;
        b->blamed = verdict.count > 0;
        verdict_log_stray(&verdict, b->label);
    }
    b->owner->cb.on_lost(b, b->owner->arg);
    b->verdict = NULL;
}

static void on_proc_gone(struct proc *p, const struct proc_end *end, void *arg)
{
    struct build *b = arg;
    char text[PROC_END_TEXT_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    (void)p;
    b->proc = NULL;
    b->ready = false;
    proc_end_text(end, text, sizeof(text));
    if (b->refusal[0] != '\0')
        memcpy(text, b->refusal, sizeof(text));
    tell_lost(b, end);
    switch (b->state) {
    case LOADING:
        if (!end->timed_out && ++b->load_tries < BUILD_LOAD_TRIES) {
            build_start_process(b); /* it may have been killed from outside */
            break;
        }
        (void)proc_load_failure(end, &err);
        build_refuse(b, &err); /* with no process left this buries it */
        break;
    case GATING:
    case REGISTERING: replace_process(b, end, text); break;
    case SERVING:
        if (demand_gone(b))
            break;
        replace_process(b, end, text);
        recycle_tell_now(b);
        break;
    case KEPT: kept_gone(b, end, text); break;
    case SOLO: solo_gone(b, end, text); break;
    case SPARE: recycle_gone(b, text); break;
    case DRAINING:
        if (!end->was_ready)
            log_debug("child", "%s %s after it was refused", b->label, text);
        else if (end->signal != 0 || end->exit_code != 0)
            log_warn("child", "%s %s while it drained", b->label, text);
        else if (b->solo)
            log_debug("child", "%s, with one run in it, has ended", b->label);
        else
            log_info("child", "%s has ended", b->label);
        build_bury(b);
        break;
    }
}

static const struct proc_callbacks proc_callbacks = {.on_ready = on_proc_ready,
                                                     .on_refused = on_proc_refused,
                                                     .on_frame = on_proc_frame,
                                                     .on_usage = on_proc_usage,
                                                     .on_gone = on_proc_gone};

void build_write_sandbox(const struct build *b, aiki_writer *w)
{
    sandbox_write(w, sandbox_of_plugin(b->owner->options.admit.sandbox, b->file_name), view_of(b->needs));
}

void build_mend_copy(struct build *b)
{
    struct builds *bs = b->owner;
    if (access(b->copy, F_OK) == 0)
        return;
    cache_mend(bs->cache);
    if (keep_lend_copy(bs->keep, b->hash, b->copy))
        log_warn("intake", "the copy of plugin %s was removed, and is there again", b->label);
    else if (b->file != NULL)
        watch_again(bs->watch, b->file->name);
}

void build_start_process(struct build *b)
{
    struct builds *bs = b->owner;
    aiki_error err = {.struct_size = sizeof(err)};
    AUTO(buf) aiki_writer sandbox;
    buf_init(&sandbox);
    build_write_sandbox(b, &sandbox);
    const struct proc_options options = {.executable = bs->options.executable,
                                         .label = b->label,
                                         .path = b->copy,
                                         .file = b->file_name,
                                         .build = hash_view(b->hash),
                                         .task_threads = bs->options.task_threads,
                                         .alone = b->solo,
                                         .sandbox = aiki_writer_view(&sandbox),
                                         .wait_timeout_ms = bs->options.wait_timeout_ms,
                                         .stopped_ms = bs->options.stopped_ms,
                                         .limits = limits_for(&bs->options.child_limits, b->file_name)};
    build_mend_copy(b);
    b->ended = false;
    b->refusal[0] = '\0';
    b->oom_count = oom_count(&bs->oom);
    b->wear.since_mono_ms = clock_mono_ms();
    b->wear.worn_mono_ms = 0;
    if (proc_spawn(&b->proc, bs->loop, bs->conns, &options, &proc_callbacks, b, &err) == AIKI_OK) {
        log_debug("child", "%s: process %d", b->label, proc_pid(b->proc));
        return;
    }
    if (b->state == LOADING) {
        build_refuse(b, &err);
        return;
    }
    b->crashes++;
    log_error("child", "%s; trying again", err.message);
    uv_timer_start(&b->timer, on_restart, BUILD_RESTART_MS_MAX, 0);
    demand_failed(b);
}

/* ---- its beginning ----------------------------------------------------------------------- */

struct build *build_create(struct builds *bs, const char *file_name, const uint8_t *hash,
                           const char *copy, const char *needs)
{
    char hex[BUILD_HEX_SIZE];
    struct build *b = calloc(1, sizeof(*b));
    if (b == NULL || (b->copy = strdup(copy)) == NULL) {
        log_error("intake", "plugin %s: out of memory", file_name);
        free(b);
        (void)unlink(copy);
        return NULL;
    }
    b->owner = bs;
    snprintf(b->file_name, sizeof(b->file_name), "%s", file_name);
    snprintf(b->needs, sizeof(b->needs), "%s", needs);
    memcpy(b->hash, hash, sizeof(b->hash));
    build_hex(b->hash, hex);
    snprintf(b->label, sizeof(b->label), "%.96s@%.8s", file_name, hex);
    buf_init(&b->descriptor);
    buf_init(&b->gate_report);
    buf_init(&b->warnings);
    probe_answer_init(&b->answer);
    uv_timer_init(bs->loop, &b->timer);
    b->demand.idle_s = idle_seconds(bs->options.idle, b->file_name);
    b->next = bs->all;
    bs->all = b;
    return b;
}

void build_take_answer(struct build *b, struct admission *a)
{
    b->answer = a->answer; /* its views point into memory that moves along */
    b->noted = a->noted;
    probe_answer_init(&a->answer);
}

static void log_warnings(const struct build *b)
{
    aiki_reader r;
    aiki_reader_init(&r, aiki_writer_view(&b->warnings));
    if (b->warnings.size_bytes == 0)
        return;
    for (uint64_t left = aiki_mp_read_array(&r); left > 0; left--) {
        aiki_error e = AIKI_ERROR_INIT;
        if (error_read(aiki_mp_value(&r), &e, NULL, NULL) != AIKI_OK)
            return;
        log_warn("intake", "plugin %s: %s: %s", b->label, e.code, e.message);
    }
}

void build_start(struct builds *bs, struct plugin_file *f, struct admission *a)
{
    struct build *b = build_create(bs, f->name, a->build, a->copy, a->needs);
    if (b == NULL)
        return;
    b->signature = a->signature;
    build_take_answer(b, a);
    policy_allow(bs, b->hash);
    admission_write_warnings(a, &b->warnings);
    log_warnings(b);
    file_drop_candidate(f);
    b->file = f;
    f->candidate = b;
    if (demand_is_warm(b))
        build_start_process(b);
    else
        offer(b, b->answer.descriptor);
}

/* builds.c - from a file to a serving process, and back out.
 *
 *   a build:
 *
 *   spawn                READY             OK from server             newer build, file gone
 *   -----> LOADING --------------> REGISTERING ---------> SERVING ------------------> DRAINING
 *            |  ^                      |                    | ^                          |
 *            |  +-- newer file: killed |                    v | died: replaced           |
 *            v refused, died, late     v refused            +-+                          v
 *          GONE <----------------------+------------- process has ended -----------------+
 *
 *   a file: at most one SERVING build and one candidate on its way; changed again: the newest
 *   candidate wins. REGISTERING waits as long as there is no session.
 */
#include "broker/builds.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "broker/proc.h"
#include "intake/admit.h"
#include "intake/watch.h"
#include "wire/descriptor.h"
#include "wire/error.h"
#include "wire/message.h"

enum state { LOADING, REGISTERING, SERVING, DRAINING };

enum { LABEL_SIZE = 128 };

struct route {
    aiki_view workflow, version;
};

struct build {
    struct build *next; /* in builds.all */
    struct builds *owner;
    struct plugin_file *file;
    enum state state;
    uint8_t hash[BUILD_BYTES];
    char label[LABEL_SIZE];
    char *copy; /* owned; the file is unlinked with the build */
    struct proc *proc; /* NULL between a death and its replacement */
    bool ready;        /* proc has said READY */
    aiki_writer descriptor; /* owned bytes; empty before the first READY */
    struct route *routes;   /* owned; texts borrowed from descriptor */
    size_t route_count;
    struct request registration;
    uint32_t correlation;   /* of a REGISTER without an answer; 0 = none */
    bool registered;        /* the present session was told */
    bool rejected; /* by the server of the present session */
    uv_timer_t timer; /* REGISTERING, SERVING: until the restart; DRAINING: until it is killed */
    unsigned crashes; /* in a row, each younger than BUILD_QUICK_CRASH_MS */
    unsigned load_tries;
};

struct plugin_file {
    struct plugin_file *next;
    char name[WATCH_NAME_SIZE];
    struct build *serving, *candidate; /* borrowed from builds.all */
    bool admitting;  /* a pool thread reads it */
    bool look_again; /* it changed meanwhile */
    bool removed;    /* it was removed meanwhile */
    bool conflicted; /* refused because another file offers the same: may change */
    bool refused;
    uint8_t refused_hash[BUILD_BYTES];
    aiki_writer refusal; /* error map */
};

struct admit_job {
    uv_work_t work;
    struct builds *owner;
    struct plugin_file *file;
    char path[CACHE_PATH_SIZE], draft[CACHE_PATH_SIZE];
    struct admission result;
    aiki_status status;
    aiki_error err;
};

struct builds {
    uv_loop_t *loop;
    struct conn_loop *conns;
    struct session *session;
    struct builds_options options;
    struct builds_callbacks cb;
    void *arg;
    struct cache *cache;
    struct watch *watch;
    struct plugin_file *files;
    struct build *all;
    unsigned admitting;
    bool draining, drained, closing;
};

static void look_at(struct builds *bs, struct plugin_file *f);
static void start_process(struct build *b);

/* ---- small queries ------------------------------------------------------------------------- */

const uint8_t *build_hash(const struct build *b) { return b->hash; }
const char *build_label(const struct build *b) { return b->label; }

struct conn *build_conn(struct build *b)
{
    return b->proc != NULL && b->ready ? proc_conn(b->proc) : NULL;
}

struct conn *build_assignable(struct build *b)
{
    return b->state == SERVING && !b->rejected ? build_conn(b) : NULL;
}

void build_kill(struct build *b)
{
    if (b->proc != NULL)
        proc_kill(b->proc);
}

static aiki_view hash_view(const uint8_t *hash)
{
    return (aiki_view){hash, BUILD_BYTES};
}


void builds_each_route(struct builds *bs, void (*fn)(void *arg, struct build *b,
                                                     aiki_view workflow, aiki_view version),
                       void *arg)
{
    for (struct build *b = bs->all; b != NULL; b = b->next)
        for (size_t i = 0; build_assignable(b) != NULL && i < b->route_count; i++)
            fn(arg, b, b->routes[i].workflow, b->routes[i].version);
}

void builds_count(const struct builds *bs, unsigned *ret_serving, unsigned *ret_refused)
{
    *ret_serving = *ret_refused = 0;
    for (const struct plugin_file *f = bs->files; f != NULL; f = f->next) {
        *ret_serving += f->serving != NULL;
        *ret_refused += f->refused;
    }
}

bool builds_is_settled(const struct builds *bs)
{
    if (bs->admitting > 0)
        return false;
    for (const struct plugin_file *f = bs->files; f != NULL; f = f->next)
        if (f->look_again || f->candidate != NULL)
            return false;
    return true;
}

static void settle(struct builds *bs)
{
    if (!bs->draining && builds_is_settled(bs))
        bs->cb.on_settled(bs->arg);
}

/* ---- refusing ------------------------------------------------------------------------------ */

static void tell_refusal(struct builds *bs, const struct plugin_file *f)
{
    struct conn *c = session_conn(bs->session);
    if (c != NULL)
        conn_send(c, REFUSAL, 0, .file = view_of(f->name), .build = hash_view(f->refused_hash),
                  .error = aiki_writer_view(&f->refusal));
}

static void refuse_with(struct builds *bs, struct plugin_file *f, const uint8_t *hash,
                        aiki_view error)
{
    aiki_error e = {.struct_size = sizeof(e)};
    if (error_read(error, &e, NULL, NULL) != AIKI_OK)
        (void)error_set(&e, AIKI_CORRUPT, "refused for a reason that does not decode");
    log_error("intake", "plugin %s refused: %s: %s%s", f->name, e.code, e.message,
              f->serving != NULL ? "; the build before it keeps serving" : "");
    buf_clear(&f->refusal, 0);
    error_write(&f->refusal, &e);
    memcpy(f->refused_hash, hash, BUILD_BYTES);
    f->refused = true;
    tell_refusal(bs, f);
}

static void refuse(struct builds *bs, struct plugin_file *f, const uint8_t *hash,
                   const aiki_error *err)
{
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    error_write(&w, err);
    refuse_with(bs, f, hash, aiki_writer_view(&w));
}

static void forget_refusal(struct plugin_file *f)
{
    f->refused = f->conflicted = false;
    buf_clear(&f->refusal, 0);
}

/* ---- a build's end ------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *h)
{
    struct build *b = container_of((uv_timer_t *)h, struct build, timer);
    if (unlink(b->copy) != 0)
        log_warn("intake", "cannot remove the copy %s", b->copy);
    buf_deinit(&b->descriptor);
    free(b->routes);
    free(b->copy);
    free(b);
}

static void unregister(struct builds *bs, struct build *b)
{
    struct conn *c = session_conn(bs->session);
    if (c != NULL && b->registered)
        conn_send(c, UNREGISTER, 0, .build = hash_view(b->hash));
    b->registered = false;
}

static void drained_check(struct builds *bs)
{
    if (!bs->draining || bs->drained || bs->all != NULL || bs->admitting > 0)
        return;
    bs->drained = true;
    bs->cb.on_drained(bs->arg);
}

/* Out of every list; memory goes when the timer is closed. */
static void bury(struct build *b)
{
    struct builds *bs = b->owner;
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
    if (bs->draining)
        unregister(bs, b);
    uv_close((uv_handle_t *)&b->timer, on_timer_closed);
    drained_check(bs);
}

static void on_drain_limit(uv_timer_t *t)
{
    struct build *b = container_of(t, struct build, timer);
    log_warn("child", "%s does not end; killed", b->label);
    build_kill(b);
}

/* Nothing new for it; what is resident finishes, or is given back after drain_ms. */
static void drain(struct build *b)
{
    uint64_t grace_ms = b->owner->options.drain_ms;
    if (b->state == DRAINING)
        return;
    b->state = DRAINING;
    struct conn *c = build_conn(b);
    if (c != NULL) { /* 0 would be: without limit */
        conn_send(c, DRAIN, 0, .grace_ms = grace_ms > 0 ? grace_ms : 1);
        uv_timer_start(&b->timer, on_drain_limit, grace_ms + BUILD_END_MS, 0);
    } else if (b->proc != NULL) {
        proc_kill(b->proc); /* not loaded yet, or dying */
    } else {
        bury(b);
    }
}

static void drop_candidate(struct plugin_file *f)
{
    struct build *b = f->candidate;
    if (b == NULL)
        return;
    f->candidate = NULL;
    b->file = NULL;
    unregister(b->owner, b);
    drain(b);
}

/* ---- registration -------------------------------------------------------------------------- */

/* Files refused because of a conflict may fit now that something else went. */
static void reconsider_conflicts(struct builds *bs)
{
    for (struct plugin_file *f = bs->files; f != NULL; f = f->next)
        if (f->conflicted)
            watch_again(bs->watch, f->name);
}

static void promote(struct build *b)
{
    struct builds *bs = b->owner;
    struct build *before = b->file->serving;
    b->state = SERVING;
    b->file->serving = b;
    b->file->candidate = NULL;
    forget_refusal(b->file);
    log_info("intake", "plugin %s serves %zu workflow%s", b->label, b->route_count,
             b->route_count == 1 ? "" : "s");
    if (before != NULL) {
        unregister(bs, before);
        before->file = NULL;
        drain(before);
        reconsider_conflicts(bs);
    }
    bs->cb.on_routes(bs->arg);
    settle(bs);
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
        return;
    }
    aiki_view error = {NULL, 0};
    if (answer->type == WIRE_FAULT && msg_FAULT_read(answer->payload, &fault, &err) == AIKI_OK)
        error = fault.error;
    if (b->state == REGISTERING) {
        refuse_with(bs, b->file, b->hash, error);
        drop_candidate(b->file);
        settle(bs);
    } else if (b->state == SERVING) {
        b->rejected = true;
        refuse_with(bs, b->file, b->hash, error);
        bs->cb.on_routes(bs->arg);
    }
}

static void send_registration(struct build *b)
{
    struct conn *c = session_conn(b->owner->session);
    if (c == NULL || b->correlation != 0)
        return;
    b->registration.on_answer = on_registered;
    b->correlation = session_expect(b->owner->session, &b->registration);
    if (b->correlation == 0)
        return; /* SESSION_REQUESTS_MAX: the next session gets it */
    b->registered = true; /* from here on it takes an UNREGISTER */
    b->rejected = false;
    conn_send(c, REGISTER, b->correlation, .build = hash_view(b->hash),
              .file = view_of(b->file->name), .descriptor = aiki_writer_view(&b->descriptor));
}

void builds_session_up(struct builds *bs)
{
    if (bs->draining)
        return; /* nothing new is wanted */
    for (struct plugin_file *f = bs->files; f != NULL; f = f->next) {
        if (f->serving != NULL)
            send_registration(f->serving);
        if (f->candidate != NULL && f->candidate->state == REGISTERING)
            send_registration(f->candidate);
        if (f->refused)
            tell_refusal(bs, f);
    }
    bs->cb.on_routes(bs->arg);
}

/* ---- a process's news ---------------------------------------------------------------------- */

static aiki_status take_descriptor(struct build *b, aiki_view bytes, aiki_error *err)
{
    struct descriptor d;
    struct descriptor_workflow w;
    aiki_reader r;
    buf_clear(&b->descriptor, 0);
    aiki_mp_raw(&b->descriptor, bytes.data, bytes.size_bytes);
    aiki_status st = b->descriptor.status;
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
        b->routes[b->route_count++] = (struct route){w.name, w.version};
    return AIKI_OK;
}

static bool offers(const struct build *b, const struct route *wanted)
{
    for (size_t i = 0; i < b->route_count; i++)
        if (view_equal(b->routes[i].workflow, wanted->workflow) &&
            view_equal(b->routes[i].version, wanted->version))
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
            if (offers(o, &b->routes[i]))
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

static void refuse_candidate(struct build *b, const aiki_error *err)
{
    struct plugin_file *f = b->file;
    if (f != NULL) {
        refuse(b->owner, f, b->hash, err);
        f->conflicted = err->status == AIKI_CONFLICT;
        drop_candidate(f);
    }
    settle(b->owner);
}

static void on_proc_ready(struct proc *p, aiki_view descriptor, void *arg)
{
    struct build *b = arg;
    aiki_error err = {.struct_size = sizeof(err)};
    (void)p;
    b->ready = true;
    if (b->state != LOADING) { /* a replacement: same bytes, same descriptor */
        b->owner->cb.on_routes(b->owner->arg);
        return;
    }
    aiki_status st = take_descriptor(b, descriptor, &err);
    if (st == AIKI_OK)
        st = check_conflicts(b, &err);
    if (st != AIKI_OK) {
        refuse_candidate(b, &err);
        return;
    }
    b->state = REGISTERING;
    send_registration(b);
}

static void on_proc_refused(struct proc *p, aiki_view error, void *arg)
{
    struct build *b = arg;
    struct plugin_file *f = b->file;
    (void)p;
    if (b->state != LOADING || f == NULL)
        return; /* a replacement that does not load counts as a crash */
    refuse_with(b->owner, f, b->hash, error);
    b->state = DRAINING;
    b->file = NULL;
    f->candidate = NULL;
    settle(b->owner);
}

static void on_proc_frame(struct proc *p, const struct frame *f, void *arg)
{
    struct build *b = arg;
    (void)p;
    b->owner->cb.on_frame(b, f, b->owner->arg);
}

static void on_restart(uv_timer_t *t)
{
    struct build *b = container_of(t, struct build, timer);
    if (b->state != DRAINING && b->proc == NULL)
        start_process(b);
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

static void replace_process(struct build *b, const struct proc_end *end, const char *text)
{
    b->crashes = end->was_ready && end->lived_ms >= BUILD_QUICK_CRASH_MS ? 1 : b->crashes + 1;
    uint64_t delay_ms = restart_delay_ms(b);
    log_error("child", "%s %s; its runs are given back; crash %u, replaced in %" PRIu64 " ms",
              b->label, text, b->crashes, delay_ms);
    b->owner->cb.on_routes(b->owner->arg);
    if (delay_ms == 0)
        start_process(b);
    else
        uv_timer_start(&b->timer, on_restart, delay_ms, 0);
}

static void on_proc_gone(struct proc *p, const struct proc_end *end, void *arg)
{
    struct build *b = arg;
    struct builds *bs = b->owner;
    char text[128];
    aiki_error err = {.struct_size = sizeof(err)};
    (void)p;
    b->proc = NULL;
    b->ready = false;
    proc_end_text(end, text, sizeof(text));
    bs->cb.on_lost(b, bs->arg);
    switch (b->state) {
    case LOADING:
        if (!end->timed_out && ++b->load_tries < BUILD_LOAD_TRIES) {
            start_process(b); /* it may have been killed from outside */
            break;
        }
        (void)proc_load_failure(end, &err);
        refuse_candidate(b, &err); /* with no process left this buries it */
        break;
    case REGISTERING:
    case SERVING: replace_process(b, end, text); break;
    case DRAINING:
        if (!end->was_ready)
            log_debug("child", "%s %s after it was refused", b->label, text);
        else if (end->signal != 0 || end->exit_code != 0)
            log_warn("child", "%s %s while it drained", b->label, text);
        else
            log_info("child", "%s has ended", b->label);
        bury(b);
        break;
    }
}

static const struct proc_callbacks proc_callbacks = {.on_ready = on_proc_ready,
                                                     .on_refused = on_proc_refused,
                                                     .on_frame = on_proc_frame,
                                                     .on_gone = on_proc_gone};

static void start_process(struct build *b)
{
    struct builds *bs = b->owner;
    aiki_error err = {.struct_size = sizeof(err)};
    const struct proc_options options = {
        .executable = bs->options.executable, .label = b->label, .path = b->copy,
        .file = b->file->name, .build = hash_view(b->hash),
        .task_threads = bs->options.task_threads};
    if (proc_spawn(&b->proc, bs->loop, bs->conns, &options, &proc_callbacks, b, &err) == AIKI_OK) {
        log_debug("child", "%s: process %d", b->label, proc_pid(b->proc));
        return;
    }
    if (b->state == LOADING) {
        refuse_candidate(b, &err);
        return;
    }
    b->crashes++;
    log_error("child", "%s; trying again", err.message);
    uv_timer_start(&b->timer, on_restart, BUILD_RESTART_MS_MAX, 0);
}

/* ---- files --------------------------------------------------------------------------------- */

static struct plugin_file *find_or_add_file(struct builds *bs, const char *name)
{
    struct plugin_file *f;
    for (f = bs->files; f != NULL; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    snprintf(f->name, sizeof(f->name), "%s", name);
    buf_init(&f->refusal);
    f->next = bs->files;
    bs->files = f;
    return f;
}

static void start_build(struct builds *bs, struct plugin_file *f, const struct admission *a)
{
    char hex[BUILD_HEX_SIZE];
    struct build *b = calloc(1, sizeof(*b));
    if (b == NULL || (b->copy = strdup(a->copy)) == NULL) {
        log_error("intake", "plugin %s: out of memory", f->name);
        free(b);
        (void)unlink(a->copy);
        return;
    }
    drop_candidate(f);
    b->owner = bs;
    b->file = f;
    memcpy(b->hash, a->build, sizeof(b->hash));
    build_hex(b->hash, hex);
    snprintf(b->label, sizeof(b->label), "%.96s@%.8s", f->name, hex);
    buf_init(&b->descriptor);
    uv_timer_init(bs->loop, &b->timer);
    b->next = bs->all;
    bs->all = b;
    f->candidate = b;
    start_process(b);
}

static bool has_hash(const struct build *b, const uint8_t *hash)
{
    return b != NULL && memcmp(b->hash, hash, BUILD_BYTES) == 0;
}

/* Nothing is known about the file any more. */
static void forget_file(struct builds *bs, struct plugin_file *gone)
{
    for (struct plugin_file **at = &bs->files; *at != NULL; at = &(*at)->next) {
        if (*at == gone) {
            *at = gone->next;
            buf_deinit(&gone->refusal);
            free(gone);
            return;
        }
    }
}

static void admitted(struct builds *bs, struct plugin_file *f, const struct admit_job *job)
{
    if (job->status == AIKI_STALE) {
        watch_again(bs->watch, f->name);
    } else if (job->status != AIKI_OK) {
        drop_candidate(f);
        refuse(bs, f, job->result.build, &job->err);
    } else if (has_hash(f->candidate, job->result.build)) {
        (void)unlink(job->result.copy);
    } else if (has_hash(f->serving, job->result.build)) {
        (void)unlink(job->result.copy);
        drop_candidate(f); /* the file went back to what serves */
        if (f->refused) {
            forget_refusal(f);
            send_registration(f->serving); /* shows the server that the refusal is over */
        }
    } else {
        start_build(bs, f, &job->result);
    }
}

static void admit_on_pool(uv_work_t *work)
{
    struct admit_job *job = container_of(work, struct admit_job, work);
    job->status = admit_file(job->path, job->draft, &job->result, &job->err);
}

static void on_admit_done(uv_work_t *work, int status)
{
    AUTO(free) struct admit_job *job = container_of(work, struct admit_job, work);
    struct builds *bs = job->owner;
    struct plugin_file *f = job->file;
    (void)status; /* never cancelled */
    bs->admitting--;
    f->admitting = false;
    if ((bs->draining || f->look_again || f->removed) && job->status == AIKI_OK)
        (void)unlink(job->result.copy);
    if (bs->draining) {
        drained_check(bs);
        return;
    }
    if (f->removed)
        forget_file(bs, f);
    else if (f->look_again)
        look_at(bs, f);
    else
        admitted(bs, f, job);
    settle(bs);
}

static void look_at(struct builds *bs, struct plugin_file *f)
{
    f->look_again = f->admitting;
    if (f->admitting)
        return;
    struct admit_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        log_error("intake", "plugin %s: out of memory", f->name);
        return;
    }
    job->owner = bs;
    job->file = f;
    job->err.struct_size = sizeof(job->err);
    cache_draft_path(bs->cache, job->draft);
    int n = snprintf(job->path, sizeof(job->path), "%s/%s", bs->options.plugins_dir, f->name);
    if (n >= (int)sizeof(job->path) ||
        uv_queue_work(bs->loop, &job->work, admit_on_pool, on_admit_done) != 0) {
        log_error("intake", "plugin %s: its path is too long", f->name);
        free(job);
        return;
    }
    f->admitting = true;
    bs->admitting++;
}

static void on_changed(const char *name, void *arg)
{
    struct builds *bs = arg;
    struct plugin_file *f = bs->draining ? NULL : find_or_add_file(bs, name);
    if (f == NULL)
        return;
    f->removed = false;
    look_at(bs, f);
}

static void on_removed(const char *name, void *arg)
{
    struct builds *bs = arg;
    struct plugin_file *f = bs->draining ? NULL : find_or_add_file(bs, name);
    struct conn *c = session_conn(bs->session);
    if (f == NULL)
        return;
    drop_candidate(f);
    if (f->refused && c != NULL)
        conn_send(c, UNREGISTER, 0, .build = hash_view(f->refused_hash));
    forget_refusal(f);
    struct build *b = f->serving;
    if (b != NULL) {
        log_info("intake", "plugin %s removed; no new runs, resident ones finish", b->label);
        unregister(bs, b);
        f->serving = NULL;
        b->file = NULL;
        drain(b);
        bs->cb.on_routes(bs->arg);
        reconsider_conflicts(bs);
    }
    f->removed = true;
    if (!f->admitting)
        forget_file(bs, f);
    settle(bs);
}

/* ---- the whole ----------------------------------------------------------------------------- */

aiki_status builds_create(struct builds **ret, uv_loop_t *loop, struct conn_loop *conns,
                          struct session *session, const struct builds_options *options,
                          const struct builds_callbacks *cb, void *arg, aiki_error *err)
{
    static const struct watch_callbacks watch_callbacks = {.on_changed = on_changed,
                                                           .on_removed = on_removed};
    struct builds *bs = calloc(1, sizeof(*bs));
    if (bs == NULL)
        return error_set(err, AIKI_NOMEM, "builds");
    bs->loop = loop;
    bs->conns = conns;
    bs->session = session;
    bs->options = *options;
    bs->cb = *cb;
    bs->arg = arg;
    aiki_status st = cache_create(&bs->cache, options->state_dir, err);
    if (st == AIKI_OK)
        st = watch_create(&bs->watch, loop, options->plugins_dir, &watch_callbacks, bs, err);
    if (st != AIKI_OK) {
        cache_destroy(bs->cache);
        free(bs);
        return st;
    }
    *ret = bs;
    return AIKI_OK;
}

void builds_start(struct builds *bs)
{
    watch_start(bs->watch);
    settle(bs);
}

void builds_drain(struct builds *bs)
{
    bs->draining = true;
    for (struct build *b = bs->all, *next; b != NULL; b = next) {
        next = b->next;
        drain(b);
    }
    bs->cb.on_routes(bs->arg);
    drained_check(bs);
}

void builds_kill_all(struct builds *bs)
{
    for (struct build *b = bs->all; b != NULL; b = b->next)
        if (b->proc != NULL)
            proc_kill(b->proc);
}

static void on_watch_closed(void *arg)
{
    struct builds *bs = arg;
    while (bs->files != NULL)
        forget_file(bs, bs->files);
    cache_destroy(bs->cache);
    void (*on_closed)(void *arg) = bs->cb.on_closed;
    void *closed_arg = bs->arg;
    free(bs);
    on_closed(closed_arg);
}

void builds_close(struct builds *bs)
{
    assert(bs->draining && bs->all == NULL && bs->admitting == 0 && !bs->closing);
    bs->closing = true;
    watch_close(bs->watch, on_watch_closed, bs);
}

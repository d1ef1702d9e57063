/* builds.c - the files of the plugins directory and what became of each.
 *
 *   watch --changed--> admit, on a thread --copy--> candidate build --registered--> serving
 *     |                    +--refused--> kept, told to every session
 *     +--removed--> serving build drains
 *
 * A file has at most one SERVING build and one candidate on its way; changed again: the newest
 * candidate wins.
 */
#include "broker/builds_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "wire/error.h"
#include "wire/message.h"

struct admit_job {
    struct crew_job work;
    struct builds *owner;
    struct plugin_file *file;
    char *keys_dir, *sandbox; /* owned: settings may change meanwhile */
    struct admit_options options;
    unsigned policy;
    char path[CACHE_PATH_SIZE], draft[CACHE_PATH_SIZE];
    uint8_t known[KNOWN_BUILDS_MAX][BUILD_BYTES]; /* zero: none */
    struct admission result;
    aiki_status status;
    aiki_error err;
};

static void look_at(struct builds *bs, struct plugin_file *f);

/* ---- small queries ------------------------------------------------------------------------- */

void builds_each_route(struct builds *bs,
                       void (*fn)(void *arg, struct build *b, aiki_view workflow,
                                  aiki_view version),
                       void *arg)
{
    for (struct build *b = bs->all; b != NULL; b = b->next)
        for (size_t i = 0; i < b->route_count; i++)
            if (b->state == KEPT ? kept_serves(b, &b->routes[i])
                                 : build_assignable(b) != NULL || demand_claims(b))
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

void builds_settle(struct builds *bs)
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

static bool is_same_error(const struct plugin_file *f, const aiki_error *e)
{
    aiki_error before = AIKI_ERROR_INIT;
    return error_read(aiki_writer_view(&f->refusal), &before, NULL, NULL) == AIKI_OK &&
           strcmp(before.code, e->code) == 0 && strcmp(before.message, e->message) == 0;
}

/* As troubles.h names directories. */
static bool ends_in_slash(const char *name)
{
    return name[0] != '\0' && name[strlen(name) - 1] == '/';
}

void file_refuse_with(struct builds *bs, struct plugin_file *f, const uint8_t *hash,
                      aiki_view error)
{
    aiki_error e = {.struct_size = sizeof(e)};
    bool decodes = error_read(error, &e, NULL, NULL) == AIKI_OK;
    if (!decodes)
        (void)error_set(&e, AIKI_CORRUPT, "refused for a reason that does not decode");
    if (f->refused && memcmp(f->refused_hash, hash, BUILD_BYTES) == 0 &&
        is_same_error(f, &e))
        return; /* looked at again, with the same result */
    stats_refused(&bs->stats, e.code);
    log_error("intake", "plugin %s%s refused: %s: %s%s", f->name, ends_in_slash(f->name) ? " (a directory)" : "", e.code,
              e.message, f->serving != NULL ? "; the build before it keeps serving" : "");
    buf_clear(&f->refusal, 0);
    if (decodes)
        aiki_mp_raw(&f->refusal, error.data, error.size_bytes); /* with its details */
    else
        error_write(&f->refusal, &e);
    memcpy(f->refused_hash, hash, BUILD_BYTES);
    f->refused = true;
    tell_refusal(bs, f);
}

void file_refuse(struct builds *bs, struct plugin_file *f, const uint8_t *hash,
                 const aiki_error *err)
{
    AUTO(buf) aiki_writer w;
    buf_init(&w);
    error_write(&w, err);
    file_refuse_with(bs, f, hash, aiki_writer_view(&w));
}

void file_forget_refusal(struct plugin_file *f)
{
    f->refused = f->conflicted = false;
    buf_clear(&f->refusal, 0);
}

void builds_check_drained(struct builds *bs)
{
    if (!bs->draining || bs->drained || bs->all != NULL || bs->admitting > 0 || bs->adopting > 0)
        return;
    bs->drained = true;
    bs->cb.on_drained(bs->arg);
}

/* Files refused because of a conflict may fit now that something else went. */
void builds_reconsider(struct builds *bs)
{
    for (struct plugin_file *f = bs->files; f != NULL; f = f->next)
        if (f->conflicted)
            watch_again(bs->watch, f->name);
}

void builds_session_up(struct builds *bs)
{
    quarantine_forget_all(bs);
    if (bs->draining)
        return; /* nothing new is wanted */
    for (struct build *b = bs->all; b != NULL; b = b->next)
        b->wear.told_mono_ms = 0;
    for (struct plugin_file *f = bs->files; f != NULL; f = f->next) {
        if (f->serving != NULL)
            build_register(f->serving);
        if (f->refused) /* what serves is older, and a candidate newer: its registration ends the refusal */
            tell_refusal(bs, f);
        if (f->candidate != NULL && f->candidate->state == GATING && f->candidate->gate == NULL)
            build_gate(f->candidate);
        else if (f->candidate != NULL && f->candidate->state == REGISTERING)
            build_register(f->candidate);
    }
    kept_session_up(bs);
    adopt_rest(bs);
    bs->cb.on_routes(bs->arg);
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

static bool has_hash(const struct build *b, const uint8_t *hash)
{
    return b != NULL && memcmp(b->hash, hash, BUILD_BYTES) == 0;
}

/* Nobody removed it: there is no need for another one. */
static bool has_copy(const struct build *b)
{
    return b != NULL && access(b->copy, F_OK) == 0;
}

/* The same bytes were read once more, because its copy was removed. */
static void take_copy(struct build *b, const struct admit_job *job)
{
    if (job->result.known)
        return;
    if (rename(job->result.copy, b->copy) == 0)
        log_warn("intake", "the copy of plugin %s was removed, and is there again", b->label);
    else
        (void)unlink(job->result.copy);
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

/* Owners, keys, room for the copy: the file itself need not change. */
static bool may_be_mended_elsewhere(aiki_status st)
{
    return st == AIKI_DENIED || st == AIKI_UNAVAILABLE;
}

static void admitted(struct builds *bs, struct plugin_file *f, struct admit_job *job)
{
    if (job->status == AIKI_STALE && ++f->unstable < ADMIT_TRIES_MAX) {
        watch_again(bs->watch, f->name);
        return;
    }
    f->unstable = 0;
    if (job->status == AIKI_STALE) {
        aiki_error err = AIKI_ERROR_INIT;
        (void)admit_unstable(&err);
        file_drop_candidate(f);
        file_refuse(bs, f, job->result.build, &err);
    } else if (job->status != AIKI_OK) {
        file_drop_candidate(f);
        file_refuse(bs, f, job->result.build, &job->err);
        if (may_be_mended_elsewhere(job->status))
            watch_doubt(bs->watch, f->name);
    } else if (has_hash(f->candidate, job->result.build)) {
        take_copy(f->candidate, job); /* on its way */
    } else if (has_hash(f->serving, job->result.build)) {
        take_copy(f->serving, job);
        file_drop_candidate(f); /* the file went back to what serves */
        if (f->refused) {
            file_forget_refusal(f);
            build_register(f->serving); /* shows the server that the refusal is over */
        }
    } else if (job->result.known) {
        watch_again(bs->watch, f->name); /* it went while the file was read */
    } else {
        build_start(bs, f, &job->result);
    }
}

static void admit_on_thread(struct crew_job *work)
{
    struct admit_job *job = container_of(work, struct admit_job, work);
    job->status = admit_file(job->path, job->draft, &job->options, &job->result, &job->err);
    if (job->status == AIKI_OK && !job->result.known)
        admit_lines(&job->options, &job->result);
}

static void cleanup_admit_job(struct admit_job **job)
{
    if (*job == NULL)
        return;
    admission_deinit(&(*job)->result);
    free((*job)->keys_dir);
    free((*job)->sandbox);
    free(*job);
}

static void on_admit_done(struct crew_job *work)
{
    AUTO(admit_job) struct admit_job *job = container_of(work, struct admit_job, work);
    struct builds *bs = job->owner;
    struct plugin_file *f = job->file;
    bs->admitting--;
    f->admitting = false;
    bs->stats.probes += job->result.probed;
    f->look_again |= job->policy != bs->policy;
    if ((bs->draining || f->look_again || f->removed) && job->status == AIKI_OK && !job->result.known)
        (void)unlink(job->result.copy);
    if (bs->draining) {
        builds_check_drained(bs);
        return;
    }
    if (f->removed)
        forget_file(bs, f);
    else if (f->look_again)
        look_at(bs, f);
    else
        admitted(bs, f, job);
    adopt_rest(bs);
    builds_settle(bs);
}

/* NULL: out of memory. */
static struct admit_job *create_job(struct builds *bs, struct plugin_file *f)
{
    const struct admit_options *o = &bs->options.admit;
    AUTO(admit_job) struct admit_job *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return NULL;
    admission_init(&job->result);
    job->keys_dir = strdup(o->keys_dir != NULL ? o->keys_dir : "");
    job->sandbox = strdup(o->sandbox != NULL ? o->sandbox : "");
    if (job->keys_dir == NULL || job->sandbox == NULL)
        return NULL;
    if (has_copy(f->serving))
        memcpy(job->known[0], f->serving->hash, BUILD_BYTES);
    if (has_copy(f->candidate))
        memcpy(job->known[1], f->candidate->hash, BUILD_BYTES);
    job->options = *o;
    job->options.keys_dir = job->keys_dir;
    job->options.sandbox = job->sandbox;
    job->options.keep = bs->keep;
    job->options.limits = limits_for(&bs->options.child_limits, f->name);
    job->options.kept_first = f->serving == NULL && f->candidate == NULL; /* it may have served before this process */
    for (unsigned i = 0; i < KNOWN_BUILDS_MAX; i++)
        job->options.known[i] = job->known[i];
    job->owner = bs;
    job->file = f;
    job->policy = bs->policy;
    job->err.struct_size = sizeof(job->err);
    struct admit_job *made = job;
    job = NULL;
    return made;
}

static void look_at(struct builds *bs, struct plugin_file *f)
{
    f->look_again = f->admitting;
    if (f->admitting)
        return;
    AUTO(admit_job) struct admit_job *job = create_job(bs, f);
    if (job == NULL) {
        log_error("intake", "plugin %s: out of memory", f->name);
        return;
    }
    cache_draft_path(bs->cache, job->draft);
    int n = snprintf(job->path, sizeof(job->path), "%s/%s", bs->options.plugins_dir, f->name);
    if (n >= (int)sizeof(job->path)) {
        log_error("intake", "plugin %s: its path is too long", f->name);
        return;
    }
    job->options.name = job->path + strlen(bs->options.plugins_dir) + 1;
    f->admitting = true;
    bs->admitting++;
    crew_run(&bs->crew, &job->work, admit_on_thread, on_admit_done);
    job = NULL; /* on_admit_done's */
}

static void on_changed(const char *name, void *arg)
{
    struct builds *bs = arg;
    struct plugin_file *f = bs->draining ? NULL : find_or_add_file(bs, name);
    if (f == NULL)
        return;
    f->removed = f->trouble = false;
    look_at(bs, f);
}

static void take_back_refusal(struct builds *bs, struct plugin_file *f)
{
    struct conn *c = session_conn(bs->session);
    if (f->refused && c != NULL) /* without an error it takes the refusal back */
        conn_send(c, REFUSAL, 0, .file = view_of(f->name), .build = hash_view(f->refused_hash));
    file_forget_refusal(f);
}

static void on_removed(const char *name, void *arg)
{
    struct builds *bs = arg;
    struct plugin_file *f = bs->draining ? NULL : find_or_add_file(bs, name);
    if (f == NULL)
        return;
    file_drop_candidate(f);
    take_back_refusal(bs, f);
    struct build *b = f->serving;
    if (b != NULL) {
        log_info("intake", "plugin %s removed; no new runs, resident ones finish", b->label);
        build_unregister(b);
        f->serving = NULL;
        b->file = NULL;
        kept_add(b);
        solo_drain(bs, b->hash);
        build_drain(b);
        bs->cb.on_routes(bs->arg);
        builds_reconsider(bs);
    }
    f->removed = true;
    if (!f->admitting)
        forget_file(bs, f);
    builds_settle(bs);
}

static void on_trouble(const char *what, const aiki_error *err, void *arg)
{
    static const uint8_t unread[BUILD_BYTES];
    struct builds *bs = arg;
    struct plugin_file *f = bs->draining ? NULL : find_or_add_file(bs, what);
    if (f == NULL)
        return;
    bool is_file = f->serving != NULL || f->candidate != NULL || f->admitting || (f->refused && !f->trouble);
    if (is_file) /* that is looked at, by the name that another one is shown by */
        return;
    if (err != NULL) {
        f->trouble = true;
        file_refuse(bs, f, unread, err);
    } else {
        log_info("intake", "%s: what was said of it is mended", f->name);
        take_back_refusal(bs, f);
        forget_file(bs, f);
    }
}

/* ---- the whole ----------------------------------------------------------------------------- */

static void on_stillborn(uv_handle_t *h)
{
    free(container_of((uv_timer_t *)h, struct builds, look));
}

static void on_crew_stillborn(void *arg)
{
    struct builds *bs = arg;
    uv_close((uv_handle_t *)&bs->look, on_stillborn);
}

aiki_status builds_create(struct builds **ret, uv_loop_t *loop, struct conn_loop *conns,
                          struct session *session, const struct builds_options *options,
                          const struct builds_callbacks *cb, void *arg, aiki_error *err)
{
    static const struct watch_callbacks watch_callbacks = {.on_changed = on_changed,
                                                           .on_removed = on_removed,
                                                           .on_trouble = on_trouble};
    struct builds *bs = calloc(1, sizeof(*bs));
    if (bs == NULL)
        return error_set(err, AIKI_NOMEM, "builds");
    bs->loop = loop;
    bs->conns = conns;
    bs->session = session;
    bs->options = *options;
    oom_init(&bs->oom, options->oom_events);
    bs->cb = *cb;
    bs->arg = arg;
    int rc = crew_init(&bs->crew, loop);
    if (rc != 0) {
        free(bs);
        return error_set(err, AIKI_NOMEM, "builds: %s", uv_strerror(rc));
    }
    uv_timer_init(loop, &bs->look);
    aiki_status st = cache_create(&bs->cache, options->state_dir, err);
    if (st == AIKI_OK)
        st = keep_create(&bs->keep, options->state_dir, options->plugins_dir, options->space, err);
    if (st == AIKI_OK)
        st = watch_create(&bs->watch, loop, options->plugins_dir, &watch_callbacks, bs, err);
    if (st == AIKI_OK)
        watch_ignore(bs->watch, options->ignore);
    if (st != AIKI_OK) {
        keep_destroy(bs->keep);
        cache_destroy(bs->cache);
        crew_close(&bs->crew, on_crew_stillborn, bs);
        return st;
    }
    *ret = bs;
    return AIKI_OK;
}

void builds_start(struct builds *bs)
{
    watch_start(bs->watch);
    builds_settle(bs);
}

void builds_set_drain_ms(struct builds *bs, uint64_t drain_ms)
{
    bs->options.drain_ms = drain_ms;
}

void builds_drain(struct builds *bs)
{
    bs->draining = true;
    for (struct build *b = bs->all, *next; b != NULL; b = next) {
        next = b->next;
        build_drain(b);
    }
    bs->cb.on_routes(bs->arg);
    builds_check_drained(bs);
}

void builds_kill_all(struct builds *bs)
{
    for (struct build *b = bs->all; b != NULL; b = b->next)
        if (b->proc != NULL) {
            b->ended = true;
            proc_kill(b->proc);
        }
}

static void on_look_closed(uv_handle_t *h)
{
    struct builds *bs = container_of((uv_timer_t *)h, struct builds, look);
    while (bs->files != NULL)
        forget_file(bs, bs->files);
    keep_destroy(bs->keep);
    cache_destroy(bs->cache);
    void (*on_closed)(void *arg) = bs->cb.on_closed;
    void *closed_arg = bs->arg;
    free(bs);
    on_closed(closed_arg);
}

static void on_crew_closed(void *arg)
{
    struct builds *bs = arg;
    uv_close((uv_handle_t *)&bs->look, on_look_closed);
}

static void on_watch_closed(void *arg)
{
    struct builds *bs = arg;
    quarantine_forget_all(bs); /* memory; no process is left to be told */
    policy_forget_all(bs);
    crew_close(&bs->crew, on_crew_closed, bs);
}

void builds_close(struct builds *bs)
{
    assert(bs->draining && bs->all == NULL && bs->admitting == 0 && bs->adopting == 0 && !bs->closing);
    bs->closing = true;
    watch_close(bs->watch, on_watch_closed, bs);
}

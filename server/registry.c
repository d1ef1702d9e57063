/* registry.c - flows by name and version, and the sessions that serve them. */
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "wire/error.h"
#include "wire/version.h"

enum { FAMILY_BUCKETS = 4096, KNOWN_TEXT_SIZE = 160 };

static void set_text(char to[NAME_BYTES_MAX + 1], aiki_view from)
{
    size_t n = from.size_bytes > NAME_BYTES_MAX ? NAME_BYTES_MAX : (size_t)from.size_bytes;
    if (n > 0)
        memcpy(to, from.data, n);
    to[n] = '\0';
}

static uint8_t *copy(aiki_view v)
{
    uint8_t *p = memory_need((size_t)v.size_bytes + 1);
    if (v.size_bytes > 0)
        memcpy(p, v.data, (size_t)v.size_bytes);
    return p;
}

void registry_init(struct registry *r, const char *space)
{
    memset(r, 0, sizeof(*r));
    r->space = space;
    r->bucket_count = FAMILY_BUCKETS;
    r->buckets = memory_need(r->bucket_count * sizeof(*r->buckets));
    chain_init(&r->sessions);
}

static void forget_description(struct description *d)
{
    schema_destroy(d->input_schema);
    free(d->descriptor);
}

static void flow_destroy(struct flow *f)
{
    forget_description(&f->said);
    free(f->builds);
    free(f->serving);
    free(f);
}

void registry_deinit(struct registry *r)
{
    if (r->buckets == NULL)
        return;
    while (!chain_is_empty(&r->sessions))
        session_destroy(r, container_of(r->sessions.next, struct session, all));
    for (size_t i = 0; i < r->bucket_count; i++)
        for (struct family *f = r->buckets[i], *next; f != NULL; f = next) {
            next = f->next;
            free(f);
        }
    for (size_t i = 0; i < r->flow_count; i++)
        flow_destroy(r->flows[i]);
    free(r->flows);
    free(r->buckets);
    memset(r, 0, sizeof(*r));
}

/* ---- flows ----------------------------------------------------------------------------------- */

struct family *registry_family(const struct registry *r, aiki_view name)
{
    struct family *f = r->buckets[view_hash(0, name) % r->bucket_count];
    while (f != NULL && !view_is(name, f->name))
        f = f->next;
    return f;
}

static struct flow *version_in(const struct family *family, aiki_view version)
{
    struct flow *f = family != NULL ? family->versions : NULL;
    while (f != NULL && !view_is(version, f->version))
        f = f->next_version;
    return f;
}

struct flow *registry_find(const struct registry *r, aiki_view name, aiki_view version)
{
    return version_in(registry_family(r, name), version);
}

static struct family *add_family(struct registry *r, aiki_view name)
{
    struct family *f = memory_need(sizeof(*f));
    struct family **bucket = &r->buckets[view_hash(0, name) % r->bucket_count];
    set_text(f->name, name);
    f->next = *bucket;
    *bucket = f;
    return f;
}

aiki_status registry_intern(struct registry *r, aiki_view name, aiki_view version,
                            struct flow **ret, aiki_error *err)
{
    char key[STREAM_KEY_SIZE];
    struct family *family = registry_family(r, name);
    struct flow *f = version_in(family, version);
    if (f != NULL) {
        *ret = f;
        return AIKI_OK;
    }
    if (r->flow_count >= FLOWS_MAX)
        return error_set(err, AIKI_LIMIT, "FLOWS_MAX: %d workflow versions are known already",
                         FLOWS_MAX);
    if (stream_key(key, r->space, name, version) != AIKI_OK)
        return error_code(err, AIKI_INVALID, "BAD_NAME",
                          "workflow and version names are 1 to %d characters of a-z A-Z 0-9 . _ -",
                          NAME_BYTES_MAX);

    f = memory_need(sizeof(*f));
    f->family = family != NULL ? family : add_family(r, name);
    f->next_version = f->family->versions;
    f->family->versions = f;
    set_text(f->name, name);
    set_text(f->version, version);
    memcpy(f->stream.key, key, sizeof(key));
    f->stream.key_size_bytes = (uint32_t)strlen(key);
    f->stream.index = (uint32_t)r->flow_count;
    r->flows = array_grow(r->flows, &r->flow_capacity, r->flow_count, sizeof(struct flow *));
    r->flows[r->flow_count++] = f;
    *ret = f;
    return AIKI_OK;
}

/* The highest version, among those that are served or among all. */
static struct flow *newest(const struct family *family, bool served_only)
{
    struct flow *best = NULL;
    for (struct flow *f = family->versions; f != NULL; f = f->next_version) {
        if (f->unrecorded || (served_only && f->serving_count == f->kept_count))
            continue; /* nobody, or only for the runs there are */
        if (best == NULL || version_compare(view_of(f->version), view_of(best->version)) > 0)
            best = f;
    }
    return best;
}

static void list_versions(const struct family *family, char text[KNOWN_TEXT_SIZE])
{
    size_t at = 0;
    text[0] = '\0';
    for (struct flow *f = family->versions; f != NULL && at < KNOWN_TEXT_SIZE; f = f->next_version)
        if (!f->unrecorded)
            at += (size_t)snprintf(text + at, KNOWN_TEXT_SIZE - at, "%s%s", at > 0 ? ", " : "",
                                   f->version);
}

static void list_names(const struct registry *r, char text[KNOWN_TEXT_SIZE])
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < r->flow_count && at < KNOWN_TEXT_SIZE; i++) {
        struct flow *f = r->flows[i];
        if (f == f->family->versions && newest(f->family, false) != NULL)
            at += (size_t)snprintf(text + at, KNOWN_TEXT_SIZE - at, "%s%s", at > 0 ? ", " : "",
                                   f->name);
    }
}

aiki_status registry_resolve(const struct registry *r, aiki_view name, aiki_view version,
                             struct flow **ret, aiki_error *err)
{
    char known[KNOWN_TEXT_SIZE];
    if (!name_is_valid(name))
        return error_code(err, AIKI_INVALID, "BAD_NAME",
                          "a workflow name is 1 to %d characters of a-z A-Z 0-9 . _ -",
                          NAME_BYTES_MAX);
    struct family *family = registry_family(r, name);
    struct flow *f = NULL;
    if (family != NULL)
        f = version.size_bytes > 0 ? version_in(family, version) : newest(family, true);
    if (f == NULL && family != NULL && version.size_bytes == 0)
        f = newest(family, false);
    if (f != NULL && !f->unrecorded) {
        *ret = f;
        return AIKI_OK;
    }
    if (family == NULL || newest(family, false) == NULL) {
        list_names(r, known);
        return error_code(err, AIKI_NOT_FOUND, "WORKFLOW_NOT_FOUND",
                          "no runtime has ever served workflow %.*s; known: %s",
                          (int)name.size_bytes, (const char *)name.data,
                          known[0] != '\0' ? known
                                           : "none, drop a plugin into a plugins directory");
    }
    list_versions(family, known);
    return error_code(err, AIKI_NOT_FOUND, "VERSION_NOT_FOUND",
                      "workflow %s has no version %.*s; known: %s", family->name,
                      (int)(version.size_bytes > 64 ? 64 : version.size_bytes),
                      (const char *)version.data, known);
}

bool flow_descriptor(const struct flow *f, struct descriptor_workflow *ret)
{
    aiki_reader r;
    aiki_reader_init(&r, (aiki_view){f->said.descriptor, f->said.descriptor_size_bytes});
    return f->said.descriptor != NULL && descriptor_next_workflow(&r, ret);
}

/* What the newest descriptor says about the workflow; what was said before is the caller's. */
static void describe(struct flow *f, aiki_view map, aiki_view plugin_name, aiki_view build)
{
    struct descriptor_workflow w;
    aiki_error err = {.struct_size = sizeof(err)};
    struct description *d = &f->said;
    *d = (struct description){.descriptor = copy(map),
                              .descriptor_size_bytes = map.size_bytes,
                              .has_build = build.size_bytes == HASH_BYTES,
                              .first_seen_at_ms = d->first_seen_at_ms};
    set_text(d->plugin_name, plugin_name);
    if (d->has_build)
        memcpy(d->build, build.data, HASH_BYTES);
    if (!flow_descriptor(f, &w))
        return;
    d->run_timeout_ms = w.run_timeout_ms;
    /* In the other modes the runtime looks: it passes, with an entry in the history or without. */
    if (w.input.size_bytes > 0 && w.schema_mode == AIKI_SCHEMA_STRICT &&
        schema_create(&d->input_schema, w.input, &err) != AIKI_OK)
        log_warn("registry", "%s@%s: input schema not usable, inputs are not checked: %s", f->name,
                 f->version, err.message);
}

aiki_status registry_restore(struct registry *r, const struct workflow_row *row, aiki_error *err)
{
    struct flow *f;
    aiki_status status = registry_intern(r, row->name, row->version, &f, err);
    if (status != AIKI_OK)
        return status;
    forget_description(&f->said);
    describe(f, row->descriptor, row->plugin, row->build);
    f->said.first_seen_at_ms = row->first_seen_at_ms;
    f->said.last_seen_at_ms = row->last_seen_at_ms;
    return AIKI_OK;
}

void flow_row(const struct registry *r, const struct flow *f, struct workflow_row *ret_row)
{
    *ret_row = (struct workflow_row){
        .space = view_of(r->space),
        .name = view_of(f->name),
        .version = view_of(f->version),
        .plugin = view_of(f->said.plugin_name),
        .build = {f->said.build, f->said.has_build ? HASH_BYTES : 0},
        .descriptor = {f->said.descriptor, f->said.descriptor_size_bytes},
        .first_seen_at_ms = f->said.first_seen_at_ms,
        .last_seen_at_ms = f->said.last_seen_at_ms,
    };
}

void flow_count(struct flow *f, uint32_t from_state, uint32_t to_state, int64_t now_ms)
{
    if (from_state == to_state)
        return;
    if (from_state != 0 && !run_state_is_terminal(from_state))
        f->counts[from_state]--;
    if (to_state == 0 || run_state_is_terminal(to_state))
        return;
    if (f->counts[to_state]++ == 0 && to_state == RUN_QUEUED)
        f->queued_since_ms = now_ms;
}

bool build_is_known(const uint8_t build[HASH_BYTES])
{
    static const uint8_t none[HASH_BYTES];
    return memcmp(build, none, HASH_BYTES) != 0;
}

/* Mostly one, two while a new build takes over: a list is enough. */
static struct build_count *find_build(const struct flow *f, const uint8_t build[HASH_BYTES])
{
    for (size_t i = 0; i < f->build_count; i++)
        if (memcmp(f->builds[i].build, build, HASH_BYTES) == 0)
            return &f->builds[i];
    return NULL;
}

void flow_count_build(struct flow *f, const uint8_t from[HASH_BYTES], const uint8_t to[HASH_BYTES])
{
    struct build_count *b = build_is_known(from) ? find_build(f, from) : NULL;
    if (b != NULL && --b->open == 0)
        *b = f->builds[--f->build_count];
    if (!build_is_known(to))
        return;
    b = find_build(f, to);
    if (b == NULL) {
        f->builds = array_grow(f->builds, &f->build_capacity, f->build_count, sizeof(*f->builds));
        b = &f->builds[f->build_count++];
        memcpy(b->build, to, HASH_BYTES);
        b->open = 0;
    }
    b->open++;
}

uint64_t flow_build_open(const struct flow *f, const uint8_t build[HASH_BYTES])
{
    const struct build_count *b = find_build(f, build);
    return b != NULL ? b->open : 0;
}

uint32_t flow_display_state(const struct flow *f, uint32_t state)
{
    return state == RUN_QUEUED && f->serving_count == 0 ? RUN_STALLED : state;
}

/* ---- sessions -------------------------------------------------------------------------------- */

struct session *session_create(struct registry *r, peer_id peer, const struct session_open *info,
                               int64_t now_ms)
{
    struct session *s = memory_need(sizeof(*s));
    s->no = ++r->session_no_max;
    s->peer = peer;
    s->info = *info;
    s->connected_at_ms = s->beat_at_ms = now_ms;
    chain_init(&s->owned);
    chain_init(&s->plugins);
    chain_append(&r->sessions, &s->all);
    return s;
}

static void plugin_destroy(struct plugin *p)
{
    for (size_t i = 0; i < p->flow_count; i++) {
        struct flow *f = p->flows[i];
        for (size_t k = 0; k < f->serving_count; k++)
            if (f->serving[k] == p) {
                f->serving[k--] = f->serving[--f->serving_count];
                f->kept_count -= p->role != 0;
            }
    }
    p->session->plugin_count--;
    chain_remove(&p->of_session);
    free(p->flows);
    free(p->file);
    free(p->descriptor);
    free(p->error);
    free(p->gate);
    free(p);
}

void session_destroy(struct registry *r, struct session *s)
{
    (void)r;
    while (!chain_is_empty(&s->plugins))
        plugin_destroy(container_of(s->plugins.next, struct plugin, of_session));
    chain_remove(&s->all);
    free(s);
}

static struct plugin *find_plugin(const struct session *s, aiki_view build, aiki_view file,
                                  bool refused)
{
    for (struct chain *m = s->plugins.next; m != &s->plugins; m = m->next) {
        struct plugin *p = container_of(m, struct plugin, of_session);
        if ((p->error != NULL) != refused)
            continue;
        if (refused ? view_is(file, p->file)
                    : view_equal(build, (aiki_view){p->build, p->build_size_bytes}))
            return p;
    }
    return NULL;
}

static aiki_status add_plugin(struct session *s, aiki_view build, aiki_view file,
                              struct plugin **ret, aiki_error *err)
{
    if (s->plugin_count >= PLUGINS_PER_SESSION_MAX)
        return error_set(err, AIKI_LIMIT, "PLUGINS_PER_SESSION_MAX: %d plugins are registered",
                         PLUGINS_PER_SESSION_MAX);
    struct plugin *p = memory_need(sizeof(*p));
    p->session = s;
    p->build_size_bytes = build.size_bytes == HASH_BYTES ? HASH_BYTES : 0;
    if (p->build_size_bytes > 0)
        memcpy(p->build, build.data, HASH_BYTES);
    p->file = (char *)copy(file);
    chain_append(&s->plugins, &p->of_session);
    s->plugin_count++;
    *ret = p;
    return AIKI_OK;
}

/* The flow serves from p now. *ret_before is owned by the caller when its row in the workflows table has to
 * change, which is true then. */
static bool serve_flow(struct flow *f, struct plugin *p, aiki_view plugin_name, aiki_view map,
                       int64_t now_ms, struct description *ret_before)
{
    f->serving = array_grow(f->serving, &f->serving_capacity, f->serving_count,
                            sizeof(struct plugin *));
    f->serving[f->serving_count++] = p;
    if (p->role != 0) {
        f->kept_count++;
        return false; /* what the newest build says of the workflow stands */
    }
    bool same = f->said.has_build && memcmp(f->said.build, p->build, HASH_BYTES) == 0 &&
                view_is(plugin_name, f->said.plugin_name) &&
                view_equal(map, (aiki_view){f->said.descriptor, f->said.descriptor_size_bytes});
    if (same)
        return false;
    *ret_before = f->said;
    describe(f, map, plugin_name, (aiki_view){p->build, HASH_BYTES});
    if (f->said.first_seen_at_ms == 0) {
        f->said.first_seen_at_ms = now_ms;
        f->unrecorded = true;
    }
    f->said.last_seen_at_ms = now_ms;
    return true;
}

void registry_recorded(struct registration *done)
{
    for (size_t i = 0; i < done->changed_count; i++) {
        forget_description(&done->changed[i].before);
        done->changed[i].flow->unrecorded = false;
    }
    free(done->changed);
}

/* Backwards: a descriptor may name a workflow twice. */
void registry_take_back(struct registration *refused)
{
    plugin_destroy(refused->plugin);
    for (size_t i = refused->changed_count; i-- > 0;) {
        struct change *c = &refused->changed[i];
        forget_description(&c->flow->said);
        c->flow->said = c->before;
    }
    free(refused->changed);
}

/* Intern every workflow before anything is changed. */
static aiki_status intern_all(struct registry *r, const struct descriptor *d, struct flow **flows,
                              aiki_error *err)
{
    struct descriptor_workflow w;
    aiki_reader reader;
    size_t i = 0;
    descriptor_workflows(d, &reader);
    while (i < d->workflow_count && descriptor_next_workflow(&reader, &w)) {
        aiki_status status = registry_intern(r, w.name, w.version, &flows[i++], err);
        if (status != AIKI_OK)
            return status;
    }
    return AIKI_OK;
}

static void serve_flows(struct registration *ret, const struct descriptor *d, struct flow **flows,
                        int64_t now_ms)
{
    struct descriptor_workflow w;
    aiki_reader reader;
    struct plugin *p = ret->plugin;
    p->flows = flows;
    descriptor_workflows(d, &reader);
    while (p->flow_count < d->workflow_count) {
        const uint8_t *from = reader.at;
        if (!descriptor_next_workflow(&reader, &w))
            break;
        aiki_view map = {from, (uint64_t)(reader.at - from)};
        struct flow *f = flows[p->flow_count++];
        struct change *c = &ret->changed[ret->changed_count];
        if ((p->role & BUILD_IDLE) == 0 && serve_flow(f, p, d->name, map, now_ms, &c->before)) {
            c->flow = f;
            ret->changed_count++;
        }
    }
}

aiki_status registry_serve(struct registry *r, struct session *s, const struct msg_REGISTER *m,
                           int64_t now_ms, struct registration *ret, aiki_error *err)
{
    struct descriptor d;
    struct plugin *p = find_plugin(s, m->build, m->file, false);
    if (m->build.size_bytes != HASH_BYTES)
        return error_set(err, AIKI_INVALID, "a build is %d bytes, not %llu", HASH_BYTES,
                         (unsigned long long)m->build.size_bytes);
    aiki_status status = descriptor_read(m->descriptor, &d, err);
    if (status != AIKI_OK)
        return status;
    struct flow **flows = memory_need((d.workflow_count + 1) * sizeof(struct flow *));
    status = intern_all(r, &d, flows, err);
    if (p != NULL)
        plugin_destroy(p);
    if (status == AIKI_OK)
        status = add_plugin(s, m->build, m->file, &p, err);
    if (status != AIKI_OK) {
        free(flows);
        return status;
    }
    struct plugin *refused = find_plugin(s, m->build, m->file, true);
    if (refused != NULL)
        plugin_destroy(refused); /* the file was replaced by one that loads */
    p->role = m->role;
    p->since_at_ms = now_ms - m->since_ms;
    p->gate = m->gate.size_bytes > 0 ? copy(m->gate) : NULL;
    p->gate_size_bytes = m->gate.size_bytes;
    p->descriptor = copy(m->descriptor);
    p->descriptor_size_bytes = m->descriptor.size_bytes;
    *ret = (struct registration){
        .plugin = p, .changed = memory_need((d.workflow_count + 1) * sizeof(*ret->changed))};
    serve_flows(ret, &d, flows, now_ms);
    return AIKI_OK;
}

aiki_status registry_refused(struct registry *r, struct session *s, const struct msg_REFUSAL *m,
                             aiki_error *err)
{
    struct plugin *p = find_plugin(s, m->build, m->file, true);
    (void)r;
    if (p != NULL)
        plugin_destroy(p);
    if (m->error.size_bytes == 0) /* the file is gone: nothing to complain about */
        return AIKI_OK;
    aiki_status status = add_plugin(s, m->build, m->file, &p, err);
    if (status != AIKI_OK)
        return status;
    p->error = copy(m->error);
    p->error_size_bytes = m->error.size_bytes;
    return AIKI_OK;
}

bool registry_withdraw(struct registry *r, struct session *s, aiki_view build)
{
    struct plugin *p = find_plugin(s, build, (aiki_view){NULL, 0}, false);
    (void)r;
    if (p == NULL)
        return false;
    plugin_destroy(p);
    return true;
}

bool registry_used(struct session *s, const struct msg_USAGE *m, int64_t now_ms)
{
    struct plugin *p = find_plugin(s, m->build, (aiki_view){NULL, 0}, false);
    if (p == NULL)
        return false;
    p->usage = (struct plugin_usage){.at_ms = now_ms,
                                     .pid = m->pid,
                                     .memory_bytes = m->memory_bytes,
                                     .files = m->files,
                                     .threads = m->threads,
                                     .cpu_ms = m->cpu_ms,
                                     .replaced = m->replaced,
                                     .since_at_ms = m->pid != 0 ? now_ms - m->since_ms : 0,
                                     .loads = m->loads,
                                     .load_ms = m->load_ms};
    (void)log_clean(m->why, p->usage.why, sizeof(p->usage.why));
    return true;
}

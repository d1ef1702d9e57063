/* schemas.c - see schemas.h.
 *
 *   row, and memory: [[kind, name, version, input, output], ...]   nil: a schema without marks; false: there is
 *                                                                 none (nil, too, in rows of earlier releases)
 *
 * Builds are immutable and counted, so that a payload is hidden outside the lock. Whoever shows a payload asks, so
 * what is found does not depend on how many builds there have been: two hash tables, in that of names the newest first.
 */
#include "schemas.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "batch.h"
#include "chain.h"
#include "wire/descriptor.h"
#include "wire/error.h"

enum { BUCKETS = SCHEMA_BUILDS_MAX };

/* Of an input or an output. */
struct speaks {
    struct schema *schema; /* owned; NULL: nothing is marked */
    bool none;             /* there is no schema */
};

struct promise {
    uint64_t kind;                  /* STEP_TASK, or STEP_CHILD: a workflow */
    aiki_view name, version;        /* in offers.bytes */
    struct speaks input, output;
    struct chain alike;             /* in schemas.by_name while its build has a slot */
    const struct known *by;         /* that slot */
};

/* What one build has. */
struct offers {
    atomic_uint references;
    uint8_t build[HASH_BYTES];
    aiki_writer bytes;   /* owned; as on record */
    uint64_t size_bytes; /* about what it takes */
    struct promise *of;    /* owned */
    size_t count;
    struct redact_names names; /* of all that is marked in any of them */
};

/* One slot. */
struct known {
    struct offers *offers; /* NULL: free */
    uint64_t order;        /* the newest has the highest; 0: only kept for open runs so far */
    struct chain same_bucket; /* in schemas.by_build */
};

struct schemas {
    pthread_mutex_t lock; /* of all of it, for a few lines */
    struct known slots[SCHEMA_BUILDS_MAX];
    struct chain by_build[BUCKETS];
    struct chain by_name[BUCKETS]; /* promises, of the newest build first */
    uint64_t order_max, size_bytes;
};

struct schemas *schemas_create(void)
{
    struct schemas *s = memory_need(sizeof(*s));
    memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < BUCKETS; i++) {
        chain_init(&s->by_build[i]);
        chain_init(&s->by_name[i]);
    }
    (void)pthread_mutex_init(&s->lock, NULL); /* cannot fail with default attributes */
    return s;
}

static void offers_unref(struct offers *o)
{
    if (o == NULL || atomic_fetch_sub(&o->references, 1) > 1)
        return;
    for (size_t i = 0; i < o->count; i++) {
        schema_destroy(o->of[i].input.schema);
        schema_destroy(o->of[i].output.schema);
    }
    redact_names_deinit(&o->names);
    buf_deinit(&o->bytes);
    free(o->of);
    free(o);
}

void schemas_destroy(struct schemas *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < SCHEMA_BUILDS_MAX; i++)
        offers_unref(s->slots[i].offers);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- what a build says ----------------------------------------------------------------------- */

static void write_schema(aiki_writer *w, aiki_view schema)
{
    struct schema *s = NULL;
    bool marks = schema.size_bytes > 0 && schema_create(&s, schema, NULL) == AIKI_OK && schema_has_marks(s);
    if (schema.size_bytes == 0)
        aiki_mp_bool(w, false);
    else if (marks)
        aiki_mp_raw(w, schema.data, schema.size_bytes);
    else
        aiki_mp_nil(w);
    schema_destroy(s);
}

static void write_offer(aiki_writer *w, uint64_t kind, aiki_view name, aiki_view version,
                        aiki_view input, aiki_view output)
{
    aiki_mp_array(w, 5);
    aiki_mp_uint(w, kind);
    aiki_mp_strn(w, name.data, name.size_bytes);
    aiki_mp_strn(w, version.data, version.size_bytes);
    write_schema(w, input);
    write_schema(w, output);
}

static void write_offers(aiki_writer *w, const struct descriptor *d)
{
    struct descriptor_workflow flow;
    struct descriptor_task task;
    aiki_reader r;
    aiki_mp_array(w, d->workflow_count + d->task_count);
    descriptor_workflows(d, &r);
    while (descriptor_next_workflow(&r, &flow))
        write_offer(w, STEP_CHILD, flow.name, flow.version, flow.input, flow.output);
    descriptor_tasks(d, &r);
    while (descriptor_next_task(&r, &task))
        write_offer(w, STEP_TASK, task.name, (aiki_view){NULL, 0}, task.input, task.output);
}

static aiki_status read_schema(struct offers *o, aiki_reader *r, struct speaks *ret)
{
    aiki_mp_item item = {.type = AIKI_MP_END};
    (void)aiki_mp_peek(r, &item);
    aiki_view schema = aiki_mp_value(r);
    o->size_bytes += 20 * schema.size_bytes; /* see TABLE_BYTES_PER_BYTE */
    ret->none = item.type == AIKI_MP_BOOL;
    if (ret->none || item.type == AIKI_MP_NIL)
        return AIKI_OK;
    aiki_status status = schema_create(&ret->schema, schema, NULL);
    return status == AIKI_OK ? schema_add_marks(ret->schema, &o->names) : status;
}

static aiki_status read_offers(struct offers *o)
{
    aiki_reader r;
    aiki_status status = AIKI_OK;
    aiki_reader_init(&r, aiki_writer_view(&o->bytes));
    uint64_t count = aiki_mp_read_array(&r);
    if (r.status != AIKI_OK || count > DESCRIPTOR_WORKFLOWS_MAX + DESCRIPTOR_TASKS_MAX)
        return AIKI_CORRUPT;
    o->of = memory_need((size_t)(count + 1) * sizeof(*o->of));
    for (; o->count < count && status == AIKI_OK; o->count++) {
        struct promise *offer = &o->of[o->count];
        uint64_t fields = aiki_mp_read_array(&r);
        *offer = (struct promise){.kind = aiki_mp_read_uint(&r)};
        offer->name = aiki_mp_read_str(&r);
        offer->version = aiki_mp_read_str(&r);
        status = r.status != AIKI_OK || fields != 5 ? AIKI_CORRUPT : read_schema(o, &r, &offer->input);
        if (status == AIKI_OK)
            status = read_schema(o, &r, &offer->output);
    }
    o->size_bytes += sizeof(*o) + o->bytes.size_bytes + count * sizeof(*o->of);
    return status == AIKI_OK ? r.status : status;
}

/* NULL: these bytes are not what write_offers writes. */
static struct offers *offers_create(const uint8_t build[HASH_BYTES], aiki_view bytes)
{
    struct offers *o = memory_need(sizeof(*o));
    memset(o, 0, sizeof(*o));
    atomic_init(&o->references, 1);
    memcpy(o->build, build, HASH_BYTES);
    buf_init(&o->bytes);
    aiki_mp_raw(&o->bytes, bytes.data, bytes.size_bytes);
    if (o->bytes.status == AIKI_OK && read_offers(o) == AIKI_OK)
        return o;
    offers_unref(o);
    return NULL;
}

/* ---- slots ----------------------------------------------------------------------------------- */

static struct chain *build_bucket(struct schemas *s, const uint8_t build[HASH_BYTES])
{
    uint32_t bits; /* of a hash: any do */
    memcpy(&bits, build, sizeof(bits));
    return &s->by_build[bits % BUCKETS];
}

static struct chain *name_bucket(struct schemas *s, uint64_t kind, aiki_view name)
{
    return &s->by_name[view_hash(kind, name) % BUCKETS];
}

static struct known *find_build(struct schemas *s, const uint8_t build[HASH_BYTES])
{
    struct chain *bucket = build_bucket(s, build);
    for (struct chain *at = bucket->next; at != bucket; at = at->next) {
        struct known *k = container_of(at, struct known, same_bucket);
        if (memcmp(k->offers->build, build, HASH_BYTES) == 0)
            return k;
    }
    return NULL;
}

/* Behind those of newer builds. */
static void link_names(struct schemas *s, struct known *k)
{
    for (size_t i = 0; i < k->offers->count; i++) {
        struct promise *promise = &k->offers->of[i];
        struct chain *bucket = name_bucket(s, promise->kind, promise->name), *at = bucket->next;
        while (at != bucket && container_of(at, struct promise, alike)->by->order > k->order)
            at = at->next;
        promise->by = k;
        chain_append(at, &promise->alike);
    }
}

static void unlink_names(struct known *k)
{
    for (size_t i = 0; i < k->offers->count; i++)
        chain_remove(&k->offers->of[i].alike);
}

static void make_newest(struct schemas *s, struct known *k)
{
    unlink_names(k);
    k->order = ++s->order_max;
    link_names(s, k);
}

static void empty(struct schemas *s, struct known *k)
{
    s->size_bytes -= k->offers->size_bytes;
    unlink_names(k);
    chain_remove(&k->same_bucket);
    offers_unref(k->offers);
    *k = (struct known){.offers = NULL};
}

static struct known *oldest(struct schemas *s)
{
    struct known *found = NULL;
    for (size_t i = 0; i < SCHEMA_BUILDS_MAX; i++)
        if (s->slots[i].offers != NULL && (found == NULL || s->slots[i].order < found->order))
            found = &s->slots[i];
    return found;
}

/* A free slot, though the oldest may have to go. NULL: it is larger than all may be. */
static struct known *make_room(struct schemas *s, uint64_t size_bytes)
{
    if (size_bytes > SCHEMAS_BYTES_MAX)
        return NULL;
    while (s->size_bytes + size_bytes > SCHEMAS_BYTES_MAX)
        empty(s, oldest(s));
    for (size_t i = 0; i < SCHEMA_BUILDS_MAX; i++)
        if (s->slots[i].offers == NULL)
            return &s->slots[i];
    struct known *k = oldest(s);
    empty(s, k);
    return k;
}

static void put(struct schemas *s, struct known *k, struct offers *o, uint64_t order)
{
    s->size_bytes += o->size_bytes;
    *k = (struct known){.offers = o, .order = order};
    chain_append(build_bucket(s, o->build), &k->same_bucket);
    link_names(s, k);
    if (order > s->order_max)
        s->order_max = order;
}

bool schemas_add(struct schemas *s, const uint8_t build[HASH_BYTES], aiki_view descriptor, bool serving)
{
    AUTO(buf) aiki_writer bytes;
    struct descriptor d;
    struct offers *new = NULL;
    buf_init(&bytes);
    pthread_mutex_lock(&s->lock);
    struct known *k = find_build(s, build);
    if (k != NULL && serving)
        make_newest(s, k);
    pthread_mutex_unlock(&s->lock);
    if (k != NULL || descriptor_read(descriptor, &d, NULL) != AIKI_OK)
        return false;
    write_offers(&bytes, &d);
    new = bytes.status == AIKI_OK ? offers_create(build, aiki_writer_view(&bytes)) : NULL;
    if (new == NULL)
        return false;
    pthread_mutex_lock(&s->lock);
    k = make_room(s, new->size_bytes);
    if (k != NULL)
        put(s, k, new, serving ? s->order_max + 1 : 0);
    pthread_mutex_unlock(&s->lock);
    if (k == NULL) {
        log_warn("registry", "a build has larger schemas than SCHEMAS_BYTES_MAX (%d bytes): what its "
                 "steps take and give is not shown", SCHEMAS_BYTES_MAX);
        offers_unref(new);
    }
    return k != NULL;
}

void schemas_row(struct schemas *s, const uint8_t build[HASH_BYTES], const char *space,
                 struct schemas_text *text, struct workflow_row *ret)
{
    const struct known *k = find_build(s, build); /* the store thread alone changes slots */
    (void)snprintf(text->space, sizeof(text->space), "%s" SCHEMAS_MARK, space);
    (void)snprintf(text->slot, sizeof(text->slot), "%03u", (unsigned)(k - s->slots));
    *ret = (struct workflow_row){.space = view_of(text->space),
                                 .name = view_of("build"),
                                 .version = view_of(text->slot),
                                 .plugin = view_of("-"),
                                 .build = {k->offers->build, HASH_BYTES},
                                 .descriptor = aiki_writer_view(&k->offers->bytes),
                                 .first_seen_at_ms = (int64_t)k->order,
                                 .last_seen_at_ms = (int64_t)k->order};
}

void schemas_refused(struct schemas *s, const uint8_t build[HASH_BYTES])
{
    pthread_mutex_lock(&s->lock);
    struct known *k = find_build(s, build);
    if (k != NULL)
        empty(s, k);
    pthread_mutex_unlock(&s->lock);
}

/* ---- restart --------------------------------------------------------------------------------- */

static bool restore_row(void *arg, const struct workflow_row *row)
{
    struct schemas *s = arg;
    char slot[16] = "";
    if (row->build.size_bytes != HASH_BYTES || row->version.size_bytes >= sizeof(slot))
        return true;
    memcpy(slot, row->version.data, row->version.size_bytes);
    unsigned long index = strtoul(slot, NULL, 10);
    struct offers *o = offers_create(row->build.data, row->descriptor);
    bool fits = o != NULL && index < SCHEMA_BUILDS_MAX && s->slots[index].offers == NULL &&
                s->size_bytes + o->size_bytes <= SCHEMAS_BYTES_MAX && find_build(s, o->build) == NULL;
    if (!fits) {
        log_warn("registry", "the schemas of a build on record are not used (%.16s): what its runs took "
                 "and gave is hidden until it is served again", slot);
        offers_unref(o);
        return true;
    }
    put(s, &s->slots[index], o, row->last_seen_at_ms > 0 ? (uint64_t)row->last_seen_at_ms : 0);
    return true;
}

aiki_status schemas_restore(struct schemas *s, struct store *store, const char *space, aiki_error *err)
{
    struct store_reader *reader;
    char of_builds[NAME_BYTES_MAX + 16];
    (void)snprintf(of_builds, sizeof(of_builds), "%s" SCHEMAS_MARK, space);
    aiki_status status = store->ops->open_reader(store, &reader, err);
    if (status != AIKI_OK)
        return status;
    status = store->ops->workflows(reader, of_builds, restore_row, s, err);
    store->ops->close_reader(reader);
    return status;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* version empty: any. */
static bool is_of(const struct promise *promise, uint64_t kind, aiki_view name, aiki_view version)
{
    return promise->kind == kind && view_equal(promise->name, name) &&
           (version.size_bytes == 0 || view_equal(promise->version, version));
}

static const struct promise *find_offer(const struct offers *o, uint64_t kind, aiki_view name,
                                        aiki_view version)
{
    for (size_t i = 0; i < o->count; i++)
        if (is_of(&o->of[i], kind, name, version))
            return &o->of[i];
    return NULL;
}

/* home empty: whichever plugin it is. */
static const struct known *find_newest(struct schemas *s, const struct value_of *of, aiki_view version,
                                       aiki_view home)
{
    const aiki_view any = {NULL, 0};
    struct chain *bucket = name_bucket(s, of->kind, of->name);
    for (struct chain *at = bucket->next; at != bucket; at = at->next) {
        const struct promise *promise = container_of(at, struct promise, alike);
        if (is_of(promise, of->kind, of->name, version) &&
            (home.size_bytes == 0 || find_offer(promise->by->offers, STEP_CHILD, home, any) != NULL))
            return promise->by;
    }
    return NULL;
}

/* Nearest first: of the run's own plugin, of that version, of any. */
static const struct known *find_some(struct schemas *s, const struct value_of *of)
{
    const aiki_view any = {NULL, 0};
    const struct known *k = find_newest(s, of, of->version, of->home);
    if (k == NULL)
        k = find_newest(s, of, of->version, any);
    return k != NULL ? k : find_newest(s, of, any, any);
}

/* By what is marked anywhere in that build. */
static void hold_names(struct hiding *h, unsigned index, const struct known *k)
{
    atomic_fetch_add(&k->offers->references, 1);
    h->held[index] = k->offers;
    h->names[index] = &k->offers->names;
    h->known = true;
}

/* No schema speaks of it. */
static void find_names(struct schemas *s, const struct value_of *of, struct hiding *ret)
{
    const aiki_view any = {NULL, 0};
    const struct value_of home = {.kind = STEP_CHILD, .name = of->home};
    pthread_mutex_lock(&s->lock);
    const struct known *own = of->build != NULL ? find_build(s, of->build) : NULL;
    const struct known *newest = find_newest(s, &home, any, any);
    if (own != NULL)
        hold_names(ret, 0, own);
    if (newest != NULL && newest != own)
        hold_names(ret, 1, newest);
    pthread_mutex_unlock(&s->lock);
}

static void hold(struct hiding *h, unsigned index, struct offers *o, const struct value_of *of)
{
    const struct promise *offer = find_offer(o, of->kind, of->name, of->version);
    if (offer == NULL)
        offer = find_offer(o, of->kind, of->name, (aiki_view){NULL, 0});
    atomic_fetch_add(&o->references, 1);
    h->held[index] = o;
    const struct speaks *speaks = of->output ? &offer->output : &offer->input;
    h->by[index] = speaks->schema;
    h->names[index] = speaks->none ? &o->names : NULL;
    h->known = true;
}

void schemas_find(struct schemas *s, const struct value_of *of, struct hiding *ret)
{
    *ret = (struct hiding){.known = false};
    if (of->kind == 0)
        return;
    if (of->kind != STEP_TASK && of->kind != STEP_CHILD) { /* those alone have schemas */
        find_names(s, of, ret);
        return;
    }
    pthread_mutex_lock(&s->lock);
    const struct known *own = of->build != NULL ? find_build(s, of->build) : NULL;
    const struct known *newest = find_some(s, of);
    if (own != NULL && find_offer(own->offers, of->kind, of->name, of->version) == NULL)
        own = NULL; /* a workflow that another plugin has */
    if (own == NULL)
        own = newest;
    if (own != NULL)
        hold(ret, 0, own->offers, of);
    if (newest != NULL && newest != own)
        hold(ret, 1, newest->offers, of);
    pthread_mutex_unlock(&s->lock);
}

void schemas_release(struct hiding *h)
{
    offers_unref(h->held[0]);
    offers_unref(h->held[1]);
}

/* cache.c - entries, three hash tables over them, three LRU lists. */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "begun.h"
#include "registry.h"

enum { BUCKETS_FIRST = 4096 };

static size_t id_bucket(const struct cache *c, const struct aiki_id *id)
{
    return id_hash(id) & (c->bucket_count - 1);
}

static size_t no_bucket(const struct cache *c, uint64_t no)
{
    return ((no * 0x9e3779b97f4a7c15ull) >> 20) & (c->bucket_count - 1);
}

static size_t key_bucket(const struct cache *c, const struct family *family, aiki_view key)
{
    uint64_t h = view_hash((uint64_t)(uintptr_t)family, key);
    return (h ^ (h >> 32)) & (c->bucket_count - 1);
}

static void make_tables(struct cache *c, size_t bucket_count)
{
    c->bucket_count = bucket_count;
    c->by_id = memory_need(bucket_count * sizeof(struct entry *));
    c->by_no = memory_need(bucket_count * sizeof(struct entry *));
    c->by_key = memory_need(bucket_count * sizeof(struct entry *));
}

void cache_init(struct cache *c)
{
    memset(c, 0, sizeof(*c));
    make_tables(c, BUCKETS_FIRST);
    for (int i = 0; i < REST_COUNT; i++)
        chain_init(&c->resting[i].runs);
}

static void link_entry(struct cache *c, struct entry *e)
{
    struct entry **bucket = &c->by_id[id_bucket(c, &e->id)];
    e->next_by_id = *bucket;
    *bucket = e;
    bucket = &c->by_no[no_bucket(c, e->no)];
    e->next_by_no = *bucket;
    *bucket = e;
    if (e->key.size_bytes == 0)
        return;
    bucket = &c->by_key[key_bucket(c, e->flow->family, e->key)];
    e->next_by_key = *bucket;
    *bucket = e;
}

static void grow(struct cache *c)
{
    struct entry **old_id = c->by_id;
    size_t old_count = c->bucket_count;
    free(c->by_no);
    free(c->by_key);
    make_tables(c, old_count * 2);
    for (size_t i = 0; i < old_count; i++)
        for (struct entry *e = old_id[i], *next; e != NULL; e = next) {
            next = e->next_by_id;
            link_entry(c, e);
        }
    free(old_id);
}

struct entry *cache_find(const struct cache *c, const struct aiki_id *id)
{
    struct entry *e = c->by_id[id_bucket(c, id)];
    while (e != NULL && !id_equal(&e->id, id))
        e = e->next_by_id;
    return e;
}

struct entry *cache_find_no(const struct cache *c, uint64_t no)
{
    struct entry *e = c->by_no[no_bucket(c, no)];
    while (e != NULL && e->no != no)
        e = e->next_by_no;
    return e;
}

struct entry *cache_find_key(const struct cache *c, const struct flow *family_of, aiki_view key)
{
    struct entry *e = c->by_key[key_bucket(c, family_of->family, key)];
    while (e != NULL && (e->key_dropped || e->flow->family != family_of->family ||
                         !view_equal(e->key, key)))
        e = e->next_by_key;
    return e;
}

struct entry *cache_add(struct cache *c, const struct aiki_id *id, uint64_t no, struct flow *flow,
                        aiki_view key, aiki_view actor)
{
    struct entry *e = memory_need(sizeof(*e));
    e->id = *id;
    e->no = no;
    e->flow = flow;
    e->actor.size_bytes = actor.size_bytes;
    if (key.size_bytes + actor.size_bytes > 0) {
        e->text = memory_need((size_t)(key.size_bytes + actor.size_bytes));
        memcpy(e->text, key.size_bytes > 0 ? key.data : actor.data, (size_t)key.size_bytes);
        if (actor.size_bytes > 0)
            memcpy(e->text + key.size_bytes, actor.data, (size_t)actor.size_bytes);
        e->key = (aiki_view){(uint8_t *)e->text, key.size_bytes};
        e->actor = (aiki_view){(uint8_t *)e->text + key.size_bytes, actor.size_bytes};
    }
    buf_init(&e->journal);
    chain_init(&e->waiters);
    if (++c->count > c->bucket_count)
        grow(c);
    link_entry(c, e);
    return e;
}

static uint8_t *copy(aiki_view v)
{
    if (v.size_bytes == 0)
        return NULL;
    uint8_t *p = memory_need((size_t)v.size_bytes);
    memcpy(p, v.data, (size_t)v.size_bytes);
    return p;
}

struct entry *cache_adopt(struct cache *c, const struct run_row *row, struct flow *flow)
{
    struct entry *e = cache_add(c, &row->id, row->no, flow, row->key, row->actor);
    memcpy(e->input_hash, row->input_hash, HASH_BYTES);
    memcpy(e->hash, row->hash, HASH_BYTES);
    e->created_at_ms = row->created_at_ms;
    e->duplicates = row->duplicates;
    e->reason = copy(row->reason);
    e->reason_size_bytes = row->reason.size_bytes;
    e->waits = copy(row->waits);
    e->parent = row->parent;
    e->absorbed = copy(row->absorbed);
    e->absorbed_size_bytes = row->absorbed.size_bytes;
    if (row->build.size_bytes == HASH_BYTES)
        memcpy(e->last_build, row->build.data, HASH_BYTES);
    e->journal_after = row->seq;
    e->stored_state = row->state;
    e->run = (struct run){.state = row->state,
                          .epoch = row->epoch,
                          .seq = row->seq,
                          .flags = row->flags,
                          .signals = row->signals,
                          .wake_at_ms = row->wake_at_ms,
                          .deadline_ms = row->deadline_ms,
                          .children = row->children,
                          .updated_at_ms = row->updated_at_ms,
                          .waits = {e->waits, row->waits.size_bytes}};
    return e;
}

static void unlink_from(struct entry **link, const struct entry *e, size_t next_offset)
{
    while (*link != e)
        link = (struct entry **)(void *)((char *)*link + next_offset);
    *link = *(struct entry *const *)(const void *)((const char *)e + next_offset);
}

void entry_forget_begun(struct entry *e)
{
    begun_destroy(e->begun);
    e->begun = NULL;
}

void cache_hold(struct cache *c, struct entry *e)
{
    if (!chain_is_linked(&e->resting))
        return;
    chain_remove(&e->resting);
    c->resting[e->rest].bytes -= e->charged_bytes;
    e->charged_bytes = 0;
}

void cache_remove(struct cache *c, struct entry *e)
{
    cache_hold(c, e);
    unlink_from(&c->by_id[id_bucket(c, &e->id)], e, offsetof(struct entry, next_by_id));
    unlink_from(&c->by_no[no_bucket(c, e->no)], e, offsetof(struct entry, next_by_no));
    if (e->key.size_bytes > 0)
        unlink_from(&c->by_key[key_bucket(c, e->flow->family, e->key)], e,
                    offsetof(struct entry, next_by_key));
    c->count--;
    chain_remove(&e->lagging);
    chain_remove(&e->owned);
    entry_forget_begun(e);
    buf_deinit(&e->journal);
    free(e->waits);
    free(e->reason);
    free(e->absorbed);
    free(e->text);
    free(e);
}

void cache_deinit(struct cache *c)
{
    for (size_t i = 0; i < c->bucket_count; i++)
        while (c->by_id[i] != NULL)
            cache_remove(c, c->by_id[i]);
    free(c->by_id);
    free(c->by_no);
    free(c->by_key);
    memset(c, 0, sizeof(*c));
}

static size_t entry_bytes(const struct entry *e)
{
    size_t begun = e->begun != NULL ? e->begun->capacity * sizeof(struct begun_step) : 0;
    return sizeof(*e) + (size_t)e->journal.capacity_bytes + (size_t)e->key.size_bytes +
           (size_t)e->actor.size_bytes + (size_t)e->run.waits.size_bytes +
           (size_t)e->reason_size_bytes + (size_t)e->absorbed_size_bytes + begun;
}

static enum rest rest_of(const struct run *run)
{
    if (run_state_is_terminal(run->state))
        return REST_ENDED;
    bool soon = run->state == RUN_QUEUED || run->state == RUN_RUNNING;
    return soon ? REST_QUEUED : REST_PARKED;
}

void cache_rest(struct cache *c, struct entry *e)
{
    static const size_t bytes_max[] = {[REST_QUEUED] = CACHE_QUEUED_BYTES_MAX,
                                       [REST_PARKED] = CACHE_PARKED_BYTES_MAX,
                                       [REST_ENDED] = CACHE_ENDED_BYTES_MAX};
    bool held = e->dirty != 0 || e->owner != NULL || !chain_is_empty(&e->waiters) ||
                chain_is_linked(&e->lagging);
    cache_hold(c, e);
    if (held)
        return;
    enum rest rest = e->rest = rest_of(&e->run);
    if (rest == REST_PARKED)
        buf_fit(&e->journal);
    e->charged_bytes = entry_bytes(e);
    c->resting[rest].bytes += e->charged_bytes;
    chain_append(&c->resting[rest].runs, &e->resting);
    while (c->resting[rest].bytes > bytes_max[rest])
        cache_remove(c, container_of(c->resting[rest].runs.next, struct entry, resting));
}

size_t cache_resting_bytes(const struct cache *c)
{
    size_t bytes = 0;
    for (int i = 0; i < REST_COUNT; i++)
        bytes += c->resting[i].bytes;
    return bytes;
}

void entry_row(const struct entry *e, const char *space, struct run_row *ret_row)
{
    _Static_assert((int)RUN_FLAG_FOLLOW == (int)STORE_FLAG_UNDONE, "a restart goes on with it");
    *ret_row = (struct run_row){
        .no = e->no,
        .id = e->id,
        .space = view_of(space),
        .workflow = view_of(e->flow->name),
        .version = view_of(e->flow->version),
        .key = e->key_dropped ? (aiki_view){NULL, 0} : e->key,
        .actor = e->actor,
        .state = e->run.state,
        .epoch = e->run.epoch,
        .seq = e->run.seq,
        .created_at_ms = e->created_at_ms,
        .updated_at_ms = e->run.updated_at_ms,
        .wake_at_ms = e->run.wake_at_ms,
        .signals = e->run.signals,
        .duplicates = e->duplicates,
        .waits = e->run.waits,
        .reason = {e->reason, e->reason_size_bytes},
        .parent = e->parent,
        .flags = e->run.flags,
        .deadline_ms = e->run.deadline_ms,
        .children = e->run.children,
        .absorbed = {e->absorbed, e->absorbed_size_bytes},
        .build = {e->last_build, build_is_known(e->last_build) ? HASH_BYTES : 0},
    };
    memcpy(ret_row->input_hash, e->input_hash, HASH_BYTES);
    memcpy(ret_row->hash, e->hash, HASH_BYTES);
}

uint8_t *entry_keep_waits(struct entry *e)
{
    uint8_t *former = e->waits;
    if (e->run.waits.data == former && e->run.waits.size_bytes > 0)
        return NULL;
    e->waits = copy(e->run.waits);
    e->run.waits.data = e->waits;
    return former;
}

void entry_trim(struct entry *e)
{
    if (e->journal.size_bytes <= CACHE_JOURNAL_BYTES_MAX)
        return;
    buf_deinit(&e->journal);
    e->journal_after = e->run.seq;
}

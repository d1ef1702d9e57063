/* refs.c - references of what was asked of a run, so that a repeat after a lost answer counts once.
 *
 * They are on record with the signals and requests they came with, and read once while the run is in
 * memory. A reference counts for signals, or for one kind of request: the same text may come with another.
 */
#include <sodium.h>
#include <string.h>

#include "pipeline.h"

/* What a reference is of: REF_SIGNAL, or CONTROL_*. */
static void hash_ref(uint64_t of, aiki_view ref, uint8_t ret_hash[16])
{
    uint8_t key[crypto_generichash_KEYBYTES_MIN] = {(uint8_t)of};
    (void)crypto_generichash(ret_hash, 16, ref.data, ref.size_bytes, of == REF_SIGNAL ? NULL : key,
                             of == REF_SIGNAL ? 0 : sizeof(key));
}

void refs_add(struct entry *e, uint64_t of, aiki_view ref)
{
    struct ref_set *set = e->refs;
    if (ref.size_bytes == 0)
        return;
    set->hashes = array_grow(set->hashes, &set->capacity, set->count, sizeof(set->hashes[0]));
    hash_ref(of, ref, set->hashes[set->count++]);
}

static void add_event(struct entry *e, const struct event *event)
{
    switch (event->kind) {
    case EVENT_SIGNAL: refs_add(e, REF_SIGNAL, event->as.signal.ref); break;
    case EVENT_CANCEL_REQUESTED: refs_add(e, CONTROL_CANCEL, event->as.control.ref); break;
    case EVENT_TERMINATED: refs_add(e, CONTROL_TERMINATE, event->as.control.ref); break;
    case EVENT_PAUSED: refs_add(e, CONTROL_PAUSE, event->as.control.ref); break;
    case EVENT_RESUMED: refs_add(e, CONTROL_RESUME, event->as.control.ref); break;
    case EVENT_WOKEN: refs_add(e, CONTROL_WAKE, event->as.control.ref); break;
    case EVENT_DROPPED: refs_add(e, CONTROL_DROP, event->as.control.ref); break;
    case EVENT_RUN_RETRIED: refs_add(e, CONTROL_RETRY, event->as.run_retried.ref); break;
    default: break;
    }
}

/* Most runs were never asked anything: their journals need not be read. */
static bool was_asked(const struct run *run)
{
    return run->signals > 0 || run->state == RUN_TERMINATED ||
           run->flags >> RUN_FLAG_PASS_SHIFT != 0;
}

aiki_status refs_learn(struct pipeline *p, struct entry *e, aiki_error *err)
{
    if (e->refs != NULL)
        return AIKI_OK;
    e->refs = memory_need(sizeof(*e->refs));
    for (uint64_t after = 0; after < e->run.seq && was_asked(&e->run);) {
        aiki_view page;
        aiki_reader r;
        struct event event;
        aiki_status status = run_journal(p, e, after, PAGE_BYTES_MAX, &page, &after, err);
        aiki_reader_init(&r, page);
        while (status == AIKI_OK && aiki_reader_left(&r) > 0) {
            status = event_read_stored(&r, &event, err);
            if (status == AIKI_OK)
                add_event(e, &event);
        }
        if (status != AIKI_OK) {
            entry_forget_refs(e);
            return status;
        }
    }
    return AIKI_OK;
}

bool refs_know(const struct entry *e, uint64_t of, aiki_view ref)
{
    uint8_t hash[16];
    hash_ref(of, ref, hash);
    for (size_t i = 0; i < e->refs->count; i++)
        if (memcmp(e->refs->hashes[i], hash, sizeof(hash)) == 0)
            return true;
    return false;
}

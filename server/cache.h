/* cache.h - the runs the store thread has in memory. [store]
 *
 *   by id, by number, by start key       entry: run + identity + recent journal
 *   resting (LRU, named limit) <-----> in use (owned, waited for, dirty, lagging)
 *
 * Only resting entries are ever forgotten, and nothing is lost with one: it can be read from the
 * store again (engine_adopt gives a run the same epoch again). Runs that are going to be claimed
 * soon, parked ones and finished ones rest in a list each. The limit of parked ones is small, since
 * there may be a million of them: such a run needs no entry at all, only a timer.
 */
#ifndef SERVER_CACHE_H
#define SERVER_CACHE_H

#include "batch.h"
#include "chain.h"
#include "engine/run.h"
#include "store/store.h"

enum {
    CACHE_QUEUED_BYTES_MAX = 192 * 1024 * 1024,
    CACHE_PARKED_BYTES_MAX = 16 * 1024 * 1024,
    CACHE_ENDED_BYTES_MAX = 8 * 1024 * 1024,
    CACHE_JOURNAL_BYTES_MAX = 1024 * 1024, /* of one run; more is read from the store */
    ABSORBED_MAX = 8 /* starts answered with a run that existed: the last ones are kept */
};

struct flow;    /* registry.h */
struct begun_set; /* begun.h */
struct session; /* registry.h */

/* Where an entry rests that nothing holds. */
enum rest { REST_QUEUED, REST_PARKED, REST_ENDED, REST_COUNT };

struct entry {
    struct run run;
    uint64_t no;
    struct aiki_id id;
    struct flow *flow;              /* borrowed; lives as long as the server */
    uint8_t input_hash[HASH_BYTES];
    uint8_t hash[HASH_BYTES];       /* chain head */
    int64_t created_at_ms;
    struct aiki_id parent;          /* zero: nobody's child */
    uint64_t duplicates;
    uint8_t *absorbed;              /* owned: the last ABSORBED_MAX duplicates, or NULL:
                                     * array of [at_ms, actor] */
    uint64_t absorbed_size_bytes;
    bool key_dropped;               /* the key belongs to a later run now */
    aiki_view key, actor;           /* both in `text` */
    char *text;                     /* owned */
    uint8_t *waits;                 /* owned; run.waits looks at it */
    uint8_t *reason;                /* owned error map, or NULL */
    uint64_t reason_size_bytes;
    aiki_writer journal;            /* stored events journal_after+1 .. run.seq */
    uint64_t journal_after;         /* 0 = the journal is whole */
    struct begun_set *begun;        /* owned; NULL until an event leaves out what step it is about */
    struct session *owner;          /* run.owner as a pointer */
    uint8_t build[HASH_BYTES];      /* that the owner claimed it for */
    uint64_t load_ms;               /* how long it waited there for a process */
    uint8_t last_build[HASH_BYTES]; /* of the newest CLAIMED event; zero = none */
    struct chain owned;             /* in owner->owned */
    struct chain waiters;           /* head of struct waiter */
    struct chain resting;           /* in one of cache.resting */
    struct chain lagging;           /* memory is ahead of the row, see pipeline.h */
    int64_t lags_since_ms;
    uint32_t stored_state;          /* as the row says */
    uint64_t stored_epoch;          /* as engine_adopt makes of the row */
    uint64_t stored_duplicates;
    uint64_t counted_seq;           /* events up to here are in run.journal_bytes */
    uint32_t counted_state;         /* as the flow's counters say */
    uint8_t counted_build[HASH_BYTES]; /* as the flow's list of builds says */
    int64_t timer_at_ms;            /* as the timers say; 0 = none */
    uint32_t dirty;                 /* index + 1 in the unit, 0 = clean */
    size_t charged_bytes;           /* while resting */
    enum rest rest;                 /* in which list that is */
    struct entry *next_by_id, *next_by_no, *next_by_key;
};

struct cache {
    struct entry **by_id, **by_no, **by_key;
    size_t bucket_count, count;
    struct {
        struct chain runs;          /* LRU head, oldest first */
        size_t bytes;
    } resting[REST_COUNT];
};

void cache_init(struct cache *c);
void cache_deinit(struct cache *c);
struct entry *cache_find(const struct cache *c, const struct aiki_id *id);
struct entry *cache_find_no(const struct cache *c, uint64_t no);
struct entry *cache_find_key(const struct cache *c, const struct flow *family_of, aiki_view key);
/* A zeroed entry with these names; key and actor are copied. Not resting. */
struct entry *cache_add(struct cache *c, const struct aiki_id *id, uint64_t no, struct flow *flow,
                        aiki_view key, aiki_view actor);
/* From a row of the store. */
struct entry *cache_adopt(struct cache *c, const struct run_row *row, struct flow *flow);
void cache_remove(struct cache *c, struct entry *e);
/* Bytes of all that rests. */
size_t cache_resting_bytes(const struct cache *c);
/* In use: not forgotten until the next cache_rest. Whoever keeps a pointer calls this first. */
void cache_hold(struct cache *c, struct entry *e);
/* Call after every use: rests the entry when nothing holds it, and forgets the oldest ones over
 * the limit (this one possibly among them). */
void cache_rest(struct cache *c, struct entry *e);
/* The entry as a row; views borrow from it. */
void entry_row(const struct entry *e, const char *space, struct run_row *ret_row);
/* run.waits now borrows from elsewhere: keep a copy. The former buffer is returned, not freed. */
uint8_t *entry_keep_waits(struct entry *e);
/* Drop a journal that outgrew its limit; the store has it. */
void entry_trim(struct entry *e);
void entry_forget_begun(struct entry *e);

#endif

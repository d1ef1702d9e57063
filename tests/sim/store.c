/* store.c - the simulated disk: a store that may refuse, break, or lose what was not synced.
 *
 *   commit --write--> unsynced --sync--> durable --> answered
 *            ^ refused    ^ crash: lost or kept, a coin says   ^ crash: durable, never answered
 *
 * Rows and journals are those of store_memory, which passes the same suite as the real backend; what is
 * added here is how a commit can go wrong. Each one that stands is shown to the oracle.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sim.h"
#include "store/memory.h"
#include "wire/error.h"

#define DISK "sim"

struct sim_store {
    struct store base;
    struct store *disk; /* owned */
};
static struct store_ops ops;
static struct sim_store *open_store; /* at most one server runs */

static struct sim_store *store_of(struct store *s) { return container_of(s, struct sim_store, base); }

struct store *sim_store_disk(void) { return open_store != NULL ? open_store->disk : NULL; }

static void sim_close(struct store *s)
{
    if (s == NULL)
        return;
    store_memory.close(store_of(s)->disk);
    open_store = NULL;
    free(store_of(s));
}

static aiki_status sim_open_reader(struct store *s, struct store_reader **ret, aiki_error *err)
{
    return store_memory.open_reader(store_of(s)->disk, ret, err);
}

static aiki_status refuse(aiki_error *err)
{
    if (fault_strikes(FAULT_BIT_STORE_REFUSES, 10)) {
        bool full = rng_permille(&sim.faults, 500);
        sim_note("store refuses a commit");
        return error_set(err, full ? AIKI_LIMIT : AIKI_UNAVAILABLE, "the simulated disk is %s",
                         full ? "full" : "locked");
    }
    if (fault_strikes(FAULT_BIT_STORE_DIES, 2)) {
        sim_note("fsync fails");
        return error_set(err, AIKI_INTERNAL, "the simulated fsync failed");
    }
    return AIKI_OK;
}

/* A read that fails now and succeeds later. */
static bool is_busy(aiki_error *err)
{
    if (!sim.server.in_turn || !fault_strikes(FAULT_BIT_STORE_READS, 10))
        return false;
    sim_note("a read of the store fails");
    (void)error_set(err, AIKI_UNAVAILABLE, "the simulated store is busy");
    return true;
}

static aiki_status sim_commit(struct store *s, const struct unit *u, aiki_error *err)
{
    struct sim_store *store = store_of(s);
    aiki_status status = refuse(err);
    if (status != AIKI_OK)
        return status;
    bool crash = sim.server.in_turn && fault_strikes(FAULT_BIT_SERVER_CRASH, 3);
    if (crash && rng_permille(&sim.faults, 500)) {
        sim_note("power fails in a commit; what was not synced is gone");
        server_crash_here();
    }
    status = store_memory.commit(store->disk, u, err);
    if (status == AIKI_OK) {
        sim.commits++;
        s->commits = store->disk->commits;
        oracle_committed(u);
    }
    if (crash) {
        sim_note("power fails after a commit");
        server_crash_here();
    }
    return status;
}

static aiki_status sim_find_run(struct store *s, const struct aiki_id *id, store_run_fn fn,
                                void *arg, aiki_error *err)
{
    if (is_busy(err))
        return AIKI_UNAVAILABLE;
    return store_memory.find_run(store_of(s)->disk, id, fn, arg, err);
}

static aiki_status sim_find_run_no(struct store *s, uint64_t no, store_run_fn fn, void *arg,
                                   aiki_error *err)
{
    if (is_busy(err))
        return AIKI_UNAVAILABLE;
    return store_memory.find_run_no(store_of(s)->disk, no, fn, arg, err);
}

static aiki_status sim_find_key(struct store *s, aiki_view space, aiki_view workflow, aiki_view key,
                                store_run_fn fn, void *arg, aiki_error *err)
{
    if (is_busy(err))
        return AIKI_UNAVAILABLE;
    return store_memory.find_key(store_of(s)->disk, space, workflow, key, fn, arg, err);
}

static aiki_status sim_journal(struct store *s, uint64_t no, uint64_t after_seq, uint64_t bytes_max,
                               aiki_writer *w, uint64_t *ret_last_seq, aiki_error *err)
{
    if (is_busy(err))
        return AIKI_UNAVAILABLE;
    return store_memory.journal(store_of(s)->disk, no, after_seq, bytes_max, w, ret_last_seq, err);
}

static aiki_status sim_find_ref(struct store *s, const struct ref_row *ref, bool *ret_known, aiki_error *err)
{
    if (is_busy(err))
        return AIKI_UNAVAILABLE;
    return store_memory.find_ref(store_of(s)->disk, ref, ret_known, err);
}

static aiki_status sim_scan_open(struct store *s, uint64_t after_no, uint32_t limit, store_run_fn fn,
                                 void *arg, aiki_error *err)
{
    return store_memory.scan_open(store_of(s)->disk, after_no, limit, fn, arg, err);
}

static aiki_status sim_children(struct store *s, const struct aiki_id *parent, uint64_t after_no,
                                uint32_t limit, store_run_fn fn, void *arg, aiki_error *err)
{
    if (is_busy(err))
        return AIKI_UNAVAILABLE;
    return store_memory.children(store_of(s)->disk, parent, after_no, limit, fn, arg, err);
}

aiki_status sim_store_open(struct store **ret, aiki_error *err)
{
    struct sim_store *s = memory_need(sizeof(*s));
    aiki_status status = store_open(&s->disk, "memory:" DISK, err);
    if (status != AIKI_OK) {
        free(s);
        return status;
    }
    ops = store_memory; /* what reads alone stays as it is */
    ops.scheme = "sim";
    ops.close = sim_close;
    ops.open_reader = sim_open_reader;
    ops.commit = sim_commit;
    ops.find_run = sim_find_run;
    ops.find_run_no = sim_find_run_no;
    ops.find_key = sim_find_key;
    ops.journal = sim_journal;
    ops.find_ref = sim_find_ref;
    ops.scan_open = sim_scan_open;
    ops.children = sim_children;
    s->base = *s->disk;
    s->base.ops = &ops;
    open_store = s;
    *ret = &s->base;
    return AIKI_OK;
}

void sim_store_wipe(void) { memory_store_wipe(DISK); }

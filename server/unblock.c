/* unblock.c - which blocked runs are offered again, and when: a build appeared, or one that crashed may
 * try again. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "pipeline.h"
#include "wire/error.h"
#include "wire/event.h"

struct blocked {
    const struct plugin *plugin; /* whose blocked runs may go on, or NULL: */
    aiki_view crashed_hex;       /* runs that this build blocked because it crashed */
    uint8_t crashed[HASH_BYTES]; /* that build, if there are any */
    struct pipeline *p;
    uint64_t *numbers;
    size_t count, capacity;
    uint64_t last_no;
    uint32_t rows;
};

/* The build that the reason names, or empty. */
static aiki_view blocking_build(aiki_view reason)
{
    aiki_reader r;
    aiki_reader_init(&r, error_value(reason, "build"));
    return aiki_mp_read_bin(&r); /* empty unless it reads */
}

static bool blocked_by_crashes(aiki_view reason, aiki_view build_hex)
{
    aiki_error e = {.struct_size = sizeof(e)};
    char hex[2 * HASH_BYTES + 1];
    aiki_view build = blocking_build(reason);
    if (build.size_bytes != HASH_BYTES || build_hex.size_bytes >= sizeof(hex) ||
        error_read(reason, &e, NULL, NULL) != AIKI_OK)
        return false;
    (void)sodium_bin2hex(hex, sizeof(hex), build.data, HASH_BYTES);
    return memcmp(hex, build_hex.data, (size_t)build_hex.size_bytes) == 0 &&
           (strcmp(e.code, "QUARANTINED") == 0 || strcmp(e.code, "WORKFLOW_CRASHED") == 0 ||
            strcmp(e.code, "TASK_CRASHED") == 0);
}

static bool is_wanted(const struct blocked *b, const struct run_row *row)
{
    if (row->state != RUN_BLOCKED)
        return false;
    if (b->plugin == NULL)
        return blocked_by_crashes(row->reason, b->crashed_hex);
    if (view_equal(blocking_build(row->reason), (aiki_view){b->plugin->build, HASH_BYTES}))
        return false;
    const struct flow *flow = registry_find(&b->p->registry, row->workflow, row->version);
    for (size_t i = 0; i < b->plugin->flow_count; i++)
        if (b->plugin->flows[i] == flow)
            return true;
    return false;
}

static bool note_blocked(void *arg, const struct run_row *row)
{
    struct blocked *b = arg;
    b->last_no = row->no;
    b->rows++;
    if (!is_wanted(b, row))
        return true;
    b->numbers = array_grow(b->numbers, &b->capacity, b->count, sizeof(*b->numbers));
    b->numbers[b->count++] = row->no;
    if (b->plugin == NULL)
        memcpy(b->crashed, blocking_build(row->reason).data, HASH_BYTES);
    return true;
}

static void unblock(struct pipeline *p, uint64_t no, uint64_t why)
{
    struct engine_effects effects;
    struct entry *e;
    aiki_error err = {.struct_size = sizeof(err)};
    if (run_load_no(p, no, &e, &err) != AIKI_OK) {
        log_error("store", "a blocked run cannot be offered again: %s", err.message);
        unblock_later(p);
        return;
    }
    uint64_t from = e->journal.size_bytes;
    bool was_dirty = e->dirty != 0;
    (void)unit_touch(p, e);
    aiki_view body = event_body(p, &(struct event){.kind = EVENT_UNBLOCKED, .as.unblocked.why = why});
    if (engine_unblock(&e->run, &p->now, body, &e->journal, &effects))
        unit_recorded(p, e, from, &effects);
    else if (!was_dirty)
        unit_untouch(p, e);
    if (p->work.run_count >= UNIT_RUNS)
        unit_finish(p);
}

static void find_blocked(struct pipeline *p, struct blocked *b)
{
    aiki_error err = {.struct_size = sizeof(err)};
    do {
        b->rows = 0;
        aiki_status status =
            p->store->ops->scan_open(p->store, b->last_no, SCAN_PAGE, note_blocked, b, &err);
        if (status != AIKI_OK) {
            log_error("store", "blocked runs cannot be offered again: %s", err.message);
            unblock_later(p);
            break;
        }
    } while (b->rows == SCAN_PAGE);
}

/* The store may have refused to record that it goes on. */
static bool is_still_blocked(struct pipeline *p, uint64_t no)
{
    struct entry *e;
    if (run_load_no(p, no, &e, NULL) != AIKI_OK)
        return true; /* nobody knows; to ask again does no harm */
    bool blocked = e->run.state == RUN_BLOCKED;
    cache_rest(&p->cache, e);
    return blocked;
}

/* How many go on. */
static size_t unblock_all(struct pipeline *p, struct blocked *b)
{
    size_t count = 0;
    for (size_t i = 0; i < b->count; i++)
        unblock(p, b->numbers[i], b->plugin != NULL ? UNBLOCKED_BY_BUILD : UNBLOCKED_LIFTED);
    unit_finish(p);
    for (size_t i = 0; i < b->count; i++)
        count += !is_still_blocked(p, b->numbers[i]);
    free(b->numbers);
    return count;
}

void unblock_for(struct pipeline *p, const struct plugin *plugin)
{
    struct blocked b = {.plugin = plugin, .p = p};
    uint64_t blocked_count = 0;
    for (size_t i = 0; i < plugin->flow_count; i++)
        blocked_count += plugin->flows[i]->counts[RUN_BLOCKED];
    if (blocked_count == 0)
        return;
    find_blocked(p, &b);
    size_t count = unblock_all(p, &b);
    if (count > 0)
        log_info("registry", "build of %s appeared: %zu blocked runs are offered again",
                 plugin->file, count);
}

void unblock_later(struct pipeline *p)
{
    if (p->unblock_at_ms == 0)
        p->unblock_at_ms = p->now.at_ms + UNBLOCK_AGAIN_MS;
}

void unblock_again(struct pipeline *p)
{
    p->unblock_at_ms = 0;
    for (struct chain *m = p->registry.sessions.next; m != &p->registry.sessions; m = m->next) {
        struct session *s = container_of(m, struct session, all);
        for (struct chain *k = s->plugins.next; k != &s->plugins; k = k->next)
            unblock_for(p, container_of(k, struct plugin, of_session));
    }
}

aiki_status unblock_crashed(struct pipeline *p, aiki_view build_hex, uint64_t *ret_lifted,
                            aiki_error *err)
{
    struct blocked b = {.crashed_hex = build_hex, .p = p};
    aiki_status status = AIKI_OK;
    find_blocked(p, &b);
    if (b.count > 0 && *ret_lifted == 0) /* else its quarantine says so */
        status = quarantine_record_lift(p, b.crashed, err);
    if (status != AIKI_OK) {
        free(b.numbers);
        return status;
    }
    fault_point(server_lift_runs);
    size_t count = unblock_all(p, &b);
    *ret_lifted += count;
    return count == b.count ? AIKI_OK
                            : error_set(err, AIKI_UNAVAILABLE,
                                        "%zu of %zu runs of build %.*s stay blocked, the log says why; ask again",
                                        b.count - count, b.count, (int)build_hex.size_bytes,
                                        (const char *)build_hex.data);
}

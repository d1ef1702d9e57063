/* refs.c - references of what was asked of a run, so that a repeat after a lost answer counts once.
 *
 *   asked --refs_know--> in the unit at hand? on record?  --no--> decided --refs_add--> unit --commit--> store
 *
 * The store finds one in one step, so that a history of any length costs no more than a short one. Limit:
 * UNIT_REFS in a unit; then it is committed.
 */
#include <string.h>

#include "base/buf.h"
#include "pipeline.h"

void refs_add(struct pipeline *p, const struct entry *e, uint64_t of, aiki_view ref)
{
    struct work *u = &p->work;
    if (ref.size_bytes == 0)
        return;
    u->refs = array_grow(u->refs, &u->ref_capacity, u->ref_count, sizeof(*u->refs));
    u->refs[u->ref_count].run_no = e->no;
    reference_hash(of, ref, u->refs[u->ref_count++].hash);
}

/* Most runs were never asked anything: the store need not be. */
static bool was_asked(const struct run *run)
{
    return run->signals > 0 || run->state == RUN_TERMINATED ||
           run->flags >> RUN_FLAG_PASS_SHIFT != 0;
}

static bool is_at_hand(const struct work *u, const struct ref_row *row)
{
    for (size_t i = 0; i < u->ref_count; i++)
        if (u->refs[i].run_no == row->run_no &&
            memcmp(u->refs[i].hash, row->hash, sizeof(row->hash)) == 0)
            return true;
    return false;
}

aiki_status refs_know(struct pipeline *p, const struct entry *e, uint64_t of, aiki_view ref,
                      bool *ret_known, aiki_error *err)
{
    struct ref_row row = {.run_no = e->no};
    *ret_known = false;
    if (ref.size_bytes == 0 || !was_asked(&e->run))
        return AIKI_OK;
    reference_hash(of, ref, row.hash);
    *ret_known = is_at_hand(&p->work, &row);
    return *ret_known ? AIKI_OK : p->store->ops->find_ref(p->store, &row, ret_known, err);
}

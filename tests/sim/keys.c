/* keys.c - who has a start key, by what is on record.
 *
 *   a key names one run of a workflow; whoever takes it over was started to do that, and with another
 *   input, and the run that had it has ended with the same commit
 *   a shared child takes it from a run that ended without a result, and no other child takes one
 *   a start that brings no run of its own is answered with one that has, or had, its key
 */
#include <string.h>

#include "sim.h"

static bool is_rival(const struct sim_run *r, const struct sim_run *other)
{
    return r != other && other->on_record && r->workflow == other->workflow && r->key[0] != '\0' &&
           strcmp(r->key, other->key) == 0;
}

void key_born(struct sim_run *r)
{
    r->has_key = r->key[0] != '\0';
    for (uint32_t i = 0; i < sim.run_count; i++) {
        struct sim_run *other = &sim.runs[i];
        if (!other->has_key || !is_rival(r, other))
            continue;
        other->has_key = false;
        r->key_from = i;
        return;
    }
}

void key_check(struct sim_run *r)
{
    if (r->key_from == NOBODY)
        return;
    const struct sim_run *former = &sim.runs[r->key_from];
    bool replaces = r->parent == NOBODY && r->key_policy == KEY_REPLACE && former->input != r->input;
    bool inherits = r->parent != NOBODY && family_step(&sim.runs[r->parent], &r->id)->shared &&
                    (former->ended_as & ~(UINT64_C(1) << RUN_COMPLETED)) != 0 &&
                    (former->ended_as >> RUN_COMPLETED & 1) == 0;
    /* Or it was tried again with the same commit: whether before its key was taken, no record says. */
    bool retried = former->commit == sim.commits && (former->ended_before || former->ended_now);
    bool ended = former->ended || retried;
    if (!inherits && (!replaces || !ended))
        violation("run %u takes the key of run %u, which %s", fact_run_number(r), r->key_from,
                  ended ? "it was not to take" : "goes on");
    r->key_from = NOBODY;
}

bool key_absorbs(const struct sim_run *r, const struct sim_run *other)
{
    return is_rival(r, other) && (r->key_policy == KEY_EXISTING || r->input == other->input);
}

bool key_refuses(const struct sim_run *r)
{
    bool differs = false;
    for (uint32_t i = 0; i < sim.run_count && !differs; i++)
        differs = is_rival(r, &sim.runs[i]) && sim.runs[i].input != r->input;
    return differs && r->key_policy == KEY_SAME && !r->on_record;
}

void key_check_taken(const struct sim_run *r, const struct fact_step *s)
{
    for (uint32_t i = 0; i < sim.run_count; i++) {
        const struct sim_run *other = &sim.runs[i];
        if (other->on_record && other->workflow == s->name && strcmp(other->key, s->key) == 0 &&
            (!s->shared || other == r || other->input != s->input))
            return;
    }
    violation("run %u: it is told that the key of its child is taken, and by whom?", fact_run_number(r));
}

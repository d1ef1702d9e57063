/* keys.c - who has a start key, by what is on record.
 *
 *   a key names one run of a workflow; whoever takes it over was started to do that, and with another
 *   input, and the run that had it has ended with the same commit
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
    if (!replaces || !former->ended)
        violation("run %u takes the key of run %u, which %s", fact_run_number(r), r->key_from,
                  former->ended ? "it was not to take" : "goes on");
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

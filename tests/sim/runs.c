/* runs.c - the runs of a seed: those that clients start, and children as they come on record. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sim.h"
#include "wire/retry.h"

enum { PLACES = 1 << 14 }; /* over RUNS_MAX, so that a free one is always near */

static uint32_t *place_of(const struct aiki_id *id)
{
    uint32_t i = (uint32_t)id_hash(id) & (PLACES - 1);
    while (sim.run_places[i] != 0 && !id_equal(&sim.runs[sim.run_places[i] - 1].id, id))
        i = (i + 1) & (PLACES - 1);
    return &sim.run_places[i];
}

uint32_t run_find(const struct aiki_id *id)
{
    uint32_t place = *place_of(id);
    return place == 0 ? NOBODY : place - 1;
}

uint32_t run_of_id(const struct aiki_id *id)
{
    uint32_t run = run_find(id);
    if (run == NOBODY)
        violation("a run id that nobody has made");
    return run;
}

uint32_t run_add(const struct aiki_id *id)
{
    if (sim.run_count == RUNS_MAX)
        violation("over %d runs; let the programs have fewer children", RUNS_MAX);
    struct sim_run *r = &sim.runs[sim.run_count];
    r->id = *id;
    r->parent = r->first_child = r->next_child = r->key_from = NOBODY;
    *place_of(id) = sim.run_count + 1;
    return sim.run_count++;
}

/* Enough for a run of any place in a ring to come round to whoever waits for it. */
bool run_is_deep(const struct sim_run *r)
{
    enum { DEPTH_MAX = WORKFLOWS_MAX + 1 };
    uint32_t depth = 0;
    for (; r->parent != NOBODY && depth < DEPTH_MAX; depth++)
        r = &sim.runs[r->parent];
    return depth == DEPTH_MAX;
}

static void make_retry(struct start_retry *retry)
{
    static const int32_t kinds[] = {AIKI_RETRY_NEVER, AIKI_RETRY_FIXED, AIKI_RETRY_EXPONENTIAL,
                                    AIKI_RETRY_LIST};
    *retry = (struct start_retry){.given = true,
                                  .as_map = rng_permille(&sim.work, 500),
                                  .no_is_final = rng_permille(&sim.work, 150),
                                  .kind = kinds[rng_below(&sim.work, 4)],
                                  .attempts_max = 1 + (uint32_t)rng_below(&sim.work, 5)};
    for (int i = 0; i < 2; i++)
        retry->delays_ms[i] = 1 + (int64_t)rng_below(&sim.work, 3000);
}

void start_retry_write(aiki_writer *w, const struct start_retry *retry)
{
    uint8_t memory[64];
    aiki_writer lists;
    struct retry r = {.kind = retry->kind, .attempts_max = retry->attempts_max};
    if (!retry->given)
        return;
    aiki_writer_init_fixed(&lists, memory, sizeof(memory));
    if (retry->kind == AIKI_RETRY_LIST) {
        aiki_mp_array(&lists, 2);
        aiki_mp_int(&lists, retry->delays_ms[0]);
        aiki_mp_int(&lists, retry->delays_ms[1]);
        r.delays_ms = aiki_writer_view(&lists);
    } else {
        r.delay_ms = retry->delays_ms[0];
    }
    uint64_t before = lists.size_bytes;
    if (retry->no_is_final) {
        aiki_mp_array(&lists, 1);
        aiki_mp_str(&lists, "NO");
        r.final_codes = (aiki_view){lists.data + before, lists.size_bytes - before};
    }
    if (retry->as_map)
        retry_write_map(w, &r);
    else
        retry_write(w, &r);
}

/* Few keys for many starts. Unique ones belong to whoever comes first. */
static void make_key(struct sim_run *r, uint32_t number)
{
    if (USES(KEYS) && rng_permille(&sim.work, 500)) {
        (void)snprintf(r->key, sizeof(r->key), "of-many-%u", (uint32_t)rng_below(&sim.work, SHARED_KEYS));
        r->key_policy = rng_below(&sim.work, 3);
    } else if (rng_permille(&sim.work, 400)) {
        (void)snprintf(r->key, sizeof(r->key), "key-%u", number);
    }
}

static void make_options(struct sim_run *r, uint32_t number)
{
    r->workflow = (uint32_t)rng_below(&sim.work, sim.config.workflows);
    r->input = rng_below(&sim.work, 5);
    make_key(r, number);
    if (USES(START_RETRY) && rng_permille(&sim.work, 400))
        make_retry(&r->retry);
    if (USES(DELAY) && rng_permille(&sim.work, 200))
        r->delay_ms = 1 + (int64_t)rng_below(&sim.work, 5000);
    else if (USES(DELAY) && rng_permille(&sim.work, 200))
        r->wanted_at_ms = clock_wall_ms() + (int64_t)rng_below(&sim.work, FAULT_PHASE_MS);
    if (USES(DEADLINE) && rng_permille(&sim.work, 250))
        r->run_timeout_ms = 1 + (int64_t)rng_below(&sim.work, 12000);
}

void runs_make(void)
{
    sim.runs = memory_need(RUNS_MAX * sizeof(*sim.runs));
    sim.run_places = memory_need(PLACES * sizeof(*sim.run_places));
    for (uint32_t i = 0; i < sim.config.runs; i++) {
        uint8_t random[10] = {0};
        random[8] = (uint8_t)(i >> 8);
        random[9] = (uint8_t)i;
        uint64_t salt = rng_next(&sim.work);
        memcpy(random, &salt, 8);
        const struct aiki_id id = id_make(clock_wall_ms(), random);
        make_options(&sim.runs[run_add(&id)], i);
    }
}

void runs_free(void)
{
    for (uint32_t i = 0; i < sim.run_count; i++) {
        free(sim.runs[i].steps);
        free(sim.runs[i].signals);
        free(sim.runs[i].deliveries);
        free(sim.runs[i].ends);
        free(sim.runs[i].crashes);
        free(sim.runs[i].joins);
        free(sim.runs[i].refs);
    }
    free(sim.runs);
    free(sim.run_places);
}

/* quarantines.c - code that takes processes down too often: what is on record about it, and who knows.
 *
 *   what is quarantined has crashed that often in that time, in two runs at least, however often the server was
 *   started again meanwhile; what has, is quarantined, and every runtime that has the build knows
 */
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "quarantine.h"
#include "sim.h"
#include "wire/error.h"

enum { BITS = NAMES + WORKFLOWS_MAX, CRASHES_KEPT = 100 };

/* Charged crashes of one task or workflow of a build since it was last lifted. */
struct count {
    struct {
        int64_t at_ms;
        uint32_t run;
    } crashes[CRASHES_KEPT];
    uint32_t count;
};
static struct {
    struct count counts[BUILDS][BITS];
    uint32_t on[BUILDS];   /* by rows; bits */
    uint32_t ever[BUILDS]; /* by crashes on record: a row that the store refuses holds until a restart, too */
} all;

void quarantine_begin(void) { memset(&all, 0, sizeof(all)); }

static uint32_t number_of(aiki_view name, bool workflow)
{
    return workflow ? NAMES + (uint32_t)(name.data[1] - '0') : (uint32_t)(name.data[0] - 'a');
}

uint32_t quarantine_bit(aiki_view name, bool workflow) { return 1u << number_of(name, workflow); }

bool quarantine_was(uint32_t build) { return all.ever[build] != 0; }

/* Whether there was a moment at which it had. */
static bool is_too_much(const struct count *c)
{
    uint32_t max = sim.config.quarantine_crashes;
    for (uint32_t last = 0; USES(QUARANTINE) && last < c->count && last < CRASHES_KEPT; last++) {
        uint32_t within = 0;
        bool several = false;
        for (uint32_t i = 0; i <= last; i++) {
            if (c->crashes[i].at_ms < c->crashes[last].at_ms - QUARANTINE_MS)
                continue;
            within++;
            several |= c->crashes[i].run != c->crashes[last].run;
        }
        if (within >= max && several)
            return true;
    }
    return false;
}

/* Kills count for the run alone: nobody can tell an operator from the kernel. */
void quarantine_counts(const struct sim_run *r, const struct event *e)
{
    aiki_error err = {.struct_size = sizeof(err)};
    uint32_t number = number_of(e->as.crashed.name, e->as.crashed.attempt == 0);
    uint32_t build = e->as.crashed.build.data[0] - 1u;
    struct count *c = &all.counts[build][number];
    (void)error_read(e->as.crashed.error, &err, NULL, NULL); /* its code counts */
    if (strcmp(err.code, "CRASH_KILLED") == 0)
        return;
    uint32_t at = c->count++ % CRASHES_KEPT;
    c->crashes[at].run = fact_run_number(r);
    c->crashes[at].at_ms = e->at_ms;
    if (is_too_much(c))
        all.ever[build] |= 1u << number;
}

/* A row named "*" says that runs were let go on which a build had blocked: nothing of it was quarantined. */
static void take_row(const struct workflow_row *row)
{
    if (view_is(row->name, "*")) {
        if (row->descriptor.data[0] != 0xc0)
            violation("all of build %u is quarantined", row->build.data[0] - 1u);
        return;
    }
    uint32_t build = row->build.data[0] - 1u;
    bool workflow = row->name.data[row->name.size_bytes - 1] == '!';
    uint32_t number = number_of(row->name, workflow), bit = 1u << number;
    struct count *c = &all.counts[build][number];
    if (row->descriptor.data[0] == 0xc0) {
        all.on[build] &= ~bit;
        memset(c, 0, sizeof(*c));
        return;
    }
    if (!is_too_much(c))
        violation("%.*s of build %u is quarantined, and has not crashed that often",
                  (int)row->name.size_bytes, (const char *)row->name.data, build);
    all.on[build] |= bit;
}

void quarantine_rows(const struct unit *u)
{
    for (size_t i = 0; i < u->workflow_count; i++)
        if (view_is(u->workflows[i].space, "sim" QUARANTINE_MARK))
            take_row(&u->workflows[i]);
}

void quarantine_quiet(void)
{
    for (uint32_t build = 0; build < BUILDS; build++) {
        uint32_t should = all.on[build];
        for (uint32_t i = 0; i < BITS; i++)
            if (is_too_much(&all.counts[build][i]))
                should |= 1u << i;
        for (uint32_t peer = 0; peer < sim.config.runtimes; peer++) {
            bool registered;
            uint32_t known = runtime_quarantined(peer, build, &registered);
            if (registered && known != should)
                violation("runtime %u knows %x of build %u as quarantined, it is %x", peer, known, build,
                          should);
        }
    }
}

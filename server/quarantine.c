/* quarantine.c - see quarantine.h. */
#include "quarantine.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/planted.h"
#include "pipeline.h"
#include "views.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/message.h"

enum { HEX_SIZE = 2 * HASH_BYTES + 1, SPACE_SIZE = NAME_BYTES_MAX + 16 };

static bool same(const struct culprit *a, const struct culprit *b)
{
    return a->workflow == b->workflow && memcmp(a->build, b->build, HASH_BYTES) == 0 &&
           strcmp(a->name, b->name) == 0;
}

static struct quarantined *find(const struct quarantine *q, const struct culprit *of)
{
    for (size_t i = 0; i < q->count; i++)
        if (same(&q->on[i].of, of))
            return &q->on[i];
    return NULL;
}

static void add(struct quarantine *q, const struct culprit *of, int64_t at_ms, bool on_record)
{
    q->on = array_grow(q->on, &q->capacity, q->count, sizeof(*q->on));
    q->on[q->count++] = (struct quarantined){.of = *of, .at_ms = at_ms, .on_record = on_record};
}

void quarantine_deinit(struct quarantine *q)
{
    free(q->on);
    free(q->suspected);
}

/* ---- on record ------------------------------------------------------------------------------- */

static const char *space_of(const struct pipeline *p, char text[SPACE_SIZE])
{
    (void)snprintf(text, SPACE_SIZE, "%s" QUARANTINE_MARK, p->space);
    return text;
}

/* lifted: the row stays and says so. */
static aiki_status record(struct pipeline *p, const struct quarantined *x, bool lifted,
                          aiki_error *err)
{
    static const uint8_t nil = 0xc0, yes = 0xc3;
    char space[SPACE_SIZE], build[HEX_SIZE], name[NAME_BYTES_MAX + 2];
    (void)snprintf(name, sizeof(name), "%s%s", x->of.name, x->of.workflow ? "!" : "");
    (void)sodium_bin2hex(build, sizeof(build), x->of.build, HASH_BYTES);
    const struct workflow_row row = {.space = view_of(space_of(p, space)),
                                     .name = view_of(name),
                                     .version = view_of(build),
                                     .plugin = view_of("-"),
                                     .build = {x->of.build, HASH_BYTES},
                                     .descriptor = {lifted ? &nil : &yes, 1},
                                     .first_seen_at_ms = x->at_ms,
                                     .last_seen_at_ms = p->now.at_ms};
    const struct unit unit = {.workflows = &row, .workflow_count = 1};
    return unit_store(p, &unit, err);
}

static bool restore_row(void *arg, const struct workflow_row *row)
{
    struct quarantine *q = arg;
    struct culprit of = {.workflow = false};
    bool lifted = row->descriptor.size_bytes == 1 && row->descriptor.data[0] == 0xc0;
    size_t size = (size_t)row->name.size_bytes;
    if (lifted || BUG(quarantine_forgotten) || row->build.size_bytes != HASH_BYTES || size == 0 || size > NAME_BYTES_MAX + 1)
        return true;
    of.workflow = row->name.data[size - 1] == '!';
    memcpy(of.name, row->name.data, size - of.workflow);
    memcpy(of.build, row->build.data, HASH_BYTES);
    if (q->count < QUARANTINES_MAX)
        add(q, &of, row->last_seen_at_ms, true);
    return true;
}

aiki_status quarantine_restore(struct pipeline *p, aiki_error *err)
{
    struct store_reader *reader;
    char space[SPACE_SIZE];
    aiki_status status = p->store->ops->open_reader(p->store, &reader, err);
    if (status != AIKI_OK)
        return status;
    status = p->store->ops->workflows(reader, space_of(p, space), restore_row, &p->quarantine, err);
    p->store->ops->close_reader(reader);
    return status;
}

/* ---- counting -------------------------------------------------------------------------------- */

static struct suspected *suspect(struct quarantine *q, const struct culprit *of,
                                 const struct aiki_id *run)
{
    struct suspected *oldest = NULL;
    if (q->suspected == NULL)
        q->suspected = memory_need(SUSPECTS_MAX * sizeof(*q->suspected));
    for (size_t i = 0; i < q->suspected_count; i++) {
        struct suspected *s = &q->suspected[i];
        if (same(&s->of, of))
            return s;
        if (oldest == NULL || s->at_ms[(s->count - 1) % QUARANTINE_CRASHES_MAX] <
                                  oldest->at_ms[(oldest->count - 1) % QUARANTINE_CRASHES_MAX])
            oldest = s;
    }
    if (q->suspected_count < SUSPECTS_MAX)
        oldest = &q->suspected[q->suspected_count++];
    *oldest = (struct suspected){.of = *of, .first_run = *run};
    return oldest;
}

static bool is_too_much(const struct quarantine *q, const struct suspected *s, int64_t now_ms)
{
    if (q->crashes_max == 0 || s->count < q->crashes_max || !s->several_runs)
        return false;
    return now_ms - s->at_ms[(s->count - q->crashes_max) % QUARANTINE_CRASHES_MAX] <= q->window_ms;
}

/* By an operator, or by itself: the run has its budget, the build is not to blame. A kill by the kernel for
 * want of memory has another code. */
static bool was_killed(const struct event *e)
{
    aiki_error err = AIKI_ERROR_INIT;
    return error_read(e->as.crashed.error, &err, NULL, NULL) == AIKI_OK &&
           strcmp(err.code, "CRASH_KILLED") == 0;
}

void quarantine_note(struct pipeline *p, const struct aiki_id *run, const struct event *e)
{
    struct quarantine *q = &p->quarantine;
    struct culprit of = {.workflow = e->as.crashed.attempt == 0};
    size_t size = (size_t)e->as.crashed.name.size_bytes;
    if (e->kind != EVENT_CRASHED || !e->as.crashed.charged || size > NAME_BYTES_MAX ||
        e->as.crashed.build.size_bytes != HASH_BYTES)
        return;
    memcpy(of.build, e->as.crashed.build.data, HASH_BYTES);
    memcpy(of.name, e->as.crashed.name.data, size);
    metric_add(crashes, 1);
    if (was_killed(e))
        return;
    struct suspected *s = suspect(q, &of, run);
    s->several_runs |= BUG(quarantine_of_one) || !id_equal(&s->first_run, run);
    s->at_ms[s->count++ % QUARANTINE_CRASHES_MAX] = p->now.at_ms;
    if (!is_too_much(q, s, p->now.at_ms) || find(q, &of) != NULL || q->count >= QUARANTINES_MAX)
        return;
    add(q, &of, p->now.at_ms, false);
    q->changed = true;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void push(struct pipeline *p, const struct session *s, const struct culprit *of, bool on)
{
    frame_add(push_frames(p, s->peer), QUARANTINE, 0, .build = {of->build, HASH_BYTES},
              .name = view_of(of->name), .workflow = of->workflow, .on = on);
}

static bool has_build(const struct session *s, const uint8_t build[HASH_BYTES])
{
    for (const struct chain *m = s->plugins.next; m != &s->plugins; m = m->next)
        if (memcmp(container_of(m, struct plugin, of_session)->build, build, HASH_BYTES) == 0)
            return true;
    return false;
}

/* That it is lifted is told to all: who has no such build now may have had it, and have it again. */
static void tell_all(struct pipeline *p, const struct culprit *of, bool on)
{
    struct chain *all = &p->registry.sessions;
    for (struct chain *m = all->next; m != all; m = m->next) {
        const struct session *s = container_of(m, struct session, all);
        if (on ? has_build(s, of->build) : !BUG(lift_untold))
            push(p, s, of, on);
    }
}

void quarantine_tell(struct pipeline *p, struct session *s, const uint8_t build[HASH_BYTES])
{
    for (size_t i = 0; i < p->quarantine.count && !BUG(quarantine_untold); i++)
        if (memcmp(p->quarantine.on[i].of.build, build, HASH_BYTES) == 0)
            push(p, s, &p->quarantine.on[i].of, true);
}

void quarantine_settle(struct pipeline *p)
{
    struct quarantine *q = &p->quarantine;
    char build[HEX_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    if (!q->changed)
        return;
    q->changed = false;
    for (size_t i = 0; i < q->count; i++) {
        struct quarantined *x = &q->on[i];
        if (x->on_record)
            continue;
        x->on_record = true;
        fault_point(server_quarantine_before);
        (void)sodium_bin2hex(build, sizeof(build), x->of.build, HASH_BYTES);
        if (record(p, x, false, &err) != AIKI_OK)
            log_error("registry", "a quarantine holds until the next restart only: %s", err.message);
        fault_point(server_quarantine_after);
        log_error("registry",
                  "%s %s of build %.12s is quarantined: %u crashes within %lld ms; aiki plugins "
                  "unquarantine %.12s",
                  x->of.workflow ? "workflow" : "task", x->of.name, build, q->crashes_max,
                  (long long)q->window_ms, build);
        metric_add(quarantines, 1);
        tell_all(p, &x->of, true);
    }
}

/* ---- lifting --------------------------------------------------------------------------------- */

static bool is_meant(const struct culprit *of, aiki_view build_hex, aiki_view name)
{
    char build[HEX_SIZE];
    (void)sodium_bin2hex(build, sizeof(build), of->build, HASH_BYTES);
    return build_hex.size_bytes < HEX_SIZE &&
           memcmp(build, build_hex.data, (size_t)build_hex.size_bytes) == 0 &&
           (name.size_bytes == 0 || view_is(name, of->name));
}

static aiki_status lift(struct pipeline *p, size_t i, aiki_error *err)
{
    struct quarantine *q = &p->quarantine;
    fault_point(server_lift_before);
    aiki_status status = record(p, &q->on[i], true, err);
    if (status != AIKI_OK)
        return status;
    fault_point(server_lift_after);
    for (size_t k = 0; k < q->suspected_count; k++)
        if (same(&q->suspected[k].of, &q->on[i].of))
            q->suspected[k] = q->suspected[--q->suspected_count];
    tell_all(p, &q->on[i].of, false);
    q->on[i] = q->on[--q->count];
    return AIKI_OK;
}

aiki_status quarantine_lift(struct pipeline *p, aiki_view build_hex, aiki_view name,
                            uint64_t *ret_lifted, aiki_error *err)
{
    struct quarantine *q = &p->quarantine;
    aiki_status status = AIKI_OK;
    *ret_lifted = 0;
    if (build_hex.size_bytes < 4)
        return error_code(err, AIKI_INVALID, "BAD_BUILD",
                          "a build is named by at least 4 of its hex digits, see aiki plugins list");
    unit_finish(p);
    for (size_t i = q->count; status == AIKI_OK && i-- > 0;) {
        if (!is_meant(&q->on[i].of, build_hex, name))
            continue;
        status = lift(p, i, err);
        *ret_lifted += status == AIKI_OK;
    }
    if (status == AIKI_OK)
        *ret_lifted += unblock_crashed(p, build_hex);
    if (status == AIKI_OK && *ret_lifted == 0)
        return error_code(err, AIKI_NOT_FOUND, "NOT_QUARANTINED",
                          "nothing of that build is quarantined and no run is blocked because it "
                          "crashed; see aiki plugins list");
    return status;
}

void quarantine_write(const struct pipeline *p, aiki_writer *w)
{
    const struct quarantine *q = &p->quarantine;
    aiki_mp_array(w, q->count);
    for (size_t i = 0; i < q->count; i++) {
        struct view_map m;
        view_map_begin(&m, w);
        view_name(&m, "build");
        view_hex(w, q->on[i].of.build, HASH_BYTES);
        view_put_text(&m, "of", view_of(q->on[i].of.workflow ? "workflow" : "task"));
        view_put_text(&m, "name", view_of(q->on[i].of.name));
        view_put_time(&m, "at", q->on[i].at_ms);
        view_map_end(&m);
    }
}

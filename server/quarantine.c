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

enum { HEX_SIZE = 2 * HASH_BYTES + 1 };

/* In a row that says lifted: runs were let go on that the build had blocked, whatever it crashed in. No
 * code can have that name. */
#define ALL_OF_IT "*"

static struct quarantined *find(const struct quarantine *q, const struct culprit *of)
{
    for (size_t i = 0; i < q->count; i++)
        if (culprit_equal(&q->on[i].of, of))
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
    suspects_deinit(&q->suspects);
}

/* ---- on record ------------------------------------------------------------------------------- */

/* lifted: the row stays and says so. What was counted so far has led to that, and counts no more. */
static aiki_status record(struct pipeline *p, const struct quarantined *x, bool lifted,
                          aiki_error *err)
{
    static const uint8_t nil = 0xc0, yes = 0xc3, no_crashes = 0x90;
    struct culprit_text verdict, count;
    struct workflow_row rows[] = {culprit_row(&verdict, &x->of, p->space, QUARANTINE_MARK, p->now.at_ms),
                                  culprit_row(&count, &x->of, p->space, SUSPECTS_MARK, p->now.at_ms)};
    rows[0].first_seen_at_ms = x->at_ms;
    rows[0].descriptor = (aiki_view){lifted ? &nil : &yes, 1};
    rows[1].descriptor = (aiki_view){&no_crashes, 1};
    const struct unit unit = {.workflows = rows, .workflow_count = ARRAY_COUNT(rows)};
    aiki_status status = unit_store(p, &unit, err);
    if (status == AIKI_OK)
        suspects_clear(&p->quarantine.suspects, &x->of);
    return status;
}

static bool restore_row(void *arg, const struct workflow_row *row)
{
    struct quarantine *q = arg;
    struct culprit of;
    bool lifted = row->descriptor.size_bytes == 1 && row->descriptor.data[0] == 0xc0;
    if (!lifted && !BUG(quarantine_forgotten) && culprit_read(row, &of) && q->count < QUARANTINES_MAX)
        add(q, &of, row->last_seen_at_ms, true);
    return true;
}

static void judge(void *arg, const struct suspected *x)
{
    struct pipeline *p = arg;
    struct quarantine *q = &p->quarantine;
    if (q->crashes_max == 0 || x->count < q->crashes_max || !suspect_of_several_runs(x) ||
        find(q, &x->of) != NULL || q->count >= QUARANTINES_MAX)
        return;
    add(q, &x->of, p->now.at_ms, false);
    q->changed = true;
}

/* What crashed too often, and still has its count, has no verdict on record. */
static bool restore_count(void *arg, const struct workflow_row *row)
{
    struct pipeline *p = arg;
    struct quarantine *q = &p->quarantine;
    struct suspected x;
    if (!suspect_read(row, q->window_ms, &x))
        return true;
    judge(p, &x);
    if (x.crashes[x.count - 1].at_ms >= p->now.at_ms - q->window_ms)
        suspects_keep(&q->suspects, &x);
    return true;
}

static aiki_status each_row(struct pipeline *p, const char *mark,
                            bool (*fn)(void *arg, const struct workflow_row *row), void *arg,
                            aiki_error *err)
{
    struct store_reader *reader;
    char space[NAME_BYTES_MAX + 16];
    aiki_status status = p->store->ops->open_reader(p->store, &reader, err);
    if (status != AIKI_OK)
        return status;
    (void)snprintf(space, sizeof(space), "%s%s", p->space, mark);
    status = p->store->ops->workflows(reader, space, fn, arg, err);
    p->store->ops->close_reader(reader);
    return status;
}

/* ---- counting -------------------------------------------------------------------------------- */

/* The run has its budget, the build is not to blame: what was killed or stopped may have been so by an operator (a kill by
 * the kernel for want of memory has another code), and of what nobody can tell no code has the name. */
static bool is_of_the_run_alone(const struct event *e)
{
    static const char *const codes[] = {"CRASH_KILLED", "CRASH_STOPPED", "CRASH_UNTOLD"};
    aiki_error err = AIKI_ERROR_INIT;
    if (error_read(e->as.crashed.error, &err, NULL, NULL) != AIKI_OK)
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++)
        if (strcmp(err.code, codes[i]) == 0)
            return true;
    return false;
}

void quarantine_draft(struct pipeline *p, const struct aiki_id *run, const struct event *e)
{
    struct quarantine *q = &p->quarantine;
    struct culprit of = {.workflow = e->as.crashed.attempt == 0};
    size_t size = (size_t)e->as.crashed.name.size_bytes;
    if (e->kind != EVENT_CRASHED || !e->as.crashed.charged || size > NAME_BYTES_MAX ||
        e->as.crashed.build.size_bytes != HASH_BYTES)
        return;
    q->crashes_drafted++;
    if (is_of_the_run_alone(e))
        return;
    memcpy(of.build, e->as.crashed.build.data, HASH_BYTES);
    memcpy(of.name, e->as.crashed.name.data, size);
    suspects_draft(&q->suspects, &of, run, e->at_ms, e->at_ms - q->window_ms);
}

void quarantine_count(struct pipeline *p)
{
    metric_add(crashes, p->quarantine.crashes_drafted);
    p->quarantine.crashes_drafted = 0;
    suspects_adopt(&p->quarantine.suspects, judge, p);
}

void quarantine_forget_drafts(struct quarantine *q)
{
    q->crashes_drafted = 0;
    suspects_forget_drafts(&q->suspects);
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

static void announce(struct pipeline *p, struct quarantined *x)
{
    const struct quarantine *q = &p->quarantine;
    char build[HEX_SIZE];
    if (x->told)
        return;
    x->told = true;
    (void)sodium_bin2hex(build, sizeof(build), x->of.build, HASH_BYTES);
    log_error("registry",
              "%s %s of build %.12s is quarantined: %u crashes within %lld ms; aiki plugins "
              "unquarantine %.12s",
              x->of.workflow ? "workflow" : "task", x->of.name, build, q->crashes_max,
              (long long)q->window_ms, build);
    metric_add(quarantines, 1);
    tell_all(p, &x->of, true);
}

void quarantine_settle(struct pipeline *p)
{
    struct quarantine *q = &p->quarantine;
    aiki_error err = {.struct_size = sizeof(err)};
    if (!q->changed)
        return;
    q->changed = false;
    for (size_t i = 0; i < q->count; i++) {
        struct quarantined *x = &q->on[i];
        if (x->on_record)
            continue;
        fault_point(server_quarantine_before);
        x->on_record = record(p, x, false, &err) == AIKI_OK;
        fault_point(server_quarantine_after);
        if (!x->on_record && !x->told)
            log_warn("registry", "a quarantine is not on record yet: %s", err.message);
        q->changed |= !x->on_record; /* with the next commit; should there be none, its count is on record */
        announce(p, x);
    }
}

aiki_status quarantine_restore(struct pipeline *p, aiki_error *err)
{
    aiki_status status = each_row(p, QUARANTINE_MARK, restore_row, &p->quarantine, err);
    if (status == AIKI_OK)
        status = each_row(p, SUSPECTS_MARK, restore_count, p, err);
    if (status == AIKI_OK)
        quarantine_settle(p);
    return status;
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

aiki_status quarantine_record_lift(struct pipeline *p, const uint8_t build[HASH_BYTES],
                                   aiki_error *err)
{
    struct quarantined x = {.of.name = ALL_OF_IT, .at_ms = p->now.at_ms};
    memcpy(x.of.build, build, HASH_BYTES);
    return record(p, &x, true, err);
}

struct lookup {
    aiki_view build_hex, name;
    bool found;
};

static bool look_at_row(void *arg, const struct workflow_row *row)
{
    struct lookup *l = arg;
    struct culprit of;
    l->found = culprit_read(row, &of) && (is_meant(&of, l->build_hex, l->name) ||
                                          is_meant(&of, l->build_hex, view_of(ALL_OF_IT)));
    return !l->found;
}

static aiki_status lift(struct pipeline *p, size_t i, aiki_error *err)
{
    struct quarantine *q = &p->quarantine;
    fault_point(server_lift_before);
    aiki_status status = record(p, &q->on[i], true, err);
    if (status != AIKI_OK)
        return status;
    fault_point(server_lift_after);
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
        status = unblock_crashed(p, build_hex, ret_lifted, err);
    /* Nothing of it is quarantined now, and it was: who asks again did not get the answer. */
    struct lookup again = {build_hex, name, false};
    if (status == AIKI_OK && *ret_lifted == 0)
        status = each_row(p, QUARANTINE_MARK, look_at_row, &again, err);
    if (status == AIKI_OK && *ret_lifted == 0 && !again.found)
        return error_code(err, AIKI_NOT_FOUND, "NOT_QUARANTINED",
                          "nothing of that build is quarantined and no run is blocked because it "
                          "crashed; see aiki plugins list");
    return status;
}

/* Counted from the crash: to be blocked again, because a build came that does not fit, is no new time. */
static int64_t spent_until_ms(const struct pipeline *p, aiki_view details)
{
    aiki_reader r;
    aiki_reader_init(&r, error_value(details, "crashed_at_ms"));
    int64_t crashed_at_ms = aiki_mp_read_int(&r);
    if (r.status != AIKI_OK || crashed_at_ms <= 0 || crashed_at_ms > p->now.at_ms)
        crashed_at_ms = p->now.at_ms;
    int64_t until_ms = crashed_at_ms + p->quarantine.hold_ms;
    return until_ms > p->now.at_ms && !BUG(hold_cut_short) ? until_ms : p->now.at_ms;
}

/* Whether that code of the build, or without a name any of it, is quarantined. */
static bool is_quarantined(const struct quarantine *q, const uint8_t *build, aiki_view details)
{
    aiki_reader name, workflow;
    aiki_reader_init(&name, error_value(details, "name"));
    aiki_reader_init(&workflow, error_value(details, "workflow"));
    aiki_view text = aiki_mp_read_str(&name);
    bool is_workflow = aiki_mp_read_bool(&workflow);
    for (size_t i = 0; i < q->count; i++)
        if (memcmp(q->on[i].of.build, build, HASH_BYTES) == 0 &&
            (name.status != AIKI_OK ||
             (q->on[i].of.workflow == is_workflow && view_is(text, q->on[i].of.name))))
            return true;
    return false;
}

int64_t quarantine_hold_until_ms(const struct pipeline *p, const uint8_t *build, aiki_view error)
{
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_view details = error_value(error, "details");
    if (error_read(error, &err, NULL, NULL) != AIKI_OK)
        return 0;
    if (strcmp(err.code, "TASK_CRASHED") == 0)
        return spent_until_ms(p, details);
    bool lifted = strcmp(err.code, "QUARANTINED") == 0 &&
                  !is_quarantined(&p->quarantine, build, details);
    return lifted ? p->now.at_ms : 0; /* while this was on its way */
}

uint64_t quarantine_why_over(aiki_view error)
{
    aiki_error err = {.struct_size = sizeof(err)};
    bool spent = error_read(error, &err, NULL, NULL) == AIKI_OK && strcmp(err.code, "TASK_CRASHED") == 0;
    return spent ? UNBLOCKED_IN_VAIN : UNBLOCKED_LIFTED;
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

/* begun.c - see begun.h. */
#include "begun.h"

#include <stdlib.h>
#include <string.h>

#include "pipeline.h"
#include "tally.h"
#include "wire/error.h"

enum { BEGUN_PAGE_BYTES = 256 * 1024 };

void begun_destroy(struct begun_set *set)
{
    if (set != NULL)
        free(set->steps);
    free(set);
}

static struct begun_step *find(struct begun_set *set, const struct event *e)
{
    for (size_t i = set->first; i < set->count; i++) {
        struct begun_step *s = &set->steps[i];
        if (s->open && s->nth == e->as.step.nth &&
            memcmp(&s->address, &e->as.step.address, sizeof(s->address)) == 0)
            return s;
    }
    return NULL;
}

static void drop_ended(struct begun_set *set)
{
    size_t kept = 0;
    for (size_t i = set->first; i < set->count; i++)
        if (set->steps[i].open)
            set->steps[kept++] = set->steps[i];
    set->first = 0;
    set->count = kept;
}

static void add(struct begun_set *set, const struct event *e)
{
    bool is_task = e->as.step.identity_kind == STEP_TASK;
    if (find(set, e) != NULL)
        return;
    /* Rather than grow, or find no room, because of a step that goes on and on. */
    if (set->count == set->capacity || set->count == BEGUN_STEPS_MAX)
        drop_ended(set);
    if (set->count == BEGUN_STEPS_MAX)
        return;
    set->steps = array_grow(set->steps, &set->capacity, set->count, sizeof(*set->steps));
    set->steps[set->count++] = (struct begun_step){.address = e->as.step.address,
                                                   .nth = e->as.step.nth,
                                                   .task = is_task ? tally_task(e->as.step.name) : 0,
                                                   .is_task = is_task,
                                                   .open = true};
}

static void end(struct begun_set *set, struct begun_step *s)
{
    s->open = false;
    while (set->first < set->count && !set->steps[set->first].open)
        set->first++;
    if (set->first == set->count)
        set->first = set->count = 0;
}

static bool speaks_of_step(uint64_t kind)
{
    return kind == EVENT_STEP_BEGUN || kind == EVENT_ATTEMPT_FAILED || kind == EVENT_HEARTBEAT ||
           kind == EVENT_ATTEMPT_DONE || kind == EVENT_STEP_DONE;
}

static void follow(struct begun_set *set, const struct event *e)
{
    if (!speaks_of_step(e->kind))
        return;
    if (e->kind == EVENT_STEP_DONE) {
        struct begun_step *s = find(set, e);
        if (s != NULL)
            end(set, s);
    } else if (e->as.step.identity_kind != 0) {
        add(set, e);
    }
}

/* What is unreadable here is somebody else's to report: its tasks are counted as "other". */
static void learn(struct pipeline *p, struct entry *e, uint64_t seq_before)
{
    aiki_status status = AIKI_OK;
    e->begun = memory_need(sizeof(*e->begun));
    memset(e->begun, 0, sizeof(*e->begun));
    for (uint64_t after = 0; status == AIKI_OK && after < seq_before;) {
        aiki_view page;
        aiki_reader r;
        struct event event;
        status = run_journal(p, e, after, BEGUN_PAGE_BYTES, &page, &after, NULL);
        aiki_reader_init(&r, page);
        while (status == AIKI_OK && aiki_reader_left(&r) > 0) {
            status = event_read_stored(&r, &event, NULL);
            if (status == AIKI_OK && event.seq <= seq_before)
                follow(e->begun, &event);
        }
    }
}

static enum tally_outcome outcome_of(const struct event *e)
{
    if (e->kind == EVENT_ATTEMPT_FAILED)
        return TALLY_RETRIED;
    switch (e->as.step.outcome) {
    case OUTCOME_OK: return TALLY_OK;
    case OUTCOME_TIMEDOUT: return TALLY_TIMED_OUT;
    case OUTCOME_CANCELLED: return TALLY_CANCELLED;
    default: return TALLY_FAILED;
    }
}

static int32_t category_of(aiki_view error)
{
    aiki_error err = {.struct_size = sizeof(err)};
    if (error.size_bytes == 0 || error_read(error, &err, NULL, NULL) != AIKI_OK)
        return AIKI_CATEGORY_OK;
    return err.category != 0 ? err.category : aiki_status_category(err.status);
}

static void count_crash(const struct entry *e, const struct event *event)
{
    aiki_view build = event->as.crashed.build;
    if (event->as.crashed.charged && event->as.crashed.attempt > 0)
        tally_add(tally_task(event->as.crashed.name), TALLY_CRASHED,
                  category_of(event->as.crashed.error),
                  build.size_bytes == HASH_BYTES ? build.data : e->build);
}

/* An ATTEMPT_DONE is counted when its result is recorded. */
static void count_end(struct pipeline *p, struct entry *e, uint64_t seq_before,
                      const struct event *event)
{
    bool is_task = event->as.step.identity_kind == STEP_TASK;
    uint16_t task = 0;
    if (event->as.step.identity_kind != 0) {
        task = is_task ? tally_task(event->as.step.name) : 0;
    } else {
        if (e->begun == NULL)
            learn(p, e, seq_before);
        const struct begun_step *s = find(e->begun, event);
        is_task = s == NULL ? event->as.step.attempt > 0 : s->is_task;
        task = s == NULL ? 0 : s->task;
    }
    if (is_task)
        tally_add(task, outcome_of(event), category_of(event->as.step.error), e->build);
}

void begun_tally(struct pipeline *p, struct entry *e, uint64_t seq_before)
{
    for (size_t i = 0; i < p->fresh_count; i++) {
        const struct event *event = &p->fresh[i];
        if (event->kind == EVENT_CRASHED)
            count_crash(e, event);
        else if (event->kind == EVENT_STEP_DONE || event->kind == EVENT_ATTEMPT_FAILED)
            count_end(p, e, seq_before, event);
        if (e->begun != NULL)
            follow(e->begun, event);
    }
}

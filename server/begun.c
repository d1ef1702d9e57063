/* begun.c - see begun.h. */
#include "begun.h"

#include <stdlib.h>
#include <string.h>

#include "pipeline.h"
#include "tally.h"
#include "wire/error.h"

enum { BEGUN_PAGE_BYTES = 256 * 1024, STEPS_MIN = 8 };

void begun_destroy(struct begun_set *set)
{
    if (set != NULL)
        free(set->steps);
    free(set);
}

static size_t home_of(const struct begun_set *set, const struct address *address, uint64_t nth)
{
    uint64_t key;
    memcpy(&key, address->bytes, sizeof(key)); /* a hash itself */
    key = (key ^ nth) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(key >> 32) & (set->capacity - 1);
}

/* Its place, or where it is to be put; the table has room. */
static struct begun_step *place_of(const struct begun_set *set, const struct address *address, uint64_t nth)
{
    size_t at = home_of(set, address, nth);
    while (set->steps[at].used && (set->steps[at].nth != nth ||
                                   memcmp(&set->steps[at].address, address, sizeof(*address)) != 0))
        at = (at + 1) & (set->capacity - 1);
    return &set->steps[at];
}

static struct begun_step *find(const struct begun_set *set, const struct event *e)
{
    if (set->count == 0)
        return NULL;
    struct begun_step *s = place_of(set, &e->as.step.address, e->as.step.nth);
    return s->used ? s : NULL;
}

static void make_room(struct begun_set *set)
{
    struct begun_set larger = {.count = set->count,
                               .capacity = set->capacity > 0 ? 2 * set->capacity : STEPS_MIN};
    if (2 * set->count < set->capacity)
        return;
    larger.steps = memory_need(larger.capacity * sizeof(*larger.steps));
    for (size_t i = 0; i < set->capacity; i++)
        if (set->steps[i].used)
            *place_of(&larger, &set->steps[i].address, set->steps[i].nth) = set->steps[i];
    free(set->steps);
    *set = larger;
}

static void add(struct begun_set *set, const struct event *e)
{
    bool is_task = e->as.step.identity_kind == STEP_TASK;
    if (find(set, e) != NULL || set->count == BEGUN_STEPS_MAX)
        return;
    make_room(set);
    set->count++;
    *place_of(set, &e->as.step.address, e->as.step.nth) =
        (struct begun_step){.address = e->as.step.address,
                            .nth = e->as.step.nth,
                            .task = is_task ? tally_task(e->as.step.name) : 0,
                            .is_task = is_task,
                            .used = true};
}

/* Those behind it that were pushed away by it come nearer to where they belong. */
static void end(struct begun_set *set, const struct begun_step *s)
{
    size_t mask = set->capacity - 1, hole = (size_t)(s - set->steps);
    for (size_t at = (hole + 1) & mask; set->steps[at].used; at = (at + 1) & mask) {
        size_t home = home_of(set, &set->steps[at].address, set->steps[at].nth);
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        set->steps[hole] = set->steps[at];
        hole = at;
    }
    set->steps[hole].used = false;
    set->count--;
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

/* Where to begin, so that it ends soon. */
static uint64_t learn_after(const struct entry *e, uint64_t seq_before)
{
    uint64_t bytes_each = e->run.journal_bytes / (seq_before + 1) + 1;
    uint64_t events_max = BEGUN_LEARN_BYTES_MAX / bytes_each;
    if (events_max > BEGUN_LEARN_EVENTS_MAX)
        events_max = BEGUN_LEARN_EVENTS_MAX;
    return seq_before > events_max ? seq_before - events_max : 0;
}

/* What is unreadable here is somebody else's to report: its tasks are counted as "other". */
static void learn(struct pipeline *p, struct entry *e, uint64_t seq_before)
{
    aiki_status status = AIKI_OK;
    e->begun = memory_need(sizeof(*e->begun));
    memset(e->begun, 0, sizeof(*e->begun));
    for (uint64_t after = learn_after(e, seq_before); status == AIKI_OK && after < seq_before;) {
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
    if (e->begun == NULL && seq_before >= BEGUN_FOLLOW_EVENTS)
        learn(p, e, seq_before);
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

/* journal.c - stored events to steps and deliveries; outside.c has what arrives.
 *
 * Everything checked here came over a socket from a disk: what does not fit is AIKI_CORRUPT and
 * the run is blocked by the caller, never guessed at.
 */
#include "replay/journal.h"

#include <string.h>

#include "base/planted.h"
#include "wire/child.h"
#include "wire/error.h"

enum { BUCKETS_FIRST = 16, DELIVERIES_FIRST = 16, WRITER_BYTES_FIRST = 512 };

bool replay_memory_grow(const struct replay_memory *m, aiki_writer *w, uint64_t capacity_min_bytes)
{
    uint64_t capacity = w->capacity_bytes == 0 ? WRITER_BYTES_FIRST : w->capacity_bytes * 2;

    if (capacity < capacity_min_bytes)
        capacity = capacity_min_bytes;
    uint8_t *data = m->alloc(m->arg, capacity);
    if (data == NULL)
        return false;
    if (w->size_bytes > 0)
        memcpy(data, w->data, w->size_bytes);
    w->data = data;
    w->capacity_bytes = capacity;
    return true;
}

void journal_init(struct journal *j, struct replay_memory memory)
{
    memset(j, 0, sizeof(*j));
    j->memory = memory;
    j->last_recorded = &j->first_recorded;
    j->last_signal = &j->oldest_signal;
}

/* ---- steps by address -------------------------------------------------------------------- */

static uint32_t bucket_of(const struct address *a, uint64_t nth, uint32_t bucket_count)
{
    uint64_t bits; /* an address is a hash already; a loop repeats one with nth rising */

    memcpy(&bits, a->bytes, sizeof(bits));
    return (uint32_t)(bits + nth) & (bucket_count - 1);
}

struct step *journal_find(const struct journal *j, const struct address *a, uint64_t nth)
{
    if (j->bucket_count == 0)
        return NULL;
    for (struct step *s = j->buckets[bucket_of(a, nth, j->bucket_count)]; s != NULL; s = s->chain)
        if (s->nth == nth && memcmp(&s->address, a, sizeof(*a)) == 0)
            return s;
    return NULL;
}

/* The old table stays in the arena; doubling keeps what is left behind below the final size. */
static bool grow_buckets(struct journal *j)
{
    uint32_t count = j->bucket_count == 0 ? BUCKETS_FIRST : j->bucket_count * 2;
    struct step **buckets = j->memory.alloc(j->memory.arg, count * sizeof(*buckets));

    if (buckets == NULL)
        return false;
    for (uint32_t i = 0; i < j->bucket_count; i++)
        for (struct step *s = j->buckets[i], *next; s != NULL; s = next) {
            uint32_t to = bucket_of(&s->address, s->nth, count);
            next = s->chain;
            s->chain = buckets[to];
            buckets[to] = s;
        }
    j->buckets = buckets;
    j->bucket_count = count;
    return true;
}

struct step *journal_add(struct journal *j, const struct address *a, uint64_t nth)
{
    if (j->step_count >= JOURNAL_STEPS_MAX)
        return NULL;
    if (j->step_count >= j->bucket_count && !grow_buckets(j))
        return NULL;

    struct step *s = j->memory.alloc(j->memory.arg, sizeof(*s));
    if (s == NULL)
        return NULL;
    uint32_t bucket = bucket_of(a, nth, j->bucket_count);
    s->address = *a;
    s->nth = nth;
    s->chain = j->buckets[bucket];
    j->buckets[bucket] = s;
    j->step_count++;
    return s;
}

struct timing *journal_timing(struct journal *j, struct step *s)
{
    if (s->timing == NULL)
        s->timing = j->memory.alloc(j->memory.arg, sizeof(*s->timing));
    return s->timing;
}

/* ---- loading ----------------------------------------------------------------------------- */

static aiki_status bad_event(aiki_error *err, const struct event *e, const char *why)
{
    return error_code(err, AIKI_CORRUPT, "JOURNAL_CORRUPT", "event %llu (%s): %s",
                      (unsigned long long)e->seq, event_kind_name(e->kind), why);
}

static bool view_same(aiki_view a, aiki_view b)
{
    return a.size_bytes == b.size_bytes && memcmp(a.data, b.data, a.size_bytes) == 0;
}

static aiki_status no_memory(const struct journal *j, const struct event *e, aiki_error *err)
{
    if (j->step_count >= JOURNAL_STEPS_MAX)
        return error_set(err, AIKI_LIMIT, "the run has over %d steps", JOURNAL_STEPS_MAX);
    return error_set(err, AIKI_NOMEM, "no memory for event %llu", (unsigned long long)e->seq);
}

static aiki_status add_delivery(struct journal *j, struct step *s)
{
    if (j->delivery_count == j->delivery_capacity) {
        uint32_t capacity = j->delivery_capacity == 0 ? DELIVERIES_FIRST : j->delivery_capacity * 2;
        struct step **list = j->memory.alloc(j->memory.arg, capacity * sizeof(*list));
        if (list == NULL)
            return AIKI_NOMEM;
        if (j->delivery_count > 0)
            memcpy(list, j->deliveries, j->delivery_count * sizeof(*list));
        j->deliveries = list;
        j->delivery_capacity = capacity;
    }
    j->deliveries[j->delivery_count++] = s;
    return AIKI_OK;
}

/* A signal step's value is the number of the SIGNAL event it consumed. */
static aiki_status take_signal(struct journal *j, struct step *s, const struct event *e,
                               aiki_error *err)
{
    aiki_reader r;

    aiki_reader_init(&r, e->as.step.value);
    uint64_t seq = aiki_mp_read_uint(&r);
    struct signal *signal = r.status == AIKI_OK ? outside_signal_by_seq(j, seq) : NULL;
    if (signal == NULL)
        return bad_event(err, e, "it consumed a signal that is not on record, or twice");
    journal_take_signal(j, s, signal);
    return AIKI_OK;
}

static void load_outcome(struct step *s, const struct event *e)
{
    s->done_seq = e->seq;
    s->outcome = e->as.step.outcome;
    s->error = e->as.step.error;
    s->done_attempt = e->as.step.attempt;
    s->duration_us = e->as.step.duration_us;
    s->value = e->as.step.value;
}

static aiki_status load_done(struct journal *j, struct step *s, const struct event *e,
                             aiki_error *err)
{
    s->done_on_record = true;
    load_outcome(s, e);
    if (s->kind == STEP_SIGNAL && (s->outcome == OUTCOME_OK || s->outcome == OUTCOME_FAILED)) {
        aiki_status st = take_signal(j, s, e, err);
        if (st != AIKI_OK)
            return st;
    }
    return add_delivery(j, s) == AIKI_OK ? AIKI_OK : no_memory(j, e, err);
}

static aiki_status load_identity(struct journal *j, struct step *s, const struct event *e,
                                 aiki_error *err)
{
    uint64_t kind = e->as.step.identity_kind;

    if (kind < STEP_TASK || kind > STEP_CHILD)
        return bad_event(err, e, "the first event of a step lacks its kind, name and input");
    s->kind = kind;
    s->name = e->as.step.name;
    s->input = e->as.step.input;
    s->on_record = true;
    s->first_seq = e->seq;
    *j->last_recorded = s;
    j->last_recorded = &s->next_recorded;
    j->recorded++;
    return AIKI_OK;
}

static aiki_status load_begun(struct step *s, const struct event *e, aiki_error *err)
{
    struct child_options options;

    s->due_at_ms = e->as.step.due_at_ms;
    s->recorded_ms = e->as.step.duration_ms;
    if (s->kind != STEP_CHILD)
        return AIKI_OK;
    if (child_options_read(e->as.step.options, &options) != AIKI_OK)
        return bad_event(err, e, "the options of the child do not decode");
    s->options = e->as.step.options;
    s->detached = options.detached;
    s->pass = options.pass;
    return AIKI_OK;
}

static aiki_status load_heartbeat(struct journal *j, struct step *s, const struct event *e,
                                  aiki_error *err)
{
    s->begun_attempt = e->as.step.attempt;
    if (e->as.step.value.size_bytes == 0 || BUG(details_forgotten))
        return AIKI_OK;
    struct timing *t = journal_timing(j, s);
    if (t == NULL)
        return no_memory(j, e, err);
    t->details = (uint8_t *)(uintptr_t)e->as.step.value.data; /* read only: its capacity is 0 */
    t->details_bytes = e->as.step.value.size_bytes;
    t->details_capacity = 0;
    return AIKI_OK;
}

static aiki_status load_step(struct journal *j, const struct event *e, aiki_error *err)
{
    struct step *s = journal_find(j, &e->as.step.address, e->as.step.nth);
    aiki_status st = AIKI_OK;

    if (s == NULL)
        s = journal_add(j, &e->as.step.address, e->as.step.nth);
    if (s == NULL)
        return no_memory(j, e, err);
    if (s->done_on_record && e->kind != EVENT_WARNED)
        return bad_event(err, e, "the step was done before");
    if (!s->on_record) {
        s->called_at_ms = e->at_ms;
        st = load_identity(j, s, e, err);
    }
    if (st != AIKI_OK)
        return st;

    j->required += !s->required;
    s->required = true;
    if (e->kind == EVENT_WARNED) {
        s->warned |= BUG(warned_forgotten) ? 0 : (uint8_t)e->as.step.warned;
        return AIKI_OK;
    }
    if (e->kind == EVENT_STEP_DONE)
        return load_done(j, s, e, err);
    s->begun_seq = e->seq;
    bool says_since = e->kind == EVENT_STEP_BEGUN || e->kind == EVENT_ATTEMPT_FAILED;
    s->since_ms = says_since && e->as.step.since_ms != 0 ? e->as.step.since_ms : e->at_ms;
    if (e->kind == EVENT_STEP_BEGUN)
        return load_begun(s, e, err);
    if (e->kind == EVENT_HEARTBEAT)
        return load_heartbeat(j, s, e, err);
    if (e->kind == EVENT_ATTEMPT_DONE) {
        s->kept = !BUG(kept_forgotten);
        load_outcome(s, e);
        return AIKI_OK;
    }
    s->attempt = e->as.step.attempt;
    s->due_at_ms = e->as.step.next_at_ms;
    s->error = e->as.step.error;
    return AIKI_OK;
}

static void count_crash(const struct journal *j, struct crashes *c, const struct event *e, bool other)
{
    if (c->pass != j->passes)
        *c = (struct crashes){.pass = j->passes};
    c->elsewhere |= other;
    if (other)
        return;
    c->count = c->lifts == j->lifts ? c->count + 1 : 1;
    c->lifts = j->lifts;
    c->here = true;
    c->seq = e->seq;
    c->at_ms = e->at_ms;
    c->error = e->as.crashed.error;
}

/* What counts against the crash budget. A step need not be on record: it is not asked for then. */
static aiki_status load_crash(struct journal *j, const struct event *e, aiki_error *err)
{
    bool other = j->build.size_bytes > 0 && !view_same(j->build, e->as.crashed.build);

    if (!e->as.crashed.charged || (other && e->as.crashed.attempt == 0))
        return AIKI_OK;
    if (e->as.crashed.attempt == 0) {
        j->crashes += BUG(code_crash_uncounted) ? 0 : 1;
        j->crash_error = e->as.crashed.error;
        return AIKI_OK;
    }
    struct step *s = journal_find(j, &e->as.crashed.address, e->as.crashed.nth);
    if (s == NULL)
        s = journal_add(j, &e->as.crashed.address, e->as.crashed.nth);
    if (s != NULL && s->crashes == NULL)
        s->crashes = j->memory.alloc(j->memory.arg, sizeof(*s->crashes));
    if (s == NULL || s->crashes == NULL)
        return no_memory(j, e, err);
    count_crash(j, s->crashes, e, other);
    return AIKI_OK;
}

static void load_unblocked(struct journal *j, const struct event *e)
{
    if (!BUG(unblock_counts_on))
        j->crashes = 0;
    if (e->as.unblocked.why == UNBLOCKED_LIFTED)
        j->lifts++;
    if (e->as.unblocked.why == UNBLOCKED_IN_VAIN)
        j->vain_seq = e->seq;
}

static aiki_status load_warned(struct journal *j, const struct event *e, aiki_error *err)
{
    static const struct address whole_run;

    if (memcmp(&e->as.step.address, &whole_run, sizeof(whole_run)) != 0)
        return load_step(j, e, err);
    j->warned |= (uint8_t)e->as.step.warned;
    return AIKI_OK;
}

/* What the start of the run says about retries holds for every task of it. */
static aiki_status load_start(struct journal *j, const struct event *e, aiki_error *err)
{
    j->start = *e;
    j->has_start_retry = e->as.started.retry.size_bytes > 0;
    if (!j->has_start_retry)
        return AIKI_OK;
    if (retry_read(e->as.started.retry, &j->start_retry, NULL) != AIKI_OK)
        return bad_event(err, e, "its retry policy does not decode");
    retry_fill(&j->start_retry);
    return AIKI_OK;
}

static aiki_status load_event(struct journal *j, const struct event *e, aiki_error *err)
{
    if (e->seq != j->seq + 1)
        return bad_event(err, e, "its number does not follow the event before it");
    if ((e->kind == EVENT_STARTED) != (e->seq == 1))
        return bad_event(err, e, "a journal begins with one started event");
    j->seq = e->seq;
    if (event_is_arrival(e->kind))
        return outside_arrive(j, e) == AIKI_OK ? AIKI_OK : no_memory(j, e, err);
    switch (e->kind) {
    case EVENT_STARTED: return load_start(j, e, err);
    case EVENT_STEP_BEGUN:
    case EVENT_ATTEMPT_FAILED:
    case EVENT_HEARTBEAT:
    case EVENT_ATTEMPT_DONE:
    case EVENT_STEP_DONE: return load_step(j, e, err);
    case EVENT_WARNED: return load_warned(j, e, err);
    case EVENT_CANCEL_SEEN: return add_delivery(j, NULL) == AIKI_OK ? AIKI_OK : no_memory(j, e, err);
    case EVENT_RUN_RETRIED: outside_retried(j, e); return AIKI_OK;
    case EVENT_CRASHED: return load_crash(j, e, err);
    case EVENT_UNBLOCKED: load_unblocked(j, e); return AIKI_OK;
    case EVENT_COMPLETED:
    case EVENT_FAILED:
    case EVENT_CANCELLED:
    case EVENT_TIMED_OUT:
    case EVENT_TERMINATED: j->ended = true; return AIKI_OK;
    default: return AIKI_OK; /* who executed and why it stopped: nothing the code can see */
    }
}

aiki_status journal_load(struct journal *j, aiki_view page, aiki_error *err)
{
    aiki_reader r;
    struct event e;
    aiki_status st;

    aiki_reader_init(&r, page);
    while ((st = event_read_stored(&r, &e, err)) == AIKI_OK) {
        st = load_event(j, &e, err);
        if (st != AIKI_OK)
            return st;
    }
    return st == AIKI_NOT_FOUND ? AIKI_OK : st;
}

/* journal.c - stored events to steps, deliveries and signals.
 *
 * Everything checked here came over a socket from a disk: what does not fit is AIKI_CORRUPT and
 * the run is blocked by the caller, never guessed at.
 */
#include "replay/journal.h"

#include <string.h>

#include "wire/error.h"

enum { BUCKETS_FIRST = 16, DELIVERIES_FIRST = 16 };

static bool same(aiki_view a, aiki_view b)
{
    return a.size_bytes == b.size_bytes &&
           (a.size_bytes == 0 || memcmp(a.data, b.data, a.size_bytes) == 0);
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

/* ---- signals ----------------------------------------------------------------------------- */

/* Signals are taken roughly in order: what is looked for stands near the front. */
static void drop_taken(struct journal *j)
{
    while (j->oldest_signal != NULL && j->oldest_signal->taken)
        j->oldest_signal = j->oldest_signal->next;
    if (j->oldest_signal == NULL)
        j->last_signal = &j->oldest_signal;
}

struct signal *journal_signal(struct journal *j, aiki_view name)
{
    drop_taken(j);
    for (struct signal *s = j->oldest_signal; s != NULL; s = s->next)
        if (!s->taken && same(s->name, name))
            return s;
    return NULL;
}

static struct signal *untaken_by_seq(struct journal *j, uint64_t seq)
{
    drop_taken(j);
    for (struct signal *s = j->oldest_signal; s != NULL; s = s->next)
        if (s->seq == seq)
            return s->taken ? NULL : s;
    return NULL;
}

static aiki_status add_signal(struct journal *j, const struct event *e, aiki_error *err)
{
    struct signal *s = j->memory.alloc(j->memory.arg, sizeof(*s));

    if (s == NULL)
        return error_set(err, AIKI_NOMEM, "no memory for signal %llu", (unsigned long long)e->seq);
    s->seq = e->seq;
    s->name = e->as.signal.name;
    s->payload = e->as.signal.payload;
    *j->last_signal = s;
    j->last_signal = &s->next;
    j->signal_seq = e->seq;
    j->signal_count++;
    return AIKI_OK;
}

aiki_status journal_add_signal(struct journal *j, aiki_view stored, aiki_error *err)
{
    aiki_reader r;
    struct event e;

    aiki_reader_init(&r, stored);
    aiki_status st = event_read_stored(&r, &e, err);
    if (st != AIKI_OK)
        return st == AIKI_NOT_FOUND ? error_set(err, AIKI_CORRUPT, "empty signal event") : st;
    if (e.kind != EVENT_SIGNAL)
        return error_set(err, AIKI_CORRUPT, "a %s event came where a signal was expected",
                         event_kind_name(e.kind));
    if (e.seq <= j->seq || e.seq <= j->signal_seq)
        return AIKI_OK;
    return add_signal(j, &e, err);
}

/* ---- loading ----------------------------------------------------------------------------- */

static aiki_status bad_event(aiki_error *err, const struct event *e, const char *why)
{
    return error_code(err, AIKI_CORRUPT, "JOURNAL_CORRUPT", "event %llu (%s): %s",
                      (unsigned long long)e->seq, event_kind_name(e->kind), why);
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
    struct signal *signal = r.status == AIKI_OK ? untaken_by_seq(j, seq) : NULL;
    if (signal == NULL)
        return bad_event(err, e, "it consumed a signal that is not on record, or twice");
    signal->taken = true;
    s->signal_seq = seq;
    s->value = signal->payload;
    return AIKI_OK;
}

static aiki_status load_done(struct journal *j, struct step *s, const struct event *e,
                             aiki_error *err)
{
    s->done_on_record = true;
    s->outcome = e->as.step.outcome;
    s->error = e->as.step.error;
    s->done_attempt = e->as.step.attempt;
    s->duration_us = e->as.step.duration_us;
    s->value = e->as.step.value;
    if (s->kind == STEP_SIGNAL && s->outcome == OUTCOME_OK) {
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

    if (kind < STEP_TASK || kind > STEP_SIDE)
        return bad_event(err, e, "the first event of a step lacks its kind, name and input");
    s->kind = kind;
    s->name = e->as.step.name;
    s->input = e->as.step.input;
    s->on_record = true;
    *j->last_recorded = s;
    j->last_recorded = &s->next_recorded;
    j->recorded++;
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
    if (s->done_on_record)
        return bad_event(err, e, "the step was done before");
    if (!s->on_record)
        st = load_identity(j, s, e, err);
    if (st != AIKI_OK)
        return st;

    if (e->kind == EVENT_STEP_DONE)
        return load_done(j, s, e, err);
    if (e->kind == EVENT_STEP_BEGUN) {
        s->due_at_ms = e->as.step.due_at_ms;
        s->recorded_ms = e->as.step.duration_ms;
        s->since_ms = e->at_ms;
        return AIKI_OK;
    }
    s->attempt = e->as.step.attempt;
    s->due_at_ms = e->as.step.next_at_ms;
    s->since_ms = e->at_ms;
    s->error = e->as.step.error;
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
    switch (e->kind) {
    case EVENT_STARTED: return load_start(j, e, err);
    case EVENT_SIGNAL: return add_signal(j, e, err);
    case EVENT_STEP_BEGUN:
    case EVENT_ATTEMPT_FAILED:
    case EVENT_STEP_DONE: return load_step(j, e, err);
    case EVENT_COMPLETED:
    case EVENT_FAILED: j->ended = true; return AIKI_OK;
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

/* tally.c - see tally.h. */
#include "tally.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "batch.h"
#include "wire/error.h"
#include "wire/event.h"

enum { BUCKETS = 2048, CATEGORIES = AIKI_CATEGORY_INFRA + 1, OTHER = 0, SHORT_BUILD_BYTES = 6 };

struct task {
    char *name;    /* owned */
    uint16_t next; /* in its bucket; 0 = none, as task 0 is in no bucket */
};

struct series {
    uint16_t task;
    uint8_t outcome, category;
    uint8_t build[HASH_BYTES];
    uint64_t count, touched;
    uint16_t next; /* in its bucket, number + 1; 0 = none */
};

static struct {
    pthread_mutex_t lock; /* of what tally_write reads: names and counts */
    struct task tasks[TALLY_TASKS_MAX + 1];
    uint16_t task_count; /* without "other" */
    uint16_t task_buckets[BUCKETS];
    struct series series[TALLY_SERIES_MAX];
    uint16_t series_count;
    uint16_t series_buckets[BUCKETS];
    uint64_t others[CATEGORIES][TALLY_CRASHED + 1];
    uint64_t clock; /* counts additions: who was touched last */
} tally = {.lock = PTHREAD_MUTEX_INITIALIZER};

uint16_t tally_task(aiki_view name)
{
    uint16_t *bucket = &tally.task_buckets[view_hash(0, name) % BUCKETS];
    for (uint16_t i = *bucket; i != 0; i = tally.tasks[i].next)
        if (view_is(name, tally.tasks[i].name))
            return i;
    if (tally.task_count == TALLY_TASKS_MAX || name.size_bytes == 0)
        return OTHER;
    pthread_mutex_lock(&tally.lock);
    uint16_t number = ++tally.task_count;
    tally.tasks[number] = (struct task){.name = view_dup(name), .next = *bucket};
    if (tally.tasks[number].name == NULL)
        number = OTHER, tally.task_count--;
    else
        *bucket = number;
    pthread_mutex_unlock(&tally.lock);
    return number;
}

static uint16_t *bucket_of(const struct series *s)
{
    const uint8_t small[] = {(uint8_t)s->task, (uint8_t)(s->task >> 8), s->outcome, s->category};
    uint64_t hash = view_hash(0, (aiki_view){small, sizeof(small)});
    return &tally.series_buckets[view_hash(hash, (aiki_view){s->build, SHORT_BUILD_BYTES}) % BUCKETS];
}

static bool is_same(const struct series *a, const struct series *b)
{
    return a->task == b->task && a->outcome == b->outcome && a->category == b->category &&
           memcmp(a->build, b->build, HASH_BYTES) == 0;
}

/* The series that has been idle longest is counted among the others from now on. */
static uint16_t make_room(void)
{
    uint16_t idle = 0;
    for (uint16_t i = 1; i < TALLY_SERIES_MAX; i++)
        if (tally.series[i].touched < tally.series[idle].touched)
            idle = i;
    struct series *s = &tally.series[idle];
    tally.others[s->category][s->outcome] += s->count;
    uint16_t *at = bucket_of(s);
    while (*at != idle + 1)
        at = &tally.series[*at - 1].next;
    *at = s->next;
    return idle;
}

static struct series *find_or_add(const struct series *wanted)
{
    uint16_t *bucket = bucket_of(wanted);
    for (uint16_t i = *bucket; i != 0; i = tally.series[i - 1].next)
        if (is_same(&tally.series[i - 1], wanted))
            return &tally.series[i - 1];
    uint16_t number = tally.series_count < TALLY_SERIES_MAX ? tally.series_count++ : make_room();
    tally.series[number] = *wanted;
    tally.series[number].next = *bucket;
    *bucket = (uint16_t)(number + 1);
    return &tally.series[number];
}

void tally_add(uint16_t task, enum tally_outcome outcome, int32_t category, const uint8_t *build)
{
    struct series wanted = {.task = task, .outcome = (uint8_t)outcome};
    if (category > 0 && category < CATEGORIES)
        wanted.category = (uint8_t)category;
    memcpy(wanted.build, build, HASH_BYTES);
    pthread_mutex_lock(&tally.lock);
    if (task == OTHER) {
        tally.others[wanted.category][outcome]++;
    } else {
        struct series *s = find_or_add(&wanted);
        s->count++;
        s->touched = ++tally.clock;
    }
    pthread_mutex_unlock(&tally.lock);
}

/* ---- Prometheus text ------------------------------------------------------------------------- */

/* What Prometheus escapes; other bytes that are not printable ASCII are replaced. */
static void write_escaped(aiki_writer *w, const char *text)
{
    for (; *text != '\0'; text++) {
        char c = *text >= ' ' && *text <= '~' ? *text : '?';
        if (*text == '\n')
            aiki_mp_raw(w, "\\n", 2);
        else if (c == '"' || c == '\\')
            aiki_mp_raw(w, (const char[]){'\\', c}, 2);
        else
            aiki_mp_raw(w, &c, 1);
    }
}

static void write_line(aiki_writer *w, const char *task, unsigned outcome, int32_t category,
                       const char *build, uint64_t count)
{
    static const char *const outcomes[] = {
#define TALLY_LABEL(name, label) [TALLY_##name] = (label),
        TALLY_OUTCOMES(TALLY_LABEL)
#undef TALLY_LABEL
    };
    static const char begin[] = "aiki_task_attempts_total{task=\"";
    char text[200];
    aiki_mp_raw(w, begin, sizeof(begin) - 1);
    write_escaped(w, task);
    int n = snprintf(text, sizeof(text),
                     "\",outcome=\"%s\",category=\"%s\",build=\"%s\"} %" PRIu64 "\n",
                     outcomes[outcome], category == 0 ? "none" : category_name(category), build,
                     count);
    aiki_mp_raw(w, text, (uint64_t)n);
}

static void write_series(aiki_writer *w, const struct series *s)
{
    static const uint8_t unknown[HASH_BYTES];
    char build[2 * SHORT_BUILD_BYTES + 1] = "none";
    for (size_t i = 0; memcmp(s->build, unknown, HASH_BYTES) != 0 && i < SHORT_BUILD_BYTES; i++)
        (void)snprintf(build + 2 * i, 3, "%02x", s->build[i]);
    write_line(w, tally.tasks[s->task].name, s->outcome, s->category, build, s->count);
}

void tally_write(aiki_writer *w)
{
    static const char head[] =
        "# HELP aiki_task_attempts_total Attempts of tasks that ended, by outcome, category of the "
        "error and build\n# TYPE aiki_task_attempts_total counter\n";
    aiki_mp_raw(w, head, sizeof(head) - 1);
    pthread_mutex_lock(&tally.lock);
    for (uint16_t i = 0; i < tally.series_count; i++)
        write_series(w, &tally.series[i]);
    for (int32_t category = 0; category < CATEGORIES; category++)
        for (unsigned outcome = 0; outcome <= TALLY_CRASHED; outcome++)
            if (tally.others[category][outcome] > 0)
                write_line(w, "other", outcome, category, "other",
                           tally.others[category][outcome]);
    pthread_mutex_unlock(&tally.lock);
}

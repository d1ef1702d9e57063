/* steps.c - see steps.h.
 *
 *   STEP                 AT       TOOK   ATTEMPTS  OUTCOME    TIME
 *   task charge-payment  +7ms     640ms         2  ok         |====                |
 *   sleep cooling-off    +650ms   2.0s             ok         |    ===========     |
 *   child ship 01JD...   +2.6s    1.2s             cancelled  |               =====|
 */
#include "steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "doc.h"
#include "text.h"

enum { BAR_COLUMNS = 30, INPUT_SIZE = 2048, BUCKETS_MIN = 64 };

void steps_deinit(struct steps *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->of[i].input);
    free(s->of);
    free(s->buckets);
    *s = (struct steps){.count = 0};
}

static void copy_text(char *to, size_t size, aiki_view text)
{
    snprintf(to, size, "%.*s", text.size_bytes < size ? (int)text.size_bytes : (int)size - 1,
             text.data != NULL ? (const char *)text.data : "");
}

/* FNV-1a; addresses are hashes already, nth tells equal ones apart. */
static size_t bucket_of(const struct steps *s, const char *address, int64_t nth)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)nth;
    for (; *address != '\0'; address++)
        hash = (hash ^ (uint8_t)*address) * UINT64_C(1099511628211);
    return (size_t)(hash & (s->bucket_count - 1));
}

static struct step *find(struct steps *s, const char *address, int64_t nth)
{
    if (s->bucket_count == 0)
        return NULL;
    uint32_t at = s->buckets[bucket_of(s, address, nth)];
    while (at > 0 && (s->of[at - 1].nth != nth || strcmp(s->of[at - 1].address, address) != 0))
        at = s->of[at - 1].next;
    return at > 0 ? &s->of[at - 1] : NULL;
}

static void put_in_bucket(struct steps *s, size_t index)
{
    struct step *step = &s->of[index];
    uint32_t *bucket = &s->buckets[bucket_of(s, step->address, step->nth)];
    step->next = *bucket;
    *bucket = (uint32_t)index + 1;
}

/* Room for one more, with at least as many buckets as steps. */
static bool grow(struct steps *s)
{
    if (s->count < s->room)
        return true;
    size_t room = s->room == 0 ? BUCKETS_MIN : 2 * s->room;
    struct step *grown = realloc(s->of, room * sizeof(*grown));
    if (grown == NULL)
        return false;
    s->of = grown;
    uint32_t *buckets = calloc(room, sizeof(*buckets));
    if (buckets == NULL)
        return false;
    free(s->buckets);
    s->buckets = buckets;
    s->bucket_count = s->room = room;
    for (size_t i = 0; i < s->count; i++)
        put_in_bucket(s, i);
    return true;
}

static struct step *add(struct steps *s, const char *address, int64_t nth, aiki_view event)
{
    char input[INPUT_SIZE];
    if (!grow(s))
        return NULL;
    aiki_view kind = doc_text(event, "step"), name = doc_text(event, "name");
    aiki_view child = doc_text(event, "child");
    struct step *step = &s->of[s->count];
    *step = (struct step){.nth = nth};
    snprintf(step->address, sizeof(step->address), "%s", address);
    snprintf(step->text, sizeof(step->text), "%.*s %.*s%s%.*s",
             (int)(kind.size_bytes < 16 ? kind.size_bytes : 16),
             kind.data != NULL ? (const char *)kind.data : "",
             (int)(name.size_bytes < 100 ? name.size_bytes : 100),
             name.data != NULL ? (const char *)name.data : "", child.size_bytes > 0 ? " " : "",
             (int)(child.size_bytes < 26 ? child.size_bytes : 26),
             child.data != NULL ? (const char *)child.data : "");
    step->input = strdup(short_json(doc_get(event, "input"), input, sizeof(input)));
    put_in_bucket(s, s->count++);
    return step;
}

static void note_outcome(struct step *step, aiki_view event, int64_t at_ms)
{
    aiki_view outcome = doc_text(event, "outcome");
    if (outcome.size_bytes == 0)
        return;
    copy_text(step->outcome, sizeof(step->outcome), outcome);
    step->done_at_ms = at_ms;
}

struct step *steps_add(struct steps *s, aiki_view event)
{
    char address[STEP_ADDRESS_SIZE];
    int64_t at_ms = doc_time_ms(event, "at"), nth = doc_int(event, "nth");
    if (s->from_ms == 0)
        s->from_ms = at_ms;
    s->to_ms = at_ms;
    copy_text(address, sizeof(address), doc_text(event, "address"));
    if (address[0] == '\0')
        return NULL;
    struct step *step = find(s, address, nth);
    if (step == NULL)
        step = add(s, address, nth, event);
    if (step == NULL)
        return NULL;
    /* The event is written when an attempt ends; the attempt began before. */
    int64_t begun_ms = at_ms - doc_int(event, "duration_us") / 1000;
    if (step->begun_at_ms == 0 || begun_ms < step->begun_at_ms)
        step->begun_at_ms = begun_ms < s->from_ms ? s->from_ms : begun_ms;
    if (doc_int(event, "attempt") > step->attempts)
        step->attempts = doc_int(event, "attempt");
    aiki_view code = doc_text(doc_get(event, "error"), "code");
    if (code.size_bytes > 0)
        copy_text(step->code, sizeof(step->code), code);
    note_outcome(step, event, at_ms);
    return step;
}

/* ---- drawing ------------------------------------------------------------------------------ */

static int column_of(const struct steps *s, int64_t at_ms)
{
    int64_t span_ms = s->to_ms - s->from_ms;
    int64_t column = span_ms > 0 ? (at_ms - s->from_ms) * BAR_COLUMNS / span_ms : 0;
    return column < 0 ? 0 : column > BAR_COLUMNS ? BAR_COLUMNS : (int)column;
}

static void draw_bar(const struct steps *s, const struct step *step, char bar[BAR_COLUMNS + 3])
{
    int from = column_of(s, step->begun_at_ms);
    int to = step->done_at_ms > 0 ? column_of(s, step->done_at_ms) : BAR_COLUMNS;
    if (from == BAR_COLUMNS)
        from--;
    if (to == from)
        to++;
    memset(bar, ' ', BAR_COLUMNS + 2);
    bar[0] = bar[BAR_COLUMNS + 1] = '|';
    memset(bar + 1 + from, step->done_at_ms > 0 ? '=' : '~', (size_t)(to - from));
    bar[BAR_COLUMNS + 2] = '\0';
}

static void step_row(const struct steps *s, const struct step *step, struct table *t)
{
    char at[HUMAN_SIZE], took[HUMAN_SIZE], bar[BAR_COLUMNS + 3];
    bool ok = strcmp(step->outcome, "ok") == 0;
    int64_t end_ms = step->done_at_ms > 0 ? step->done_at_ms : s->to_ms;
    draw_bar(s, step, bar);
    table_cell(t, "%s", step->text);
    table_cell(t, "+%s", human_ms(at, step->begun_at_ms - s->from_ms));
    table_cell(t, "%s", human_ms(took, end_ms - step->begun_at_ms));
    if (step->attempts > 0)
        table_cell(t, "%lld", (long long)step->attempts);
    else
        table_cell(t, "%s", "");
    table_cell(t, "%s%s%s", step->outcome[0] != '\0' ? step->outcome : "open",
               !ok && step->code[0] != '\0' ? " " : "", ok ? "" : step->code);
    table_cell(t, "%s", bar);
}

void steps_draw(const struct steps *s)
{
    static const char *const headers[] = {"STEP",    "AT",   "TOOK", "ATTEMPTS",
                                          "OUTCOME", "TIME", NULL};
    struct table t;
    size_t drawn = s->count < STEPS_DRAWN_MAX ? s->count : STEPS_DRAWN_MAX;
    if (s->count == 0)
        return;
    table_init(&t, headers, 1u << 1 | 1u << 2 | 1u << 3);
    for (size_t i = 0; i < drawn; i++)
        step_row(s, &s->of[i], &t);
    printf("\n");
    table_print(&t, "");
    if (drawn < s->count)
        printf("and %zu more steps\n", s->count - drawn);
}

/* suspects.c - see suspects.h. */
#include "suspects.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/planted.h"
#include "batch.h"

/* [[at_ms, run], ...]: 9 bytes of a time, 18 of a run, and what is around them */
enum { ROW_BYTES_MAX = 8 + SUSPECT_CRASHES_MAX * 30 };

struct suspect_row {
    struct culprit_text text;
    uint8_t crashes[ROW_BYTES_MAX];
};

bool culprit_equal(const struct culprit *a, const struct culprit *b)
{
    return a->workflow == b->workflow && memcmp(a->build, b->build, HASH_BYTES) == 0 &&
           strcmp(a->name, b->name) == 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct workflow_row culprit_row(struct culprit_text *text, const struct culprit *of,
                                const char *space, const char *mark, int64_t at_ms)
{
    (void)snprintf(text->space, sizeof(text->space), "%s%s", space, mark);
    (void)snprintf(text->name, sizeof(text->name), "%s%s", of->name, of->workflow ? "!" : "");
    (void)sodium_bin2hex(text->build, sizeof(text->build), of->build, HASH_BYTES);
    return (struct workflow_row){.space = view_of(text->space),
                                 .name = view_of(text->name),
                                 .version = view_of(text->build),
                                 .plugin = view_of("-"),
                                 .build = {of->build, HASH_BYTES},
                                 .first_seen_at_ms = at_ms,
                                 .last_seen_at_ms = at_ms};
}

bool culprit_read(const struct workflow_row *row, struct culprit *ret)
{
    size_t size = (size_t)row->name.size_bytes;
    if (row->build.size_bytes != HASH_BYTES || size == 0 || size > NAME_BYTES_MAX + 1)
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->workflow = row->name.data[size - 1] == '!';
    memcpy(ret->name, row->name.data, size - ret->workflow);
    memcpy(ret->build, row->build.data, HASH_BYTES);
    return true;
}

static aiki_view write_crashes(const struct suspected *x, uint8_t memory[ROW_BYTES_MAX])
{
    aiki_writer w;
    aiki_writer_init_fixed(&w, memory, ROW_BYTES_MAX);
    aiki_mp_array(&w, x->count);
    for (uint32_t i = 0; i < x->count; i++) {
        aiki_mp_array(&w, 2);
        aiki_mp_int(&w, x->crashes[i].at_ms);
        aiki_mp_bin(&w, x->crashes[i].run.bytes, sizeof(x->crashes[i].run.bytes));
    }
    return aiki_writer_view(&w);
}

const struct workflow_row *suspects_rows(struct suspects *s, const char *space, size_t *ret_count)
{
    while (s->row_capacity < s->draft_count)
        s->rows = array_grow(s->rows, &s->row_capacity, s->row_capacity, sizeof(*s->rows));
    while (s->written_capacity < s->draft_count)
        s->written = array_grow(s->written, &s->written_capacity, s->written_capacity, sizeof(*s->written));
    for (size_t i = 0; i < s->draft_count; i++) {
        const struct suspected *x = &s->drafts[i];
        s->written[i] = culprit_row(&s->rows[i].text, &x->of, space, SUSPECTS_MARK,
                                    x->crashes[x->count - 1].at_ms);
        s->written[i].descriptor = write_crashes(x, s->rows[i].crashes);
    }
    *ret_count = s->draft_count;
    return s->written;
}

static void add_crash(struct suspected *x, int64_t at_ms, const struct aiki_id *run, int64_t since_ms)
{
    uint32_t old = x->count == SUSPECT_CRASHES_MAX;
    while (old < x->count && x->crashes[old].at_ms < since_ms)
        old++;
    x->count -= old;
    memmove(x->crashes, x->crashes + old, x->count * sizeof(x->crashes[0]));
    x->crashes[x->count].at_ms = at_ms;
    x->crashes[x->count++].run = *run;
}

bool suspect_read(const struct workflow_row *row, int64_t window_ms, struct suspected *ret)
{
    aiki_reader r;
    memset(ret, 0, sizeof(*ret));
    if (BUG(crashes_forgotten) || !culprit_read(row, &ret->of))
        return false;
    aiki_reader_init(&r, row->descriptor);
    for (uint64_t left = aiki_mp_read_array(&r); left > 0; left--) {
        struct aiki_id run;
        bool is_pair = aiki_mp_read_array(&r) == 2;
        int64_t at_ms = aiki_mp_read_int(&r);
        aiki_view id = aiki_mp_read_bin(&r);
        if (r.status != AIKI_OK || !is_pair || id.size_bytes != sizeof(run.bytes))
            return false;
        memcpy(run.bytes, id.data, sizeof(run.bytes));
        add_crash(ret, at_ms, &run, at_ms - window_ms);
    }
    return ret->count > 0;
}

/* ---- counting -------------------------------------------------------------------------------- */

static struct suspected *find(struct suspected *all, size_t count, const struct culprit *of)
{
    for (size_t i = 0; i < count; i++)
        if (culprit_equal(&all[i].of, of))
            return &all[i];
    return NULL;
}

static int64_t last_at_ms(const struct suspected *x)
{
    return x->crashes[x->count - 1].at_ms;
}

/* Its place, or one that is free, or that of who crashed longest ago. */
static struct suspected *place_for(struct suspects *s, const struct culprit *of)
{
    if (s->all == NULL)
        s->all = memory_need(SUSPECTS_MAX * sizeof(*s->all));
    struct suspected *place = find(s->all, s->count, of);
    if (place != NULL)
        return place;
    if (s->count < SUSPECTS_MAX)
        return &s->all[s->count++];
    place = &s->all[0];
    for (size_t i = 1; i < s->count; i++)
        if (last_at_ms(&s->all[i]) < last_at_ms(place))
            place = &s->all[i];
    return place;
}

void suspects_draft(struct suspects *s, const struct culprit *of, const struct aiki_id *run,
                    int64_t at_ms, int64_t since_ms)
{
    struct suspected *x = find(s->drafts, s->draft_count, of);
    if (x == NULL) {
        const struct suspected *known = find(s->all, s->count, of);
        s->drafts = array_grow(s->drafts, &s->draft_capacity, s->draft_count, sizeof(*s->drafts));
        x = &s->drafts[s->draft_count++];
        if (known != NULL)
            *x = *known;
        else
            *x = (struct suspected){.of = *of};
    }
    add_crash(x, at_ms, run, since_ms);
}

void suspects_keep(struct suspects *s, const struct suspected *x)
{
    *place_for(s, &x->of) = *x;
}

void suspects_adopt(struct suspects *s, void (*fn)(void *arg, const struct suspected *x), void *arg)
{
    for (size_t i = 0; i < s->draft_count; i++) {
        suspects_keep(s, &s->drafts[i]);
        fn(arg, &s->drafts[i]);
    }
    s->draft_count = 0;
}

void suspects_forget_drafts(struct suspects *s)
{
    s->draft_count = 0;
}

void suspects_clear(struct suspects *s, const struct culprit *of)
{
    struct suspected *x = find(s->all, s->count, of);
    if (x != NULL)
        *x = s->all[--s->count];
}

bool suspect_of_several_runs(const struct suspected *x)
{
    for (uint32_t i = 1; i < x->count; i++)
        if (BUG(quarantine_of_one) || !id_equal(&x->crashes[i].run, &x->crashes[0].run))
            return true;
    return false;
}

/* ---- life ------------------------------------------------------------------------------------ */

void suspects_deinit(struct suspects *s)
{
    free(s->all);
    free(s->drafts);
    free(s->rows);
    free(s->written);
}

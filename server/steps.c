/* steps.c - see steps.h. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "batch.h"
#include "wire/child.h"

enum { NAMES_MAX = 4096, TABLE_MIN = 64 };
static const uint64_t NTH_CHILD = UINT64_MAX; /* the key is a child's id and no address */

_Static_assert(sizeof(struct aiki_id) == ADDRESS_BYTES, "both are keys of one table");

struct name {
    uint64_t kind;
    char text[NAME_BYTES_MAX + 1];
};

struct step {
    uint8_t key[ADDRESS_BYTES]; /* address, or a child's id */
    uint64_t nth;
    uint32_t name; /* index + 1; 0: this place of the table is free */
};

struct stay {
    uint64_t seq; /* from here on */
    uint8_t build[HASH_BYTES];
};

struct steps {
    struct aiki_id run;
    uint64_t seq, turn;
    struct step *table; /* owned; open addressing, at most half full */
    size_t count, capacity;
    struct name *names; /* owned */
    size_t name_count, name_capacity;
    struct stay *stays; /* owned; one for each change of the build */
    size_t stay_count, stay_capacity;
    char workflow[NAME_BYTES_MAX + 1], version[NAME_BYTES_MAX + 1];
};

static void steps_destroy(struct steps_shelf *shelf, struct steps *s)
{
    if (s == NULL)
        return;
    shelf->count -= s->count;
    free(s->table);
    free(s->names);
    free(s->stays);
    free(s);
}

void steps_shelf_deinit(struct steps_shelf *shelf)
{
    for (size_t i = 0; i < STEPS_RUNS_MAX; i++)
        steps_destroy(shelf, shelf->runs[i]);
    memset(shelf, 0, sizeof(*shelf));
}

/* The place of whoever was not asked for longest; but for `keep`. */
static struct steps **stalest(struct steps_shelf *shelf, const struct steps *keep)
{
    struct steps **found = NULL;
    for (size_t i = 0; i < STEPS_RUNS_MAX; i++) {
        struct steps **at = &shelf->runs[i];
        if (*at != keep && *at != NULL && (found == NULL || (*at)->turn < (*found)->turn))
            found = at;
    }
    return found;
}

struct steps *steps_of(struct steps_shelf *shelf, const struct aiki_id *run)
{
    struct steps **free_place = NULL;
    for (size_t i = 0; i < STEPS_RUNS_MAX; i++) {
        struct steps *s = shelf->runs[i];
        if (s == NULL) {
            free_place = &shelf->runs[i];
        } else if (id_equal(&s->run, run)) {
            s->turn = ++shelf->turn;
            return s;
        }
    }
    if (free_place == NULL) {
        free_place = stalest(shelf, NULL);
        steps_destroy(shelf, *free_place);
    }
    struct steps *new = memory_need(sizeof(*new));
    memset(new, 0, sizeof(*new));
    new->run = *run;
    new->turn = ++shelf->turn;
    *free_place = new;
    return new;
}

uint64_t steps_seq(const struct steps *s)
{
    return s->seq;
}

/* ---- the table ------------------------------------------------------------------------------- */

static struct step *place_of(const struct steps *s, const uint8_t key[ADDRESS_BYTES], uint64_t nth)
{
    uint64_t hash; /* both kinds of keys are hashes */
    memcpy(&hash, key, sizeof(hash));
    for (size_t at = (size_t)(hash ^ nth * 0x9e3779b97f4a7c15ull);; at++) {
        struct step *step = &s->table[at & (s->capacity - 1)];
        if (step->name == 0 || (step->nth == nth && memcmp(step->key, key, ADDRESS_BYTES) == 0))
            return step;
    }
}

static void grow(struct steps *s)
{
    struct step *old = s->table;
    size_t count = s->capacity;
    s->capacity = count == 0 ? TABLE_MIN : 2 * count;
    s->table = memory_need(s->capacity * sizeof(*s->table));
    memset(s->table, 0, s->capacity * sizeof(*s->table));
    for (size_t i = 0; i < count; i++)
        if (old[i].name != 0)
            *place_of(s, old[i].key, old[i].nth) = old[i];
    free(old);
}

static void set_text(char to[NAME_BYTES_MAX + 1], aiki_view from)
{
    size_t size = from.size_bytes < NAME_BYTES_MAX ? (size_t)from.size_bytes : NAME_BYTES_MAX;
    if (size > 0) /* a step without a name may have no data either */
        memcpy(to, from.data, size);
    to[size] = '\0';
}

/* index + 1; 0: there are too many */
static uint32_t name_number(struct steps *s, uint64_t kind, aiki_view name)
{
    for (size_t i = s->name_count; i > 0; i--) /* mostly one of the last */
        if (s->names[i - 1].kind == kind && view_is(name, s->names[i - 1].text))
            return (uint32_t)i;
    if (s->name_count == NAMES_MAX || name.size_bytes > NAME_BYTES_MAX)
        return 0;
    s->names = array_grow(s->names, &s->name_capacity, s->name_count, sizeof(*s->names));
    struct name *new = &s->names[s->name_count++];
    memset(new, 0, sizeof(*new));
    new->kind = kind;
    set_text(new->text, name);
    return (uint32_t)s->name_count;
}

static void add(struct steps_shelf *shelf, struct steps *s, const uint8_t key[ADDRESS_BYTES],
                uint64_t nth, uint32_t name)
{
    struct steps **other;
    while (shelf->count >= STEPS_MAX && (other = stalest(shelf, s)) != NULL) {
        steps_destroy(shelf, *other);
        *other = NULL;
    }
    if (shelf->count >= STEPS_MAX)
        return;
    if (2 * (s->count + 1) > s->capacity)
        grow(s);
    struct step *step = place_of(s, key, nth);
    if (step->name != 0)
        return;
    *step = (struct step){.nth = nth, .name = name};
    memcpy(step->key, key, ADDRESS_BYTES);
    s->count++;
    shelf->count++;
}

/* ---- noting ---------------------------------------------------------------------------------- */

static void note_stay(struct steps *s, const struct event *e)
{
    aiki_view build = e->as.claimed.build;
    if (build.size_bytes != HASH_BYTES ||
        (s->stay_count > 0 &&
         memcmp(s->stays[s->stay_count - 1].build, build.data, HASH_BYTES) == 0))
        return;
    s->stays = array_grow(s->stays, &s->stay_capacity, s->stay_count, sizeof(*s->stays));
    s->stays[s->stay_count].seq = e->seq;
    memcpy(s->stays[s->stay_count++].build, build.data, HASH_BYTES);
}

static bool is_of_step(uint64_t kind)
{
    return kind == EVENT_STEP_BEGUN || kind == EVENT_ATTEMPT_FAILED || kind == EVENT_STEP_DONE ||
           kind == EVENT_ATTEMPT_DONE || kind == EVENT_HEARTBEAT || kind == EVENT_WARNED;
}

static void note_step(struct steps_shelf *shelf, struct steps *s, const struct event *e)
{
    struct child_options o;
    uint64_t kind = e->as.step.identity_kind;
    bool has_schema = kind == STEP_TASK || kind == STEP_CHILD; /* of the others the kind is enough */
    aiki_view none = {NULL, 0};
    uint32_t name = kind != 0 ? name_number(s, kind, has_schema ? e->as.step.name : none) : 0;
    if (name == 0)
        return;
    add(shelf, s, e->as.step.address.bytes, e->as.step.nth, name);
    if (kind != STEP_CHILD || e->kind != EVENT_STEP_BEGUN ||
        child_options_read(e->as.step.options, &o) != AIKI_OK)
        return;
    struct aiki_id child = child_id(&s->run, &e->as.step.address, e->as.step.nth, o.pass);
    add(shelf, s, child.bytes, NTH_CHILD, name);
}

void steps_note(struct steps_shelf *shelf, struct steps *s, const struct event *e)
{
    if (e->seq != s->seq + 1)
        return;
    s->seq = e->seq;
    if (e->kind == EVENT_STARTED) {
        set_text(s->workflow, e->as.started.workflow);
        set_text(s->version, e->as.started.version);
    } else if (e->kind == EVENT_CLAIMED) {
        note_stay(s, e);
    } else if (is_of_step(e->kind)) {
        note_step(shelf, s, e);
    }
}

/* ---- asking ---------------------------------------------------------------------------------- */

static const uint8_t *build_at(const struct steps *s, uint64_t seq)
{
    const uint8_t *build = NULL;
    for (size_t i = s->stay_count; i > 0 && build == NULL; i--)
        if (s->stays[i - 1].seq <= seq)
            build = s->stays[i - 1].build;
    return build;
}

static void set_step(const struct steps *s, struct value_of *of, const uint8_t key[ADDRESS_BYTES],
                     uint64_t nth)
{
    const struct step *step = s->capacity > 0 ? place_of(s, key, nth) : NULL;
    of->kind = 0;
    if (step == NULL || step->name == 0)
        return;
    of->kind = s->names[step->name - 1].kind;
    of->name = view_of(s->names[step->name - 1].text);
}

struct value_of steps_value(const struct steps *s, const struct event *e, bool output)
{
    struct value_of of = {.kind = STEP_CHILD,
                          .name = view_of(s->workflow),
                          .version = view_of(s->version),
                          .home = view_of(s->workflow),
                          .build = build_at(s, e->seq),
                          .output = output};
    if (e->kind != EVENT_CHILD_DONE && !is_of_step(e->kind))
        return of;
    of.version = (aiki_view){NULL, 0};
    if (e->kind == EVENT_CHILD_DONE) {
        set_step(s, &of, e->as.child_done.child.bytes, NTH_CHILD);
    } else if (e->as.step.identity_kind != 0) {
        of.kind = e->as.step.identity_kind;
        of.name = e->as.step.name;
    } else {
        set_step(s, &of, e->as.step.address.bytes, e->as.step.nth);
    }
    if (of.kind == STEP_CHILD)
        of.build = NULL; /* whichever executed that run */
    return of;
}

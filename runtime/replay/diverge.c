/* diverge.c - say why the code no longer fits the journal, so that a person can act on it.
 *
 * Two steps are shown: the first one on record that the code did not ask for, and the new one that
 * resembles it most. Which part differs tells the likely cause.
 */
#include <stdio.h>
#include <string.h>

#include "replay/live.h"
#include "wire/error.h"

enum {
    TEXT_BYTES = 80,        /* of a step in the message */
    PATH_BYTES = 40,        /* of the field that differs, "customer.address.city" */
    INPUT_TEXT_BYTES = 400, /* of an input in the details */
    DETAILS_BYTES = 2048,
    SHOWN_DEPTH_MAX = 8 /* containers deeper than this are shown as "..." */
};

#define REMEDY "serve a build that takes the recorded steps"

/* ---- msgpack as short text --------------------------------------------------------------- */

struct text {
    char *at, *end; /* end keeps room for the NUL */
    bool cut;
};

static void put(struct text *t, const char *bytes, size_t n)
{
    if ((size_t)(t->end - t->at) < n) {
        n = (size_t)(t->end - t->at);
        t->cut = true;
    }
    memcpy(t->at, bytes, n);
    t->at += n;
}

static void put_word(struct text *t, const char *word)
{
    put(t, word, strlen(word));
}

static void put_number(struct text *t, const aiki_mp_item *item)
{
    char digits[40];
    int n = item->type == AIKI_MP_UINT  ? snprintf(digits, sizeof(digits), "%llu",
                                                   (unsigned long long)item->as.u)
            : item->type == AIKI_MP_INT ? snprintf(digits, sizeof(digits), "%lld",
                                                   (long long)item->as.i)
                                        : snprintf(digits, sizeof(digits), "%.10g", item->as.d);
    put(t, digits, (size_t)n);
}

/* Control characters, quotes and what is not ASCII are shown as '?': this is for eyes, not for
 * parsers, and may be cut anywhere. */
static void put_quoted(struct text *t, aiki_view v)
{
    put_word(t, "\"");
    for (uint64_t i = 0; i < v.size_bytes && !t->cut; i++) {
        char c = (char)v.data[i];
        bool plain = v.data[i] >= 0x20 && v.data[i] < 0x7f && c != '"';
        put(t, plain ? &c : "?", 1);
    }
    put_word(t, "\"");
}

static void put_value(struct text *t, aiki_reader *r, int depth);

static void put_container(struct text *t, aiki_reader *r, const aiki_mp_item *item, int depth)
{
    bool map = item->type == AIKI_MP_MAP;

    put_word(t, map ? "{" : "[");
    for (uint64_t i = 0; i < item->as.count && !t->cut; i++) {
        if (i > 0)
            put_word(t, ",");
        put_value(t, r, depth + 1);
        if (map) {
            put_word(t, ":");
            put_value(t, r, depth + 1);
        }
    }
    put_word(t, map ? "}" : "]");
}

/* Recursion ends at SHOWN_DEPTH_MAX; what is deeper ends the text. */
static void put_value(struct text *t, aiki_reader *r, int depth)
{
    aiki_mp_item item;

    if (t->cut || !aiki_mp_next(r, &item) || depth > SHOWN_DEPTH_MAX) {
        t->cut = true;
        return;
    }
    switch (item.type) {
    case AIKI_MP_NIL: put_word(t, "null"); break;
    case AIKI_MP_BOOL: put_word(t, item.as.boolean ? "true" : "false"); break;
    case AIKI_MP_UINT:
    case AIKI_MP_INT:
    case AIKI_MP_DOUBLE: put_number(t, &item); break;
    case AIKI_MP_STR: put_quoted(t, item.bytes); break;
    case AIKI_MP_ARRAY:
    case AIKI_MP_MAP: put_container(t, r, &item, depth); break;
    default: put_word(t, "<bytes>"); break;
    }
}

/* A text that was cut ends in "...", over its last characters if need be. */
static void text_end(struct text *t)
{
    if (t->cut) {
        t->at = t->end - t->at < 3 ? t->end - 3 : t->at;
        memcpy(t->at, "...", 3);
        t->at += 3;
    }
    *t->at = '\0';
}

static void input_text(aiki_view input, char *ret, size_t size)
{
    struct text t = {ret, ret + size - 1, false};
    aiki_reader r;

    aiki_reader_init(&r, input);
    if (input.size_bytes > 0)
        put_value(&t, &r, 0);
    text_end(&t);
}

/* ---- where two inputs differ ------------------------------------------------------------- */

struct difference {
    char path[PATH_BYTES];         /* "" = the inputs as a whole */
    aiki_view recorded, taken;     /* the field's values; empty = not there */
};

static bool same(aiki_view a, aiki_view b)
{
    return a.size_bytes == b.size_bytes &&
           (a.size_bytes == 0 || memcmp(a.data, b.data, a.size_bytes) == 0);
}

/* The value under a key of a map; empty when there is none. */
static aiki_view map_get(aiki_view map, aiki_view key)
{
    aiki_reader r;
    aiki_reader_init(&r, map);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        aiki_view name = aiki_mp_value(&r), value = aiki_mp_value(&r);
        if (same(name, key))
            return value;
    }
    return (aiki_view){NULL, 0};
}

/* A key of `map` whose value is another one in `other`. */
static bool differing_key(aiki_view map, aiki_view other, aiki_view *ret_key)
{
    aiki_reader r;
    aiki_reader_init(&r, map);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        *ret_key = aiki_mp_value(&r);
        if (!same(aiki_mp_value(&r), map_get(other, *ret_key)) && r.status == AIKI_OK)
            return true;
    }
    return false;
}

static bool is_map(aiki_view v)
{
    aiki_reader r;
    aiki_mp_item item;
    aiki_reader_init(&r, v);
    return aiki_mp_peek(&r, &item) && item.type == AIKI_MP_MAP;
}

/* Down to the innermost field that is not the same on both sides. */
static void find_difference(aiki_view recorded, aiki_view taken, struct difference *ret)
{
    struct text path = {ret->path, ret->path + PATH_BYTES - 1, false};
    aiki_reader name;
    aiki_view key;
    *ret = (struct difference){.recorded = recorded, .taken = taken};
    while (is_map(ret->recorded) && is_map(ret->taken) &&
           (differing_key(ret->recorded, ret->taken, &key) ||
            differing_key(ret->taken, ret->recorded, &key))) {
        aiki_reader_init(&name, key);
        aiki_view text = aiki_mp_read_str(&name);
        if (name.status != AIKI_OK)
            break; /* a field without a name */
        if (path.at > ret->path)
            put_word(&path, ".");
        put(&path, (const char *)text.data, text.size_bytes);
        ret->recorded = map_get(ret->recorded, key);
        ret->taken = map_get(ret->taken, key);
    }
    text_end(&path);
}

static void step_text(const struct step *s, const char *path, aiki_view value, char ret[TEXT_BYTES])
{
    struct text t = {ret, ret + TEXT_BYTES - 1, false};
    aiki_reader r;

    if (s == NULL) {
        (void)snprintf(ret, TEXT_BYTES, "nothing");
        return;
    }
    put_word(&t, step_kind_name(s->kind));
    put_word(&t, " ");
    put(&t, (const char *)s->name.data, s->name.size_bytes);
    if (path[0] != '\0') {
        put_word(&t, value.size_bytes > 0 ? " with " : " without ");
        put_word(&t, path);
    }
    if (value.size_bytes > 0) {
        put_word(&t, " ");
        aiki_reader_init(&r, value);
        put_value(&t, &r, 0);
    }
    text_end(&t);
}

/* ---- which two steps --------------------------------------------------------------------- */

enum likeness { NOT_ALIKE, SAME_KIND, SAME_INPUT, SAME_NAME };

static enum likeness likeness(const struct step *a, const struct step *b)
{
    if (a->kind != b->kind)
        return NOT_ALIKE;
    if (same(a->name, b->name))
        return SAME_NAME;
    return a->input.size_bytes > 0 && same(a->input, b->input) ? SAME_INPUT : SAME_KIND;
}

struct pair {
    const struct step *recorded, *taken; /* either may be NULL */
    enum likeness likeness;
};

static const struct step *first_uncalled(const struct replay *r)
{
    const struct step *s = r->journal.first_recorded;

    while (s != NULL && (s->called || !s->required))
        s = s->next_recorded;
    return s;
}

static struct pair find_pair(const struct replay *r)
{
    struct pair p = {first_uncalled(r), NULL, NOT_ALIKE};

    for (uint32_t i = 0; i < r->future_count; i++) {
        const struct step *s = r->futures[i];
        if (s->on_record)
            continue;
        enum likeness l = p.recorded != NULL ? likeness(p.recorded, s) : NOT_ALIKE;
        if (p.taken == NULL || l > p.likeness) {
            p.taken = s;
            p.likeness = l;
        }
    }
    return p;
}

/* Whether the journal has calls of that name with more than one input: then another one is as likely. */
static bool has_several_inputs(const struct replay *r, const struct step *s)
{
    for (const struct step *o = r->journal.first_recorded; o != NULL; o = o->next_recorded)
        if (o->kind == s->kind && same(o->name, s->name) && !same(o->input, s->input))
            return true;
    return false;
}

static const char *cause_of(const struct replay *r, const struct pair *p)
{
    if (p->recorded == NULL)
        return "the code returned before it saw a recorded result";
    if (p->taken == NULL)
        return "a step was removed";
    switch (p->likeness) {
    case SAME_NAME:
        if (p->recorded->nth != p->taken->nth)
            return "a step was added";
        return has_several_inputs(r, p->recorded) ? "a step was inserted, or the input changed"
                                                  : "the input changed";
    case SAME_INPUT: return "the name changed";
    case SAME_KIND: return p->recorded->input.size_bytes == 0 ? "the name changed"
                                                              : "a step was inserted or replaced";
    case NOT_ALIKE: break;
    }
    return "a step was inserted or replaced";
}

/* ---- the report -------------------------------------------------------------------------- */

static void write_step(aiki_writer *w, const char *key, const struct step *s)
{
    char text[INPUT_TEXT_BYTES];

    aiki_mp_str(w, key);
    if (s == NULL) {
        aiki_mp_nil(w);
        return;
    }
    input_text(s->input, text, sizeof(text));
    aiki_mp_map(w, 4);
    aiki_mp_str(w, "kind");
    aiki_mp_str(w, step_kind_name(s->kind));
    aiki_mp_str(w, "name");
    aiki_mp_strn(w, s->name.data, s->name.size_bytes);
    aiki_mp_str(w, "nth");
    aiki_mp_uint(w, s->nth);
    aiki_mp_str(w, "input");
    aiki_mp_str(w, text);
}

static void write_details(const struct replay *r, const struct pair *p, aiki_error *err)
{
    uint8_t *memory = r->journal.memory.alloc(r->journal.memory.arg, DETAILS_BYTES);
    aiki_writer w;

    if (memory == NULL)
        return; /* the message says it all in short */
    aiki_writer_init_fixed(&w, memory, DETAILS_BYTES);
    aiki_mp_map(&w, 4);
    write_step(&w, "recorded", p->recorded);
    write_step(&w, "code", p->taken);
    aiki_mp_str(&w, "cause");
    aiki_mp_str(&w, cause_of(r, p));
    aiki_mp_str(&w, "remedy");
    aiki_mp_str(&w, REMEDY ", or start new runs under a new workflow version");
    if (w.status == AIKI_OK)
        err->details = aiki_writer_view(&w);
}

/* What the journal says next, if it is about a cancellation the code does not fit. */
static bool explain_cancel(const struct replay *r, aiki_error *err)
{
    const struct step *s = r->disputed;
    bool more = r->next_delivery < r->journal.delivery_count;
    char text[TEXT_BYTES];

    if (s == NULL && more && r->journal.deliveries[r->next_delivery] == NULL) {
        (void)error_code(err, AIKI_DIVERGED, "NONDETERMINISM",
                         "recorded: the code learnt that the run is to end; it now does not wait "
                         "there outside of a protected scope. To continue, " REMEDY);
        return true;
    }
    if (s == NULL && more && cancel_is_on_record(r->journal.deliveries[r->next_delivery]))
        s = r->journal.deliveries[r->next_delivery];
    if (s == NULL)
        return false;
    step_text(s, "", s->input, text);
    (void)error_code(err, AIKI_DIVERGED, "NONDETERMINISM",
                     "recorded: %s, %s. To continue, " REMEDY, text,
                     r->disputed != NULL ? "with its outcome; the code now cancels it"
                                         : "cancelled by the code, which now does not cancel it");
    return true;
}

void replay_explain(const struct replay *r, aiki_error *err)
{
    static const aiki_view none = {NULL, 0};
    struct pair p = find_pair(r);
    struct difference d = {.recorded = p.recorded != NULL ? p.recorded->input : none,
                           .taken = p.taken != NULL ? p.taken->input : none};
    const struct step *recorded = p.recorded;
    char recorded_text[TEXT_BYTES], taken_text[TEXT_BYTES];

    if (explain_cancel(r, err))
        return;
    if (recorded == NULL && r->next_delivery < r->journal.delivery_count) {
        recorded = r->journal.deliveries[r->next_delivery];
        d.recorded = recorded->input;
    }
    if (p.likeness == SAME_NAME)
        find_difference(d.recorded, d.taken, &d);
    step_text(recorded, d.path, d.recorded, recorded_text);
    step_text(p.taken, d.path, d.taken, taken_text);
    (void)error_code(err, AIKI_DIVERGED, "NONDETERMINISM",
                     "recorded: %s; the code now asks for: %s; likely %s. To continue, " REMEDY,
                     recorded_text, taken_text, cause_of(r, &p));
    write_details(r, &p, err);
}

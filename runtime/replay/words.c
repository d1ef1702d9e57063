/* words.c - steps and values as short text for people, and where two values differ. */
#include "replay/diverge.h"

#include <stdio.h>
#include <string.h>

#include "wire/redact.h"

enum { SHOWN_DEPTH_MAX = 8 /* containers deeper than this are shown as "..." */ };

/* ---- msgpack as short text --------------------------------------------------------------- */

struct text text_in(const struct replay *r, char *memory, size_t size)
{
    return (struct text){.at = memory, .end = memory + size - 1, .hidden = r->hidden};
}

void text_put(struct text *t, const char *bytes, size_t n)
{
    if ((size_t)(t->end - t->at) < n) {
        n = (size_t)(t->end - t->at);
        t->cut = true;
    }
    memcpy(t->at, bytes, n);
    t->at += n;
}

void text_word(struct text *t, const char *word)
{
    text_put(t, word, strlen(word));
}

static void put_number(struct text *t, const aiki_mp_item *item)
{
    char digits[40];
    int n = item->type == AIKI_MP_UINT  ? snprintf(digits, sizeof(digits), "%llu",
                                                   (unsigned long long)item->as.u)
            : item->type == AIKI_MP_INT ? snprintf(digits, sizeof(digits), "%lld",
                                                   (long long)item->as.i)
                                        : snprintf(digits, sizeof(digits), "%.10g", item->as.d);
    text_put(t, digits, (size_t)n);
}

/* Control characters, quotes and what is not ASCII are shown as '?': this is for eyes, not for
 * parsers, and may be cut anywhere. */
static void put_quoted(struct text *t, aiki_view v)
{
    text_word(t, "\"");
    for (uint64_t i = 0; i < v.size_bytes && !t->cut; i++) {
        char c = (char)v.data[i];
        bool plain = v.data[i] >= 0x20 && v.data[i] < 0x7f && c != '"';
        text_put(t, plain ? &c : "?", 1);
    }
    text_word(t, "\"");
}

static bool is_hidden(const struct redact_names *hidden, aiki_view name)
{
    return hidden != NULL && redact_names_have(hidden, name);
}

static void put_value(struct text *t, aiki_reader *r, int depth);

static void put_pair(struct text *t, aiki_reader *r, int depth)
{
    aiki_mp_item key;
    bool named = aiki_mp_peek(r, &key) && key.type == AIKI_MP_STR;

    put_value(t, r, depth);
    text_word(t, ":");
    if (named && is_hidden(t->hidden, key.bytes)) {
        text_word(t, "\"" REDACTED_TEXT "\"");
        t->cut |= aiki_mp_skip(r) != AIKI_OK;
    } else {
        put_value(t, r, depth);
    }
}

static void put_container(struct text *t, aiki_reader *r, const aiki_mp_item *item, int depth)
{
    bool map = item->type == AIKI_MP_MAP;

    text_word(t, map ? "{" : "[");
    for (uint64_t i = 0; i < item->as.count && !t->cut; i++) {
        if (i > 0)
            text_word(t, ",");
        if (map)
            put_pair(t, r, depth + 1);
        else
            put_value(t, r, depth + 1);
    }
    text_word(t, map ? "}" : "]");
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
    case AIKI_MP_NIL: text_word(t, "null"); break;
    case AIKI_MP_BOOL: text_word(t, item.as.boolean ? "true" : "false"); break;
    case AIKI_MP_UINT:
    case AIKI_MP_INT:
    case AIKI_MP_DOUBLE: put_number(t, &item); break;
    case AIKI_MP_STR: put_quoted(t, item.bytes); break;
    case AIKI_MP_ARRAY:
    case AIKI_MP_MAP: put_container(t, r, &item, depth); break;
    default: text_word(t, "<bytes>"); break;
    }
}

void text_put_value(struct text *t, aiki_view value)
{
    aiki_reader r;

    aiki_reader_init(&r, value);
    if (value.size_bytes > 0)
        put_value(t, &r, 0);
}

/* Over its last characters if need be. */
void text_end(struct text *t)
{
    if (t->cut) {
        t->at = t->end - t->at < 3 ? t->end - 3 : t->at;
        memcpy(t->at, "...", 3);
        t->at += 3;
    }
    *t->at = '\0';
}

void text_of_value(const struct replay *r, aiki_view value, char *ret, size_t size)
{
    struct text t = text_in(r, ret, size);

    text_put_value(&t, value);
    text_end(&t);
}

/* ---- where two inputs differ ------------------------------------------------------------- */

bool view_same(aiki_view a, aiki_view b)
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
        if (view_same(name, key))
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
        if (!view_same(aiki_mp_value(&r), map_get(other, *ret_key)) && r.status == AIKI_OK)
            return true;
    }
    return false;
}

static int type_of(aiki_view v)
{
    aiki_reader r;
    aiki_mp_item item;
    aiki_reader_init(&r, v);
    return aiki_mp_peek(&r, &item) ? (int)item.type : -1;
}

/* The first element of two arrays of one length that is not the same; both are narrowed down to it. */
static bool differing_element(struct difference *d, uint64_t *ret_index)
{
    aiki_reader a, b;
    aiki_reader_init(&a, d->recorded);
    aiki_reader_init(&b, d->taken);
    uint64_t count = aiki_mp_read_array(&a);
    if (count != aiki_mp_read_array(&b))
        return false;
    for (*ret_index = 0; *ret_index < count && a.status == AIKI_OK && b.status == AIKI_OK;
         ++*ret_index) {
        aiki_view recorded = aiki_mp_value(&a), taken = aiki_mp_value(&b);
        if (view_same(recorded, taken))
            continue;
        d->recorded = recorded;
        d->taken = taken;
        return true;
    }
    return false;
}

/* False: there is no such field, or it has no name. */
static bool differing_field(struct difference *d, aiki_view *ret_name)
{
    aiki_reader name;
    aiki_view key;
    if (!differing_key(d->recorded, d->taken, &key) && !differing_key(d->taken, d->recorded, &key))
        return false;
    aiki_reader_init(&name, key);
    *ret_name = aiki_mp_read_str(&name);
    if (name.status != AIKI_OK)
        return false;
    d->recorded = map_get(d->recorded, key);
    d->taken = map_get(d->taken, key);
    return true;
}

static void hide(aiki_view *value)
{
    static const uint8_t text[] = "\xaa" REDACTED_TEXT; /* a msgpack text of 10 bytes */
    _Static_assert(sizeof(text) == 12, "its length is in its first byte");
    if (value->size_bytes > 0)
        *value = (aiki_view){text, sizeof(text) - 1};
}

void find_difference(const struct replay *r, aiki_view recorded, aiki_view taken, struct difference *ret)
{
    struct text path = text_in(r, ret->path, PATH_BYTES);
    bool hidden = false;
    aiki_view name;
    uint64_t index;
    char digits[24];
    *ret = (struct difference){.recorded = recorded, .taken = taken};
    for (;;) {
        int type = type_of(ret->recorded);
        if (type != type_of(ret->taken))
            break;
        if (type == AIKI_MP_ARRAY && differing_element(ret, &index)) {
            (void)snprintf(digits, sizeof(digits), "[%llu]", (unsigned long long)index);
            text_word(&path, digits);
        } else if (type == AIKI_MP_MAP && differing_field(ret, &name)) {
            text_word(&path, path.at > ret->path ? "." : "");
            text_put(&path, (const char *)name.data, name.size_bytes);
            hidden |= is_hidden(r->hidden, name);
        } else {
            break;
        }
    }
    text_end(&path);
    if (hidden) {
        hide(&ret->recorded);
        hide(&ret->taken);
    }
}

void text_of_step(const struct replay *r, const struct step *s, const char *path, aiki_view value,
                  char ret[STEP_TEXT_BYTES])
{
    struct text t = text_in(r, ret, STEP_TEXT_BYTES);

    if (s == NULL) {
        (void)snprintf(ret, STEP_TEXT_BYTES, "nothing");
        return;
    }
    text_word(&t, step_kind_name(s->kind));
    text_word(&t, " ");
    text_put(&t, (const char *)s->name.data, s->name.size_bytes);
    if (path[0] != '\0') {
        text_word(&t, value.size_bytes > 0 ? " with " : " without ");
        text_word(&t, path);
    }
    if (value.size_bytes > 0) {
        text_word(&t, " ");
        text_put_value(&t, value);
    }
    text_end(&t);
}

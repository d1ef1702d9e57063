/* redact.c - see redact.h. */
#include "wire/redact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MORE_SIZE = 48 };

/* ---- what is marked ---------------------------------------------------------------------- */

bool redact_has_marks(const aiki_record_def *def)
{
    bool marks = false;
    for (uint32_t i = 0; i < def->field_count && !marks; i++) {
        const aiki_field_def *f = aiki_record_field(def, i);
        marks = f->pii != 0 || (f->record != NULL && redact_has_marks(f->record));
    }
    return marks;
}

static void hide(aiki_writer *w) { aiki_mp_str(w, REDACTED_TEXT); }

static void copy(aiki_writer *w, aiki_view value)
{
    aiki_mp_raw(w, value.data, value.size_bytes);
}

static int32_t type_of(aiki_view value)
{
    aiki_reader r;
    aiki_mp_item item;
    aiki_reader_init(&r, value);
    (void)aiki_mp_peek(&r, &item); /* it was checked */
    return item.type;
}

static void redact_record(aiki_writer *w, const aiki_record_def *def, bool unnamed,
                          aiki_view value);

static void redact_list(aiki_writer *w, const aiki_field_def *f, bool unnamed, aiki_view value)
{
    aiki_reader r;
    aiki_reader_init(&r, value);
    uint64_t count = aiki_mp_read_array(&r);
    aiki_mp_array(w, count);
    for (; count > 0; count--)
        redact_record(w, f->record, unnamed, aiki_mp_value(&r));
}

static void redact_field(aiki_writer *w, const aiki_field_def *f, bool unnamed, aiki_view value)
{
    int32_t type = type_of(value);
    if (type == AIKI_MP_NIL || (f->pii == 0 && f->record == NULL))
        copy(w, value);
    else if (f->pii != 0)
        hide(w);
    else if (f->type == AIKI_FIELD_RECORD)
        redact_record(w, f->record, unnamed, value);
    else if (type == AIKI_MP_ARRAY)
        redact_list(w, f, unnamed, value);
    else if (redact_has_marks(f->record))
        hide(w);
    else
        copy(w, value); /* no list, and nothing in it would be marked */
}

/* Steps over a value. */
static aiki_view hidden(aiki_reader *r)
{
    static const uint8_t text[] = "\xaa" REDACTED_TEXT; /* the same as hide() writes */
    (void)aiki_mp_skip(r);
    return (aiki_view){text, sizeof(text) - 1};
}

static void redact_pair(aiki_writer *w, const aiki_record_def *def, bool unnamed, aiki_reader *r)
{
    aiki_mp_item key = {.type = AIKI_MP_END};
    uint32_t index = def->field_count;
    (void)aiki_mp_peek(r, &key);
    copy(w, aiki_mp_value(r));
    if (key.type == AIKI_MP_STR && def->field_count > 0)
        index = aiki_record_find_(def, key.bytes, 0);
    if (index < def->field_count)
        redact_field(w, aiki_record_field(def, index), unnamed, aiki_mp_value(r));
    else
        copy(w, unnamed ? hidden(r) : aiki_mp_value(r));
}

static void redact_record(aiki_writer *w, const aiki_record_def *def, bool unnamed, aiki_view value)
{
    aiki_reader r;
    int32_t type = type_of(value);
    if (type == AIKI_MP_NIL || (type != AIKI_MP_MAP && !redact_has_marks(def))) {
        copy(w, value);
        return;
    }
    if (type != AIKI_MP_MAP) {
        hide(w);
        return;
    }
    aiki_reader_init(&r, value);
    uint64_t pairs = aiki_mp_read_map(&r);
    aiki_mp_map(w, pairs);
    for (; pairs > 0; pairs--)
        redact_pair(w, def, unnamed, &r);
}

void redact_value(aiki_writer *w, const aiki_record_def *def, bool unnamed, aiki_view value)
{
    redact_record(w, def, unnamed, value);
}

/* ---- names ------------------------------------------------------------------------------- */

/* Where the name is, or belongs. */
static size_t find_name(const struct redact_names *names, aiki_view name, bool *ret_there)
{
    size_t low = 0, high = names->count;
    *ret_there = false;
    while (low < high && !*ret_there) {
        size_t middle = low + (high - low) / 2;
        const char *other = names->sorted[middle];
        size_t size = strlen(other), common = size < name.size_bytes ? size : (size_t)name.size_bytes;
        int order = common > 0 ? memcmp(name.data, other, common) : 0;
        if (order == 0)
            order = (name.size_bytes > size) - (name.size_bytes < size);
        *ret_there = order == 0;
        if (order > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return high;
}

static aiki_status add_name(struct redact_names *names, const char *name)
{
    bool there;
    size_t at = find_name(names, (aiki_view){(const uint8_t *)name, strlen(name)}, &there);
    if (there)
        return AIKI_OK;
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 8 : names->capacity * 2;
        const char **grown = (const char **)realloc((void *)names->sorted, capacity * sizeof(grown[0]));
        if (grown == NULL)
            return AIKI_NOMEM;
        names->sorted = grown;
        names->capacity = capacity;
    }
    memmove((void *)&names->sorted[at + 1], (void *)&names->sorted[at],
            (names->count - at) * sizeof(names->sorted[0]));
    names->sorted[at] = name;
    names->count++;
    return AIKI_OK;
}

/* Recurses as deep as the record, AIKI_RECORD_DEPTH_MAX. */
static aiki_status add_fields(struct redact_names *names, const aiki_record_def *def, bool all)
{
    aiki_status status = AIKI_OK;
    for (uint32_t i = 0; i < def->field_count && status == AIKI_OK; i++) {
        const aiki_field_def *f = aiki_record_field(def, i);
        bool marked = all || f->pii != 0;
        if (marked)
            status = add_name(names, f->name);
        if (status == AIKI_OK && f->record != NULL)
            status = add_fields(names, f->record, marked);
    }
    return status;
}

aiki_status redact_names_add(struct redact_names *names, const aiki_record_def *def)
{
    return add_fields(names, def, false);
}

void redact_names_deinit(struct redact_names *names)
{
    free((void *)names->sorted);
    *names = (struct redact_names){.sorted = NULL};
}

bool redact_names_have(const struct redact_names *names, aiki_view name)
{
    bool there;
    (void)find_name(names, name, &there);
    return there;
}

static void copy_named(aiki_writer *w, const struct redact_names *names, aiki_reader *r);

static void copy_pair(aiki_writer *w, const struct redact_names *names, aiki_reader *r)
{
    aiki_mp_item key = {.type = AIKI_MP_END}, value = {.type = AIKI_MP_END};
    (void)aiki_mp_peek(r, &key); /* it was checked */
    copy(w, aiki_mp_value(r));
    (void)aiki_mp_peek(r, &value);
    if (key.type == AIKI_MP_STR && value.type != AIKI_MP_NIL && redact_names_have(names, key.bytes))
        copy(w, hidden(r));
    else
        copy_named(w, names, r);
}

/* Recurses as deep as the value, AIKI_MP_DEPTH_MAX. */
static void copy_named(aiki_writer *w, const struct redact_names *names, aiki_reader *r)
{
    aiki_mp_item item = {.type = AIKI_MP_END};
    (void)aiki_mp_peek(r, &item);
    if (item.type != AIKI_MP_MAP && item.type != AIKI_MP_ARRAY) {
        copy(w, aiki_mp_value(r));
        return;
    }
    (void)aiki_mp_next(r, &item);
    if (item.type == AIKI_MP_MAP)
        aiki_mp_map(w, item.as.count);
    else
        aiki_mp_array(w, item.as.count);
    for (uint64_t i = 0; i < item.as.count; i++)
        if (item.type == AIKI_MP_MAP)
            copy_pair(w, names, r);
        else
            copy_named(w, names, r);
}

void redact_named(aiki_writer *w, const struct redact_names *names, aiki_view value)
{
    aiki_reader r;
    aiki_reader_init(&r, value);
    if (names->count == 0)
        copy(w, value);
    else
        copy_named(w, names, &r);
}

/* ---- what is long ------------------------------------------------------------------------ */

/* 61234 as "61,234". */
static void put_number(char text[MORE_SIZE], uint64_t number)
{
    char digits[24];
    size_t size = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
}

void redact_write_more(aiki_writer *w, uint64_t bytes)
{
    char number[MORE_SIZE], text[MORE_SIZE + 24];
    put_number(number, bytes);
    (void)snprintf(text, sizeof(text), "... %s bytes more", number);
    aiki_mp_str(w, text);
}

struct budget {
    aiki_writer *w;
    uint64_t left_bytes;
};

static void spend(struct budget *b, uint64_t bytes)
{
    b->left_bytes -= bytes < b->left_bytes ? bytes : b->left_bytes;
}

/* The head of a text and how much is behind it, as one text. */
static void cut_text(struct budget *b, aiki_view text)
{
    char number[MORE_SIZE], more[MORE_SIZE + 24];
    uint64_t kept = b->left_bytes;
    while (kept > 0 && (text.data[kept] & 0xc0) == 0x80)
        kept--; /* not within a character */
    put_number(number, text.size_bytes - kept);
    int size = snprintf(more, sizeof(more), "... %s bytes more", number);
    aiki_mp_size_(b->w, kept + (uint64_t)size, 32, 0xa0, 0xd9, 0xda, 0xdb);
    aiki_mp_raw(b->w, text.data, kept);
    aiki_mp_raw(b->w, more, (uint64_t)size);
    b->left_bytes = 0;
}

static void shorten(struct budget *b, aiki_reader *r);

/* Its size is known only at its end. */
static void shorten_container(struct budget *b, aiki_reader *r, const aiki_mp_item *item)
{
    const bool is_map = item->type == AIKI_MP_MAP;
    const uint64_t at = b->w->size_bytes;
    uint64_t count = 0;
    aiki_mp_raw(b->w, is_map ? "\xdf\0\0\0\0" : "\xdd\0\0\0\0", 5);
    for (; count < item->as.count && b->left_bytes > 0; count++) {
        if (is_map)
            shorten(b, r);
        shorten(b, r);
    }
    if (count < item->as.count) {
        const uint8_t *rest = r->at;
        for (uint64_t left = (item->as.count - count) * (is_map ? 2 : 1); left > 0; left--)
            (void)aiki_mp_skip(r); /* it was checked */
        if (is_map)
            aiki_mp_str(b->w, "...");
        redact_write_more(b->w, (uint64_t)(r->at - rest));
        count++;
    }
    if (b->w->status == AIKI_OK)
        aiki_mp_be_(b->w->data + at + 1, count, 4);
}

/* Recurses as deep as the value, AIKI_MP_DEPTH_MAX. */
static void shorten(struct budget *b, aiki_reader *r)
{
    const uint8_t *from = r->at;
    aiki_mp_item item;
    if (!aiki_mp_next(r, &item))
        return; /* it was checked */
    if (item.type == AIKI_MP_ARRAY || item.type == AIKI_MP_MAP) {
        spend(b, 1);
        shorten_container(b, r, &item);
        return;
    }
    uint64_t size = (uint64_t)(r->at - from);
    if (item.bytes.size_bytes <= b->left_bytes) {
        aiki_mp_raw(b->w, from, size);
        spend(b, size);
    } else if (item.type == AIKI_MP_STR) {
        cut_text(b, item.bytes);
    } else {
        redact_write_more(b->w, item.bytes.size_bytes);
        b->left_bytes = 0;
    }
}

void redact_shorten(aiki_writer *w, uint64_t bytes_max, aiki_view value)
{
    struct budget b = {w, bytes_max};
    aiki_reader r;
    if (value.size_bytes <= bytes_max) {
        copy(w, value);
        return;
    }
    aiki_reader_init(&r, value);
    shorten(&b, &r);
}

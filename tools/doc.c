/* doc.c - see doc.h. Lookups scan: documents have a dozen keys. */
#include "doc.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/clock.h"

aiki_view doc_get(aiki_view map, const char *key)
{
    aiki_reader r;
    aiki_mp_item item;
    aiki_view none = {NULL, 0};
    aiki_reader_init(&r, map);
    if (!aiki_mp_next(&r, &item) || item.type != AIKI_MP_MAP)
        return none;
    for (uint64_t left = item.as.count; left > 0; left--) {
        aiki_mp_item name;
        (void)aiki_mp_peek(&r, &name);
        if (aiki_mp_skip(&r) != AIKI_OK)
            return none;
        aiki_view value = aiki_mp_value(&r);
        if (name.type == AIKI_MP_STR && view_is(name.bytes, key))
            return value.size_bytes == 1 && value.data[0] == 0xc0 ? none : value;
    }
    return none;
}

static aiki_mp_item scalar(aiki_view map, const char *key)
{
    aiki_reader r;
    aiki_mp_item item;
    aiki_reader_init(&r, doc_get(map, key));
    (void)aiki_mp_next(&r, &item);
    return item;
}

aiki_view doc_text(aiki_view map, const char *key)
{
    aiki_mp_item item = scalar(map, key);
    aiki_view none = {NULL, 0};
    return item.type == AIKI_MP_STR ? item.bytes : none;
}

int64_t doc_int(aiki_view map, const char *key)
{
    aiki_mp_item item = scalar(map, key);
    if (item.type == AIKI_MP_DOUBLE)
        return (int64_t)item.as.d;
    return item.type == AIKI_MP_UINT || item.type == AIKI_MP_INT ? item.as.i : 0;
}

double doc_double(aiki_view map, const char *key)
{
    aiki_mp_item item = scalar(map, key);
    return item.type == AIKI_MP_DOUBLE ? item.as.d : (double)doc_int(map, key);
}

bool doc_bool(aiki_view map, const char *key)
{
    aiki_mp_item item = scalar(map, key);
    return item.type == AIKI_MP_BOOL && item.as.boolean;
}

int64_t doc_time_ms(aiki_view map, const char *key)
{
    char text[40];
    aiki_view view = doc_text(map, key);
    if (view.size_bytes == 0)
        return doc_int(map, key);
    snprintf(text, sizeof(text), "%.*s", view.size_bytes < sizeof(text) ? (int)view.size_bytes : 0,
             (const char *)view.data);
    return clock_parse_ms(text);
}

struct doc_list doc_items(aiki_view array)
{
    struct doc_list l = {.left = 0};
    aiki_mp_item item;
    aiki_reader_init(&l.reader, array);
    if (aiki_mp_next(&l.reader, &item) && item.type == AIKI_MP_ARRAY)
        l.left = item.as.count;
    return l;
}

struct doc_list doc_list(aiki_view map, const char *key)
{
    return doc_items(doc_get(map, key));
}

bool doc_next(struct doc_list *l)
{
    if (l->left == 0)
        return false;
    l->left--;
    l->item = aiki_mp_value(&l->reader);
    return l->reader.status == AIKI_OK;
}

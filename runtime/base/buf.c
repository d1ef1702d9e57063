/* buf.c - growing buffers. */
#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

enum { BUF_BYTES_MIN = 256 };

static bool grow(aiki_writer *w, uint64_t capacity_min_bytes)
{
    uint64_t capacity = w->capacity_bytes < BUF_BYTES_MIN ? BUF_BYTES_MIN : w->capacity_bytes;
    while (capacity < capacity_min_bytes) {
        if (capacity > UINT64_MAX / 2)
            return false;
        capacity *= 2;
    }
    uint8_t *data = realloc(w->data, capacity);
    if (data == NULL)
        return false;
    w->data = data;
    w->capacity_bytes = capacity;
    return true;
}

void buf_init(aiki_writer *w)
{
    aiki_writer_init_fixed(w, NULL, 0);
    w->grow = grow;
}

void buf_deinit(aiki_writer *w)
{
    free(w->data);
    buf_init(w);
}

void buf_clear(aiki_writer *w, uint64_t keep_bytes_max)
{
    if (w->capacity_bytes > keep_bytes_max) {
        buf_deinit(w);
        return;
    }
    w->size_bytes = 0;
    w->status = AIKI_OK;
}

void buf_reserve(aiki_writer *w, uint64_t bytes)
{
    if (w->status == AIKI_OK && bytes > w->capacity_bytes && !grow(w, bytes))
        w->status = AIKI_NOMEM;
}

void buf_fit(aiki_writer *w)
{
    if (w->size_bytes == 0 || w->size_bytes == w->capacity_bytes)
        return;
    uint8_t *data = realloc(w->data, w->size_bytes);
    if (data == NULL)
        return; /* it stays as large as it is */
    w->data = data;
    w->capacity_bytes = w->size_bytes;
}

void buf_consume(aiki_writer *w, uint64_t n)
{
    uint64_t left = n < w->size_bytes ? w->size_bytes - n : 0;
    if (left > 0)
        memmove(w->data, w->data + n, left);
    w->size_bytes = left;
}

uint8_t *buf_take(aiki_writer *w, uint64_t *ret_size_bytes)
{
    uint8_t *data = w->data;
    *ret_size_bytes = w->size_bytes;
    buf_init(w);
    return data;
}

char *view_dup(aiki_view v)
{
    char *copy = v.size_bytes < SIZE_MAX ? malloc(v.size_bytes + 1) : NULL;
    if (copy == NULL)
        return NULL;
    if (v.size_bytes > 0)
        memcpy(copy, v.data, v.size_bytes);
    copy[v.size_bytes] = '\0';
    return copy;
}

bool view_equal(aiki_view a, aiki_view b)
{
    return a.size_bytes == b.size_bytes &&
           (a.size_bytes == 0 || memcmp(a.data, b.data, a.size_bytes) == 0);
}

uint64_t view_hash(uint64_t before, aiki_view v)
{
    uint64_t hash = 0xcbf29ce484222325ull ^ before;
    for (uint64_t i = 0; i < v.size_bytes; i++)
        hash = (hash ^ v.data[i]) * 0x100000001b3ull;
    return hash;
}

bool view_is(aiki_view v, const char *text) { return view_equal(v, view_of(text)); }

aiki_view view_of(const char *text)
{
    return (aiki_view){(const uint8_t *)text, text == NULL ? 0 : strlen(text)};
}

/* aiki/msgpack.h - a small msgpack writer and reader without allocation or linking.
 *
 * Writer: appends to one growing or fixed buffer; the first failure sticks in `status`, so a
 * sequence of writes needs one check at its end. Writes the shortest form of integers.
 * Reader: a bounds-checked cursor over borrowed bytes. It never allocates, never recurses, and
 * refuses containers that declare more elements than bytes are left. The first failure sticks.
 *
 * Limits: nesting AIKI_MP_DEPTH_MAX, nodes per value AIKI_MP_NODES_MAX, sizes 32 bit.
 * [any thread; one object is used by one thread at a time] since 1.0
 */
#ifndef AIKI_MSGPACK_H
#define AIKI_MSGPACK_H

#include <aiki/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { AIKI_MP_DEPTH_MAX = 64, AIKI_MP_NODES_MAX = 1000000 };

/* ---- writer ------------------------------------------------------------------------------ */

/* Owned by whoever set `data`. With grow == NULL the buffer is fixed and AIKI_LIMIT is the
 * answer to an overflow; grow returns false when out of memory. */
typedef struct aiki_writer {
    uint8_t *data;
    uint64_t size_bytes;
    uint64_t capacity_bytes;
    bool (*grow)(struct aiki_writer *w, uint64_t capacity_min_bytes);
    void *arg;
    aiki_status status;
    uint32_t reserved;
} aiki_writer;

static inline void aiki_writer_init_fixed(aiki_writer *w, void *memory, uint64_t size_bytes)
{
    w->data = (uint8_t *)memory;
    w->size_bytes = 0;
    w->capacity_bytes = size_bytes;
    w->grow = NULL;
    w->arg = NULL;
    w->status = AIKI_OK;
    w->reserved = 0;
}

static inline aiki_view aiki_writer_view(const aiki_writer *w)
{
    aiki_view v;
    v.data = w->data;
    v.size_bytes = w->size_bytes;
    return v;
}

/* Room for n more bytes, or NULL with the status set. The caller fills all n. */
static inline uint8_t *aiki_mp_room(aiki_writer *w, uint64_t n)
{
    uint8_t *p;
    if (w->status != AIKI_OK)
        return NULL;
    if (n > w->capacity_bytes - w->size_bytes) {
        if (w->grow == NULL) {
            w->status = AIKI_LIMIT;
            return NULL;
        }
        if (!w->grow(w, w->size_bytes + n)) {
            w->status = AIKI_NOMEM;
            return NULL;
        }
    }
    p = w->data + w->size_bytes;
    w->size_bytes += n;
    return p;
}

static inline void aiki_mp_copy_(uint8_t *to, const uint8_t *from, uint64_t n)
{
#if defined(__GNUC__) || defined(__clang__)
    if (n > 0)
        __builtin_memcpy(to, from, n);
#else
    uint64_t i;
    for (i = 0; i < n; i++)
        to[i] = from[i];
#endif
}

static inline void aiki_mp_be_(uint8_t *p, uint64_t value, unsigned bytes)
{
    unsigned i;
    for (i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> (8u * (bytes - 1u - i)));
}

static inline void aiki_mp_head_(aiki_writer *w, uint8_t tag, uint64_t value, unsigned bytes)
{
    uint8_t *p = aiki_mp_room(w, 1u + bytes);
    if (p != NULL) {
        p[0] = tag;
        aiki_mp_be_(p + 1, value, bytes);
    }
}

/* Bytes as they are: an encoded value, or part of one. */
static inline void aiki_mp_raw(aiki_writer *w, const void *data, uint64_t size_bytes)
{
    uint8_t *p = aiki_mp_room(w, size_bytes);
    if (p != NULL)
        aiki_mp_copy_(p, (const uint8_t *)data, size_bytes);
}

static inline void aiki_mp_nil(aiki_writer *w) { aiki_mp_head_(w, 0xc0, 0, 0); }

static inline void aiki_mp_bool(aiki_writer *w, bool value)
{
    aiki_mp_head_(w, value ? 0xc3 : 0xc2, 0, 0);
}

static inline void aiki_mp_uint(aiki_writer *w, uint64_t value)
{
    if (value < 0x80)
        aiki_mp_head_(w, (uint8_t)value, 0, 0);
    else if (value <= 0xff)
        aiki_mp_head_(w, 0xcc, value, 1);
    else if (value <= 0xffff)
        aiki_mp_head_(w, 0xcd, value, 2);
    else if (value <= 0xffffffffu)
        aiki_mp_head_(w, 0xce, value, 4);
    else
        aiki_mp_head_(w, 0xcf, value, 8);
}

static inline void aiki_mp_int(aiki_writer *w, int64_t value)
{
    if (value >= 0)
        aiki_mp_uint(w, (uint64_t)value);
    else if (value >= -32)
        aiki_mp_head_(w, (uint8_t)value, 0, 0);
    else if (value >= INT8_MIN)
        aiki_mp_head_(w, 0xd0, (uint64_t)value, 1);
    else if (value >= INT16_MIN)
        aiki_mp_head_(w, 0xd1, (uint64_t)value, 2);
    else if (value >= INT32_MIN)
        aiki_mp_head_(w, 0xd2, (uint64_t)value, 4);
    else
        aiki_mp_head_(w, 0xd3, (uint64_t)value, 8);
}

static inline void aiki_mp_double(aiki_writer *w, double value)
{
    union {
        double d;
        uint64_t u;
    } bits;
    bits.d = value;
    aiki_mp_head_(w, 0xcb, bits.u, 8);
}

static inline void aiki_mp_size_(aiki_writer *w, uint64_t n, unsigned fix_max, uint8_t fix_tag,
                                 uint8_t tag8, uint8_t tag16, uint8_t tag32)
{
    if (n > 0xffffffffu)
        w->status = w->status != AIKI_OK ? w->status : AIKI_LIMIT;
    else if (n < fix_max)
        aiki_mp_head_(w, (uint8_t)(fix_tag | n), 0, 0);
    else if (tag8 != 0 && n <= 0xff)
        aiki_mp_head_(w, tag8, n, 1);
    else if (n <= 0xffff)
        aiki_mp_head_(w, tag16, n, 2);
    else
        aiki_mp_head_(w, tag32, n, 4);
}

static inline void aiki_mp_array(aiki_writer *w, uint64_t count)
{
    aiki_mp_size_(w, count, 16, 0x90, 0, 0xdc, 0xdd);
}

static inline void aiki_mp_map(aiki_writer *w, uint64_t pair_count)
{
    aiki_mp_size_(w, pair_count, 16, 0x80, 0, 0xde, 0xdf);
}

static inline void aiki_mp_strn(aiki_writer *w, const void *text, uint64_t size_bytes)
{
    aiki_mp_size_(w, size_bytes, 32, 0xa0, 0xd9, 0xda, 0xdb);
    aiki_mp_raw(w, text, size_bytes);
}

/* A NUL-terminated string; NULL is written as nil. */
static inline void aiki_mp_str(aiki_writer *w, const char *text)
{
    uint64_t n = 0;
    if (text == NULL) {
        aiki_mp_nil(w);
        return;
    }
    while (text[n] != '\0')
        n++;
    aiki_mp_strn(w, text, n);
}

static inline void aiki_mp_bin(aiki_writer *w, const void *data, uint64_t size_bytes)
{
    aiki_mp_size_(w, size_bytes, 0, 0, 0xc4, 0xc5, 0xc6);
    aiki_mp_raw(w, data, size_bytes);
}

/* ---- reader ------------------------------------------------------------------------------ */

enum {
    AIKI_MP_END = 0, /* no bytes left */
    AIKI_MP_NIL,
    AIKI_MP_BOOL,
    AIKI_MP_UINT, /* non-negative integer */
    AIKI_MP_INT,  /* negative integer */
    AIKI_MP_DOUBLE,
    AIKI_MP_STR,
    AIKI_MP_BIN,
    AIKI_MP_ARRAY,
    AIKI_MP_MAP,
    AIKI_MP_EXT,
    AIKI_MP_BAD /* truncated or not msgpack */
};

/* One decoded item. For containers `count` is elements (array) or pairs (map), and the
 * elements follow in the reader. For str, bin and ext `bytes` is borrowed from the input. */
typedef struct aiki_mp_item {
    int32_t type; /* AIKI_MP_* */
    int32_t ext_type;
    union {
        bool boolean;
        uint64_t u;
        int64_t i;
        double d;
        uint64_t count;
    } as;
    aiki_view bytes;
} aiki_mp_item;

typedef struct aiki_reader {
    const uint8_t *at;
    const uint8_t *end;
    aiki_status status; /* AIKI_OK, or for ever what went wrong first */
    uint32_t reserved;
} aiki_reader;

static inline void aiki_reader_init(aiki_reader *r, aiki_view bytes)
{
    r->at = bytes.data;
    r->end = bytes.size_bytes > 0 ? bytes.data + bytes.size_bytes : bytes.data;
    r->status = AIKI_OK;
    r->reserved = 0;
}

static inline uint64_t aiki_reader_left(const aiki_reader *r) { return (uint64_t)(r->end - r->at); }

static inline uint64_t aiki_mp_be_read_(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;
    unsigned i;
    for (i = 0; i < bytes; i++)
        value = (value << 8) | p[i];
    return value;
}

/* The first failure sticks: a budget that ran out is not reported as corrupt bytes. */
static inline void aiki_mp_fail_(aiki_reader *r)
{
    if (r->status == AIKI_OK)
        r->status = AIKI_CORRUPT;
}

static inline bool aiki_mp_bad_(aiki_reader *r, aiki_mp_item *item)
{
    aiki_mp_fail_(r);
    item->type = AIKI_MP_BAD;
    return false;
}

static inline bool aiki_mp_bytes_(aiki_reader *r, aiki_mp_item *item, int32_t type, unsigned width,
                                  uint64_t fixed, unsigned extra)
{
    uint64_t n = fixed;
    if (width > 0) {
        if (aiki_reader_left(r) < width)
            return aiki_mp_bad_(r, item);
        n = aiki_mp_be_read_(r->at, width);
        r->at += width;
    }
    if (aiki_reader_left(r) < extra || aiki_reader_left(r) - extra < n)
        return aiki_mp_bad_(r, item);
    item->type = type;
    if (extra == 1) {
        item->ext_type = (int8_t)r->at[0];
        r->at += 1;
    }
    item->bytes.data = r->at;
    item->bytes.size_bytes = n;
    r->at += n;
    return true;
}

static inline bool aiki_mp_count_(aiki_reader *r, aiki_mp_item *item, int32_t type, unsigned width,
                                  uint64_t fixed)
{
    uint64_t n = fixed;
    if (width > 0) {
        if (aiki_reader_left(r) < width)
            return aiki_mp_bad_(r, item);
        n = aiki_mp_be_read_(r->at, width);
        r->at += width;
    }
    /* Each element takes at least one byte: a larger count is a lie. */
    if (n > aiki_reader_left(r) || (type == AIKI_MP_MAP && n * 2 > aiki_reader_left(r)))
        return aiki_mp_bad_(r, item);
    item->type = type;
    item->as.count = n;
    return true;
}

static inline bool aiki_mp_number_(aiki_reader *r, aiki_mp_item *item, uint8_t tag)
{
    static const uint8_t width_of[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* 0xca .. 0xd3 */
    unsigned width = width_of[tag - 0xca];
    uint64_t raw;
    if (aiki_reader_left(r) < width)
        return aiki_mp_bad_(r, item);
    raw = aiki_mp_be_read_(r->at, width);
    r->at += width;
    if (tag == 0xca) {
        union {
            float f;
            uint32_t u;
        } bits;
        bits.u = (uint32_t)raw;
        item->type = AIKI_MP_DOUBLE;
        item->as.d = (double)bits.f;
    } else if (tag == 0xcb) {
        union {
            double d;
            uint64_t u;
        } bits;
        bits.u = raw;
        item->type = AIKI_MP_DOUBLE;
        item->as.d = bits.d;
    } else if (tag <= 0xcf) {
        item->type = AIKI_MP_UINT;
        item->as.u = raw;
    } else {
        int64_t value = width == 1   ? (int64_t)(int8_t)raw
                        : width == 2 ? (int64_t)(int16_t)raw
                        : width == 4 ? (int64_t)(int32_t)raw
                                     : (int64_t)raw;
        item->type = value < 0 ? AIKI_MP_INT : AIKI_MP_UINT;
        item->as.i = value;
    }
    return true;
}

/* Read the next item. False at the end (type AIKI_MP_END) and on bad bytes (AIKI_MP_BAD). */
static inline bool aiki_mp_next(aiki_reader *r, aiki_mp_item *item)
{
    uint8_t tag;
    item->type = AIKI_MP_END;
    item->ext_type = 0;
    item->as.u = 0;
    item->bytes.data = NULL;
    item->bytes.size_bytes = 0;
    if (r->status != AIKI_OK)
        return aiki_mp_bad_(r, item);
    if (r->at == r->end)
        return false;
    tag = *r->at++;
    if (tag < 0x80) {
        item->type = AIKI_MP_UINT;
        item->as.u = tag;
        return true;
    }
    if (tag >= 0xe0) {
        item->type = AIKI_MP_INT;
        item->as.i = (int8_t)tag;
        return true;
    }
    if (tag < 0x90)
        return aiki_mp_count_(r, item, AIKI_MP_MAP, 0, tag & 0x0fu);
    if (tag < 0xa0)
        return aiki_mp_count_(r, item, AIKI_MP_ARRAY, 0, tag & 0x0fu);
    if (tag < 0xc0)
        return aiki_mp_bytes_(r, item, AIKI_MP_STR, 0, tag & 0x1fu, 0);
    if (tag >= 0xca && tag <= 0xd3)
        return aiki_mp_number_(r, item, tag);
    switch (tag) {
    case 0xc0: item->type = AIKI_MP_NIL; return true;
    case 0xc2:
    case 0xc3:
        item->type = AIKI_MP_BOOL;
        item->as.boolean = tag == 0xc3;
        return true;
    case 0xc4: return aiki_mp_bytes_(r, item, AIKI_MP_BIN, 1, 0, 0);
    case 0xc5: return aiki_mp_bytes_(r, item, AIKI_MP_BIN, 2, 0, 0);
    case 0xc6: return aiki_mp_bytes_(r, item, AIKI_MP_BIN, 4, 0, 0);
    case 0xc7: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 1, 0, 1);
    case 0xc8: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 2, 0, 1);
    case 0xc9: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 4, 0, 1);
    case 0xd4: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 0, 1, 1);
    case 0xd5: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 0, 2, 1);
    case 0xd6: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 0, 4, 1);
    case 0xd7: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 0, 8, 1);
    case 0xd8: return aiki_mp_bytes_(r, item, AIKI_MP_EXT, 0, 16, 1);
    case 0xd9: return aiki_mp_bytes_(r, item, AIKI_MP_STR, 1, 0, 0);
    case 0xda: return aiki_mp_bytes_(r, item, AIKI_MP_STR, 2, 0, 0);
    case 0xdb: return aiki_mp_bytes_(r, item, AIKI_MP_STR, 4, 0, 0);
    case 0xdc: return aiki_mp_count_(r, item, AIKI_MP_ARRAY, 2, 0);
    case 0xdd: return aiki_mp_count_(r, item, AIKI_MP_ARRAY, 4, 0);
    case 0xde: return aiki_mp_count_(r, item, AIKI_MP_MAP, 2, 0);
    case 0xdf: return aiki_mp_count_(r, item, AIKI_MP_MAP, 4, 0);
    default: return aiki_mp_bad_(r, item); /* 0xc1 is not msgpack */
    }
}

/* Look at the next item without moving. */
static inline bool aiki_mp_peek(const aiki_reader *r, aiki_mp_item *item)
{
    aiki_reader copy = *r;
    return aiki_mp_next(&copy, item);
}

/* Step over one whole value, containers included. AIKI_LIMIT over the depth or node budget. */
static inline aiki_status aiki_mp_skip(aiki_reader *r)
{
    uint64_t left[AIKI_MP_DEPTH_MAX];
    uint64_t nodes = 0;
    unsigned depth = 0;
    aiki_mp_item item;
    left[0] = 1;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0)
                return r->status;
            depth--;
        }
        left[depth]--;
        if (!aiki_mp_next(r, &item)) {
            aiki_mp_fail_(r);
            return r->status;
        }
        if (++nodes > AIKI_MP_NODES_MAX) {
            r->status = AIKI_LIMIT;
            return r->status;
        }
        if (item.type == AIKI_MP_ARRAY || item.type == AIKI_MP_MAP) {
            if (++depth == AIKI_MP_DEPTH_MAX) {
                r->status = AIKI_LIMIT;
                return r->status;
            }
            left[depth] = item.type == AIKI_MP_MAP ? item.as.count * 2 : item.as.count;
        }
    }
}

/* One whole value as borrowed bytes; empty with the reader's status set when there is none. */
static inline aiki_view aiki_mp_value(aiki_reader *r)
{
    aiki_view v;
    v.data = r->at;
    v.size_bytes = aiki_mp_skip(r) == AIKI_OK ? (uint64_t)(r->at - v.data) : 0;
    return v;
}

/* Whether the bytes are exactly one well-formed value within the budgets. */
static inline aiki_status aiki_mp_check(aiki_view bytes)
{
    aiki_reader r;
    aiki_reader_init(&r, bytes);
    if (aiki_mp_skip(&r) != AIKI_OK)
        return r.status;
    return r.at == r.end ? AIKI_OK : AIKI_CORRUPT;
}

/* Typed reads: a value of another type makes the reader CORRUPT and answers zero or empty. */
static inline uint64_t aiki_mp_read_uint(aiki_reader *r)
{
    aiki_mp_item item;
    if (aiki_mp_next(r, &item) && item.type == AIKI_MP_UINT)
        return item.as.u;
    aiki_mp_fail_(r);
    return 0;
}

static inline int64_t aiki_mp_read_int(aiki_reader *r)
{
    aiki_mp_item item;
    if (aiki_mp_next(r, &item)) {
        if (item.type == AIKI_MP_INT)
            return item.as.i;
        if (item.type == AIKI_MP_UINT && item.as.u <= (uint64_t)INT64_MAX)
            return (int64_t)item.as.u;
    }
    aiki_mp_fail_(r);
    return 0;
}

static inline bool aiki_mp_read_bool(aiki_reader *r)
{
    aiki_mp_item item;
    if (aiki_mp_next(r, &item) && item.type == AIKI_MP_BOOL)
        return item.as.boolean;
    aiki_mp_fail_(r);
    return false;
}

static inline uint64_t aiki_mp_read_container_(aiki_reader *r, int32_t type)
{
    aiki_mp_item item;
    if (aiki_mp_next(r, &item) && item.type == type)
        return item.as.count;
    aiki_mp_fail_(r);
    return 0;
}

static inline uint64_t aiki_mp_read_array(aiki_reader *r)
{
    return aiki_mp_read_container_(r, AIKI_MP_ARRAY);
}

static inline uint64_t aiki_mp_read_map(aiki_reader *r)
{
    return aiki_mp_read_container_(r, AIKI_MP_MAP);
}

static inline aiki_view aiki_mp_read_bytes_(aiki_reader *r, int32_t type)
{
    aiki_mp_item item;
    aiki_view none = {NULL, 0};
    if (aiki_mp_next(r, &item)) {
        if (item.type == type)
            return item.bytes;
        if (item.type == AIKI_MP_NIL) /* absent */
            return none;
    }
    aiki_mp_fail_(r);
    return none;
}

static inline aiki_view aiki_mp_read_str(aiki_reader *r)
{
    return aiki_mp_read_bytes_(r, AIKI_MP_STR);
}

static inline aiki_view aiki_mp_read_bin(aiki_reader *r)
{
    return aiki_mp_read_bytes_(r, AIKI_MP_BIN);
}

#ifdef __cplusplus
}
#endif
#endif

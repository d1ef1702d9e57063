/* canon.c - one form for equal msgpack values.
 *
 * The input is walked once with an explicit stack and written in its shortest form. For every map
 * that is open, the places of its pairs in the output are noted; when the map ends they are
 * sorted by their keys' bytes and, if they stood otherwise, moved. Inner maps end first, so keys
 * and values are canonical when their map is sorted.
 *
 *   output  ..| head | key value | key value | key value |      pairs  ..| at | at | at |
 *                    ^ at                                              (a stack, like levels)
 *
 * Limits: CANON_BYTES_MAX, AIKI_MP_DEPTH_MAX, AIKI_MP_NODES_MAX. Sorting is n log n; a byte is
 * moved at most once per level.
 */
#include "wire/canon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "wire/error.h"
#include "wire/hash.h"

enum { PAIRS_INLINE = 32, SCRATCH_INLINE = 1024 };
#define NAN_BITS 0x7ff8000000000000u

/* A pair in the output; offsets from its beginning fit as CANON_BYTES_MAX bounds it. */
struct pair {
    uint32_t at, key_bytes, bytes;
};

/* An open container. */
struct level {
    uint64_t left; /* items still to come; in a map an even number means a key is next */
    bool is_map;
    uint32_t first_pair;
};

struct work {
    aiki_writer *out;
    uint64_t base; /* offset in out where the value begins */
    aiki_reader in;
    uint32_t nodes;
    unsigned depth;
    struct level levels[AIKI_MP_DEPTH_MAX];
    uint32_t pair_count, pair_capacity;
    struct pair *pairs; /* inline until there are too many, then owned */
    struct pair pairs_inline[PAIRS_INLINE];
    aiki_error *err; /* caller's */
};

/* ---- the check --------------------------------------------------------------------------- */

/* Keys end where they end (no key is the beginning of another), so bytes decide. */
static int compare_keys(const uint8_t *a, uint64_t a_bytes, const uint8_t *b, uint64_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static bool ext_has_fixed_size(uint64_t n)
{
    return n == 1 || n == 2 || n == 4 || n == 8 || n == 16;
}

/* Whether the item that begins at `at` is written as the canonical form writes it. */
static bool is_shortest(const uint8_t *at, const aiki_mp_item *item)
{
    uint64_t n = item->bytes.size_bytes;
    switch (at[0]) {
    case 0xcc: return item->as.u > 0x7f;
    case 0xcd: return item->as.u > 0xff;
    case 0xce: return item->as.u > 0xffff;
    case 0xcf: return item->as.u > 0xffffffffu;
    case 0xd0: return item->as.i < -32;
    case 0xd1: return item->as.i < INT8_MIN;
    case 0xd2: return item->as.i < INT16_MIN;
    case 0xd3: return item->as.i < INT32_MIN;
    case 0xca: return false;
    case 0xcb: return !isnan(item->as.d) || aiki_mp_be_read_(at + 1, 8) == NAN_BITS;
    case 0xd9: return n > 31;
    case 0xc7: return !ext_has_fixed_size(n);
    case 0xc5:
    case 0xc8:
    case 0xda: return n > 0xff;
    case 0xc6:
    case 0xc9:
    case 0xdb: return n > 0xffff;
    case 0xdc:
    case 0xde: return item->as.count > 15;
    case 0xdd:
    case 0xdf: return item->as.count > 0xffff;
    default: return true;
    }
}

struct check_level {
    uint64_t left;
    bool is_map;
    const uint8_t *key;      /* the pair under way */
    const uint8_t *last_key; /* the pair before, NULL = none */
    uint64_t last_key_bytes;
};

/* An item begins at `at`: note a key's beginning, compare it to the last one at its end. */
static bool in_order(struct check_level *l, const uint8_t *at)
{
    if (!l->is_map)
        return true;
    if (l->left % 2 == 0) {
        l->key = at;
        return true;
    }
    uint64_t key_bytes = (uint64_t)(at - l->key);
    bool good =
        l->last_key == NULL || compare_keys(l->last_key, l->last_key_bytes, l->key, key_bytes) < 0;
    l->last_key = l->key;
    l->last_key_bytes = key_bytes;
    return good;
}

bool canon_is(aiki_view value)
{
    struct check_level levels[AIKI_MP_DEPTH_MAX];
    unsigned depth = 0;
    uint32_t nodes = 0;
    aiki_reader r;
    aiki_mp_item item;
    aiki_reader_init(&r, value);
    levels[0] = (struct check_level){.left = 1};
    for (;;) {
        while (levels[depth].left == 0) {
            if (depth == 0)
                return r.at == r.end;
            depth--;
        }
        const uint8_t *at = r.at;
        if (!in_order(&levels[depth], at) || !aiki_mp_next(&r, &item) || !is_shortest(at, &item) ||
            ++nodes > AIKI_MP_NODES_MAX)
            return false;
        levels[depth].left--;
        if (item.type != AIKI_MP_ARRAY && item.type != AIKI_MP_MAP)
            continue;
        if (++depth == AIKI_MP_DEPTH_MAX)
            return false;
        bool is_map = item.type == AIKI_MP_MAP;
        levels[depth] = (struct check_level){.left = is_map ? item.as.count * 2 : item.as.count,
                                             .is_map = is_map};
    }
}

/* ---- the rewrite ------------------------------------------------------------------------- */

static uint32_t out_at(const struct work *c)
{
    return (uint32_t)(c->out->size_bytes - c->base);
}

static void write_ext(aiki_writer *w, const aiki_mp_item *item)
{
    uint64_t n = item->bytes.size_bytes;
    uint8_t type = (uint8_t)item->ext_type;
    if (ext_has_fixed_size(n))
        aiki_mp_head_(w, (uint8_t)(0xd4 + __builtin_ctzll(n)), 0, 0);
    else
        aiki_mp_size_(w, n, 0, 0, 0xc7, 0xc8, 0xc9);
    aiki_mp_raw(w, &type, 1);
    aiki_mp_raw(w, item->bytes.data, n);
}

static void write_item(aiki_writer *w, const aiki_mp_item *item)
{
    switch (item->type) {
    case AIKI_MP_NIL: aiki_mp_nil(w); break;
    case AIKI_MP_BOOL: aiki_mp_bool(w, item->as.boolean); break;
    case AIKI_MP_UINT: aiki_mp_uint(w, item->as.u); break;
    case AIKI_MP_INT: aiki_mp_int(w, item->as.i); break;
    case AIKI_MP_DOUBLE:
        if (isnan(item->as.d))
            aiki_mp_head_(w, 0xcb, NAN_BITS, 8);
        else
            aiki_mp_double(w, item->as.d);
        break;
    case AIKI_MP_STR: aiki_mp_strn(w, item->bytes.data, item->bytes.size_bytes); break;
    case AIKI_MP_BIN: aiki_mp_bin(w, item->bytes.data, item->bytes.size_bytes); break;
    case AIKI_MP_ARRAY: aiki_mp_array(w, item->as.count); break;
    case AIKI_MP_MAP: aiki_mp_map(w, item->as.count); break;
    default: write_ext(w, item); break;
    }
}

static aiki_status add_pair(struct work *c)
{
    if (c->pair_count == c->pair_capacity) {
        uint32_t capacity = c->pair_capacity * 2;
        bool is_inline = c->pairs == c->pairs_inline;
        struct pair *grown = realloc(is_inline ? NULL : c->pairs, capacity * sizeof(*grown));
        if (grown == NULL)
            return error_set(c->err, AIKI_NOMEM, "canonical form: %u map pairs", capacity);
        if (is_inline)
            memcpy(grown, c->pairs_inline, sizeof(c->pairs_inline));
        c->pairs = grown;
        c->pair_capacity = capacity;
    }
    c->pairs[c->pair_count++] = (struct pair){.at = out_at(c)};
    return AIKI_OK;
}

/* The next item of level l is about to be written: keep the book of pairs. */
static aiki_status before_item(struct work *c, const struct level *l)
{
    if (!l->is_map)
        return AIKI_OK;
    struct pair *last = c->pairs + c->pair_count - 1;
    if (l->left % 2 == 1) {
        last->key_bytes = out_at(c) - last->at;
        return AIKI_OK;
    }
    if (c->pair_count > l->first_pair)
        last->bytes = out_at(c) - last->at;
    return add_pair(c);
}

static int compare_pairs(const void *a, const void *b, void *base)
{
    const struct pair *left = a, *right = b;
    return compare_keys((const uint8_t *)base + left->at, left->key_bytes,
                        (const uint8_t *)base + right->at, right->key_bytes);
}

/* Few pairs, the usual case, are sorted faster without qsort's calls and allocation. */
static void sort_pairs(struct pair *pairs, uint32_t count, uint8_t *base)
{
    if (count > PAIRS_INLINE) {
        qsort_r(pairs, count, sizeof(*pairs), compare_pairs, base);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct pair moving = pairs[i];
        uint32_t to = i;
        for (; to > 0 && compare_pairs(&pairs[to - 1], &moving, base) > 0; to--)
            pairs[to] = pairs[to - 1];
        pairs[to] = moving;
    }
}

/* Rewrite the body of a map, `bytes` long at `at`, in the order its pairs have now. */
static aiki_status move_pairs(struct work *c, const struct pair *pairs, uint32_t count, uint32_t at,
                              uint32_t bytes)
{
    uint8_t scratch_inline[SCRATCH_INLINE];
    uint8_t *scratch = bytes <= sizeof(scratch_inline) ? scratch_inline : malloc(bytes);
    if (scratch == NULL)
        return error_set(c->err, AIKI_NOMEM, "canonical form: map of %u bytes", bytes);
    uint8_t *base = c->out->data + c->base;
    uint32_t filled = 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(scratch + filled, base + pairs[i].at, pairs[i].bytes);
        filled += pairs[i].bytes;
    }
    memcpy(base + at, scratch, bytes);
    if (scratch != scratch_inline)
        free(scratch);
    return AIKI_OK;
}

static aiki_status refuse_duplicate(struct work *c, const struct pair *p, const uint8_t *base)
{
    aiki_reader r;
    aiki_mp_item key;
    aiki_reader_init(&r, (aiki_view){base + p->at, p->key_bytes});
    if (aiki_mp_next(&r, &key) && key.type == AIKI_MP_STR)
        return error_set(c->err, AIKI_INVALID, "a map has the key \"%.*s\" twice",
                         (int)(key.bytes.size_bytes < 100 ? key.bytes.size_bytes : 100),
                         (const char *)key.bytes.data);
    return error_set(c->err, AIKI_INVALID, "a map has the same key twice (its key is no text)");
}

static aiki_status end_map(struct work *c, const struct level *l)
{
    uint32_t count = c->pair_count - l->first_pair;
    struct pair *pairs = c->pairs + l->first_pair;
    uint8_t *base = c->out->data + c->base;
    bool sorted = true;
    c->pair_count = l->first_pair;
    if (count == 0)
        return AIKI_OK;

    uint32_t at = pairs[0].at, end = out_at(c);
    pairs[count - 1].bytes = end - pairs[count - 1].at;
    for (uint32_t i = 1; i < count && sorted; i++)
        sorted = compare_pairs(&pairs[i - 1], &pairs[i], base) < 0;
    if (sorted)
        return AIKI_OK;
    sort_pairs(pairs, count, base);
    for (uint32_t i = 1; i < count; i++)
        if (compare_pairs(&pairs[i - 1], &pairs[i], base) == 0)
            return refuse_duplicate(c, &pairs[i], base);
    return move_pairs(c, pairs, count, at, end - at);
}

static aiki_status rewrite_item(struct work *c)
{
    struct level *l = &c->levels[c->depth];
    aiki_mp_item item;
    aiki_status status = before_item(c, l);
    if (status != AIKI_OK)
        return status;
    if (!aiki_mp_next(&c->in, &item))
        return error_set(c->err, AIKI_CORRUPT,
                         "not one whole msgpack value: %llu bytes before its end",
                         (unsigned long long)aiki_reader_left(&c->in));
    if (++c->nodes > AIKI_MP_NODES_MAX)
        return error_set(c->err, AIKI_LIMIT, "value has over AIKI_MP_NODES_MAX (%d) items",
                         AIKI_MP_NODES_MAX);
    l->left--;
    write_item(c->out, &item);
    if (c->out->status != AIKI_OK)
        return error_set(c->err, c->out->status, "no room for a canonical value");
    if (item.type != AIKI_MP_ARRAY && item.type != AIKI_MP_MAP)
        return AIKI_OK;
    if (++c->depth == AIKI_MP_DEPTH_MAX)
        return error_set(c->err, AIKI_LIMIT, "value is nested over AIKI_MP_DEPTH_MAX (%d) levels",
                         AIKI_MP_DEPTH_MAX);
    bool is_map = item.type == AIKI_MP_MAP;
    c->levels[c->depth] = (struct level){.left = is_map ? item.as.count * 2 : item.as.count,
                                         .is_map = is_map,
                                         .first_pair = c->pair_count};
    return AIKI_OK;
}

static aiki_status rewrite(struct work *c)
{
    aiki_status status = AIKI_OK;
    c->levels[0] = (struct level){.left = 1};
    while (status == AIKI_OK) {
        struct level *l = &c->levels[c->depth];
        if (l->left > 0) {
            status = rewrite_item(c);
            continue;
        }
        if (c->depth == 0)
            break;
        if (l->is_map)
            status = end_map(c, l);
        c->depth--;
    }
    if (status == AIKI_OK && c->in.at != c->in.end)
        return error_set(c->err, AIKI_CORRUPT, "%llu bytes follow the msgpack value",
                         (unsigned long long)aiki_reader_left(&c->in));
    return status;
}

static aiki_status write_slow(aiki_writer *w, aiki_view value, aiki_error *err)
{
    struct work c;
    if (value.size_bytes > CANON_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "value of %llu bytes is over CANON_BYTES_MAX (%d)",
                         (unsigned long long)value.size_bytes, CANON_BYTES_MAX);
    c.out = w;
    c.base = w->size_bytes;
    c.nodes = c.depth = c.pair_count = 0;
    c.pair_capacity = PAIRS_INLINE;
    c.pairs = c.pairs_inline;
    c.err = err;
    aiki_reader_init(&c.in, value);

    aiki_status status = rewrite(&c);
    if (status != AIKI_OK)
        w->size_bytes = c.base;
    if (c.pairs != c.pairs_inline)
        free(c.pairs);
    return status;
}

/* ---- public ------------------------------------------------------------------------------ */

aiki_status canon_write(aiki_writer *w, aiki_view value, aiki_error *err)
{
    if (!canon_is(value))
        return write_slow(w, value, err);
    aiki_mp_raw(w, value.data, value.size_bytes);
    return w->status == AIKI_OK ? AIKI_OK
                                : error_set(err, w->status, "no room for a canonical value");
}

aiki_status canon_borrow(aiki_view value, uint8_t *memory, uint64_t memory_bytes,
                         aiki_view *ret_view, uint8_t **ret_owned, aiki_error *err)
{
    if (canon_is(value)) {
        *ret_view = value;
        *ret_owned = NULL;
        return AIKI_OK;
    }
    /* Only a 32-bit float grows, from 5 bytes to 9. Larger values are refused, not copied. */
    uint64_t needed = value.size_bytes <= CANON_BYTES_MAX ? value.size_bytes * 2 : 0;
    uint8_t *owned = NULL;
    if (needed > memory_bytes) {
        owned = malloc(needed);
        if (owned == NULL)
            return error_set(err, AIKI_NOMEM, "canonical form of %llu bytes",
                             (unsigned long long)value.size_bytes);
    }
    aiki_writer w;
    aiki_writer_init_fixed(&w, owned != NULL ? owned : memory,
                           owned != NULL ? needed : memory_bytes);
    aiki_status status = write_slow(&w, value, err);
    if (status != AIKI_OK) {
        free(owned);
        return status;
    }
    *ret_view = aiki_writer_view(&w);
    *ret_owned = owned;
    return AIKI_OK;
}

aiki_status canon_hash(aiki_view value, uint8_t ret_hash[32], aiki_error *err)
{
    uint8_t memory[SCRATCH_INLINE];
    uint8_t *owned = NULL;
    aiki_view canonical;
    aiki_status status = canon_borrow(value, memory, sizeof(memory), &canonical, &owned, err);
    if (status != AIKI_OK)
        return status;
    hash_parts(ret_hash, &canonical, 1);
    free(owned);
    return AIKI_OK;
}

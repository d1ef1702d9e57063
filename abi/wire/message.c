/* message.c - writers and readers of every message, generated from message.def.
 *
 * A message is a msgpack array of its fields in order. Readers tolerate peers of other releases:
 * fields they do not know are skipped, missing ones read as zero or empty. The cost of skipping
 * is bounded by the frame's size and by the depth and node budgets of aiki/msgpack.h.
 */
#include "wire/message.h"

#include <string.h>

#include "wire/error.h"

/* ---- one writer and one reader per field type -------------------------------------------- */

/* clang-format off */
static void put_u64(aiki_writer *w, uint64_t value)  { aiki_mp_uint(w, value); }
static void put_wide(aiki_writer *w, uint64_t value) { aiki_mp_head_(w, 0xcf, value, 8); }
static void put_i64(aiki_writer *w, int64_t value)   { aiki_mp_int(w, value); }
static void put_flag(aiki_writer *w, bool value)     { aiki_mp_bool(w, value); }
/* clang-format on */

static void put_str(aiki_writer *w, aiki_view value)
{
    aiki_mp_strn(w, value.data, value.size_bytes);
}

static void put_bin(aiki_writer *w, aiki_view value)
{
    aiki_mp_bin(w, value.data, value.size_bytes);
}

static void put_id(aiki_writer *w, struct aiki_id value)
{
    aiki_mp_bin(w, value.bytes, sizeof(value.bytes));
}

static void put_raw(aiki_writer *w, aiki_view value)
{
    if (value.size_bytes == 0)
        aiki_mp_nil(w);
    else
        aiki_mp_raw(w, value.data, value.size_bytes);
}

/* clang-format off */
static uint64_t get_u64(aiki_reader *r)   { return aiki_mp_read_uint(r); }
static uint64_t get_wide(aiki_reader *r)  { return aiki_mp_read_uint(r); }
static int64_t get_i64(aiki_reader *r)    { return aiki_mp_read_int(r); }
static bool get_flag(aiki_reader *r)      { return aiki_mp_read_bool(r); }
static aiki_view get_str(aiki_reader *r)  { return aiki_mp_read_str(r); }
static aiki_view get_bin(aiki_reader *r)  { return aiki_mp_read_bin(r); }
/* clang-format on */

static struct aiki_id get_id(aiki_reader *r)
{
    struct aiki_id id = {{0}};
    aiki_mp_item item;
    if (!aiki_mp_next(r, &item))
        r->status = AIKI_CORRUPT;
    else if (item.type == AIKI_MP_BIN && item.bytes.size_bytes == sizeof(id.bytes))
        memcpy(id.bytes, item.bytes.data, sizeof(id.bytes));
    else if (item.type != AIKI_MP_NIL)
        r->status = AIKI_CORRUPT;
    return id;
}

static aiki_view get_raw(aiki_reader *r)
{
    aiki_view value = aiki_mp_value(r);
    if (value.size_bytes == 1 && value.data[0] == 0xc0)
        value.size_bytes = 0;
    return value;
}

/* ---- a message --------------------------------------------------------------------------- */

/* Step over the fields of a later release; nothing may follow the array. */
static aiki_status finish(aiki_reader *r, uint64_t left, const char *name, aiki_view payload,
                          aiki_error *err)
{
    for (; left > 0 && r->status == AIKI_OK; left--)
        (void)aiki_mp_skip(r); /* its failure sticks in r */
    if (r->status == AIKI_OK && r->at == r->end)
        return AIKI_OK;
    unsigned long long at = (unsigned long long)(r->at - payload.data);
    if (r->status == AIKI_LIMIT)
        return error_set(err, AIKI_LIMIT,
                         "message %s: value before byte %llu is over %d levels or %d items", name,
                         at, AIKI_MP_DEPTH_MAX, AIKI_MP_NODES_MAX);
    return error_set(err, AIKI_CORRUPT, "message %s of %llu bytes does not decode at byte %llu",
                     name, (unsigned long long)payload.size_bytes, at);
}

#define ONE(type, field) +1
#define PUT(type, field) put_##type(w, m->field);
#define GET(type, field)                                                                           \
    if (left > 0 && r.status == AIKI_OK) {                                                         \
        m.field = get_##type(&r);                                                                  \
        left--;                                                                                    \
    }

#define MESSAGE(NAME, number, FIELDS)                                                              \
    void msg_##NAME##_write(aiki_writer *w, const struct msg_##NAME *m)                            \
    {                                                                                              \
        aiki_mp_array(w, 0 FIELDS(ONE));                                                           \
        FIELDS(PUT)                                                                                \
    }                                                                                              \
    aiki_status msg_##NAME##_read(aiki_view payload, struct msg_##NAME *ret, aiki_error *err)      \
    {                                                                                              \
        struct msg_##NAME m;                                                                       \
        aiki_reader r;                                                                             \
        memset(&m, 0, sizeof(m));                                                                  \
        aiki_reader_init(&r, payload);                                                             \
        uint64_t left = aiki_mp_read_array(&r);                                                    \
        FIELDS(GET)                                                                                \
        aiki_status status = finish(&r, left, #NAME, payload, err);                                \
        if (status == AIKI_OK)                                                                     \
            *ret = m;                                                                              \
        return status;                                                                             \
    }
AIKI_MESSAGES(MESSAGE)

const char *wire_type_name(uint32_t type)
{
    switch (type) {
#define NAME_OF(NAME, number, FIELDS)                                                              \
    case number: return #NAME;
        AIKI_MESSAGES(NAME_OF)
#undef NAME_OF
    default: return "?";
    }
}

/* Put r behind the first field and return it; the run of every message about one run. */
static aiki_status read_run(aiki_reader *r, aiki_view payload, struct aiki_id *ret_run)
{
    aiki_reader_init(r, payload);
    if (aiki_mp_read_array(r) == 0)
        return AIKI_CORRUPT;
    struct aiki_id run = get_id(r);
    if (r->status == AIKI_OK)
        *ret_run = run;
    return r->status;
}

aiki_status msg_APPEND_patch_epoch(uint8_t *payload, uint64_t size_bytes, uint64_t epoch)
{
    aiki_reader r;
    struct aiki_id run;
    if (read_run(&r, (aiki_view){payload, size_bytes}, &run) != AIKI_OK ||
        aiki_reader_left(&r) < 9 || r.at[0] != 0xcf)
        return AIKI_CORRUPT;
    aiki_mp_be_(payload + (r.at - payload) + 1, epoch, 8);
    return AIKI_OK;
}

aiki_status msg_run(aiki_view payload, struct aiki_id *ret_run)
{
    aiki_reader r;
    return read_run(&r, payload, ret_run);
}

/* retry.c - retry policies between processes: written, read and checked. */
#include "wire/retry.h"

#include <string.h>

#include "wire/error.h"

enum { FIELDS = 8 };

static const char *const kind_names[] = {
    [AIKI_RETRY_DEFAULT] = "default",         [AIKI_RETRY_NEVER] = "never",
    [AIKI_RETRY_FIXED] = "fixed",             [AIKI_RETRY_EXPONENTIAL] = "exponential",
    [AIKI_RETRY_LIST] = "list",
};
enum { KIND_COUNT = sizeof(kind_names) / sizeof(kind_names[0]) };

const char *retry_kind_name(int32_t kind)
{
    return kind >= 0 && kind < KIND_COUNT ? kind_names[kind] : "unknown";
}

/* ---- checks ------------------------------------------------------------------------------ */

static aiki_status bad(aiki_error *err, const char *owner, const char *member, const char *limits)
{
    return error_code(err, AIKI_INVALID, "BAD_RETRY", "retry policy%s%s: %s must be %s",
                      owner != NULL ? " of " : "", owner != NULL ? owner : "", member, limits);
}

static bool delay_is_valid(int64_t delay_ms)
{
    return delay_ms >= 0 && delay_ms <= RETRY_DELAY_MS_MAX;
}

static aiki_status check_delays(const struct retry *r, const char *owner, aiki_error *err)
{
    aiki_reader reader;
    bool sound = true;

    aiki_reader_init(&reader, r->delays_ms);
    uint64_t count = r->delays_ms.size_bytes > 0 ? aiki_mp_read_array(&reader) : 0;
    for (uint64_t i = 0; i < count && i < AIKI_RETRY_DELAYS_MAX; i++)
        sound = delay_is_valid(aiki_mp_read_int(&reader)) && sound;
    if (reader.status != AIKI_OK || !sound || count > AIKI_RETRY_DELAYS_MAX)
        return bad(err, owner, "delays_ms", "a list of at most 64 delays of 0 to 366 days");
    if (r->kind == AIKI_RETRY_LIST && count == 0)
        return bad(err, owner, "delays_ms", "there with at least one delay for the kind \"list\"");
    return AIKI_OK;
}

static aiki_status check_codes(const struct retry *r, const char *owner, aiki_error *err)
{
    aiki_reader reader;
    bool sound = true;

    aiki_reader_init(&reader, r->final_codes);
    uint64_t count = r->final_codes.size_bytes > 0 ? aiki_mp_read_array(&reader) : 0;
    for (uint64_t i = 0; i < count && i < AIKI_RETRY_CODES_MAX; i++) {
        aiki_view code = aiki_mp_read_str(&reader);
        sound = sound && code.size_bytes > 0 && code.size_bytes < AIKI_CODE_SIZE;
    }
    if (reader.status == AIKI_OK && sound && count <= AIKI_RETRY_CODES_MAX)
        return AIKI_OK;
    return bad(err, owner, "final_codes", "a list of at most 32 codes of 1 to 63 bytes");
}

static aiki_status check(const struct retry *r, const char *owner, aiki_error *err)
{
    if (r->kind < 0 || r->kind >= KIND_COUNT)
        return bad(err, owner, "kind", "never, fixed, exponential, list or default (0 to 4)");
    if (r->attempts_max > RETRY_ATTEMPTS_MAX)
        return bad(err, owner, "attempts_max", "0 to 1000");
    if (r->factor_percent > RETRY_FACTOR_PERCENT_MAX)
        return bad(err, owner, "factor_percent", "0 to 10000");
    if (r->jitter_percent > 100)
        return bad(err, owner, "jitter_percent", "0 to 100");
    if (!delay_is_valid(r->delay_ms) || !delay_is_valid(r->delay_ms_max))
        return bad(err, owner, "delay_ms and delay_ms_max", "0 to 366 days");
    aiki_status st = check_delays(r, owner, err);
    return st == AIKI_OK ? check_codes(r, owner, err) : st;
}

/* ---- from a plugin ----------------------------------------------------------------------- */

static aiki_status take_delays(struct retry *ret, const aiki_retry *from, aiki_writer *lists,
                               const char *owner, aiki_error *err)
{
    uint64_t begin = lists->size_bytes;

    if (from->delay_count == 0)
        return AIKI_OK;
    if (from->delay_count > AIKI_RETRY_DELAYS_MAX || from->delays_ms == NULL)
        return bad(err, owner, "delays_ms", "there, with a delay_count of at most 64");
    aiki_mp_array(lists, from->delay_count);
    for (uint32_t i = 0; i < from->delay_count; i++)
        aiki_mp_int(lists, from->delays_ms[i]);
    ret->delays_ms.size_bytes = lists->size_bytes - begin;
    return AIKI_OK;
}

static aiki_status take_codes(struct retry *ret, const aiki_retry *from, aiki_writer *lists,
                              const char *owner, aiki_error *err)
{
    uint64_t begin = lists->size_bytes;

    if (from->final_code_count == 0)
        return AIKI_OK;
    if (from->final_code_count > AIKI_RETRY_CODES_MAX || from->final_codes == NULL)
        return bad(err, owner, "final_codes", "there, with a final_code_count of at most 32");
    aiki_mp_array(lists, from->final_code_count);
    for (uint32_t i = 0; i < from->final_code_count; i++) {
        const char *code = from->final_codes[i];
        aiki_mp_strn(lists, code, code != NULL ? strnlen(code, AIKI_CODE_SIZE) : 0);
    }
    ret->final_codes.size_bytes = lists->size_bytes - begin;
    return AIKI_OK;
}

aiki_status retry_take(struct retry *ret, const aiki_retry *from, aiki_writer *lists,
                       const char *owner, aiki_error *err)
{
    uint64_t begin = lists->size_bytes;
    struct retry r = {.kind = from->kind,
                      .attempts_max = from->attempts_max,
                      .factor_percent = from->factor_percent,
                      .jitter_percent = from->jitter_percent,
                      .delay_ms = from->delay_ms,
                      .delay_ms_max = from->delay_ms_max};
    aiki_status st = take_delays(&r, from, lists, owner, err);

    if (st == AIKI_OK)
        st = take_codes(&r, from, lists, owner, err);
    if (st == AIKI_OK && lists->status != AIKI_OK)
        st = error_set(err, lists->status, "lists of a retry policy: %s",
                       aiki_status_text(lists->status));
    if (st != AIKI_OK)
        return st;
    /* The writer may have moved its memory until here. */
    if (r.delays_ms.size_bytes > 0)
        r.delays_ms.data = lists->data + begin;
    if (r.final_codes.size_bytes > 0)
        r.final_codes.data = lists->data + begin + r.delays_ms.size_bytes;
    st = check(&r, owner, err);
    if (st == AIKI_OK)
        *ret = r;
    return st;
}

/* ---- array ------------------------------------------------------------------------------- */

static void put_list(aiki_writer *w, aiki_view list)
{
    if (list.size_bytes > 0)
        aiki_mp_raw(w, list.data, list.size_bytes);
    else
        aiki_mp_nil(w);
}

void retry_write(aiki_writer *w, const struct retry *r)
{
    aiki_mp_array(w, FIELDS);
    aiki_mp_int(w, r->kind);
    aiki_mp_uint(w, r->attempts_max);
    aiki_mp_uint(w, r->factor_percent);
    aiki_mp_int(w, r->delay_ms);
    aiki_mp_int(w, r->delay_ms_max);
    aiki_mp_uint(w, r->jitter_percent);
    put_list(w, r->delays_ms);
    put_list(w, r->final_codes);
}

/* Numbers beyond 32 bits become the largest one, which no member allows. */
static uint32_t read_u32(aiki_reader *r)
{
    uint64_t value = aiki_mp_read_uint(r);
    return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static int32_t read_kind_number(aiki_reader *r)
{
    int64_t value = aiki_mp_read_int(r);
    return value >= 0 && value < KIND_COUNT ? (int32_t)value : -1;
}

static aiki_view read_list(aiki_reader *r)
{
    aiki_view v = aiki_mp_value(r);
    if (v.size_bytes == 1 && v.data[0] == 0xc0)
        v.size_bytes = 0;
    return v;
}

aiki_status retry_read(aiki_view array, struct retry *ret, aiki_error *err)
{
    struct retry r = {.kind = AIKI_RETRY_DEFAULT};
    aiki_reader reader;

    aiki_reader_init(&reader, array);
    uint64_t count = aiki_mp_read_array(&reader);
    for (uint64_t i = 0; i < count && reader.status == AIKI_OK; i++) {
        switch (i) {
        case 0: r.kind = read_kind_number(&reader); break;
        case 1: r.attempts_max = read_u32(&reader); break;
        case 2: r.factor_percent = read_u32(&reader); break;
        case 3: r.delay_ms = aiki_mp_read_int(&reader); break;
        case 4: r.delay_ms_max = aiki_mp_read_int(&reader); break;
        case 5: r.jitter_percent = read_u32(&reader); break;
        case 6: r.delays_ms = read_list(&reader); break;
        case 7: r.final_codes = read_list(&reader); break;
        default: (void)aiki_mp_skip(&reader); break; /* failures stick in the reader */
        }
    }
    if (reader.status != AIKI_OK || aiki_reader_left(&reader) > 0)
        return error_code(err, AIKI_INVALID, "BAD_RETRY", "a retry policy is not an array of its "
                          "members");
    aiki_status st = check(&r, NULL, err);
    if (st == AIKI_OK)
        *ret = r;
    return st;
}

/* ---- map --------------------------------------------------------------------------------- */

static void put_number(aiki_writer *w, const char *key, int64_t value)
{
    if (value == 0)
        return;
    aiki_mp_str(w, key);
    aiki_mp_int(w, value);
}

static void put_named_list(aiki_writer *w, const char *key, aiki_view list)
{
    if (list.size_bytes == 0)
        return;
    aiki_mp_str(w, key);
    aiki_mp_raw(w, list.data, list.size_bytes);
}

void retry_write_map(aiki_writer *w, const struct retry *r)
{
    const int64_t numbers[] = {r->attempts_max,   r->factor_percent, r->delay_ms,
                               r->delay_ms_max, r->jitter_percent};
    uint64_t members = 1;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        members += numbers[i] != 0;
    members += r->delays_ms.size_bytes > 0;
    members += r->final_codes.size_bytes > 0;
    aiki_mp_map(w, members);
    aiki_mp_str(w, "kind");
    aiki_mp_str(w, retry_kind_name(r->kind));
    put_number(w, "attempts_max", r->attempts_max);
    put_number(w, "factor_percent", r->factor_percent);
    put_number(w, "delay_ms", r->delay_ms);
    put_number(w, "delay_ms_max", r->delay_ms_max);
    put_number(w, "jitter_percent", r->jitter_percent);
    put_named_list(w, "delays_ms", r->delays_ms);
    put_named_list(w, "final_codes", r->final_codes);
}

static bool is(aiki_view text, const char *word)
{
    return text.size_bytes == strlen(word) && memcmp(text.data, word, text.size_bytes) == 0;
}

static int32_t read_kind_name(aiki_reader *r)
{
    aiki_mp_item item;

    if (aiki_mp_peek(r, &item) && item.type != AIKI_MP_STR)
        return read_kind_number(r);
    aiki_view name = aiki_mp_read_str(r);
    for (int32_t kind = 0; kind < KIND_COUNT && r->status == AIKI_OK; kind++)
        if (is(name, kind_names[kind]))
            return kind;
    return -1;
}

static bool read_member(aiki_reader *reader, aiki_view key, struct retry *r)
{
    if (is(key, "kind"))
        r->kind = read_kind_name(reader);
    else if (is(key, "attempts_max"))
        r->attempts_max = read_u32(reader);
    else if (is(key, "factor_percent"))
        r->factor_percent = read_u32(reader);
    else if (is(key, "delay_ms"))
        r->delay_ms = aiki_mp_read_int(reader);
    else if (is(key, "delay_ms_max"))
        r->delay_ms_max = aiki_mp_read_int(reader);
    else if (is(key, "jitter_percent"))
        r->jitter_percent = read_u32(reader);
    else if (is(key, "delays_ms"))
        r->delays_ms = read_list(reader);
    else if (is(key, "final_codes"))
        r->final_codes = read_list(reader);
    else
        return false;
    return true;
}

aiki_status retry_read_map(aiki_view map, bool strict, struct retry *ret, aiki_error *err)
{
    struct retry r = {.kind = AIKI_RETRY_DEFAULT};
    aiki_reader reader;

    aiki_reader_init(&reader, map);
    for (uint64_t left = aiki_mp_read_map(&reader); left > 0 && reader.status == AIKI_OK; left--) {
        aiki_view key = aiki_mp_read_str(&reader);
        bool known = reader.status == AIKI_OK && read_member(&reader, key, &r);
        if (reader.status == AIKI_OK && !known && !strict)
            (void)aiki_mp_skip(&reader); /* failures stick in the reader */
        else if (reader.status == AIKI_OK && !known)
            return error_code(err, AIKI_INVALID, "BAD_RETRY",
                              "a retry policy has no member \"%.*s\"; it has kind, attempts_max, "
                              "factor_percent, delay_ms, delay_ms_max, jitter_percent, delays_ms, "
                              "final_codes",
                              (int)(key.size_bytes < 40 ? key.size_bytes : 40),
                              (const char *)key.data);
        if (reader.status != AIKI_OK)
            return error_code(err, AIKI_INVALID, "BAD_RETRY",
                              "member %.*s of a retry policy has another type",
                              (int)(key.size_bytes < 40 ? key.size_bytes : 40),
                              key.size_bytes > 0 ? (const char *)key.data : "");
    }
    if (reader.status != AIKI_OK || aiki_reader_left(&reader) > 0)
        return error_code(err, AIKI_INVALID, "BAD_RETRY", "a retry policy is an object with kind "
                          "and further members");
    aiki_status st = check(&r, NULL, err);
    if (st == AIKI_OK)
        *ret = r;
    return st;
}

/* child.c - options and ids of children. */
#include "wire/child.h"

#include <string.h>

#include "wire/hash.h"

enum { OPTION_FIELDS = 7 };

void child_options_write(aiki_writer *w, const struct child_options *o)
{
    aiki_mp_array(w, OPTION_FIELDS);
    aiki_mp_strn(w, o->version.data, o->version.size_bytes);
    aiki_mp_uint(w, o->close_policy);
    aiki_mp_bool(w, o->detached);
    aiki_mp_strn(w, o->key.data, o->key.size_bytes);
    aiki_mp_uint(w, o->pass);
    aiki_mp_int(w, o->schedule_to_start_ms);
    aiki_mp_bool(w, o->shared);
}

aiki_status child_options_read(aiki_view options, struct child_options *ret)
{
    struct child_options o = {.close_policy = CLOSE_CANCEL};
    aiki_reader r;

    aiki_reader_init(&r, options);
    uint64_t fields = aiki_mp_read_array(&r);
    if (fields > 0)
        o.version = aiki_mp_read_str(&r);
    if (fields > 1)
        o.close_policy = aiki_mp_read_uint(&r);
    if (fields > 2)
        o.detached = aiki_mp_read_bool(&r);
    if (fields > 3)
        o.key = aiki_mp_read_str(&r);
    if (fields > 4)
        o.pass = aiki_mp_read_uint(&r);
    if (fields > 5)
        o.schedule_to_start_ms = aiki_mp_read_int(&r);
    if (fields > 6)
        o.shared = aiki_mp_read_bool(&r);
    for (uint64_t i = OPTION_FIELDS; i < fields && r.status == AIKI_OK; i++)
        (void)aiki_mp_value(&r); /* of a later release */
    if (r.status != AIKI_OK || r.at != r.end || o.close_policy > CLOSE_ABANDON ||
        o.schedule_to_start_ms < 0)
        return AIKI_CORRUPT;
    *ret = o;
    return AIKI_OK;
}

struct aiki_id child_id(const struct aiki_id *parent, const struct address *address, uint64_t nth,
                        uint64_t pass)
{
    uint8_t numbers[16], hash[HASH_BYTES];
    struct aiki_id id;

    aiki_mp_be_(numbers, nth, 8);
    aiki_mp_be_(numbers + 8, pass, 8);
    const aiki_view parts[] = {{parent->bytes, sizeof(parent->bytes)},
                               {address->bytes, ADDRESS_BYTES},
                               {numbers, pass > 0 ? 16 : 8}};
    hash_parts(hash, parts, sizeof(parts) / sizeof(parts[0]));
    memcpy(id.bytes, hash, sizeof(id.bytes));
    return id;
}

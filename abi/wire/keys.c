/* keys.c - names in Redis and the ticket. */
#include "wire/keys.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "wire/error.h"

/* Three names and the fixed parts always fit, so building a key cannot truncate. */
static_assert(STREAM_KEY_SIZE > 3 * NAME_BYTES_MAX + 64, "stream key");

bool name_is_valid(aiki_view name)
{
    if (name.size_bytes == 0 || name.size_bytes > NAME_BYTES_MAX)
        return false;
    for (uint64_t i = 0; i < name.size_bytes; i++) {
        uint8_t c = name.data[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
        if (!good)
            return false;
    }
    return true;
}

aiki_status stream_key(char ret_key[STREAM_KEY_SIZE], const char *space, aiki_view workflow,
                       aiki_view version)
{
    aiki_view space_name = {(const uint8_t *)space, strlen(space)};
    if (!name_is_valid(space_name) || !name_is_valid(workflow) || !name_is_valid(version))
        return AIKI_INVALID;
    (void)snprintf(ret_key, STREAM_KEY_SIZE, "aiki:{%s}:t:%.*s:%.*s:default:5", space,
                   (int)workflow.size_bytes, (const char *)workflow.data, (int)version.size_bytes,
                   (const char *)version.data);
    return AIKI_OK;
}

uint64_t ticket_write(uint8_t ret_bytes[TICKET_BYTES_MAX], const struct ticket *t)
{
    static const uint8_t head[] = {0x92, 0xc4, sizeof(t->run.bytes)}; /* array of 2; bin of 16 */
    const uint64_t run_end = sizeof(head) + sizeof(t->run.bytes);
    aiki_writer w;
    memcpy(ret_bytes, head, sizeof(head));
    memcpy(ret_bytes + sizeof(head), t->run.bytes, sizeof(t->run.bytes));
    aiki_writer_init_fixed(&w, ret_bytes + run_end, TICKET_BYTES_MAX - run_end);
    aiki_mp_uint(&w, t->epoch);
    assert(w.status == AIKI_OK); /* at most 28 bytes in all */
    return run_end + w.size_bytes;
}

aiki_status ticket_read(aiki_view bytes, struct ticket *ret, aiki_error *err)
{
    aiki_reader r;
    aiki_reader_init(&r, bytes);
    uint64_t count = aiki_mp_read_array(&r);
    aiki_view run = aiki_mp_read_bin(&r);
    uint64_t epoch = aiki_mp_read_uint(&r);
    for (; count > 2 && r.status == AIKI_OK; count--) /* written by a later release */
        (void)aiki_mp_skip(&r);
    if (r.status != AIKI_OK || count != 2 || run.size_bytes != sizeof(ret->run.bytes) ||
        aiki_reader_left(&r) != 0)
        return error_set(err, AIKI_CORRUPT,
                         "ticket of %llu bytes does not decode as [run id, epoch]",
                         (unsigned long long)bytes.size_bytes);
    memcpy(ret->run.bytes, run.data, sizeof(ret->run.bytes));
    ret->epoch = epoch;
    return AIKI_OK;
}

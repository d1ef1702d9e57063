/* retry.c - retry policies applied. */
#include "replay/retry.h"

#include <string.h>

#include "wire/error.h"
#include "wire/hash.h"

enum { FACTOR_PERCENT_MIN = 100 };

static uint64_t list_count(aiki_view list)
{
    aiki_reader r;

    aiki_reader_init(&r, list);
    return list.size_bytes > 0 ? aiki_mp_read_array(&r) : 0;
}

void retry_fill(struct retry *r)
{
    if (r->kind == AIKI_RETRY_NEVER)
        r->attempts_max = 1;
    if (r->kind == AIKI_RETRY_LIST && r->attempts_max == 0)
        r->attempts_max = (uint32_t)list_count(r->delays_ms) + 1;
    if (r->attempts_max == 0)
        r->attempts_max = RETRY_ATTEMPTS_DEFAULT;
    if (r->delay_ms == 0)
        r->delay_ms = RETRY_DELAY_MS_DEFAULT;
    if (r->delay_ms_max == 0)
        r->delay_ms_max = RETRY_DELAY_MS_MAX_DEFAULT;
    if (r->factor_percent == 0)
        r->factor_percent = RETRY_FACTOR_PERCENT_DEFAULT;
    if (r->factor_percent < FACTOR_PERCENT_MIN || r->kind == AIKI_RETRY_FIXED)
        r->factor_percent = FACTOR_PERCENT_MIN;
    if (r->kind == AIKI_RETRY_FIXED)
        r->delay_ms_max = r->delay_ms;
}

/* ---- delays ------------------------------------------------------------------------------ */

/* The n-th of the list, or its last one. */
static int64_t listed_delay_ms(const struct retry *r, uint64_t failed_attempts)
{
    aiki_reader reader;
    int64_t delay_ms = 0;

    aiki_reader_init(&reader, r->delays_ms);
    uint64_t count = aiki_mp_read_array(&reader);
    for (uint64_t i = 0; i < count && i < failed_attempts; i++)
        delay_ms = aiki_mp_read_int(&reader);
    return delay_ms;
}

static int64_t grown_delay_ms(const struct retry *r, uint64_t failed_attempts)
{
    int64_t delay_ms = r->delay_ms;

    /* The ceiling ends the loop long before the product could overflow. */
    for (uint64_t n = 1; n < failed_attempts && delay_ms < r->delay_ms_max; n++) {
        int64_t grown = delay_ms * (int64_t)r->factor_percent / 100;
        if (grown == delay_ms)
            break;
        delay_ms = grown;
    }
    return delay_ms < r->delay_ms_max ? delay_ms : r->delay_ms_max;
}

int64_t retry_delay_ms(const struct retry *r, uint64_t failed_attempts, uint64_t draw)
{
    int64_t delay_ms = r->kind == AIKI_RETRY_LIST ? listed_delay_ms(r, failed_attempts)
                                                  : grown_delay_ms(r, failed_attempts);
    uint64_t window_ms = (uint64_t)delay_ms * r->jitter_percent / 100;

    return delay_ms - (int64_t)(draw % (window_ms + 1));
}

uint64_t retry_draw(const struct aiki_id *run, const struct address *a, uint64_t nth,
                    uint64_t failed_attempts)
{
    uint8_t numbers[16], hash[HASH_BYTES];
    uint64_t draw;

    aiki_mp_be_(numbers, nth, 8);
    aiki_mp_be_(numbers + 8, failed_attempts, 8);
    const aiki_view parts[] = {{run->bytes, sizeof(run->bytes)},
                               {a->bytes, sizeof(a->bytes)},
                               {numbers, sizeof(numbers)}};
    hash_parts(hash, parts, sizeof(parts) / sizeof(parts[0]));
    memcpy(&draw, hash, sizeof(draw));
    return draw;
}

/* ---- final codes ------------------------------------------------------------------------- */

bool retry_is_final(const struct retry *r, aiki_view error)
{
    aiki_error e = AIKI_ERROR_INIT;
    aiki_reader reader;

    if (r->final_codes.size_bytes == 0 || error_read(error, &e, NULL, NULL) != AIKI_OK)
        return false;
    aiki_reader_init(&reader, r->final_codes);
    size_t size = strlen(e.code);
    for (uint64_t left = aiki_mp_read_array(&reader); left > 0; left--) {
        aiki_view code = aiki_mp_read_str(&reader);
        if (code.size_bytes == size && memcmp(code.data, e.code, size) == 0)
            return true;
    }
    return false;
}

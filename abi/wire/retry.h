/* wire/retry.h - a retry policy as data. [any]
 *
 *   aiki_retry of a plugin --retry_take--> struct retry --retry_write--> STARTED, ATTEMPT_FAILED
 *   JSON of a user  --retry_read_map--^                 <--retry_read--
 *
 *   array: [kind, attempts_max, factor_percent, delay_ms, delay_ms_max, jitter_percent, delays_ms,
 *           final_codes]; what is missing at its end reads as zero
 *   map:   {"kind": "never" | "fixed" | "exponential" | "list" | "default", "attempts_max": 5,
 *           "factor_percent": 200, "delay_ms": 200, "delay_ms_max": 60000, "jitter_percent": 0,
 *           "delays_ms": [100, 500], "final_codes": ["NO_FUNDS"]}, each member optional
 *
 * Whatever was read or taken has been checked; code BAD_RETRY names the member that is wrong.
 */
#ifndef WIRE_RETRY_H
#define WIRE_RETRY_H

#include <aiki/plugin.h>

enum { RETRY_ATTEMPTS_MAX = 1000, RETRY_FACTOR_PERCENT_MAX = 10000, CRASHES_MAX = 1000 };
#define RETRY_DELAY_MS_MAX AIKI_DAYS_MS(366)

/* What the two lists of a policy take at most: the largest integers and codes. */
enum {
    RETRY_LISTS_BYTES_MAX =
        2 * 5 + AIKI_RETRY_DELAYS_MAX * 9 + AIKI_RETRY_CODES_MAX * (2 + AIKI_CODE_SIZE),
    RETRY_ARRAY_BYTES_MAX = 5 + 8 * 9 + RETRY_LISTS_BYTES_MAX /* of the whole array */
};

/* Zero numbers mean: as AIKI_RETRY_DEFAULT. Views borrow. */
struct retry {
    int32_t kind; /* AIKI_RETRY_* */
    uint32_t attempts_max, factor_percent, jitter_percent;
    int64_t delay_ms, delay_ms_max;
    aiki_view delays_ms;   /* array of integers; empty = none */
    aiki_view final_codes; /* array of text; empty = none */
};

/* owner: whose it is, for the error. The lists are appended to `lists`, whose memory must stay where
 * it is as long as *ret; a policy without lists appends nothing. */
aiki_status retry_take(struct retry *ret, const aiki_retry *from, aiki_writer *lists,
                       const char *owner, aiki_error *err);
void retry_write(aiki_writer *w, const struct retry *r);
aiki_status retry_read(aiki_view array, struct retry *ret, aiki_error *err);
/* Members that are zero or empty are left out, but for the kind. */
void retry_write_map(aiki_writer *w, const struct retry *r);
/* strict: a member that is unknown is a mistake of a user, not of a later release. The kind may also
 * be a number. */
aiki_status retry_read_map(aiki_view map, bool strict, struct retry *ret, aiki_error *err);
/* "fixed" and so on. */
const char *retry_kind_name(int32_t kind);

#endif

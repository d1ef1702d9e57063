/* retry.c - retry policies. */
#include "replay/retry.h"

enum { FACTOR_PERCENT_MIN = 100, KIND_MAX = AIKI_RETRY_EXPONENTIAL };

/* Longest wait between two attempts, so that sums with clock times cannot overflow. */
#define DELAY_MS_LIMIT AIKI_DAYS_MS(3650)

static int64_t delay_or(int64_t delay_ms, int64_t fallback_ms)
{
    if (delay_ms <= 0)
        return fallback_ms;
    return delay_ms < DELAY_MS_LIMIT ? delay_ms : DELAY_MS_LIMIT;
}

static bool says_something(const aiki_retry *r)
{
    return r != NULL && (r->kind != AIKI_RETRY_DEFAULT || r->attempts_max != 0 ||
                         r->factor_percent != 0 || r->delay_ms != 0 || r->delay_ms_max != 0);
}

void retry_resolve(const aiki_retry *call, const aiki_retry *definition, struct retry_policy *ret)
{
    static const aiki_retry nothing;
    const aiki_retry *r = call != NULL                  ? call
                          : says_something(definition) ? definition
                                                       : &nothing;

    ret->attempts_max = r->attempts_max == 0 ? (uint32_t)RETRY_ATTEMPTS_DEFAULT : r->attempts_max;
    if (ret->attempts_max > RETRY_ATTEMPTS_MAX)
        ret->attempts_max = RETRY_ATTEMPTS_MAX;
    if (r->kind == AIKI_RETRY_NEVER || r->kind < 0 || r->kind > KIND_MAX)
        ret->attempts_max = 1; /* a kind of a later release: the careful reading */
    ret->delay_ms = delay_or(r->delay_ms, RETRY_DELAY_MS_DEFAULT);
    ret->delay_ms_max = delay_or(r->delay_ms_max, RETRY_DELAY_MS_MAX_DEFAULT);
    ret->factor_percent =
        r->factor_percent == 0 ? (uint32_t)RETRY_FACTOR_PERCENT_DEFAULT : r->factor_percent;
    if (ret->factor_percent < FACTOR_PERCENT_MIN)
        ret->factor_percent = FACTOR_PERCENT_MIN;
    if (r->kind == AIKI_RETRY_FIXED) {
        ret->factor_percent = FACTOR_PERCENT_MIN;
        ret->delay_ms_max = ret->delay_ms;
    }
}

int64_t retry_delay_ms(const struct retry_policy *p, uint64_t failed_attempts)
{
    int64_t delay = p->delay_ms;

    /* The ceiling ends the loop long before the product could overflow. */
    for (uint64_t n = 1; n < failed_attempts && delay < p->delay_ms_max; n++) {
        int64_t grown = delay * (int64_t)p->factor_percent / 100;
        if (grown == delay)
            break;
        delay = grown;
    }
    return delay < p->delay_ms_max ? delay : p->delay_ms_max;
}

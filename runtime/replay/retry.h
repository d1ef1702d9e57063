/* retry.h - how often and when a failed attempt is repeated; pure arithmetic. [any] */
#ifndef REPLAY_RETRY_H
#define REPLAY_RETRY_H

#include <aiki/plugin.h>

enum {
    RETRY_ATTEMPTS_MAX = 1000,
    RETRY_ATTEMPTS_DEFAULT = 10,
    RETRY_FACTOR_PERCENT_DEFAULT = 200,
    RETRY_DELAY_MS_DEFAULT = 200,
    RETRY_DELAY_MS_MAX_DEFAULT = 60000
};

/* With every default filled in. */
struct retry_policy {
    uint32_t attempts_max; /* including the first */
    uint32_t factor_percent;
    int64_t delay_ms, delay_ms_max;
};

/* From what the call site (wins) and the definition say; either may be NULL or zero. */
void retry_resolve(const aiki_retry *call, const aiki_retry *definition, struct retry_policy *ret);
/* How long to wait after the n-th failed attempt, n from 1. */
int64_t retry_delay_ms(const struct retry_policy *p, uint64_t failed_attempts);

#endif

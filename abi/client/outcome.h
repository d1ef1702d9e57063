/* outcome.h - a RESULT message as one block of memory that a caller can own. [any] */
#ifndef CLIENT_OUTCOME_H
#define CLIENT_OUTCOME_H

#include <aiki/client.h>

#include "wire/message.h"

/* One allocation with everything the outcome points to; free() it. NULL when out of memory. */
aiki_outcome *outcome_create(const struct msg_RESULT *result);

#endif

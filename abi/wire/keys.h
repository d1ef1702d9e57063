/* wire/keys.h - names in Redis and what a ticket holds. [any]
 *
 * Stream: aiki:{SPACE}:t:WORKFLOW:VERSION:POOL:PRIORITY   group "aiki", consumer = session id text
 * Entry:  one field "t" whose value is a msgpack array [run id, epoch]
 *
 * A ticket is a hint: it says "run R is runnable in epoch E". The server's record decides; a
 * forged, repeated or stale ticket ends in a refused claim and nothing else.
 */
#ifndef WIRE_KEYS_H
#define WIRE_KEYS_H

#include <aiki/msgpack.h>

#include "wire/id.h"

enum { STREAM_KEY_SIZE = 512, NAME_BYTES_MAX = 100 };
#define STREAM_GROUP "aiki"
#define TICKET_FIELD "t"

struct ticket {
    struct aiki_id run;
    uint64_t epoch;
};

/* 1..NAME_BYTES_MAX bytes of [a-zA-Z0-9._-]. */
bool name_is_valid(aiki_view name);
/* pool "default" and priority 5 until those exist. AIKI_INVALID on a bad name. */
aiki_status stream_key(char ret_key[STREAM_KEY_SIZE], const char *space, aiki_view workflow,
                       aiki_view version);
enum { TICKET_BYTES_MAX = 40 };
uint64_t ticket_write(uint8_t ret_bytes[TICKET_BYTES_MAX], const struct ticket *t);
aiki_status ticket_read(aiki_view bytes, struct ticket *ret, aiki_error *err);

#endif

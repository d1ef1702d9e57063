/* wire/child.h - what a parent and the server must agree on about a child. [any] */
#ifndef WIRE_CHILD_H
#define WIRE_CHILD_H

#include "wire/event.h"

/* `options` of the STEP_BEGUN that starts a child: [version, close_policy, detached, key, pass,
 * schedule_to_start_ms, shared]. Views borrow. */
struct child_options {
    aiki_view version;     /* empty: the newest served */
    uint64_t close_policy; /* CLOSE_* */
    bool detached;         /* its end is nothing to the parent */
    aiki_view key;         /* start key, empty: none; a key that is taken is a failed start */
    uint64_t pass;         /* RUN_RETRIED events the parent had before: each pass has its own child */
    int64_t schedule_to_start_ms; /* it ends when nobody has taken it up by then; 0 = it waits */
    bool shared;           /* a key that is taken joins the run that has it */
};

enum {
    CHILD_KEY_BYTES_MAX = 256,
    CHILD_OPTIONS_BYTES_MAX = 1024 /* what is written fits */
};

void child_options_write(aiki_writer *w, const struct child_options *o);
/* AIKI_CORRUPT. Fields that are missing read as zero, later ones are skipped. */
aiki_status child_options_read(aiki_view options, struct child_options *ret);

/* The run id of the child that a step starts; the same whenever it is asked for, so that a repeated
 * start finds the run of the first. BLAKE2b-256(parent, address, nth [, pass]), its first 16 bytes;
 * numbers are 8 bytes big endian, pass is left out when it is 0. */
struct aiki_id child_id(const struct aiki_id *parent, const struct address *address, uint64_t nth,
                        uint64_t pass);

#endif

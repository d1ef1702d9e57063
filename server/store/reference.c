/* reference.c - see reference.h. */
#include "store/reference.h"

#include <sodium.h>

#include "wire/event.h"
#include "wire/message.h"

void reference_hash(uint64_t of, aiki_view ref, uint8_t ret_hash[REFERENCE_BYTES])
{
    uint8_t key[crypto_generichash_KEYBYTES_MIN] = {(uint8_t)of};
    (void)crypto_generichash(ret_hash, REFERENCE_BYTES, ref.data, ref.size_bytes,
                             of == REF_SIGNAL ? NULL : key, of == REF_SIGNAL ? 0 : sizeof(key));
}

static aiki_view text_of(const struct event *e, uint64_t *ret_of)
{
    switch (e->kind) {
    case EVENT_SIGNAL: *ret_of = REF_SIGNAL; return e->as.signal.ref;
    case EVENT_CANCEL_REQUESTED: *ret_of = CONTROL_CANCEL; return e->as.control.ref;
    case EVENT_TERMINATED: *ret_of = CONTROL_TERMINATE; return e->as.control.ref;
    case EVENT_PAUSED: *ret_of = CONTROL_PAUSE; return e->as.control.ref;
    case EVENT_RESUMED: *ret_of = CONTROL_RESUME; return e->as.control.ref;
    case EVENT_WOKEN: *ret_of = CONTROL_WAKE; return e->as.control.ref;
    case EVENT_DROPPED: *ret_of = CONTROL_DROP; return e->as.control.ref;
    case EVENT_RUN_RETRIED: *ret_of = CONTROL_RETRY; return e->as.run_retried.ref;
    default: return (aiki_view){NULL, 0};
    }
}

bool reference_of_event(const struct event *event, uint8_t ret_hash[REFERENCE_BYTES])
{
    uint64_t of = REF_SIGNAL;
    aiki_view ref = text_of(event, &of);
    if (ref.size_bytes > 0)
        reference_hash(of, ref, ret_hash);
    return ref.size_bytes > 0;
}

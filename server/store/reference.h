/* store/reference.h - references of what was asked of a run, as the store keeps them. [any]
 *
 * Whoever asks again after a lost answer gives the same reference, and it counts once. It is in the event,
 * and its hash in a table beside, so that a repeat is found in one step however long the history is. A
 * reference counts for signals, or for one kind of request: the same text may come with another.
 */
#ifndef STORE_REFERENCE_H
#define STORE_REFERENCE_H

#include <aiki/msgpack.h>

enum { REFERENCE_BYTES = 16 };
enum { REF_SIGNAL = 0 }; /* what a reference is of: this, or CONTROL_* */

struct event;

void reference_hash(uint64_t of, aiki_view ref, uint8_t ret_hash[REFERENCE_BYTES]);
/* Of a recorded event. False: it came without one. */
bool reference_of_event(const struct event *event, uint8_t ret_hash[REFERENCE_BYTES]);

#endif

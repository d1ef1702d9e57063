/* base/reach.h - system calls that reach other processes: what they are called. [any]
 *
 * Which they are is in base/reach_calls.def; child/reach.h refuses them.
 */
#ifndef BASE_REACH_H
#define BASE_REACH_H

#include <stdint.h>

/* NULL: it is none of them. */
const char *reach_call_name(uint32_t system_call);

#endif

/* nearest.h - which of some names was meant by one that is none of them. [any] */
#ifndef CHILD_NEAREST_H
#define CHILD_NEAREST_H

#include <aiki/msgpack.h>
#include <stdint.h>

struct nearest {
    aiki_view name;
    uint32_t distance; /* of the best so far; at first one more than is near enough */
    const char *found; /* borrowed from nearest_try; NULL: none is near */
};

/* name: borrowed; over NAME_BYTES_MAX bytes nothing is near it. */
struct nearest nearest_begin(aiki_view name);
/* The first of those that are as near is the one. */
void nearest_try(struct nearest *n, const char *candidate);

#endif

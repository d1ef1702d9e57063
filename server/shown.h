/* shown.h - payloads as whoever asked may see them: the one place where they are hidden and cut. [any] */
#ifndef SERVER_SHOWN_H
#define SERVER_SHOWN_H

#include "schemas.h"

enum { SHOWN_BYTES_MAX = 64 * 1024 }; /* of one payload, unless all of it is asked for */

struct shown {
    struct schemas *schemas; /* NULL: nothing is hidden, as was asked for by who may */
    bool full;               /* however long */
};

/* Append it: the value it is, bytes that are no msgpack as bytes, empty as nil. What nobody has ever said
 * anything about is hidden whole. of: not looked at when nothing is hidden. */
void shown_payload(aiki_writer *w, const struct shown *how, const struct value_of *of, aiki_view payload);
/* Append an error map, and its causes, with the details so; empty as nil. Of `of` home and build are enough. */
void shown_error(aiki_writer *w, const struct shown *how, const struct value_of *of, aiki_view error);

#endif

/* doc.h - read the msgpack documents that the server answers queries with. [any]
 *
 * Everything is borrowed from the document. Absent, nil and ill-typed read as empty or zero: a
 * newer or older server may lack a field, and a table shows a gap then.
 */
#ifndef TOOLS_DOC_H
#define TOOLS_DOC_H

#include <aiki/msgpack.h>

/* The value of a key of a map; empty when there is none. */
aiki_view doc_get(aiki_view map, const char *key);
aiki_view doc_text(aiki_view map, const char *key);
int64_t doc_int(aiki_view map, const char *key);
double doc_double(aiki_view map, const char *key); /* integers too */
bool doc_bool(aiki_view map, const char *key);
/* A time as ms since 1970: an integer of them, or RFC 3339 text in UTC. 0 = absent. */
int64_t doc_time_ms(aiki_view map, const char *key);

/* for (struct doc_list l = doc_list(map, "runs"); doc_next(&l);) use(l.item); */
struct doc_list {
    aiki_reader reader;
    uint64_t left;
    aiki_view item;
};
struct doc_list doc_list(aiki_view map, const char *key);
struct doc_list doc_items(aiki_view array);
bool doc_next(struct doc_list *l);

#endif

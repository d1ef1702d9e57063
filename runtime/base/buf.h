/* base/buf.h - growing buffers: an aiki_writer over malloc. [any] */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <aiki/msgpack.h>

/* An empty writer that grows by realloc; nothing is allocated before the first byte. */
void buf_init(aiki_writer *w);
/* Frees; the writer is empty and usable again. Fine on a zeroed struct. */
void buf_deinit(aiki_writer *w);
/* Forget the content, keep the memory (memory over keep_bytes_max is given back). */
void buf_clear(aiki_writer *w, uint64_t keep_bytes_max);
/* Room for so many bytes in all, so that a buffer that is going to be filled grows once. */
void buf_reserve(aiki_writer *w, uint64_t bytes);
/* Give back what the content does not need; for buffers that are kept long. */
void buf_fit(aiki_writer *w);
/* Drop the first n bytes. */
void buf_consume(aiki_writer *w, uint64_t n);
/* The bytes now belong to the caller, who frees them; the writer is empty. */
uint8_t *buf_take(aiki_writer *w, uint64_t *ret_size_bytes);
/* malloc'ed copy with a NUL behind it; NULL when out of memory. */
char *view_dup(aiki_view v);
bool view_equal(aiki_view a, aiki_view b);
bool view_is(aiki_view v, const char *text);
aiki_view view_of(const char *text);
/* For hash tables: FNV-1a, made for short names; who chooses the bytes can make them clash. Of several views
 * one after the other each gets the hash before; the first one 0 or a number that tells tables apart. */
uint64_t view_hash(uint64_t before, aiki_view v);

#endif

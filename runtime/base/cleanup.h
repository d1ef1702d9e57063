/* base/cleanup.h - locals that clean up after themselves. [any] */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <aiki/msgpack.h>

#define AUTO(fn) __attribute__((cleanup(cleanup_##fn)))
void cleanup_close_fd(int *fd);           /* AUTO(close_fd) int fd = -1; */
void cleanup_free(void *pointer_address); /* AUTO(free) char *text = NULL; */
void cleanup_buf(aiki_writer *w);         /* AUTO(buf) aiki_writer w; */

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif

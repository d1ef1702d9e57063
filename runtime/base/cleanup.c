/* cleanup.c - what AUTO(...) calls at the end of a scope. errno survives. */
#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"

void cleanup_close_fd(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        (void)close(*fd); /* nothing left to do about a failure here */
    errno = saved;
}

void cleanup_free(void *pointer_address)
{
    int saved = errno;
    free(*(void **)pointer_address);
    errno = saved;
}

void cleanup_buf(aiki_writer *w) { buf_deinit(w); }

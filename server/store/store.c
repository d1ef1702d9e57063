/* store.c - find the backend for a url. */
#include "store/store.h"

#include <string.h>

#include "base/cleanup.h"
#include "wire/error.h"

static const struct store_ops *const backends[] = {&store_sqlite, &store_memory};

aiki_status store_open(struct store **ret, const char *url, aiki_error *err)
{
    for (size_t i = 0; i < ARRAY_COUNT(backends); i++) {
        size_t size = strlen(backends[i]->scheme);
        if (strncmp(url, backends[i]->scheme, size) == 0 && url[size] == ':')
            return backends[i]->open(ret, url, err);
    }
    return error_set(err, AIKI_UNSUPPORTED,
                     "store \"%s\": this server knows sqlite:PATH and memory:[NAME]", url);
}

void store_close(struct store *s)
{
    if (s != NULL)
        s->ops->close(s);
}

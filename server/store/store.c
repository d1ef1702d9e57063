/* store.c - find the backend for a url. */
#include "store/store.h"

#include <string.h>

#include "base/cleanup.h"
#include "wire/error.h"

static const struct store_ops *const backends[] = {&store_sqlite, &store_memory};

static const struct store_ops *find(const char *url, aiki_error *err)
{
    for (size_t i = 0; i < ARRAY_COUNT(backends); i++) {
        size_t size = strlen(backends[i]->scheme);
        if (strncmp(url, backends[i]->scheme, size) == 0 && url[size] == ':')
            return backends[i];
    }
    (void)error_set(err, AIKI_UNSUPPORTED,
                    "store \"%s\": this server knows sqlite:PATH and memory:[NAME]", url);
    return NULL;
}

aiki_status store_open(struct store **ret, const char *url, aiki_error *err)
{
    const struct store_ops *ops = find(url, err);
    return ops != NULL ? ops->open(ret, url, err) : AIKI_UNSUPPORTED;
}

aiki_status store_migrate(const char *url, bool dry_run, struct store_migration *ret,
                          aiki_error *err)
{
    const struct store_ops *ops = find(url, err);
    if (ops == NULL)
        return AIKI_UNSUPPORTED;
    if (ops->migrate == NULL)
        return error_set(err, AIKI_UNSUPPORTED, "%s: nothing of it outlives the server", url);
    return ops->migrate(url, dry_run, ret, err);
}

void store_close(struct store *s)
{
    if (s != NULL)
        s->ops->close(s);
}

/* dashboard/dashboard.h - the page at "/", compiled in. [any]
 *
 * Static files; what they show comes from the HTTP API. No build step: embed.py turns the files
 * beside this header into constants.
 */
#ifndef SERVER_DASHBOARD_H
#define SERVER_DASHBOARD_H

#include <stddef.h>

struct asset {
    const char *path, *type;
    const unsigned char *bytes;
    size_t size_bytes;
};
extern const struct asset dashboard_assets[];
extern const size_t dashboard_asset_count;

#endif

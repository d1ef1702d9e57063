/* builder.h - `aiki dev --sources`: each .c file of a folder becomes a plugin. [loop]
 *
 *   SRC/NAME.c changed --> cc -shared -fPIC ... -o PLUGINS/.NAME.building --rename--> PLUGINS/NAME.so
 *
 * What does not compile changes nothing: the compiler's words go to the terminal and the build
 * before keeps serving. CC and CFLAGS are the user's; the headers come from pkg-config.
 * Limits: BUILDER_SOURCES_MAX files; one compiler at a time.
 */
#ifndef TOOLS_BUILDER_H
#define TOOLS_BUILDER_H

#include <aiki/status.h>
#include <uv.h>

enum {
    BUILDER_SOURCES_MAX = 256,
    BUILDER_QUIET_MS = 50 /* editors write more than once */
};

struct builder;
/* Builds what is newer than its plugin, then watches. AIKI_INVALID: the folder cannot be read. */
aiki_status builder_start(struct builder **ret, uv_loop_t *loop, const char *sources,
                          const char *plugins, aiki_error *err);
/* No new compiler; one that runs is ended. NULL is a no-op, as below. */
void builder_stop(struct builder *b);
/* Frees itself as the loop turns on. */
void builder_close(struct builder *b);

#endif

/* intake/cache.h - this process's private directory of plugin copies. [loop]
 *
 *   STATE/cache/PID-RANDOM/BUILD.COUNTER.so      0700, locked while its owner lives
 *
 * glibc answers a path it has loaded before with the old library, and a watched file may be
 * overwritten while mapped. So plugins run from copies here, and no path is ever used twice.
 * Directories whose owner was killed are removed by the next runtime that starts.
 */
#ifndef INTAKE_CACHE_H
#define INTAKE_CACHE_H

#include <aiki/status.h>

enum { CACHE_PATH_SIZE = 4096, BUILD_BYTES = 32, BUILD_HEX_SIZE = 65 };

struct cache;
/* state_dir is created if need be; it and what it contains must belong to this user. */
aiki_status cache_create(struct cache **ret, const char *state_dir, aiki_error *err);
/* Somebody removed the directory, to make room perhaps: it is made again. Else nothing happens, and what is written there
 * next says what is wrong. The copies that were in it are gone. */
void cache_mend(struct cache *c);
/* Removes the directory and what is left in it. */
void cache_destroy(struct cache *c);
/* A path for a copy in the making; never given out again. */
void cache_draft_path(struct cache *c, char ret_path[CACHE_PATH_SIZE]);
/* A second name for a copy, in this process's directory; never given out again. */
aiki_status cache_link(struct cache *c, const char *copy, const uint8_t build[BUILD_BYTES],
                       char ret_path[CACHE_PATH_SIZE], aiki_error *err);
/* $AIKI_STATE_HOME's default: /var/lib/aiki for root, else $XDG_STATE_HOME/aiki or
 * ~/.local/state/aiki, else /tmp/aiki-UID. */
void cache_default_state_dir(char ret_path[CACHE_PATH_SIZE]);

/* Made if need be, with what is missing above it; it must belong to this user alone. */
aiki_status cache_own_directory(const char *path, aiki_error *err);
/* The plain files in a directory, and the directory if nothing else is in it. */
void cache_remove_directory(const char *path);

void build_hex(const uint8_t build[BUILD_BYTES], char ret_text[BUILD_HEX_SIZE]);

#endif

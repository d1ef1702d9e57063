/* intake/names.h - which names in a plugins directory are plugins. [any]
 *
 * A name is the path of a file relative to the plugins directory: hello.so, shop/hello.so.
 */
#ifndef INTAKE_NAMES_H
#define INTAKE_NAMES_H

#include <aiki/status.h>

enum { WATCH_NAME_SIZE = 256 };

/* Behind the last slash. */
const char *name_last_part(const char *text);
/* Its last part ends in .so and has no dot in front; it may still be one that name_check refuses. */
bool name_is_plugin(const char *text);
/* "hello.so" of "hello.so.sig". */
bool name_of_signed(const char *text, char ret_plugin[WATCH_NAME_SIZE]);
/* "shop/hello.so" of "shop" and "hello.so"; folder "": the directory itself. False: too long. */
bool name_join(const char *folder, const char *name, char ret[2 * WATCH_NAME_SIZE]);
/* BAD_FILE_NAME: it could not be shown, or be named in a setting, as it is; or is longer than WATCH_NAME_SIZE - 1. */
aiki_status name_check(const char *text, aiki_error *err);
/* One of the patterns (glob(7)), with commas between them, matches the whole path or its last part; a * matches
 * slashes, too. patterns may be NULL. */
bool name_matches(const char *patterns, const char *text);
/* AIKI_INVALID: a pattern is longer than a name can be. */
aiki_status name_check_patterns(const char *patterns, aiki_error *err);

#endif

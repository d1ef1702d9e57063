/* base/reload.h - settings that are read again while the program runs. [loop]
 *
 * A program reacts to SIGHUP only when it was given a settings file; otherwise a closed terminal
 * ends it as ever. What may change at once is named by the program; every other setting keeps the
 * value it was started with, and a difference is named in the log. Values are never logged: some
 * are passwords.
 */
#ifndef BASE_RELOAD_H
#define BASE_RELOAD_H

#include "base/config.h"

struct reload_rules {
    const struct config_key *keys;
    size_t key_count;
    const char *const *live; /* keys that may change at once; NULL at the end */
    /* What the table of keys cannot express. NULL = nothing. */
    aiki_status (*check)(const struct config *fresh, aiki_error *err);
};

/* True: the live settings of c have their new values. False: something is wrong with the new
 * settings, the log says what, and c is as it was. */
bool reload_settings(struct config *c, const struct reload_rules *rules);

#endif

/* broker/check.h - would a runtime serve this file? For `aiki plugins check`. [any, blocks]
 *
 * The same way in as for a file of the plugins directory: copy, checks, probe.
 */
#ifndef BROKER_CHECK_H
#define BROKER_CHECK_H

#include <aiki/status.h>

#include "intake/admit.h"

struct check_options {
    const char *state_dir;
    struct admit_options admit;
    bool json;
};

/* Prints what the plugin offers, or why it is refused, to stdout. Returns the exit code: 0 it would
 * be served, 1 refused, 4 no such file. */
int check_plugin(const char *path, const struct check_options *options);

#endif

/* broker/rehearse.h - what would the open runs of a server do with this file? For `aiki plugins
 * gate`. [loop]
 *
 * The replay gate (gate.h) of a runtime, from anywhere and without serving: what it says before a
 * file is deployed is what the runtimes will say.
 */
#ifndef BROKER_REHEARSE_H
#define BROKER_REHEARSE_H

#include <aiki/status.h>

#include "base/limit.h"
#include "base/tls.h"

enum { REHEARSE_MS_MAX = 60000, REHEARSE_CONNECT_MS = 10000 };

struct rehearse_options {
    const char *state_dir, *executable;
    const char *server, *token, *token_file, *space;
    struct tls_files tls;
    const char *sandbox; /* the setting */
    struct limits limits;
    bool json;
};

/* Prints the report to stdout. Returns the exit code: 0 all replayed runs move, 5 some stay with
 * older builds, 1 it is refused or crashes in replay, 3 no session with the server, 4 no such file. */
int rehearse_plugin(const char *path, const struct rehearse_options *options);

#endif

/* base/sandbox.h - what the setting `sandbox` says of a plugin, and what sandboxes refuse. [any]
 *
 *   on, billing.so = on network write:/var/lib/billing, old.so = off
 *   |   |            |  +-- needs: network, processes, modes, read:PATH, write:PATH
 *   |   |            +-- off, on (all of it or the plugin is refused), try (what the kernel has)
 *   |   +-- about one file
 *   +-- about all others
 *
 * In a PATH %20 and %2C stand for blank and comma. child/sandbox.h puts it into force. Limits:
 * SANDBOX_PATHS_MAX paths a plugin, SANDBOX_PATH_SIZE bytes each with the NUL.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

enum { SANDBOX_PATHS_MAX = 16, SANDBOX_PATH_SIZE = 512, SANDBOX_EXPLAIN_SIZE = 160 };

enum sandbox_mode { SANDBOX_OFF, SANDBOX_TRY, SANDBOX_ON }; /* the later the stricter */

struct sandbox_path {
    char text[SANDBOX_PATH_SIZE];
    bool write;
};

struct sandbox {
    enum sandbox_mode mode;
    bool network;   /* sockets */
    bool processes; /* start some and send signals */
    bool modes;     /* change modes, owners and attributes of files */
    struct sandbox_path paths[SANDBOX_PATHS_MAX];
    unsigned path_count;
};

/* AIKI_INVALID with what is expected and the entry that is not it. */
aiki_status sandbox_check(const char *setting, aiki_error *err);
/* The entry for that file, without its name: "on network". Borrowed from setting; empty: off. setting:
 * NULL is off; path: of a file anywhere, whose last part is what the entry names. */
aiki_view sandbox_of(const char *setting, const char *path);
/* The same for a plugin that is served: the entry names its whole path relative to the plugins directory. */
aiki_view sandbox_of_plugin(const char *setting, const char *file);
/* The strictest mode that any file has. */
enum sandbox_mode sandbox_strictest(const char *setting);
/* An entry as sandbox_of gave it. False: it is none. */
bool sandbox_parse(aiki_view entry, struct sandbox *ret);
/* "calls socket, which ...; what to do" for the number of a system call that ended a process. */
const char *sandbox_explain(uint32_t system_call, char text[SANDBOX_EXPLAIN_SIZE]);

#endif

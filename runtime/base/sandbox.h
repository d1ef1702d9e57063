/* base/sandbox.h - what the setting `sandbox` says of a plugin, and what sandboxes refuse. [any]
 *
 *   on, billing.so = on network write:/var/lib/billing, shop.so = declared network +read:/opt/shop
 *   |   |            |  +-- needs: network, processes, modes, read:PATH, write:PATH
 *   |   |            +-- off, try (what the kernel has), on (all of it or the plugin is refused), declared
 *   |   +-- about one file
 *   +-- about all others
 *
 * declared: on, with the needs that the plugin's file declares (AIKI_NEEDS; intake/needs.h reads them):
 *
 *   declared            as it declares; one that declares nothing has no sandbox
 *   declared NEED...    the same, and no more than these: one that declares more is refused, one that declares
 *                       nothing has all of them; `none` stands for no need
 *   declared +NEED...   given in addition, whatever it declares
 *
 * In a PATH %20 and %2C stand for blank and comma. child/sandbox.h puts it into force. Limits:
 * SANDBOX_PATHS_MAX paths a list, SANDBOX_PATH_SIZE bytes each with the NUL, NEEDS_SIZE a declaration.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <aiki/msgpack.h>
#include <aiki/status.h>

enum {
    SANDBOX_PATHS_MAX = 16,
    SANDBOX_PATH_SIZE = 512,
    SANDBOX_EXPLAIN_SIZE = 192,
    NEEDS_SIZE = 2048 /* of a declaration, with its NUL */
};

enum sandbox_mode { SANDBOX_OFF, SANDBOX_TRY, SANDBOX_ON }; /* the later the stricter */

struct sandbox_path {
    char text[SANDBOX_PATH_SIZE];
    bool write;
    bool declared; /* by the plugin; else by the setting */
};

struct sandbox {
    enum sandbox_mode mode;
    bool network;   /* sockets */
    bool processes; /* start some and send signals */
    bool modes;     /* change modes, owners and attributes of files */
    struct sandbox_path paths[2 * SANDBOX_PATHS_MAX];
    unsigned path_count;
    bool bounded; /* only what is also within these, wherever links of `paths` lead */
    struct sandbox_path within[2 * SANDBOX_PATHS_MAX];
    unsigned within_count;
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

/* Append the entry and what the plugin declares, as one text for the process that enters it:
 * "declared +modes as network". needs: empty when it declares nothing. */
void sandbox_write(aiki_writer *w, aiki_view entry, aiki_view needs);
/* Such a text, or an entry alone. False: it is none. */
bool sandbox_parse(aiki_view text, struct sandbox *ret);

/* Whether a declaration is one: needs with blanks between, or nothing, paths absolute and without "..". The
 * texts of those it takes have printable characters alone. AIKI_INVALID with the word. */
aiki_status needs_check(aiki_view needs, aiki_error *err);
/* The first need that the other declaration does not have; empty: there is none. */
aiki_view needs_beyond(aiki_view needs, aiki_view other);

enum sandbox_verdict {
    SANDBOX_GIVES,      /* all it declares, or there is no sandbox */
    SANDBOX_LACKS,      /* it will run without that need */
    SANDBOX_FORBIDS,    /* the same, and the entry says that this refuses it */
    SANDBOX_UNDECLARED  /* it has no sandbox because it declares nothing */
};
/* What an entry makes of a declaration. *ret_need: of SANDBOX_LACKS and _FORBIDS, the need, borrowed. */
enum sandbox_verdict sandbox_judge(aiki_view entry, aiki_view needs, aiki_view *ret_need);

/* "calls socket, which ...; what to do" for the number of a system call that ended a process. */
const char *sandbox_explain(uint32_t system_call, char text[SANDBOX_EXPLAIN_SIZE]);

#endif

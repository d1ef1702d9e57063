/* base/config.h - settings from flags, environment, a file and defaults, in that order. [any]
 *
 * One table per program. Key "lease-ms" is flag --lease-ms VALUE (or --lease-ms=VALUE), variable
 * AIKI_LEASE_MS and file line "lease-ms = VALUE". --config FILE (or AIKI_CONFIG) names the file:
 * lines "key = value", # comments, blank lines. Errors name file:line, key, expected, found.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <aiki/status.h>

enum config_type { CONFIG_TEXT, CONFIG_INT, CONFIG_FLAG };
struct config_key {
    const char *name;
    enum config_type type;
    const char *fallback; /* NULL = empty */
    int64_t min, max;     /* CONFIG_INT */
    const char *help;
};
struct config;
/* argv[0] is skipped. What is neither flag nor flag value is kept as a positional argument, in
 * order; after "--" everything is. AIKI_INVALID on an unknown key or a value out of range. */
aiki_status config_load(struct config **ret, const struct config_key *keys, size_t key_count,
                        int argc, char *const argv[], aiki_error *err);
void config_destroy(struct config *c);
/* All of it once more, from the same argv, which the caller has kept, the environment and the
 * file as it is now. c stays as it is. */
aiki_status config_load_again(struct config **ret, const struct config *c, aiki_error *err);
/* Exchange one setting between two configs of one table. */
void config_swap(struct config *a, struct config *b, const char *name);
/* Asking for a key that is not in the table is a bug and aborts. */
const char *config_text(const struct config *c, const char *name); /* never NULL */
int64_t config_int(const struct config *c, const char *name);
bool config_flag(const struct config *c, const char *name);
const char *config_origin(const struct config *c, const char *name); /* "flag", "AIKI_X", "file:3", "default" */
const char *config_file(const struct config *c); /* as named by --config or AIKI_CONFIG; "" = none */
int config_positional_count(const struct config *c);
const char *config_positional(const struct config *c, int index);
/* What --show-config asks for: "values", lines "lease-ms = 5000" as a file has them; "origins", the same
 * with where each comes from; "json", an array of {"name", "value", "origin"}. Of tokens, and of
 * passwords in urls, only that they are there. Keys without a value are left out. AIKI_INVALID: none
 * of these. */
aiki_status config_show(const struct config *c, const char *how, aiki_error *err);
/* "  --lease-ms N   help (default 5000)" lines for --help. */
void config_print_help(const struct config_key *keys, size_t key_count);

#endif

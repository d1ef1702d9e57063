/* args.h - flags and operands of one command. [main thread]
 *
 * Flags come as --name VALUE or --name=VALUE, anywhere; after "--" everything is an operand. A
 * flag that may go without a value takes the next word only if that is a duration. A flag with
 * an environment name falls back to it, then to its default.
 */
#ifndef TOOLS_ARGS_H
#define TOOLS_ARGS_H

#include <aiki/status.h>

enum arg_type {
    ARG_END, /* ends a table */
    ARG_FLAG,
    ARG_TEXT,
    ARG_INT,
    ARG_DURATION,      /* 250ms, 30s, 5m, 2h, 1d; a bare number is seconds */
    ARG_DURATION_MAYBE /* the same, or no value at all: DURATION_FOREVER_MS */
};

struct arg {
    enum arg_type type;
    const char *name;
    const char *value;    /* what its value is called in help, e.g. "JSON|@FILE|-" */
    const char *fallback; /* NULL = absent */
    const char *env;      /* NULL = none */
    const char *help;
    int64_t min, max; /* ARG_INT */
};

enum { ARGS_TABLES_MAX = 2, ARGS_OPERANDS_MAX = 8, ARGS_FLAGS_MAX = 32 };
#define DURATION_FOREVER_MS ((int64_t)-1)

struct args {
    const struct arg *tables[ARGS_TABLES_MAX]; /* each ends with ARG_END; NULL = none */
    struct {
        const struct arg *arg;
        const char *value; /* borrowed from argv or the environment; "" for a bare flag */
    } given[ARGS_FLAGS_MAX];
    unsigned given_count;
    const char *operands[ARGS_OPERANDS_MAX];
    unsigned operand_count;
};

/* tables are set by the caller. AIKI_INVALID names what is wrong and what was expected. Every
 * value is checked here, so that the readers below cannot fail. */
aiki_status args_parse(struct args *a, int argc, char **argv, aiki_error *err);

/* By name; asking for a flag that is in no table is a bug and aborts. */
bool args_has(const struct args *a, const char *name);         /* given, or has a default */
bool args_is_given(const struct args *a, const char *name);    /* on the command line */
const char *args_text(const struct args *a, const char *name); /* NULL = absent */
int64_t args_int(const struct args *a, const char *name);      /* 0 = absent */
int64_t args_ms(const struct args *a, const char *name);       /* 0 = absent */

/* "  --wait[=TIME]   help" lines. */
void args_print_help(const struct arg *table);

/* AIKI_INVALID when the text is no duration. */
aiki_status duration_parse(const char *text, int64_t *ret_ms);

#endif

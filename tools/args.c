/* args.c - see args.h. Words are matched first, values checked second, so that the message for
 * a bad value can name the flag or variable it came from. */
#include "args.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "wire/error.h"

aiki_status duration_parse(const char *text, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return AIKI_INVALID;
    double number = strtod(text, &end);
    for (size_t i = 0; i < ARRAY_COUNT(units); i++)
        if (strcmp(end, units[i].unit) == 0 && number * (double)units[i].ms < 1e15) {
            *ret_ms = (int64_t)(number * (double)units[i].ms + 0.5);
            return AIKI_OK;
        }
    return AIKI_INVALID;
}

static const struct arg *find_arg(const struct args *a, const char *name, size_t size)
{
    for (unsigned t = 0; t < ARGS_TABLES_MAX && a->tables[t] != NULL; t++)
        for (const struct arg *arg = a->tables[t]; arg->type != ARG_END; arg++)
            if (strlen(arg->name) == size && memcmp(arg->name, name, size) == 0)
                return arg;
    return NULL;
}

static aiki_status check_value(const struct arg *arg, const char *from, const char *value,
                               aiki_error *err)
{
    int64_t number;
    char *end;
    switch (arg->type) {
    case ARG_INT:
        errno = 0;
        number = strtoll(value, &end, 10);
        if (errno != 0 || end == value || *end != '\0' || number < arg->min || number > arg->max)
            return error_set(err, AIKI_INVALID,
                             "%s: expected a number from %lld to %lld, found '%s'", from,
                             (long long)arg->min, (long long)arg->max, value);
        return AIKI_OK;
    case ARG_DURATION_MAYBE:
        if (value[0] == '\0')
            return AIKI_OK;
        /* fall through */
    case ARG_DURATION:
        if (duration_parse(value, &number) != AIKI_OK)
            return error_set(err, AIKI_INVALID,
                             "%s: expected a duration such as 250ms, 30s, 5m, 2h or 1d, found '%s'",
                             from, value);
        return AIKI_OK;
    case ARG_TEXT:
    case ARG_FLAG:
    case ARG_END: break;
    }
    return AIKI_OK;
}

/* The value behind a flag word: after '=', or the next word. *i moves over what was used. */
static aiki_status take_value(const struct arg *arg, const char *equals, int argc, char **argv,
                              int *i, const char **ret_value, aiki_error *err)
{
    int64_t unused_ms;
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    *ret_value = "";
    if (arg->type == ARG_FLAG && equals != NULL)
        return error_set(err, AIKI_INVALID, "--%s takes no value", arg->name);
    if (arg->type == ARG_FLAG)
        return AIKI_OK;
    if (equals != NULL) {
        *ret_value = equals + 1;
        return AIKI_OK;
    }
    if (arg->type == ARG_DURATION_MAYBE &&
        (next == NULL || duration_parse(next, &unused_ms) != AIKI_OK))
        return AIKI_OK;
    if (next == NULL)
        return error_set(err, AIKI_INVALID, "--%s needs a value: %s", arg->name, arg->value);
    *ret_value = next;
    ++*i;
    return AIKI_OK;
}

static aiki_status take_flag(struct args *a, int argc, char **argv, int *i, aiki_error *err)
{
    const char *word = argv[*i] + 2;
    const char *equals = strchr(word, '=');
    size_t size = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct arg *arg = find_arg(a, word, size);
    if (arg == NULL)
        return error_set(err, AIKI_INVALID, "unknown flag --%.*s", (int)size, word);
    if (a->given_count == ARGS_FLAGS_MAX)
        return error_set(err, AIKI_LIMIT, "more than %d flags", ARGS_FLAGS_MAX);
    const char *value, *given = argv[*i];
    aiki_status st = take_value(arg, equals, argc, argv, i, &value, err);
    if (st == AIKI_OK)
        st = check_value(arg, given, value, err);
    if (st != AIKI_OK)
        return st;
    a->given[a->given_count].arg = arg;
    a->given[a->given_count++].value = value;
    return AIKI_OK;
}

static aiki_status check_environment(const struct args *a, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    for (unsigned t = 0; t < ARGS_TABLES_MAX && a->tables[t] != NULL; t++)
        for (const struct arg *arg = a->tables[t]; st == AIKI_OK && arg->type != ARG_END; arg++) {
            const char *value = arg->env != NULL ? getenv(arg->env) : NULL;
            if (value != NULL && value[0] != '\0')
                st = check_value(arg, arg->env, value, err);
        }
    return st;
}

aiki_status args_parse(struct args *a, int argc, char **argv, aiki_error *err)
{
    bool only_operands = false;
    for (int i = 0; i < argc; i++) {
        aiki_status st = AIKI_OK;
        if (!only_operands && strcmp(argv[i], "--") == 0)
            only_operands = true;
        else if (!only_operands && strncmp(argv[i], "--", 2) == 0)
            st = take_flag(a, argc, argv, &i, err);
        else if (a->operand_count == ARGS_OPERANDS_MAX)
            st = error_set(err, AIKI_INVALID, "too many words: '%s'", argv[i]);
        else
            a->operands[a->operand_count++] = argv[i];
        if (st != AIKI_OK)
            return st;
    }
    return check_environment(a, err);
}

/* Last one given, else environment, else default, else NULL. */
static const char *value_of(const struct args *a, const char *name, const struct arg **ret_arg)
{
    const struct arg *arg = find_arg(a, name, strlen(name));
    assert(arg != NULL);
    *ret_arg = arg;
    for (unsigned i = a->given_count; i-- > 0;)
        if (a->given[i].arg == arg)
            return a->given[i].value;
    const char *value = arg->env != NULL ? getenv(arg->env) : NULL;
    return value != NULL && value[0] != '\0' ? value : arg->fallback;
}

bool args_is_given(const struct args *a, const char *name)
{
    for (unsigned i = 0; i < a->given_count; i++)
        if (strcmp(a->given[i].arg->name, name) == 0)
            return true;
    return false;
}

bool args_has(const struct args *a, const char *name)
{
    return args_text(a, name) != NULL;
}

const char *args_text(const struct args *a, const char *name)
{
    const struct arg *arg;
    return value_of(a, name, &arg);
}

int64_t args_int(const struct args *a, const char *name)
{
    const char *value = args_text(a, name);
    return value != NULL ? strtoll(value, NULL, 10) : 0;
}

int64_t args_ms(const struct args *a, const char *name)
{
    const char *value = args_text(a, name);
    int64_t ms = 0;
    if (value != NULL && value[0] == '\0')
        return DURATION_FOREVER_MS;
    if (value != NULL)
        (void)duration_parse(value, &ms); /* checked when it was taken */
    return ms;
}

void args_print_help(const struct arg *table)
{
    for (const struct arg *arg = table; arg->type != ARG_END; arg++) {
        char left[64];
        if (arg->type == ARG_FLAG)
            snprintf(left, sizeof(left), "--%s", arg->name);
        else if (arg->type == ARG_DURATION_MAYBE)
            snprintf(left, sizeof(left), "--%s[=%s]", arg->name, arg->value);
        else
            snprintf(left, sizeof(left), "--%s %s", arg->name, arg->value);
        printf("  %-24s %s", left, arg->help);
        if (arg->fallback != NULL)
            printf(" (default %s)", arg->fallback);
        if (arg->env != NULL)
            printf(" [%s]", arg->env);
        printf("\n");
    }
}

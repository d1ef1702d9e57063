/* config.c - settings from flags, environment, a file and defaults.
 *
 *   flag --> AIKI_X --> file line --> default: the first that speaks decides
 *
 * Limits: CONFIG_FILE_BYTES_MAX for the file, CONFIG_VALUE_BYTES_MAX for one value.
 */
#include "base/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "wire/error.h"

enum {
    CONFIG_FILE_BYTES_MAX = 1024 * 1024,
    CONFIG_VALUE_BYTES_MAX = 64 * 1024,
    ORIGIN_SIZE = 300
};

enum rank { RANK_DEFAULT, RANK_FILE, RANK_ENV, RANK_FLAG };

struct setting {
    enum rank rank;
    char *text; /* owned; never NULL after config_load */
    int64_t number;
    bool flag;
    char origin[ORIGIN_SIZE];
};

struct config {
    const struct config_key *keys; /* the caller's table, as long as the config lives */
    size_t key_count;
    struct setting *settings;
    int argc;
    char *const *argv;      /* the caller's */
    const char *file;       /* borrowed from argv or the environment; "" = none */
    const char **positional; /* borrowed from argv */
    int positional_count;
};

static const struct config_key *find_key(const struct config *c, const char *name, size_t size)
{
    for (size_t i = 0; i < c->key_count; i++)
        if (strlen(c->keys[i].name) == size && strncmp(c->keys[i].name, name, size) == 0)
            return &c->keys[i];
    return NULL;
}

static struct setting *setting_of(const struct config *c, const struct config_key *key)
{
    return &c->settings[key - c->keys];
}

/* ---- one value ------------------------------------------------------------------------------ */

static bool parse_int(const char *text, int64_t *ret)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || isspace((unsigned char)text[0]))
        return false;
    *ret = value;
    return true;
}

static bool parse_flag(const char *text, bool *ret)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < ARRAY_COUNT(yes); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static aiki_status check_value(const struct config_key *key, const char *text, const char *origin,
                               struct setting *s, aiki_error *err)
{
    if (strlen(text) > CONFIG_VALUE_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "%s: %s is over CONFIG_VALUE_BYTES_MAX (%d)", origin,
                         key->name, CONFIG_VALUE_BYTES_MAX);
    if (key->type == CONFIG_INT &&
        (!parse_int(text, &s->number) || s->number < key->min || s->number > key->max))
        return error_set(err, AIKI_INVALID,
                         "%s: %s must be a whole number from %lld to %lld, found \"%.60s\"", origin,
                         key->name, (long long)key->min, (long long)key->max, text);
    if (key->type == CONFIG_FLAG && !parse_flag(text, &s->flag))
        return error_set(err, AIKI_INVALID, "%s: %s must be true or false, found \"%.60s\"", origin,
                         key->name, text);
    return AIKI_OK;
}

/* Keep the value unless something that ranks higher has spoken; check it in any case. */
static aiki_status put(struct config *c, const struct config_key *key, const char *text,
                       enum rank rank, const char *origin, aiki_error *err)
{
    struct setting *s = setting_of(c, key);
    struct setting fresh = {.rank = rank};
    aiki_status st = check_value(key, text, origin, &fresh, err);
    if (st != AIKI_OK || (s->text != NULL && s->rank > rank))
        return st;
    fresh.text = strdup(text);
    if (fresh.text == NULL)
        return error_set(err, AIKI_NOMEM, "%s: %s", origin, key->name);
    (void)snprintf(fresh.origin, sizeof(fresh.origin), "%s", origin);
    free(s->text);
    *s = fresh;
    return AIKI_OK;
}

/* ---- sources -------------------------------------------------------------------------------- */

static aiki_status put_defaults(struct config *c, aiki_error *err)
{
    static const char *const empty[] = {
        [CONFIG_TEXT] = "", [CONFIG_INT] = "0", [CONFIG_FLAG] = "false"};
    aiki_status st = AIKI_OK;
    for (size_t i = 0; i < c->key_count && st == AIKI_OK; i++) {
        const struct config_key *key = &c->keys[i];
        st = put(c, key, key->fallback != NULL ? key->fallback : empty[key->type], RANK_DEFAULT,
                 "default", err);
    }
    return st;
}

static void env_name(const char *key, char ret_name[128])
{
    size_t n = (size_t)snprintf(ret_name, 128, "AIKI_%s", key);
    for (size_t i = 0; i < n && i < 127; i++)
        ret_name[i] = ret_name[i] == '-' ? '_' : (char)toupper((unsigned char)ret_name[i]);
}

static aiki_status put_env(struct config *c, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    for (size_t i = 0; i < c->key_count && st == AIKI_OK; i++) {
        char name[128];
        env_name(c->keys[i].name, name);
        const char *text = getenv(name);
        if (text != NULL)
            st = put(c, &c->keys[i], text, RANK_ENV, name, err);
    }
    return st;
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t size = strlen(text);
    while (size > 0 && isspace((unsigned char)text[size - 1]))
        text[--size] = '\0';
    return text;
}

/* where: "path:12" for messages, origin: "file:12" for config_origin. */
static aiki_status put_line(struct config *c, char *line, const char *where, const char *origin,
                            aiki_error *err)
{
    char *text = trim(line);
    if (*text == '\0' || *text == '#')
        return AIKI_OK;
    char *equals = strchr(text, '=');
    if (equals == NULL)
        return error_set(err, AIKI_INVALID, "%s: expected \"key = value\", found \"%.60s\"", where,
                         text);
    *equals = '\0';
    const char *name = trim(text);
    const struct config_key *key = find_key(c, name, strlen(name));
    if (key == NULL)
        return error_set(err, AIKI_INVALID, "%s: unknown key \"%.60s\"", where, name);
    const char *value = trim(equals + 1);
    struct setting checked;
    aiki_status st = check_value(key, value, where, &checked, err);
    return st == AIKI_OK ? put(c, key, value, RANK_FILE, origin, err) : st;
}

static void cleanup_close_file(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file); /* only read from */
}

static aiki_status put_file(struct config *c, const char *path, aiki_error *err)
{
    AUTO(close_file) FILE *file = fopen(path, "re");
    AUTO(free) char *line = NULL;
    size_t capacity = 0;
    size_t total = 0;
    aiki_status st = AIKI_OK;
    if (file == NULL)
        return error_set(err, AIKI_INVALID, "settings file %s: %s", path, strerror(errno));

    for (unsigned number = 1; st == AIKI_OK; number++) {
        char where[ORIGIN_SIZE];
        char origin[32];
        errno = 0;
        ssize_t size = getline(&line, &capacity, file);
        if (size < 0)
            break;
        total += (size_t)size;
        if (total > CONFIG_FILE_BYTES_MAX || strlen(line) != (size_t)size)
            return error_set(err, AIKI_LIMIT,
                             "settings file %s: over CONFIG_FILE_BYTES_MAX (%d), or not text", path,
                             CONFIG_FILE_BYTES_MAX);
        (void)snprintf(where, sizeof(where), "%.250s:%u", path, number);
        (void)snprintf(origin, sizeof(origin), "file:%u", number);
        st = put_line(c, line, where, origin, err);
    }
    if (st == AIKI_OK && ferror(file))
        st = error_set(err, AIKI_INVALID, "settings file %s: %s", path, strerror(errno));
    return st;
}

/* One "--name", "--name=value" or "--name value"; answers through ret_used how many words. */
static aiki_status put_flag(struct config *c, const char *word, const char *next,
                            const char **config_path, int *ret_used, aiki_error *err)
{
    const char *name = word + 2;
    size_t size = strcspn(name, "=");
    const char *value = name[size] == '=' ? name + size + 1 : NULL;
    bool is_path = size == strlen("config") && strncmp(name, "config", size) == 0;
    const struct config_key *key = is_path ? NULL : find_key(c, name, size);
    if (word[1] != '-' || (key == NULL && !is_path))
        return error_set(err, AIKI_INVALID, "unknown flag %.100s; --help lists them", word);

    *ret_used = 1;
    if (value == NULL && key != NULL && key->type == CONFIG_FLAG)
        value = "true";
    if (value == NULL) {
        if (next == NULL)
            return error_set(err, AIKI_INVALID, "flag %.100s needs a value", word);
        value = next;
        *ret_used = 2;
    }
    if (is_path) {
        *config_path = value;
        return AIKI_OK;
    }
    char origin[ORIGIN_SIZE];
    (void)snprintf(origin, sizeof(origin), "--%s", key->name);
    aiki_status st = put(c, key, value, RANK_FLAG, origin, err);
    if (st == AIKI_OK)
        (void)snprintf(setting_of(c, key)->origin, ORIGIN_SIZE, "flag");
    return st;
}

static aiki_status put_args(struct config *c, int argc, char *const argv[],
                            const char **config_path, aiki_error *err)
{
    bool only_positional = false;
    aiki_status st = AIKI_OK;
    int used = 1;
    for (int i = 1; i < argc && st == AIKI_OK; i += used) {
        const char *word = argv[i];
        used = 1;
        if (!only_positional && strcmp(word, "--") == 0)
            only_positional = true;
        else if (only_positional || word[0] != '-' || word[1] == '\0') /* "-" is standard input */
            c->positional[c->positional_count++] = word;
        else
            st = put_flag(c, word, i + 1 < argc ? argv[i + 1] : NULL, config_path, &used, err);
    }
    return st;
}

/* ---- public --------------------------------------------------------------------------------- */

aiki_status config_load(struct config **ret, const struct config_key *keys, size_t key_count,
                        int argc, char *const argv[], aiki_error *err)
{
    const char *path = getenv("AIKI_CONFIG");
    aiki_status st = AIKI_OK;
    struct config *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return error_set(err, AIKI_NOMEM, "settings");
    c->keys = keys;
    c->key_count = key_count;
    c->argc = argc;
    c->argv = argv;
    c->settings = calloc(key_count + 1, sizeof(*c->settings));
    c->positional = calloc((size_t)(argc > 0 ? argc : 1), sizeof(*c->positional));
    if (c->settings == NULL || c->positional == NULL)
        st = error_set(err, AIKI_NOMEM, "settings");

    if (st == AIKI_OK)
        st = put_defaults(c, err);
    if (st == AIKI_OK)
        st = put_args(c, argc, argv, &path, err);
    if (st == AIKI_OK)
        st = put_env(c, err);
    c->file = path != NULL ? path : "";
    if (st == AIKI_OK && c->file[0] != '\0')
        st = put_file(c, c->file, err);
    if (st != AIKI_OK) {
        config_destroy(c);
        return st;
    }
    *ret = c;
    return AIKI_OK;
}

aiki_status config_load_again(struct config **ret, const struct config *c, aiki_error *err)
{
    return config_load(ret, c->keys, c->key_count, c->argc, c->argv, err);
}

void config_destroy(struct config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; c->settings != NULL && i < c->key_count; i++)
        free(c->settings[i].text);
    free(c->settings);
    free(c->positional);
    free(c);
}

static const struct setting *get(const struct config *c, const char *name)
{
    const struct config_key *key = find_key(c, name, strlen(name));
    if (key == NULL) {
        fprintf(stderr, "settings: the program asks for \"%s\", which is not in its table\n", name);
        abort();
    }
    return setting_of(c, key);
}

void config_swap(struct config *a, struct config *b, const char *name)
{
    struct setting *x = setting_of(a, find_key(a, name, strlen(name)));
    struct setting *y = setting_of(b, find_key(b, name, strlen(name)));
    struct setting other = *x;
    *x = *y;
    *y = other;
}

const char *config_file(const struct config *c) { return c->file; }

const char *config_text(const struct config *c, const char *name) { return get(c, name)->text; }

int64_t config_int(const struct config *c, const char *name) { return get(c, name)->number; }

bool config_flag(const struct config *c, const char *name) { return get(c, name)->flag; }

const char *config_origin(const struct config *c, const char *name)
{
    return get(c, name)->origin;
}

int config_positional_count(const struct config *c) { return c->positional_count; }

const char *config_positional(const struct config *c, int index)
{
    assert(index >= 0 && index < c->positional_count);
    return c->positional[index];
}

/* ---- showing -------------------------------------------------------------------------------- */

/* Without what must not be in a terminal or a log. */
static void put_value(aiki_writer *w, const struct config_key *key, const char *text)
{
    char shown[1024];
    const char *secret = strstr(text, "://");
    const char *end = secret != NULL ? strrchr(secret, '@') : NULL;
    if (strcmp(key->name, "token") == 0)
        text = "(set)";
    else if (end != NULL)
        (void)snprintf(shown, sizeof(shown), "%.*s(set)%s", (int)(secret + 3 - text), text, end);
    aiki_mp_str(w, end != NULL ? shown : text);
}

static bool is_shown(const struct config *c, size_t i)
{
    return c->settings[i].text[0] != '\0' && strcmp(c->keys[i].name, "show-config") != 0;
}

/* An array of [name, value, origin], or of maps of them. */
static void put_settings(const struct config *c, aiki_writer *w, bool maps)
{
    uint64_t count = 0;
    for (size_t i = 0; i < c->key_count; i++)
        count += is_shown(c, i);
    aiki_mp_array(w, count);
    for (size_t i = 0; i < c->key_count; i++) {
        if (!is_shown(c, i))
            continue;
        if (maps)
            aiki_mp_map(w, 3);
        for (int k = 0; k < 3; k++) {
            if (maps)
                aiki_mp_str(w, k == 0 ? "name" : k == 1 ? "value" : "origin");
            if (k == 1)
                put_value(w, &c->keys[i], c->settings[i].text);
            else
                aiki_mp_str(w, k == 0 ? c->keys[i].name : c->settings[i].origin);
        }
    }
}

static void print_lines(aiki_view settings, bool origins)
{
    aiki_reader r;
    aiki_reader_init(&r, settings);
    for (uint64_t count = aiki_mp_read_array(&r); count > 0; count--) {
        aiki_view name = aiki_mp_read_str(&r), value = aiki_mp_read_str(&r);
        aiki_view origin = aiki_mp_read_str(&r);
        printf("%.*s = %.*s", (int)name.size_bytes, (const char *)name.data, (int)value.size_bytes,
               (const char *)value.data);
        if (origins)
            printf("  # %.*s", (int)origin.size_bytes, (const char *)origin.data);
        printf("\n");
    }
}

aiki_status config_show(const struct config *c, const char *how, aiki_error *err)
{
    AUTO(buf) aiki_writer w, text;
    bool json = strcmp(how, "json") == 0, origins = strcmp(how, "origins") == 0;
    buf_init(&w);
    buf_init(&text);
    if (!json && !origins && strcmp(how, "values") != 0)
        return error_set(err, AIKI_INVALID,
                         "show-config must be values, origins or json, found \"%.40s\"", how);
    put_settings(c, &w, json);
    aiki_status st = w.status;
    if (st == AIKI_OK && json)
        st = msgpack_to_json(aiki_writer_view(&w), 2, &text, err);
    if (st != AIKI_OK)
        return error_set(err, st, "no memory to show the settings");
    if (json)
        printf("%.*s\n", (int)text.size_bytes, (const char *)text.data);
    else
        print_lines(aiki_writer_view(&w), origins);
    return AIKI_OK;
}

void config_print_help(const struct config_key *keys, size_t key_count)
{
    static const char *const placeholder[] = {
        [CONFIG_TEXT] = " TEXT", [CONFIG_INT] = " N", [CONFIG_FLAG] = ""};
    for (size_t i = 0; i < key_count; i++) {
        const struct config_key *key = &keys[i];
        char left[80];
        bool has_default = key->fallback != NULL && key->fallback[0] != '\0';
        (void)snprintf(left, sizeof(left), "--%s%s", key->name, placeholder[key->type]);
        printf("  %-26s %s", left, key->help);
        if (has_default && key->type != CONFIG_FLAG)
            printf(" (default %s)", key->fallback);
        printf("\n");
    }
    printf("  %-26s %s\n", "--config FILE", "read settings from FILE, lines of \"key = value\"");
}

/* target.c - see target.h. */
#include "http/target.h"

#include <stdlib.h>
#include <string.h>

#include "base/percent.h"
#include "base/utf8.h"
#include "wire/error.h"

/* Decoded text goes to *at, which moves behind it. */
static const char *decode(const char *from, size_t size_bytes, char **at, const char *end)
{
    char *text = *at;
    if (!percent_decode(from, size_bytes, text, (size_t)(end - text)))
        return NULL;
    size_t length = strlen(text);
    if (!utf8_is_valid((aiki_view){(const uint8_t *)text, length}))
        return NULL;
    *at = text + length + 1;
    return text;
}

static aiki_status bad_encoding(const char *where, const char *text, size_t size_bytes,
                                aiki_error *err)
{
    return error_code(err, AIKI_INVALID, "BAD_TARGET",
                      "%s \"%.*s\" is not percent-encoded UTF-8 (RFC 3986)", where,
                      (int)(size_bytes > 80 ? 80 : size_bytes), text);
}

static aiki_status parse_path(const char *raw, size_t size_bytes, struct target *t, char **at,
                              const char *end, aiki_error *err)
{
    const char *stop = raw + size_bytes;
    for (const char *from = raw + 1; from <= stop && size_bytes > 1;) {
        const char *slash = memchr(from, '/', (size_t)(stop - from));
        size_t length = (size_t)((slash != NULL ? slash : stop) - from);
        if (t->segment_count == TARGET_SEGMENTS_MAX)
            return error_code(err, AIKI_NOT_FOUND, "NO_SUCH_PATH",
                              "no path has more than %d segments (TARGET_SEGMENTS_MAX)",
                              TARGET_SEGMENTS_MAX);
        const char *segment = decode(from, length, at, end);
        if (segment == NULL)
            return bad_encoding("path segment", from, length, err);
        t->segments[t->segment_count++] = segment;
        if (slash == NULL)
            break;
        from = slash + 1;
    }
    return AIKI_OK;
}

/* In a query "+" is a space, as in forms; elsewhere it is itself. */
static const char *decode_form(const char *from, size_t size_bytes, char **at, const char *end)
{
    char spaced[TARGET_BYTES_MAX];
    for (size_t i = 0; i < size_bytes; i++)
        spaced[i] = from[i] == '+' ? ' ' : from[i];
    return decode(spaced, size_bytes, at, end);
}

static aiki_status parse_param(const char *from, size_t size_bytes, struct target *t, char **at,
                               const char *end, aiki_error *err)
{
    const char *equals = memchr(from, '=', size_bytes);
    size_t name_size = equals != NULL ? (size_t)(equals - from) : size_bytes;
    const char *name = decode_form(from, name_size, at, end);
    const char *value = "";
    if (equals != NULL)
        value = decode_form(equals + 1, size_bytes - name_size - 1, at, end);
    if (name == NULL || value == NULL)
        return bad_encoding("query parameter", from, size_bytes, err);
    if (value[0] == '\0')
        return error_code(err, AIKI_INVALID, "BAD_PARAMETER",
                          "query parameter %.80s has no value; leave it out or give one", name);
    if (target_param(t, name) != NULL)
        return error_code(err, AIKI_INVALID, "BAD_PARAMETER",
                          "query parameter %.80s is there twice", name);
    if (t->param_count == TARGET_PARAMS_MAX)
        return error_code(err, AIKI_INVALID, "BAD_PARAMETER",
                          "more than %d query parameters (TARGET_PARAMS_MAX)", TARGET_PARAMS_MAX);
    t->params[t->param_count].name = name;
    t->params[t->param_count++].value = value;
    return AIKI_OK;
}

static aiki_status parse_query(const char *query, struct target *t, char **at, const char *end,
                               aiki_error *err)
{
    aiki_status status = AIKI_OK;
    while (status == AIKI_OK && *query != '\0') {
        size_t length = strcspn(query, "&");
        if (length > 0)
            status = parse_param(query, length, t, at, end, err);
        query += length + (query[length] == '&');
    }
    return status;
}

aiki_status target_parse(const char *raw, struct target *ret, aiki_error *err)
{
    size_t size_bytes = strlen(raw);
    memset(ret, 0, sizeof(*ret));
    if (size_bytes > TARGET_BYTES_MAX)
        return error_code(err, AIKI_LIMIT, "URI_TOO_LONG",
                          "the path and query have %zu bytes, TARGET_BYTES_MAX is %d", size_bytes,
                          TARGET_BYTES_MAX);
    if (raw[0] != '/' || strpbrk(raw, " \t#") != NULL)
        return error_code(err, AIKI_INVALID, "BAD_TARGET",
                          "\"%.80s\": expected a path such as /v1/runs", raw);
    /* Decoding never lengthens; each piece takes the place of its separator with its NUL. */
    size_t capacity_bytes = size_bytes + 2;
    ret->text = malloc(capacity_bytes);
    if (ret->text == NULL)
        return error_set(err, AIKI_NOMEM, "a path of %zu bytes", size_bytes);
    char *at = ret->text;
    const char *end = ret->text + capacity_bytes;
    size_t path_size = strcspn(raw, "?");
    aiki_status status = parse_path(raw, path_size, ret, &at, end, err);
    if (status == AIKI_OK && raw[path_size] == '?')
        status = parse_query(raw + path_size + 1, ret, &at, end, err);
    return status;
}

void target_deinit(struct target *t)
{
    free(t->text);
    memset(t, 0, sizeof(*t));
}

const char *target_param(const struct target *t, const char *name)
{
    for (size_t i = 0; i < t->param_count; i++)
        if (strcmp(t->params[i].name, name) == 0)
            return t->params[i].value;
    return NULL;
}

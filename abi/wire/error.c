/* error.c - errors as structs, and as maps on the wire and in the journal.
 *
 *   {code, category, message [, status] [, retry_after_ms] [, final] [, details]
 *    [, stack] [, cause]}
 *
 * Always in this order, so that the same error has the same bytes. `status` is there only when it
 * does not follow from the code and the category. Limits: AIKI_CAUSE_DEPTH_MAX causes; details
 * of ERROR_DETAILS_BYTES_MAX bytes and ERROR_DETAILS_DEPTH_MAX levels, so that an error map
 * always stays within the budgets of the messages and events that carry it.
 */
#include "wire/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *category_name(int32_t category)
{
    static const char *const names[] = {"ok",   "caller", "conflict", "transient",
                                        "user", "plugin", "infra"};
    bool known = category >= 0 && category <= AIKI_CATEGORY_INFRA;
    return known ? names[category] : "unknown";
}

/* ---- set --------------------------------------------------------------------------------- */

/* Length of the printable UTF-8 character at p, 0 when there is none (RFC 3629 4). */
static size_t utf8_length(const uint8_t *p)
{
    /* Two bytes begin at U+0080, but up to U+009F are control characters that terminals obey. */
    static const uint32_t smallest[] = {0, 0, 0xa0, 0x800, 0x10000};
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
    if (p[0] < 0xc0 || p[0] >= 0xf8)
        return 0;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) /* also the NUL */
            return 0;
        c = (c << 6) | (p[i] & 0x3fu);
    }
    bool is_surrogate = c >= 0xd800 && c <= 0xdfff;
    return c >= smallest[n] && c <= 0x10ffff && !is_surrogate ? n : 0;
}

/* What is quoted in a message may be anything and the buffer's end may cut a character: leave
 * text that any terminal, log and JSON reader can take. */
static void clean(char *text)
{
    uint8_t *p = (uint8_t *)text;
    while (*p != '\0') {
        size_t n = utf8_length(p);
        if (n == 0) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
}

static AIKI_PRINTF(4, 0) void set(aiki_error *err, aiki_status status, const char *code,
                                  const char *format, va_list args)
{
    *err = (aiki_error){
        .struct_size = sizeof(*err), .status = status, .category = aiki_status_category(status)};
    (void)snprintf(err->code, sizeof(err->code), "%s", code);
    (void)vsnprintf(err->message, sizeof(err->message), format, args); /* cut off when too long */
    clean(err->message);
}

aiki_status error_set(aiki_error *err, aiki_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set(err, status, aiki_status_name(status), format, args);
        va_end(args);
    }
    return status;
}

aiki_status error_code(aiki_error *err, aiki_status status, const char *code, const char *format,
                       ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set(err, status, code, format, args);
        va_end(args);
    }
    return status;
}

/* ---- write ------------------------------------------------------------------------------- */

/* The status a reader gives an error that does not name one. */
static aiki_status implied_status(const char *code, int32_t category)
{
#define STATUS_BY_NAME(name, category_, number, text)                                              \
    if (strcmp(code, #name) == 0)                                                                  \
        return number;
    AIKI_STATUS_MAP(STATUS_BY_NAME)
#undef STATUS_BY_NAME
    switch (category) {
    case AIKI_CATEGORY_CALLER: return AIKI_INVALID;
    case AIKI_CATEGORY_CONFLICT: return AIKI_CONFLICT;
    case AIKI_CATEGORY_TRANSIENT: return AIKI_UNAVAILABLE;
    case AIKI_CATEGORY_USER: return AIKI_FAILED;
    case AIKI_CATEGORY_PLUGIN: return AIKI_CRASHED;
    default: return AIKI_INTERNAL;
    }
}

/* Whether details may be embedded: one value, and small enough for whatever carries the error. */
static bool details_fit(aiki_view details)
{
    uint64_t left[ERROR_DETAILS_DEPTH_MAX];
    unsigned depth = 0;
    aiki_reader r;
    aiki_mp_item item;
    if (details.size_bytes > ERROR_DETAILS_BYTES_MAX)
        return false;
    aiki_reader_init(&r, details);
    for (left[0] = 1;;) {
        while (left[depth] == 0) {
            if (depth == 0)
                return r.at == r.end;
            depth--;
        }
        left[depth]--;
        if (!aiki_mp_next(&r, &item))
            return false;
        if (item.type != AIKI_MP_ARRAY && item.type != AIKI_MP_MAP)
            continue;
        if (++depth == ERROR_DETAILS_DEPTH_MAX)
            return false;
        left[depth] = item.type == AIKI_MP_MAP ? item.as.count * 2 : item.as.count;
    }
}

static void write_details(aiki_writer *w, aiki_view details)
{
    aiki_mp_str(w, "details");
    if (details_fit(details)) {
        aiki_mp_raw(w, details.data, details.size_bytes);
        return;
    }
    char text[160];
    int n = snprintf(text, sizeof(text),
                     "left out: %llu bytes that are no msgpack value within %d bytes and %d levels",
                     (unsigned long long)details.size_bytes, ERROR_DETAILS_BYTES_MAX,
                     ERROR_DETAILS_DEPTH_MAX);
    aiki_mp_strn(w, text, (uint64_t)n);
}

/* All of one error but its cause, which the caller appends when there is one. */
static void write_one(aiki_writer *w, const aiki_error *e, aiki_view stack, bool has_cause)
{
    int32_t category = e->category != 0 ? e->category : aiki_status_category(e->status);
    char code[AIKI_CODE_SIZE];
    /* Plugins fill these arrays; a missing NUL must not lead us out of them. */
    (void)snprintf(code, sizeof(code), "%.*s", AIKI_CODE_SIZE - 1,
                   e->code[0] != '\0' ? e->code : aiki_status_name(e->status));
    bool names_status = implied_status(code, category) != e->status;
    bool has_delay = e->retry_after_ms > 0, is_final = (e->flags & AIKI_ERROR_FINAL) != 0;
    bool has_details = e->details.size_bytes > 0, has_stack = stack.size_bytes > 0;

    aiki_mp_map(w, 3u + names_status + has_delay + is_final + has_details + has_stack + has_cause);
    aiki_mp_str(w, "code");
    aiki_mp_str(w, code);
    aiki_mp_str(w, "category");
    aiki_mp_str(w, category_name(category));
    aiki_mp_str(w, "message");
    aiki_mp_strn(w, e->message, strnlen(e->message, sizeof(e->message) - 1));
    if (names_status) {
        aiki_mp_str(w, "status");
        aiki_mp_str(w, aiki_status_name(e->status));
    }
    if (has_delay) {
        aiki_mp_str(w, "retry_after_ms");
        aiki_mp_int(w, e->retry_after_ms);
    }
    if (is_final) {
        aiki_mp_str(w, "final");
        aiki_mp_bool(w, true);
    }
    if (has_details)
        write_details(w, e->details);
    if (has_stack) {
        aiki_mp_str(w, "stack");
        aiki_mp_raw(w, stack.data, stack.size_bytes);
    }
    if (has_cause)
        aiki_mp_str(w, "cause");
}

void error_write_stack(aiki_writer *w, const aiki_error *e, aiki_view stack)
{
    /* The chain is cut, not followed for ever: it may even be a circle. */
    for (int depth = 0; e != NULL && depth <= AIKI_CAUSE_DEPTH_MAX; depth++, e = e->cause) {
        write_one(w, e, stack, e->cause != NULL && depth < AIKI_CAUSE_DEPTH_MAX);
        stack = (aiki_view){NULL, 0}; /* of the first one only */
    }
}

void error_write(aiki_writer *w, const aiki_error *e)
{
    error_write_stack(w, e, (aiki_view){NULL, 0});
}

/* ---- read -------------------------------------------------------------------------------- */

/* Copy text to a fixed field; what does not fit is cut off. */
static void copy_text(char *to, size_t size, aiki_view text)
{
    uint64_t n = text.size_bytes < size - 1 ? text.size_bytes : size - 1;
    memset(to, 0, size);
    if (n > 0)
        memcpy(to, text.data, n);
}

static bool text_is(aiki_view text, const char *word)
{
    size_t n = strlen(word);
    return text.size_bytes == n && memcmp(text.data, word, n) == 0;
}

/* A category or status of a later release counts as trouble on the other side. */
static int32_t category_parse(aiki_view text)
{
    for (int32_t category = 0; category < AIKI_CATEGORY_INFRA; category++)
        if (text_is(text, category_name(category)))
            return category;
    return AIKI_CATEGORY_INFRA;
}

static aiki_status status_parse(aiki_view text)
{
#define STATUS_PARSE(name, category, number, words)                                                \
    if (text_is(text, #name))                                                                      \
        return number;
    AIKI_STATUS_MAP(STATUS_PARSE)
#undef STATUS_PARSE
    return AIKI_INTERNAL;
}

/* One map into *e; details and cause are left as views. */
static aiki_status read_one(aiki_view map, aiki_error *e, aiki_view *details, aiki_view *cause)
{
    aiki_reader r;
    bool has_status = false;
    aiki_reader_init(&r, map);
    for (uint64_t left = aiki_mp_read_map(&r); left > 0 && r.status == AIKI_OK; left--) {
        aiki_mp_item key;
        if (!aiki_mp_peek(&r, &key) || aiki_mp_skip(&r) != AIKI_OK)
            return r.status != AIKI_OK ? r.status : AIKI_CORRUPT;
        aiki_view name = key.type == AIKI_MP_STR ? key.bytes : (aiki_view){NULL, 0};
        if (text_is(name, "code")) {
            copy_text(e->code, sizeof(e->code), aiki_mp_read_str(&r));
        } else if (text_is(name, "category")) {
            e->category = category_parse(aiki_mp_read_str(&r));
        } else if (text_is(name, "message")) {
            copy_text(e->message, sizeof(e->message), aiki_mp_read_str(&r));
        } else if (text_is(name, "status")) {
            e->status = status_parse(aiki_mp_read_str(&r));
            has_status = true;
        } else if (text_is(name, "retry_after_ms")) {
            e->retry_after_ms = aiki_mp_read_int(&r);
        } else if (text_is(name, "final")) {
            e->flags |= aiki_mp_read_bool(&r) ? (uint32_t)AIKI_ERROR_FINAL : 0;
        } else if (text_is(name, "details")) {
            *details = aiki_mp_value(&r);
        } else if (text_is(name, "cause")) {
            *cause = aiki_mp_value(&r);
        } else {
            (void)aiki_mp_skip(&r); /* a later release's key; failure sticks in r */
        }
    }
    if (r.status == AIKI_OK && r.at != r.end)
        return AIKI_CORRUPT;
    if (!has_status)
        e->status = implied_status(e->code, e->category);
    return r.status;
}

static aiki_status keep_details(aiki_error *e, aiki_view details,
                                void *(*alloc)(void *arg, uint64_t size), void *arg)
{
    if (details.size_bytes == 0)
        return AIKI_OK;
    uint8_t *copy = alloc(arg, details.size_bytes);
    if (copy == NULL)
        return AIKI_NOMEM;
    memcpy(copy, details.data, details.size_bytes);
    e->details = (aiki_view){copy, details.size_bytes};
    return AIKI_OK;
}

aiki_status error_read(aiki_view map, aiki_error *ret, void *(*alloc)(void *arg, uint64_t size),
                       void *arg)
{
    aiki_error first = {.struct_size = sizeof(first)}, *e = &first;
    for (int depth = 0;; depth++) {
        aiki_view details = {NULL, 0}, cause = {NULL, 0};
        aiki_status status = read_one(map, e, &details, &cause);
        if (status == AIKI_OK && alloc != NULL)
            status = keep_details(e, details, alloc, arg);
        if (status != AIKI_OK)
            return status;
        if (alloc == NULL || cause.size_bytes == 0 || depth == AIKI_CAUSE_DEPTH_MAX)
            break;
        aiki_error *next = alloc(arg, sizeof(*next));
        if (next == NULL)
            return AIKI_NOMEM;
        *next = (aiki_error){.struct_size = sizeof(*next)};
        e->cause = next;
        e = next;
        map = cause;
    }
    *ret = first;
    return AIKI_OK;
}

aiki_view error_value(aiki_view map, const char *key)
{
    aiki_reader r;
    size_t size = strlen(key);
    aiki_reader_init(&r, map);
    for (uint64_t pairs = aiki_mp_read_map(&r); pairs > 0 && r.status == AIKI_OK; pairs--) {
        aiki_view name = aiki_mp_read_str(&r);
        aiki_view value = aiki_mp_value(&r);
        if (r.status == AIKI_OK && name.size_bytes == size && memcmp(name.data, key, size) == 0)
            return value;
    }
    return (aiki_view){NULL, 0};
}

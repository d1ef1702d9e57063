/* json.c - JSON text to msgpack and back.
 *
 *   text --scan: depth, nodes--> jansson --tree--> msgpack-c packer --> writer
 *   msgpack --aiki_mp_check--> cursor --> text
 *
 * The budgets are checked before jansson allocates: its own depth limit is 2048, and a tree costs
 * fifty times its text. Writing text needs no tree; jansson has no unsigned 64-bit integers.
 */
#include "base/json.h"

#include <jansson.h>
#include <math.h>
#include <msgpack.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "wire/error.h"

/* A value at level 64 sits inside 63 containers, which is what aiki_mp_check allows. */
enum { CONTAINERS_MAX = JSON_DEPTH_MAX - 1 };
static const int BASE64 = sodium_base64_VARIANT_ORIGINAL;

/* ---- JSON to msgpack ----------------------------------------------------------------------- */

struct place {
    unsigned line, column;
};

static void step_over(struct place *at, uint8_t byte)
{
    if (byte == '\n') {
        at->line++;
        at->column = 1;
    } else if ((byte & 0xc0) != 0x80) { /* columns count characters, not bytes */
        at->column++;
    }
}

/* Depth and number of values, without understanding more of JSON than strings and brackets. */
static aiki_status scan(aiki_view text, aiki_error *err)
{
    struct place at = {1, 1};
    unsigned depth = 0;
    uint64_t nodes = 1;
    bool in_string = false;
    for (uint64_t i = 0; i < text.size_bytes; i++) {
        uint8_t byte = text.data[i];
        if (byte == '\0') /* jansson would skip it in silence */
            return error_code(err, AIKI_INVALID, "JSON_SYNTAX",
                              "JSON at line %u column %u: a NUL byte", at.line, at.column);
        if (in_string) {
            if (byte == '\\' && i + 1 < text.size_bytes)
                step_over(&at, text.data[i++]);
            else if (byte == '"')
                in_string = false;
        } else if (byte == '"') {
            in_string = true;
        } else if (byte == '[' || byte == '{') {
            nodes++;
            if (++depth > CONTAINERS_MAX)
                return error_code(err, AIKI_LIMIT, "JSON_TOO_DEEP",
                                  "JSON at line %u column %u: more than %d containers inside each "
                                  "other (JSON_DEPTH_MAX)",
                                  at.line, at.column, CONTAINERS_MAX);
        } else if (byte == ']' || byte == '}') {
            depth -= depth > 0;
        } else if (byte == ',' || byte == ':') {
            nodes++;
        }
        step_over(&at, text.data[i]);
    }
    if (nodes > AIKI_MP_NODES_MAX)
        return error_code(err, AIKI_LIMIT, "JSON_TOO_BIG",
                          "JSON has more than %d values (AIKI_MP_NODES_MAX)", AIKI_MP_NODES_MAX);
    return AIKI_OK;
}

static int pack_bytes(void *data, const char *bytes, size_t size)
{
    aiki_writer *w = data;
    aiki_mp_raw(w, bytes, size);
    return w->status == AIKI_OK ? 0 : -1;
}

static aiki_status pack_value(msgpack_packer *pk, const json_t *value, aiki_error *err);

/* {"$bin": "<base64>"}: the text of the only member when its key is `key`. */
static const json_t *only_member(const json_t *object, const char *key)
{
    return json_object_size(object) == 1 ? json_object_get(object, key) : NULL;
}

static aiki_status unbase64(const json_t *text, const char *key, uint8_t **ret_bytes,
                            size_t *ret_size, aiki_error *err)
{
    const char *base64 = json_string_value(text);
    size_t length = json_string_length(text);
    uint8_t *bytes = base64 != NULL ? malloc(length / 4 * 3 + 3) : NULL;
    if (base64 != NULL && bytes == NULL)
        return error_set(err, AIKI_NOMEM, "JSON \"%s\" of %zu characters", key, length);
    if (base64 == NULL || sodium_base642bin(bytes, length / 4 * 3 + 3, base64, length, NULL,
                                            ret_size, NULL, BASE64) != 0) {
        free(bytes);
        return error_code(err, AIKI_INVALID, "JSON_BASE64",
                          "JSON object with \"%s\": expected base64 text with padding, found \"%.40s\"",
                          key, base64 != NULL ? base64 : "no text");
    }
    *ret_bytes = bytes;
    return AIKI_OK;
}

static aiki_status pack_bin(msgpack_packer *pk, const json_t *text, aiki_error *err)
{
    AUTO(free) uint8_t *bytes = NULL;
    size_t size = 0;
    aiki_status st = unbase64(text, "$bin", &bytes, &size, err);
    if (st == AIKI_OK) {
        (void)msgpack_pack_bin(pk, size); /* failures stick in the writer */
        (void)msgpack_pack_bin_body(pk, bytes, size);
    }
    return st;
}

static aiki_status pack_ext(msgpack_packer *pk, const json_t *pair, aiki_error *err)
{
    AUTO(free) uint8_t *bytes = NULL;
    size_t size = 0;
    const json_t *type = json_array_get(pair, 0);
    json_int_t number = json_integer_value(type);
    if (json_array_size(pair) != 2 || !json_is_integer(type) || number < INT8_MIN ||
        number > INT8_MAX)
        return error_code(err, AIKI_INVALID, "JSON_EXT",
                          "JSON object with \"$ext\": expected [type from -128 to 127, base64 text]");
    aiki_status st = unbase64(json_array_get(pair, 1), "$ext", &bytes, &size, err);
    if (st == AIKI_OK) {
        (void)msgpack_pack_ext(pk, size, (int8_t)number);
        (void)msgpack_pack_ext_body(pk, bytes, size);
    }
    return st;
}

static aiki_status pack_object(msgpack_packer *pk, const json_t *object, aiki_error *err)
{
    const json_t *special = only_member(object, "$bin");
    if (special != NULL)
        return pack_bin(pk, special, err);
    special = only_member(object, "$ext");
    if (special != NULL)
        return pack_ext(pk, special, err);

    aiki_status st = AIKI_OK;
    json_t *mutable = (json_t *)object; /* jansson iterates without const, and changes nothing */
    (void)msgpack_pack_map(pk, json_object_size(object));
    for (void *at = json_object_iter(mutable); at != NULL && st == AIKI_OK;
         at = json_object_iter_next(mutable, at)) {
        const char *key = json_object_iter_key(at);
        (void)msgpack_pack_str_with_body(pk, key, strlen(key));
        st = pack_value(pk, json_object_iter_value(at), err);
    }
    return st;
}

static aiki_status pack_array(msgpack_packer *pk, const json_t *array, aiki_error *err)
{
    aiki_status st = AIKI_OK;
    (void)msgpack_pack_array(pk, json_array_size(array));
    for (size_t i = 0; i < json_array_size(array) && st == AIKI_OK; i++)
        st = pack_value(pk, json_array_get(array, i), err);
    return st;
}

/* Recursion is bounded by scan. */
static aiki_status pack_value(msgpack_packer *pk, const json_t *value, aiki_error *err)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return pack_object(pk, value, err);
    case JSON_ARRAY: return pack_array(pk, value, err);
    case JSON_STRING:
        (void)msgpack_pack_str_with_body(pk, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER: (void)msgpack_pack_int64(pk, json_integer_value(value)); break;
    case JSON_REAL: (void)msgpack_pack_double(pk, json_real_value(value)); break;
    case JSON_TRUE: (void)msgpack_pack_true(pk); break;
    case JSON_FALSE: (void)msgpack_pack_false(pk); break;
    case JSON_NULL: (void)msgpack_pack_nil(pk); break;
    }
    return AIKI_OK;
}

static aiki_status parse_failed(const json_error_t *e, aiki_error *err)
{
    if (json_error_code(e) == json_error_out_of_memory)
        return error_set(err, AIKI_NOMEM, "JSON does not fit into memory");
    if (json_error_code(e) == json_error_numeric_overflow)
        return error_code(err, AIKI_INVALID, "JSON_NUMBER_RANGE",
                          "JSON at line %d column %d: %s; integers go from -2^63 to 2^63-1, send "
                          "larger ones as text",
                          e->line, e->column, e->text);
    bool bad_text = json_error_code(e) == json_error_invalid_utf8;
    return error_code(err, AIKI_INVALID, "JSON_SYNTAX", "JSON at line %d column %d: %s%s", e->line,
                      e->column, e->text, bad_text ? "; JSON must be UTF-8" : "");
}

aiki_status json_to_msgpack(aiki_view text, aiki_writer *w, aiki_error *err)
{
    json_error_t problem;
    uint64_t before_bytes = w->size_bytes;
    aiki_status st = scan(text, err);
    if (st != AIKI_OK)
        return st;
    json_t *root = json_loadb(text.size_bytes > 0 ? (const char *)text.data : "", text.size_bytes,
                              JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
    if (root == NULL)
        return parse_failed(&problem, err);

    msgpack_packer pk;
    msgpack_packer_init(&pk, w, pack_bytes);
    st = pack_value(&pk, root, err);
    json_decref(root);
    if (st == AIKI_OK && w->status != AIKI_OK)
        st = error_set(err, w->status, "no room for the msgpack form of the JSON");
    if (st != AIKI_OK)
        w->size_bytes = before_bytes;
    return st;
}

/* ---- msgpack to JSON ----------------------------------------------------------------------- */

struct printer {
    aiki_reader *r;
    aiki_writer *w;
    unsigned indent, depth;
    bool in_key;
};

static void put(aiki_writer *w, const char *text) { aiki_mp_raw(w, text, strlen(text)); }

static void put_newline(struct printer *p)
{
    if (p->indent == 0)
        return;
    put(p->w, "\n");
    uint64_t width = (uint64_t)p->indent * p->depth;
    uint8_t *to = aiki_mp_room(p->w, width);
    if (to != NULL)
        memset(to, ' ', width);
}

static void put_escaped(aiki_writer *w, uint8_t byte)
{
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof(shorts); i += 2) {
        if (byte == (uint8_t)shorts[i]) {
            aiki_mp_raw(w, (const char[]){'\\', shorts[i + 1]}, 2);
            return;
        }
    }
    char text[8];
    (void)snprintf(text, sizeof(text), "\\u%04x", byte);
    put(w, text);
}

static void put_string(aiki_writer *w, aiki_view text)
{
    uint64_t plain = 0; /* start of what has not been written yet */
    put(w, "\"");
    for (uint64_t i = 0; i < text.size_bytes; i++) {
        uint8_t byte = text.data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f)
            continue;
        aiki_mp_raw(w, text.data + plain, i - plain);
        put_escaped(w, byte);
        plain = i + 1;
    }
    if (text.size_bytes > plain)
        aiki_mp_raw(w, text.data + plain, text.size_bytes - plain);
    put(w, "\"");
}

static void put_base64(aiki_writer *w, aiki_view bytes)
{
    uint64_t size = (bytes.size_bytes + 2) / 3 * 4;
    put(w, "\"");
    uint8_t *to = aiki_mp_room(w, size + 1); /* libsodium ends it with a NUL */
    if (to != NULL) {
        (void)sodium_bin2base64((char *)to, size + 1, bytes.data, bytes.size_bytes, BASE64);
        w->size_bytes -= 1;
    }
    put(w, "\"");
}

/* Text stays text; what claims to be text and is not UTF-8 is shown as the bytes it is. */
static void put_text_or_bytes(aiki_writer *w, const aiki_mp_item *item)
{
    if (item->type == AIKI_MP_STR && utf8_is_valid(item->bytes)) {
        put_string(w, item->bytes);
        return;
    }
    put(w, "{\"$bin\":");
    put_base64(w, item->bytes);
    put(w, "}");
}

static void put_ext(aiki_writer *w, const aiki_mp_item *item)
{
    char head[32];
    (void)snprintf(head, sizeof(head), "{\"$ext\":[%d,", item->ext_type);
    put(w, head);
    put_base64(w, item->bytes);
    put(w, "]}");
}

/* The shortest text that reads back as the same number, and as a float. */
static void put_double(aiki_writer *w, double value)
{
    char text[40];
    if (!isfinite(value)) {
        put(w, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (memcmp(&(double){strtod(text, NULL)}, &value, sizeof(value)) == 0)
            break;
    }
    put(w, text);
    if (strpbrk(text, ".e") == NULL)
        put(w, ".0");
}

static aiki_status put_value(struct printer *p, aiki_error *err);

/* Keys that are no text are written as their JSON text. A key inside a key would double its
 * escapes at each level, so containers as keys may not hold such keys themselves. */
static aiki_status put_key(struct printer *p, aiki_error *err)
{
    aiki_mp_item item;
    (void)aiki_mp_peek(p->r, &item);
    if (item.type == AIKI_MP_STR && utf8_is_valid(item.bytes)) {
        (void)aiki_mp_next(p->r, &item);
        put_string(p->w, item.bytes);
        return AIKI_OK;
    }
    if (p->in_key)
        return error_code(err, AIKI_INVALID, "JSON_KEY",
                          "a map key holds a map with keys that are not text; JSON has no form for it");
    AUTO(buf) aiki_writer text;
    buf_init(&text);
    struct printer key = {.r = p->r, .w = &text, .in_key = true};
    aiki_status st = put_value(&key, err);
    if (st == AIKI_OK)
        put_string(p->w, aiki_writer_view(&text));
    return st;
}

static aiki_status put_members(struct printer *p, const aiki_mp_item *item, aiki_error *err)
{
    bool is_map = item->type == AIKI_MP_MAP;
    aiki_status st = AIKI_OK;
    put(p->w, is_map ? "{" : "[");
    p->depth++;
    for (uint64_t i = 0; i < item->as.count && st == AIKI_OK && p->w->status == AIKI_OK; i++) {
        if (i > 0)
            put(p->w, ",");
        put_newline(p);
        if (is_map) {
            st = put_key(p, err);
            put(p->w, p->indent > 0 ? ": " : ":");
        }
        if (st == AIKI_OK)
            st = put_value(p, err);
    }
    p->depth--;
    if (item->as.count > 0)
        put_newline(p);
    put(p->w, is_map ? "}" : "]");
    return st;
}

/* Recursion is bounded by aiki_mp_check. */
static aiki_status put_value(struct printer *p, aiki_error *err)
{
    aiki_mp_item item;
    char number[32];
    (void)aiki_mp_next(p->r, &item);
    switch (item.type) {
    case AIKI_MP_NIL: put(p->w, "null"); break;
    case AIKI_MP_BOOL: put(p->w, item.as.boolean ? "true" : "false"); break;
    case AIKI_MP_UINT:
        (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)item.as.u);
        put(p->w, number);
        break;
    case AIKI_MP_INT:
        (void)snprintf(number, sizeof(number), "%lld", (long long)item.as.i);
        put(p->w, number);
        break;
    case AIKI_MP_DOUBLE: put_double(p->w, item.as.d); break;
    case AIKI_MP_STR:
    case AIKI_MP_BIN: put_text_or_bytes(p->w, &item); break;
    case AIKI_MP_EXT: put_ext(p->w, &item); break;
    case AIKI_MP_ARRAY:
    case AIKI_MP_MAP: return put_members(p, &item, err);
    default: return error_set(err, AIKI_CORRUPT, "value is not msgpack");
    }
    return AIKI_OK;
}

aiki_status msgpack_to_json(aiki_view value, unsigned indent, aiki_writer *w, aiki_error *err)
{
    uint64_t before_bytes = w->size_bytes;
    aiki_status st = aiki_mp_check(value);
    if (st != AIKI_OK)
        return error_set(err, st, "value of %llu bytes: %s", (unsigned long long)value.size_bytes,
                         st == AIKI_LIMIT ? "over AIKI_MP_DEPTH_MAX or AIKI_MP_NODES_MAX"
                                          : "not exactly one msgpack value");
    aiki_reader r;
    aiki_reader_init(&r, value);
    struct printer p = {.r = &r, .w = w, .indent = indent};
    st = put_value(&p, err);
    if (st == AIKI_OK && w->status != AIKI_OK)
        st = error_set(err, w->status, "no room for the JSON form of the value");
    if (st != AIKI_OK)
        w->size_bytes = before_bytes;
    return st;
}

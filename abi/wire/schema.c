/* schema.c - record tables to data and back; the walker of aiki/schema.h does the judging.
 *
 *   aiki_record_def --schema_write--> {"record", "fields"} --schema_create--> aiki_record_def
 *    (the plugin's)                    READY, REGISTER, store                  (in an arena)
 *                                                                    |--schema_validate
 *                                                                    `--schema_write_json_schema
 *
 * Both directions go through check_record, so what one side writes the other accepts. Tables
 * are copied entry by entry before use: the plugin's may be shorter or longer than ours.
 * Recursion is limited by AIKI_RECORD_DEPTH_MAX, work by SCHEMA_FIELDS_MAX.
 */
#include "wire/schema.h"

#include <stdlib.h>
#include <string.h>

#include "wire/error.h"
#include "wire/redact.h"
#include "wire/schema_json.h"

/* Size of a field as of 1.0: its last member then was `record`. */
enum { FIELD_STRIDE_MIN = offsetof(aiki_field_def, record) + sizeof(void *) };
enum { RECORD_SIZE_MIN = offsetof(aiki_record_def, field_stride) + sizeof(uint32_t) };

static const char *const type_names[] = {"",    "i64",   "u64",    "f64", "bool",
                                         "str", "bytes", "record", "list"};
enum { TYPE_COUNT = sizeof(type_names) / sizeof(type_names[0]) };

/* What is carried down while tables are walked. */
struct walk {
    aiki_error *err;
    uint32_t depth;
    uint32_t fields;  /* met so far, over all levels */
    bool has_offsets; /* the plugin's own tables; parsed ones have no struct behind them */
};

static aiki_field_def field_at(const aiki_record_def *def, uint32_t index)
{
    aiki_field_def f;
    memset(&f, 0, sizeof(f));
    memcpy(&f, (const char *)def->fields + (size_t)index * def->field_stride,
           def->field_stride < sizeof(f) ? def->field_stride : sizeof(f));
    return f;
}

/* ---- checks ------------------------------------------------------------------------------ */

static aiki_status bad(const struct walk *walk, const aiki_record_def *def, const char *field,
                       const char *reason)
{
    return error_code(walk->err, AIKI_INVALID, "BAD_SCHEMA", "record %s%s%s: %s", def->name,
                      field != NULL ? ", field " : "", field != NULL ? field : "", reason);
}

static bool text_is_valid(const char *text, uint64_t bytes_max)
{
    size_t size = text == NULL ? 0 : strnlen(text, bytes_max + 1);
    aiki_view v = {(const uint8_t *)text, size};
    return size > 0 && size <= bytes_max && aiki_utf8_length(v) > 0;
}

static bool is_integer(uint8_t type) { return type == AIKI_FIELD_I64 || type == AIKI_FIELD_U64; }

static uint64_t member_size(uint8_t type)
{
    return type == AIKI_FIELD_BOOL    ? sizeof(bool)
           : type == AIKI_FIELD_BYTES ? sizeof(aiki_view)
                                      : sizeof(uint64_t);
}

static bool is_inside(const aiki_record_def *def, uint64_t offset, uint64_t size)
{
    return offset <= def->size_bytes && size <= def->size_bytes - offset;
}

/* "a|b" without an empty alternative. */
static bool one_of_is_valid(const char *list)
{
    size_t size = strnlen(list, SCHEMA_BYTES_MAX);
    aiki_view v = {(const uint8_t *)list, size};
    return size > 0 && size < SCHEMA_BYTES_MAX && list[0] != '|' && list[size - 1] != '|' &&
           strstr(list, "||") == NULL && aiki_utf8_length(v) > 0;
}

/* The default has to pass the field's own rules, or an absent field would break them. */
static const char *default_reason(const aiki_field_def *f)
{
    const aiki_field_def *field = f;
    struct aiki_walk_ walk = {NULL, NULL, 0, 0};
    struct aiki_path_ path = {NULL, f->name, 0, field};
    uint8_t memory[16];
    aiki_writer w;
    aiki_reader r;
    aiki_mp_item item;
    if (f->required != 0)
        return "a required field cannot have a default";
    aiki_writer_init_fixed(&w, memory, sizeof(memory));
    switch (f->type) {
    case AIKI_FIELD_I64: aiki_mp_int(&w, f->default_int); break;
    case AIKI_FIELD_U64:
        if (f->default_int < 0)
            return "the default of a u64 field cannot be negative";
        aiki_mp_int(&w, f->default_int);
        break;
    case AIKI_FIELD_F64: aiki_mp_double(&w, f->default_real); break;
    case AIKI_FIELD_BOOL: return NULL;
    case AIKI_FIELD_STR:
        if (f->default_text == NULL)
            return "the default of a text field is missing (AIKI_DEFAULT_TEXT)";
        item.type = AIKI_MP_STR;
        item.bytes.data = (const uint8_t *)f->default_text;
        item.bytes.size_bytes = strlen(f->default_text);
        return aiki_read_text_(&walk, &path, &item, NULL) == AIKI_OK
                   ? NULL
                   : "the default breaks the field's own rules";
    default: return "only scalars and text can have a default";
    }
    aiki_reader_init(&r, aiki_writer_view(&w));
    (void)aiki_mp_next(&r, &item); /* just written */
    return aiki_read_one_(&walk, &path, f->type, &item, &r, NULL) == AIKI_OK
               ? NULL
               : "the default breaks the field's own rules";
}

/* Why the rules of a field do not fit its type, or NULL. */
static const char *rules_reason(const aiki_field_def *f)
{
    uint8_t scalar = f->type == AIKI_FIELD_LIST ? f->element : f->type;
    bool has_range = f->has_min != 0 || f->has_max != 0;
    if (has_range && !is_integer(scalar) && scalar != AIKI_FIELD_F64)
        return "a range needs a number";
    if (f->has_min != 0 && f->has_max != 0 && is_integer(scalar) && f->min > f->max)
        return "the lower bound is above the upper one";
    /* An integer range on a real field would leave the real bounds at zero. */
    if (scalar == AIKI_FIELD_F64 && (f->min != 0 || f->max != 0))
        return "a range of an f64 is given with AIKI_REAL_RANGE";
    if (is_integer(scalar) && (f->real_min != 0 || f->real_max != 0))
        return "a range of an integer is given with AIKI_RANGE";
    if (scalar == AIKI_FIELD_F64 && has_range &&
        !(__builtin_isfinite(f->real_min) && __builtin_isfinite(f->real_max)))
        return "the bounds must be finite";
    if (scalar == AIKI_FIELD_F64 && f->has_min != 0 && f->has_max != 0 && f->real_min > f->real_max)
        return "the lower bound is above the upper one";
    if (f->has_length != 0 && f->type != AIKI_FIELD_STR && f->type != AIKI_FIELD_BYTES &&
        f->type != AIKI_FIELD_LIST)
        return "a length needs text, bytes or a list";
    if (f->has_length != 0 && f->length_min > f->length_max)
        return "the shortest length is above the longest";
    if (f->one_of != NULL && scalar != AIKI_FIELD_STR)
        return "one_of needs text";
    if (f->one_of != NULL && !one_of_is_valid(f->one_of))
        return "one_of must be texts parted by |, none of them empty";
    return f->has_default != 0 ? default_reason(f) : NULL;
}

static const char *type_reason(const aiki_record_def *def, const aiki_field_def *f,
                               bool has_offsets)
{
    uint8_t scalar = f->type == AIKI_FIELD_LIST ? f->element : f->type;
    if (f->type == AIKI_FIELD_NONE || f->type >= TYPE_COUNT)
        return "its type is unknown; the plugin was built for a newer aiki";
    if (f->type == AIKI_FIELD_LIST && (scalar == AIKI_FIELD_NONE || scalar >= AIKI_FIELD_LIST))
        return "a list holds elements of a known type that is no list";
    if (scalar == AIKI_FIELD_RECORD && f->record == NULL)
        return "the table of its record is missing";
    if (!has_offsets)
        return NULL;
    if (!is_inside(def, f->offset,
                   f->type == AIKI_FIELD_LIST ? sizeof(void *) : member_size(f->type)) ||
        (f->type == AIKI_FIELD_LIST && !is_inside(def, f->count_offset, sizeof(uint64_t))))
        return "its member lies outside the struct";
    return NULL;
}

static bool is_duplicate(const aiki_record_def *def, uint32_t index, const char *name)
{
    uint32_t i;
    for (i = 0; i < index; i++)
        if (strcmp(field_at(def, i).name, name) == 0)
            return true;
    return false;
}

static aiki_status check_record(struct walk *walk, const aiki_record_def *def);

static aiki_status check_field(struct walk *walk, const aiki_record_def *def, uint32_t index)
{
    const aiki_field_def f = field_at(def, index);
    const char *reason;
    if (!text_is_valid(f.name, AIKI_RECORD_NAME_BYTES_MAX))
        return bad(walk, def, NULL, "a field's name must be 1 to 64 bytes of UTF-8");
    if (is_duplicate(def, index, f.name))
        return bad(walk, def, f.name, "the name is used twice");
    reason = type_reason(def, &f, walk->has_offsets);
    if (reason == NULL)
        reason = rules_reason(&f);
    if (reason != NULL)
        return bad(walk, def, f.name, reason);
    return f.record != NULL ? check_record(walk, f.record) : AIKI_OK;
}

static aiki_status check_record(struct walk *walk, const aiki_record_def *def)
{
    uint32_t i;
    if (def->struct_size < RECORD_SIZE_MIN || !text_is_valid(def->name, 100))
        return error_code(walk->err, AIKI_INVALID, "BAD_SCHEMA",
                          "a record's table is too short or its name is not 1 to 100 bytes of text");
    if (def->field_count > AIKI_RECORD_FIELDS_MAX)
        return bad(walk, def, NULL, "more than 64 fields");
    if (def->field_count > 0 && (def->fields == NULL || def->field_stride < FIELD_STRIDE_MIN ||
                                 def->field_stride % sizeof(void *) != 0))
        return bad(walk, def, NULL, "the table of fields is missing or has a bad stride");
    walk->fields += def->field_count;
    if (walk->fields > SCHEMA_FIELDS_MAX)
        return bad(walk, def, NULL, "more than 1024 fields, nested ones included");
    if (walk->depth == AIKI_RECORD_DEPTH_MAX)
        return bad(walk, def, NULL, "records nested deeper than 16 levels");
    walk->depth++;
    for (i = 0; i < def->field_count; i++) {
        aiki_status st = check_field(walk, def, i);
        if (st != AIKI_OK)
            return st;
    }
    walk->depth--;
    return AIKI_OK;
}

aiki_status schema_check_def(const aiki_record_def *def, aiki_error *err)
{
    struct walk walk = {.err = err, .has_offsets = true};
    return check_record(&walk, def);
}

/* ---- tables to data ---------------------------------------------------------------------- */

static void write_record(aiki_writer *w, const aiki_record_def *def);

static void write_default(aiki_writer *w, const aiki_field_def *f)
{
    switch (f->type) {
    case AIKI_FIELD_F64: aiki_mp_double(w, f->default_real); break;
    case AIKI_FIELD_BOOL: aiki_mp_bool(w, f->default_int != 0); break;
    case AIKI_FIELD_STR: aiki_mp_str(w, f->default_text); break;
    default: aiki_mp_int(w, f->default_int); break;
    }
}

static void write_bound(aiki_writer *w, const aiki_field_def *f, const char *key, int64_t bound,
                        double real)
{
    uint8_t scalar = f->type == AIKI_FIELD_LIST ? f->element : f->type;
    aiki_mp_str(w, key);
    if (scalar == AIKI_FIELD_F64)
        aiki_mp_double(w, real);
    else
        aiki_mp_int(w, bound);
}

static uint64_t pair_count(const aiki_field_def *f)
{
    return 2u + (f->type == AIKI_FIELD_LIST) + (f->required != 0) + (f->pii != 0) +
           (f->has_min != 0) + (f->has_max != 0) + (f->has_length != 0) + (f->one_of != NULL) +
           (f->has_default != 0) + (f->record != NULL);
}

static void write_field(aiki_writer *w, const aiki_field_def *f)
{
    aiki_mp_map(w, pair_count(f));
    aiki_mp_str(w, "name");
    aiki_mp_str(w, f->name);
    aiki_mp_str(w, "type");
    aiki_mp_str(w, type_names[f->type]);
    if (f->type == AIKI_FIELD_LIST) {
        aiki_mp_str(w, "element");
        aiki_mp_str(w, type_names[f->element]);
    }
    if (f->required != 0) {
        aiki_mp_str(w, "required");
        aiki_mp_bool(w, true);
    }
    if (f->pii != 0) {
        aiki_mp_str(w, "pii");
        aiki_mp_bool(w, true);
    }
    if (f->has_min != 0)
        write_bound(w, f, "min", f->min, f->real_min);
    if (f->has_max != 0)
        write_bound(w, f, "max", f->max, f->real_max);
    if (f->has_length != 0) {
        aiki_mp_str(w, "length");
        aiki_mp_array(w, 2);
        aiki_mp_uint(w, f->length_min);
        aiki_mp_uint(w, f->length_max);
    }
    if (f->one_of != NULL) {
        aiki_mp_str(w, "one_of");
        aiki_mp_str(w, f->one_of);
    }
    if (f->has_default != 0) {
        aiki_mp_str(w, "default");
        write_default(w, f);
    }
    if (f->record != NULL) {
        aiki_mp_str(w, "record");
        write_record(w, f->record);
    }
}

static void write_record(aiki_writer *w, const aiki_record_def *def)
{
    uint32_t i;
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "record");
    aiki_mp_str(w, def->name);
    aiki_mp_str(w, "fields");
    aiki_mp_array(w, def->field_count);
    for (i = 0; i < def->field_count; i++) {
        aiki_field_def f = field_at(def, i);
        write_field(w, &f);
    }
}

aiki_status schema_write(aiki_writer *w, const aiki_record_def *def, aiki_error *err)
{
    uint64_t begin = w->size_bytes;
    aiki_status st = schema_check_def(def, err);
    if (st != AIKI_OK)
        return st;
    write_record(w, def);
    if (w->status != AIKI_OK)
        return error_set(err, w->status, "schema of record %s: %s", def->name,
                         aiki_status_text(w->status));
    if (w->size_bytes - begin > SCHEMA_BYTES_MAX) {
        w->size_bytes = begin;
        return error_code(err, AIKI_INVALID, "BAD_SCHEMA", "record %s: schema over %d bytes",
                          def->name, SCHEMA_BYTES_MAX);
    }
    return AIKI_OK;
}

/* ---- data to tables ---------------------------------------------------------------------- */

struct schema {
    const aiki_record_def *root; /* in memory */
    size_t used_bytes, capacity_bytes;
    _Alignas(16) uint8_t memory[];
};

/* A field takes at least 17 bytes of schema ({"name":"x","type":"i64"}) and about 150 of table,
 * so this many bytes of table for one of schema are always enough. */
enum { TABLE_BYTES_PER_BYTE = 16, TABLE_BYTES_BASE = 256 };

static void *take(struct schema *s, size_t size_bytes)
{
    size_t size = (size_bytes + 15u) & ~(size_t)15u;
    void *p = s->memory + s->used_bytes;
    if (size > s->capacity_bytes - s->used_bytes)
        return NULL;
    s->used_bytes += size;
    return p;
}

static aiki_status not_a_schema(aiki_error *err, const char *what)
{
    return error_code(err, AIKI_INVALID, "BAD_SCHEMA", "not a schema: %s", what);
}

/* NULL when it is no text, holds a NUL, or memory is used up. */
static const char *take_text(struct schema *s, aiki_reader *r)
{
    aiki_view text = aiki_mp_read_str(r);
    char *copy;
    if (r->status != AIKI_OK || text.data == NULL || aiki_utf8_length(text) < 0)
        return NULL;
    copy = take(s, text.size_bytes + 1);
    if (copy != NULL) {
        memcpy(copy, text.data, text.size_bytes);
        copy[text.size_bytes] = '\0';
    }
    return copy;
}

static uint8_t parse_type(aiki_reader *r)
{
    aiki_view text = aiki_mp_read_str(r);
    uint8_t i;
    for (i = 1; i < TYPE_COUNT; i++)
        if (strlen(type_names[i]) == text.size_bytes &&
            memcmp(type_names[i], text.data, text.size_bytes) == 0)
            return i;
    return AIKI_FIELD_NONE;
}

/* A bound or default: integer or real, kept as what it is; the type may come after it. */
static bool parse_number(aiki_reader *r, int64_t *ret_integer, double *ret_real)
{
    aiki_mp_item item;
    if (!aiki_mp_next(r, &item))
        return false;
    if (item.type == AIKI_MP_DOUBLE)
        *ret_real = item.as.d;
    else if (item.type == AIKI_MP_BOOL)
        *ret_integer = item.as.boolean ? 1 : 0;
    else if (item.type == AIKI_MP_INT || (item.type == AIKI_MP_UINT && item.as.u <= INT64_MAX))
        *ret_integer = item.as.i;
    else
        return false;
    return true;
}

static bool parse_default(struct schema *s, aiki_reader *r, aiki_field_def *f)
{
    aiki_mp_item item;
    f->has_default = 1;
    if (!aiki_mp_peek(r, &item))
        return false;
    if (item.type != AIKI_MP_STR)
        return parse_number(r, &f->default_int, &f->default_real);
    f->default_text = take_text(s, r);
    return f->default_text != NULL;
}

static bool parse_length(aiki_reader *r, aiki_field_def *f)
{
    f->has_length = 1;
    if (aiki_mp_read_array(r) != 2)
        return false;
    f->length_min = aiki_mp_read_uint(r);
    f->length_max = aiki_mp_read_uint(r);
    return r->status == AIKI_OK;
}

static bool key_is(aiki_view key, const char *text)
{
    return strlen(text) == key.size_bytes && memcmp(text, key.data, key.size_bytes) == 0;
}

static const aiki_record_def *parse_record(struct schema *s, aiki_reader *r, uint32_t depth);

static bool parse_pair(struct schema *s, aiki_reader *r, aiki_field_def *f, uint32_t depth)
{
    aiki_view key = aiki_mp_read_str(r);
    if (r->status != AIKI_OK || key.data == NULL)
        return false;
    if (key_is(key, "name"))
        return (f->name = take_text(s, r)) != NULL;
    if (key_is(key, "type"))
        return (f->type = parse_type(r)) != AIKI_FIELD_NONE;
    if (key_is(key, "element"))
        return (f->element = parse_type(r)) != AIKI_FIELD_NONE;
    if (key_is(key, "required"))
        f->required = aiki_mp_read_bool(r);
    else if (key_is(key, "pii"))
        f->pii = aiki_mp_read_bool(r);
    else if (key_is(key, "min"))
        return (f->has_min = 1, parse_number(r, &f->min, &f->real_min));
    else if (key_is(key, "max"))
        return (f->has_max = 1, parse_number(r, &f->max, &f->real_max));
    else if (key_is(key, "length"))
        return parse_length(r, f);
    else if (key_is(key, "one_of"))
        return (f->one_of = take_text(s, r)) != NULL;
    else if (key_is(key, "default"))
        return parse_default(s, r, f);
    else if (key_is(key, "record"))
        return (f->record = parse_record(s, r, depth + 1)) != NULL;
    else
        (void)aiki_mp_skip(r); /* a failure shows in the status below */
    return r->status == AIKI_OK;
}

static bool parse_fields(struct schema *s, aiki_reader *r, aiki_record_def *def, uint32_t depth)
{
    uint64_t i, pairs, count = aiki_mp_read_array(r);
    aiki_field_def *fields;
    if (r->status != AIKI_OK || count > AIKI_RECORD_FIELDS_MAX || def->fields != NULL)
        return false;
    fields = take(s, (size_t)count * sizeof(*fields));
    if (fields == NULL)
        return false;
    def->fields = fields;
    def->field_count = (uint32_t)count;
    for (i = 0; i < count; i++)
        for (pairs = aiki_mp_read_map(r); pairs > 0; pairs--)
            if (!parse_pair(s, r, &fields[i], depth))
                return false;
    return r->status == AIKI_OK;
}

/* NULL: not the form of a schema. What the content means is judged by check_record. */
static const aiki_record_def *parse_record(struct schema *s, aiki_reader *r, uint32_t depth)
{
    aiki_record_def *def = take(s, sizeof(*def));
    uint64_t pairs;
    if (def == NULL || depth == AIKI_RECORD_DEPTH_MAX)
        return NULL;
    def->struct_size = sizeof(*def);
    def->field_stride = sizeof(aiki_field_def);
    for (pairs = aiki_mp_read_map(r); pairs > 0; pairs--) {
        aiki_view key = aiki_mp_read_str(r);
        if (r->status != AIKI_OK || key.data == NULL)
            return NULL;
        if (key_is(key, "record")) {
            if ((def->name = take_text(s, r)) == NULL)
                return NULL;
        } else if (key_is(key, "fields")) {
            if (!parse_fields(s, r, def, depth))
                return NULL;
        } else if (aiki_mp_skip(r) != AIKI_OK) {
            return NULL;
        }
    }
    return r->status == AIKI_OK ? def : NULL;
}

aiki_status schema_create(struct schema **ret, aiki_view schema, aiki_error *err)
{
    struct walk walk = {.err = err, .has_offsets = false};
    size_t capacity = TABLE_BYTES_BASE + schema.size_bytes * TABLE_BYTES_PER_BYTE;
    aiki_status st = AIKI_OK;
    struct schema *s;
    aiki_reader r;
    if (schema.size_bytes == 0 || schema.size_bytes > SCHEMA_BYTES_MAX)
        return not_a_schema(err, "it is empty or over 65536 bytes");
    s = calloc(1, sizeof(*s) + capacity);
    if (s == NULL)
        return error_set(err, AIKI_NOMEM, "a schema of %llu bytes",
                         (unsigned long long)schema.size_bytes);
    s->capacity_bytes = capacity;
    aiki_reader_init(&r, schema);
    s->root = parse_record(s, &r, 0);
    if (s->root == NULL || aiki_reader_left(&r) > 0)
        st = not_a_schema(err, "it does not have the form that schema.h describes");
    else
        st = check_record(&walk, s->root);
    if (st == AIKI_OK) {
        *ret = s;
        s = NULL; /* ownership moved to *ret */
    }
    schema_destroy(s);
    return st;
}

void schema_destroy(struct schema *s) { free(s); }

/* ---- use --------------------------------------------------------------------------------- */

aiki_status schema_validate(const struct schema *s, aiki_view value, aiki_error *err)
{
    return aiki_record_check(s->root, value, err);
}

void schema_write_json_schema(aiki_writer *w, const struct schema *s)
{
    json_schema_write(w, s->root);
}

bool schema_has_marks(const struct schema *s) { return redact_has_marks(s->root); }

aiki_status schema_add_marks(const struct schema *s, struct redact_names *names)
{
    return redact_names_add(names, s->root);
}

void schema_redact(aiki_writer *w, const struct schema *s, bool unnamed, aiki_view value)
{
    redact_value(w, s->root, unnamed, value);
}

aiki_status schema_check(aiki_view schema, aiki_error *err)
{
    struct schema *s = NULL;
    aiki_status st = schema_create(&s, schema, err);
    schema_destroy(s);
    return st;
}

aiki_status schema_validate_view(aiki_view schema, aiki_view value, aiki_error *err)
{
    struct schema *s = NULL;
    aiki_status st = schema_create(&s, schema, err);
    if (st == AIKI_OK)
        st = schema_validate(s, value, err);
    schema_destroy(s);
    return st;
}

aiki_status schema_view_json_schema(aiki_writer *w, aiki_view schema, aiki_error *err)
{
    struct schema *s = NULL;
    aiki_status st = schema_create(&s, schema, err);
    if (st == AIKI_OK)
        schema_write_json_schema(w, s);
    schema_destroy(s);
    return st == AIKI_OK ? w->status : st;
}

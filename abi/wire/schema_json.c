/* schema_json.c - what JSON Schema can say about a record, said.
 *
 * Values are those of base/json.h: bytes appear as {"$bin": "<base64>"}, whose length JSON Schema
 * cannot bound. An optional field may be null. Personal data is marked "x-aiki-pii".
 */
#include "wire/schema_json.h"

#include <string.h>

static void write_text_pair(aiki_writer *w, const char *key, const char *text)
{
    aiki_mp_str(w, key);
    aiki_mp_str(w, text);
}

static const char *json_type(uint8_t type)
{
    switch (type) {
    case AIKI_FIELD_I64:
    case AIKI_FIELD_U64: return "integer";
    case AIKI_FIELD_F64: return "number";
    case AIKI_FIELD_BOOL: return "boolean";
    case AIKI_FIELD_STR: return "string";
    case AIKI_FIELD_LIST: return "array";
    default: return "object";
    }
}

static void write_type(aiki_writer *w, uint8_t type, bool nullable)
{
    aiki_mp_str(w, "type");
    if (nullable) {
        aiki_mp_array(w, 2);
        aiki_mp_str(w, json_type(type));
        aiki_mp_str(w, "null");
    } else {
        aiki_mp_str(w, json_type(type));
    }
}

static void write_enum(aiki_writer *w, const char *one_of, bool nullable)
{
    uint64_t count = nullable ? 2 : 1;
    const char *at;
    for (at = one_of; *at != '\0'; at++)
        count += *at == '|';
    aiki_mp_str(w, "enum");
    aiki_mp_array(w, count);
    for (at = one_of;; at++) {
        size_t n = strcspn(at, "|");
        aiki_mp_strn(w, at, n);
        at += n;
        if (*at == '\0')
            break;
    }
    if (nullable)
        aiki_mp_nil(w);
}

static void write_bound(aiki_writer *w, const char *key, uint8_t type, int64_t bound, double real)
{
    aiki_mp_str(w, key);
    if (type == AIKI_FIELD_F64)
        aiki_mp_double(w, real);
    else
        aiki_mp_int(w, bound);
}

static uint64_t scalar_pairs(const aiki_field_def *f, uint8_t type)
{
    return (f->has_min != 0 || type == AIKI_FIELD_U64 ? 1u : 0u) + (f->has_max != 0 ? 1u : 0u) +
           (f->one_of != NULL ? 1u : 0u);
}

/* Rules that hold for a scalar as well as for each element of a list. */
static void write_scalar_rules(aiki_writer *w, const aiki_field_def *f, uint8_t type, bool nullable)
{
    if (f->has_min != 0)
        write_bound(w, "minimum", type, f->min, f->real_min);
    else if (type == AIKI_FIELD_U64)
        write_bound(w, "minimum", type, 0, 0);
    if (f->has_max != 0)
        write_bound(w, "maximum", type, f->max, f->real_max);
    if (f->one_of != NULL)
        write_enum(w, f->one_of, nullable);
}

static uint64_t object_pairs(const aiki_record_def *def)
{
    uint32_t i, required = 0;
    for (i = 0; i < def->field_count; i++)
        required += aiki_record_field(def, i)->required;
    return required > 0 ? 2 : 1;
}

static void write_field(aiki_writer *w, const aiki_field_def *f);

/* "properties" and, if any, "required". */
static void write_object(aiki_writer *w, const aiki_record_def *def)
{
    uint32_t i, required = 0;
    aiki_mp_str(w, "properties");
    aiki_mp_map(w, def->field_count);
    for (i = 0; i < def->field_count; i++) {
        const aiki_field_def *f = aiki_record_field(def, i);
        aiki_mp_str(w, f->name);
        write_field(w, f);
        required += f->required;
    }
    if (required == 0)
        return;
    aiki_mp_str(w, "required");
    aiki_mp_array(w, required);
    for (i = 0; i < def->field_count; i++)
        if (aiki_record_field(def, i)->required != 0)
            aiki_mp_str(w, aiki_record_field(def, i)->name);
}

static void write_binary(aiki_writer *w)
{
    aiki_mp_str(w, "properties");
    aiki_mp_map(w, 1);
    aiki_mp_str(w, "$bin");
    aiki_mp_map(w, 2);
    write_text_pair(w, "type", "string");
    write_text_pair(w, "contentEncoding", "base64");
    aiki_mp_str(w, "required");
    aiki_mp_array(w, 1);
    aiki_mp_str(w, "$bin");
}

static uint64_t body_pairs(const aiki_field_def *f, uint8_t type)
{
    return type == AIKI_FIELD_RECORD  ? object_pairs(f->record)
           : type == AIKI_FIELD_BYTES ? 2
           : type == AIKI_FIELD_LIST  ? 1
                                      : scalar_pairs(f, type);
}

/* What follows "type": content of an object, or rules of a scalar. */
static void write_body(aiki_writer *w, const aiki_field_def *f, uint8_t type, bool nullable)
{
    if (type == AIKI_FIELD_RECORD)
        write_object(w, f->record);
    else if (type == AIKI_FIELD_BYTES)
        write_binary(w);
    else
        write_scalar_rules(w, f, type, nullable);
}

static void write_items(aiki_writer *w, const aiki_field_def *f)
{
    aiki_mp_str(w, "items");
    aiki_mp_map(w, 1 + body_pairs(f, f->element));
    write_type(w, f->element, false);
    write_body(w, f, f->element, false);
}

static void write_default(aiki_writer *w, const aiki_field_def *f)
{
    aiki_mp_str(w, "default");
    switch (f->type) {
    case AIKI_FIELD_F64: aiki_mp_double(w, f->default_real); break;
    case AIKI_FIELD_BOOL: aiki_mp_bool(w, f->default_int != 0); break;
    case AIKI_FIELD_STR: aiki_mp_str(w, f->default_text); break;
    default: aiki_mp_int(w, f->default_int); break;
    }
}

static void write_field(aiki_writer *w, const aiki_field_def *f)
{
    const bool nullable = f->required == 0;
    const bool is_list = f->type == AIKI_FIELD_LIST;
    const bool has_length = f->has_length != 0 && f->type != AIKI_FIELD_BYTES;
    aiki_mp_map(w, 1 + body_pairs(f, f->type) + (has_length ? 2u : 0u) +
                       (f->has_default != 0 ? 1u : 0u) + (f->pii != 0 ? 1u : 0u));
    write_type(w, f->type, nullable);
    if (is_list)
        write_items(w, f);
    else
        write_body(w, f, f->type, nullable);
    if (has_length) {
        aiki_mp_str(w, is_list ? "minItems" : "minLength");
        aiki_mp_uint(w, f->length_min);
        aiki_mp_str(w, is_list ? "maxItems" : "maxLength");
        aiki_mp_uint(w, f->length_max);
    }
    if (f->has_default != 0)
        write_default(w, f);
    if (f->pii != 0) {
        aiki_mp_str(w, "x-aiki-pii");
        aiki_mp_bool(w, true);
    }
}

void json_schema_write(aiki_writer *w, const aiki_record_def *def)
{
    aiki_mp_map(w, 3 + object_pairs(def));
    write_text_pair(w, "$schema", "https://json-schema.org/draft/2020-12/schema");
    write_text_pair(w, "title", def->name);
    write_text_pair(w, "type", "object");
    write_object(w, def);
}

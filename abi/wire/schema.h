/* wire/schema.h - record schemas as data: written by the process that has the plugin, used by
 * those that have not. [any]
 *
 *   schema: {"record": name, "fields": [field...]}
 *   field:  {"name", "type", then as needed "element", "required", "pii", "min", "max",
 *            "length": [low, high], "one_of": "a|b", "default", "record": schema}
 *   type:   i64 u64 f64 bool str bytes record list
 *
 * Verdicts and messages are those of the plugin's own decoder: a schema is turned back into the
 * tables of aiki/schema.h and the same walker runs. Unknown keys are skipped.
 */
#ifndef WIRE_SCHEMA_H
#define WIRE_SCHEMA_H

#include <aiki/schema.h>

enum {
    SCHEMA_BYTES_MAX = 64 * 1024, /* one written schema */
    SCHEMA_FIELDS_MAX = 1024      /* fields of a schema, nested ones included */
};

struct schema; /* parsed, immutable, may be shared between threads */

/* Whether the tables make sense: known types, rules that fit them, names, members inside the
 * struct, bounded size. AIKI_INVALID, code BAD_SCHEMA, with record, field and reason. */
aiki_status schema_check_def(const aiki_record_def *def, aiki_error *err);
/* Append the schema of a record; checks it first. */
aiki_status schema_write(aiki_writer *w, const aiki_record_def *def, aiki_error *err);

/* Parse and check a schema that came from elsewhere. AIKI_INVALID with code BAD_SCHEMA. */
aiki_status schema_create(struct schema **ret, aiki_view schema, aiki_error *err);
void schema_destroy(struct schema *s);
/* AIKI_SCHEMA with path, rule and value when the value does not fit; work is bounded by the
 * value's size. */
aiki_status schema_validate(const struct schema *s, aiki_view value, aiki_error *err);
/* Append the JSON Schema (2020-12) document as a msgpack map. */
void schema_write_json_schema(aiki_writer *w, const struct schema *s);

/* Whether it marks any field as personal data. */
bool schema_has_marks(const struct schema *s);
struct redact_names;
/* Add the names of those, as redact_names_add; they live as long as the schema. */
aiki_status schema_add_marks(const struct schema *s, struct redact_names *names);
/* Append the value without that; see redact.h. */
void schema_redact(aiki_writer *w, const struct schema *s, bool unnamed, aiki_view value);

/* Is it a schema? / does the value fit? / its JSON Schema: for callers that ask once. */
aiki_status schema_check(aiki_view schema, aiki_error *err);
aiki_status schema_validate_view(aiki_view schema, aiki_view value, aiki_error *err);
aiki_status schema_view_json_schema(aiki_writer *w, aiki_view schema, aiki_error *err);

#endif

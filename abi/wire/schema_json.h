/* wire/schema_json.h - a record's table as a JSON Schema document. [any] */
#ifndef WIRE_SCHEMA_JSON_H
#define WIRE_SCHEMA_JSON_H

#include <aiki/schema.h>

/* Append the document (2020-12) as a msgpack map. def: checked, of this build's own layout. */
void json_schema_write(aiki_writer *w, const aiki_record_def *def);

#endif

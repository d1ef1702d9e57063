/* wire/redact.h - copies of payloads as people may see them: without what is marked as personal data,
 * and no longer than a page. [any]
 *
 *   {"name": "Ada", "city": "Rome", "note": "..."}   schema: name is AIKI_PII, note is not in it
 *   {"name": "[redacted]", "city": "Rome", "note": "[redacted]"}
 *
 * What is on record stays as it is; replay needs it. docs/decisions/0015 says who sees what. Depth and
 * work are bounded by the value, which aiki_mp_check has passed, and by AIKI_RECORD_DEPTH_MAX.
 */
#ifndef WIRE_REDACT_H
#define WIRE_REDACT_H

#include "wire/schema.h"

#define REDACTED_TEXT "[redacted]"

/* Whether any field is marked, at any depth. */
bool redact_has_marks(const aiki_record_def *def);
/* Append the value with REDACTED_TEXT in the place of marked fields that are not nil. What is not of the
 * shape its marked record should have is hidden whole. unnamed: fields that the schema does not know,
 * too: one that was renamed is still what it was. value: one that aiki_mp_check passes. */
void redact_value(aiki_writer *w, const aiki_record_def *def, bool unnamed, aiki_view value);
/* Names of marked fields, of any number of records: for values that no record describes. What is below a marked
 * record counts as marked, too. Zeroed is empty; the names are borrowed from the records. */
struct redact_names {
    const char **sorted; /* owned */
    size_t count, capacity;
};
/* AIKI_NOMEM: some may be missing. */
aiki_status redact_names_add(struct redact_names *names, const aiki_record_def *def);
void redact_names_deinit(struct redact_names *names);
bool redact_names_have(const struct redact_names *names, aiki_view name);
/* Append the value with REDACTED_TEXT in the place of what has such a name, in maps of any depth. */
void redact_named(aiki_writer *w, const struct redact_names *names, aiki_view value);
/* Append the value, with what is beyond bytes_max of content left out: texts are cut, lists and maps end
 * early, and "... 61,234 bytes more" stands in its place. Bytes and extensions are cut as a whole. */
void redact_shorten(aiki_writer *w, uint64_t bytes_max, aiki_view value);
/* "... 61,234 bytes more" as a text. */
void redact_write_more(aiki_writer *w, uint64_t bytes);

#endif

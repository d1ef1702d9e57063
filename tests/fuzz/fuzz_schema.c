/* fuzz_schema.c - schemas from elsewhere, and values held against them, hidden by them, and cut.
 *
 * Two bytes, big endian: length of the schema; then the schema; then a value. */
#include "fuzz.h"

#include "wire/redact.h"
#include "wire/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct schema *s = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    if (size < 2 || size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    uint64_t schema_bytes = aiki_mp_be_read_(data, 2);
    if (schema_bytes > size - 2)
        schema_bytes = size - 2;
    aiki_view schema = {data + 2, schema_bytes};
    aiki_view value = {data + 2 + schema_bytes, size - 2 - schema_bytes};

    aiki_status status = schema_create(&s, schema, &err);
    CHECK(schema_check(schema, NULL) == status);
    if (status != AIKI_OK) {
        CHECK(s == NULL && err.message[0] != '\0');
        return 0;
    }
    aiki_status verdict = schema_validate(s, value, &err);
    CHECK(verdict == AIKI_OK || err.message[0] != '\0');
    CHECK(schema_validate_view(schema, value, NULL) == verdict);
    aiki_writer *w = fuzz_writer(0);
    schema_write_json_schema(w, s);
    CHECK(w->status != AIKI_OK || aiki_mp_check(aiki_writer_view(w)) == AIKI_OK);
    if (aiki_mp_check(value) == AIKI_OK) {
        w = fuzz_writer(0);
        schema_redact(w, s, (data[0] & 1) != 0, value);
        CHECK(w->status != AIKI_OK || aiki_mp_check(aiki_writer_view(w)) == AIKI_OK);
        w = fuzz_writer(1);
        redact_shorten(w, size / 4, value);
        CHECK(w->status != AIKI_OK || aiki_mp_check(aiki_writer_view(w)) == AIKI_OK);
    }
    schema_destroy(s);
    return 0;
}

/* fuzz_body.c - the body of an HTTP request on its way to a run: JSON, payload, schema, hash.
 *
 * What is accepted is one sound msgpack value, and saying it with other spaces makes no difference.
 */
#include "fuzz.h"

#include "base/json.h"
#include "wire/canon.h"
#include "wire/schema.h"

/* {"record": "r", "fields": [{"name": "n", "type": "i64"}, {"name": "s", "type": "str"}]} */
static const uint8_t schema[] = "\x82\xa6record\xa1r\xa6"
                                "fields\x92\x82\xa4name\xa1n\xa4type\xa3i64"
                                "\x82\xa4name\xa1s\xa4type\xa3str";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct schema *parsed;
    uint8_t first[32], second[32];
    aiki_error err = AIKI_ERROR_INIT;
    if (size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    if (parsed == NULL)
        CHECK(schema_create(&parsed, (aiki_view){schema, sizeof(schema) - 1}, NULL) == AIKI_OK);
    aiki_writer *payload = fuzz_writer(0), *spaced = fuzz_writer(1), *again = fuzz_writer(2);
    if (json_to_msgpack((aiki_view){data, size}, payload, &err) != AIKI_OK) {
        CHECK(err.code[0] != '\0' && err.message[0] != '\0' && payload->size_bytes == 0);
        return 0;
    }
    aiki_view value = aiki_writer_view(payload);
    CHECK(aiki_mp_check(value) == AIKI_OK);
    aiki_status verdict = schema_validate(parsed, value, &err);
    CHECK(verdict == AIKI_OK || verdict == AIKI_SCHEMA);
    CHECK(canon_hash(value, first, NULL) == AIKI_OK);

    aiki_mp_raw(spaced, " \t\n", 3);
    aiki_mp_raw(spaced, data, size);
    aiki_mp_raw(spaced, "\r\n ", 3);
    CHECK(json_to_msgpack(aiki_writer_view(spaced), again, NULL) == AIKI_OK);
    CHECK(canon_hash(aiki_writer_view(again), second, NULL) == AIKI_OK);
    CHECK(memcmp(first, second, sizeof(first)) == 0);
    return 0;
}

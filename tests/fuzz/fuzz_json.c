/* fuzz_json.c - JSON from people to msgpack and back, and any msgpack to JSON.
 *
 * First byte: 0 the rest is JSON text, 1 the rest is msgpack. */
#include "fuzz.h"

#include "base/json.h"

/* Text to value to text to value: the value stays as it was. */
static void from_text(aiki_view text)
{
    aiki_writer *first = fuzz_writer(0), *printed = fuzz_writer(1), *second = fuzz_writer(2);
    aiki_error err = AIKI_ERROR_INIT;
    if (json_to_msgpack(text, first, &err) != AIKI_OK) {
        CHECK(err.message[0] != '\0');
        return;
    }
    CHECK(aiki_mp_check(aiki_writer_view(first)) == AIKI_OK);
    if (msgpack_to_json(aiki_writer_view(first), 0, printed, &err) != AIKI_OK) {
        CHECK(err.status == AIKI_LIMIT); /* the text grew over the scratch memory */
        return;
    }
    CHECK(json_to_msgpack(aiki_writer_view(printed), second, NULL) == AIKI_OK);
    CHECK(fuzz_same(aiki_writer_view(first), aiki_writer_view(second)));
}

static void from_value(aiki_view value)
{
    aiki_writer *printed = fuzz_writer(0), *back = fuzz_writer(1);
    aiki_error err = AIKI_ERROR_INIT;
    aiki_status status = msgpack_to_json(value, 2, printed, &err);
    CHECK(status == AIKI_OK || err.message[0] != '\0');
    if (status == AIKI_OK && json_to_msgpack(aiki_writer_view(printed), back, &err) == AIKI_OK)
        CHECK(aiki_mp_check(aiki_writer_view(back)) == AIKI_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    if (data[0] % 2 == 0)
        from_text((aiki_view){data + 1, size - 1});
    else
        from_value((aiki_view){data + 1, size - 1});
    return 0;
}

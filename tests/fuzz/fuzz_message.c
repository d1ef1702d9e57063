/* fuzz_message.c - every message decoder. First byte: which message; the rest: its payload.
 *
 * What decodes is written and decoded again, and must then be written the same: nothing a
 * reader accepts is lost on the way. */
#include "fuzz.h"

#include "wire/message.h"

#define ROUND_TRIP(NAME, number, FIELDS)                                                           \
    static bool round_trip_##NAME(aiki_view payload)                                               \
    {                                                                                              \
        struct msg_##NAME m;                                                                       \
        aiki_error err = AIKI_ERROR_INIT;                                                          \
        if (msg_##NAME##_read(payload, &m, &err) != AIKI_OK) {                                     \
            CHECK(err.status != AIKI_OK && err.message[0] != '\0');                                \
            return false;                                                                          \
        }                                                                                          \
        aiki_writer *first = fuzz_writer(0), *second = fuzz_writer(1);                             \
        msg_##NAME##_write(first, &m);                                                             \
        CHECK(first->status == AIKI_OK);                                                           \
        CHECK(msg_##NAME##_read(aiki_writer_view(first), &m, NULL) == AIKI_OK);                    \
        msg_##NAME##_write(second, &m);                                                            \
        CHECK(fuzz_same(aiki_writer_view(first), aiki_writer_view(second)));                       \
        return true;                                                                               \
    }
AIKI_MESSAGES(ROUND_TRIP)

/* The broker's short cuts agree with the decoder. */
static void patch(aiki_view payload, bool decodes)
{
    struct msg_APPEND m;
    struct aiki_id run;
    aiki_writer *w = fuzz_writer(2);
    aiki_mp_raw(w, payload.data, payload.size_bytes);
    aiki_status patched = msg_APPEND_patch_epoch(w->data, w->size_bytes, 0x1122334455667788u);
    CHECK(patched == AIKI_OK || patched == AIKI_CORRUPT);
    if (patched != AIKI_OK) {
        CHECK(fuzz_same(aiki_writer_view(w), payload));
        return;
    }
    CHECK(msg_run(payload, &run) == AIKI_OK);
    if (!decodes || msg_APPEND_read(aiki_writer_view(w), &m, NULL) != AIKI_OK)
        return;
    CHECK(id_equal(&m.run, &run));
    CHECK(m.epoch == 0x1122334455667788u || (payload.data[0] & 0x0f) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool (*const round_trips[])(aiki_view payload) = {
#define ENTRY(NAME, number, FIELDS) round_trip_##NAME,
        AIKI_MESSAGES(ENTRY)
#undef ENTRY
    };
    if (size < 1 || size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    aiki_view payload = {data + 1, size - 1};
    bool decodes = round_trips[data[0] % (sizeof(round_trips) / sizeof(round_trips[0]))](payload);
    patch(payload, decodes);
    return 0;
}

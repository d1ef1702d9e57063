/* fuzz_frame.c - a byte stream is cut the same way however it arrives; a frame comes back whole. */
#include "fuzz.h"

#include "wire/frame.h"

/* Cut frames off the stream; what a shorter prefix shows is never more than "wait". */
static void cut(aiki_view stream, uint64_t prefix)
{
    while (stream.size_bytes > 0) {
        struct frame f;
        uint64_t size = 0;
        aiki_error err = AIKI_ERROR_INIT;
        aiki_view start = {stream.data, prefix < stream.size_bytes ? prefix : stream.size_bytes};
        aiki_status early = frame_read(start, &f, &size, NULL);
        aiki_status status = frame_read(stream, &f, &size, &err);
        CHECK(early == status || early == AIKI_PENDING);
        if (status != AIKI_OK) {
            CHECK(status == AIKI_PENDING || err.message[0] != '\0');
            return;
        }
        CHECK(size >= FRAME_HEADER_BYTES && size <= stream.size_bytes);
        CHECK(f.payload.size_bytes == size - FRAME_HEADER_BYTES);
        stream.data += size;
        stream.size_bytes -= size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;
    uint64_t frame_size;
    if (size < 4 || size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    cut((aiki_view){data, size}, data[0]);
    CHECK(crc32c(0, data, size) == crc32c_portable(0, data, size));

    aiki_writer *w = fuzz_writer(0);
    for (int i = 0; i < 2; i++) {
        uint64_t at = frame_begin(w);
        aiki_mp_raw(w, data, size);
        CHECK(frame_end(w, at, data[1], data[2]) == AIKI_OK);
    }
    cut(aiki_writer_view(w), data[3]);
    CHECK(frame_read(aiki_writer_view(w), &f, &frame_size, NULL) == AIKI_OK);
    CHECK(f.type == data[1] && f.correlation == data[2]);
    CHECK(fuzz_same(f.payload, (aiki_view){data, size}));
    w->data[data[0] % frame_size] ^= (uint8_t)(data[1] | 1);
    CHECK(frame_read(aiki_writer_view(w), &f, &frame_size, NULL) != AIKI_OK);
    return 0;
}

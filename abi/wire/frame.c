/* frame.c - cut messages on a byte stream; the layout is drawn in frame.h. */
#include "wire/frame.h"

#include <endian.h>
#include <string.h>

#include "wire/error.h"

enum { CHECKSUM_FROM = 8 }; /* offset of the first byte the checksum covers */

static void put_le32(uint8_t *p, uint32_t value)
{
    value = htole32(value);
    memcpy(p, &value, sizeof(value));
}

static uint32_t get_le32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof(value));
    return le32toh(value);
}

uint64_t frame_begin(aiki_writer *w)
{
    uint64_t offset = w->size_bytes;
    (void)aiki_mp_room(w, FRAME_HEADER_BYTES); /* a failure sticks in w; frame_end reports it */
    return offset;
}

aiki_status frame_end(aiki_writer *w, uint64_t offset, uint32_t type, uint32_t correlation)
{
    aiki_status status = w->status;
    if (status == AIKI_OK && w->size_bytes - offset - FRAME_HEADER_BYTES > FRAME_BYTES_MAX)
        status = AIKI_LIMIT;
    if (status != AIKI_OK) {
        w->size_bytes = offset; /* half a frame must never leave */
        return status;
    }
    uint8_t *head = w->data + offset;
    uint64_t size_bytes = w->size_bytes - offset;
    put_le32(head, (uint32_t)(size_bytes - FRAME_HEADER_BYTES));
    put_le32(head + 8, type & 0xffffu); /* the upper half is the reserved field: 0 */
    put_le32(head + 12, correlation);
    put_le32(head + 4, crc32c(0, head + CHECKSUM_FROM, size_bytes - CHECKSUM_FROM));
    return AIKI_OK;
}

aiki_status frame_read(aiki_view bytes, struct frame *ret_frame, uint64_t *ret_size,
                       aiki_error *err)
{
    const uint8_t *head = bytes.data;
    if (bytes.size_bytes < FRAME_HEADER_BYTES)
        return AIKI_PENDING;
    uint32_t payload_bytes = get_le32(head);
    uint32_t type = get_le32(head + 8);
    /* Before waiting for the rest: a wrong size would keep the connection waiting for ever. */
    if (payload_bytes > FRAME_BYTES_MAX)
        return error_set(err, AIKI_LIMIT,
                         "frame of %u bytes is over FRAME_BYTES_MAX (%d); is the peer an aiki?",
                         payload_bytes, FRAME_BYTES_MAX);
    if (type > 0xffffu)
        return error_set(err, AIKI_UNSUPPORTED,
                         "frame of type %u has reserved field %u, expected 0", type & 0xffffu,
                         type >> 16);
    uint64_t size_bytes = FRAME_HEADER_BYTES + (uint64_t)payload_bytes;
    if (bytes.size_bytes < size_bytes)
        return AIKI_PENDING;
    uint32_t expected = get_le32(head + 4);
    uint32_t found = crc32c(0, head + CHECKSUM_FROM, size_bytes - CHECKSUM_FROM);
    if (found != expected)
        return error_set(err, AIKI_CORRUPT,
                         "frame of type %u, %u bytes: checksum is %08x, header says %08x", type,
                         payload_bytes, found, expected);
    ret_frame->type = type;
    ret_frame->correlation = get_le32(head + 12);
    ret_frame->payload = (aiki_view){head + FRAME_HEADER_BYTES, payload_bytes};
    *ret_size = size_bytes;
    return AIKI_OK;
}
